"""A queue among its neighbours in memory: real nodes, real databases, a virtual clock, a bus of lists.

`World` joins the real `TransactionQueue` with a `FakeLink` that answers Deliver as a test tells it, and `FakeConnectors` that
journals with the real outbox. Nothing sleeps: `advance` moves the clock from deadline to deadline.
"""

from collections.abc import Callable
from typing import Any

from bus.calls import IncomingCall
from bus.database import open_database, transaction
from bus.logs import logger
from bus.messages import (
    ClockState,
    ConfigurationState,
    Deliver,
    Delivered,
    DeliveryEntry,
    DeliveryReport,
    Failed,
    LinkState,
    MeterValue,
    MeterValues,
    Moment,
    NotSent,
    QueueState,
    SampledValue,
    StartTransaction,
    StopTransaction,
    TransactionEntry,
    TransactionMessage,
)
from bus.node import Node
from bus.salvage import open_store
from bus.streams import JournalIn, JournalOut
from bus.topics import topic_named
from bus.vocabulary import Measurand, ReadingContext, Reason, RegistrationStatus
from services.connectors.store import forget_entry
from services.transaction_queue.schema import SCHEMA
from services.transaction_queue.service import Surroundings, TransactionQueue
from services.transaction_queue.space import Warden

BOOT = "boot-a"
UTC_0_MS = 1_800_000_000_000
Outcome = Delivered | Failed | NotSent | None


def moment(at_s: float, boot_id: str = BOOT, *, known: bool = True, offset_ms: int = UTC_0_MS) -> Moment:
    boottime_ms = round(at_s * 1000)
    return Moment(boot_id, boottime_ms, boottime_ms + offset_ms if known else None)


def start(at: Moment, wh: int = 1000) -> StartTransaction:
    return StartTransaction(1, "TAG", wh, at)


def meter_values(at: Moment, wh: int = 1500) -> MeterValues:
    value = SampledValue(str(wh), ReadingContext.SAMPLE_PERIODIC, Measurand.ENERGY_ACTIVE_IMPORT_REGISTER)
    return MeterValues(1, (MeterValue(at, (value,)),))


def stop(at: Moment, wh: int = 2000) -> StopTransaction:
    return StopTransaction(1, wh, at, Reason.LOCAL, "TAG")


def session(local_tx_id: str, at_s: float = 1.0, *, boot_id: str = BOOT, known: bool = True) -> list[TransactionEntry]:
    """A whole transaction of three messages, a minute apart."""
    messages: list[TransactionMessage] = [
        start(moment(at_s, boot_id, known=known)),
        meter_values(moment(at_s + 60, boot_id, known=known)),
        stop(moment(at_s + 120, boot_id, known=known)),
    ]
    return [TransactionEntry(local_tx_id, number, message) for number, message in enumerate(messages)]


class FakeLink:
    """The link's end: answers Deliver through `answer`, which returns an outcome or None for silence."""

    def __init__(self, world: "World", incarnation: int) -> None:
        self._world = world
        self.node = Node("ocpp_link", incarnation=incarnation, now=lambda: world.now_s, log=logger("ocpp_link"))
        self.connection = 0
        self.answer: Callable[[Deliver], Outcome] = world.central_system
        self.waiting: list[tuple[Deliver, IncomingCall]] = []
        self.cancelled: list[str] = []
        self.node.serve(Deliver, self._deliver)
        self.node.on_cancel(self.cancelled.append)

    def online(self, connection: int | None = None) -> None:
        self.connection = self.connection + 1 if connection is None else connection
        self._say(LinkState(True, RegistrationStatus.ACCEPTED, self.connection))

    def offline(self) -> None:
        self._say(LinkState(False, RegistrationStatus.ACCEPTED, self.connection))

    def pending(self) -> None:
        """Still connected, but not accepted any more."""
        self._say(LinkState(True, RegistrationStatus.PENDING, self.connection))

    def clock(self, offset_s: float | None = UTC_0_MS / 1000) -> None:
        self.node.publish(ClockState("central_system" if offset_s is not None else "none", offset_s))
        self._world.settle()

    def configure(self, **values: int) -> None:
        self.node.publish(ConfigurationState({key: str(value) for key, value in values.items()}))
        self._world.settle()

    def report(self, index: int, outcome: Delivered | Failed | NotSent, connection: int | None = None) -> None:
        """Answer a call that was met with silence."""
        request, call = self.waiting.pop(index)
        call.answer(DeliveryReport(request.unique_id, outcome, self.connection if connection is None else connection))
        self._world.settle()

    def _say(self, state: LinkState) -> None:
        self.node.publish(state)
        self._world.settle()

    def _deliver(self, request: Deliver, call: IncomingCall) -> None:
        self._world.sent.append(request)
        outcome = self.answer(request)
        if outcome is None:
            self.waiting.append((request, call))
        else:
            call.answer(DeliveryReport(request.unique_id, outcome, self.connection))


