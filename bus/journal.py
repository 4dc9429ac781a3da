"""The journal: in order, effectively once, across a crash of either side at any instruction (design §3).

Theory of operation. The publisher appends an entry to its `Outbox` in the same database transaction as the change that
it tells of, commits, then sends. The consumer's `Inbox` notes the entry's number in the same transaction as what it
makes of it, commits, then publishes its `JournalPosition`, which is the acknowledgement. Positions are a state topic, so
after any restart, of either side or of the broker, the publisher learns what was last stored and goes on from there.

Entries carry the number of the entry kept before them: a consumer takes only what follows what it has. Numbers belong to
a store and an incarnation of its stream. A publisher that hears of numbers above its own was restored from a copy: it
begins a new incarnation and sends again all that it keeps. A consumer that lost its store says so by a new store id and
gets all that is kept. So consumers recognise repeated entries by what is in them as well (local_tx_id and number).

Owns: the tables `journal_out`, `journal_stream`, `journal_in`. Does not: commit (`append`, `accept`, `forget` belong into
the caller's transaction), move bytes or read a clock.
"""

import secrets
import sqlite3
from enum import Enum

import msgspec

from bus.codec import JournalHeader
from bus.database import store_id, transaction
from bus.messages import JournalPosition, Message

WINDOW = 64
"""Entries sent ahead of the consumer's acknowledgement."""
RESEND_S = 1.0
"""Silence of a live consumer after which unacknowledged entries are sent again."""


class OutEntry(msgspec.Struct, frozen=True):
    """An entry of the outbox and its place in the stream."""

    seq: int
    previous: int
    payload: bytes


class Outbox:
    """The publisher's side of one stream, kept in the publisher's own database; payloads are JSON that a person can read."""

    def __init__(self, database: sqlite3.Connection, stream: str) -> None:
        self._database = database
        self._stream = stream
        self.store = store_id(database)
        with transaction(database):
            database.execute(
                "CREATE TABLE IF NOT EXISTS journal_stream"
                " (stream TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, last_seq INTEGER NOT NULL)"
            )
            database.execute(
                "CREATE TABLE IF NOT EXISTS journal_out"
                " (stream TEXT NOT NULL, seq INTEGER NOT NULL, payload TEXT NOT NULL, name TEXT NOT NULL DEFAULT '',"
                " PRIMARY KEY (stream, seq))"
            )
            database.execute("CREATE INDEX IF NOT EXISTS journal_out_by_name ON journal_out (stream, name)")
            database.execute("INSERT OR IGNORE INTO journal_stream VALUES (?, 1, 0)", (stream,))

    @property
    def incarnation(self) -> int:
        """Of the stream; a new one begins when the store was found to be a copy."""
        return self._row()[0]

    @property
    def last_seq(self) -> int:
        """Number of the newest entry ever appended in this incarnation; 0: none."""
        return self._row()[1]

    def append(self, entry: Message, name: str = "") -> int:
        """Add an entry inside the caller's transaction; its number. `name` finds it again whatever its number becomes."""
        seq = self.last_seq + 1
        payload = msgspec.json.encode(entry).decode()
        self._database.execute(
            "INSERT INTO journal_out (stream, seq, payload, name) VALUES (?, ?, ?, ?)", (self._stream, seq, payload, name)
        )
        self._database.execute("UPDATE journal_stream SET last_seq = ? WHERE stream = ?", (seq, self._stream))
        return seq

    def after(self, seq: int, limit: int) -> list[OutEntry]:
        """At most `limit` kept entries with numbers above `seq`, oldest first."""
        rows = self._database.execute(
            "SELECT seq, payload FROM journal_out WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?",
            (self._stream, seq, limit),
        ).fetchall()
        before = self._database.execute(
            "SELECT max(seq) FROM journal_out WHERE stream = ? AND seq <= ?", (self._stream, seq)
        ).fetchone()[0]
        previous = before or 0
        entries = []
        for row_seq, payload in rows:
            entries.append(OutEntry(row_seq, previous, payload.encode()))
            previous = row_seq
        return entries

    def forget_named(self, name: str) -> None:
        """Drop the entry of this name inside the caller's transaction: its purpose is fulfilled."""
        self._database.execute("DELETE FROM journal_out WHERE stream = ? AND name = ?", (self._stream, name))

    def forget_through(self, seq: int) -> None:
        """Drop all entries up to `seq` inside the caller's transaction."""
        self._database.execute("DELETE FROM journal_out WHERE stream = ? AND seq <= ?", (self._stream, seq))

    def begin_incarnation(self) -> None:
        """Number the kept entries anew, in order, under a new incarnation (commits by itself).

        Choice: incarnations are random, so that a copy restored twice does not begin the same one twice.
        """
        with transaction(self._database):
            kept = self._database.execute(
                "SELECT seq FROM journal_out WHERE stream = ? ORDER BY seq", (self._stream,)
            ).fetchall()
            for new_seq, (old_seq,) in enumerate(kept, start=1):
                self._database.execute(
                    "UPDATE journal_out SET seq = ? WHERE stream = ? AND seq = ?", (new_seq, self._stream, old_seq)
                )
            self._database.execute(
                "UPDATE journal_stream SET incarnation = ?, last_seq = ? WHERE stream = ?",
                (secrets.randbits(62), len(kept), self._stream),
            )

    def _row(self) -> tuple[int, int]:
        row: tuple[int, int] = self._database.execute(
            "SELECT incarnation, last_seq FROM journal_stream WHERE stream = ?", (self._stream,)
        ).fetchone()
        return row


