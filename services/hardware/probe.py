"""Finds out what hangs on a serial port that nobody holds, by questions that change nothing on any family of devices.

Owns: the questions, and what an answer tells (hardware.md §3 to §5). Does not: write to a register, switch an output, or open
a port that is held: it opens it for itself alone. A new family is one line in FAMILIES; one that speaks Modbus, in UNITS.
"""

import re
from collections.abc import Callable, Iterator

import msgspec

from bus.clock import boottime_s
from services.hardware.contract import DeviceError
from services.hardware.port import Port, open_port

ANSWER_S = 0.25
_READS_MAX = 32
EASTRON_CODES = {0x0020: "SDM120", 0x002B: "SDM230", 0x0070: "SDM630", 0x0084: "SDM72D-M v1", 0x0089: "SDM72D-M v2"}
"""The word at FC02 of Eastron's meters."""
MODBUS_BAUDS = (9600, 2400, 19200, 115200)
_TENTHS_OF_VOLTS = range(500, 5000)
"""What a phase's voltage may be: a register that holds such a number at the right place is a voltage."""


class Family(msgspec.Struct, frozen=True):
    """Devices that one sequence of questions finds. `recognise`: who sent this; empty: nobody of the family."""

    baud: int
    questions: tuple[bytes, ...]
    recognise: Callable[[bytes], str]


class Unit(msgspec.Struct, frozen=True):
    """A kind of Modbus device: the registers by which it is known. `recognise` as in Family, of their words."""

    function: int
    address: int
    count: int
    recognise: Callable[[list[int]], str]


def who_answers(path: str, *, unit: int = 1, bauds: tuple[int, ...] = MODBUS_BAUDS) -> Iterator[str]:
    """Everybody who answers at `path`: one line each, with the speed, as soon as it is known. Raises PortMissing."""
    for family in FAMILIES:
        port = open_port(path, family.baud)
        try:
            heard = b"".join(_asked(port, question) for question in family.questions)
        finally:
            port.close()
        who = family.recognise(heard)
        if who:
            yield f"{who} at {family.baud} baud"
    for baud in bauds:
        who = _modbus_unit(path, unit, baud)
        if who:
            yield f"{who} as Modbus unit {unit} at {baud} baud"
            return


def first_answer(path: str) -> str:
    """Who answers at `path` to the usual questions; empty: nobody, or it can't be asked."""
    try:
        return next(who_answers(path, bauds=MODBUS_BAUDS[:1]), "")
    except DeviceError:
        return ""


def listened(path: str, seconds: float) -> str:
    """Who speaks unasked at 9600 baud, such as a reader to which a card is held; empty: nobody. Raises PortMissing."""
    port = open_port(path, 9600)
    until_s = boottime_s() + seconds
    heard, who = b"", ""
    try:
        while (rest_s := until_s - boottime_s()) > 0 and not who:
            heard = (heard + port.read(rest_s))[-256:]
            who = _speaker(heard)
    finally:
        port.close()
    return who or ("something that is not understood" if heard else "")


def is_kind(who: str, driver: str) -> bool:
    """Whether `who` answers is of the kind that station.toml calls `driver`."""
    return _letters(driver) in _letters(who.replace(" v", " "))


def crc(data: bytes) -> bytes:
    """The checksum of Modbus RTU, as it goes over the wire (hardware.md §2.3)."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")


def words_of(reply: bytes, unit: int, function: int) -> list[int] | None:
    """The registers in what came back; [] where the unit refuses the question; None: that is no answer of this unit.

    An adapter that echoes puts the question before the answer.
    """
    for start in range(len(reply)):
        rest = reply[start:]
        if rest[:2] == bytes((unit, function)) and len(rest) >= 5 and rest[2] % 2 == 0:
            frame = rest[: 5 + rest[2]]
            if len(frame) == 5 + rest[2] and crc(frame[:-2]) == frame[-2:]:
                return [int.from_bytes(frame[place : place + 2], "big") for place in range(3, len(frame) - 2, 2)]
        if rest[:2] == bytes((unit, function | 0x80)) and crc(rest[:3]) == rest[3:5]:
            return []
    return None


def _modbus_unit(path: str, unit: int, baud: int) -> str:
    port = open_port(path, baud)
    try:
        answered = False
        for kind in UNITS:
            question = bytes((unit, kind.function)) + kind.address.to_bytes(2, "big") + kind.count.to_bytes(2, "big")
            words = words_of(_asked(port, question + crc(question)), unit, kind.function)
            if words is None and not answered:
                return ""
            answered = True
            who = kind.recognise(words) if words and len(words) == kind.count else ""
            if who:
                return who
        return "a device of no known kind"
    finally:
        port.close()


def _asked(port: Port, question: bytes) -> bytes:
    """What comes back within ANSWER_S of the question, and of each piece of the answer."""
    for _ in range(_READS_MAX):
        if not port.read():
            break
    port.write(question)
    heard = b""
    for _ in range(_READS_MAX):
        data = port.read(ANSWER_S if not heard else ANSWER_S / 5)
        if not data:
            break
        heard += data
    return heard


def _rapi(heard: bytes) -> str:
    for line in re.finditer(rb"(\$OK ([0-9A-Za-z.]+) [0-9.]+)\^([0-9A-Fa-f]{2})\r", heard):
        total = 0
        for byte in line[1]:
            total ^= byte
        if total == int(line[3], 16):
            return f"OpenEVSE, firmware {line[2].decode('ascii')}"
    return ""


def _pn532(heard: bytes) -> str:
    found = re.search(rb"\x00\xff\x06\xfa\xd5\x03(.)(.)(.).", heard, re.DOTALL)
    return f"PN5{found[1][0]:02X}, firmware {found[2][0]}.{found[3][0]}" if found else ""


def _eastron(words: list[int]) -> str:
    return f"Eastron {EASTRON_CODES[words[0]]}" if words[0] in EASTRON_CODES else ""


def _evse_wb(words: list[int]) -> str:
    return f"EVSE-WB, firmware {words[5]}" if 1 <= words[2] <= 5 and 1 <= words[6] <= 3 else ""


def _abb(words: list[int]) -> str:
    return "ABB B23/B24" if words[0] << 16 | words[1] in _TENTHS_OF_VOLTS else ""


def _em340(words: list[int]) -> str:
    return "Carlo Gavazzi EM340" if words[1] << 16 | words[0] in _TENTHS_OF_VOLTS else ""


def _speaker(heard: bytes) -> str:
    if re.search(rb"\x02[0-9A-F]{12}\x03", heard):
        return "RDM6300, or a reader like it"
    line = re.search(rb"([0-9A-Fa-f]{6,20})[\r\n]", heard)
    framed = re.search(rb"\x02([0-9A-Fa-f]{6,20})\x03", heard)
    if framed:
        return f"a line reader (stx-etx) that sends {len(framed[1])} digits"
    return f"a line reader that sends {len(line[1])} digits" if line else ""


def _letters(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


FAMILIES = (
    Family(115200, (b"$GV^35\r",), _rapi),
    Family(
        115200,
        (b"\x55\x55" + bytes(14) + bytes.fromhex("0000FF05FBD4140114010200"), bytes.fromhex("0000FF02FED4022A00")),
        _pn532,
    ),
)
UNITS = (
    Unit(3, 0xFC02, 1, _eastron),
    Unit(3, 1000, 7, _evse_wb),
    Unit(3, 0x5B00, 2, _abb),
    Unit(4, 0x0000, 2, _em340),
)
