"""The connectors service decides here: `step(state, event, now)` gives the new state and ordered effects (pure).

Theory of operation. An event only changes facts. Then rules look at the facts of each connector and move its phase on
until nothing moves: Idle -> Starting -> Running -> Stopping -> Finished -> Idle, and Resuming after a restart of the
process. Status (`status.py`) and output (`output.py`) are derived from the facts at the end, so they can't disagree.
What a phase change means on disk is said beside it; `work.py` orders the effects so that the intent is committed before
it is acted on, and energy is withdrawn for safety before anything is written.

Owns: the dispatch of events and the rules of phases. Rooms of their own: `cards.py` (who may charge), `transactions.py`
(what a transaction says), `status.py`, `output.py`.
"""

import msgspec

from bus.messages import Delivered, IdTagInfo, MeterSample
from bus.vocabulary import AuthorizationStatus, Reason, ResetType
from services.connectors import cards, transactions
from services.connectors import events as e
from services.connectors.state import (
    Connector,
    Finished,
    Idle,
    Now,
    Resuming,
    Running,
    SessionMark,
    Settings,
    Starting,
    State,
    StopIntent,
    Stopping,
    Transaction,
    Waiting,
)
from services.connectors.status import healthy
from services.connectors.work import Work
from services.hardware.contract import EvseObservation

START_READING_S = 2.0
"""A start without a trustworthy reading within this time is refused (design §4.1)."""
STOP_READING_S = 5.0
"""A stop falls back on the last trustworthy reading after this time (design §4.1)."""
CONTACTOR_S = 5.0
"""How long the contactor may take to open before the reading is taken all the same."""
CHECKPOINT_S = 60.0
"""The last reading of a running transaction is on disk at least this often (design §2)."""


