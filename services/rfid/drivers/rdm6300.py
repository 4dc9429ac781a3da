"""RDM6300 and its family: readers that send a frame again and again while a tag is in their field (hardware.md §5.1).

    STX, 10 hexadecimal digits, 2 digits of the XOR of these five bytes, ETX            -> the digits in upper case
    STX, `=`, 1 to 20 printable characters, 2 digits of the XOR of these, ETX           -> the characters as they are

Owns: the frames. Does not: move bytes (`listening.py`). The reader takes nothing, so it shows nothing of what becomes of a
card.
"""

from collections.abc import Callable

from bus.clock import boottime_s
from bus.vocabulary import ID_TAG_LENGTH_MAX
from services.hardware.contract import DeviceInfo
from services.hardware.port import Port, open_port
from services.rfid.drivers.listening import ListeningReader, xor
from services.rfid.drivers.payloads import Card

BAUD = 9600
STX, ETX = 0x02, 0x03
FRAME_BYTES_MAX = 1 + ID_TAG_LENGTH_MAX + 2
_SKIPPED = frozenset((0x0D, 0x0A))
_HEX = frozenset(b"0123456789abcdefABCDEF")
_PRINTABLE = range(0x20, 0x7F)


class Parser:
    """Makes tags of a stream that may hold anything. `bad`: broken frames so far."""

    def __init__(self) -> None:
        self.bad = 0
        self._frame: bytearray | None = None

    def forget(self) -> None:
        """What was begun is not gone on with."""
        self._frame = None

    def feed(self, data: bytes) -> list[Card]:
        """The tags whose frames `data` completes. What is between frames is skipped."""
        tags: list[Card] = []
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


def parse_frame(frame: bytes) -> Card | None:
    """The tag in the bytes between STX and ETX; None if they are no good frame."""
    payload, checksum = frame[:-2], frame[-2:]
    if len(checksum) != 2 or not _HEX.issuperset(checksum):
        return None
    wanted = int(checksum, 16)
    if payload[:1] == b"=":
        characters = payload[1:]
        good = 1 <= len(characters) <= ID_TAG_LENGTH_MAX and all(byte in _PRINTABLE for byte in characters)
        return Card(characters.decode("ascii"), verbatim=True) if good and xor(characters) == wanted else None
    if len(payload) != 10 or not _HEX.issuperset(payload):
        return None
    uid = bytes.fromhex(payload.decode("ascii"))
    return Card(uid.hex().upper()) if xor(uid) == wanted else None


class Rdm6300(ListeningReader):
    """One reader on its port."""

    name = "rdm6300"
    complaint = "reader sends broken frames; check its wiring, and that it sends at 9600 baud"

    def __init__(self, path: str, *, now: Callable[[], float] = boottime_s) -> None:
        super().__init__(path, Parser(), now)

    def _opened(self) -> tuple[Port, DeviceInfo]:
        return open_port(self._path, BAUD), DeviceInfo(model="RDM6300")
