"""What a transaction says: its start, its register over several meters, its samples, its stop (pure).

Implements the Charge Point's side of OCPP 1.6 §4.7, §4.8 and §4.10.

Owns: opening and closing, energy arithmetic, journal entries. Does not: decide who may charge (`cards.py`) or when a phase
moves on (`core.py`).
"""

import msgspec

from bus.messages import (
    MeterSample,
    MeterValue,
    MeterValues,
    Moment,
    StartTransaction,
    StopTransaction,
    TransactionEntry,
)
from bus.vocabulary import ReadingContext, Reason
from services.connectors import events as e
from services.connectors.readings import sampled_values
from services.connectors.state import (
    Connector,
    Finished,
    Idle,
    Now,
    Reading,
    Running,
    Segment,
    SessionMark,
    Settings,
    StopIntent,
    Stopping,
    Transaction,
    Waiting,
)
from services.connectors.work import Work
from services.hardware.contract import EvseObservation

CHECKPOINT_S = 60.0
SAMPLE_AGE_S_MAX = 3.0
"""An older reading is not sent as a fresh one (field report 34)."""


def open_transaction(work: Work, connector: Connector, waiting: Waiting, sample: MeterSample) -> None:
    """The start: on disk, with its journal entry, before current is offered."""
    at = work.now.moment()
    register_wh = sample.energy_import_wh
    transaction = Transaction(
        local_tx_id=work.fresh_id(),
        connector_id=connector.connector_id,
        id_tag=waiting.id_tag,
        started_at=at,
        meter_start_wh=register_wh,
        segment=Segment(sample.serial, first_wh=register_wh, base_wh=register_wh),
        last=Reading(register_wh, work.now.moment(sample.read_boottime_s)),
        mark=_mark(connector.seen),
        parent_id_tag=waiting.parent_id_tag,
    )
    start = StartTransaction(connector.connector_id, waiting.id_tag, register_wh, at)
    work.change(
        e.DropWaiting(waiting.waiting_id),
        e.SaveTransaction(transaction),
        e.AppendEntry(TransactionEntry(transaction.local_tx_id, 0, start)),
    )
    work.put(connector, phase=running(transaction, work.state.settings, work.now), sample=sample)
    work.note(
        "transaction starts",
        connector_id=connector.connector_id,
        local_tx_id=transaction.local_tx_id,
        id_tag=waiting.id_tag,
        detail=f"meterStart {register_wh} Wh",
    )


def running(transaction: Transaction, settings: Settings, now: Now) -> Running:
    """The phase of a transaction that runs from now on."""
    interval_s = settings.meter_value_sample_interval_s
    sample_due_s = now.boottime_s + interval_s if interval_s > 0 else None
    return Running(transaction, sample_due_s, now.boottime_s + CHECKPOINT_S)


def follow_register(transaction: Transaction, sample: MeterSample, now: Now) -> tuple[Transaction, bool]:
    """The transaction with a new reading, and whether another meter has taken over.

    A meter replaced during a transaction goes on as the sum of its segments (design §4.1): a new serial, or a register
    below the last one, which the meter service has confirmed.
    """
    segment = transaction.segment
    replaced = sample.serial != segment.serial or register_wh(segment, sample) < transaction.last.energy_wh
    if replaced:
        segment = Segment(sample.serial, first_wh=sample.energy_import_wh, base_wh=transaction.last.energy_wh)
    last = Reading(register_wh(segment, sample), now.moment(sample.read_boottime_s))
    return msgspec.structs.replace(transaction, segment=segment, last=last), replaced


def register_wh(segment: Segment, sample: MeterSample) -> int:
    """The transaction's register by this segment's meter, Wh."""
    return segment.base_wh + sample.energy_import_wh - segment.first_wh


