"""The barest Central System: it answers at once, or after a given round trip, and notes when each frame came.

Owns: a WebSocket server in a thread of its own. Does not: check anything; the independent one of `services/demo` does that,
at a cost that would be measured along.
"""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

CALL, CALL_RESULT = 2, 3
_TIME_OUT_S = 30.0
_ACCEPTED = {"idTagInfo": {"status": "Accepted"}}


class Received(NamedTuple):
    """A CALL of the station; `at_s` on the monotonic clock."""

    at_s: float
    action: str
    payload: dict[str, Any]


class CentralSystem:
    """Use as a context manager. `round_trip_s`: an answer leaves so much later; one message after the other."""

    def __init__(self, *, round_trip_s: float = 0.0) -> None:
        self.round_trip_s = round_trip_s
        self.heartbeat_interval_s = 300
        """As BootNotification.conf has it."""
        self.received: list[Received] = []
        self.connections = 0
        self._changed = threading.Condition()
        self._answers: dict[str, tuple[float, Any]] = {}
        self._connection: ServerConnection | None = None
        self._transactions = 0
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    def __enter__(self) -> "CentralSystem":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """What a station connects to, without its identity."""
        return f"ws://127.0.0.1:{self._port}/"

    @property
    def port(self) -> int:
        """On loopback, the same for ever."""
        return self._port

    def start(self) -> None:
        """Listen, on the port of the first start."""
        self._server = serve(self._serve, "127.0.0.1", self._port, subprotocols=["ocpp1.6"], compression=None)  # type: ignore[list-item]
        self._port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cut all connections and stop listening."""
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self.cut()
        self._thread.join(_TIME_OUT_S)

    def cut(self) -> None:
        """End the present connection without a word."""
        if self._connection is not None:
            self._connection.close_socket()

    def call(self, action: str, payload: dict[str, Any]) -> tuple[Any, float]:
        """A CALL to the station: its answer, and the seconds until it was here."""
        assert self._connection is not None, "no station is connected"
        unique_id = uuid.uuid4().hex
        frame = json.dumps([CALL, unique_id, action, payload])
        began_s = time.perf_counter()
        self._connection.send(frame)
        at_s, answer = self._wait(lambda: self._answers.pop(unique_id, None), f"an answer to {action}")
        return answer, at_s - began_s

    def wait_for(self, action: str, *, after_s: float, number: int = 1, timeout_s: float = _TIME_OUT_S) -> Received:
        """The `number`-th CALL of this action after `after_s` of the monotonic clock."""

        def found() -> Received | None:
            matching = (one for one in self.received if one.action == action and one.at_s > after_s)
            return next((one for count, one in enumerate(matching, 1) if count == number), None)

        return self._wait(found, action, timeout_s)

    def wait_for_connection(self, number: int, timeout_s: float = _TIME_OUT_S) -> float:
        """When the `number`-th connection was there, on the monotonic clock."""
        return float(self._wait(lambda: time.perf_counter() if self.connections >= number else None, "a connection", timeout_s))

    def _wait(self, condition: Callable[[], Any], what: str, timeout_s: float = _TIME_OUT_S) -> Any:
        deadline_s = time.perf_counter() + timeout_s
        with self._changed:
            while True:
                value = condition()
                if value is not None:
                    return value
                rest_s = deadline_s - time.perf_counter()
                assert rest_s > 0, f"not within {timeout_s} s: {what}"
                self._changed.wait(rest_s)

    def _serve(self, connection: ServerConnection) -> None:
        with self._changed:
            self._connection = connection
            self.connections += 1
            self._changed.notify_all()
        with contextlib.suppress(ConnectionClosed):
            self._answer_all(connection)

    def _answer_all(self, connection: ServerConnection) -> None:
        for frame in connection:
            at_s = time.perf_counter()
            kind, unique_id, *rest = json.loads(frame)
            if kind == CALL:
                if self.round_trip_s:
                    threading.Event().wait(self.round_trip_s)
                connection.send(json.dumps([CALL_RESULT, unique_id, self._conf(*rest)]))
            with self._changed:
                if kind == CALL:
                    self.received.append(Received(at_s, *rest))
                else:
                    self._answers[unique_id] = (at_s, rest)
                self._changed.notify_all()

    def _conf(self, action: str, _: dict[str, Any]) -> dict[str, Any]:
        match action:
            case "BootNotification":
                return {"status": "Accepted", "currentTime": _utc_text(), "interval": self.heartbeat_interval_s}
            case "Heartbeat":
                return {"currentTime": _utc_text()}
            case "StartTransaction":
                self._transactions += 1
                return {"transactionId": self._transactions, **_ACCEPTED}
            case "Authorize":
                return _ACCEPTED
        return {}


def _utc_text() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
