"""OCPP-J's remote procedure calls: framing, order, timeouts, and whatever a peer may send (OCPP-J 1.6 §4)."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ocpp_link import rpc
from services.ocpp_link.call_error import CallError, ErrorCode
from services.ocpp_link.rpc import (
    Answered,
    BinaryReceived,
    Call,
    CallReceived,
    Cancel,
    Closed,
    Effect,
    Errored,
    Event,
    FrameReceived,
    Ignore,
    LateAnswer,
    Note,
    NotSent,
    Opened,
    Refuse,
    Refused,
    Reply,
    Request,
    Rpc,
    SendFrame,
    Tick,
    TimedOut,
    Unanswered,
)


class Link:
    """A session of the core, as a shell would drive it."""

    def __init__(self, *, opened: bool = True) -> None:
        self.state = Rpc()
        self.now_s = 1000.0
        if opened:
            assert self.do(Opened()) == ()

    def do(self, event: Event) -> tuple[Effect, ...]:
        self.state, effects = rpc.step(self.state, event, self.now_s)
        return effects

    def receive(self, *elements: Any) -> tuple[Effect, ...]:
        return self.do(FrameReceived(json.dumps(elements)))

    def call(self, unique_id: str, **more: Any) -> tuple[Effect, ...]:
        return self.do(Request(Call(unique_id, "Heartbeat", "{}", timeout_s=30.0, **more)))


def error_in(effects: tuple[Effect, ...]) -> tuple[str, str]:
    """Unique id and code of the one CALLERROR in `effects`."""
    frames = [json.loads(effect.text) for effect in effects if isinstance(effect, SendFrame)]
    assert len(frames) == 1
    type_id, unique_id, code, description, details = frames[0]
    assert (type_id, details) == (4, {})
    assert description
    return unique_id, code


def only_note(effects: tuple[Effect, ...]) -> str:
    assert len(effects) == 1
    assert isinstance(effects[0], Note | Refused)
    return effects[0].text if isinstance(effects[0], Note) else effects[0].error.description


def test_a_call_goes_out_in_its_frame() -> None:
    """OCPP-J 1.6 §4.2.1."""
    link = Link()
    payload = '{"idTag":"ä"}'
    effects = link.do(Request(Call('a"1', "Authorize", payload, timeout_s=30.0)))
    assert effects == (SendFrame('[2,"a\\"1","Authorize",{"idTag":"ä"}]', 'a"1'),)


def test_one_call_is_outstanding_and_the_others_follow_in_order() -> None:
    """OCPP-J 1.6 §4.1.1."""
    link = Link()
    assert link.call("1") == (SendFrame('[2,"1","Heartbeat",{}]', "1"),)
    assert link.call("2") == ()
    assert link.call("3") == ()
    assert link.receive(3, "1", {"currentTime": "x"}) == (
        Answered("1", "Heartbeat", '{"currentTime": "x"}'),
        SendFrame('[2,"2","Heartbeat",{}]', "2"),
    )
    assert link.receive(4, "2", "InternalError", "sorry", {}) == (
        Errored("2", "Heartbeat", "InternalError", "sorry"),
        SendFrame('[2,"3","Heartbeat",{}]', "3"),
    )


def test_crossing_calls_are_answered_while_ours_waits() -> None:
    """OCPP-J 1.6 §4.1.1 note; field report §2.21."""
    link = Link()
    link.call("1")
    assert link.receive(2, "a", "ClearCache", {}) == (CallReceived("a", "ClearCache", "{}"),)
    assert link.do(Reply("a", '{"status":"Rejected"}')) == (SendFrame('[3,"a",{"status":"Rejected"}]'),)
    assert link.receive(3, "1", {}) == (Answered("1", "Heartbeat", "{}"),)


def test_the_same_unique_id_may_be_used_by_both_sides() -> None:
    link = Link()
    link.call("1")
    assert link.receive(2, "1", "ClearCache", {}) == (CallReceived("1", "ClearCache", "{}"),)
    assert link.receive(3, "1", {}) == (Answered("1", "Heartbeat", "{}"),)
    assert link.do(Reply("1", "{}")) == (SendFrame('[3,"1",{}]'),)


def test_a_call_without_an_answer_times_out_and_the_next_goes_out() -> None:
    """OCPP-J 1.6 §4.1.1."""
    link = Link()
    link.call("1")
    link.call("2")
    assert rpc.next_deadline_mono_s(link.state) == 1030.0
    link.now_s = 1029.9
    assert link.do(Tick()) == ()
    link.now_s = 1030.0
    assert link.do(Tick()) == (TimedOut("1", "Heartbeat"), SendFrame('[2,"2","Heartbeat",{}]', "2"))


def test_a_late_answer_on_the_same_connection_is_told_once() -> None:
    """field report A9."""
    link = Link()
    link.call("1")
    link.now_s += 30
    link.do(Tick())
    assert link.receive(3, "1", {}) == (LateAnswer(Answered("1", "Heartbeat", "{}")),)
    assert only_note(link.receive(3, "1", {})) == "answer ignored: the call was answered already"


def test_a_late_answer_on_another_connection_is_to_a_call_never_made() -> None:
    link = Link()
    link.call("1")
    link.now_s += 30
    link.do(Tick())
    link.do(Closed("gone"))
    link.do(Opened())
    assert only_note(link.receive(3, "1", {})) == "answer ignored: to a call that was never made here"


def test_answers_out_of_place_are_noted_and_change_nothing() -> None:
    link = Link()
    link.call("1")
    before = link.state
    for type_id in (3, 4):
        assert "never made" in only_note(link.receive(type_id, "2", {}))
    assert link.state == before
    link.receive(3, "1", {})
    assert "answered already" in only_note(link.receive(4, "1", "GenericError", "", {}))


@pytest.mark.parametrize(
    ("frame", "code", "description"),
    [
        ((4, "1", "GenericError"), "GenericError", ""),
        ((4, "1", "OwnCode", 5, None), "OwnCode", ""),
        ((4, "1", 5, "text", {}), "", "the error code is not a string"),
        ((4, "1"), "", "the answer has no payload"),
        ((3, "1"), "", "the answer has no payload"),
    ],
)
def test_answers_without_their_form_still_end_the_call(frame: tuple[Any, ...], code: str, description: str) -> None:
    """field report §2.25: a bad answer counts as a failure to process."""
    link = Link()
    link.call("1")
    assert link.receive(*frame) == (Errored("1", "Heartbeat", code, description),)
    assert link.call("2") == (SendFrame('[2,"2","Heartbeat",{}]', "2"),)


def test_a_lost_connection_reports_every_call() -> None:
    """field report 17: cancel waiting calls on disconnect; design §4.3."""
    link = Link()
    link.call("1")
    link.call("2")
    link.receive(2, "a", "ClearCache", {})
    effects = link.do(Closed("pong missing"))
    assert effects[:2] == (Unanswered("1", "Heartbeat", "pong missing"), NotSent("2", "Heartbeat", "pong missing"))
    assert isinstance(effects[2], Note)
    assert link.state == Rpc()
    assert only_note(link.do(Reply("a", "{}"))) == "answer dropped: its call is not open any more"


def test_nothing_is_sent_without_a_connection() -> None:
    link = Link(opened=False)
    assert link.call("1") == (NotSent("1", "Heartbeat", "not connected"),)
    assert link.state == Rpc()
    assert "closed" in only_note(link.receive(2, "a", "ClearCache", {}))


def test_the_queue_of_waiting_calls_is_bounded() -> None:
    link = Link()
    for number in range(rpc.WAITING_MAX + 1):
        link.call(str(number))
    assert link.call("more") == (NotSent("more", "Heartbeat", "64 calls wait already"),)


def test_a_waiting_call_is_dropped_when_it_is_not_worth_sending_any_more() -> None:
    """design §3: never acted on late."""
    link = Link()
    link.call("1")
    link.call("2", send_by_mono_s=1005.0)
    link.call("3", send_by_mono_s=1020.0)
    assert rpc.next_deadline_mono_s(link.state) == 1005.0
    link.now_s = 1005.0
    assert link.do(Tick()) == (NotSent("2", "Heartbeat", "waited too long for the call before it"),)
    link.now_s = 1020.0
    assert link.receive(3, "1", {}) == (
        Answered("1", "Heartbeat", "{}"),
        NotSent("3", "Heartbeat", "waited too long for the call before it"),
    )


def test_a_waiting_call_can_be_cancelled_and_a_sent_one_goes_on() -> None:
    link = Link()
    link.call("1")
    link.call("2")
    assert link.do(Cancel("2")) == (NotSent("2", "Heartbeat", "cancelled"),)
    assert link.do(Cancel("1")) == ()
    assert link.receive(3, "1", {}) == (Answered("1", "Heartbeat", "{}"),)


def test_a_unique_id_is_used_once_on_a_connection() -> None:
    """OCPP-J 1.6 §4.1.4; design §4.10: a new connection may keep it."""
    link = Link()
    reused = (NotSent("1", "Heartbeat", "the unique id was used on this connection already"),)
    link.call("1")
    assert link.call("1") == reused
    link.now_s += 30
    link.do(Tick())
    assert link.call("1") == reused
    link.receive(3, "1", {})
    assert link.call("1") == reused
    link.do(Closed("gone"))
    link.do(Opened())
    assert link.call("1") == (SendFrame('[2,"1","Heartbeat",{}]', "1"),)


@pytest.mark.parametrize("unique_id", ["", "x" * 37])
def test_our_own_unique_ids_have_the_right_length(unique_id: str) -> None:
    assert isinstance(Link().call(unique_id)[0], NotSent)
    assert isinstance(Link().call("x" * 36)[0], SendFrame)


def test_their_calls_are_worked_on_one_at_a_time_in_order() -> None:
    link = Link()
    assert link.receive(2, "a", "ClearCache", {}) == (CallReceived("a", "ClearCache", "{}"),)
    assert link.receive(2, "b", "Reset", {"type": "Soft"}) == ()
    assert link.receive(2, "c", "ClearCache", None) == ()
    assert link.do(Reply("a", "{}")) == (SendFrame('[3,"a",{}]'), CallReceived("b", "Reset", '{"type": "Soft"}'))
    error = CallError(ErrorCode.INTERNAL_ERROR, "the owner is down")
    assert link.do(Refuse("b", error)) == (
        SendFrame('[4,"b","InternalError","the owner is down",{}]'),
        CallReceived("c", "ClearCache", "null"),
    )
    assert link.do(Ignore("c")) == ()
    assert link.state.handling is None


def test_too_many_calls_at_once_are_refused() -> None:
    """OCPP-J 1.6 §4.1.1: the Central System should have waited."""
    link = Link()
    for number in range(rpc.INCOMING_MAX + 1):
        link.receive(2, str(number), "ClearCache", {})
    assert error_in(link.receive(2, "more", "ClearCache", {})) == ("more", "InternalError")
    assert len(link.state.incoming) == rpc.INCOMING_MAX


def test_an_owner_that_does_not_answer_does_not_block_the_next_call() -> None:
    """design §3: a timeout becomes CALLERROR InternalError."""
    link = Link()
    link.receive(2, "a", "ClearCache", {})
    link.receive(2, "b", "ClearCache", {})
    link.now_s += rpc.HANDLING_S_MAX
    assert rpc.next_deadline_mono_s(link.state) == link.now_s
    effects = link.do(Tick())
    assert error_in(effects) == ("a", "InternalError")
    assert effects[-1] == CallReceived("b", "ClearCache", "{}")
    assert "not open any more" in only_note(link.do(Reply("a", "{}")))


def test_a_repeated_call_gets_the_same_bytes_and_is_not_carried_out_twice() -> None:
    link = Link()
    link.receive(2, "a", "Reset", {"type": "Soft"})
    frame = SendFrame('[3,"a",{"status":"Accepted"}]')
    assert link.do(Reply("a", '{"status":"Accepted"}')) == (frame,)
    effects = link.receive(2, "a", "Reset", {"type": "Soft"})
    assert effects[-1] == frame
    assert not any(isinstance(effect, CallReceived) for effect in effects)


def test_another_call_with_a_used_unique_id_is_refused() -> None:
    """OCPP-J 1.6 §4.1.4."""
    link = Link()
    link.receive(2, "a", "Reset", {"type": "Soft"})
    link.do(Reply("a", "{}"))
    assert error_in(link.receive(2, "a", "Reset", {"type": "Hard"})) == ("a", "GenericError")


def test_a_unique_id_that_is_being_handled_is_refused() -> None:
    """OCPP-J 1.6 §4.2.3 names this very case."""
    link = Link()
    link.receive(2, "a", "Reset", {"type": "Soft"})
    link.receive(2, "b", "Reset", {"type": "Soft"})
    assert error_in(link.receive(2, "a", "Reset", {"type": "Soft"})) == ("a", "GenericError")
    assert error_in(link.receive(2, "b", "Reset", {"type": "Soft"})) == ("b", "GenericError")
    assert link.state.handling is not None


def test_a_huge_repeated_call_is_refused_since_it_is_not_remembered() -> None:
    link = Link()
    payload = {"vendorId": "x", "data": "y" * 5000}
    link.receive(2, "a", "DataTransfer", payload)
    link.do(Reply("a", "{}"))
    assert error_in(link.receive(2, "a", "DataTransfer", payload)) == ("a", "GenericError")


@pytest.mark.parametrize(
    "frame",
    [
        [2, "a", "ClearCache"],
        [2, "a"],
        [2, "a", "ClearCache", {}, {}],
        [2, "a", 5, {}],
        [2, "a", None, {}],
        [2, "a", ["ClearCache"], {}],
        [2, "x" * 37, "ClearCache", {}],
        [2, "x" * 255, "ClearCache", {}],
    ],
)
def test_a_call_without_its_form_is_refused(frame: list[Any]) -> None:
    """OCPP-J 1.6 §4.2.3: missing fields, unique identifier too long."""
    assert error_in(Link().receive(*frame)) == (frame[1], "FormationViolation")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("nonsense", "not JSON"),
        ("[", "not JSON"),
        ('[2,"a","ClearCache",{}', "not JSON"),
        ('[2,"a","ClearCache",{x:1}]', "not JSON"),
        ('[2,"a","ClearCache",{}]]', "not JSON"),
        ('[2,"a","ClearCache",{"x":"\ud800"}]', "not JSON"),
        ('[2,"a","ClearCache",' + "[" * 100_000 + "]" * 100_000 + "]", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("{}", "not a JSON array"),
        ('"text"', "not a JSON array"),
        ("2", "not a JSON array"),
        ("null", "not a JSON array"),
        ("[]", "unknown message type"),
        ("[null]", "unknown message type"),
        ('[1,"a"]', "unknown message type"),
        ('[5,"a","ClearCache",{}]', "unknown message type"),
        ('[true,"a","ClearCache",{}]', "unknown message type"),
        ('[2.0,"a","ClearCache",{}]', "unknown message type"),
        ('["2","a","ClearCache",{}]', "unknown message type"),
        ('[[2],"a","ClearCache",{}]', "unknown message type"),
        ("[1e999]", "unknown message type"),
        ("[2]", "the unique id is not a string"),
        ('[2,1,"ClearCache",{}]', "the unique id is not a string"),
        ('[2,null,"ClearCache",{}]', "the unique id is not a string"),
        ('[3,{"a":1},{}]', "the unique id is not a string"),
        ('[2,"' + "x" * 256 + '","ClearCache",{}]', "the unique id is longer than 36"),
        ('[2,"a","DataTransfer",{"data":"' + "x" * rpc.FRAME_BYTES_MAX + '"}]', "larger than"),
        ('[2,"a","DataTransfer",{"data":"' + "ä" * (rpc.FRAME_BYTES_MAX // 2) + '"}]', "larger than"),
    ],
)
def test_a_frame_that_cannot_be_answered_is_noted(text: str, words: str) -> None:
    """Issue, "Bad input": each has a defined answer or log line, and the next good message works."""
    link = Link()
    note = only_note(link.do(FrameReceived(text)))
    assert words in note
    assert len(note) < 200
    assert link.receive(2, "b", "ClearCache", {}) == (CallReceived("b", "ClearCache", "{}"),)


def test_a_frame_just_small_enough_is_read() -> None:
    link = Link()
    text = '[2,"a","DataTransfer",{"data":"' + "x" * (rpc.FRAME_BYTES_MAX - 34) + '"}]'
    assert len(text) == rpc.FRAME_BYTES_MAX
    assert isinstance(link.do(FrameReceived(text))[0], CallReceived)


def test_a_binary_frame_is_noted() -> None:
    assert "binary" in only_note(Link().do(BinaryReceived(5)))


def test_white_space_in_a_frame_is_no_matter() -> None:
    assert Link().do(FrameReceived('\n[ 2 , "a" ,\t"Reset" , {} ]\n')) == (CallReceived("a", "Reset", "{}"),)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
IDS = st.sampled_from(["1", "2", "3", "a", "b", ""])
FRAMES = st.one_of(
    st.text(),
    st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")),
    JSON.map(json.dumps),
    st.tuples(st.sampled_from([2, 3, 4]), IDS, st.sampled_from(["Reset", "X"]), JSON).map(json.dumps),
    st.tuples(st.sampled_from([2, 3, 4]), IDS, JSON).map(json.dumps),
)
EVENTS = st.one_of(
    FRAMES.map(FrameReceived),
    st.builds(BinaryReceived, st.integers(0, 9)),
    st.builds(lambda i, late: Request(Call(i, "Heartbeat", "{}", 3.0, late)), IDS, st.none() | st.floats(0, 50)),
    st.builds(Cancel, IDS),
    st.builds(Reply, IDS, st.just("{}")),
    st.builds(lambda i: Refuse(i, CallError(ErrorCode.GENERIC_ERROR, "no")), IDS),
    st.builds(Ignore, IDS),
    st.just(Tick()),
    st.just(Closed("cut")),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.floats(0, 10)), max_size=60))
def test_no_sequence_of_events_breaks_the_rules(events: list[tuple[Event, float]]) -> None:
    """One call of ours at a time, exactly one end for each; one call of theirs worked on at a time; bounded; nothing raises."""
    link = Link()
    asked: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    late: Counter[str] = Counter()
    for event, pause_s in [*events, (Closed("end"), 0.0)]:
        link.now_s += pause_s
        if not link.state.open:
            link.do(Opened())
        if isinstance(event, Request):
            asked[event.call.unique_id] += 1
        for effect in link.do(event):
            match effect:
                case SendFrame(text=text, unique_id=unique_id):
                    frame = json.loads(text)
                    assert (frame[0] == 2) == (unique_id == frame[1] and unique_id != "")
                case Answered() | Errored() | TimedOut() | Unanswered() | NotSent():
                    ended[effect.unique_id] += 1
                case LateAnswer(answer=answer):
                    late[answer.unique_id] += 1
                case CallReceived(unique_id=unique_id):
                    assert link.state.handling is not None
                    assert link.state.handling.unique_id == unique_id
                case Note() | Refused():
                    pass
        assert len(link.state.waiting) <= rpc.WAITING_MAX
        assert len(link.state.incoming) <= rpc.INCOMING_MAX
        assert link.state.outstanding is not None or not link.state.waiting
        assert link.state.handling is not None or not link.state.incoming
    assert asked == ended
    assert late <= ended
    assert link.state == Rpc()


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAMES, max_size=20))
def test_a_good_call_after_any_frames_is_handed_out_or_queued(frames: list[str]) -> None:
    link = Link()
    for text in frames:
        for effect in link.do(FrameReceived(text)):
            while isinstance(effect, CallReceived):
                following = link.do(Reply(effect.unique_id, "{}"))
                effect = following[-1]
    assert link.receive(2, "good", "ClearCache", {}) == (CallReceived("good", "ClearCache", "{}"),)
