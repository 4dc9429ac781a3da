"""The Central System's book: everything that came and went, in order, nothing deduplicated.

Owns: the entries and what can be read from them (calls, answers, transactions). Does not: decide any answer. Any thread may
read it and wait for it.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from services.demo.entries import Entry, Kind, Transaction, What, summary, transactions_of, utc_text

__all__ = ["Book", "Entry", "Kind", "Transaction", "What", "utc_text"]

T = TypeVar("T")


class Book:
    """Grows only. Reading gives snapshots."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._changed = threading.Condition()
        self._listeners: list[Callable[[Entry], None]] = []

    def write(self, connection: int, identity: str, what: What, **fields: Any) -> Entry:
        """Add an entry; `fields` are those of Entry."""
        with self._changed:
            entry = Entry(
                number=len(self._entries) + 1,
                at=utc_text(datetime.now(UTC)),
                monotonic_s=time.monotonic(),
                connection=connection,
                identity=identity,
                what=what,
                **fields,
            )
            self._entries.append(entry)
            for listener in self._listeners:
                listener(entry)
            self._changed.notify_all()
        return entry

    def listen(self, listener: Callable[[Entry], None]) -> None:
        """Call `listener` with each new entry, on the Central System's thread; it must be quick and must not raise."""
        with self._changed:
            self._listeners.append(listener)

    def entries(self, after: int = 0) -> list[Entry]:
        """All entries with numbers above `after`."""
        with self._changed:
            return self._entries[after:]

    def wait_for(self, predicate: "Callable[[Book], T]", timeout_s: float, what: str = "") -> T:
        """The first true value of `predicate(book)`. Raises TimeoutError that names `what`, with the end of the book."""
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                value = predicate(self)
                if value:
                    return value
                rest_s = deadline_s - time.monotonic()
                if rest_s <= 0:
                    last = "\n".join(summary(entry) for entry in self._entries[-15:])
                    raise TimeoutError(f"not within {timeout_s} s: {what or 'the condition'}; the book ends with\n{last}")
                self._changed.wait(rest_s)

    def calls(self, action: str | None = None, identity: str | None = None) -> list[Entry]:
        """Every copy of every CALL from stations."""
        return [e for e in self._of(What.RECEIVED, Kind.CALL, action) if identity in (None, e.identity)]

    def calls_sent(self, action: str | None = None) -> list[Entry]:
        """Every CALL to stations."""
        return self._of(What.SENT, Kind.CALL, action)

    def answers_received(self, action: str | None = None) -> list[Entry]:
        """What stations answered: CALLRESULTs and CALLERRORs."""
        return self._of(What.RECEIVED, Kind.CALLRESULT, action) + self._of(What.RECEIVED, Kind.CALLERROR, action)

    def answers_sent(self, action: str | None = None) -> list[Entry]:
        """What was answered to stations: CALLRESULTs and CALLERRORs."""
        return self._of(What.SENT, Kind.CALLRESULT, action) + self._of(What.SENT, Kind.CALLERROR, action)

    def connections(self, identity: str | None = None) -> list[int]:
        """Numbers of all connections ever made."""
        return [e.connection for e in self.entries() if e.what is What.OPENED and identity in (None, e.identity)]

    def violations(self) -> list[str]:
        """Everything that a station did against schema or rules, one line each."""
        return [f"entry {e.number}, {e.action or e.text[:60]}: {text}" for e in self.entries() for text in e.violations]

    def transactions(self, identity: str | None = None) -> list[Transaction]:
        """What the Central System believes, in the order of the starts."""
        return [t for t in transactions_of(self.entries()) if identity in (None, t.identity)]

    def status(self, connector_id: int, identity: str | None = None) -> str | None:
        """Last status of a connector that a station told."""
        found = [e.payload for e in self.calls("StatusNotification", identity) if not e.violations]
        return next((str(p["status"]) for p in reversed(found) if p["connectorId"] == connector_id), None)

    def _of(self, what: What, kind: Kind, action: str | None) -> list[Entry]:
        return [e for e in self.entries() if e.what is what and e.kind is kind and action in (None, e.action)]
