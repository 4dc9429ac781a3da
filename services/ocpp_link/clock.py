"""Which clock is believed (pure; design §5).

Sources by rank: a system clock that is synchronised; the Central System's currentTime. A system clock that nobody disciplines
is not believed. One that was synchronised and has lost it ranks below the Central System, and what it said last stands until
that one says something else: it may have been wrong all the time, but a difference that is noise is no reason for a step.
The last known time is a floor, never a time. Owns: the choice. Does not: set any clock.
"""

import msgspec
from msgspec.structs import replace

from bus.messages import ClockState

UTC_MS_MIN = 1_577_836_800_000
"""2020-01-01: no right clock says less while this firmware runs, and nothing goes out dated 1970 (field report 27)."""
UTC_MS_MAX = 4_102_444_800_000
"""2100-01-01."""
STEP_S_MIN = 0.5
"""Smaller differences of the system clock are not worth a step."""
CENTRAL_STEP_S_MIN = 2.0
"""The Central System may send whole seconds and its answer takes time: smaller differences are noise (hardware.md §8.4)."""


class Clock(msgspec.Struct, frozen=True):
    """What is believed. `floor_utc_ms`: time was at least this when the board was last on."""

    source: str = "none"
    utc_offset_s: float | None = None
    floor_utc_ms: int | None = None
    synchronised: bool = False
    """With source `system`: it still is. If not, the offset is the last one that it had."""

    def state(self) -> ClockState:
        """For the bus."""
        floor_only = self.source == "none" and self.floor_utc_ms is not None
        return ClockState("floor" if floor_only else self.source, self.utc_offset_s, self.floor_utc_ms)


def plausible(utc_ms: float) -> bool:
    """Whether any clock could rightly say this."""
    return UTC_MS_MIN <= utc_ms < UTC_MS_MAX


def system_clock_seen(clock: Clock, utc_offset_s: float, *, synchronised: bool) -> Clock:
    """The system clock says boottime + `utc_offset_s`; only a synchronised one is believed."""
    known_s = clock.utc_offset_s if clock.source == "system" else None
    if not synchronised:
        return replace(clock, synchronised=False)
    if known_s is not None and abs(known_s - utc_offset_s) < STEP_S_MIN:
        return replace(clock, synchronised=True)
    return Clock("system", utc_offset_s, clock.floor_utc_ms, synchronised=True)


def central_system_seen(clock: Clock, utc_ms: int, boottime_s: float) -> Clock:
    """The Central System gives its time, as it was at `boottime_s`. Only a synchronised system clock ranks above it."""
    utc_offset_s = utc_ms / 1000 - boottime_s
    if clock.source == "system" and clock.synchronised:
        return clock
    if clock.utc_offset_s is not None and abs(clock.utc_offset_s - utc_offset_s) < CENTRAL_STEP_S_MIN:
        return clock
    return Clock("central_system", utc_offset_s, clock.floor_utc_ms)


def change(before: Clock, after: Clock) -> tuple[str, float | None]:
    """What has changed, in plain words, and by how much the believed time steps, seconds; None: it does not."""
    if (before.source, before.utc_offset_s) == (after.source, after.utc_offset_s):
        if after.synchronised:
            return "system clock is synchronised again", None
        return "system clock is not synchronised any more, its time stands until the Central System says another", None
    if before.utc_offset_s is None or after.utc_offset_s is None:
        return "clock is known", None
    return "clock steps", after.utc_offset_s - before.utc_offset_s
