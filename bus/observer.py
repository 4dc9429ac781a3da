"""A short-lived reader of states: what a command needs to look at a running station.

Owns: one subscription, the last values that the broker replays to it. Does not: publish, call, or write a log. Addresses are
relative, so the caller works in the run directory (design §2).
"""

from collections.abc import Callable, Iterable
from typing import TypeVar

import zmq

from bus import logs, sockets
from bus.clock import boottime_ns, boottime_s
from bus.messages import BrokerState, Message
from bus.node import Node

T = TypeVar("T", bound=Message)


class Observer:
    """Watches some types of state. Use as a context manager."""

    def __init__(self, name: str, messages: Iterable[type[Message]]) -> None:
        """`name`: who looks, for the log lines about messages that do not decode."""
        self._node = Node(name, incarnation=boottime_ns(), now=boottime_s, log=logs.logger(name))
        self._keys: dict[type[Message], dict[str, None]] = {}
        watched: list[type[Message]] = [*messages, BrokerState]
        for message in dict.fromkeys(watched):
            self._watch(message)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = sockets.subscriber(self._context)
        for prefix in self._node.subscriptions():
            self._socket.setsockopt(zmq.SUBSCRIBE, prefix)

    def __enter__(self) -> "Observer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Take messages until `condition` holds; False if it does not within `timeout_s`."""
        deadline_s = boottime_s() + timeout_s
        while not condition():
            rest_s = deadline_s - boottime_s()
            if rest_s <= 0:
                return False
            if self._socket.poll(int(rest_s * 1000) + 1):
                self._take()
        return True

    def attached(self) -> bool:
        """Whether the broker was seen; its values of all that is watched came before it."""
        return bool(self.values(BrokerState))

    def values(self, message: type[T]) -> dict[str, T]:
        """The current values of a watched type by key; what is too old to be true is left out."""
        found = ((key, self._node.latest(message, key)) for key in self._keys[message])
        return {key: value for key, value in found if value is not None}

    def close(self) -> None:
        """Leave the bus."""
        self._socket.close()
        self._context.term()

    def _watch(self, message: type[Message]) -> None:
        keys = self._keys.setdefault(message, {})

        def remember(key: str, _: Message) -> None:
            keys[key] = None

        self._node.watch(message, remember)

    def _take(self) -> None:
        while (frames := sockets.take(self._socket)) is not None:
            self._node.receive(frames)