def sample_and_checkpoint(work: Work, connector: Connector, phase: Running) -> None:
    """MeterValues when they are due, and the last reading on disk at least every CHECKPOINT_S."""
    now_s = work.now.boottime_s
    interval_s = work.state.settings.meter_value_sample_interval_s
    phase = _follow_interval(phase, interval_s, now_s)
    due = phase.sample_due_s is not None and phase.sample_due_s <= now_s
    if not due and phase.checkpoint_due_s > now_s:
        work.put(connector, phase=phase)
        return
    transaction = msgspec.structs.replace(phase.transaction, mark=_mark(connector.seen, phase.transaction.mark))
    if due:
        transaction = _append_sample(work, connector, transaction)
    if transaction != phase.transaction or transaction.last.energy_wh != transaction.meter_start_wh:
        work.change(e.SaveTransaction(transaction))
    sample_due_s = phase.sample_due_s
    if due and sample_due_s is not None:
        sample_due_s += interval_s * ((now_s - sample_due_s) // interval_s + 1)
    work.put(connector, phase=Running(transaction, sample_due_s, now_s + CHECKPOINT_S))


def stop(work: Work, connector: Connector, reason: Reason, *, id_tag: str | None = None, info: str = "") -> None:
    """The intent to stop: on disk before the contactor opens (unless safety has opened it already)."""
    assert isinstance(connector.phase, Running), "only a running transaction can be stopped"
    intent = StopIntent(reason, work.now.moment(), id_tag)
    mark = _mark(connector.seen, connector.phase.transaction.mark)
    transaction = msgspec.structs.replace(connector.phase.transaction, stop=intent, mark=mark)
    work.change(e.SaveTransaction(transaction))
    work.put(connector, phase=Stopping(transaction, since_s=work.now.boottime_s, info=info))
    work.note(
        "transaction stops",
        connector_id=connector.connector_id,
        local_tx_id=transaction.local_tx_id,
        id_tag=id_tag,
        detail=str(reason),
    )


def close_with_reading(work: Work, connector: Connector, transaction: Transaction, sample: MeterSample | None) -> None:
    """The outcome: StopTransaction with the register after the contactor opened, or the last trustworthy one."""
    assert transaction.stop is not None
    if sample is not None:
        transaction, _ = follow_register(transaction, sample, work.now)
    mark = _mark(connector.seen, transaction.mark) if connector.plugged else None
    _close(work, transaction, mark)
    work.put(connector, phase=Finished() if connector.plugged else Idle())


def close_at_last_reading(work: Work, transaction: Transaction, reason: Reason) -> None:
    """The end of a transaction whose own plug-in is gone: its last committed reading, stamped with that reading's time."""
    intent = StopIntent(reason, transaction.last.at, None if transaction.stop is None else transaction.stop.id_tag)
    _close(work, msgspec.structs.replace(transaction, stop=intent), None)


def same_session(mark: SessionMark, seen: EvseObservation) -> bool:
    """Whether the controller's counters have gone on from `mark`; another plug-in would have set them back."""
    return seen.session_energy_ws >= mark.energy_ws and seen.session_elapsed_s >= mark.elapsed_s


def _close(work: Work, transaction: Transaction, mark: SessionMark | None) -> None:
    intent = transaction.stop
    assert intent is not None
    stop_message = StopTransaction(
        connector_id=transaction.connector_id,
        meter_stop_wh=transaction.last.energy_wh,
        at=intent.at or transaction.last.at,
        reason=intent.reason,
        id_tag=intent.id_tag,
    )
    work.change(
        e.AppendEntry(TransactionEntry(transaction.local_tx_id, transaction.next_number, stop_message)),
        e.CloseTransaction(transaction.local_tx_id, transaction.connector_id, mark),
    )
    work.note(
        "transaction ends",
        connector_id=transaction.connector_id,
        local_tx_id=transaction.local_tx_id,
        detail=f"{intent.reason}, {transaction.last.energy_wh - transaction.meter_start_wh} Wh",
    )


def _append_sample(work: Work, connector: Connector, transaction: Transaction) -> Transaction:
    """Journal one MeterValues of the newest reading; nothing if there is none that is fresh (field report 34)."""
    sample = connector.sample
    if sample is None or work.now.boottime_s - sample.read_boottime_s > SAMPLE_AGE_S_MAX or connector.meter_failure:
        return transaction
    offered_a = connector.seen.limit_a if connector.seen is not None and connector.seen.offering else 0.0
    measurands = work.state.settings.meter_values_sampled_data
    values = sampled_values(
        sample, transaction.last.energy_wh, measurands, context=ReadingContext.SAMPLE_PERIODIC, offered_a=offered_a
    )
    if not values:
        return transaction
    message = MeterValues(connector.connector_id, (MeterValue(_moment_of(work.now, sample), values),))
    work.change(e.AppendEntry(TransactionEntry(transaction.local_tx_id, transaction.next_number, message)))
    return msgspec.structs.replace(transaction, next_number=transaction.next_number + 1)


def _moment_of(now: Now, sample: MeterSample) -> Moment:
    return now.moment(sample.read_boottime_s)


def _follow_interval(phase: Running, interval_s: int, now_s: float) -> Running:
    """A changed MeterValueSampleInterval takes effect at once (field report 24)."""
    if interval_s <= 0:
        return phase if phase.sample_due_s is None else Running(phase.transaction, None, phase.checkpoint_due_s)
    if phase.sample_due_s is None or phase.sample_due_s > now_s + interval_s:
        return Running(phase.transaction, now_s + interval_s, phase.checkpoint_due_s)
    return phase


def _mark(seen: EvseObservation | None, before: SessionMark | None = None) -> SessionMark:
    """The controller's counters now; while it is not plugged in or not heard, what they were."""
    if seen is None or (before is not None and not same_session(before, seen)):
        return before or SessionMark(0, 0)
    return SessionMark(seen.session_energy_ws, seen.session_elapsed_s)
