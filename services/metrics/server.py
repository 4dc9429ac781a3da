"""A thread that moves the bytes of scrapes: the least of HTTP/1.1 that Prometheus and curl need.

Owns: the listening socket, at most CONNECTIONS_MAX connections, each for CONNECTION_S_MAX at most, whatever its other end does.
Does not: know what is served: each good request is put into a mailbox, and `answer` sends the text.
"""

import contextlib
import os
import select
import socket
import stat
import threading
from collections import deque

from bus.clock import boottime_s
from bus.mailbox import Mailbox
from services.configuration.listen import Tcp, Unix
from services.metrics.exposition import CONTENT_TYPE

CONNECTIONS_MAX = 8
CONNECTION_S_MAX = 5.0
REQUEST_BYTES_MAX = 4096
PATH = "/metrics"
_READ_BYTES = 4096


def listener(where: Tcp | Unix) -> socket.socket:
    """A socket that listens. Raises OSError. What an earlier process left of a unix socket is removed, nothing else."""
    if isinstance(where, Tcp):
        opened = socket.socket(socket.AF_INET6 if ":" in where.host else socket.AF_INET, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        address: tuple[str, int] | str = (where.host, where.port)
    else:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address = where.path
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.lstat(where.path).st_mode):
                os.unlink(where.path)
    try:
        opened.bind(address)
        if isinstance(where, Unix):
            # For its owner and its group: who may scrape is made a member of that.
            os.chmod(where.path, 0o660)
        opened.listen(CONNECTIONS_MAX)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


class Connection:
    """One scrape: first it is read, then written, then it is over."""

    def __init__(self, peer: socket.socket, until_s: float) -> None:
        self.peer = peer
        self.until_s = until_s
        self.request = b""
        self.response: bytes | None = None
        self.asked = False


class Server:
    """The thread. `questions` gets the number of a connection for each request that is to be answered."""

    def __init__(self, opened: socket.socket, questions: Mailbox[int]) -> None:
        self._opened = opened
        self._questions = questions
        self._answers: deque[tuple[int, str]] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stopping = False
        self._connections: dict[int, Connection] = {}
        self._thread = threading.Thread(target=self._run, name="scrapes", daemon=True)

    def start(self) -> None:
        """Serve until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and all connections."""
        self._stopping = True
        os.eventfd_write(self._wake_fd, 1)
        self._thread.join(1.0)

    def alive(self) -> bool:
        """Whether the thread still moves bytes."""
        return self._thread.is_alive()

    def answer(self, number: int, text: str) -> None:
        """Send the metrics on a connection, if it is still there. Called from another thread."""
        self._answers.append((number, text))
        os.eventfd_write(self._wake_fd, 1)

    def _run(self) -> None:
        while not self._stopping:
            ready = self._wait()
            if self._wake_fd in ready:
                os.eventfd_read(self._wake_fd)
                self._take_answers()
            for number in [number for number in self._connections if number in ready]:
                self._move(number)
            if self._opened.fileno() in ready:
                self._accept()
            self._end_late()
        for number in list(self._connections):
            self._end(number)
        self._opened.close()

    def _wait(self) -> set[int]:
        poller = select.poll()
        poller.register(self._wake_fd, select.POLLIN)
        # The rest waits in the kernel's queue, which is as short.
        if len(self._connections) < CONNECTIONS_MAX:
            poller.register(self._opened, select.POLLIN)
        for number, connection in self._connections.items():
            if connection.response is not None:
                poller.register(number, select.POLLOUT)
            elif not connection.asked:
                poller.register(number, select.POLLIN)
        until_s = min((connection.until_s for connection in self._connections.values()), default=None)
        timeout_ms = None if until_s is None else max(0, int((until_s - boottime_s()) * 1000) + 1)
        return {number for number, _ in poller.poll(timeout_ms)}

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            peer, _ = self._opened.accept()
            peer.setblocking(False)
            self._connections[peer.fileno()] = Connection(peer, boottime_s() + CONNECTION_S_MAX)

    def _take_answers(self) -> None:
        while self._answers:
            number, text = self._answers.popleft()
            connection = self._connections.get(number)
            if connection is not None and connection.asked and connection.response is None:
                connection.response = response("200 OK", text)

    def _move(self, number: int) -> None:
        connection = self._connections[number]
        try:
            if connection.response is None:
                self._read(number, connection)
            else:
                connection.response = connection.response[connection.peer.send(connection.response) :]
                if not connection.response:
                    self._end(number)
        except BlockingIOError:
            pass
        except OSError:
            self._end(number)

    def _read(self, number: int, connection: Connection) -> None:
        data = connection.peer.recv(_READ_BYTES)
        connection.request += data
        head, end, _ = connection.request.partition(b"\r\n\r\n")
        if end:
            connection.asked = True
            connection.response = refusal(head)
            if connection.response is None and not self._questions.put(number):
                self._end(number)
        elif not data:
            self._end(number)
        elif len(connection.request) > REQUEST_BYTES_MAX:
            connection.asked = True
            connection.response = response("431 Request Header Fields Too Large", "the request is too long\n")

    def _end_late(self) -> None:
        now_s = boottime_s()
        for number in [number for number, connection in self._connections.items() if connection.until_s <= now_s]:
            self._end(number)

    def _end(self, number: int) -> None:
        connection = self._connections.pop(number)
        with contextlib.suppress(OSError):
            connection.peer.shutdown(socket.SHUT_RDWR)
        connection.peer.close()


def refusal(head: bytes) -> bytes | None:
    """What a request without its end gets that is not answered with the metrics; None: it is."""
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return response("400 Bad Request", "this is no HTTP/1.1 request\n")
    if words[0] != "GET":
        return response("405 Method Not Allowed", "only GET is served here\n", "Allow: GET\r\n")
    if words[1].partition("?")[0] != PATH:
        return response("404 Not Found", f"the metrics are at {PATH}\n")
    return None


def response(status: str, text: str, more: str = "") -> bytes:
    """A whole HTTP response."""
    body = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n{more}Connection: close\r\n\r\n"
    )
    return head.encode() + body
