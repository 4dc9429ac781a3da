"""A journal's two ends for a database that stands still: all that its outbox keeps goes out to a consumer who keeps nothing.

Owns: joining the real streams. Does not: know a message.
"""

import sqlite3
from typing import Any

from bus.logs import logger
from bus.streams import JournalIn, JournalOut
from bus.topics import topic_named
from tests.bus.rig import Wires


class Sink:
    """`publishes`, `stores`: topics of the database's service."""

    def __init__(self, wires: Wires, database: sqlite3.Connection, *, publishes: str, stores: str) -> None:
        self._wires = wires
        self._database = database
        self._publishes = publishes
        out, back = topic_named(publishes), topic_named(stores)
        assert out.consumer is not None
        assert back.consumer is not None
        self._nodes = wires.node(back.consumer), wires.node(out.consumer)
        self._journal = JournalOut(self._nodes[0], database, out, logger(back.consumer))
        self.outbox = self._journal.outbox
        JournalIn(self._nodes[0], database, back, store=lambda _: None, stored=lambda: None)
        self._arrived: list[Any] = []
        memory = sqlite3.connect(":memory:", isolation_level=None)
        JournalIn(self._nodes[1], memory, out, store=self._arrived.append, stored=lambda: None)
        for node in self._nodes:
            wires.attach(node)

    def arrived(self) -> int:
        """Send all; how many entries came."""
        self._journal.send()
        for _ in range(3):
            self._wires.settle()
            self._wires.clock.now_s += 1.1
            for node in self._nodes:
                node.tick()
            self._journal.tick()
        return len(self._arrived)

    def kept(self) -> int:
        """How many entries the outbox has."""
        query = "SELECT count(*) FROM journal_out WHERE stream = ?"
        return int(self._database.execute(query, (self._publishes,)).fetchone()[0])
