"""A vehicle that draws more than it was offered is found by the meter (hardware.md §3.4, "meter rule"; OCPP 1.6 §7.6)."""

import pytest

from bus.vocabulary import ChargePointErrorCode
from services.connectors import events as e
from services.connectors.overcurrent import GAP_S_MAX, MARGIN_A, OVER_S
from services.connectors.plug_in import SavePlugFaults
from services.hardware.contract import EvseDesired, EvseFault
from tests.connectors.bench import ONLINE, Bench, charging

OFFERED_A = 16.0
TOO_MUCH = (OFFERED_A, OFFERED_A + MARGIN_A + 0.5, OFFERED_A)
AS_MUCH_AS_MAY_BE = (OFFERED_A + MARGIN_A,) * 3


def offered_16() -> Bench:
    bench = charging(supply_a=OFFERED_A)
    assert bench.plants[1].desired.limit_a == OFFERED_A
    return bench


def draws(bench: Bench, *amps: float) -> None:
    bench.plants[1].measured = {"power_w": sum(amps) * 230.0, "currents_a": amps}


def shown(bench: Bench) -> tuple[str, ChargePointErrorCode, str]:
    said = bench.audit.statuses[1][-1]
    return said.status, said.error_code, said.vendor_error_code


def test_a_vehicle_that_draws_more_than_it_was_offered_gets_nothing_until_it_is_unplugged() -> None:
    """One phase is enough. The transaction stays, as with any fault."""
    bench = offered_16()
    draws(bench, *TOO_MUCH)
    bench.advance(OVER_S - 1.0)
    assert bench.status() == "Charging"
    bench.advance(2.5)
    assert shown(bench) == ("Faulted", ChargePointErrorCode.OVER_CURRENT_FAILURE, "over-current")
    assert (bench.plants[1].desired.energy_allowed, bench.connector().transaction is None) == (False, False)
    draws(bench, 0.0)
    bench.advance(600)
    assert (shown(bench)[0], bench.plants[1].desired.energy_allowed) == ("Faulted", False)
    bench.unplug()
    bench.advance(5)
    assert shown(bench) == ("Available", ChargePointErrorCode.NO_ERROR, "")
    bench.plug_in()
    bench.card()
    bench.advance(10)
    assert bench.status() == "Charging"
    assert bench.notes().count("vehicle draws more than it was offered") == 1


def test_a_plug_that_came_out_unseen_ends_it_too() -> None:
    bench = offered_16()
    bench.advance(60)
    draws(bench, *TOO_MUCH)
    bench.advance(OVER_S + 2.0)
    assert bench.status() == "Faulted"
    draws(bench, 0.0)
    bench.plants[1].unplug()
    bench.plants[1].plug_in()
    bench.advance(5)
    assert shown(bench)[1] is ChargePointErrorCode.NO_ERROR


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("ended", [False, True])
def test_a_restart_of_the_service_does_not_end_it(ended: bool, counts: bool) -> None:
    """Design §2: else the vehicle would have OVER_S of it after each one. Also where a controller has no counters."""
    bench = offered_16()
    bench.plants[1].counts = counts
    draws(bench, *TOO_MUCH)
    bench.advance(OVER_S + 2.5)
    draws(bench, 0.0)
    if ended:
        bench.card()
        bench.advance(5)
    bench.plants[1].restart_controller()
    bench.advance(5)
    for away_s in (0.5, 10.0):
        bench.restart(away_s=away_s)
        bench.advance(3)
        assert (shown(bench)[0], shown(bench)[2]) == ("Faulted", "over-current")
    if ended:
        bench.card()
    bench.advance(600)
    assert (bench.status(), bench.plants[1].desired.energy_allowed) == ("Faulted", False)
    assert bench.notes().count("vehicle draws more than it was offered") == 1
    bench.unplug()
    bench.advance(5)
    bench.restart()
    bench.plug_in()
    bench.card()
    bench.advance(10)
    assert bench.status() == "Charging"


