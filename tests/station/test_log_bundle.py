"""`station logs --from`: support reads a bundle as it reads a station (issue 7)."""

import io
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.station import log_reader, support_bundle
from services.station.log_bundle import bundled
from services.station.log_files import NoLog
from tests.acceptance.rig import rig

METER = "2026-11-24T03:15:00.100Z level=info service=meter event=started connector=1\n"
LINK = "2026-11-24T03:15:01.000Z level=warning service=ocpp_link event=late local_tx_id=ab12\n"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "meter.log.1").write_text(METER, encoding="utf-8")
    (tmp_path / "log" / "meter.log").write_text(METER.replace("03:15", "03:16"), encoding="utf-8")
    (tmp_path / "log" / "ocpp_link.log").write_text(LINK, encoding="utf-8")
    assert support_bundle.main(["--state-dir", str(tmp_path), str(tmp_path / "bundle.tar.gz")]) == 0
    return tmp_path / "bundle.tar.gz"


def archive(path: Path, **members: bytes) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            file.addfile(about, io.BytesIO(data))
    return path


def test_a_bundle_is_read_as_the_station_is(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["meter"], ["--level", "warning"], ["--connector", "1"], ["--json"], ["--transaction", "ab12"]):
        capsys.readouterr()
        assert log_reader.main(["--state-dir", str(bundle.parent), *arguments]) == 0
        live = capsys.readouterr().out
        assert log_reader.main(["--from", str(bundle), *arguments]) == 0
        assert capsys.readouterr().out == live
        assert live


def test_what_makes_no_sense_with_a_bundle_is_one_line(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    for more in (["--follow"], ["--state-dir", "/"]):
        assert log_reader.main(["--from", str(bundle), *more]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert "leave one of both out" in said.err
    assert log_reader.main(["--from", str(bundle), "nobody"]) == 2
    assert capsys.readouterr().err == "station logs: there is no log of 'nobody'; there is meter, ocpp_link\n"


def test_what_is_no_bundle_is_one_line(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = bundle.parent / "half.tar.gz"
    half.write_bytes(bundle.read_bytes()[:900])
    text = bundle.parent / "text"
    text.write_text("hello", encoding="utf-8")
    empty = archive(bundle.parent / "empty.tar.gz", readme=b"x")
    capsys.readouterr()
    for path in (half, text, empty, bundle.parent, bundle.parent / "nothing"):
        assert log_reader.main(["--from", str(path)]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1), path
        assert str(path) in said.err


def test_a_name_in_a_bundle_leads_nowhere_else(tmp_path: Path) -> None:
    names = {"../log/../../evil.log": b"x", "a/log/../evil.log": b"x", "/log/evil.log": b"x", "a/b/log/evil.log": b"x"}
    path = archive(tmp_path / "bundle.tar.gz", **names, **{"a/log/good.log": METER.encode()})
    with bundled(str(path)) as logs:
        assert logs.names() == ["good"]
    assert not list(tmp_path.rglob("evil*"))


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_no_bytes_do_harm(noise: bytes, position: int) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as file:
        about = tarfile.TarInfo("a/log/meter.log")
        about.size = len(METER)
        file.addfile(about, io.BytesIO(METER.encode()))
    data = packed.getvalue()
    position %= len(data)
    refusal, names = "", []
    with tempfile.NamedTemporaryFile() as file:
        file.write(data[:position] + noise + data[position + len(noise) :])
        file.flush()
        try:
            with bundled(file.name) as logs:
                names = logs.names()
        except NoLog as error:
            refusal = str(error)
    assert names or refusal
    assert len(refusal.splitlines()) <= 1


@pytest.mark.process
def test_the_story_of_a_session_is_told_without_the_station(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "bundle.tar.gz")
    with rig() as one:
        one.start_by_card()
        one.station.restart("connectors")
        one.stop_by_card()
        (transaction,) = one.finished()
        number = str(transaction.transaction_id)
        assert one.station.command("support-bundle", path).returncode == 0
        live = one.station.command("logs", "--transaction", number).stdout
    assert log_reader.main(["--from", path, "--transaction", number]) == 0
    assert capsys.readouterr().out == live
    assert f"{transaction.energy_wh} Wh)" in live.splitlines()[-1]
