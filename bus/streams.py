"""Journals on a node: an outbox that is sent until it is stored, an inbox that acknowledges after its commit.

Owns: the interplay of `bus/journal.py` (tables, rules) and `bus/node.py` (frames). Does not: know what an entry means.
"""

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from bus.database import transaction
from bus.journal import (
    Inbox,
    Outbox,
    OutEntry,
    Sender,
    Verdict,
    after,
    judge,
    on_consumer_unknown,
    on_new_incarnation,
    on_position,
    on_sent,
    on_silence,
    room,
)
from bus.logs import Logger
from bus.messages import JournalPosition
from bus.node import Entries, Node
from bus.topics import Topic, position_topic

ACKNOWLEDGE_S = 0.05
"""So long the consumer may wait with its acknowledgement, for what else comes: it is one message for all of them."""
ACKNOWLEDGE_EVERY = 16
"""Entries that it waits for at most; well below the publisher's window."""


class JournalOut:
    """The publisher's end. Append through `outbox` inside your transaction, commit, then call `send`."""

    def __init__(self, node: Node, database: sqlite3.Connection, topic: Topic, log: Logger) -> None:
        self.outbox = Outbox(database, topic.name)
        self.on_acknowledged: Callable[[int], None] = lambda _: None
        self.on_older_copy: Callable[[], None] = lambda: None
        """This database turns out to be an older copy; again after a restart, if the process dies over it."""
        self.on_consumer_behind: Callable[[], None] | None = None
        """The consumer does not have what it had acknowledged, and what is forgotten here: its database was lost, or is an
        older copy. None: nobody minds."""
        self.on_unreadable: Callable[[str], None] = lambda _: None
        """An entry can't be read any more and was set aside, which one and why; the consumer will never have it."""
        self._node = node
        self._database = database
        self._topic = topic
        self._log = log
        self._sender = Sender()
        self._consumer_store = ""
        self._behind: JournalPosition | None = None
        node.watch(JournalPosition, self._positioned, self._consumer_gone, topic=position_topic(topic))

    def send(self) -> None:
        """Send what is appended and committed and not yet sent, as far as the window reaches."""
        assert not self._database.in_transaction, "an entry goes out after its commit"
        self.outbox.fresh = False
        while not self._send_window():
            pass

    def _send_window(self) -> bool:
        """False: an entry had to be set aside; what is after it has another one before it now."""
        free = room(self._sender)
        if not free:
            return True
        incarnation, last_seq = self.outbox.numbers()
        if self._sender.sent >= last_seq:
            return True
        for entry in self.outbox.after(self._sender.sent, free):
            try:
                message = msgspec.json.decode(entry.payload, type=self._topic.message)
            except msgspec.MsgspecError as error:
                self._set_aside(entry, str(error))
                return False
            header = self._node.journal_header(
                self.outbox.store, incarnation, seq=entry.seq, previous=entry.previous, epoch=entry.epoch
            )
            self._node.send_entry(self._topic, header, message)
            self._sender = on_sent(self._sender, entry.seq, self._node.now())
        return True

    def _set_aside(self, entry: OutEntry, reason: str) -> None:
        self.outbox.set_aside(entry, reason)
        self._log.error(
            "unreadable journal entry was set aside in table unreadable, the next ones go on",
            journal=self._topic.name,
            number=entry.seq,
            reason=reason,
        )
        self.on_unreadable(f"{self._topic.name} {entry.seq}: {reason}")

    def tick(self) -> None:
        """Send what nobody has sent, and again what a live consumer does not acknowledge."""
        now_s, due_s = self._node.now(), self._sender.resend_at_s
        if self.outbox.fresh or (due_s is not None and due_s <= now_s):
            self._sender = on_silence(self._sender, now_s)
            self.send()

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        return self._sender.resend_at_s

    def _positioned(self, _: str, position: JournalPosition) -> None:
        if self._consumer_store and position.consumer_store != self._consumer_store:
            self._log.warning("journal's consumer has another store, sending all that is kept", journal=self._topic.name)
        self._consumer_store = position.consumer_store
        if self.outbox.contradicts(position):
            self._log.error(
                "this database is an older copy, its journal begins anew; look for two boards with one database",
                journal=self._topic.name,
                ours=self.outbox.last_seq,
                stored=position.last_seq,
            )
            self.on_older_copy()
            self.outbox.begin_incarnation()
            self._sender = on_new_incarnation()
        stream = (self.outbox.store, self.outbox.incarnation)
        self._sender = on_position(self._sender, position, stream, self._node.now())
        if self._sender.acknowledged:
            self.on_acknowledged(self._sender.acknowledged)
        self._look_behind(position)
        self.send()

    def _look_behind(self, position: JournalPosition) -> None:
        """What was forgotten had been acknowledged: said once for a position, as it may stay there."""
        position = msgspec.structs.replace(position, missing=False)
        if self.on_consumer_behind is None or position == self._behind or not self.outbox.has_forgotten_after(position):
            return
        self._behind = position
        self._log.warning(
            "journal's consumer lacks entries that it had acknowledged, its database was lost or is an older copy",
            journal=self._topic.name,
            ours=self.outbox.last_seq,
            stored=position.last_seq,
        )
        self.on_consumer_behind()

    def _consumer_gone(self, _: str) -> None:
        self._sender = on_consumer_unknown(self._sender)


class JournalIn:
    """The consumer's end. Entries that came together are stored in one transaction, which notes the number of the last one;
    `store` runs in it for each entry, `stored` once after its commit."""

    def __init__(
        self,
        node: Node,
        database: sqlite3.Connection,
        topic: Topic,
        *,
        store: Callable[[Any], None],
        stored: Callable[[], None],
    ) -> None:
        self._node = node
        self._database = database
        self._topic = topic
        self._inbox = Inbox(database, topic.name)
        self._store = store
        self._stored = stored
        self._position = self._inbox.position()
        self._unsaid = 0
        """Entries stored since the position was said at once."""
        self._copy: tuple[str, int, int] | None = None
        """Store, incarnation and epoch of an older copy that has not heard yet that it is one; it begins anew when it has."""
        node.on_entries(topic, self._arrived)
        self._say_position(self._position)

    def ask_again(self) -> None:
        """Have the publisher send all that it keeps: something that was stored here is lost (commits by itself)."""
        with transaction(self._database):
            self._inbox.forget()
        self._position = self._inbox.position()
        self._say_position(self._position)

    def _arrived(self, entries: Entries) -> None:
        position, new, missing = self._position, [], False
        for header, entry in entries:
            verdict, run = judge(position, header), (header.store, header.stream, header.epoch)
            if verdict is Verdict.REPEATED and header.epoch != position.epoch:
                # Of an earlier run, under whose epoch nothing new comes; or of a copy, and what follows is out of order.
                self._copy = run
            elif verdict is Verdict.NEW and run == self._copy:
                verdict = Verdict.MISSING
            missing = missing or verdict is Verdict.MISSING
            if verdict is Verdict.NEW:
                position = after(position, header)
                new.append(entry)
        if new:
            with transaction(self._database):
                self._inbox.accept(position)
                for entry in new:
                    self._store(entry)
            self._position = position
        self._unsaid += len(new)
        position = msgspec.structs.replace(position, missing=missing)
        self._say_position(position, at_once=missing or not new or self._unsaid >= ACKNOWLEDGE_EVERY)
        if new:
            self._stored()

    def _say_position(self, position: JournalPosition, *, at_once: bool = True) -> None:
        if at_once:
            self._unsaid = 0
        self._node.publish(position, topic=position_topic(self._topic), within_s=0.0 if at_once else ACKNOWLEDGE_S)
