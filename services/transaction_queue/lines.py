"""The log's lines about what is being committed: they are true only after the commit, and nobody waits for them.

Owns: when they are written. Does not: know what most of them say. What was delivered is written some lines at once, each with
its own time: a backlog would else wake whoever collects the log hundreds of times a second. What is wrong is written at once.
"""

from collections.abc import Callable
from typing import Any

from bus.logs import Logger
from bus.messages import Delivered, TransactionEntry
from services.transaction_queue.rows import Row, action_of
from services.transaction_queue.state import Letter

LINGER_S = 0.05
"""So long a line waits at most. A process that is killed has not told its last ones; the store has."""
TOGETHER = 8


class Lines:
    """Collects lines within a commit, writes them after it. `now`: boottime in seconds."""

    def __init__(self, log: Logger, now: Callable[[], float]) -> None:
        self._log = log
        self._now = now
        self._uncommitted: list[Callable[[float], None]] = []
        self._waiting: list[Callable[[float], None]] = []
        self._urgent = False
        self.due_s: float | None = None
        """When `tell` has to be called at the latest; None: nothing waits."""

    def delivered(self, text: str, **fields: Any) -> None:
        """A fact that can wait a moment."""
        at_s = self._now()
        self._uncommitted.append(lambda now_s: self._log.info(text, ago_s=now_s - at_s, **fields))
        if self.due_s is None:
            self.due_s = at_s + LINGER_S

    def wrong(self, write: Callable[..., None], text: str, **fields: Any) -> None:
        """What a person should see at once; `write` is a method of the logger."""
        self._uncommitted.append(lambda _: write(text, **fields))
        self._urgent = True

    def late(self, letter: Letter, delivered: Delivered, without_id: int) -> None:
        """A given-up message was delivered after all; `without_id`: so many of its transaction went out with -1 before that."""
        text = "late answer: a message that was given up is delivered after all"
        if without_id:
            text += "; what went out with transactionId -1 before stays so: see station queue list --all"
        self.wrong(
            self._log.warning,
            text,
            transaction_id=delivered.transaction_id,
            without_id=without_id or None,
            action=letter.action,
            local_tx_id=letter.local_tx_id,
            number=letter.number,
            correlation_id=letter.correlation_id or None,
        )

    def committed(self) -> None:
        """What was said is true now. Lines of a commit that fails are never written: the process ends over it."""
        self._waiting += self._uncommitted
        self._uncommitted.clear()

    def tell(self) -> None:
        """Write what should not wait any longer."""
        now_s = self._now()
        if not self._waiting:
            return
        if not (self._urgent or len(self._waiting) >= TOGETHER or (self.due_s is not None and self.due_s <= now_s)):
            return
        waiting, self._waiting, self._urgent, self.due_s = self._waiting, [], False, None
        for write in waiting:
            write(now_s)

    def tell_all(self) -> None:
        """The process ends."""
        self._urgent = True
        self.tell()


def fields_of(row: Row | TransactionEntry) -> dict[str, Any]:
    """Which message a line is about."""
    action, name = action_of(row.message), row.correlation_id or None
    return {"action": action, "local_tx_id": row.local_tx_id, "number": row.number, "correlation_id": name}
