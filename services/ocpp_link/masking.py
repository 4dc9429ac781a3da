"""Frames as the log may show them: no passwords, and of an idTag only its beginning (pure; style guide §7).

Of a frame that is JSON values are hidden by their names, however these are spelled and escaped; of one that is not, all that
may be such a value.
Owns: what is hidden. Does not: log.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from bus.vocabulary import masked_id_tag

HIDDEN = "…"
ID_TAG_NAMES = frozenset({"idtag", "parentidtag"})
"""Names whose values are idTags, in lower case."""
_PASSWORD_KEY = "authorizationkey"
_PASSWORD_NAMES = frozenset({_PASSWORD_KEY, "password"})
_SECRET_CHARS_MIN = 6
"""A password that is shorter than any key may be is looked for by its name only: it could be a word of any frame."""
_ID_TAG = re.compile(r'("(?:parentIdTag|idTag)"\s*:\s*")((?:[^"\\]|\\.)*)', re.ASCII | re.IGNORECASE)
_VALUE = re.compile(r'("(?:value|AuthorizationKey|password)"\s*:\s*")(?:[^"\\]|\\.)*', re.ASCII | re.IGNORECASE)

Shown = Callable[[str], str]
"""How an idTag is shown."""


def masked(frame: str, show_id_tag: Shown = masked_id_tag, secret: str = "") -> str:
    """`frame` without what must not be read in a log. `secret`: a password that is hidden wherever it stands."""
    lowered = frame.lower()
    if "\\" in frame or "idtag" in lowered or _PASSWORD_KEY in lowered or "password" in lowered:
        frame = _masked_by_name(frame, show_id_tag)
    if len(secret) >= _SECRET_CHARS_MIN:
        frame = frame.replace(secret, HIDDEN)
    return frame


def _masked_by_name(frame: str, show_id_tag: Shown) -> str:
    try:
        found = msgspec.json.decode(frame)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        frame = _ID_TAG.sub(lambda match: match[1] + show_id_tag(match[2]), frame)
        return _VALUE.sub(rf"\1{HIDDEN}", frame) if _PASSWORD_KEY in frame.lower() or "password" in frame.lower() else frame
    try:
        return msgspec.json.encode(_shown(found, show_id_tag)).decode()
    except RecursionError:
        return HIDDEN


def _shown(value: Any, show_id_tag: Shown) -> Any:
    match value:
        case list():
            return [_shown(one, show_id_tag) for one in value]
        case dict():
            key = value.get("key")
            password = isinstance(key, str) and key.lower() == _PASSWORD_KEY
            return {name: _member(name, one, password, show_id_tag) for name, one in value.items()}
        case _:
            return value


def _member(name: str, value: Any, password: bool, show_id_tag: Shown) -> Any:
    known = name.lower()
    if known in _PASSWORD_NAMES or (password and known == "value"):
        return HIDDEN
    if known in ID_TAG_NAMES and value is not None:
        return show_id_tag(value) if isinstance(value, str) else HIDDEN
    return _shown(value, show_id_tag)
