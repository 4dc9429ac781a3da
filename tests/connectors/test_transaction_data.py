"""transactionData of StopTransaction: content, thinning, what a restart or a power cut leaves (OCPP 1.6 §3.16, §4.10)."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.database import open_database, transaction
from bus.journal import Outbox
from bus.messages import Deliver, MeterValue, MeterValues, Moment, SampledValue, StopTransaction
from bus.vocabulary import Measurand, Phase, ReadingContext, Reason
from services.configuration.keys import MEASURANDS
from services.connectors import events as e
from services.connectors.open_transaction import KeptReading
from services.connectors.readings import Measurands
from services.connectors.state import Settings
from services.connectors.store import Store
from services.connectors.transaction_data import BYTES_MAX, thinned
from services.demo import schemas
from services.ocpp_link.actions import encode
from services.ocpp_link.translate import transaction_request
from tests.connectors.bench import Bench, charging
from tests.connectors.test_meter_values import ENERGY, FULL, VOLTAGE, stop
from tests.connectors.test_phases_and_events import STOPPED

BEGIN, PERIODIC = ReadingContext.TRANSACTION_BEGIN, ReadingContext.SAMPLE_PERIODIC
CLOCK, END = ReadingContext.SAMPLE_CLOCK, ReadingContext.TRANSACTION_END
MEASURED = {
    name: getattr(FULL, name)
    for name in ("energy_export_wh", "power_w", "voltages_v", "currents_a", "powers_w", "frequency_hz", "power_factor")
}
SAMPLED = Settings(meter_value_sample_interval_s=10, stop_txn_sampled_data=ENERGY)


def contexts(data: tuple[MeterValue, ...]) -> list[ReadingContext]:
    """The context of each reading."""
    assert all(len({value.context for value in reading.sampled_values}) == 1 for reading in data)
    return [reading.sampled_values[0].context for reading in data]


def reading(position: int, context: ReadingContext, at_s: float, values: int = 1) -> KeptReading:
    """A reading as it is kept."""
    value = SampledValue("1", context, Measurand.VOLTAGE)
    return KeptReading(position, MeterValue(Moment("boot", round(at_s * 1000)), (value,) * values))


@pytest.mark.parametrize("interval_s", [0, 10])
def test_both_lists_empty_means_no_transaction_data(interval_s: int) -> None:
    """OCPP 1.6 §3.16.5."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=interval_s, clock_aligned_data_interval_s=interval_s))
    bench.advance(60)
    assert stop(bench) == ()


def test_start_and_stop_are_told_of_every_measurand_of_either_list_whatever_the_intervals() -> None:
    """errata v4.0 3.14 (§3.16.6); OCPP 1.6 §7.35. Registers are meterStart and meterStop, times those of the two messages."""
    bench = charging(
        settings=Settings(meter_value_sample_interval_s=0, stop_txn_sampled_data=ENERGY, stop_txn_aligned_data=VOLTAGE)
    )
    bench.plants[1].measured = {"voltages_v": (229.0,)}
    bench.advance(5)
    begin, end = stop(bench)
    start, _, stopped = bench.audit.whole(bench.last_tx)
    assert contexts((begin, end)) == [BEGIN, END]
    assert begin.sampled_values[0].value == str(start.meter_start_wh)
    assert end.sampled_values[0].value == str(stopped.meter_stop_wh)
    assert [value.measurand for value in end.sampled_values] == [ENERGY[0][0], VOLTAGE[0][0]]
    assert (begin.at, end.at) == (start.at, stopped.at)


def test_samples_of_both_kinds_have_each_their_own_list() -> None:
    """OCPP 1.6 §9.1.25, §9.1.27."""
    settings = Settings(
        meter_value_sample_interval_s=10,
        meter_values_sampled_data=(),
        clock_aligned_data_interval_s=20,
        stop_txn_sampled_data=ENERGY,
        stop_txn_aligned_data=VOLTAGE,
    )
    bench = Bench(settings=settings)
    bench.plants[1].measured = {"voltages_v": (230.0, 230.0, 230.0)}
    bench.plug_in()
    bench.card()
    bench.advance(65)
    assert len(bench.audit.entries[bench.last_tx]) == 1, "MeterValues have lists of their own"
    data = stop(bench)
    assert contexts(data).count(PERIODIC) == 6
    assert contexts(data).count(CLOCK) == 3
    for value in data[1:-1]:
        measured = {sampled.measurand for sampled in value.sampled_values}
        assert measured == ({Measurand.VOLTAGE} if contexts((value,)) == [CLOCK] else {ENERGY[0][0]})
    assert [value.at.boottime_ms for value in data] == sorted(value.at.boottime_ms for value in data)


