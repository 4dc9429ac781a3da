"""RAPI, the line protocol of OpenEVSE controllers, without I/O (hardware.md §3.1).

Owns: framing, checksums, sequence ids, telling asynchronous lines from replies. Does not: know what a command means.

    request  `$GS :01^2B` CR            reply  `$OK 03 125 03 0140 :01^08` CR            asynchronous  `$AT 03 03 16 0140^33` CR
"""

import re

import msgspec

REQUEST_CHARS_MAX = 31
"""The controller drops longer lines without a word."""
REPLY_CHARS_MAX = 80
"""Longer lines are not ours: garbage that happens to begin with a dollar sign."""
SEQUENCE_MAX = 0xFF

_CHECKED = re.compile(rb"(\$[\x20-\x5d\x5f-\x7e]*)\^([0-9A-Fa-f]{2})\Z")
_SUMMED = re.compile(rb"(\$[\x20-\x29\x2b-\x7e]*)\*([0-9A-Fa-f]{2})\Z")
_SEQUENCE = re.compile(r":([0-9A-Fa-f]{2})\Z")
_START, _END = 0x24, 0x0D
_SILENT = frozenset((0x00, 0x0A, 0x0D))
"""Between lines these mean nothing; everything else there is noise."""


class Line(msgspec.Struct, frozen=True):
    """Base of what a controller sends."""


class Reply(Line, frozen=True):
    """Answer to a request. `ok` False: refused, or not known. `sequence` None: the request carried none, or was garbled."""

    ok: bool
    values: tuple[str, ...] = ()
    sequence: int | None = None


class Booted(Line, frozen=True):
    """The controller restarted: its volatile settings are gone, and it is enabled."""

    post_code: int
    firmware: str = ""


class StateChanged(Line, frozen=True):
    """State, pilot state and vflags as in `$GS`; `pilot_a` is the current in force."""

    state: int
    pilot_state: int
    pilot_a: int
    vflags: int


class OldStateChanged(Line, frozen=True):
    """Before RAPI 5: something changed, ask."""


class ButtonPressed(Line, frozen=True):
    """The front button, while it is disabled."""

    long: bool


class Ignored(Line, frozen=True):
    """A well-formed line that means nothing to us (`$WF`, the echo of a request)."""


def encode(command: str, sequence: int | None = None) -> bytes:
    """One request, ready to send: `command` without its dollar sign, `sequence` 1 to 255."""
    assert sequence is None or 1 <= sequence <= SEQUENCE_MAX
    line = seal(f"${command}" if sequence is None else f"${command} :{sequence:02X}")
    assert len(line) <= REQUEST_CHARS_MAX + 1, command
    return line


def seal(body: str) -> bytes:
    """`body`, from its dollar sign on, with checksum and end."""
    raw = body.encode("ascii")
    return raw + b"^%02X\r" % xor(raw)


def xor(raw: bytes) -> int:
    """The checksum of RAPI 2.0 and later: all bytes from `$` up to, and without, the caret."""
    total = 0
    for byte in raw:
        total ^= byte
    return total


class Parser:
    """Makes lines of a stream that may hold anything. `bad`: broken lines so far; `noise`: bytes outside of lines."""

    def __init__(self) -> None:
        self.bad = 0
        self.noise = 0
        self._buffer: bytearray | None = None

    def feed(self, data: bytes) -> list[Line]:
        """The lines that `data` completes, in order. A dollar sign always begins a new line."""
        lines: list[Line] = []
        for byte in data:
            if byte == _START:
                self.bad += self._buffer is not None
                self._buffer = bytearray((byte,))
            elif self._buffer is None:
                self.noise += byte not in _SILENT
            elif byte != _END:
                self._buffer.append(byte)
                if len(self._buffer) > REPLY_CHARS_MAX:
                    self._buffer = None
                    self.bad += 1
            else:
                line = parse_line(bytes(self._buffer))
                self._buffer = None
                if line is None:
                    self.bad += 1
                else:
                    lines.append(line)
        return lines


def parse_line(raw: bytes) -> Line | None:
    """One line without its end; None if its checksum is wrong or missing, or its values are nonsense."""
    body = _body(raw)
    if body is None:
        return None
    name, *values = body.split() or [""]
    match name, values:
        case (("$OK" | "$NK"), _):
            return _reply(name == "$OK", values)
        case "$ST", [_]:
            return OldStateChanged()
        case (("$AB" | "$AT" | "$AN"), _):
            try:
                return _asynchronous(name, values)
            except ValueError:
                return None
    return Ignored()


def decimal(text: str) -> int:
    """A whole number as RAPI prints it, a minus allowed. Raises ValueError; int() alone would let `1_0` pass."""
    if not re.fullmatch(r"-?[0-9]{1,12}", text, re.ASCII):
        raise ValueError(f"{text!r} is no decimal number")
    return int(text)


def hexadecimal(text: str) -> int:
    """An unsigned hexadecimal number as RAPI prints it, in any case. Raises ValueError."""
    if not re.fullmatch(r"[0-9A-Fa-f]{1,8}", text, re.ASCII):
        raise ValueError(f"{text!r} is no hexadecimal number")
    return int(text, 16)


def _body(raw: bytes) -> str | None:
    checked = _CHECKED.match(raw)
    if checked is not None:
        good = xor(checked[1]) == int(checked[2], 16)
    else:
        checked = _SUMMED.match(raw)
        if checked is None:
            return None
        good = sum(checked[1]) & 0xFF == int(checked[2], 16)
    return checked[1].decode("ascii") if good else None


def _reply(ok: bool, values: list[str]) -> Reply:
    sequence = _SEQUENCE.match(values[-1]) if values else None
    if sequence is None:
        return Reply(ok, tuple(values))
    return Reply(ok, tuple(values[:-1]), int(sequence[1], 16))


def _asynchronous(name: str, values: list[str]) -> Line:
    match name, values:
        case "$AB", [post_code, *firmware]:
            return Booted(hexadecimal(post_code), " ".join(firmware))
        case "$AT", [state, pilot_state, amps, vflags]:
            return StateChanged(hexadecimal(state), hexadecimal(pilot_state), decimal(amps), hexadecimal(vflags))
        case "$AN", [press]:
            return ButtonPressed(long=decimal(press) == 1)
    raise ValueError(f"{name} with {len(values)} values")
