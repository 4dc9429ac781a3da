"""The station's processes: the real service classes on virtual hardware, bus, disk and line, and how each of them dies.

Owns: putting one process together as its `__main__` does, its turns, its end. Does not: decide when (`world.py`).

A turn is what the runtime does between two looks at its sockets: one thing is handled, then what it wants to say goes out.
A death within a turn takes along what was not committed and not sent.
"""

import sqlite3
from collections.abc import Callable
from typing import Any, Protocol

from bus import chance
from bus.database import open_database
from bus.node import Frame, Node
from services.configuration.model import StationConfig
from services.configuration.store import ConfigurationStore, read_configuration
from services.connectors import events as e
from services.connectors import unplugged
from services.connectors.service import Board as ConnectorsBoard
from services.connectors.service import ConnectorsService
from services.connectors.state import Connector
from services.hardware.contract import EvseDesired, MeterDesired, TokenSeen
from services.meter import quality
from services.meter.service import MeterService
from services.ocpp_link import core as link_core
from services.ocpp_link import rpc
from services.ocpp_link.service import Board as LinkBoard
from services.ocpp_link.service import LinkService
from services.rfid import presentation
from services.rfid.__main__ import RfidService
from services.transaction_queue import core as queue_core
from services.transaction_queue.service import Surroundings, TransactionQueue
from tests.simulation import remote_starts
from tests.simulation.bus import Subscriber, VirtualBus
from tests.simulation.central_system import CentralSystem, Line
from tests.simulation.clock import Clock
from tests.simulation.disk import Death, Disk, Life, connection_class
from tests.simulation.hardware import Point
from tests.simulation.ledger import Ledger
from tests.simulation.story import Story, StoryLog

SERVICES = ("ocpp_link", "connectors", "rfid", "meter", "transaction_queue")
CLOCK_LOOK_S = 10.0
QUEUE_LOOK_S = 20.0


class Board(Protocol):
    """What a process runs on."""

    clock: Clock
    bus: VirtualBus
    disk: Disk
    story: Story
    central: CentralSystem
    points: dict[int, Point]
    ledger: Ledger
    config: StationConfig
    run_id: str
    dice: Any

    def died(self, process: "Process", why: str) -> None:
        """A process has come to its end by itself."""

    def bug(self, process: "Process", error: Exception) -> None:
        """A process ends because of an error of its own."""

    def restart_station(self, hard: bool) -> None:
        """The link wants the station restarted."""

    def wake(self, seconds: float) -> None:
        """Something is going on: look closely for a while."""


