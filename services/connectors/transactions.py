"""What a transaction says: its start, its register over several meters, its stop (pure).

Implements the Charge Point's side of OCPP 1.6 §4.7, §4.8 and §4.10.

Owns: opening and closing, energy arithmetic, journal entries. Does not: decide who may charge (`cards.py`), what the Central
System's answer changes (`deliveries.py`), when a phase moves on (`core.py`), when readings are taken (`sampling.py`) or what
transactionData says (`transaction_data.py`).
"""

import msgspec

from bus.messages import (
    MeterSample,
    MeterValue,
    Moment,
    StartTransaction,
    StopTransaction,
    TransactionEntry,
)
from bus.vocabulary import Reason
from services.connectors import events as e
from services.connectors import reservations, sampling, transaction_data
from services.connectors.open_transaction import KeptReading, Reading, Segment, StopIntent, Transaction
from services.connectors.plug_in import SessionMark
from services.connectors.state import Connector, Finished, Idle, Now, Resuming, Running, Settings, Starting, Stopping
from services.connectors.work import SETTLING_S, Work
from services.hardware.contract import EvseObservation

CHECKPOINT_S = 60.0
"""The last reading of a running transaction is on disk at least this often (design §2).

Choice: a car that draws nothing is no exception. A power cut may come at any time, and the time of its stop is billed as
well; one small commit a minute ends with the transaction. Without a new reading there is nothing to write.
"""
NOTHING_COUNTED = SessionMark(0, 0)
CONTACTOR_S = 5.0
"""How long the contactor may take to open before the reading for meterStop is taken all the same."""
CHECKPOINT_S_MIN = 5.0
"""A young transaction is checkpointed after each doubling of its age, from this age on.

The controller's counters on disk tell its plug-in from another one only if that one has not charged for as long since: marks
that stand at nothing would fit any plug-in, and its energy would be billed to whoever began before it.
"""
OPENS_AT_ONCE = frozenset({Reason.EMERGENCY_STOP, Reason.EV_DISCONNECTED, Reason.DE_AUTHORIZED})
"""Reasons for which the contactor opens before anything is written (design §3)."""


def open_transaction(work: Work, connector: Connector, phase: Starting, sample: MeterSample) -> None:
    """The start: on disk, with its journal entry, before current is offered."""
    waiting = phase.waiting
    at = work.now.moment()
    register = sample.energy_import_wh
    transaction = Transaction(
        local_tx_id=work.fresh_id(),
        connector_id=connector.connector_id,
        id_tag=waiting.id_tag,
        started_at=at,
        meter_start_wh=register,
        segment=Segment(sample.serial, first_wh=register, base_wh=register, replacements=sample.replacements),
        last=Reading(register, work.now.moment(sample.read_boottime_s)),
        mark=mark_of(connector.seen),
        parent_id_tag=waiting.parent_id_tag,
        correlation_id=waiting.correlation_id or work.correlation_id(),
    )
    connector = work.put(connector, correlation_id=transaction.correlation_id)
    reservation_id = reservations.end_by_start(work, connector.connector_id, waiting.id_tag, waiting.parent_id_tag)
    start = StartTransaction(connector.connector_id, waiting.id_tag, register, at, reservation_id)
    if phase.finished is not None:
        work.change(e.DropFinished(connector.connector_id))
    work.change(
        e.DropWaiting(waiting.waiting_id),
        e.SaveTransaction(transaction),
        e.AppendEntry(TransactionEntry(transaction.local_tx_id, 0, start, correlation_id=transaction.correlation_id)),
    )
    connector = transaction_data.begin(work, connector, transaction, sample)
    begun = running(transaction, work.state.settings, work.now)
    work.put(connector, phase=begun, sample=sample, settling_until_s=work.now.boottime_s + SETTLING_S)
    work.note(
        "transaction starts",
        connector_id=connector.connector_id,
        local_tx_id=transaction.local_tx_id,
        id_tag=waiting.id_tag,
        detail=f"meterStart {register} Wh",
    )


def running(transaction: Transaction, settings: Settings, now: Now) -> Running:
    """The phase of a transaction, as the disk has it, that runs from now on. One that goes on is checkpointed at once."""
    sample_due_s = sampling.next_sample_s(transaction, settings, now.boottime_s)
    age_s = now.boottime_s - transaction.started_at.boottime_ms / 1000
    checkpoint_due_s = now.boottime_s if age_s >= CHECKPOINT_S_MIN else now.boottime_s + CHECKPOINT_S_MIN
    return Running(transaction, transaction, sample_due_s, checkpoint_due_s)


