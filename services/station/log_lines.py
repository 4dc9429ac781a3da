"""Log lines of several services in one order. Pure: text in, records out.

Owns: what belongs to one record, the order of time, the filter by level. Does not: open files (`log_reader.py`).
"""

import heapq
import json
import re
from collections.abc import Iterable, Iterator

import msgspec

from bus import logs

LEVELS = ("debug", "info", "warning", "error")
_SUPERVISORD = "supervisord"
_SUPERVISORD_LINE = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d),(\d{3}) ([A-Z]{4}) (.*)")
_SUPERVISORD_LEVELS = {"CRIT": "error", "ERRO": "error", "WARN": "warning", "INFO": "info"}
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")
_HARMLESS = "running without any HTTP authentication checking"
"""supervisord calls it critical; its socket lies in a directory that only the station's user can enter."""


class Record(msgspec.Struct):
    """One event: its line, and the lines after it that are not ours (what a program printed while it died)."""

    ts: str
    service: str
    line: str
    more: list[str] = []

    def level(self) -> str:
        """Its level; what cannot be read counts as an error, so that no filter hides it."""
        fields = self._fields()
        return "error" if fields is None else fields.get("level", "error")

    def text(self) -> str:
        """As `station logs` prints it."""
        line = self.line if self.ts else f"{self.service}: {self.line}"
        return "\n".join([line, *(f"    {self.service}: {line}" for line in self.more)])

    def json(self) -> str:
        """As `station logs --json` prints it: one object in one line."""
        fields = self._fields()
        shown: dict[str, object] = {"service": self.service, "text": self.line} if fields is None else {**fields}
        if self.more:
            shown["more"] = self.more
        return json.dumps(shown, ensure_ascii=False)

    def _fields(self) -> dict[str, str] | None:
        try:
            return logs.parse(self.line)
        except ValueError:
            return None


def records(service: str, lines: Iterable[str]) -> Iterator[Record]:
    """The records of one service's log, in its own order. A line that is not ours stays with the one before it."""
    current: Record | None = None
    for raw in lines:
        line = raw.rstrip("\n")
        if service == _SUPERVISORD:
            line = _translated(line)
        if _STAMP.match(line):
            if current is not None:
                yield current
            current = Record(line[:24], service, line)
        elif current is None:
            current = Record("", service, line)
        elif line:
            current.more.append(line)
    if current is not None:
        yield current


def merged(sources: Iterable[Iterable[Record]], *, level: str | None = None) -> Iterator[Record]:
    """All records in the order of time; within a service its own order, even where the clock was set back."""
    wanted = None if level is None else frozenset(LEVELS[LEVELS.index(level) :])
    for record in heapq.merge(*sources, key=lambda record: record.ts):
        if wanted is None or record.level() in wanted:
            yield record


def _translated(line: str) -> str:
    """supervisord's own form of a line, in ours; `station run` gives it UTC."""
    match = _SUPERVISORD_LINE.fullmatch(line)
    if match is None:
        return line
    day, clock, ms, level, event = match.groups()
    word = "debug" if event.endswith(_HARMLESS) else _SUPERVISORD_LEVELS.get(level, "debug")
    return f"{day}T{clock}.{ms}Z {logs.line({'level': word, 'service': _SUPERVISORD, 'event': event})}"
