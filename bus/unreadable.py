"""Rows with a value that is not what its column says: found at the start, set aside whole, never in the way (field report 52).

SQLite's own check knows pages and indexes, not values: for it a text that is no UTF-8 is sound, or a text where a whole number
belongs. The first SELECT of one raises, and so it does after each restart. So `bus/salvage.py` reads the columns that steer a
store once, at each start. *Bodies* (JSON) it leaves alone: there may be a hundred thousand of them. Who reads one casts it to
a blob and decodes that, so that a bad byte is the same as bad JSON: that one row is set aside, and the next is read.

Owns: what a wrong row is, and the table `unreadable`, whose rows only people read. Does not: look into bodies, or move files.
"""

import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

TABLE = "CREATE TABLE IF NOT EXISTS unreadable (source TEXT NOT NULL, id TEXT NOT NULL, body TEXT, reason TEXT NOT NULL)"
BODIES = frozenset({"body", "payload"})
"""Columns that their readers take for bytes that may be anything."""
KINDS = frozenset({"TEXT", "INTEGER"})
"""Declared types of our columns."""
REASON_CHARS_MAX = 500


def wrong_rows(database: sqlite3.Connection, table: str, columns: frozenset[str], rule: str = "") -> dict[int, str]:
    """Why a row can't be read, by its rowid: these columns hold a wrong value, or it breaks the rule (SQL; "": none)."""
    with _texts_as(database, _escaped):
        here = database.execute(f"PRAGMA table_info({table})").fetchall()
    known = [row[1:] for row in here if row[1] in columns and row[2] in KINDS]
    texts = [str(name) for name, kind, *_ in known if kind == "TEXT"]
    found = _of_wrong_kind(database, table, known, rule)
    if not _all_text(database, table, texts):
        found |= _not_text(database, table, texts)
    return found


def _of_wrong_kind(database: sqlite3.Connection, table: str, known: list[tuple[Any, ...]], rule: str) -> dict[int, str]:
    # A key is not NULL, whether or not SQLite would take it.
    nothing = {name: "" if not_null or key else ", 'null'" for name, _, not_null, _, key in known}
    tests = [f"typeof({name}) NOT IN ('{kind.lower()}'{nothing[name]})" for name, kind, *_ in known]
    broken = f"NOT coalesce({rule or '1'}, 0)"
    rows = database.execute(f"SELECT rowid, {', '.join([*tests, broken])} FROM {table} WHERE {' OR '.join([*tests, broken])}")
    found = {}
    for row_id, *is_wrong in rows.fetchall():
        names = [str(column[0]) for column, wrong in zip(known, is_wrong[:-1], strict=True) if wrong]
        found[int(row_id)] = _cannot_be_read(names) if names else "its values can't be true"
    return found


def _all_text(database: sqlite3.Connection, table: str, texts: list[str]) -> bool:
    """Whether SQLite's module can make text of all of them; the quick way, for it stops at the first that is none."""
    if not texts:
        return True
    with _texts_as(database, str):
        try:
            deque(database.execute(f"SELECT {', '.join(texts)} FROM {table}"), maxlen=0)
        except sqlite3.OperationalError as error:
            if not is_not_text(error):
                raise
            return False
    return True


def _not_text(database: sqlite3.Connection, table: str, texts: list[str]) -> dict[int, str]:
    found = {}
    with _texts_as(database, _text_or_bytes):
        for row_id, *values in database.execute(f"SELECT rowid, {', '.join(texts)} FROM {table}"):
            names = [name for name, value in zip(texts, values, strict=True) if isinstance(value, bytes)]
            if names:
                found[int(row_id)] = _cannot_be_read(names)
    return found


def _cannot_be_read(names: list[str]) -> str:
    return f"{', '.join(names)} can't be read"


def is_not_text(error: sqlite3.Error) -> bool:
    """Whether it speaks of bytes that are no UTF-8; Python's module says so, SQLite has no code for it."""
    return str(error).startswith("Could not decode")


def move(database: sqlite3.Connection, table: str, row_id: int, reason: str) -> None:
    """Set a row aside as JSON of all that is in it; bytes that are no text are shown as `\\xff`."""
    with _texts_as(database, _escaped):
        cursor = database.execute(f"SELECT * FROM {table} WHERE rowid = ?", (row_id,))
        values = cursor.fetchone()
    body = msgspec.json.encode(dict(zip((column[0] for column in cursor.description), values, strict=True)))
    keep(database, table, str(values[0]), body, reason)
    database.execute(f"DELETE FROM {table} WHERE rowid = ?", (row_id,))


def keep(database: sqlite3.Connection, source: str, key: str, body: bytes, reason: str) -> None:
    """Note what a row held, inside the caller's transaction: as text, or as a blob if it is none."""
    row = (source, key, _text_or_bytes(body), reason[:REASON_CHARS_MAX])
    database.execute("INSERT INTO unreadable VALUES (?, ?, ?, ?)", row)


def problem(found: int, file: str) -> str | None:
    """What people have to know of the rows that one run has set aside; None: there are none. It goes with the next start."""
    return f"rows that can't be read were set aside: {found}; see table unreadable of {file}" if found else None


@contextlib.contextmanager
def _texts_as(database: sqlite3.Connection, factory: Callable[[bytes], str | bytes] | type[str]) -> Iterator[None]:
    before = database.text_factory
    database.text_factory = factory
    try:
        yield
    finally:
        database.text_factory = before


def _text_or_bytes(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _escaped(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