@pytest.mark.parametrize("how", ["counters", "guard", "not heard"])
def test_another_vehicle_that_came_while_the_service_was_away_is_not_accused_of_it(how: str) -> None:
    """Whatever tells that it is another plug-in."""
    bench = offered_16()
    bench.advance(60)
    draws(bench, *TOO_MUCH)
    bench.advance(OVER_S + 2.5)
    draws(bench, 0.0)
    if how == "guard":
        bench.plants[1].counts = False
        bench.leave_to_guard()
    else:
        bench.plants[1].answers = how == "counters"
        bench.plants[1].unplug()
        bench.plants[1].plug_in()
        bench.restart()
        bench.advance(20)
        bench.plants[1].answers = True
    bench.advance(5)
    assert (shown(bench)[0], shown(bench)[1]) == ("Preparing", ChargePointErrorCode.NO_ERROR)


def test_a_power_cut_ends_it() -> None:
    """Choice in plug_in.py: its transaction has ended, and nobody can tell any more whose plug is in."""
    bench = offered_16()
    draws(bench, *TOO_MUCH)
    bench.advance(OVER_S + 2.5)
    draws(bench, 0.0)
    bench.power_cut()
    bench.advance(5)
    bench.feed(e.LinkChanged(ONLINE))
    assert (shown(bench)[0], bench.plants[1].desired.energy_allowed) == ("Finishing", False)
    bench.card()
    bench.advance(10)
    assert bench.status() == "Charging"


def test_energy_is_withdrawn_before_it_is_written_that_it_is_to_stay_so() -> None:
    """Design §3: safety waits for nothing; and one commit has it with what is told of it."""
    bench = offered_16()
    draws(bench, *TOO_MUCH)
    before = len(bench.effects)
    bench.advance(OVER_S + 2.5)
    found = [effect for effect in bench.effects[before:] if isinstance(effect, e.SetEvse | e.Commit | e.PublishConnector)]
    saved = next(effect for effect in found if isinstance(effect, e.Commit) and _saves_faults(effect))
    at = found.index(saved)
    assert found[at - 1] == e.SetEvse(1, EvseDesired())
    assert isinstance(found[at + 1], e.PublishConnector)


def _saves_faults(commit: e.Commit) -> bool:
    return any(isinstance(change, SavePlugFaults) for change in commit.changes)


@pytest.mark.parametrize("amps", [AS_MUCH_AS_MAY_BE, ()])
def test_what_lies_within_the_margin_or_is_not_measured_accuses_nobody(amps: tuple[float, ...]) -> None:
    bench = offered_16()
    draws(bench, *amps)
    bench.advance(5 * OVER_S)
    assert bench.status() == "Charging"


def test_a_peak_is_no_over_current_nor_are_two() -> None:
    bench = offered_16()
    for _ in range(3):
        draws(bench, *TOO_MUCH)
        bench.advance(OVER_S - 2.0)
        draws(bench, OFFERED_A)
        bench.advance(2.0)
    assert bench.status() == "Charging"


def test_a_meter_that_was_silent_in_between_proves_nothing() -> None:
    bench = offered_16()
    draws(bench, *TOO_MUCH)
    bench.advance(OVER_S - 2.0)
    bench.plants[1].meter_answers = False
    bench.advance(GAP_S_MAX + 3.0)
    bench.plants[1].meter_answers = True
    bench.advance(OVER_S - 2.0)
    assert bench.status() == "Charging"
    bench.advance(4.0)
    assert bench.status() == "Faulted"


def test_a_vehicle_has_time_to_follow_a_lower_offer() -> None:
    """The second car takes half of the supply."""
    bench = Bench(2, supply_a=32.0)
    bench.plug_in(1)
    bench.card("A")
    bench.advance(10)
    draws(bench, 32.0)
    bench.plug_in(2)
    bench.card("B")
    bench.advance(OVER_S - 3.0)
    assert bench.plants[1].desired.limit_a == 16.0
    draws(bench, 16.0)
    bench.advance(2 * OVER_S)
    assert [bench.status(1), bench.status(2)] == ["Charging", "Charging"]


def test_the_controllers_own_word_is_told_once() -> None:
    bench = offered_16()
    draws(bench, *TOO_MUCH)
    bench.advance(OVER_S + 2.0)
    draws(bench, 0.0)
    bench.plants[1].faults = (EvseFault(ChargePointErrorCode.OVER_CURRENT_FAILURE, "openevse:0B"),)
    bench.advance(2.0)
    assert shown(bench) == ("Faulted", ChargePointErrorCode.OVER_CURRENT_FAILURE, "openevse:0B")
    assert [error.vendor_error_code for error in bench.connector().told] == ["openevse:0B"]
