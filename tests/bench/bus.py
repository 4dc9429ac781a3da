"""The bus as it really runs: the broker in a process of its own, nodes with the runtime's sockets, SQLite for the journal.

Owns: hop latency of each kind, throughput, replay of last values, hand-over of the journal. Does not: start a station.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import zmq

from bus import sockets
from bus.clock import boottime_ns, boottime_s
from bus.database import open_database, transaction
from bus.logs import logger
from bus.messages import (
    BrokerState,
    IdTagPresented,
    MeterSample,
    Moment,
    ReadMeter,
    ServiceHealth,
    StartTransaction,
    TransactionEntry,
)
from bus.node import Node
from bus.observer import Observer
from bus.streams import JournalIn, JournalOut
from bus.topics import topic_named
from tests.bench.figures import Budget, Figure, percentile
from tests.bench.yardsticks import COMMIT, HOP, fsync_ms, timed_ms

HOP_MS_MAX = 0.4
"""`design.md` §8."""
BURST = 20_000
CALLS, CALLS_AT_ONCE = 5_000, 50
ENTRIES = 500
SAMPLE = MeterSample(1, 1234.5, "12345678", 1234567, power_w=11040.0, voltages_v=(230.0,) * 3, currents_a=(16.0,) * 3)
_TOPIC = topic_named("journal.transaction.")


def measure(directory: Path) -> Iterator[Figure]:
    """All figures of the bus."""
    with broker(directory):
        with wires("meter") as meter, wires("connectors") as connectors:
            yield from _hops(meter, connectors)
        yield _replay()
        yield from _journal(directory)


@contextlib.contextmanager
def broker(directory: Path) -> Iterator[None]:
    """The real broker; this process works in its run directory meanwhile."""
    command = [sys.executable, "-m", "bus.broker", "--config", "none", "--state-dir", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    before = os.getcwd()
    (directory / "run").mkdir(exist_ok=True)
    os.chdir(directory / "run")
    try:
        yield
    finally:
        os.chdir(before)
        process.terminate()
        process.wait()


class Wires:
    """A node with the sockets of the runtime, driven by hand: one thread, so that only the bus is measured."""

    def __init__(self, service: str, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        self.node = Node(service, incarnation=boottime_ns(), now=boottime_s, log=logger(service))
        self._outgoing, self._incoming = sockets.publisher(context), sockets.subscriber(context)
        self._attached = False
        self.node.watch(BrokerState, self._saw_broker)

    def _saw_broker(self, _: str, __: BrokerState) -> None:
        self._attached = True

    def subscribe(self) -> None:
        """Tell the broker what this node wants, and wait until it has understood."""
        for prefix in self.node.subscriptions():
            self._incoming.setsockopt(zmq.SUBSCRIBE, prefix)
        self._outgoing.poll(5000)
        self.until(lambda: self._attached)

    def flush(self) -> None:
        """Send what waits."""
        for frame in self.node.take_outgoing():
            self._outgoing.send_multipart(frame)

    def take(self, timeout_ms: int = 0) -> None:
        """Handle what has come, at most a burst of it."""
        if self._incoming.poll(timeout_ms):
            with contextlib.suppress(zmq.Again):
                for _ in range(1000):
                    self.node.receive(self._incoming.recv_multipart(zmq.NOBLOCK))

    def until(self, condition: Callable[[], bool]) -> None:
        """Handle messages until the condition holds."""
        deadline_s = time.perf_counter() + 20
        while not condition():
            assert time.perf_counter() < deadline_s, "the bus has lost something"
            self.flush()
            self.take(timeout_ms=100)

    def close(self) -> None:
        """Leave the bus."""
        self._outgoing.close()
        self._incoming.close()


@contextlib.contextmanager
def wires(service: str) -> Iterator[Wires]:
    """A node on the bus."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    own = Wires(service, context)
    try:
        yield own
    finally:
        own.close()
        context.term()


def _hops(meter: Wires, connectors: Wires) -> Iterator[Figure]:
    seen: list[object] = []
    connectors.node.watch(MeterSample, lambda _, sample: seen.append(sample))
    connectors.node.on_event(IdTagPresented, lambda _, card: seen.append(card))
    meter.node.serve(ReadMeter, lambda _, call: call.answer(SAMPLE))
    meter.subscribe()
    connectors.subscribe()
    with wires("rfid") as rfid:
        rfid.subscribe()

        def arrives(sender: Wires, say: Callable[[], object]) -> None:
            count = len(seen)
            say()
            sender.flush()
            connectors.until(lambda: len(seen) > count)

        def round_trip() -> None:
            count = len(seen)
            connectors.node.call(ReadMeter(1, 0.0), timeout_s=5, on_reply=seen.append)
            connectors.flush()
            while len(seen) == count:
                meter.take(timeout_ms=0)
                meter.flush()
                connectors.take(timeout_ms=0)

        state_ms = timed_ms(lambda: arrives(meter, lambda: meter.node.publish(SAMPLE, "1")))
        event_ms = timed_ms(lambda: arrives(rfid, lambda: rfid.node.emit(IdTagPresented("04A2B3C4D5", boottime_s()))))
        call_ms = timed_ms(round_trip)
        yield _throughput("states", BURST, lambda n: meter.node.publish(SAMPLE, str(n % 16)), meter, connectors, seen)
        yield _throughput(
            "events", BURST, lambda n: rfid.node.emit(IdTagPresented(f"{n:08X}", boottime_s())), rfid, connectors, seen
        )
        yield _calls_at_once(meter, connectors)
    budget = Budget(HOP_MS_MAX)
    yield Figure("bus hop, state, median", percentile(state_ms, 50), "ms", budget, HOP, "publish to handler")
    yield Figure("bus hop, state, 99 %", percentile(state_ms, 99), "ms", yardstick=HOP)
    yield Figure("bus hop, event, median", percentile(event_ms, 50), "ms", budget, HOP)
    yield Figure("bus call and answer, median", percentile(call_ms, 50), "ms", yardstick=HOP, detail="two hops")


