"""The link decides here: connection, registration, heartbeat, pings, statuses (pure).

`step(state, event, now)` gives the new state and ordered effects. An event changes facts; then `_pursue` sends whatever
the facts now allow. There is one reconnect loop: every way of losing the connection ends in `_lost`, and only Offline
leads to Connect. Transaction messages are in `deliveries.py`, statuses in `statuses.py`.

Owns: OCPP-J 1.6 §5 (connection), OCPP 1.6 §4.2 (BootNotification), §4.6 (Heartbeat). Does not: frame or time CALLs (`rpc.py`).
"""

from msgspec.structs import replace

from bus.messages import Authorize, IdTagInfo
from bus.vocabulary import AuthorizationStatus, RegistrationStatus, ResetType
from services.ocpp_link import backoff, deliveries, statuses
from services.ocpp_link import events as e
from services.ocpp_link.events import Purpose
from services.ocpp_link.payloads import BootNotificationConf, HeartbeatConf
from services.ocpp_link.state import Connecting, Now, Offline, Open, Settings, State
from services.ocpp_link.timestamps import parse_utc_ms
from services.ocpp_link.translate import id_tag_info
from services.ocpp_link.work import Work

BOOT_INTERVAL_S = 30
"""Our own choice between BootNotifications where the Central System gives none: interval 0, no answer, CALLERROR."""
HEARTBEAT_S_MAX = 86_400.0
"""At least one Heartbeat a day, for the clock (OCPP 1.6 §4.6)."""
RESET_WAIT_S = {ResetType.SOFT: 60.0, ResetType.HARD: 15.0}
"""How long transactions may take to stop before the station restarts all the same (OCPP 1.6 §5.14)."""
SECURITY_ERROR = "SecurityError"


def step(state: State, event: e.Event, now: Now) -> tuple[State, tuple[e.Effect, ...]]:
    """What `event` does to `state`; effects in the order in which they are to be done."""
    work = Work(state, now)
    match event:
        case e.ConnectionOpened():
            _opened(work)
        case e.ConnectionLost(reason=reason):
            _lost(work, reason)
        case e.FrameSeen() | e.PongSeen() | e.CallSent():
            _traffic(work, event)
        case e.CallAnswered():
            _answered(work, event)
        case e.CallFailed():
            _failed(work, event)
        case e.CallTimedOut():
            _timed_out(work, event)
        case e.CallNotSent():
            _not_sent(work, event)
        case e.ConnectorSaid(state=connector):
            statuses.said(work, connector)
        case e.AuthorizeAsked(call_id=call_id, id_tag=id_tag):
            if work.state.accepted:
                work.do(e.SendCall(Purpose.AUTHORIZE, call_id, Authorize(id_tag)))
            else:
                work.do(e.RefuseCaller(call_id, "offline"))
        case e.DeliverAsked(call_id=call_id, request=request):
            deliveries.asked(work, call_id, request)
        case e.SettingsChanged(settings=settings):
            _settings_changed(work, settings)
        case e.ResetAccepted(reset=reset):
            assert reset.type is not None
            work.set(reset=reset.type, reset_deadline_s=now.boottime_s + RESET_WAIT_S[reset.type])
            _reset_if_ready(work, ready=reset.ready)
        case e.ResetSaid(ready=ready):
            _reset_if_ready(work, ready=ready.ready and ready.type is not None)
        case e.Tick():
            _reset_if_ready(work, ready=False)
        case _:
            raise AssertionError(f"no rule for {type(event).__name__}")
    _pursue(work)
    return work.finish()


def next_deadline_s(state: State) -> float | None:
    """Boottime at which a Tick has something to do."""
    deadlines: list[float | None] = [state.reset_deadline_s]
    match state.connection:
        case Offline(next_try_s=next_try_s):
            deadlines.append(next_try_s)
        case Open(ping_due_s=ping_due_s, pong_due_s=pong_due_s) as connection:
            deadlines += [ping_due_s, pong_due_s]
            if state.accepted:
                deadlines.append(None if state.heartbeat_asked else _heartbeat_due_s(state, connection))
            elif not state.boot_asked:
                deadlines.append(state.boot_due_s)
    return min((d for d in deadlines if d is not None), default=None)


def _opened(work: Work) -> None:
    connection = work.state.connection
    failures = connection.failures if isinstance(connection, Connecting) else 0
    now_s = work.now.boottime_s
    opened = Open(since_s=now_s, last_sent_s=now_s, last_received_s=now_s, failures=failures)
    work.set(connection=_with_ping(opened, work.state.settings, now_s), connection_number=work.state.connection_number + 1)
    work.set(boot_asked=False, heartbeat_asked=False, telling=None)
    statuses.reconnected(work)
    work.set(last_failure="")
    work.note("connected to the Central System")


