"""The link decides here: connection, registration, heartbeat, pings, statuses (pure).

`step(state, event, now)` gives the new state and ordered effects. An event changes facts; then `_pursue` sends whatever
the facts now allow. There is one reconnect loop: every way of losing the connection ends in `_lost`, and only Offline
leads to Connect. Transaction messages are in `deliveries.py`, other MeterValues in `meter_values.py`, statuses in
`statuses.py`, what TriggerMessage asks for in `triggers.py`, the end of a Reset in `resets.py`.

Owns: OCPP-J 1.6 §5 (connection), OCPP 1.6 §4.2 (BootNotification), §4.6 (Heartbeat). Does not: frame or time CALLs (`rpc.py`).
"""

from msgspec.structs import replace

from bus.messages import Authorize, IdTagInfo
from bus.vocabulary import AuthorizationStatus, RegistrationStatus
from services.ocpp_link import backoff, deliveries, meter_values, resets, statuses, triggers
from services.ocpp_link import events as e
from services.ocpp_link.clock import plausible
from services.ocpp_link.events import Purpose
from services.ocpp_link.payloads import BootNotificationConf, HeartbeatConf
from services.ocpp_link.state import Connecting, Now, Offline, Open, Settings, State
from services.ocpp_link.timestamps import parse_utc_ms
from services.ocpp_link.translate import id_tag_info
from services.ocpp_link.work import Work

AUTHORIZE_MAX = 8
"""More idTags than this don't wait at once: with the other CALLs they stay below what `rpc.py` lets wait."""
BOOT_INTERVAL_S = 30
"""Our own choice between BootNotifications where the Central System gives none: interval 0, no answer, CALLERROR."""
BOOT_PACE_S = 10.0
BOOTS_UNANSWERED_MAX = 3
"""Then the connection is made anew."""
HEARTBEAT_S_MAX = 86_400.0
"""At least one Heartbeat a day, for the clock (OCPP 1.6 §4.6)."""
SECURITY_ERROR = "SecurityError"


def step(state: State, event: e.Event, now: Now) -> tuple[State, tuple[e.Effect, ...]]:
    """What `event` does to `state`; effects in the order in which they are to be done."""
    if isinstance(event, e.FrameSeen | e.CallSent):
        return _traffic(state, event, now.boottime_s), ()
    work = Work(state, now)
    match event:
        case e.ConnectionOpened():
            _opened(work)
        case e.ConnectionLost(reason=reason):
            _lost(work, reason)
        case e.PongSeen():
            _pong_seen(work)
        case e.SendFailed():
            work.end_connection("frames can't be sent as fast as they come")
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
        case e.WatchdogSaid(trouble=trouble):
            statuses.watchdog_said(work, trouble)
        case e.MeterValuesSaid(values=values):
            meter_values.said(work, values)
        case e.AuthorizeAsked():
            _authorize_asked(work, event)
        case e.DeliverAsked(call_id=call_id, request=request):
            deliveries.asked(work, call_id, request)
        case e.CallerGone(call_id=call_id):
            _caller_gone(work, call_id)
        case e.SettingsChanged(settings=settings):
            _settings_changed(work, settings)
        case e.CredentialsChanged():
            # Security whitepaper A01: disconnect and connect with the new password, once the answer is out.
            work.end_connection("the AuthorizationKey was changed")
        case e.ResetAccepted(reset=reset):
            assert reset.type is not None
            resets.accepted(work, reset.type, ready=reset.ready)
        case e.ResetSaid(ready=ready):
            resets.said(work, ready)
        case e.RestartFailed(reason=reason):
            resets.failed(work, reason)
        case e.QueueSaid(depth=depth):
            work.set(queue_depth=depth)
            if depth is not None:
                deliveries.tell_again(work)
        case e.Triggered():
            triggers.send(work, event)
        case e.Tick():
            pass
        case _:
            raise AssertionError(f"no rule for {type(event).__name__}")
    _pursue(work)
    return work.finish()


