"""`station logs`: one order over all services (design §6)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from services.station import log_reader
from services.station.log_filter import Filter
from services.station.log_lines import merged, records
from tests.harness import wait_until

METER = """2026-11-24T03:15:00.100Z level=info service=meter event="meter answers" port=ttyUSB0
2026-11-24T03:15:02.000Z level=error service=meter event="meter ends"
Traceback (most recent call last):
  File "x"
2026-11-24T03:15:03.000Z level=info service=meter event=started
"""
LINK = """2026-11-24T03:15:01.000Z level=warning service=ocpp_link event="no connection" reason="refused\\nagain"
2026-11-24T03:15:02.500Z level=debug service=ocpp_link event=frame
"""
SUPERVISORD = """2026-11-24 03:15:02,100 INFO exited: meter (exit status 1; not expected)
2026-11-24 03:15:02,101 CRIT Server 'unix_http_server' running without any HTTP authentication checking
"""


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "log"
    directory.mkdir()
    for name, text in (("meter", METER), ("ocpp_link", LINK), ("supervisord", SUPERVISORD)):
        (directory / f"{name}.log").write_text(text, encoding="utf-8")
    return directory


def shown(capsys: pytest.CaptureFixture[str], log_dir: Path, *arguments: str) -> list[str]:
    assert log_reader.main(["--state-dir", str(log_dir.parent), *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_lines_of_all_services_come_in_the_order_of_time(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    lines = shown(capsys, log_dir)
    assert [line[17:23] for line in lines if line.startswith("2026")] == [
        "00.100",
        "01.000",
        "02.000",
        "02.100",
        "02.101",
        "02.500",
        "03.000",
    ]


def test_a_line_that_is_not_ours_stays_with_the_one_before_it(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    lines = shown(capsys, log_dir)
    position = lines.index('2026-11-24T03:15:02.000Z level=error service=meter event="meter ends"')
    assert lines[position + 1 : position + 3] == ["    meter: Traceback (most recent call last):", '    meter:   File "x"']


def test_supervisords_lines_are_put_into_our_form(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    lines = shown(capsys, log_dir, "supervisord")
    assert lines[0] == (
        '2026-11-24T03:15:02.100Z level=info service=supervisord event="exited: meter (exit status 1; not expected)"'
    )
    assert "level=debug" in lines[1]


def test_only_the_services_that_were_asked_for(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    assert all("service=ocpp_link" in line for line in shown(capsys, log_dir, "ocpp_link"))


def test_the_last_n_events_over_all_services(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    assert [line[17:23] for line in shown(capsys, log_dir, "-n", "2")] == ["02.500", "03.000"]
    assert shown(capsys, log_dir, "-n", "0") == []


def test_a_level_shows_itself_and_worse(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    lines = shown(capsys, log_dir, "--level", "warning")
    assert [line[17:23] for line in lines if line.startswith("2026")] == ["01.000", "02.000"]


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    rows = [json.loads(line) for line in shown(capsys, log_dir, "--json")]
    assert rows[0] == {
        "ts": "2026-11-24T03:15:00.100Z",
        "level": "info",
        "service": "meter",
        "event": "meter answers",
        "port": "ttyUSB0",
    }
    assert rows[1]["reason"] == "refused\nagain"
    assert rows[2]["more"] == ["Traceback (most recent call last):", '  File "x"']


def test_rotated_files_come_first_and_a_line_cut_by_rotation_is_whole(
    capsys: pytest.CaptureFixture[str], log_dir: Path
) -> None:
    (log_dir / "rfid.log.2").write_text("2026-11-24T03:00:00.000Z level=info service=rfid event=one\n", encoding="utf-8")
    (log_dir / "rfid.log.1").write_text("2026-11-24T03:00:01.000Z level=info ser", encoding="utf-8")
    (log_dir / "rfid.log").write_text(
        "vice=rfid event=two\n2026-11-24T03:00:02.000Z level=info service=rfid event=thr", "utf-8"
    )
    assert [line.partition("event=")[2] for line in shown(capsys, log_dir, "rfid")] == ["one", "two", "thr"]


def test_a_clock_that_was_set_back_does_not_change_the_order_within_a_service() -> None:
    """design §5: steps of the system clock change no order."""
    lines = ["2026-11-24T05:00:00.000Z event=first", "2026-11-24T03:00:00.000Z event=second"]
    other = ["2026-11-24T04:00:00.000Z event=other"]
    found = [record.line[-6:] for record in merged([records("a", lines), records("b", other)])]
    assert found.index("=first") < found.index("second")


def test_lines_that_nobody_can_read_are_shown_at_every_level() -> None:
    written = records("a", ["Segmentation fault", "2026-11-24T04:00:00.000Z broken"])
    found = list(filter(Filter(level="error").takes, merged([written])))
    assert [record.text() for record in found] == ["a: Segmentation fault", "2026-11-24T04:00:00.000Z broken"]


def test_an_unknown_service_or_directory_is_one_line(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    assert log_reader.main(["--state-dir", str(log_dir.parent), "nobody"]) == 2
    assert "there is no log of 'nobody'; there is meter, ocpp_link, supervisord" in capsys.readouterr().err
    assert log_reader.main(["--state-dir", str(log_dir)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.process
def test_following_goes_over_a_rotation(log_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.station.cli", "logs", "--state-dir", str(tmp_path), "-f", "-n", "0", "meter"]
    path = log_dir / "meter.log"
    with open(tmp_path / "out", "wb") as out:
        process = subprocess.Popen(command, stdout=out)
    try:
        # What is written before the first look belongs to `-n`; so write until something is followed.
        number = 0

        def seen() -> str:
            nonlocal number
            number += 1
            with path.open("a", encoding="utf-8") as log:
                log.write(f"2026-11-24T03:16:00.000Z level=info service=meter event=n{number}\n")
            return (tmp_path / "out").read_text(encoding="utf-8")

        wait_until(seen, 10, "a followed line")
        os.rename(path, log_dir / "meter.log.1")
        path.write_text("2026-11-24T03:17:00.000Z level=info service=meter event=after\n", encoding="utf-8")
        wait_until(lambda: "event=after" in (tmp_path / "out").read_text("utf-8"), 10, "the line after the rotation")
    finally:
        process.kill()
        process.wait()
    assert f"event=n{number}\n" in (tmp_path / "out").read_text("utf-8")
