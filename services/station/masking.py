"""What of a station's facts people may be shown: no secrets, of an idTag only enough to tell cards apart. Pure.

A support bundle has two nets, one behind the other: what is known to be secret by its name is not put in; and every part is
searched for the secrets themselves, wherever they may have come to stand.

Owns: what is hidden. Does not: read anything.
"""

import base64
import re
from collections.abc import Iterable
from typing import Any

from bus.vocabulary import masked_id_tag

HIDDEN = "(not shown)"
_SECRET_WORD = r"(?:[\w.-]*(?:password|passwd|passphrase|secret|token)[\w.-]*|[\w.-]*key)"
_VALUE = r'"""[\s\S]*?(?:"""|\Z)|\'\'\'[\s\S]*?(?:\'\'\'|\Z)|"(?:[^"\\\n]|\\.)*"?|\'[^\'\n]*\'?|\[[^\]]*\]?|[^\s,}#]+'
_ASSIGNED = re.compile(rf'(["\']?{_SECRET_WORD}["\']?\s*=\s*)({_VALUE})', re.IGNORECASE)
_USER_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s\"'<>]*@", re.IGNORECASE)
_QUERY_IN_URL = re.compile(r"(\b(?:wss?|https?)://[^\s?\"']*\?)[^\s\"']+", re.IGNORECASE)
_ID_TAGS = ("id_tag", "parent_id_tag", "idtag", "parentidtag")
_SECRET_BYTES_MIN = 8
"""Shorter ones would be found in every other word; no AuthorizationKey is so short."""


def masked_toml(text: str) -> str:
    """A station.toml as it stands, comments too, even one that is no TOML any more; without values whose names say secret."""
    text = _ASSIGNED.sub(lambda found: f'{found[1]}"{HIDDEN}"', text)
    text = _USER_IN_URL.sub(rf"\1{HIDDEN}@", text)
    return _QUERY_IN_URL.sub(rf"\1{HIDDEN}", text)


def secrets_in(text: str) -> list[str]:
    """The values that `masked_toml` hides, as they stand between their quotes."""
    values = [found[2].strip("\"'") for found in _ASSIGNED.finditer(text)]
    values += [found[0].partition("://")[2].rstrip("@").partition(":")[2] for found in _USER_IN_URL.finditer(text)]
    queries = [found[0].partition("?")[2] for found in _QUERY_IN_URL.finditer(text)]
    return values + [pair.rpartition("=")[2] for query in queries for pair in query.split("&")]


def masked_values(value: Any) -> Any:
    """JSON values with every idTag in them shortened."""
    if isinstance(value, dict):
        return {name: _masked_field(str(name), one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked_values(one) for one in value]
    return value


def secret_forms(secrets: Iterable[str]) -> tuple[bytes, ...]:
    """All that a secret may look like in a text, the longest first."""
    forms: set[bytes] = set()
    for secret in secrets:
        raw = secret.encode("utf-8", "surrogatepass")
        if len(raw) >= _SECRET_BYTES_MIN:
            escaped = secret.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8", "surrogatepass")
            forms |= {raw, escaped, base64.b64encode(raw), raw.hex().encode(), raw.hex().upper().encode()}
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def without(data: bytes, forms: tuple[bytes, ...]) -> bytes:
    """`data` without these."""
    for form in forms:
        if form in data:
            data = data.replace(form, HIDDEN.encode())
    return data


def _masked_field(name: str, value: Any) -> Any:
    if isinstance(value, str) and name.lower() in _ID_TAGS:
        return masked_id_tag(value)
    return masked_values(value)
