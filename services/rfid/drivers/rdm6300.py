"""RDM6300 and its family: readers that send a frame again and again while a tag is in their field (hardware.md §5.1).

    STX, 10 hexadecimal digits, 2 digits of the XOR of these five bytes, ETX            -> the digits in upper case
    STX, `=`, 1 to 20 printable characters, 2 digits of the XOR of these, ETX           -> the characters as they are

Owns: the frames. Does not: decide when a tag counts as presented. The reader can't be asked anything: it is lost only when
its port is. It takes nothing either, so it shows nothing of what becomes of a card.
"""

from collections.abc import Callable

import msgspec

from bus import logs
from bus.clock import boottime_s
from bus.vocabulary import ID_TAG_LENGTH_MAX
from services.hardware.contract import Counters, DeviceInfo, ReaderDesired, TokenSeen
from services.hardware.port import Port, open_port
from services.hardware.tally import Tally

BAUD = 9600
POLL_PERIOD_S = 5.0
"""Tags and a vanished port wake the thread; this is for nothing but good measure."""
STX, ETX = 0x02, 0x03
FRAME_BYTES_MAX = 1 + ID_TAG_LENGTH_MAX + 2
BAD_FRAMES_MAX = 20
"""So many bad frames in a row are told: the speed or the wiring is wrong."""
_SKIPPED = frozenset((0x0D, 0x0A))
_HEX = frozenset(b"0123456789abcdefABCDEF")
_PRINTABLE = range(0x20, 0x7F)


class Tag(msgspec.Struct, frozen=True):
    """What a frame says: digits of a UID, or an idTag as text (`verbatim`)."""

    text: str
    verbatim: bool = False


class Parser:
    """Makes tags of a stream that may hold anything. `bad`: broken frames so far."""

    def __init__(self) -> None:
        self.bad = 0
        self._frame: bytearray | None = None

    def feed(self, data: bytes) -> list[Tag]:
        """The tags whose frames `data` completes. What is between frames is skipped."""
        tags: list[Tag] = []
        for byte in data:
            if byte == STX:
                self.bad += self._frame is not None
                self._frame = bytearray()
            elif self._frame is None or byte in _SKIPPED:
                # Some clones put CR LF before the end (hardware.md §5.1).
                continue
            elif byte != ETX:
                self._frame.append(byte)
                if len(self._frame) > FRAME_BYTES_MAX:
                    self._frame = None
                    self.bad += 1
            else:
                tag = parse_frame(bytes(self._frame))
                self._frame = None
                if tag is None:
                    self.bad += 1
                else:
                    tags.append(tag)
        return tags


def parse_frame(frame: bytes) -> Tag | None:
    """The tag in the bytes between STX and ETX; None if they are no good frame."""
    payload, checksum = frame[:-2], frame[-2:]
    if len(checksum) != 2 or not _HEX.issuperset(checksum):
        return None
    wanted = int(checksum, 16)
    if payload[:1] == b"=":
        characters = payload[1:]
        good = 1 <= len(characters) <= ID_TAG_LENGTH_MAX and all(byte in _PRINTABLE for byte in characters)
        return Tag(characters.decode("ascii"), verbatim=True) if good and _xor(characters) == wanted else None
    if len(payload) != 10 or not _HEX.issuperset(payload):
        return None
    uid = bytes.fromhex(payload.decode("ascii"))
    return Tag(uid.hex().upper()) if _xor(uid) == wanted else None


class Rdm6300:
    """One reader on its port; only its runner's thread calls it (`services.hardware.contract.Driver`)."""

    name = "rdm6300"

    def __init__(self, path: str, *, now: Callable[[], float] = boottime_s) -> None:
        self.poll_period_s = POLL_PERIOD_S
        self._path = path
        self._now = now
        self._log = logs.logger("rfid")
        self._tally = Tally()
        self._port: Port | None = None
        self._forget()

    def _forget(self) -> None:
        self._parser = Parser()
        self._bad_in_a_row = 0

    def open(self) -> DeviceInfo:
        """Open the port; nobody can be asked who is there. Raises PortMissing."""
        self.close()
        self._forget()
        self._port = open_port(self._path, BAUD)
        return DeviceInfo(model="RDM6300")

    def fileno(self) -> int | None:
        """Readable when a tag is there, or the port is gone."""
        return None if self._port is None else self._port.fileno()

    def exchange(self, desired: ReaderDesired | None) -> list[TokenSeen]:  # noqa: ARG002
        """The tags seen since the last call, repeats included. Raises PortMissing."""
        assert self._port is not None
        bad = self._parser.bad
        tags = self._parser.feed(self._port.read())
        seen_s = self._now()
        self._count(len(tags), self._parser.bad - bad)
        return [TokenSeen(tag.text, seen_s, tag.verbatim) for tag in tags]

    def close(self) -> None:
        """Close the port."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def counters(self) -> Counters:
        """Good and bad frames since the driver was made."""
        return self._tally.snapshot()

    def _count(self, good: int, bad: int) -> None:
        self._tally.replies += good
        self._tally.errors += bad
        before = self._bad_in_a_row
        self._bad_in_a_row = 0 if good else before + bad
        if before < BAD_FRAMES_MAX <= self._bad_in_a_row:
            self._log.warning("reader sends broken frames; check its wiring, and that it sends at 9600 baud", port=self._path)


def _xor(data: bytes) -> int:
    total = 0
    for byte in data:
        total ^= byte
    return total
