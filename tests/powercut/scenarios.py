"""The money path's commits, done by the real services and stores, step by step.

Owns: what is recorded, and how each database is read back by the real code. Does not: cut (`proof.py`).
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from bus.database import open_database
from bus.journal import Inbox, Outbox
from bus.messages import Deliver, Failed, NotSent
from bus.salvage import open_store
from services.configuration.store import ConfigurationStore
from services.connectors import store as connectors_store
from services.transaction_queue import schema as queue_schema
from services.transaction_queue.store import Store as QueueStore
from tests.connectors.world import World as ConnectorsWorld
from tests.powercut.proof import Mark, Store
from tests.transaction_queue.world import BOOT, UTC_0_MS, Outcome, session
from tests.transaction_queue.world import World as QueueWorld

Scenario = Callable[[Path, Mark], None]
CHECKPOINT_PAGES = 10
"""Far fewer than in production, so that the record holds many checkpoints, where the log is begun anew."""
PRAGMAS = {"FULL": "", "NORMAL": "PRAGMA synchronous=NORMAL", "OFF": "PRAGMA synchronous=OFF"}


def connectors(*, synchronous: str = "FULL", checkpoint_pages: int | None = CHECKPOINT_PAGES) -> Scenario:
    """One session: start, its delivery, samples and checkpoints, stop, unplugging, a restart."""

    def scenario(directory: Path, mark: Mark) -> None:
        mark("open")
        world = ConnectorsWorld(directory, configuration={"MeterValueSampleInterval": "30"})
        _tune(world.database, synchronous, checkpoint_pages)
        world.queue.delivers = False
        mark("card and start")
        world.plants[1].plug_in()
        world.advance(1.0)
        world.card()
        world.advance(5.0)
        mark("delivery of the start stored")
        world.queue.delivers = True
        world.advance(1.0)
        mark("samples and checkpoints")
        world.advance(95.0)
        mark("stop")
        world.queue.delivers = False
        world.card()
        world.advance(5.0)
        mark("delivery of the stop stored")
        world.queue.delivers = True
        world.advance(2.0)
        mark("unplugged")
        world.plants[1].unplug()
        world.advance(2.0)
        mark("end of the process")
        world.kill()

    return scenario


def queue(*, synchronous: str = "FULL", checkpoint_pages: int | None = CHECKPOINT_PAGES) -> Scenario:
    """Entries stored, sent, failed, not sent, delivered, given up; the journal's publisher has a database of its own."""

    def scenario(directory: Path, mark: Mark) -> None:
        mark("open")
        world = QueueWorld(directory, configuration={"TransactionMessageAttempts": "2", "TransactionMessageRetryInterval": "1"})
        _tune(world.database, synchronous, checkpoint_pages)
        _tune(world.connectors.database, synchronous, checkpoint_pages)
        link = world.link
        assert link is not None
        answers: list[Outcome] = []

        def answer(request: Deliver) -> Outcome:
            return answers.pop(0) if answers else world.central_system(request)

        link.answer = answer
        mark("clock noted")
        link.clock()
        mark("entries stored")
        world.connectors.write(*session("tx-1"))
        mark("sent and delivered")
        link.online()
        world.advance(1.0)
        mark("failed, then delivered")
        answers.append(Failed("InternalError"))
        world.connectors.write(*session("tx-2", 10.0))
        world.advance(5.0)
        mark("not sent, then delivered")
        answers.append(NotSent("connection lost"))
        world.connectors.write(*session("tx-3", 20.0))
        world.advance(10.0)
        mark("given up")
        answers.extend([Failed("InternalError")] * 2)
        world.connectors.write(*session("tx-4", 30.0))
        world.advance(10.0)
        mark("acknowledged outcomes forgotten")
        world.advance(10.0)
        mark("end of the process")
        world.kill_queue()
        world.connectors.database.close()

    return scenario


def configuration(*, synchronous: str = "FULL", checkpoint_pages: int | None = CHECKPOINT_PAGES) -> Scenario:
    """What the Central System changes, and what the link keeps."""

    def scenario(directory: Path, mark: Mark) -> None:
        mark("open")
        store = ConfigurationStore(str(directory / "configuration.db"))
        _tune(store._database, synchronous, checkpoint_pages)
        for number in range(6):
            mark("ChangeConfiguration")
            store.set_value("HeartbeatInterval", str(number), "2026-01-01T00:00:00.000Z")
            mark("facts of the session kept")
            store.keep("boot-1", {"registration": "Accepted", "interval": str(number)})
        mark("accepted")
        store.set_accepted("ws://central/", "2026-01-01T00:00:00.000Z")
        mark("time kept")
        store.set_known_utc_ms(UTC_0_MS)
        mark("end of the process")
        store.close()

    return scenario


def read_connectors(path: str) -> tuple[str, Any]:
    """What the connectors service takes up at its start."""
    opened = open_store(path, connectors_store.SCHEMA)
    with closing(opened.database) as database:
        loaded = connectors_store.Store(database).load()
        outbox = Outbox(database, "journal.transaction.")
        position = Inbox(database, "journal.delivery.").position()
        return opened.problem, (loaded, outbox.last_seq, outbox.after(0, 1000), position.last_seq)


def read_queue(path: str) -> tuple[str, Any]:
    """What the queue takes up at its start."""
    opened = open_store(path, queue_schema.SCHEMA)
    with closing(opened.database) as database:
        store = QueueStore(database, BOOT)
        outbox = Outbox(database, "journal.delivery.")
        position = Inbox(database, "journal.transaction.").position()
        counts = (store.depth, store.dead_letters, store.quarantined)
        kept = (outbox.last_seq, outbox.after(0, 1000), position.last_seq)
        return opened.problem, (store.head(None), counts, store.boots, kept)


def read_publisher(path: str) -> tuple[str, Any]:
    """What the publisher of the queue's journal still keeps."""
    with closing(open_database(path)) as database:
        outbox = Outbox(database, "journal.transaction.")
        position = Inbox(database, "journal.delivery.").position()
        return "", (outbox.last_seq, outbox.after(0, 1000), position.last_seq)


def read_configuration(path: str) -> tuple[str, Any]:
    """What the link takes up at its start."""
    store = ConfigurationStore(path)
    with closing(store):
        facts = dict(store._database.execute("SELECT name, value FROM session").fetchall())
        return store.problem, (store.values(), facts, store.ever_accepted("ws://central/"), store.known_utc_ms())


CASES: dict[str, tuple[Callable[..., Scenario], dict[str, Store]]] = {
    "connectors": (connectors, {"connectors.db": read_connectors}),
    "queue": (queue, {"transactions.db": read_queue, "connectors.db": read_publisher}),
    "configuration": (configuration, {"configuration.db": read_configuration}),
}


def _tune(database: Any, synchronous: str, checkpoint_pages: int | None) -> None:
    if PRAGMAS[synchronous]:
        database.execute(PRAGMAS[synchronous])
    if checkpoint_pages is not None:
        database.execute(f"PRAGMA wal_autocheckpoint={checkpoint_pages}")
