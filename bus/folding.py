"""Repeated log lines become one line with a count, so that an idle station writes nothing (pure).

Two kinds of lines are held back. A line that is the same as the one before it: the first is written at once, the others are
counted. A *quiet* line, which is normal while nothing happens (a Heartbeat, a ping): it is counted from the first on, by its
key. What is held is written before the next line that is another one, and at the end of the process; a warning or error that
goes on and on is told every REPEAT_S_MAX. What a power cut takes with it is only how often something had happened again.

Owns: what is held, and when it is written. Does not: format, write, or have a clock.
"""

from typing import Any, Generic, TypeVar

import msgspec

REPEAT_S_MAX = 3600.0
"""How long a warning or an error may repeat before its count is written."""
KEYS_MAX = 32
"""Kinds of quiet lines that are held at once; more of them are written."""

T = TypeVar("T")


class Folded(msgspec.Struct, Generic[T], frozen=True):
    """A line to be written: the last one of its kind, how many there were, and the first of them."""

    last: T
    times: int
    first: T


class _Held(msgspec.Struct, Generic[T]):
    last: T
    times: int
    first: T
    since_s: float
    last_s: float


class Fold(Generic[T]):
    """Takes each line of one log, and gives those that are to be written now."""

    def __init__(self) -> None:
        self._written: Any = None
        """What makes the line that was written last the same as another one; None: nothing is the same."""
        self._repeated: _Held[T] | None = None
        self._quiet: dict[str, _Held[T]] = {}

    def take(self, line: T, identity: Any, mono_s: float, *, urgent: bool = False) -> list[Folded[T]]:
        """An ordinary line. `identity` equal: the same line; None: like no other. `urgent`: a warning or an error.

        `mono_s` is any clock that never steps, in seconds.
        """
        if identity is not None and identity == self._written:
            self._repeated = _counted(self._repeated, line, mono_s)
            if urgent and mono_s - self._repeated.since_s >= REPEAT_S_MAX:
                held, self._repeated = self._repeated, None
                return [_folded(held)]
            return []
        self._written = identity
        return [*self.flush(), Folded(line, 1, line)]

    def take_quiet(self, line: T, key: str, mono_s: float) -> list[Folded[T]]:
        """A line that is normal while nothing happens. `key`: what it is counted by."""
        gone = self.flush() if key not in self._quiet and len(self._quiet) >= KEYS_MAX else []
        self._quiet[key] = _counted(self._quiet.get(key), line, mono_s)
        return gone

    def flush(self) -> list[Folded[T]]:
        """All that is held, in the order of time: it is to be written now."""
        held = [*([] if self._repeated is None else [self._repeated]), *self._quiet.values()]
        self._repeated, self._quiet = None, {}
        return [_folded(one) for one in sorted(held, key=lambda one: one.last_s)]


def _counted(held: _Held[T] | None, line: T, mono_s: float) -> _Held[T]:
    if held is None:
        return _Held(line, 1, line, mono_s, mono_s)
    held.last, held.times, held.last_s = line, held.times + 1, mono_s
    return held


def _folded(held: _Held[T]) -> Folded[T]:
    return Folded(held.last, held.times, held.first)
