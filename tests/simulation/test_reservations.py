"""The judge on reservations fails on cooked books, and a seed reserves the same whatever else is drawn."""

import msgspec
import pytest

from bus.logs import utc_text
from tests.simulation import judge_reservations as judged
from tests.simulation import reservations
from tests.simulation.book import Asked
from tests.simulation.clock import UTC_0_S
from tests.simulation.cooked import Cooked
from tests.simulation.ledger import Contact, PlugIn, Register
from tests.simulation.plan import day


def reserve(
    cooked: Cooked, id_tag: str, connector_id: int, *, for_s: float = 500.0, at_s: float = 10.0, reservation_id: int = 7
) -> None:
    """Reserved before the first session of the cooked book began, unless at another time."""
    expiry = utc_text(UTC_0_S + at_s + for_s)
    payload = {"connectorId": connector_id, "idTag": id_tag, "reservationId": reservation_id, "expiryDate": expiry}
    cooked.book.asked.append(Asked(at_s, "ReserveNow", payload, "Accepted", at_s + 0.1))


@pytest.mark.parametrize(
    ("id_tag", "connector_id", "for_s", "promise"),
    [
        ("OTHER", 1, 500.0, judged.KEPT),
        ("OTHER", 0, 500.0, judged.ONE_LEFT),
        ("TAG1", 1, 500.0, judged.TOLD),
        ("OTHER", 1, 20.0, None),
        ("OTHER", 2, 500.0, None),
    ],
)
def test_a_session_in_a_reservation_is_judged(id_tag: str, connector_id: int, for_s: float, promise: str | None) -> None:
    """OCPP 1.6 §4.8, §5.13."""
    cooked = Cooked()
    reserve(cooked, id_tag, connector_id, for_s=for_s)
    assert cooked.promises() == ({promise} if promise else set())


def test_the_holder_names_his_reservation() -> None:
    """OCPP 1.6 §4.8."""
    cooked = Cooked()
    reserve(cooked, "TAG1", 1)
    cooked.book.copies[0].payload["reservationId"] = 7
    assert cooked.promises() == set()
    cooked.book.copies[0].payload["reservationId"] = 8
    assert cooked.promises() == {judged.TOLD}


@pytest.mark.parametrize(
    ("id_tag", "connector_id", "promise"), [("OTHER", 1, judged.KEPT), ("OTHER", 0, judged.ONE_LEFT), ("TAG1", 0, judged.TOLD)]
)
def test_a_session_from_before_goes_on_and_names_nothing(id_tag: str, connector_id: int, promise: str) -> None:
    """OCPP 1.6 §5.13: a reservation is for who comes; a session that the guard had cut off closes again."""
    cooked = Cooked()
    reserve(cooked, id_tag, connector_id, at_s=150.0)
    first = cooked.ledger.contacts[0]
    first.opened_s, first.opened_wh = 200.0, 1300.0
    cooked.ledger.contacts.insert(1, Contact(1, 210.0, 1300.0, 1, 402.0, 2000.0))
    cooked.book.copies[0].at_s = 205.0
    assert cooked.promises() == set()
    del cooked.ledger.contacts[0]
    assert cooked.promises() == {promise}


def test_a_session_that_should_not_have_begun_is_found_once_however_often_it_closes() -> None:
    """OCPP 1.6 §5.13: what counts is whether it might begin; the guard may cut it off and `connectors` go on (seed 40485)."""
    cooked = Cooked()
    reserve(cooked, "OTHER", 0)
    first = cooked.ledger.contacts[0]
    first.opened_s, first.opened_wh = 200.0, 1300.0
    cooked.ledger.contacts.insert(1, Contact(1, 210.0, 1300.0, 1, 402.0, 2000.0))
    assert cooked.promises() == {judged.ONE_LEFT}
    cooked.ledger.registers[2] = Register(5.0)
    assert cooked.promises() == set()
    cooked.ledger.plug_ins.append(PlugIn(2, 1, 150.0, 500.0))
    assert cooked.promises() == set()
    cooked.ledger.plug_ins[-1].in_s = first.closed_s - judged.JUST_NOW_S - 1.0
    assert cooked.promises() == {judged.ONE_LEFT}


