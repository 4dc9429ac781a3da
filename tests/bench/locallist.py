"""The Local Authorization List at its full length: a lookup, an update, and what a start costs.

Owns: a list of ten thousand entries in a store of its own. Does not: measure the way of a request through the link.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bus.database import open_database, transaction
from bus.messages import IdTagInfo
from bus.vocabulary import AuthorizationStatus
from services.connectors import events as e
from services.connectors.list_table import ListTable
from services.connectors.state import LocalList
from services.connectors.store import Store
from tests.bench.figures import Figure, percentile

ENTRIES = 10_000
INFO = IdTagInfo(AuthorizationStatus.ACCEPTED, 1_900_000_000_000, "FAMILY")


def measure(directory: Path) -> Iterator[Figure]:
    """All on one list; medians in milliseconds."""
    database = open_database(str(directory / "connectors.db"))
    table = Store(database).local_list
    keys = [f"04a2b3c4{number:06d}" for number in range(ENTRIES)]

    def update(count: int) -> None:
        with transaction(database):
            table.save(e.SaveLocalList(False, tuple((key, INFO) for key in keys[:count]), ()))
            table.save_size(LocalList(1, ENTRIES))

    update(ENTRIES)
    yield _figure("local list of 10,000: one lookup", lambda: _find(table, keys[ENTRIES // 2]), 1000)
    yield _figure("local list of 10,000: update of 1 entry, durable", lambda: update(1), 50)
    yield _figure("local list of 10,000: update of 1,000 entries, durable", lambda: update(1000), 10)
    yield _figure("local list of 10,000: read and checked at a start", lambda: _load(table), 10)
    database.close()


def _find(table: ListTable, key: str) -> None:
    assert table.find((key,))[key] == INFO


def _load(table: ListTable) -> None:
    assert table.load() == (LocalList(1, ENTRIES), "")


def _figure(name: str, action: Callable[[], None], times: int) -> Figure:
    took_ms = []
    for _ in range(times):
        began_s = time.perf_counter()
        action()
        took_ms.append((time.perf_counter() - began_s) * 1000)
    return Figure(name, percentile(took_ms, 50), "ms", detail=f"p99 {percentile(took_ms, 99):.3f} ms")
