"""Log lines of several services in one order. Pure: text in, records out.

Owns: what belongs to one record, the order of time. Does not: open files (`log_files.py`), choose (`log_filter.py`), or lay out
for a narrow screen (`log_text.py`).
"""

import heapq
import json
import re
from collections.abc import Iterable, Iterator

from bus.logs import line as logfmt
from bus.logs import parse

LEVELS = ("debug", "info", "warning", "error")
SUPERVISORD = "supervisord"
_SUPERVISORD_LINE = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d),(\d{3}) ([A-Z]{4}) (.*)")
_SUPERVISORD_LEVELS = {"CRIT": "error", "ERRO": "error", "WARN": "warning", "INFO": "info"}
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", re.ASCII)
_LEVEL = re.compile(r" level=(debug|info|warning|error) ")
_HARMLESS = "running without any HTTP authentication checking"
"""supervisord calls it critical; its socket lies in a directory that only the station's user can enter."""
_MORE_MAX = 200
"""Lines kept of what a program printed while it died."""


class Record:
    """One event: its line, and the lines after it that are not ours. `service`: whose log it stood in."""

    __slots__ = ("_fields", "line", "more", "service", "ts")

    def __init__(self, ts: str, service: str, line: str) -> None:
        self.ts, self.service, self.line = ts, service, line
        self.more: list[str] = []
        self._fields: dict[str, str] | str | None = ""

    def level(self) -> str:
        """Its level; what cannot be read counts as an error, so that no filter hides it."""
        # Nearly every line begins so; to take them all apart would cost a second for each few thousand of them.
        found = _LEVEL.match(self.line, 24)
        if found is not None:
            return found[1]
        fields = self.fields()
        return "error" if fields is None else fields.get("level", "error")

    def fields(self) -> dict[str, str] | None:
        """What the line says; None if it is not one of ours."""
        if isinstance(self._fields, str):
            try:
                self._fields = parse(self.line)
            except ValueError:
                self._fields = None
        return self._fields

    def get(self, name: str) -> str:
        """One field; empty where there is none."""
        return (self.fields() or {}).get(name, "")

    def text(self) -> str:
        """As it stands in the log."""
        line = self.line if self.ts else f"{self.service}: {self.line}"
        return "\n".join([line, *self.more_lines()])

    def more_lines(self) -> list[str]:
        """What was printed beside it."""
        return [f"    {self.service}: {line}" for line in self.more]

    def json(self) -> str:
        """As `station logs --json` prints it: one object in one line."""
        fields = self.fields()
        shown: dict[str, object] = {"service": self.service, "text": self.line} if fields is None else {**fields}
        if self.more:
            shown["more"] = self.more
        return json.dumps(shown, ensure_ascii=False)


def records(service: str, lines: Iterable[str]) -> Iterator[Record]:
    """The records of one service's log, in its own order. A line that is not ours stays with the one before it."""
    current: Record | None = None
    for raw in lines:
        line = raw.rstrip("\n")
        if service == SUPERVISORD:
            line = _translated(line)
        if _STAMP.match(line):
            if current is not None:
                yield current
            current = Record(line[:24], service, line)
        elif current is None:
            current = Record("", service, line)
        elif line and len(current.more) < _MORE_MAX:
            current.more.append(line)
    if current is not None:
        yield current


def merged(sources: Iterable[Iterable[Record]]) -> Iterator[Record]:
    """All records in the order of time; within a service its own order, even where the clock was set back."""
    return heapq.merge(*sources, key=lambda record: record.ts)


def _translated(line: str) -> str:
    """supervisord's own form of a line, in ours; `station run` gives it UTC."""
    match = _SUPERVISORD_LINE.fullmatch(line)
    if match is None:
        return line
    day, clock, ms, level, event = match.groups()
    word = "debug" if event.endswith(_HARMLESS) else _SUPERVISORD_LEVELS.get(level, "debug")
    return f"{day}T{clock}.{ms}Z {logfmt({'level': word, 'service': SUPERVISORD, 'event': event})}"
