"""The connectors service decides here: `step(state, event, now)` gives the new state and ordered effects (pure).

Theory of operation. An event only changes facts. Then rules look at the facts of each connector and move its phase on
until nothing moves: Idle -> Starting -> Running -> Stopping -> Finished -> Idle, and Resuming after a restart of the
process. Status (`status.py`) and output (`output.py`) are derived from the facts at the end, so they can't disagree.
What a phase change means on disk is said beside it; `work.py` orders the effects so that the intent is committed before
it is acted on, and energy is withdrawn for safety before anything is written.

Owns: the dispatch of events and the rules of phases. Rooms of their own: `cards.py` (who may charge where),
`authorization.py` (what an idTag is worth), `local_list.py` (the Local Authorization List), `reservations.py` (what is kept for
whom), `availability.py` (what may be used), `transactions.py` (what a transaction says), `sampling.py` (when readings are
taken), `triggered.py` (those of now), `transaction_data.py` (what is kept of them), `deliveries.py` (what the Central System's
answers change), `observations.py` (what a controller says), `overcurrent.py` (what a meter says of a vehicle), `plug_in.py`
(what is remembered of its faults), `recovery.py` (what a restart finds), `status.py`, `output.py`, `supply.py` (who may draw
how much).
Does not: know the clock, the disk, the bus or a device; `service.py` carries out what is decided.
"""

import msgspec

from bus.card_messages import CardOutcome
from bus.messages import LinkState, MeterSample, UnlockConnector
from bus.vocabulary import Reason, ResetType
from services.connectors import (
    authorization,
    availability,
    cards,
    deliveries,
    local_list,
    locks,
    lost,
    observations,
    overcurrent,
    plug_in,
    recovery,
    reservations,
    sampling,
    transactions,
    triggered,
    unattended,
    unseen,
)
from services.connectors import events as e
from services.connectors.recovery import Loaded
from services.connectors.state import Connector, Finished, Idle, Now, Resuming, Running, Settings, Starting, State, Stopping
from services.connectors.status import EV_SIDE_DISCONNECTED, may_begin
from services.connectors.transactions import CONTACTOR_S
from services.connectors.work import Work

START_READING_S = 2.0
"""A start without a trustworthy reading within this time is refused (design §4.1)."""
STOP_READING_S = 5.0
"""A stop falls back on the last trustworthy reading after this time (design §4.1)."""
RECOVERY_READING_S = 30.0
"""After a power cut the meter service starts beside this one, so its first reading is waited for longer."""


def initial(
    connectors: tuple[Connector, ...], settings: Settings, supply_current_a: float, *, emergency_stop_fitted: bool = False
) -> State:
    """The state of a station that knows nothing yet. `emergency_stop_fitted`: its contact is going to be read."""
    return State(connectors, settings, supply_current_a, emergency_stop_read=not emergency_stop_fitted)


def resume(state: State, loaded: Loaded, now: Now) -> tuple[State, tuple[e.Effect, ...]]:
    """Take up what the disk knew."""
    work = Work(state, now)
    recovery.take_up(work, loaded)
    _pass_time(work)
    _advance_all(work)
    return work.finish()


