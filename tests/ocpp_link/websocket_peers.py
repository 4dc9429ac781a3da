"""Peers of the WebSocket thread for its tests: the deciding side, good servers, and raw sockets that behave badly."""

import base64
import hashlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from websockets.sync.server import ServerConnection, serve

from bus.clock import boottime_s
from bus.mailbox import Mailbox
from services.ocpp_link.frame_log import Frames
from services.ocpp_link.url import connection_endpoint
from services.ocpp_link.websocket_connect import Target
from services.ocpp_link.websocket_thread import (
    SocketReport,
    WebSocketThread,
)

PATIENCE_S = 10.0
R = TypeVar("R", bound=SocketReport)


class Station:
    """The deciding side: commands the thread and waits for its reports."""

    def __init__(self, limit: int = 1000, *, frames: Frames | None = None) -> None:
        self.reports: Mailbox[SocketReport] = Mailbox(limit)
        self.thread = WebSocketThread(self.reports, frames)
        self.seen: list[SocketReport] = []

    def connect(self, url: str, **more: Any) -> int:
        target = Target(connection_endpoint(url, "CP 1"), **{"timeout_s": PATIENCE_S, **more})
        return self.thread.connect(target)

    def expect(self, kind: type[R]) -> R:
        """The next report, which must be of that kind."""
        report = self.expect_one_of(kind)
        assert isinstance(report, kind)
        return report

    def expect_one_of(self, *kinds: type[SocketReport]) -> SocketReport:
        """The next report, which must be of one of these kinds."""
        deadline_s = boottime_s() + PATIENCE_S
        while True:
            self.seen.extend(self.reports.drain())
            if self.seen:
                report = self.seen.pop(0)
                assert isinstance(report, kinds), report
                return report
            left_s = deadline_s - boottime_s()
            assert left_s > 0, f"nothing came, where one of {kinds} should"
            select.select([self.reports], [], [], left_s)


@contextmanager
def central_system(handler: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    """An independent WebSocket server; gives its endpoint URL."""
    options = {"subprotocols": ["ocpp1.6"], "ping_interval": None, "max_size": 2**24, **options}
    with serve(handler, "127.0.0.1", 0, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        scheme = "wss" if "ssl" in options else "ws"
        try:
            yield f"{scheme}://127.0.0.1:{server.socket.getsockname()[1]}/ocpp"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def raw_peer(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP peer that does what `behave` says with the first connection, and then closes it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with listener:
            connection, _ = listener.accept()
        with connection:
            try:
                behave(connection)
            except OSError:
                pass  # The station hung up, which is often the point.

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/ocpp"
    finally:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def request_of(connection: socket.socket) -> bytes:
    """The HTTP request of the station."""
    data = b""
    while b"\r\n\r\n" not in data and (chunk := connection.recv(4096)):
        data += chunk
    return data


def accept_handshake(connection: socket.socket, more: bytes = b"", protocol: str = "ocpp1.6") -> None:
    """Answer the upgrade like a Central System, with `more` in the same segment."""
    lines = request_of(connection).decode().split("\r\n")
    key = next(line.partition(": ")[2] for line in lines if line.startswith("Sec-WebSocket-Key"))
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        + f"Sec-WebSocket-Protocol: {protocol}\r\n".encode()
        + b"Sec-WebSocket-Accept: "
        + base64.b64encode(digest)
        + b"\r\n\r\n"
        + more
    )


def until_closed(connection: socket.socket) -> bytes:
    """Everything that the station still sends."""
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data


def echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)
