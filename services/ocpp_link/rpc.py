"""OCPP-J's remote procedure calls over one connection: framing, matching, order and timeouts (OCPP-J 1.6 §4).

Owns: what a frame means, which of our calls goes out when, and which of the Central System's is worked on. Pure: frames,
answers and time come in, effects go out; unique ids are given from outside. Does not: know a message's fields
(`actions.py`), decide what is worth sending, or move bytes (`websocket_thread.py`). Nothing that comes in raises.

Ours: one call at a time (§4.1.1); the others wait in order, WAITING_MAX of them. A call that got no answer in time is reported
and remembered, so that its answer still counts if it comes late on the same connection (field report A9).

Theirs: one call at a time; what arrives meanwhile waits in order, and beyond INCOMING_MAX is answered with InternalError.
Choice, for a unique id that comes twice on a connection, which §4.1.4 forbids: while the first is worked on it is refused, as
§4.2.3 says ("an existing call with the same unique identifier is being handled already"); afterwards the very same request
gets the very same answer again and is not carried out twice, and another request is refused.
What can be answered with a CALLERROR is answered; the rest becomes a Note for the log.
"""

import msgspec

from services.ocpp_link.call_error import CallError, ErrorCode

FRAME_BYTES_MAX = 256 * 1024
"""Larger frames are not read. A GetConfiguration.conf has about 5 KB, a full SendLocalList page may have 100."""
UNIQUE_ID_LENGTH_MAX = 36
"""OCPP-J 1.6 §4.1.4."""
WAITING_MAX = 64
INCOMING_MAX = 8
HANDLING_S_MAX = 30.0
"""A call of the Central System that its owner has not answered by then gets InternalError (design §3)."""
_REMEMBERED_MAX = 16
_ECHOED_ID_LENGTH_MAX = 255
_REQUEST_LENGTH_MAX = 4096
_EXCERPT_LENGTH_MAX = 120
_CALL, _CALL_RESULT, _CALL_ERROR = 2, 3, 4


class Call(msgspec.Struct, frozen=True):
    """A call of ours; `payload` is JSON text. `send_by_mono_s`: not worth sending afterwards."""

    unique_id: str
    action: str
    payload: str
    timeout_s: float
    send_by_mono_s: float | None = None


class Outstanding(msgspec.Struct, frozen=True):
    """Our one call that is sent and not answered."""

    unique_id: str
    action: str
    deadline_mono_s: float


class Incoming(msgspec.Struct, frozen=True):
    """A call of the Central System that is not answered yet; `deadline_mono_s` runs once it is worked on."""

    unique_id: str
    action: str
    payload: str
    deadline_mono_s: float = 0.0

    @property
    def request(self) -> str:
        """What tells a repeat from another request; empty, and so never a repeat, if it is too long to remember."""
        text = f"{self.action} {self.payload}"
        return text if len(text) <= _REQUEST_LENGTH_MAX else ""


class Replied(msgspec.Struct, frozen=True):
    """An answer that we gave, for a repeat of its call."""

    unique_id: str
    request: str
    frame: str


class Rpc(msgspec.Struct, frozen=True):
    """The state: of one connection while `open`, else empty."""

    open: bool = False
    waiting: tuple[Call, ...] = ()
    outstanding: Outstanding | None = None
    timed_out: tuple[Outstanding, ...] = ()
    answered: tuple[str, ...] = ()
    """Unique ids of ours that were answered lately."""
    handling: Incoming | None = None
    incoming: tuple[Incoming, ...] = ()
    replied: tuple[Replied, ...] = ()


class Opened(msgspec.Struct, frozen=True):
    """Event: a connection is made."""


class Closed(msgspec.Struct, frozen=True):
    """Event: the connection is gone."""

    reason: str


class Request(msgspec.Struct, frozen=True):
    """Event: a call of ours is to be sent."""

    call: Call


class Cancel(msgspec.Struct, frozen=True):
    """Event: a call that still waits is not wanted any more. One that is sent goes on."""

    unique_id: str