def next_deadline_s(state: State) -> float | None:
    """Boottime at which a Tick has something to do."""
    deadlines: list[float | None] = [resets.next_deadline_s(state)]
    match state.connection:
        case Offline(next_try_s=next_try_s):
            deadlines.append(next_try_s)
        case Open(closing_until_s=float() as closing_until_s):
            deadlines.append(closing_until_s)
        case Open(ping_due_s=ping_due_s, pong_due_s=pong_due_s) as connection:
            deadlines += [ping_due_s, pong_due_s]
            if state.flapping:
                deadlines.append(connection.since_s + backoff.STABLE_S)
            if state.accepted:
                deadlines.append(None if state.heartbeat_asked else _heartbeat_due_s(state, connection))
                deadlines.append(statuses.next_deadline_s(state))
            elif not state.boot_asked:
                deadlines.append(state.boot_due_s)
    return min((d for d in deadlines if d is not None), default=None)


def _opened(work: Work) -> None:
    now_s, settings = work.now.boottime_s, work.state.settings
    _forget_calls(work)
    opened = Open(since_s=now_s, last_sent_s=now_s, last_received_s=now_s, failures=work.state.connection.failures)
    work.set(connection=_with_ping(opened, settings, now_s), connection_number=work.state.connection_number + 1)
    work.set(boots_unanswered=0)
    statuses.reconnected(work)
    # The number is on the disk before anything is sent: it is never used for another connection (design §4.10).
    work.do(e.KeepSession())
    if not work.state.flapping:
        work.note("connected to the Central System")


def _lost(work: Work, reason: str) -> None:
    """However the connection was lost: from here only Offline leads on, to Connect."""
    state, now_s = work.state, work.now.boottime_s
    repeated = reason == state.last_failure
    match state.connection:
        case Offline():
            return
        case Connecting(failures=failures):
            if not repeated:
                work.note("Central System can't be reached, tried again with back-off", detail=reason, warning=True)
            work.set(flapping=state.flapping and repeated)
        case Open(since_s=since_s, failures=failures):
            stable = now_s - since_s >= backoff.STABLE_S
            failures, repeated = (0, False) if stable else (failures, repeated)
            if not repeated:
                work.note("connection to the Central System lost", detail=reason, warning=True)
            elif not state.flapping:
                work.note("connections are made and lost again and again", detail=reason, warning=True)
            work.set(flapping=repeated)
    settings = state.settings
    wait_s = backoff.wait_s(failures, settings.reconnect_s_min, settings.reconnect_s_max, work.now.random)
    work.set(connection=Offline(now_s + wait_s, failures + 1, reason), last_failure=reason)
    _forget_calls(work)


def _forget_calls(work: Work) -> None:
    """Nothing that was asked on the connection before will be answered."""
    authorizing = work.state.authorizing
    work.set(boot_asked=False, heartbeat_asked=False, telling=None, authorizing=())
    work.set(meter_values_under_way=0, triggered_under_way=0)
    for call_id in authorizing:
        work.do(e.RefuseCaller(call_id, "connection lost"))
    deliveries.connection_lost(work)


def _traffic(state: State, event: e.FrameSeen | e.CallSent, now_s: float) -> State:
    """Each frame puts off what is due next, and does nothing else: that is left to the Tick."""
    connection = state.connection
    if not isinstance(connection, Open):
        return state
    if isinstance(event, e.CallSent):
        return replace(state, connection=replace(connection, last_sent_s=now_s))
    return replace(state, connection=replace(connection, last_received_s=now_s))


def _pong_seen(work: Work) -> None:
    connection, now_s = work.state.connection, work.now.boottime_s
    if isinstance(connection, Open):
        connection = replace(connection, last_received_s=now_s, pong_due_s=None)
        work.set(connection=_with_ping(connection, work.state.settings, now_s))


def _authorize_asked(work: Work, asked: e.AuthorizeAsked) -> None:
    authorizing, call_id = work.state.authorizing, asked.call_id
    if not work.state.accepted:
        work.do(e.RefuseCaller(call_id, "offline"))
    elif len(authorizing) >= AUTHORIZE_MAX:
        work.do(e.RefuseCaller(call_id, f"{AUTHORIZE_MAX} idTags wait for the Central System already"))
    elif call_id not in authorizing:
        work.set(authorizing=(*authorizing, call_id))
        work.do(e.SendCall(Purpose.AUTHORIZE, call_id, Authorize(asked.id_tag, asked.correlation_id), caller_id=call_id))


