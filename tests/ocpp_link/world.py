"""A link among its neighbours in memory: real nodes, a real database, a virtual clock, a scripted Central System.

`World` joins the real `LinkService` with a `ScriptedSocket`, whose far end is the test, and with nodes that stand for the other
services. Nothing sleeps: `advance` moves the clock from deadline to deadline.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bus import messages as m
from bus.calls import IncomingCall, Reply
from bus.logs import Logger
from bus.node import Node
from bus.topics import TOPICS, Kind
from bus.vocabulary import ChargePointErrorCode, ChargePointStatus, Reason
from services.configuration.model import CentralSystem, Connector, Evse, Meter, Station, StationConfig, Supply
from services.configuration.store import ConfigurationStore
from services.demo import schemas
from services.ocpp_link.frame_log import NOTHING, About
from services.ocpp_link.service import Board, LinkService

UTC_0_S = 1_800_000_000.0
"""What a right clock says at boottime 0."""
TIME_0 = "2027-01-15T08:00:00.000Z"
CONFIG = StationConfig(
    station=Station(identity="CP-1", vendor="Vendor", model="Model", serial_number="S-1"),
    central_system=CentralSystem(url="ws://127.0.0.1:9/ocpp"),
    supply=Supply(max_current_a=32.0),
    connectors=(Connector(id=1, cable="fixed", evse=Evse(driver="openevse"), meter=Meter(driver="sdm120")),),
)
BOOT_ID = "run-1"


def moment(at_s: float, utc: bool = True) -> m.Moment:
    return m.Moment("boot-a", round(at_s * 1000), round((UTC_0_S + at_s) * 1000) if utc else None)


def connector(
    number: int, status: ChargePointStatus, at_s: float = 1.0, error: str = "NoError", **more: Any
) -> m.ConnectorState:
    return m.ConnectorState(number, status, moment(at_s), ChargePointErrorCode(error), **more)


def start(at_s: float = 1.0) -> m.StartTransaction:
    return m.StartTransaction(1, "TAG", 1000, moment(at_s))


def stop(at_s: float = 9.0) -> m.StopTransaction:
    return m.StopTransaction(1, 2000, moment(at_s), Reason.LOCAL, "TAG")


class Lines(Logger):
    """A log that keeps its lines."""

    def __init__(self) -> None:
        super().__init__("ocpp_link")
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def debug(self, event: str, **fields: Any) -> None:
        self.lines.append(("debug", event, fields))

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))

    def said(self, text: str) -> int:
        """How many lines above debug have this text."""
        return sum(text in event for level, event, _ in self.lines if level != "debug")


class ScriptedSocket:
    """What the WebSocket thread is to the service. Reports of the far end wait until `World.settle`, as in a mailbox."""

    def __init__(self) -> None:
        self.connects = 0
        self.open = False
        self.sent: list[list[Any]] = []
        self.pings = 0
        self.closes: list[str] = []
        self.takes = True
        self.reports: list[Callable[[LinkService], None]] = []
        self.reachable: Callable[[], str] = lambda: ""
        """Why a connection can't be made; empty: it can."""
        self.right_password: Callable[[], bool] = lambda: True
        """Whether the Central System takes the password that the link has now."""
        self.answers_pings = True
        self.deaf = False
        """The thread hangs: commands to close have no effect."""

    def connect(self) -> None:
        self.connects += 1
        unauthorized = not self.right_password()
        reason = self.reachable() or ("HTTP 401" if unauthorized else "")
        self.open = not reason
        self.reports.append(lambda link: link.on_lost(reason, unauthorized=unauthorized) if reason else link.on_connected())

    def send(self, text: str, about: About = NOTHING) -> bool:  # noqa: ARG002
        if self.takes and self.open:
            self.sent.append(json.loads(text))
        return self.takes

    def ping(self) -> None:
        self.pings += 1
        if self.answers_pings and self.open:
            self.reports.append(lambda link: link.on_pong())

    def close(self, reason: str) -> None:
        self.closes.append(reason)
        if self.open and not self.deaf:
            self.open = False
            self.reports.append(lambda link: link.on_lost(reason))


