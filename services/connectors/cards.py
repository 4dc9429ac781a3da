"""Who may charge where: cards, RemoteStart, RemoteStop, Reset (pure; OCPP 1.6 §3.5, §4.1, §5.11, §5.12, §5.14).

Owns: authorizations that wait, questions to the Central System, which connector a card means. Does not: open or close
transactions (`transactions.py`).
"""

from bus.messages import (
    IdTagInfo,
    RemoteStartStopAnswer,
    RemoteStartTransaction,
    RemoteStopTransaction,
    Reset,
    ResetAnswer,
)
from bus.vocabulary import (
    CHARGE_POINT,
    AuthorizationStatus,
    Reason,
    RemoteStartStopStatus,
    ResetStatus,
    same_id_tag,
)
from services.connectors import events as e
from services.connectors import transactions
from services.connectors.state import Asked, Connector, Finished, Idle, Running, Starting, State, Waiting
from services.connectors.status import healthy
from services.connectors.work import Work

ASKED_MAX = 8
"""Authorize questions under way at once; more cards than that are refused."""


def presented(work: Work, id_tag: str) -> None:
    """A card counts as presented: it stops its transaction, takes back its waiting, or asks for a start."""
    state = work.state
    for connector in state.connectors:
        match connector.phase:
            case Running(transaction=transaction) if same_id_tag(transaction.id_tag, id_tag):
                transactions.stop(work, connector, Reason.LOCAL, id_tag=id_tag)
                return
            case Starting(waiting=waiting) if same_id_tag(waiting.id_tag, id_tag):
                work.change(e.DropWaiting(waiting.waiting_id))
                work.put(connector, phase=Idle())
                work.note("second presentation of the card takes the start back", id_tag=id_tag)
                return
    for waiting in state.waiting:
        if same_id_tag(waiting.id_tag, id_tag):
            # OCPP 1.6 §4.9, B1: the second presentation ends the intended usage.
            work.drop_waiting(waiting)
            work.note("second presentation of the card takes the authorization back", id_tag=id_tag)
            return
    if any(same_id_tag(asked.id_tag, id_tag) for asked in state.asked):
        work.note("card presented again while the Central System is asked about it", id_tag=id_tag)
        return
    if not _useful(state):
        work.note("card refused, no connector can begin a session now", id_tag=id_tag)
        return
    _ask(work, id_tag, None)


def answered(work: Work, token: str, info: IdTagInfo | None) -> None:
    """The Central System, or its silence, has spoken about an idTag."""
    asked = next((a for a in work.state.asked if a.token == token), None)
    if asked is None:
        return
    work.set(asked=tuple(a for a in work.state.asked if a.token != token))
    _decide(work, asked, info if info is not None else offline_decision(work.state))


def offline_decision(state: State) -> IdTagInfo:
    """What an idTag is worth that nobody can be asked about (OCPP 1.6 §3.5.4)."""
    if state.settings.allow_offline_tx_for_unknown_id:
        return IdTagInfo(AuthorizationStatus.ACCEPTED)
    return IdTagInfo(AuthorizationStatus.INVALID)


def remote_start(work: Work, call_id: str, request: RemoteStartTransaction) -> None:
    """RemoteStartTransaction: the answer goes out at once, the authorization and the start follow (OCPP 1.6 §5.11)."""
    reason = _refusal(work.state, request)
    if reason:
        work.answer(e.Answer(call_id, RemoteStartStopAnswer(RemoteStartStopStatus.REJECTED, reason)))
        return
    connector_id = request.connector_id or choose_connector(work.state)
    waiting = Waiting(
        waiting_id=work.fresh_id(),
        id_tag=request.id_tag,
        deadline_s=work.now.boottime_s + work.state.settings.connection_time_out_s,
        boot_id=work.now.boot_id,
        connector_id=connector_id,
        confirmed=not work.state.settings.authorize_remote_tx_requests,
        call_id=call_id,
    )
    work.add_waiting(waiting)
    work.answer(e.Answer(call_id, RemoteStartStopAnswer(RemoteStartStopStatus.ACCEPTED)))
    if not waiting.confirmed:
        _ask(work, waiting.id_tag, waiting.waiting_id)