class Process:
    """One process. After its death nothing of it is ever called again."""

    def __init__(self, name: str, board: Board) -> None:
        self.name = name
        self.life = Life()
        self.alive = True
        self._board = board
        self.log = StoryLog(name, board.story)
        self.node = Node(name, incarnation=round(board.clock.boottime_s() * 1e6), now=board.clock.boottime_s, log=self.log)
        self.databases: list[sqlite3.Connection] = []
        self._in_turn = False
        self._subscriber: Subscriber | None = None

    def start(self) -> bool:
        """Build the service and join the bus; False if that killed it."""
        try:
            self.build()
            # What was said before the broker knows of this process is lost on PUB/SUB; states are said again.
            self.node.take_outgoing()
            while self.node.do_afterwards():
                self.node.take_outgoing()
        except Death as death:
            self._board.died(self, f"at {death}")
            return False
        except sqlite3.Error as error:
            self._disk_failed(error)
            return False
        except Exception as error:
            self._board.bug(self, error)
            return False
        self._subscriber = Subscriber(self.name, self.node.subscriptions(), self._receive)
        self._board.bus.attach(self._subscriber)
        self.turn(self.node.broker_attached)
        return self.alive

    def build(self) -> None:
        """Put the service together."""
        raise NotImplementedError

    def turn(self, action: Callable[[], Any]) -> None:
        """Handle one thing, then say what is to be said."""
        if not self.alive:
            return
        assert not self._in_turn, "one thread decides"
        self._in_turn = True
        try:
            action()
            self._send()
            while self.node.do_afterwards():
                self._send()
        except Death as death:
            self._board.died(self, f"at {death}")
        except sqlite3.Error as error:
            self._disk_failed(error)
        except Exception as error:
            self._board.bug(self, error)
        finally:
            self._in_turn = False

    def _send(self) -> None:
        for frame in self.node.take_outgoing():
            self.life.spend(f"a frame on {frame[0].decode()}")
            self._board.bus.send(frame)

    def end(self) -> None:
        """The process is gone; what it has open is closed as the kernel does it: uncommitted changes never were."""
        self.alive = False
        if self._subscriber is not None:
            self._board.bus.detach(self._subscriber)
        self.life.left = None
        for database in self.databases:
            database.close()

    def look(self) -> None:
        """Poll the devices."""

    def tick(self) -> None:
        """Do what time demands."""
        self.node.tick()

    def due_s(self) -> float | None:
        """Boottime of what can't wait, beside the refreshing of states."""
        return self.node._calls_out.next_deadline_s()

    def _disk_failed(self, error: sqlite3.Error) -> None:
        if str(error) == self._board.disk.error:
            self._board.died(self, f"because of its disk: {error}")
        else:
            self._board.bug(self, error)

    def _receive(self, frames: list[Frame]) -> None:
        self.turn(lambda: self.node.receive_all(list(frame) for frame in frames))

    def _open(self, name: str) -> sqlite3.Connection:
        database = open_database(self._board.disk.path(name), connection_class(self.life, self._board.disk))
        self.databases.append(database)
        return database


class ConnectorsProcess(Process):
    """`services.connectors`, with its controllers."""

    def build(self) -> None:
        board = self._board
        boot_id = board.clock.boot_id
        own = ConnectorsBoard(boot_id=boot_id, node=self.node, database=self._open("connectors.db"), log=self.log, output=self)
        own.seen_unplugged = lambda: unplugged.read(board.disk.path(unplugged.FILE), boot_id, self.log)
        self.service = ConnectorsService(
            own,
            tuple(Connector(c.id, board.config.supply.max_current_a) for c in board.config.connectors),
            supply_current_a=board.config.supply.max_current_a,
            charge_before_first_acceptance=board.config.policy.charge_before_first_acceptance,
            configuration=read_configuration(board.disk.path("configuration.db"), board.config, lambda _: None),
        )

    def _receive(self, frames: list[Frame]) -> None:
        clock, ledger = self._board.clock, self._board.ledger
        remote_starts.given(ledger, frames, clock.true_s - clock.boottime_s())
        super()._receive(frames)
        if self.alive:
            remote_starts.handled(ledger, frames, clock.true_s)

    def set_desired(self, connector_id: int, desired: EvseDesired) -> None:
        """The service's output."""
        point = self._board.points[connector_id]
        if desired != point.desired:
            self._board.wake(4.0)
        self.life.spend("an order to the controller")
        point.set_desired(desired)
        self.life.spend("an order to the controller was given")

    def look(self) -> None:
        for number, point in self._board.points.items():
            if point.answers:
                self.turn(lambda number=number, point=point: self.service.feed(e.EvseObserved(number, point.observation())))
            else:
                self.turn(lambda number=number: self.service.feed(e.EvseFailed(number, "no answer")))

    def tick(self) -> None:
        self.node.tick()
        self.service.tick()

    def due_s(self) -> float | None:
        return _earliest(super().due_s(), self.service.next_deadline_s())


class QueueProcess(Process):
    """`services.transaction_queue`."""

    def build(self) -> None:
        board = self._board
        own = Surroundings(board.clock.boot_id, board.run_id, chance.unique_id, self.log, lambda *_: None)
        configuration = read_configuration(board.disk.path("configuration.db"), board.config, lambda _: None)
        self.service = TransactionQueue(self.node, self._open("transactions.db"), own, configuration=configuration)

    def tick(self) -> None:
        self.node.tick()
        self.service.tick()

    def due_s(self) -> float | None:
        """Without its looks at the disk's free space; while something waits it is looked after now and then all the same."""
        own = (queue_core.next_deadline_s(self.service._state), self.service._journal.next_deadline_s())
        waits_s = self.node.now() + QUEUE_LOOK_S if self.service._store.depth else None
        return _earliest(super().due_s(), waits_s, *own)


