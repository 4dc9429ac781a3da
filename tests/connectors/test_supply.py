"""Together no more is drawn than the supply has, whoever does not obey (hardware.md §3.4; README `[supply] max_current_a`).

`Bench` looks at each step whether the cars could take more than that.
"""

import pytest

from bus.vocabulary import ChargePointErrorCode
from services.connectors import supply
from services.connectors.observations import STUCK
from services.connectors.state import Connector
from services.hardware.contract import EvseDesired, EvseObservation
from tests.connectors.bench import Bench

NOTHING = EvseDesired()
OFFER_32 = EvseDesired(True, 32.0)
OFFER_16 = EvseDesired(True, 16.0)


def offers(bench: Bench) -> list[float]:
    return [plant.desired.limit_a if plant.desired.energy_allowed else 0.0 for plant in bench.plants.values()]


def first_charges(supply_a: float = 32.0, connectors: int = 2) -> Bench:
    bench = Bench(connectors, supply_a=supply_a)
    begin(bench, 1)
    assert offers(bench)[0] == min(32.0, supply_a)
    return bench


def begin(bench: Bench, number: int) -> None:
    bench.plug_in(number)
    bench.card(f"CARD{number}")
    bench.advance(10)


def test_a_share_is_given_once_the_other_ones_lower_limit_is_in_force() -> None:
    bench = first_charges()
    bench.plug_in(2)
    bench.advance(0.7)
    bench.card("CARD2")
    assert bench.state.connectors[0].commanded == OFFER_16
    assert bench.state.connectors[1].commanded == NOTHING, "connector 1 has not shown yet that it obeys"
    bench.advance(2)
    assert offers(bench) == [16.0, 16.0]
    bench.advance(5)
    assert bench.history(2) == ["Available", "Preparing", "Charging"], "such a moment is not told"


def test_a_welded_contactor_keeps_its_current_though_its_transaction_is_closed() -> None:
    bench = first_charges()
    bench.plants[1].welded = True
    bench.card("CARD1")
    bench.advance(20)
    assert (bench.connector(1).transaction, bench.status(1)) == (None, "Faulted")
    begin(bench, 2)
    assert (offers(bench)[1], bench.status(2)) == (0.0, "SuspendedEVSE")
    assert bench.audit.statuses[2][-1].info == "supply may still be in use by connector 1"
    bench.plants[1].welded = False
    bench.advance(3)
    assert (offers(bench)[1], bench.audit.statuses[2][-1].info) == (32.0, "")


def test_a_welded_contactor_leaves_to_others_what_it_does_not_take() -> None:
    bench = first_charges()
    begin(bench, 2)
    bench.plants[1].welded = True
    bench.card("CARD1")
    bench.advance(20)
    assert (bench.status(1), offers(bench)[1]) == ("Faulted", 16.0)


def test_a_controller_that_is_lost_counts_with_what_it_may_still_offer() -> None:
    """The line breaks, the output stays: its transaction goes on, and its order for less has not arrived."""
    bench = first_charges()
    bench.plants[1].answers = False
    begin(bench, 2)
    assert (bench.connector(1).commanded, offers(bench)) == (OFFER_16, [32.0, 0.0])
    assert bench.status(2) == "SuspendedEVSE"
    bench.plants[1].answers = True
    bench.advance(3)
    assert offers(bench) == [16.0, 16.0]


def test_a_controller_that_is_lost_before_it_was_told_to_stop_counts_on() -> None:
    bench = first_charges()
    bench.plants[1].answers = False
    bench.card("CARD1")
    bench.advance(20)
    assert bench.connector(1).transaction is None
    begin(bench, 2)
    assert offers(bench) == [32.0, 0.0]
    bench.plants[1].answers = True
    bench.advance(3)
    assert offers(bench) == [0.0, 32.0]


def test_a_controller_that_was_seen_to_offer_nothing_may_be_lost() -> None:
    bench = Bench(2)
    bench.advance(2)
    bench.plants[1].answers = False
    begin(bench, 2)
    assert offers(bench) == [0.0, 32.0]


