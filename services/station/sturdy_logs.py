"""supervisord's log files never end supervisord: for the plug-in, which loads it.

supervisord 4.3.0 writes the logs of all its children. Where a file can't be written, it prints a traceback; where that can't be
written either, as on a full disk, the exception ends supervisord, and the whole station with it. A rotation that fails half-way
closes the child's channel for good.
Owns: making such a line a lost line, and opening the file again once that is possible. Does not: tell of it.
"""

from typing import Any

from supervisor import loggers


def make_sturdy() -> None:
    """From now on no log file raises anything."""
    emit = loggers.RotatingFileHandler.emit

    def emit_if_possible(handler: Any, record: Any) -> None:
        try:
            if handler.stream.closed:
                handler.stream = open(handler.baseFilename, handler.mode)  # noqa: SIM115 - it stays open
            emit(handler, record)
        except (OSError, ValueError):
            pass  # The disk is full or read-only, and that is told by those who look at it (`bus/disk.py`).

    loggers.RotatingFileHandler.emit = emit_if_possible
    loggers.Handler.handleError = lambda _: None
