"""The virtual reader that sends a card as a line of characters, once for each time that it is held there (hardware.md §5.3).
Sans I/O.

Owns: its three framings, what a tag must look like, bad lines for tests. Does not: move bytes. Time comes in as `now_s`.
"""

from services.simulator.rdm6300 import DWELL_S, TAG_CHARS_MAX, TagError

_STX, _ETX = b"\x02", b"\x03"
_ALPHABETS = {"hex": "0123456789ABCDEF", "decimal": "0123456789"}


def typed(tag: str, payload: str) -> str:
    """The characters that a reader with this payload sends for a tag. Raises TagError."""
    alphabet = _ALPHABETS.get(payload)
    text = tag.upper() if payload == "hex" else tag
    if not 1 <= len(text) <= TAG_CHARS_MAX or not text.isascii() or not text.isprintable():
        raise TagError(f"{tag[:40]!r} is no tag: it has 1 to {TAG_CHARS_MAX} printable ASCII characters")
    if alphabet is not None and not set(text) <= set(alphabet):
        raise TagError(f"{tag!r} is no card for this reader: it sends {payload} digits only")
    if payload == "hex" and (len(text) < 6 or len(text) % 2):
        raise TagError(f"{tag!r} is no card for this reader: a UID has whole bytes, three at least")
    return text


def line(text: str, framing: str) -> bytes:
    """What goes over the wire."""
    data = text.encode("ascii")
    if framing == "line":
        return data + b"\r\n"
    framed = _STX + data + _ETX
    if framing == "stx-etx":
        return framed
    check = 0
    for byte in framed:
        check ^= byte
    return framed + bytes((check,))


class Reader:
    """The reader, and the card at it."""

    def __init__(self, framing: str, payload: str) -> None:
        self._framing = framing
        self._payload = payload
        self._waiting = b""
        self._until_s: float | None = None

    @property
    def card_present(self) -> bool:
        """Whether a card is held to it."""
        return self._until_s is not None

    @property
    def lamps(self) -> tuple[str, ...]:
        """It has none."""
        return ()

    @property
    def next_s(self) -> float | None:
        """When the card is taken away; None: there is none."""
        return self._until_s

    def swipe(self, tag: str, now_s: float, dwell_s: float = DWELL_S) -> None:
        """Hold a card there, instead of any other. Raises TagError."""
        self._waiting = line(typed(tag, self._payload), self._framing)
        self._until_s = now_s + dwell_s

    def advance(self, now_s: float) -> bytes:
        """What the reader sends until `now_s`."""
        output, self._waiting = self._waiting, b""
        if self._until_s is not None and now_s >= self._until_s:
            self._until_s = None
        return output

    def receive(self, _: bytes, now_s: float) -> bytes:
        """It only ever transmits: what is sent to it changes nothing."""
        return self.advance(now_s)
