"""Readers that are keyboards: they type a card's number and Enter (hardware.md §5.4).

Owns: reading struct input_event, and keys as characters. Does not: know what the characters mean (`payloads.py`), or move bytes
(`listening.py`). Anything that carries these structs will do for a device, a pseudo-terminal too.

It shows what becomes of a card by the lamps of a keyboard, those of them that it has: NumLock for accepted, CapsLock for
refused, ScrollLock for wait. The lamps lock nothing.
"""

import struct
from collections.abc import Callable

from bus.card_messages import CardOutcome
from bus.clock import boottime_s
from services.hardware.contract import DeviceInfo, ReaderDesired
from services.hardware.input_device import lamps, open_input
from services.hardware.port import Port
from services.rfid.drivers.listening import ListeningReader
from services.rfid.drivers.payloads import CHARACTERS_MAX, Card, card

GAP_S = 0.2
"""A reader types faster than a person: keys further apart do not belong together."""
_EVENT = struct.Struct("llHHi")
"""struct input_event as the kernel of this machine has it: seconds, microseconds, type, code, value."""
EV_SYN, EV_KEY, EV_LED = 0, 1, 0x11
SYN_REPORT, SYN_DROPPED = 0, 3
LAMPS = {CardOutcome.ACCEPTED: 0, CardOutcome.REFUSED: 1, CardOutcome.WAIT: 2}
"""LED_NUML, LED_CAPSL, LED_SCROLLL."""
KEY_DOWN = 1
_ENTER = frozenset((28, 96))
_SHIFT = frozenset((42, 54))
_KEYS = {
    **dict(zip(range(2, 12), "1234567890", strict=True)),
    **dict(zip(range(16, 26), "QWERTYUIOP", strict=True)),
    **dict(zip(range(30, 39), "ASDFGHJKL", strict=True)),
    **dict(zip(range(44, 51), "ZXCVBNM", strict=True)),
    **dict(zip((71, 72, 73, 75, 76, 77, 79, 80, 81, 82), "7894561230", strict=True)),
    12: "-",
}
"""Codes of the keys of a plain keyboard and of its keypad; letters come out in upper case."""


class Parser:
    """Makes cards of the bytes of a keyboard. `bad`: what was typed and is no card, so far."""

    def __init__(self, payload: str) -> None:
        self.bad = 0
        self._payload = payload
        self._bytes = b""
        self._typed = ""

    def forget(self) -> None:
        """What was begun is not gone on with."""
        self.bad += bool(self._typed or self._bytes)
        self._bytes, self._typed = b"", ""

    def feed(self, data: bytes) -> list[Card]:
        """The cards whose Enter is in `data`."""
        self._bytes += data
        whole = len(self._bytes) // _EVENT.size * _EVENT.size
        events, self._bytes = self._bytes[:whole], self._bytes[whole:]
        found = (self._event(kind, code, value) for _, _, kind, code, value in _EVENT.iter_unpack(events))
        return [read for read in found if read is not None]

    def _event(self, kind: int, code: int, value: int) -> Card | None:
        if kind == EV_SYN and code == SYN_DROPPED:
            # The kernel had no room for all keys: a number with a hole is another card's.
            self._typed = "?"
        if kind != EV_KEY or value != KEY_DOWN or code in _SHIFT:
            return None
        if code not in _ENTER:
            self._typed = (self._typed + _KEYS.get(code, "?"))[: CHARACTERS_MAX + 1]
            return None
        typed, self._typed = self._typed, ""
        read = None if "?" in typed else card(typed, self._payload)
        self.bad += read is None and bool(typed)
        return read


class HidReader(ListeningReader):
    """One reader on its input device."""

    name = "hid"
    gap_s = GAP_S

    def __init__(self, path: str, *, payload: str, now: Callable[[], float] = boottime_s) -> None:
        super().__init__(path, Parser(payload), now)
        self._lamps: dict[int, bool | None] = {}
        """Of each lamp that it has: whether it is lit; None: nobody knows."""

    def _opened(self) -> tuple[Port, DeviceInfo]:
        """Take the keyboard for this process alone, and read its name."""
        port, info = open_input(self._path)
        self._lamps = dict.fromkeys(sorted(lamps(port) & set(LAMPS.values())))
        return port, info

    def _show(self, port: Port, desired: ReaderDesired) -> None:
        outcome = desired.outcome
        wanted = {code: outcome is not None and LAMPS[outcome] == code for code in self._lamps}
        if wanted == self._lamps:
            return
        told = [(EV_LED, code, int(lit)) for code, lit in wanted.items()]
        port.write(b"".join(_EVENT.pack(0, 0, *event) for event in (*told, (EV_SYN, SYN_REPORT, 0))))
        self._tally.transmissions += 1
        self._lamps = dict(wanted)
