"""Given-up messages that the Central System has after all: its answer came late, on the connection that they were sent on.

By which unique ids a message was sent is kept beside it as JSON; `given_up_ids` says it the other way round, of the last
IDS_KEPT only: the link takes late answers of the present connection, and remembers no more than 16 calls of it. An id tells
the message and no row, and the row must know the id, so that letters which were imported meanwhile, or go again as another
message, mislead nobody. One that waits again is settled where it waits, and is not sent a second time; so is one that waited
for its retry when a person's command put it behind others.

Owns: `given_up_ids`, and how such a message ends as delivered. Does not: commit, or decide (`core.py`).
"""

import sqlite3
from collections.abc import Sequence

from bus.messages import Delivered, DeliveryReport
from services.transaction_queue import schema
from services.transaction_queue.rows import Row, json_text
from services.transaction_queue.state import Head, Letter
from services.transaction_queue.store import Store

IDS_KEPT = 1000
DEAD_LETTERS, WAITING = "dead_letters", "messages"
IDS_OF_A_MESSAGE = 32
"""Its last ones; a Central System that refuses it for weeks leaves a thousand."""


class Letters:
    """In the database of `store`, within the caller's transaction."""

    def __init__(self, database: sqlite3.Connection, store: Store) -> None:
        self._database = database
        self._store = store

    def given_up(self, row: Row) -> None:
        """The message is a dead letter from now on."""
        note_ids(self._database, row.local_tx_id, row.number, row.unique_ids)

    def about(self, report: DeliveryReport, head: Head | None) -> Letter | None:
        """What was given up and is delivered after all by this report; None: it is about the head, or tells nothing new."""
        if not isinstance(report.outcome, Delivered) or (head is not None and report.unique_id in head.unique_ids):
            return None
        key = self._database.execute(SELECT_BY_ID, (report.unique_id,)).fetchone()
        if key is None:
            return None
        for table in (DEAD_LETTERS, WAITING):
            found = self._database.execute(SELECT_SENT.format(table), key).fetchone()
            if found is None:
                continue
            row_id, action, without_id, correlation_id, unique_ids = found
            if json_text(report.unique_id).encode() in (unique_ids or b""):
                name = (correlation_id or b"").decode(errors="replace")
                return Letter(row_id, key[0], key[1], action, bool(without_id), name, waits=table == WAITING)
        return None

    def settle(self, letter: Letter, delivered: Delivered, moved_utc: str | None) -> int:
        """The Central System has it; how many messages of its transaction had gone out with -1 before its start's answer."""
        if letter.is_start:
            assert delivered.transaction_id is not None, "a StartTransaction counts as delivered only with a transactionId"
            self._database.execute(SET_TRANSACTION_ID, (str(delivered.transaction_id), letter.local_tx_id))
        elif letter.without_id:
            columns, table = ", ".join(schema.MESSAGE_COLUMNS), WAITING if letter.waits else DEAD_LETTERS
            self._database.execute(
                f"INSERT INTO delivered_without_id ({columns}, reason, moved_utc)"
                f" SELECT {columns}, ?, ? FROM {table} WHERE id = ?",
                ("delivered with transactionId -1, late", moved_utc, letter.row_id),
            )
        self._remove(letter)
        if self._database.execute(SELECT_IS_OVER, (letter.local_tx_id,)).fetchone() is not None:
            self._store.finish(letter.local_tx_id)
        if not letter.is_start:
            return 0
        counts = (self._database.execute(query, (letter.local_tx_id,)).fetchone()[0] for query in COUNT_WITHOUT_ID)
        return sum(int(count) for count in counts)

    def _remove(self, letter: Letter) -> None:
        if letter.waits:
            self._store.remove(letter.row_id)
            return
        self._database.execute(DELETE_LETTER, (letter.row_id,))
        self._store.dead_letters -= 1


def note_ids(database: sqlite3.Connection, local_tx_id: str, number: int, unique_ids: Sequence[str]) -> None:
    """The message is the head no more: note the ids that an answer may bear yet."""
    if not unique_ids:
        return
    database.executemany(NOTE_ID, [(unique_id, local_tx_id, number) for unique_id in unique_ids[-IDS_OF_A_MESSAGE:]])
    database.execute(FORGET_IDS, (IDS_KEPT,))


NOTE_ID = "INSERT OR REPLACE INTO given_up_ids (unique_id, local_tx_id, number) VALUES (?, ?, ?)"
FORGET_IDS = "DELETE FROM given_up_ids WHERE rowid <= (SELECT max(rowid) FROM given_up_ids) - ?"
SELECT_BY_ID = "SELECT local_tx_id, number FROM given_up_ids WHERE unique_id = ?"
SELECT_SENT = (
    "SELECT id, action, without_id, CAST(correlation_id AS BLOB), CAST(unique_ids AS BLOB) FROM {}"
    " WHERE local_tx_id = ? AND number = ? ORDER BY id DESC LIMIT 1"
)
SET_TRANSACTION_ID = "UPDATE transactions SET transaction_id = ?, given_up = 0 WHERE local_tx_id = ?"
DELETE_LETTER = "DELETE FROM dead_letters WHERE id = ?"
SELECT_IS_OVER = (
    "SELECT 1 FROM transactions AS t WHERE t.local_tx_id = ? AND t.stop_reason IS NOT NULL AND t.finished_number IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM messages AS m WHERE m.local_tx_id = t.local_tx_id)"
)
COUNT_WITHOUT_ID = (
    "SELECT count(*) FROM delivered_without_id WHERE local_tx_id = ?",
    "SELECT count(*) FROM messages WHERE local_tx_id = ? AND without_id = 1",
    "SELECT count(*) FROM dead_letters WHERE local_tx_id = ? AND without_id = 1",
)
