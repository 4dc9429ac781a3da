"""Moments get their UTC (pure; design §5): by the boot that they happened in, or estimated; order and durations are kept.

Theory of operation. A moment is a boot and a boottime. A boot's *offset* is the UTC of its boottime 0. Where a moment was
recorded with its UTC, that stands. Where it was not, the offset of its boot gives it, learned during that boot or after.
A boot that ended without ever knowing the time lies between the last time known before it and the start of the next boot,
which is that one's first sync less what had elapsed: the estimate lets the boot end when the next one starts.

Choice: as late as possible, not as early: restarts without any sync come close together, the start of the next boot is known
better than the end of the one before, and a time in the future is excluded. How long the boot was has to be known before
its first moment is dated (`ended_boots.py`).

Within a transaction, the moment that was sent last is the *anchor*: if the clock was stepped since, later moments of the
same boot keep their true distance to it, and moments of later boots are not before it. So no step makes a session
longer, shorter or backwards.

Owns: this arithmetic. Does not: keep boots (`store.py`) or know which clock is believed (`ocpp_link`).
"""

from collections.abc import Callable
from itertools import pairwise

import msgspec

from bus.messages import MeterValue, MeterValues, Moment, StartTransaction, StopTransaction, TransactionMessage

STEP_MS_MIN = 2000
"""Smaller differences are drift and noise of the Central System's clock, not steps."""


class Boot(msgspec.Struct, frozen=True):
    """One hardware boot. `last_boottime_ms`: the latest moment of it that is known, kept while the offset is not."""

    boot_id: str
    utc_offset_ms: int | None = None
    last_boottime_ms: int = 0
    estimated: bool = False


class Dated(msgspec.Struct, frozen=True):
    """A message whose moments all have their UTC, and what a person should know about them."""

    message: TransactionMessage
    estimated: bool = False
    """Some lie in a boot that never knew the time."""
    stepped: bool = False
    """The clock was stepped during the transaction; distances were kept."""


def moments(message: TransactionMessage) -> tuple[Moment, ...]:
    """All moments in a message, its own first."""
    if isinstance(message, StartTransaction):
        return (message.at,)
    own = (message.at,) if isinstance(message, StopTransaction) else ()
    return own + tuple(value.at for value in message.meter_values)


def latest(message: TransactionMessage) -> Moment | None:
    """The moment that ends what the message tells of: the next one of its transaction is not before it."""
    if isinstance(message, StartTransaction | StopTransaction):
        return message.at
    return message.meter_values[-1].at if message.meter_values else None


def needs_clock(message: TransactionMessage, boots: tuple[Boot, ...]) -> bool:
    """Whether some moment has no UTC and nothing is known yet to give it one. `boots`: in order, the current one last."""
    open_ones = [at.boot_id for at in moments(message) if at.utc_ms is None]
    if not open_ones:
        return False
    offsets = {boot.boot_id: boot.utc_offset_ms for boot in with_estimates(_with_forgotten(message, boots))}
    return any(offsets.get(boot_id) is None for boot_id in open_ones)


def needs_estimate(message: TransactionMessage, boots: tuple[Boot, ...], boot_id: str) -> bool:
    """Whether some moment is of a boot, not of `boot_id` which runs, that never knew the time and has no estimate yet."""
    open_ones = [at.boot_id for at in moments(message) if at.utc_ms is None and at.boot_id != boot_id]
    if not open_ones:
        return False
    known = {boot.boot_id for boot in boots if boot.utc_offset_ms is not None}
    return any(one not in known for one in open_ones)


def with_estimates(boots: tuple[Boot, ...]) -> tuple[Boot, ...]:
    """Boots with an offset each, as far as a later boot has one: each unknown boot ends as the next one starts."""
    filled: list[Boot] = []
    next_start_ms: int | None = None
    for boot in reversed(boots):
        if boot.utc_offset_ms is None and next_start_ms is not None:
            offset_ms = next_start_ms - boot.last_boottime_ms - 1
            boot = msgspec.structs.replace(boot, utc_offset_ms=offset_ms, estimated=True)
        next_start_ms = boot.utc_offset_ms
        filled.append(boot)
    return tuple(reversed(filled))


