"""The link's process: `python -m services.ocpp_link`.

Owns: the WebSocket's thread, `configuration.db`, the looks at the system clock. Does not: decide (`core.py`, `rpc.py`).
Topics: publishes link., clock., configuration., late_report., link_times.; answers call.link.…; calls call.connectors.…; reads
connector.status., connector.reset., queue.
"""

import random
import sys

from bus.clock import application_boot_id, boottime_s, system_utc_s
from bus.logs import own_log
from bus.mailbox import Mailbox
from bus.runtime import Runtime, run
from services.configuration.at_start import load_for
from services.configuration.formats import password
from services.configuration.model import StationConfig
from services.configuration.store import ConfigurationStore
from services.ocpp_link import websocket_thread as ws
from services.ocpp_link.adjtime import system_clock_synchronised
from services.ocpp_link.frame_log import NOTHING, About, Frames
from services.ocpp_link.reset import restart_station
from services.ocpp_link.service import Board, LinkService
from services.ocpp_link.url import connection_endpoint
from services.ocpp_link.websocket_connect import Target

CLOCK_PERIOD_S = 10.0
"""How often the system clock is looked at."""
KNOWN_TIME_PERIOD_S = 3600.0
"""How often the known time is kept as a floor (design §8: the only write of an idle station)."""
CONNECT_TIMEOUT_S = 20.0
LOG_S = 0.05
"""So long a frame may wait to be logged. A process that is killed has not told its last frames."""
LOG_FRAMES = 16
"""So many frames are logged even sooner."""


class LinkSocket:
    """The thread as the service's socket; security profiles 0 to 2 (security whitepaper §2)."""

    def __init__(self, thread: ws.WebSocketThread, config: StationConfig) -> None:
        self._thread = thread
        self._config = config
        self.service: LinkService | None = None
        self.connection = 0
        self._pings = 0

    def connect(self) -> None:
        """Open a connection with the credentials of now."""
        assert self.service is not None, "the socket is used before the service is there"
        central, identity = self._config.central_system, self._config.station.identity
        key = self.service.authorization_key() if central.security_profile > 0 else ""
        target = Target(
            endpoint=connection_endpoint(central.url, identity),
            user=identity,
            password=password(key) if key else None,
            ca_files=central.root_ca_files,
            timeout_s=CONNECT_TIMEOUT_S,
        )
        self.connection = self._thread.connect(target)

    def send(self, text: str, about: About = NOTHING) -> bool:
        """Send a text frame."""
        return self._thread.send(text, about)

    def ping(self) -> None:
        """Send a ping."""
        self._pings += 1
        self._thread.ping(str(self._pings).encode())

    def answered_ping(self, payload: bytes) -> bool:
        """Whether a pong answers the newest ping; one that came unasked proves nothing."""
        return payload == str(self._pings).encode()

    def close(self, reason: str) -> None:
        """End the connection."""
        self._thread.close(reason)


class LinkProcess:
    """The service with its socket: what the runtime feeds."""

    def __init__(self, runtime: Runtime, config: StationConfig) -> None:
        self._runtime = runtime
        self._config = config
        store = ConfigurationStore("../configuration.db")
        runtime.report_store("configuration.db", store.problem)
        reports: Mailbox[ws.SocketReport] = Mailbox()
        self._thread = ws.WebSocketThread(reports, self._frame_log())
        self._socket = LinkSocket(self._thread, config)
        self._clock_due_s = 0.0
        self._known_time_due_s = boottime_s() + KNOWN_TIME_PERIOD_S
        self._log_due_s: float | None = None
        board = Board(
            node=runtime.node,
            store=store,
            socket=self._socket,
            log=runtime.log,
            boot_id=application_boot_id(),
            random=random.random,
            system_utc_s=system_utc_s,
            restart_station=self._restart_station,
        )
        self._service = LinkService(board, config)
        self._socket.service = self._service
        self._look_at_clock()
        runtime.read(reports, self._reported)

    def tick(self) -> None:
        """Time passed."""
        now_s = boottime_s()
        if now_s >= self._clock_due_s:
            self._look_at_clock()
        if now_s >= self._known_time_due_s:
            self._known_time_due_s = now_s + KNOWN_TIME_PERIOD_S
            self._service.keep_known_time()
        self._service.tick()
        self._log_frames(now_s)
        if (times := self._service.latency.due(now_s)) is not None:
            self._runtime.node.publish(times)

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        deadlines = (self._clock_due_s, self._known_time_due_s, self._log_due_s, self._service.next_deadline_s())
        return min(d for d in deadlines if d is not None)

    def close(self) -> None:
        """End the connection in good order."""
        self._thread.stop()

    def _frame_log(self) -> Frames:
        """On standard output, which supervisord keeps in a log of its own."""
        log = own_log("ocpp_frames", "ocpp_link", sys.__stdout__ or sys.stderr)
        return Frames(log, full_id_tags=self._config.logs.full_id_tags, secret=self._secret)

    def _log_frames(self, now_s: float) -> None:
        """Some frames at once, which takes a fraction of what it takes one by one; none waits for longer than LOG_S."""
        if self._log_due_s is None:
            self._log_due_s = now_s + LOG_S if self._thread.unlogged else None
        elif self._log_due_s <= now_s:
            self._log_due_s = None
            self._thread.log_frames()
        elif self._thread.unlogged >= LOG_FRAMES:
            # What has just been said goes out first: others are at work with it meanwhile.
            self._runtime.node.afterwards(self._thread.log_frames)

    def _secret(self) -> str:
        """Called by the WebSocket's thread too: it only reads."""
        return self._service.authorization_key()

    def _look_at_clock(self) -> None:
        now_s = boottime_s()
        self._clock_due_s = now_s + CLOCK_PERIOD_S
        self._service.system_clock(system_utc_s() - now_s, synchronised=system_clock_synchronised())

    def _reported(self, report: ws.SocketReport) -> None:
        if isinstance(report, ws.ThreadFailed):
            raise RuntimeError(f"the WebSocket thread has ended: {report.reason}")
        if report.connection != self._socket.connection:
            return
        match report:
            case ws.Connected():
                self._service.on_connected()
            case ws.ConnectFailed(reason=reason, unauthorized=unauthorized):
                self._service.on_lost(reason, unauthorized=unauthorized)
            case ws.Lost(reason=reason):
                self._service.on_lost(reason)
            case ws.FrameReceived(text=text):
                self._service.on_frame(text)
            case ws.BinaryReceived(size_bytes=size_bytes):
                self._service.on_binary(size_bytes)
            case ws.PingReceived():
                self._service.on_ping()
            case ws.PongReceived(payload=payload) if self._socket.answered_ping(payload):
                self._service.on_pong()

    def _restart_station(self, hard: bool) -> str:
        return restart_station(self._config.system.on_reset, self._runtime.log, hard=hard)


def build(runtime: Runtime) -> LinkProcess:
    """The process as the runtime wants it."""
    return LinkProcess(runtime, load_for(runtime))


if __name__ == "__main__":
    raise SystemExit(run("ocpp_link", build))
