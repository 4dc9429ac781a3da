"""Frames of the PN532 on its serial line, both ways (pure; hardware.md §5.2).

    00 00 FF LEN LCS D4 command… DCS 00      host to chip; D5 the other way
    00 00 FF 00 FF 00                        ACK;  00 00 FF FF 00 00  NACK;  00 00 FF 01 FF 7F 81 00  error

Owns: framing and what an InListPassiveTarget answer says. Does not: move bytes or know which command is under way.
"""

import msgspec

ACK = bytes.fromhex("0000FF00FF00")
NACK = bytes.fromhex("0000FFFF0000")
WAKE_UP = b"\x55\x55" + bytes(14)
HOST_TO_CHIP, CHIP_TO_HOST, ERROR_CODE = 0xD4, 0xD5, 0x7F
UID_LENGTHS = frozenset((4, 7, 10))
"""Bytes in the UID of a card by ISO 14443A: single, double and triple size."""
_START = b"\x00\xff"
_BUFFER_BYTES_MAX = 1024


class Acknowledged(msgspec.Struct, frozen=True):
    """The chip has the command and works on it."""


class Repeat(msgspec.Struct, frozen=True):
    """NACK: the chip wants the last frame again."""


class Refused(msgspec.Struct, frozen=True):
    """The chip could not make sense of the command: its error frame."""


class Reply(msgspec.Struct, frozen=True):
    """An answer: `command` is the one that it answers, plus one; `data` what follows."""

    command: int
    data: bytes


Frame = Acknowledged | Repeat | Refused | Reply


def command_frame(command: int, data: bytes = b"") -> bytes:
    """A command as it goes out; `data` of at most 253 bytes."""
    body = bytes((HOST_TO_CHIP, command)) + data
    return b"\x00\x00\xff" + bytes((len(body), -len(body) & 0xFF)) + body + bytes((-sum(body) & 0xFF, 0))


class Parser:
    """Makes frames of a stream that may hold anything, in pieces of any size. `bad`: frames with a wrong checksum so far."""

    def __init__(self) -> None:
        self.bad = 0
        self._buffer = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes; noise between them is skipped."""
        self._buffer = (self._buffer + data)[-_BUFFER_BYTES_MAX:]
        frames: list[Frame] = []
        while (start := self._buffer.find(_START)) >= 0:
            rest = self._buffer[start + len(_START) :]
            if len(rest) < 2:
                break
            taken, frame = self._frame(rest)
            if taken is None:
                break
            self._buffer = rest[taken:]
            if frame is not None:
                frames.append(frame)
        return frames

    def _frame(self, rest: bytes) -> tuple[int | None, Frame | None]:
        """How many bytes behind the start code belong to what is there (None: more must come), and what it is."""
        length, check = rest[0], rest[1]
        if (length, check) == (0x00, 0xFF):
            return 2, Acknowledged()
        if (length, check) == (0xFF, 0x00):
            return 2, Repeat()
        if (length + check) & 0xFF or not length:
            self.bad += 1
            return 0, None
        if len(rest) < 2 + length + 1:
            return None, None
        body, sum_check = rest[2 : 2 + length], rest[2 + length]
        if (sum(body) + sum_check) & 0xFF:
            self.bad += 1
            return 2, None
        if body == bytes((ERROR_CODE,)):
            return 3 + length, Refused()
        if body[0] == HOST_TO_CHIP:
            # Our own command, from an adapter that echoes what is sent.
            return 3 + length, None
        if body[0] != CHIP_TO_HOST or length < 2:
            self.bad += 1
            return 3 + length, None
        return 3 + length, Reply(body[1], body[2:])


def uids(data: bytes) -> list[bytes] | None:
    """UIDs in the answer to InListPassiveTarget (type A): none is no error. None: it makes no sense.

    NbTg; then for each target Tg, SENS_RES (2), SEL_RES (1), the UID's length, the UID, and an ATS whose first byte is its
    own length if the card has one (bit 5 of SEL_RES).
    """
    if not data:
        return None
    found: list[bytes] = []
    place = 1
    for _ in range(data[0]):
        header = data[place : place + 5]
        if len(header) < 5 or header[4] not in UID_LENGTHS:
            return None
        uid = data[place + 5 : place + 5 + header[4]]
        if len(uid) < header[4]:
            return None
        found.append(uid)
        place += 5 + header[4]
        if header[3] & 0x20 and place < len(data):
            place += data[place]
    return found
