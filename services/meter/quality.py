"""What a trustworthy reading is (pure; hardware.md §4.1, field reports 34 to 36).

A reading is trusted when its register goes on from the last trusted one, by no more than the supply can deliver. The first
reading after the start, and what follows a drop, a jump or another serial number, is trusted only once consistent readings
confirm it: neither a word that became 0 nor a garbled poll bills anybody, and a replaced meter is believed soon.

Owns: quality, and when the meter counts as failed. Does not: ask the meter, or follow a register over a replaced meter; that
is the transaction's.
"""

import math
from collections.abc import Iterator

import msgspec

from services.hardware.contract import DeviceInfo, RawReading

CONFIRMATIONS_START = 2
"""Consistent readings until the first register after a start is trusted, the first one included."""
CONFIRMATIONS_REPLACED = 3
"""The same after a drop, a jump or another serial number."""
FAILURE_S = 5.0
"""PowerMeterFailure after so long without a trustworthy reading (OCPP 1.6 §7.6)."""
NO_READING = "meter has given no reading yet"
STALE_PERIODS = 3
JUMP_FACTOR = 1.2
JUMP_MARGIN_WH = 10.0
ENERGY_WH_MAX = 10**12
"""More no meter shows: all bits set is the usual word for "no value"."""
_FLOAT32_BITS = 24


class Limits(msgspec.Struct, frozen=True):
    """What is plausible: most power of the supply, and how often the meter is read."""

    power_w_max: float
    period_s: float = 1.0


class State(msgspec.Struct, frozen=True):
    """One meter. `candidates`: consistent readings that wait to be confirmed; `trusted_s`: last trust, or the start."""

    limits: Limits
    trusted_s: float
    trusted: RawReading | None = None
    candidates: tuple[RawReading, ...] = ()
    down: str = ""
    """Why the device does not answer; empty while it does."""
    distrust: str = ""
    """Why readings are not trusted; empty while they are."""
    told: tuple[str, ...] = ()
    """Causes of distrust that were told since the last trusted reading."""
    failure: str = ""
    """What was raised; empty while nothing is."""


class ReadingTaken(msgspec.Struct, frozen=True):
    """The meter was read."""

    raw: RawReading


class MeterUp(msgspec.Struct, frozen=True):
    """The meter answers."""

    info: DeviceInfo = DeviceInfo()


class MeterDown(msgspec.Struct, frozen=True):
    """The meter does not answer; plain words."""

    reason: str


class Tick(msgspec.Struct, frozen=True):
    """Time passed."""


Event = ReadingTaken | MeterUp | MeterDown | Tick


class Trusted(msgspec.Struct, frozen=True):
    """This reading may bill. `replaced`: it does not go on from the one before, another meter was fitted."""

    raw: RawReading
    replaced: bool = False


class Distrusted(msgspec.Struct, frozen=True):
    """Readings are not believed; each cause is told once until one is believed again."""

    reason: str


class FailureRaised(msgspec.Struct, frozen=True):
    """The meter can't be relied on (PowerMeterFailure), or now for another reason."""

    reason: str


class FailureCleared(msgspec.Struct, frozen=True):
    """It can be again."""


class ReadAgain(msgspec.Struct, frozen=True):
    """A reading waits to be confirmed: do not wait for the next period."""


Effect = Trusted | Distrusted | FailureRaised | FailureCleared | ReadAgain


def initial(limits: Limits, now_s: float) -> State:
    """A meter that has said nothing yet."""
    return State(limits=limits, trusted_s=now_s)


def step(state: State, event: Event, now_s: float) -> tuple[State, tuple[Effect, ...]]:
    """What `event` does; `now_s` is boottime."""
    effects: list[Effect] = []
    match event:
        case ReadingTaken(raw=raw):
            state = _take(msgspec.structs.replace(state, down=""), raw, now_s, effects)
        case MeterUp():
            state = msgspec.structs.replace(state, down="")
        case MeterDown(reason=reason):
            state = msgspec.structs.replace(state, down=reason, candidates=())
        case Tick():
            pass
    return _judge_failure(state, now_s, effects), tuple(effects)


def next_deadline(state: State) -> float | None:
    """Boottime at which the meter counts as failed if no trustworthy reading comes."""
    return None if state.failure else state.trusted_s + FAILURE_S


def current(state: State, now_s: float) -> RawReading | None:
    """The last trusted reading; None once it is older than three periods: then nobody knows (field report 34)."""
    if state.trusted is None or now_s - state.trusted.read_boottime_s > STALE_PERIODS * state.limits.period_s:
        return None
    return state.trusted


