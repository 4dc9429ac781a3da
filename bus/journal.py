"""The journal: in order, effectively once, across a crash of either side at any instruction (design §3).

Theory of operation. The publisher appends an entry to its `Outbox` in the same database transaction as the change that
it tells of, commits, then sends. The consumer's `Inbox` notes the entry's number in the same transaction as what it
makes of it, commits, then publishes its `JournalPosition`, which is the acknowledgement. Positions are a state topic, so
after any restart, of either side or of the broker, the publisher learns what was last stored and goes on from there.

Entries carry the number of the entry kept before them: a consumer takes only what follows what it has. Numbers belong to
a store and an incarnation of its stream. A publisher that hears of numbers above its own was restored from a copy: it
begins a new incarnation and sends again all that it keeps. A consumer that lost its store says so by a new store id and
gets all that is kept. So consumers recognise repeated entries by what is in them as well (local_tx_id and number).

A restored copy may also have caught up: it appended entries of its own, under numbers that the consumer knows from the lost
original, before it heard of them. So each run of the publisher appends under an epoch of its own, a random number that
travels with the entry and comes back with the position. A position whose epoch is not the one that its number was appended
under here tells of another past: again a new incarnation begins, and nothing that was appended is taken for stored.

An entry that can't be read any more (one rotten byte is enough) is set aside, and the next one follows the one before it.

Owns: the tables `journal_out`, `journal_stream`, `journal_epoch`, `journal_in`. Does not: commit (`append`, `accept`,
`forget` belong into the caller's transaction), move bytes or read a clock.
"""

import sqlite3
from collections.abc import Callable
from enum import Enum

import msgspec

from bus import chance, unreadable
from bus.codec import JournalHeader, checked_builtins
from bus.database import store_id, transaction
from bus.messages import JournalPosition, Message

WINDOW = 64
"""Entries sent ahead of the consumer's acknowledgement."""
RESEND_S = 1.0
"""A live consumer that stores nothing new for so long gets what it has not acknowledged again."""
_OUTBOX_TABLES = (
    "CREATE TABLE IF NOT EXISTS journal_stream"
    " (stream TEXT PRIMARY KEY, incarnation INTEGER NOT NULL, last_seq INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS journal_out"
    " (stream TEXT NOT NULL, seq INTEGER NOT NULL, payload TEXT NOT NULL, name TEXT NOT NULL DEFAULT '',"
    " PRIMARY KEY (stream, seq))",
    "CREATE INDEX IF NOT EXISTS journal_out_by_name ON journal_out (stream, name)",
    "CREATE TABLE IF NOT EXISTS journal_epoch"
    " (stream TEXT NOT NULL, first_seq INTEGER NOT NULL, epoch INTEGER NOT NULL, PRIMARY KEY (stream, first_seq))",
    unreadable.TABLE,
)
_INBOX_TABLE = (
    "CREATE TABLE IF NOT EXISTS journal_in (stream TEXT PRIMARY KEY, publisher_store TEXT NOT NULL,"
    " incarnation INTEGER NOT NULL, last_seq INTEGER NOT NULL, epoch INTEGER NOT NULL)"
)
JOURNAL_TABLES = (*_OUTBOX_TABLES, _INBOX_TABLE)
TABLES_OF_IDENTITY = frozenset({"store", "journal_in", "journal_stream", "journal_epoch"})
"""Who a store is and what its peers have of it. A store that was saved from a damaged one must not claim to be that one: it
begins with a new id, so that both sides compare anew, and the peer sends again all that it keeps."""
EPOCHS_KEPT = 1000
"""Runs of the publisher whose numbers can be told apart; the consumer is never that far behind while it lives."""


class OutEntry(msgspec.Struct, frozen=True):
    """An entry of the outbox and its place in the stream."""

    seq: int
    previous: int
    epoch: int
    payload: bytes


