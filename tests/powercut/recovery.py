"""The station comes back after a power cut: on what disk, and what has to come of it.

`torn_in` is a disk that a cut of a session has left, with a torn write at the end of its log; on it a recovery is recorded, to
be cut in turn. `OneStopEach` and `all_delivered` let the real services go on from each commit: a cut there, and the next boot.

Owns: the next boot, and what is demanded of it. Does not: cut (`proof.py`), or say what is recorded (`scenarios.py`).
"""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from bus.messages import CloseLostTransaction, Message, MeterValues, StartTransaction, StopTransaction, TransactionEntry
from bus.salvage import open_store
from bus.vocabulary import Reason
from services.connectors import store as connectors_store
from services.connectors.open_transaction import Transaction
from services.connectors.recovery import Loaded
from tests.connectors.world import World
from tests.powercut.proof import Record, gone_on
from tests.powercut.recorder import Commit, Sync
from tests.powercut.replay import Bounds, Image, cuts, whole
from tests.transaction_queue.world import BOOT
from tests.transaction_queue.world import World as QueueWorld

REGISTER_WH = 5000.0
"""Of the meter at a boot after a cut: above all that a session has charged before."""
SETTLED_S = 3.0
QUEUE_SETTLED_S = 100.0
"""Longer than a queue waits for what it has lost."""
FILE = "connectors.db"
ACTIONS = [kind.__name__ for kind in (StartTransaction, MeterValues, StopTransaction)]
Written = dict[tuple[str, int], Message]
"""Messages of the journal by transaction and number."""


class NextBoot(World):
    """The station at a boot after a power cut, on the disk that this left; the plug is still in, the queue's store is new."""

    def __init__(self, directory: Path, boot_id: str, *, at_once: bool = True) -> None:
        """`at_once` False: the meter does not answer yet, and the queue does not deliver."""
        self._next_boot_id = boot_id
        self._at_once = at_once
        super().__init__(directory)

    def start(self) -> None:
        """At the very first start the boot is another one, and the hardware is as it was left."""
        if self.boot_id == "boot-1":
            self.boot_id = self._next_boot_id
            self.queue.delivers = self.plants[1].meter_answers = self._at_once
            self.plants[1].plug_in()
            self.plants[1].register_wh = REGISTER_WH
        super().start()


def torn_in(record: Record, step: str, commit: int) -> tuple[Image, Written]:
    """What a cut before the sync of a `commit`-th commit leaves: parts of its writes; and what was journalled until then.

    No choice of whole writes in their order looks like it.
    """
    ends = [at for at, event in enumerate(record.events, 1) if isinstance(event, Commit) and record.step(at) == step]
    events = record.events[: ends[commit] - 2]
    synced = max(at for at, event in enumerate(events, 1) if isinstance(event, Sync))
    in_order = [whole(record.before, events[:at]) for at in range(synced, len(events) + 1)]
    last = [cut.image for cut in cuts(in_order[0], events[synced:], Bounds(singles=0)) if cut.at == len(events) - synced]
    image = next(image for image in last if image not in in_order)
    written: Written = {}

    def note(directory: str) -> str:
        written.update(_written_in(Path(directory)))
        return ""

    gone_on(msgspec.structs.replace(record, events=events), note)
    return image, written


class OneStopEach:
    """Of each transaction that began: one start, all between, one stop, each written once; and nothing charges meanwhile.

    To be asked after each commit in turn. `earlier`: what was written before the record. `lost`: what the queue asks for at
    each boot. The stop has the reason that was committed, else PowerLoss, or Reboot if ever an orderly end was noted: scenarios
    have a reboot after it.
    """

    def __init__(
        self, earlier: Mapping[tuple[str, int], Message] | None = None, lost: CloseLostTransaction | None = None
    ) -> None:
        self._written: Written = dict(earlier or {})
        self._lost = lost
        self._rebooted: set[str] = set()

    def __call__(self, directory: str) -> str:
        """What is wrong with what the real service makes of this disk at its next boot; empty: nothing."""
        path = Path(directory)
        self._written |= _written_in(path)
        before = loaded(path)
        self._rebooted |= {one.local_tx_id for one in before.transactions if one.started_at.boot_id == before.ended_boot_id}
        world = NextBoot(path, "boot-next")
        world.advance(SETTLED_S)
        if self._lost is not None:
            world.queue.call(self._lost, lambda _: None)
            world.advance(1.0)
        entries = list(world.queue.entries)
        orders = [desired for _, _, desired in world.orders if desired.energy_allowed]
        world.kill()
        return (
            ("energy was offered though nobody has asked for it" if orders else "")
            or ("a transaction is open after the recovery" if loaded(path).transactions else "")
            or _twice(entries, self._written)
            or next(filter(None, map(_incomplete, _by_transaction(self._written, entries))), "")
            or next(filter(None, (self._wrong_stop(one, entries) for one in before.transactions)), "")
            or self._no_stop_of_lost(entries)
        )

    def _wrong_stop(self, transaction: Transaction, entries: list[TransactionEntry]) -> str:
        """A transaction that was open: whether its stop is as the disk had it."""
        reason = Reason.REBOOT if transaction.local_tx_id in self._rebooted else Reason.POWER_LOSS
        reason = reason if transaction.stop is None else transaction.stop.reason
        for entry in entries:
            if entry.local_tx_id == transaction.local_tx_id and isinstance(entry.message, StopTransaction):
                if entry.message.reason is not reason:
                    return f"the reason is {entry.message.reason}, not {reason}"
                if entry.message.meter_stop_wh < transaction.last.energy_wh:
                    return f"the stop is at {entry.message.meter_stop_wh} Wh, {transaction.last.energy_wh} Wh were on the disk"
                return ""
        return "a transaction that was open got no stop"

    def _no_stop_of_lost(self, entries: list[TransactionEntry]) -> str:
        names = {name for name, _ in self._written} | {entry.local_tx_id for entry in entries}
        return "" if self._lost is None or self._lost.local_tx_id in names else "a transaction that is lost here got no stop"


