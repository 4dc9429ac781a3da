"""Sampled and clock-aligned readings, within a transaction and outside (OCPP 1.6 §3.16, §4.7, errata v4.0 3.13 to 3.16)."""

from typing import Any

import msgspec
import pytest

from bus.messages import MeterSample, MeterValue, MeterValues, SampledValue
from bus.vocabulary import Measurand, Phase, ReadingContext, UnitOfMeasure
from services.configuration.keys import MEASURANDS
from services.connectors import events as e
from services.connectors.readings import Instant, Measurands, sampled_values
from services.connectors.sampling import next_mark_ms, offered_a
from services.connectors.state import Connector, Settings
from services.hardware.contract import EvseObservation
from tests.connectors.bench import Bench, charging

ENERGY: Measurands = ((Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, None),)
VOLTAGE: Measurands = ((Measurand.VOLTAGE, None),)
OFF = Settings(meter_value_sample_interval_s=0)
ALIGNED = Settings(meter_value_sample_interval_s=0, clock_aligned_data_interval_s=60, meter_values_aligned_data=ENERGY)
FULL = MeterSample(
    1,
    5.0,
    "M1",
    1234,
    energy_export_wh=56,
    power_w=-690.0,
    voltages_v=(230.0, 231.0, 229.5),
    currents_a=(3.0, 0.0, 1.5),
    powers_w=(-800.0, 0.0, 110.0),
    frequency_hz=50.01,
    power_factor=0.98,
)
V, W, A, WH = UnitOfMeasure.V, UnitOfMeasure.W, UnitOfMeasure.A, UnitOfMeasure.WH


def sent(bench: Bench, context: ReadingContext) -> list[MeterValue]:
    """What MeterValues of the newest transaction have of a context."""
    messages = [entry.message for entry in bench.audit.entries[bench.last_tx]]
    values = [value for m in messages if isinstance(m, MeterValues) for value in m.meter_values]
    return [value for value in values if value.sampled_values[0].context is context]


def told(bench: Bench) -> list[MeterValue]:
    """What was said outside transactions."""
    effects = [effect for effect in bench.effects if isinstance(effect, e.TellMeterValues)]
    return [value for effect in effects for value in effect.values.meter_values]


def after_mark_ms(value: MeterValue, interval_s: int = 60) -> int:
    """How long after the mark of the wall clock a reading was taken."""
    assert value.at.utc_ms is not None
    return value.at.utc_ms % (interval_s * 1000)


def stop(bench: Bench) -> tuple[MeterValue, ...]:
    """Present the card again: transactionData."""
    bench.card()
    bench.advance(3)
    return bench.stop_message().meter_values


def everything(measurand: Measurand, phase: Phase | None = None) -> list[tuple[str, Any, Any]]:
    """Value, unit and phase of what a full reading gives for one item of a list."""
    values = sampled_values(Instant(FULL, 1234, 56, 16.0), ((measurand, phase),), ReadingContext.SAMPLE_PERIODIC)
    return [(value.value, value.unit, value.phase) for value in values]


@pytest.mark.parametrize(
    ("measurand", "phase", "expected"),
    [
        (Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, None, [("1234", WH, None)]),
        (Measurand.ENERGY_ACTIVE_EXPORT_REGISTER, None, [("56", WH, None)]),
        (Measurand.POWER_ACTIVE_IMPORT, None, [("0", W, None), ("0", W, "L1"), ("0", W, "L2"), ("110", W, "L3")]),
        (Measurand.POWER_ACTIVE_EXPORT, None, [("690", W, None), ("800", W, "L1"), ("0", W, "L2"), ("0", W, "L3")]),
        (Measurand.CURRENT_IMPORT, None, [("3", A, "L1"), ("0", A, "L2"), ("1.5", A, "L3")]),
        (Measurand.CURRENT_IMPORT, Phase.L3, [("1.5", A, "L3")]),
        (Measurand.VOLTAGE, None, [("230", V, "L1-N"), ("231", V, "L2-N"), ("229.5", V, "L3-N")]),
        (Measurand.VOLTAGE, Phase.L2, [("231", V, "L2-N")]),
        (Measurand.VOLTAGE, Phase.L2_N, [("231", V, "L2-N")]),
        (Measurand.FREQUENCY, None, [("50.01", None, None)]),
        (Measurand.POWER_FACTOR, None, [("0.98", None, None)]),
        (Measurand.CURRENT_OFFERED, None, [("16", A, None)]),
        (Measurand.POWER_OFFERED, None, [("11048", W, None)]),
    ],
)
def test_each_measurand_has_its_phases_and_unit(measurand: Measurand, phase: Phase | None, expected: list[object]) -> None:
    """OCPP 1.6 §3.16.3, §7.31, §7.34, §7.45, §9.1.17 (`Voltage.L1`), errata v4.0 3.84; reports 2 and 8 of operators."""
    assert everything(measurand, phase) == expected