class FakeConnectors:
    """The journal's other end, on a database of its own."""

    def __init__(self, world: "World", incarnation: int) -> None:
        self._world = world
        self.node = Node("connectors", incarnation=incarnation, now=lambda: world.now_s, log=logger("connectors"))
        self.database = open_database(str(world.directory / "connectors.db"))
        self.journal = JournalOut(self.node, self.database, topic_named("journal.transaction."), logger("connectors"))
        self.outcomes: list[DeliveryEntry] = []
        self.inbox = JournalIn(
            self.node,
            self.database,
            topic_named("journal.delivery."),
            store=self._store,
            stored=lambda: None,
        )

    def _store(self, entry: DeliveryEntry) -> None:
        self.outcomes.append(entry)
        if self._world.connectors_forget:
            forget_entry(self.journal.outbox, entry)

    def forget_all(self) -> None:
        """As if this database had been lost: nothing will be sent again."""
        self.database.execute("DELETE FROM journal_out")

    def write(self, *entries: TransactionEntry) -> None:
        with transaction(self.database):
            for entry in entries:
                self.journal.outbox.append(entry, f"{entry.local_tx_id}/{entry.number}")
        self.journal.send()
        self._world.settle()

    def begin_incarnation(self) -> None:
        """As if the database had been restored from a copy: all that is kept is sent again."""
        self.journal.outbox.begin_incarnation()
        self.journal.send()
        self._world.advance(15)


