"""What the Central System commands of availability outlives deaths and power cuts of the real station (OCPP 1.6 §5.2)."""

import signal

import pytest

from tests.acceptance.rig import Rig, rig
from tests.harness import wait_until

pytestmark = pytest.mark.process


def _change(one: Rig, connector_id: int, type_: str) -> str:
    answer = one.central_system.call("ChangeAvailability", {"connectorId": connector_id, "type": type_})
    return str(answer["status"])


def _told(one: Rig, connector_id: int) -> list[str]:
    """The statuses that the Central System was told of a connector, in order."""
    calls = one.central_system.book.calls("StatusNotification", one.identity)
    return [str(call.payload["status"]) for call in calls if call.payload["connectorId"] == connector_id]


def _kill_connectors(one: Rig) -> None:
    pid = one.station.kill("connectors", signal.SIGKILL)
    wait_until(lambda: one.station.processes().get("connectors", pid) != pid, 10, "connectors runs again")
    one.station.sim("ready", "--timeout", "15")


def test_unavailable_outlives_the_death_of_connectors_and_a_power_cut() -> None:
    """OCPP 1.6 §4.9: "MUST be persistent across reboots"; field report 50."""
    with rig() as one:
        assert _change(one, 0, "Inoperative") == "Accepted"
        one.wait_for_status(1, "Unavailable")
        one.wait_for_status(0, "Unavailable")
        _kill_connectors(one)
        one.station.kill_supervisord()
        wait_until(lambda: not one.station.processes(), 5, "no service survives supervisord")
        one.station.start()
        one.central_system.wait_for(lambda book: len(book.calls("BootNotification")) == 2, 20, "the second boot")
        wait_until(lambda: _told(one, 1).count("Unavailable") == 2, 10, "the boot tells Unavailable again")
        assert _told(one, 1) == ["Available", "Unavailable", "Unavailable"]
        assert _change(one, 0, "Operative") == "Accepted"
        one.wait_for_status(1, "Available")
        one.wait_for_status(0, "Available")
        one.start_by_card()
        one.stop_by_card()
        one.finished()


def test_a_scheduled_change_outlives_the_death_of_connectors_and_comes_without_a_flash() -> None:
    """OCPP 1.6 §5.2 Scheduled; field report 42: the final state is told once."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        assert _change(one, 1, "Inoperative") == "Scheduled"
        _kill_connectors(one)
        one.wait_for_energy(1, one.register_wh() + 5)
        one.station.sim("plug-out", "1")
        one.wait_for_status(1, "Unavailable")
        assert one.check_one_transaction(before_wh).reason == "EVDisconnected"
        assert _told(one, 1)[-2:] == ["Finishing", "Unavailable"]
        assert _told(one, 1).count("Available") == 1, "only at the boot"


def test_out_of_service_at_the_station_outlives_restarts_and_the_central_systems_operative() -> None:
    """Issue 7: on a running station, on one whose connectors is dead, and on a stopped one."""
    with rig() as one:
        one.start_by_card()
        done = one.station.command("out-of-service", "on")
        assert (done.returncode, done.stderr) == (0, "")
        assert "connector 1 still charges: it is out of service when that transaction ends" in done.stdout
        one.wait_for_energy(1, one.register_wh() + 5)
        one.station.sim("plug-out", "1")
        one.wait_for_status(1, "Unavailable")
        one.wait_for_status(0, "Unavailable")
        assert _change(one, 0, "Operative") == "Rejected"
        assert _change(one, 1, "Operative") == "Rejected"
        said = one.central_system.book.calls("StatusNotification", one.identity)[-1].payload
        assert said["info"] == "out of service by a command at the station"
        _kill_connectors(one)
        shown = one.station.status()["connectors"]["1"]
        assert (shown["status"], shown["out_of_service"]) == ("Unavailable", True)
        assert "taken out of service at the station" in one.station.command("status").stdout
        refused = one.station.command("out-of-service", "off", "9")
        assert (refused.returncode, refused.stderr) == (1, "station out-of-service: there is no connector 9\n")
        one.station.stop()
        stopped = one.station.command("out-of-service", "off")
        assert (stopped.returncode, stopped.stdout) == (0, "the charge point and all connectors are in service\n")
        one.station.start()
        one.wait_for_status(1, "Available")
        one.start_by_card()
        one.stop_by_card()
        one.finished()