def remote_stop(work: Work, call_id: str, request: RemoteStopTransaction) -> None:
    """RemoteStopTransaction: only for the transaction that has this id now (OCPP 1.6 §5.12)."""
    for connector in work.state.connectors:
        match connector.phase:
            case Running(transaction=transaction) if transaction.transaction_id == request.transaction_id:
                transactions.stop(work, connector, Reason.REMOTE)
                work.answer(e.Answer(call_id, RemoteStartStopAnswer(RemoteStartStopStatus.ACCEPTED)))
                return
    reason = f"no transaction with id {request.transaction_id} is running here"
    work.answer(e.Answer(call_id, RemoteStartStopAnswer(RemoteStartStopStatus.REJECTED, reason)))


def cancelled(work: Work, call_id: str) -> None:
    """The caller was told of a failure: a start that has not begun must not begin any more."""
    for waiting in work.state.waiting:
        if waiting.call_id == call_id:
            work.drop_waiting(waiting)
            work.note("remote start taken back, its answer came too late", id_tag=waiting.id_tag, warning=True)
    for connector in work.state.connectors:
        match connector.phase:
            case Starting(waiting=waiting) if waiting.call_id == call_id:
                work.change(e.DropWaiting(waiting.waiting_id))
                work.put(connector, phase=Idle())


def reset(work: Work, call_id: str, request: Reset) -> None:
    """Reset: answer, then stop what runs; the link restarts the station when all has stopped (OCPP 1.6 §5.14)."""
    work.set(resetting=request.type)
    work.answer(e.Answer(call_id, ResetAnswer(ResetStatus.ACCEPTED)))
    work.note("Reset: transactions are stopped, no new ones begin", detail=str(request.type), warning=True)
    for waiting in work.state.waiting:
        work.drop_waiting(waiting)


def ask_for_remote_starts(work: Work) -> None:
    """Remote starts that a restart of this process left unasked are asked for now."""
    under_way = {asked.waiting_id for asked in work.state.asked}
    for waiting in work.state.waiting:
        if not waiting.confirmed and waiting.waiting_id not in under_way:
            _ask(work, waiting.id_tag, waiting.waiting_id)


def authorized_for(state: State, connector: Connector) -> Waiting | None:
    """The confirmed authorization that a plugged connector may start with: its own, else the oldest unbound one."""
    confirmed = [w for w in state.waiting if w.confirmed]
    own = [w for w in confirmed if w.connector_id == connector.connector_id]
    unbound = [w for w in confirmed if w.connector_id is None]
    return next(iter(own or unbound), None)


def choose_connector(state: State) -> int | None:
    """Which connector a card means: the free one that was plugged in last, else the only free one, else None (any)."""
    free = [c for c in state.connectors if is_free(state, c)]
    plugged = sorted((c for c in free if c.plugged), key=lambda c: c.plugged_since_s)
    if plugged:
        return plugged[-1].connector_id
    return free[0].connector_id if len(free) == 1 else None


def is_free(state: State, connector: Connector) -> bool:
    """Whether a session may begin on this connector: no transaction, healthy. Finishing counts as free (field report 26)."""
    return isinstance(connector.phase, Idle | Finished) and healthy(state, connector)


def _useful(state: State) -> bool:
    """Whether asking about a card can lead to anything: a start, or a stop by the same parent."""
    if state.resetting is not None or state.emergency_stop or len(state.asked) >= ASKED_MAX:
        return False
    return any(is_free(state, c) or isinstance(c.phase, Running) for c in state.connectors)


def _refusal(state: State, request: RemoteStartTransaction) -> str:
    """Why a remote start is rejected, in plain words; empty: it is not."""
    if state.resetting is not None:
        return "a Reset is under way"
    if request.connector_id == CHARGE_POINT:
        return "connector 0 can't charge"
    if not any(is_free(state, c) for c in state.connectors):
        return "no connector is free"
    if request.connector_id is None:
        taken = {w.connector_id for w in state.waiting}
        if all(c.connector_id in taken for c in state.connectors if is_free(state, c)):
            return "an authorization waits on every free connector already"
        return ""
    if request.connector_id > len(state.connectors):
        return f"there is no connector {request.connector_id}"
    connector = state.connectors[request.connector_id - 1]
    if not is_free(state, connector):
        return f"connector {request.connector_id} is busy or faulted"
    if any(w.connector_id == request.connector_id for w in state.waiting):
        return f"an authorization waits on connector {request.connector_id} already"
    return ""


