"""The judge fails on cooked books: each promise is broken once, by hand, and found by its name."""

import pytest

from bus.logs import utc_text
from tests.simulation import judge_delivery as delivery
from tests.simulation import judge_money as money
from tests.simulation.clock import UTC_0_S
from tests.simulation.cooked import RULES, Change, Cooked
from tests.simulation.judge import DeadLetter, Residue, Rules
from tests.simulation.ledger import Contact, PlugIn, Presented


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


BREACHES: list[tuple[Change, str]] = [
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
def test_a_cooked_book_is_found_out(spoil: Change, promise: str) -> None:
    """Design §7: anything else is a double, a loss, or energy that nobody allowed."""
    cooked = Cooked()
    spoil(cooked)
    assert promise in cooked.promises()