def follow(work: Work, connector: Connector, sample: MeterSample) -> Connector:
    """A new reading of a transaction that runs or stops; the connector with it.

    Another meter is committed at once: what the one before it has counted is known nowhere else.
    """
    assert isinstance(connector.phase, Running | Stopping)
    before = connector.phase.transaction
    transaction, replaced = follow_register(before, sample, work.now)
    if before.stop is not None and not before.stop.allows(transaction.last.energy_wh):
        return connector
    if not replaced:
        return work.put(connector, phase=msgspec.structs.replace(connector.phase, transaction=transaction))
    work.note(
        "another meter counts on within the transaction",
        connector_id=connector.connector_id,
        local_tx_id=transaction.local_tx_id,
        detail=f"serial {sample.serial} at {sample.energy_import_wh} Wh, before it {before.segment.serial}",
        warning=True,
    )
    return save(work, connector, transaction)


def follow_register(transaction: Transaction, sample: MeterSample, now: Now) -> tuple[Transaction, bool]:
    """The transaction with a new reading, and whether another meter has taken over.

    A meter replaced during a transaction goes on as the sum of its segments (design §4.1): a new serial, a register below
    the last one, or one more replacement counted by the meter service, which has confirmed it. A reading
    older than the last one says nothing: it came late over the bus, and would look like a register that went back.
    """
    last, segment = transaction.last, transaction.segment
    if last.at.boot_id == now.boot_id and round(sample.read_boottime_s * 1000) < last.at.boottime_ms:
        return transaction, False
    other_serial = bool(sample.serial and segment.serial) and sample.serial != segment.serial
    counted = sample.replacements > segment.replacements
    replaced = other_serial or counted or register_wh(segment, sample) < last.energy_wh
    # A lower count is that of a meter service that has restarted: it is followed from there.
    segment = msgspec.structs.replace(segment, serial=sample.serial or segment.serial, replacements=sample.replacements)
    if replaced:
        segment = msgspec.structs.replace(segment, first_wh=sample.energy_import_wh, base_wh=last.energy_wh, replaced=True)
    new = Reading(register_wh(segment, sample), now.moment(sample.read_boottime_s))
    return msgspec.structs.replace(transaction, segment=segment, last=new), replaced


def register_wh(segment: Segment, sample: MeterSample) -> int:
    """The transaction's register by this segment's meter, Wh."""
    return segment.base_wh + sample.energy_import_wh - segment.first_wh


def save(work: Work, connector: Connector, transaction: Transaction) -> Connector:
    """Put a changed transaction on disk, in whatever phase it is; the connector with it."""
    assert isinstance(connector.phase, Running | Stopping | Resuming)
    work.change(e.SaveTransaction(transaction))
    phase = msgspec.structs.replace(connector.phase, transaction=transaction)
    if isinstance(phase, Running):
        phase = msgspec.structs.replace(phase, saved=transaction)
    return work.put(connector, phase=phase)


def sample_and_checkpoint(work: Work, connector: Connector, phase: Running) -> None:
    """MeterValues when they are due, and what the disk has at most CHECKPOINT_S behind.

    A controller that counts anew (it restarted, or the plug came back while the transaction runs on) is a checkpoint too:
    by its old counters the plug-in would not be found again after a restart of this service. So is one that begins to
    count: the mark that is on the disk until then fits any plug-in. And so is the first reading after the meter, or this
    service, was away for long: the one that is on the disk is older than it may be. And so is the first one after the
    contactor has opened: what was charged until then is all that may ever be known of it.
    """
    now_s, seen, transaction = work.now.boottime_s, connector.seen, phase.transaction
    sample_due_s = phase.sample_due_s
    kinds = sampling.due(work, connector, transaction, sample_due_s)
    if sample_due_s is not None and sample_due_s <= now_s:
        sample_due_s = sampling.next_sample_s(transaction, work.state.settings, now_s)
    kept = connector.kept
    for kind in kinds:
        connector, transaction = sampling.take(work, connector, transaction, kind)
    taken = transaction.next_number != phase.transaction.next_number or connector.kept != kept
    counts_anew = bool(connector.plugged) and seen is not None and not same_session(transaction.mark, seen)
    begins_to_count = bool(connector.plugged) and transaction.mark == NOTHING_COUNTED != mark_of(seen)
    due = phase.checkpoint_due_s <= now_s or _is_old(phase.saved.last, transaction.last)
    due = due or _charged_before_it_opened(phase.saved.last, transaction.last, seen)
    if not (taken or counts_anew or begins_to_count or due):
        work.put(connector, phase=msgspec.structs.replace(phase, sample_due_s=sample_due_s))
        return
    if connector.plugged:
        transaction = msgspec.structs.replace(transaction, mark=mark_of(seen))
    if transaction != phase.saved:
        work.change(e.SaveTransaction(transaction))
    age_s = now_s - transaction.started_at.boottime_ms / 1000
    checkpoint_due_s = now_s + min(CHECKPOINT_S, max(CHECKPOINT_S_MIN, age_s))
    work.put(connector, phase=Running(transaction, transaction, sample_due_s, checkpoint_due_s))


