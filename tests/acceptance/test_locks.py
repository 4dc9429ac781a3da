"""The plug in a socket of the real station: held, let go, jammed (OCPP 1.6 §5.18, §4.10)."""

from typing import Any

import pytest

from tests.acceptance.rig import TAG, Rig, rig
from tests.harness import wait_until

pytestmark = pytest.mark.process


def _unlock(one: Rig, connector_id: int = 1) -> str:
    return str(one.central_system.call("UnlockConnector", {"connectorId": connector_id})["status"])


def _lock(one: Rig) -> dict[str, Any]:
    return dict(one.hardware()["lock"])


def _hardware_events(one: Rig) -> list[str]:
    """What truly happened at relay and lock, in order."""
    lines = one.station.command("logs", "simulator", "-n", "200").stdout.splitlines()
    kinds = ("relay-closed", "relay-opened", "locked", "unlocked")
    return [kind for line in lines for kind in kinds if f"what={kind} " in f"{line} "]


def test_unlock_connector_finishes_the_transaction_and_lets_the_plug_go() -> None:
    """OCPP 1.6 §5.18, §7.36 UnlockCommand; hardware.md §6: the lock never moves under a closed contactor."""
    with rig(cable="socket") as one:
        before_wh = one.register_wh()
        one.start_by_card()
        assert _lock(one)["closed"]
        assert _unlock(one) == "Unlocked"
        assert not _lock(one)["closed"]
        assert not one.relay()[0]
        assert one.check_one_transaction(before_wh).reason == "UnlockCommand"
        one.wait_for_status(1, "Finishing")
        assert _hardware_events(one)[-4:] == ["locked", "relay-closed", "relay-opened", "unlocked"]
        assert [_unlock(one, number) for number in (0, 2)] == ["NotSupported", "NotSupported"]


def test_a_jammed_lock_fails_and_is_told_until_it_moves_again() -> None:
    """OCPP 1.6 §7.46 UnlockFailed, §7.6 ConnectorLockFailure."""
    with rig(cable="socket") as one:
        one.start_by_card()
        one.station.sim("fault", "1", "lock")
        assert _unlock(one) == "UnlockFailed"
        assert _lock(one)["closed"]

        def error(book: Any) -> str:
            found = [c.payload for c in book.calls("StatusNotification", one.identity) if c.payload["connectorId"] == 1]
            return str(found[-1]["errorCode"])

        one.central_system.wait_for(lambda book: error(book) == "ConnectorLockFailure", 10, "ConnectorLockFailure")
        one.station.sim("clear-fault", "1", "lock")
        assert _unlock(one) == "Unlocked"
        one.central_system.wait_for(lambda book: error(book) == "NoError", 10, "the lock is well again")
        one.finished()


def test_a_fixed_cable_has_nothing_to_unlock() -> None:
    """OCPP 1.6 §7.46 NotSupported; the transaction goes on."""
    with rig() as one:
        one.start_by_card()
        assert _unlock(one) == "NotSupported"
        one.wait_for_energy(1, one.register_wh() + 5)
        one.stop_by_card()
        one.finished()


def test_restarting_connectors_while_a_car_charges_never_lets_its_plug_go() -> None:
    """Design §2: the output is left as it is."""
    with rig(cable="socket") as one:
        one.start_by_card(tag=TAG)
        one.station.restart("connectors")
        one.wait_for_energy(1, one.register_wh() + 5)
        assert "unlocked" not in _hardware_events(one)[_hardware_events(one).index("relay-closed") :]
        one.station.sim("plug-out", "1")
        wait_until(lambda: not _lock(one)["closed"], 10, "the plug is let go")
        one.wait_for_status(1, "Available")
        one.finished()
