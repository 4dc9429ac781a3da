"""The virtual PN532 card reader on its serial line (hardware.md §5.2). Sans I/O.

It sleeps until it is woken and its security module is configured; it acknowledges a command, then answers; it answers "no
card" only once it was told to look briefly, and until then keeps on looking; a card that was not released is not found again.

Owns: the chip, the card on it, and broken answers for tests. Does not: move bytes. Time comes in as `now_s`.
"""

import enum

from services.simulator.rdm6300 import DWELL_S, TagError

ACK = bytes.fromhex("0000FF00FF00")
NACK = bytes.fromhex("0000FFFF0000")
ERROR = bytes.fromhex("0000FF01FF7F8100")
UID_DIGITS = (8, 14, 20)
_FIRMWARE = bytes((0x32, 0x01, 0x06, 0x07))
_SENSE = {4: bytes((0x00, 0x04, 0x08)), 7: bytes((0x00, 0x44, 0x00)), 10: bytes((0x00, 0x84, 0x20))}
"""SENS_RES and SEL_RES of cards by the length of their UID; the last one has an ATS."""
_ATS = bytes.fromhex("067577810280")
_BUFFER_BYTES_MAX = 512


class Defect(enum.Enum):
    """What is wrong with the next answer."""

    NO_ACKNOWLEDGEMENT = "no acknowledgement"
    BAD_CHECKSUM = "bad checksum"
    ERROR_FRAME = "error frame"
    SILENCE = "silence"


def uid_of(tag: str) -> bytes:
    """The UID that a tag's digits stand for. Raises TagError."""
    try:
        uid = bytes.fromhex(tag) if len(tag) in UID_DIGITS and not tag.isspace() else b""
    except ValueError:
        uid = b""
    if len(uid) * 2 != len(tag) or not uid:
        raise TagError(f"{tag[:40]!r} is no card for this reader: it has a UID of 8, 14 or 20 hexadecimal digits")
    return uid


class Reader:
    """The chip and what lies on it. `defects`: of the answers to come, used up one by one.

    `misses_every_second_look`: as some do with cards that have a UID of 7 bytes.
    """

    def __init__(self) -> None:
        self.defects: list[Defect] = []
        self.misses_every_second_look = False
        self._missed = False
        self._awake = False
        self._briefly = False
        self._selected = False
        self._looking = False
        self._input = b""
        self._last = b""
        self._card = b""
        self._until_s = 0.0
        self._now_s = 0.0
        self._ports = {"P3": 0x3F, "P7": 0x06}

    @property
    def card_present(self) -> bool:
        """Whether a card lies on it."""
        return bool(self._card)

    @property
    def lamps(self) -> tuple[str, ...]:
        """The pins that are low: a lamp between such a pin and the supply is lit."""
        pins = {"P3": (0, 1, 2, 3, 4, 5), "P7": (1, 2)}
        return tuple(f"{port}{pin}" for port, value in self._ports.items() for pin in pins[port] if not value >> pin & 1)

    @property
    def next_s(self) -> float | None:
        """When something happens by itself: the card is taken away. None: nothing will."""
        return self._until_s if self._card else None

    def swipe(self, tag: str, now_s: float, dwell_s: float = DWELL_S) -> None:
        """Hold a card there for `dwell_s`, instead of any other. Raises TagError."""
        self._card = uid_of(tag)
        self._until_s, self._selected = now_s + dwell_s, False

    def advance(self, now_s: float) -> bytes:
        """What the chip sends until `now_s`: only the answer that a card brings where it was told to look for ever."""
        self._now_s = max(self._now_s, now_s)
        output = b""
        if self._looking and self._card and now_s < self._until_s:
            self._looking = False
            output = self._answered(0x4A, self._found())
        if self._card and now_s >= self._until_s:
            self._card = b""
        return output

    def receive(self, data: bytes, now_s: float) -> bytes:
        """What the chip sends because of `data`."""
        output = self.advance(now_s)
        if b"\x55" in data:
            self._awake = True
        self._input = (self._input + data)[-_BUFFER_BYTES_MAX:]
        while (start := self._input.find(b"\x00\xff")) >= 0:
            rest = self._input[start + 2 :]
            if len(rest) < 2:
                break
            length = rest[0] if rest[:2] not in (b"\x00\xff", b"\xff\x00") else 0
            if length and len(rest) < length + 3:
                break
            self._input = rest[length + 3 if length else 3 :]
            output += self._frame(rest[: length + 3] if length else rest[:2])
        return output

    def _frame(self, frame: bytes) -> bytes:
        if frame[:2] == b"\x00\xff":
            self._looking = False
            return b""
        if frame[:2] == b"\xff\x00":
            return self._last
        length, body = frame[0], frame[2:-1]
        broken = (length + frame[1]) & 0xFF or (sum(body) + frame[-1]) & 0xFF or body[:1] != b"\xd4" or length < 2
        if broken or not self._awake or self._defect(Defect.NO_ACKNOWLEDGEMENT):
            return b""
        return ACK + self._command(body[1], body[2:])

    def _command(self, command: int, data: bytes) -> bytes:
        if self._defect(Defect.SILENCE):
            return b""
        if self._defect(Defect.ERROR_FRAME):
            return ERROR
        match command:
            case 0x02:
                return self._answered(command, _FIRMWARE)
            case 0x0E:
                self._set_pins(data)
                return self._answered(command)
            case 0x14:
                return self._answered(command)
            case 0x32:
                self._briefly |= data[:1] == b"\x05" and data[3:4] != b"\xff"
                return self._answered(command)
            case 0x4A:
                return self._list()
            case 0x52:
                self._selected = False
                return self._answered(command, b"\x00")
        return ERROR

    def _set_pins(self, data: bytes) -> None:
        """Each port whose byte says that it counts gets all its pins at once."""
        for (port, before), byte in zip(self._ports.items(), data, strict=False):
            self._ports[port] = byte & 0x3F if byte & 0x80 else before

    def _list(self) -> bytes:
        self._missed = self.misses_every_second_look and not self._missed
        if self._card and not self._selected and not self._missed:
            return self._answered(0x4A, self._found())
        if self._briefly:
            return self._answered(0x4A, b"\x00")
        self._looking = True
        return b""

    def _found(self) -> bytes:
        self._selected = True
        sense = _SENSE[len(self._card)]
        ats = _ATS if sense[2] & 0x20 else b""
        return b"\x01\x01" + sense + bytes((len(self._card),)) + self._card + ats

    def _answered(self, command: int, data: bytes = b"") -> bytes:
        body = bytes((0xD5, command + 1)) + data
        self._last = b"\x00\x00\xff" + bytes((len(body), -len(body) & 0xFF)) + body + bytes((-sum(body) & 0xFF, 0))
        if self._defect(Defect.BAD_CHECKSUM):
            return self._last[:-2] + bytes((self._last[-2] ^ 1, 0))
        return self._last

    def _defect(self, kind: Defect) -> bool:
        if self.defects[:1] != [kind]:
            return False
        self.defects.pop(0)
        return True
