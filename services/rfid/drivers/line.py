"""Readers that send a card as a line of characters, boxes behind a Wiegand reader among them (hardware.md §5.3).

    `line`         characters, ended by CR, LF or both
    `stx-etx`      STX, characters, ETX
    `stx-etx-lrc`  the same and one byte more: the XOR of everything from STX to ETX

Owns: the frames. Does not: know what the characters mean (`payloads.py`), or move bytes (`listening.py`). The reader takes
nothing, so it shows nothing of what becomes of a card.
"""

from collections.abc import Callable

from bus.clock import boottime_s
from services.hardware.contract import DeviceInfo
from services.hardware.port import Port, open_port
from services.rfid.drivers.listening import ListeningReader, xor
from services.rfid.drivers.payloads import CHARACTERS_MAX, Card, card

GAP_S = 0.5
"""A line comes in one piece; what was begun so long ago belongs to nothing that comes now."""
STX, ETX = 0x02, 0x03
_LINE_ENDS = frozenset((0x0D, 0x0A))
_PRINTABLE = range(0x20, 0x7F)


class Parser:
    """Makes cards of a stream that may hold anything. `bad`: broken or senseless lines so far."""

    def __init__(self, framing: str, payload: str) -> None:
        self.bad = 0
        self._framing = framing
        self._payload = payload
        self._line: bytearray | None = None
        self._ended = False
        self.forget()

    def forget(self) -> None:
        """What was begun is not gone on with."""
        self.bad += bool(self._line)
        self._line = bytearray() if self._framing == "line" else None
        self._ended = False

    def feed(self, data: bytes) -> list[Card]:
        """The cards whose lines `data` completes."""
        found = (self._byte(byte) for byte in data)
        return [read for read in found if read is not None]

    def _byte(self, byte: int) -> Card | None:
        if self._framing == "line" and byte in _LINE_ENDS:
            return self._complete()
        if self._ended:
            return self._complete(check=byte)
        if byte == STX and self._framing != "line":
            self.forget()
            self._line = bytearray()
        elif byte == ETX and self._framing == "stx-etx" and self._line is not None:
            return self._complete()
        elif byte == ETX and self._framing == "stx-etx-lrc":
            self._ended = self._line is not None
        elif byte not in _LINE_ENDS:
            self._take(byte)
        return None

    def _take(self, byte: int) -> None:
        if self._line is None:
            return
        self._line.append(byte)
        if len(self._line) > CHARACTERS_MAX + 1:
            # One too many is kept, so that a line that never ends is no card where it ends at last.
            del self._line[CHARACTERS_MAX + 1 :]

    def _complete(self, check: int | None = None) -> Card | None:
        """The card of the line that ends here."""
        line, self._line = bytes(self._line or b""), None
        self.forget()
        if not line and self._framing == "line":
            return None
        read = None
        if check is None or check == xor(bytes((STX, *line, ETX))):
            text = line.decode("ascii") if all(byte in _PRINTABLE for byte in line) else ""
            read = card(text.strip(), self._payload)
        self.bad += read is None
        return read


class LineReader(ListeningReader):
    """One reader on its port."""

    name = "line"
    gap_s = GAP_S
    complaint = "reader sends lines that are no cards; check [reader] baud, framing and payload, and its wiring"

    def __init__(self, path: str, *, baud: int, framing: str, payload: str, now: Callable[[], float] = boottime_s) -> None:
        super().__init__(path, Parser(framing, payload), now)
        self._baud = baud

    def _opened(self) -> tuple[Port, DeviceInfo]:
        return open_port(self._path, self._baud), DeviceInfo(model="line reader")