def test_after_a_restart_one_that_is_not_heard_may_be_drawing_all_that_it_bears() -> None:
    bench = Bench(2, supply_a=40.0)
    bench.plants[1].answers = False
    bench.restart()
    begin(bench, 2)
    assert offers(bench)[1] == 8.0
    bench.plants[1].answers = True
    bench.advance(2)
    assert offers(bench)[1] == 32.0


def test_a_restart_withdraws_nothing_though_the_others_are_not_heard_yet() -> None:
    bench = first_charges()
    begin(bench, 2)
    bench.plants[1].answers = False
    bench.commanded_off = 0
    bench.restart()
    bench.advance(10)
    assert (offers(bench), bench.status(2), bench.commanded_off) == ([16.0, 16.0], "Charging", 0)


def test_current_that_flows_after_the_end_counts_where_nobody_looks_at_the_contactor() -> None:
    """EVSE-WB without a bit for it: the meter shows it."""
    bench = first_charges()
    bench.plants[1].measured = {"power_w": 7000.0}
    bench.card("CARD1")
    bench.advance(10)
    begin(bench, 2)
    assert (bench.connector(1).transaction, offers(bench)[1]) == (None, 0.0)
    bench.plants[1].measured = {"power_w": 0.0}
    bench.advance(5)
    assert offers(bench)[1] == 32.0


@pytest.mark.parametrize(
    ("known_a", "commanded", "seen", "in_force_a"),
    [
        (32.0, OFFER_16, EvseObservation("C", True, True, True, 32.0, order=OFFER_32), 32.0),
        (32.0, OFFER_16, EvseObservation("C", True, True, True, 16.0, order=OFFER_32), 32.0),
        (32.0, OFFER_16, EvseObservation("C", True, True, True, 16.0, order=OFFER_16), 16.0),
        (32.0, OFFER_16, EvseObservation("C", True, True, True, 32.0, order=OFFER_16), 32.0),
        (32.0, OFFER_32, EvseObservation("C", True, True, True, 16.0, order=OFFER_16), 32.0),
        (16.0, NOTHING, EvseObservation("C", True, False, True, 16.0, order=NOTHING), 16.0),
        (16.0, NOTHING, EvseObservation("A", False, False, False, 16.0, order=OFFER_16), 16.0),
        (16.0, NOTHING, EvseObservation("B", True, False, False, 16.0, order=NOTHING), 0.0),
        (16.0, NOTHING, EvseObservation("B", True, False, False, 16.0, faults=(STUCK,), order=NOTHING), 16.0),
        (0.0, NOTHING, EvseObservation("B", True, False, True, 0.0, order=NOTHING), 0.0),
        (0.0, NOTHING, EvseObservation("B", True, False, True, 0.0, faults=(STUCK,), order=NOTHING), 20.0),
        (0.0, NOTHING, EvseObservation("C", True, True, True, 10.0, order=NOTHING), 10.0),
        (None, None, EvseObservation("C", True, True, True, 10.0), 10.0),
        (None, None, EvseObservation("C", True, False, True, 10.0), None),
        (None, NOTHING, EvseObservation("C", True, False, True, 10.0, order=NOTHING), None),
        (None, NOTHING, EvseObservation("B", True, False, False, 10.0, order=NOTHING), 0.0),
    ],
)
def test_what_is_in_force(
    known_a: float | None, commanded: EvseDesired | None, seen: EvseObservation, in_force_a: float | None
) -> None:
    """Less counts when it is seen after its order was carried out, more at once."""
    connector = Connector(1, 20.0, commanded=commanded, in_force_a=known_a)
    assert STUCK.error_code is ChargePointErrorCode.POWER_SWITCH_FAILURE
    assert supply.with_observation(connector, seen, draws=False) == in_force_a


def test_a_meter_that_shows_current_keeps_what_was_in_force() -> None:
    connector = Connector(1, 20.0, commanded=NOTHING, in_force_a=16.0)
    at_rest = EvseObservation("B", True, False, False, 0.0, order=NOTHING)
    assert supply.with_observation(connector, at_rest, draws=True) == 16.0
    assert supply.with_observation(connector, at_rest, draws=False) == 0.0
