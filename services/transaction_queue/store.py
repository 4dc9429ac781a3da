"""`transactions.db`: pending messages, transactions, dead letters, boots. SQLite only; decides nothing.

Owns: the rows. Does not: commit. Everything that writes runs inside the caller's transaction, so that one commit holds all
that belongs together: the transactionId, the removal of the message, the outcome in the journal, the next message's id.

A repeated journal entry is known by `recognition.py`: its number is pending, or not above `settled_number` of its transaction,
since a transaction's messages are settled (delivered or given up) in their order. Finished transactions are remembered for that
purpose, the last FINISHED_KEPT of them. A number above it that is not pending, or in `missing`, was lost with a damaged file or
is in quarantine: such an entry fills the gap.

A message that can't be read is moved to `quarantine` as it is, by SQL alone, and never prevents the start. The journal's
publisher keeps its own copy, since no outcome is journalled. Other rows are looked at by `bus/salvage.py`, before all this.

No statement here scans a table, whatever it holds; `messages` is only counted once, at the start.
"""

import sqlite3
from typing import Any

import msgspec

from bus.messages import (
    CloseLostTransaction,
    Delivered,
    GivenUp,
    Moment,
    StartTransaction,
    StopTransaction,
    TransactionEntry,
    TransactionMessage,
)
from services.transaction_queue import arrivals, ranges, recognition, schema, times
from services.transaction_queue.breaches import Known, breaches
from services.transaction_queue.events import CommitFailed
from services.transaction_queue.rows import (
    FAILURES_MAX,
    SELECT_HEAD,
    UNIQUE_IDS_MAX,
    Failure,
    Row,
    action_of,
    decode_row,
    facts_of,
    json_text,
    open_transaction,
    text_of,
)
from services.transaction_queue.times import Boot

FINISHED_KEPT = 10_000
"""Finished transactions that are remembered, to recognise their journal entries when they come again."""
BOOTS_KEPT = 200
QUARANTINED_AT_ONCE_MAX = 1000
OFFSET_CHANGE_MS_MIN = 500
"""A smaller change of the believed clock is not worth a write."""


class Added(msgspec.Struct, frozen=True):
    """What a journal entry was: a repeated one changed nothing. `alarms`: broken rules, in plain words.

    `number`: the one that the message has here.
    """

    repeated: bool
    number: int
    alarms: tuple[str, ...] = ()
    settled: Delivered | GivenUp | None = None
    """What became of a repeated one whose message is done with; `connectors`, an older copy, does not know it any more."""
    over: bool = False
    """It is none that is here, and none to deliver: its transaction had its stop."""
    learned: bool = False
    """It told what became of its StartTransaction, which was not known here."""


