"""Messages leave the queue by hand, and go through it again: exported and queued again (design §4.6).

An export is JSON for a person and for `taking_in.py`: by transaction, each with its messages and where they were kept.

A damaged row is never in the way of another one: text that is none is read as far as it goes, with `\\xff` for each byte that
is not, and what can't be read stays text.

Owns: reading what is kept, and these changes to the tables. Does not: know the shape of an export (`kept.py`), take one in,
send, or commit (what writes runs inside the caller's transaction). What went out with transactionId -1 becomes another message
once its start is answered, so it is sent under a new unique id; everything else keeps its ids.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from bus.messages import StopTransaction, TransactionEntry
from bus.vocabulary import Reason
from services.transaction_queue import facts, ranges, recognition, schema
from services.transaction_queue.arrivals import SELECT_HIGHEST, SELECT_STOP
from services.transaction_queue.kept import (
    FORMAT,
    FORMAT_VERSION,
    STATES,
    Counts,
    Export,
    KeptBoot,
    KeptMessage,
    KeptTransaction,
    Rest,
)
from services.transaction_queue.letters import note_ids
from services.transaction_queue.recognition import Here
from services.transaction_queue.rows import Failure, action_of
from services.transaction_queue.store import MOVE_BEHIND

QUEUED_AGAIN = "queued again by hand"

T = TypeVar("T")

_KNOWN_STATES = [table for state, table in STATES.items() if state != "unreadable"]
UNDER_ITS_ID = (
    "UPDATE messages SET unique_id = NULL, unique_ids = '[]', without_id = 0"
    " WHERE local_tx_id = ? AND without_id = 1 AND outstanding = 0"
)
"""What went out with -1 and failed is another message from now on."""
SELECT_SENT = "SELECT number, CAST(unique_ids AS BLOB) FROM messages WHERE local_tx_id = ? AND unique_ids <> '[]'"


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
    """All transactions of which a message is kept anywhere, in the order in which they began. Reads only."""
    for local_tx_id in names(database):
        found = kept(database, local_tx_id)
        if found.messages:
            yield found


def names(database: sqlite3.Connection) -> list[str]:
    """Names of all transactions of which a message is kept, or that are open, in the order in which they began. Reads only."""
    order: dict[str, None] = {}
    for table in STATES.values():
        for (local_tx_id,) in _read(database, f"SELECT local_tx_id FROM {table} ORDER BY id"):
            order[_text(local_tx_id) or ""] = None
    ranks = {}
    for rank, local_tx_id, is_open in _read(database, SELECT_RANKS):
        ranks[_text(local_tx_id) or ""] = rank
        if is_open:
            order[_text(local_tx_id) or ""] = None
    last = max(ranks.values(), default=0) + 1
    return sorted(order, key=lambda name: ranks.get(name, last))


def open_names(database: sqlite3.Connection) -> list[str]:
    """Names of the transactions that are still open for this queue. Reads only."""
    return [_text(name) or "" for _, name, is_open in _read(database, SELECT_RANKS) if is_open]


def kept(database: sqlite3.Connection, local_tx_id: str) -> KeptTransaction:
    """One transaction with all that is kept of it."""
    key = _key(database, local_tx_id)
    columns = next(iter(_rows(database, SELECT_ROW, key)), {})
    messages: list[KeptMessage] = []
    for state, table in STATES.items():
        found = _rows(database, f"SELECT * FROM {table} WHERE local_tx_id {_IS_NAME}", key)
        messages += [_message(state, one) for one in found]
    finished = columns.pop("finished_number", None) is not None
    transaction_id = _text(columns.pop("transaction_id", None))
    columns.pop("local_tx_id", None)
    known = facts.clean(columns)
    boot_ids = {message.stored_boot_id for message in messages} | _boots_in(messages) | facts.boot_ids(known)
    return KeptTransaction(
        local_tx_id,
        transaction_id,
        known,
        tuple(sorted(messages, key=lambda m: m.number)),
        boots(database, boot_ids),
        open=facts.is_open(known) and not finished,
    )


def joined(found: KeptTransaction, rest: Rest) -> KeptTransaction:
    """With what only `connectors.db` has of it, which knows whether it is open."""
    known = facts.merged(found.facts, facts.merged(facts.of_messages(rest.messages), rest.facts))
    is_open = facts.is_open(known) and not rest.closed
    if facts.is_open(known) and rest.closed:
        # Its stop went out before this queue's database was lost, or restored: nobody is to make another one.
        known["stop_reason"] = str(Reason.OTHER)
    return KeptTransaction(
        found.local_tx_id,
        found.transaction_id if found.transaction_id is not None else rest.transaction_id,
        known,
        tuple(sorted((*found.messages, *rest.messages), key=lambda m: m.number)),
        found.boots,
        is_open,
    )


def boots(database: sqlite3.Connection, boot_ids: set[str]) -> tuple[KeptBoot, ...]:
    """These boots, and those after them that their times are estimated by, in their order."""
    found: list[KeptBoot] = []
    wanted = False
    for boot_id, offset_ms, estimated, last_ms in _read(database, SELECT_BOOTS):
        wanted = wanted or str(boot_id) in boot_ids
        if wanted:
            sound = isinstance(offset_ms, int)
            found.append(KeptBoot(str(boot_id), offset_ms if sound else None, bool(estimated and sound), _int(last_ms, 0)))
            wanted = not sound or bool(estimated)
    return tuple(found)


def counts(database: sqlite3.Connection) -> Counts:
    """How much is kept. Reads only."""
    sizes = {
        name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
        for name in ("messages", "dead_letters", "quarantine")
    }
    oldest = next(iter(_read(database, "SELECT stored_utc FROM messages ORDER BY id LIMIT 1")), None)
    return Counts(
        sizes["messages"], sizes["dead_letters"], sizes["quarantine"], oldest_utc=_text(oldest[0]) if oldest else None
    )


def queue_again(database: sqlite3.Connection, local_tx_id: str) -> int:
    """Put the given-up messages of a transaction back among those that wait; how many.

    With its StartTransaction given up it goes again whole: the start, then the rest under the id that its answer brings
    (design §4.6). Where the start was answered, what was given up goes again under that id, and so does what went out with -1
    before a late answer. Raises CannotBeDone.
    """
    tx = row(database, local_tx_id)
    letters = _numbers(database, "dead_letters", local_tx_id)
    whole = tx.get("transaction_id") is None
    if not letters and (whole or not _numbers(database, "delivered_without_id", local_tx_id)):
        raise CannotBeDone(f"nothing of a transaction {local_tx_id} was given up; `station queue` lists what was")
    if whole and 0 not in letters:
        raise CannotBeDone("its StartTransaction is not among what was given up, so it can't be queued again whole")
    under_way = database.execute(
        "SELECT 1 FROM messages WHERE local_tx_id = ? AND outstanding <> 0 LIMIT 1", (local_tx_id,)
    ).fetchone()
    if whole and under_way is not None:
        raise CannotBeDone("one of its messages is being delivered now; try again in a minute")
    tables = ("dead_letters", "delivered_without_id")
    waiting = _numbers(database, "messages", local_tx_id)
    moved = sorted((number, table) for table in tables for number in _numbers(database, table, local_tx_id))
    for number, table in moved:
        if number not in waiting:
            _put_back(database, table, local_tx_id, number, other_content=number > 0 and (whole or table != "dead_letters"))
    database.execute(UNDER_ITS_ID, (local_tx_id,))
    for table in tables:
        database.execute(f"DELETE FROM {table} WHERE local_tx_id = ?", (local_tx_id,))
    for number in waiting:
        database.execute(MOVE_BEHIND, (local_tx_id, number))
    for number, unique_ids in database.execute(SELECT_SENT, (local_tx_id,)).fetchall():
        note_ids(database, local_tx_id, number, _decoded(unique_ids, tuple[str, ...]))
    # Not 0: `connectors` goes on to tell that the start was given up.
    database.execute("UPDATE transactions SET given_up = NULL, finished_number = NULL WHERE local_tx_id = ?", (local_tx_id,))
    return len(moved)


def of_entries(entries: Iterable[TransactionEntry]) -> dict[str, tuple[KeptMessage, ...]]:
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
    ids = ", unique_id = NULL, unique_ids = '[]', without_id = 0" if other_content else ""
    database.execute(
        "UPDATE messages SET attempts = 0, outstanding = 0, failed_boot_id = '', failed_boottime_ms = 0,"
        f" alarm = coalesce(alarm || '; ', '') || ?{ids} WHERE local_tx_id = ? AND number = ?",
        (QUEUED_AGAIN, local_tx_id, number),
    )


def place(database: sqlite3.Connection, entry: TransactionEntry) -> recognition.Place:
    """Where an entry that the queue may not have been handed yet is here, or will be."""
    key, number = entry.local_tx_id, entry.number
    is_stop, tx = isinstance(entry.message, StopTransaction), row(database, key)
    numbers = (database.execute(SELECT_HIGHEST.format(table), (key,)).fetchone()[0] for table in _KNOWN_STATES)
    last = max([_int(tx.get("last_number"), -1), *(number for number in numbers if number is not None)])
    stopped = tx.get("stop_reason") is not None or tx.get("finished_number") is not None
    kept = is_stop and any(database.execute(SELECT_STOP.format(table), (key,)).fetchone() for table in _KNOWN_STATES)
    here = Here(
        settled=is_here(database, key, number),
        highest=last,
        stop_settled=kept or (stopped and _is_settled(database, key, last)),
    )
    return recognition.place(here, number, is_stop=is_stop)


def is_here(database: sqlite3.Connection, local_tx_id: str, number: int) -> bool:
    """Whether a message is kept here so that it can be read, or was delivered from here."""
    return is_kept(database, local_tx_id, number) or _is_settled(database, local_tx_id, number)


def is_kept(database: sqlite3.Connection, local_tx_id: str, number: int) -> bool:
    """Whether a message waits here, was given up, or went out with transactionId -1."""
    queries = [f"SELECT 1 FROM {table} WHERE local_tx_id = ? AND number = ?" for table in _KNOWN_STATES]
    return any(database.execute(query, (local_tx_id, number)).fetchone() is not None for query in queries)


def _is_settled(database: sqlite3.Connection, local_tx_id: str, number: int) -> bool:
    row = database.execute("SELECT settled_number, missing FROM transactions WHERE local_tx_id = ?", (local_tx_id,)).fetchone()
    if row is None or not isinstance(row[0], int):
        return False
    return bool(number <= row[0] and not ranges.contains(ranges.decode(row[1]), number))


def _message(state: str, row: dict[str, Any]) -> KeptMessage:
    """A row as it is exported; what can't be read stays text, and a message that has no place any more is unreadable."""
    number = _int(row["number"], -1)
    return KeptMessage(
        number=number,
        action=_text(row["action"]) or "",
        state=state if number >= 0 else "unreadable",
        payload=_payload(row["payload"]),
        attempts=_int(row["attempts"], 0),
        failures=_decoded(row["failures"], tuple[Failure, ...]),
        unique_ids=_decoded(row["unique_ids"], tuple[str, ...]),
        outstanding=bool(row["outstanding"]),
        reason=_text(row.get("reason")),
        stored_utc=_text(row["stored_utc"]),
        moved_utc=_text(row.get("moved_utc")),
        stored_boot_id=_text(row["stored_boot_id"]) or "",
        stored_boottime_ms=_int(row["stored_boottime_ms"], 0),
        alarm=_text(row["alarm"]),
        correlation_id=_text(row["correlation_id"]) or "",
        without_id=bool(row.get("without_id")),
    )


