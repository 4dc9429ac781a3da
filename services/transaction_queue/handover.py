"""Messages leave and enter the queue by hand: exported, imported on another board, queued again (design §4.6).

An export is JSON for a person and for `take_in`: by transaction, each with its messages and where they were kept. Taking it in
a second time adds nothing: messages are known by local_tx_id, which is random, and number.

Owns: these changes to the tables. Does not: know the shape of an export (`kept.py`), send, or commit (all that writes runs
inside the caller's transaction). What went out with transactionId -1 becomes another message once its start is answered, so it
is sent under a new unique id; everything else keeps its ids.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec

from bus.messages import TransactionEntry
from services.transaction_queue import ranges, schema
from services.transaction_queue.kept import (
    FORMAT,
    FORMAT_VERSION,
    STATES,
    Counts,
    Export,
    KeptBoot,
    KeptMessage,
    KeptTransaction,
)
from services.transaction_queue.rows import Failure, action_of
from services.transaction_queue.store import MOVE_BEHIND

MESSAGES_AT_ONCE_MAX = 100
"""In one `take_in` over the bus, whose messages are bounded."""
QUEUED_AGAIN = "queued again by hand"

_JSON_COLUMNS = ("payload", "unique_ids", "failures")


class CannotBeDone(Exception):
    """What was asked for is not possible; the text says why, in one line for people."""


def read_export(text: bytes) -> Export:
    """An export as it was written. Raises CannotBeDone in one line if it is none."""
    try:
        export = msgspec.json.decode(text, type=Export)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CannotBeDone(f"this is no export of a queue: {error}") from None
    if export.format != FORMAT or export.version > FORMAT_VERSION:
        raise CannotBeDone(f"this is {export.format!r} version {export.version}, not {FORMAT!r} up to {FORMAT_VERSION}")
    unknown = {m.state for tx in export.transactions for m in tx.messages} - STATES.keys()
    if unknown:
        raise CannotBeDone(f"this export has messages in an unknown state: {', '.join(sorted(unknown))}")
    return export


def transactions(database: sqlite3.Connection) -> Iterator[KeptTransaction]:
    """All transactions of which a message is kept anywhere, oldest message first. Reads only."""
    order: dict[str, None] = {}
    for table in STATES.values():
        for (local_tx_id,) in database.execute(f"SELECT local_tx_id FROM {table} ORDER BY id"):
            order[str(local_tx_id)] = None
    for local_tx_id in order:
        yield kept(database, local_tx_id)


def kept(database: sqlite3.Connection, local_tx_id: str) -> KeptTransaction:
    """One transaction with all that is kept of it."""
    facts = _row(database, "SELECT * FROM transactions WHERE local_tx_id = ?", local_tx_id)
    messages: list[KeptMessage] = []
    for state, table in STATES.items():
        cursor = database.execute(f"SELECT * FROM {table} WHERE local_tx_id = ? ORDER BY number, id", (local_tx_id,))
        names = [column[0] for column in cursor.description]
        messages += [_message(state, dict(zip(names, values, strict=True))) for values in cursor]
    boots = _boots(database, {message.stored_boot_id for message in messages} | _boots_in(messages))
    transaction_id = facts.pop("transaction_id", None)
    facts.pop("finished_number", None)
    return KeptTransaction(
        local_tx_id,
        None if transaction_id is None else str(transaction_id),
        {name: value for name, value in facts.items() if value is not None and name != "local_tx_id"},
        tuple(sorted(messages, key=lambda m: m.number)),
        boots,
    )


def counts(database: sqlite3.Connection) -> Counts:
    """How much is kept. Reads only."""
    sizes = {
        name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
        for name in ("messages", "dead_letters", "quarantine")
    }
    oldest = database.execute("SELECT stored_utc FROM messages ORDER BY id LIMIT 1").fetchone()
    return Counts(sizes["messages"], sizes["dead_letters"], sizes["quarantine"], oldest[0] if oldest else None)


def take_in(database: sqlite3.Connection, given: KeptTransaction) -> tuple[int, int]:
    """Add what is not here yet: (messages added, messages known). Waiting ones go behind all others."""
    known_tx = database.execute("SELECT 1 FROM transactions WHERE local_tx_id = ?", (given.local_tx_id,)).fetchone()
    if known_tx is None:
        here = schema.SCHEMA.tables["transactions"]
        columns: dict[str, Any] = {name: value for name, value in given.facts.items() if name in here}
        numbers = [message.number for message in given.messages]
        columns = {"given_up": 0, "settled_number": -1, "last_number": max(numbers, default=-1)} | columns
        columns |= {"local_tx_id": given.local_tx_id, "transaction_id": given.transaction_id}
        _insert(database, "transactions", columns)
    for boot in given.boots:
        _take_in_boot(database, boot)
    added = 0
    for message in given.messages:
        # What waits anywhere is not settled; what was given up is, and yet it is to be kept here too.
        known = is_here if message.state == "waiting" else _is_kept
        if not known(database, given.local_tx_id, message.number):
            _insert(database, STATES[message.state], _columns(given.local_tx_id, message))
            added += 1
    return added, len(given.messages) - added


def queue_again(database: sqlite3.Connection, local_tx_id: str) -> int:
    """Put the given-up messages of a transaction back among those that wait; how many.

    With its StartTransaction given up it goes again whole: the start, then the rest under the id that its answer brings
    (design §4.6). Where the start was answered, what was given up goes again under that id. Raises CannotBeDone.
    """
    tx = _row(database, "SELECT * FROM transactions WHERE local_tx_id = ?", local_tx_id)
    letters = _numbers(database, "dead_letters", local_tx_id)
    if not letters:
        raise CannotBeDone(f"nothing of a transaction {local_tx_id} was given up; `station queue` lists what was")
    whole = tx.get("transaction_id") is None
    if whole and 0 not in letters:
        raise CannotBeDone("its StartTransaction is not among what was given up, so it can't be queued again whole")
    under_way = database.execute(
        "SELECT 1 FROM messages WHERE local_tx_id = ? AND outstanding <> 0 LIMIT 1", (local_tx_id,)
    ).fetchone()
    if whole and under_way is not None:
        raise CannotBeDone("one of its messages is being delivered now; try again in a minute")
    tables = ("dead_letters", "delivered_without_id") if whole else ("dead_letters",)
    waiting = _numbers(database, "messages", local_tx_id)
    moved = sorted((number, table) for table in tables for number in _numbers(database, table, local_tx_id))
    for number, table in moved:
        if number not in waiting:
            _put_back(database, table, local_tx_id, number, other_content=whole and number > 0)
    for table in tables:
        database.execute(f"DELETE FROM {table} WHERE local_tx_id = ?", (local_tx_id,))
    for number in waiting:
        database.execute(MOVE_BEHIND, (local_tx_id, number))
    database.execute("UPDATE transactions SET given_up = 0, finished_number = NULL WHERE local_tx_id = ?", (local_tx_id,))
    return len(moved)


def of_entries(entries: list[TransactionEntry]) -> dict[str, tuple[KeptMessage, ...]]:
    """Entries that the queue was not handed over yet, as messages that wait, by transaction."""
    found: dict[str, tuple[KeptMessage, ...]] = {}
    for entry in entries:
        payload = msgspec.json.decode(msgspec.json.encode(entry.message))
        action, name = action_of(entry.message), entry.correlation_id
        message = KeptMessage(entry.number, action, "waiting", payload, correlation_id=name)
        found[entry.local_tx_id] = (*found.get(entry.local_tx_id, ()), message)
    return found


def _put_back(database: sqlite3.Connection, table: str, local_tx_id: str, number: int, *, other_content: bool) -> None:
    """Attempts begin anew. `other_content`: it went out with transactionId -1, so the next copy is another message."""
    columns = ", ".join(schema.MESSAGE_COLUMNS)
    database.execute(
        f"INSERT INTO messages ({columns}) SELECT {columns} FROM {table} WHERE local_tx_id = ? AND number = ?"
        " ORDER BY id DESC LIMIT 1",
        (local_tx_id, number),
    )
    ids = ", unique_id = NULL, unique_ids = '[]'" if other_content else ""
    database.execute(
        "UPDATE messages SET attempts = 0, outstanding = 0, failed_boot_id = '', failed_boottime_ms = 0,"
        f" alarm = coalesce(alarm || '; ', '') || ?{ids} WHERE local_tx_id = ? AND number = ?",
        (QUEUED_AGAIN, local_tx_id, number),
    )


def is_here(database: sqlite3.Connection, local_tx_id: str, number: int) -> bool:
    """Whether a message is kept here in any way, or was delivered from here."""
    return _is_kept(database, local_tx_id, number) or _is_settled(database, local_tx_id, number)


def _is_kept(database: sqlite3.Connection, local_tx_id: str, number: int) -> bool:
    tables = STATES.values()
    queries = [f"SELECT 1 FROM {table} WHERE local_tx_id = ? AND number = ?" for table in tables]
    return any(database.execute(query, (local_tx_id, number)).fetchone() is not None for query in queries)


def _is_settled(database: sqlite3.Connection, local_tx_id: str, number: int) -> bool:
    row = database.execute("SELECT settled_number, missing FROM transactions WHERE local_tx_id = ?", (local_tx_id,)).fetchone()
    if row is None or row[0] is None:
        return False
    return bool(number <= int(row[0]) and not ranges.contains(ranges.decode(row[1]), number))


def _take_in_boot(database: sqlite3.Connection, boot: KeptBoot) -> None:
    position = database.execute("SELECT min(position) FROM boots").fetchone()[0]
    columns = msgspec.structs.asdict(boot) | {"position": (position or 1) - 1, "estimated": int(boot.estimated)}
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    database.execute(f"INSERT OR IGNORE INTO boots ({names}) VALUES ({marks})", tuple(columns.values()))


def _columns(local_tx_id: str, message: KeptMessage) -> dict[str, Any]:
    """A message as a row. On another board no connection is the one that the last report came from."""
    unreadable = isinstance(message.payload, str)
    columns = {
        "local_tx_id": local_tx_id,
        "number": message.number,
        "action": message.action,
        "attempts": message.attempts,
        "last_failure": message.failures[-1].reason if message.failures else None,
        "stored_utc": message.stored_utc,
        "payload": message.payload if unreadable else msgspec.json.encode(message.payload).decode(),
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
    }
    assert columns.keys() == set(schema.MESSAGE_COLUMNS), "a column of a message is not handed over"
    return columns if message.state == "waiting" else columns | {"reason": message.reason, "moved_utc": message.moved_utc}


def _message(state: str, row: dict[str, Any]) -> KeptMessage:
    """A row as it is exported; what can't be read stays text."""
    payload, unique_ids, failures = (row[name] for name in _JSON_COLUMNS)
    try:
        payload = msgspec.json.decode(payload)
        found_ids = msgspec.json.decode(unique_ids or "[]", type=tuple[str, ...])
        found_failures = msgspec.json.decode(failures or "[]", type=tuple[Failure, ...])
    except (msgspec.MsgspecError, TypeError):
        payload, found_ids, found_failures = str(payload), (), ()
    return KeptMessage(
        number=row["number"] if isinstance(row["number"], int) else -1,
        action=str(row["action"]),
        state=state,
        payload=payload,
        attempts=row["attempts"] if isinstance(row["attempts"], int) else 0,
        failures=found_failures,
        unique_ids=found_ids,
        outstanding=bool(row["outstanding"]),
        reason=row.get("reason"),
        stored_utc=row["stored_utc"],
        moved_utc=row.get("moved_utc"),
        stored_boot_id=str(row["stored_boot_id"] or ""),
        stored_boottime_ms=row["stored_boottime_ms"] if isinstance(row["stored_boottime_ms"], int) else 0,
        alarm=row["alarm"],
        correlation_id=row["correlation_id"] if isinstance(row["correlation_id"], str) else "",
    )