def _authorize_ended(work: Work, call_id: str, effect: e.AnswerCaller | e.RefuseCaller) -> None:
    """Answer the call, once: nobody waits for a late Authorize.conf."""
    if call_id in work.state.authorizing:
        work.set(authorizing=tuple(one for one in work.state.authorizing if one != call_id))
        work.do(effect)


def _caller_gone(work: Work, call_id: str) -> None:
    if call_id in work.state.authorizing:
        work.do(e.TakeBack(Purpose.AUTHORIZE, call_id))
    deliveries.caller_gone(work, call_id)


def _answered(work: Work, event: e.CallAnswered) -> None:
    match event.purpose, event.conf:
        case Purpose.BOOT, BootNotificationConf() as conf:
            _registered(work, conf, late=event.late)
        case Purpose.DELIVER, conf:
            deliveries.delivered(work, event.tag, conf)
        case _ if event.late:
            # What it would have told has been settled when its time was over.
            pass
        case Purpose.HEARTBEAT, HeartbeatConf(current_time=current_time):
            work.set(heartbeat_asked=False, last_heartbeat_s=work.now.boottime_s)
            _believe_time(work, current_time)
        case Purpose.VERIFY, HeartbeatConf(current_time=current_time):
            work.set(last_heartbeat_s=work.now.boottime_s)
            _believe_time(work, current_time)
            deliveries.verified(work, event.tag)
        case Purpose.STATUS, _:
            statuses.acknowledged(work)
        case Purpose.METER_VALUES, _:
            meter_values.ended(work)
        case Purpose.TRIGGERED, conf:
            triggers.ended(work, event.tag)
            if isinstance(conf, HeartbeatConf):
                work.set(last_heartbeat_s=work.now.boottime_s)
                _believe_time(work, conf.current_time)
        case Purpose.AUTHORIZE, conf:
            answer = id_tag_info(conf) or IdTagInfo(AuthorizationStatus.INVALID)
            _authorize_ended(work, event.tag, e.AnswerCaller(event.tag, answer))


def _believe_time(work: Work, current_time: str) -> None:
    """OCPP 1.6 §4.2, §4.6. A time that can't be true is not believed: nothing goes out dated 1970 (design §5)."""
    utc_ms = parse_utc_ms(current_time)
    usable = utc_ms is not None and plausible(utc_ms)
    if utc_ms is not None and usable:
        work.do(e.BelieveTime(utc_ms))
    elif not work.state.time_refused:
        work.note("Central System's currentTime can't be true, it is ignored", detail=current_time[:40], warning=True)
    work.set(time_refused=not usable)


def _registered(work: Work, conf: BootNotificationConf, *, late: bool) -> None:
    """BootNotification.conf (OCPP 1.6 §4.2). A late one counts too, if no other has said more in the meantime."""
    before = work.state.registration
    if late and before is RegistrationStatus.ACCEPTED:
        return
    work.set(registration=conf.status, boot_asked=False, boots_unanswered=0, boot_failure="", interval_s=conf.interval_s)
    if not late:
        _believe_time(work, conf.current_time)
    if conf.status is RegistrationStatus.ACCEPTED:
        if conf.interval_s > 0:
            work.do(e.SetHeartbeatInterval(conf.interval_s))
            work.set(settings=replace(work.state.settings, heartbeat_interval_s=conf.interval_s))
        work.set(last_heartbeat_s=work.now.boottime_s, accepted_at_s=work.now.boottime_s)
        if not work.state.ever_accepted:
            work.set(ever_accepted=True)
            work.do(e.KeepAccepted())
        if before is not RegistrationStatus.ACCEPTED:
            statuses.accepted(work)
    else:
        work.set(boot_due_s=work.now.boottime_s + (conf.interval_s or BOOT_INTERVAL_S))
        if before is RegistrationStatus.ACCEPTED:
            work.do(e.DropWaiting())
    if before is not conf.status:
        work.note("Central System answers BootNotification", detail=f"{conf.status}, interval {conf.interval_s} s")
    work.do(e.KeepSession())


