"""Damaged databases: found at the start, what can be read is saved, the file is kept, and the service goes on (design §3).

`open_store` is how every service opens its database. A file that is damaged (truncated, bit rot, zero length, an unknown
version of the file format), is not this store at all, or cannot take this release's schema is moved aside and kept; what can
be read of it goes row by row into a new store. What is lost in between the peer of the journal still keeps: for that the new
store has a new id (`bus/journal.py`). A value that is not what its column says is a damage too, though SQLite knows of none:
its row goes into table `unreadable` of the new store (`bus/unreadable.py`).

Theory of operation. The new file is built beside the old one under `.part` and becomes `.salvage` by one rename when it is
whole and on the disk; only then the old one is moved, its write-ahead log first, and the new one takes its place. A start that
finds a `.salvage` finishes that move. So a power cut at any instant leaves either the damaged file or the saved one.

Owns: finding the damage, copying rows, names and number of the files that are kept. Does not: know a table of any service, but
for those that say who a store is.
"""

import contextlib
import glob
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping

import msgspec

from bus import unreadable
from bus.database import STORE_TABLE, open_database, transaction
from bus.journal import JOURNAL_TABLES, TABLES_OF_IDENTITY

KEPT_MAX = 3
"""Damaged files kept of one database; the oldest give way, so that the disk never fills with them."""
FAILED_READS_MAX = 100_000
"""Ranges of rows that may fail to be read before the rest of a table is given up."""
SALVAGED = "salvaged"
"""Name of the row in table `store` that says that this store was saved from a damaged one."""

_MAGIC = b"SQLite format 3\x00"
_FILE_FORMAT_MAX = 2
_DAMAGE_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)
_SUFFIXES = ("-wal", "-shm", "")
"""The log goes first: beside another database it would be played into that one."""


class Schema(msgspec.Struct, frozen=True):
    """What a store looks like: the columns of each of its tables, and what makes them, adding what an older one lacks."""

    tables: dict[str, frozenset[str]]
    create: Callable[[sqlite3.Connection], None]
    bodies: frozenset[str] = unreadable.BODIES
    """Names of columns that are not looked into at the start: who reads them copes with anything."""
    rules: Mapping[str, str] = {}
    """What holds of each sound row of a table, in SQL."""


class Opened(msgspec.Struct, frozen=True):
    """A database that is fit to be used. `problem`: what was wrong, in one line for people; empty: nothing."""

    database: sqlite3.Connection
    problem: str = ""


def schema_of(statements: Iterable[str]) -> Schema:
    """The schema that these statements make, each of them `IF NOT EXISTS`."""
    known = tuple(statements)

    def create(database: sqlite3.Connection) -> None:
        with transaction(database):
            for statement in known:
                database.execute(statement)

    memory = sqlite3.connect(":memory:", isolation_level=None)
    create(memory)
    tables = _tables(memory)
    memory.close()
    return Schema(tables, create)


def open_store(path: str, schema: Schema, factory: type[sqlite3.Connection] = sqlite3.Connection) -> Opened:
    """Open or create the store at `path`, whatever is on the disk there; its schema is in place.

    Raises sqlite3.Error and OSError where the disk itself refuses (full, read-only, no directory).
    """
    if os.path.exists(f"{path}.salvage"):
        _take_place(path)
    flaw = _flaw(path, schema)
    if not flaw:
        database, flaw = _opened(path, schema, factory)
        if database is not None:
            return Opened(database)
    part = f"{path}.part"
    _remove(part)
    saved = _salvage(path, part, schema, flaw)
    os.replace(part, f"{path}.salvage")
    _sync(os.path.dirname(path) or ".", os.O_RDONLY)
    kept = _take_place(path)
    database, left = _opened(path, schema, factory)
    assert database is not None, f"a store that was just made is not as it should be: {left}"
    return Opened(database, f"{os.path.basename(path)} {flaw}; {saved}; the file is kept as {os.path.basename(kept)}")


def kept_files(path: str) -> list[str]:
    """The damaged files that are kept of the database at `path`, oldest first."""
    return sorted((f for f in glob.glob(f"{glob.escape(path)}.damaged-*") if _number(f)), key=_number)


def salvaged(database: sqlite3.Connection) -> str:
    """What was wrong with the store that this one was saved from, until `forget_salvaged`; empty: nothing."""
    with contextlib.suppress(sqlite3.OperationalError):
        row = database.execute("SELECT value FROM store WHERE name = ?", (SALVAGED,)).fetchone()
        return "" if row is None else str(row[0])
    return ""


def forget_salvaged(database: sqlite3.Connection) -> None:
    """The gaps are filled, as far as they can be; inside the caller's transaction."""
    database.execute("DELETE FROM store WHERE name = ?", (SALVAGED,))


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error speaks of the file's content, not of the disk, a lock or a wrong statement."""
    code = getattr(error, "sqlite_errorcode", None)
    known = code is not None and code & 0xFF in _DAMAGE_CODES
    return known or "unsupported file format" in str(error) or unreadable.is_not_text(error)