def test_every_measurand_on_offer_has_a_value() -> None:
    """Field report 37: nothing is accepted and then silently missing."""
    assert [measurand for measurand in MEASURANDS if not everything(measurand)] == []


def test_what_is_not_measured_or_not_known_is_left_out() -> None:
    """Report 4 of operators; a controller that is silent offers nobody knows what."""
    bare = Instant(MeterSample(1, 5.0, "M1", 1234), 1234, None, None)
    values = sampled_values(bare, tuple((measurand, None) for measurand in MEASURANDS), ReadingContext.TRIGGER)
    assert values == (SampledValue("1234", ReadingContext.TRIGGER, Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, WH),)


def test_an_item_that_is_asked_for_twice_is_told_once() -> None:
    assert (
        len(sampled_values(Instant(FULL, 1, None, None), (*VOLTAGE, (Measurand.VOLTAGE, Phase.L1)), ReadingContext.OTHER)) == 3
    )


def test_what_is_offered_is_what_the_controller_says_now() -> None:
    """OCPP 1.6 §4.7: nothing where its pilot offers nothing, whatever its limit; unknown while it is silent."""
    limited = EvseObservation("C", True, True, True, 16.0)
    assert offered_a(Connector(1, 32.0, seen=limited)) == 16.0
    assert offered_a(Connector(1, 32.0, seen=msgspec.structs.replace(limited, offering=False))) == 0.0
    assert offered_a(Connector(1, 32.0, seen=limited, evse_failure="no answer")) is None
    assert offered_a(Connector(1, 32.0)) is None


@pytest.mark.parametrize(
    ("utc_s", "interval_s", "mark_s"),
    [
        (0, 900, 900),
        (899.999, 900, 900),
        (900, 900, 1800),
        (86_399, 900, 86_400),
        (86_400 + 1, 7000, 86_400 + 7000),
        (86_400 - 2000, 7000, 86_400),
        (5, 100_000, 86_400),
    ],
)
def test_marks_divide_each_day_from_midnight_utc(utc_s: float, interval_s: int, mark_s: int) -> None:
    """OCPP 1.6 §9.1.5: evenly spaced per day, starting at 00:00:00; what does not divide the day begins anew."""
    assert next_mark_ms(round(utc_s * 1000), interval_s) == mark_s * 1000


