"""Calls: answered or timed out, exactly once, and never acted on late (design §3)."""

import pytest

from bus.calls import CALLS_WAITING_MAX, CallsOut, IncomingCall, Reply
from bus.messages import IdTagInfo
from bus.vocabulary import AuthorizationStatus

ACCEPTED = IdTagInfo(AuthorizationStatus.ACCEPTED)


def opened(calls: CallsOut, deadline_s: float = 10.0) -> tuple[str, list[Reply]]:
    replies: list[Reply] = []
    return calls.open("ocpp_link", IdTagInfo, deadline_s, replies.append), replies


def test_an_answer_reaches_its_caller_once() -> None:
    calls = CallsOut("connectors", 1)
    call_id, replies = opened(calls)
    answer = Reply(call_id, value=ACCEPTED)
    assert calls.settle(answer)
    assert not calls.settle(answer)
    assert replies == [answer]
    assert calls.next_deadline_s() is None


def test_a_call_times_out_once_and_names_whom_to_tell() -> None:
    calls = CallsOut("connectors", 1)
    call_id, replies = opened(calls, 10.0)
    assert calls.expire(9.99) == []
    assert calls.expire(10.0) == [(call_id, "ocpp_link")]
    assert calls.expire(11.0) == []
    assert [(reply.timed_out, reply.value) for reply in replies] == [(True, None)]
    assert not calls.settle(Reply(call_id, value=ACCEPTED))


def test_who_stops_waiting_hears_nothing_more() -> None:
    calls = CallsOut("connectors", 1)
    call_id, replies = opened(calls)
    assert calls.forget(call_id) == "ocpp_link"
    assert calls.forget(call_id) is None
    calls.expire(99.0)
    assert replies == []


def test_ids_differ_between_callers_and_between_runs() -> None:
    ids = {opened(CallsOut(sender, run))[0] for sender in ("connectors", "meter") for run in (1, 2)}
    assert len(ids) == 4


def test_a_reply_may_make_the_next_call() -> None:
    calls = CallsOut("connectors", 1)
    made: list[str] = []
    calls.open("meter", IdTagInfo, 1.0, lambda _: made.append(opened(calls, 5.0)[0]))
    assert len(calls.expire(1.0)) == 1
    assert len(made) == 1
    assert calls.next_deadline_s() == 5.0


def test_waiting_calls_are_bounded() -> None:
    calls = CallsOut("connectors", 1)
    for _ in range(CALLS_WAITING_MAX):
        opened(calls)
    with pytest.raises(AssertionError, match="too many"):
        opened(calls)


def test_a_call_is_answered_at_most_once_and_not_acted_on_at_its_deadline() -> None:
    sent: list[tuple[object, str | None]] = []
    call = IncomingCall("id", "connectors", 10.0, lambda _, value, error: sent.append((value, error)))
    assert not call.expired(9.99)
    assert call.expired(10.0)
    call.refuse("no")
    with pytest.raises(AssertionError, match="twice"):
        call.answer(ACCEPTED)
    assert sent == [(None, "no")]