class FrameReceived(msgspec.Struct, frozen=True):
    """Event: a text frame."""

    text: str


class BinaryReceived(msgspec.Struct, frozen=True):
    """Event: a binary frame, which OCPP-J has no use for."""

    size_bytes: int


class Reply(msgspec.Struct, frozen=True):
    """Event: the answer to the call that is worked on; `payload` is JSON text."""

    unique_id: str
    payload: str


class Refuse(msgspec.Struct, frozen=True):
    """Event: the call that is worked on gets a CALLERROR."""

    unique_id: str
    error: CallError


class Ignore(msgspec.Struct, frozen=True):
    """Event: the call that is worked on gets no answer at all (Rejected, OCPP 1.6 §4.2)."""

    unique_id: str


class Tick(msgspec.Struct, frozen=True):
    """Event: time has passed."""


Event = Opened | Closed | Request | Cancel | FrameReceived | BinaryReceived | Reply | Refuse | Ignore | Tick


class SendFrame(msgspec.Struct, frozen=True):
    """Effect: put this on the wire. `unique_id`: of our call in it; empty if it is an answer."""

    text: str
    unique_id: str = ""


class CallReceived(msgspec.Struct, frozen=True):
    """Effect: work on this call, and answer with Reply, Refuse or Ignore."""

    unique_id: str
    action: str
    payload: str


class Answered(msgspec.Struct, frozen=True):
    """Effect: our call got a CALLRESULT; `payload` is JSON text, unchecked."""

    unique_id: str
    action: str
    payload: str


class Errored(msgspec.Struct, frozen=True):
    """Effect: our call got a CALLERROR, or an answer without the form of one (`code` empty)."""

    unique_id: str
    action: str
    code: str
    description: str


class TimedOut(msgspec.Struct, frozen=True):
    """Effect: our call got no answer in time (OCPP-J 1.6 §4.1.1). It may still come: LateAnswer."""

    unique_id: str
    action: str


class LateAnswer(msgspec.Struct, frozen=True):
    """Effect: the answer to a call that had timed out, on the same connection (field report A9)."""

    answer: Answered | Errored


class Unanswered(msgspec.Struct, frozen=True):
    """Effect: the connection went while our call waited for its answer. It may have been received."""

    unique_id: str
    action: str
    reason: str


class NotSent(msgspec.Struct, frozen=True):
    """Effect: our call never went out."""

    unique_id: str
    action: str
    reason: str


class Note(msgspec.Struct, frozen=True):
    """Effect: something for the log that nobody can be answered; `detail` is an excerpt or an id."""

    text: str
    detail: str = ""


class Refused(msgspec.Struct, frozen=True):
    """Effect: a call got CALLERROR here, before anybody else saw it or after its owner said nothing; for the log."""

    unique_id: str
    action: str
    error: CallError


Effect = Refused | SendFrame | CallReceived | Answered | Errored | TimedOut | LateAnswer | Unanswered | NotSent | Note
Step = tuple[Rpc, tuple[Effect, ...]]


def step(state: Rpc, event: Event, mono_s: float) -> Step:
    """What follows from one event. `mono_s` is any clock that never steps, in seconds."""
    match event:
        case Opened():
            assert not state.open, "a connection opened while another was open"
            return Rpc(open=True), ()
        case Closed(reason=reason):
            return _closed(state, reason)
        case Request(call=call):
            return _requested(state, call, mono_s)
        case Cancel(unique_id=unique_id):
            return _cancelled(state, unique_id)
        case FrameReceived(text=text) if state.open:
            return _received(state, text, mono_s)
        case BinaryReceived(size_bytes=size) if state.open:
            return state, (Note("binary frame ignored: OCPP-J is text", f"{size} bytes"),)
        case Reply(unique_id=unique_id, payload=payload):
            return _replied(state, unique_id, f"[3,{_json(unique_id)},{payload}]", mono_s)
        case Refuse(unique_id=unique_id, error=error):
            return _replied(state, unique_id, _error_frame(unique_id, error), mono_s)
        case Ignore(unique_id=unique_id):
            return _replied(state, unique_id, "", mono_s)
        case Tick():
            return _ticked(state, mono_s)
        case _:
            return state, (Note("frame ignored: the connection is closed"),)


