"""Who may charge: cards, parents, waiting, offline rules (OCPP 1.6 §3.5, §4.1, §4.9 B1, §4.10)."""

import pytest

from bus.messages import IdTagInfo
from bus.vocabulary import AuthorizationStatus, Reason
from services.connectors import events as e
from services.connectors.state import Settings
from tests.connectors.bench import FAMILY, OFFLINE, REFUSED, WHOLE, Bench, charging


def test_plug_first_then_card_charges_and_bills_what_the_meter_counted() -> None:
    """Issue: the main job. OCPP 1.6 §4.8, §4.10; each status once, none only passed through (field report 42)."""
    bench = charging()
    bench.card()
    bench.advance(3)
    bench.unplug()
    assert bench.history() == WHOLE
    start, _, stop = bench.audit.whole(bench.last_tx)
    assert (start.id_tag, start.meter_start_wh) == ("TAG", 1000)
    assert (stop.id_tag, stop.reason, stop.meter_stop_wh) == ("TAG", Reason.LOCAL, int(bench.plants[1].register_wh))
    assert stop.meter_stop_wh > start.meter_start_wh


def test_a_card_that_lies_on_the_reader_while_rfid_restarts_counts_once() -> None:
    """hardware.md §5.6: a stop that lasts must not become the next start. Found by torture (seed 4714)."""
    bench = charging()
    bench.card()
    bench.advance(1)
    bench.feed(e.CardPresented("TAG", maybe_held=True))
    bench.advance(5)
    assert bench.transactions == [bench.last_tx]
    assert "counts once" in bench.notes()


def test_a_card_that_rfid_sees_first_of_all_counts() -> None:
    """Nobody was told of it before, or of another one."""
    bench = Bench()
    bench.feed(e.CardPresented("OTHER"))
    bench.feed(e.CardPresented("TAG", maybe_held=True))
    bench.plug_in()
    bench.advance(10)
    assert len(bench.transactions) == 1


def test_card_first_then_plug_charges() -> None:
    """OCPP 1.6 §4.9 A2: presenting the idTag initiates usage."""
    bench = Bench()
    bench.card()
    assert bench.status() == "Preparing"
    bench.advance(20)
    assert bench.transactions == []
    bench.plug_in()
    bench.advance(10)
    assert bench.history() == ["Available", "Preparing", "Charging"]


def test_card_without_a_plug_returns_to_available_after_connection_time_out() -> None:
    """OCPP 1.6 §9.1.6, errata v4.0 3.76; field report 47."""
    bench = Bench(settings=Settings(connection_time_out_s=30))
    bench.card()
    bench.advance(29)
    assert bench.status() == "Preparing"
    bench.advance(1.5)
    assert bench.history() == ["Available", "Preparing", "Available"]
    bench.plug_in()
    bench.advance(5)
    assert bench.transactions == []


def test_second_presentation_before_the_plug_takes_the_authorization_back() -> None:
    """OCPP 1.6 §4.9 B1."""
    bench = Bench()
    bench.card("TAG")
    bench.card("tag")
    assert bench.history() == ["Available", "Preparing", "Available"]
    bench.plug_in()
    bench.advance(5)
    assert bench.transactions == []


def test_second_presentation_while_the_first_reading_is_awaited_takes_the_start_back() -> None:
    """OCPP 1.6 §4.9 B1: nothing has started yet, so nothing is billed."""
    bench = Bench()
    bench.plants[1].meter_answers = False
    bench.plug_in()
    bench.card()
    bench.card()
    bench.plants[1].meter_answers = True
    bench.advance(5)
    assert bench.transactions == []
    assert bench.status() == "Preparing"


def test_the_same_card_stops_whatever_its_case() -> None:
    """OCPP 1.6 §7.28: idTags are compared without case; StopTransaction carries the one that stopped."""
    bench = charging()
    bench.card("tAg")
    bench.advance(3)
    assert bench.stop_message().id_tag == "tAg"


def test_another_card_is_refused_and_the_transaction_runs_on() -> None:
    """OCPP 1.6 §4.10: only the same idTag or its group stops."""
    bench = charging()
    bench.card("OTHER")
    bench.advance(10)
    assert bench.status() == "Charging"
    assert len(bench.audit.entries[bench.last_tx]) == 1
    assert "belongs to no running transaction" in bench.notes()