class NextQueueBoot(QueueWorld):
    """The queue and the publisher of its journal at a boot after a power cut, on the disk that this left."""

    def start_queue(self) -> None:
        """At the very first start the boot is another one."""
        if self.boot_id == BOOT:
            self.boot_id, self.now_s, self.connectors_forget = "boot-next", 10.0, True
        super().start_queue()


def all_delivered(directory: str) -> str:
    """What is wrong with what the real queue makes of this disk at its next boot; empty: nothing.

    All that waited goes out once, each transaction in its order, and the publisher hears of everything what became of it. One
    that the publisher takes for stored, and the queue does not have, would stay there for ever.
    """
    world = NextQueueBoot(Path(directory), configuration={"TransactionMessageAttempts": "1"})
    link = world.link
    assert link is not None
    waiting = {(row["local_tx_id"], row["action"]) for row in world.rows("messages")}
    link.clock()
    link.online()
    world.advance(QUEUE_SETTLED_S)
    sent = [(request.local_tx_id, type(request.message).__name__) for request in world.sent]
    left = world.rows("messages")
    kept = [entry.seq for entry in world.connectors.journal.outbox.after(0, 1000)]
    world.kill_queue()
    world.connectors.database.close()
    return (
        (f"{len(left)} messages still wait" if left else "")
        or (f"{waiting - set(sent)} waited, and did not go out" if waiting - set(sent) else "")
        or ("a message went out twice" if len(sent) != len(set(sent)) else "")
        or (f"the publisher does not know what became of {kept}" if kept else "")
        or _out_of_order(sent)
    )


def _out_of_order(sent: list[tuple[str, str]]) -> str:
    """Whether a transaction's messages went out in another order than that in which they happen."""
    for name in dict.fromkeys(name for name, _ in sent):
        actions = [action for other, action in sent if other == name]
        if actions != sorted(actions, key=ACTIONS.index):
            return f"transaction {name} went out as {actions}"
    return ""


def _twice(entries: list[TransactionEntry], written: Mapping[tuple[str, int], Message]) -> str:
    """Whether a number was given to two messages, or a message out of its order."""
    last: dict[str, int] = {}
    for entry in entries:
        message = written.get((entry.local_tx_id, entry.number), entry.message)
        if message != entry.message:
            return f"message {entry.number} was written as {message}, and again as {entry.message}"
        if entry.number <= last.get(entry.local_tx_id, -1):
            return f"message {entry.number} comes after message {last[entry.local_tx_id]}"
        last[entry.local_tx_id] = entry.number
    return ""


def _by_transaction(written: Mapping[tuple[str, int], Message], entries: list[TransactionEntry]) -> list[Written]:
    """All that was ever written, apart for each transaction, in the order of the numbers."""
    together = {**written, **{(entry.local_tx_id, entry.number): entry.message for entry in entries}}
    names = sorted({name for name, _ in together})
    return [{key: together[key] for key in sorted(together) if key[0] == name} for name in names]


def _incomplete(messages: Written) -> str:
    """What is wrong with the whole of a transaction. Of one that was lost here only the queue has the beginning."""
    numbers = [number for _, number in messages]
    kinds = [type(message) for message in messages.values()]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return f"of a transaction there are the messages {numbers}"
    if numbers[0] == 0 and kinds[0] is not StartTransaction:
        return f"a transaction begins with {kinds[0].__name__}"
    stops = kinds.count(StopTransaction)
    if stops != 1 or kinds[-1] is not StopTransaction or kinds.count(StartTransaction) > 1:
        return f"a transaction has {stops} stops: {', '.join(kind.__name__ for kind in kinds)}"
    return ""


def loaded(directory: Path) -> Loaded:
    """What the connectors service would take up."""
    with closing(open_store(str(directory / FILE), connectors_store.SCHEMA).database) as database:
        return connectors_store.Store(database).load()


def _written_in(directory: Path) -> Written:
    with closing(sqlite3.connect(directory / FILE, isolation_level=None)) as database:
        if not database.execute("SELECT 1 FROM sqlite_schema WHERE name = 'journal_out'").fetchone():
            return {}
        rows = database.execute("SELECT payload FROM journal_out WHERE stream = 'journal.transaction.'").fetchall()
    entries = [msgspec.json.decode(payload, type=TransactionEntry) for (payload,) in rows]
    return {(entry.local_tx_id, entry.number): entry.message for entry in entries}
