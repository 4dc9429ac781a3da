"""The barest Central System: it answers at once, or after a given round trip, and notes when each frame came.

Owns: a WebSocket server that takes as little as it can of the time that is measured: one thread reads and answers, and who
waits for a message is woken by that message only. Does not: check anything; the independent one of `services/demo` does that,
at a cost that would be measured along.
"""

import contextlib
import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

_T = TypeVar("_T")

CALL, CALL_RESULT = 2, 3
_TIME_OUT_S = 30.0
_ACCEPTED = {"idTagInfo": {"status": "Accepted"}}
_READ_BYTES = 65536


class Received(NamedTuple):
    """A CALL of the station; `at_s` on the monotonic clock."""

    at_s: float
    action: str
    payload: dict[str, Any]


class _Awaited:
    """The `number`-th CALL of an action after some time, for somebody who waits."""

    def __init__(self, action: str, after_s: float, number: int) -> None:
        self.found: Future[Received] = Future()
        self._action = action
        self._after_s = after_s
        self._left = number

    def is_found_in(self, one: Received) -> bool:
        """Whether this was the last one to wait for."""
        self._left -= one.action == self._action and one.at_s > self._after_s
        if not self._left:
            self.found.set_result(one)
        return not self._left


class _Connection:
    """One WebSocket. `texts` belongs to one thread, any may send."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = sock
        self._protocol = ServerProtocol(subprotocols=[Subprotocol("ocpp1.6")], max_size=None)
        self._lock = threading.Lock()

    def texts(self) -> Iterator[bytes]:
        """Empty for the handshake, then each message; ends with the connection. Raises OSError as it breaks."""
        while data := self._socket.recv(_READ_BYTES):
            with self._lock:
                self._protocol.receive_data(data)
                events = self._protocol.events_received()
                for request in events:
                    if isinstance(request, Request):
                        self._protocol.send_response(self._protocol.accept(request))
                self._flush()
            for event in events:
                if isinstance(event, Request):
                    yield b""
                elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                    assert event.fin, "the station sends no message in parts"
                    yield bytes(event.data)

    def send(self, text: str) -> None:
        """One message. Raises OSError when the connection is gone."""
        with self._lock:
            self._protocol.send_text(text.encode())
            self._flush()

    def close(self) -> None:
        """Without a word."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            self._socket.sendall(data)


class CentralSystem:
    """Use as a context manager. `round_trip_s`: an answer leaves so much later; one message after the other."""

    def __init__(self, *, round_trip_s: float = 0.0) -> None:
        self.round_trip_s = round_trip_s
        self.heartbeat_interval_s = 300
        """As BootNotification.conf has it."""
        self.received: list[Received] = []
        self.connections = 0
        self._lock = threading.Lock()
        self._connected = threading.Condition()
        self._awaited: list[_Awaited] = []
        self._answers: dict[str, Future[tuple[float, Any]]] = {}
        self._connection: _Connection | None = None
        self._transactions = 0
        self._listener: socket.socket | None = None
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
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept_all, args=(self._listener,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cut all connections and stop listening."""
        assert self._listener is not None
        assert self._thread is not None
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(_TIME_OUT_S)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End the present connection without a word."""
        if self._connection is not None:
            self._connection.close()

    def call(self, action: str, payload: dict[str, Any]) -> tuple[Any, float]:
        """A CALL to the station: its answer, and the seconds until it was here."""
        assert self._connection is not None, "no station is connected"
        unique_id = uuid.uuid4().hex
        frame = json.dumps([CALL, unique_id, action, payload])
        answered: Future[tuple[float, Any]] = Future()
        self._answers[unique_id] = answered
        began_s = time.perf_counter()
        self._connection.send(frame)
        at_s, answer = _result(answered, f"an answer to {action}", _TIME_OUT_S)
        return answer, at_s - began_s

    def wait_for(self, action: str, *, after_s: float, number: int = 1, timeout_s: float = _TIME_OUT_S) -> Received:
        """The `number`-th CALL of this action after `after_s` of the monotonic clock."""
        awaited = _Awaited(action, after_s, number)
        with self._lock:
            if not any(awaited.is_found_in(one) for one in self.received):
                self._awaited.append(awaited)
        return _result(awaited.found, action, timeout_s)

    def wait_for_connection(self, number: int, timeout_s: float = _TIME_OUT_S) -> float:
        """When the `number`-th connection was there, on the monotonic clock."""
        with self._connected:
            came = self._connected.wait_for(lambda: self.connections >= number, timeout_s)
        assert came, f"not within {timeout_s} s: a connection"
        return time.perf_counter()

    def _accept_all(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = _Connection(listener.accept()[0])
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError):
            for text in connection.texts():
                if text:
                    self._take(connection, text)
                    continue
                with self._connected:
                    self._connection = connection
                    self.connections += 1
                    self._connected.notify_all()
        connection.close()

    def _take(self, connection: _Connection, text: bytes) -> None:
        at_s = time.perf_counter()
        kind, unique_id, *rest = json.loads(text)
        if kind != CALL:
            self._answers.pop(unique_id).set_result((at_s, rest))
            return
        if self.round_trip_s:
            threading.Event().wait(self.round_trip_s)
        connection.send(json.dumps([CALL_RESULT, unique_id, self._conf(*rest)]))
        one = Received(at_s, *rest)
        with self._lock:
            self.received.append(one)
            self._awaited = [awaited for awaited in self._awaited if not awaited.is_found_in(one)]

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


def _result(future: "Future[_T]", what: str, timeout_s: float) -> _T:
    try:
        return future.result(timeout_s)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}") from None


def _utc_text() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