def test_the_lists_in_force_at_the_stop_decide() -> None:
    """OCPP 1.6 §3.16.5, field report 24: a change in mid-transaction is live; the start's reading has what it needs for it."""
    bench = Bench(settings=SAMPLED)
    bench.plants[1].measured = {"voltages_v": (230.0, 231.0, 232.0)}
    bench.plug_in()
    bench.card()
    bench.advance(25)
    bench.settings(stop_txn_sampled_data=((Measurand.VOLTAGE, Phase.L2),))
    bench.advance(20)
    data = stop(bench)
    assert contexts(data) == [BEGIN, PERIODIC, PERIODIC, END], "the energy of the first two samples is not asked for any more"
    assert {(s.value, s.phase) for value in data for s in value.sampled_values} == {("231", Phase.L2_N)}
    bench = charging(settings=SAMPLED)
    bench.settings(stop_txn_sampled_data=())
    assert stop(bench) == ()


def test_a_stop_without_a_reading_tells_the_last_register_with_its_own_time() -> None:
    """Design §4.1, field report 34: never a stale reading as a fresh one."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=0, stop_txn_sampled_data=(*ENERGY, *VOLTAGE)))
    bench.plants[1].meter_answers = False
    last = bench.connector().transaction.last  # type: ignore[union-attr]
    bench.advance(30)
    bench.card()
    bench.advance(10)
    end = bench.stop_message().meter_values[-1]
    assert end.at == last.at
    assert [value.value for value in end.sampled_values] == [str(last.energy_wh)]


def test_a_restart_in_mid_transaction_keeps_the_data() -> None:
    """Design §2; the readings of before and after are one sequence."""
    bench = charging(settings=SAMPLED)
    bench.restart()
    bench.advance(20)
    data = stop(bench)
    assert contexts(data) == [BEGIN, *[PERIODIC] * 5, END]
    assert bench.database.execute("SELECT count(*) FROM transaction_data").fetchone() == (0,)


def test_a_power_cut_keeps_the_data_and_ends_it_with_the_reading_of_the_stop() -> None:
    """Design §2: closed with PowerLoss at the first trustworthy reading; field report 11."""
    bench = charging(settings=SAMPLED)
    bench.power_cut()
    bench.advance(5)
    stopped = bench.stop_message()
    assert stopped.reason is Reason.POWER_LOSS
    assert contexts(stopped.meter_values) == [BEGIN, PERIODIC, PERIODIC, PERIODIC, END]
    assert stopped.meter_values[-1].at == stopped.at
    assert stopped.meter_values[-1].sampled_values[0].value == str(stopped.meter_stop_wh)


def test_a_power_cut_while_it_stops_ends_the_data_at_the_stop() -> None:
    """Design §4.1: read in the next boot, and still no reading of after the stop."""
    bench = charging(settings=SAMPLED)
    bench.plants[1].meter_answers = False
    bench.card()
    bench.power_cut()
    bench.plants[1].meter_answers = True
    bench.advance(5)
    stopped = bench.stop_message()
    assert stopped.reason is Reason.LOCAL
    assert stopped.meter_values[-1].at == stopped.at


def test_another_plug_in_after_a_restart_closes_with_what_is_on_disk() -> None:
    """Design §2: closed with the last committed reading, of which only the register is known."""
    bench = charging(settings=SAMPLED)
    bench.plants[1].unplug()
    bench.plants[1].plug_in()
    bench.restart()
    bench.advance(3)
    assert contexts(bench.stop_message().meter_values) == [BEGIN, PERIODIC, PERIODIC, PERIODIC, END]
    assert bench.connector().kept == ()


def test_a_transaction_that_an_older_release_began_has_its_start_and_its_stop() -> None:
    """New tables are additive: what is not there is made of what is."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=0, stop_txn_sampled_data=ENERGY))
    with transaction(bench.database):
        bench.database.execute("DELETE FROM transaction_data")
    bench.restart()
    bench.advance(3)
    start = bench.audit.entries[bench.last_tx][0].message
    begin, _ = stop(bench)
    assert (begin.at, begin.sampled_values[0].value) == (start.at, str(start.meter_start_wh))  # type: ignore[union-attr]


def test_readings_of_a_transaction_that_an_older_release_closed_are_removed() -> None:
    """An older release knows nothing of the table: nothing stays there for ever."""
    database = open_database(":memory:")
    store, outbox = Store(database), Outbox(database, "journal.transaction.")
    with transaction(database):
        store.apply((e.SaveTransaction(STOPPED), e.KeepReading("tx", reading(0, BEGIN, 1))), outbox)
        store.apply((e.KeepReading("gone", reading(0, BEGIN, 1)),), outbox)
        database.execute("INSERT INTO transaction_data VALUES ('tx/1', 'tx', 'nonsense')")
    assert store.load().kept == {"tx": (reading(0, BEGIN, 1),)}
    assert [text.split(":")[0] for text in store.unreadable] == ["transaction_data tx/1"]
    assert database.execute("SELECT id FROM transaction_data").fetchall() == [("tx/0",)]
    database.close()


