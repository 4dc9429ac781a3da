"""What only `connectors.db` has: messages that the queue was never handed, transactions that are still open.

A message stays there until the queue has journalled what became of it; a station that is stopped leaves its transactions open,
to go on with them after its next start. What can't be read counts as something: it is taken along as it is, under the name that
its entry has, and never hides another one.

Owns: that, and how it is joined with what the queue has. Does not: open the databases (`queue_access.py`), know the tables of
the queue (`handover.py`).
"""

import sqlite3
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from bus.messages import TransactionEntry
from services.transaction_queue import facts, handover
from services.transaction_queue.kept import KeptMessage, KeptTransaction, Rest

if TYPE_CHECKING:
    from services.connectors.open_transaction import Transaction

_ENTRY, _TRANSACTION = "journal entry", "open transaction"
"""What stands for the action of what can't be read."""


class Beside(msgspec.Struct, frozen=True):
    """By transaction, what the queue does not have; and the transactions that have been ended, as far as that is remembered."""

    rests: dict[str, Rest] = {}
    closed: frozenset[str] = frozenset()

    def count(self, state: str) -> int:
        """Messages in this state."""
        return sum(1 for rest in self.rests.values() for message in rest.messages if message.state == state)


def read(connectors: sqlite3.Connection, queue: sqlite3.Connection) -> Beside:
    """What `connectors.db` has beside `transactions.db`. Reads only; raises sqlite3.Error."""
    entries: dict[str, list[TransactionEntry]] = {}
    unreadable: dict[str, list[KeptMessage]] = {}
    for name, payload in _table(connectors, "journal_out", "name", "payload", order="seq"):
        try:
            entry = msgspec.json.decode(payload, type=TransactionEntry)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            local_tx_id, number = _named(name, payload)
            if not handover.is_here(queue, local_tx_id, number):
                unreadable.setdefault(local_tx_id, []).append(_raw(number, _ENTRY, payload, error))
            continue
        place = handover.place(queue, entry)
        if place.new:
            kept = msgspec.structs.replace(entry, number=place.number)
            entries.setdefault(entry.local_tx_id, []).append(kept)
    opened = _opened(connectors, unreadable)
    ended = {handover.readable(local_tx_id) for (local_tx_id,) in _table(connectors, "closed", "local_tx_id")}
    # Where something of it can't be read, that may be its stop.
    closed = frozenset(ended - opened.keys() - unreadable.keys())
    rests = {}
    for local_tx_id in dict.fromkeys([*entries, *unreadable, *opened]):
        told = entries.get(local_tx_id, [])
        messages = (*handover.of_entries(told).get(local_tx_id, ()), *unreadable.get(local_tx_id, ()))
        rest = _with_start(Rest(messages, closed=local_tx_id in closed), told)
        transaction = opened.get(local_tx_id)
        rests[local_tx_id] = rest if transaction is None else _with_open(rest, transaction)
    return Beside(rests, closed)


def whole(queue: sqlite3.Connection, beside: Beside) -> Iterator[KeptTransaction]:
    """All that is kept anywhere, by transaction, in the order in which they began: with messages, or still open."""
    for local_tx_id in dict.fromkeys([*handover.names(queue), *beside.rests]):
        found = one(queue, beside, local_tx_id)
        if found.messages or found.open:
            yield found


def open_count(queue: sqlite3.Connection, beside: Beside) -> int:
    """Transactions that are still open, whoever knows them."""
    names = dict.fromkeys([*handover.open_names(queue), *beside.rests])
    return sum(1 for local_tx_id in names if one(queue, beside, local_tx_id).open)


def one(queue: sqlite3.Connection, beside: Beside, local_tx_id: str) -> KeptTransaction:
    """All that is kept anywhere of one transaction."""
    rest = beside.rests.get(local_tx_id, Rest(closed=local_tx_id in beside.closed))
    return handover.joined(handover.kept(queue, local_tx_id), rest)


def _opened(connectors: sqlite3.Connection, unreadable: dict[str, list[KeptMessage]]) -> "dict[str, Transaction]":
    """Transactions that are open there; those that can't be read go among the others of that kind."""
    # Only here: it costs more to import than commands that only look may take, where nothing is open.
    from services.connectors.open_transaction import Transaction

    found = {}
    for name, body in _table(connectors, "transactions", "local_tx_id", "body"):
        local_tx_id = handover.readable(name)
        try:
            found[local_tx_id] = msgspec.json.decode(body, type=Transaction)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            unreadable.setdefault(local_tx_id, []).append(_raw(-1, _TRANSACTION, body, error))
    return found


def _with_start(rest: Rest, told: list[TransactionEntry]) -> Rest:
    """What the entries say of their start, where the queue has lost it: as it notes it itself when they come."""
    known: dict[str, Any] = {}
    transaction_id = next((entry.transaction_id for entry in told if entry.transaction_id is not None), None)
    if transaction_id is None and any(entry.start_given_up for entry in told):
        known["given_up"] = 1
    started_at = next((entry.started_at for entry in told if entry.started_at is not None), None)
    if started_at is not None and started_at.utc_ms is not None:
        known |= facts.of_moment("anchor", started_at)
    return msgspec.structs.replace(
        rest, facts=facts.clean(known), transaction_id=None if transaction_id is None else str(transaction_id)
    )


def _with_open(rest: Rest, transaction: "Transaction") -> Rest:
    """An open transaction, with the last reading that was committed."""
    known: dict[str, Any] = {
        "connector_id": transaction.connector_id,
        "id_tag": transaction.id_tag,
        "meter_start_wh": transaction.meter_start_wh,
        "last_wh": transaction.last.energy_wh,
        "last_number": transaction.next_number - 1,
    }
    known |= facts.of_moment("start", transaction.started_at) | facts.of_moment("last", transaction.last.at)
    if transaction.start_given_up:
        known["given_up"] = 1
    transaction_id = rest.transaction_id if transaction.transaction_id is None else str(transaction.transaction_id)
    return msgspec.structs.replace(
        rest, facts=facts.merged(facts.clean(known), rest.facts), transaction_id=transaction_id, closed=False
    )


def _raw(number: int, action: str, content: bytes, error: Exception) -> KeptMessage:
    reason = f"connectors.db has it, and it can't be read: {error}"
    return KeptMessage(number, action, "unreadable", handover.readable(content), reason=reason[:500])


def _named(name: bytes, payload: bytes) -> tuple[str, int]:
    """Of which transaction an entry is, and its number, by its name, else by what can be read of it."""
    local_tx_id, _, number = handover.readable(name).rpartition("/")
    if local_tx_id and number.isdigit():
        return local_tx_id, int(number)
    try:
        found = msgspec.json.decode(payload, type=dict[str, Any])
        return str(found["local_tx_id"]), int(found["number"])
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, ValueError, TypeError):
        return "unknown", -1


def _table(database: sqlite3.Connection, table: str, *columns: str, order: str = "rowid") -> list[tuple[bytes, ...]]:
    """The rows as bytes, whatever is in them; a table or a column that an older release has not made is empty."""
    present = {str(row[1]) for row in database.execute(f"PRAGMA table_info({table})")}
    if not present:
        return []
    chosen = ", ".join(f"CAST({name} AS BLOB)" if name in present else "x''" for name in columns)
    rows = database.execute(f"SELECT {chosen} FROM {table} ORDER BY {order}").fetchall()
    return [tuple(bytes(value or b"") for value in row) for row in rows]
