"""Serial ports, real and pseudo-terminal alike: the only place that knows the difference (hardware.md §2.2).

Owns: opening with the right settings, and turning every way of losing a port into `PortMissing` with a line that a person
can act on. Does not: know protocols, retry, or wait longer than it is told.
"""

import contextlib
import errno
import os
import select
import termios
from typing import Any

import serial

from services.hardware.contract import NoAnswer, PortMissing
from services.hardware.trace import Trace, of_this_thread

WRITE_TIMEOUT_S = 0.5
_READ_BYTES_MAX = 4096
_PSEUDO_TERMINALS = "/dev/pts/"
_GROUPS = {"/dev/input/": "input", "/dev/gpiochip": "gpio"}
"""Who may open devices that are no serial ports."""
_LOST = (serial.SerialException, termios.error, OSError, ValueError)
"""What a port may raise when it is not there, vanishes, or is no serial port: pyserial does not wrap them all."""

_REMEDIES = {
    errno.ENOENT: ("is not there", "plug the device in, or correct the port in station.toml"),
    errno.ENXIO: ("has no device behind it", "plug the device in"),
    errno.ENODEV: ("has no device behind it", "plug the device in"),
    errno.EIO: ("has lost its device", "plug the device in again"),
    errno.EACCES: ("may not be opened by this user", "add the user to the group dialout"),
    errno.EPERM: ("may not be opened by this user", "add the user to the group dialout"),
    errno.EAGAIN: ("is used by another process", "end that process, or give each device a port of its own"),
    errno.EBUSY: ("is used by another process", "end that process, or give each device a port of its own"),
    errno.ENOTTY: ("is no serial port", "correct the port in station.toml"),
    errno.EISDIR: ("is a directory", "correct the port in station.toml"),
}


class _Serial(serial.Serial):  # type: ignore[misc]
    """A port whose traffic is noted, for a library that speaks the protocol itself."""

    trace: Trace | None = None
    sent = heard = b""
    """What was written last, and what was read since then."""

    def read(self, size: int = 1) -> bytes:
        data = bytes(super().read(size))
        self.heard += data
        if data and self.trace is not None:
            self.trace.note(data, sent=False)
        return data

    def write(self, data: bytes) -> int | None:
        self.sent, self.heard = bytes(data), b""
        if self.trace is not None:
            self.trace.note(self.sent, sent=True)
        written: int | None = super().write(data)
        return written


class Port:
    """An open port. Reads and writes are bounded; all of them raise PortMissing once the device is gone."""

    def __init__(self, path: str, device: Any) -> None:
        self._path = path
        self._device = device
        self._trace = of_this_thread()

    @property
    def path(self) -> str:
        """As it was given: what people know the port by."""
        return self._path

    @property
    def serial(self) -> Any:
        """The serial.Serial object, for a library that speaks the protocol itself."""
        return self._device

    @property
    def echoes(self) -> bool:
        """Whether all that was sent last through `serial` came back before anything else: the adapter hears itself."""
        return bool(self._device.sent) and self._device.heard.startswith(self._device.sent)

    def fileno(self) -> int:
        """Readable when the device has sent something, or is gone."""
        return int(self._device.fd)

    def read(self, timeout_s: float = 0.0) -> bytes:
        """What has arrived, waiting at most `timeout_s` for the first byte; empty when nothing came."""
        try:
            descriptor = self.fileno()
            poller = select.poll()
            poller.register(descriptor, select.POLLIN)
            if not poller.poll(max(0, round(timeout_s * 1000))):
                return b""
            data = os.read(descriptor, _READ_BYTES_MAX)
        except (*_LOST, TypeError) as error:
            raise port_missing(self._path, error) from None
        if not data:
            # Readable without a byte: the other end was closed, which is how a pulled adapter looks too.
            raise port_missing(self._path, OSError(errno.EIO, "closed"))
        if self._trace is not None:
            self._trace.note(data, sent=False)
        return data

    def write(self, data: bytes) -> None:
        """Send `data`. Raises NoAnswer when the device does not take it within WRITE_TIMEOUT_S."""
        try:
            self._device.write(data)
        except serial.SerialTimeoutException:
            raise NoAnswer(f"port {self._path}: the device takes no data; check its cable and power") from None
        except _LOST as error:
            raise port_missing(self._path, error) from None

    def close(self) -> None:
        """Close it; harmless when the device is gone already."""
        with contextlib.suppress(*_LOST):
            self._device.close()


def open_port(
    path: str, baud: int, *, parity: str = "N", stop_bits: int = 1, timeout_s: float = 0.5, shared: bool = False
) -> Port:
    """Open `path` for this process alone, 8 data bits, raw; `timeout_s` bounds reads through `Port.serial`.

    `shared`: not for this process alone; those that share it take turns (`turns.py`).

    A pseudo-terminal refuses parity and ignores speed, so there parity is dropped (hardware.md §2.2). Raises PortMissing.
    """
    if os.path.realpath(path).startswith(_PSEUDO_TERMINALS):
        parity = "N"
    try:
        device = _Serial(
            path,
            baud,
            parity=parity,
            stopbits=stop_bits,
            timeout=timeout_s,
            write_timeout=WRITE_TIMEOUT_S,
            exclusive=None if shared else True,
        )
        device.trace = of_this_thread()
        _keep_lines_at_close(device.fd)
    except _LOST as error:
        raise port_missing(path, error) from None
    return Port(path, device)


def port_missing(path: str, error: Exception) -> PortMissing:
    """What is wrong with the port, and what to do, on one line."""
    number = _errno(error)
    known = _REMEDIES.get(number) if number is not None else None
    if known is None:
        detail = (os.strerror(number) if number is not None else str(error)).splitlines()
        return PortMissing(f"port {path} can't be used ({detail[0] if detail else error!r}); check cable and settings")
    what, remedy = known
    for start, group in _GROUPS.items():
        if path.startswith(start):
            remedy = remedy.replace("dialout", group)
    return PortMissing(f"port {path} {what}; {remedy}")


def _errno(error: Exception) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if error.args and isinstance(error.args[0], int):
        return error.args[0]
    # pyserial puts the errors of tcgetattr and of a closed port into a text.
    text = str(error)
    if "Could not configure port" in text:
        return errno.ENOTTY
    return errno.EIO if "readiness to read" in text or "write failed" in text else None


def _keep_lines_at_close(descriptor: int) -> None:
    """Leave DTR and RTS as they are when the port closes.

    Boards with an automatic reset take a falling DTR for one, and the contactor would open because our process restarted.
    """
    attributes = termios.tcgetattr(descriptor)
    attributes[2] &= ~termios.HUPCL
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