def _flaw(path: str, schema: Schema) -> str:
    """What is wrong with the file, in words that follow its name; empty: nothing, or there is none."""
    wal = f"{path}-wal"
    if not os.path.exists(path) or os.path.getsize(path) == 0:
        if os.path.exists(wal) and os.path.getsize(wal) > 0:
            return "was missing or empty, though its write-ahead log is there"
        return "was empty" if os.path.exists(path) else ""
    if not _is_database(path):
        return "was no database"
    with open(path, "rb") as file:
        header = file.read(20)
    if max(header[18:20], default=0) > _FILE_FORMAT_MAX:
        return "was in an unknown version of the file format"
    try:
        return _flaw_inside(path, schema)
    except UnicodeDecodeError:
        return "was damaged (its schema is not text)"
    except sqlite3.Error as error:
        if is_damage(error):
            return f"was damaged ({error})"
        raise


def _is_database(path: str) -> bool:
    if not os.path.exists(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def _flaw_inside(path: str, schema: Schema) -> str:
    database = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    database.text_factory = _text
    try:
        database.execute("PRAGMA cell_size_check=ON")
        # Not quick_check: a key that is not the one in its index cannot be deleted, and that ends the service again and again.
        row = database.execute("PRAGMA integrity_check(1)").fetchone()
        if row is None or row[0] != "ok":
            said = str(row[0] if row else "no answer").replace("\n", " ")
            return f"was damaged ({said})"
        # A newer release has more tables than are known here, an older one has fewer; both at once has only a stranger.
        found = _tables(database).keys() - SHARED_TABLES.keys()
        return "was a database of something else" if found - schema.tables.keys() and schema.tables.keys() - found else ""
    finally:
        database.close()


def _opened(path: str, schema: Schema, factory: type[sqlite3.Connection]) -> tuple[sqlite3.Connection | None, str]:
    """The database with its schema in place; or what is wrong with tables and values, which integrity_check does not know."""
    database = open_database(path, factory)
    try:
        schema.create(database)
        database.text_factory = _text
        tables = _tables(database)
        wrong = [name for name, columns in {**SHARED_TABLES, **schema.tables}.items() if columns - tables.get(name, columns)]
        flaw = f"was damaged (columns of table {wrong[0]} are missing)" if wrong else _wrong_value(database, schema)
        database.text_factory = str
    except UnicodeDecodeError:
        flaw = "was damaged (its schema is not text)"
    except sqlite3.Error as error:
        if not (is_damage(error) or _is_about_schema(error)):
            database.close()
            raise
        flaw = f"was damaged ({error})" if is_damage(error) else f"could not be brought up to date ({error})"
    if not flaw:
        return database, ""
    database.close()
    return None, flaw


def _wrong_value(database: sqlite3.Connection, schema: Schema) -> str:
    for name, columns in _checked(database, schema):
        wrong = unreadable.wrong_rows(database, name, columns, schema.rules.get(name, ""))
        if wrong:
            return f"was damaged (table {name}: {next(iter(wrong.values()))})"
    return ""


def _checked(database: sqlite3.Connection, schema: Schema) -> list[tuple[str, frozenset[str]]]:
    """Tables that are here, and those of their columns that have to be readable at the start."""
    here = _tables(database)
    return [(name, found - schema.bodies) for name, found in {**SHARED_TABLES, **schema.tables}.items() if name in here]


def _is_about_schema(error: sqlite3.Error) -> bool:
    """Whether a table is not as the statement takes it to be, or its rows break a rule that this release brings.

    An upgrade starts all the same (field report 54): the rows that the new tables bear go over, the file is kept.
    """
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT)


def _tables(database: sqlite3.Connection, schema: str = "main") -> dict[str, frozenset[str]]:
    """The columns of all tables by name. One whose declared type is none of ours has rotten, and would change what it takes."""
    names = database.execute(f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    found = {}
    for (name,) in names.fetchall():
        columns = database.execute(f"PRAGMA {schema}.table_info({_quoted(name)})")
        found[name] = frozenset(str(row[1]) for row in columns if row[2] in unreadable.KINDS)
    return found


def _columns(database: sqlite3.Connection, schema: str, table: str) -> list[str]:
    return [str(row[1]) for row in database.execute(f"PRAGMA {schema}.table_info({_quoted(table)})")]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: bytes) -> str:
    """Names in a damaged schema are shown as far as they can be read."""
    return value.decode("utf-8", "replace")


def _salvage(path: str, part: str, schema: Schema, flaw: str) -> str:
    """Build a new database at `part`, on the disk, with all that can be read at `path`; how much that is, in words."""
    new = sqlite3.connect(part, isolation_level=None)
    try:
        # Each statement is a transaction of its own: a bad page ends the one that meets it. What is half done nobody will
        # look at, so that the disk need not be waited for until all of it is there.
        new.execute("PRAGMA journal_mode=MEMORY")
        new.execute("PRAGMA synchronous=OFF")
        new.execute("PRAGMA cell_size_check=ON")
        new.text_factory = _text
        schema.create(new)
        # Without it SQLite reads nothing of a file that is shorter than its header says.
        new.execute("PRAGMA writable_schema=ON")
        stranger = flaw == "was a database of something else"
        rows = 0 if stranger else _copy_from(new, path)
        aside = _set_aside(new, schema)
        if rows:
            new.execute(STORE_TABLE)
            new.execute("INSERT OR REPLACE INTO store (name, value) VALUES (?, ?)", (SALVAGED, flaw))
    finally:
        new.close()
    _sync(part, os.O_RDWR | os.O_CREAT)
    if not rows:
        return "nothing in it could be used, a new one was begun"
    more = f" and {aside} that can't be read were set aside in table unreadable" if aside else ""
    return f"{rows - aside} rows were saved{more}"


