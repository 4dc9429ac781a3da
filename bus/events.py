"""Event topics without sockets: numbers that show a loss, an age that forbids acting late (design §3).

Owns: counting on both sides. Does not: repeat anything; an event is something that a person would simply do again.
"""

import msgspec

from bus.codec import EventHeader


class EventOutput:
    """Numbers the events of one publisher, per wire name."""

    def __init__(self, sender: str, incarnation: int) -> None:
        self._sender = sender
        self._incarnation = incarnation
        self._numbers: dict[str, int] = {}

    def header(self, wire_name: str, now_s: float) -> EventHeader:
        """The header of the next event."""
        self._numbers[wire_name] = self._numbers.get(wire_name, 0) + 1
        return EventHeader(self._sender, self._incarnation, self._numbers[wire_name], now_s)


class EventArrival(msgspec.Struct, frozen=True):
    """What an arriving event is worth: `fresh` to be handled; `lost` events were missed before it."""

    fresh: bool
    lost: int
    age_s: float


class EventInput:
    """Judges arriving events: repeated, late, or after a gap."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}

    def judge(self, wire_name: str, header: EventHeader, *, age_s_max: float, now_s: float) -> EventArrival:
        """Whether the event may be handled. A repeated one is not fresh; the first of an incarnation has no gap."""
        age_s = now_s - header.boottime_s
        incarnation, number = self._last.get(wire_name, (0, 0))
        if header.incarnation < incarnation or (header.incarnation == incarnation and header.number <= number):
            return EventArrival(fresh=False, lost=0, age_s=age_s)
        lost = header.number - number - 1 if header.incarnation == incarnation else 0
        self._last[wire_name] = (header.incarnation, header.number)
        return EventArrival(fresh=age_s <= age_s_max, lost=lost, age_s=age_s)
