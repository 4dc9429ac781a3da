"""What the disk knew at the start, and what becomes of it once the hardware has spoken (pure; design §2).

A transaction of this hardware boot waits for the controller to say whether the plug-in is still the same: then it is resumed,
neither stopped nor started. Of an earlier boot it ended with the power, and is closed before any contactor may close.

A plug-in is the same one if the controller's counters have gone on, unless the guard has seen the plug out since, or the
controller could not say for too long whether it is in: counters that stand at nothing, as early in a session or of a
controller that has none, would fit any plug-in.

Owns: these decisions. Does not: read the disk (`store.py`).
"""

import msgspec

from bus.messages import IdTagInfo, Moment
from bus.vocabulary import CHARGE_POINT, Reason
from services.connectors import events as e
from services.connectors import reservations, transactions, unseen
from services.connectors.open_transaction import KeptReading, StopIntent, Transaction
from services.connectors.plug_in import PlugFaults, SavePlugFaults
from services.connectors.state import (
    Availability,
    Connector,
    Finished,
    Idle,
    LocalList,
    Reservation,
    Resuming,
    Starting,
    Stopping,
    Waiting,
)
from services.connectors.work import Work
from services.hardware.contract import EvseObservation


class Loaded(msgspec.Struct, frozen=True):
    """What the disk knew at the start."""

    transactions: tuple[Transaction, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    finished: dict[int, Finished] = {}
    faults: dict[int, PlugFaults] = {}
    ever_accepted: bool = False
    availability: dict[int, Availability] = {}
    cache: dict[str, IdTagInfo] = {}
    kept: dict[str, tuple[KeptReading, ...]] = {}
    """Readings for transactionData, by transaction."""
    local_list: LocalList = LocalList()
    reservations: tuple[Reservation, ...] = ()
    ended_boot_id: str = ""
    """The hardware boot in which the last process ended in good order while a transaction was open."""
    unplugged_s: dict[int, float] = {}
    """By connector, the boottime of this boot at which the guard saw its plug out."""


def take_up(work: Work, loaded: Loaded) -> None:
    """Make facts of what the disk knew."""
    of_charge_point = loaded.availability.get(CHARGE_POINT, Availability())
    work.set(ever_accepted=loaded.ever_accepted, availability=of_charge_point, cache=loaded.cache)
    work.set(local_list=loaded.local_list)
    for known in work.state.connectors:
        number = known.connector_id
        availability = loaded.availability.get(number, Availability())
        unplugged_s = loaded.unplugged_s.get(number)
        work.put(known, availability=availability, unplugged_s=unplugged_s, unseen_since_s=work.now.boottime_s)
    reservations.take_up(work, loaded.reservations)
    for connector_id, finished in loaded.finished.items():
        connector = work.connector(connector_id)
        if connector is not None:
            work.put(connector, phase=Resuming(finished=finished))
    for connector_id, faults in loaded.faults.items():
        connector = work.connector(connector_id)
        if connector is not None and faults.boot_id == work.now.boot_id:
            work.put(connector, faults=faults)
        else:
            work.change(SavePlugFaults(connector_id, None))
    for transaction in loaded.transactions:
        _take_up_transaction(work, transaction, loaded)
    if loaded.ended_boot_id:
        work.change(e.SaveEnded(""))
    for waiting in loaded.waiting:
        if waiting.boot_id == work.now.boot_id and waiting.unanswered_since_s is None:
            work.set(waiting=(*work.state.waiting, waiting))
            continue
        work.change(e.DropWaiting(waiting.waiting_id))
        if waiting.boot_id == work.now.boot_id:
            # Nobody knows whether its Accepted went out. If not, the Central System was told of a failure, and the call was
            # taken back while nobody was there to hear it: nothing may begin because of it any more (design §3).
            work.note("remote start forgotten, it may never have been answered", id_tag=waiting.id_tag, warning=True)


def end(work: Work) -> None:
    """This process ends in good order. If the board goes down now with a transaction open, it was a reboot (§7.36)."""
    if any(connector.transaction is not None for connector in work.state.connectors):
        work.change(e.SaveEnded(work.now.boot_id))


def resolve(work: Work, connector: Connector, phase: Resuming, seen: EvseObservation) -> None:
    """The hardware has spoken for the first time: is it the same plug-in?"""
    if phase.transaction is not None:
        _resolve_transaction(work, connector, phase.transaction, seen)
        return
    finished = phase.finished
    assert finished is not None, "Resuming is of a transaction or of a finished one"
    known_at = finished.known_at
    was_out = known_at is not None and _was_out(connector, known_at, work.now.boot_id)
    if finished.keep_locked or (connector.plugged and transactions.same_session(finished.mark, seen) and not was_out):
        work.put(connector, phase=finished)
    else:
        work.change(e.DropFinished(connector.connector_id))
        work.put(connector, phase=Idle())


def _take_up_transaction(work: Work, transaction: Transaction, loaded: Loaded) -> None:
    kept = loaded.kept.get(transaction.local_tx_id, ())
    connector = work.connector(transaction.connector_id)
    power_failed = transaction.started_at.boot_id != work.now.boot_id
    reason = _power_reason(transaction, loaded.ended_boot_id) if power_failed else Reason.OTHER
    fields = {"connector_id": transaction.connector_id, "local_tx_id": transaction.local_tx_id}
    if power_failed and transaction.cut_off_at is None:
        transaction = msgspec.structs.replace(transaction, cut_off_at=transaction.last_read_at)
    if connector is None or connector.transaction is not None:
        work.note("open transaction of a connector that is not there is closed at its last reading", warning=True, **fields)
        transactions.close_at_last_reading(work, transaction, kept, reason)
        return
    connector = work.put(connector, kept=kept, correlation_id=transaction.correlation_id)
    if transaction.sure is not None and not power_failed:
        # Nobody saw the plug any more when the last process ended.
        connector = work.put(connector, unseen_since_s=transaction.sure.at.boottime_ms / 1000)
    if power_failed:
        work.note("transaction was running when the board went down, it is closed", detail=str(reason), warning=True, **fields)
        stopped = msgspec.structs.replace(transaction, stop=transaction.stop or StopIntent(reason))
        stopped = unseen.ended(stopped, power_failed=True)
        work.change(e.SaveTransaction(stopped))
        # The power cut has opened the contactor long ago: the reading may be taken at once, and before it closes again.
        connector = work.withdraw_at_once(connector)
        work.put(connector, phase=Stopping(stopped, since_s=work.now.boottime_s - transactions.CONTACTOR_S))
    elif transaction.stop is not None:
        work.note("stop of the transaction goes on after a restart", **fields)
        # Until the controller is heard all since the last reading on the disk may be another plug-in's.
        doubted = msgspec.structs.replace(transaction, sure=transaction.own)
        work.put(connector, phase=Stopping(doubted, since_s=work.now.boottime_s))
    else:
        work.put(connector, phase=Resuming(transaction))


def _power_reason(transaction: Transaction, ended_boot_id: str) -> Reason:
    """PowerLoss is a complete loss of power, Reboot one that was wanted here (OCPP 1.6 §7.36): it tells services to end."""
    return Reason.REBOOT if ended_boot_id == transaction.started_at.boot_id else Reason.POWER_LOSS


def _resolve_transaction(work: Work, connector: Connector, transaction: Transaction, seen: EvseObservation) -> None:
    fields = {"connector_id": connector.connector_id, "local_tx_id": transaction.local_tx_id}
    was_out = _was_out(connector, transaction.last.at, work.now.boot_id) or _was_unseen(connector, transaction)
    if transactions.same_session(transaction.mark, seen) and not was_out:
        work.note("transaction resumes after a restart of this service", **fields)
        transaction = msgspec.structs.replace(transaction, sure=None)
        # Whether or not anything has changed: a disk that could not take the end of it must not give energy again.
        work.change(e.SaveTransaction(transaction))
        connector = work.put(connector, phase=transactions.running(transaction, work.state.settings, work.now))
        if connector.sample is not None:
            # It came before the controller was heard, and is the register of all that is told from now on.
            transactions.follow(work, connector, connector.sample)
        return
    detail = "the plug was seen out, or could not be seen for too long" if was_out else "the controller counts anew"
    text = "another plug-in meanwhile, the old transaction is closed at its last committed reading"
    work.note(text, detail=detail, warning=True, **fields)
    connector = work.withdraw_at_once(connector)
    transactions.close_at_last_reading(work, transaction, connector.kept, Reason.EV_DISCONNECTED)
    work.put(connector, phase=Idle(), kept=())


def is_another_plug(connector: Connector, transaction: Transaction, boot_id: str) -> bool:
    """Whether what is plugged in is not the plug of a transaction whose stop goes on: its intent or the counters tell.

    Choice: after a power cut a plug that is in is taken for that of the transaction which ended with it, as most cars wait for
    the power where they are, and nobody's card shall pay for a car that has been there all night.
    """
    seen, stop = connector.seen, transaction.stop
    if not connector.plugged or seen is None or stop is None:
        return False
    if stop.reason is Reason.EV_DISCONNECTED:
        return True
    if transaction.started_at.boot_id != boot_id or stop.at is None:
        return False
    return not transactions.same_session(transaction.mark, seen) or _was_out(connector, stop.at, boot_id)


def follow_restart(work: Work, connector: Connector, new: EvseObservation) -> Connector:
    """A controller that has restarted counts anew, and the plug is still the same (`observations.missed_unplugging`).

    What has ended, or is about to, is found again by what it counts from now on, after a restart of this service too.
    """
    seen, mark, finished = connector.seen, transactions.mark_of(new), connector.finished
    if seen is None or not connector.plugged or new.plugged is False or new.boots <= seen.boots:
        return connector
    connector = work.remember(connector, msgspec.structs.replace(connector.faults, mark=mark))
    match connector.phase:
        case Stopping(transaction=transaction, unplugged=False):
            return transactions.save(work, connector, msgspec.structs.replace(transaction, mark=mark))
        case Finished() | Starting() as phase if finished is not None:
            finished = msgspec.structs.replace(finished, mark=mark)
            work.change(e.SaveFinished(connector.connector_id, finished))
            starting = isinstance(phase, Starting)
            return work.put(connector, phase=msgspec.structs.replace(phase, finished=finished) if starting else finished)
    return connector


def _was_out(connector: Connector, known_at: Moment, boot_id: str) -> bool:
    """Whether what is plugged in now is not what was at `known_at`, as the plug was seen out, or not seen for long, after that.

    A moment of another boot was before all of this one. Choice: a plug that is still out is no other plug-in. Its transaction
    ends with a reading of now, as the guard has kept energy withdrawn; or goes on, if StopTransactionOnEVSideDisconnect is
    false. One that is in again ends it in that case too: nobody saw whose it is, as where the controller counts anew.
    """
    if not connector.plugged or connector.unplugged_s is None:
        return False
    return known_at.boot_id != boot_id or known_at.boottime_ms < connector.unplugged_s * 1000


def _was_unseen(connector: Connector, transaction: Transaction) -> bool:
    """Whether the plug was seen out, or not for long, after the controller had fallen silent; wherever it is now."""
    sure, unplugged_s = transaction.sure, connector.unplugged_s
    return sure is not None and unplugged_s is not None and sure.at.boottime_ms < unplugged_s * 1000
