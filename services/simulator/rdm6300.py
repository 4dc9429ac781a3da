"""The virtual RDM6300 card reader: frames, and a card that is held to it (hardware.md §5.1). Sans I/O.

A tag of exactly ten hex digits is sent as the true frame: STX, the ten digits in upper case, two hex digits with the XOR
of the five bytes that they stand for, ETX.

Any other tag of 1 to 20 printable ASCII characters goes in an extension of that frame: STX, `=`, the tag's characters as
they are, two upper-case hex digits with the XOR of those characters, ETX. A true frame never has `=`.

Owns: framing, repetition, and bad frames for tests. Does not: move bytes. Time comes in as `now_s`.
"""

REPEAT_S = 0.06
DWELL_S = 0.6
TAG_CHARS_MAX = 20
_STX, _ETX = b"\x02", b"\x03"
_HEX = frozenset("0123456789abcdefABCDEF")
_EM4100_DIGITS = 10


class TagError(ValueError):
    """The reader can't carry this tag; the text is one line."""


def frame(tag: str) -> bytes:
    """What the reader sends for `tag`. Raises TagError."""
    if not 1 <= len(tag) <= TAG_CHARS_MAX or not tag.isascii() or not tag.isprintable():
        raise TagError(f"{tag[:40]!r} is no tag: it has 1 to {TAG_CHARS_MAX} printable ASCII characters")
    if len(tag) == _EM4100_DIGITS and all(char in _HEX for char in tag):
        payload, check = tag.upper().encode("ascii"), bytes.fromhex(tag)
    else:
        payload, check = b"=" + tag.encode("ascii"), tag.encode("ascii")
    return _STX + payload + f"{_xor(check):02X}".encode("ascii") + _ETX


def with_bad_checksum(sent: bytes) -> bytes:
    """A frame whose last check digit is wrong."""
    return sent[:-2] + (b"0" if sent[-2:-1] != b"0" else b"1") + sent[-1:]


def cut(sent: bytes, bytes_kept: int = 7) -> bytes:
    """The beginning of a frame."""
    return sent[:bytes_kept]


class Reader:
    """The reader, and what is held to it."""

    def __init__(self) -> None:
        self._frames: tuple[bytes, ...] = ()
        self._since_s = 0.0
        self._sent = 0
        self._count = 0

    def swipe(self, tag: str, now_s: float, dwell_s: float = DWELL_S) -> None:
        """Hold a card there for `dwell_s`, instead of any other. Raises TagError."""
        self.present((frame(tag),), now_s, dwell_s)

    def present(self, frames: tuple[bytes, ...], now_s: float, dwell_s: float = DWELL_S) -> None:
        """Send these frames in turn for `dwell_s`: two cards at once, bad frames, noise."""
        self._frames = frames
        self._since_s, self._sent = now_s, 0
        self._count = max(1, round(dwell_s / REPEAT_S))

    @property
    def card_present(self) -> bool:
        """Whether a card is held to it."""
        return self.next_s is not None

    @property
    def lamps(self) -> tuple[str, ...]:
        """It has none."""
        return ()

    @property
    def next_s(self) -> float | None:
        """When there is something to send; None: no card is there."""
        return self._since_s + self._sent * REPEAT_S if self._sent < self._count else None

    def advance(self, now_s: float) -> bytes:
        """What the reader sends until `now_s`."""
        output = b""
        while self.next_s is not None and self.next_s <= now_s:
            output += self._frames[self._sent % len(self._frames)]
            self._sent += 1
        return output

    def receive(self, _: bytes, now_s: float) -> bytes:
        """It only ever transmits: what is sent to it changes nothing."""
        return self.advance(now_s)


def _xor(data: bytes) -> int:
    result = 0
    for byte in data:
        result ^= byte
    return result
