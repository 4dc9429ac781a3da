"""RemoteStart and RemoteStop, Finishing and what begins from it (OCPP 1.6 §4.9, §5.11, §5.12)."""

import pytest

from bus.messages import Delivered, DeliveryEntry, GivenUp, IdTagInfo
from bus.vocabulary import AuthorizationStatus, Reason
from services.connectors import events as e
from services.connectors.state import Settings
from tests.connectors.bench import REFUSED, Bench, charging
from tests.connectors.plant import GROUND_FAULT


@pytest.mark.parametrize("transaction_id", [0, -1, -7, 4711])
def test_remote_stop_takes_any_integer_for_an_id(transaction_id: int) -> None:
    """OCPP 1.6 §5.12, errata v4.0 3.54, field report 2."""
    bench = charging()
    assert bench.remote_stop(transaction_id).status == "Rejected"
    bench.deliver_start(transaction_id)
    assert bench.remote_stop(transaction_id + 1).status == "Rejected"
    assert bench.remote_stop(transaction_id).status == "Accepted"
    assert bench.remote_stop(transaction_id).status == "Accepted", "it is ongoing and will be stopped"
    bench.advance(3)
    assert (bench.stop_message().reason, bench.stop_message().id_tag) == (Reason.REMOTE, None)
    assert bench.remote_stop(transaction_id).status == "Rejected"


def test_a_transaction_whose_start_was_given_up_has_no_id_to_be_stopped_by() -> None:
    """Errata v4.0 3.18: -1 is for the wire of the queue, not an id that anybody gave."""
    bench = charging()
    bench.feed(e.DeliveryStored(DeliveryEntry(bench.last_tx, 0, GivenUp("5 attempts failed"))))
    assert bench.remote_stop(-1).status == "Rejected"
    bench.card()
    bench.advance(3)
    assert bench.stop_message().reason == Reason.LOCAL


def test_a_late_answer_after_its_start_was_given_up_counts_like_one_in_time() -> None:
    """The queue journals Delivered after GivenUp: the id is one to stop by, and a refusal stops."""
    bench = charging()
    bench.feed(e.DeliveryStored(DeliveryEntry(bench.last_tx, 0, GivenUp("5 attempts failed"))))
    bench.feed(e.DeliveryStored(DeliveryEntry(bench.last_tx, 0, Delivered(77, IdTagInfo(AuthorizationStatus.ACCEPTED)))))
    running = bench.state.connectors[0].transaction
    assert running is not None
    assert (running.transaction_id, running.start_given_up) == (77, False)
    assert bench.remote_stop(77).status == "Accepted"
    bench.advance(3)
    refused = charging()
    refused.feed(e.DeliveryStored(DeliveryEntry(refused.last_tx, 0, GivenUp("5 attempts failed"))))
    refused.feed(e.DeliveryStored(DeliveryEntry(refused.last_tx, 0, Delivered(78, IdTagInfo(AuthorizationStatus.BLOCKED)))))
    refused.advance(3)
    assert refused.stop_message().reason == Reason.DE_AUTHORIZED


@pytest.mark.parametrize("connector_id", [None, 1])
def test_remote_start_charges_after_authorization(connector_id: int | None) -> None:
    """OCPP 1.6 §5.11 with AuthorizeRemoteTxRequests true."""
    bench = Bench()
    bench.authorize = lambda _: None
    bench.plug_in()
    assert bench.remote_start("APP", connector_id).status == "Accepted"
    bench.advance(5)
    assert bench.transactions == []
    bench.answer_authorize(IdTagInfo(AuthorizationStatus.ACCEPTED))
    bench.advance(5)
    assert bench.status() == "Charging"


def test_remote_start_without_authorization_starts_at_once() -> None:
    """OCPP 1.6 §5.11 with AuthorizeRemoteTxRequests false."""
    bench = Bench(settings=Settings(authorize_remote_tx_requests=False))
    bench.plug_in()
    bench.remote_start("APP", 1)
    bench.advance(5)
    assert bench.status() == "Charging"
    assert not any(isinstance(effect, e.AskAuthorize) for effect in bench.effects)


