"""What a configuration value may look like, by type (OCPP 1.6 §9): text in, the text as we keep it or a problem out.

Owns: the types behind `keys.py`. Pure. Does not: know keys, access or defaults.
Choice: a value is a CiString (OCPP 1.6 §6.9), so words are taken without case and kept as OCPP prints them.
"""

import msgspec

from bus.vocabulary import Measurand, Phase

INTEGER_MAX = 2_147_483_647
"""Largest value of an OCPP integer, an xsd:int."""
VALUE_LENGTH_MAX = 500
"""Characters in a value, a CiString500 (OCPP 1.6 §6.9)."""
PASSWORD_BYTES_MIN = 16
PASSWORD_BYTES_MAX = 20
PASSWORD_LENGTH_MAX = 40
"""Characters in an AuthorizationKey (OCPP-J errata 3.10)."""
ROTATIONS = ("NotApplicable", "Unknown", "RST", "RTS", "SRT", "STR", "TRS", "TSR")
"""Phase rotations of a connector (OCPP 1.6 §9.1.7)."""
PHASED = (Measurand.VOLTAGE, Measurand.CURRENT_IMPORT, Measurand.POWER_ACTIVE_IMPORT, Measurand.POWER_ACTIVE_EXPORT)
"""Measurands that may be asked for one phase alone, as in `Voltage.L1` (OCPP 1.6 §9.1.17)."""
_PHASES = ((Phase.L1, Phase.L1_N), (Phase.L2, Phase.L2_N), (Phase.L3, Phase.L3_N))
_QUOTED_CHARS_MAX = 60


class Problem(msgspec.Struct, frozen=True):
    """Why a value is refused, as one line for a log."""

    text: str


def boolean(text: str) -> str | Problem:
    """`true` or `false`."""
    word = text.strip().lower()
    return word if word in ("true", "false") else Problem(f"{quoted(text)} is neither true nor false")


def integer(text: str, minimum: int, maximum: int) -> str | Problem:
    """A whole number within bounds, both included."""
    number = text.strip()
    digits = number.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19 and len(number) - len(digits) <= 1):
        return Problem(f"{quoted(text)} is not a whole number")
    value = int(number)
    if not minimum <= value <= maximum:
        return Problem(f"{value} is not between {minimum} and {maximum}")
    return str(value)


def items(text: str) -> tuple[str, ...]:
    """The items of a comma-separated list, without the spaces around them; an empty text has none."""
    return tuple(item.strip() for item in text.split(",")) if text.strip() else ()


def words(text: str, allowed: tuple[str, ...]) -> str | Problem:
    """A comma-separated list of allowed words, each at most once."""
    found: list[str] = []
    for item in items(text):
        word = _spelled(item, allowed)
        if word is None:
            return Problem(f"{quoted(item)} is not one of {', '.join(allowed)}")
        if word not in found:
            found.append(word)
    return ",".join(found)


def measurands(text: str, supported: tuple[Measurand, ...], phases: int) -> str | Problem:
    """A list of measurands that the meter has, each with a phase or without.

    errata v4.0 3.14.4: one unsupported measurand refuses the whole list (field report 37: never accept and then leave out).
    """
    found: list[str] = []
    for item in items(text):
        parsed = measurand(item)
        if parsed is None:
            return Problem(f"{quoted(item)} is not a measurand of OCPP 1.6")
        name, phase = parsed
        if name not in supported:
            return Problem(f"{name} is not measured here")
        if phase is not None and (name not in PHASED or not _has_phase(name, phase, phases)):
            return Problem(f"{name} is not measured on phase {phase} here")
        word = name if phase is None else f"{name}.{phase}"
        if word not in found:
            found.append(word)
    return ",".join(found)


def measurand(item: str) -> tuple[Measurand, Phase | None] | None:
    """Measurand and phase of one item of a list; None: no such measurand or phase."""
    whole = _spelled(item, tuple(Measurand))
    if whole is not None:
        return Measurand(whole), None
    name, _, suffix = item.rpartition(".")
    spelled, phase = _spelled(name, tuple(Measurand)), _spelled(suffix, tuple(Phase))
    return None if spelled is None or phase is None else (Measurand(spelled), Phase(phase))


def phase_rotation(text: str) -> str | Problem:
    """`0.RST,1.RST,2.RTS`: a rotation for connectors by number, 0 for the grid connection (OCPP 1.6 §9.1.7).

    Choice: a number beyond the last connector is accepted: a certified single-connector station prints one.
    """
    found: dict[int, str] = {}
    for item in items(text):
        number, _, name = item.partition(".")
        rotation = _spelled(name, ROTATIONS)
        if rotation is None or not (number.isascii() and number.isdigit() and len(number) <= 3):
            return Problem(f"{quoted(item)} is not a connector's number, a dot, and one of {', '.join(ROTATIONS)}")
        if int(number) in found:
            return Problem(f"connector {int(number)} is named twice")
        found[int(number)] = rotation
    return ",".join(f"{number}.{rotation}" for number, rotation in found.items())


def authorization_key(text: str) -> str | Problem:
    """The password of HTTP Basic authentication; the problem never repeats it.

    OCPP-J errata 3.10, security whitepaper §7.2: hexadecimal, at most 40 digits, 16 to 20 bytes.
    Choice: 16 to 40 printable characters that are no hexadecimal number are a password as they stand, since many Central
    Systems hand out such; a hexadecimal number of a wrong length is refused, since it is a slip.
    """
    if len(text) > PASSWORD_LENGTH_MAX:
        return Problem(f"the key has {len(text)} characters; at most {PASSWORD_LENGTH_MAX} are allowed")
    if _is_hexadecimal(text):
        if len(text) % 2 or len(text) < 2 * PASSWORD_BYTES_MIN:
            return Problem(f"the key has {len(text)} hexadecimal digits; 32 to 40 are needed, in pairs")
        return text
    if len(text) < PASSWORD_BYTES_MIN or not (text.isascii() and text.isprintable()):
        return Problem(f"the key must be 32 to 40 hexadecimal digits, or at least {PASSWORD_BYTES_MIN} printable characters")
    return text


def password(text: str) -> bytes:
    """The bytes that go on the wire for a checked AuthorizationKey (OCPP-J 1.6 §6.2.2; field report 56)."""
    return bytes.fromhex(text) if _is_hexadecimal(text) else text.encode("ascii")


def quoted(text: str) -> str:
    """`text` between quotes, cut and without control characters, fit for one line."""
    cut = text if len(text) <= _QUOTED_CHARS_MAX else text[:_QUOTED_CHARS_MAX] + "…"
    return "'" + "".join(char if char.isprintable() else "?" for char in cut) + "'"


def _spelled(word: str, allowed: tuple[str, ...]) -> str | None:
    """`word` as the specification spells it."""
    folded = word.casefold()
    return next((str(one) for one in allowed if one.casefold() == folded), None)


def _has_phase(name: Measurand, phase: Phase, phases: int) -> bool:
    """Whether a meter with so many phases measures it. Voltage is taken to neutral, whichever way it is asked for."""
    measured = _PHASES[:phases]
    return any(phase in pair if name is Measurand.VOLTAGE else phase is pair[0] for pair in measured)


def _is_hexadecimal(text: str) -> bool:
    return bool(text) and all(char in "0123456789abcdefABCDEF" for char in text)
