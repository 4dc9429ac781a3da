"""`station run`: the lock, what an earlier run left, long paths, bad configuration (design §2)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bus.process import lock_holder
from services.station.survivors import end_survivors
from tests.harness import Station, wait_until
from tests.station.conftest import ROOT, StandInStation

pytestmark = pytest.mark.process


def test_a_second_run_on_the_same_directory_is_refused_in_one_line(stand_ins: StandInStation) -> None:
    done = subprocess.run(
        stand_ins.run_command(), env=stand_ins.environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"a station runs already in {stand_ins.state_dir} (process {stand_ins.pid('supervisord')})" in done.stderr
    assert stand_ins.all_in("RUNNING")


def test_no_service_survives_a_killed_supervisord_and_a_second_run_starts_clean(stand_ins: StandInStation) -> None:
    """Issue 2, acceptance 2."""
    before = set(stand_ins.processes().values())
    stand_ins.kill_supervisord()
    wait_until(lambda: not stand_ins.processes(), 5, "the services die with their parent")
    stand_ins.start()
    after = stand_ins.processes()
    assert set(after) == {"supervisord", "broker", "meter", "rfid"}
    assert not before & set(after.values())


def test_no_service_finds_another_stations_device_under_a_name_of_an_earlier_run(stand_ins: StandInStation) -> None:
    """A killed simulator leaves names of pseudo-terminals behind, which the kernel gives to whoever asks next."""
    stand_ins.kill_supervisord()
    wait_until(lambda: not stand_ins.processes(), 5, "the services die with their parent")
    devices = stand_ins.state_dir / "dev"
    devices.mkdir(exist_ok=True)
    (devices / "meter-1").symlink_to("/dev/ptmx")
    (devices / "notes.txt").write_text("somebody's", encoding="ascii")
    stand_ins.start()
    assert [entry.name for entry in devices.iterdir()] == ["notes.txt"]


def test_a_survivor_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """design §2: ended when lock, pid and start time prove it to be ours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("services.station.survivors.TERM_WAIT_S", 0.2)
    with _stubborn("old.lock") as process:
        assert end_survivors() == ["old"]
        assert process.wait(5) == -signal.SIGKILL
    assert end_survivors() == []


def test_a_process_that_is_not_proved_by_its_start_time_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pid may have passed to a stranger: the start is refused, and nobody is harmed."""
    from services.station.survivors import Survivor

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("services.station.survivors.TERM_WAIT_S", 0.05)
    monkeypatch.setattr("services.station.survivors.KILL_WAIT_S", 0.05)
    with _stubborn("old.lock") as process:
        Path("old.lock").write_text(f"{process.pid} 1\n", encoding="ascii")
        with pytest.raises(Survivor, match=r"old\.lock .*end it by hand"):
            end_survivors()
        assert process.poll() is None


def test_a_state_directory_with_a_long_and_strange_path_works(tmp_path: Path) -> None:
    """design §2: unix socket paths have at most 107 bytes. Issue 2: a path of 200 characters works."""
    state_dir = tmp_path / ("d" * 100) / ("50 %(here)s ;x #y 'q'" + "e" * 90)
    assert len(str(state_dir)) >= 200
    with StandInStation(state_dir=state_dir) as station:
        assert station.status()["services"]["meter"]["health"] == "well"
        assert "works again" in station.restart("meter")


def test_the_lock_is_supervisords_and_no_service_inherits_it(stand_ins: StandInStation) -> None:
    """A service that outlived supervisord must not keep the next run away."""
    assert lock_holder(str(stand_ins.state_dir / "run" / "station.lock")) == stand_ins.pid("supervisord")
    for name, pid in stand_ins.processes().items():
        holds = [os.path.realpath(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
        assert (str(stand_ins.state_dir / "run" / "station.lock") in holds) == (name == "supervisord")


def test_each_run_has_ids_of_its_own(stand_ins: StandInStation) -> None:
    """design §2: each run is an application boot, and under --virtual a hardware boot."""
    ids = _ids(stand_ins)
    assert stand_ins.stop() == []
    stand_ins.start()
    assert not ids & _ids(stand_ins)


def test_a_closed_terminal_ends_the_station_in_good_order(stand_ins: StandInStation) -> None:
    os.kill(stand_ins.pid("supervisord"), signal.SIGHUP)
    assert stand_ins.process is not None
    assert stand_ins.process.wait(10) == 0
    assert stand_ins.processes() == {}
    assert "event=stopped" in stand_ins.log("meter")


def test_a_bad_configuration_stops_the_start_with_one_line(tmp_path: Path) -> None:
    """Issue 2: an error names file, key and remedy; nothing is started."""
    station = Station("[station]\nidentity = 7\n", state_dir=tmp_path, ready_timeout_s=None)
    done = subprocess.run(station.run_command(), capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(station.config_path) in done.stderr
    assert not (tmp_path / "run").exists()


def _stubborn(lock: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, str(ROOT / "tests" / "station" / "stubborn.py"), lock], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return _Killed(process)  # type: ignore[return-value]


class _Killed:
    """Kills the process at the end, whatever the test found."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _ids(station: StandInStation) -> set[bytes]:
    variables = Path(f"/proc/{station.pid('meter')}/environ").read_bytes().split(b"\0")
    found = {line for line in variables if line.startswith((b"CHARGEBUS_BOOT_ID=", b"CHARGEBUS_RUN_ID="))}
    assert len(found) == 2
    return found
