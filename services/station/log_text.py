"""Log records for a narrow screen: the time of day, who, what, and what goes with it. Pure.

    03:15:00.123 connectors: card accepted, the Central System says so  connector=1 id_tag=04A1…D4
    03:15:00.180 ! meter: does not answer  device=meter-1
    03:15:00.210 → StartTransaction {"connectorId":1,…}

Owns: words and order of that form; `!` is a warning, `!!` an error, `→` a frame that was sent, `←` one that came. Does not:
choose what is shown. Who wants every field takes the log's own form or JSON.
"""

from collections.abc import Iterator

from bus.logs import line as logfmt
from services.station.log_lines import Record
from services.station.programs import FRAMES

_MARKS = {"warning": "! ", "error": "!! "}
_SAID = ("event", "action", "what", "detail", "reason")
_IN_FRONT = ("ts", "level", "service", "times", "since", *_SAID)
_FOR_MACHINES = ("unique_id", "correlation_id", "number", "pid", "version", "bytes")
_FRAME_CHARS_MAX = 160
_ARROWS = {"frame sent": "→", "frame received": "←"}


class Days:
    """Lines of a screen; a day stands before its first record. Keeps the day."""

    def __init__(self, hidden: frozenset[str] = frozenset()) -> None:
        """`hidden`: fields that are known from a head line."""
        self._day = ""
        self._hidden = hidden

    def lines(self, record: Record) -> Iterator[str]:
        """What one record adds to the screen."""
        if record.ts and record.ts[:10] != self._day:
            self._day = record.ts[:10]
            yield f"-- {self._day} UTC"
        yield short(record, self._hidden)
        yield from record.more_lines()


def short(record: Record, hidden: frozenset[str] = frozenset()) -> str:
    """One record in one line, without the day."""
    fields = record.fields()
    if fields is None:
        return (
            f"{record.ts[11:23]} !! {record.service}: {record.line[25:]}" if record.ts else f"{record.service}: {record.line}"
        )
    if record.service == FRAMES and fields.get("event") in _ARROWS:
        return f"{record.ts[11:23]} {_frame(fields)}"
    mark = _MARKS.get(record.level(), "")
    said = ", ".join(fields[name] for name in _SAID if fields.get(name))
    words = [f"{record.ts[11:23]} {mark}{fields.get('service', record.service)}: {said}{_folded(fields)}"]
    rest = {name: value for name, value in fields.items() if name not in (*_IN_FRONT, *_FOR_MACHINES) and name not in hidden}
    return "  ".join([*words, *([logfmt(rest)] if rest else [])])


def _folded(fields: dict[str, str]) -> str:
    if "times" not in fields:
        return ""
    since = f" since {fields['since'][11:19]}" if fields.get("since") else ""
    return f" ({fields['times']} times{since})"


def _frame(fields: dict[str, str]) -> str:
    kind, text = fields.get("kind", ""), fields.get("frame", "")
    answer = "" if kind == "CALL" else f" {kind}" if kind == "CALLERROR" else " answered"
    took = f" in {fields['latency_ms']} ms" if fields.get("latency_ms") else ""
    shown = _payload(text)
    shown = shown if len(shown) <= _FRAME_CHARS_MAX else shown[:_FRAME_CHARS_MAX] + "…"
    return f"{_ARROWS[fields['event']]} {fields.get('action') or 'frame'}{answer}{took}{_folded(fields)} {shown}".rstrip()


def _payload(text: str) -> str:
    """The payload of a frame: the rest tells the line already."""
    start = text.find("{")
    return text[start:].removesuffix("]") if text.startswith("[") and start > 0 else text
