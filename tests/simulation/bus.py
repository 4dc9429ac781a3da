"""The bus between the processes: lanes that lose, delay and repeat, a broker with its last-value cache, and its restarts.

Owns: what arrives where and when. Each lane, from a topic to a subscriber, keeps its order; lanes overtake one another. The
cache is the broker's own (`bus.broker.LastValues`), replayed by prefix to all subscribers.
"""

import random
from collections.abc import Callable

import msgspec

from bus.broker import LastValues
from bus.node import Frame
from tests.simulation.clock import Agenda, Clock


class Mood(msgspec.Struct, frozen=True):
    """How the bus is: shares of the frames that are lost, delayed by up to `delay_s`, or repeated."""

    loss: float = 0.0
    delayed: float = 0.0
    delay_s: float = 0.0
    repeated: float = 0.0
    only: tuple[bytes, ...] = (b"",)
    """Topics that suffer, by their beginnings."""


CALM = Mood()
TOGETHER = 0.5
"""Share of the turns in which a process finds all that is there for it, and not one frame."""


class Subscriber:
    """A process as the bus sees it."""

    def __init__(self, name: str, prefixes: list[bytes], receive: Callable[[list[Frame]], None]) -> None:
        self.name = name
        self.prefixes = tuple(prefixes)
        self.receive = receive
        self.alive = True


class VirtualBus:
    """Broker and wires."""

    def __init__(self, clock: Clock, agenda: Agenda, dice: random.Random, together: random.Random) -> None:
        """`together` says when frames that are there are handed over together."""
        self.mood = CALM
        self.up = True
        self._clock = clock
        self._agenda = agenda
        self._dice = dice
        self._together = together
        self._subscribers: list[Subscriber] = []
        self._values = LastValues()
        self._routes: dict[bytes, list[Subscriber]] = {}
        self._lanes: dict[tuple[str, bytes], float] = {}
        self._ready: list[tuple[Subscriber, Frame]] = []
        self._passing = False

    def attach(self, subscriber: Subscriber) -> None:
        """A process has subscribed: the cache is replayed."""
        self._subscribers.append(subscriber)
        self._routes.clear()
        if self.up:
            for prefix in subscriber.prefixes:
                for name, body in self._values.matching(prefix):
                    self._spread((name, body))

    def detach(self, subscriber: Subscriber) -> None:
        """A process is gone, with all that was on its way to it."""
        subscriber.alive = False
        self._subscribers.remove(subscriber)
        self._routes.clear()

    def stop(self) -> None:
        """The broker is gone, with its cache and all that was in it."""
        self.up = False
        self._values = LastValues()
        self._ready.clear()

    def send(self, frame: Frame) -> None:
        """A process says something."""
        if self.up:
            self._values.keep(list(frame))
            self._spread(frame)

    def settle(self) -> None:
        """Hand over all that has arrived, and what comes of it. A hand-over may lead to others, which wait for their turn."""
        if self._passing:
            return
        self._passing = True
        try:
            while self._ready:
                subscriber, frame = self._ready.pop(0)
                frames = [frame]
                if self._together.random() < TOGETHER:
                    frames += [other for who, other in self._ready if who is subscriber]
                    self._ready = [(who, other) for who, other in self._ready if who is not subscriber]
                if subscriber.alive:
                    subscriber.receive(frames)
        finally:
            self._passing = False

    def _spread(self, frame: Frame) -> None:
        name = frame[0]
        route = self._routes.get(name)
        if route is None:
            route = self._routes[name] = [s for s in self._subscribers if any(name.startswith(p) for p in s.prefixes)]
        for subscriber in route:
            self._carry(subscriber, frame)

    def _carry(self, subscriber: Subscriber, frame: Frame) -> None:
        mood = self.mood
        if (mood is CALM or not frame[0].startswith(mood.only)) and not self._lanes:
            self._ready.append((subscriber, frame))
            return
        if not frame[0].startswith(mood.only):
            mood = CALM
        if self._dice.random() < mood.loss:
            return
        lane = (subscriber.name, frame[0])
        now_s = self._clock.true_s
        delay_s = self._dice.random() * mood.delay_s if self._dice.random() < mood.delayed else 0.0
        due_s = max(self._lanes.get(lane, 0.0), now_s + delay_s)
        if due_s > now_s:
            self._lanes[lane] = due_s
        else:
            self._lanes.pop(lane, None)
        for _ in range(2 if self._dice.random() < mood.repeated else 1):
            if due_s > now_s:
                self._agenda.at(due_s, lambda: self._ready.append((subscriber, frame)))
            else:
                self._ready.append((subscriber, frame))