class Loaded(msgspec.Struct, frozen=True):
    """What the disk knew at the start."""

    transactions: tuple[Transaction, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    finished: dict[int, SessionMark] = {}


def initial(connectors: tuple[Connector, ...], settings: Settings, supply_current_a: float) -> State:
    """The state of a station that knows nothing yet."""
    return State(connectors=connectors, settings=settings, supply_current_a=supply_current_a)


def resume(state: State, loaded: Loaded, now: Now) -> tuple[State, tuple[e.Effect, ...]]:
    """Take up what the disk knew (design §2 "connectors down", "power cut").

    A transaction of this hardware boot waits for the hardware to say whether the plug-in is the same; one of an earlier boot
    ended with the power, and is closed before any contactor may close.
    """
    work = Work(state, now)
    for connector_id, mark in loaded.finished.items():
        connector = work.connector(connector_id)
        if connector is not None:
            work.put(connector, phase=Resuming(finished=mark))
    for transaction in loaded.transactions:
        _take_up(work, transaction)
    for waiting in loaded.waiting:
        if waiting.boot_id == now.boot_id and waiting.deadline_s > now.boottime_s:
            work.set(waiting=(*work.state.waiting, waiting))
        else:
            work.change(e.DropWaiting(waiting.waiting_id))
    _advance_all(work)
    return work.finish()


def step(state: State, event: e.Event, now: Now) -> tuple[State, tuple[e.Effect, ...]]:
    """What `event` does to `state`; effects in the order in which they are to be done."""
    work = Work(state, now)
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
        case e.CardPresented(id_tag=id_tag):
            cards.presented(work, id_tag)
        case e.AuthorizeAnswered(token=token, info=info):
            cards.answered(work, token, info)
        case e.RemoteStartRequested(call_id=call_id, request=request):
            cards.remote_start(work, call_id, request)
        case e.RemoteStopRequested(call_id=call_id, request=request):
            cards.remote_stop(work, call_id, request)
        case e.CallCancelled(call_id=call_id):
            cards.cancelled(work, call_id)
        case e.ResetRequested(call_id=call_id, request=request):
            cards.reset(work, call_id, request)
        case e.DeliveryStored():
            _on_delivery(work, event)
        case e.LinkChanged(link=link):
            online = link is not None and link.online
            ever = work.state.ever_accepted if link is None else link.ever_accepted
            work.set(online=online, ever_accepted=ever)
        case e.SettingsChanged(settings=settings):
            work.set(settings=settings)
        case e.EmergencyStopChanged(pressed=pressed):
            work.set(emergency_stop=pressed)
            work.note("emergency stop pressed" if pressed else "emergency stop released", warning=pressed)
        case e.Tick():
            pass
        case _:
            raise AssertionError(f"no rule for {type(event).__name__}")
    _advance_all(work)
    return work.finish()


def next_deadline_s(state: State) -> float | None:
    """Boottime at which a Tick has something to do."""
    deadlines = [waiting.deadline_s for waiting in state.waiting]
    for connector in state.connectors:
        match connector.phase:
            case Running(sample_due_s=sample_due_s, checkpoint_due_s=checkpoint_due_s):
                deadlines.append(checkpoint_due_s)
                deadlines.extend([] if sample_due_s is None else [sample_due_s])
                if connector.settling_until_s and _unsettled(connector):
                    deadlines.append(connector.settling_until_s)
            case Stopping(read_token="", since_s=since_s):
                deadlines.append(since_s + CONTACTOR_S)
    return min(deadlines, default=None)


def _unsettled(connector: Connector) -> bool:
    """Whether the shown status waits for the end of settling."""
    published = connector.published
    return published is not None and published.status in ("Preparing", "Finishing", "Available")


def _take_up(work: Work, transaction: Transaction) -> None:
    connector = work.connector(transaction.connector_id)
    fields = {"connector_id": transaction.connector_id, "local_tx_id": transaction.local_tx_id}
    if connector is None or connector.transaction is not None:
        work.note("open transaction of a connector that is not there is closed at its last reading", warning=True, **fields)
        transactions.close_at_last_reading(work, transaction, Reason.OTHER)
    elif transaction.started_at.boot_id != work.now.boot_id:
        work.note("transaction was running when the power failed, it is closed", warning=True, **fields)
        intent = transaction.stop or StopIntent(Reason.POWER_LOSS)
        stopped = msgspec.structs.replace(transaction, stop=intent)
        work.change(e.SaveTransaction(stopped))
        work.put(connector, phase=Stopping(stopped, since_s=work.now.boottime_s - CONTACTOR_S))
    else:
        work.put(connector, phase=Resuming(transaction))


def _on_evse(work: Work, event: e.EvseObserved | e.EvseFailed) -> None:
    connector = work.connector(event.connector_id)
    if connector is None:
        return
    if isinstance(event, e.EvseFailed):
        work.put(connector, evse_failure=event.reason)
        return
    new = event.observation
    newly_plugged = bool(new.plugged) and not connector.plugged
    since_s = work.now.boottime_s if newly_plugged else connector.plugged_since_s
    settling_s = connector.settling_until_s
    if isinstance(connector.phase, Running) and _asks_for_energy(new) and not _asks_for_energy(connector.seen):
        settling_s = work.now.boottime_s + SETTLING_AFTER_PILOT_S
    work.put(connector, seen=new, evse_failure="", plugged_since_s=since_s, settling_until_s=settling_s)


SETTLING_AFTER_PILOT_S = 2.0
"""Between the vehicle's request and the closed contactor lies the controller's self-test; it is not SuspendedEVSE."""


def _asks_for_energy(seen: EvseObservation | None) -> bool:
    return seen is not None and seen.control_pilot in ("C", "D")


def _on_sample(work: Work, sample: MeterSample) -> None:
    connector = work.connector(sample.connector_id)
    if connector is None:
        return
    connector = work.put(connector, sample=sample)
    if isinstance(connector.phase, Running):
        transaction, replaced = transactions.follow_register(connector.phase.transaction, sample, work.now)
        if replaced:
            work.change(e.SaveTransaction(transaction))
            work.note(
                "another meter counts on within the transaction",
                connector_id=connector.connector_id,
                local_tx_id=transaction.local_tx_id,
                detail=f"serial {sample.serial} at {sample.energy_import_wh} Wh",
                warning=True,
            )
        work.put(connector, phase=msgspec.structs.replace(connector.phase, transaction=transaction))


def _on_register(work: Work, token: str, sample: MeterSample | None) -> None:
    for connector in work.state.connectors:
        match connector.phase:
            case Starting(waiting=waiting, read_token=expected) if expected == token:
                if sample is None:
                    work.note(
                        "start refused, the meter gives no trustworthy reading; check the meter, then present the card again",
                        connector_id=connector.connector_id,
                        id_tag=waiting.id_tag,
                        warning=True,
                    )
                    work.change(e.DropWaiting(waiting.waiting_id))
                    work.put(connector, phase=Idle())
                else:
                    transactions.open_transaction(work, connector, waiting, sample)
            case Stopping(read_token=expected, transaction=transaction) if expected == token and expected:
                if sample is None:
                    work.note(
                        "stop takes the last trustworthy reading, the meter gives none now",
                        connector_id=connector.connector_id,
                        local_tx_id=transaction.local_tx_id,
                        warning=True,
                    )
                transactions.close_with_reading(work, connector, transaction, sample)


def _on_delivery(work: Work, event: e.DeliveryStored) -> None:
    entry = event.entry
    work.change(e.ForgetEntry(entry.local_tx_id, entry.number))
    connector = next(
        (c for c in work.state.connectors if c.transaction and c.transaction.local_tx_id == entry.local_tx_id), None
    )
    if connector is None or entry.number != 0 or not isinstance(entry.outcome, Delivered):
        return
    transaction = connector.transaction
    assert transaction is not None
    info = entry.outcome.id_tag_info or IdTagInfo(AuthorizationStatus.ACCEPTED)
    transaction = msgspec.structs.replace(
        transaction,
        transaction_id=entry.outcome.transaction_id,
        parent_id_tag=info.parent_id_tag or transaction.parent_id_tag,
    )
    refused = info.status is not AuthorizationStatus.ACCEPTED
    if refused and not work.state.settings.stop_transaction_on_invalid_id:
        transaction = msgspec.structs.replace(transaction, deauthorized=True)
    work.change(e.SaveTransaction(transaction))
    assert isinstance(connector.phase, Running | Stopping | Resuming)
    connector = work.put(connector, phase=msgspec.structs.replace(connector.phase, transaction=transaction))
    if refused:
        work.note(
            "Central System refuses the idTag of the running transaction",
            connector_id=connector.connector_id,
            local_tx_id=transaction.local_tx_id,
            id_tag=transaction.id_tag,
            detail=str(info.status),
            warning=True,
        )
        if work.state.settings.stop_transaction_on_invalid_id:
            transactions.stop(work, connector, Reason.DE_AUTHORIZED)


def _advance_all(work: Work) -> None:
    for waiting in work.state.waiting:
        if waiting.deadline_s <= work.now.boottime_s:
            work.drop_waiting(waiting)
            work.note(
                "authorization expired, no vehicle was plugged in within ConnectionTimeOut",
                connector_id=waiting.connector_id,
                id_tag=waiting.id_tag,
            )
    if work.state.online:
        cards.ask_for_remote_starts(work)
    for connector in work.state.connectors:
        _advance(work, connector)


def _advance(work: Work, connector: Connector) -> None:
    """Move one connector's phase on as far as the facts carry it."""
    match connector.phase:
        case Resuming():
            if connector.seen is not None:
                _resume(work, connector, connector.phase, connector.seen)
        case Finished():
            if not connector.plugged:
                work.change(e.DropFinished(connector.connector_id))
                work.put(connector, phase=Idle())
            else:
                _begin_if_authorized(work, connector)
        case Idle():
            _begin_if_authorized(work, connector)
        case Starting(waiting=waiting):
            if not connector.plugged or not healthy(work.state, connector):
                work.put(connector, phase=Idle())
                work.set(waiting=(*work.state.waiting, waiting))
        case Running():
            _advance_running(work, connector, connector.phase)
        case Stopping():
            _advance_stopping(work, connector, connector.phase)


def _resume(work: Work, connector: Connector, phase: Resuming, seen: EvseObservation) -> None:
    """The hardware has spoken for the first time: is it the same plug-in? (design §2 "connectors down")"""
    transaction = phase.transaction
    if transaction is None:
        assert phase.finished is not None
        if seen.plugged and transactions.same_session(phase.finished, seen):
            work.put(connector, phase=Finished())
        else:
            work.change(e.DropFinished(connector.connector_id))
            work.put(connector, phase=Idle())
        return
    fields = {"connector_id": connector.connector_id, "local_tx_id": transaction.local_tx_id}
    if not transactions.same_session(transaction.mark, seen):
        work.note(
            "another plug-in meanwhile, the old transaction is closed at its last committed reading", warning=True, **fields
        )
        connector = work.withdraw_at_once(connector)
        intent = transaction.stop or StopIntent(Reason.EV_DISCONNECTED)
        transactions.close_at_last_reading(work, msgspec.structs.replace(transaction, stop=intent), intent.reason)
        work.put(connector, phase=Idle())
    elif transaction.stop is not None:
        work.note("stop of the transaction goes on after a restart", **fields)
        work.put(connector, phase=Stopping(transaction, since_s=work.now.boottime_s))
    else:
        work.note("transaction resumes after a restart of this service", **fields)
        work.put(connector, phase=transactions.running(transaction, work.state.settings, work.now))
    changed = work.connector(connector.connector_id)
    assert changed is not None
    if not isinstance(changed.phase, Idle):
        _advance(work, changed)


def _begin_if_authorized(work: Work, connector: Connector) -> None:
    """Plugged in and authorized: ask for meterStart. The start itself is committed when the reading is there."""
    if work.state.resetting is not None or not connector.plugged or not healthy(work.state, connector):
        return
    waiting = cards.authorized_for(work.state, connector)
    if waiting is None:
        return
    if isinstance(connector.phase, Finished):
        work.change(e.DropFinished(connector.connector_id))
    token = work.fresh_id()
    work.set(waiting=tuple(w for w in work.state.waiting if w.waiting_id != waiting.waiting_id))
    work.put(connector, phase=Starting(waiting, token))
    work.ask(e.ReadRegister(token, connector.connector_id, work.now.boottime_s, START_READING_S))


def _advance_running(work: Work, connector: Connector, phase: Running) -> None:
    reason: Reason | None = None
    info = ""
    if work.state.emergency_stop:
        reason = Reason.EMERGENCY_STOP
    elif not connector.plugged and work.state.settings.stop_transaction_on_ev_side_disconnect and not connector.evse_failure:
        reason, info = Reason.EV_DISCONNECTED, "EV side disconnected"
    elif work.state.resetting is not None:
        reason = Reason.HARD_RESET if work.state.resetting is ResetType.HARD else Reason.SOFT_RESET
    if reason in (Reason.EMERGENCY_STOP, Reason.EV_DISCONNECTED):
        connector = work.withdraw_at_once(connector)
    if reason is not None:
        transactions.stop(work, connector, reason, info=info)
        return
    transactions.sample_and_checkpoint(work, connector, phase)


def _advance_stopping(work: Work, connector: Connector, phase: Stopping) -> None:
    """Once the contactor is open, or should long be, read meterStop."""
    if phase.read_token:
        return
    seen = connector.seen
    late = work.now.boottime_s >= phase.since_s + CONTACTOR_S
    opened = seen is not None and not seen.relay_closed and not connector.evse_failure
    if not (opened or late):
        return
    if late and not opened and seen is not None:
        work.note(
            "contactor is not seen open, the transaction is closed all the same; check the charging controller",
            connector_id=connector.connector_id,
            local_tx_id=phase.transaction.local_tx_id,
            warning=True,
        )
    token = work.fresh_id()
    work.put(connector, phase=msgspec.structs.replace(phase, read_token=token))
    work.ask(e.ReadRegister(token, connector.connector_id, work.now.boottime_s, STOP_READING_S))
