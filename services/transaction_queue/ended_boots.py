"""How long a message of a boot that ended without a clock waits for what `connectors` has of that boot.

Such a boot ends where the next one starts, so its times follow from its length, which is that of its last known moment. All
its moments are dated by it from the first one on. So none is, before the journal has caught up, and before what began in the
boot has its stop, which tells the last moment that was on disk: held back rather than wrong (design §5). But nothing is held
for ever, whatever `connectors` does.

Owns: when that wait is over. Does not: estimate (`times.py`) or decide what goes out (`core.py`).
"""

from collections.abc import Callable

import msgspec

from bus.messages import TransactionEntry
from services.transaction_queue import times
from services.transaction_queue.lost import OPEN_MAX
from services.transaction_queue.rows import Row, head_of
from services.transaction_queue.state import Head
from services.transaction_queue.store import Store

SILENT_S_MAX = 300.0
"""After the start of the queue: `connectors` may be down."""
QUIET_S = 3.0
"""After a sign of life and after each entry; a live publisher sends one right after the other, and again after a second."""
OPEN_S_MAX = 60.0
"""After the journal has caught up: there may be a transaction that `connectors` never closes."""


class EndedBoots:
    """The wait. `boot_id`: the hardware boot that runs; `now`: its boottime in seconds."""

    def __init__(self, store: Store, boot_id: str, now: Callable[[], float]) -> None:
        self._store = store
        self._boot_id = boot_id
        self._now = now
        self._silent_until_s = now() + SILENT_S_MAX
        self._heard_s: float | None = None
        """When something of ended boots came the last time, or else the first sign of life."""
        self._caught_up_s: float | None = None
        self._holds = False

    @property
    def due_s(self) -> float | None:
        """When the wait of the head is over, as far as is known now; None: it does not wait."""
        return self._until_s() if self._holds else None

    def over(self) -> bool:
        """Whether the head has waited long enough, and has to be looked at again."""
        return self._holds and self._has_waited()

    def connectors_lives(self) -> None:
        """It said something."""
        if self._heard_s is None:
            self._heard_s = self._now()

    def entry_came(self, entry: TransactionEntry) -> None:
        """One of the boot that runs comes after all that is of earlier ones, but for what is closed only now."""
        if self._caught_up_s is None:
            self._heard_s = self._now()
            if any(at.boot_id == self._boot_id for at in times.moments(entry.message)):
                self._caught_up_s = self._now()

    def head(self, row: Row | None) -> Head | None:
        """What the core decides by. A message that has been sent has its times."""
        boots = self._store.boots
        self._holds = row is not None and times.needs_estimate(row.message, boots, self._boot_id) and not self._has_waited()
        if row is None:
            return None
        return msgspec.structs.replace(head_of(row, boots, self._boot_id), boot_untold=self._holds)

    def _has_waited(self) -> bool:
        return self._until_s() <= self._now()

    def _until_s(self) -> float:
        if self._heard_s is None:
            return self._silent_until_s
        quiet_s = self._heard_s + QUIET_S
        if self._caught_up_s is None and quiet_s <= self._now():
            self._caught_up_s = quiet_s
        if self._caught_up_s is None:
            return quiet_s
        return self._caught_up_s + (OPEN_S_MAX if self._one_is_open() else 0.0)

    def _one_is_open(self) -> bool:
        """Whether a transaction has no stop yet that began in a boot which ended without a clock."""
        known = {boot.boot_id for boot in self._store.boots if boot.utc_offset_ms is not None} | {self._boot_id}
        return any(one.started_at.boot_id not in known for one in self._store.open_transactions(OPEN_MAX))