def step(state: State, event: e.Event, now: Now) -> tuple[State, tuple[e.Effect, ...]]:
    """What `event` does to `state`; effects in the order in which they are to be done."""
    work = Work(state, now)
    _pass_time(work)
    match event:
        case e.EvseObserved() | e.EvseFailed():
            _on_evse(work, event)
        case e.MeterSampled(sample=sample):
            _on_sample(work, sample)
        case e.MeterRead(token=token, sample=sample):
            _on_register(work, token, sample)
        case e.MeterFailureChanged(connector_id=connector_id, failure=failure):
            connector = work.connector(connector_id)
            if connector is not None:
                work.put(connector, meter_failure=failure)
        case e.ReaderFailureChanged(failure=failure):
            work.set(reader_failure=failure)
        case e.DiskChanged(failure=failure, refuses=refuses):
            work.set(disk_failure=failure, disk_refuses=refuses)
        case e.CardPresented(id_tag=id_tag, maybe_held=maybe_held):
            cards.presented(work, id_tag, maybe_held=maybe_held)
        case e.AuthorizeAnswered():
            cards.answered(work, event)
        case e.RemoteStartRequested(call_id=call_id, request=request):
            cards.remote_start(work, call_id, request)
        case e.RemoteStopRequested(call_id=call_id, request=request):
            cards.remote_stop(work, call_id, request)
        case e.LostTransactionFound(call_id=call_id, request=request, closed_here=closed_here):
            lost.take_up(work, call_id, request, closed_here=closed_here)
        case e.StoreOutdated(taken_up=taken_up):
            lost.let_go(work, taken_up)
        case e.CallCancelled(call_id=call_id):
            cards.cancelled(work, call_id)
            reservations.taken_back(work, call_id)
            locks.cancelled(work, call_id)
        case e.AvailabilityRequested(call_id=call_id, request=request):
            availability.change(work, call_id, request)
        case e.OutOfServiceRequested(call_id=call_id, request=request):
            availability.take_out_of_service(work, call_id, request)
        case e.UnlockRequested(call_id=call_id, request=request):
            _on_unlock(work, call_id, request)
        case e.ReserveNowRequested(call_id=call_id, request=request):
            reservations.reserve(work, call_id, request)
        case e.CancelReservationRequested(call_id=call_id, request=request):
            reservations.cancel(work, call_id, request)
        case e.ClearCacheRequested(call_id=call_id):
            authorization.clear_cache(work, call_id)
        case e.LocalListSent(call_id=call_id, request=request):
            authorization.local_list_sent(work, call_id, request)
        case e.LocalListVersionAsked(call_id=call_id):
            local_list.version(work, call_id)
        case e.MeterValuesAsked(call_id=call_id, request=request):
            triggered.take(work, call_id, request)
        case e.ResetRequested(call_id=call_id, request=request):
            cards.reset(work, call_id, request)
        case e.DeliveryStored(entry=entry, id_tag=id_tag):
            deliveries.delivered(work, entry, id_tag)
        case e.LinkChanged(link=link):
            _on_link(work, link)
        case e.SettingsChanged(settings=settings):
            _on_settings(work, settings)
        case e.EmergencyStopChanged(pressed=pressed):
            _on_emergency_stop(work, pressed)
        case e.Ending():
            recovery.end(work)
        case e.Tick():
            pass
        case _:
            raise AssertionError(f"no rule for {type(event).__name__}")
    _advance_all(work)
    return work.finish()


def next_deadline_s(state: State) -> float | None:
    """Boottime at which a Tick has something to do.

    Starting, Stopping with a token and `asked` have none: the shell answers each question, with None when its time is out.
    """
    deadlines = [waiting.deadline_s for waiting in state.waiting]
    unanswered = (waiting.unanswered_since_s for waiting in state.waiting)
    deadlines += [since_s + cards.ANSWERED_S for since_s in unanswered if since_s is not None]
    deadlines += [reservation.until_s for reservation in state.reservations]
    if state.resetting is not None:
        deadlines.append(state.reset_until_s)
    if state.marks is not None:
        deadlines.append(state.marks.due_s)
    for connector in state.connectors:
        deadlines.extend([connector.settling_until_s] if connector.settling_until_s else [])
        due_s = (unattended.due_s(state, connector), plug_in.forgotten_s(connector.faults))
        deadlines.extend(at_s for at_s in due_s if at_s is not None)
        deadlines.extend([] if connector.unlocking is None else [connector.unlocking.deadline_s])
        match connector.phase:
            case Running(sample_due_s=sample_due_s, checkpoint_due_s=checkpoint_due_s):
                deadlines.append(checkpoint_due_s)
                deadlines.extend([] if sample_due_s is None else [sample_due_s])
            case Stopping(read_token="", since_s=since_s):
                deadlines.append(since_s + CONTACTOR_S)
    return min(deadlines, default=None)


