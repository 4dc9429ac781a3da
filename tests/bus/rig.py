"""Nodes joined in memory under a virtual clock: a bus that loses, repeats and reorders what a test wants it to.

Owns: the clock, the wires, a broker without sockets (the real last-value cache). Does not: stand in for any part of ours.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from bus.broker import LastValues
from bus.database import open_database, transaction
from bus.journal import Outbox
from bus.logs import logger
from bus.messages import Moment, StopTransaction, TransactionEntry
from bus.node import Frame, Node
from bus.streams import JournalIn, JournalOut
from bus.topics import topic_named
from bus.vocabulary import Reason

TOPIC = topic_named("journal.transaction.")
Fault = Callable[[Frame], list[Frame]]


def whole(frame: Frame) -> list[Frame]:
    """No fault: what was sent arrives."""
    return [frame]


def nothing(_: Frame) -> list[Frame]:
    """All is lost."""
    return []


class Clock:
    """Boottime that only the test moves."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Wires:
    """The broker's part. Frames wait in `queue` until `pass_on`; those of one topic keep their order."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.queue: list[Frame] = []
        self.fault: Fault = whole
        self._nodes: list[Node] = []
        self._values = LastValues()
        self._incarnation = 0

    def node(self, service: str) -> Node:
        """A service that has just started; a later incarnation than all before it. Call `attach` when it has subscribed."""
        self._incarnation += 1
        return Node(service, incarnation=self._incarnation, now=self.clock, log=logger(service))

    def attach(self, node: Node) -> None:
        """The subscriptions have arrived: the node hears the last values, and everything from now on."""
        self._nodes.append(node)
        for prefix in node.subscriptions():
            for frames in self._values.matching(prefix):
                node.receive(list(frames))

    def detach(self, node: Node) -> None:
        """The process is gone."""
        if node in self._nodes:
            self._nodes.remove(node)

    def restart_broker(self) -> None:
        """All that is on its way and all last values are lost; the owners say their states again."""
        self.queue.clear()
        self._values = LastValues()
        for node in self._nodes:
            node.broker_attached()

    def collect(self) -> None:
        """Take what the nodes want to send; the fault decides what becomes of it."""
        for node in self._nodes:
            for frame in node.take_outgoing():
                self.queue += self.fault(frame)

    def pass_on(self, choice: int = 0, *, together: int = 1) -> bool:
        """Deliver the oldest frame of the topic that `choice` picks, at most `together` of them at once. False if nothing is
        on its way."""
        self.collect()
        topics = list(dict.fromkeys(name for name, _ in self.queue))
        if not topics:
            return False
        name = topics[choice % len(topics)]
        frames = [frame for frame in self.queue if frame[0] == name][:together]
        for frame in frames:
            self.queue.remove(frame)
            self._values.keep(list(frame))
        for node in list(self._nodes):
            if any(name.startswith(prefix) for prefix in node.subscriptions()):
                node.receive_all(list(frame) for frame in frames)
        return True

    def settle(self) -> None:
        """Deliver everything, and what comes of it."""
        while self.pass_on():
            pass


def entry(number: int, tx: str = "tx") -> TransactionEntry:
    """A journal entry that can be told from all others."""
    message = StopTransaction(connector_id=1, meter_stop_wh=number, at=Moment("boot", number), reason=Reason.LOCAL)
    return TransactionEntry(tx, number, message)


class Publisher:
    """A service that journals, on a database file: started again by `restart`."""

    def __init__(self, wires: Wires, path: Path, *, forgets: bool = False) -> None:
        self._wires = wires
        self._forgets = forgets
        self.path = path
        self.start()

    def start(self) -> None:
        """As a new process would."""
        self.database = open_database(str(self.path))
        self.node = self._wires.node("connectors")
        self.journal = JournalOut(self.node, self.database, TOPIC, logger("connectors"))
        self.journal.on_acknowledged = self._acknowledged
        self._wires.attach(self.node)

    def stop(self) -> None:
        """The process ends, whatever it was about to send."""
        self._wires.detach(self.node)
        self.database.close()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def append(self, *numbers: int) -> None:
        """Commit entries in one transaction and send them."""
        with transaction(self.database):
            for number in numbers:
                self.journal.outbox.append(entry(number), str(number))
        self.journal.send()

    def die_while_appending(self, number: int) -> None:
        """The process dies before the commit."""
        self.database.execute("BEGIN IMMEDIATE")
        self.journal.outbox.append(entry(number), str(number))
        self.restart()

    def forget(self, number: int) -> None:
        """The entry's purpose is fulfilled."""
        with transaction(self.database):
            self.journal.outbox.forget_named(str(number))

    def tick(self) -> None:
        """What the runtime's loop does."""
        self.node.tick()
        self.journal.tick()

    def kept(self) -> list[int]:
        """Numbers of the entries in the outbox, in order."""
        rows = self.database.execute("SELECT name FROM journal_out ORDER BY seq").fetchall()
        return [int(name) for (name,) in rows]

    def _acknowledged(self, seq: int) -> None:
        if self._forgets:
            with transaction(self.database):
                self.journal.outbox.forget_through(seq)


class Consumer:
    """A service that stores entries. `raw` in its database has every entry that was taken for new; `known` each one once."""

    def __init__(self, wires: Wires, path: Path) -> None:
        self._wires = wires
        self.path = path
        self.dies_storing = False
        self.start()

    def start(self) -> None:
        """As a new process would."""
        self.database = open_database(str(self.path))
        self.database.execute("CREATE TABLE IF NOT EXISTS raw (id INTEGER PRIMARY KEY, number INTEGER)")
        self.database.execute("CREATE TABLE IF NOT EXISTS known (id INTEGER PRIMARY KEY, number INTEGER UNIQUE)")
        self.node = self._wires.node("transaction_queue")
        self.after_commit: list[int] = []
        self.storing: list[int] = []
        JournalIn(self.node, self.database, TOPIC, store=self._store, stored=self._stored)
        self._wires.attach(self.node)

    def stop(self) -> None:
        """The process ends, whatever it was about to send."""
        self._wires.detach(self.node)
        self.database.close()

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def tick(self) -> None:
        """What the runtime's loop does."""
        self.node.tick()

    def raw(self) -> list[int]:
        """All entries that were taken for new, in order."""
        return [number for (number,) in self.database.execute("SELECT number FROM raw ORDER BY id")]

    def known(self) -> list[int]:
        """The same, told apart by content."""
        return [number for (number,) in self.database.execute("SELECT number FROM known ORDER BY id")]

    def _store(self, value: TransactionEntry) -> None:
        self.database.execute("INSERT INTO raw (number) VALUES (?)", (value.number,))
        self.database.execute("INSERT OR IGNORE INTO known (number) VALUES (?)", (value.number,))
        self.storing.append(value.number)
        if self.dies_storing:
            raise Died

    def _stored(self) -> None:
        self.after_commit += self.storing
        self.storing.clear()


class Died(Exception):
    """A process came to its end in the middle of something."""


def copy_database(source: sqlite3.Connection, target: Path) -> None:
    """A copy as a backup makes it."""
    target.unlink(missing_ok=True)
    copy = sqlite3.connect(target)
    source.backup(copy)
    copy.close()


def put_database(source: Path | None, target: Path) -> None:
    """Put a copy in the place of a closed database; None: it is lost."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{target}{suffix}").unlink(missing_ok=True)
    if source is not None:
        target.write_bytes(source.read_bytes())


def outbox(database: sqlite3.Connection) -> Outbox:
    """An outbox without a node."""
    return Outbox(database, TOPIC.name)
