"""One reader, one supply, several connectors (issue: any number of connectors; errata v4.0 3.20)."""

import pytest

from bus.messages import IdTagInfo
from bus.vocabulary import AuthorizationStatus
from services.connectors.state import Settings
from tests.connectors.bench import FAMILY, Bench
from tests.connectors.plant import GROUND_FAULT


def finish(bench: Bench) -> None:
    """A has charged on connector 1; the plug is still in."""
    bench.plug_in(1)
    bench.card("A")
    bench.advance(5)
    bench.card("A")
    bench.advance(5)


def test_each_card_starts_the_car_that_has_just_been_plugged_in() -> None:
    bench = Bench(2)
    bench.plug_in(2)
    bench.card("A")
    bench.advance(5)
    bench.plug_in(1)
    bench.card("B")
    bench.advance(5)
    assert [c.transaction and c.transaction.id_tag for c in bench.state.connectors] == ["B", "A"]
    bench.card("A")
    bench.advance(5)
    assert [bench.status(1), bench.status(2)] == ["Charging", "Finishing"]


def test_card_first_means_whichever_connector_is_plugged_in_next() -> None:
    bench = Bench(2)
    bench.card("A")
    assert [bench.status(1), bench.status(2)] == ["Available", "Available"]
    bench.plug_in(2)
    bench.advance(5)
    assert [bench.status(1), bench.status(2)] == ["Available", "Charging"]


def test_two_cards_before_two_plugs_start_in_the_order_of_the_cards() -> None:
    bench = Bench(2)
    bench.card("A")
    bench.card("B")
    bench.plug_in(2)
    bench.plug_in(1)
    bench.advance(5)
    assert [c.transaction and c.transaction.id_tag for c in bench.state.connectors] == ["B", "A"]


def test_a_third_card_replaces_the_one_that_waits_longest() -> None:
    """As many authorizations wait as there are free connectors; who stands at the station now counts."""
    bench = Bench(2)
    for id_tag in ("A", "B", "C"):
        bench.card(id_tag)
    assert [w.id_tag for w in bench.state.waiting] == ["B", "C"]


def test_a_card_does_not_start_the_vehicle_that_somebody_else_has_finished() -> None:
    """The reason for errata v4.0 3.20: a vehicle left in Finishing is not charged by the next card that is presented."""
    bench = Bench(2)
    finish(bench)
    bench.card("B")
    bench.advance(5)
    assert [bench.status(1), bench.status(2)] == ["Finishing", "Preparing"]
    bench.plug_in(2)
    bench.advance(5)
    assert bench.state.connectors[1].transaction is not None
    assert bench.state.connectors[1].transaction.id_tag == "B"


@pytest.mark.parametrize("abandoned", [False, True])
@pytest.mark.parametrize("how", ["card", "remote"])
def test_nor_where_two_others_are_free(how: str, abandoned: bool) -> None:
    """Errata v4.0 3.20: what means whichever connector is plugged in next does not mean a vehicle that was there before."""
    bench = Bench(3, settings=Settings(connection_time_out_s=30))
    bench.plug_in(3)
    if abandoned:
        bench.advance(35)
    else:
        bench.card("A")
        bench.advance(5)
        bench.card("A")
        bench.advance(5)
    assert bench.status(3) == "Finishing"
    if how == "card":
        bench.card("B")
    else:
        assert bench.remote_start("B").status == "Accepted"
    bench.advance(5)
    bench.restart()
    bench.advance(5)
    assert (bench.status(3), bench.plants[3].relay_closed) == ("Finishing", False)
    bench.plug_in(1)
    bench.advance(5)
    assert [c.transaction and c.transaction.id_tag for c in bench.state.connectors] == ["B", None, None]


@pytest.mark.parametrize("id_tag", ["A", "B"])
def test_a_card_that_waits_for_its_plug_does_not_take_the_vehicle_that_finishes_meanwhile(id_tag: str) -> None:
    """Errata v4.0 3.20. Nor does the charge begin again that its own card has just ended."""
    bench = Bench(2)
    bench.card(id_tag)
    bench.advance(1)
    bench.remote_start("A", 1)
    bench.plug_in(1)
    bench.advance(15)
    bench.card("A")
    bench.advance(10)
    assert (bench.status(1), len(bench.transactions)) == ("Finishing", 1)
    bench.unplug(1)
    bench.plug_in(1)
    bench.advance(5)
    assert bench.connector(1).transaction is not None
    assert bench.connector(1).transaction.id_tag == id_tag


def test_the_vehicle_that_has_finished_is_charged_by_whoever_means_it() -> None:
    """OCPP 1.6 §5.11, field report 26: a remote start that names the connector, or a card that has no other choice."""
    bench = Bench(2)
    finish(bench)
    assert bench.remote_start("B", 1).status == "Accepted"
    bench.advance(5)
    assert bench.status(1) == "Charging"
    bench.card("B")
    bench.advance(5)
    bench.plug_in(2)
    bench.card("C")
    bench.advance(5)
    bench.card("D")
    bench.advance(5)
    assert [c.transaction and c.transaction.id_tag for c in bench.state.connectors] == ["D", "C"]