def _lost(work: Work, reason: str) -> None:
    state, now_s = work.state, work.now.boottime_s
    match state.connection:
        case Offline():
            return
        case Connecting(failures=failures):
            pass
        case Open(since_s=since_s, failures=failures):
            failures = 0 if now_s - since_s >= backoff.STABLE_S else failures
            work.note("connection to the Central System lost", detail=reason, warning=True)
    settings = state.settings
    wait_s = backoff.wait_s(failures, settings.reconnect_s_min, settings.reconnect_s_max, work.now.random)
    if isinstance(state.connection, Connecting) and state.last_failure != reason:
        work.note("Central System can't be reached, tried again with back-off", detail=reason, warning=True)
    work.set(connection=Offline(now_s + wait_s, failures + 1, reason), boot_asked=False, heartbeat_asked=False, telling=None)
    work.set(last_failure=reason)
    deliveries.connection_lost(work)


def _traffic(work: Work, event: e.FrameSeen | e.PongSeen | e.CallSent) -> None:
    connection, now_s = work.state.connection, work.now.boottime_s
    if not isinstance(connection, Open):
        return
    if isinstance(event, e.CallSent):
        work.set(connection=replace(connection, last_sent_s=now_s))
        return
    connection = replace(connection, last_received_s=now_s)
    if isinstance(event, e.PongSeen):
        connection = _with_ping(replace(connection, pong_due_s=None), work.state.settings, now_s)
    work.set(connection=connection)


def _answered(work: Work, event: e.CallAnswered) -> None:
    match event.purpose, event.conf:
        case Purpose.BOOT, BootNotificationConf() as conf:
            _registered(work, conf)
        case Purpose.HEARTBEAT, HeartbeatConf(current_time=current_time):
            work.set(heartbeat_asked=False, last_heartbeat_s=work.now.boottime_s)
            _believe_time(work, current_time)
        case Purpose.VERIFY, HeartbeatConf(current_time=current_time):
            _believe_time(work, current_time)
            deliveries.verified(work)
        case Purpose.STATUS, _:
            statuses.acknowledged(work)
        case Purpose.AUTHORIZE, conf:
            work.do(e.AnswerCaller(event.tag, id_tag_info(conf) or IdTagInfo(AuthorizationStatus.INVALID)))
        case Purpose.DELIVER, conf:
            deliveries.delivered(work, event.tag, conf)


def _believe_time(work: Work, current_time: str) -> None:
    utc_ms = parse_utc_ms(current_time)
    if utc_ms is None:
        work.note("Central System's currentTime is no date and time, it is ignored", detail=current_time[:40], warning=True)
    else:
        work.do(e.BelieveTime(utc_ms))


def _registered(work: Work, conf: BootNotificationConf) -> None:
    before = work.state.registration
    work.set(registration=conf.status, boot_asked=False, interval_s=conf.interval_s)
    _believe_time(work, conf.current_time)
    if conf.status is RegistrationStatus.ACCEPTED:
        if conf.interval_s > 0:
            work.do(e.SetHeartbeatInterval(conf.interval_s))
            work.set(settings=replace(work.state.settings, heartbeat_interval_s=conf.interval_s))
        work.set(last_heartbeat_s=work.now.boottime_s)
        if not work.state.ever_accepted:
            work.set(ever_accepted=True)
            work.do(e.KeepAccepted())
        statuses.accepted(work)
    else:
        work.set(boot_due_s=work.now.boottime_s + (conf.interval_s or BOOT_INTERVAL_S))
    if before is not conf.status:
        work.note("Central System answers BootNotification", detail=f"{conf.status}, interval {conf.interval_s} s")
    work.do(e.KeepSession())


def _failed(work: Work, event: e.CallFailed) -> None:
    if event.code == SECURITY_ERROR:
        _not_accepted(work, event.reason)
    reason = f"{event.code}: {event.reason}" if event.reason else event.code
    match event.purpose:
        case Purpose.BOOT:
            work.set(boot_asked=False, boot_due_s=work.now.boottime_s + _boot_interval_s(work.state))
            work.note("BootNotification failed, it is sent again", detail=reason, warning=True)
        case Purpose.HEARTBEAT:
            work.set(heartbeat_asked=False, last_heartbeat_s=work.now.boottime_s)
        case Purpose.VERIFY:
            # A CALLERROR is an answer all the same: the Central System is there.
            deliveries.verified(work)
        case Purpose.STATUS:
            statuses.refused(work, reason)
        case Purpose.AUTHORIZE:
            work.do(e.RefuseCaller(event.tag, reason))
        case Purpose.DELIVER:
            deliveries.failed(work, event.tag, reason, security=event.code == SECURITY_ERROR)


