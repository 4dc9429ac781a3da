"""The virtual reader that is a keyboard: struct input_event on its line, a number and Enter for each card (hardware.md §5.4).
Sans I/O.

Owns: which keys are pressed for a tag, and its three lamps. Does not: move bytes. Time comes in as `now_s`.
"""

import struct

from services.simulator.line_reader import typed
from services.simulator.rdm6300 import DWELL_S, TagError

_SYN, _KEY, _LED = 0, 1, 0x11
_LAMPS = ("NumLock", "CapsLock", "ScrollLock")
_EVENT = struct.Struct("llHHi")
_ENTER, _SHIFT = 28, 42
_ROWS = ((2, "1234567890-"), (16, "QWERTYUIOP"), (30, "ASDFGHJKL"), (44, "ZXCVBNM"))
_CODES = {character: first + place for first, row in _ROWS for place, character in enumerate(row)}


def event(now_s: float, kind: int, code: int, value: int) -> bytes:
    """One struct input_event of this machine."""
    return _EVENT.pack(int(now_s), int(now_s % 1 * 1e6), kind, code, value)


def press(now_s: float, code: int) -> bytes:
    """A key goes down and up again, each told by an event of its own."""
    down, up = event(now_s, _KEY, code, 1), event(now_s, _KEY, code, 0)
    told = event(now_s, _SYN, 0, 0)
    return down + told + up + told


class Reader:
    """The keyboard, and the card at it."""

    def __init__(self, payload: str) -> None:
        self._payload = payload
        self._waiting: list[int] = []
        self._until_s: float | None = None
        self._input = b""
        self._lit: set[int] = set()

    @property
    def lamps(self) -> tuple[str, ...]:
        """Those that are lit."""
        return tuple(_LAMPS[code] for code in sorted(self._lit))

    @property
    def card_present(self) -> bool:
        """Whether a card is held to it."""
        return self._until_s is not None

    @property
    def next_s(self) -> float | None:
        """When the card is taken away; None: there is none."""
        return self._until_s

    def swipe(self, tag: str, now_s: float, dwell_s: float = DWELL_S) -> None:
        """Hold a card there, instead of any other. Raises TagError."""
        text = typed(tag, self._payload).upper()
        missing = sorted(set(text) - _CODES.keys())
        if missing:
            raise TagError(f"{tag!r} is no card for this reader: it has no key for {missing[0]!r}")
        self._waiting = [_CODES[character] for character in text] + [_ENTER]
        self._until_s = now_s + dwell_s

    def advance(self, now_s: float) -> bytes:
        """What the keyboard sends until `now_s`: letters with the shift key held, as real ones do."""
        output = b""
        for code in self._waiting:
            shifted = code >= _ROWS[1][0] and code != _ENTER
            before = event(now_s, _KEY, _SHIFT, 1) if shifted else b""
            output += before + press(now_s, code) + (event(now_s, _KEY, _SHIFT, 0) if shifted else b"")
        self._waiting = []
        if self._until_s is not None and now_s >= self._until_s:
            self._until_s = None
        return output

    def receive(self, data: bytes, now_s: float) -> bytes:
        """Lamps and the like: nothing that it would answer."""
        self._input += data
        whole = len(self._input) // _EVENT.size * _EVENT.size
        events, self._input = self._input[:whole], self._input[whole:]
        for _, _, kind, code, value in _EVENT.iter_unpack(events):
            if kind == _LED and code < len(_LAMPS):
                self._lit = self._lit | {code} if value else self._lit - {code}
        return self.advance(now_s)
