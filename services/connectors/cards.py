"""Who may charge where: cards, RemoteStart, RemoteStop, Reset (pure; OCPP 1.6 §3.10, §4.1, §5.11, §5.12, §5.14).

Owns: authorizations that wait, questions to the Central System, which connector a card means. Does not: say what an idTag is
worth (`authorization.py`), open or close transactions (`transactions.py`).
"""

import msgspec

from bus.card_messages import CardAnswered, CardOutcome
from bus.messages import (
    RemoteStartStopAnswer,
    RemoteStartTransaction,
    RemoteStopTransaction,
    Reset,
    ResetAnswer,
)
from bus.vocabulary import (
    CHARGE_POINT,
    Reason,
    RemoteStartStopStatus,
    ResetStatus,
    same_id_tag,
)
from services.connectors import authorization, locks, reservations, transactions
from services.connectors import events as e
from services.connectors.authorization import Worth
from services.connectors.state import Asked, Connector, Finished, Idle, Starting, State, Waiting
from services.connectors.status import connector_status, may_begin, reservation_of
from services.connectors.work import Work

ANSWERED_S = 0.5
"""A process that lives so long after a step has sent what it had to say in it."""
HELD_S_MAX = 60.0
"""Nobody holds a card to the reader for longer."""
ASKED_MAX = 8
"""Authorize questions under way at once; more cards than that are refused."""
RESET_S_MAX = 120.0
"""A Reset that has not ended this process by then did not happen: sessions are possible again."""


def presented(work: Work, id_tag: str, *, maybe_held: bool) -> None:
    """A card counts as presented: it stops its transaction, takes back its waiting, or asks for a start.

    `maybe_held`: the rfid service was started anew a moment ago, and a card that lies on the reader counts only once.
    """
    state = work.state
    before = state.presented
    work.set(presented=(id_tag, work.now.boottime_s))
    if maybe_held and before is not None and same_id_tag(before[0], id_tag) and work.now.boottime_s - before[1] < HELD_S_MAX:
        work.note("card still lies on the reader, which was started anew; it counts once", id_tag=id_tag)
        return
    for connector in state.connectors:
        if connector.ongoing is not None and same_id_tag(connector.ongoing.id_tag, id_tag):
            transactions.stop(work, connector, Reason.LOCAL, id_tag=id_tag)
            tell(work, id_tag, CardOutcome.ACCEPTED)
            return
    if locks.let_go(work, id_tag, None):
        tell(work, id_tag, CardOutcome.ACCEPTED)
        return
    for waiting in all_waiting(state):
        if same_id_tag(waiting.id_tag, id_tag):
            # OCPP 1.6 §4.9, B1: the second presentation ends the intended usage.
            drop_waiting(work, waiting)
            work.note("second presentation of the card takes the authorization back", id_tag=id_tag)
            # Choice: whoever presents a card twice by mistake has to learn that nobody may charge with it now.
            tell(work, id_tag, CardOutcome.REFUSED)
            return
    if any(same_id_tag(asked.id_tag, id_tag) for asked in state.asked):
        work.note("card presented again while the Central System is asked about it", id_tag=id_tag)
        tell(work, id_tag, CardOutcome.WAIT)
        return
    useless = _useless(state, id_tag)
    if useless:
        work.note("card refused, no connector can begin or end a session now", id_tag=id_tag, detail=useless)
        tell(work, id_tag, CardOutcome.REFUSED)
        return
    _ask(work, id_tag, None)


def answered(work: Work, event: e.AuthorizeAnswered) -> None:
    """The Central System, or its silence, has spoken about an idTag. What comes too late to decide is remembered too."""
    asked = next((a for a in work.state.asked if a.token == event.token), None)
    authorization.remember(work, asked.id_tag if asked is not None else event.id_tag, event.info)
    if asked is None:
        return
    work.set(asked=tuple(a for a in work.state.asked if a.token != event.token))
    if event.info is not None:
        _decide(work, asked, authorization.by_central_system(event.info))
    else:
        _decide(work, asked, _locally(work, asked.id_tag))


