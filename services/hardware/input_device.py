"""Input devices of the kernel (evdev), for readers that are keyboards (hardware.md §5.4).

Owns: opening one for this process alone, its name, which lamps it has. Does not: know keys. A pseudo-terminal or FIFO that
carries the same structs is taken too: it has no name, nobody else types on it, and it can't be asked for lamps.
"""

import errno
import fcntl
import os
import stat
import struct

from services.hardware.contract import DeviceInfo, PortMissing
from services.hardware.port import Port, port_missing
from services.hardware.trace import of_this_thread

_NAME_BYTES = 128
_EVIOCGNAME = 0x80004506 | _NAME_BYTES << 16
_EVIOCGID = 0x80084502
_EVIOCGBIT_LED = 0x80014531
"""EVIOCGBIT(EV_LED, 1): a bit for each lamp of the first eight."""
_EVIOCGRAB = 0x40044590
_PSEUDO_TERMINALS = "/dev/pts/"


class _Descriptor:
    """What `Port` needs of a device: its descriptor, until it is closed."""

    def __init__(self, fd: int) -> None:
        self.fd: int | None = fd
        self._trace = of_this_thread()

    def write(self, data: bytes) -> None:
        """Send to the device."""
        assert self.fd is not None
        if self._trace is not None:
            self._trace.note(data, sent=True)
        os.write(self.fd, data)

    def close(self) -> None:
        """Close it once."""
        fd, self.fd = self.fd, None
        if fd is not None:
            os.close(fd)


def open_input(path: str) -> tuple[Port, DeviceInfo]:
    """Open a keyboard so that nobody else, the console neither, gets what it types. Raises PortMissing."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise port_missing(path, error) from None
    device = _Descriptor(fd)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return Port(path, device), _grabbed(path, fd)
    except OSError as error:
        device.close()
        raise port_missing(path, error) from None
    except PortMissing:
        device.close()
        raise


def lamps(port: Port) -> frozenset[int]:
    """The codes of the lamps that a keyboard has (LED_NUML 0, LED_CAPSL 1, LED_SCROLLL 2). Raises PortMissing."""
    try:
        (bits,) = fcntl.ioctl(port.fileno(), _EVIOCGBIT_LED, bytes(1))
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL):
            raise port_missing(port.path, error) from None
        # What it writes to a FIFO a process would read itself; behind a pseudo-terminal is a whole keyboard.
        return frozenset() if stat.S_ISFIFO(os.fstat(port.fileno()).st_mode) else frozenset(range(3))
    return frozenset(code for code in range(8) if bits >> code & 1)


def _grabbed(path: str, fd: int) -> DeviceInfo:
    try:
        name = fcntl.ioctl(fd, _EVIOCGNAME, bytes(_NAME_BYTES)).split(b"\0")[0].decode("utf-8", "replace")
        identity = fcntl.ioctl(fd, _EVIOCGID, bytes(8))
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL):
            raise
        if not os.path.realpath(path).startswith(_PSEUDO_TERMINALS) and not stat.S_ISFIFO(os.fstat(fd).st_mode):
            raise PortMissing(f"port {path} is no keyboard; give one of /dev/input/by-id/…-event-kbd") from None
        return DeviceInfo(model="keyboard")
    fcntl.ioctl(fd, _EVIOCGRAB, 1)
    _, vendor, product, _ = struct.unpack("4H", identity)
    return DeviceInfo(model=" ".join(name.split()) or "keyboard", serial=f"{vendor:04x}:{product:04x}")
