"""Making a connection: name, TCP, TLS, HTTP upgrade, each step bounded and interruptible.

Owns: the way from a URL to an open WebSocket. Does not: decide when to connect, or move frames (`websocket_thread.py`).
The handshake itself is websocket-client's, on a socket of ours that bounds its time and bytes, since the library reads
header lines and bodies of any length. Redirects are not followed: they would carry the password elsewhere.
"""

import errno
import http
import http.cookies
import os
import select
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import msgspec
import websocket

from bus.clock import boottime_s
from services.ocpp_link import websocket_words as words
from services.ocpp_link.url import Endpoint
from services.ocpp_link.websocket_frames import CLOSE_PROTOCOL_ERROR, close_frame

HANDSHAKE_BYTES_MAX = 64 * 1024
"""Headers and body of the HTTP answer; more is refused."""
_RECEIVE_BYTES = 16 * 1024
_LIBRARY_SLIPS = (http.cookies.CookieError, ValueError, LookupError, TypeError, AttributeError)
"""What releases of websocket-client raise for an answer that is not HTTP, besides exceptions of their own."""

Wait = Callable[[int, int, float], None]
"""wait(file descriptor, poll events, deadline boottime_s): returns when ready, raises TimeoutError or Aborted."""


class Aborted(Exception):
    """The connection is not wanted any more."""


class ConnectError(Exception):
    """The connection could not be made; the text is plain words. `unauthorized`: identity or password were refused."""

    def __init__(self, text: str, *, unauthorized: bool = False) -> None:
        super().__init__(text)
        self.unauthorized = unauthorized


class Target(msgspec.Struct, frozen=True):
    """Where and how to connect."""

    endpoint: Endpoint
    subprotocol: str = "ocpp1.6"
    user: str = ""
    password: bytes | None = None
    """HTTP Basic authentication if given (OCPP-J 1.6 §6.2.2)."""
    ca_files: tuple[str, ...] = ()
    """For wss: what certificates are trusted; none: those of the system."""
    timeout_s: float = 20.0

    def __repr__(self) -> str:
        """Without the password, which must not reach a log (field report H56)."""
        return f"Target({self.endpoint.url})"


class Opened(msgspec.Struct, frozen=True):
    """An open WebSocket: non-blocking socket, and bytes that came right behind the HTTP answer."""

    socket: socket.socket
    received: bytes
    subprotocol: str
    address: str
    tls: str


def connect(target: Target, wait: Wait) -> Opened:
    """Connect within `target.timeout_s`. Raises ConnectError, or Aborted from `wait`.

    Only the resolution of the host's name can't be interrupted or bounded here: libc does it.
    """
    deadline_s = boottime_s() + target.timeout_s
    try:
        sock, address = _connected(target.endpoint, wait, deadline_s)
        try:
            if target.endpoint.scheme == "wss":
                sock = _wrapped(sock, target)
                _shake_hands(sock, wait, deadline_s)
            subprotocol, received = _upgraded(sock, target, wait, deadline_s)
        except BaseException:
            sock.close()
            raise
        return Opened(sock, received, subprotocol, address, _tls_words(sock))
    except OSError as error:
        raise ConnectError(f"{target.endpoint.authority}: {words.of_error(error)}") from None


def receive(sock: socket.socket, size: int) -> bytes | None:
    """Bytes from a non-blocking socket, plain or TLS; empty: the peer has ended; None: nothing there yet. Raises OSError."""
    try:
        return sock.recv(size)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None
    except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
        return b""


def transmit(sock: socket.socket, data: bytes | bytearray | memoryview) -> int:
    """Write to a non-blocking socket, plain or TLS; 0: it takes nothing now. Raises OSError."""
    try:
        return sock.send(data)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return 0