def _boots_in(messages: list[KeptMessage]) -> set[str]:
    """Boots named anywhere in the payloads."""
    found: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("boot_id"), str):
                found.add(value["boot_id"])
            value = list(value.values())
        if isinstance(value, list):
            for inner in value:
                look(inner)

    for message in messages:
        look(message.payload)
    return found


def _boots(database: sqlite3.Connection, boot_ids: set[str]) -> tuple[KeptBoot, ...]:
    rows = database.execute(
        "SELECT boot_id, utc_offset_ms, estimated, last_boottime_ms FROM boots ORDER BY position"
    ).fetchall()
    return tuple(KeptBoot(row[0], row[1], bool(row[2]), row[3] or 0) for row in rows if row[0] in boot_ids)


def _numbers(database: sqlite3.Connection, table: str, local_tx_id: str) -> list[int]:
    rows = database.execute(f"SELECT DISTINCT number FROM {table} WHERE local_tx_id = ? ORDER BY number", (local_tx_id,))
    return [int(number) for (number,) in rows]


def _row(database: sqlite3.Connection, query: str, key: str) -> dict[str, Any]:
    cursor = database.execute(query, (key,))
    values = cursor.fetchone()
    return {} if values is None else dict(zip((column[0] for column in cursor.description), values, strict=True))


def _insert(database: sqlite3.Connection, table: str, columns: dict[str, Any]) -> None:
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))