class Verdict(Enum):
    """What an arriving entry is to the consumer."""

    NEW = "new"
    REPEATED = "repeated"
    MISSING = "missing"


class Inbox:
    """The consumer's side of one stream, kept in the consumer's own database."""

    def __init__(self, database: sqlite3.Connection, stream: str) -> None:
        self._database = database
        self._stream = stream
        self.store = store_id(database)
        with transaction(database):
            database.execute(
                "CREATE TABLE IF NOT EXISTS journal_in (stream TEXT PRIMARY KEY, publisher_store TEXT NOT NULL,"
                " incarnation INTEGER NOT NULL, last_seq INTEGER NOT NULL)"
            )

    def judge(self, header: JournalHeader) -> Verdict:
        """Whether the entry follows what is stored. Another store or incarnation starts from nothing."""
        position = self.position()
        same = (position.publisher_store, position.incarnation) == (header.store, header.stream)
        last_seq = position.last_seq if same else 0
        if same and header.seq <= last_seq:
            return Verdict.REPEATED
        return Verdict.NEW if header.previous <= last_seq else Verdict.MISSING

    def accept(self, header: JournalHeader) -> None:
        """Note the entry as stored, inside the transaction that stores what it says."""
        self._database.execute(
            "INSERT OR REPLACE INTO journal_in VALUES (?, ?, ?, ?)",
            (self._stream, header.store, header.stream, header.seq),
        )

    def position(self, *, missing: bool = False) -> JournalPosition:
        """What was last stored: the acknowledgement."""
        row = self._database.execute(
            "SELECT publisher_store, incarnation, last_seq FROM journal_in WHERE stream = ?", (self._stream,)
        ).fetchone()
        if row is None:
            return JournalPosition(consumer_store=self.store, missing=missing)
        return JournalPosition(
            consumer_store=self.store, publisher_store=row[0], incarnation=row[1], last_seq=row[2], missing=missing
        )


class Sender(msgspec.Struct, frozen=True):
    """Pure state of the publisher's sending: what the consumer has, what is on its way."""

    acknowledged: int = 0
    sent: int = 0
    consumer_known: bool = False
    resend_at_s: float | None = None


def on_position(sender: Sender, position: JournalPosition, outbox: tuple[str, int], now_s: float) -> Sender:
    """The consumer said what it last stored. `outbox`: our store and incarnation."""
    ours = (position.publisher_store, position.incarnation) == outbox
    acknowledged = position.last_seq if ours else 0
    go_back = position.missing or not sender.consumer_known or acknowledged < sender.acknowledged
    sent = acknowledged if go_back else max(sender.sent, acknowledged)
    waits = sent > acknowledged
    return Sender(acknowledged, sent, True, now_s + RESEND_S if waits else None)


def on_sent(sender: Sender, seq: int, now_s: float) -> Sender:
    """Entries up to `seq` went out."""
    return Sender(sender.acknowledged, seq, sender.consumer_known, sender.resend_at_s or now_s + RESEND_S)


def on_silence(sender: Sender, now_s: float) -> Sender:
    """Time passes: a live consumer that does not acknowledge gets everything again from what it has."""
    if sender.resend_at_s is None or now_s < sender.resend_at_s:
        return sender
    return Sender(sender.acknowledged, sender.acknowledged, sender.consumer_known, None)


def on_consumer_unknown(sender: Sender) -> Sender:
    """The consumer is down: wait until it says what it has."""
    return Sender(sender.acknowledged, sender.acknowledged, False, None)


def room(sender: Sender) -> int:
    """How many more entries may go out now."""
    return max(0, WINDOW - (sender.sent - sender.acknowledged)) if sender.consumer_known else 0
