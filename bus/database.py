"""SQLite as the station uses it: an acknowledged commit is on the disk (design §3).

Owns: the pragmas, transactions, the id of a store. Does not: know any table but its own `store` table.
"""

import sqlite3
from contextlib import AbstractContextManager

from bus import chance

BUSY_TIMEOUT_MS = 5000
STORE_TABLE = "CREATE TABLE IF NOT EXISTS store (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
"""What a store knows about itself."""


def open_database(path: str, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    """Open or create a database: WAL, synchronous=FULL, explicit transactions. Raises sqlite3.Error.

    `factory`: the class of the connection, so that a simulation can stop the process between two statements.
    """
    database = sqlite3.connect(path, isolation_level=None, factory=factory)
    database.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("PRAGMA wal_autocheckpoint=500")
    database.execute("PRAGMA foreign_keys=ON")
    return database


class _Transaction:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> sqlite3.Connection:
        self._database.execute("BEGIN IMMEDIATE")
        return self._database

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._undo()
            return
        try:
            self._database.execute("COMMIT")
        except BaseException:
            self._undo()
            raise

    def _undo(self) -> None:
        # A full or broken disk may have ended the transaction already, and that error is the one to be seen.
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")


def transaction(database: sqlite3.Connection) -> AbstractContextManager[sqlite3.Connection]:
    """All or nothing: commits at the end, rolls back on an exception, one of the commit too. Does not nest."""
    return _Transaction(database)


def store_id(database: sqlite3.Connection) -> str:
    """The id that this database keeps for its life; a new or lost database gets a new one."""
    with transaction(database):
        database.execute(STORE_TABLE)
        row = database.execute("SELECT value FROM store WHERE name = 'id'").fetchone()
        if row is not None:
            return str(row[0])
        new = chance.token_hex(8)
        database.execute("INSERT INTO store (name, value) VALUES ('id', ?)", (new,))
        return new
