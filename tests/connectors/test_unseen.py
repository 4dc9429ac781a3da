"""Plugs that nobody could see, and stops that a restart interrupted: nobody pays for another's energy (design §2)."""

import pytest

from bus.vocabulary import Reason
from services.connectors import events as e
from services.connectors.observations import UNSEEN_S_MAX
from services.connectors.state import Settings
from services.hardware.contract import EvseDesired
from tests.connectors.bench import Bench
from tests.connectors.plant import GROUND_FAULT
from tests.connectors.test_sessions import charging

LONG_S = UNSEEN_S_MAX + 5.0


def charges(*, counts: bool) -> Bench:
    """A car charges, at a controller that counts or does not."""
    bench = Bench()
    bench.plants[1].counts = counts
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert bench.status() == "Charging"
    return bench


def silence(bench: Bench) -> None:
    """The line of the controller is cut; it keeps its order."""
    bench.plants[1].answers = False
    bench.feed(e.EvseFailed(1, "no answer"))


def answer_again(bench: Bench) -> None:
    """The line is whole again."""
    bench.plants[1].answers = True
    bench.advance(8)


def exchange(bench: Bench) -> None:
    """Another car takes the plug."""
    bench.plants[1].unplug()
    bench.plants[1].plug_in()


@pytest.mark.parametrize("counts", [True, False])
def test_a_car_that_came_while_the_controller_was_silent_does_not_charge_on_the_card_before(counts: bool) -> None:
    """Its counters have gone further than those of the car before, or there are none: nothing shows that it is the same one."""
    bench = charges(counts=counts)
    bench.advance(20)
    left_at_wh = int(bench.plants[1].register_wh)
    silence(bench)
    exchange(bench)
    bench.advance(60)
    answer_again(bench)
    stop = bench.stop_message()
    assert stop.reason == Reason.EV_DISCONNECTED
    assert left_at_wh - 2 <= stop.meter_stop_wh <= left_at_wh
    assert not bench.plants[1].desired.energy_allowed
    assert bench.status() == "Preparing"
    details = [note.detail for note in bench.effects if isinstance(note, e.Note) and "another plug-in" in note.text]
    assert details == ["nobody could see for too long whether the plug stayed in"]


def test_one_whose_counters_were_set_back_neither() -> None:
    """It charged for less than the one before."""
    bench = charging()
    bench.advance(60)
    left_at_wh = int(bench.plants[1].register_wh)
    silence(bench)
    exchange(bench)
    bench.advance(10)
    assert int(bench.plants[1].register_wh) > left_at_wh + 5
    answer_again(bench)
    stop = bench.stop_message()
    assert left_at_wh - 2 <= stop.meter_stop_wh <= left_at_wh
    assert bench.status() == "Preparing"


def test_a_transaction_that_outlives_its_plug_goes_on() -> None:
    """OCPP 1.6 §9.1.24, StopTransactionOnEVSideDisconnect false: what is plugged in again charges on."""
    bench = charging(settings=Settings(stop_transaction_on_ev_side_disconnect=False))
    silence(bench)
    exchange(bench)
    bench.advance(60)
    answer_again(bench)
    assert len(bench.transactions) == 1
    assert bench.status() == "Charging"
    bench.card()
    bench.advance(8)
    assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)


def test_a_car_that_has_charged_for_longer_than_the_silence_charges_on() -> None:
    """Its controller's time of charging shows that no other plug-in can be in."""
    bench = charging()
    bench.advance(120)
    silence(bench)
    bench.advance(60)
    answer_again(bench)
    assert bench.status() == "Charging"
    assert bench.plants[1].openings_under_load == 0
    assert len(bench.transactions) == 1


@pytest.mark.parametrize("counts", [True, False])
def test_a_short_silence_ends_nothing(counts: bool) -> None:
    """Nobody exchanges plugs in so little time; a bad line shall not end sessions."""
    bench = charges(counts=counts)
    silence(bench)
    bench.advance(UNSEEN_S_MAX - 3)
    answer_again(bench)
    assert bench.status() == "Charging"
    assert bench.plants[1].openings_under_load == 0


def test_silences_are_not_added_up() -> None:
    bench = charging()
    for _ in range(4):
        silence(bench)
        bench.advance(10)
        answer_again(bench)
    assert bench.status() == "Charging"
    assert len(bench.transactions) == 1


