"""Log lines: logfmt, one line one event, UTC milliseconds, strictly parseable.

`2026-11-24T03:15:00.123Z level=info service=meter event="meter answers" port=ttyUSB0 model=SDM630`

A line that happened again and again is written once more, with `times=N since=<time of the first of them>` (`folding.py`).
Owns: the line format (writing and reading it back). Does not: decide where lines go; supervisord collects standard
error and rotates it.
"""

import logging
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Protocol

from bus.clock import boottime_s
from bus.folding import Fold, Folded

_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/@+,%^~;()[]{}<>|*#!?$&")
_LEVELS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warning", "ERROR": "error", "CRITICAL": "error"}
_VALUE_CHARS_MAX = 4000


class Logger:
    """Writes events of one service: `log.info("meter answers", port=port)`. Fields whose value is None are left out."""

    def __init__(self, service: str) -> None:
        self._logger = logging.getLogger(service)

    def debug(self, event: str, **fields: Any) -> None:
        """For a developer: frames, decisions. Off in the field unless asked for."""
        self._logger.debug(event, extra={"fields": fields})

    def info(self, event: str, *, ago_s: float = 0.0, **fields: Any) -> None:
        """Changes of state and facts about money. `ago_s`: how long ago it was, if nobody had time to write it down then."""
        self._logger.info(event, extra={"fields": fields, "ago_s": ago_s})

    def warning(self, event: str, **fields: Any) -> None:
        """Something is wrong and the station copes."""
        self._logger.warning(event, extra={"fields": fields})

    def error(self, event: str, **fields: Any) -> None:
        """Something is wrong and a person should act."""
        self._logger.error(event, extra={"fields": fields})

    def quiet(self, event: str, key: str, *, ago_s: float = 0.0, **fields: Any) -> None:
        """What is normal while nothing happens: it is counted by `key`, and written before the next other line."""
        self._logger.info(event, extra={"fields": fields, "ago_s": ago_s, "quiet": key})


def logger(service: str) -> Logger:
    """The logger of `service`."""
    return Logger(service)


class LogfmtFormatter(logging.Formatter):
    """Formats a record as one logfmt line; a traceback becomes one quoted field."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record, without line feed."""
        fields: dict[str, Any] = {
            "level": _LEVELS.get(record.levelname, record.levelname.lower()),
            "service": self._service,
            "event": record.getMessage(),
        }
        fields.update(getattr(record, "fields", {}))
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return f"{utc_text(_happened_s(record))} {line(fields)}"


