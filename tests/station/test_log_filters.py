"""`station logs`: what is chosen, and how it looks on a phone (issue 7)."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from services.station import log_filter, log_reader
from services.station.log_files import LogDirectory
from services.station.log_lines import Record
from services.station.log_text import Days, short

DAY = "2026-11-24T"
PLUGGED = 'event="status changes" connector=1 detail="Available -> Preparing"'
CONNECTORS = f"""{DAY}03:15:00.100Z level=info service=connectors {PLUGGED}
{DAY}03:16:00.000Z level=info service=connectors event="card accepted" connector=2 id_tag="04A1…D4" detail="it is 10"
{DAY}03:17:00.000Z level=warning service=connectors event="device does not answer" device=evse-1 reason="no reply"
{DAY}03:18:00.000Z level=info service=connectors event="transaction ends" connector=10 local_tx_id=aa
"""
WATCHDOG = f"""{DAY}03:16:30.000Z level=warning service=guard event="energy is withdrawn" device=evse-2
{DAY}03:16:31.000Z level=info service=watchdog event=started
"""
FRAMES = (
    f'{DAY}03:15:30.000Z level=info service=ocpp_link event="frame sent" kind=CALL action=Heartbeat'
    ' frame="[2,\\"a\\",\\"Heartbeat\\",{}]"\n'
)
NOW_S = 1_763_000_000.0
"""2025-11-13T02:13:20Z."""


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "log"
    directory.mkdir()
    for name, text in (("connectors", CONNECTORS), ("watchdog", WATCHDOG), ("ocpp_frames", FRAMES)):
        (directory / f"{name}.log").write_text(text, encoding="utf-8")
    return directory


def times(capsys: pytest.CaptureFixture[str], log_dir: Path, *arguments: str) -> list[str]:
    """Minutes and seconds of what is shown."""
    assert log_reader.main(["--state-dir", str(log_dir.parent), *arguments]) == 0
    return [line[14:19] for line in capsys.readouterr().out.splitlines()]


def test_a_connector_with_its_devices_and_no_other(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    assert times(capsys, log_dir, "--connector", "1") == ["15:00", "17:00"]
    assert times(capsys, log_dir, "--connector", "2") == ["16:00", "16:30"]
    assert times(capsys, log_dir, "--connector", "10") == ["18:00"]


def test_a_time_from_and_to(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    assert times(capsys, log_dir, "--since", "2026-11-24T03:16", "--until", "2026-11-24 04:17:00+01:00") == [
        "16:00",
        "16:30",
        "16:31",
    ]


def test_a_text_in_capitals_or_not(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    assert times(capsys, log_dir, "--grep", "ENERGY is") == ["16:30"]


def test_frames_are_shown_where_they_are_asked_for(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    assert "15:30" not in times(capsys, log_dir)
    assert "15:30" in times(capsys, log_dir, "--frames")
    assert times(capsys, log_dir, "ocpp_frames") == ["15:30"]
    assert times(capsys, log_dir, "watchdog", "--frames") == ["15:30", "16:30", "16:31"]


def test_who_writes_into_the_log_of_another_is_found_by_name(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    assert times(capsys, log_dir, "guard") == ["16:30"]


def test_lines_that_were_left_out_are_told(capsys: pytest.CaptureFixture[str], log_dir: Path) -> None:
    lines = [f"2026-11-24T03:20:00.{n:03d}Z level=info service=meter event=n{n}\n" for n in range(150)]
    (log_dir / "meter.log").write_text("".join(lines), encoding="utf-8")
    log_reader.main(["--state-dir", str(log_dir.parent)])
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 100
    assert said.err == "station logs: these are the last 100 of 156; -n all shows all\n"
    assert len(times(capsys, log_dir, "-n", "all")) == 156
    assert len(times(capsys, log_dir, "--since", "2026-11-24")) == 156


@pytest.mark.parametrize("given", ["yesterday", "10 weeks", "2026-13-01", "25:00", "", "²m"])
def test_what_is_no_time_is_one_line(capsys: pytest.CaptureFixture[str], log_dir: Path, given: str) -> None:
    assert log_reader.main(["--state-dir", str(log_dir.parent), "--since", given or " "]) == 2
    said = capsys.readouterr().err
    assert "is no time; give 10m, 2h or 1d (ago)" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("30s", "2025-11-13T02:12:50.000Z"),
        ("10m", "2025-11-13T02:03:20.000Z"),
        ("2h", "2025-11-13T00:13:20.000Z"),
        ("1d", "2025-11-12T02:13:20.000Z"),
        ("02:00", "2025-11-13T02:00:00.000Z"),
        ("23:59:30", "2025-11-12T23:59:30.000Z"),
        ("2025-11-01", "2025-11-01T00:00:00.000Z"),
        ("2025-11-01T01:02:03.004Z", "2025-11-01T01:02:03.004Z"),
        ("2025-11-01 01:02+02:00", "2025-10-31T23:02:00.000Z"),
    ],
)
def test_times_as_people_give_them(given: str, meant: str) -> None:
    assert log_filter.moment(given, NOW_S) == meant


def test_short_lines_say_the_day_once_and_what_people_need() -> None:
    written = [Record(line[:24], "connectors", line) for line in CONNECTORS.splitlines()]
    days = Days()
    shown = [line for record in written for line in days.lines(record)]
    assert shown == [
        "-- 2026-11-24 UTC",
        "03:15:00.100 connectors: status changes, Available -> Preparing  connector=1",
        '03:16:00.000 connectors: card accepted, it is 10  connector=2 id_tag="04A1…D4"',
        "03:17:00.000 ! connectors: device does not answer, no reply  device=evse-1",
        "03:18:00.000 connectors: transaction ends  connector=10 local_tx_id=aa",
    ]


def test_short_frames_have_direction_action_latency_and_payload() -> None:
    answer = (
        '2026-11-24T03:15:30.010Z level=info service=ocpp_link event="frame received" kind=CALLRESULT '
        'action=Heartbeat unique_id=a latency_ms=10 bytes=60 frame="[3,\\"a\\",{\\"currentTime\\":\\"x\\"}]"'
    )
    lines = [*FRAMES.splitlines(), answer]
    assert [short(Record(line[:24], "ocpp_frames", line)) for line in lines] == [
        "03:15:30.000 → Heartbeat {}",
        '03:15:30.010 ← Heartbeat answered in 10 ms {"currentTime":"x"}',
    ]


def test_a_folded_line_says_how_often_and_since_when() -> None:
    line = (
        '2026-11-24T03:15:30.010Z level=warning service=meter event="no answer" times=5 since=2026-11-24T03:10:00.000Z device=m'
    )
    assert short(Record(line[:24], "meter", line)) == "03:15:30.010 ! meter: no answer (5 times since 03:10:00)  device=m"


def test_memory_does_not_grow_with_the_logs(tmp_path: Path) -> None:
    line = "2026-11-24T03:20:00.000Z level=info service=meter event=reading detail=" + "x" * 200 + "\n"
    (tmp_path / "meter.log").write_text(line * 20_000, encoding="utf-8")
    tracemalloc.start()
    try:
        count = sum(1 for _ in LogDirectory(str(tmp_path)).records("meter"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 1_000_000, "5 MB of log were held in memory"


@pytest.mark.process
def test_a_reader_that_has_seen_enough_causes_no_noise(log_dir: Path) -> None:
    """`station logs | head -1`."""
    line = "2026-11-24T03:20:00.000Z level=info service=meter event=" + "x" * 200 + "\n"
    (log_dir / "meter.log").write_text(line * 2000, encoding="utf-8")
    command = f"{sys.executable} -m services.station.cli logs --state-dir {log_dir.parent} -n all --json | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert json.loads(done.stdout)["service"] == "connectors"
    assert done.stderr == ""