class Outbox:
    """The publisher's side of one stream, kept in the publisher's own database; payloads are JSON that a person can read."""

    def __init__(self, database: sqlite3.Connection, stream: str) -> None:
        self._database = database
        self._stream = stream
        self._epoch = chance.bits(62)
        self.store = store_id(database)
        self.fresh = False
        """Entries were appended since this was last set back."""
        with transaction(database):
            for statement in _OUTBOX_TABLES:
                database.execute(statement)
            # A store saved from a damaged one has entries and no stream: their numbers are not given twice.
            database.execute(
                "INSERT OR IGNORE INTO journal_stream SELECT ?1, 1, coalesce(max(seq), 0) FROM journal_out WHERE stream = ?1",
                (stream,),
            )
            # A number that has rotten: one that is taken is not given again.
            database.execute(
                "UPDATE journal_stream SET last_seq = (SELECT max(seq) FROM journal_out WHERE stream = ?1)"
                " WHERE stream = ?1 AND last_seq < (SELECT max(seq) FROM journal_out WHERE stream = ?1)",
                (stream,),
            )

    @property
    def incarnation(self) -> int:
        """Of the stream; a new one begins when the store was found to be a copy."""
        return self.numbers()[0]

    @property
    def last_seq(self) -> int:
        """Number of the newest entry ever appended in this incarnation; 0: none."""
        return self.numbers()[1]

    def numbers(self) -> tuple[int, int]:
        """`incarnation` and `last_seq`."""
        row: tuple[int, int] = self._database.execute(
            "SELECT incarnation, last_seq FROM journal_stream WHERE stream = ?", (self._stream,)
        ).fetchone()
        return row

    def append(self, entry: Message, name: str = "") -> int:
        """Add an entry inside the caller's transaction; its number. `name` finds it again whatever its number becomes.

        An entry that is not of its own type is our bug: AssertionError, before it is on the disk for good.
        """
        assert self._database.in_transaction, "a journal entry belongs into the transaction of what it tells of"
        last_seq, epoch = self._database.execute(
            "SELECT last_seq, (SELECT epoch FROM journal_epoch e WHERE e.stream = s.stream AND e.first_seq <= s.last_seq + 1"
            " ORDER BY e.first_seq DESC LIMIT 1) FROM journal_stream s WHERE stream = ?",
            (self._stream,),
        ).fetchone()
        seq: int = last_seq + 1
        payload = msgspec.json.encode(checked_builtins(entry)).decode()
        if epoch != self._epoch:
            self._begin_epoch(seq)
        self._database.execute(
            "INSERT INTO journal_out (stream, seq, payload, name) VALUES (?, ?, ?, ?)", (self._stream, seq, payload, name)
        )
        self._database.execute("UPDATE journal_stream SET last_seq = ? WHERE stream = ?", (seq, self._stream))
        self.fresh = True
        return seq

    def after(self, seq: int, limit: int) -> list[OutEntry]:
        """At most `limit` kept entries with numbers above `seq`, oldest first."""
        rows = self._database.execute(
            "SELECT seq, CAST(payload AS BLOB), (SELECT epoch FROM journal_epoch e WHERE e.stream = o.stream"
            " AND e.first_seq <= o.seq ORDER BY e.first_seq DESC LIMIT 1)"
            " FROM journal_out o WHERE stream = ? AND seq > ? ORDER BY seq LIMIT ?",
            (self._stream, seq, limit),
        ).fetchall()
        before = self._database.execute(
            "SELECT max(seq) FROM journal_out WHERE stream = ? AND seq <= ?", (self._stream, seq)
        ).fetchone()[0]
        previous = before or 0
        entries = []
        for row_seq, payload, epoch in rows:
            entries.append(OutEntry(row_seq, previous, epoch or 0, payload))
            previous = row_seq
        return entries

    def epoch_of(self, seq: int) -> int:
        """The run of the publisher that appended number `seq`, or would; 0: not known any more, or none did."""
        row = self._database.execute(
            "SELECT epoch FROM journal_epoch WHERE stream = ? AND first_seq <= ? ORDER BY first_seq DESC LIMIT 1",
            (self._stream, seq),
        ).fetchone()
        return 0 if row is None else int(row[0])

    def contradicts(self, position: JournalPosition) -> bool:
        """Whether the consumer has entries of this store and incarnation that were not appended here: this is a copy."""
        incarnation, last_seq = self.numbers()
        if (position.publisher_store, position.incarnation) != (self.store, incarnation):
            return False
        if position.last_seq > last_seq:
            return True
        epoch = self.epoch_of(position.last_seq)
        return position.last_seq > 0 and epoch not in (0, position.epoch)

    def has_forgotten_after(self, position: JournalPosition) -> bool:
        """Whether the entry that the consumer of this stream lacks next is not kept any more: it had acknowledged it once."""
        incarnation, last_seq = self.numbers()
        same = (position.publisher_store, position.incarnation) == (self.store, incarnation)
        has = position.last_seq if same else 0
        if has >= last_seq:
            return False
        row = self._database.execute(
            "SELECT min(seq) FROM journal_out WHERE stream = ? AND seq > ?", (self._stream, has)
        ).fetchone()
        return row[0] is None or int(row[0]) > has + 1

    def find_named(self, name: str) -> bytes | None:
        """The payload of the entry of this name; None: it is not kept (any more)."""
        row = self._database.execute(
            "SELECT CAST(payload AS BLOB) FROM journal_out WHERE stream = ? AND name = ?", (self._stream, name)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def amend(self, prefix: str, change: Callable[[bytes], Message | None]) -> None:
        """Change the payloads of the entries whose names begin so, inside the caller's transaction; None: leave it."""
        rows = self._database.execute(
            "SELECT seq, CAST(payload AS BLOB) FROM journal_out WHERE stream = ? AND name >= ? AND name < ?",
            (self._stream, prefix, prefix + "\U0010ffff"),
        ).fetchall()
        for seq, payload in rows:
            entry = change(payload)
            if entry is not None:
                text = msgspec.json.encode(checked_builtins(entry)).decode()
                self._database.execute(
                    "UPDATE journal_out SET payload = ? WHERE stream = ? AND seq = ?", (text, self._stream, seq)
                )

    def forget_named(self, name: str, *, unless: str = "") -> None:
        """Drop the entry of this name inside the caller's transaction, unless it has that text: its purpose is fulfilled."""
        self._database.execute(
            "DELETE FROM journal_out WHERE stream = ?1 AND name = ?2 AND (?3 = '' OR coalesce(instr(payload, ?3), 0) = 0)",
            (self._stream, name, unless),
        )

    def forget_holding(self, prefix: str, text: str) -> None:
        """The same with all entries whose names begin so and that have this text."""
        self._database.execute(
            "DELETE FROM journal_out WHERE stream = ? AND name >= ? AND name < ? AND instr(payload, ?) > 0",
            (self._stream, prefix, prefix + "\U0010ffff", text),
        )

    def set_aside(self, entry: OutEntry, reason: str) -> None:
        """Keep an entry that can't be read where people find it, and send it no more (commits by itself)."""
        with transaction(self._database):
            unreadable.keep(self._database, f"journal_out {self._stream}", str(entry.seq), entry.payload, reason)
            self._database.execute("DELETE FROM journal_out WHERE stream = ? AND seq = ?", (self._stream, entry.seq))

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
                (chance.bits(62), len(kept), self._stream),
            )
            self._database.execute("DELETE FROM journal_epoch WHERE stream = ?", (self._stream,))
            self._begin_epoch(1)

    def _begin_epoch(self, first_seq: int) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO journal_epoch (stream, first_seq, epoch) VALUES (?, ?, ?)",
            (self._stream, first_seq, self._epoch),
        )
        self._database.execute(
            "DELETE FROM journal_epoch WHERE stream = ?1 AND first_seq <="
            " (SELECT first_seq FROM journal_epoch WHERE stream = ?1 ORDER BY first_seq DESC LIMIT 1 OFFSET ?2)",
            (self._stream, EPOCHS_KEPT),
        )


