"""The lock of a socket at an OpenEVSE, against a scripted controller on a pty (hardware.md §3.1 `$S5`, §3.4, §6)."""

import logging

import pytest

from services.connectors.drivers.openevse import OpenEvse
from services.connectors.drivers.openevse_lock import ATTEMPTS_MAX, RETRY_S
from services.hardware.contract import EvseDesired, EvseObservation, NoAnswer
from tests.hardware.peers import sealed
from tests.hardware.test_openevse import OFF, OFFER_16, Bench, MakePeer, wait_readable

HELD = EvseDesired(locked=True)
OFFER_HELD = EvseDesired(energy_allowed=True, limit_a=16.0, locked=True)


@pytest.fixture
def bench(peer: MakePeer) -> Bench:
    """A controller with a lock, at a socket."""
    found = Bench(peer)
    found.driver = OpenEvse(found.pty.path, socket=True, now=found.clock)
    return found


def lock_commands(bench: Bench) -> list[str]:
    """What the lock was told, in order."""
    return [command for command in bench.evse.commands if command.startswith("S5")]


def error_codes(seen: EvseObservation) -> list[tuple[str, bool]]:
    """Each fault's code, and whether it is a warning."""
    return [(fault.error_code, fault.warning) for fault in seen.faults]


def test_a_fixed_cable_gets_no_command_about_a_lock(peer: MakePeer) -> None:
    """Issue 3: not even a question."""
    bench = Bench(peer)
    bench.driver.open()
    bench.evse.charge()
    for desired in (OFF, OFFER_16, OFF):
        seen = bench.exchange(desired)
        assert seen.locked is None
    assert not [command for command in bench.evse.commands if "5" in command.split()[0]]


def test_open_looks_at_the_lock_and_leaves_it(bench: Bench) -> None:
    """Design §2: a vehicle may be charging while this process restarts."""
    bench.evse.charge()
    bench.evse.lock, bench.evse.lock_mode = 1, "M"
    bench.driver.open()
    assert bench.exchange(None).locked is True
    assert bench.evse.set_commands() == []


def test_the_plug_is_held_before_energy_is_offered(bench: Bench) -> None:
    """hardware.md §6: lock before the relay closes."""
    bench.evse.plug()
    bench.settle(OFF)
    assert bench.exchange(OFFER_HELD).locked is True
    commands = bench.evse.commands
    assert commands.index("S5 1") < commands.index("FE")


def test_the_plug_is_let_go_only_when_the_contactor_is_open(bench: Bench) -> None:
    """hardware.md §6: even if that is asked for earlier."""
    bench.evse.charge()
    bench.evse.lock, bench.evse.lock_mode = 1, "M"
    bench.settle(OFFER_HELD)
    bench.evse.unknown.add("FS")
    with pytest.raises(NoAnswer, match="refuses"):
        bench.exchange(OFF)
    assert lock_commands(bench) == []
    bench.evse.unknown.discard("FS")
    bench.exchange(OFF)
    seen = bench.exchange(OFF)
    assert (seen.relay_closed, seen.locked) == (False, False)


@pytest.mark.parametrize(("position", "mode"), [(1, "M"), (0, "M"), (1, "A")])
def test_a_lock_of_which_nothing_is_said_stays_as_it_is(bench: Bench, position: int, mode: str) -> None:
    """So the guard withdraws energy where it does not know yet whether a plug is held."""
    bench.evse.charge()
    bench.evse.lock, bench.evse.lock_mode = position, mode
    bench.driver.open()
    for _ in range(5):
        seen = bench.exchange(EvseDesired(locked=None, unlock_attempts=3))
    assert (seen.offering, seen.locked, lock_commands(bench)) == (False, position == 1, [])


def test_a_lock_that_is_where_it_should_be_is_left_in_peace(bench: Bench) -> None:
    bench.evse.plug()
    bench.settle(HELD)
    bench.exchange(HELD)
    bench.exchange(HELD, after_s=60)
    assert lock_commands(bench) == []


