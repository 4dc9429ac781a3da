"""The link: joins session core, RPC core, configuration and bus, and does the effects in their order.

Owns: how frames become events and effects become frames. Does not: decide (`core.py`, `rpc.py`, `routes.py`), open sockets
or files; all that is handed in, so that tests and simulation run this very class.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Protocol

import msgspec

from bus import chance
from bus import messages as m
from bus import profile_messages as pm
from bus.calls import IncomingCall, Reply
from bus.key_messages import ChangeKey
from bus.logs import Logger, utc_text
from bus.node import Node
from bus.vocabulary import MessageTrigger, RegistrationStatus, ResetStatus, TriggerMessageStatus
from services.configuration.model import StationConfig
from services.configuration.store import ConfigurationStore
from services.ocpp_link import clock as clocks
from services.ocpp_link import core, kept, payloads, profile_payloads, refusals, routes, rpc, translate, triggers, work
from services.ocpp_link import events as e
from services.ocpp_link.actions import ACTIONS, Malformed, decode_call, decode_conf, encode, outgoing_problem
from services.ocpp_link.call_error import CallError, ErrorCode
from services.ocpp_link.configuration import Configuration
from services.ocpp_link.events import Purpose
from services.ocpp_link.frame_log import NOTHING, About, about
from services.ocpp_link.latency import Latency
from services.ocpp_link.masking import masked
from services.ocpp_link.refusals import Asked
from services.ocpp_link.state import Now, Open, State

MALFORMED = "malformed answer"
"""Stands where the code of a CALLERROR would, for an answer that is not valid for its action."""
SEEN_REFRESH_S = 5.0
"""How often the age of the last received frame is told on the bus."""


class Socket(Protocol):
    """The WebSocket, as far as the service commands it; what happens there comes back through `on_…`."""

    def connect(self) -> None:
        """Open it; on_connected or on_lost follows."""

    def send(self, text: str, about: About = NOTHING) -> bool:
        """Queue a text frame; False if it can't be taken. `about`: for its line in the log of frames, which is the socket's."""

    def ping(self) -> None:
        """Send a ping; on_pong follows."""

    def close(self, reason: str) -> None:
        """Close it; on_lost follows."""


class Board(msgspec.Struct):
    """Everything of the process that the service does not own: injected."""

    node: Node
    store: ConfigurationStore
    socket: Socket
    log: Logger
    boot_id: str
    """Of the application boot."""
    random: Callable[[], float]
    system_utc_s: Callable[[], float]
    restart_station: Callable[[bool], str]
    """Restart (True: Hard); why that is not possible, or empty. The process may end in it."""


class LinkService:
    """Feeds frames, bus and time to the cores, and does what they answer."""

    def __init__(self, board: Board, config: StationConfig) -> None:
        self._board = board
        self._node = board.node
        self._log = board.log
        self._config = config
        self._configuration = Configuration(board.store, config)
        self._rpc = rpc.Rpc()
        self.latency = Latency()
        self._calls: dict[str, tuple[Purpose, str, str]] = {}
        """Our CALLs that may still be answered, by unique id: why, tag, action."""
        self._about: dict[str, About] = {}
        """For the log of frames, of CALLs that wait to be sent."""
        self._callers: dict[str, IncomingCall] = {}
        """Calls of the bus that wait for us."""
        self._owner_call: str | None = None
        """Our call to the owner of the Central System's CALL that is being worked on."""
        self._unkept: set[str] = set()
        """What the disk did not take; the log has said so."""
        self._events: deque[e.Event] = deque()
        self._feeding = False
        self._seen_told_s = 0.0
        self._state = State(
            settings=self._configuration.session_settings(),
            ever_accepted=board.store.ever_accepted(config.central_system.url),
        )
        known: dict[str, str] = {}
        self._keep("which application boot this is", lambda: known.update(board.store.begin_session(board.boot_id)))
        self._state = kept.restored(self._state, known)
        self._clock = kept.restored_clock(clocks.Clock(floor_utc_ms=board.store.known_utc_ms()), known)
        self._listen()
        self._node.publish(m.ConfigurationState(self._configuration.public()))
        self._node.publish(self._clock.state())
        self._publish_link()

    def on_connected(self) -> None:
        """The WebSocket is open."""
        self._keep("which AuthorizationKey is right", self._key_accepted)
        self._rpc_step(rpc.Opened())
        self._feed(e.ConnectionOpened())

    def on_lost(self, reason: str, *, unauthorized: bool = False) -> None:
        """The WebSocket could not be opened, or is gone. `unauthorized`: the Central System refused the password."""
        if unauthorized and self._configuration.key_refused():
            self._log.warning("AuthorizationKey is refused, the other one is tried: it was changed and never worked yet")
        # The core first: what it hears of single CALLs afterwards must not look as if the connection still stood.
        self._feed(e.ConnectionLost(reason))
        self._end_rpc(reason)

    def on_frame(self, text: str) -> None:
        """A text frame came."""
        self._feed(e.FrameSeen())
        self._rpc_step(rpc.FrameReceived(text))

    def on_binary(self, size_bytes: int) -> None:
        """A binary frame came."""
        self._feed(e.FrameSeen())
        self._rpc_step(rpc.BinaryReceived(size_bytes))

    def on_ping(self) -> None:
        """The Central System pinged, and has its pong: a sign of life."""
        self._feed(e.FrameSeen())

    def on_pong(self) -> None:
        """A pong came."""
        self._feed(e.PongSeen())

    def authorization_key(self) -> str:
        """The password of security profiles 1 and 2, as it is now."""
        return self._configuration.authorization_key()

    def system_clock(self, utc_offset_s: float, *, synchronised: bool) -> None:
        """What the system clock says now."""
        self._believe(clocks.system_clock_seen(self._clock, utc_offset_s, synchronised=synchronised))

    def tick(self) -> None:
        """Do what time demands."""
        now_s = self._node.now()
        rpc_due_s, due_s = rpc.next_deadline_mono_s(self._rpc), core.next_deadline_s(self._state)
        if rpc_due_s is not None and rpc_due_s <= now_s:
            self._rpc_step(rpc.Tick())
        if due_s is not None and due_s <= now_s:
            self._feed(e.Tick())
        if isinstance(self._state.connection, Open) and self._seen_told_s + SEEN_REFRESH_S <= now_s:
            self._publish_link()

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        refresh_s = self._seen_told_s + SEEN_REFRESH_S if isinstance(self._state.connection, Open) else None
        deadlines = (rpc.next_deadline_mono_s(self._rpc), core.next_deadline_s(self._state), refresh_s)
        return min((d for d in deadlines if d is not None), default=None)

    def _listen(self) -> None:
        node = self._node
        node.watch(m.ConnectorState, lambda _, state: self._feed(e.ConnectorSaid(state)))
        node.watch(m.WatchdogState, lambda _, said: self._feed(e.WatchdogSaid(said.trouble)))
        node.on_event(m.ConnectorMeterValues, lambda _, values: self._feed(e.MeterValuesSaid(values)))
        node.watch(m.ResetReady, lambda _, ready: self._feed(e.ResetSaid(ready)))
        node.watch(
            m.QueueState,
            lambda _, state: self._feed(e.QueueSaid(state.depth)),
            lambda _: self._feed(e.QueueSaid(None)),
        )
        node.serve(m.Authorize, lambda r, call: self._called(call, e.AuthorizeAsked(call.call_id, r.id_tag, r.correlation_id)))
        node.serve(m.Deliver, lambda request, call: self._called(call, e.DeliverAsked(call.call_id, request)))
        node.serve(ChangeKey, self._change_by_hand)
        node.on_cancel(self._cancelled)

    def _called(self, call: IncomingCall, event: e.Event) -> None:
        self._callers[call.call_id] = call
        self._feed(event)

    def _cancelled(self, call_id: str) -> None:
        if call_id in self._callers:
            self._feed(e.CallerGone(call_id))
            self._callers.pop(call_id, None)

    def _end_rpc(self, reason: str) -> None:
        """All calls of the connection end, and what an owner was asked for is taken back: nobody would see its answer."""
        if not self._rpc.open:
            return
        if self._owner_call is not None:
            self._node.cancel(self._owner_call)
            self._owner_call = None
        self._rpc_step(rpc.Closed(reason))
        self._calls.clear()
        self._about.clear()

    def _feed(self, event: e.Event) -> None:
        """One event and all its effects; events that an effect causes wait for their turn."""
        self._events.append(event)
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._events:
                now = Now(self._node.now(), self._board.random())
                self._state, effects = core.step(self._state, self._events.popleft(), now)
                for effect in effects:
                    self._do(effect)
        finally:
            self._feeding = False

    def _do(self, effect: e.Effect) -> None:
        match effect:
            case e.Connect():
                self._end_rpc("replaced by a new connection")
                self._board.socket.connect()
            case e.CloseConnection(reason=reason):
                self._board.socket.close(reason)
            case e.SendPing():
                self._board.socket.ping()
            case e.SendCall():
                self._send_call(effect)
            case e.DropWaiting():
                self._take_back(call.unique_id for call in self._rpc.waiting)
            case e.TakeBack(purpose=purpose, tag=tag):
                self._take_back(one for one, call in self._calls.items() if call[:2] == (purpose, tag))
            case e.AnswerCaller(call_id=call_id, answer=answer):
                if call := self._callers.pop(call_id, None):
                    call.answer(answer)
            case e.RefuseCaller(call_id=call_id, reason=reason):
                if call := self._callers.pop(call_id, None):
                    call.refuse(reason)
            case e.TellLateReport(report=report):
                self._node.emit(report)
            case e.KeepSession():
                facts = kept.facts(self._state)
                self._keep("the session", lambda: self._board.store.keep(self._board.boot_id, facts))
            case e.KeepAccepted():
                url, since_utc = self._config.central_system.url, self._utc_text()
                self._keep("that the station was accepted", lambda: self._board.store.set_accepted(url, since_utc))
            case e.SetHeartbeatInterval(interval_s=interval_s):
                self._keep("HeartbeatInterval", lambda: self._set_heartbeat_interval(interval_s))
            case e.BelieveTime(utc_ms=utc_ms):
                self._believe(clocks.central_system_seen(self._clock, utc_ms, self._node.now()))
            case e.PublishLink():
                self._publish_link()
            case e.RestartStation(hard=hard):
                if reason := self._board.restart_station(hard):
                    self._feed(e.RestartFailed(reason))
            case e.AskReset(type=type_):
                self._node.call(m.Reset(type_), timeout_s=routes.OWNER_TIMEOUT_S, on_reply=lambda _: None)
            case e.Note(text=text, detail=detail, warning=warning, correlation_id=name):
                (self._log.warning if warning else self._log.info)(text, detail=detail, correlation_id=name or None)
            case _:
                raise AssertionError(f"no way to do {type(effect).__name__}")

    def _keep(self, what: str, write: Callable[[], None]) -> bool:
        """Write to the disk. A disk that fails is told once, and the session goes on: it charges cars all the same."""
        try:
            write()
        except sqlite3.Error as error:
            if what not in self._unkept:
                self._log.error("configuration.db can't be written, check the disk", not_kept=what, reason=error)
            self._unkept.add(what)
            return False
        self._unkept.discard(what)
        return True

    def _set_heartbeat_interval(self, interval_s: int) -> None:
        if self._configuration.set_heartbeat_interval(interval_s, self._utc_text()):
            self._node.publish(m.ConfigurationState(self._configuration.public()))

    def _send_call(self, effect: e.SendCall) -> None:
        req = self._request(effect)
        self._node.afterwards(partial(self._tell_problem, req))
        name = type(req).__name__.removesuffix("Req")
        unique_id = effect.unique_id or chance.unique_id()
        self._calls[unique_id] = (effect.purpose, effect.tag, name)
        self._about[unique_id] = about(effect.message)
        caller = self._callers.get(effect.caller_id)
        call = rpc.Call(
            unique_id,
            name,
            encode(req),
            float(self._state.settings.message_timeout_s),
            send_by_mono_s=None if caller is None else caller.deadline_s,
        )
        self._rpc_step(rpc.Request(call))

    def _tell_problem(self, req: payloads.Req) -> None:
        if problem := outgoing_problem(req):
            self._log.error("a message that is not as OCPP wants it is sent all the same", reason=problem)

    def _take_back(self, unique_ids: Iterable[str]) -> None:
        for unique_id in tuple(unique_ids):
            self._rpc_step(rpc.Cancel(unique_id))

    def _request(self, effect: e.SendCall) -> payloads.Req:
        if effect.purpose is Purpose.BOOT:
            return translate.boot_notification(self._config.station)
        return translate.request(effect.message, self._config.station.vendor, self._clock.utc_offset_s)

    def _rpc_step(self, event: rpc.Event) -> None:
        self._rpc, effects = rpc.step(self._rpc, event, self._node.now())
        self.latency.note(event, self._rpc, effects, self._node.now())
        for effect in effects:
            self._do_rpc(effect)

    def _do_rpc(self, effect: rpc.Effect) -> None:
        match effect:
            case rpc.SendFrame(text=text, unique_id=unique_id):
                if not unique_id and self._state.registration is RegistrationStatus.REJECTED:
                    # OCPP 1.6 §4.2: no answer at all then, neither CALLERROR nor what was asked before.
                    self._log.info("answer withheld: the Central System has rejected this station")
                    return
                if not self._board.socket.send(text, self._about.pop(unique_id, NOTHING)):
                    self._feed(e.SendFailed())
                elif unique_id:
                    self._feed(e.CallSent())
            case rpc.CallReceived(unique_id=unique_id, action=action, payload=payload):
                self._call_received(unique_id, action, payload)
            case rpc.LateAnswer(answer=answer):
                self._answered(answer, late=True)
            case rpc.Answered() | rpc.Errored():
                self._answered(effect, late=False)
            case rpc.TimedOut(unique_id=unique_id):
                purpose, tag, _ = self._calls[unique_id]
                self._forget_old_calls()
                self._feed(e.CallTimedOut(purpose, tag))
            case rpc.Unanswered(unique_id=unique_id, reason=reason) | rpc.NotSent(unique_id=unique_id, reason=reason):
                purpose, tag, _ = self._calls.pop(unique_id)
                self._about.pop(unique_id, None)
                self._feed(e.CallNotSent(purpose, tag, reason))
            case rpc.Refused(unique_id=unique_id, action=action, error=error):
                self._log.warning("CALL answered with CALLERROR", **refusals.of_error(Asked(unique_id, action), error))
            case rpc.Note(text=text, detail=detail):
                self._log.warning(text, detail=masked(detail) or None)

    def _forget_old_calls(self) -> None:
        """Keep only the calls that the RPC core still knows: it forgets old ones that never got an answer."""
        known = {call.unique_id for call in self._rpc.waiting} | {call.unique_id for call in self._rpc.timed_out}
        if self._rpc.outstanding is not None:
            known.add(self._rpc.outstanding.unique_id)
        self._calls = {unique_id: call for unique_id, call in self._calls.items() if unique_id in known}

    def _answered(self, answer: rpc.Answered | rpc.Errored, *, late: bool) -> None:
        purpose, tag, name = self._calls.pop(answer.unique_id)
        if isinstance(answer, rpc.Errored):
            self._feed(e.CallFailed(purpose, tag, answer.code or MALFORMED, answer.description, late))
            return
        conf_type = ACTIONS[name].conf
        assert conf_type is not None, f"{name} has no response"
        conf = decode_conf(answer.payload, conf_type)
        if isinstance(conf, Malformed):
            self._feed(e.CallFailed(purpose, tag, MALFORMED, conf.reason, late))
        else:
            self._feed(e.CallAnswered(purpose, tag, conf, late))

    def _call_received(self, unique_id: str, action: str, payload: str) -> None:
        if self._state.registration is RegistrationStatus.REJECTED:
            self._log.info("CALL not answered: the Central System has rejected this station", action=action[:50])
            self._rpc_step(rpc.Ignore(unique_id))
            return
        req = decode_call(action, payload, self._configuration.profiles)
        if isinstance(req, CallError):
            self._refuse(Asked(unique_id, action), req)
            return
        asked = Asked(unique_id, action, req)
        if isinstance(req, payloads.GetConfigurationReq):
            got = self._configuration.get(req)
            if isinstance(got, CallError):
                self._refuse(asked, got)
            else:
                self._answer(asked, got)
        elif isinstance(req, payloads.ChangeConfigurationReq):
            self._change_configuration(asked, req)
        elif isinstance(req, profile_payloads.TriggerMessageReq):
            self._trigger(asked, req)
        elif answered := routes.answer_here(req):
            self._answer(asked, answered)
        else:
            self._ask_owner(asked, req)

    def _change_configuration(self, asked: Asked, req: payloads.ChangeConfigurationReq) -> None:
        """Durable before the answer goes out, in effect right after it (field report 50)."""
        before, key = self._configuration.public(), self._configuration.authorization_key()
        answered = self._configuration.change(req, self._utc_text())
        self._answer(asked, answered)
        self._obey_changes(before, key)

    def _change_by_hand(self, request: ChangeKey, call: IncomingCall) -> None:
        """`station config set` and `reset`."""
        before, key = self._configuration.public(), self._configuration.authorization_key()
        try:
            answer = self._configuration.change_by_hand(request, self._utc_text())
        except sqlite3.Error as error:
            call.refuse(f"configuration.db can't be written, check the disk: {error}")
            return
        call.answer(answer)
        text = "change of a key at the station refused" if answer.reason else "key changed at the station"
        self._log.info(text, key=request.key[:50], answer=answer.status, reason=answer.reason or None)
        self._obey_changes(before, key)

    def _obey_changes(self, before: dict[str, str], key: str) -> None:
        if self._configuration.authorization_key() != key:
            self._log.warning("AuthorizationKey was changed")
            if self._config.central_system.security_profile > 0:
                self._feed(e.CredentialsChanged())
        if (values := self._configuration.public()) != before:
            self._node.publish(m.ConfigurationState(values))
            self._feed(e.SettingsChanged(self._configuration.session_settings()))

    def _key_accepted(self) -> None:
        if self._configuration.key_accepted(self._utc_text()):
            self._log.warning("AuthorizationKey is the old one again: the Central System refused the new one")

    def _trigger(self, asked: Asked, req: profile_payloads.TriggerMessageReq) -> None:
        """The answer first, then the message (OCPP 1.6 §5.17); of MeterValues the owner has the last word."""
        verdict = triggers.verdict(self._state, req.requested_message, req.connector_id)
        trigger, accepted = triggers.known(req.requested_message), verdict.status is TriggerMessageStatus.ACCEPTED
        if trigger is MessageTrigger.METER_VALUES and accepted:
            self._ask_owner(asked, req)
            return
        conf = profile_payloads.TriggerMessageConf(status=verdict.status)
        self._answer(asked, routes.Answered(conf, verdict.reason))
        if trigger is not None and accepted:
            self._feed(e.Triggered(trigger, req.connector_id))

    def _ask_owner(self, asked: Asked, req: payloads.Req) -> None:
        route = routes.OWNED[type(req)]
        if refused := routes.refusal(route, req, self._state.registration):
            self._answer(asked, refused)
            return

        def replied(reply: Reply) -> None:
            self._owner_call = None
            if reply.error is not None:
                error = CallError(ErrorCode.INTERNAL_ERROR, f"the station can't do this now, service connectors: {reply.error}")
                self._refuse(asked, error)
                return
            self._answer(asked, routes.Answered(route.to_conf(reply.value), reply.value.reason))
            if isinstance(req, payloads.ResetReq) and reply.value.status is ResetStatus.ACCEPTED:
                self._feed(e.ResetAccepted(m.ResetReady(req.type, ready=False)))
                ready = self._node.latest(m.ResetReady)
                if ready is not None:
                    self._feed(e.ResetSaid(ready))
            if isinstance(reply.value, pm.MeterValuesTaken):
                self._feed(e.Triggered(MessageTrigger.METER_VALUES, values=reply.value.values))

        self._owner_call = self._node.call(route.to_owner(req), timeout_s=route.timeout_s, on_reply=replied)

    def _answer(self, asked: Asked, answered: routes.Answered) -> None:
        if fields := refusals.of_answer(asked, answered.conf, answered.refusal):
            self._log.info("request of the Central System refused", **fields)
        self._rpc_step(rpc.Reply(asked.unique_id, encode(answered.conf)))

    def _refuse(self, asked: Asked, error: CallError) -> None:
        self._log.warning("CALL answered with CALLERROR", **refusals.of_error(asked, error))
        self._rpc_step(rpc.Refuse(asked.unique_id, error))

    def _believe(self, clock: clocks.Clock) -> None:
        if clock == self._clock:
            return
        before, self._clock = self._clock, clock
        text, step_s = clocks.change(before, clock)
        self._log.info(text, source=clock.source, step_s=step_s)
        self._node.publish(clock.state())
        self._keep("the clock", lambda: self._board.store.keep(self._board.boot_id, kept.clock_facts(clock)))
        self.keep_known_time()

    def keep_known_time(self) -> None:
        """Keep the known time as a floor for the next boot; called when it changes and once an hour (design §5, §8)."""
        if self._clock.utc_offset_s is not None:
            utc_ms = round((self._node.now() + self._clock.utc_offset_s) * 1000)
            self._keep("the known time", lambda: self._board.store.set_known_utc_ms(utc_ms))

    def _utc_text(self) -> str:
        """The believed time; the system clock's, while nothing better is known."""
        offset_s = self._clock.utc_offset_s
        return utc_text(self._board.system_utc_s() if offset_s is None else self._node.now() + offset_s)

    def _publish_link(self) -> None:
        connection = self._state.connection
        seen_s = connection.last_received_s if isinstance(connection, Open) else None
        self._seen_told_s = self._node.now()
        self._node.publish(msgspec.structs.replace(work.view(self._state), last_received_boottime_s=seen_s))