def _take(state: State, raw: RawReading, now_s: float, effects: list[Effect]) -> State:
    nonsense = next(_nonsense(state, raw, now_s), "")
    if nonsense:
        return _distrust(msgspec.structs.replace(state, candidates=()), nonsense, effects)
    before = state.trusted
    if before is not None and not _break(state, before, raw):
        # A drop that is left here is rounding.
        energy_wh = max(raw.energy_import_wh, before.energy_import_wh)
        return _trust(state, msgspec.structs.replace(raw, energy_import_wh=energy_wh), effects, replaced=False)
    goes_on = bool(state.candidates) and not _break(state, state.candidates[-1], raw)
    state = msgspec.structs.replace(state, candidates=(*state.candidates, raw) if goes_on else (raw,))
    if len(state.candidates) >= (CONFIRMATIONS_START if before is None else CONFIRMATIONS_REPLACED):
        return _trust(state, raw, effects, replaced=before is not None)
    effects.append(ReadAgain())
    return state if before is None else _distrust(state, _break(state, before, raw), effects)


def _trust(state: State, raw: RawReading, effects: list[Effect], *, replaced: bool) -> State:
    effects.append(Trusted(raw, replaced))
    return msgspec.structs.replace(state, trusted=raw, trusted_s=raw.read_boottime_s, candidates=(), distrust="", told=())


def _distrust(state: State, reason: str, effects: list[Effect]) -> State:
    cause = _cause(reason)
    if cause not in state.told:
        effects.append(Distrusted(reason))
        state = msgspec.structs.replace(state, told=(*state.told, cause))
    return msgspec.structs.replace(state, distrust=reason)


def _cause(reason: str) -> str:
    """A reason without its figures, which differ with each poll: the words before the colon."""
    return reason.partition(":")[0]


def _nonsense(state: State, raw: RawReading, now_s: float) -> Iterator[str]:
    """Why a reading can't be true whatever came before."""
    if not 0 <= raw.energy_import_wh <= ENERGY_WH_MAX:
        yield f"register is no possible value: {raw.energy_import_wh} Wh"
    single = (raw.power_w, raw.frequency_hz, raw.power_factor)
    numbers = [*(value for value in single if value is not None), *raw.voltages_v, *raw.currents_a, *raw.powers_w]
    if not all(math.isfinite(value) for value in numbers):
        yield "a value is no number: the meter gives NaN or infinity"
    if now_s - raw.read_boottime_s > STALE_PERIODS * state.limits.period_s:
        yield f"reading is stale: read {now_s - raw.read_boottime_s:.1f} s ago"
    newest = state.candidates[-1] if state.candidates else state.trusted
    if newest is not None and raw.read_boottime_s < newest.read_boottime_s:
        yield "reading is older than the one before: they came in the wrong order"


def _break(state: State, before: RawReading, after: RawReading) -> str:
    """Why `after` does not go on from `before`; empty if it does."""
    if after.serial and before.serial and after.serial != before.serial:
        return f"serial number changed: {before.serial} to {after.serial}"
    gained_wh = after.energy_import_wh - before.energy_import_wh
    resolution_wh = _resolution_wh(before.energy_import_wh)
    if gained_wh < -resolution_wh:
        return f"register went back: {before.energy_import_wh} Wh to {after.energy_import_wh} Wh"
    elapsed_s = after.read_boottime_s - before.read_boottime_s
    possible_wh = state.limits.power_w_max * elapsed_s / 3600 * JUMP_FACTOR + JUMP_MARGIN_WH + resolution_wh
    if gained_wh > possible_wh:
        return f"register jumped: {before.energy_import_wh} Wh to {after.energy_import_wh} Wh in {elapsed_s:.1f} s"
    return ""


def _resolution_wh(energy_wh: int) -> int:
    """Step of a float32 register in kWh at this value, at least 1: 2 Wh from 16,384 kWh on, 8 Wh from 65,536 kWh on."""
    kwh = max(energy_wh / 1000, 1.0)
    return max(1, math.ceil(math.ldexp(1000.0, math.frexp(kwh)[1] - _FLOAT32_BITS)))


def _judge_failure(state: State, now_s: float, effects: list[Effect]) -> State:
    failure = _failure(state) if now_s - state.trusted_s >= FAILURE_S else ""
    if failure == NO_READING and state.failure:
        # It answers again, and its first reading is on the way: no news.
        return state
    if failure == state.failure or (failure and not state.down and _cause(failure) == _cause(state.failure)):
        return state
    effects.append(FailureRaised(failure) if failure else FailureCleared())
    return msgspec.structs.replace(state, failure=failure)


def _failure(state: State) -> str:
    if state.down or not state.distrust:
        return state.down or NO_READING
    return f"readings can't be trusted: {state.distrust}"
