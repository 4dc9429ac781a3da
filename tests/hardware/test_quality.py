"""What a trustworthy reading is (field reports 34 to 36, hardware.md §4.1)."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.hardware.contract import RawReading
from services.meter import quality as q
from services.meter.quality import (
    Distrusted,
    Effect,
    FailureCleared,
    FailureRaised,
    Limits,
    MeterDown,
    MeterUp,
    ReadAgain,
    ReadingTaken,
    State,
    Tick,
    Trusted,
)

LIMITS = Limits(power_w_max=22_080.0)
PER_SECOND_WH = 22_080 / 3600 * 1.2 + 10


def raw(at_s: float, energy_wh: int, serial: str = "1", **fields: object) -> RawReading:
    return RawReading(at_s, serial, energy_wh, **fields)  # type: ignore[arg-type]


def take(state: State, *readings: RawReading) -> tuple[State, list[Effect]]:
    """Each reading at the moment when it was taken."""
    effects: list[Effect] = []
    for reading in readings:
        state, more = q.step(state, ReadingTaken(reading), reading.read_boottime_s)
        effects += more
    return state, effects


def trusting(energy_wh: int = 1000, at_s: float = 10.0) -> State:
    """A meter whose register is known."""
    state, effects = take(q.initial(LIMITS, at_s - 2), raw(at_s - 1, energy_wh), raw(at_s, energy_wh))
    assert effects == [ReadAgain(), Trusted(raw(at_s, energy_wh))]
    return state


def test_the_first_reading_is_trusted_when_a_second_one_confirms_it() -> None:
    """Field report 35: no transaction opens on a register that was not ready."""
    state, effects = take(q.initial(LIMITS, 0.0), raw(1.0, 5000))
    assert effects == [ReadAgain()]
    assert q.current(state, 1.0) is None
    state, effects = take(state, raw(1.2, 5001))
    assert effects == [Trusted(raw(1.2, 5001))]
    assert q.current(state, 1.2) == raw(1.2, 5001)


def test_a_zero_before_the_meter_is_ready_is_never_trusted() -> None:
    """Field report 36: the counter starts at 0, then shows its value."""
    _, effects = take(q.initial(LIMITS, 0.0), raw(1.0, 0), raw(1.2, 123_456), raw(1.4, 123_456))
    assert effects == [ReadAgain(), ReadAgain(), Trusted(raw(1.4, 123_456))]


def test_a_register_that_goes_on_is_trusted_each_time() -> None:
    _, effects = take(trusting(), raw(11.0, 1006), raw(12.0, 1012), raw(13.0, 1012))
    assert effects == [Trusted(raw(11.0, 1006)), Trusted(raw(12.0, 1012)), Trusted(raw(13.0, 1012))]


def test_the_supply_bounds_what_is_believed() -> None:
    possible = int(1000 + PER_SECOND_WH)
    assert take(trusting(), raw(11.0, possible))[1] == [Trusted(raw(11.0, possible))]
    _, effects = take(trusting(), raw(11.0, possible + 3))
    assert not any(isinstance(effect, Trusted) for effect in effects)


def test_after_a_long_silence_the_register_may_have_gone_far() -> None:
    _, effects = take(trusting(), raw(3610.0, 20_000))
    assert Trusted(raw(3610.0, 20_000)) in effects


def test_a_single_jump_or_drop_bills_nobody() -> None:
    for wrong in (0, 999_999):
        _, effects = take(trusting(), raw(11.0, wrong), raw(12.0, 1003))
        assert [effect for effect in effects if isinstance(effect, Trusted)] == [Trusted(raw(12.0, 1003))]
        assert isinstance(effects[1], Distrusted)
        assert effects[0] == ReadAgain()


@pytest.mark.parametrize(("energy_wh", "step_wh"), [(1000, 1), (16_384_000, 2), (65_536_000, 8), (8_388_608, 1)])
def test_a_drop_within_the_resolution_of_a_float_is_rounding(energy_wh: int, step_wh: int) -> None:
    """hardware.md §4.1."""
    _, effects = take(trusting(energy_wh), raw(11.0, energy_wh - step_wh))
    assert effects == [Trusted(raw(11.0, energy_wh))]
    _, effects = take(trusting(energy_wh), raw(11.0, energy_wh - step_wh - 1))
    assert isinstance(effects[-1], Distrusted)


def test_small_drops_do_not_add_up() -> None:
    state, effects = take(trusting(), raw(11.0, 999), raw(12.0, 998), raw(13.0, 997))
    assert state.trusted is not None
    assert state.trusted.energy_import_wh == 1000
    assert [type(effect) for effect in effects] == [Trusted, ReadAgain, Distrusted, ReadAgain]


@pytest.mark.parametrize("new", [("1", 3), ("2", 1001), ("2", 3), ("1", 500_000)])
def test_a_replaced_meter_is_believed_after_three_consistent_readings(new: tuple[str, int]) -> None:
    """Design §4: it goes on as the sum of its segments; field report 36: logged as replaced."""
    serial, energy_wh = new
    _, effects = take(trusting(), *(raw(11.0 + index * 0.2, energy_wh + index, serial) for index in range(3)))
    assert [type(effect) for effect in effects] == [ReadAgain, Distrusted, ReadAgain, Trusted]
    assert effects[-1] == Trusted(raw(11.4, energy_wh + 2, serial), replaced=True)


def test_readings_that_contradict_each_other_confirm_nothing() -> None:
    values = [0, 900_000, 5, 700_000, 0, 1]
    _, effects = take(trusting(), *(raw(11.0 + index, value) for index, value in enumerate(values)))
    assert not any(isinstance(effect, Trusted) for effect in effects)


def test_a_serial_number_that_could_not_be_read_is_no_other_meter() -> None:
    _, effects = take(trusting(), raw(11.0, 1001, ""), raw(12.0, 1002, "1"))
    assert [type(effect) for effect in effects] == [Trusted, Trusted]


@pytest.mark.parametrize(
    "reading",
    [
        raw(11.0, -1),
        raw(11.0, 2**63),
        raw(11.0, 1001, power_w=math.nan),
        raw(11.0, 1001, voltages_v=(230.0, math.inf, 230.0)),
        raw(11.0, 1001, frequency_hz=-math.inf),
        raw(9.5, 1001),
    ],
)
def test_what_can_not_be_true_is_not_trusted(reading: RawReading) -> None:
    state, effects = q.step(trusting(), ReadingTaken(reading), 11.0)
    assert [type(effect) for effect in effects] == [Distrusted]
    assert state.trusted == raw(10.0, 1000)


def test_a_cause_of_distrust_is_told_once() -> None:
    _, effects = take(trusting(), *(raw(11.0 + index, 2**62 + index) for index in range(4)))
    assert len([effect for effect in effects if isinstance(effect, Distrusted)]) == 1


def test_a_stale_reading_is_not_trusted_and_not_current() -> None:
    """Field report 34: last values were published again with fresh times."""
    state = trusting()
    assert q.current(state, 13.0) is not None
    assert q.current(state, 13.1) is None
    _, effects = q.step(state, ReadingTaken(raw(11.0, 1001)), 14.1)
    assert isinstance(effects[0], Distrusted)


def test_a_silent_meter_fails_after_five_seconds_and_is_cleared_by_trust() -> None:
    state = trusting()
    state, effects = q.step(state, MeterDown("no meter answers"), 11.0)
    assert effects == ()
    assert q.next_deadline(state) == 15.0
    assert q.step(state, Tick(), 14.9)[1] == ()
    state, effects = q.step(state, Tick(), 15.0)
    assert effects == (FailureRaised("no meter answers"),)
    assert q.next_deadline(state) is None
    assert q.step(state, Tick(), 99.0)[1] == ()
    state, effects = q.step(state, MeterUp(), 100.0)
    assert effects == (), "its first reading says whether it is well"
    state, effects = take(state, raw(101.0, 1005))
    assert effects == [Trusted(raw(101.0, 1005)), FailureCleared()]


def test_a_meter_that_never_answers_fails_too() -> None:
    state, effects = q.step(q.initial(LIMITS, 0.0), Tick(), 5.0)
    assert effects == (FailureRaised("meter has given no reading yet"),)
    _, effects = q.step(state, MeterDown("port gone"), 6.0)
    assert effects == (FailureRaised("port gone"),)


def test_a_meter_that_talks_nonsense_fails_once_and_says_why() -> None:
    state, effects = take(trusting(), *(raw(11.0 + index, (0, 900_000)[index % 2]) for index in range(20)))
    raised = [effect for effect in effects if isinstance(effect, FailureRaised)]
    assert [effect.reason for effect in raised] == ["readings can't be trusted: register went back: 1000 Wh to 0 Wh"]
    assert state.failure
    assert len([effect for effect in effects if isinstance(effect, Distrusted)]) == 2


def test_a_short_silence_is_no_failure() -> None:
    state, _ = q.step(trusting(), MeterDown("no meter answers"), 11.0)
    _, effects = take(state, raw(13.0, 1002))
    assert effects == [Trusted(raw(13.0, 1002))]


def test_every_event_in_every_order_keeps_the_register_from_falling_unless_replaced() -> None:
    events = ["same", "more", "zero", "other", "nan", "down", "up", "tick"]
    for sequence in itertools.product(events, repeat=4):
        state, last = trusting(), 1000
        for index, name in enumerate(sequence):
            now_s = 11.0 + index
            readings = {
                "same": raw(now_s, last),
                "more": raw(now_s, last + 5),
                "zero": raw(now_s, 0),
                "other": raw(now_s, 77, "2"),
                "nan": raw(now_s, last, power_w=math.nan),
            }
            others: dict[str, q.Event] = {"down": MeterDown("x"), "up": MeterUp(), "tick": Tick()}
            event = ReadingTaken(readings[name]) if name in readings else others[name]
            before = state.failure
            state, effects = q.step(state, event, now_s)
            for effect in effects:
                if isinstance(effect, Trusted):
                    assert effect.replaced or effect.raw.energy_import_wh >= last
                    last = effect.raw.energy_import_wh
            assert [isinstance(e, FailureRaised) for e in effects].count(True) <= 1
            assert (FailureCleared() in effects) == (bool(before) and not state.failure)


@given(st.lists(st.tuples(st.floats(0.01, 10), st.integers(-5, 2**40), st.sampled_from(["1", "2", ""])), max_size=60))
def test_trusted_energy_never_falls_and_never_jumps_without_a_replaced_meter(steps: list[tuple[float, int, str]]) -> None:
    state, now_s = q.initial(LIMITS, 0.0), 0.0
    last: RawReading | None = None
    for pause_s, energy_wh, serial in steps:
        now_s += pause_s
        state, effects = q.step(state, ReadingTaken(raw(now_s, energy_wh, serial)), now_s)
        assert len(state.candidates) < q.CONFIRMATIONS_REPLACED
        for effect in effects:
            if isinstance(effect, Trusted):
                if last is not None and not effect.replaced:
                    gained = effect.raw.energy_import_wh - last.energy_import_wh
                    elapsed_s = effect.raw.read_boottime_s - last.read_boottime_s
                    assert 0 <= gained <= PER_SECOND_WH * max(1.0, elapsed_s) + 2**40 * 2**-24
                last = effect.raw
