"""One simulated day: everything put together, and the loop that lets it live.

Owns: the order in which things happen, the supervisor, what the station's end and beginning mean. Does not: decide what goes
wrong (`plan.py`), know how to do it (`faults.py`), or judge (`judge.py`).

While something is going on, time passes in steps of a second at most and everybody polls once a second, as in the field.
Between that it passes in strides, to the next deadline of any service or half a minute at most while a plug is in: the board is
taken to sleep meanwhile, which CLOCK_BOOTTIME counts. After a stride everybody says all states again before anyone looks
at their age.
"""

import json
import random
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bus import chance
from tests.simulation import faults, lists, people, remote_starts, reservations
from tests.simulation.book import Book
from tests.simulation.bus import VirtualBus
from tests.simulation.central_system import CentralSystem
from tests.simulation.clock import Agenda, Clock
from tests.simulation.disk import Disk
from tests.simulation.entries import committed, undated
from tests.simulation.guard import Guard
from tests.simulation.hardware import Point
from tests.simulation.judge import DeadLetter, Finding
from tests.simulation.ledger import Death, Ledger, Span, entry_of
from tests.simulation.plan import DAY_S, Day
from tests.simulation.processes import CLASSES, SERVICES, MeterProcess, Process, RfidProcess
from tests.simulation.story import Story

STEP_S = 1.0
STRODE_S = 1.5
GLANCE_S = 0.05
STRIDE_S = 25.0
STRIDE_IDLE_S = 1200.0
RESTART_S = 0.6
RESTART_AGAIN_S = 5.0
BEREFT_S = 30.0
"""Within so long after the loss of `connectors.db` the queue has what it lost closed."""
DRAIN_S = 3600.0
"""Within so long after the last fault all must be delivered."""