class Store:
    """The queue's database. Counts and boots are kept in memory as well; after a rollback, open a new Store."""

    def __init__(self, database: sqlite3.Connection, boot_id: str) -> None:
        """Raises sqlite3.Error. `boot_id`: the hardware boot that runs now."""
        self._database = database
        self._boot_id = boot_id
        schema.ensure(database)
        self.count()
        self.lost = False
        """Rows were put into quarantine since this was last looked at."""
        self.unreadable = 0
        """Other rows that were set aside in this run."""
        self._boots = self._read_boots()

    def count(self) -> None:
        """Count what is kept, at the start and after changes by hand; else the numbers are carried on."""
        self.depth = self._count("messages")
        self.dead_letters = self._count("dead_letters")
        self.quarantined = self._count("quarantine")

    def note_unreadable(self, _: str) -> None:
        """An outcome for `connectors` was set aside: it is told again what became of all that it still keeps."""
        self.unreadable += 1
        self.lost = True

    @property
    def kept(self) -> tuple[int, int, int]:
        """Dead letters, messages in quarantine, other rows that were set aside."""
        return self.dead_letters, self.quarantined, self.unreadable

    def read_boots(self) -> None:
        """Boots were taken in by hand."""
        self._boots = self._read_boots()

    @property
    def boots(self) -> tuple[Boot, ...]:
        """Hardware boots in their order; the one that runs is the last once it is noted."""
        return self._boots

    def add(self, entry: TransactionEntry, stored_at: Moment) -> Added:
        """Store a journal entry unless it is there or was there: then only what it tells of its start may be news.

        A broken rule never refuses it.
        """
        tx = self._transaction(entry.local_tx_id)
        is_stop = isinstance(entry.message, StopTransaction)
        place = recognition.place(arrivals.here(self._database, entry, tx), entry.number, is_stop=is_stop)
        if not place.new:
            if tx is None or (is_stop and place.waits and not tx["stopped_at_all"]):
                self._note_transaction(entry, new=tx is None)
            learned = self._learn(entry, new=tx is None)
            settled = None if place.waits else arrivals.outcome(self._database, entry)
            return Added(repeated=True, number=place.number, settled=settled, over=place.over, learned=learned)
        message = entry.message
        fills_gap = tx is not None and place.number <= tx["last_number"]
        alarms = () if fills_gap else breaches(None if tx is None else _known(tx), message, stored_at)
        if place.number != entry.number:
            entry, alarms = msgspec.structs.replace(entry, number=place.number), (*alarms, recognition.RENUMBERED)
        self._note_transaction(entry, new=tx is None)
        learned = self._learn(entry, new=tx is None)
        for at in (entry.last_read_at, *times.moments(message)):
            if at is not None:
                self._note_moment(at)
        columns = {
            "local_tx_id": entry.local_tx_id,
            "number": entry.number,
            "action": action_of(message),
            "attempts": 0,
            "stored_utc": text_of(stored_at),
            "payload": json_text(message),
            "unique_ids": "[]",
            "outstanding": 0,
            "answered_on": "",
            "failures": "[]",
            "failed_boot_id": "",
            "failed_boottime_ms": 0,
            "stored_boot_id": stored_at.boot_id,
            "stored_boottime_ms": stored_at.boottime_ms,
            "alarm": "; ".join(alarms) or None,
            "correlation_id": entry.correlation_id,
        }
        marks = ", ".join("?" * len(columns))
        self._database.execute(f"INSERT INTO messages ({', '.join(columns)}) VALUES ({marks})", tuple(columns.values()))
        self.depth += 1
        return Added(repeated=False, number=entry.number, alarms=alarms, learned=learned)

    def open_transactions(self, limit: int) -> list[CloseLostTransaction]:
        """Transactions whose StartTransaction is or was here and whose StopTransaction never came, at most `limit`."""
        found = []
        for row_id, *values in self._database.execute(SELECT_OPEN, (limit,)).fetchall():
            following = self._database.execute(SELECT_NEXT, (row_id, values[1])).fetchone()
            found.append(open_transaction(tuple(values), following))
        return [one for one in found if one is not None]

    def transaction_after(self, local_tx_id: str) -> str | None:
        """The next transaction with messages that wait, in the order of their names; None: no more."""
        row = self._database.execute(NEXT_TRANSACTION, (local_tx_id,)).fetchone()
        return None if row is None else str(row[0])

    def meter_values_waiting(self, local_tx_id: str, limit: int) -> list[tuple[int, int]]:
        """(row id, number) of MeterValues that were never sent, by number, at most `limit`."""
        rows = self._database.execute(SELECT_METER_VALUES, (local_tx_id, limit)).fetchall()
        return [(int(row_id), int(number)) for row_id, number in rows]

    def remove(self, row_id: int) -> None:
        """Drop a message for want of space."""
        self._remove(row_id)

    def move_to_end(self, local_tx_id: str, number: int) -> None:
        """Put a message that was never sent behind all others: so the order becomes that in which its peer sends all again."""
        self._database.execute(MOVE_TO_END, (local_tx_id, number))

    def head(self, moved_utc: str | None) -> Row | None:
        """The oldest message that can be read; unreadable ones before it are put into quarantine (so: in a transaction)."""
        for _ in range(QUARANTINED_AT_ONCE_MAX):
            try:
                values = self._database.execute(SELECT_HEAD).fetchone()
                if values is not None:
                    return decode_row(values)
                self.depth = 0
                return None
            except sqlite3.OperationalError as error:
                if "decode" not in str(error):
                    raise
                self._set_aside(f"not text: {error}", moved_utc)
            except ValueError as error:
                self._set_aside(str(error), moved_utc)
        return None

    def mark_sending(self, row: Row, unique_id: str, *, without_id: bool = False) -> Row:
        """The message goes out under this id, kept with all before it; the first time its moments get their UTC for good."""
        message = row.message if row.unique_ids else self._date(row)
        ids = row.unique_ids if unique_id in row.unique_ids else (*row.unique_ids, unique_id)[-UNIQUE_IDS_MAX:]
        self._database.execute(
            "UPDATE messages SET unique_id = ?, unique_ids = ?, outstanding = 1, without_id = ? WHERE id = ?",
            (unique_id, json_text(ids), int(without_id), row.row_id),
        )
        return msgspec.structs.replace(row, message=message, unique_ids=ids, outstanding=True, without_id=without_id)

    def mark_delivered(self, row: Row, transaction_id: int | None, moved_utc: str | None) -> None:
        """The Central System has it.

        What went out with transactionId -1 is kept, to be queued again with all of its transaction.
        """
        if isinstance(row.message, StartTransaction):
            assert transaction_id is not None, "a StartTransaction counts as delivered only with a transactionId"
            self._database.execute(
                "UPDATE transactions SET transaction_id = ? WHERE local_tx_id = ?", (str(transaction_id), row.local_tx_id)
            )
        elif row.without_id or row.transaction_id is None:
            self._copy("delivered_without_id", row.row_id, "delivered with transactionId -1", moved_utc)
        self._settle(row)

    def mark_failed(self, row: Row, failed: CommitFailed, at: Moment) -> Row:
        """An attempt is spent; the message stays."""
        failure = Failure(text_of(at), failed.unique_id, failed.reason)
        failures = (*row.failures, failure)[-FAILURES_MAX:]
        self._database.execute(
            "UPDATE messages SET attempts = ?, last_failure = ?, failures = ?, outstanding = 0, answered_on = ?,"
            " failed_boot_id = ?, failed_boottime_ms = ? WHERE id = ?",
            (
                failed.attempts,
                failed.reason,
                json_text(failures),
                failed.answered_on,
                at.boot_id,
                at.boottime_ms,
                row.row_id,
            ),
        )
        return msgspec.structs.replace(row, attempts=failed.attempts, failures=failures, outstanding=False)

    def mark_not_sent(self, row: Row, answered_on: str) -> None:
        """No attempt is spent, but a repeat on this connection needs a new id."""
        self._database.execute("UPDATE messages SET outstanding = 0, answered_on = ? WHERE id = ?", (answered_on, row.row_id))

    def give_up(self, row: Row, reason: str, moved_utc: str | None) -> None:
        """Keep the message whole as a dead letter. Without its StartTransaction a transaction goes on with -1 (errata 3.18)."""
        self._copy("dead_letters", row.row_id, reason, moved_utc)
        self.dead_letters += 1
        if isinstance(row.message, StartTransaction):
            self._database.execute("UPDATE transactions SET given_up = 1 WHERE local_tx_id = ?", (row.local_tx_id,))
        self._settle(row)

    def adopt(self, local_tx_id: str, transaction_id: int) -> bool:
        """`connectors` knows the transactionId: the StartTransaction is answered, even if it waits here. True: this is news."""
        key = (str(transaction_id), local_tx_id)
        return self._database.execute(START_WAS_ANSWERED, key).rowcount > 0

    def offset_is_news(self, utc_offset_ms: int) -> bool:
        """Whether the believed clock of this boot differs from what is stored by more than a trifle."""
        known = self._boot(self._boot_id)
        return known is None or known.utc_offset_ms is None or abs(known.utc_offset_ms - utc_offset_ms) > OFFSET_CHANGE_MS_MIN

    def set_offset(self, utc_offset_ms: int) -> None:
        """Keep the UTC of this boot's boottime 0."""
        known = self._boot(self._boot_id) or Boot(self._boot_id)
        self._save_boot(msgspec.structs.replace(known, utc_offset_ms=utc_offset_ms, estimated=False))

    def _date(self, row: Row) -> TransactionMessage:
        """Give the message its UTC, for good, and move its transaction's anchor. Estimates are kept from the first use on."""
        dated = times.dated(row.message, self._boots, row.anchor)
        if times.needs_estimate(row.message, self._boots, self._boot_id):
            for boot in times.with_estimates(self._boots):
                if boot.estimated and boot != self._boot(boot.boot_id):
                    self._save_boot(boot)
        if dated.message != row.message:
            self._database.execute("UPDATE messages SET payload = ? WHERE id = ?", (json_text(dated.message), row.row_id))
        marks = [text for text, true in (("time estimated", dated.estimated), ("clock stepped", dated.stepped)) if true]
        if marks:
            self._database.execute(
                "UPDATE messages SET alarm = coalesce(alarm || '; ', '') || ? WHERE id = ?", ("; ".join(marks), row.row_id)
            )
        self._move_anchor(row.local_tx_id, dated.message)
        return dated.message

    def _move_anchor(self, local_tx_id: str, message: TransactionMessage) -> None:
        at = times.latest(message)
        if at is not None:
            self._set_anchor(local_tx_id, at)
        column = {StartTransaction: "started", StopTransaction: "stopped"}.get(type(message))
        if column is not None and at is not None:
            self._database.execute(f"UPDATE transactions SET {column} = ? WHERE local_tx_id = ?", (text_of(at), local_tx_id))

    def _set_anchor(self, local_tx_id: str, at: Moment) -> None:
        self._database.execute(
            "UPDATE transactions SET anchor_boot_id = ?, anchor_boottime_ms = ?, anchor_utc_ms = ? WHERE local_tx_id = ?",
            (at.boot_id, at.boottime_ms, at.utc_ms, local_tx_id),
        )

    def _transaction(self, local_tx_id: str) -> dict[str, Any] | None:
        values = self._database.execute(SELECT_TRANSACTION, (local_tx_id,)).fetchone()
        return None if values is None else dict(zip(_TRANSACTION, values, strict=True))

    def _learn(self, entry: TransactionEntry, *, new: bool) -> bool:
        """What the entry tells of its start; whether it is news. Only this store's own answer to it holds against that."""
        key, started_at, news = entry.local_tx_id, entry.started_at, False
        if entry.transaction_id is not None:
            news = self.adopt(key, entry.transaction_id)
        elif entry.start_given_up:
            news = self._database.execute(START_WAS_GIVEN_UP, (key,)).rowcount > 0
        if (new or news) and started_at is not None and started_at.utc_ms is not None:
            # It went out with this UTC, which this store has lost: what follows keeps its distance to it.
            self._note_moment(started_at)
            if self._database.execute(SELECT_ANCHOR, (key,)).fetchone() == (None,):
                self._set_anchor(key, started_at)
        return news

    def _note_transaction(self, entry: TransactionEntry, *, new: bool) -> None:
        message = entry.message
        if new:
            self._database.execute(
                "INSERT INTO transactions (local_tx_id, connector_id, given_up, last_number, settled_number)"
                " VALUES (?, ?, 0, ?, -1)",
                (entry.local_tx_id, message.connector_id, entry.number),
            )
        changes = facts_of(message)
        if isinstance(message, StartTransaction):
            changes["given_up"] = 0
        assignments = "".join(f", {name} = ?" for name in changes)
        self._database.execute(
            f"UPDATE transactions SET last_number = max(coalesce(last_number, -1), ?){assignments} WHERE local_tx_id = ?",
            (entry.number, *changes.values(), entry.local_tx_id),
        )

    def _settle(self, row: Row) -> None:
        """The message is done with. After its StopTransaction nothing more comes of a transaction; old ones are forgotten."""
        self._remove(row.row_id)
        self._note_settled(row)
        if not isinstance(row.message, StopTransaction):
            return
        self.finish(row.local_tx_id)

    def finish(self, local_tx_id: str) -> None:
        """Nothing more comes of a transaction."""
        if self._database.execute(SELECT_LETTER, (local_tx_id,)).fetchone() is not None:
            # Its dead letters may be queued again: for that its transactionId has to be known.
            return
        number = (self._database.execute(SELECT_LAST_FINISHED).fetchone()[0] or 0) + 1
        self._database.execute("UPDATE transactions SET finished_number = ? WHERE local_tx_id = ?", (number, local_tx_id))
        self._database.execute(DELETE_FINISHED, (number - FINISHED_KEPT,))

    def _note_settled(self, row: Row) -> None:
        """Numbers that were jumped over are missing here: if they ever come, they are not repeated."""
        found = self._database.execute(SELECT_SETTLED, (row.local_tx_id,)).fetchone()
        settled, missing = (None, None) if found is None else found
        before = -1 if settled is None else settled
        self._database.execute(SETTLE, (max(before, row.number), row.local_tx_id))
        gaps = ranges.decode(missing)
        now_missing = gaps if row.number <= before + 1 else ranges.added(gaps, before + 1, row.number - 1)
        now_missing = ranges.without(now_missing, row.number)
        if now_missing != gaps:
            self._database.execute(SET_MISSING, (ranges.encode(now_missing), row.local_tx_id))

    def _set_aside(self, reason: str, moved_utc: str | None) -> None:
        """Move the oldest row to quarantine. Its transaction goes on as if a StartTransaction had been given up."""
        row_id = self._database.execute("SELECT min(id) FROM messages").fetchone()[0]
        self._copy("quarantine", row_id, reason[:500], moved_utc)
        self.quarantined += 1
        self.lost = True
        self._database.execute(
            "UPDATE transactions SET given_up = 1 WHERE transaction_id IS NULL AND local_tx_id ="
            " (SELECT local_tx_id FROM messages WHERE id = ? AND number = 0)",
            (row_id,),
        )
        self._remove(row_id)

    def _copy(self, table: str, row_id: int, reason: str, moved_utc: str | None) -> None:
        columns = ", ".join(schema.MESSAGE_COLUMNS)
        self._database.execute(
            f"INSERT INTO {table} ({columns}, reason, moved_utc) SELECT {columns}, ?, ? FROM messages WHERE id = ?",
            (reason, moved_utc, row_id),
        )

    def _remove(self, row_id: int) -> None:
        self._database.execute("DELETE FROM messages WHERE id = ?", (row_id,))
        self.depth -= 1

    def _count(self, table: str) -> int:
        return int(self._database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    def _boot(self, boot_id: str) -> Boot | None:
        return next((boot for boot in self._boots if boot.boot_id == boot_id), None)

    def _note_moment(self, at: Moment) -> None:
        """A moment tells its boot's offset, if it has its UTC; else how long that boot lasted at least."""
        known = self._boot(at.boot_id)
        boot = known or Boot(at.boot_id)
        if at.utc_ms is not None and (boot.utc_offset_ms is None or boot.estimated):
            boot = msgspec.structs.replace(boot, utc_offset_ms=at.utc_ms - at.boottime_ms, estimated=False)
        if (boot.utc_offset_ms is None or boot.estimated) and at.boottime_ms > boot.last_boottime_ms:
            boot = msgspec.structs.replace(boot, last_boottime_ms=at.boottime_ms)
        if boot != known:
            self._save_boot(boot)

    def _save_boot(self, boot: Boot) -> None:
        """A boot that is new is later than all others but the one that runs."""
        boots = [boot if known.boot_id == boot.boot_id else known for known in self._boots]
        if boot not in boots:
            boots.append(boot)
        boots.sort(key=lambda b: b.boot_id == self._boot_id)
        self._boots = tuple(boots[-BOOTS_KEPT:])
        for gone in boots[:-BOOTS_KEPT]:
            self._database.execute("DELETE FROM boots WHERE boot_id = ?", (gone.boot_id,))
        row = self._database.execute("SELECT max(position) FROM boots").fetchone()
        next_position = (row[0] or 0) + 1
        self._database.execute(
            "INSERT INTO boots (boot_id, position, utc_offset_ms, estimated, last_boottime_ms) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (boot_id) DO UPDATE SET utc_offset_ms = excluded.utc_offset_ms, estimated = excluded.estimated,"
            " last_boottime_ms = excluded.last_boottime_ms",
            (boot.boot_id, next_position, boot.utc_offset_ms, int(boot.estimated), boot.last_boottime_ms),
        )
        self._database.execute(
            "UPDATE boots SET position = ? WHERE boot_id = ? AND position < ?",
            (next_position + 1, self._boot_id, next_position),
        )

    def _read_boots(self) -> tuple[Boot, ...]:
        rows = self._database.execute(
            "SELECT boot_id, utc_offset_ms, last_boottime_ms, estimated FROM boots ORDER BY boot_id = ?, position",
            (self._boot_id,),
        ).fetchall()
        return tuple(Boot(str(row[0]), row[1], row[2] or 0, bool(row[3])) for row in rows)


SELECT_ANCHOR = "SELECT anchor_boot_id FROM transactions WHERE local_tx_id = ?"
START_WAS_ANSWERED = "UPDATE transactions SET transaction_id = ? WHERE local_tx_id = ? AND transaction_id IS NULL"
START_WAS_GIVEN_UP = "UPDATE transactions SET given_up = 1 WHERE local_tx_id = ? AND transaction_id IS NULL AND given_up = 0"
"""As `connectors` tells a store that has lost that. NULL: a person had it queued again since, and `connectors` is not told."""
SELECT_OPEN = (
    "SELECT rowid, local_tx_id, connector_id, id_tag, start_boot_id, start_boottime_ms, start_utc_ms, meter_start_wh, last_wh,"
    " last_boot_id, last_boottime_ms, last_utc_ms, last_number, transaction_id, taken_in FROM transactions"
    " WHERE stop_reason IS NULL AND start_boot_id IS NOT NULL AND finished_number IS NULL LIMIT ?"
)
SELECT_NEXT = (
    "SELECT meter_start_wh, start_boot_id, start_boottime_ms, start_utc_ms FROM transactions"
    " WHERE rowid > ? AND connector_id = ? AND start_boot_id IS NOT NULL ORDER BY rowid LIMIT 1"
)
NEXT_TRANSACTION = "SELECT local_tx_id FROM messages WHERE local_tx_id > ? ORDER BY local_tx_id LIMIT 1"
SELECT_METER_VALUES = (
    "SELECT id, number FROM messages WHERE local_tx_id = ? AND action = 'MeterValues' AND unique_ids = '[]'"
    " ORDER BY number LIMIT ?"
)
MOVE_BEHIND = "UPDATE messages SET id = (SELECT max(id) + 1 FROM messages) WHERE local_tx_id = ? AND number = ?"
MOVE_TO_END = f"{MOVE_BEHIND} AND unique_ids = '[]'"
SELECT_SETTLED = "SELECT settled_number, missing FROM transactions WHERE local_tx_id = ?"
SETTLE = "UPDATE transactions SET settled_number = ? WHERE local_tx_id = ?"
SET_MISSING = "UPDATE transactions SET missing = ? WHERE local_tx_id = ?"
SELECT_LETTER = "SELECT 1 FROM dead_letters WHERE local_tx_id = ? LIMIT 1"
SELECT_LAST_FINISHED = "SELECT max(finished_number) FROM transactions"
DELETE_FINISHED = "DELETE FROM transactions WHERE finished_number <= ?"
_START = ("meter_start_wh", "start_boot_id", "start_boottime_ms", "start_utc_ms")
_TRANSACTION = ("last_number", "settled_number", "missing", "stopped_at_all", *_START)
SELECT_TRANSACTION = (
    "SELECT coalesce(last_number, settled_number, -1), settled_number, missing,"
    f" stop_reason IS NOT NULL OR finished_number IS NOT NULL, {', '.join(_START)}"
    " FROM transactions WHERE local_tx_id = ?"
)


def _known(tx: dict[str, Any]) -> Known:
    started_at = None
    if tx["start_boot_id"] is not None:
        started_at = Moment(tx["start_boot_id"], tx["start_boottime_ms"], tx["start_utc_ms"])
    return Known(started_at=started_at, meter_start_wh=tx["meter_start_wh"], stopped=bool(tx["stopped_at_all"]))
