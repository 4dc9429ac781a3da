"""The connectors service among its neighbours in memory: real nodes, real SQLite, `Plant` hardware, a virtual clock.

`World` joins the real `ConnectorsService` with a meter, a queue, a link and a reader that do just enough, over a bus of lists.
Nothing sleeps: `advance` moves the clock. The service can be killed at any effect (`Death`) and started again on what it left.
"""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from bus.calls import IncomingCall, Reply
from bus.database import open_database, transaction
from bus.logs import logger
from bus.messages import (
    Authorize,
    ClockState,
    CloseLostTransaction,
    ConnectorState,
    Delivered,
    DeliveryEntry,
    GivenUp,
    IdTagInfo,
    IdTagPresented,
    Message,
    MeterState,
    ReaderState,
    ReadMeter,
    StartTransaction,
    StopTransaction,
    TransactionEntry,
)
from bus.node import Node
from bus.salvage import open_store
from bus.streams import JournalIn, JournalOut
from bus.topics import topic_named
from bus.vocabulary import AuthorizationStatus
from services.connectors import events as e
from services.connectors.service import Board, ConnectorsService
from services.connectors.state import Connector
from services.connectors.store import SCHEMA
from services.hardware.contract import EvseDesired
from tests.connectors.bench import ONLINE
from tests.connectors.plant import Plant

STEP_S = 0.25
PERIOD_S = 1.0
UTC_OFFSET_S = 1_800_000_000.0


class Death(BaseException):
    """The process dies here: nothing catches it but the test."""


class MortalService(ConnectorsService):
    """The real service, with a last effect. `lives` counts down with each thing that it does; at 0 it dies instead."""

    def __init__(self, *args: object, lives: list[int], **kwargs: object) -> None:
        self._lives = lives
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def _spend(self) -> None:
        self._lives[0] -= 1
        if self._lives[0] < 0:
            raise Death

    def _do(self, effect: e.Effect) -> None:
        self._spend()
        super()._do(effect)

    def _commit(self, changes: tuple[e.Change, ...]) -> None:
        self._spend()
        super()._commit(changes)
        self._spend()

    def _store_delivery(self, entry: DeliveryEntry) -> None:
        self._spend()
        super()._store_delivery(entry)
        self._spend()

    def _deliveries_stored(self) -> None:
        self._spend()
        super()._deliveries_stored()


