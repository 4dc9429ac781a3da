"""Journals on a node: an outbox that is sent until it is stored, an inbox that acknowledges after its commit.

Owns: the interplay of `bus/journal.py` (tables, rules) and `bus/node.py` (frames). Does not: know what an entry means.
"""

import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from bus.codec import JournalHeader
from bus.database import transaction
from bus.journal import (
    Inbox,
    Outbox,
    Sender,
    Verdict,
    on_consumer_unknown,
    on_new_incarnation,
    on_position,
    on_sent,
    on_silence,
    room,
)
from bus.logs import Logger
from bus.messages import JournalPosition, Message
from bus.node import Node
from bus.topics import Topic, position_topic


class JournalOut:
    """The publisher's end. Append through `outbox` inside your transaction, commit, then call `send`."""

    def __init__(self, node: Node, database: sqlite3.Connection, topic: Topic, log: Logger) -> None:
        self.outbox = Outbox(database, topic.name)
        self.on_acknowledged: Callable[[int], None] = lambda _: None
        self.on_older_copy: Callable[[], None] = lambda: None
        """This database turns out to be an older copy; again after a restart, if the process dies over it."""
        self._node = node
        self._database = database
        self._topic = topic
        self._log = log
        self._sender = Sender()
        self._consumer_store = ""
        node.watch(JournalPosition, self._positioned, self._consumer_gone, topic=position_topic(topic))

    def send(self) -> None:
        """Send what is appended and committed and not yet sent, as far as the window reaches."""
        assert not self._database.in_transaction, "an entry goes out after its commit"
        free = room(self._sender)
        if not free or self._sender.sent >= self.outbox.last_seq:
            return
        store, stream = self.outbox.store, self.outbox.incarnation
        for entry in self.outbox.after(self._sender.sent, free):
            header = self._node.journal_header(store, stream, seq=entry.seq, previous=entry.previous, epoch=entry.epoch)
            self._node.send_entry(self._topic, header, msgspec.json.decode(entry.payload, type=self._topic.message))
            self._sender = on_sent(self._sender, entry.seq, self._node.now())

    def tick(self) -> None:
        """Send again what a live consumer does not acknowledge."""
        self._sender = on_silence(self._sender, self._node.now())
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
        self.send()

    def _consumer_gone(self, _: str) -> None:
        self._sender = on_consumer_unknown(self._sender)


class JournalIn:
    """The consumer's end: `store` runs inside the transaction that notes the entry's number; `stored` after its commit."""

    def __init__(
        self,
        node: Node,
        database: sqlite3.Connection,
        topic: Topic,
        *,
        store: Callable[[Any], None],
        stored: Callable[[Any], None],
    ) -> None:
        self._node = node
        self._database = database
        self._topic = topic
        self._inbox = Inbox(database, topic.name)
        self._store = store
        self._stored = stored
        node.on_entry(topic, self._arrived)
        self._say_position()

    def ask_again(self) -> None:
        """Have the publisher send all that it keeps: something that was stored here is lost (commits by itself)."""
        with transaction(self._database):
            self._inbox.forget()
        self._say_position()

    def _arrived(self, header: JournalHeader, entry: Message) -> None:
        verdict = self._inbox.judge(header)
        if verdict is Verdict.NEW:
            with transaction(self._database):
                self._inbox.accept(header)
                self._store(entry)
        self._say_position(missing=verdict is Verdict.MISSING)
        if verdict is Verdict.NEW:
            self._stored(entry)

    def _say_position(self, *, missing: bool = False) -> None:
        self._node.publish(self._inbox.position(missing=missing), topic=position_topic(self._topic))
