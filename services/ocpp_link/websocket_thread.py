"""The one thread that moves bytes between the link and the Central System (design §2).

Owns: the socket. It connects, reads, writes, and answers pings at all times (field report 19), all on one poll loop. Does not:
decide anything: when to connect, ping or close comes in as commands, what happened goes out as reports. Only a text frame that
nothing waits before is written by who sends it, in `send`: to wake this thread for it takes longer than to write it.

Bounds: every wait ends at a deadline, a command or `stop`; a message has FRAME_BYTES_MAX bytes, what waits to be written
OUTGOING_BYTES_MAX, commands COMMANDS_MAX. When the reports' mailbox is full the thread reads no more until it has room: the
peer feels it, and nothing is lost.
Each connection has a number, and commands are for the number that `connect` gave last: what was meant for a connection that is
gone never reaches the next one.
"""

import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec

from bus.clock import boottime_s
from bus.mailbox import Mailbox
from services.ocpp_link import websocket_frames as frames
from services.ocpp_link import websocket_words as words
from services.ocpp_link.frame_log import NOTHING, About, Frames
from services.ocpp_link.rpc import FRAME_BYTES_MAX
from services.ocpp_link.websocket_connect import Aborted, ConnectError, Opened, Target, connect, receive, transmit

COMMANDS_MAX = 256
OUTGOING_BYTES_MAX = 2 * 1024 * 1024
"""More unwritten bytes than this mean that the Central System has stopped reading."""
STOP_S_MAX = 1.0
LINGER_S = 0.5
"""How long a connection that is ended stays open for the close frames to pass (RFC 6455 §7.1.1)."""
UNLOGGED_MAX = 256
"""So many frames wait to be logged, if nobody calls `log_frames`; then the thread does it."""
_RECEIVE_BYTES = 64 * 1024
_READS_MAX = 16
_REPORTS_MAX = 64
_RETRY_S = 0.05


class Connected(msgspec.Struct, frozen=True):
    """The WebSocket is open. `tls` names version and cipher; empty without TLS."""

    connection: int
    subprotocol: str
    address: str
    tls: str


class ConnectFailed(msgspec.Struct, frozen=True):
    """It could not be opened; `reason` says in plain words why and what to do. `unauthorized`: it was the password's fault."""

    connection: int
    reason: str
    unauthorized: bool = False


class FrameReceived(msgspec.Struct, frozen=True):
    """A whole text message."""

    connection: int
    text: str
    boottime_s: float


class BinaryReceived(msgspec.Struct, frozen=True):
    """A whole binary message, which nobody needs: only its size is kept."""

    connection: int
    size_bytes: int
    boottime_s: float


class PingReceived(msgspec.Struct, frozen=True):
    """The Central System pinged, and has its pong."""

    connection: int
    boottime_s: float


class PongReceived(msgspec.Struct, frozen=True):
    """A ping of ours was answered, or a pong came unasked."""

    connection: int
    payload: bytes
    boottime_s: float


class Lost(msgspec.Struct, frozen=True):
    """The connection is gone, in whatever way. `code` of RFC 6455 §7.4; 1006: it went without a close frame."""

    connection: int
    reason: str
    code: int


class ThreadFailed(msgspec.Struct, frozen=True):
    """A bug of ours ended the thread: the process has to end too."""

    reason: str


SocketReport = Connected | ConnectFailed | FrameReceived | BinaryReceived | PingReceived | PongReceived | Lost | ThreadFailed


class _Connect(msgspec.Struct, frozen=True):
    connection: int
    target: Target


class _Send(msgspec.Struct, frozen=True):
    """`text`: what `data` says, for the log of frames; None: a ping."""

    connection: int
    data: bytes
    text: str | None = None
    about: About = NOTHING


class _Close(msgspec.Struct, frozen=True):
    connection: int
    reason: str
    code: int


_Command = _Connect | _Send | _Close


class _Link(msgspec.Struct):
    """The connection as the thread holds it. `linger_until_s` set: it is reported as lost and only waits to be closed."""

    connection: int
    socket: socket.socket
    reader: frames.FrameReader
    outgoing: bytearray
    linger_until_s: float | None = None
    unread: bool = True
    """There may be more to read than poll can see: inside TLS, or behind the handshake."""