def tls_context(ca_files: tuple[str, ...]) -> ssl.SSLContext:
    """TLS 1.2 or newer, certificate and host name checked (security whitepaper §2.4). Raises OSError on a bad CA file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not ca_files:
        context.load_default_certs()
    for file in ca_files:
        context.load_verify_locations(cafile=file)
    return context


def _connected(endpoint: Endpoint, wait: Wait, deadline_s: float) -> tuple[socket.socket, str]:
    """A TCP connection, and the first address that took one; the time left is shared among the addresses."""
    addresses = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    last_error: OSError = TimeoutError()
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        now_s = boottime_s()
        until_s = now_s + (deadline_s - now_s) / (len(addresses) - tried)
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _connect_one(sock, address, wait, until_s)
            return sock, str(address[0])
        except OSError as error:
            sock.close()
            last_error = error
        except BaseException:
            sock.close()
            raise
    raise last_error


def _connect_one(sock: socket.socket, address: Any, wait: Wait, until_s: float) -> None:
    code = sock.connect_ex(address)
    if code == errno.EINPROGRESS:
        wait(sock.fileno(), select.POLLOUT, until_s)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, os.strerror(code))


def _wrapped(sock: socket.socket, target: Target) -> ssl.SSLSocket:
    try:
        context = tls_context(target.ca_files)
    except OSError as error:
        raise ConnectError(f"root_ca_files: {', '.join(target.ca_files)}: can't be used ({error})") from None
    return context.wrap_socket(sock, server_hostname=target.endpoint.host, do_handshake_on_connect=False)


def _shake_hands(sock: ssl.SSLSocket, wait: Wait, deadline_s: float) -> None:
    while True:
        try:
            sock.do_handshake()
            return
        except ssl.SSLWantReadError:
            wait(sock.fileno(), select.POLLIN, deadline_s)
        except ssl.SSLWantWriteError:
            wait(sock.fileno(), select.POLLOUT, deadline_s)


def _upgraded(sock: socket.socket, target: Target, wait: Wait, deadline_s: float) -> tuple[str, bytes]:
    """HTTP upgrade to a WebSocket: the subprotocol, and what came behind the answer (OCPP-J 1.6 §3.1.3, §3.2)."""
    endpoint, bounded, client = target.endpoint, _BoundedSocket(sock, wait, deadline_s), websocket.WebSocket()
    try:
        client.connect(  # type: ignore[no-untyped-call]
            endpoint.url, socket=bounded, header=_headers(target), suppress_origin=True, redirect_limit=0, timeout=0
        )
    except websocket.WebSocketBadStatusException as error:
        raise _refused(endpoint, error.status_code) from None
    except websocket.WebSocketTimeoutException:
        raise TimeoutError from None
    except (websocket.WebSocketException, *_LIBRARY_SLIPS) as error:
        status = client.handshake_response.status if client.handshake_response else None
        if status not in (None, http.HTTPStatus.SWITCHING_PROTOCOLS):
            raise _refused(endpoint, status) from None
        reason = f"it broke off the WebSocket handshake ({_one_line(error)})"
        raise ConnectError(f"{endpoint.authority}: {reason}") from None
    response = client.handshake_response
    if response is None or response.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
        # Releases before 1.8 give a redirect that they don't follow as a success.
        raise _refused(endpoint, response.status if response else None)
    headers = response.headers
    subprotocol = headers.get("sec-websocket-protocol")
    if subprotocol is None or subprotocol.lower() != target.subprotocol:
        transmit(sock, close_frame(CLOSE_PROTOCOL_ERROR, f"subprotocol {target.subprotocol} needed"))
        raise ConnectError(f"{endpoint.authority}: {words.of_subprotocol(target.subprotocol, subprotocol)}")
    return subprotocol, bounded.left_over


def _refused(endpoint: Endpoint, status: int | None) -> ConnectError:
    unauthorized = status in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN)
    return ConnectError(f"{endpoint.authority}: {words.of_status(status)}", unauthorized=unauthorized)


def _tls_words(sock: socket.socket) -> str:
    return f"{sock.version()} {(sock.cipher() or ('',))[0]}" if isinstance(sock, ssl.SSLSocket) else ""


def _headers(target: Target) -> list[str]:
    """The subprotocol is offered here and not through the library, whose refusal would not say what was wrong with it."""
    headers = [f"Sec-WebSocket-Protocol: {target.subprotocol}"]
    if target.password is not None:
        credentials = b64encode(target.user.encode("utf-8") + b":" + target.password).decode("ascii")
        headers.append(f"Authorization: Basic {credentials}")
    return headers


class _BoundedSocket:
    """The socket as websocket-client sees it during the handshake: it waits and reads, but neither for ever."""

    def __init__(self, sock: socket.socket, wait: Wait, deadline_s: float) -> None:
        self._sock = sock
        self._wait = wait
        self._deadline_s = deadline_s
        self._bytes = bytearray()
        self._total = 0

    @property
    def left_over(self) -> bytes:
        """What came behind the handshake: the first frames."""
        return bytes(self._bytes)

    def recv(self, size: int) -> bytes:
        while not self._bytes:
            data = receive(self._sock, _RECEIVE_BYTES)
            if data == b"":
                return b""
            if data is None:
                self._wait(self._sock.fileno(), select.POLLIN, self._deadline_s)
                continue
            self._bytes += data
            self._total += len(data)
            if self._total > HANDSHAKE_BYTES_MAX:
                raise OSError(errno.EMSGSIZE, f"its answer to the handshake is larger than {HANDSHAKE_BYTES_MAX} bytes")
        taken = bytes(self._bytes[:size])
        del self._bytes[:size]
        return taken

    def send(self, data: bytes) -> int:
        while not (sent := transmit(self._sock, data)):
            self._wait(self._sock.fileno(), select.POLLOUT, self._deadline_s)
        return sent

    def gettimeout(self) -> float:
        """0: the library then calls recv and send at once; waiting is done here."""
        return 0.0

    def settimeout(self, timeout: float | None) -> None:
        """The library's own bounds are not used."""

    def close(self) -> None:
        """The socket is closed by its owner."""


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 120 else text[:120] + "…"
