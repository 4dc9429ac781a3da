"""The cases of the proof: what is recorded, on which disk it begins, how each database is read back, what comes after it.

Owns: how the real code takes up what is there. Does not: cut (`proof.py`), or act (`scenarios.py`).
"""

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from bus.database import open_database
from bus.journal import Inbox, Outbox
from bus.salvage import open_store
from services.configuration.store import ConfigurationStore
from services.connectors import store as connectors_store
from services.transaction_queue import schema as queue_schema
from services.transaction_queue.store import Store as QueueStore
from tests.powercut import scenarios
from tests.powercut.proof import GoingOn, Record, Store, recorded
from tests.powercut.recovery import OneStopEach, Written, all_delivered, torn_in
from tests.powercut.replay import Image
from tests.powercut.scenarios import Scenario
from tests.transaction_queue.world import BOOT

Beginning = tuple[Image, Written]
"""What is on the disk, and what was journalled before."""


class Case(msgspec.Struct, frozen=True):
    """A scenario and its databases. `begins`: the disk at its beginning, by the pages of a checkpoint."""

    make: Callable[..., Scenario]
    stores: dict[str, Store]
    goes_on: Callable[[Written], GoingOn] | None = None
    begins: Callable[[int | None], Beginning] = lambda _: ({}, {})

    def record(self, directory: Path, **tuned: Any) -> tuple[Record, GoingOn]:
        """Do and record it; and what lets the real services go on, made for this record."""
        image, written = self.begins(tuned.get("checkpoint_pages", scenarios.CHECKPOINT_PAGES))
        record = recorded(directory, self.make(**tuned), image)
        return record, self.goes_on(written) if self.goes_on is not None else lambda _: ""


def _cut_in(step: str, commit: int, checkpoint_pages: int | None) -> Beginning:
    """The disk after a cut in that commit of the session."""
    with TemporaryDirectory(prefix="powercut-") as directory:
        record = recorded(Path(directory), scenarios.connectors(checkpoint_pages=checkpoint_pages))
    return torn_in(record, step, commit)


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


_CONNECTORS: dict[str, Store] = {"connectors.db": read_connectors}
_QUEUE: dict[str, Store] = {"transactions.db": read_queue, "connectors.db": read_publisher}
CASES = {
    "connectors": Case(scenarios.connectors, _CONNECTORS, OneStopEach),
    "recovery from a cut just after the start": Case(
        scenarios.recovery, _CONNECTORS, OneStopEach, partial(_cut_in, "card and start", -1)
    ),
    "recovery from a cut in a sample": Case(
        scenarios.recovery, _CONNECTORS, OneStopEach, partial(_cut_in, "samples and checkpoints", -1)
    ),
    "recovery from a cut in the stop": Case(scenarios.recovery, _CONNECTORS, OneStopEach, partial(_cut_in, "stop", -1)),
    "lost": Case(scenarios.lost, _CONNECTORS, partial(OneStopEach, lost=scenarios.LOST)),
    "queue": Case(scenarios.queue, _QUEUE),
    "kept": Case(scenarios.kept, _QUEUE, lambda _: all_delivered),
    "configuration": Case(scenarios.configuration, {"configuration.db": read_configuration}),
}