def _pass_time(work: Work) -> None:
    """What has run out by now, before the event counts."""
    now_s = work.now.boottime_s
    sampling.pass_marks(work)
    cards.note_answered(work)
    reservations.pass_time(work)
    for waiting in work.state.waiting:
        if waiting.deadline_s <= now_s:
            work.drop_waiting(waiting)
            work.note(
                "authorization expired, no vehicle was plugged in within ConnectionTimeOut",
                connector_id=waiting.connector_id,
                id_tag=waiting.id_tag,
            )
    for connector in work.state.connectors:
        if 0 < connector.settling_until_s <= now_s:
            connector = work.put(connector, settling_until_s=0.0)
        connector = work.remember(connector, plug_in.with_time(connector.faults, now_s))
        unattended.time_out(work, connector)
    if work.state.resetting is not None and work.state.reset_until_s <= now_s:
        work.set(resetting=None)
        work.note("the Reset has not restarted the station, sessions are possible again", warning=True)


def _on_evse(work: Work, event: e.EvseObserved | e.EvseFailed) -> None:
    connector = work.connector(event.connector_id)
    if connector is None:
        return
    if isinstance(event, e.EvseFailed):
        unseen.watch(work, observations.silent(work, connector, event.reason))
        return
    missed = observations.missed_unplugging(connector, event.observation, work.now.boottime_s)
    if missed:
        what = "another plug-in, the plug was out meanwhile" if event.observation.plugged is not False else "the plug is out"
        work.note(what, connector_id=connector.connector_id, detail=missed)
        _advance(work, unseen.end(work, work.put(connector, plugged=False, evse_failure="")))
        connector = work.connector(connector.connector_id)
        assert connector is not None
    connector = recovery.follow_restart(work, connector, event.observation)
    unseen.watch(work, observations.observed(work, connector, event.observation))


def _on_sample(work: Work, sample: MeterSample) -> None:
    connector = work.connector(sample.connector_id)
    if connector is None:
        return
    if connector.sample is None or connector.sample.read_boottime_s <= sample.read_boottime_s:
        connector = work.put(overcurrent.measured(work, connector, sample), sample=sample)
    if isinstance(connector.phase, Running | Stopping):
        connector = transactions.follow(work, connector, sample)
    match connector.phase:
        case Stopping(read_token=token, read_not_before_s=not_before_s) if token and sample.read_boottime_s >= not_before_s:
            # As good as the answer to ReadRegister, which may have been lost while the meter service restarted.
            transactions.close_with_reading(work, connector, sample)


def _on_register(work: Work, token: str, sample: MeterSample | None) -> None:
    for connector in work.state.connectors:
        match connector.phase:
            case Starting(read_token=expected) as starting if expected == token:
                if sample is None:
                    work.note(
                        "start refused, the meter gives no trustworthy reading; check the meter, then present the card again",
                        connector_id=connector.connector_id,
                        id_tag=starting.waiting.id_tag,
                        warning=True,
                    )
                    cards.drop_waiting(work, starting.waiting)
                    if starting.waiting.call_id is None:
                        cards.tell(work, starting.waiting.id_tag, CardOutcome.REFUSED)
                else:
                    transactions.open_transaction(work, connector, starting, sample)
            case Stopping(read_token=expected, transaction=transaction) if expected == token and expected:
                if sample is None:
                    work.note(
                        "stop takes the last trustworthy reading, the meter gives none now; check the meter",
                        connector_id=connector.connector_id,
                        local_tx_id=transaction.local_tx_id,
                        warning=True,
                    )
                transactions.close_with_reading(work, connector, sample)