def test_a_plug_that_can_not_be_held_gets_no_energy_until_it_can(bench: Bench) -> None:
    """hardware.md §3.4, §6: at most three tries in one go, ConnectorLockFailure, and again later."""
    bench.evse.plug()
    bench.evse.lock_jams = True
    bench.settle(OFF)
    seen = bench.exchange(OFFER_HELD)
    assert error_codes(seen) == [("ConnectorLockFailure", False)]
    assert "FE" not in bench.evse.commands
    assert lock_commands(bench).count("S5 1") == ATTEMPTS_MAX
    bench.exchange(OFFER_HELD)
    assert lock_commands(bench).count("S5 1") == ATTEMPTS_MAX
    bench.evse.lock_jams = False
    seen = bench.exchange(OFFER_HELD, after_s=RETRY_S)
    assert (seen.faults, seen.locked, seen.offering) == ((), True, True)


def test_a_failure_to_hold_ends_when_nothing_is_to_be_held(bench: Bench) -> None:
    bench.evse.plug()
    bench.evse.lock_jams = True
    bench.settle(OFF)
    bench.exchange(HELD)
    bench.evse.lock_jams = False
    assert bench.exchange(OFF).faults == ()


def test_a_plug_that_can_not_be_let_go_is_a_warning(bench: Bench) -> None:
    """It could still charge; OCPP 1.6 §4.9."""
    bench.evse.plug()
    bench.settle(HELD)
    bench.evse.lock_jams = True
    seen = bench.exchange(OFF)
    assert (error_codes(seen), seen.locked) == ([("ConnectorLockFailure", True)], True)
    bench.evse.lock_jams = False
    seen = bench.exchange(OFF, after_s=RETRY_S)
    assert (seen.faults, seen.locked) == ((), False)


@pytest.mark.parametrize("jams", [False, True])
def test_an_attempt_by_force_moves_a_lock_that_seems_open(bench: Bench, jams: bool) -> None:
    """OCPP 1.6 §5.18: "forcing a new attempt to unlock the connector"; its number tells that it was tried."""
    bench.evse.plug()
    bench.settle(OFF)
    bench.evse.lock_jams = jams
    seen = bench.exchange(EvseDesired(unlock_attempts=1))
    assert lock_commands(bench) == ["S5 0"] * (ATTEMPTS_MAX if jams else 1)
    assert (seen.unlock_attempts, error_codes(seen)) == (1, [("ConnectorLockFailure", True)] if jams else [])
    before = len(lock_commands(bench))
    bench.exchange(EvseDesired(unlock_attempts=1))
    assert len(lock_commands(bench)) == before


def test_a_restart_of_the_controller_loses_its_manual_mode(bench: Bench) -> None:
    """hardware.md §3.1."""
    bench.evse.plug()
    bench.settle(HELD)
    bench.evse.lock_mode, bench.evse.lock = "A", 1
    bench.pty.send(sealed("$AB 00 8.2.3"))
    wait_readable(bench)
    bench.driver.exchange(HELD)
    assert lock_commands(bench) == ["S5 M", "S5 1"]


def test_the_mode_is_not_changed_while_the_contactor_is_closed(bench: Bench) -> None:
    """Changing it might let the plug go for a moment; the controller's own mode holds it as well."""
    bench.evse.charge()
    bench.evse.lock = 1
    bench.driver.open()
    seen = bench.exchange(OFFER_HELD)
    assert lock_commands(bench) == []
    assert (seen.locked, seen.faults, seen.relay_closed) == (True, (), True)


def test_a_controller_without_a_lock_charges_and_is_warned_of_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A build without the lock does not know `$G5`; UnlockConnector is NotSupported there (OCPP 1.6 §7.46)."""
    bench.evse.unknown |= {"G5", "S5"}
    bench.evse.plug()
    with caplog.at_level(logging.WARNING):
        bench.settle(OFF)
        seen = bench.exchange(OFFER_HELD)
    assert (seen.locked, seen.faults, seen.offering) == (None, (), True)
    assert len([r for r in caplog.records if "no lock" in r.getMessage()]) == 1


def test_a_lock_that_does_not_answer_for_once_is_still_one(bench: Bench) -> None:
    bench.evse.plug()
    bench.settle(HELD)
    bench.evse.unknown |= {"G5"}
    seen = bench.exchange(OFF)
    assert (seen.locked, error_codes(seen)) == (True, [("ConnectorLockFailure", True)])
    bench.evse.unknown -= {"G5"}
    assert bench.exchange(OFF, after_s=RETRY_S).locked is False
