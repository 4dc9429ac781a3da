"""The log of OCPP frames: what went over the WebSocket, as lines that field support can read (pure; design §6).

`event="frame sent" kind=CALL action=Heartbeat unique_id=… bytes=20 frame="[2,…]"`, and with an answer, of either side, how long
it took, as seen at the socket. What the frame does not say itself, but who sends it knows, comes with it (`About`); an answer
has what its CALL had.

Owns: which lines there are, what is in them, and which are so ordinary that they may be folded. Does not: write (`Frames` is
given where to), move bytes, or judge a frame: anything may come in.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from bus.logs import Logger
from bus.messages import Authorize, ConnectorState, Deliver
from bus.vocabulary import masked_id_tag
from services.ocpp_link.masking import masked

KINDS = {2: "CALL", 3: "CALLRESULT", 4: "CALLERROR"}
SENT, RECEIVED = "frame sent", "frame received"
FRAME_CHARS_MAX = 3000
"""So much of a frame is kept; `bytes` tells how long it was."""
WAITING_MAX = 64
"""CALLs, of both sides, whose answers are waited for; the oldest are forgotten."""
_NAME_CHARS_MAX = 50
_QUIET_ACTION = "Heartbeat"


class About(msgspec.Struct, frozen=True):
    """What a frame is about, beyond what it says itself."""

    local_tx_id: str | None = None
    correlation_id: str | None = None


NOTHING = About()


def about(message: object) -> About:
    """Which session a message is about, as whoever asks for it says."""
    match message:
        case Deliver(local_tx_id=local_tx_id, correlation_id=correlation_id):
            return About(local_tx_id, correlation_id)
        case Authorize(correlation_id=correlation_id):
            return About(None, correlation_id)
        case ConnectorState(transaction=running) if running is not None:
            return About(running.local_tx_id, running.correlation_id)
    return NOTHING


class _Call(msgspec.Struct, frozen=True):
    """A CALL that was seen, for the line of its answer."""

    action: str
    at_s: float
    fields: dict[str, Any]


class Frames:
    """Both directions of one link. `log`: of its own, beside that of the service."""

    def __init__(self, log: Logger, *, full_id_tags: bool = False, secret: Callable[[], str] = str) -> None:
        """`secret`: the password of now, which is hidden wherever it stands."""
        self._log = log
        self._show_id_tag: Callable[[str], str] = str if full_id_tags else masked_id_tag
        self._secret = secret
        self._calls: dict[tuple[str, str], _Call] = {}

    def opened(self) -> None:
        """A connection begins: answers to CALLs of the one before don't come any more (OCPP-J 1.6 §4.1.4)."""
        self._calls.clear()

    def sent(self, text: str, now_s: float, about: About = NOTHING, *, ago_s: float = 0.0) -> None:
        """A frame went out at `now_s` of any clock that never steps, `ago_s` ago."""
        self._seen(SENT, text, now_s, about, ago_s)

    def received(self, text: str, now_s: float, *, ago_s: float = 0.0) -> None:
        """A frame came in."""
        self._seen(RECEIVED, text, now_s, NOTHING, ago_s)

    def _seen(self, event: str, text: str, now_s: float, about: About, ago_s: float) -> None:
        kind, unique_id, action, payload = parts(text)
        fields: dict[str, Any] = {"kind": kind, "action": action, "unique_id": unique_id}
        known = _named(payload)
        other = RECEIVED if event == SENT else SENT
        call = None if unique_id is None or kind == "CALL" else self._calls.pop((other, unique_id), None)
        if call is not None:
            fields.update(action=call.action, latency_ms=round((now_s - call.at_s) * 1000))
            known = {**call.fields, **known}
        known |= {name: value for name, value in msgspec.structs.asdict(about).items() if value}
        if kind == "CALL" and unique_id is not None and action is not None:
            self._calls[event, unique_id] = _Call(action, now_s, known)
            if len(self._calls) > WAITING_MAX:
                del self._calls[next(iter(self._calls))]
        frame = masked(text, self._show_id_tag, self._secret())
        shown = frame if len(frame) <= FRAME_CHARS_MAX else frame[:FRAME_CHARS_MAX] + "…"
        fields.update(known, bytes=len(text.encode(errors="replace")), frame=shown)
        if kind != "CALLERROR" and fields["action"] == _QUIET_ACTION:
            self._log.quiet(event, f"{event} {kind}", ago_s=ago_s, **fields)
        else:
            self._log.info(event, ago_s=ago_s, **fields)


def parts(text: str) -> tuple[str | None, str | None, str | None, Any]:
    """Kind, unique id, action (of a CALL) and payload of a frame, as far as it has them; anything may come in."""
    try:
        frame = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None, None, None, None
    if not isinstance(frame, list) or len(frame) < 3:
        return None, None, None, None
    kind = KINDS.get(frame[0]) if isinstance(frame[0], int) else None
    action = _name(frame[2]) if kind == "CALL" else None
    payload = frame[3] if kind == "CALL" and len(frame) > 3 else frame[2] if kind == "CALLRESULT" else None
    return kind, _name(frame[1]), action, payload


def _name(value: Any) -> str | None:
    return value[:_NAME_CHARS_MAX] if isinstance(value, str) else None


def _named(payload: Any) -> dict[str, Any]:
    """Which connector and transaction a payload names."""
    if not isinstance(payload, dict):
        return {}
    told = {"connector": payload.get("connectorId"), "transaction_id": payload.get("transactionId")}
    return {name: value for name, value in told.items() if isinstance(value, int) and not isinstance(value, bool)}
