"""An independent Central System for OCPP 1.6-J, built on the `ocpp` package and `websockets`, for the demo and the tests.

    with CentralSystem() as central_system:
        central_system.wait_for(lambda book: book.calls("BootNotification"), 5)
        central_system.call("RemoteStartTransaction", {"idTag": "04AABBCC", "connectorId": 1})

Owns: the server, its thread and its event loop. Does not: use any type of ours for OCPP; framing, schemas and answers are the
package's, so that a mistake of ours is not made twice. What happened is in `book`; how it behaves is set in `behaviour`.
As a process of its own: `python -m services.demo.central_system --port PORT --book FILE`.
"""

import asyncio
import hmac
import logging
import ssl
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_authorization_basic
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from services.demo.behaviour import Behaviour
from services.demo.book import Book, What
from services.demo.connection import CallFailed, CentralState, Connection

__all__ = ["CallFailed", "CentralSystem", "NotConnected"]

T = TypeVar("T")

SUBPROTOCOL = Subprotocol("ocpp1.6")
FRAME_BYTES_MAX = 1 << 20
_THREAD_WAIT_S = 10.0
_SILENT = logging.getLogger("services.demo.central_system.websockets")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


class NotConnected(Exception):
    """No such station is connected at the moment."""


class CentralSystem:
    """Runs in a thread of its own between `start` and `stop`; both may be called again. All methods from any thread."""

    def __init__(self, port: int = 0, *, tls: ssl.SSLContext | None = None, ping_interval_s: float | None = None) -> None:
        """`port` 0: a free one, kept for later starts. `ping_interval_s` None: the Central System sends no pings."""
        self.port = port
        self._tls = tls
        self._ping_interval_s = ping_interval_s
        self._state = CentralState()
        self._connections: dict[int, Connection] = {}
        self._count = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._end: asyncio.Event | None = None
        self._started = threading.Event()
        self._start_error: OSError | None = None
        self._abrupt = False

    def __enter__(self) -> "CentralSystem":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """What a station has to connect to, without its identity."""
        return f"{'ws' if self._tls is None else 'wss'}://127.0.0.1:{self.port}/"

    @property
    def book(self) -> Book:
        """Everything that came and went since this object was made, over all starts and stops."""
        return self._state.book

    @property
    def behaviour(self) -> Behaviour:
        """The switches."""
        return self._state.behaviour

    def start(self) -> None:
        """Listen on 127.0.0.1. Raises OSError where the port is taken."""
        assert self._thread is None, "the Central System runs already"
        self._started.clear()
        self._start_error, self._abrupt = None, False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="central-system", daemon=True)
        self._thread.start()
        self._started.wait()
        self._raise_start_error()

    def stop(self, *, abrupt: bool = False) -> None:
        """Close connections (`abrupt`: cut them) and stop listening. Without a start, nothing happens."""
        if self._thread is None:
            return
        assert self._loop is not None
        assert self._end is not None
        self._abrupt = abrupt
        self._loop.call_soon_threadsafe(self._end.set)
        self._join()

    def wait_for(self, predicate: Callable[[Book], T], timeout_s: float, what: str = "") -> T:
        """The first true value of `predicate(book)`. Raises TimeoutError."""
        return self.book.wait_for(predicate, timeout_s, what)

    def connected(self) -> list[str]:
        """Identities of the stations that are connected."""
        return [connection.identity for connection in list(self._connections.values())]

    def call(
        self, action: str, payload: dict[str, Any] | None = None, *, identity: str | None = None, timeout_s: float = 10.0
    ) -> dict[str, Any]:
        """Send a CALL and wait for the CALLRESULT's payload. `identity` None: the station that connected last.

        Raises CallFailed on a CALLERROR, TimeoutError, NotConnected, ConnectionError.
        """
        return self._do(self._connection(identity).call(action, payload or {}, timeout_s))

    def send_call(self, action: str, payload: dict[str, Any] | None = None, *, identity: str | None = None) -> str:
        """Send a CALL without waiting, whether or not another one is open; its unique id."""
        return self._do(self._connection(identity).send_call(action, payload or {}))

    def send_frame(self, frame: str | bytes, *, identity: str | None = None) -> None:
        """Send anything at all: bytes make a binary frame."""
        self._do(self._connection(identity).send_text(frame))

    def disconnect(self, *, identity: str | None = None, code: int = 1001) -> None:
        """Close a connection politely."""
        self._do(self._closed(self._connection(identity), code))

    def cut(self, *, identity: str | None = None) -> None:
        """Reset a connection without a word."""
        self._do(self._aborted(self._connection(identity)))

    def forget_registration(self, identity: str) -> None:
        """As after the loss of the Central System's database: SecurityError until the next BootNotification."""
        self._state.registered[identity] = "Forgotten"

    def _connection(self, identity: str | None) -> Connection:
        found = [c for c in list(self._connections.values()) if identity in (None, c.identity)]
        if not found:
            raise NotConnected(f"{identity or 'no station'} is not connected" if identity else "no station is connected")
        return found[-1]

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        loop = self._loop
        assert loop is not None, "the Central System does not run"
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    def _raise_start_error(self) -> None:
        if self._start_error is not None:
            self._join()
            raise self._start_error

    def _join(self) -> None:
        assert self._thread is not None
        self._thread.join(_THREAD_WAIT_S)
        assert not self._thread.is_alive(), "the Central System's thread does not end"
        self._thread = self._loop = self._end = None

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        try:
            async with self._serve() as server:
                self.port = int(server.sockets[0].getsockname()[1])
                self._started.set()
                await self._end.wait()
                if self._abrupt:
                    for connection in self._connections.values():
                        connection.abort()
        except OSError as error:
            self._start_error = error
            self._started.set()

    def _serve(self) -> Any:
        return serve(
            self._accepted,
            "127.0.0.1",
            self.port,
            process_request=self._handshake,
            select_subprotocol=self._subprotocol,
            compression=None,
            ssl=self._tls,
            ping_interval=self._ping_interval_s,
            close_timeout=1,
            max_size=FRAME_BYTES_MAX,
            logger=_SILENT,
        )

    def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        status = self.behaviour.http_status
        if status is None and not self._authorized(request):
            response = connection.respond(401, "who are you?\n")
            response.headers["WWW-Authenticate"] = 'Basic realm="ocpp"'
        elif status is not None:
            response = connection.respond(status, "as configured\n")
        else:
            return None
        text = f"{request.path} was answered with HTTP {response.status_code}; {_headers_text(request.headers)}"
        self.book.write(0, _identity(request.path), What.REFUSED, text=text)
        return response

    def _authorized(self, request: Request) -> bool:
        passwords = self.behaviour.passwords
        if passwords is None:
            return True
        try:
            user, password = parse_authorization_basic(request.headers.get("Authorization", ""))
        except InvalidHeader:
            return False
        identity = _identity(request.path)
        expected = passwords.get(identity, "")
        return user == identity and identity in passwords and hmac.compare_digest(password.encode(), expected.encode())

    def _subprotocol(self, _: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return SUBPROTOCOL if SUBPROTOCOL in offered and not self.behaviour.refuse_subprotocol else None

    async def _accepted(self, socket: ServerConnection) -> None:
        self._count += 1
        request = socket.request
        assert request is not None
        connection = Connection(self._count, _identity(request.path), socket, self._state)
        self._connections[connection.number] = connection
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        wrong = () if SUBPROTOCOL in [name.strip() for name in offered.split(",")] else ("does not offer ocpp1.6",)
        text = f"{request.path}; {_headers_text(request.headers)}"
        self.book.write(connection.number, connection.identity, What.OPENED, text=text, violations=wrong)
        try:
            await connection.serve()
        finally:
            self._connections.pop(connection.number, None)
            code, reason = socket.close_code, socket.close_reason
            self.book.write(connection.number, connection.identity, What.CLOSED, text=f"{code} {reason or ''}".strip())

    async def _closed(self, connection: Connection, code: int) -> None:
        await connection.socket.close(code)

    async def _aborted(self, connection: Connection) -> None:
        connection.abort()


def _identity(path: str) -> str:
    """OCPP-J 1.6 §3.1.1: the last part of the path, percent-encoded."""
    return unquote(urlsplit(path).path.rsplit("/", 1)[-1])


def _headers_text(headers: Headers) -> str:
    """The headers that say something about OCPP; a password never gets into the book."""
    authorization = headers.get("Authorization", "")
    fields = {
        "subprotocol": headers.get("Sec-WebSocket-Protocol", "none"),
        "authorization": authorization.split(" ", 1)[0] or "none",
        "user-agent": headers.get("User-Agent", "none"),
    }
    return " ".join(f"{name}={value}" for name, value in fields.items())


if __name__ == "__main__":
    from services.demo.central_system_process import main

    raise SystemExit(main())