def next_deadline_mono_s(state: Rpc) -> float | None:
    """When a Tick is due; None: nothing waits for time."""
    deadlines = [call.send_by_mono_s for call in state.waiting if call.send_by_mono_s is not None]
    deadlines += [one.deadline_mono_s for one in (state.outstanding, state.handling) if one is not None]
    return min(deadlines, default=None)


def _closed(state: Rpc, reason: str) -> Step:
    effects: list[Effect] = []
    if state.outstanding is not None:
        effects.append(Unanswered(state.outstanding.unique_id, state.outstanding.action, reason))
    effects += [NotSent(call.unique_id, call.action, reason) for call in state.waiting]
    unfinished = ((state.handling,) if state.handling else ()) + state.incoming
    effects += [Note("call dropped: the connection went before its answer", one.unique_id) for one in unfinished]
    return Rpc(), tuple(effects)


def _requested(state: Rpc, call: Call, mono_s: float) -> Step:
    used = (one.unique_id for one in (*state.waiting, *state.timed_out, state.outstanding) if one is not None)
    if not state.open:
        reason = "not connected"
    elif not 0 < len(call.unique_id) <= UNIQUE_ID_LENGTH_MAX:
        reason = "the unique id must have 1 to 36 characters"
    elif call.unique_id in used or call.unique_id in state.answered:
        reason = "the unique id was used on this connection already"
    elif len(state.waiting) >= WAITING_MAX:
        reason = f"{WAITING_MAX} calls wait already"
    else:
        return _pumped(msgspec.structs.replace(state, waiting=(*state.waiting, call)), mono_s)
    return state, (NotSent(call.unique_id, call.action, reason),)


def _cancelled(state: Rpc, unique_id: str) -> Step:
    cancelled = tuple(call for call in state.waiting if call.unique_id == unique_id)
    waiting = tuple(call for call in state.waiting if call.unique_id != unique_id)
    effects = tuple(NotSent(call.unique_id, call.action, "cancelled") for call in cancelled)
    return msgspec.structs.replace(state, waiting=waiting), effects


def _pumped(state: Rpc, mono_s: float) -> Step:
    """Send the next waiting call if none is outstanding; those that waited too long are reported."""
    effects: list[Effect] = []
    waiting = list(state.waiting)
    outstanding = state.outstanding
    while state.open and outstanding is None and waiting:
        call = waiting.pop(0)
        if call.send_by_mono_s is not None and call.send_by_mono_s <= mono_s:
            effects.append(_expired(call))
            continue
        frame = f"[2,{_json(call.unique_id)},{_json(call.action)},{call.payload}]"
        effects.append(SendFrame(frame, call.unique_id))
        outstanding = Outstanding(call.unique_id, call.action, mono_s + call.timeout_s)
    return msgspec.structs.replace(state, waiting=tuple(waiting), outstanding=outstanding), tuple(effects)


def _expired(call: Call) -> NotSent:
    return NotSent(call.unique_id, call.action, "waited too long for the call before it")


def _ticked(state: Rpc, mono_s: float) -> Step:
    effects: list[Effect] = []
    late = tuple(call for call in state.waiting if call.send_by_mono_s is not None and call.send_by_mono_s <= mono_s)
    effects += [_expired(call) for call in late]
    state = msgspec.structs.replace(state, waiting=tuple(call for call in state.waiting if call not in late))
    silent = state.outstanding
    if silent is not None and silent.deadline_mono_s <= mono_s:
        effects.append(TimedOut(silent.unique_id, silent.action))
        timed_out = (*state.timed_out, silent)[-_REMEMBERED_MAX:]
        state = msgspec.structs.replace(state, outstanding=None, timed_out=timed_out)
    state, sent = _pumped(state, mono_s)
    effects += sent
    if state.handling is not None and state.handling.deadline_mono_s <= mono_s:
        unique_id = state.handling.unique_id
        error = CallError(ErrorCode.INTERNAL_ERROR, "no answer from the part of the station that has to give it")
        effects.append(Refused(unique_id, _excerpt(state.handling.action), error))
        state, refused = _replied(state, unique_id, _error_frame(unique_id, error), mono_s)
        effects += refused
    return state, tuple(effects)


