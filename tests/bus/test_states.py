"""States: what is newer counts, what is too old is unknown (design §3)."""

import pytest

from bus.codec import StateHeader
from bus.messages import ReaderState
from bus.states import PERIODS_UNTIL_UNKNOWN, StateInput, StateOutput

NAME = "rfid.reader."
GOOD, BAD = ReaderState(), ReaderState("no reader")


def header(number: int, *, incarnation: int = 1, at_s: float = 100.0, period_s: float = 5.0) -> StateHeader:
    return StateHeader("rfid", incarnation, number, at_s, period_s)


def test_a_value_is_refreshed_every_period_under_a_new_number() -> None:
    output = StateOutput("rfid", 1)
    first = output.publish(NAME, GOOD, period_s=5.0, now_s=100.0)
    assert (first.number, output.next_deadline_s(), output.due(104.9)) == (1, 105.0, [])
    ((name, again, value),) = output.due(105.0)
    assert (name, again.number, again.boottime_s, value) == (NAME, 2, 105.0, GOOD)
    assert output.next_deadline_s() == 110.0


@pytest.mark.parametrize(("period_s", "now_s", "due_s"), [(5.0, 100.2, 106.0), (5.0, 100.002, 105.0), (2.0, 100.9, 103.0)])
def test_a_refresh_falls_on_a_whole_second_so_that_processes_wake_together(period_s: float, now_s: float, due_s: float) -> None:
    output = StateOutput("rfid", 1)
    output.publish(NAME, GOOD, period_s=period_s, now_s=now_s)
    assert output.next_deadline_s() == due_s


def test_a_value_that_comes_every_period_is_not_sent_twice_and_one_refresh_may_be_lost() -> None:
    output = StateOutput("meter", 1)
    output.publish(NAME, GOOD, period_s=1.0, now_s=100.25)
    assert output.due(101.5) == []
    assert output.next_deadline_s() == 101.75
    output.due(101.75)
    due_s = output.next_deadline_s()
    assert due_s is not None
    assert due_s < 100.25 + PERIODS_UNTIL_UNKNOWN * 1.0


def test_a_change_puts_off_the_refresh() -> None:
    output = StateOutput("rfid", 1)
    output.publish(NAME, GOOD, period_s=5.0, now_s=100.0)
    output.publish(NAME, BAD, period_s=5.0, now_s=103.0)
    assert output.next_deadline_s() == 108.0
    assert [value for _, _, value in output.due(108.0)] == [BAD]


def test_a_broker_that_is_back_gets_every_current_value() -> None:
    output = StateOutput("rfid", 1)
    output.publish("a.", GOOD, period_s=5.0, now_s=100.0)
    output.publish("b.", BAD, period_s=5.0, now_s=100.0)
    assert [(name, value) for name, _, value in output.all(101.0)] == [("a.", GOOD), ("b.", BAD)]


@pytest.mark.parametrize(
    ("first", "then", "newer"),
    [
        (header(1), header(2), True),
        (header(2), header(2), False),
        (header(2), header(1), False),
        (header(9), header(1, incarnation=2), True),
        (header(1, incarnation=2), header(9), False),
    ],
)
def test_only_what_is_newer_is_taken(first: StateHeader, then: StateHeader, newer: bool) -> None:
    reader = StateInput()
    assert reader.accept(NAME, first, GOOD, 100.0)
    assert reader.accept(NAME, then, BAD, 100.0) is newer
    assert reader.value(NAME, 100.0) == (BAD if newer else GOOD)


def test_a_value_older_than_three_periods_is_unknown_and_said_so_once() -> None:
    reader = StateInput()
    reader.accept(NAME, header(1), GOOD, 100.0)
    limit_s = 100.0 + PERIODS_UNTIL_UNKNOWN * 5.0
    assert reader.next_deadline_s() == limit_s
    assert reader.newly_unknown(limit_s - 0.01) == []
    assert reader.value(NAME, limit_s - 0.01) == GOOD
    assert reader.newly_unknown(limit_s) == [NAME]
    assert reader.newly_unknown(limit_s + 9) == []
    assert (reader.value(NAME, limit_s), reader.next_deadline_s()) == (None, None)


def test_refreshed_values_are_looked_at_once_for_all_their_refreshes() -> None:
    """Not once for each: an idle process would wake for nothing."""
    reader = StateInput()
    for number in range(1, 11):
        reader.accept(NAME, header(number, at_s=100.0 + number), GOOD, 100.0 + number)
    first_s, last_s = (at_s + PERIODS_UNTIL_UNKNOWN * 5.0 for at_s in (101.0, 110.0))
    assert reader.next_deadline_s() == first_s
    assert reader.newly_unknown(first_s) == []
    assert reader.next_deadline_s() == last_s
    assert reader.newly_unknown(last_s) == [NAME]


def test_an_outdated_value_is_never_taken_for_a_current_one() -> None:
    """The broker may replay what an owner said long before it died."""
    reader = StateInput()
    assert not reader.accept(NAME, header(1), GOOD, 115.0)
    assert reader.value(NAME, 115.0) is None


def test_what_was_unknown_is_known_again_and_can_become_unknown_again() -> None:
    reader = StateInput()
    reader.accept(NAME, header(1), GOOD, 100.0)
    reader.newly_unknown(115.0)
    reader.accept(NAME, header(2, at_s=120.0), BAD, 120.0)
    assert reader.value(NAME, 120.0) == BAD
    assert reader.newly_unknown(135.0) == [NAME]


def test_a_value_never_heard_is_unknown() -> None:
    assert StateInput().value(NAME, 0.0) is None
