"""A short-lived caller: what a command needs to ask one service of a running station something.

Owns: two sockets, the wait for the broker and for the answer. Does not: publish states or write a log. Addresses are relative,
so the caller works in the run directory (design §2). A call is answered or timed out, and never acted on late (design §3).
"""

import os

import zmq

from bus import logs, sockets
from bus.calls import Reply
from bus.clock import boottime_ns, boottime_s
from bus.messages import BrokerState, Message
from bus.node import Node

_STEP_MS = 50


class Unanswered(Exception):
    """Nobody answered; the text says in one line how far it came."""


class Caller:
    """Asks, one question at a time. Use as a context manager."""

    def __init__(self, name: str) -> None:
        """`name`: who asks; several may at once."""
        self._node = Node(f"{name}-{os.getpid()}", incarnation=boottime_ns(), now=boottime_s, log=logs.logger(name))
        self._broker_seen = self._heard = False
        self._node.watch(BrokerState, lambda *_: self._broker_said())
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._out = sockets.publisher(self._context)
        self._in = sockets.subscriber(self._context)
        for prefix in self._node.subscriptions():
            self._in.setsockopt(zmq.SUBSCRIBE, prefix)

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()
        self._in.close()
        self._context.term()

    def ask(self, request: Message, timeout_s: float, *, service: str = "") -> Message:
        """The answer; `service` as in `Node.call`. Raises Unanswered: no bus, nobody in time, or refused in plain words."""
        deadline_s = boottime_s() + timeout_s
        # A call is lost that goes out before the broker is there; an answer, that comes before we listen.
        while not (self._broker_seen and self._heard):
            if boottime_s() >= deadline_s:
                raise Unanswered("the bus does not answer; is the broker up?")
            self._move()
        replies: list[Reply] = []
        self._node.call(request, timeout_s=deadline_s - boottime_s(), on_reply=replies.append, service=service)
        while not replies:
            self._node.tick()
            self._move()
        if replies[0].error is not None:
            raise Unanswered(f"no answer: {replies[0].error}")
        answer: Message = replies[0].value
        return answer

    def _broker_said(self) -> None:
        self._heard = True

    def _move(self) -> None:
        """Send what is to be sent, take what comes, at most _STEP_MS long."""
        for frame in self._node.take_outgoing():
            sockets.send(self._out, frame)
        self._in.poll(_STEP_MS)
        while (frames := sockets.take(self._in)) is not None:
            self._node.receive(frames)
        while (frames := sockets.take(self._out)) is not None:
            self._broker_seen |= frames[0][:1] == bytes([sockets.SUBSCRIBED])