def _set_aside(new: sqlite3.Connection, schema: Schema) -> int:
    """Of what was copied, the rows that would end the service when it reads them; how many."""
    found = [
        (name, *wrong)
        for name, columns in _checked(new, schema)
        for wrong in unreadable.wrong_rows(new, name, columns, schema.rules.get(name, "")).items()
    ]
    new.execute(unreadable.TABLE)
    for name, row_id, reason in found:
        unreadable.move(new, name, row_id, reason)
    return len(found)


def _copy_from(new: sqlite3.Connection, path: str) -> int:
    rows = 0
    if not _is_database(path):
        # SQLite would throw a write-ahead log without its database away; it is kept instead.
        return 0
    try:
        new.execute("ATTACH ? AS damaged", (path,))
        rows = _copy_all(new)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
    with contextlib.suppress(sqlite3.Error):
        new.execute("DETACH damaged")
    return rows


def _copy_all(new: sqlite3.Connection) -> int:
    """Rows of all tables but those that say who a store is; tables that only a newer release knows are made first."""
    present = _tables(new)
    schema = new.execute("SELECT name, sql FROM damaged.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    rows = 0
    for name, sql in schema.fetchall():
        if name in TABLES_OF_IDENTITY:
            continue
        try:
            if name in SHARED_TABLES:
                # As they have to be, not as the damaged schema says that they are.
                for statement in (STORE_TABLE, *JOURNAL_TABLES):
                    new.execute(statement)
            elif name not in present:
                new.execute(sql)
            rows += _Copy(new, name).rows()
        except UnicodeDecodeError:
            continue
        except sqlite3.Error as error:
            # A table whose definition is damaged; the others are copied all the same.
            if not (is_damage(error) or _is_about_schema(error)):
                raise
    return rows


class _Copy:
    """One table: ranges of rows that cannot be read are halved until only the bad rows are left out."""

    def __init__(self, new: sqlite3.Connection, table: str) -> None:
        self._new = new
        self._source, self._target = f"damaged.{_quoted(table)}", f"main.{_quoted(table)}"
        here = frozenset(_columns(new, "main", table))
        common = [column for column in _columns(new, "damaged", table) if column in here]
        self._columns = ", ".join(_quoted(column) for column in common)
        self._failed = 0

    def rows(self) -> int:
        """Copy what can be read; how many rows that is."""
        low = self._bound("min(rowid)", 1)
        high = self._bound("max(rowid)", (low or 1) + self._rows_max())
        return 0 if low is None or high is None else self._range(low, high)

    def _bound(self, what: str, otherwise: int | None) -> int | None:
        try:
            found = self._new.execute(f"SELECT {what} FROM {self._source}").fetchone()[0]
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return otherwise
        return None if found is None else int(found)

    def _rows_max(self) -> int:
        """More rows than the file has bytes for there cannot be."""
        return int(self._new.execute("PRAGMA damaged.page_count").fetchone()[0]) * 500

    def _range(self, low: int, high: int) -> int:
        if self._failed > FAILED_READS_MAX:
            return 0
        try:
            return self._new.execute(
                f"INSERT OR IGNORE INTO {self._target} ({self._columns})"
                f" SELECT {self._columns} FROM {self._source} WHERE rowid BETWEEN ? AND ?",
                (low, high),
            ).rowcount
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        self._failed += 1
        if low == high:
            return 0
        middle = (low + high) // 2
        return self._range(low, middle) + self._range(middle + 1, high)


def _take_place(path: str) -> str:
    """Move the damaged file aside and the saved one into its place; where the damaged one is kept."""
    kept = kept_files(path)
    aside = f"{path}.damaged-{_number(kept[-1]) + 1 if kept else 1}"
    for suffix in _SUFFIXES:
        if os.path.exists(path + suffix):
            os.replace(path + suffix, aside + suffix)
    os.replace(f"{path}.salvage", path)
    for old in kept_files(path)[:-KEPT_MAX]:
        _remove(old)
    _sync(os.path.dirname(path) or ".", os.O_RDONLY)
    return aside


def _sync(path: str, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)


SHARED_TABLES = schema_of((STORE_TABLE, *JOURNAL_TABLES)).tables
"""Tables that several stores have; each is made by its own user when it is needed."""


def _number(path: str) -> int:
    """The number at the end of a kept file's name; 0: it is none (its log, or something else)."""
    end = path.rpartition(".damaged-")[2]
    return int(end) if end.isdigit() else 0