def _on_link(work: Work, link: LinkState | None) -> None:
    online = link is not None and link.online
    if link is not None and link.ever_accepted != work.state.ever_accepted:
        work.set(ever_accepted=link.ever_accepted)
        work.change(e.SaveEverAccepted(link.ever_accepted))
        if not link.ever_accepted:
            # Another Central System than before: what the old one said of cards is not this one's word.
            authorization.forget_all(work)
            local_list.forget(work)
            reservations.end_all(work, "another Central System has made it")
    if link is not None:
        _on_reset_failed(work, failed=link.reset_failed)
    lost = work.state.online and not online
    work.set(online=online)
    if lost:
        cards.link_lost(work)


def _on_reset_failed(work: Work, *, failed: bool) -> None:
    """A Reset that could not be carried out is over: sessions are possible again, and connector 0 says so (§7.6)."""
    if failed and not work.state.reset_failed:
        work.set(resetting=None)
    work.set(reset_failed=failed)


def _on_settings(work: Work, settings: Settings) -> None:
    """Changed intervals take effect at once (field report 24)."""
    before = work.state.settings
    work.set(settings=settings)
    sampling.pass_marks(work)
    if settings.meter_value_sample_interval_s != before.meter_value_sample_interval_s:
        transactions.follow_interval(work)
    for connector in work.state.connectors:
        unseen.watch(work, connector)


def _on_emergency_stop(work: Work, pressed: bool) -> None:
    if pressed != work.state.emergency_stop:
        work.note("emergency stop pressed" if pressed else "emergency stop released", warning=pressed)
    work.set(emergency_stop=pressed, emergency_stop_read=True)
    if pressed:
        cards.drop_all_waiting(work, "the emergency stop is pressed")


def _on_unlock(work: Work, call_id: str, request: UnlockConnector) -> None:
    """Choice: OCPP 1.6 §5.18 has what is in progress on the connector finished first. An authorization that has not become a
    transaction ends too: it must not hold the plug again while somebody pulls it. Whoever wants to charge acts anew.
    """
    connector = work.connector(request.connector_id)
    if connector is not None and connector.has_lock and connector.plugged is not False:
        cards.drop_all_waiting(work, "the plug is unlocked", of=connector)
    locks.unlock(work, call_id, request)


def _advance_all(work: Work) -> None:
    reservations.end_lost(work)
    if work.state.online:
        cards.ask_for_remote_starts(work)
    for connector_id in range(1, len(work.state.connectors) + 1):
        connector = work.connector(connector_id)
        assert connector is not None
        _advance(work, connector)
        advanced = work.connector(connector_id)
        assert advanced is not None
        sampling.tell_outside_transaction(work, advanced)
    for connector in work.state.connectors:
        unattended.watch(work, connector)
    for connector in work.state.connectors:
        locks.advance(work, connector)


def _advance(work: Work, connector: Connector) -> None:
    """Move one connector's phase on as far as the facts carry it."""
    _apply_rule(work, connector)
    moved = work.connector(connector.connector_id)
    assert moved is not None
    if type(moved.phase) is not type(connector.phase):
        _advance(work, moved)


def _apply_rule(work: Work, connector: Connector) -> None:
    match connector.phase:
        case Resuming() as phase:
            _advance_resuming(work, connector, phase)
        case Finished():
            if connector.plugged is False and not connector.plug_kept:
                work.change(e.DropFinished(connector.connector_id))
                work.put(connector, phase=Idle())
            else:
                _begin_if_authorized(work, connector)
        case Idle():
            _begin_if_authorized(work, connector)
        case Starting(waiting=waiting) as phase:
            if not connector.plugged or not may_begin(work.state, connector):
                work.put(connector, phase=phase.finished or Idle())
                work.set(waiting=(*work.state.waiting, waiting))
        case Running() as phase:
            _advance_running(work, connector, phase)
        case Stopping() as phase:
            _advance_stopping(work, connector, phase)


