"""How fast an offline backlog is delivered by the whole station: in order, one message and one commit at a time.

Owns: backlogs in `transactions.db`, made by the queue's own store, and the rate at which a Central System sees them come. Does
not: measure the store alone.
"""

from collections.abc import Iterator
from pathlib import Path

from bus.database import open_database, transaction
from bus.messages import MeterValue, MeterValues, Moment, SampledValue, StartTransaction, StopTransaction, TransactionEntry
from bus.vocabulary import Measurand, ReadingContext, Reason, UnitOfMeasure
from services.transaction_queue.store import Store
from tests.bench import procfs
from tests.bench.central_system import CentralSystem
from tests.bench.figures import Budget, Figure
from tests.bench.station import calls, config
from tests.bench.yardsticks import commit_ms
from tests.harness import Station

BOOT = "bench-boot"
FIRST_UTC_MS = 1_780_000_000_000
MESSAGES_IN_A_TRANSACTION = 4
COUNTED_MAX = 2000
"""Of a large backlog only so many are waited for."""
QUICK_COMMIT_S, QUICK_RATE_MIN = 0.0005, 500.0
"""`design.md` §8: so many messages a second where a commit is that quick, else 80 % of what commit and round trip allow."""
BACKLOG_OF_CALLS = 40_000
BACKLOGS = ((12, 0.0), (1_000, 0.0), (100_000, 0.0), (400, 0.02), (60, 0.2))
"""Messages, and the Central System's round trip in seconds."""
WARM = 50
"""A backlog that is gone before anything runs in at its speed is no measure of that speed: it has no budget."""


def measure(directory: Path) -> Iterator[Figure]:
    """One station for each backlog, and the answers of one that is busy with it."""
    for count, round_trip_s in BACKLOGS:
        yield from _drain(directory / f"{count}-{round_trip_s}", count, round_trip_s)
    yield from _calls(directory / "calls")


def _drain(state_dir: Path, count: int, round_trip_s: float) -> Iterator[Figure]:
    state_dir.mkdir(parents=True)
    fill(state_dir / "transactions.db", count)
    counted = min(count, COUNTED_MAX) // MESSAGES_IN_A_TRANSACTION
    with CentralSystem(round_trip_s=round_trip_s) as central, Station(config(central.url, 1), state_dir=state_dir) as station:
        first = central.wait_for("StartTransaction", after_s=0.0)
        last = central.wait_for("StopTransaction", after_s=0.0, number=counted, timeout_s=120)
        memory_mb = procfs.pss_mb(station.pid("transaction_queue"))
    rate = (counted * MESSAGES_IN_A_TRANSACTION - 1) / (last.at_s - first.at_s)
    name = f"backlog of {count:,} at {round_trip_s * 1000:.0f} ms round trip"
    allowed = 1 / (round_trip_s + commit_ms(state_dir) / 1000)
    least = QUICK_RATE_MIN if not round_trip_s and allowed > 1 / QUICK_COMMIT_S else 0.8 * allowed
    budget = Budget(least, more_is_better=True) if count > WARM else None
    detail = f"{rate / allowed * 100:.0f} % of the {allowed:.0f}/s that round trip and one commit a message allow"
    yield Figure(name, rate, "messages/s", budget, detail=detail)
    yield Figure(f"memory of the queue, {name}", memory_mb, "MB", detail="PSS")


def _calls(state_dir: Path) -> Iterator[Figure]:
    """Response times while messages go out as fast as they can."""
    state_dir.mkdir(parents=True)
    fill(state_dir / "transactions.db", BACKLOG_OF_CALLS)
    with CentralSystem() as central, Station(config(central.url, 1), state_dir=state_dir):
        central.wait_for("StartTransaction", after_s=0.0)
        yield from calls(central, "a backlog draining")
        delivered = sum(one.action == "StopTransaction" for one in list(central.received)) * MESSAGES_IN_A_TRANSACTION
        assert delivered < BACKLOG_OF_CALLS, "the backlog was gone before the calls were answered"


def fill(path: Path, count: int) -> None:
    """Put so many messages of whole transactions into a queue that has never run."""
    database = open_database(str(path))
    with transaction(database):
        store = Store(database, BOOT)
        for number in range(count // MESSAGES_IN_A_TRANSACTION):
            for entry in _transaction(number):
                store.add(entry, _moment(number * MESSAGES_IN_A_TRANSACTION + entry.number))
    database.close()


def _transaction(number: int) -> tuple[TransactionEntry, ...]:
    first = number * MESSAGES_IN_A_TRANSACTION
    messages = (
        StartTransaction(1, "04A2B3C4D5", first, _moment(first)),
        *(MeterValues(1, (_value(first + step),)) for step in (1, 2)),
        StopTransaction(1, first + 3, _moment(first + 3), Reason.LOCAL, "04A2B3C4D5"),
    )
    return tuple(TransactionEntry(f"bench-{number}", place, message) for place, message in enumerate(messages))


def _value(second: int) -> MeterValue:
    register = SampledValue(
        str(second), ReadingContext.SAMPLE_PERIODIC, Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, UnitOfMeasure.WH
    )
    return MeterValue(_moment(second), (register,))


def _moment(second: int) -> Moment:
    return Moment(BOOT, second * 1000, FIRST_UTC_MS + second * 1000)