class World:
    """Everything of one day. `run` lets it pass."""

    def __init__(self, day: Day, directory: Path) -> None:
        self.day = day
        self.config = day.config
        self.clock = Clock()
        self.agenda = Agenda()
        self.story = Story(self.clock)
        self.ledger = Ledger()
        self.dice = random.Random(f"{day.seed} station")
        self.bus = VirtualBus(self.clock, self.agenda, random.Random(f"{day.seed} bus"), random.Random(f"{day.seed} together"))
        self.disk = Disk(directory, self._disk_takes)
        self.disk.committed = lambda text: self.ledger.committed.append(committed(self.clock.true_s, json.loads(text)))
        self.disk.waits = lambda row: remote_starts.written(self.ledger, row, self.clock.true_s)
        self.central = CentralSystem(
            self.clock, self.agenda, random.Random(f"{day.seed} central"), self.story, self._entry_under
        )
        self.points = {
            c.id: Point(c.id, self.clock, self.ledger, register_wh=1000.0 * c.id + self.dice.randrange(10**6))
            for c in day.config.connectors
        }
        self.run_number = 1
        self.powered = True
        self.bugs: list[Finding] = []
        self.dead_letters: list[DeadLetter] = []
        self.given_up_ids: set[str] = set()
        self.exchanged: set[str] = set()
        """Stores that were lost, or replaced by an older copy."""
        self.only_in_queue = False
        """Whether the queue has messages that `connectors` has lost: nothing could bring both back."""
        self.processes: dict[str, Process] = {}
        self.away_s: dict[str, float] = {}
        """How long a process stays away after its next death."""
        self.power_fails_with: dict[str, float] = {}
        """Processes whose next death is a power cut, and how long it lasts."""
        self._learned: dict[str, Span] = {}
        """Boots that began without the time and learned it; only the queue's store knows what."""
        self._guard = Guard(self)
        self._lively_until_s = 0.0
        self._polled_s = 0.0
        self._visits: list[list[Any]] = []

    @property
    def run_id(self) -> str:
        """Of the application boot."""
        return f"{self.clock.boot_id}-run-{self.run_number}"

    @property
    def book(self) -> Book:
        """The Central System's."""
        return self.central.book

    def run(self) -> None:
        """The day, and the time to deliver what is left of it."""
        for plan in self.day.visits:
            self.agenda.at(plan.at_s, lambda plan=plan: self._begin_visit(plan))
        for sent in self.day.lists_sent:
            self.agenda.at(sent.at_s, lambda sent=sent: self._send_list(sent))
        for fault in self.day.faults:
            self.agenda.at(fault.at_s, lambda fault=fault: faults.begin(self, fault))
        for wish in self.day.wishes:
            self.agenda.at(wish.at_s, lambda wish=wish: reservations.ask(self, wish))
        self._start_all()
        self._live_until(DAY_S)
        faults.end_all(self)
        self.ledger.end_s = DAY_S
        self._live_until(DAY_S + 120.0)
        while self.clock.true_s < DAY_S + DRAIN_S and not self.drained():
            self._live_until(self.clock.true_s + 60.0)
        if self.knows_time():
            self.ledger.forget("clock unknown")
        lists.look(self)
        self.story.tell("people", "the day is over")

    def drained(self) -> bool:
        """Whether nothing waits for delivery any more."""
        kept = self.disk.rows("connectors.db", "SELECT count(*) FROM journal_out")
        waiting = self.disk.rows("transactions.db", "SELECT count(*) FROM messages")
        return kept == waiting == [(0,)]

    def may_lose(self, name: str) -> bool:
        """Whether what a store knows is known elsewhere too, as far as it is not delivered."""
        if self.exchanged - {name}:
            # Two stores from two pasts agree on nothing.
            return False
        if name == "connectors":
            return self.handed_over()
        if self.disk.rows("transactions.db", "SELECT count(*) FROM messages") == [(0,)]:
            self.only_in_queue = False
        return not self.only_in_queue

    def handed_over(self) -> bool:
        """Whether the queue has stored all that `connectors` has journalled."""
        query = "SELECT incarnation, last_seq FROM {0} WHERE stream = 'journal.transaction.'"
        written = self.disk.rows("connectors.db", query.format("journal_stream"))
        stored = self.disk.rows("transactions.db", query.format("journal_in"))
        return written == stored

    def close(self) -> None:
        """The end of everything."""
        for process in self.processes.values():
            process.end()

    def knows_time(self) -> bool:
        """Whether this boot has learned the time."""
        rows = self.disk.rows("transactions.db", "SELECT boot_id, utc_offset_ms, estimated FROM boots")
        return any(boot == self.clock.boot_id and offset is not None and not estimated for boot, offset, estimated in rows)

    def wake(self, seconds: float) -> None:
        """Something is going on."""
        self._lively_until_s = max(self._lively_until_s, self.clock.true_s + seconds)

    def wake_after_trouble(self) -> None:
        """Somebody is back: it takes longer where the queue may have to find what `connectors` has lost."""
        self.wake(BEREFT_S if "connectors" in self.exchanged else 4.0)

    def died(self, process: Process, why: str) -> None:
        """A process has come to its end by itself; the supervisor starts it again."""
        name = process.name
        self.story.tell("fault", f"{name} dies {why}")
        if name in self.power_fails_with:
            self.power_cut(self.power_fails_with.pop(name))
            return
        self.kill(name)

    def bug(self, process: Process, error: Exception) -> None:
        """A process ends because of an error of its own: that is a finding, and it is started again all the same."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{process.name}: {error!r} in {Path(place.filename).name}:{place.lineno}"
        self.bugs.append(Finding("no service dies of an error of its own", text, self.clock.true_s))
        self.story.tell("fault", f"BUG {text}")
        self.kill(process.name)

    def kill(self, name: str) -> None:
        """SIGKILL; the supervisor starts it again after a while."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        self._bury(process)
        away_s = self.away_s.pop(name, RESTART_AGAIN_S if self.disk.error else RESTART_S)
        run = (self.clock.boots, self.run_number)
        self.agenda.at(self.clock.true_s + away_s, lambda: self._start(name, run))
        self.wake(away_s + 4.0 if away_s < 10.0 else 4.0)

    def power_cut(self, lasts_s: float) -> None:
        """Everything is gone at once, un-synced data too."""
        if not self.powered:
            return
        self.story.tell("fault", f"the power fails for {lasts_s:.0f} s")
        self.ledger.deaths.append(Death(self.clock.true_s, "power", self._pending()))
        # A boot that ends without ever having known the time leaves estimates behind; one that learned it is repaired.
        unknown = self.ledger.open("clock unknown")
        if unknown is not None and self.knows_time():
            self.ledger.forget("clock unknown")
            self._learned[self.clock.boot_id] = Span("clock unknown", unknown.from_s, self.clock.true_s)
        self.ledger.end("clock unknown", self.clock.true_s)
        self.ledger.begin("power off", self.clock.true_s)
        self.powered = False
        for process in self._end_all():
            self.ledger.begin(f"{process.name} down", self.clock.true_s)
        for point in self.points.values():
            point.lose_power()
        self.agenda.at(self.clock.true_s + lasts_s, self._power_returns)

    def store_lost(self, name: str) -> None:
        """A store is gone, or an older one is in its place: what `connectors` still keeps may be delivered once more."""
        self.story.tell("fault", f"{name} is lost, or replaced by an older copy")
        rows = self.disk.rows("connectors.db", "SELECT payload FROM journal_out")
        entries = [json.loads(text) for (text,) in rows]
        if name == "transactions.db":
            self._forget_boots(entries)
        names = [entry_of(entry["local_tx_id"], entry["number"], entry["message"]["type"]) for entry in entries]
        # An older copy of the queue's store has messages that were delivered since.
        waiting = self.disk.rows("transactions.db", "SELECT local_tx_id, number, action FROM messages")
        names += [entry_of(*row) for row in waiting]
        self.exchanged.add(name.removesuffix(".db"))
        if name == "connectors.db":
            self.only_in_queue = True
            self.wake(BEREFT_S)
        self.ledger.deaths.append(Death(self.clock.true_s, f"store {name}", self._pending(), frozenset(names)))

    def _forget_boots(self, entries: list[dict[str, Any]]) -> None:
        """With the queue's store goes when earlier boots were: what is to be told of them, and was not dated, is estimated."""
        for boot_id, span in self._learned.items():
            moments = [at for entry in entries for at in undated(entry) if at["boot_id"] == boot_id]
            if moments:
                lasted_s = max(at["boottime_ms"] for at in moments) / 1000
                self.ledger.spans.append(Span(span.what, span.from_s, min(span.to_s, span.from_s + lasted_s)))
        self._learned.clear()

    def keep_dead_letters(self) -> None:
        """What was given up is known nowhere else, should the store be lost now."""
        query = "SELECT unique_ids, attempts, action, reason, local_tx_id, number FROM dead_letters"
        for ids, attempts, action, reason, *name in self.disk.rows("transactions.db", query):
            letter = DeadLetter(tuple(json.loads(ids)), attempts, action, reason, entry_of(*name, action))
            if letter not in self.dead_letters:
                self.dead_letters.append(letter)
        self.given_up_ids |= {i for (i,) in self.disk.rows("transactions.db", "SELECT unique_id FROM given_up_ids")}

    def start_broker(self) -> None:
        """The broker is there again, and knows nothing: everybody says all states."""
        if self.powered and not self.bus.up:
            self.bus.up = True
            for process in self._alive():
                process.turn(process.node.broker_attached)

    def restart_station(self, hard: bool) -> None:
        """All services and the broker begin anew; the hardware stays as it is."""
        self.story.tell("fault", f"the station restarts because of a {'Hard' if hard else 'Soft'} Reset")
        run = (self.clock.boots, self.run_number)
        self.agenda.at(self.clock.true_s, lambda: self._restart_all(run))

    def card(self, id_tag: str) -> None:
        """Somebody holds a card to the reader."""
        self.story.tell("people", f"{id_tag} is held to the reader")
        if self.powered:
            self.ledger.presented_card(self.clock.true_s, id_tag)
        reader = self.processes.get("rfid")
        if isinstance(reader, RfidProcess):
            reader.card(id_tag)
            self.bus.settle()
        self.wake(5.0)

    def app(self, id_tag: str, connector_id: int) -> None:
        """Somebody asks the Central System to start."""
        self.story.tell("people", f"{id_tag} wants a start by the app at connector {connector_id}")
        self.central.ask("RemoteStartTransaction", {"idTag": id_tag, "connectorId": connector_id})
        self.wake(5.0)

    def _send_list(self, sent: lists.Update) -> None:
        self.central.ask("SendLocalList", sent.payload)
        self.wake(8.0)

    def _begin_visit(self, plan: people.Plan) -> None:
        hands = people.Hands(
            self.points[plan.connector_id],
            card=self.card,
            app=self.app,
            tell=lambda text: self.story.tell("people", text),
            now=lambda: self.clock.true_s,
        )
        self._visits.append([0.0, people.never, people.visit(plan, hands)])

    def _step_visits(self) -> bool:
        moved = False
        for entry in list(self._visits):
            until_s, condition, visit = entry
            if until_s > self.clock.true_s and not condition():
                continue
            moved = True
            self.wake(5.0)
            wait = next(visit, None)
            if wait is None:
                self._visits.remove(entry)
            else:
                entry[0], entry[1] = wait
        return moved

    def _live_until(self, end_s: float) -> None:
        while self.clock.true_s < end_s:
            before_s = self.clock.true_s
            at_s = max(before_s, min(end_s, self._next_s()))
            strode = at_s - before_s > STRODE_S
            if strode:
                self.clock.pass_until(at_s - GLANCE_S)
                self._glance()
            self.clock.pass_until(at_s)
            self._live(strode=strode)

    def _next_s(self) -> float:
        now_s = self.clock.true_s
        exact_s = min(self.agenda.next_s(), *(p.next_s() for p in self.points.values()), *(v[0] for v in self._visits))
        if now_s < self._lively_until_s:
            return min(exact_s, now_s + STEP_S)
        boot_s = self.clock.boottime_s() - now_s
        dues = [due_s - boot_s for due_s in (p.due_s() for p in self.processes.values()) if due_s is not None]
        busy = any(p.plugged for p in self.points.values()) or len(self.processes) < len(SERVICES)
        due_s = min([*dues, now_s + (STRIDE_S if busy else STRIDE_IDLE_S)])
        return min(exact_s, due_s if due_s > now_s else now_s + STEP_S)

    def _live(self, *, strode: bool) -> None:
        for point in self.points.values():
            point.advance()
        if strode:
            self._say_all_states()
        while True:
            action = self.agenda.take_due(self.clock.true_s)
            if action is None:
                if not self._step_visits():
                    break
            else:
                action()
            self.bus.settle()
        self._poll()
        self._tick()

    def _glance(self) -> None:
        """Nobody acts after a stride on a reading or an observation from before it: all are there before anything is due."""
        for point in self.points.values():
            point.advance()
        for name in ("meter", "connectors"):
            process = self.processes.get(name)
            if process is not None and process.alive:
                process.look()
                self.bus.settle()

    def _say_all_states(self) -> None:
        for process in self._alive():
            process.turn(process.node.broker_attached)
        self._polled_s = 0.0
        self._poll()
        self.bus.settle()

    def _poll(self) -> None:
        changed = any(point.changed for point in self.points.values())
        due = self.clock.true_s >= self._polled_s + 1.0
        if changed:
            self.wake(2.5)
        if due or changed:
            for process in self._alive():
                if due or process.name == "connectors":
                    process.look()
                    self.bus.settle()
            self._guard.look()
            for point in self.points.values():
                point.changed = False
        if due:
            self._polled_s = self.clock.true_s
        meter = self.processes.get("meter")
        if isinstance(meter, MeterProcess):
            meter.look_where_wanted()
            self.bus.settle()

    def _tick(self) -> None:
        for process in self._alive():
            process.turn(process.tick)
            self.bus.settle()

    def _alive(self) -> Iterator[Process]:
        for name in SERVICES:
            process = self.processes.get(name)
            if process is not None and process.alive:
                yield process

    def _start_all(self) -> None:
        self.bus.up = True
        run = (self.clock.boots, self.run_number)
        for name in SERVICES:
            self.agenda.at(self.clock.true_s + 0.3 * self.dice.random(), lambda name=name: self._start(name, run))
        self.wake(5.0)

    def _start(self, name: str, run: tuple[int, int]) -> None:
        if run != (self.clock.boots, self.run_number) or not self.powered or name in self.processes:
            return
        if name == "connectors":
            lists.look(self)
        process = self.processes[name] = CLASSES[name](name, self)
        if process.start():
            self.ledger.end(f"{name} down", self.clock.true_s)
            self.story.tell(name, "starts")
        self.wake_after_trouble()

    def _bury(self, process: Process) -> None:
        self.ledger.deaths.append(Death(self.clock.true_s, process.name, self._pending()))
        self.ledger.begin(f"{process.name} down", self.clock.true_s)
        process.end()
        if process.name == "connectors":
            self._guard.expect(self.clock.true_s)

    def _end_all(self) -> list[Process]:
        ended = list(self.processes.values())
        self.processes.clear()
        for process in ended:
            process.end()
        self.bus.stop()
        return ended

    def _restart_all(self, run: tuple[int, int]) -> None:
        if run != (self.clock.boots, self.run_number) or not self.powered:
            return
        self.ledger.deaths.append(Death(self.clock.true_s, "station", self._pending()))
        for process in self._end_all():
            self.ledger.begin(f"{process.name} down", self.clock.true_s)
        self.run_number += 1
        self.agenda.at(self.clock.true_s + 0.5, self._start_all)

    def _power_returns(self) -> None:
        self.powered = True
        self.clock.boot(has_clock=self.day.has_clock)
        self.run_number = 1
        self.ledger.end("power off", self.clock.true_s)
        self.story.tell("fault", "the power is back")
        if not self.clock.synchronised:
            self.ledger.begin("clock unknown", self.clock.true_s)
            self._expect_sync(self.clock.boots)
        self._start_all()

    def _expect_sync(self, boot: int) -> None:
        """A time server may be found after a while; the Central System tells the time too, once it is reached."""

        def synchronised() -> None:
            if boot == self.clock.boots and self.powered and not self.clock.synchronised:
                self.story.tell("fault", "a time server sets the system clock")
                self.clock.set_system(0.0)

        if self.day.syncs_after_s is not None:
            self.agenda.at(self.clock.true_s + self.day.syncs_after_s, synchronised)

    def _pending(self) -> frozenset[str]:
        """Unique ids that the queue has sent a message under without knowing yet what became of it."""
        rows = self.disk.rows("transactions.db", "SELECT unique_id FROM messages WHERE outstanding")
        return frozenset(unique_id for (unique_id,) in rows)

    def _entry_under(self, unique_id: str) -> str:
        """Which message the queue sends under a unique id."""
        query = f"SELECT local_tx_id, number, action FROM messages WHERE unique_ids LIKE '%{unique_id}%'"
        return next((entry_of(*row) for row in self.disk.rows("transactions.db", query)), "")

    def _disk_takes(self, seconds: float) -> None:
        self.clock.pass_until(self.clock.true_s + seconds)


@contextmanager
def passed(day: Day) -> Iterator[World]:
    """The world at the end of a day; its stores are there as long as this lasts."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="chargebus-", dir=memory if memory.is_dir() else None))
    try:
        with chance.drawn_from(random.Random(f"{day.seed} ids")):
            world = World(day, directory)
            try:
                world.run()
                yield world
            finally:
                world.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
