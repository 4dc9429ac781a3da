"""The readings of now, for a TriggerMessage of MeterValues (OCPP 1.6 §5.17, §7.35, errata v4.0 3.46)."""

from bus.messages import SampledValue
from bus.profile_messages import MeterValuesTaken, TakeMeterValues, TriggeredMeterValues
from bus.vocabulary import Measurand, ReadingContext, TriggerMessageStatus
from services.connectors import events as e
from services.connectors.state import Settings
from tests.connectors.bench import Bench, charging

ALL = tuple((measurand, None) for measurand in (Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, Measurand.POWER_ACTIVE_IMPORT))
SETTINGS = Settings(meter_values_sampled_data=ALL)


def take(bench: Bench, connector_id: int | None = None) -> MeterValuesTaken:
    call_id = f"trigger-{len(bench.answers)}"
    bench.feed(e.MeterValuesAsked(call_id, TakeMeterValues(connector_id)))
    answer = bench.answers[call_id]
    assert isinstance(answer, MeterValuesTaken)
    return answer


def told(values: TriggeredMeterValues) -> dict[Measurand, SampledValue]:
    (meter_value,) = values.meter_values
    return {value.measurand: value for value in meter_value.sampled_values if value.phase is None}


def refused(answer: MeterValuesTaken) -> str:
    assert answer.status is TriggerMessageStatus.REJECTED
    assert answer.values == ()
    return answer.reason


def test_an_idle_station_tells_its_register_and_no_power() -> None:
    """OCPP 1.6 §5.17; operators' reports 11 and 12: also when idle, and then power is 0."""
    bench = Bench(settings=SETTINGS)
    bench.advance(2)
    answer = take(bench)
    assert answer.status is TriggerMessageStatus.ACCEPTED
    (values,) = answer.values
    assert values.transaction_id is None
    assert told(values)[Measurand.POWER_ACTIVE_IMPORT].value == "0"
    assert told(values)[Measurand.ENERGY_ACTIVE_IMPORT_REGISTER].value.isdecimal()


def test_all_that_meter_values_sampled_data_names_is_told_with_the_context_trigger() -> None:
    """Errata v4.0 3.46: SHALL return all measurands of MeterValuesSampledData; OCPP 1.6 §7.35: Trigger."""
    bench = Bench(settings=SETTINGS)
    bench.advance(2)
    (values,) = take(bench, 1).values
    assert set(told(values)) == {measurand for measurand, _ in ALL}
    assert {value.context for value in told(values).values()} == {ReadingContext.TRIGGER}


def test_within_a_transaction_its_id_and_register_are_told() -> None:
    """OCPP 1.6 §6.31: the transaction to which the samples are related, as far as it is known."""
    bench = charging(settings=SETTINGS)
    assert take(bench, 1).values[0].transaction_id is None
    bench.deliver_start(0)
    bench.advance(10)
    (values,) = take(bench, 1).values
    assert values.transaction_id == 0
    transaction = bench.connector().transaction
    assert transaction is not None
    assert told(values)[Measurand.ENERGY_ACTIVE_IMPORT_REGISTER].value == str(transaction.last.energy_wh)


def test_nothing_of_the_journal_is_changed_by_it() -> None:
    """OCPP 1.6 §3.7, §9.1.19: it is told at once or not at all; the samples of the interval go on as they were."""
    bench = charging(settings=SETTINGS)
    entries, commits = len(bench.audit.entries[bench.last_tx]), bench.commits
    for _ in range(5):
        take(bench)
    assert len(bench.audit.entries[bench.last_tx]) == entries
    assert bench.commits == commits


def test_the_reading_is_the_newest_one() -> None:
    """OCPP 1.6 §5.17: only current information. One that is older than 3 s is none (field report 34)."""
    bench = charging(settings=SETTINGS)
    for _ in range(3):
        bench.advance(5)
        (values,) = take(bench).values
        assert bench.now_s - values.meter_values[0].at.boottime_ms / 1000 <= 1.5
    bench.plants[1].meter_answers = False
    bench.advance(5)
    assert "no trustworthy reading" in refused(take(bench))


def test_without_connector_id_each_connector_that_has_a_reading_is_told() -> None:
    """OCPP 1.6 §5.17: "for all allowed connectorId values"."""
    bench = Bench(connectors=3, settings=SETTINGS)
    bench.advance(2)
    assert [values.connector_id for values in take(bench).values] == [1, 2, 3]
    bench.feed(e.MeterFailureChanged(2, "no answer"))
    assert [values.connector_id for values in take(bench).values] == [1, 3]
    assert [values.connector_id for values in take(bench, 3).values] == [3]
    assert "no trustworthy reading" in refused(take(bench, 2))


def test_what_has_no_reading_is_rejected_in_words() -> None:
    """OCPP 1.6 §5.17, §7.44: Rejected, the requested message will not be sent."""
    bench = Bench(settings=SETTINGS)
    bench.advance(2)
    assert refused(take(bench, 0)) == "there is no main meter, so connector 0 has no readings"
    assert refused(take(bench, 2)) == "there is no connector 2"
    bench.settings(meter_values_sampled_data=())
    assert refused(take(bench)) == "MeterValuesSampledData is empty"
    bench.settings(meter_values_sampled_data=((Measurand.SOC, None),))
    assert "no trustworthy reading of what" in refused(take(bench))
    bench.step_clock(None)
    assert refused(take(bench)) == "the time is not known yet"


def test_a_transaction_that_waits_for_its_hardware_is_not_told() -> None:
    """Design §2: after a restart nobody knows yet whether the register is still that of the transaction."""
    bench = charging(settings=SETTINGS)
    sample = bench.connector().sample
    assert sample is not None
    bench.plants[1].answers = False
    bench.restart(away_s=0.1)
    bench.feed(e.MeterSampled(sample))
    assert bench.connector().transaction is not None
    refused(take(bench))
    bench.plants[1].answers = True
    bench.advance(3)
    assert take(bench).status is TriggerMessageStatus.ACCEPTED
