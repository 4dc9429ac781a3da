"""When readings are taken, and what becomes of them (pure; OCPP 1.6 §3.16, §4.7, §9.1.5, §9.1.19, errata v4.0 3.13 to 3.16).

Two kinds. *Sampled*: every MeterValueSampleInterval from the start of a transaction, within it only. *Clock-aligned*: on the
marks that divide the day by ClockAlignedDataInterval, counted from midnight UTC, on every connector. Within a transaction both
go through the journal as MeterValues with its transactionId, and are kept for its StopTransaction (`transaction_data.py`).
Outside of one a clock-aligned reading bills nobody: it is sent when the station is online and else forgotten.

Contexts: MeterValues has Sample.Periodic and Sample.Clock. Transaction.Begin and .End are in transactionData only, since
StartTransaction and StopTransaction tell those registers already.

Choice: a clock-aligned reading is the first that the meter gives on the mark or after it, with its own true time (field report
38): a register that bears a time at which it was not read would be wrong. Without one within ALIGNED_WAIT_S there is no value.
Choice: while the clock is not known there is no mark. Where it is set forward, the marks in between are left out; where it is
set back, a mark that comes again counts only when half an interval has truly passed since the last one, so that a clock that
wavers gives no reading twice. An interval that does not divide the day begins anew at midnight.
Choice: there is no main meter in station.toml, so nothing is sent for connector 0 (OCPP 1.6 §4.7, errata v4.0 3.16).

Owns: intervals and marks. Does not: know measurands (`readings.py`), or keep readings.
"""

import msgspec

from bus.messages import ConnectorMeterValues, MeterValue, MeterValues
from bus.vocabulary import ReadingContext
from services.connectors import events as e
from services.connectors import transaction_data
from services.connectors.open_transaction import Transaction
from services.connectors.readings import Instant, Measurands, sampled_values
from services.connectors.state import Connector, Marks, Settings
from services.connectors.transaction_data import export_wh
from services.connectors.work import Work

SAMPLE_AGE_S_MAX = 3.0
"""An older reading is not sent as a fresh one (field report 34)."""
ALIGNED_WAIT_S = 3.0
"""How long after a mark its reading may come: the meter gives one each second."""
LATE_MS_MAX = 5_000
"""A mark that was passed by more, as the clock was set forward or this process hung, is left out."""
DAY_MS = 86_400_000
_ROUNDING_S = 0.001


class Kind(msgspec.Struct, frozen=True):
    """A kind of reading: what of it goes into MeterValues, and what is kept for transactionData."""

    context: ReadingContext
    sent: Measurands
    kept: Measurands


def sampled(settings: Settings) -> Kind:
    """Readings at the interval."""
    return Kind(ReadingContext.SAMPLE_PERIODIC, settings.meter_values_sampled_data, settings.stop_txn_sampled_data)


def aligned(settings: Settings) -> Kind:
    """Readings on the marks."""
    return Kind(ReadingContext.SAMPLE_CLOCK, settings.meter_values_aligned_data, settings.stop_txn_aligned_data)


