"""Turns on a serial line that several processes share: one exchange at a time, in the order of asking (hardware.md §2.3).

A file in the run directory has the next ticket and the time from which the line is quiet. Who wants to talk takes a ticket, by
a lock on the byte of that number, and waits until no lower byte is locked. The kernel lets a lock go when its process dies, so
that nobody waits for the dead. Locks belong to the open file, so two threads of a process take turns as well.

    bytes 0..7 next ticket, 8..15 quiet from (boottime, float)      locks: byte 16 while a ticket is drawn, 17 + n for ticket n

Owns: whose turn it is, and how long the line rests between turns. Does not: touch the port.
"""

import contextlib
import errno
import fcntl
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator

from services.hardware.contract import NoAnswer

PAUSE_S = 0.03
"""Between an answer and the next request: devices tell frames apart by silence (hardware.md §2.3)."""
WAIT_S_MIN = 0.6
"""So long anybody waits for a turn: as long as two others may take for an exchange that fails."""
REST_S_MAX = 1.0
"""No device answers later; a longer rest than that was written before a restart of the board."""
_STEP_S = 0.002
_DRAWING, _FIRST = 16, 17
_FLOCK = "hhqqi"


class Turns:
    """One participant at the line of `port`. Works in the current directory, which is the run directory."""

    def __init__(self, port: str, now: Callable[[], float], sleep: Callable[[float], None] = time.sleep) -> None:
        self._port = port
        self._now = now
        self._sleep = sleep
        self._descriptor = os.open(file_name(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Take part no more."""
        os.close(self._descriptor)

    @contextlib.contextmanager
    def turn(self, deadline_s: float, answer_s: float) -> Iterator[None]:
        """The line is ours in here, and quiet. Waits until boottime `deadline_s`, and WAIT_S_MIN in any case.

        `answer_s`: what the device may take for an answer. Whoever dies in here, or fails, leaves the line to the next one only
        when a late answer must have come. Raises NoAnswer when others keep the line.
        """
        until_s = max(deadline_s, self._now() + WAIT_S_MIN)
        ticket = self._draw(until_s)
        try:
            while self._is_locked(_FIRST, ticket):
                self._wait(until_s)
            self._rest()
            self._quiet_from(self._now() + answer_s)
            try:
                yield
            except BaseException:
                self._quiet_from(self._now() + answer_s)
                raise
            self._quiet_from(self._now() + PAUSE_S)
        finally:
            self._lock(fcntl.F_UNLCK, _FIRST + ticket)

    def _draw(self, until_s: float) -> int:
        while not self._lock(fcntl.F_WRLCK, _DRAWING):
            self._wait(until_s)
        try:
            ticket = int.from_bytes(os.pread(self._descriptor, 8, 0), "little")
            assert self._lock(fcntl.F_WRLCK, _FIRST + ticket), "nobody else draws it"
            os.pwrite(self._descriptor, (ticket + 1).to_bytes(8, "little"), 0)
            return ticket
        finally:
            self._lock(fcntl.F_UNLCK, _DRAWING)

    def _wait(self, until_s: float) -> None:
        if self._now() >= until_s:
            raise NoAnswer(
                f"the line at {self._port} is not free; another process keeps it, end that process or look at its log"
            )
        self._sleep(_STEP_S)

    def _rest(self) -> None:
        written = os.pread(self._descriptor, 8, 8)
        rest_s = struct.unpack("<d", written)[0] - self._now() if len(written) == 8 else 0.0
        if 0.0 < rest_s <= REST_S_MAX:
            self._sleep(rest_s)

    def _quiet_from(self, boottime_s: float) -> None:
        os.pwrite(self._descriptor, struct.pack("<d", boottime_s), 8)

    def _lock(self, kind: int, byte: int) -> bool:
        """Set or lift a lock of this open file; False: somebody else has it."""
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0))
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return False
        return True

    def _is_locked(self, first: int, count: int) -> bool:
        """Whether somebody else has a lock within `count` bytes from `first` on; a count of 0 would mean all of them."""
        if not count:
            return False
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, first, count, 0)
        found = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, asked)
        return bool(struct.unpack(_FLOCK, found)[0] != fcntl.F_UNLCK)


def file_name(port: str) -> str:
    """The file of a line, by the port as station.toml writes it."""
    return f"line-{zlib.crc32(port.encode()):08x}.turns"
