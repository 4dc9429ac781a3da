"""What another board has exported is taken in (design §4.6): its messages, its open transactions, its boots.

Taking it in a second time adds nothing: messages are known by local_tx_id, which is random, and number. One that was
delivered from here, be it after it was queued again, is known as any other. So what of a transaction is still to come in the
pieces of its import counts as missing, from the first piece on.

A transaction that is still open has nobody here who knows it, so the queue has it closed, at its last reading (`lost.py`).

Boots keep their order: those that are taken in lie before those of this board (positions up to 0), in the order in which they
come; one that lies between known ones stays there.

Owns: these changes to the tables. Does not: commit, read (`handover.py`), or know the shape of an export (`kept.py`).
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from services.transaction_queue import facts, ranges, schema
from services.transaction_queue.facts import Facts
from services.transaction_queue.handover import CannotBeDone, is_here, is_kept, readable, row
from services.transaction_queue.kept import STATES, KeptBoot, KeptMessage, KeptTransaction

MESSAGES_AT_ONCE_MAX = 100
"""In one piece, which may go over the bus, whose messages are bounded."""

_STAYS = ("settled_number", "missing", "given_up", "finished_number", "taken_in")
"""What only this queue knows of a transaction that it has."""


def pieces(given: KeptTransaction, boots: tuple[KeptBoot, ...] = ()) -> Iterator[KeptTransaction]:
    """A transaction in parts, each of which knows what all of it tells: a transaction without messages is one.

    `boots`: all those of its export in their order, which the first one brings.
    """
    size = MESSAGES_AT_ONCE_MAX
    known = facts.completed(given)
    settled = int(known.get("settled_number", -1))
    later = [message.number for message in given.messages[size:] if message.number <= settled]
    if later:
        known["missing"] = ranges.encode(ranges.united(ranges.decode(str(known.get("missing", "[]"))), later))
    names = {boot.boot_id for boot in boots}
    all_boots = (*boots, *(boot for boot in given.boots if boot.boot_id not in names))
    for start in range(0, max(1, len(given.messages)), size):
        part = given.messages[start : start + size]
        yield msgspec.structs.replace(given, facts=known, messages=part, boots=given.boots if start else all_boots)


def take_in(database: sqlite3.Connection, given: KeptTransaction) -> tuple[int, int]:
    """Add what is not here yet: (messages added, messages known). Waiting ones go behind all others. Raises CannotBeDone."""
    try:
        return _take_in(database, given)
    except OverflowError:
        raise CannotBeDone(f"transaction {given.local_tx_id} of this export has a number that is too large") from None


def _take_in(database: sqlite3.Connection, given: KeptTransaction) -> tuple[int, int]:
    known = facts.clean(row(database, given.local_tx_id))
    told = facts.completed(given)
    if known:
        _note(database, given, known, {name: value for name, value in told.items() if name not in _STAYS})
    else:
        columns: dict[str, Any] = {"given_up": 0, "settled_number": -1, "last_number": -1} | told
        columns |= {"local_tx_id": given.local_tx_id, "transaction_id": _transaction_id(given), "taken_in": 1}
        columns.pop("finished_number", None)
        _insert(database, "transactions", columns)
    take_in_boots(database, facts.boots_told(given))
    added = 0
    for message in given.messages:
        state = message.state if message.number >= 0 else "unreadable"
        if not _is_known(database, given.local_tx_id, message, state, new=not known):
            _insert(database, STATES[state], _columns(given.local_tx_id, message, state))
            added += 1
            if (message.number, state) == (0, "waiting"):
                database.execute(START_WAITS, (given.local_tx_id,))
    return added, len(given.messages) - added


def take_in_boots(database: sqlite3.Connection, given: Sequence[KeptBoot]) -> None:
    """Add boots that are not known, and learn the time of those that are."""
    rows = database.execute("SELECT boot_id, position FROM boots ORDER BY position").fetchall()
    here = [str(boot_id) for boot_id, _ in rows]
    own = next((index for index, row in enumerate(rows) if isinstance(row[1], int) and row[1] > 0), len(rows))
    order, own = _with_boots(here, own, [boot.boot_id for boot in given])
    for boot in given:
        if boot.boot_id not in here:
            _insert(database, "boots", msgspec.structs.asdict(boot) | {"estimated": int(boot.estimated)})
        elif boot.utc_offset_ms is not None and not boot.estimated:
            database.execute(LEARN_OFFSET, (boot.utc_offset_ms, boot.boot_id))
    if order != here:
        places = [(index - own + 1, boot_id) for index, boot_id in enumerate(order)]
        database.executemany("UPDATE boots SET position = ? WHERE boot_id = ?", places)


def _with_boots(here: list[str], own: int, given: list[str]) -> tuple[list[str], int]:
    """The order with more boots, and the index of the first one of this board (pure)."""
    order = list(here)
    for index, boot_id in enumerate(given):
        if boot_id in order:
            continue
        following = next((one for one in given[index + 1 :] if one in here), None)
        before = given[index - 1] if index else None
        if following is not None:
            place = order.index(following)
        elif before is not None:
            place = order.index(before) + 1
        else:
            place = own
        order.insert(place, boot_id)
        own += place <= own
    return order, own


def _note(database: sqlite3.Connection, given: KeptTransaction, known: Facts, told: Facts) -> None:
    """A transaction that is here already: what is not known of it, and what is later."""
    changes: dict[str, Any] = {n: v for n, v in facts.merged(known, told).items() if known.get(n) != v}
    if _transaction_id(given) is not None and "transaction_id" not in known:
        changes["transaction_id"] = _transaction_id(given)
    if changes:
        assignments = ", ".join(f"{name} = ?" for name in changes)
        database.execute(f"UPDATE transactions SET {assignments} WHERE local_tx_id = ?", (*changes.values(), given.local_tx_id))


def _is_known(database: sqlite3.Connection, local_tx_id: str, message: KeptMessage, state: str, *, new: bool) -> bool:
    """Whether a message is here, or was. What is unreadable is never delivered, so it is known as long as it lies here."""
    if state != "unreadable":
        # Of a new transaction nothing was: what counts as settled was so on the other board.
        return is_kept(database, local_tx_id, message.number) if new else is_here(database, local_tx_id, message.number)
    rows = database.execute(SELECT_UNREADABLE, (local_tx_id, message.number)).fetchall()
    return any(message.number >= 0 or readable(payload or b"") == _stored(message) for (payload,) in rows)


def _transaction_id(given: KeptTransaction) -> str | None:
    """As it is stored; None: there is none, or what is there is none."""
    try:
        return None if given.transaction_id is None else str(int(given.transaction_id))
    except ValueError:
        return None


def _stored(message: KeptMessage) -> str:
    return message.payload if isinstance(message.payload, str) else msgspec.json.encode(message.payload).decode()


def _columns(local_tx_id: str, message: KeptMessage, state: str) -> dict[str, Any]:
    """A message as a row. On another board no connection is the one that the last report came from."""
    columns = {
        "local_tx_id": local_tx_id,
        "number": message.number,
        "action": message.action,
        "attempts": message.attempts,
        "last_failure": message.failures[-1].reason if message.failures else None,
        "stored_utc": message.stored_utc,
        "payload": _stored(message),
        "unique_id": message.unique_ids[-1] if message.unique_ids else None,
        "unique_ids": msgspec.json.encode(message.unique_ids).decode(),
        "outstanding": int(message.outstanding),
        "answered_on": "",
        "failures": msgspec.json.encode(message.failures).decode(),
        "failed_boot_id": "",
        "failed_boottime_ms": 0,
        "stored_boot_id": message.stored_boot_id,
        "stored_boottime_ms": message.stored_boottime_ms,
        "alarm": message.alarm,
        "correlation_id": message.correlation_id,
        "without_id": int(message.without_id),
    }
    assert columns.keys() == set(schema.MESSAGE_COLUMNS), "a column of a message is not handed over"
    return columns if state == "waiting" else columns | {"reason": message.reason, "moved_utc": message.moved_utc}


def _insert(database: sqlite3.Connection, table: str, columns: dict[str, Any]) -> None:
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))


SELECT_UNREADABLE = "SELECT CAST(payload AS BLOB) FROM quarantine WHERE local_tx_id = ? AND number = ?"
START_WAITS = "UPDATE transactions SET given_up = NULL WHERE local_tx_id = ? AND given_up <> 0"
LEARN_OFFSET = (
    "UPDATE boots SET utc_offset_ms = ?, estimated = 0 WHERE boot_id = ? AND (utc_offset_ms IS NULL OR estimated <> 0)"
)
