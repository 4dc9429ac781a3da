"""The meter service decides here what a trustworthy reading is (pure; hardware.md §4.1, field reports 34 to 36).

A reading is trusted when its register has gone on from the last trusted one as far as the supply can deliver. After the
start, and after a drop or an impossible jump, a value is trusted only once CONFIRMATIONS consistent readings have come: so
neither a word that became 0 nor a first garbled poll bills anybody, and a meter that was replaced is believed soon.

Owns: quality, and when the meter counts as failed. Does not: follow a register over a replaced meter; that is the
transaction's (`services/connectors/transactions.py`).
"""

import msgspec

from services.hardware.contract import RawReading

CONFIRMATIONS_START = 2
CONFIRMATIONS_DROP = 3
RESOLUTION_WH = 8
"""Steps of a float32 register above 65,536 kWh; a smaller drop is rounding (hardware.md §4.1)."""
FAILURE_S = 5.0
"""PowerMeterFailure after this long without a trustworthy reading."""
JUMP_MARGIN = 1.2
JUMP_ALLOWANCE_WH = 10.0


class State(msgspec.Struct, frozen=True):
    """One meter. `candidate`: a reading that waits to be confirmed, by `confirmations` so far."""

    power_w_max: float
    """What the supply can deliver; a faster register is not believed."""
    trusted: RawReading | None = None
    candidate: RawReading | None = None
    confirmations: int = 0
    trusted_s: float = 0.0
    """Boottime of the last trusted reading, or of the start."""
    failure: str = ""
    down: str = ""
    """Why the device does not answer; empty while it does."""


class ReadingTaken(msgspec.Struct, frozen=True):
    """The meter was read."""

    reading: RawReading


class MeterUp(msgspec.Struct, frozen=True):
    """The meter answers."""


class MeterDown(msgspec.Struct, frozen=True):
    """The meter does not answer; plain words."""

    reason: str


class Tick(msgspec.Struct, frozen=True):
    """Time passed."""


Event = ReadingTaken | MeterUp | MeterDown | Tick


class Trusted(msgspec.Struct, frozen=True):
    """This reading may bill. `replaced`: it does not go on from the one before, another meter was fitted."""

    reading: RawReading
    replaced: bool = False


class Distrusted(msgspec.Struct, frozen=True):
    """A reading that is not believed; told once for each cause."""

    reason: str


class FailureChanged(msgspec.Struct, frozen=True):
    """The meter can't be trusted, or can again (empty)."""

    failure: str


class ReadAgain(msgspec.Struct, frozen=True):
    """A candidate waits: do not wait for the next period."""


Effect = Trusted | Distrusted | FailureChanged | ReadAgain


def initial(power_w_max: float, now_s: float) -> State:
    """A meter that has said nothing yet."""
    return State(power_w_max=power_w_max, trusted_s=now_s)


def step(state: State, event: Event, now_s: float) -> tuple[State, tuple[Effect, ...]]:
    """What `event` does; `now_s` is boottime."""
    effects: list[Effect] = []
    match event:
        case ReadingTaken(reading=reading):
            state = _take(msgspec.structs.replace(state, down=""), reading, now_s, effects)
        case MeterUp():
            state = msgspec.structs.replace(state, down="")
        case MeterDown(reason=reason):
            state = msgspec.structs.replace(state, down=reason, candidate=None, confirmations=0)
        case Tick():
            pass
    return _judge_failure(state, now_s, effects), tuple(effects)


def next_deadline_s(state: State) -> float | None:
    """Boottime at which the meter counts as failed if nothing comes."""
    return None if state.failure else state.trusted_s + FAILURE_S


def _take(state: State, reading: RawReading, now_s: float, effects: list[Effect]) -> State:
    trusted = state.trusted
    if trusted is not None and _follows(trusted, reading, state.power_w_max):
        kept = max(reading.energy_import_wh, trusted.energy_import_wh)
        return _trust(state, msgspec.structs.replace(reading, energy_import_wh=kept), now_s, effects)
    needed = CONFIRMATIONS_START if trusted is None else CONFIRMATIONS_DROP
    candidate = state.candidate
    confirmed = candidate is not None and _follows(candidate, reading, state.power_w_max)
    count = state.confirmations + 1 if confirmed else 1
    if count >= needed:
        return _trust(state, reading, now_s, effects, replaced=trusted is not None)
    if trusted is not None and not confirmed:
        effects.append(
            Distrusted(
                f"register {reading.energy_import_wh} Wh of meter {reading.serial} does not go on from"
                f" {trusted.energy_import_wh} Wh of meter {trusted.serial}"
            )
        )
    effects.append(ReadAgain())
    return msgspec.structs.replace(state, candidate=reading, confirmations=count)


def _trust(state: State, reading: RawReading, now_s: float, effects: list[Effect], *, replaced: bool = False) -> State:
    effects.append(Trusted(reading, replaced))
    return msgspec.structs.replace(state, trusted=reading, candidate=None, confirmations=0, trusted_s=now_s)


def _follows(before: RawReading, after: RawReading, power_w_max: float) -> bool:
    """Whether the register can have gone from one reading to the other: same meter, no real drop, no impossible jump."""
    if after.serial != before.serial or after.energy_import_wh < before.energy_import_wh - _rounding_wh(before):
        return False
    elapsed_s = max(0.0, after.read_boottime_s - before.read_boottime_s)
    most_wh = power_w_max * elapsed_s / 3600 * JUMP_MARGIN + JUMP_ALLOWANCE_WH
    return after.energy_import_wh - before.energy_import_wh <= most_wh


def _rounding_wh(reading: RawReading) -> int:
    """By how much a float32 register may seem to fall: 2 Wh from 16,384 kWh on, 8 Wh from 65,536 kWh on."""
    if reading.energy_import_wh >= 65_536_000:
        return RESOLUTION_WH
    return 2 if reading.energy_import_wh >= 16_384_000 else 1


def _judge_failure(state: State, now_s: float, effects: list[Effect]) -> State:
    failed = now_s - state.trusted_s >= FAILURE_S
    failure = (state.down or "the meter's readings can't be trusted") if failed else ""
    if bool(failure) != bool(state.failure) or (failure and state.down and failure != state.failure):
        effects.append(FailureChanged(failure))
        return msgspec.structs.replace(state, failure=failure)
    return state