def _payload(value: Any) -> Any:
    try:
        found = msgspec.json.decode(value)
        msgspec.json.encode(found)
    except (msgspec.MsgspecError, TypeError, OverflowError, UnicodeError):
        return _text(value) or ""
    return _text(value) or "" if isinstance(found, str) else found


def _decoded(value: Any, kind: type[tuple[T, ...]]) -> tuple[T, ...]:
    try:
        return msgspec.json.decode(value or "[]", type=kind)
    except (msgspec.MsgspecError, TypeError):
        return ()


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return readable(value)
    return None if value is None else str(value)


def _int(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


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


def _numbers(database: sqlite3.Connection, table: str, local_tx_id: str) -> list[int]:
    rows = database.execute(f"SELECT DISTINCT number FROM {table} WHERE local_tx_id = ? ORDER BY number", (local_tx_id,))
    return [int(number) for (number,) in rows]


def row(database: sqlite3.Connection, local_tx_id: str) -> dict[str, Any]:
    """The row of a transaction; empty: there is none."""
    return next(iter(_rows(database, SELECT_ROW, local_tx_id.encode())), {})


def readable(value: bytes) -> str:
    """Text as far as it is text; `\\xff` for a byte that is not."""
    return value.decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def _reading_anything(database: sqlite3.Connection) -> Iterator[None]:
    before = database.text_factory
    database.text_factory = readable
    try:
        yield
    finally:
        database.text_factory = before


def _read(database: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    with _reading_anything(database):
        return database.execute(query).fetchall()


def _rows(database: sqlite3.Connection, query: str, key: bytes) -> list[dict[str, Any]]:
    with _reading_anything(database):
        cursor = database.execute(query, (key, key))
        columns = [str(column[0]) for column in cursor.description]
        return [dict(zip(columns, values, strict=True)) for values in cursor.fetchall()]


def _key(database: sqlite3.Connection, local_tx_id: str) -> bytes:
    """The name as it is in the tables: one that was damaged is shown otherwise."""
    if "\\x" in local_tx_id:
        for table in (*STATES.values(), "transactions"):
            for (raw,) in database.execute(f"SELECT CAST(local_tx_id AS BLOB) FROM {table} ORDER BY rowid"):
                if readable(raw or b"") == local_tx_id:
                    return bytes(raw or b"")
    return local_tx_id.encode()


_IS_NAME = "IN (CAST(? AS TEXT), ?)"
"""Given as bytes: a damaged row may have its name as bytes, too."""
SELECT_ROW = f"SELECT * FROM transactions WHERE local_tx_id {_IS_NAME}"
SELECT_RANKS = (
    "SELECT rowid, local_tx_id, stop_reason IS NULL AND start_boot_id IS NOT NULL AND finished_number IS NULL FROM transactions"
    " ORDER BY rowid"
)
SELECT_BOOTS = "SELECT boot_id, utc_offset_ms, estimated, last_boottime_ms FROM boots ORDER BY position"
