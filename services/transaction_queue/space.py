"""Makes room when the disk runs short (field reports 13, 52): bounded by disk, not by a number.

In this order: rotated logs, the oldest first; then MeterValues that wait, thinned from the middle of their transaction, every
second one at a time: never a StartTransaction or StopTransaction, never the first or last MeterValues, never one that was
ever sent. `connectors` learns of each, so that its copy goes too. Space that is free inside `transactions.db` counts as free:
SQLite uses it again. Dead letters and damaged databases are never deleted.

Owns: this order, the thinning and the ballast's return. Does not: decide whether new transactions may begin (`connectors` looks
itself).
"""

import sqlite3
from collections.abc import Callable, Iterator

from bus.database import transaction
from bus.disk import BALLAST_BYTES, LOOK_S, MB, Disk, Space, trouble
from bus.logs import Logger
from bus.messages import DeliveryEntry, GivenUp
from services.transaction_queue.store import Store

PRESSED_LOOK_S = 1.0
"""How often it looks while space is short and something can be done; else every LOOK_S, for what is new by then."""
TELL_S = 60.0
"""At most so often a line tells what was thinned out: a running transaction may bring something with each of its readings."""
LOGS_AT_ONCE_MAX = 100
VALUES_AT_ONCE_MAX = 2000
"""MeterValues looked at in one commit."""
BALLAST_LAST_BYTES = 1 << 20
"""Below this the ballast is given back before a commit fails for want of it."""


def thinned(numbers: list[int]) -> list[int]:
    """Of a transaction's MeterValues, by ascending number: which go now. The first and the last never do."""
    return numbers[1:-1:2]


class Warden:
    """Looks at the disk; `thin` is called inside no transaction and says how many messages it has removed."""

    def __init__(self, disk: Disk, reserve_bytes: int, log: Logger, set_problem: Callable[[str, str | None], None]) -> None:
        self._disk = disk
        self._reserve_bytes = reserve_bytes
        self._log = log
        self._set_problem = set_problem
        self._said = ""
        self._removed = self._untold = 0
        self._told_s = -TELL_S
        self._exhausted_at: int | None = None
        """Changes of the database by when nothing was left to thin: there is nothing as long as there is no other one."""
        self.due_s = 0.0

    def look(self, now_s: float, database: sqlite3.Connection, thin: Callable[[], int]) -> None:
        """Look, and make room if it is needed and possible."""
        space = self._disk.look()
        self._tend_ballast(space)
        if not space.read_only and space.free_bytes < self._reserve_bytes:
            self._delete_logs()
            space = self._disk.look()
            if space.free_bytes + _free_inside(database) < self._reserve_bytes and self._exhausted_at != database.total_changes:
                self._thin(database, thin)
        else:
            self._exhausted_at = None
        text = trouble(space, self._reserve_bytes)
        self._tell(now_s, at_last=not text)
        self._say(text)
        pressed = bool(text) and self._exhausted_at is None and not space.read_only
        self.due_s = now_s + (PRESSED_LOOK_S if pressed else LOOK_S)

    def _thin(self, database: sqlite3.Connection, thin: Callable[[], int]) -> None:
        count = thin()
        self._removed += count
        self._untold += count
        self._exhausted_at = None if count else database.total_changes

    def _tend_ballast(self, space: Space) -> None:
        if space.read_only:
            return
        if space.free_bytes < BALLAST_LAST_BYTES:
            if self._disk.release_ballast():
                self._log.error("disk is full, the ballast is given back so that running transactions can be ended")
        elif not self._disk.has_ballast() and space.free_bytes >= self._reserve_bytes + BALLAST_BYTES:
            self._disk.make_ballast()

    def _delete_logs(self) -> None:
        for _ in range(LOGS_AT_ONCE_MAX):
            name = self._disk.delete_oldest_log()
            if not name:
                return
            self._log.warning("disk runs short, a rotated log is deleted", file=name)
            if self._disk.look().free_bytes >= self._reserve_bytes:
                return

    def _tell(self, now_s: float, *, at_last: bool) -> None:
        if self._untold and (at_last or now_s >= self._told_s + TELL_S):
            self._log.warning("disk runs short, MeterValues are thinned out", removed=self._untold)
            self._untold, self._told_s = 0, now_s

    def _say(self, text: str) -> None:
        more = f"; {self._removed} MeterValues were thinned out" if self._removed and text else ""
        self._set_problem("disk", text + more or None)
        if text.split(" but ")[0] != self._said:
            self._said = text.split(" but ")[0]
            if text:
                self._log.error("disk is in trouble", reason=text, reserve_mb=self._reserve_bytes // MB)
            else:
                self._log.info("disk has space again")


class Thinning:
    """Thins transaction after transaction. `told`: what `connectors` has to learn of it, in the same commit."""

    def __init__(
        self, store: Store, database: sqlite3.Connection, told: Callable[[DeliveryEntry], object], log: Logger
    ) -> None:
        self._store, self._database = store, database
        self._told, self._log = told, log
        self._last_tx = ""

    def thin(self) -> int:
        """Thin out the MeterValues of the next transaction that has some to spare; how many went."""
        found = next(to_thin(self._store, self._last_tx), None) or next(to_thin(self._store, ""), None)
        if found is None:
            return 0
        local_tx_id, chosen = found
        self._last_tx = local_tx_id
        with transaction(self._database):
            for row_id, number in chosen:
                self._store.remove(row_id)
                self._told(DeliveryEntry(local_tx_id, number, GivenUp("thinned out, the disk was full"), "MeterValues"))
        self._log.debug("MeterValues are thinned out", local_tx_id=local_tx_id, removed=len(chosen))
        return len(chosen)


def to_thin(store: Store, after: str) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Transaction by transaction, from the one after `after` on: (row id, number) of the MeterValues that may go now."""
    local_tx_id = after
    while (found := store.transaction_after(local_tx_id)) is not None:
        local_tx_id = found
        rows = store.meter_values_waiting(local_tx_id, VALUES_AT_ONCE_MAX)
        ids = {number: row_id for row_id, number in rows}
        chosen = [(ids[number], number) for number in thinned(list(ids))]
        if chosen:
            yield local_tx_id, chosen


def _free_inside(database: sqlite3.Connection) -> int:
    """Bytes in the database that hold nothing."""
    pages = database.execute("PRAGMA freelist_count").fetchone()[0]
    size = database.execute("PRAGMA page_size").fetchone()[0]
    return int(pages) * int(size)
