"""The event listener protocol of supervisord: READY, an event, RESULT (supervisord's manual, "Event Listeners").

Owns: the thread that moves its bytes. Does not: know what an event means. supervisord sends one event at a time, and the next
only after the result: so an event is answered as soon as it is read, whatever comes of it.
"""

import os
import select
import threading
from collections.abc import Mapping

import msgspec

from bus.mailbox import Mailbox

PAYLOAD_BYTES_MAX = 1 << 20
_READ_BYTES = 4096


class SupervisorEvent(msgspec.Struct, frozen=True):
    """One event: its name (`PROCESS_STATE_EXITED`, `TICK_5`) and what it says."""

    name: str
    fields: Mapping[str, str]


class ProtocolError(Exception):
    """Something else than supervisord is at the other end."""


class Reader:
    """Bytes in, events out (no I/O)."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[SupervisorEvent]:
        """The events that `data` completes. Raises ProtocolError."""
        self._buffer += data
        found: list[SupervisorEvent] = []
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if not newline:
                if len(line) > PAYLOAD_BYTES_MAX:
                    raise ProtocolError("a header without an end")
                return found
            header = fields_of(line)
            length = header.get("len", "")
            if "eventname" not in header or not length.isdigit() or int(length) > PAYLOAD_BYTES_MAX:
                raise ProtocolError(f"no header of an event: {line[:80]!r}")
            if len(rest) < int(length):
                return found
            payload, self._buffer = rest[: int(length)], rest[int(length) :]
            found.append(SupervisorEvent(header["eventname"], fields_of(payload.partition(b"\n")[0])))


def fields_of(line: bytes) -> dict[str, str]:
    """`key:value key:value` as a dictionary; words without a colon are left out."""
    words = line.decode("utf-8", "replace").split()
    return dict(word.split(":", 1) for word in words if ":" in word)


class Listener:
    """Puts supervisord's events into a mailbox; None: there will be no more."""

    def __init__(self, mailbox: Mailbox[SupervisorEvent | None], *, source: int = 0, target: int = 1) -> None:
        self._mailbox = mailbox
        self._source, self._target = source, target
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="supervisord's events", daemon=True)

    def start(self) -> None:
        """Say READY, and listen until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        os.eventfd_write(self._wake_fd, 1)
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        reader = Reader()
        try:
            os.write(self._target, b"READY\n")
            while data := self._read():
                for event in reader.feed(data):
                    self._mailbox.put(event)
                    os.write(self._target, b"RESULT 2\nOKREADY\n")
        except (OSError, ProtocolError):
            pass  # supervisord is gone; the parent-death signal ends this process.
        self._mailbox.put(None)

    def _read(self) -> bytes:
        poller = select.poll()
        poller.register(self._source, select.POLLIN)
        poller.register(self._wake_fd, select.POLLIN)
        ready = dict(poller.poll())
        return b"" if self._wake_fd in ready else os.read(self._source, _READ_BYTES)