class World:
    """Time, bus, socket, and the link between them. The Central System is `answers`: by action, what it answers.

    An answer is a payload, a function of the request, `ERROR(code)`, or None for silence.
    """

    def __init__(self, directory: Path, config: StationConfig = CONFIG) -> None:
        self.path = str(directory / "configuration.db")
        self.config = config
        self.now_s = 100.0
        self.utc_s = UTC_0_S
        self.boot_id = BOOT_ID
        self.restarts: list[bool] = []
        """Restarts of the station that the link asked for; True: Hard."""
        self.restart_problem = ""
        self.log = Lines()
        self.random = random.Random(1)
        self.calls: list[tuple[str, str, Any]] = []
        """What the link asked: action, unique id, payload."""
        self.actions: dict[str, str] = {}
        """What was asked of the link, by unique id."""
        self.results: dict[str, list[Any]] = {}
        """What the link answered, by the Central System's unique id."""
        self.answers: dict[str, Any] = {
            "BootNotification": self.boot("Accepted"),
            "Heartbeat": lambda _: {"currentTime": self.central_time()},
            "StatusNotification": {},
            "Authorize": {"idTagInfo": {"status": "Accepted"}},
            "StartTransaction": {"transactionId": 7, "idTagInfo": {"status": "Accepted"}},
            "MeterValues": {},
            "StopTransaction": {},
        }
        self._incarnation = 0
        self.connectors = self._node("connectors")
        self.queue = self._node("transaction_queue")
        self.watchdog = self._node("watchdog")
        self.links: list[m.LinkState] = []
        self.clocks: list[m.ClockState] = []
        self.late: list[m.DeliveryReport] = []
        self.watchdog.watch(m.LinkState, lambda _, state: self.links.append(state))
        self.watchdog.watch(m.ClockState, lambda _, state: self.clocks.append(state))
        self.watchdog.watch(m.ConfigurationState, lambda *_: None)
        self.queue.on_event(m.DeliveryReport, lambda _, report: self.late.append(report))
        self.remote: list[m.Message] = []
        self.remote_answers: dict[type, m.Message | None] = {}
        self.held: list[IncomingCall] = []
        self.cancelled: list[str] = []
        for topic in TOPICS:
            if topic.kind is Kind.CALL and topic.publisher == "connectors":
                self.connectors.serve(topic.message, self._owner_asked)
        self.connectors.on_cancel(self.cancelled.append)
        self.start_link()

    # The Central System's side.

    def boot(self, status: str, interval: float = 300) -> Callable[[Any], Any]:
        return lambda _: {"status": status, "currentTime": self.central_time(), "interval": interval}

    def central_time(self) -> str:
        from bus.logs import utc_text

        return utc_text(UTC_0_S + self.now_s)

    def ask(self, action: str, payload: Any = None, unique_id: str = "") -> str:
        """A CALL of the Central System; its unique id."""
        unique_id = unique_id or f"cs-{self.random.random()}"
        self.actions[unique_id] = action
        self.frame(json.dumps([2, unique_id, action, {} if payload is None else payload]))
        return unique_id

    def asked(self, action: str, payload: Any = None) -> Any:
        """A CALL of the Central System, and the payload of its CALLRESULT or the code of its CALLERROR."""
        return self.results[self.ask(action, payload)][2]

    def frame(self, text: str) -> None:
        self.link.on_frame(text)
        self.settle()

    def lose(self, reason: str = "cable cut") -> None:
        self.socket.open = False
        self.link.on_lost(reason)
        self.settle()

    def said(self, action: str = "") -> list[Any]:
        """Payloads of one action, or the actions of all calls so far."""
        return [payload for name, _, payload in self.calls if name == action] if action else [name for name, *_ in self.calls]

    # Neighbours.

    def say(self, *states: m.ConnectorState) -> None:
        for state in states:
            self.connectors.publish(state, str(state.connector_id))
            self.settle()

    def authorize(self, id_tag: str = "TAG") -> list[Reply]:
        replies: list[Reply] = []
        self.connectors.call(m.Authorize(id_tag), timeout_s=60.0, on_reply=replies.append)
        self.settle()
        return replies

    def deliver(
        self, unique_id: str, message: m.TransactionMessage | None = None, transaction_id: int | None = None
    ) -> list[Reply]:
        replies: list[Reply] = []
        request = m.Deliver(unique_id, message or start(), transaction_id)
        self.deliver_id = self.queue.call(request, timeout_s=105.0, on_reply=replies.append)
        self.settle()
        return replies

    # Life.

    def start_link(self) -> None:
        self.socket = ScriptedSocket()
        self.seen = 0
        self.store = ConfigurationStore(self.path)
        self.node = self._node("ocpp_link")
        board = Board(
            node=self.node,
            store=self.store,
            socket=self.socket,
            log=self.log,
            boot_id=self.boot_id,
            random=self.random.random,
            system_utc_s=lambda: self.utc_s,
            restart_station=self._restart_station,
        )
        self.link = LinkService(board, self.config)
        for node in (self.connectors, self.queue, self.watchdog):
            node.broker_attached()
        self.settle()

    def kill_link(self) -> None:
        """As by SIGKILL: what is not committed is gone."""
        self.store.close()
        self.node.take_outgoing()

    def restart_link(self) -> None:
        self.kill_link()
        self.start_link()

    def online(self) -> "World":
        """Connected and accepted."""
        self.advance(0.01)
        assert self.links[-1].online
        return self

    def advance(self, seconds: float) -> None:
        """Move the clock from deadline to deadline."""
        until_s = self.now_s + seconds
        for _ in range(100_000):
            self.settle()
            deadlines = [*self.more_deadlines(), self.link.next_deadline_s()]
            deadlines += [node.next_deadline_s() for node in self._nodes()]
            deadline_s = min((d for d in deadlines if d is not None), default=until_s)
            if deadline_s > until_s:
                break
            self.now_s = max(self.now_s, deadline_s)
            self._tick()
            if self.now_s >= until_s:
                break
        else:
            raise AssertionError("the link is never at rest: a deadline stays in the past")
        self.now_s = until_s
        self._tick()
        self.settle()

    def settle(self) -> None:
        """Carry reports, answers and frames until nobody has any."""
        for _ in range(100_000):
            reports, self.socket.reports = self.socket.reports, []
            for report in reports:
                report(self.link)
            answered = self._answer_calls()
            frames = [frame for node in self._nodes() for frame in node.take_outgoing()]
            for name, body in frames:
                for node in self._nodes():
                    if any(name.startswith(prefix) for prefix in node.subscriptions()):
                        node.receive([name, body])
            put_off = [node.do_afterwards() for node in self._nodes()]
            if not reports and not frames and not answered and not any(put_off):
                return
        raise AssertionError("the services never come to rest")

    def _answer_calls(self) -> bool:
        new, self.seen = self.socket.sent[self.seen :], len(self.socket.sent)
        for frame in new:
            violation = schemas.frame_violation(frame, self.actions.get)
            assert not violation, f"{violation} in {frame}"
            if frame[0] == 2:
                self._answer_call(frame)
            else:
                self.results[frame[1]] = frame
        return bool(new)

    def _answer_call(self, frame: list[Any]) -> None:
        _, unique_id, action, payload = frame
        self.calls.append((action, unique_id, payload))
        answer = self.answers[action]
        if callable(answer):
            answer = answer(payload)
        if answer is not None:
            self.answer(unique_id, answer)

    def answer(self, unique_id: str, answer: Any) -> None:
        """Answer a call of the link, in time or late."""
        frame = [4, unique_id, answer[1:], "", {}] if isinstance(answer, str) else [3, unique_id, answer]
        self.link.on_frame(json.dumps(frame))
        self.settle()

    def _owner_asked(self, request: m.Message, call: IncomingCall) -> None:
        self.remote.append(request)
        answer = self.remote_answers.get(type(request))
        if answer is None:
            self.held.append(call)
        else:
            call.answer(answer)

    def _restart_station(self, hard: bool) -> str:
        self.restarts.append(hard)
        return self.restart_problem

    def more_deadlines(self) -> list[float | None]:
        """Of whatever a test adds to this world."""
        return []

    def _tick(self) -> None:
        for node in self._nodes():
            node.tick()
        self.link.tick()

    def _nodes(self) -> list[Node]:
        return [self.connectors, self.queue, self.watchdog, *([self.node] if hasattr(self, "node") else [])]

    def _node(self, service: str) -> Node:
        self._incarnation += 1
        return Node(service, incarnation=self._incarnation, now=lambda: self.now_s, log=self.log)


def error(code: str) -> str:
    """An answer that is a CALLERROR."""
    return f"!{code}"