def test_the_card_that_finished_a_session_restarts_it() -> None:
    """OCPP 1.6 §4.9 F2: presents idTag again, thereby creating a new transaction."""
    bench = Bench(2)
    finish(bench)
    bench.restart()
    bench.advance(2)
    bench.card("a")
    bench.advance(5)
    assert len(bench.transactions) == 2
    assert bench.status(1) == "Charging"


def test_a_family_starts_a_second_car_and_stops_the_first() -> None:
    """OCPP 1.6 §3.10: a second car that waits for a card is started; without one, the group's card stops."""
    bench = Bench(2)
    bench.authorize = lambda _: FAMILY
    bench.plug_in(1)
    bench.card("MUM")
    bench.advance(5)
    bench.plug_in(2)
    bench.card("DAD")
    bench.advance(5)
    assert [bench.status(1), bench.status(2)] == ["Charging", "Charging"]
    bench.card("KID")
    bench.advance(5)
    assert sorted([bench.status(1), bench.status(2)]) == ["Charging", "Finishing"]


def test_remote_start_without_a_connector_takes_the_plugged_one() -> None:
    """Field report 46."""
    bench = Bench(2)
    bench.plug_in(2)
    assert bench.remote_start("APP").status == "Accepted"
    bench.advance(5)
    assert bench.status(2) == "Charging"


def test_two_remote_starts_do_not_wait_for_the_same_connector() -> None:
    """The first one is still asked about while the second one comes."""
    bench = Bench(2)
    bench.authorize = lambda _: None
    bench.plug_in(1)
    bench.remote_start("A")
    bench.remote_start("B")
    assert [w.connector_id for w in bench.state.waiting] == [1, 2]


def test_an_unbound_authorization_leaves_a_connector_to_the_one_that_is_asked_about() -> None:
    bench = Bench(2)
    bench.card("A")
    bench.authorize = lambda _: None
    bench.remote_start("B", 1)
    bench.plug_in(1)
    bench.advance(2)
    assert bench.transactions == []
    bench.answer_authorize(IdTagInfo(AuthorizationStatus.ACCEPTED))
    bench.plug_in(2)
    bench.advance(5)
    assert [c.transaction and c.transaction.id_tag for c in bench.state.connectors] == ["B", "A"]


def test_two_cars_share_the_supply_and_one_alone_has_all_of_it() -> None:
    """Choice in output.py: equal shares in whole amps."""
    bench = Bench(2, supply_a=25.0)
    bench.plug_in(1)
    bench.card("A")
    bench.advance(5)
    assert bench.plants[1].desired.limit_a == 25.0
    bench.plug_in(2)
    bench.card("B")
    bench.advance(5)
    assert [plant.desired.limit_a for plant in bench.plants.values()] == [12.0, 12.0]
    bench.card("A")
    bench.advance(5)
    assert bench.plants[2].desired.limit_a == 25.0


def test_a_share_is_given_away_only_when_the_contactor_is_open() -> None:
    bench = Bench(2)
    for number, id_tag in ((1, "A"), (2, "B")):
        bench.plug_in(number)
        bench.card(id_tag)
        bench.advance(5)
    bench.card("A")
    assert bench.plants[1].relay_closed
    assert bench.plants[2].desired.limit_a == 16.0
    bench.advance(2)
    assert bench.plants[2].desired.limit_a == 32.0


def test_whoever_came_later_waits_where_the_supply_is_too_small_for_two() -> None:
    """Less than 6 A can't be offered: SuspendedEVSE until there is room (OCPP 1.6 §4.9 B5, E3)."""
    bench = Bench(2, supply_a=10.0)
    for number, id_tag in ((1, "A"), (2, "B")):
        bench.plug_in(number)
        bench.card(id_tag)
        bench.advance(5)
    assert [bench.status(1), bench.status(2)] == ["Charging", "SuspendedEVSE"]
    bench.card("A")
    bench.advance(5)
    assert [bench.status(1), bench.status(2)] == ["Finishing", "Charging"]


def test_a_refused_transaction_leaves_its_share_to_the_other() -> None:
    bench = Bench(2, settings=Settings(stop_transaction_on_invalid_id=False))
    for number, id_tag in ((1, "A"), (2, "B")):
        bench.plug_in(number)
        bench.card(id_tag)
        bench.advance(5)
    bench.deliver_start(info=IdTagInfo(AuthorizationStatus.INVALID), local_tx_id=bench.transactions[0])
    bench.advance(3)
    assert [plant.desired.limit_a for plant in bench.plants.values()] == [0.0, 32.0]


@pytest.mark.parametrize("broken", [1, 2])
def test_a_fault_of_one_connector_leaves_the_other_alone(broken: int) -> None:
    bench = Bench(2)
    for number, id_tag in ((1, "A"), (2, "B")):
        bench.plug_in(number)
        bench.card(id_tag)
        bench.advance(5)
    bench.plants[broken].faults = (GROUND_FAULT,)
    bench.advance(5)
    assert bench.status(broken) == "Faulted"
    assert bench.status(3 - broken) == "Charging"