def _is_old(saved: Reading, last: Reading) -> bool:
    """Whether the reading on the disk is further behind the last one than CHECKPOINT_S."""
    return saved.at.boot_id != last.at.boot_id or last.at.boottime_ms - saved.at.boottime_ms >= CHECKPOINT_S * 1000


def _charged_before_it_opened(saved: Reading, last: Reading, seen: EvseObservation | None) -> bool:
    """Whether nothing flows any more and the disk does not have all that did; a contactor that chatters waits a little."""
    behind_ms = last.at.boottime_ms - saved.at.boottime_ms
    counted = last.energy_wh > saved.energy_wh and behind_ms >= CHECKPOINT_S_MIN * 1000
    return counted and seen is not None and not seen.relay_closed


def follow_interval(work: Work) -> None:
    """MeterValueSampleInterval has changed: each running transaction is sampled at the new one from now on."""
    for connector in work.state.connectors:
        if isinstance(connector.phase, Running):
            due_s = sampling.next_sample_s(connector.phase.transaction, work.state.settings, work.now.boottime_s)
            work.put(connector, phase=msgspec.structs.replace(connector.phase, sample_due_s=due_s))


def stop(work: Work, connector: Connector, reason: Reason, *, id_tag: str | None = None, info: str = "") -> None:
    """The intent to stop: on disk before the contactor opens, unless safety opens it first."""
    transaction = connector.ongoing
    assert transaction is not None, "only an ongoing transaction can be stopped"
    if reason in OPENS_AT_ONCE:
        connector = work.withdraw_at_once(connector)
    mark = mark_of(connector.seen) if connector.plugged else transaction.mark
    intent = StopIntent(reason, work.now.moment(), id_tag, _keeps_plug(connector, reason, work.state.settings))
    sure = transaction.own if connector.seen is None else transaction.sure
    transaction = msgspec.structs.replace(transaction, stop=intent, mark=mark, sure=sure)
    work.change(e.SaveTransaction(transaction))
    work.put(connector, phase=Stopping(transaction, since_s=work.now.boottime_s, info=info))
    work.note(
        "transaction stops",
        connector_id=connector.connector_id,
        local_tx_id=transaction.local_tx_id,
        id_tag=id_tag,
        detail=str(reason),
    )


def close_with_reading(work: Work, connector: Connector, sample: MeterSample | None) -> None:
    """The outcome: StopTransaction with the register after the contactor opened, or the last trustworthy one."""
    assert isinstance(connector.phase, Stopping)
    if sample is not None:
        connector = follow(work, connector, sample)
    phase = connector.phase
    assert isinstance(phase, Stopping)
    transaction, kept = phase.transaction, connector.kept
    last = transaction_data.last_sample(transaction, sample, connector.sample)
    connector = work.put(connector, kept=())
    finished = None
    if connector.plugged is None:
        # A controller that was not heard since this process started will tell later whether the plug is still in.
        same_boot = transaction.started_at.boot_id == work.now.boot_id
        finished = _finished(transaction, transaction.mark if same_boot else SessionMark(0, 0), transaction.started_at)
        work.put(connector, phase=Resuming(finished=finished))
    elif (connector.plugged and not phase.unplugged) or _keep_locked(transaction):
        finished = _finished(transaction, mark_of(connector.seen), work.now.moment())
        work.put(connector, phase=finished)
    else:
        work.put(connector, phase=Idle())
    data = transaction_data.transaction_data(work.state.settings, transaction, kept, last)
    _close(work, transaction, data, finished)


