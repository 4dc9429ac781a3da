"""dateTime of OCPP: ISO 8601 texts and Unix milliseconds (OCPP 1.6 §3.14, errata v4.0 3.10).

Owns: reading what any Central System may send. Pure. Does not: know a clock. What we send is `bus.logs.utc_text`.
"""

import re
from calendar import timegm

from bus.logs import utc_text

_TEXT = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,30}))?)?\s*([Zz]|[+-]\d\d(?::?\d\d)?)?", re.ASCII
)
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def parse_utc_ms(text: str) -> int | None:
    """Unix milliseconds of an ISO 8601 date and time; None: it is none.

    Any number of fraction digits (cut to milliseconds) or none, any offset. Choice: a time without an offset is taken for UTC,
    which OCPP 1.6 §3.13 recommends; a leap second is the second after it.
    """
    match = _TEXT.fullmatch(text.strip()) if len(text) <= 64 else None
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(match[group] or 0) for group in range(1, 7))
    if not (1 <= month <= 12 and 1 <= day <= _days(year, month) and hour < 24 and minute < 60 and second <= 60):
        return None
    offset_s = _offset_s(match[8])
    if offset_s is None or year == 0:
        return None
    ms = int(((match[7] or "") + "000")[:3])
    return (timegm((year, month, day, hour, minute, second)) - offset_s) * 1000 + ms


def utc_ms_text(utc_ms: int) -> str:
    """Unix milliseconds as we send them: UTC, milliseconds, Z."""
    return utc_text(utc_ms / 1000)


def _days(year: int, month: int) -> int:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 28 if month == 2 and not leap else _DAYS[month - 1]


def _offset_s(text: str | None) -> int | None:
    """Seconds east of UTC; None: no such offset."""
    if text is None or text in "Zz":
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:
        return None
    return (hours * 3600 + minutes * 60) * (-1 if text[0] == "-" else 1)
