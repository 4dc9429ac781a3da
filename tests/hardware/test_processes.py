"""Services as processes of their own, on real hardware's paths: without the virtual one."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.configuration.test_station import ESTOP, GOOD
from tests.hardware.peers import PtyPeer
from tests.hardware.test_outside import ACME, DISTRIBUTION
from tests.harness import wait_until

pytestmark = pytest.mark.process
MakePeer = Callable[..., PtyPeer]
ROOT = Path(__file__).parents[2]


def log_of(service: str, config: str, state_dir: Path, *, until: str) -> str:
    """What a service says until `until` is among it; then it has to end in good order. No broker, no other service."""
    state_dir.mkdir(exist_ok=True)
    path, log = state_dir / "station.toml", state_dir / "log.txt"
    path.write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", f"services.{service}", "--config", str(path), "--state-dir", str(state_dir)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(DISTRIBUTION)))}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stderr=output, env=environment, cwd=ROOT)
    try:
        wait_until(lambda: until in log.read_text(encoding="utf-8"), 20, f"{service} says {until!r}")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    return log.read_text(encoding="utf-8")


def test_an_emergency_stop_that_can_not_be_read_counts_as_pressed(tmp_path: Path) -> None:
    """Nobody could press it now, so nobody charges; the log says which line it is, and what to do."""
    config = GOOD.replace("[supply]", ESTOP.replace("/dev/gpiochip0", str(tmp_path / "none")) + "[supply]")
    said = log_of("connectors", config, tmp_path / "state", until='event="emergency stop pressed"')
    assert 'event="device lost, it is tried again" device=estop' in said
    assert "is not there; plug the device in, or correct the port" in said


def test_a_station_without_an_emergency_stop_looks_for_none(tmp_path: Path) -> None:
    said = log_of("connectors", GOOD, tmp_path / "state", until="device=evse-1")
    assert "estop" not in said


def test_a_driver_from_outside_runs_in_the_service(peer: MakePeer, tmp_path: Path) -> None:
    """Installed beside the package, chosen by one line: the service answers for it as for its own."""
    device = peer(lambda _: b"CARD 04A1B2C3D4E580;")
    said = log_of("rfid", ACME.replace("/dev/ttyR", device.path), tmp_path / "state", until="device answers")
    assert 'device=reader identity="Acme Reader"' in said
