"""The message after the head, read and taken apart while the Central System works on the head.

Owns: when what was read ahead may stand for what is on the disk. Does not: write.
Only after MeterValues that were delivered: they change nothing of the message after them, while a StartTransaction gives it its
transactionId, a StopTransaction lets old transactions be forgotten, and a failure keeps the head.
"""

import contextlib
import sqlite3
from collections.abc import Iterable

from bus.messages import MeterValues
from services.transaction_queue import events as e
from services.transaction_queue.rows import SELECT_AFTER_HEAD, Row, decode_row


class Ahead:
    """Reads on the connection that all is written with, so that it sees each change."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._read: tuple[Row, int] | None = None
        """The message, and how many changes the connection had made by then."""

    def read(self) -> None:
        """Read the message after the oldest one; what can't be read is left to `Store.head`."""
        self._read = None
        with contextlib.suppress(sqlite3.OperationalError, ValueError):
            values = self._database.execute(SELECT_AFTER_HEAD).fetchone()
            if values is not None:
                self._read = decode_row(values), self._database.total_changes

    def take(self, effects: Iterable[e.Effect], head: Row | None) -> Row | None:
        """The head that follows `head` once these effects are written; None: it has to be read. To be asked before that."""
        read, self._read = self._read, None
        if read is None or read[1] != self._database.total_changes or head is None:
            return None
        commits = [effect for effect in effects if isinstance(effect, e.Commit)]
        delivered = len(commits) == 1 and isinstance(commits[0], e.CommitDelivered)
        return read[0] if delivered and isinstance(head.message, MeterValues) else None
