"""State topics without sockets: numbering and refresh on the owner's side, freshness on the reader's (design §3).

Owns: what is newer, what is too old. Does not: move bytes or read a clock; times are boottime seconds, passed in.
"""

import math
from typing import Any

import msgspec

from bus.codec import StateHeader

PERIODS_UNTIL_UNKNOWN = 3
EARLY_S_MAX = 0.05
"""A timer fires a little late, and shall not lose a second each time."""
LATE_PERIODS_MAX = 0.5
"""A refresh may be so late; a value that its owner renews each period is then not sent twice."""


def refresh_due_s(now_s: float, period_s: float) -> float:
    """When a value sent now is sent again: on a whole second, so that all processes wake together, and seldom."""
    return min(math.ceil(now_s + period_s - EARLY_S_MAX), now_s + (1 + LATE_PERIODS_MAX) * period_s)


class StateOutput:
    """The owner's side of all its state topics: keeps the current values and says which are due for a refresh."""

    def __init__(self, sender: str, incarnation: int) -> None:
        self._sender = sender
        self._incarnation = incarnation
        self._current: dict[str, tuple[float, msgspec.Struct]] = {}
        self._numbers: dict[str, int] = {}
        self._due_s: dict[str, float] = {}

    def publish(self, wire_name: str, value: msgspec.Struct, *, period_s: float, now_s: float) -> StateHeader:
        """Make `value` the current one; its header."""
        self._current[wire_name] = (period_s, value)
        return self._header(wire_name, now_s)

    def change(self, wire_name: str, value: msgspec.Struct, *, period_s: float, due_s: float) -> None:
        """Make `value` the current one, to be sent at `due_s` at the latest."""
        self._current[wire_name] = (period_s, value)
        self._due_s[wire_name] = min(self._due_s.get(wire_name, due_s), due_s)

    def due(self, now_s: float) -> list[tuple[str, StateHeader, msgspec.Struct]]:
        """Everything that its period demands to be sent again."""
        names = [name for name, due_s in self._due_s.items() if due_s <= now_s]
        return [(name, self._header(name, now_s), self._current[name][1]) for name in names]

    def all(self, now_s: float) -> list[tuple[str, StateHeader, msgspec.Struct]]:
        """Every current value, for a broker that has just come back."""
        return [(name, self._header(name, now_s), value) for name, (_, value) in self._current.items()]

    def next_deadline_s(self) -> float | None:
        """When the next refresh is due."""
        return min(self._due_s.values(), default=None)

    def _header(self, wire_name: str, now_s: float) -> StateHeader:
        period_s = self._current[wire_name][0]
        self._numbers[wire_name] = self._numbers.get(wire_name, 0) + 1
        self._due_s[wire_name] = refresh_due_s(now_s, period_s)
        return StateHeader(self._sender, self._incarnation, self._numbers[wire_name], now_s, period_s)


class _Known(msgspec.Struct):
    incarnation: int
    number: int
    unknown_after_s: float
    value: Any
    reported_unknown: bool = False


class StateInput:
    """A reader's side: the newest value of each wire name, and which of them are too old to be true."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._look_s: float | None = None
        """No value becomes unknown before that; refreshed ones do later."""

    def accept(self, wire_name: str, header: StateHeader, value: Any, now_s: float) -> bool:
        """Take a value; False if it is not newer than the one known, or already too old to be true."""
        known = self._known.get(wire_name)
        if known is not None and (header.incarnation, header.number) <= (known.incarnation, known.number):
            return False
        unknown_after_s = header.boottime_s + PERIODS_UNTIL_UNKNOWN * header.period_s
        if unknown_after_s <= now_s:
            return False
        self._known[wire_name] = _Known(header.incarnation, header.number, unknown_after_s, value)
        self._look_s = unknown_after_s if self._look_s is None else min(self._look_s, unknown_after_s)
        return True

    def value(self, wire_name: str, now_s: float) -> Any | None:
        """The current value; None when unknown: never seen, or older than three periods."""
        known = self._known.get(wire_name)
        return None if known is None or known.unknown_after_s <= now_s else known.value

    def newly_unknown(self, now_s: float) -> list[str]:
        """Wire names whose value has become too old since the last call."""
        if self._look_s is None or now_s < self._look_s:
            return []
        names = []
        for name, known in self._known.items():
            if known.unknown_after_s <= now_s and not known.reported_unknown:
                known.reported_unknown = True
                names.append(name)
        self._look_s = min((k.unknown_after_s for k in self._known.values() if not k.reported_unknown), default=None)
        return names

    def next_deadline_s(self) -> float | None:
        """When `newly_unknown` is worth another look: not after the next value becomes unknown."""
        return self._look_s
