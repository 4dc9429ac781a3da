"""The judge fails on cooked books: each promise is broken once, by hand, and found by its name."""

from collections.abc import Callable
from typing import Any

import pytest

from bus.logs import utc_text
from tests.simulation import judge_delivery as delivery
from tests.simulation import judge_money as money
from tests.simulation.book import Asked, Book, Copy
from tests.simulation.clock import UTC_0_S
from tests.simulation.judge import DeadLetter, Residue, Rules, judge
from tests.simulation.ledger import Contact, Death, Ledger, PlugIn, Presented, Register, Span

RULES = Rules(attempts=3, retry_interval_s=60)


class Cooked:
    """A book and a ledger of two honest sessions on connector 1, to be spoilt."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.book = Book()
        self.residue = Residue()
        self.rules = RULES
        register = self.ledger.registers[1] = Register(1000.0)
        self.ledger.end_s = 5000.0
        for number, at_s in ((1, 100.0), (2, 1000.0)):
            begin_wh, end_wh = 1000.0 * number, 1000.0 * (number + 1)
            self.ledger.presented.append(Presented(at_s, f"TAG{number}"))
            self.ledger.plug_ins.append(PlugIn(1, number, at_s - 2, at_s + 320))
            self.ledger.contacts.append(Contact(1, at_s + 2, begin_wh, number, at_s + 302, end_wh))
            register.add(at_s + 2, begin_wh)
            register.add(at_s + 302, end_wh)
            self.copy(
                "StartTransaction", at_s + 1, connectorId=1, idTag=f"TAG{number}", meterStart=int(begin_wh), timestamp=at_s
            )
            self.copy("StopTransaction", at_s + 303, transactionId=number, meterStop=int(end_wh), timestamp=at_s + 301.5)

    def copy(self, action: str, at_s: float, *, fate: str = "good", timestamp: float, **payload: Any) -> Copy:
        """A message that the Central System got."""
        payload["timestamp"] = utc_text(UTC_0_S + timestamp)
        number = 1 + sum(c.action == "StartTransaction" for c in self.book.copies)
        given = number if action == "StartTransaction" else None
        copy = Copy(at_s, 1, f"id-{len(self.book.copies)}", action, payload, f"{action} {payload}", fate, given)
        self.book.copies.append(copy)
        return copy

    def again(self, copy: Copy, at_s: float, unique_id: str = "again") -> None:
        """The same message once more."""
        fields = {name: getattr(copy, name) for name in copy.__struct_fields__}
        self.book.copies.append(Copy(**{**fields, "at_s": at_s, "unique_id": unique_id}))

    def promises(self) -> set[str]:
        """The promises that the judge finds broken."""
        return {finding.promise for finding in judge(self.ledger, self.book, self.residue, self.rules)}


def test_an_honest_book_is_right() -> None:
    assert Cooked().promises() == set()


def lose_a_stop(cooked: Cooked) -> None:
    del cooked.book.copies[1]


def lose_a_session(cooked: Cooked) -> None:
    del cooked.book.copies[2:]


def repeat_without_cause(cooked: Cooked) -> None:
    cooked.again(cooked.book.copies[0], 500.0)


def repeat_differently(cooked: Cooked) -> None:
    start = cooked.book.copies[0]
    cooked.copy("StartTransaction", 900.0, connectorId=1, idTag="TAG1", meterStart=1001, timestamp=100.0)
    start.fate = "silent after it"


def stop_twice(cooked: Cooked) -> None:
    cooked.copy("StopTransaction", 450.0, transactionId=1, meterStop=2000, timestamp=430.0)


def use_an_unknown_id(cooked: Cooked) -> None:
    cooked.book.copies[1].payload["transactionId"] = 77


def use_an_id_twice(cooked: Cooked) -> None:
    cooked.book.copies[0].fate = "silent"
    cooked.again(cooked.book.copies[0], 200.0, cooked.book.copies[0].unique_id)


def leave_something_over(cooked: Cooked) -> None:
    cooked.residue = Residue(waiting=1)


def bill_too_little(cooked: Cooked) -> None:
    cooked.book.copies[1].payload["meterStop"] = 1950


def bill_twice(cooked: Cooked) -> None:
    cooked.book.copies[2].payload["meterStart"] = 1900


def close_without_a_transaction(cooked: Cooked) -> None:
    cooked.ledger.contacts.append(Contact(1, 2000.0, 3000.0, 2, 2100.0, 3050.0))
    cooked.ledger.registers[1].add(2000.0, 3000.0)
    cooked.ledger.registers[1].add(2100.0, 3050.0)


def charge_without_a_card(cooked: Cooked) -> None:
    del cooked.ledger.presented[0]


def go_on_with_another_car(cooked: Cooked) -> None:
    first = cooked.ledger.contacts[0]
    first.opened_s, first.opened_wh = 200.0, 1400.0
    cooked.ledger.plug_ins.append(PlugIn(1, 9, 205.0, 420.0))
    cooked.ledger.contacts.insert(1, Contact(1, 206.0, 1400.0, 9, 402.0, 2000.0))


def tell_a_wrong_time(cooked: Cooked) -> None:
    for copy in cooked.book.copies[:2]:
        copy.payload["timestamp"] = copy.payload["timestamp"].replace("2027", "1970")


def tell_a_wrong_duration(cooked: Cooked) -> None:
    cooked.rules = Rules(honest_clock=False)
    cooked.book.copies[1].payload["timestamp"] = cooked.book.copies[1].payload["timestamp"].replace("2027", "2029")


def give_up_for_nothing(cooked: Cooked) -> None:
    cooked.residue = Residue(dead_letters=(DeadLetter((cooked.book.copies[3].unique_id,), 3, "StopTransaction"),))


def give_up_too_soon(cooked: Cooked) -> None:
    cooked.book.copies[3].fate = "error"
    cooked.residue = Residue(dead_letters=(DeadLetter((cooked.book.copies[3].unique_id,), 1, "StopTransaction"),))


def try_too_often(cooked: Cooked) -> None:
    cooked.book.copies[1].fate = "error"
    for number in range(1, 4):
        cooked.again(cooked.book.copies[1], 403.0 + 1000.0 * number, f"again-{number}")


def try_too_soon(cooked: Cooked) -> None:
    cooked.book.copies[1].fate = "error"
    cooked.again(cooked.book.copies[1], 420.0)
    cooked.book.copies[-1].fate = "good"


def charge_a_refused_card(cooked: Cooked) -> None:
    cooked.rules = Rules(charges_unknown_offline=True)
    cooked.ledger.presented.append(Presented(100.0, "BAD"))
    cooked.book.copies[0].payload["idTag"] = "BAD"


def charge_what_is_refused_at_once(cooked: Cooked) -> None:
    charge_a_refused_card(cooked)
    cooked.rules = RULES


def send_values_after_the_stop(cooked: Cooked) -> None:
    values = [{"timestamp": utc_text(UTC_0_S + 300), "sampledValue": [{"value": "1660"}]}]
    cooked.copy("MeterValues", 600.0, connectorId=1, transactionId=1, meterValue=values, timestamp=300.0)


BREACHES: list[tuple[Callable[[Cooked], None], str]] = [
    (lose_a_stop, delivery.ONE_STOP),
    (lose_a_session, money.BILLED),
    (lose_a_session, money.START_FIRST),
    (repeat_without_cause, delivery.ONCE),
    (repeat_differently, delivery.ONCE),
    (stop_twice, delivery.ONE_STOP),
    (use_an_unknown_id, delivery.OWN_ID),
    (use_an_id_twice, delivery.UNIQUE_IDS),
    (leave_something_over, delivery.EVERYTHING_ARRIVES),
    (bill_too_little, money.BILLED),
    (bill_twice, money.BILLED),
    (close_without_a_transaction, money.START_FIRST),
    (charge_without_a_card, money.AUTHORIZED),
    (go_on_with_another_car, money.ONE_PLUG_IN),
    (tell_a_wrong_time, money.TRUE_TIMES),
    (tell_a_wrong_duration, money.TRUE_DURATION),
    (give_up_for_nothing, delivery.NO_OFFLINE_ATTEMPT),
    (give_up_too_soon, delivery.RETRY_RULE),
    (try_too_often, delivery.RETRY_RULE),
    (try_too_soon, delivery.RETRY_RULE),
    (charge_a_refused_card, money.DEAUTHORIZED),
    (charge_what_is_refused_at_once, money.AUTHORIZED),
    (send_values_after_the_stop, delivery.IN_ORDER),
]


@pytest.mark.parametrize(("spoil", "promise"), BREACHES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_cooked_book_is_found_out(spoil: Callable[[Cooked], None], promise: str) -> None:
    """Design §7: anything else is a double, a loss, or energy that nobody allowed."""
    cooked = Cooked()
    spoil(cooked)
    assert promise in cooked.promises()


def test_a_repeat_is_excused_by_a_lost_answer_or_a_death_before_the_commit() -> None:
    """Design §7: a cut or death fell between the Central System's receipt and the queue's commit."""
    cooked = Cooked()
    cooked.again(cooked.book.copies[0], 150.0)
    assert cooked.promises() == {delivery.ONCE}
    cooked.ledger.deaths.append(Death(120.0, "transaction_queue", frozenset({cooked.book.copies[0].unique_id})))
    assert cooked.promises() == set()
    cooked.ledger.deaths.clear()
    cooked.book.copies[0].fate = "cut after it"
    assert cooked.promises() == set()


def test_a_blind_station_may_miss_what_flowed_since_its_last_checkpoint_and_no_more() -> None:
    """Design §2: the last committed reading is at most a minute old."""
    cooked = Cooked()
    cooked.ledger.spans.append(Span("connectors down", 390.0, 420.0))
    cooked.book.copies[1].payload.update(meterStop=1850, timestamp=utc_text(UTC_0_S + 360.0))
    assert cooked.promises() == set()
    cooked.book.copies[1].payload["meterStop"] = 1500
    assert money.BILLED in cooked.promises()


def test_a_remote_start_authorizes_unless_it_was_refused() -> None:
    """OCPP 1.6 §5.11; design §3: never acted on late."""
    cooked = Cooked()
    del cooked.ledger.presented[0]
    asked = Asked(99.0, "RemoteStartTransaction", {"idTag": "TAG1"}, "Accepted")
    cooked.book.asked.append(asked)
    assert cooked.promises() == set()
    asked.answer = "CALLERROR InternalError"
    assert cooked.promises() == {money.AUTHORIZED}
