"""Calls without sockets: request and answer, absolute deadlines, cancellation (design §3).

Owns: which answer belongs to which request, and when waiting ends. Does not: move bytes or read a clock.
A call is answered or timed out, never silently dropped; and never acted on late: the handler asks `IncomingCall.expired`
inside its commit.
"""

from collections.abc import Callable
from typing import Any

import msgspec

CALLS_WAITING_MAX = 1000


class Reply(msgspec.Struct, frozen=True):
    """What the caller gets: `value`, or `error` in plain words (`timed out` where no answer came in time)."""

    call_id: str
    value: Any = None
    error: str | None = None
    timed_out: bool = False


class _Waiting(msgspec.Struct):
    deadline_s: float
    on_reply: Callable[[Reply], None]
    answer: type[msgspec.Struct]
    service: str


class CallsOut:
    """The caller's side: calls that wait for their answer."""

    def __init__(self, sender: str, incarnation: int) -> None:
        self._prefix = f"{sender}-{incarnation:x}-"
        self._count = 0
        self._waiting: dict[str, _Waiting] = {}

    def open(self, service: str, answer: type[msgspec.Struct], deadline_s: float, on_reply: Callable[[Reply], None]) -> str:
        """Begin to wait; the new call's id. More than CALLS_WAITING_MAX at once is our bug."""
        assert len(self._waiting) < CALLS_WAITING_MAX, "too many calls wait for an answer"
        self._count += 1
        call_id = f"{self._prefix}{self._count}"
        self._waiting[call_id] = _Waiting(deadline_s, on_reply, answer, service)
        return call_id

    def answer_type(self, call_id: str) -> type[msgspec.Struct] | None:
        """Type of the awaited answer; None if nobody waits (any more)."""
        waiting = self._waiting.get(call_id)
        return None if waiting is None else waiting.answer

    def settle(self, reply: Reply) -> bool:
        """Hand the answer to the caller; False if nobody waits."""
        waiting = self._waiting.pop(reply.call_id, None)
        if waiting is None:
            return False
        waiting.on_reply(reply)
        return True

    def forget(self, call_id: str) -> str | None:
        """Stop waiting; the service that was asked, or None if nobody waited."""
        waiting = self._waiting.pop(call_id, None)
        return None if waiting is None else waiting.service

    def expire(self, now_s: float) -> list[tuple[str, str]]:
        """Tell every caller whose deadline has passed; (call id, service) of each, to be cancelled there."""
        late = [(call_id, w) for call_id, w in self._waiting.items() if w.deadline_s <= now_s]
        for call_id, _ in late:
            self.settle(Reply(call_id, error="timed out", timed_out=True))
        return [(call_id, w.service) for call_id, w in late]

    def next_deadline_s(self) -> float | None:
        """When the next call times out."""
        return min((w.deadline_s for w in self._waiting.values()), default=None)


class IncomingCall:
    """A request to be answered once, now or later, and not acted on after its deadline."""

    def __init__(
        self, call_id: str, caller: str, deadline_s: float, send: "Callable[[IncomingCall, Any, str | None], None]"
    ) -> None:
        self.call_id = call_id
        self.caller = caller
        self.deadline_s = deadline_s
        self._send = send
        self._answered = False

    def expired(self, now_s: float) -> bool:
        """Whether the caller has stopped waiting: do not act any more."""
        return now_s >= self.deadline_s

    def answer(self, value: msgspec.Struct) -> None:
        """Send the answer; call it after the commit."""
        self._finish(value, None)

    def refuse(self, reason: str) -> None:
        """Say in plain words why there is no answer."""
        self._finish(None, reason)

    def _finish(self, value: msgspec.Struct | None, error: str | None) -> None:
        assert not self._answered, f"call {self.call_id} was answered twice"
        self._answered = True
        self._send(self, value, error)
