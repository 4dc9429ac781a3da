"""The money path's commits, done by the real services and stores, step by step.

Left out: a store that salvage makes. It takes its place by names, not by commits; `tests/bus/test_salvage.py` ends it at each.

Owns: what is recorded. Does not: cut (`proof.py`), read back or go on (`cases.py`).
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from bus.database import open_database, transaction
from bus.messages import CloseLostTransaction, Deliver, Failed, Moment, NotSent
from bus.queue_messages import QueueTransactionAgain, TakeInTransaction
from bus.salvage import SALVAGED
from bus.topics import position_topic, topic_named
from services.configuration.store import ConfigurationStore
from services.transaction_queue import handover
from services.transaction_queue.kept import KeptTransaction
from tests.connectors.world import World as ConnectorsWorld
from tests.powercut.proof import Mark
from tests.powercut.recovery import NextBoot
from tests.transaction_queue.test_handover import ask, give_up
from tests.transaction_queue.world import UTC_0_MS, Outcome, session
from tests.transaction_queue.world import World as QueueWorld

Scenario = Callable[[Path, Mark], None]
CHECKPOINT_PAGES = 10
"""Far fewer than in production, so that the record holds many checkpoints, where the log is begun anew."""
LOST = CloseLostTransaction("lost", 1, "TAG", Moment("boot-0", 1000, None), 800, 900, Moment("boot-0", 61_000, None), 2)
"""Of an earlier boot, and only the queue knows it."""
PRAGMAS = {"FULL": "", "NORMAL": "PRAGMA synchronous=NORMAL", "OFF": "PRAGMA synchronous=OFF"}


def connectors(*, synchronous: str = "FULL", checkpoint_pages: int | None = CHECKPOINT_PAGES) -> Scenario:
    """One session: start, its delivery, samples and checkpoints, a restart of the process, stop, unplugging."""

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
        mark("taken up again after a restart")
        world.kill()
        world.start()
        _tune(world.database, synchronous, checkpoint_pages)
        world.advance(65.0)
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


def recovery(*, synchronous: str = "FULL", checkpoint_pages: int | None = CHECKPOINT_PAGES) -> Scenario:
    """A boot after a power cut in a session: intent, PowerLoss stop, delivery; the next session, which a wanted reboot ends."""

    def scenario(directory: Path, mark: Mark) -> None:
        mark("open, stop intent")
        world = NextBoot(directory, "boot-2", at_once=False)
        _tune(world.database, synchronous, checkpoint_pages)
        mark("PowerLoss stop")
        world.plants[1].meter_answers = True
        world.advance(6.0)
        mark("delivery of the PowerLoss stop")
        world.queue.delivers = True
        world.advance(2.0)
        mark("next start")
        world.queue.delivers = False
        world.plants[1].unplug()
        world.advance(1.0)
        world.plants[1].plug_in()
        world.advance(1.0)
        world.card()
        world.advance(5.0)
        mark("end in good order")
        service = world.service
        assert service is not None
        service.end()
        world.kill()
        world.plants[1].lose_power()
        world.boot_id = "boot-3"
        mark("intent of the Reboot stop")
        world.start()
        _tune(world.database, synchronous, checkpoint_pages)
        mark("Reboot stop")
        world.advance(3.0)
        mark("its delivery")
        world.queue.delivers = True
        world.advance(2.0)
        mark("end of the process")
        world.kill()

    return scenario


def lost(*, synchronous: str = "FULL", checkpoint_pages: int | None = CHECKPOINT_PAGES) -> Scenario:
    """A journal begun anew, as the queue knows later numbers; and a transaction that this database has lost is closed."""

    def scenario(directory: Path, mark: Mark) -> None:
        mark("open")
        world = ConnectorsWorld(directory)
        _tune(world.database, synchronous, checkpoint_pages)
        mark("session that waits")
        world.queue.delivers = False
        world.plants[1].plug_in()
        world.advance(1.0)
        world.card()
        world.advance(5.0)
        world.card()
        world.advance(5.0)
        mark("journal begun anew")
        _claim_later_numbers(world)
        world.advance(2.0)
        mark("delivery")
        world.queue.delivers = True
        world.advance(2.0)
        mark("lost transaction closed")
        world.queue.delivers = False
        world.queue.call(LOST, lambda _: None)
        world.advance(2.0)
        mark("delivery of its stop")
        world.queue.delivers = True
        world.advance(2.0)
        mark("end of the process")
        world.kill()

    return scenario


def kept(*, synchronous: str = "FULL", checkpoint_pages: int | None = CHECKPOINT_PAGES) -> Scenario:
    """By hand: queued again, taken in. The publisher's journal begun anew; a saved store filled again; a boot after a cut.

    What salvage leaves is made here: its mark, and a message that is missing.
    """

    def scenario(directory: Path, mark: Mark) -> None:
        mark("open")
        world = QueueWorld(directory, configuration={"TransactionMessageAttempts": "1"})
        world.connectors_forget = True
        _tune(world.database, synchronous, checkpoint_pages)
        _tune(world.connectors.database, synchronous, checkpoint_pages)
        mark("given up")
        give_up(world, "StartTransaction")
        world.link.offline()
        mark("queued again by hand")
        assert ask(world, QueueTransactionAgain("tx")).changed
        mark("taken in by hand")
        given = KeptTransaction("tx-old", None, {}, handover.of_entries(session("tx-old", 400.0))["tx-old"])
        assert ask(world, TakeInTransaction(msgspec.json.encode(given).decode())).changed
        mark("publisher's journal begun anew")
        world.connectors.write(*session("tx-2", 800.0))
        world.connectors.begin_incarnation()
        mark("saved from damage, without a message")
        world.kill_queue()
        with closing(open_database(str(directory / "transactions.db"))) as database, transaction(database):
            database.execute("INSERT INTO store (name, value) VALUES (?, 'was damaged')", (SALVAGED,))
            database.execute("DELETE FROM messages WHERE local_tx_id = 'tx-2' AND number = 1")
        mark("filled again")
        world.start_queue()
        _tune(world.database, synchronous, checkpoint_pages)
        world.advance(90.0)
        mark("boot after a power cut")
        world.reboot("boot-b")
        _tune(world.database, synchronous, checkpoint_pages)
        _tune(world.connectors.database, synchronous, checkpoint_pages)
        world.link.clock()
        mark("all delivered")
        world.link.online()
        world.advance(60.0)
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


def _claim_later_numbers(world: ConnectorsWorld) -> None:
    """The queue says that it has numbers which this database has not given yet: then that is an older copy."""
    inbox = world.queue._inbox
    inbox._position = msgspec.structs.replace(inbox._position, last_seq=inbox._position.last_seq + 5)
    world.queue._node.publish(inbox._position, topic=position_topic(topic_named("journal.transaction.")))


def _tune(database: Any, synchronous: str, checkpoint_pages: int | None) -> None:
    if PRAGMAS[synchronous]:
        database.execute(PRAGMAS[synchronous])
    if checkpoint_pages is not None:
        database.execute(f"PRAGMA wal_autocheckpoint={checkpoint_pages}")