def test_a_controller_that_cannot_tell_in_a_fault_does_not_vouch_for_the_plug() -> None:
    """An EVSE-WB shows neither plug nor counters while its residual current device has tripped (hardware.md §3.2).

    The next car would have charged without a card, on the one before.
    """
    bench = charges(counts=False)
    plant = bench.plants[1]
    bench.advance(30)
    plant.faults, plant.knows = (GROUND_FAULT,), False
    bench.advance(2)
    at_the_fault_wh = int(plant.register_wh)
    exchange(bench)
    bench.advance(300)
    plant.faults, plant.knows = (), True
    bench.advance(30)
    stop = bench.stop_message()
    assert (stop.reason, stop.meter_stop_wh) == (Reason.EV_DISCONNECTED, at_the_fault_wh)
    assert (bench.status(), int(plant.register_wh)) == ("Preparing", at_the_fault_wh)


def test_a_fault_that_is_soon_over_lets_the_session_go_on_though_the_plug_was_not_seen() -> None:
    bench = charges(counts=False)
    plant = bench.plants[1]
    bench.advance(5)
    plant.faults, plant.knows = (GROUND_FAULT,), False
    bench.advance(UNSEEN_S_MAX - 3)
    plant.faults, plant.knows = (), True
    bench.advance(10)
    assert bench.status() == "Charging"
    assert len(bench.transactions) == 1


@pytest.mark.parametrize("blind", ["silent", "cannot tell"])
def test_a_restart_in_between_does_not_vouch_for_the_plug_either(blind: str) -> None:
    """The old transaction is closed at its last committed reading (design §2)."""
    bench = charges(counts=False)
    plant = bench.plants[1]
    bench.advance(30)
    plant.answers, plant.knows = blind != "silent", blind != "cannot tell"
    bench.restart()
    committed = bench.audit.store.load().transactions[0].last
    if not plant.answers:
        bench.feed(e.EvseFailed(1, "no answer"))
    exchange(bench)
    bench.advance(LONG_S)
    plant.answers = plant.knows = True
    bench.advance(8)
    stop = bench.stop_message()
    assert (stop.reason, stop.meter_stop_wh, stop.at) == (Reason.EV_DISCONNECTED, committed.energy_wh, committed.at)
    assert not plant.desired.energy_allowed
    assert bench.status() == "Preparing"


def test_a_restart_that_hears_the_controller_soon_resumes() -> None:
    bench = charges(counts=False)
    bench.plants[1].answers = False
    bench.restart()
    bench.advance(UNSEEN_S_MAX - 3)
    answer_again(bench)
    assert bench.status() == "Charging"
    assert len(bench.transactions) == 1


@pytest.mark.parametrize("waits", [True, False], ids=["resuming", "stopping"])
def test_a_stop_that_never_reached_the_controller_does_not_bill_the_next_car(waits: bool) -> None:
    """The process dies between the commit of the intent and its order, or has not heard the controller when the card comes."""
    bench = charging()
    bench.advance(60)
    plant = bench.plants[1]
    left_at_wh = int(plant.register_wh)
    committed = bench.audit.store.load().transactions[0].last
    if waits:
        exchange(bench)
        plant.answers = False
        bench.restart(away_s=12)
        bench.card()
        bench.advance(1)
        plant.answers = True
    else:
        bench.card()
        committed = bench.audit.store.load().transactions[0].last
        # The order never left the process.
        plant.desired = EvseDesired(energy_allowed=True, limit_a=16.0)
        exchange(bench)
        bench.restart(away_s=12)
    assert int(plant.register_wh) > left_at_wh + 5
    bench.advance(8)
    stop = bench.stop_message()
    assert (stop.reason, stop.id_tag, stop.meter_stop_wh) == (Reason.LOCAL, "TAG", committed.energy_wh)
    assert not plant.desired.energy_allowed
    assert bench.status() == "Preparing"


def test_a_stop_that_goes_on_with_the_same_plug_takes_the_register_after_the_contactor_opened() -> None:
    bench = charging()
    bench.advance(60)
    bench.card()
    bench.plants[1].desired = EvseDesired(energy_allowed=True, limit_a=16.0)
    bench.restart(away_s=5)
    bench.advance(8)
    assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)
    assert bench.status() == "Finishing"


def test_a_controller_that_restarts_while_a_stop_goes_on_has_no_other_plug() -> None:
    """Its counters begin anew; what was charged until the contactor opened is billed."""
    bench = charging()
    bench.advance(60)
    bench.plants[1].meter_answers = False
    bench.card()
    bench.advance(1.5)
    bench.plants[1].restart_controller()
    bench.advance(1.5)
    bench.plants[1].meter_answers = True
    bench.advance(8)
    assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)
