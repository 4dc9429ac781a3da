"""A service that hangs is noticed, told and helped within 15 s; a car is not left with energy (issue 7, acceptance 2)."""

import signal
import subprocess
import sys
from typing import Any

import pytest

from services.connectors import unplugged
from tests.acceptance.rig import TAG, Rig, rig
from tests.harness import wait_until

pytestmark = pytest.mark.process

NOTICED_S = 15.0


def errors(one: Rig) -> list[str]:
    """What the Central System was told of connector 0, in order."""
    payloads: list[Any] = [entry.payload for entry in one.central_system.book.calls("StatusNotification")]
    return [payload["errorCode"] for payload in payloads if payload["connectorId"] == 0]


def test_services_that_hang_are_replaced_and_the_central_system_is_told() -> None:
    """The broker first: no other service is blamed for its silence, and the session does not notice."""
    with rig() as one:
        one.start_by_card()
        _hangs(one, "meter")
        _hangs(one, "broker")
        assert one.relay() == (True, 0)
        one.stop_by_card()
        one.check_one_transaction(0)


def test_energy_is_withdrawn_while_connectors_is_gone_and_the_session_goes_on_after() -> None:
    """Design §2: after orphan_grace_s the guard takes the port; the service returns and resumes the same transaction."""
    with rig(ocpp="\n[system]\norphan_grace_s = 4\n") as one:
        one.start_by_card()
        supervisorctl(one, "stop")
        wait_until(lambda: not one.relay()[0], 20, "the guard withdraws energy")
        wait_until(lambda: errors(one)[-1] == "InternalError", 10, "the Central System is told")
        supervisorctl(one, "start")
        wait_until(lambda: one.relay()[0], 20, "the session goes on")
        one.stop_by_card()
        one.check_one_transaction(0)


def test_another_car_that_comes_meanwhile_does_not_charge_on_the_card_of_the_one_before() -> None:
    """Design §2: nothing was charged yet, so that the controller's counters fit any plug-in. The guard saw the plug out."""
    with rig(ocpp="\n[system]\norphan_grace_s = 4\n") as one:
        one.station.sim("plug-in", "1")
        one.station.sim("ev-pause", "1")
        one.station.sim("swipe", TAG)
        one.wait_for_status(1, "SuspendedEV")
        supervisorctl(one, "stop")
        wait_until(lambda: not one.hardware()["controller"]["offering"], 20, "the guard withdraws energy")
        one.station.sim("plug-out", "1")
        wait_until((one.station.state_dir / "run" / unplugged.FILE).exists, 10, "the guard notes it")
        one.station.sim("plug-in", "1")
        supervisorctl(one, "start")
        (transaction,) = one.finished()
        assert (transaction.reason, transaction.energy_wh) == ("EVDisconnected", 0)
        one.wait_for_status(1, "Preparing")
        assert one.relay() == (False, 0)


def _hangs(one: Rig, service: str) -> None:
    pids, told = one.station.processes(), len(errors(one))
    one.station.kill(service, signal.SIGSTOP)
    wait_until(lambda: one.station.processes().get(service) not in (pids[service], None), NOTICED_S, f"{service} is replaced")
    wait_until(lambda: errors(one)[told:][-1:] == ["NoError"], 30, "the Central System is told, and that it is over")
    assert "InternalError" in errors(one)[told:]
    after = one.station.processes()
    assert {name for name, pid in pids.items() if after[name] != pid} == {service}
    wait_until(lambda: one.station.status()["well"], 15, "all is well again")


def supervisorctl(one: Rig, action: str) -> None:
    """What a maintainer does by hand."""
    command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", "supervisord.conf", action, "connectors"]
    subprocess.run(command, cwd=one.station.state_dir / "run", check=True, capture_output=True, timeout=30)