def test_a_card_of_the_same_parent_stops() -> None:
    """OCPP 1.6 §3.10, the parent known from Authorize.conf."""
    bench = Bench()
    bench.authorize = lambda _: FAMILY
    bench.plug_in()
    bench.card("MUM")
    bench.advance(20)
    bench.card("DAD")
    bench.advance(3)
    stop = bench.stop_message()
    assert (stop.id_tag, stop.reason) == ("DAD", Reason.LOCAL)


def test_a_card_of_the_same_parent_stops_where_only_start_transaction_conf_told_the_parent() -> None:
    """OCPP 1.6 §3.10, the parent known from StartTransaction.conf."""
    bench = charging()
    bench.authorize = lambda _: FAMILY
    bench.deliver_start(info=FAMILY)
    bench.card("DAD")
    bench.advance(3)
    assert bench.stop_message().id_tag == "DAD"


def test_a_card_of_another_parent_or_a_blocked_one_of_the_same_does_not_stop() -> None:
    """OCPP 1.6 §3.10, §4.1: only an accepted idTag of the group."""
    bench = charging()
    bench.deliver_start(info=FAMILY)
    bench.authorize = lambda _: IdTagInfo(AuthorizationStatus.ACCEPTED, parent_id_tag="OTHERS")
    bench.card("A")
    bench.authorize = lambda _: IdTagInfo(AuthorizationStatus.BLOCKED, parent_id_tag="FAMILY")
    bench.card("B")
    bench.advance(3)
    assert bench.status() == "Charging"


def test_a_card_that_is_named_like_the_parent_does_not_stop() -> None:
    """OCPP 1.6 §3.10, its note: the parent is no idTag, and is not compared with one that is presented."""
    bench = Bench()
    bench.authorize = {"MUM": FAMILY, "FAMILY": IdTagInfo(AuthorizationStatus.ACCEPTED)}.get
    bench.plug_in()
    bench.card("MUM")
    bench.advance(5)
    bench.card("FAMILY")
    bench.advance(3)
    assert bench.status() == "Charging"


def test_a_refused_card_starts_nothing() -> None:
    """OCPP 1.6 §4.1."""
    bench = Bench()
    bench.authorize = lambda _: REFUSED
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert bench.transactions == []
    assert bench.history() == ["Available", "Preparing"]


@pytest.mark.parametrize("policy", [True, False])
def test_a_card_offline_is_decided_by_allow_offline_tx_for_unknown_id(policy: bool) -> None:
    """OCPP 1.6 §3.5.4."""
    bench = Bench(settings=Settings(allow_offline_tx_for_unknown_id=policy))
    bench.feed(e.LinkChanged(OFFLINE))
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert bool(bench.transactions) is policy


def test_a_card_that_waits_for_its_answer_is_decided_at_once_when_the_link_is_lost() -> None:
    """OCPP 1.6 §3.5: offline rules; a person at the reader does not wait for a time-out of a dead connection."""
    bench = Bench(settings=Settings(allow_offline_tx_for_unknown_id=True))
    bench.authorize = lambda _: None
    bench.plug_in()
    bench.card()
    bench.advance(1)
    assert bench.transactions == []
    bench.feed(e.LinkChanged(None))
    bench.advance(1)
    assert len(bench.transactions) == 1
    bench.answer_authorize(REFUSED)
    assert bench.status() in ("Preparing", "Charging")


def test_a_station_that_was_never_accepted_refuses_cards_unless_its_owner_wants_otherwise() -> None:
    """Errata v4.0 3.11."""
    for policy in (False, True):
        bench = Bench(settings=Settings(allow_offline_tx_for_unknown_id=True, charge_before_first_acceptance=policy))
        bench.feed(e.LinkChanged(type(OFFLINE)(connected=False, ever_accepted=False)))
        bench.plug_in()
        bench.card()
        bench.advance(5)
        assert bool(bench.transactions) is policy


def test_what_is_known_of_acceptance_survives_a_restart_while_the_link_is_dead() -> None:
    """Design §2: a dead link never decides whether cards work."""
    bench = Bench(settings=Settings(allow_offline_tx_for_unknown_id=True))
    bench.state = bench._blank()
    bench.take_up()
    bench.advance(1)
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert len(bench.transactions) == 1
