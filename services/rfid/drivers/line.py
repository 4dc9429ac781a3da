"""Readers that send a card as a line of characters, boxes behind a Wiegand reader among them (hardware.md §5.3).

    `line`         characters, ended by CR, LF or both
    `stx-etx`      STX, characters, ETX
    `stx-etx-lrc`  the same and one byte more: the XOR of everything from STX to ETX

Owns: the frames. Does not: know what the characters mean (`payloads.py`), or decide when a card counts as presented. The
reader can't be asked anything: it is lost only when its port is. It takes nothing either, so it shows nothing of what becomes
of a card.
"""

from collections.abc import Callable

from bus import logs
from bus.clock import boottime_s
from services.hardware.contract import Counters, DeviceInfo, ReaderDesired, TokenSeen
from services.hardware.port import Port, open_port
from services.hardware.tally import Tally
from services.rfid.drivers.payloads import CHARACTERS_MAX, Card, card

POLL_PERIOD_S = 5.0
"""Cards and a vanished port wake the thread."""
GAP_S = 0.5
"""A line comes in one piece; what was begun so long ago belongs to nothing that comes now."""
BAD_LINES_MAX = 20
"""So many bad lines in a row are told: speed, framing or payload are set wrongly, or the wiring is bad."""
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
        if check is None or check == _xor(bytes((STX, *line, ETX))):
            text = line.decode("ascii") if all(byte in _PRINTABLE for byte in line) else ""
            read = card(text.strip(), self._payload)
        self.bad += read is None
        return read


class LineReader:
    """One reader on its port; only its runner's thread calls it (`services.hardware.contract.Driver`)."""

    name = "line"

    def __init__(self, path: str, *, baud: int, framing: str, payload: str, now: Callable[[], float] = boottime_s) -> None:
        self.poll_period_s = POLL_PERIOD_S
        self._path = path
        self._baud = baud
        self._parser = Parser(framing, payload)
        self._now = now
        self._log = logs.logger("rfid")
        self._tally = Tally()
        self._port: Port | None = None
        self._heard_s = 0.0
        self._bad_in_a_row = 0

    def open(self) -> DeviceInfo:
        """Open the port; nobody can be asked who is there. Raises PortMissing."""
        self.close()
        self._parser.forget()
        self._bad_in_a_row = 0
        self._port = open_port(self._path, self._baud)
        return DeviceInfo(model="line reader")

    def fileno(self) -> int | None:
        """Readable when a card is there, or the port is gone."""
        return None if self._port is None else self._port.fileno()

    def exchange(self, desired: ReaderDesired | None) -> list[TokenSeen]:  # noqa: ARG002
        """The cards seen since the last call, repeats included. Raises PortMissing."""
        assert self._port is not None
        data = self._port.read()
        now_s = self._now()
        if not data:
            return []
        bad = self._parser.bad
        if now_s - self._heard_s > GAP_S:
            self._parser.forget()
        self._heard_s = now_s
        cards = self._parser.feed(data)
        self._count(len(cards), self._parser.bad - bad)
        return [TokenSeen(read.uid, now_s, read.verbatim) for read in cards]

    def close(self) -> None:
        """Close the port."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def counters(self) -> Counters:
        """Good and bad lines since the driver was made."""
        return self._tally.snapshot()

    def _count(self, good: int, bad: int) -> None:
        self._tally.replies += good
        self._tally.errors += bad
        before = self._bad_in_a_row
        self._bad_in_a_row = 0 if good else before + bad
        if before < BAD_LINES_MAX <= self._bad_in_a_row:
            self._log.warning(
                "reader sends lines that are no cards; check [reader] baud, framing and payload, and its wiring",
                port=self._path,
            )


def _xor(data: bytes) -> int:
    total = 0
    for byte in data:
        total ^= byte
    return total