def dated(message: TransactionMessage, boots: tuple[Boot, ...], anchor: Moment | None) -> Dated:
    """The message with UTC for all its moments. Not to be asked while `needs_clock`."""
    boots = with_estimates(_with_forgotten(message, boots))
    found = [_utc(at, boots, anchor) for at in moments(message)]
    by_moment = {at: utc for at, (utc, _) in zip(moments(message), found, strict=True)}
    known = {boot.boot_id: boot for boot in boots}
    return Dated(
        _with_moments(message, lambda at: Moment(at.boot_id, at.boottime_ms, by_moment[at])),
        estimated=any(at.utc_ms is None and known[at.boot_id].estimated for at in moments(message)),
        stepped=any(stepped for _, stepped in found),
    )


def _with_forgotten(message: TransactionMessage, boots: tuple[Boot, ...]) -> tuple[Boot, ...]:
    """Boots of the message that are not among the known ones were before all of them: only so many are kept."""
    known = {boot.boot_id for boot in boots}
    lasts: dict[str, int] = {}
    for at in moments(message):
        if at.utc_ms is None and at.boot_id not in known:
            lasts[at.boot_id] = max(at.boottime_ms, lasts.get(at.boot_id, 0))
    return tuple(Boot(boot_id, last_boottime_ms=last_ms) for boot_id, last_ms in lasts.items()) + boots


def _utc(at: Moment, boots: tuple[Boot, ...], anchor: Moment | None) -> tuple[int, bool]:
    """UTC of a moment in milliseconds, and whether a step of the clock was taken out of it."""
    utc_ms = at.utc_ms if at.utc_ms is not None else _by_boot(at, boots)
    if anchor is None or anchor.utc_ms is None:
        return utc_ms, False
    if at.boot_id == anchor.boot_id:
        kept_ms = anchor.utc_ms + at.boottime_ms - anchor.boottime_ms
        end_ms = _end_ms(at, boots)
        if end_ms is not None and kept_ms > end_ms:
            return max(end_ms, min(kept_ms, anchor.utc_ms)), False
        stepped = abs(utc_ms - kept_ms) > STEP_MS_MIN
        return (kept_ms, True) if stepped else (utc_ms, False)
    order = [boot.boot_id for boot in boots]
    later = at.boot_id in order and anchor.boot_id in order and order.index(at.boot_id) > order.index(anchor.boot_id)
    return (anchor.utc_ms, True) if later and utc_ms < anchor.utc_ms else (utc_ms, False)


def _by_boot(at: Moment, boots: tuple[Boot, ...]) -> int:
    """By the boot's offset."""
    boot = next((b for b in boots if b.boot_id == at.boot_id), None)
    assert boot is not None, "a moment was dated before its boot was noted"
    assert boot.utc_offset_ms is not None, "a moment was dated before the clock was known"
    utc_ms, end_ms = boot.utc_offset_ms + at.boottime_ms, _end_ms(at, boots)
    return utc_ms if end_ms is None else min(utc_ms, end_ms)


def _end_ms(at: Moment, boots: tuple[Boot, ...]) -> int | None:
    """An estimated boot is over when the next one starts, whatever turns up of it later; None: its times are known."""
    if at.utc_ms is not None:
        return None
    return next((b.utc_offset_ms for a, b in pairwise(boots) if a.boot_id == at.boot_id and a.estimated), None)


def _with_moments(message: TransactionMessage, change: Callable[[Moment], Moment]) -> TransactionMessage:
    if isinstance(message, StartTransaction):
        return msgspec.structs.replace(message, at=change(message.at))
    values = tuple(MeterValue(change(value.at), value.sampled_values) for value in message.meter_values)
    if isinstance(message, MeterValues):
        return msgspec.structs.replace(message, meter_values=values)
    return msgspec.structs.replace(message, at=change(message.at), meter_values=values)