def test_transaction_data_costs_no_commit_of_its_own() -> None:
    """Design §8: one commit with the MeterValues that are journalled anyway, each with one new row."""
    counts = []
    for lists in ((), ENERGY):
        bench = charging(settings=Settings(meter_value_sample_interval_s=10, stop_txn_sampled_data=lists))
        before, seen = bench.commits, len(bench.effects)
        bench.advance(300)
        counts.append(bench.commits - before)
        commits = [effect for effect in bench.effects[seen:] if isinstance(effect, e.Commit)]
        rows = [change for commit in commits for change in commit.changes if isinstance(change, e.KeepReading)]
        assert len(rows) == (30 if lists else 0)
    assert counts == [30, 30]


def test_a_long_transaction_stays_bounded_and_evenly_spaced() -> None:
    """errata v4.0 3.89: the ends are never dropped, and intermediate values go first; a restart in between changes nothing."""
    bench = charging(settings=SAMPLED)
    bench.settings(stop_transaction_max_meter_values=12, clock_aligned_data_interval_s=60, stop_txn_aligned_data=ENERGY)
    for _ in range(3):
        bench.advance(500)
        bench.restart()
    data = stop(bench)
    assert len(data) == 12
    assert contexts(data)[0] is BEGIN
    assert contexts(data)[-1] is END
    times = [value.at.boottime_ms / 1000 for value in data if contexts((value,)) == [PERIODIC]]
    gaps = [after - before for before, after in pairwise(times[:-1])]
    assert max(gaps) <= 2 * min(gaps) + 20
    assert CLOCK in contexts(data), "neither kind crowds the other out"


@given(
    st.lists(st.tuples(st.sampled_from([PERIODIC, CLOCK]), st.integers(1, 20), st.integers(1, 40)), max_size=60),
    st.integers(2, 20),
)
def test_thinning_keeps_order_ends_and_bounds(taken: list[tuple[ReadingContext, int, int]], meter_values_max: int) -> None:
    """errata v4.0 3.89, for any readings, taken one after the other: the start's is kept, the newest too, order is kept."""
    kept = (reading(0, BEGIN, 0, 16),)
    at_s = 0
    for position, (context, gap_s, values) in enumerate(taken, 1):
        at_s += gap_s
        new = reading(position, context, at_s, values)
        before = (*kept, new)
        kept = thinned(before, meter_values_max)
        assert kept[0].position == 0
        assert [one for one in before if one in kept] == list(kept)
        assert len(kept) + 1 <= meter_values_max
        assert kept[-1] is new or meter_values_max == 2
        assert len(before) + 1 > meter_values_max or kept == before, "nothing is dropped while there is room"


def test_thinning_drops_the_1st_3rd_and_5th_of_evenly_spaced_readings() -> None:
    """errata v4.0 3.89, as it recommends."""
    kept = (reading(0, BEGIN, 0), *(reading(index, PERIODIC, 10 * index) for index in range(1, 11)))
    assert [one.position for one in thinned(kept, 7)] == [0, 2, 4, 6, 8, 10]


def test_large_readings_are_thinned_below_the_size_of_a_frame() -> None:
    """A StopTransaction that no Central System takes would never be delivered. The estimate is not below what is sent."""
    bench = Bench(settings=Settings(meter_value_sample_interval_s=1, meter_values_sampled_data=()))
    bench.plants[1].measured = MEASURED
    bench.plants[1].register_wh = 1_234_567_890.0
    bench.settings(stop_txn_sampled_data=tuple((measurand, None) for measurand in MEASURANDS))
    bench.plug_in()
    bench.card()
    bench.advance(260)
    stop(bench)
    stopped = bench.stop_message()
    assert len(stopped.meter_values) < 200
    payload = wire(stopped)
    assert BYTES_MAX / 2 < len(payload) <= BYTES_MAX
    assert contexts(stopped.meter_values)[0] is BEGIN
    assert contexts(stopped.meter_values)[-1] is END


def wire(message: StopTransaction | MeterValues) -> bytes:
    """The payload as the link sends it; valid by the JSON schema."""
    request = transaction_request(Deliver("unique", message, 7))
    action = type(message).__name__
    payload = encode(request)
    assert schemas.violation(schemas.CALL, action, json.loads(payload)) == ""
    return payload.encode()


def test_what_is_sent_keeps_to_the_json_schemas() -> None:
    """Issue 3, acceptance 3; OCPP 1.6 §6.31, §6.49."""
    bench = Bench(settings=SAMPLED)
    everything: Measurands = tuple((measurand, None) for measurand in MEASURANDS)
    bench.plants[1].measured = MEASURED
    bench.settings(stop_txn_sampled_data=everything, meter_values_sampled_data=everything)
    bench.plug_in()
    bench.card()
    bench.advance(25)
    stop(bench)
    _, values, stopped = bench.audit.whole(bench.last_tx)
    assert len(values) == 2
    text = "".join(wire(message).decode() for message in (*values, stopped))
    assert '"unit":"H' not in text, "there is no unit for Frequency (errata v4.0 3.84)"
