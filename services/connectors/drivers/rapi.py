"""RAPI, OpenEVSE's serial protocol: framing without a port (hardware.md §3.1).

Owns: checksums, sequence ids, telling replies from asynchronous messages. Does not: know what a command means.
"""

import msgspec

LINE_BYTES_MAX = 128
"""Longer lines are noise."""
COMMAND_CHARS_MAX = 31
"""The controller drops longer lines silently."""
_ASYNC = ("AB", "AT", "AN", "WF")


class Reply(msgspec.Struct, frozen=True):
    """`$OK` or `$NK`, its values, and the sequence id that it echoes."""

    ok: bool
    values: tuple[str, ...]
    sequence: int | None = None


class Notice(msgspec.Struct, frozen=True):
    """An asynchronous message: `AT` state, `AB` booted, `AN` button, `WF` Wi-Fi, `ST` state of RAPI before 5."""

    code: str
    values: tuple[str, ...]


def encode(command: str, sequence: int) -> bytes:
    """`$GS :01^2B` and CR. `sequence` from 1 to 255. A command that is too long is our bug."""
    body = f"${command} :{sequence:02X}"
    line = f"{body}^{_xor(body.encode()):02X}"
    assert len(line) <= COMMAND_CHARS_MAX, f"RAPI command too long: {line}"
    return line.encode() + b"\r"


class Parser:
    """Bytes in any pieces in, lines with a right checksum out; everything else is counted and skipped."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.errors = 0

    def feed(self, data: bytes) -> list[Reply | Notice]:
        """What has become complete. Never raises."""
        found: list[Reply | Notice] = []
        for byte in data:
            if byte == ord("$"):
                self._buffer[:] = b"$"
            elif byte == ord("\r"):
                if self._buffer:
                    found.extend(self._line(bytes(self._buffer)))
                self._buffer.clear()
            elif self._buffer:
                self._buffer.append(byte)
                if len(self._buffer) > LINE_BYTES_MAX:
                    self.errors += 1
                    self._buffer.clear()
        return found

    def _line(self, line: bytes) -> list[Reply | Notice]:
        body = _checked(line)
        if body is None:
            self.errors += 1
            return []
        words = body[1:].decode("ascii", "replace").split()
        sequence: int | None = None
        if words and words[-1].startswith(":"):
            sequence = _hex(words.pop()[1:])
        if not words:
            self.errors += 1
            return []
        code, values = words[0], tuple(words[1:])
        if code in ("OK", "NK"):
            return [Reply(code == "OK", values, sequence)]
        if code in _ASYNC or (code == "ST" and len(values) == 1):
            return [Notice(code, values)]
        self.errors += 1
        return []


def _checked(line: bytes) -> bytes | None:
    """The line without its checksum; None if that is wrong. Legacy `*` sums are understood, none at all is not trusted."""
    for mark, total in ((b"^", _xor), (b"*", _sum)):
        body, found, digits = line.rpartition(mark)
        if found:
            return body if _hex(digits.decode("ascii", "replace")) == total(body) else None
    return None


def _xor(data: bytes) -> int:
    result = 0
    for byte in data:
        result ^= byte
    return result


def _sum(data: bytes) -> int:
    return sum(data) & 0xFF


def _hex(digits: str) -> int | None:
    if len(digits) == 2 and all(char in "0123456789abcdefABCDEF" for char in digits):
        return int(digits, 16)
    return None
