"""What a reader shows, and for how long (issue 6; hardware.md §7): pure, and in the service that follows the bus."""

import pytest

from bus.card_messages import CardAnswered, CardOutcome
from bus.logs import logger
from services.hardware.contract import ReaderDesired, TokenSeen
from services.rfid import feedback, presentation
from services.rfid.__main__ import RfidService
from services.rfid.feedback import SHOWN_S, WAIT_S_MAX, WAITING_MAX, State, next_deadline_s, passed, shown, told
from tests.bus.rig import Clock, Wires

WAIT, ACCEPTED, REFUSED = CardOutcome.WAIT, CardOutcome.ACCEPTED, CardOutcome.REFUSED


def after(*said: tuple[float, str, CardOutcome]) -> State:
    """What is shown once all this was said."""
    state = State()
    for at_s, id_tag, outcome in said:
        state = told(passed(state, at_s), CardAnswered(id_tag, outcome), at_s)
    return state


@pytest.mark.parametrize("outcome", [ACCEPTED, REFUSED])
def test_what_a_card_has_come_to_is_shown_for_a_moment(outcome: CardOutcome) -> None:
    state = after((0.0, "A", WAIT), (1.0, "a", outcome))
    assert shown(state) is outcome
    assert next_deadline_s(state) == 1.0 + SHOWN_S
    state = passed(state, 1.0 + SHOWN_S)
    assert (shown(state), next_deadline_s(state)) == (None, None)


def test_a_wait_whose_answer_is_lost_ends_by_itself() -> None:
    state = after((0.0, "A", WAIT))
    assert shown(passed(state, WAIT_S_MAX - 0.1)) is WAIT
    assert next_deadline_s(state) == WAIT_S_MAX
    assert passed(state, WAIT_S_MAX) == State()


def test_who_waits_does_not_see_what_the_card_before_has_come_to() -> None:
    assert shown(after((0.0, "A", ACCEPTED), (1.0, "B", WAIT))) is WAIT


def test_after_the_answer_to_another_card_the_wait_goes_on() -> None:
    state = after((0.0, "A", WAIT), (1.0, "B", WAIT), (2.0, "A", REFUSED))
    assert shown(state) is REFUSED
    assert shown(passed(state, 2.0 + SHOWN_S)) is WAIT


def test_cards_that_wait_are_bounded() -> None:
    state = after(*((float(number), str(number), WAIT) for number in range(100)))
    assert len(state.waiting) == WAITING_MAX


def test_a_card_that_can_be_no_id_tag_is_refused() -> None:
    state = feedback.unusable(after((0.0, "A", WAIT)), 1.0)
    assert shown(state) is REFUSED
    assert shown(passed(state, 1.0 + SHOWN_S)) is WAIT


def test_the_service_has_the_reader_show_what_connectors_says() -> None:
    """A process before this one may have left a lamp lit; an event that is older than two seconds shows nothing (design §3)."""
    clock = Clock()
    wires = Wires(clock)
    desired: list[ReaderDesired] = []
    rfid, connectors = wires.node("rfid"), wires.node("connectors")
    service = RfidService(rfid, logger("rfid"), presentation.IdTagRules(), desired.append)
    wires.attach(rfid)
    wires.attach(connectors)
    assert [now.outcome for now in desired] == [None]
    for outcome in (WAIT, ACCEPTED):
        connectors.emit(CardAnswered("A", outcome))
        wires.settle()
    assert [now.outcome for now in desired] == [None, WAIT, ACCEPTED]
    deadline_s = service.next_deadline_s()
    assert deadline_s is not None
    clock.now_s = deadline_s
    service.tick()
    assert desired[-1].outcome is None
    service.feed(presentation.TokenRead(TokenSeen("08A1B2C3", clock.now_s)))
    assert desired[-1].outcome is REFUSED
    clock.now_s += SHOWN_S
    service.tick()
    connectors.emit(CardAnswered("A", ACCEPTED))
    wires.collect()
    clock.now_s += 2.5
    wires.settle()
    assert desired[-1].outcome is None
