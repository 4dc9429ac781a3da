"""A serial device of the virtual hardware: a pseudo-terminal with a name that stays (hardware.md §2.2).

Owns: the pty and its symbolic link, and who is on it. Does not: know what is spoken on it. Like a real
UART it loses what nobody reads.
"""

import asyncio
import contextlib
import os
import pty
import tty
from collections.abc import Callable

DEVICES_DIRECTORY = "../dev"
"""Where the names of all ports are, from a station's run directory."""
_READ_BYTES_MAX = 4096


class PortError(Exception):
    """The port can't be made; the text is one line."""


def forget_ports(directory: str) -> None:
    """Remove the names that a killed simulator has left: the kernel soon gives their pseudo-terminals to other processes.

    Raises OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        for entry in list(os.scandir(directory)):
            if entry.is_symlink():
                os.unlink(entry.path)


class PtyPort:
    """One port. `link` is the name under which drivers open it; `receive` gets what they write."""

    def __init__(self, link: str, receive: Callable[[bytes], None]) -> None:
        self.link = link
        self._receive = receive
        self._master: int | None = None
        self._slave: int | None = None

    @property
    def plugged(self) -> bool:
        """Whether the adapter is there."""
        return self._master is not None

    def plug(self) -> None:
        """The adapter appears; nothing if it is there. Needs a running event loop. Raises PortError."""
        if self.plugged:
            return
        if os.path.lexists(self.link) and not os.path.islink(self.link):
            raise PortError(f"{self.link} is in the way and is no symbolic link; remove it by hand")
        try:
            # Our own end of the slave stays open, so that drivers can close and open theirs as they like.
            master, slave = pty.openpty()
            tty.setraw(slave)
            os.set_blocking(master, False)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.link}.new")
            os.symlink(os.ttyname(slave), f"{self.link}.new")
            os.replace(f"{self.link}.new", self.link)
        except OSError as error:
            raise PortError(f"cannot make {self.link}: {error.strerror}") from None
        self._master, self._slave = master, slave
        asyncio.get_running_loop().add_reader(master, self._readable)

    def unplug(self) -> None:
        """The adapter vanishes: the name is gone, and whoever has the port open gets errors."""
        if self._master is None or self._slave is None:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.link)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = None

    def write(self, data: bytes) -> None:
        """Send; what finds no room, or no adapter, is lost."""
        if self._master is None or not data:
            return
        with contextlib.suppress(BlockingIOError):
            os.write(self._master, data)

    def _readable(self) -> None:
        if self._master is None:
            return
        try:
            data = os.read(self._master, _READ_BYTES_MAX)
        except BlockingIOError:
            return
        self._receive(data)


class Tap:
    """A device's place on a line that it shares with others: it hears everything, and can be taken off the line."""

    def __init__(self, line: PtyPort, receive: Callable[[bytes], None]) -> None:
        self._line = line
        self._receive = receive
        self.plugged = True

    def plug(self) -> None:
        """The device is on the line."""
        self.plugged = True

    def unplug(self) -> None:
        """The device is taken off the line, which works on without it."""
        self.plugged = False

    def receive(self, data: bytes) -> None:
        """What somebody wrote on the line."""
        if self.plugged:
            self._receive(data)

    def write(self, data: bytes) -> None:
        """Answer on the line."""
        if self.plugged:
            self._line.write(data)
