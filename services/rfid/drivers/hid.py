"""Readers that are keyboards: they type a card's number and Enter (hardware.md §5.4).

Owns: reading struct input_event, and keys as characters. Does not: know what the characters mean (`payloads.py`), or decide
when a card counts as presented. Anything that carries these structs will do for a device, a pseudo-terminal too. The reader
can't be asked anything: it is lost only when its device is.

It shows what becomes of a card by the lamps of a keyboard, those of them that it has: NumLock for accepted, CapsLock for
refused, ScrollLock for wait. The lamps lock nothing.
"""

import struct
from collections.abc import Callable

from bus.card_messages import CardOutcome
from bus.clock import boottime_s
from services.hardware.contract import Counters, DeviceInfo, ReaderDesired, TokenSeen
from services.hardware.input_device import lamps, open_input
from services.hardware.port import Port
from services.hardware.tally import Tally
from services.rfid.drivers.payloads import CHARACTERS_MAX, Card, card

POLL_PERIOD_S = 5.0
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


class HidReader:
    """One reader on its input device; only its runner's thread calls it (`services.hardware.contract.Driver`)."""

    name = "hid"

    def __init__(self, path: str, *, payload: str, now: Callable[[], float] = boottime_s) -> None:
        self.poll_period_s = POLL_PERIOD_S
        self._path = path
        self._parser = Parser(payload)
        self._now = now
        self._tally = Tally()
        self._port: Port | None = None
        self._heard_s = 0.0
        self._lamps: dict[int, bool | None] = {}
        """Of each lamp that it has: whether it is lit; None: nobody knows."""

    def open(self) -> DeviceInfo:
        """Take the keyboard for this process alone, and read its name. Raises PortMissing."""
        self.close()
        self._parser.forget()
        self._port, info = open_input(self._path)
        self._lamps = dict.fromkeys(sorted(lamps(self._port) & set(LAMPS.values())))
        return info

    def fileno(self) -> int | None:
        """Readable when a key was pressed, or the device is gone."""
        return None if self._port is None else self._port.fileno()

    def exchange(self, desired: ReaderDesired | None) -> list[TokenSeen]:
        """Light the lamp that is wanted; the cards typed since the last call. Raises PortMissing."""
        assert self._port is not None
        if desired is not None:
            self._light(self._port, desired.outcome)
        data = self._port.read()
        now_s = self._now()
        if not data:
            return []
        bad = self._parser.bad
        if now_s - self._heard_s > GAP_S:
            self._parser.forget()
        self._heard_s = now_s
        cards = self._parser.feed(data)
        self._tally.replies += len(cards)
        self._tally.errors += self._parser.bad - bad
        return [TokenSeen(read.uid, now_s, read.verbatim) for read in cards]

    def _light(self, port: Port, outcome: CardOutcome | None) -> None:
        wanted = {code: outcome is not None and LAMPS[outcome] == code for code in self._lamps}
        if wanted == self._lamps:
            return
        told = [(EV_LED, code, int(lit)) for code, lit in wanted.items()]
        port.write(b"".join(_EVENT.pack(0, 0, *event) for event in (*told, (EV_SYN, SYN_REPORT, 0))))
        self._tally.transmissions += 1
        self._lamps = dict(wanted)

    def close(self) -> None:
        """Let go of the keyboard."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def counters(self) -> Counters:
        """What was typed well and badly since the driver was made."""
        return self._tally.snapshot()