def let_go(work: Work, connector: Connector, transaction: Transaction) -> None:
    """Energy is withdrawn, and the transaction is open here no more: without a stop, which only somebody else can know of."""
    connector = work.withdraw_at_once(connector)
    finished = None
    if connector.plugged is None:
        finished = _finished(transaction, transaction.mark, transaction.started_at)
        work.put(connector, phase=Resuming(finished=finished), kept=())
    elif connector.plugged:
        finished = _finished(transaction, mark_of(connector.seen), work.now.moment())
        work.put(connector, phase=finished, kept=())
    else:
        work.put(connector, phase=Idle(), kept=())
    work.change(e.CloseTransaction(transaction.local_tx_id, transaction.connector_id, finished, ended=False))


def close_at_last_reading(work: Work, transaction: Transaction, kept: tuple[KeptReading, ...], reason: Reason) -> None:
    """The end of a transaction whose own plug-in is gone: its last committed reading that is its own for sure.

    `reason` and that reading's time hold unless it had been told to stop before.
    """
    intent, last = transaction.stop or StopIntent(reason), transaction.own.reading
    transaction = msgspec.structs.replace(transaction, stop=intent, last=last)
    data = transaction_data.transaction_data(work.state.settings, transaction, kept, None)
    _close(work, transaction, data, None)


def same_session(mark: SessionMark, seen: EvseObservation) -> bool:
    """Whether the controller's counters have gone on from `mark`; another plug-in would have set them back.

    Choice: with a controller that counts nothing (EVSE-WB) a plug that is in is taken for the same one. A restart of this
    service takes a second; to end each session there because a car might have been exchanged meanwhile would help nobody.
    When the service is away for longer than `orphan_grace_s`, the guard looks at the plugs, and what it saw counts for more
    than counters (`recovery.py`).
    """
    return seen.session_energy_ws >= mark.energy_ws and seen.session_elapsed_s >= mark.elapsed_s


def mark_of(seen: EvseObservation | None) -> SessionMark:
    """The controller's counters now. Only meaningful while a plug is in."""
    return NOTHING_COUNTED if seen is None else SessionMark(seen.session_energy_ws, seen.session_elapsed_s)


def _keeps_plug(connector: Connector, reason: Reason, settings: Settings) -> bool:
    """Whether the plug stays held in its socket beyond the transaction; a normal end lets it go (OCPP 1.6 §4.10).

    A refused idTag: §3.5.4 and errata v4.0 3.5. The vehicle gone: as UnlockConnectorOnEVSideDisconnect has it (§9.1.33).
    """
    if reason is Reason.EV_DISCONNECTED:
        return connector.has_lock and not settings.unlock_connector_on_ev_side_disconnect
    return connector.has_lock and reason is Reason.DE_AUTHORIZED


def _keep_locked(transaction: Transaction) -> bool:
    return transaction.stop is not None and transaction.stop.keep_locked


def _finished(transaction: Transaction, mark: SessionMark, known_at: Moment) -> Finished:
    return Finished(mark, transaction.id_tag, _keep_locked(transaction), transaction.parent_id_tag, known_at)


def _close(work: Work, transaction: Transaction, data: tuple[MeterValue, ...], finished: Finished | None) -> None:
    intent = transaction.stop
    assert intent is not None, "a transaction is closed only after the intent to stop it"
    stop_message = StopTransaction(
        connector_id=transaction.connector_id,
        meter_stop_wh=transaction.last.energy_wh,
        at=intent.at or transaction.last_read_at,
        reason=intent.reason,
        id_tag=intent.id_tag,
        meter_values=data,
    )
    work.change(
        e.AppendEntry(transaction.following(stop_message)),
        e.CloseTransaction(transaction.local_tx_id, transaction.connector_id, finished),
    )
    work.note(
        "transaction ends",
        connector_id=transaction.connector_id,
        local_tx_id=transaction.local_tx_id,
        detail=f"{intent.reason}, {transaction.last.energy_wh - transaction.meter_start_wh} Wh",
        correlation_id=transaction.correlation_id,
    )