def link_lost(work: Work) -> None:
    """Offline: nobody will answer any more, so those who wait at the reader need not wait either (OCPP 1.6 §3.5)."""
    for asked in work.state.asked:
        answered(work, e.AuthorizeAnswered(asked.token, None))


def remote_start(work: Work, call_id: str, request: RemoteStartTransaction) -> None:
    """RemoteStartTransaction: the answer goes out at once, the authorization and the start follow (OCPP 1.6 §5.11)."""
    parent_id_tag = authorization.parent_of(work.state, request.id_tag, work.now)
    usable = _usable(work.state, request.id_tag, parent_id_tag)
    meant = [c for c in usable if request.connector_id in (None, c.connector_id)]
    # The Central System is asked for the group where only that may give the right to a connector (OCPP 1.6 §5.13).
    group_decides = not meant and parent_id_tag is None
    usable = _usable_by_group(work.state, request.id_tag) if group_decides else usable
    reason = _refusal(work.state, request, usable, parent_id_tag)
    if reason:
        work.answer(e.Answer(call_id, RemoteStartStopAnswer(RemoteStartStopStatus.REJECTED, reason)))
        return
    connector_id = request.connector_id or choose_connector(work.state, request.id_tag, usable)
    waiting = Waiting(
        waiting_id=work.fresh_id(),
        id_tag=request.id_tag,
        deadline_s=work.now.boottime_s + work.state.settings.connection_time_out_s,
        boot_id=work.now.boot_id,
        connector_id=connector_id,
        confirmed=not work.state.settings.authorize_remote_tx_requests and not group_decides,
        parent_id_tag=parent_id_tag,
        call_id=call_id,
        unanswered_since_s=work.now.boottime_s,
        correlation_id=_begun_with(work, connector_id),
    )
    work.add_waiting(waiting)
    _correlate(work, waiting)
    work.answer(e.Answer(call_id, RemoteStartStopAnswer(RemoteStartStopStatus.ACCEPTED)))
    if not waiting.confirmed:
        _ask(work, waiting.id_tag, waiting.waiting_id)


def note_answered(work: Work) -> None:
    """This process has lived on after its answers: they are out, and a restart has to stand by them."""
    for waiting in work.state.waiting:
        since_s = waiting.unanswered_since_s
        if since_s is not None and since_s + ANSWERED_S <= work.now.boottime_s:
            answered = msgspec.structs.replace(waiting, unanswered_since_s=None)
            work.set(waiting=tuple(answered if w is waiting else w for w in work.state.waiting))
            work.change(e.SaveWaiting(answered))


def remote_stop(work: Work, call_id: str, request: RemoteStopTransaction) -> None:
    """RemoteStopTransaction: only for the transaction that has this id now (OCPP 1.6 §5.12).

    Any integer is an id, 0 and negative ones too (errata v4.0 3.54). One that stops already "will be stopped": Accepted.
    """
    for connector in work.state.connectors:
        if connector.transaction is not None and connector.transaction.transaction_id == request.transaction_id:
            work.answer(e.Answer(call_id, RemoteStartStopAnswer(RemoteStartStopStatus.ACCEPTED)))
            if connector.ongoing is not None:
                transactions.stop(work, connector, Reason.REMOTE)
            return
    reason = f"no transaction with id {request.transaction_id} is running here"
    work.answer(e.Answer(call_id, RemoteStartStopAnswer(RemoteStartStopStatus.REJECTED, reason)))


def cancelled(work: Work, call_id: str) -> None:
    """The caller was told of a failure: a start that has not begun must not begin any more."""
    for waiting in all_waiting(work.state):
        if waiting.call_id == call_id:
            drop_waiting(work, waiting)
            work.note("remote start taken back, its answer came too late", id_tag=waiting.id_tag, warning=True)


def reset(work: Work, call_id: str, request: Reset) -> None:
    """Reset: answer, then stop what runs; the link restarts the station when all has stopped (OCPP 1.6 §5.14)."""
    work.set(resetting=request.type, reset_until_s=work.now.boottime_s + RESET_S_MAX)
    work.answer(e.Answer(call_id, ResetAnswer(ResetStatus.ACCEPTED)))
    work.note("Reset: transactions are stopped, no new ones begin", detail=str(request.type), warning=True)
    drop_all_waiting(work, "a Reset is under way")


