"""Which log records a person wants: by service, level, connector, time, text. Pure.

Owns: the rules, and how a time may be given. Does not: know what a session is (`log_story.py`).
"""

import re
from datetime import UTC, datetime, timedelta

import msgspec

from bus.logs import utc_text
from services.station.log_lines import LEVELS, Record

_AGO = re.compile(r"(\d{1,6})\s*(s|m|min|h|d)", re.ASCII)
_CLOCK = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,6})?)?", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


class Filter(msgspec.Struct, frozen=True):
    """What is to be shown; what is empty or None does not restrict. `since` and `until` as log lines have their time.

    `services`: by the name of the log, or by what the line itself says (the guard writes into the watchdog's log).
    """

    services: frozenset[str] = frozenset()
    level: str | None = None
    connector: int | None = None
    since: str = ""
    until: str = ""
    text: str = ""

    def takes(self, record: Record) -> bool:
        """Whether `record` is to be shown. What costs least is asked first."""
        if not self.in_time(record):
            return False
        if self.level is not None and LEVELS.index(record.level()) < LEVELS.index(self.level):
            return False
        if self.text and self.text.casefold() not in record.text().casefold():
            return False
        if self.services and not self._said_by(record):
            return False
        return self.connector is None or concerns_connector(record, self.connector)

    def in_time(self, record: Record) -> bool:
        """Whether it is of the time that is asked for; what has no time is where no time is asked for."""
        return (not self.since or record.ts >= self.since) and (not self.until or record.ts < self.until)

    def _said_by(self, record: Record) -> bool:
        return record.service in self.services or record.get("service") in self.services


def concerns_connector(record: Record, number: int) -> bool:
    """Whether a record is about this connector or a device of it."""
    if str(number) not in record.line:
        return False
    device = record.get("device")
    return record.get("connector") == str(number) or device in (f"evse-{number}", f"meter-{number}")


def moment(text: str, now_s: float) -> str:
    """A time as a person gives it, as log lines have theirs: `10m` (ago; s, m, h, d), `2026-11-24T03:15` (UTC, date alone, or
    with an offset), `03:15` (the last time that it was so late, UTC). Raises ValueError with one line.

    `now_s`: Unix seconds.
    """
    given = text.strip()
    ago = _AGO.fullmatch(given)
    if ago:
        return utc_text(max(0.0, now_s - int(ago[1]) * _SECONDS[ago[2]]))
    today = datetime.fromtimestamp(now_s, UTC)
    try:
        if _CLOCK.fullmatch(given):
            found = datetime.fromisoformat(f"{today:%Y-%m-%d}T{given}+00:00")
            found -= timedelta(days=1 if found > today else 0)
        else:
            found = datetime.fromisoformat(given)
            found = found if found.tzinfo else found.replace(tzinfo=UTC)
        return utc_text(found.timestamp())
    except (ValueError, OverflowError):
        raise ValueError(f"{given[:40]!r} is no time; give 10m, 2h or 1d (ago), 03:15 or 2026-11-24T03:15 (UTC)") from None
