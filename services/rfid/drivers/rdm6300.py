"""RDM6300 and its family: a reader that sends a frame again and again while a tag is in its field (hardware.md §5.1).

Frame: STX, 10 hexadecimal digits, 2 digits of the XOR of these five bytes, ETX. Readers of the family with longer numbers
send STX, `=`, 1 to 20 printable characters, 2 digits of the XOR of these characters, ETX.

Owns: the frames. Does not: decide when a tag counts as presented (`services/rfid/core.py`). The reader can't be asked
anything: it is lost only when its port is.
"""

import select
import termios

import msgspec
import serial

from bus.clock import boottime_s
from bus.vocabulary import ID_TAG_LENGTH_MAX
from services.hardware.contract import Counters, DeviceInfo, PortMissing, TokenSeen
from services.hardware.port import open_port

BAUD = 9600
STX, ETX = 0x02, 0x03
POLL_PERIOD_S = 5.0
_FRAME_BYTES_MAX = 1 + ID_TAG_LENGTH_MAX + 2
_SKIPPED = (0x0D, 0x0A)
_HEX = frozenset(b"0123456789abcdefABCDEF")


class Parser:
    """Bytes in any pieces in, tags out; bad frames are counted and skipped."""

    def __init__(self) -> None:
        self._frame: bytearray | None = None
        self.errors = 0

    def feed(self, data: bytes) -> list[str]:
        """Tags whose frames are complete. Never raises."""
        tags: list[str] = []
        for byte in data:
            if byte == STX:
                self.errors += self._frame is not None
                self._frame = bytearray()
            elif self._frame is None or byte in _SKIPPED:
                continue
            elif byte == ETX:
                tag = _tag(bytes(self._frame))
                self._frame = None
                if tag is None:
                    self.errors += 1
                else:
                    tags.append(tag)
            else:
                self._frame.append(byte)
                if len(self._frame) > _FRAME_BYTES_MAX:
                    self.errors += 1
                    self._frame = None
        return tags


class Rdm6300:
    """One reader on one port."""

    name = "rdm6300"

    def __init__(self, port: str) -> None:
        self.poll_period_s = POLL_PERIOD_S
        self._path = port
        self._port: serial.Serial | None = None
        self._parser = Parser()
        self._replies = 0

    def open(self) -> DeviceInfo:
        """Open the port; nobody can be asked who is there. Raises PortMissing."""
        self.close()
        self._port = open_port(self._path, BAUD)
        return DeviceInfo(model="RDM6300")

    def fileno(self) -> int | None:
        """Readable when a tag is there."""
        return None if self._port is None else self._port.fileno()

    def exchange(self, desired: None) -> list[TokenSeen]:  # noqa: ARG002
        """What has been seen since the last call. Raises PortMissing when the port is gone."""
        assert self._port is not None, "the port is not open"
        try:
            ready, _, _ = select.select([self._port.fileno()], [], [], 0)
            data = self._port.read(max(1, self._port.in_waiting)) if ready else b""
            if not ready:
                # Asking for the number of waiting bytes fails on a port that is gone.
                _ = self._port.in_waiting
        except (serial.SerialException, termios.error, OSError, ValueError) as error:
            raise PortMissing(f"{self._path} vanished ({error}); check the reader's cable") from None
        now_s = boottime_s()
        seen = [TokenSeen(tag, now_s) for tag in self._parser.feed(data)]
        self._replies += len(seen)
        return seen

    def close(self) -> None:
        """Close the port."""
        if self._port is not None:
            try:
                self._port.close()
            except (OSError, termios.error):
                pass
            self._port = None

    def counters(self) -> Counters:
        """Frames read well and badly."""
        return msgspec.structs.replace(Counters(), replies=self._replies, errors=self._parser.errors)


def _tag(frame: bytes) -> str | None:
    """The tag in a frame's bytes between STX and ETX; None if the frame is not a good one."""
    payload, digits = frame[:-2], frame[-2:]
    if len(digits) != 2 or not set(digits) <= _HEX:
        return None
    if payload[:1] == b"=":
        characters = payload[1:]
        printable = all(0x20 <= byte < 0x7F for byte in characters)
        if 1 <= len(characters) <= ID_TAG_LENGTH_MAX and printable and int(digits, 16) == _xor(characters):
            return characters.decode("ascii")
        return None
    if len(payload) == 10 and set(payload) <= _HEX:
        data = bytes.fromhex(payload.decode("ascii"))
        return data.hex().upper() if _xor(data) == int(digits, 16) else None
    return None


def _xor(data: bytes) -> int:
    result = 0
    for byte in data:
        result ^= byte
    return result