def _begin_if_authorized(work: Work, connector: Connector) -> None:
    """Plugged in and authorized: ask for meterStart. The start itself is committed when the reading is there."""
    state = work.state
    if state.resetting is not None or not state.emergency_stop_read or not connector.plugged or not may_begin(state, connector):
        return
    waiting = cards.authorized_for(state, connector)
    if waiting is None:
        return
    token = work.fresh_id()
    finished = connector.phase if isinstance(connector.phase, Finished) else None
    work.set(waiting=tuple(w for w in state.waiting if w.waiting_id != waiting.waiting_id))
    work.put(connector, phase=Starting(waiting, token, finished))
    work.ask(e.ReadRegister(token, connector.connector_id, work.now.boottime_s, START_READING_S))


def _advance_resuming(work: Work, connector: Connector, phase: Resuming) -> None:
    """The controller's first word says whether it is the same plug-in.

    What ends every transaction of the station does not wait for that word, as a card or RemoteStop do not: whoever has pressed
    the emergency stop and released it again finds nothing charging (OCPP 1.6 §7.36), and a Reset is carried out (§5.14).
    """
    if connector.seen is not None and connector.plugged is not None:
        recovery.resolve(work, connector, phase, connector.seen)
    elif phase.transaction is not None and work.state.emergency_stop:
        transactions.stop(work, connector, Reason.EMERGENCY_STOP)
    elif phase.transaction is not None and work.state.resetting is not None:
        transactions.stop(work, connector, _reset_reason(work.state.resetting))


def _reset_reason(kind: ResetType) -> Reason:
    return Reason.HARD_RESET if kind is ResetType.HARD else Reason.SOFT_RESET


def _advance_running(work: Work, connector: Connector, phase: Running) -> None:
    state = work.state
    unplugged = connector.plugged is False and not connector.evse_failure
    if state.emergency_stop:
        transactions.stop(work, connector, Reason.EMERGENCY_STOP)
    elif unplugged and state.settings.stop_transaction_on_ev_side_disconnect:
        transactions.stop(work, connector, Reason.EV_DISCONNECTED, info=EV_SIDE_DISCONNECTED)
    elif state.resetting is not None:
        transactions.stop(work, connector, _reset_reason(state.resetting))
    elif deliveries.refusal_due(state.settings, connector, phase.transaction):
        deliveries.end_refused(work, connector)
    else:
        transactions.sample_and_checkpoint(work, connector, phase)


def _advance_stopping(work: Work, connector: Connector, phase: Stopping) -> None:
    """Once the contactor is open, or should long be, read meterStop."""
    another = recovery.is_another_plug(connector, phase.transaction, work.now.boot_id)
    if phase.transaction.sure is not None and connector.unseen_since_s is None:
        if another:
            work.note("another plug-in, the plug was out meanwhile", connector_id=connector.connector_id, warning=True)
            connector = unseen.end(work, work.withdraw_at_once(connector))
        else:
            connector = transactions.save(work, connector, msgspec.structs.replace(phase.transaction, sure=None))
        assert isinstance(connector.phase, Stopping)
        phase = connector.phase
    if (connector.plugged is False or another) and not phase.unplugged:
        phase = msgspec.structs.replace(phase, unplugged=True)
        connector = work.put(connector, phase=phase)
    if phase.read_token:
        return
    seen, now_s = connector.seen, work.now.boottime_s
    late = now_s >= phase.since_s + CONTACTOR_S
    opened = seen is not None and not seen.relay_closed and not connector.evse_failure
    if not (opened or late):
        return
    transaction = phase.transaction
    power_failed = transaction.started_at.boot_id != work.now.boot_id
    if not opened and not power_failed:
        work.note(
            "contactor is not seen open, the transaction is closed all the same; check the charging controller",
            connector_id=connector.connector_id,
            local_tx_id=transaction.local_tx_id,
            warning=True,
        )
    token = work.fresh_id()
    work.put(connector, phase=msgspec.structs.replace(phase, read_token=token, read_not_before_s=now_s))
    timeout_s = RECOVERY_READING_S if power_failed else STOP_READING_S
    work.ask(e.ReadRegister(token, connector.connector_id, now_s, timeout_s))
