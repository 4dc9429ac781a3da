"""A Modbus RTU slave at the end of a line: bytes in, bytes out. Sans I/O (hardware.md §2.3).

Owns: frames, checksums, exceptions, and the ways in which such a line can be bad (`Quirks`). Does not: know registers; a
`Bank` has them. Function 6 is not known here, as nobody has verified that the controllers know it.
"""

import struct
from typing import Protocol

import msgspec

SILENCE_S = 0.02
"""Ends a frame. The protocol's 3.5 characters are 4 ms; a pseudo-terminal delivers a frame at once."""
READ_HOLDING, WRITE_HOLDING = 3, 16
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, BUSY = 1, 2, 3, 6
_FRAME_BYTES_MAX = 256
_READ_REQUEST_BYTES = 8
_WRITE_HEAD_BYTES = 7
_WORDS_MAX = 123


class Refusal(Exception):
    """A request gets an exception of Modbus: the code is its first argument."""


class Bank(Protocol):
    """The registers of one unit."""

    @property
    def unit(self) -> int:
        """Its address on the bus."""

    def read(self, address: int, count: int) -> list[int]:
        """Holding registers. Raises Refusal."""

    def write(self, address: int, words: list[int]) -> None:
        """Write them. Raises Refusal."""


class Quirks(msgspec.Struct):
    """Faults of the line, for tests of drivers."""

    mute: bool = False
    """Hears everything, obeys, and says nothing."""
    drop_replies: int = 0
    """So many replies get lost; the requests are obeyed."""
    garble_checksums: bool = False
    half_replies: int = 0
    """So many replies break off in the middle."""
    busy: int = 0
    """So many requests get exception 6 and are not obeyed."""
    answers_as: int | None = None
    """Replies bear another unit's address."""
    noise: bytes = b""
    """Sent before each reply."""


class ModbusSlave:
    """One unit on a line."""

    def __init__(self, bank: Bank, quirks: Quirks | None = None) -> None:
        self._bank = bank
        self.quirks = quirks or Quirks()
        self._frame = b""
        self._last_s = -SILENCE_S
        self._output = bytearray()

    def receive(self, data: bytes, now_s: float) -> None:
        """Bytes from the line at `now_s`; what they ask for is done now. Frames of other units are heard and ignored."""
        if now_s - self._last_s >= SILENCE_S:
            self._frame = b""
        self._last_s = now_s
        self._frame = (self._frame + data)[-_FRAME_BYTES_MAX:]
        length = _length(self._frame)
        if length is None or len(self._frame) < length:
            return
        frame, self._frame = self._frame[:length], b""
        if frame[0] == self._bank.unit and crc(frame[:-2]) == frame[-2:]:
            self._say(frame[0], frame[1], self._obey(frame))

    def take_output(self) -> bytes:
        """What it has said since the last call."""
        output = bytes(self._output)
        self._output.clear()
        return b"" if self.quirks.mute else output

    def _obey(self, frame: bytes) -> bytes | int:
        """What a reply has after its function, or the code of an exception."""
        if self.quirks.busy:
            self.quirks.busy -= 1
            return BUSY
        try:
            address, count = struct.unpack_from(">HH", frame, 2)
            if frame[1] == READ_HOLDING:
                words = self._bank.read(address, count)
                return struct.pack(f">B{count}H", 2 * count, *words)
            if frame[1] == WRITE_HOLDING:
                if not 1 <= count <= _WORDS_MAX or frame[6] != 2 * count:
                    return ILLEGAL_VALUE
                self._bank.write(address, list(struct.unpack_from(f">{count}H", frame, _WRITE_HEAD_BYTES)))
                return frame[2:6]
        except Refusal as refusal:
            return int(refusal.args[0])
        return ILLEGAL_FUNCTION

    def _say(self, unit: int, function: int, answer: bytes | int) -> None:
        quirks = self.quirks
        if quirks.drop_replies:
            quirks.drop_replies -= 1
            return
        shown = unit if quirks.answers_as is None else quirks.answers_as
        body = bytes((shown, function | 0x80, answer)) if isinstance(answer, int) else bytes((shown, function)) + answer
        reply = body + (b"\0\0" if quirks.garble_checksums else crc(body))
        if quirks.half_replies:
            quirks.half_replies -= 1
            reply = reply[: len(reply) // 2]
        self._output += quirks.noise + reply


def crc(frame: bytes) -> bytes:
    """CRC-16 of Modbus, low byte first."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


def _length(frame: bytes) -> int | None:
    """Bytes of the request that begins so; None: not enough of it has come."""
    if len(frame) < _WRITE_HEAD_BYTES:
        return None
    return _WRITE_HEAD_BYTES + frame[6] + 2 if frame[1] == WRITE_HOLDING else _READ_REQUEST_BYTES
