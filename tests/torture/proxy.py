"""A TCP proxy between the station and the Central System, which does to a connection what mobile networks do.

    with Proxy(central_system.port) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}/"
        proxy.cut_after(UP, 40)     # after 40 more bytes from the station, in the middle of a frame

Owns: bytes, and nothing but bytes. Does not: know WebSocket or OCPP. All methods from any thread.
"""

import contextlib
import selectors
import socket
import struct
import threading

CHUNK_BYTES = 16384
PENDING_BYTES_MAX = 1 << 20
"""More than that in one direction, and the proxy reads no further: the sender feels it, as with a real network."""
UP, DOWN = "up", "down"
"""From the station to the Central System, and back."""
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class _Half:
    """One direction of one connection: from where, to where, what is on its way."""

    def __init__(self, name: str, source: socket.socket, target: socket.socket) -> None:
        self.name = name
        self.source = source
        self.target = target
        self.pending = b""
        self.source_ended = False


class _Pair:
    """The two sockets of a forwarded connection."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.sockets = (near, far)
        self.halves = (_Half(UP, near, far), _Half(DOWN, far, near))


class Proxy:
    """Listens on a loopback port of its own, which stays the same, and forwards to `target_port`."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._lock = threading.RLock()
        self._pairs: list[_Pair] = []
        self._stalled: set[str] = set()
        self._budgets: dict[str, int] = {}
        self._ended = False
        self.accepted = 0
        self.cuts = 0
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._wake()
        self._thread.join(10)
        assert not self._thread.is_alive(), "the proxy's thread does not end"
        for sock in (self._listener, self._wake_reader, self._wake_writer):
            sock.close()

    @property
    def connections(self) -> int:
        """How many are being forwarded now."""
        with self._lock:
            return len(self._pairs)

    def stall(self, *directions: str) -> None:
        """Bytes of these directions go no further, and connections stay open, until `heal`. None given: both."""
        with self._lock:
            self._stalled.update(directions or (UP, DOWN))
        self._wake()

    def cut(self, *, reset: bool = True) -> None:
        """End all connections now: with RST and the loss of what is on its way, or with FIN."""
        with self._lock:
            for pair in list(self._pairs):
                self._end(pair, reset=reset)
        self._wake()

    def cut_after(self, direction: str, count: int) -> None:
        """Forward `count` more bytes of this direction, then reset the connection that was to carry the next one."""
        with self._lock:
            self._budgets[direction] = count
        self._wake()

    def heal(self) -> None:
        """Forward everything again; a cut that is still to come is forgotten."""
        with self._lock:
            self._stalled.clear()
            self._budgets.clear()
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_writer.send(b"x")

    def _run(self) -> None:
        while not self._ended:
            with selectors.DefaultSelector() as selector:
                with self._lock:
                    self._register(selector)
                ready = selector.select(5.0)
            with self._lock:
                for key, _ in ready:
                    if key.fileobj is self._wake_reader:
                        with contextlib.suppress(OSError):
                            self._wake_reader.recv(CHUNK_BYTES)
                    elif key.fileobj is self._listener:
                        self._accept()
                for pair in list(self._pairs):
                    self._forward(pair)
        self.cut()

    def _register(self, selector: selectors.BaseSelector) -> None:
        selector.register(self._listener, selectors.EVENT_READ)
        selector.register(self._wake_reader, selectors.EVENT_READ)
        for pair in self._pairs:
            wanted = dict.fromkeys(pair.sockets, 0)
            for half in pair.halves:
                if not half.source_ended and len(half.pending) < PENDING_BYTES_MAX:
                    wanted[half.source] |= selectors.EVENT_READ
                if half.pending and half.name not in self._stalled:
                    wanted[half.target] |= selectors.EVENT_WRITE
            for sock, events in wanted.items():
                if events:
                    selector.register(sock, events)

    def _accept(self) -> None:
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._target_port), timeout=1.0)
        except OSError:
            # Nobody is there: the station sees what it would see without a proxy, a connection that is not made.
            _reset(near)
            return
        self.accepted += 1
        for sock in (near, far):
            sock.setblocking(False)
        self._pairs.append(_Pair(near, far))

    def _forward(self, pair: _Pair) -> None:
        for half in pair.halves:
            if pair not in self._pairs:
                return
            self._read(pair, half)
            if pair in self._pairs:
                self._write(pair, half)
        if pair in self._pairs and any(half.source_ended and not half.pending for half in pair.halves):
            self._end(pair, reset=False)

    def _read(self, pair: _Pair, half: _Half) -> None:
        if half.source_ended or len(half.pending) >= PENDING_BYTES_MAX:
            return
        try:
            data = half.source.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._end(pair, reset=True)
            return
        half.source_ended = not data
        half.pending += data

    def _write(self, pair: _Pair, half: _Half) -> None:
        if not half.pending or half.name in self._stalled:
            return
        budget = self._budgets.get(half.name)
        data = half.pending if budget is None else half.pending[:budget]
        try:
            sent = half.target.send(data) if data else 0
        except BlockingIOError:
            return
        except OSError:
            self._end(pair, reset=True)
            return
        half.pending = half.pending[sent:]
        if budget is not None:
            self._budgets[half.name] = budget - sent
            if (budget == sent and half.pending) or budget == 0:
                del self._budgets[half.name]
                self.cuts += 1
                self._end(pair, reset=True)

    def _end(self, pair: _Pair, *, reset: bool) -> None:
        if pair in self._pairs:
            self._pairs.remove(pair)
        for sock in pair.sockets:
            if reset:
                _reset(sock)
            else:
                sock.close()


def _reset(sock: socket.socket) -> None:
    """Close with RST: what was on its way is lost."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
    sock.close()