def test_sampled_values_keep_to_the_intervals_from_the_start_over_a_restart() -> None:
    """OCPP 1.6 §9.1.19: periodically at this interval from the start of the charging transaction."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=20))
    bench.advance(17)
    bench.restart()
    bench.advance(60)
    started_ms = bench.audit.entries[bench.last_tx][0].message.at.boottime_ms  # type: ignore[union-attr]
    times = [value.at.boottime_ms - started_ms for value in sent(bench, ReadingContext.SAMPLE_PERIODIC)]
    assert [(at_ms + 1000) // 20_000 for at_ms in times] == [1, 2, 3, 4, 5]
    assert all(-1000 <= at_ms - 20_000 * index <= 1000 for index, at_ms in enumerate(times, 1))


def test_interval_zero_is_off_and_a_change_is_live() -> None:
    """OCPP 1.6 §3.16.1, §3.16.2, field report 24."""
    bench = charging(settings=OFF)
    bench.advance(200)
    assert len(bench.audit.entries[bench.last_tx]) == 1
    bench.settings(meter_value_sample_interval_s=10, clock_aligned_data_interval_s=20, meter_values_aligned_data=ENERGY)
    bench.advance(41)
    assert len(sent(bench, ReadingContext.SAMPLE_PERIODIC)) == 4
    assert len(sent(bench, ReadingContext.SAMPLE_CLOCK)) == 2
    bench.settings(meter_value_sample_interval_s=0, clock_aligned_data_interval_s=0)
    bench.advance(60)
    assert len(bench.audit.entries[bench.last_tx]) == 7


def test_clock_aligned_values_are_on_the_marks_with_their_true_time() -> None:
    """OCPP 1.6 §3.16.2, errata v4.0 3.15, field report 38; the transaction's own register."""
    bench = charging(settings=ALIGNED)
    bench.settings(meter_values_sampled_data=VOLTAGE)
    bench.advance(400 - bench.now_s)
    values = sent(bench, ReadingContext.SAMPLE_CLOCK)
    assert all(after_mark_ms(value) <= 1100 for value in values)
    assert [value.at.boottime_ms // 60_000 for value in values] == [2, 3, 4, 5, 6]


def test_both_kinds_at_one_instant_are_both_sent_in_one_commit() -> None:
    """OCPP 1.6 §3.16: two kinds, each with its own context."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=1, stop_txn_sampled_data=ENERGY))
    bench.settings(clock_aligned_data_interval_s=1, meter_values_aligned_data=ENERGY, stop_txn_aligned_data=ENERGY)
    commits = bench.commits
    bench.advance(30)
    periodic, clock = sent(bench, ReadingContext.SAMPLE_PERIODIC), sent(bench, ReadingContext.SAMPLE_CLOCK)
    assert len(periodic) >= 50
    assert len(clock) == 30
    assert bench.commits - commits <= 61
    contexts = [value.sampled_values[0].context for value in stop(bench)]
    assert contexts.count(ReadingContext.SAMPLE_PERIODIC) == len(periodic)
    assert contexts.count(ReadingContext.SAMPLE_CLOCK) >= len(clock)


def test_outside_a_transaction_the_meters_own_register_is_told_without_a_transaction() -> None:
    """OCPP 1.6 §4.7, errata v4.0 3.15: at the interval, on every connector; not on connector 0 without a main meter."""
    bench = Bench(2, settings=ALIGNED)
    bench.plants[2].register_wh = 5000
    commits = bench.commits
    bench.advance(125)
    effects = [effect.values for effect in bench.effects if isinstance(effect, e.TellMeterValues)]
    assert [values.connector_id for values in effects] == [1, 2, 1, 2]
    assert {value.sampled_values[0].value for value in effects[1].meter_values} == {"5000"}
    assert all(after_mark_ms(value) <= 1100 for value in told(bench))
    assert bench.commits == commits, "what bills nobody costs no disk"


def test_sampled_values_exist_within_transactions_only() -> None:
    """OCPP 1.6 §9.1.19: from the start of the charging transaction; and nothing follows the stop (report 17 of operators)."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=5))
    bench.card()
    bench.advance(60)
    assert told(bench) == []
    assert bench.audit.whole(bench.last_tx)


def test_a_mark_that_falls_into_the_stop_is_told_after_it_without_the_transaction() -> None:
    """errata v4.0 3.16: the transaction that is ongoing when the sample is taken; report 17 of operators."""
    bench = charging(settings=ALIGNED)
    bench.advance(59.9 - bench.now_s % 60)
    bench.plants[1].meter_answers = False
    bench.card()
    bench.advance(1.5)
    bench.plants[1].meter_answers = True
    bench.advance(3)
    assert bench.connector().transaction is None
    assert len(told(bench)) == 1


def test_after_a_meter_was_replaced_the_transactions_register_goes_on_in_it_and_the_meters_outside() -> None:
    """Design §4.1, OCPP 1.6 §7.31: registers of one transaction never fall; the export register is not told any more."""
    export: Measurands = ((Measurand.ENERGY_ACTIVE_EXPORT_REGISTER, None),)
    bench = Bench(settings=ALIGNED)
    bench.settings(meter_values_aligned_data=(*ENERGY, *export), stop_txn_aligned_data=(*ENERGY, *export))
    bench.plants[1].measured = {"energy_export_wh": 9}
    bench.plug_in()
    bench.card()
    bench.advance(90)
    bench.plants[1].replace_meter("M2", 3.0)
    bench.advance(60)
    first, *_, last = sent(bench, ReadingContext.SAMPLE_CLOCK)
    assert [value.measurand for value in first.sampled_values] == [export[0][0], ENERGY[0][0]][::-1]
    assert [value.measurand for value in last.sampled_values] == [ENERGY[0][0]]
    assert int(last.sampled_values[0].value) > 1000
    data = stop(bench)
    assert len(data[-1].sampled_values) == 1
    bench.advance(60)
    assert told(bench)[-1].sampled_values[0].value == str(int(bench.plants[1].register_wh))


def test_without_a_fresh_reading_nothing_is_sent() -> None:
    """Field reports 34 to 36: a stale reading is never sent as a fresh one; it goes on when the meter does."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=20, clock_aligned_data_interval_s=20))
    bench.settings(meter_values_aligned_data=ENERGY)
    bench.plants[1].meter_answers = False
    bench.advance(5)
    count = len(bench.audit.entries[bench.last_tx])
    bench.advance(100)
    assert len(bench.audit.entries[bench.last_tx]) == count
    bench.plants[1].meter_answers = True
    bench.advance(21)
    assert len(bench.audit.entries[bench.last_tx]) == count + 2


def test_readings_of_a_meter_that_is_not_trusted_are_not_sent() -> None:
    """PowerMeterFailure (OCPP 1.6 §7.6)."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=5))
    bench.feed(e.MeterFailureChanged(1, "register went back"))
    count = len(bench.audit.entries[bench.last_tx])
    bench.advance(30)
    assert len(bench.audit.entries[bench.last_tx]) == count


def test_while_the_clock_is_not_known_there_is_no_mark() -> None:
    """Design §5; on the first known time the marks begin."""
    bench = Bench(settings=ALIGNED)
    bench.step_clock(None)
    bench.advance(200)
    assert told(bench) == []
    bench.utc_offset_s = 1_800_000_000.0
    bench.advance(61)
    assert len(told(bench)) == 1


@pytest.mark.parametrize("back_s", [-2.0, -25.0])
def test_a_clock_that_wavers_gives_no_reading_twice(back_s: float) -> None:
    """Design §5: steps, backwards ones too. The mark comes again, and is left out; then the marks of the set clock."""
    bench = Bench(settings=ALIGNED)
    bench.advance(61.5 - bench.now_s % 60)
    assert len(told(bench)) == 1
    bench.step_clock(back_s)
    bench.advance(-back_s + 10)
    assert len(told(bench)) == 1
    bench.advance(60)
    assert len(told(bench)) == 2
    assert after_mark_ms(told(bench)[-1]) <= 1100


@pytest.mark.parametrize("step_s", [3600.0, 100.0, -3600.0, -86_400.0 * 400])
def test_after_a_step_of_the_clock_the_next_mark_is_one_of_the_new_time(step_s: float) -> None:
    """Design §5: marks that a step has jumped over are left out, and none is waited for that lies behind."""
    bench = Bench(settings=ALIGNED)
    bench.advance(80 - bench.now_s % 60)
    count = len(told(bench))
    bench.step_clock(step_s)
    bench.advance(62)
    values = told(bench)[count:]
    assert len(values) == 1 + (step_s == 100.0 and after_mark_ms(values[0]) > 2_000)
    assert all(after_mark_ms(value) <= 1100 for value in values)


def test_a_hanging_process_leaves_the_mark_out() -> None:
    """A reading half a minute off the mark is not clock-aligned (field report 38)."""
    bench = Bench(settings=ALIGNED)
    bench.advance(100 - bench.now_s % 60)
    count = len(told(bench))
    bench.now_s += 50
    bench.advance(2)
    assert len(told(bench)) == count


def test_a_reading_that_came_before_the_controller_was_heard_is_told_with_its_own_register() -> None:
    """After a restart of the service.

    Found by simulation (seed 68855): the register of the last checkpoint went out with the time of that reading, as the bus
    lost all those that followed.
    """
    bench = charging(settings=Settings(meter_value_sample_interval_s=10))
    before = len(sent(bench, ReadingContext.SAMPLE_PERIODIC))
    while len(sent(bench, ReadingContext.SAMPLE_PERIODIC)) == before:
        bench.advance(0.1)
    bench.advance(8.5)
    bench.restart()
    register_wh, read_s = int(bench.plants[1].register_wh), bench.now_s
    bench.feed(e.MeterSampled(bench.plants[1].sample(read_s)))
    bench.plants[1].meter_answers = False
    bench.advance(2)
    value = sent(bench, ReadingContext.SAMPLE_PERIODIC)[before + 1]
    assert (value.at.boottime_ms, value.sampled_values[0].value) == (round(read_s * 1000), str(register_wh))