def drop_waiting(work: Work, waiting: Waiting) -> None:
    """An authorization waits no longer, nor for the reading of a start that it began."""
    work.drop_waiting(waiting)
    for connector in work.state.connectors:
        if isinstance(connector.phase, Starting) and connector.phase.waiting.waiting_id == waiting.waiting_id:
            work.put(connector, phase=connector.phase.finished or Idle())


def drop_all_waiting(work: Work, why: str, *, of: Connector | None = None) -> None:
    """Nobody's authorization outlives a Reset or an emergency stop, nor one `of` this connector the unlocking of its plug.

    Nor does a card that the Central System is still asked about: its answer is remembered, and does nothing any more.
    """
    before = work.state
    for waiting in all_waiting(before):
        if of is None or _is_of(waiting, of):
            drop_waiting(work, waiting)
            work.note(f"authorization ends, {why}", id_tag=waiting.id_tag, connector_id=waiting.connector_id)
    for asked in before.asked:
        if asked.waiting_id is None and (of is None or _likely_connector(before, asked.id_tag) == of.connector_id):
            work.set(asked=tuple(other for other in work.state.asked if other.token != asked.token))
            work.note(f"authorization ends, {why}", id_tag=asked.id_tag, correlation_id=asked.correlation_id)
            tell(work, asked.id_tag, CardOutcome.REFUSED)


def _is_of(waiting: Waiting, connector: Connector) -> bool:
    """Whether an authorization waits for this connector, or is about to begin there."""
    begins = isinstance(connector.phase, Starting) and connector.phase.waiting == waiting
    return begins or waiting.connector_id == connector.connector_id


def tell(work: Work, id_tag: str, outcome: CardOutcome) -> None:
    """Say it to whoever holds the card to the reader; of a remote start nobody stands there."""
    work.tell(e.TellCard(CardAnswered(id_tag, outcome)))


def ask_for_remote_starts(work: Work) -> None:
    """Remote starts that a restart of this process left unasked are asked for now."""
    under_way = {asked.waiting_id for asked in work.state.asked}
    for waiting in work.state.waiting:
        if not waiting.confirmed and waiting.waiting_id not in under_way:
            _ask(work, waiting.id_tag, waiting.waiting_id)


def authorized_for(state: State, connector: Connector) -> Waiting | None:
    """The confirmed authorization that a plugged connector may start with: its own, else the oldest unbound one.

    A connector whose own one is not confirmed yet is no longer there for the unbound ones. Nor is one in Finishing: the plug
    in it is that of a vehicle which has charged, or was left there, and which they do not pay for (errata v4.0 3.20).
    """
    own = [w for w in state.waiting if w.connector_id == connector.connector_id]
    unbound = [] if isinstance(connector.phase, Finished) else [w for w in state.waiting if w.connector_id is None]
    candidates = own or unbound
    return next((w for w in candidates if w.confirmed and _may_use(state, connector, w.id_tag, w.parent_id_tag)), None)


def choose_connector(state: State, id_tag: str, free: list[Connector]) -> int | None:
    """Which of the connectors that are free for it an idTag means that names none; None: whichever is plugged in next.

    The one that is reserved for it, where nobody else's vehicle is paid for. The plug that came in last without a session;
    else the one whose session this idTag has just ended; else one to plug into. A connector that finishes with somebody
    else's vehicle in it comes last, so that nobody pays for that vehicle while he walks to his own (the reason for errata
    v4.0 3.20); as the only choice it is taken (field reports 26, 43).
    """
    taken = {w.connector_id for w in state.waiting}
    free = [c for c in free if c.connector_id not in taken] or free
    free = [c for c in free if reservation_of(state, c.connector_id) is not None] or free
    idle = [c for c in free if isinstance(c.phase, Idle)]
    plugged = [c for c in idle if c.plugged]
    if plugged:
        return max(plugged, key=lambda c: c.plugged_since_s).connector_id
    for connector in free:
        if isinstance(connector.phase, Finished) and same_id_tag(connector.phase.id_tag or "", id_tag):
            return connector.connector_id
    if idle:
        return idle[0].connector_id if len(idle) == 1 else None
    return free[-1].connector_id if free else None