def test_remote_start_before_the_plug_waits_for_connection_time_out() -> None:
    """OCPP 1.6 §9.1.6; field report 47: visible as Preparing, and back."""
    bench = Bench(settings=Settings(connection_time_out_s=20))
    bench.remote_start()
    assert bench.status() == "Preparing"
    bench.advance(21)
    assert bench.history() == ["Available", "Preparing", "Available"]


def test_remote_start_refused_by_the_central_system_ends() -> None:
    """OCPP 1.6 §5.11."""
    bench = Bench()
    bench.authorize = lambda _: REFUSED
    bench.plug_in()
    assert bench.remote_start().status == "Accepted"
    bench.advance(5)
    assert bench.transactions == []


def test_remote_start_is_rejected_where_it_cannot_lead_to_a_start() -> None:
    """OCPP 1.6 §5.11; field report 46: connector 0 is rejected. Each refusal says why (field report 63)."""
    bench = Bench(2)
    assert bench.remote_start("A", 0).reason == "connector 0 can't charge"
    assert bench.remote_start("A", 3).reason == "there is no connector 3"
    assert bench.remote_start("A", 1).status == "Accepted"
    assert bench.remote_start("B", 1).reason == "an authorization waits on connector 1 already"
    assert bench.remote_start("B").status == "Accepted"
    assert bench.remote_start("C").reason == "an authorization waits for every free connector already"
    bench.plants[2].faults = (GROUND_FAULT,)
    bench.advance(0.1)
    assert bench.remote_start("C", 2).reason == "connector 2 is busy, faulted or unavailable"


def test_remote_start_on_a_busy_connector_is_rejected() -> None:
    """OCPP 1.6 §5.11."""
    bench = charging()
    assert bench.remote_start("B", 1).status == "Rejected"
    assert bench.remote_start("B").status == "Rejected"


def test_a_cancelled_remote_start_starts_nothing() -> None:
    """Design §3: a time-out becomes CALLERROR, and the caller cancels what may still happen."""
    for plugged in (False, True):
        bench = Bench()
        bench.plants[1].meter_answers = not plugged
        if plugged:
            bench.plug_in()
        bench.remote_start()
        bench.cancel_last_call()
        bench.plants[1].meter_answers = True
        bench.plug_in()
        bench.advance(10)
        assert bench.transactions == []


def test_finishing_until_the_plug_is_out() -> None:
    """Field report 43: no Available while the cable is in."""
    bench = charging()
    bench.card()
    bench.advance(600)
    assert bench.status() == "Finishing"
    bench.restart()
    bench.advance(5)
    assert bench.history()[-1] == "Finishing"
    bench.unplug()
    assert bench.status() == "Available"


def test_a_new_session_begins_from_finishing_by_card_and_remotely() -> None:
    """OCPP 1.6 §4.9 F2; field reports 26 and 43."""
    bench = charging()
    bench.card()
    bench.advance(5)
    bench.card("OTHER")
    bench.advance(5)
    assert bench.status() == "Charging"
    bench.card("OTHER")
    bench.advance(5)
    assert bench.remote_start("APP").status == "Accepted"
    bench.advance(5)
    assert len(bench.transactions) == 3
    assert bench.history()[2:] == ["Charging", "Finishing", "Preparing", "Charging", "Finishing", "Preparing", "Charging"]


def test_a_start_from_finishing_that_fails_goes_back_to_finishing() -> None:
    """OCPP 1.6 §4.9: the same plug is still in, its session is over."""
    bench = charging()
    bench.card()
    bench.advance(5)
    bench.plants[1].meter_answers = False
    bench.card("OTHER")
    bench.advance(3)
    assert bench.status() == "Finishing"
    bench.restart()
    bench.advance(3)
    assert bench.status() == "Finishing"


def test_a_plug_that_is_changed_while_the_transaction_stops_is_a_new_one() -> None:
    """OCPP 1.6 §4.9 F2: Preparing, not Finishing, for the vehicle that has just come."""
    bench = charging()
    bench.plants[1].meter_answers = False
    bench.unplug()
    bench.plug_in()
    bench.advance(8)
    assert bench.stop_message().reason == Reason.EV_DISCONNECTED
    assert bench.status() == "Preparing"