class World:
    """Time, bus and all three services."""

    def __init__(self, directory, *, configuration: dict[str, str] | None = None) -> None:
        self.directory = directory
        self.now_s = 1000.0
        self.boot_id = BOOT
        self.run_id = "run-1"
        self.configuration = configuration or {}
        self.sent: list[Deliver] = []
        self.states: list[QueueState] = []
        self.problems: dict[str, str] = {}
        self.warden: Callable[[], Warden | None] = lambda: None
        """Who looks after the disk."""
        self.wrap: Callable[[Any], Any] = lambda database: database
        """Around the queue's connection: lets a test fail its statements."""
        self.connectors_forget = False
        """Whether entries are dropped once they are delivered or given up, as the real service does."""
        self.transaction_ids = iter(range(101, 10_000_000))
        self._incarnation = 0
        self._ids = 0
        self.link: FakeLink | None = FakeLink(self, self._next_incarnation())
        self.connectors = FakeConnectors(self, self._next_incarnation())
        self.observer = Node("watchdog", incarnation=1, now=lambda: self.now_s, log=logger("watchdog"))
        self.observer.watch(QueueState, lambda _, state: self.states.append(state))
        self.queue: TransactionQueue | None = None
        self.start_queue()

    def central_system(self, request: Deliver) -> Outcome:
        """Accepts everything."""
        if isinstance(request.message, StartTransaction):
            return Delivered(transaction_id=next(self.transaction_ids))
        return Delivered()

    def start_queue(self) -> None:
        self.node = Node(
            "transaction_queue", incarnation=self._next_incarnation(), now=lambda: self.now_s, log=logger("transaction_queue")
        )
        opened = open_store(str(self.directory / "transactions.db"), SCHEMA)
        self.damage = opened.problem
        self.database = self.wrap(opened.database)
        surroundings = Surroundings(
            boot_id=self.boot_id,
            run_id=self.run_id,
            unique_id=self._unique_id,
            log=logger("transaction_queue"),
            set_problem=self._set_problem,
            warden=self.warden(),
        )
        self.queue = TransactionQueue(self.node, self.database, surroundings, configuration=self.configuration)
        self._replay()
        self.settle()

    def kill_queue(self) -> None:
        """As by SIGKILL: what is not committed is gone; what it was about to send may have gone out, so here it does."""
        self.queue = None
        frames = self.node.take_outgoing()
        self._carry(frames)
        self.database.close()

    def restart_queue(self) -> None:
        self.kill_queue()
        self.start_queue()

    def kill_link(self) -> None:
        self.link = None

    def start_link(self, connection: int = 0) -> FakeLink:
        self.link = FakeLink(self, self._next_incarnation())
        self.link.connection = connection
        return self.link

    def reboot(self, boot_id: str, *, now_s: float = 10.0) -> None:
        """A power cut: everything starts again on another hardware boot, with a clock that nobody knows."""
        self.kill_queue()
        self.boot_id, self.run_id, self.now_s = boot_id, f"run-{boot_id}", now_s
        self.connectors.database.close()
        self.link = FakeLink(self, self._next_incarnation())
        self.connectors = FakeConnectors(self, self._next_incarnation())
        self.observer = Node("watchdog", incarnation=self._incarnation, now=lambda: self.now_s, log=logger("watchdog"))
        self.observer.watch(QueueState, lambda _, state: self.states.append(state))
        self.start_queue()

    def advance(self, seconds: float) -> None:
        """Move the clock from deadline to deadline, at most `seconds` on."""
        until_s = self.now_s + seconds
        for _ in range(200_000):
            self.settle()
            deadline_s = min((d for d in self._deadlines() if d is not None), default=until_s)
            if deadline_s > until_s:
                break
            self.now_s = max(self.now_s, deadline_s)
            self._tick()
            if self.now_s >= until_s:
                break
        self.now_s = until_s
        self._tick()
        self.settle()

    def settle(self) -> None:
        """Carry frames until nobody has any to send."""
        for _ in range(1_000_000):
            frames = [frame for node in self._nodes() for frame in node.take_outgoing()]
            if not frames:
                put_off = [node.do_afterwards() for node in self._nodes()]
                if not any(put_off):
                    return
            self._carry(frames)
        raise AssertionError("the services never come to rest")

    def _carry(self, frames: list[tuple[bytes, bytes]]) -> None:
        for name, body in frames:
            for node in self._nodes():
                if any(name.startswith(prefix) for prefix in node.subscriptions()):
                    node.receive([name, body])

    def rows(self, table: str) -> list[dict]:
        cursor = self.database.execute(f"SELECT * FROM {table}")
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]

    def said(self) -> list[tuple[str, int | None]]:
        """What went to the Central System: action and transactionId."""
        return [(type(request.message).__name__, request.transaction_id) for request in self.sent]

    def ids(self) -> list[str]:
        return [request.unique_id for request in self.sent]

    def _nodes(self) -> list[Node]:
        nodes = [self.connectors.node, self.observer]
        if self.link is not None:
            nodes.append(self.link.node)
        if self.queue is not None:
            nodes.append(self.node)
        return nodes

    def _replay(self) -> None:
        """A new subscriber gets the last values, as from the broker."""
        for node in self._nodes():
            node.broker_attached()

    def _deadlines(self) -> list[float | None]:
        deadlines = [node.next_deadline_s() for node in self._nodes()]
        deadlines.append(self.connectors.journal.next_deadline_s())
        if self.queue is not None:
            deadlines.append(self.queue.next_deadline_s())
        return deadlines

    def _tick(self) -> None:
        for node in self._nodes():
            node.tick()
        self.connectors.journal.tick()
        if self.queue is not None:
            self.queue.tick()
        self.settle()

    def _next_incarnation(self) -> int:
        self._incarnation += 1
        return self._incarnation

    def _unique_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def _set_problem(self, name: str, text: str | None) -> None:
        if text is None:
            self.problems.pop(name, None)
        else:
            self.problems[name] = text