def is_free(state: State, connector: Connector) -> bool:
    """Whether a session may begin on this connector: no transaction, `may_begin`. Finishing counts (field report 26)."""
    return isinstance(connector.phase, Idle | Finished) and may_begin(state, connector)


def _useless(state: State, id_tag: str) -> str:
    """Why asking about a card leads to nothing, in plain words; empty: a start, a stop, a plug let go by the same parent."""
    if state.resetting is not None:
        return "a Reset is under way"
    if state.emergency_stop:
        return "the emergency stop is pressed"
    if len(state.asked) >= ASKED_MAX:
        return f"the Central System is being asked about {ASKED_MAX} cards already"
    if any(c.ongoing is not None or c.plug_kept for c in state.connectors) or _usable_by_group(state, id_tag):
        return ""
    if state.disk_refuses:
        return state.disk_failure
    statuses = ((c.connector_id, connector_status(state, c)) for c in state.connectors)
    return ", ".join(f"connector {number} is {status or 'not known yet'}" for number, status in statuses)


def _refusal(state: State, request: RemoteStartTransaction, usable: list[Connector], parent_id_tag: str | None) -> str:
    """Why a remote start is rejected, in plain words; empty: it is not."""
    if state.resetting is not None:
        return "a Reset is under way"
    if request.connector_id == CHARGE_POINT:
        return "connector 0 can't charge"
    if request.connector_id is not None:
        if request.connector_id > len(state.connectors):
            return f"there is no connector {request.connector_id}"
        if not is_free(state, state.connectors[request.connector_id - 1]):
            return f"connector {request.connector_id} is busy, faulted or unavailable"
        if request.connector_id not in {c.connector_id for c in usable}:
            return f"connector {request.connector_id} is reserved for another idTag"
        if any(w.connector_id == request.connector_id for w in state.waiting):
            return f"an authorization waits on connector {request.connector_id} already"
    if not _free(state):
        return "no connector is free"
    if not usable:
        return "what is free is reserved for another idTag"
    if len(_claims(state, usable, request.id_tag, parent_id_tag)) >= _room(state, usable, request.id_tag, parent_id_tag):
        return "an authorization waits for every free connector already"
    return ""


def _ask(work: Work, id_tag: str, waiting_id: str | None) -> None:
    """Decide at once where that is right; else ask the Central System."""
    correlation_id = _correlation_id(work, id_tag, waiting_id)
    asked = Asked(work.fresh_id(), id_tag, waiting_id, correlation_id)
    authorization.note_expiry(work, id_tag)
    worth = authorization.without_asking(work.state, id_tag, work.now)
    if worth is not None and not (work.state.online and _group_decides(work.state, id_tag, worth.info.parent_id_tag)):
        _decide(work, asked, worth)
    else:
        work.set(asked=(*work.state.asked, asked))
        work.ask(e.AskAuthorize(asked.token, id_tag, correlation_id))
        if waiting_id is None:
            tell(work, id_tag, CardOutcome.WAIT)


def _correlation_id(work: Work, id_tag: str, waiting_id: str | None) -> str:
    """What the log calls the session that a question belongs to: that of the plug it is most likely about, if one is in."""
    known = next((w.correlation_id for w in work.state.waiting if w.waiting_id == waiting_id), "")
    return known or _begun_with(work, _likely_connector(work.state, id_tag))


def _likely_connector(state: State, id_tag: str) -> int | None:
    """Where a card would begin if it were accepted now."""
    return choose_connector(state, id_tag, _usable(state, id_tag, None))


def _begun_with(work: Work, connector_id: int | None) -> str:
    return work.correlation_id(None if connector_id is None else work.connector(connector_id))