class World:
    """Everything around the service. `lives`: how many things the process still does before it dies; `next_lives`: the next
    one. `power_fails_with_it`: a death is a power cut."""

    def __init__(
        self, directory: Path, *, connectors: int = 1, configuration: dict[str, str] | None = None, socket: bool = False
    ) -> None:
        self.directory = directory
        self.now_s = 100.0
        self.boot_id = "boot-1"
        self.plants = {number: Plant(number) for number in range(1, connectors + 1)}
        for plant in self.plants.values():
            plant.has_lock = socket
        self.orders: list[tuple[float, int, EvseDesired]] = []
        self.configuration = {"AuthorizeRemoteTxRequests": "true", **(configuration or {})}
        self.answers_authorize = True
        self.info = IdTagInfo(AuthorizationStatus.ACCEPTED)
        self.link_state = ONLINE
        self.clock = ClockState("system", UTC_OFFSET_S)
        self.unanswered: list[IncomingCall] = []
        self.authorized: list[str] = []
        self.nodes: dict[str, Node] = {}
        self.deaths = 0
        self.lives: list[int] = [10**9]
        self.next_lives = 10**9
        self.power_fails_with_it = False
        self.stop_s = 0.0
        self._incarnation = 0
        self._period_due_s = 0.0
        self.link = self._node("ocpp_link")
        self.meter = self._node("meter")
        self.reader = self._node("rfid")
        self.queue = Queue(self)
        self.link.serve(Authorize, self._answer_authorize)
        self.meter.serve(ReadMeter, self._answer_read)
        self.link.watch(ConnectorState, lambda _, __: None)
        self.service: MortalService | None = None
        self.start()
        self.advance(1.0)

    def start(self) -> None:
        """A new process of the service, on the database that the last one left."""
        node = self._node("connectors")
        opened = open_store(str(self.directory / "connectors.db"), SCHEMA)
        self.database, self.damage = opened.database, opened.problem
        board = Board(boot_id=self.boot_id, node=node, database=self.database, log=logger("connectors"), output=self)
        self.problems: dict[str, str | None] = {}
        board.set_problem = self.problems.__setitem__
        try:
            self.service = MortalService(
                board,
                tuple(Connector(number, 32.0, socket=plant.has_lock) for number, plant in self.plants.items()),
                supply_current_a=32.0,
                charge_before_first_acceptance=False,
                configuration=self.configuration,
                lives=self.lives,
            )
        except Death:
            self._bury()
            return
        for other in self.nodes.values():
            # The broker replays the last values; here their owners say them again.
            if other is not node:
                other.broker_attached()

    def kill(self) -> None:
        """SIGKILL: what it had not flushed is lost; the hardware goes on."""
        self._bury()

    def advance(self, seconds: float) -> None:
        """Let everybody live for so long. A process that died is started again after half a second."""
        end_s = self.now_s + seconds
        down_s = 0.0
        while self.now_s < end_s - 1e-9:
            self.now_s = round(self.now_s + STEP_S, 3)
            for plant in self.plants.values():
                plant.pass_time(STEP_S)
            if self.service is None:
                down_s += STEP_S
                if down_s >= 0.5:
                    down_s = 0.0
                    self.start()
            self._step()

    def set_desired(self, connector_id: int, desired: EvseDesired) -> None:
        """The service's output."""
        self.orders.append((self.now_s, connector_id, desired))
        plant = self.plants[connector_id]
        plant.desired = plant.order = desired

    def card(self, id_tag: str = "TAG") -> None:
        """A card is presented at the reader."""
        self.reader.emit(IdTagPresented(id_tag, self.now_s))
        self._settle()

    def call(self, request: Message) -> list[object]:
        """The link calls; the list gets the reply."""
        replies: list[object] = []
        self.link.call(request, timeout_s=10.0, on_reply=replies.append)
        self._settle()
        return replies

    def shown(self, number: int = 1) -> ConnectorState | None:
        """What the bus says of a connector."""
        return self.link.latest(ConnectorState, str(number))

    def on_guard(self, action: Callable[[], None]) -> None:
        """Do something that the process may die of."""
        try:
            action()
        except Death:
            self._bury()

    def _step(self) -> None:
        if self.now_s >= self._period_due_s:
            self._period_due_s = self.now_s + PERIOD_S
            for number, plant in self.plants.items():
                if plant.meter_answers:
                    self.meter.publish(plant.sample(self.now_s), str(number))
                    self.meter.publish(MeterState(number), str(number))
            self.reader.publish(ReaderState())
            self.link.publish(self.link_state)
            self.link.publish(self.clock)
        if self.service is not None:
            self.on_guard(self._observe)
        self._settle()
        for node in list(self.nodes.values()):
            if node.service != "connectors" or self.service is not None:
                self.on_guard(node.tick)
        self.queue.tick()
        if self.service is not None:
            self.on_guard(self.service.tick)
        self._settle()

    def _observe(self) -> None:
        for number, plant in self.plants.items():
            if self.service is not None:
                failed = e.EvseFailed(number, "port vanished")
                self.service.feed(e.EvseObserved(number, plant.observation()) if plant.answers else failed)

    def _settle(self) -> None:
        """Carry frames until nobody has any to send."""
        busy = True
        while busy:
            busy = False
            for node in list(self.nodes.values()):
                for frame in node.take_outgoing():
                    busy = True
                    for other in list(self.nodes.values()):
                        self._hand_over(other, frame)

    def _hand_over(self, node: Node, frame: tuple[bytes, bytes]) -> None:
        if any(frame[0].startswith(prefix) for prefix in node.subscriptions()):
            self.on_guard(lambda: node.receive(list(frame)))

    def _node(self, service: str) -> Node:
        self._incarnation += 1
        node = Node(service, incarnation=self._incarnation, now=lambda: self.now_s, log=logger(service))
        self.nodes[service] = node
        return node

    def _bury(self) -> None:
        self.deaths += 1
        self.nodes.pop("connectors", None)
        self.database.close()
        self.service = None
        self.lives, self.next_lives = [self.next_lives], 10**9
        if self.power_fails_with_it:
            self.boot_id += "+"
            for plant in self.plants.values():
                plant.lose_power()

    def _answer_authorize(self, request: Authorize, call: IncomingCall) -> None:
        self.authorized.append(request.id_tag)
        if self.answers_authorize:
            call.answer(self.info)
        else:
            self.unanswered.append(call)

    def _answer_read(self, request: ReadMeter, call: IncomingCall) -> None:
        plant = self.plants[request.connector_id]
        if plant.meter_answers:
            call.answer(plant.sample(self.now_s))


class Queue:
    """The queue's end of both journals: keeps what it gets, and delivers each message at once while `delivers`."""

    def __init__(self, world: World) -> None:
        self._node = world._node("transaction_queue")
        self.database: sqlite3.Connection = open_database(":memory:")
        self.entries: list[TransactionEntry] = []
        self._storing: list[TransactionEntry] = []
        self.delivers = True
        self.info: IdTagInfo | None = IdTagInfo(AuthorizationStatus.ACCEPTED)
        self.stop_info: IdTagInfo | None = None
        self.out = JournalOut(self._node, self.database, topic_named("journal.delivery."), logger("transaction_queue"))
        self._inbox = JournalIn(
            self._node,
            self.database,
            topic_named("journal.transaction."),
            store=self._store,
            stored=self._stored,
        )
        self.waiting: list[TransactionEntry] = []

    def tick(self) -> None:
        """Time passes; deliver what waits."""
        while self.delivers and self.waiting:
            self._deliver(self.waiting.pop(0))
        self.out.tick()

    def call(self, request: CloseLostTransaction, on_reply: Callable[[Reply], None]) -> None:
        """Ask the service."""
        self._node.call(request, timeout_s=5.0, on_reply=on_reply)

    def deliver_next(self) -> None:
        """Deliver the oldest that waits."""
        self._deliver(self.waiting.pop(0))

    def give_up_next(self) -> None:
        """Give the oldest that waits up."""
        entry = self.waiting.pop(0)
        with transaction(self.database):
            self.out.outbox.append(DeliveryEntry(entry.local_tx_id, entry.number, GivenUp("failed 3 times")))
        self.out.send()

    def _store(self, entry: TransactionEntry) -> None:
        self.entries.append(entry)
        self._storing.append(entry)

    def _stored(self) -> None:
        self.waiting += self._storing
        self._storing.clear()

    def _deliver(self, entry: TransactionEntry) -> None:
        outcome = Delivered()
        if isinstance(entry.message, StartTransaction):
            outcome = Delivered(4711, self.info)
        elif isinstance(entry.message, StopTransaction):
            outcome = Delivered(None, self.stop_info)
        with transaction(self.database):
            self.out.outbox.append(DeliveryEntry(entry.local_tx_id, entry.number, outcome))
        self.out.send()