class LinkProcess(Process):
    """`services.ocpp_link`, with its socket and its looks at the system clock."""

    def build(self) -> None:
        board = self._board
        store = ConfigurationStore(board.disk.path("configuration.db"), connection_class(self.life, board.disk))
        self.databases.append(store._database)
        self.line = Line(board.central, self.turn, self.life.spend)
        self._look_due_s = 0.0
        own = LinkBoard(
            node=self.node,
            store=store,
            socket=self.line,
            log=self.log,
            boot_id=board.run_id,
            random=board.dice.random,
            system_utc_s=board.clock.system_utc_s,
            restart_station=board.restart_station,
        )
        self.service = LinkService(own, board.config)
        self.line.service = self.service
        self._look_at_clock()

    def end(self) -> None:
        super().end()
        if hasattr(self, "line"):
            self.line.die()

    def tick(self) -> None:
        if self._look_due_s <= self.node.now():
            self._look_at_clock()
        self.node.tick()
        self.service.tick()

    def due_s(self) -> float | None:
        """Without the refresh of the link's last sign of life, which only people look at."""
        own = (rpc.next_deadline_mono_s(self.service._rpc), link_core.next_deadline_s(self.service._state))
        return _earliest(super().due_s(), *own)

    def _look_at_clock(self) -> None:
        clock = self._board.clock
        self._look_due_s = clock.boottime_s() + CLOCK_LOOK_S
        offset_s = clock.system_utc_s() - clock.boottime_s()
        self.service.system_clock(offset_s, synchronised=clock.synchronised)


class MeterProcess(Process):
    """`services.meter`, with its meters."""

    def build(self) -> None:
        supply = self._board.config.supply
        watts = supply.max_current_a * supply.phases * supply.voltage_v
        self.service = MeterService(self.node, self, self.log, dict.fromkeys(self._board.points, watts))
        self._wanted: set[int] = set()

    def set_desired(self, connector_id: int, desired: MeterDesired) -> None:  # noqa: ARG002
        """Somebody wants a reading that is not older than this: the meter is read in a moment."""
        self._wanted.add(connector_id)
        self._board.wake(1.0)

    def look(self) -> None:
        self._wanted.clear()
        for number, point in self._board.points.items():
            self._read(number, point)

    def look_where_wanted(self) -> None:
        """Read the meters that somebody waits for."""
        for number in sorted(self._wanted):
            self._wanted.discard(number)
            self._read(number, self._board.points[number])

    def tick(self) -> None:
        self.node.tick()
        self.service.tick()

    def _read(self, number: int, point: Point) -> None:
        if point.meter_answers:
            self.turn(lambda: self.service.feed(number, quality.ReadingTaken(point.reading())))
        else:
            self.turn(lambda: self.service.feed(number, quality.MeterDown("no answer")))


class RfidProcess(Process):
    """`services.rfid`, with its reader."""

    def build(self) -> None:
        self.service = RfidService(self.node, self.log, presentation.IdTagRules())

    def card(self, id_tag: str) -> None:
        """A card is held to the reader."""
        token = TokenSeen(id_tag, self._board.clock.boottime_s(), verbatim=True)
        self.turn(lambda: self.service.feed(presentation.TokenRead(token)))


CLASSES: dict[str, type[Process]] = {
    "ocpp_link": LinkProcess,
    "connectors": ConnectorsProcess,
    "rfid": RfidProcess,
    "meter": MeterProcess,
    "transaction_queue": QueueProcess,
}


def _earliest(*deadlines: float | None) -> float | None:
    return min((d for d in deadlines if d is not None), default=None)
