"""transactionData of StopTransaction: what is kept for it while a transaction runs, and what it says in the end (pure).

Implements OCPP 1.6 §3.16, §4.10, §9.1.25, §9.1.27, errata v4.0 3.14 and 3.89. Readings are kept one row each, in the commit
that takes them, so that a long transaction costs no more disk than a short one.

It has the reading of the start (Transaction.Begin), those taken meanwhile (Sample.Periodic, Sample.Clock), and that of the end
(Transaction.End), in this order. The ends have every measurand of either list, the others those of their own list. The lists
that are in force at the stop decide: with both empty there is no transactionData (§3.16.5), whatever was kept before.

Choice: the ends come whatever the intervals are, 0 too: they are no samples (errata v4.0 3.14 recommends them always). They
repeat meterStart and meterStop, and so bear the times of StartTransaction and StopTransaction: no reading lies outside its
transaction. An end that had to fall back on an older reading bears that one's time.
Choice: no Interruption.Begin and .End. OCPP 1.6 §7.35 has them for a transaction that goes on after an interruption; here a
power cut ends it, and a pause (fault, no energy offered) is told by StatusNotification.

Owns: thinning, bounds, the content. Does not: decide when a reading is taken (`sampling.py`).
"""

from collections.abc import Iterator

from bus.messages import MeterSample, MeterValue, Moment
from bus.vocabulary import ReadingContext
from services.configuration.keys import MEASURANDS
from services.connectors import events as e
from services.connectors.open_transaction import KeptReading, Transaction
from services.connectors.readings import Instant, Measurands, meant, sampled_values
from services.connectors.state import Connector, Settings
from services.connectors.work import Work

ENDS = 2
"""Readings of start and stop are never dropped (errata v4.0 3.89)."""
BYTES_MAX = 240_000
"""Of transactionData, as it is on the wire.

Choice: beyond that it is thinned even below StopTransactionMaxMeterValues. A Central System closes the connection on a frame
that is too large for it, and the StopTransaction would be tried for ever; our own link takes 256 KiB, as many others do.
"""
METER_VALUE_BYTES = 64
SAMPLED_VALUE_BYTES = 160
"""Of each in JSON, the longest words and a register of ten digits."""

_EVERYTHING: Measurands = tuple((measurand, None) for measurand in MEASURANDS)


def begin(work: Work, connector: Connector, transaction: Transaction, sample: MeterSample) -> Connector:
    """Keep the reading of the start, with all that the meter gives: a list may be changed before the stop."""
    instant = Instant(sample, transaction.meter_start_wh, sample.energy_export_wh, 0.0)
    values = sampled_values(instant, _EVERYTHING, ReadingContext.TRANSACTION_BEGIN)
    first = KeptReading(0, MeterValue(transaction.started_at, values))
    work.change(e.KeepReading(transaction.local_tx_id, first))
    return work.put(connector, kept=(first,))


def keep(work: Work, connector: Connector, transaction: Transaction, value: MeterValue) -> Connector:
    """Keep a reading that was taken meanwhile, and drop what there is no room for any more."""
    position = connector.kept[-1].position + 1 if connector.kept else 1
    new = KeptReading(position, value)
    kept = thinned((*connector.kept, new), work.state.settings.stop_transaction_max_meter_values)
    left = {reading.position for reading in kept}
    if new.position in left:
        work.change(e.KeepReading(transaction.local_tx_id, new))
    gone = tuple(reading.position for reading in connector.kept if reading.position not in left)
    if gone:
        work.change(e.DropReadings(transaction.local_tx_id, gone))
    return work.put(connector, kept=kept)


def thinned(kept: tuple[KeptReading, ...], meter_values_max: int) -> tuple[KeptReading, ...]:
    """So many readings as StopTransactionMaxMeterValues and the size of a frame allow, in order, the start's always among them.

    The next to go is the one whose neighbours of its own kind are closest together: of evenly spaced readings the 1st, 3rd, 5th
    and so on, as errata v4.0 3.89 recommends. So they stay evenly spaced over the whole transaction, however long it is.
    """
    left = list(kept)
    while any(not _is_begin(reading) for reading in left) and _too_many(left, meter_values_max):
        del left[_least_missed(left)]
    return tuple(left)


