"""Lines of the Central System's book, and the transactions that follow from them (no I/O).

Owns: what an entry and a transaction are. Does not: keep entries (`book.py`).
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class What(StrEnum):
    """What an entry tells of."""

    OPENED = "opened"
    CLOSED = "closed"
    REFUSED = "refused"
    """A handshake that was answered with an HTTP error."""
    RECEIVED = "received"
    SENT = "sent"
    WITHHELD = "withheld"
    """An answer that the Central System stands by, and that the station never got."""
    DROPPED = "dropped"
    """A CALL that was neither processed nor answered."""


class Kind(StrEnum):
    """What a frame is; NONE for one that is no OCPP message."""

    CALL = "CALL"
    CALLRESULT = "CALLRESULT"
    CALLERROR = "CALLERROR"
    NONE = ""


class Entry(msgspec.Struct, frozen=True):
    """One line of the book. `payload` of a CALLERROR is {"code", "description", "details"}."""

    number: int
    at: str
    monotonic_s: float
    connection: int
    identity: str
    what: What
    kind: Kind = Kind.NONE
    unique_id: str = ""
    action: str = ""
    """Of an answer: the action of the CALL that it answers."""
    payload: Any = None
    text: str = ""
    """The frame as it stood on the wire; for opened, closed and refused: how."""
    violations: tuple[str, ...] = ()


class Transaction(msgspec.Struct):
    """A transaction as the Central System believes it, from the messages that it answered with a CALLRESULT.

    `starts` and `stops` count every copy that it processed, repeats too.
    """

    identity: str
    transaction_id: int
    connector_id: int
    id_tag: str
    meter_start_wh: int
    started_at: str
    start: dict[str, Any]
    starts: int = 1
    stops: int = 0
    stop: dict[str, Any] | None = None
    meter_values: list[dict[str, Any]] = msgspec.field(default_factory=list)

    @property
    def meter_stop_wh(self) -> int | None:
        """Register at the end; None while it runs."""
        return None if self.stop is None else int(self.stop["meterStop"])

    @property
    def energy_wh(self) -> int | None:
        """What is billed; None while it runs."""
        return None if self.meter_stop_wh is None else self.meter_stop_wh - self.meter_start_wh

    @property
    def stopped_at(self) -> str | None:
        """timestamp of the StopTransaction."""
        return None if self.stop is None else str(self.stop["timestamp"])

    @property
    def reason(self) -> str | None:
        """Why it ended, Local where it was left out (OCPP 1.6 §6.49); None while it runs."""
        return None if self.stop is None else str(self.stop.get("reason", "Local"))


def transactions_of(entries: Iterable[Entry]) -> list[Transaction]:
    """Transactions from the CALLs that were answered with a CALLRESULT, whether or not the station got it."""
    found: list[Transaction] = []
    asked: dict[tuple[int, str], Entry] = {}
    for entry in entries:
        if entry.what is What.RECEIVED and entry.kind is Kind.CALL:
            asked[entry.connection, entry.unique_id] = entry
        elif entry.what in (What.SENT, What.WITHHELD) and entry.kind is Kind.CALLRESULT:
            call = asked.get((entry.connection, entry.unique_id))
            if call is not None and isinstance(call.payload, dict):
                _processed(found, call, entry.payload)
    return found


def summary(entry: Entry) -> str:
    """One line about an entry, for a person who looks for a fault."""
    parts = [f"{entry.number:4} {entry.at} #{entry.connection} {entry.what.value:8}", entry.kind.value, entry.action]
    rest = entry.text if entry.kind is Kind.NONE else str(entry.payload)
    return " ".join(part for part in [*parts, rest[:300], *(f"VIOLATION {v}" for v in entry.violations)] if part)


def utc_text(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and Z (OCPP-J 1.6 §4)."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _processed(found: list[Transaction], call: Entry, answer: dict[str, Any]) -> None:
    payload = call.payload
    if call.action == "StartTransaction":
        if isinstance(answer.get("transactionId"), int):
            _started(found, call.identity, payload, answer["transactionId"])
        return
    transaction = _latest(found, call.identity, payload.get("transactionId"))
    if transaction is None:
        return
    if call.action == "MeterValues":
        transaction.meter_values.append(payload)
    elif call.action == "StopTransaction":
        transaction.stops += 1
        transaction.stop = transaction.stop or payload


def _started(found: list[Transaction], identity: str, payload: dict[str, Any], transaction_id: int) -> None:
    known = _latest(found, identity, transaction_id)
    if known is not None and known.start == payload:
        known.starts += 1
        return
    found.append(
        Transaction(
            identity=identity,
            transaction_id=transaction_id,
            connector_id=payload["connectorId"],
            id_tag=payload["idTag"],
            meter_start_wh=payload["meterStart"],
            started_at=payload["timestamp"],
            start=payload,
        )
    )


def _latest(found: list[Transaction], identity: str, transaction_id: Any) -> Transaction | None:
    return next((t for t in reversed(found) if t.identity == identity and t.transaction_id == transaction_id), None)
