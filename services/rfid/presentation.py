"""When a card counts as presented, and which idTag it is (pure; hardware.md §5.2, §5.6).

A card held at the reader is one presentation, however often the reader reports it; it counts again once it was away for
REMOVED_S. Another card counts at once. While a reader is lost, nobody looks whether a card is taken away: what lay there before
counts as there until the reader has looked again, so that no hiccup of a line ends a session.

What lies there when this process begins may have counted in the one before: that is said, and whoever acts on cards decides.

Owns: presentation, the way from a UID to an idTag, whether the reader is there. Does not: know readers or the Central System.
"""

import msgspec

from bus.vocabulary import ID_TAG_LENGTH_MAX
from services.hardware.contract import DeviceInfo, TokenSeen

MISSED_S = 0.6
"""A poll or two may miss a card that lies there (hardware.md §5.2)."""
REMOVED_S = MISSED_S + 1.0
"""A card that was away for less is the same presentation: once it is removed, nothing is done by it for a second."""
LOST_S_MAX = 2.5
"""The failures that make a reader lost take less than this: a card seen so shortly before lay there when they began."""
HELD_MAX = 8
"""Cards that may lie at the reader at once; a reader that sees two of them reports both in turn."""
_RANDOM_UID, _CASCADE = 0x08, 0x88
_SHORT_UID_BYTES = 4
_PRINTED_BYTES = 4
"""dec10 prints the last four bytes; the first of an EM4100 tag's five is its maker's."""
_DEC10_BYTES_MAX = 5
_HEX = frozenset("0123456789abcdefABCDEF")


class IdTagRules(msgspec.Struct, frozen=True):
    """How a UID becomes an idTag: `hex`, `hex_reversed`, `dec10` or `dec10_reversed`, after `prefix`."""

    format: str = "hex"
    prefix: str = ""
    max_bytes: int = 0
    """Only so many bytes count, the first ones that the reader sends; 0: all."""
    strip_leading_zeros: bool = False
    """Zeros before the digits of the UID are left out, but for the last one."""


class Held(msgspec.Struct, frozen=True):
    """A card at the reader, or just taken away."""

    uid: str
    seen_boottime_s: float


class State(msgspec.Struct, frozen=True):
    """`reader_up` None: nothing is known of the reader yet."""

    rules: IdTagRules = IdTagRules()
    held: tuple[Held, ...] = ()
    reader_up: bool | None = None
    began_s: float | None = None
    """When this process began to read."""
    reason: str = ""


class TokenRead(msgspec.Struct, frozen=True):
    """The reader reports a card."""

    token: TokenSeen


class ReaderUp(msgspec.Struct, frozen=True):
    """The reader is there."""

    info: DeviceInfo = DeviceInfo()


class ReaderDown(msgspec.Struct, frozen=True):
    """The reader is not there; plain words."""

    reason: str


Event = TokenRead | ReaderUp | ReaderDown


class Presented(msgspec.Struct, frozen=True):
    """A card counts as presented."""

    id_tag: str
    seen_boottime_s: float
    maybe_held: bool = False
    """Seen so soon after this process began to read that it may lie there since before."""


class Refused(msgspec.Struct, frozen=True):
    """A card that can't be an idTag; plain words."""

    reason: str


class ReaderLost(msgspec.Struct, frozen=True):
    """Say that the reader does not work; plain words."""

    reason: str


class ReaderFound(msgspec.Struct, frozen=True):
    """Say that the reader works."""


Effect = Presented | Refused | ReaderLost | ReaderFound


class Unusable(Exception):
    """A UID that can't be an idTag; the text says why, and what to do."""


def step(state: State, event: Event, now_s: float) -> tuple[State, tuple[Effect, ...]]:
    """What `event` does to `state`; `now_s` is boottime."""
    match event:
        case TokenRead(token=token):
            return _read(state, token, now_s)
        case ReaderUp():
            effects: tuple[Effect, ...] = () if state.reader_up else (ReaderFound(),)
            held = state.held
            if state.reader_up is None:
                state = msgspec.structs.replace(state, began_s=now_s)
            if state.reader_up is False:
                held = tuple(Held(held.uid, now_s + MISSED_S - REMOVED_S) for held in state.held)
            return msgspec.structs.replace(state, held=held, reader_up=True, reason=""), effects
        case ReaderDown(reason=reason):
            effects = (ReaderLost(reason),) if state.reader_up is not False or reason != state.reason else ()
            held = state.held
            if state.reader_up is not False:
                held = tuple(held for held in state.held if now_s - held.seen_boottime_s < LOST_S_MAX)
            return msgspec.structs.replace(state, held=held, reader_up=False, reason=reason), effects


def id_tag_of(token: TokenSeen, rules: IdTagRules) -> str:
    """The idTag of what a reader sent; text stays as it is. Raises Unusable."""
    if token.verbatim or not _is_uid(token.uid):
        return _checked(token.uid)
    received = bytes.fromhex(token.uid)
    data = received[: rules.max_bytes or None]
    # A longer one that the site cuts is none of these, but for a UID of four bytes with the check byte that some readers add.
    is_short = len(data) == _SHORT_UID_BYTES and len(received) <= _SHORT_UID_BYTES + 1
    if is_short and data[0] == _RANDOM_UID:
        raise Unusable("its UID is a random one that changes each time, as phones and bank cards have; use a card")
    if is_short and data[0] == _CASCADE:
        raise Unusable("its UID was read only in part; hold it to the reader again")
    if not rules.format.startswith("dec10"):
        return _digits(_ordered(data, rules).hex().upper(), rules)
    if len(data) > _DEC10_BYTES_MAX:
        # Choice: its last four bytes would be the idTag of other cards too, and somebody else would pay.
        raise Unusable(f"its UID has {len(data)} bytes and {rules.format} can tell only 4; set [reader] id_tag_format to hex")
    return _digits(f"{int.from_bytes(_ordered(data[-_PRINTED_BYTES:], rules), 'big'):010d}", rules)


def _read(state: State, token: TokenSeen, now_s: float) -> tuple[State, tuple[Effect, ...]]:
    seen_s = min(token.boottime_s, now_s)
    present = [held for held in state.held if seen_s - held.seen_boottime_s < REMOVED_S]
    others = [held for held in present if held.uid != token.uid]
    state = msgspec.structs.replace(state, held=(*others, Held(token.uid, seen_s))[-HELD_MAX:])
    if len(others) < len(present):
        return state, ()
    try:
        maybe_held = state.began_s is not None and seen_s - state.began_s < REMOVED_S
        return state, (Presented(id_tag_of(token, state.rules), seen_s, maybe_held),)
    except Unusable as error:
        return state, (Refused(f"card refused: {error}"),)


def _ordered(data: bytes, rules: IdTagRules) -> bytes:
    return data[::-1] if rules.format.endswith("_reversed") else data


def _digits(digits: str, rules: IdTagRules) -> str:
    if rules.strip_leading_zeros:
        digits = digits.lstrip("0") or "0"
    return _checked(rules.prefix + digits)


def _checked(id_tag: str) -> str:
    if not 1 <= len(id_tag) <= ID_TAG_LENGTH_MAX or not (id_tag.isascii() and id_tag.isprintable()):
        raise Unusable(f"an idTag has 1 to {ID_TAG_LENGTH_MAX} printable characters (OCPP 1.6 §7.28), this one {len(id_tag)}")
    return id_tag


def _is_uid(text: str) -> bool:
    return bool(text) and len(text) % 2 == 0 and _HEX.issuperset(text)