class Stream(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object:
        """Write whole lines."""

    def flush(self) -> object:
        """Let them be seen."""


class FoldingHandler(logging.Handler):
    """Writes lines, repeated ones folded. logging closes it at the end of the process: then what is held is written."""

    def __init__(self, stream: Stream, service: str) -> None:
        super().__init__()
        self._stream = stream
        self._format = LogfmtFormatter(service)
        self._fold: Fold[logging.LogRecord] = Fold()

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record. The lock of logging is held, so threads don't meet here."""
        quiet: str | None = getattr(record, "quiet", None)
        if quiet is not None:
            self._write(self._fold.take_quiet(record, quiet, boottime_s()))
            return
        fields = getattr(record, "fields", {})
        # An answer that is refused again and again is one line with a count, though each has an id of its own.
        said = {name: value for name, value in fields.items() if name != "unique_id"}
        identity = None if record.exc_info else (record.levelno, record.getMessage(), said)
        self._write(self._fold.take(record, identity, boottime_s(), urgent=record.levelno >= logging.WARNING))

    def close(self) -> None:
        """Write what is held; nothing is to come after it."""
        self.acquire()
        try:
            self._write(self._fold.flush())
        finally:
            self.release()
        super().close()

    def _write(self, lines: list[Folded[logging.LogRecord]]) -> None:
        if not lines:
            return
        try:
            self._stream.write("".join(f"{self._line(one)}\n" for one in lines))
            self._stream.flush()
        except (OSError, ValueError):
            self.handleError(lines[-1].last)

    def _line(self, folded: Folded[logging.LogRecord]) -> str:
        text = self._format.format(folded.last)
        if folded.times == 1:
            return text
        return f"{text} times={folded.times} since={utc_text(_happened_s(folded.first))}"


def set_up(service: str, *, level: str = "INFO") -> None:
    """Send the root logger's lines to standard error in our format. Called once, at the start of a process.

    What somebody prints (a driver from outside) goes there too: standard output may be a log of its own (`own_log`).
    """
    sys.stdout = sys.stderr
    # Nothing of it is in our lines, and it is half of what a line costs (Python's logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = FoldingHandler(sys.stderr, service)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)


def own_log(name: str, service: str, stream: Stream) -> Logger:
    """A log beside that of the service, with lines and a place of its own."""
    own = logging.getLogger(name)
    own.handlers[:] = [FoldingHandler(stream, service)]
    own.setLevel(logging.INFO)
    own.propagate = False
    return Logger(name)


def log_traceback(service: str) -> None:
    """The exception being handled, as one log line of its own, for a developer."""
    logging.getLogger(service).error("traceback of the error above", exc_info=True)


def _happened_s(record: logging.LogRecord) -> float:
    ago_s: float = getattr(record, "ago_s", 0.0)
    return record.created - ago_s


def utc_text(unix_s: float) -> str:
    """`unix_s` as ISO 8601 in UTC with milliseconds and Z, as OCPP wants it too (OCPP 1.6 §3.13, OCPP-J 1.6 §4)."""
    seconds, ms = divmod(round(unix_s * 1000), 1000)
    return f"{_second_text(seconds)}.{ms:03d}Z"


@lru_cache(maxsize=4)
def _second_text(unix_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))


def line(fields: dict[str, Any]) -> str:
    """`fields` as `key=value` pairs, quoted where needed; None values are left out."""
    return " ".join(f"{key}={_value(value)}" for key, value in fields.items() if value is not None)


def parse(text: str) -> dict[str, str]:
    """The fields of one log line, its time under `ts`. Raises ValueError on a line that is not ours."""
    stamp, _, rest = text.rstrip("\n").partition(" ")
    if len(stamp) != 24 or not stamp.endswith("Z"):
        raise ValueError(f"no UTC time at the start of the line: {text[:60]!r}")
    return {"ts": stamp, **dict(_pairs(rest))}


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        value = f"{value:.3f}".rstrip("0").rstrip(".")
    text = str(value)
    if len(text) > _VALUE_CHARS_MAX:
        text = text[:_VALUE_CHARS_MAX] + "…"
    if text and _BARE.issuperset(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    if escaped.isprintable():
        return f'"{escaped}"'
    escaped = escaped.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    return '"' + "".join(char if char.isprintable() else _escape(char) for char in escaped) + '"'


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text):
        equals = text.find("=", position)
        if equals < 0:
            raise ValueError(f"no '=' in {text[position:]!r}")
        key = text[position:equals].strip()
        if text[equals + 1 : equals + 2] == '"':
            value, position = _quoted(text, equals + 2)
        else:
            end = text.find(" ", equals)
            end = len(text) if end < 0 else end
            value, position = text[equals + 1 : end], end + 1
        yield key, value


_ESCAPE_DIGITS = {"u": 4, "U": 8}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


def _quoted(text: str, start: int) -> tuple[str, int]:
    out: list[str] = []
    position = start
    while position < len(text):
        char = text[position]
        if char == '"':
            return "".join(out), position + 2
        if char == "\\":
            position += 1
            escape = text[position : position + 1]
            digits = _ESCAPE_DIGITS.get(escape)
            if digits is not None:
                out.append(_char(text[position + 1 : position + 1 + digits], digits))
                position += digits
            else:
                out.append(_ESCAPES.get(escape, escape))
        else:
            out.append(char)
        position += 1
    raise ValueError("a quoted value does not end")


def _char(digits: str, expected: int) -> str:
    code = int(digits, 16) if len(digits) == expected and digits.isalnum() else -1
    if not 0 <= code <= sys.maxunicode:
        raise ValueError(f"{digits!r} is no character")
    return chr(code)
