"""The plug in a socket: who lets it go, and UnlockConnector (pure; OCPP 1.6 §4.10, §5.18, §7.46, errata v4.0 3.5, 3.85).

A plug is held while a transaction is open (`output.holds_plug`), and let go when that is closed. It is kept beyond that, until
the same idTag or one of its group is presented, where the transaction says so (`Finished.keep_locked`).

Owns: UnlockConnector and its answer, which has to wait for the lock. Does not: move a lock; a driver holds the plug before it
offers energy, and lets it go only when the contactor is open.
"""

import msgspec

from bus.messages import UnlockConnector, UnlockConnectorAnswer
from bus.vocabulary import ChargePointErrorCode, Reason, UnlockStatus, same_id_tag
from services.connectors import events as e
from services.connectors import transactions
from services.connectors.state import Connector, Finished, Resuming, Unlocking
from services.connectors.work import Work
from services.hardware.contract import EvseObservation

UNLOCK_S = 12.0
"""The contactor has to open, meterStop to be read and the lock to move; after that it counts as failed."""


def unlock(work: Work, call_id: str, request: UnlockConnector) -> None:
    """UnlockConnector: a transaction is finished first (OCPP 1.6 §5.18); then one more attempt, also of a lock that seems open.

    The answer says whether it is unlocked, so it comes when the controller has said so.
    """
    connector = work.connector(request.connector_id)
    if connector is None or not connector.has_lock:
        reason = f"connector {request.connector_id} {'is not there' if connector is None else 'has no lock'}"
        work.answer(e.Answer(call_id, UnlockConnectorAnswer(UnlockStatus.NOT_SUPPORTED, reason)))
        return
    if connector.ongoing is not None:
        transactions.stop(work, connector, Reason.UNLOCK_COMMAND)
    connector = _release(work, connector.connector_id)
    others = () if connector.unlocking is None else connector.unlocking.call_ids
    work.put(connector, unlocking=Unlocking((*others, call_id), work.now.boottime_s + UNLOCK_S))
    work.note("unlocking is commanded", connector_id=connector.connector_id)


def advance(work: Work, connector: Connector) -> None:
    """Take an UnlockConnector on as far as the facts carry it."""
    unlocking, seen = connector.unlocking, connector.seen
    if unlocking is None:
        return
    if connector.evse_failure:
        _answer(work, connector, unlocking, "the charging controller does not answer")
    elif work.now.boottime_s >= unlocking.deadline_s:
        _answer(work, connector, unlocking, "the contactor or the lock took too long")
    elif seen is None or connector.transaction is not None or seen.relay_closed:
        return
    elif unlocking.attempt is None:
        attempt = connector.unlock_attempts + 1
        work.put(connector, unlock_attempts=attempt, unlocking=msgspec.structs.replace(unlocking, attempt=attempt))
    elif seen.unlock_attempts >= unlocking.attempt:
        _answer(work, connector, unlocking, "" if _is_open(seen) else "the lock does not move")


def let_go(work: Work, id_tag: str, parent_id_tag: str | None) -> bool:
    """Whether this idTag, presented, lets a plug go that was kept for it (OCPP 1.6 §3.5.4, §4.10, errata v4.0 3.5).

    Choice: at a lock that jammed as its session ended it means the plug too, not another session: the lock is tried again.
    """
    for connector in work.state.connectors:
        finished = connector.finished
        if finished is None or not _is_of(finished, id_tag, parent_id_tag):
            continue
        if finished.keep_locked:
            _release(work, connector.connector_id)
            work.note("plug is let go for its holder", connector_id=connector.connector_id, id_tag=id_tag)
            return True
        if isinstance(connector.phase, Finished) and connector.has_lock and _is_jammed(connector.seen):
            unlocking = connector.unlocking or Unlocking((), work.now.boottime_s + UNLOCK_S)
            work.put(connector, unlocking=unlocking)
            work.note("lock jams, it is tried again for the plug's holder", connector_id=connector.connector_id, id_tag=id_tag)
            return True
    return False


def _is_of(finished: Finished, id_tag: str, parent_id_tag: str | None) -> bool:
    own = finished.id_tag is not None and same_id_tag(finished.id_tag, id_tag)
    return own or (finished.parent_id_tag is not None and same_id_tag(finished.parent_id_tag, parent_id_tag or ""))


def cancelled(work: Work, call_id: str) -> None:
    """The caller waits no longer. The lock is tried all the same: whoever stands there waits for his cable."""
    for connector in work.state.connectors:
        unlocking = connector.unlocking
        if unlocking is not None and call_id in unlocking.call_ids:
            others = tuple(other for other in unlocking.call_ids if other != call_id)
            work.put(connector, unlocking=msgspec.structs.replace(unlocking, call_ids=others))


def _release(work: Work, connector_id: int) -> Connector:
    """A plug that is kept is kept no longer; the connector with it."""
    connector = work.connector(connector_id)
    assert connector is not None, "it was found before"
    finished = connector.finished
    if finished is None or not finished.keep_locked:
        return connector
    released = msgspec.structs.replace(finished, keep_locked=False)
    work.change(e.SaveFinished(connector_id, released))
    phase = Resuming(finished=released) if isinstance(connector.phase, Resuming) else released
    assert isinstance(phase, Finished | Resuming), "nobody starts where a plug is kept"
    return work.put(connector, phase=phase)


def _is_open(seen: EvseObservation) -> bool:
    return seen.locked is False and not _is_jammed(seen)


def _is_jammed(seen: EvseObservation | None) -> bool:
    faults = () if seen is None else seen.faults
    return any(fault.error_code is ChargePointErrorCode.CONNECTOR_LOCK_FAILURE for fault in faults)


def _answer(work: Work, connector: Connector, unlocking: Unlocking, reason: str) -> None:
    status = UnlockStatus.UNLOCK_FAILED if reason else UnlockStatus.UNLOCKED
    for call_id in unlocking.call_ids:
        work.answer(e.Answer(call_id, UnlockConnectorAnswer(status, reason)))
    work.put(connector, unlocking=None)
    work.note("unlocking ends", connector_id=connector.connector_id, detail=reason or str(status), warning=bool(reason))
