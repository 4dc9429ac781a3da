"""The queue's store alone with 10, 1,000 and 100,000 messages, and a month offline with sixteen connectors (issue 4).

A month: each connector charges two hours of every three, with a sample a minute, the default. The real queue stores it from a
real journal, then delivers it to a Central System that answers at once; both databases are as large as they get. BENCH_DAYS
makes it shorter; on a disk in memory (TMPDIR) it says what the software takes, on another one what fsync takes.

    python -m tests.bench queue month

Owns: these figures. Does not: measure a whole station (`drain.py`); the link is a stand-in here.
"""

import os
import resource
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from bus.database import open_database, transaction
from bus.messages import MeterValue, MeterValues, SampledValue, StartTransaction, StopTransaction, TransactionEntry
from bus.vocabulary import Measurand, ReadingContext, Reason, UnitOfMeasure
from services.transaction_queue.store import Store
from tests.bench.figures import Figure
from tests.transaction_queue.world import BOOT, World, moment

COUNTS = (10, 1_000, 100_000)
REPEATS = 200
CONNECTORS = 16
SESSION_S, PAUSE_S, SAMPLE_S = 7200, 3600, 60
DAYS = int(os.environ.get("BENCH_DAYS", "30"))
MB = 1 << 20


def measure(directory: Path) -> Iterator[Figure]:
    """Enqueue, next and acknowledge, each in a commit of its own."""
    for count in COUNTS:
        database = open_database(str(directory / f"{count}.db"))
        store = Store(database, BOOT)
        entries = _entries(0, 0)
        with transaction(database):
            for _ in range(count):
                store.add(next(entries), moment(1))
        before_mb = _memory_mb()
        kinds: dict[str, Callable[[], None]] = {
            "enqueue": lambda s=store, e=entries: s.add(next(e), moment(1)),  # type: ignore[misc]
            "next": lambda s=store: s.head(None),  # type: ignore[misc]
            "acknowledge": lambda s=store: s.mark_delivered(s.head(None), 1, None),  # type: ignore[misc,arg-type]
        }
        for name, act in kinds.items():
            yield Figure(f"{name} with {count:,} messages", _median_ms(database, act), "ms", detail="with its commit")
        yield Figure(f"memory gained with {count:,} messages", _memory_mb() - before_mb, "MB")


def month(directory: Path) -> Iterator[Figure]:
    """A month offline, then the drain."""
    world = World(directory)
    world.connectors_forget = True
    started_s = time.monotonic()
    stored = _fill(world)
    fill_s = time.monotonic() - started_s
    size = sum(f.stat().st_size for f in directory.glob("*.db*")) / MB
    started_s = time.monotonic()
    world.link.clock()  # type: ignore[union-attr]
    world.link.online()  # type: ignore[union-attr]
    drain_s = time.monotonic() - started_s
    lost = stored - len(world.sent)
    yield Figure(f"{DAYS} days offline, {CONNECTORS} connectors: messages", stored, "", detail=f"stored in {fill_s:.0f} s")
    yield Figure("both databases then", size, "MB", detail=f"{size * MB / stored:.0f} bytes a message, both copies")
    yield Figure("time to drain them", drain_s, "s", detail=f"{stored / drain_s:.0f} messages/s, link and answers at once")
    yield Figure("messages lost, doubled or out of order", lost + _disorder(world), "", detail="0 is right")
    yield Figure("memory of the process", _memory_mb(), "MB", detail="with the list of all that was sent")


def _fill(world: World) -> int:
    """All messages in the order of time, handed over as they come; how many."""
    streams = [_entries(connector, (SESSION_S + PAUSE_S) / CONNECTORS * connector) for connector in range(CONNECTORS)]
    heads = [next(stream) for stream in streams]
    count = 0
    while True:
        first = min(range(CONNECTORS), key=lambda index: _at_ms(heads[index]))
        if _at_ms(heads[first]) > DAYS * 86_400_000:
            world.connectors.journal.send()
            world.settle()
            return count
        world.now_s = max(world.now_s, _at_ms(heads[first]) / 1000)
        with transaction(world.connectors.database):
            world.connectors.journal.outbox.append(heads[first], f"{heads[first].local_tx_id}/{heads[first].number}")
        heads[first] = next(streams[first])
        count += 1
        if count % 64 == 0:
            world.connectors.journal.send()
            world.settle()


def _entries(connector: int, from_s: float) -> Iterator[TransactionEntry]:
    """Session after session of one connector."""
    wh, number = 0, 0
    while True:
        name = f"{connector}-{number}"
        yield TransactionEntry(name, 0, StartTransaction(connector + 1, "04A1B2C3D4", wh, moment(from_s)))
        samples = SESSION_S // SAMPLE_S
        for sample in range(1, samples):
            wh += 180
            value = SampledValue(
                str(wh), ReadingContext.SAMPLE_PERIODIC, Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, UnitOfMeasure.WH
            )
            message = MeterValues(connector + 1, (MeterValue(moment(from_s + sample * SAMPLE_S), (value,)),))
            yield TransactionEntry(name, sample, message)
        stop = StopTransaction(connector + 1, wh, moment(from_s + SESSION_S), Reason.LOCAL, "04A1B2C3D4")
        yield TransactionEntry(name, samples, stop)
        from_s += SESSION_S + PAUSE_S
        number += 1


def _at_ms(entry: TransactionEntry) -> int:
    message = entry.message
    return message.meter_values[0].at.boottime_ms if isinstance(message, MeterValues) else message.at.boottime_ms


def _disorder(world: World) -> int:
    """Neighbours in the Central System's book that came in the wrong order, and messages that came twice."""
    times = [_at_ms(TransactionEntry("", 0, request.message)) for request in world.sent]
    doubled = len(world.sent) - len({request.unique_id for request in world.sent})
    return sum(1 for a, b in pairwise(times) if a > b) + doubled


def _median_ms(database, act: Callable[[], None]) -> float:  # type: ignore[no-untyped-def]
    found = []
    for _ in range(REPEATS):
        started_s = time.perf_counter()
        with transaction(database):
            act()
        found.append(time.perf_counter() - started_s)
    return sorted(found)[REPEATS // 2] * 1000


def _memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