class WebSocketThread:
    """Starts at once; `stop` ends it. All methods but those of the thread itself are for one other thread."""

    def __init__(self, reports: Mailbox[SocketReport], frames_seen: Frames | None = None, *, name: str = "websocket") -> None:
        """`frames_seen`: the log of frames, for one caller at a time."""
        self._reports = reports
        self._frames_seen = frames_seen
        self._commands: Mailbox[_Command] = Mailbox(COMMANDS_MAX)
        self._stop_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._connection = 0
        self._stopping = False
        self._asked = self._obeyed = 0
        """Commands that were put into the mailbox, and those of them that are done with."""
        self._lock = threading.Lock()
        """Held by who uses the socket of an open connection."""
        self._log_lock = threading.Lock()
        self._todo: deque[_Command] = deque()
        self._untold: deque[SocketReport] = deque()
        self._full = False
        """The mailbox has no room: reports wait, and nothing is read."""
        self._link: _Link | None = None
        self._unlogged: deque[Callable[[float], None]] = deque()
        """What is to be told to the log of frames, in its order; called with the boottime of then."""
        # A daemon, because libc may sit in the resolution of a name for longer than a service has to end.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def connect(self, target: Target) -> int:
        """Open a connection in place of any other, and give its number. Connected or ConnectFailed follows."""
        self._connection += 1
        if not self._put(_Connect(self._connection, target)):
            raise AssertionError("a connect was asked for while 256 commands wait")
        return self._connection

    def send(self, text: str, about: About = NOTHING) -> bool:
        """Send a text message on the connection asked for last; False: too many commands wait, and it was not taken."""
        data = frames.text_frame(text)
        return self._write_at_once(data, text, about) or self._put(_Send(self._connection, data, text, about))

    def ping(self, payload: bytes = b"") -> bool:
        """Send a ping with up to 125 bytes; PongReceived follows if the peer lives."""
        return self._put(_Send(self._connection, frames.ping_frame(payload)))

    def close(self, reason: str, code: int = frames.CLOSE_NORMAL) -> bool:
        """End the connection asked for last. Lost or ConnectFailed follows at once, with `reason`."""
        return self._put(_Close(self._connection, reason, code))

    @property
    def unlogged(self) -> int:
        """How many frames were seen that are not in their log yet."""
        return len(self._unlogged)

    def log_frames(self) -> None:
        """Write the log of frames."""
        with self._log_lock:
            while self._unlogged:
                self._unlogged.popleft()(boottime_s())

    def stop(self) -> bool:
        """End the thread, whatever it does. False: it sits in the resolution of a name and ends with the process."""
        self._stopping = True
        os.eventfd_write(self._stop_fd, 1)
        self._thread.join(STOP_S_MAX)
        if self._thread.is_alive():
            return False
        self._commands.close()
        os.close(self._stop_fd)
        return True

    def _put(self, command: _Command) -> bool:
        taken = self._commands.put(command)
        self._asked += taken
        return taken

    def _write_at_once(self, data: bytes, text: str, about: About) -> bool:
        """Write a frame on the other thread. False: it has to wait for its turn, or for this thread to see what is wrong."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            link = self._link
            if link is None or link.outgoing or link.linger_until_s is not None or self._asked != self._obeyed:
                return False
            sent = transmit(link.socket, data)
            if sent < len(data):
                link.outgoing += data[sent:]
                # It waits for the socket from now on, and then writes the rest.
                self._put(_Send(link.connection, b""))
            self._seen_sent(text, about)
        except OSError:
            return False
        finally:
            self._lock.release()
        return True

    def _seen_sent(self, text: str, about: About) -> None:
        seen, at_s = self._frames_seen, boottime_s()
        if seen is not None:
            self._unlogged.append(lambda now_s: seen.sent(text, at_s, about, ago_s=now_s - at_s))

    def _seen_received(self, text: str, at_s: float) -> None:
        seen = self._frames_seen
        if seen is not None:
            self._unlogged.append(lambda now_s: seen.received(text, at_s, ago_s=now_s - at_s))

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._turn()
        except Exception as error:  # The outermost loop: the deciding thread has to know, and ends the process.
            self._tell(ThreadFailed(f"{type(error).__name__}: {error}"))
            self._flush_reports()
            raise
        finally:
            self.log_frames()
            if self._link is not None:
                if self._link.linger_until_s is None:
                    self._write(self._link, frames.close_frame(frames.CLOSE_GOING_AWAY, "the link service ends"))
                self._link.socket.close()

    def _turn(self) -> None:
        """One round: commands, bytes out, bytes in, reports; then wait for the next thing to do."""
        self._take_commands()
        while self._todo:
            self._obey(self._todo.popleft())
            self._obeyed += 1
        if self._link is not None:
            with self._lock:
                self._serve(self._link)
        if len(self._unlogged) >= UNLOGGED_MAX:
            self.log_frames()
        self._wait_for_work()

    def _wait_for_work(self) -> None:
        poller = select.poll()
        poller.register(self._stop_fd, select.POLLIN)
        poller.register(self._commands.fileno(), select.POLLIN)
        # Last of all: whoever wakes up of it finds this thread asleep, and the interpreter free.
        self._flush_reports()
        timeout_s = _RETRY_S if self._full else None
        link = self._link
        if link is not None:
            # While reports wait for room the socket is not polled for reading: its hang-up would wake us without end.
            wanted = (0 if self._full else select.POLLIN) | (select.POLLOUT if link.outgoing else 0)
            if wanted:
                poller.register(link.socket.fileno(), wanted)
            if link.unread and not self._full:
                timeout_s = 0.0
            elif link.linger_until_s is not None:
                timeout_s = max(0.0, min(link.linger_until_s - boottime_s(), timeout_s or LINGER_S))
        ready = [fd for fd, _ in poller.poll(None if timeout_s is None else timeout_s * 1000)]
        if link is not None:
            link.unread = link.unread or link.socket.fileno() in ready

    def _take_commands(self) -> None:
        self._todo.extend(self._commands.drain())

    def _obey(self, command: _Command) -> None:
        if isinstance(command, _Connect):
            with self._lock:
                if self._link is not None:
                    self._end(self._link, "replaced by a new connection", frames.CLOSE_NORMAL)
                if self._link is not None:
                    self._forget(self._link)
            self._flush_reports()
            self._connect(command)
            return
        with self._lock:
            self._obey_on(self._link, command)

    def _obey_on(self, link: _Link | None, command: _Send | _Close) -> None:
        match command:
            case _ if link is None or link.connection != command.connection or link.linger_until_s is not None:
                pass  # For a connection that is gone, which was told; nothing to do.
            case _Send(data=data, text=text, about=about):
                link.outgoing += data
                if text is not None:
                    self._seen_sent(text, about)
                if len(link.outgoing) > OUTGOING_BYTES_MAX:
                    self._end(link, "the Central System does not read what the station sends", frames.CLOSE_ABNORMAL)
                    self._forget(link)
            case _Close(reason=reason, code=code):
                self._end(link, reason, code)

    def _connect(self, command: _Connect) -> None:
        try:
            opened = connect(command.target, partial(self._wait_while_connecting, command.connection))
        except ConnectError as error:
            self._tell(ConnectFailed(command.connection, str(error), error.unauthorized))
        except Aborted as aborted:
            self._tell(ConnectFailed(command.connection, str(aborted)))
        else:
            self._opened(command.connection, opened)

    def _opened(self, connection: int, opened: Opened) -> None:
        reader = frames.FrameReader(FRAME_BYTES_MAX)
        reader.feed(opened.received)
        self._link = _Link(connection, opened.socket, reader, bytearray())
        seen = self._frames_seen
        if seen is not None:
            self._unlogged.append(lambda _: seen.opened())
        self._tell(Connected(connection, opened.subprotocol, opened.address, opened.tls))

    def _wait_while_connecting(self, connection: int, fd: int, events: int, deadline_s: float) -> None:
        """Wait for a socket that is being connected. Raises TimeoutError at the deadline, Aborted if it is not wanted now."""
        poller = select.poll()
        poller.register(fd, events)
        poller.register(self._stop_fd, select.POLLIN)
        poller.register(self._commands.fileno(), select.POLLIN)
        while True:
            left_s = deadline_s - boottime_s()
            if left_s <= 0:
                raise TimeoutError
            ready = [one for one, _ in poller.poll(left_s * 1000)]
            self._check_wanted(connection)
            if fd in ready:
                return

    def _check_wanted(self, connection: int) -> None:
        """Raise Aborted if the connection that is being made was closed or replaced, or the thread is to end."""
        if self._stopping:
            raise Aborted("the station's link service ends")
        self._take_commands()
        for command in self._todo:
            if isinstance(command, _Close) and command.connection == connection:
                raise Aborted(command.reason)
            if isinstance(command, _Connect) and command.connection > connection:
                raise Aborted("replaced by a new connection")

    def _serve(self, link: _Link) -> None:
        """Write what waits, read what came. A connection that is reported as lost is only read until its end."""
        try:
            self._write(link)
            self._read(link)
        except OSError as error:
            self._end(link, f"the connection broke: {words.of_error(error)}", frames.CLOSE_ABNORMAL)
        except frames.FrameError as error:
            self._end(link, f"the Central System sent {error}", error.code)
        if link.linger_until_s is not None and link.linger_until_s <= boottime_s():
            self._forget(link)

    def _write(self, link: _Link, last: bytes = b"") -> None:
        """Write as much as the socket takes. `last` is the parting word of a thread that ends: sent or not."""
        link.outgoing += last
        try:
            while link.outgoing and (sent := transmit(link.socket, link.outgoing)):
                del link.outgoing[:sent]
        except OSError:
            if not last:
                raise

    def _read(self, link: _Link) -> None:
        """Read and report, a bounded number of times, so that commands get their turn under a flood."""
        for _ in range(_READS_MAX):
            if link.linger_until_s is None:
                self._report_messages(link)
            if self._full or len(self._untold) >= _REPORTS_MAX or self._link is not link or not link.unread:
                return
            data = receive(link.socket, _RECEIVE_BYTES)
            if data is None:
                link.unread = False
            elif not data:
                self._ended_by_peer(link)
            elif link.linger_until_s is None:
                link.reader.feed(data)

    def _ended_by_peer(self, link: _Link) -> None:
        where = " in the middle of a message" if link.reader.inside_a_message else " without a close frame"
        self._end(link, f"the Central System ended the connection{where}", frames.CLOSE_ABNORMAL)

    def _report_messages(self, link: _Link) -> None:
        """Report the whole messages at hand, as long as there is room for reports. Raises FrameError."""
        while link.linger_until_s is None:
            if self._full or len(self._untold) >= _REPORTS_MAX:
                link.unread = True  # Whole messages may be left, which poll can't see.
                return
            message = link.reader.next_message()
            now_s = boottime_s()
            match message:
                case None:
                    return
                case frames.Text(text=text):
                    self._seen_received(text, now_s)
                    self._tell(FrameReceived(link.connection, text, now_s))
                case frames.Binary(size_bytes=size):
                    self._tell(BinaryReceived(link.connection, size, now_s))
                case frames.Ping(payload=payload):
                    self._answer_ping(link, payload)
                    self._tell(PingReceived(link.connection, now_s))
                case frames.Pong(payload=payload):
                    self._tell(PongReceived(link.connection, payload, now_s))
                case frames.Close(code=code, reason=reason):
                    self._end(link, words.of_close(code, reason), code)

    def _answer_ping(self, link: _Link, payload: bytes) -> None:
        """Queue the pong; a peer that floods us with pings and reads no pong gets no more of them than fit."""
        if len(link.outgoing) < OUTGOING_BYTES_MAX:
            link.outgoing += frames.pong_frame(payload)
            self._write(link)

    def _end(self, link: _Link, reason: str, code: int) -> None:
        """Report the connection as lost, once, and say goodbye if it still stands."""
        if link.linger_until_s is not None:
            self._forget(link)
            return
        self._tell(Lost(link.connection, reason, code))
        link.linger_until_s = boottime_s() + LINGER_S
        if code == frames.CLOSE_ABNORMAL:
            self._forget(link)
            return
        self._write(link, frames.close_frame(code, reason if code == frames.CLOSE_NORMAL else ""))
        link.unread = True

    def _forget(self, link: _Link) -> None:
        link.socket.close()
        if self._link is link:
            self._link = None

    def _tell(self, report: SocketReport) -> None:
        """To be said at the end of the round."""
        self._untold.append(report)

    def _flush_reports(self) -> None:
        while self._untold and self._reports.put(self._untold[0]):
            self._untold.popleft()
        self._full = bool(self._untold)