def next_sample_s(transaction: Transaction, settings: Settings, now_s: float) -> float | None:
    """The next instant to sample, a whole number of intervals after the start (§9.1.19); None: interval 0, off."""
    interval_ms, started_ms = settings.meter_value_sample_interval_s * 1000, transaction.started_at.boottime_ms
    if interval_ms <= 0:
        return None
    elapsed_ms = max(0, round(now_s * 1000) - started_ms)
    return (started_ms + interval_ms * (elapsed_ms // interval_ms + 1)) / 1000


def next_mark_ms(utc_ms: int, interval_s: int) -> int:
    """The first mark after `utc_ms`, Unix milliseconds."""
    midnight_ms = utc_ms - utc_ms % DAY_MS
    interval_ms = interval_s * 1000
    return min(midnight_ms + ((utc_ms - midnight_ms) // interval_ms + 1) * interval_ms, midnight_ms + DAY_MS)


def pass_marks(work: Work) -> None:
    """Notice that a mark was reached, and where the next one is by the clock as it is now."""
    interval_s, offset_s = work.state.settings.clock_aligned_data_interval_s, work.now.utc_offset_s
    off = interval_s <= 0 or offset_s is None
    for connector in work.state.connectors:
        if connector.mark_s is not None and (off or work.now.boottime_s > connector.mark_s + ALIGNED_WAIT_S):
            work.put(connector, mark_s=None)
    if interval_s <= 0 or offset_s is None:
        work.set(marks=None)
        return
    utc_ms = round((work.now.boottime_s + offset_s) * 1000)
    marks = work.state.marks
    if marks is None or marks.interval_s != interval_s:
        marks = Marks(interval_s)
    elif marks.next_ms <= utc_ms:
        marks = _reached(work, marks, utc_ms, offset_s)
    next_ms = next_mark_ms(utc_ms, interval_s)
    work.set(marks=msgspec.structs.replace(marks, next_ms=next_ms, due_s=next_ms / 1000 - offset_s))


def due(work: Work, connector: Connector, transaction: Transaction, sample_due_s: float | None) -> tuple[Kind, ...]:
    """The kinds that are wanted now and whose reading is there: trustworthy, fresh, and of this transaction.

    While nobody sees the plug there are none: a transaction that ends with an earlier register must not have told a later one
    (OCPP 1.6 §7.31).
    """
    settings, mark_s = work.state.settings, connector.mark_s
    if transaction.sure is not None:
        return ()
    started_s = transaction.started_at.boottime_ms / 1000
    kinds: list[Kind] = []
    if sample_due_s is not None and sample_due_s <= work.now.boottime_s and is_fresh(work, connector, started_s):
        kinds.append(sampled(settings))
    if mark_s is not None and is_fresh(work, connector, max(mark_s, started_s)):
        kinds.append(aligned(settings))
    return tuple(kinds)


def take(work: Work, connector: Connector, transaction: Transaction, kind: Kind) -> tuple[Connector, Transaction]:
    """Journal MeterValues of the newest reading, and keep it; an empty list gives nothing (operators' report 4)."""
    sample = connector.sample
    assert sample is not None, "only a reading that is there is taken"
    at = work.now.moment(sample.read_boottime_s)
    instant = Instant(sample, transaction.last.energy_wh, export_wh(transaction, sample), offered_a(connector))
    if sent := sampled_values(instant, kind.sent, kind.context):
        message = MeterValues(connector.connector_id, (MeterValue(at, sent),))
        work.change(e.AppendEntry(transaction.following(message)))
        transaction = msgspec.structs.replace(transaction, next_number=transaction.next_number + 1)
    if kept := sampled_values(instant, kind.kept, kind.context):
        connector = transaction_data.keep(work, connector, transaction, MeterValue(at, kept))
    if kind.context is ReadingContext.SAMPLE_CLOCK:
        connector = work.put(connector, mark_s=None)
    return connector, transaction


def tell_outside_transaction(work: Work, connector: Connector) -> None:
    """Say the reading of a mark on a connector without a transaction: the meter's own register, no transactionId."""
    mark_s, sample = connector.mark_s, connector.sample
    if mark_s is None or sample is None or connector.transaction is not None or not is_fresh(work, connector, mark_s):
        return
    instant = Instant(sample, sample.energy_import_wh, sample.energy_export_wh, offered_a(connector))
    kind = aligned(work.state.settings)
    if sent := sampled_values(instant, kind.sent, kind.context):
        value = MeterValue(work.now.moment(sample.read_boottime_s), sent)
        work.tell(e.TellMeterValues(ConnectorMeterValues(connector.connector_id, (value,))))
    work.put(connector, mark_s=None)


def offered_a(connector: Connector) -> float | None:
    """Amps that the controller offers; None: it does not say."""
    seen = connector.seen
    if seen is None or connector.evse_failure:
        return None
    return seen.limit_a if seen.offering else 0.0


def _reached(work: Work, marks: Marks, utc_ms: int, offset_s: float) -> Marks:
    now_s = work.now.boottime_s
    again = marks.reached_ms is not None and marks.next_ms <= marks.reached_ms
    if utc_ms - marks.next_ms > LATE_MS_MAX or (again and now_s < marks.reached_s + marks.interval_s / 2):
        return marks
    for connector in work.state.connectors:
        work.put(connector, mark_s=marks.next_ms / 1000 - offset_s)
    return msgspec.structs.replace(marks, reached_ms=marks.next_ms, reached_s=now_s)


def is_fresh(work: Work, connector: Connector, not_before_s: float) -> bool:
    """Whether the newest reading is not from before, and may be sent as one of now (field reports 34 to 36)."""
    sample = connector.sample
    if sample is None or connector.meter_failure or sample.read_boottime_s < not_before_s - _ROUNDING_S:
        return False
    return work.now.boottime_s - sample.read_boottime_s <= SAMPLE_AGE_S_MAX