def _ask(work: Work, id_tag: str, waiting_id: str | None) -> None:
    """Ask the Central System; offline, decide at once."""
    asked = Asked(work.fresh_id(), id_tag, waiting_id)
    if not work.state.ever_accepted and not work.state.settings.charge_before_first_acceptance:
        # Errata v4.0 3.11: a station that was never accepted denies all charging, unless its owner wants otherwise.
        work.note("card refused, no Central System has ever accepted this station", id_tag=id_tag, warning=True)
        _decide(work, asked, IdTagInfo(AuthorizationStatus.INVALID))
    elif work.state.online:
        work.set(asked=(*work.state.asked, asked))
        work.ask(e.AskAuthorize(asked.token, id_tag))
    else:
        _decide(work, asked, offline_decision(work.state))


def _decide(work: Work, asked: Asked, info: IdTagInfo) -> None:
    accepted = info.status is AuthorizationStatus.ACCEPTED
    if asked.waiting_id is not None:
        _decide_remote(work, asked, info, accepted)
    elif not accepted:
        work.note("card refused", id_tag=asked.id_tag, detail=str(info.status))
    elif not _stop_by_parent(work, asked.id_tag, info.parent_id_tag):
        _accept_card(work, asked.id_tag, info.parent_id_tag)


def _decide_remote(work: Work, asked: Asked, info: IdTagInfo, accepted: bool) -> None:
    waiting = next((w for w in work.state.waiting if w.waiting_id == asked.waiting_id), None)
    if waiting is None:
        return
    if not accepted:
        work.drop_waiting(waiting)
        work.note("remote start ends, its idTag is refused", id_tag=waiting.id_tag, detail=str(info.status))
        return
    deadline_s = work.now.boottime_s + work.state.settings.connection_time_out_s
    work.add_waiting(
        Waiting(
            waiting_id=waiting.waiting_id,
            id_tag=waiting.id_tag,
            deadline_s=deadline_s,
            boot_id=waiting.boot_id,
            connector_id=waiting.connector_id,
            parent_id_tag=info.parent_id_tag,
            call_id=waiting.call_id,
        )
    )


def _stop_by_parent(work: Work, id_tag: str, parent_id_tag: str | None) -> bool:
    """A card of the same group stops the transaction (OCPP 1.6 §4.10)."""
    if parent_id_tag is None:
        return False
    for connector in work.state.connectors:
        match connector.phase:
            case Running(transaction=transaction) if transaction.parent_id_tag is not None:
                if same_id_tag(transaction.parent_id_tag, parent_id_tag):
                    transactions.stop(work, connector, Reason.LOCAL, id_tag=id_tag)
                    return True
    return False


def _accept_card(work: Work, id_tag: str, parent_id_tag: str | None) -> None:
    if work.state.resetting is not None or not any(is_free(work.state, c) for c in work.state.connectors):
        work.note("card accepted, but it belongs to no running transaction and no connector is free", id_tag=id_tag)
        return
    connector_id = choose_connector(work.state)
    replaced = [w for w in work.state.waiting if w.connector_id == connector_id]
    free = sum(1 for c in work.state.connectors if is_free(work.state, c))
    if connector_id is None and len(replaced) < free:
        replaced = []
    for waiting in replaced[:1]:
        work.drop_waiting(waiting)
        work.note("authorization replaced by another card", id_tag=waiting.id_tag)
    work.add_waiting(
        Waiting(
            waiting_id=work.fresh_id(),
            id_tag=id_tag,
            deadline_s=work.now.boottime_s + work.state.settings.connection_time_out_s,
            boot_id=work.now.boot_id,
            connector_id=connector_id,
            parent_id_tag=parent_id_tag,
        )
    )
    work.note("card accepted", id_tag=id_tag, connector_id=connector_id)