def _throughput(
    kind: str, count: int, say: Callable[[int], object], sender: Wires, receiver: Wires, seen: list[object]
) -> Figure:
    """One end says, the other hears, as fast as both can."""
    seen.clear()
    began_s = time.perf_counter()
    for number in range(count):
        say(number)
        sender.flush()
        if number % 100 == 99:
            receiver.take()
    receiver.until(lambda: len(seen) == count)
    rate = count / (time.perf_counter() - began_s)
    return Figure(f"bus throughput, {kind}", rate, "/s", detail=f"a burst of {count}, none lost; both ends share one core")


def _calls_at_once(meter: Wires, connectors: Wires) -> Figure:
    """Many callers that do not wait for each other."""
    answers: list[object] = []
    began_s = time.perf_counter()
    for number in range(1, CALLS // CALLS_AT_ONCE + 1):
        for _ in range(CALLS_AT_ONCE):
            connectors.node.call(ReadMeter(1, 0.0), timeout_s=5, on_reply=answers.append)
        connectors.flush()
        while len(answers) < number * CALLS_AT_ONCE:
            meter.take()
            meter.flush()
            connectors.take()
    rate = CALLS / (time.perf_counter() - began_s)
    return Figure("bus throughput, calls", rate, "/s", detail=f"{CALLS_AT_ONCE} at once, answered; both ends share one core")


def _replay() -> Figure:
    with wires("meter") as meter:
        meter.subscribe()
        for number in range(50):
            meter.node.publish(SAMPLE, str(number))
        meter.flush()

        def look() -> None:
            with Observer("bench", [MeterSample, ServiceHealth]) as observer:
                assert observer.wait(observer.attached, 5)
                assert len(observer.values(MeterSample)) == 50

        replay_ms = timed_ms(look, 30, warm_up=3)
    return Figure("last values for a late subscriber", percentile(replay_ms, 50), "ms", Budget(1000.0), detail="50 states")


def _journal(directory: Path) -> Iterator[Figure]:
    """Commit at the publisher, hop, commit at the consumer: alone, and with entries following each other until the
    acknowledgement of the last."""
    with wires("connectors") as connectors, wires("transaction_queue") as queue:
        ours, theirs = open_database(str(directory / "a.db")), open_database(str(directory / "b.db"))
        journal = JournalOut(connectors.node, ours, _TOPIC, logger("bench"))
        acknowledged = [0]
        journal.on_acknowledged = lambda seq: acknowledged.__setitem__(0, seq)
        stored: list[TransactionEntry] = []
        JournalIn(queue.node, theirs, _TOPIC, store=stored.append, stored=lambda: None)
        for one in (connectors, queue):
            one.subscribe()

        def append() -> int:
            number = journal.outbox.last_seq
            entry = TransactionEntry("tx", number, StartTransaction(1, "04A2B3C4D5", number, Moment("boot", number, number)))
            with transaction(ours):
                journal.outbox.append(entry, f"tx/{number}")
            journal.send()
            return journal.outbox.last_seq

        def pump() -> None:
            for one in (connectors, queue):
                one.node.tick()
                one.flush()
                one.take()

        def hand_over() -> None:
            append()
            while len(stored) < journal.outbox.last_seq:
                pump()

        one_ms = percentile(timed_ms(hand_over, 200, warm_up=20), 50)
        began_s = time.perf_counter()
        for _ in range(ENTRIES):
            append()
            pump()
        while acknowledged[0] < journal.outbox.last_seq:
            pump()
        rate = ENTRIES / (time.perf_counter() - began_s)
        ours.close()
        theirs.close()
    detail = f"two commits, a hop between them; of each commit {fsync_ms(directory):.3f} ms are fsync"
    yield Figure("journal, commit to commit", one_ms, "ms", yardstick=COMMIT, detail=detail)
    yield Figure(
        "journal, entries handed over",
        rate,
        "/s",
        detail="a commit for each, and one for those that come together; both ends share a core",
    )