class Verdict(Enum):
    """What an arriving entry is to the consumer."""

    NEW = "new"
    REPEATED = "repeated"
    MISSING = "missing"


def judge(position: JournalPosition, header: JournalHeader) -> Verdict:
    """Whether the entry follows what is stored (pure). Another store or incarnation starts from nothing."""
    same = (position.publisher_store, position.incarnation) == (header.store, header.stream)
    last_seq = position.last_seq if same else 0
    if same and header.seq <= last_seq:
        return Verdict.REPEATED
    return Verdict.NEW if header.previous <= last_seq else Verdict.MISSING


def after(position: JournalPosition, header: JournalHeader) -> JournalPosition:
    """The consumer's position once the entry is stored (pure)."""
    return JournalPosition(position.consumer_store, header.store, header.stream, header.seq, epoch=header.epoch)


class Inbox:
    """The consumer's side of one stream, kept in the consumer's own database."""

    def __init__(self, database: sqlite3.Connection, stream: str) -> None:
        self._database = database
        self._stream = stream
        self.store = store_id(database)
        with transaction(database):
            database.execute(_INBOX_TABLE)

    def accept(self, position: JournalPosition) -> None:
        """Note how far entries are stored, inside the transaction that stores what they say."""
        self._database.execute(
            "INSERT OR REPLACE INTO journal_in VALUES (?, ?, ?, ?, ?)",
            (self._stream, position.publisher_store, position.incarnation, position.last_seq, position.epoch),
        )

    def forget(self) -> None:
        """Begin from nothing, inside the caller's transaction: what comes again is known by what is in it."""
        self._database.execute("DELETE FROM journal_in WHERE stream = ?", (self._stream,))

    def position(self) -> JournalPosition:
        """What was last stored: the acknowledgement."""
        row = self._database.execute(
            "SELECT publisher_store, incarnation, last_seq, epoch FROM journal_in WHERE stream = ?", (self._stream,)
        ).fetchone()
        if row is None:
            return JournalPosition(consumer_store=self.store)
        store, incarnation, last_seq, epoch = row
        return JournalPosition(self.store, store, incarnation, last_seq, epoch=epoch)