def _correlate(work: Work, waiting: Waiting) -> None:
    """From now on the log's lines about its connector are of this session, unless another one has not ended there."""
    connector = None if waiting.connector_id is None else work.connector(waiting.connector_id)
    if connector is not None and isinstance(connector.phase, Idle):
        work.put(connector, correlation_id=waiting.correlation_id)


def _locally(work: Work, id_tag: str) -> Worth:
    authorization.note_expiry(work, id_tag)
    return authorization.offline(work.state, id_tag, work.now)


def _decide(work: Work, asked: Asked, worth: Worth) -> None:
    if asked.waiting_id is not None:
        _decide_remote(work, asked, worth)
        return
    accepted = _is_accepted(work, asked, worth)
    tell(work, asked.id_tag, CardOutcome.ACCEPTED if accepted else CardOutcome.REFUSED)


def _is_accepted(work: Work, asked: Asked, worth: Worth) -> bool:
    """Let a card do what it is good for; False: it is good for nothing."""
    id_tag = asked.id_tag
    # Choice: a family's second card is meant for the second car, if that one is plugged in and waits for a card.
    meant_to_start = worth.may_start and _vehicle_awaits(work.state, id_tag, worth.info.parent_id_tag)
    if worth.valid and not meant_to_start and _stop_by_parent(work, id_tag, worth.info.parent_id_tag):
        return True
    if worth.valid and locks.let_go(work, id_tag, worth.info.parent_id_tag):
        return True
    if worth.may_start:
        return _accept_card(work, asked, worth)
    work.note("card refused", id_tag=id_tag, detail=_words(worth), correlation_id=asked.correlation_id)
    return False


def _decide_remote(work: Work, asked: Asked, worth: Worth) -> None:
    waiting = next((w for w in work.state.waiting if w.waiting_id == asked.waiting_id), None)
    if waiting is None:
        return
    if not worth.may_start:
        work.drop_waiting(waiting)
        work.note("remote start ends, its idTag is refused", id_tag=waiting.id_tag, detail=_words(worth))
        return
    places = [c for c in _free(work.state) if waiting.connector_id in (None, c.connector_id)]
    if places and not any(_may_use(work.state, c, waiting.id_tag, worth.info.parent_id_tag) for c in places):
        work.drop_waiting(waiting)
        work.note("remote start ends, what is free is reserved for another idTag", id_tag=waiting.id_tag)
        return
    deadline_s = work.now.boottime_s + work.state.settings.connection_time_out_s
    work.add_waiting(
        Waiting(
            waiting_id=waiting.waiting_id,
            id_tag=waiting.id_tag,
            deadline_s=deadline_s,
            boot_id=waiting.boot_id,
            connector_id=waiting.connector_id,
            parent_id_tag=worth.info.parent_id_tag,
            call_id=waiting.call_id,
            correlation_id=waiting.correlation_id,
        )
    )


def _words(worth: Worth) -> str:
    return f"{worth.info.status}, {worth.reason}"


def _stop_by_parent(work: Work, id_tag: str, parent_id_tag: str | None) -> bool:
    """A card of the same group stops the transaction (OCPP 1.6 §3.10).

    The transaction's group is known from Authorize.conf, from StartTransaction.conf, or from the cache.
    """
    for connector in work.state.connectors:
        transaction = connector.ongoing
        if transaction is None or parent_id_tag is None:
            continue
        own = transaction.parent_id_tag or authorization.parent_of(work.state, transaction.id_tag, work.now)
        if own is not None and same_id_tag(own, parent_id_tag):
            transactions.stop(work, connector, Reason.LOCAL, id_tag=id_tag)
            return True
    return False