def _failed(work: Work, event: e.CallFailed) -> None:
    security = event.code == SECURITY_ERROR
    reason = f"{event.code}: {event.reason}" if event.reason else event.code
    if security:
        _not_accepted(work, reason)
    match event.purpose:
        case Purpose.DELIVER:
            deliveries.failed(work, event.tag, reason, security=security)
        case _ if event.late:
            pass
        case Purpose.BOOT:
            work.set(boots_unanswered=0)
            _boot_failed(work, reason)
        case Purpose.HEARTBEAT:
            work.set(heartbeat_asked=False, last_heartbeat_s=work.now.boottime_s)
        case Purpose.VERIFY if security:
            deliveries.unverifiable(work, event.tag, "a Heartbeat met SecurityError after a transaction message met silence")
        case Purpose.VERIFY:
            # A CALLERROR is an answer all the same: the Central System is there.
            deliveries.verified(work, event.tag)
        case Purpose.STATUS if security:
            statuses.unanswered(work)
        case Purpose.STATUS:
            statuses.refused(work, reason)
        case Purpose.METER_VALUES:
            meter_values.ended(work, reason)
        case Purpose.TRIGGERED:
            triggers.ended(work, event.tag, reason)
        case Purpose.AUTHORIZE:
            _authorize_ended(work, event.tag, e.RefuseCaller(event.tag, reason))


def _boot_failed(work: Work, reason: str) -> None:
    """CALLERROR or silence: again after the interval of Pending or Rejected, else after our own."""
    waits = work.state.registration in (RegistrationStatus.PENDING, RegistrationStatus.REJECTED)
    interval_s = (work.state.interval_s if waits else 0) or BOOT_INTERVAL_S
    if work.state.boot_failure != reason:
        work.note("BootNotification failed, it is sent again", detail=reason, warning=True)
    work.set(boot_asked=False, boot_failure=reason, boot_due_s=work.now.boottime_s + interval_s)


def _not_accepted(work: Work, reason: str) -> None:
    """CALLERROR SecurityError to anything means that we are not accepted (OCPP-J errata 3.8).

    Choice: BootNotification follows at once, but not within BOOT_PACE_S of the last acceptance: a Central System that
    accepts the station and refuses all it sends would be flooded.
    """
    if work.state.registration is not RegistrationStatus.ACCEPTED:
        return
    now_s, accepted_at_s = work.now.boottime_s, work.state.accepted_at_s
    due_s = now_s if accepted_at_s is None else max(now_s, accepted_at_s + BOOT_PACE_S)
    work.set(registration=None, boot_due_s=due_s)
    work.note("Central System answers SecurityError, BootNotification is sent again", detail=reason, warning=True)
    work.do(e.KeepSession())
    work.do(e.DropWaiting())


def _timed_out(work: Work, event: e.CallTimedOut) -> None:
    match event.purpose:
        case Purpose.BOOT:
            _boot_failed(work, "no answer")
            work.set(boots_unanswered=work.state.boots_unanswered + 1)
            if work.state.boots_unanswered >= BOOTS_UNANSWERED_MAX:
                # A proxy may hold the connection for a Central System that is gone.
                work.end_connection("the Central System does not answer BootNotification")
        case Purpose.HEARTBEAT | Purpose.VERIFY:
            work.end_connection("the Central System does not answer a Heartbeat")
        case Purpose.STATUS:
            work.note("no answer to a StatusNotification", warning=True)
            statuses.unanswered(work)
            _ask_for_life(work)
        case Purpose.METER_VALUES:
            meter_values.ended(work, "no answer")
            _ask_for_life(work)
        case Purpose.TRIGGERED:
            triggers.ended(work, event.tag, "no answer")
            _ask_for_life(work)
        case Purpose.AUTHORIZE:
            _authorize_ended(work, event.tag, e.RefuseCaller(event.tag, "no answer within MessageTimeout"))
            _ask_for_life(work)
        case Purpose.DELIVER:
            deliveries.timed_out(work, event.tag)


def _ask_for_life(work: Work) -> None:
    """Silence: a Heartbeat tells whether the Central System is there at all; without its answer the connection ends."""
    if work.state.accepted and not work.state.heartbeat_asked:
        work.set(heartbeat_asked=True)
        work.do(e.SendCall(Purpose.HEARTBEAT, "heartbeat"))