def test_whoever_has_this_connector_reserved_takes_it_though_the_last_free_one_was_promised_too() -> None:
    """OCPP 1.6 §5.13: two promises stood, and somebody without a card came to what was left (seed 41266)."""
    cooked = Cooked()
    reserve(cooked, "OTHER", 0)
    reserve(cooked, "TAG1", 1, reservation_id=8)
    cooked.book.copies[0].payload["reservationId"] = 8
    assert cooked.promises() == set()
    own = cooked.book.asked[-1]
    own.answer = "Occupied"
    assert cooked.promises() == {judged.ONE_LEFT}
    own.answer, own.payload["connectorId"] = "Accepted", 0
    assert judged.ONE_LEFT in cooked.promises()
    own.payload.update(connectorId=1, expiryDate=utc_text(UTC_0_S + 99.0))
    assert cooked.promises() == {judged.ONE_LEFT}


def test_a_start_of_the_holder_ends_both_of_his_reservations() -> None:
    """OCPP 1.6 §5.13: on the reserved connector, or any where it is 0; StartTransaction names one (seed 90172)."""
    cooked = Cooked()
    reserve(cooked, "TAG1", 1, for_s=5000.0)
    reserve(cooked, "TAG1", 0, for_s=5000.0, reservation_id=8)
    cooked.book.copies[0].payload["reservationId"] = 7
    assert cooked.promises() == set()
    for asked in cooked.book.asked:
        asked.payload["idTag"] = "OTHER"
    assert judged.ONE_LEFT in cooked.promises()


@pytest.mark.parametrize(
    ("id_tag", "connector_id", "promise"), [("OTHER", 1, judged.KEPT), ("OTHER", 0, judged.ONE_LEFT), ("TAG1", 0, judged.TOLD)]
)
def test_a_session_whose_start_was_told_before_names_nothing(id_tag: str, connector_id: int, promise: str) -> None:
    """OCPP 1.6 §5.13: the vehicle may ask for current only after somebody was promised what is left (seed 31005)."""
    cooked = Cooked()
    reserve(cooked, id_tag, connector_id, at_s=101.5)
    assert cooked.book.copies[0].at_s < 101.6 < cooked.ledger.contacts[0].closed_s
    assert cooked.promises() == set()
    cooked.book.copies[0].at_s = 101.8
    assert cooked.promises() == {promise}


def test_a_car_that_nobody_watched_begins_no_session_of_the_next_holder() -> None:
    """OCPP 1.6 §4.8: it hardly moved the register, and the holder's own session came there hours later (seed 60137)."""
    cooked = Cooked()
    reserve(cooked, "TAG2", 0, at_s=480.0, for_s=200.0)
    cooked.ledger.plug_ins.append(PlugIn(1, 9, 499.0, 510.0))
    cooked.ledger.contacts.insert(1, Contact(1, 500.0, 2000.0, 9, 502.0, 2000.6))
    cooked.ledger.begin("connectors down", 495.0)
    cooked.ledger.end("connectors down", 501.5)
    assert cooked.promises() == set()
    start = cooked.book.copies[2]
    for started_s, promise in ((503.0, True), (505.0, False)):
        start.at_s, start.payload["timestamp"] = started_s + 1.0, utc_text(UTC_0_S + started_s)
        assert (judged.TOLD in cooked.promises()) is promise


def test_what_may_have_ended_a_reservation_is_an_excuse() -> None:
    """OCPP 1.6 §5.1, §5.13: cancelled, replaced, faulted."""
    for action in ("CancelReservation", "ReserveNow"):
        cooked = Cooked()
        reserve(cooked, "OTHER", 1)
        payload = {"reservationId": 7, "connectorId": 2, "idTag": "OTHER", "expiryDate": utc_text(UTC_0_S)}
        cooked.book.asked.append(Asked(20.0, action, payload))
        assert cooked.promises() == set()
    cooked = Cooked()
    reserve(cooked, "OTHER", 1)
    cooked.ledger.begin("connector 1 faulted", 30.0)
    cooked.ledger.end("connector 1 faulted", 31.0)
    assert cooked.promises() == set()


def test_reservations_are_drawn_beside_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed keeps its visits and faults, so that what it has shown stays what it was."""
    days = [day(seed) for seed in range(20)]
    assert 5 < sum(bool(one.wishes) for one in days) < 20
    monkeypatch.setattr(reservations, "wishes", lambda *_: ())
    assert [day(seed) for seed in range(20)] == [msgspec.structs.replace(one, wishes=()) for one in days]