def _received(state: Rpc, text: str, mono_s: float) -> Step:
    """Take a frame apart as far as type and unique id (OCPP-J 1.6 §4.2)."""
    if _too_large(text):
        return state, (Note(f"frame ignored: larger than {FRAME_BYTES_MAX} bytes", _excerpt(text)),)
    try:
        elements = msgspec.json.decode(text, type=tuple[msgspec.Raw, ...])
    except msgspec.ValidationError:
        return state, (Note("frame ignored: not a JSON array", _excerpt(text)),)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return state, (Note("frame ignored: not JSON", _excerpt(text)),)
    type_id = _value(elements, 0)
    if isinstance(type_id, bool) or type_id not in (_CALL, _CALL_RESULT, _CALL_ERROR) or not isinstance(type_id, int):
        # OCPP-J 1.6 §4.1.3: ignore the payload of an unknown message type.
        return state, (Note("frame ignored: unknown message type", _excerpt(text)),)
    unique_id = _value(elements, 1)
    if not isinstance(unique_id, str):
        return state, (Note("frame ignored: the unique id is not a string", _excerpt(text)),)
    if type_id == _CALL:
        return _call_received(state, unique_id, elements, mono_s)
    return _answer_received(state, unique_id, elements, mono_s)


def _call_received(state: Rpc, unique_id: str, elements: tuple[msgspec.Raw, ...], mono_s: float) -> Step:
    """Accept, queue, repeat or refuse a call (OCPP-J 1.6 §4.1.1, §4.1.4, §4.2.3)."""
    action = _value(elements, 2)
    payload = str(memoryview(elements[3]), "utf-8") if len(elements) == 4 else ""
    if len(unique_id) > UNIQUE_ID_LENGTH_MAX:
        return _refused(state, (unique_id, action), f"the unique id is longer than {UNIQUE_ID_LENGTH_MAX} characters")
    if len(elements) != 4:
        return _refused(state, (unique_id, action), f"a CALL has 4 elements, not {len(elements)}")
    if not isinstance(action, str):
        return _refused(state, (unique_id, action), "the action is not a string")
    call = Incoming(unique_id, action, payload)
    unfinished = ((state.handling,) if state.handling else ()) + state.incoming
    if any(one.unique_id == unique_id for one in unfinished):
        return _refused(state, (unique_id, action), "a call with this unique id is being handled", ErrorCode.GENERIC_ERROR)
    earlier = next((one for one in state.replied if one.unique_id == unique_id), None)
    if earlier is not None and earlier.request == call.request != "":
        return state, (Note("call repeated: answered as before", unique_id), SendFrame(earlier.frame))
    if earlier is not None:
        return _refused(state, (unique_id, action), "another call had this unique id", ErrorCode.GENERIC_ERROR)
    if len(state.incoming) >= INCOMING_MAX:
        return _refused(state, (unique_id, action), "too many calls at once: wait for the answers", ErrorCode.INTERNAL_ERROR)
    return _worked_on(msgspec.structs.replace(state, incoming=(*state.incoming, call)), mono_s)


def _worked_on(state: Rpc, mono_s: float) -> Step:
    """Hand out the next call if none is worked on."""
    if state.handling is not None or not state.incoming:
        return state, ()
    first = msgspec.structs.replace(state.incoming[0], deadline_mono_s=mono_s + HANDLING_S_MAX)
    state = msgspec.structs.replace(state, handling=first, incoming=state.incoming[1:])
    return state, (CallReceived(first.unique_id, first.action, first.payload),)