def _not_sent(work: Work, event: e.CallNotSent) -> None:
    """The connection went, or the CALL was taken back. Nothing is tried again at once: that could go on for ever."""
    connection, now_s = work.state.connection, work.now.boottime_s
    match event.purpose:
        case Purpose.BOOT:
            due_s = now_s + BOOT_INTERVAL_S if work.state.usable else work.state.boot_due_s
            work.set(boot_asked=False, boot_due_s=due_s)
        case Purpose.HEARTBEAT:
            work.set(heartbeat_asked=False)
            if isinstance(connection, Open):
                work.set(connection=replace(connection, last_sent_s=now_s), last_heartbeat_s=now_s)
        case Purpose.VERIFY:
            deliveries.unverifiable(work, event.tag, "no Heartbeat could be sent after a transaction message met silence")
        case Purpose.STATUS:
            statuses.unanswered(work)
        case Purpose.METER_VALUES:
            meter_values.ended(work)
        case Purpose.TRIGGERED:
            triggers.ended(work, event.tag)
        case Purpose.AUTHORIZE:
            _authorize_ended(work, event.tag, e.RefuseCaller(event.tag, event.reason))
        case Purpose.DELIVER:
            deliveries.not_sent(work, event.tag, event.reason)


def _settings_changed(work: Work, settings: Settings) -> None:
    ping_changed = settings.ping_interval_s != work.state.settings.ping_interval_s
    work.set(settings=settings)
    connection = work.state.connection
    if isinstance(connection, Open) and ping_changed:
        work.set(connection=_with_ping(replace(connection, pong_due_s=None), settings, work.now.boottime_s))


def _with_ping(connection: Open, settings: Settings, now_s: float) -> Open:
    due_s = now_s + settings.ping_interval_s if settings.ping_interval_s > 0 else None
    return replace(connection, ping_due_s=due_s)


def _heartbeat_due_s(state: State, connection: Open) -> float:
    """After a time without any CALL of ours, and once a day for the clock (OCPP 1.6 §4.6)."""
    daily_s = state.last_heartbeat_s + HEARTBEAT_S_MAX
    interval_s = state.settings.heartbeat_interval_s
    return min(daily_s, connection.last_sent_s + interval_s) if interval_s > 0 else daily_s


def _pursue(work: Work) -> None:
    """Send whatever the facts now allow."""
    resets.pursue(work)
    now_s = work.now.boottime_s
    match work.state.connection:
        case Offline(next_try_s=next_try_s, failures=failures) if next_try_s <= now_s:
            work.set(connection=Connecting(failures))
            work.do(e.Connect())
        case Open(closing_until_s=float() as until_s, closing_reason=reason):
            if until_s <= now_s:
                _lost(work, reason)
        case Open() as connection:
            _pursue_stability(work, connection)
            _pursue_pings(work, connection)
            if work.state.accepted:
                statuses.tell(work)
                if not work.state.heartbeat_asked and _heartbeat_due_s(work.state, connection) <= now_s:
                    work.set(heartbeat_asked=True)
                    work.do(e.SendCall(Purpose.HEARTBEAT, "heartbeat"))
            elif work.state.usable and not work.state.boot_asked and work.state.boot_due_s <= now_s:
                work.set(boot_asked=True)
                work.do(e.SendCall(Purpose.BOOT, "boot"))


def _pursue_stability(work: Work, connection: Open) -> None:
    if work.state.flapping and connection.since_s + backoff.STABLE_S <= work.now.boottime_s:
        work.set(flapping=False)
        work.note("connection to the Central System is stable again")


def _pursue_pings(work: Work, connection: Open) -> None:
    now_s = work.now.boottime_s
    if connection.pong_due_s is not None:
        if connection.pong_due_s <= now_s:
            work.end_connection("no pong came back")
    elif connection.ping_due_s is not None and connection.ping_due_s <= now_s:
        pong_due_s = now_s + work.state.settings.pong_timeout_s
        work.set(connection=replace(connection, ping_due_s=None, pong_due_s=pong_due_s))
        work.do(e.SendPing())
