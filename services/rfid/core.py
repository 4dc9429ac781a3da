"""The rfid service decides here when a card counts as presented (pure; hardware.md §5.2, §5.6).

A card held at the reader is one presentation, however often the reader reports it; the same card counts again once it was
away for REMOVED_S. Another card counts at once.

Owns: presentation, and the way from a UID to an idTag. Does not: know readers or the Central System.
"""

import msgspec

from bus.vocabulary import ID_TAG_LENGTH_MAX, same_id_tag

REMOVED_S = 1.0
_RANDOM_UID = "08"
_CASCADE = "88"
_UID_DIGITS = (8, 10, 14, 20)
"""Hexadecimal digits of a UID of 4, 5, 7 and 10 bytes; other text is no UID and stays as it is."""


class State(msgspec.Struct, frozen=True):
    """`format`: hex, hex_reversed, dec10 or dec10_reversed, of `[reader]`. `held`: the card at the reader, last seen then."""

    format: str = "hex"
    held: str = ""
    seen_s: float = 0.0
    failure: str = ""


class TokenRead(msgspec.Struct, frozen=True):
    """The reader reports a card: hexadecimal digits of its UID in the order received, or text."""

    uid: str
    seen_s: float


class ReaderFound(msgspec.Struct, frozen=True):
    """The reader is there."""


class ReaderLost(msgspec.Struct, frozen=True):
    """The reader is gone; plain words."""

    reason: str


Event = TokenRead | ReaderFound | ReaderLost


class Presented(msgspec.Struct, frozen=True):
    """A card counts as presented."""

    id_tag: str
    seen_s: float


class Refused(msgspec.Struct, frozen=True):
    """A card that can't be an idTag; plain words."""

    reason: str


class FailureChanged(msgspec.Struct, frozen=True):
    """The reader does not work, or does again (empty)."""

    failure: str


Effect = Presented | Refused | FailureChanged


def step(state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
    """What `event` does to `state`."""
    match event:
        case TokenRead(uid=uid, seen_s=seen_s):
            held = same_id_tag(uid, state.held) and seen_s - state.seen_s < REMOVED_S
            state = msgspec.structs.replace(state, held=uid, seen_s=seen_s)
            return state, () if held else (_judge(uid, state.format, seen_s),)
        case ReaderFound():
            effects: tuple[Effect, ...] = (FailureChanged(""),) if state.failure else ()
            return msgspec.structs.replace(state, failure=""), effects
        case ReaderLost(reason=reason):
            effects = (FailureChanged(reason),) if state.failure != reason else ()
            return msgspec.structs.replace(state, failure=reason), effects


def id_tag_of(uid: str, format_: str) -> str:
    """The idTag of a UID: upper-case hexadecimal or ten decimal digits of its last four bytes, either byte order."""
    if not _is_uid(uid):
        return uid
    data = bytes.fromhex(uid)
    if format_.endswith("_reversed"):
        data = data[::-1]
    if format_.startswith("dec10"):
        return f"{int.from_bytes(data[-4:], 'big'):010d}"
    return data.hex().upper()


def _judge(uid: str, format_: str, seen_s: float) -> Effect:
    if _is_uid(uid) and len(uid) == 8 and uid.startswith(_RANDOM_UID):
        return Refused("card refused, its UID is a random one that changes each time (a phone or bank card); use a card")
    if _is_uid(uid) and len(uid) == 8 and uid.startswith(_CASCADE):
        return Refused("card refused, its UID was read incompletely; hold it to the reader again")
    id_tag = id_tag_of(uid, format_)
    if not 1 <= len(id_tag) <= ID_TAG_LENGTH_MAX:
        return Refused(f"card refused, its number has {len(id_tag)} characters and an idTag at most {ID_TAG_LENGTH_MAX}")
    return Presented(id_tag, seen_s)


def _is_uid(text: str) -> bool:
    return len(text) in _UID_DIGITS and all(char in "0123456789abcdefABCDEF" for char in text)