def _replied(state: Rpc, unique_id: str, frame: str, mono_s: float) -> Step:
    """Send an answer, or none if `frame` is empty, and go on with the next call."""
    if state.handling is None or state.handling.unique_id != unique_id:
        return state, (Note("answer dropped: its call is not open any more", unique_id),)
    replied = state.replied
    if frame:
        replied = (*replied, Replied(unique_id, state.handling.request, frame))[-_REMEMBERED_MAX:]
    state, effects = _worked_on(msgspec.structs.replace(state, handling=None, replied=replied), mono_s)
    return state, ((SendFrame(frame), *effects) if frame else effects)


def _answer_received(state: Rpc, unique_id: str, elements: tuple[msgspec.Raw, ...], mono_s: float) -> Step:
    """Match a CALLRESULT or CALLERROR with our call (OCPP-J 1.6 §4.2.2, §4.2.3)."""
    if state.outstanding is not None and state.outstanding.unique_id == unique_id:
        answer = _answer(state.outstanding, elements)
        answered = (*state.answered, unique_id)[-_REMEMBERED_MAX:]
        state, effects = _pumped(msgspec.structs.replace(state, outstanding=None, answered=answered), mono_s)
        return state, (answer, *effects)
    late = next((one for one in state.timed_out if one.unique_id == unique_id), None)
    if late is not None:
        timed_out = tuple(one for one in state.timed_out if one is not late)
        answered = (*state.answered, unique_id)[-_REMEMBERED_MAX:]
        state = msgspec.structs.replace(state, timed_out=timed_out, answered=answered)
        return state, (LateAnswer(_answer(late, elements)),)
    if unique_id in state.answered:
        return state, (Note("answer ignored: the call was answered already", _excerpt(unique_id)),)
    return state, (Note("answer ignored: to a call that was never made here", _excerpt(unique_id)),)


def _answer(call: Outstanding, elements: tuple[msgspec.Raw, ...]) -> Answered | Errored:
    """A CALLERROR may lack description and details; elements beyond the form are ignored."""
    if len(elements) < 3:
        return Errored(call.unique_id, call.action, "", "the answer has no payload")
    if _value(elements, 0) == _CALL_RESULT:
        return Answered(call.unique_id, call.action, str(memoryview(elements[2]), "utf-8"))
    code, description = _value(elements, 2), _value(elements, 3)
    if not isinstance(code, str):
        return Errored(call.unique_id, call.action, "", "the error code is not a string")
    return Errored(call.unique_id, call.action, _excerpt(code), _excerpt(description if isinstance(description, str) else ""))


def _refused(state: Rpc, call: tuple[str, object], description: str, code: ErrorCode = ErrorCode.FORMATION_VIOLATION) -> Step:
    """Answer a bad call: `call` is id and action. An id that is absurdly long is not repeated, so the answer stays small."""
    unique_id, action = call
    error = CallError(code, description)
    refused = Refused(_excerpt(unique_id), _excerpt(action) if isinstance(action, str) else "", error)
    if len(unique_id) > _ECHOED_ID_LENGTH_MAX:
        return state, (refused,)
    return state, (refused, SendFrame(_error_frame(unique_id, error)))


def _error_frame(unique_id: str, error: CallError) -> str:
    return f"[4,{_json(unique_id)},{_json(error.code)},{_json(error.description)},{{}}]"


def _too_large(text: str) -> bool:
    if len(text) * 4 <= FRAME_BYTES_MAX:
        return False
    return len(text) > FRAME_BYTES_MAX or len(text.encode("utf-8", "surrogatepass")) > FRAME_BYTES_MAX


def _value(elements: tuple[msgspec.Raw, ...], index: int) -> object:
    """An element as a Python value; None if it is not there, is out of range, or is nested: we only want simple ones."""
    if index >= len(elements) or bytes(memoryview(elements[index])[:1]) in (b"{", b"["):
        return None
    try:
        value: object = msgspec.json.decode(elements[index])
    except msgspec.MsgspecError:
        return None
    return value


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode("utf-8")


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT_LENGTH_MAX else text[:_EXCERPT_LENGTH_MAX] + "…"