class Sender(msgspec.Struct, frozen=True):
    """Pure state of the publisher's sending: what the consumer has, what is on its way."""

    acknowledged: int = 0
    sent: int = 0
    consumer_known: bool = False
    resend_at_s: float | None = None
    went_back: bool = False
    """All after `acknowledged` was sent again because an entry was missing; it is not, for every one that arrived too early."""


def on_position(sender: Sender, position: JournalPosition, outbox: tuple[str, int], now_s: float) -> Sender:
    """The consumer said what it last stored. `outbox`: our store and incarnation."""
    ours = (position.publisher_store, position.incarnation) == outbox
    acknowledged = position.last_seq if ours else 0
    progress = acknowledged != sender.acknowledged
    missing = position.missing and (progress or not sender.went_back)
    go_back = missing or not sender.consumer_known or acknowledged < sender.acknowledged
    sent = acknowledged if go_back else max(sender.sent, acknowledged)
    waits = sent > acknowledged
    # Only progress puts off the resending: a consumer that says the same again and again has missed something.
    resend_at_s = sender.resend_at_s if sender.resend_at_s is not None and not progress else now_s + RESEND_S
    return Sender(acknowledged, sent, True, resend_at_s if waits else None, missing or (sender.went_back and not progress))


def on_sent(sender: Sender, seq: int, now_s: float) -> Sender:
    """Entries up to `seq` went out."""
    resend_at_s = now_s + RESEND_S if sender.resend_at_s is None else sender.resend_at_s
    return msgspec.structs.replace(sender, sent=seq, resend_at_s=resend_at_s)


def on_silence(sender: Sender, now_s: float) -> Sender:
    """Time passes: a live consumer that does not acknowledge gets everything again from what it has."""
    if sender.resend_at_s is None or now_s < sender.resend_at_s:
        return sender
    return Sender(sender.acknowledged, sender.acknowledged, sender.consumer_known)


def on_consumer_unknown(sender: Sender) -> Sender:
    """The consumer is down: wait until it says what it has."""
    return Sender(sender.acknowledged, sender.acknowledged)


def on_new_incarnation() -> Sender:
    """All numbers are others now: nothing is acknowledged, nothing on its way."""
    return Sender()


def room(sender: Sender) -> int:
    """How many more entries may go out now."""
    return max(0, WINDOW - (sender.sent - sender.acknowledged)) if sender.consumer_known else 0
