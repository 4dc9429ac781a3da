"""One input line of a Linux GPIO character device, by version 2 of the kernel's interface (linux/gpio.h, since Linux 5.10).

Owns: the structs, the ioctls, and what a failure is called. Does not: know what hangs on the line.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Callable
from typing import Any

from services.hardware.port import port_missing

GET_LINE_IOCTL = 0xC250B407
GET_VALUES_IOCTL = 0xC010B40E
FLAG_INPUT = 1 << 2
FLAG_EDGES = 1 << 4 | 1 << 5
BIAS_FLAGS = {"pull-up": 1 << 8, "pull-down": 1 << 9, "none": 1 << 10}
RISING_EDGE = 1
LINE_REQUEST = struct.Struct("=64I32sQI5I240sII5Ii")
"""struct gpio_v2_line_request: offsets; consumer; flags and attributes; num_lines; event_buffer_size; fd."""
LINE_VALUES = struct.Struct("=QQ")
"""struct gpio_v2_line_values: bits, mask."""
LINE_EVENT = struct.Struct("=QIIII6I")
"""struct gpio_v2_line_event: timestamp_ns, id, offset, seqno, line_seqno."""
_CONSUMER = b"chargebus"
_EVENTS_AT_ONCE = 16

Ioctl = Callable[[int, int, Any], Any]


class GpioLine:
    """A requested line: nobody else gets it until it is closed."""

    def __init__(self, path: str, fd: int, ioctl: Ioctl) -> None:
        self._path = path
        self._fd = fd
        self._ioctl = ioctl

    def fileno(self) -> int:
        """Readable after an edge."""
        return self._fd

    def level(self) -> bool:
        """Whether the line is high now. Raises PortMissing."""
        values = bytearray(LINE_VALUES.pack(0, 1))
        try:
            self._ioctl(self._fd, GET_VALUES_IOCTL, values)
        except OSError as error:
            raise port_missing(self._path, error) from None
        return bool(LINE_VALUES.unpack(values)[0] & 1)

    def edges(self) -> list[bool]:
        """The edges since the last call, True for a rising one; the kernel keeps the newest few. Raises PortMissing."""
        try:
            data = os.read(self._fd, LINE_EVENT.size * _EVENTS_AT_ONCE)
        except BlockingIOError:
            return []
        except OSError as error:
            raise port_missing(self._path, error) from None
        if not data:
            raise port_missing(self._path, OSError(errno.ENODEV, "closed"))
        whole = len(data) // LINE_EVENT.size * LINE_EVENT.size
        return [event[1] == RISING_EDGE for event in LINE_EVENT.iter_unpack(data[:whole])]

    def close(self) -> None:
        """Give the line back."""
        os.close(self._fd)


def request_line(path: str, offset: int, bias: str, *, ioctl: Ioctl = fcntl.ioctl) -> GpioLine:
    """Line `offset` of the chip at `path` as an input that tells both edges. Raises PortMissing."""
    flags = FLAG_INPUT | FLAG_EDGES | BIAS_FLAGS[bias]
    offsets = (offset, *(0,) * 63)
    wanted = LINE_REQUEST.pack(*offsets, _CONSUMER, flags, 0, *(0,) * 5, b"", 1, _EVENTS_AT_ONCE, *(0,) * 5, 0)
    request = bytearray(wanted)
    try:
        chip = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            ioctl(chip, GET_LINE_IOCTL, request)
        finally:
            os.close(chip)
        fd: int = LINE_REQUEST.unpack(request)[-1]
        os.set_blocking(fd, False)
        os.set_inheritable(fd, False)
    except OSError as error:
        raise port_missing(path, error) from None
    return GpioLine(path, fd, ioctl)
