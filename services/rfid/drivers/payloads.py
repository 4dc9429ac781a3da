"""What readers that send characters may mean by them: a UID in hexadecimal or decimal digits, or an idTag (pure).

Owns: that reading. Does not: frame (`line.py`, `hid.py`), or order bytes (`presentation.py`).
"""

import msgspec

from bus.vocabulary import ID_TAG_LENGTH_MAX

CHARACTERS_MAX = ID_TAG_LENGTH_MAX
HEX_DIGITS_MIN = 6
"""A converter to Wiegand-26 leaves three bytes of a UID (hardware.md §5.3)."""
DECIMAL_DIGITS_MIN = 5
_DECIMAL_BYTES_MIN = 4
_HEX = frozenset("0123456789abcdefABCDEF")
_DECIMAL = frozenset("0123456789")


class Card(msgspec.Struct, frozen=True):
    """What was read: hexadecimal digits of a UID, or an idTag as text (`verbatim`)."""

    uid: str
    verbatim: bool = False


def card(text: str, payload: str) -> Card | None:
    """The card that `text` means as `hex`, `decimal` or `text`; None: it means none.

    A decimal number becomes the bytes of its value, the highest first, four at least: so `dec10` prints it as it came, and
    `_reversed` turns the order of readers that print the lowest first (hardware.md §5.4).
    """
    if not 1 <= len(text) <= CHARACTERS_MAX:
        return None
    match payload:
        case "hex" if len(text) >= HEX_DIGITS_MIN and len(text) % 2 == 0 and _HEX.issuperset(text):
            return Card(text.upper())
        case "decimal" if len(text) >= DECIMAL_DIGITS_MIN and _DECIMAL.issuperset(text):
            value = int(text)
            return Card(value.to_bytes(max(_DECIMAL_BYTES_MIN, (value.bit_length() + 7) // 8), "big").hex().upper())
        case "text" if text.isascii() and text.isprintable():
            return Card(text, verbatim=True)
    return None