def _not_accepted(work: Work, reason: str) -> None:
    """CALLERROR SecurityError to anything means that we are not accepted (OCPP-J errata 3.8)."""
    if work.state.registration is not None:
        work.set(registration=None, boot_asked=False, boot_due_s=work.now.boottime_s)
        work.note("Central System answers SecurityError, BootNotification is sent again", detail=reason, warning=True)
        work.do(e.KeepSession())


def _timed_out(work: Work, event: e.CallTimedOut) -> None:
    match event.purpose:
        case Purpose.BOOT:
            work.set(boot_asked=False, boot_due_s=work.now.boottime_s + _boot_interval_s(work.state))
            work.note("no answer to BootNotification, it is sent again", warning=True)
        case Purpose.HEARTBEAT | Purpose.VERIFY:
            work.do(e.CloseConnection("the Central System does not answer a Heartbeat"))
        case Purpose.STATUS:
            work.set(telling=None)
            work.do(e.CloseConnection("the Central System does not answer a StatusNotification"))
        case Purpose.AUTHORIZE:
            work.do(e.RefuseCaller(event.tag, "no answer within MessageTimeout"))
        case Purpose.DELIVER:
            deliveries.timed_out(work, event.tag)


def _not_sent(work: Work, event: e.CallNotSent) -> None:
    match event.purpose:
        case Purpose.BOOT:
            work.set(boot_asked=False)
        case Purpose.HEARTBEAT | Purpose.VERIFY:
            work.set(heartbeat_asked=False)
        case Purpose.STATUS:
            work.set(telling=None)
        case Purpose.AUTHORIZE:
            work.do(e.RefuseCaller(event.tag, "connection lost"))
        case Purpose.DELIVER:
            deliveries.connection_lost(work)


def _settings_changed(work: Work, settings: Settings) -> None:
    ping_changed = settings.ping_interval_s != work.state.settings.ping_interval_s
    work.set(settings=settings)
    connection = work.state.connection
    if isinstance(connection, Open) and ping_changed:
        work.set(connection=_with_ping(replace(connection, pong_due_s=None), settings, work.now.boottime_s))


def _with_ping(connection: Open, settings: Settings, now_s: float) -> Open:
    due_s = now_s + settings.ping_interval_s if settings.ping_interval_s > 0 else None
    return replace(connection, ping_due_s=due_s)


def _boot_interval_s(state: State) -> int:
    return state.interval_s or BOOT_INTERVAL_S


def _heartbeat_due_s(state: State, connection: Open) -> float | None:
    """After a time without any CALL of ours, and once a day for the clock (OCPP 1.6 §4.6)."""
    daily_s = state.last_heartbeat_s + HEARTBEAT_S_MAX
    interval_s = state.settings.heartbeat_interval_s
    return min(daily_s, connection.last_sent_s + interval_s) if interval_s > 0 else daily_s


def _reset_if_ready(work: Work, *, ready: bool) -> None:
    state = work.state
    if state.reset is None or state.reset_deadline_s is None:
        return
    if ready or state.reset_deadline_s <= work.now.boottime_s:
        work.note("station restarts because of Reset", detail=str(state.reset), warning=True)
        work.set(reset_deadline_s=None, registration=None)
        work.do(e.KeepSession())
        work.do(e.RestartStation(hard=state.reset is ResetType.HARD))


def _pursue(work: Work) -> None:
    """Send whatever the facts now allow."""
    now_s = work.now.boottime_s
    match work.state.connection:
        case Offline(next_try_s=next_try_s, failures=failures) if next_try_s <= now_s:
            work.set(connection=Connecting(failures))
            work.do(e.Connect())
        case Open() as connection:
            _pursue_pings(work, connection)
            if work.state.registration is not RegistrationStatus.ACCEPTED:
                if not work.state.boot_asked and work.state.boot_due_s <= now_s:
                    work.set(boot_asked=True)
                    work.do(e.SendCall(Purpose.BOOT, "boot"))
                return
            statuses.tell(work)
            due_s = _heartbeat_due_s(work.state, connection)
            if due_s is not None and due_s <= now_s and not work.state.heartbeat_asked:
                work.set(heartbeat_asked=True)
                work.do(e.SendCall(Purpose.HEARTBEAT, "heartbeat"))


def _pursue_pings(work: Work, connection: Open) -> None:
    now_s = work.now.boottime_s
    if connection.pong_due_s is not None:
        if connection.pong_due_s <= now_s:
            work.set(connection=replace(connection, pong_due_s=None, ping_due_s=None))
            work.do(e.CloseConnection("no pong came back"))
    elif connection.ping_due_s is not None and connection.ping_due_s <= now_s:
        pong_due_s = now_s + work.state.settings.pong_timeout_s
        work.set(connection=replace(connection, ping_due_s=None, pong_due_s=pong_due_s))
        work.do(e.SendPing())
