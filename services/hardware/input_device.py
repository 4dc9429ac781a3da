"""Input devices of the kernel (evdev), for readers that are keyboards (hardware.md §5.4).

Owns: opening one for this process alone, and its name. Does not: know keys. A pseudo-terminal or FIFO that carries the same
structs is taken too: it has no name, and nobody else types on it.
"""

import errno
import fcntl
import os
import stat
import struct

from services.hardware.contract import DeviceInfo, PortMissing
from services.hardware.port import Port, port_missing

_NAME_BYTES = 128
_EVIOCGNAME = 0x80004506 | _NAME_BYTES << 16
_EVIOCGID = 0x80084502
_EVIOCGRAB = 0x40044590
_PSEUDO_TERMINALS = "/dev/pts/"


class _Descriptor:
    """What `Port` needs of a device: its descriptor, until it is closed."""

    def __init__(self, fd: int) -> None:
        self.fd: int | None = fd

    def write(self, data: bytes) -> None:
        """Send to the device."""
        assert self.fd is not None
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