def _accept_card(work: Work, asked: Asked, worth: Worth) -> bool:
    """An authorization waits for its vehicle; False: there is no connector for it."""
    id_tag, correlation_id = asked.id_tag, asked.correlation_id
    parent_id_tag = worth.info.parent_id_tag
    usable = _usable(work.state, id_tag, parent_id_tag)
    if work.state.resetting is not None or not usable:
        why = "what is free is reserved for another idTag" if _free(work.state) else "no connector is free"
        text = f"card accepted, but it belongs to no running transaction and {why}"
        work.note(text, id_tag=id_tag, correlation_id=correlation_id)
        return False
    connector_id = choose_connector(work.state, id_tag, usable)
    _make_room(work, connector_id, usable, id_tag, parent_id_tag)
    waiting = Waiting(
        waiting_id=work.fresh_id(),
        id_tag=id_tag,
        deadline_s=work.now.boottime_s + work.state.settings.connection_time_out_s,
        boot_id=work.now.boot_id,
        connector_id=connector_id,
        parent_id_tag=parent_id_tag,
        correlation_id=correlation_id,
    )
    work.add_waiting(waiting)
    _correlate(work, waiting)
    about = {"id_tag": id_tag, "connector_id": connector_id, "correlation_id": correlation_id}
    work.note("card accepted", detail=worth.reason, **about)
    return True


def _make_room(work: Work, connector_id: int | None, usable: list[Connector], id_tag: str, parent_id_tag: str | None) -> None:
    """The newest card counts: whoever stands at the station now replaces who waits on the same connector, or the oldest."""
    claims = _claims(work.state, usable, id_tag, parent_id_tag)
    rivals = [w for w in claims if w.connector_id == connector_id] if connector_id is not None else []
    if not rivals and len(claims) >= _room(work.state, usable, id_tag, parent_id_tag):
        rivals = claims
    for waiting in rivals[:1]:
        work.drop_waiting(waiting)
        work.note("authorization replaced by another card", id_tag=waiting.id_tag, connector_id=waiting.connector_id)


def _vehicle_awaits(state: State, id_tag: str, parent_id_tag: str | None) -> bool:
    """Whether a vehicle is plugged in that nobody has presented a card for, and this idTag may."""
    taken = {w.connector_id for w in state.waiting}
    usable = _usable(state, id_tag, parent_id_tag)
    return any(isinstance(c.phase, Idle) and c.plugged and c.connector_id not in taken for c in usable)


def _free(state: State) -> list[Connector]:
    return [c for c in state.connectors if is_free(state, c)]


def _may_use(state: State, connector: Connector, id_tag: str, parent_id_tag: str | None) -> bool:
    return reservations.kept_from(state, connector, id_tag, parent_id_tag) is None


def _usable(state: State, id_tag: str, parent_id_tag: str | None) -> list[Connector]:
    """The free connectors that are not reserved for somebody else (OCPP 1.6 §5.13)."""
    return [c for c in _free(state) if _may_use(state, c, id_tag, parent_id_tag)]


def _usable_by_group(state: State, id_tag: str) -> list[Connector]:
    """Those that may turn out to be usable when the group of the idTag is known."""
    return [c for c in _free(state) if reservations.may_be_holder(state, c, id_tag)]


def _group_decides(state: State, id_tag: str, parent_id_tag: str | None) -> bool:
    """Whether only the Central System can say if an idTag may use something that is free (OCPP 1.6 §5.13)."""
    return parent_id_tag is None and len(_usable_by_group(state, id_tag)) > len(_usable(state, id_tag, None))


def _room(state: State, usable: list[Connector], id_tag: str, parent_id_tag: str | None) -> int:
    """How many of these connectors there are for authorizations that wait."""
    return len(usable) - int(reservations.keeps_one_of(state, usable, id_tag, parent_id_tag))


def _claims(state: State, usable: list[Connector], id_tag: str, parent_id_tag: str | None) -> list[Waiting]:
    """The authorizations that wait for one of these connectors. What `_room` leaves out is there for its holder."""
    numbers = {None, *(c.connector_id for c in usable)}
    claims = [w for w in state.waiting if w.connector_id in numbers]
    if reservations.keeps_one_of(state, usable, id_tag, parent_id_tag):
        claims = [w for w in claims if not reservations.holds_any(state, w)]
    return claims


def all_waiting(state: State) -> list[Waiting]:
    """All authorizations that have not become a transaction: those that wait, and those whose start waits for a reading."""
    starting = [c.phase.waiting for c in state.connectors if isinstance(c.phase, Starting)]
    return [*state.waiting, *starting]
