"""RAPI, the serial protocol of OpenEVSE: lines, checksums, sequence ids (hardware.md §3.1). Sans I/O.

    $CC params… [:ss]^xx CR      request; at most 31 characters before CR, at most 10 tokens
    $OK values… [:SS]^XX CR      reply; `$NK` where refused
    $AT values…^XX CR            sent unasked

Owns: the framing. Does not: know what a command means.
"""

import msgspec

LINE_CHARS_MAX = 31
TOKENS_MAX = 10
_CR = 0x0D
_DOLLAR = 0x24
_HEX = frozenset("0123456789abcdefABCDEF")


class Request(msgspec.Struct, frozen=True):
    """One command. `sequence` is two upper-case hex digits, empty if none was sent."""

    name: str
    params: tuple[str, ...] = ()
    sequence: str = ""


class LineReader:
    """Finds `$…CR` in arbitrary bytes. Bounded: a line that is too long is dropped whole."""

    def __init__(self) -> None:
        self._buffer: bytearray | None = None

    def feed(self, data: bytes) -> list[str]:
        """Take in bytes; the lines that they complete, without CR."""
        lines = []
        for byte in data:
            if byte == _DOLLAR:
                self._buffer = bytearray(b"$")
            elif self._buffer is None:
                continue
            elif byte == _CR:
                lines.append(self._buffer.decode("latin-1"))
                self._buffer = None
            elif len(self._buffer) >= LINE_CHARS_MAX:
                self._buffer = None
            else:
                self._buffer.append(byte)
        return lines


def parse(line: str) -> Request | None:
    """The request in a line from `$` on; None if its checksum is wrong. A line without checksum is accepted."""
    body = _checked(line)
    if body is None:
        return None
    tokens = body[1:].split(" ")
    name, rest = tokens[0], [token for token in tokens[1:] if token]
    sequence = ""
    if rest and _is_sequence(rest[-1]):
        sequence = rest.pop()[1:].upper()
    return Request(name=name, params=tuple(rest), sequence="" if sequence == "00" else sequence)


def checksum(text: str) -> str:
    """XOR of all characters as two upper-case hex digits."""
    result = 0
    for char in text:
        result ^= ord(char) & 0xFF
    return f"{result:02X}"


def legacy_checksum(text: str) -> str:
    """The 8-bit sum that old clients send after `*`."""
    return f"{sum(ord(char) for char in text) & 0xFF:02X}"


def line(name: str, values: tuple[str, ...] = (), sequence: str = "") -> bytes:
    """One line of the controller, complete with `$`, checksum and CR."""
    text = " ".join([f"${name}", *values, *([f":{sequence}"] if sequence else [])])
    return f"{text}^{checksum(text)}\r".encode("latin-1")


def number(text: str, bits: int = 32) -> int:
    """An unsigned decimal as the firmware reads it: digits are not checked, and it wraps at `bits`."""
    result = 0
    for char in text:
        result = (result * 10 + ord(char) - ord("0")) % (1 << bits)
    return result


def _checked(text: str) -> str | None:
    for mark, function in (("^", checksum), ("*", legacy_checksum)):
        body, found, digits = text.rpartition(mark)
        if found:
            return body if digits.upper() == function(body) and body.startswith("$") else None
    return text


def _is_sequence(token: str) -> bool:
    return len(token) == 3 and token[0] == ":" and all(char in _HEX for char in token[1:])