def transaction_data(
    settings: Settings, transaction: Transaction, kept: tuple[KeptReading, ...], last: MeterSample | None
) -> tuple[MeterValue, ...]:
    """What StopTransaction says of the transaction. `last`: the reading of meterStop; None: only its register is known."""
    sampled, aligned = settings.stop_txn_sampled_data, settings.stop_txn_aligned_data
    both = (*sampled, *(item for item in aligned if item not in sampled))
    if not both:
        return ()
    wanted = {
        ReadingContext.TRANSACTION_BEGIN: both,
        ReadingContext.SAMPLE_PERIODIC: sampled,
        ReadingContext.SAMPLE_CLOCK: aligned,
    }
    found = [reading.value for reading in kept]
    if not any(_is_begin(reading) for reading in kept):
        # The start was written by a release that kept no readings; its register is known all the same.
        found.insert(0, _first(transaction))
    values = [_narrowed(value, wanted) for value in found]
    values.append(_end(transaction, last, both))
    return tuple(value for value in values if value.sampled_values)


def export_wh(transaction: Transaction, sample: MeterSample) -> int | None:
    """The export register within a transaction.

    Choice: not told any more once another meter was fitted, as registers of one transaction never fall (OCPP 1.6 §7.31).
    """
    return None if transaction.segment.replaced else sample.energy_export_wh


def last_sample(transaction: Transaction, *candidates: MeterSample | None) -> MeterSample | None:
    """Whichever of the readings is the transaction's last one; None: neither, after a restart."""
    at = transaction.last.at
    same = (s for s in candidates if s is not None and round(s.read_boottime_s * 1000) == at.boottime_ms)
    return next(same, None)


def _first(transaction: Transaction) -> MeterValue:
    sample = MeterSample(transaction.connector_id, 0.0, "", transaction.meter_start_wh)
    instant = Instant(sample, transaction.meter_start_wh, None, None)
    return MeterValue(transaction.started_at, sampled_values(instant, _EVERYTHING, ReadingContext.TRANSACTION_BEGIN))


def _end(transaction: Transaction, last: MeterSample | None, measurands: Measurands) -> MeterValue:
    meter_stop_wh = transaction.last.energy_wh
    if last is None:
        instant = Instant(MeterSample(transaction.connector_id, 0.0, "", meter_stop_wh), meter_stop_wh, None, None)
    else:
        instant = Instant(last, meter_stop_wh, export_wh(transaction, last), 0.0)
    return MeterValue(_end_at(transaction), sampled_values(instant, measurands, ReadingContext.TRANSACTION_END))


def _end_at(transaction: Transaction) -> Moment:
    read_at, stop = transaction.last_read_at, transaction.stop
    if stop is None or stop.at is None:
        return read_at
    if stop.at.boot_id != read_at.boot_id:
        # Told to stop before a power cut, and read after it.
        return stop.at
    return min(stop.at, read_at, key=lambda at: at.boottime_ms)


def _narrowed(value: MeterValue, wanted: dict[ReadingContext, Measurands]) -> MeterValue:
    values = tuple(
        one
        for one in value.sampled_values
        if any(one.measurand is measurand and meant(phase, one.phase) for measurand, phase in wanted[one.context])
    )
    return MeterValue(value.at, values)


def _too_many(kept: list[KeptReading], meter_values_max: int) -> bool:
    between = sum(not _is_begin(reading) for reading in kept)
    return between > max(0, meter_values_max - ENDS) or sum(map(_bytes, _with_end(kept))) > BYTES_MAX


def _with_end(kept: list[KeptReading]) -> Iterator[MeterValue]:
    """The values as they will be sent; the reading of the end is as large as that of the start."""
    for reading in kept:
        yield reading.value
        if _is_begin(reading):
            yield reading.value


def _bytes(value: MeterValue) -> int:
    return METER_VALUE_BYTES + SAMPLED_VALUE_BYTES * len(value.sampled_values)


def _least_missed(kept: list[KeptReading]) -> int:
    """Index of the reading to drop: never the newest of its kind, unless there are only such; then the oldest one."""
    start_ms = kept[0].value.at.boottime_ms
    before_ms: dict[ReadingContext, int] = {}
    waiting: dict[ReadingContext, int] = {}
    gaps: list[tuple[int, int]] = []
    for index, reading in enumerate(kept):
        if _is_begin(reading):
            continue
        kind, at_ms = _kind(reading), reading.value.at.boottime_ms
        if kind in waiting:
            middle = waiting[kind]
            gaps.append((at_ms - before_ms.get(kind, start_ms), middle))
            before_ms[kind] = kept[middle].value.at.boottime_ms
        waiting[kind] = index
    return min(gaps)[1] if gaps else min(waiting.values())


def _is_begin(reading: KeptReading) -> bool:
    return _kind(reading) is ReadingContext.TRANSACTION_BEGIN


def _kind(reading: KeptReading) -> ReadingContext:
    return reading.value.sampled_values[0].context
