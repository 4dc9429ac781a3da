"""The disk under the services: real SQLite files, on which a process may die between any two statements.

Owns: death at a statement, a full, read-only, broken or slow disk, copies and losses of stores. With WAL and synchronous=FULL
each commit is on the disk when COMMIT returns, so that a power cut loses exactly what was not committed: the simulation models
un-synced data as the uncommitted. What a cut inside SQLite's own writes does is the concern of the proof at the file level.
"""

import sqlite3
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

WRITES = ("INSERT", "UPDATE", "DELETE", "COMMIT", "CREATE")
ENTRY = "INSERT INTO journal_out "
WAITING = "INSERT OR REPLACE INTO waiting "


class Death(BaseException):
    """A process ends here, as by SIGKILL: nothing catches it but the simulation."""


class Life:
    """How much a process will still do. `left`: statements, frames and commands until it dies; None: nothing will kill it."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.where = ""

    def spend(self, what: str) -> None:
        """The process is about to do something, or has just done it."""
        if self.left is None:
            return
        self.left -= 1
        if self.left < 0:
            self.left = None
            self.where = what
            raise Death(what)


IO_ERROR = "disk I/O error"
"""A disk that says this may have what it was given all the same."""


class Disk:
    """How the disk is now, for all stores."""

    def __init__(self, directory: Path, pass_time: Callable[[float], None]) -> None:
        self.directory = directory
        self.error = ""
        """What SQLite says to whoever commits; empty: the disk is well."""
        self.slow_s = 0.0
        """How long each commit takes."""
        self.failed = 0
        self.pass_time = pass_time
        self.committed: Callable[[str], None] = lambda _: None
        """Told of each journal entry of a transaction, as JSON, once it is on the disk."""
        self.waits: Callable[[str], Callable[[], None]] = lambda _: lambda: None
        """Told of each authorization that is written, as JSON; what it gives is called once that is on the disk."""

    def writes(self, sql: str, parameters: Any) -> tuple[Callable[[], None], ...]:
        """What somebody wants to be told of this statement once it is on the disk."""
        if sql.startswith(ENTRY) and parameters[0] == "journal.transaction.":
            return (partial(self.committed, str(parameters[2])),)
        if sql.startswith(WAITING):
            return (self.waits(str(parameters[1])),)
        return ()

    def fail(self, word: str, commit: Callable[[], Any]) -> None:
        """Refuse a commit, or one of its writes already; a broken disk at times only says that it did not take the commit.

        Raises sqlite3.OperationalError.
        """
        kind = self.failed % 3
        if word != "COMMIT" and kind != 1:
            return
        self.failed += 1
        if kind == 2 and self.error == IO_ERROR:
            commit()
        raise sqlite3.OperationalError(self.error)

    def path(self, name: str) -> str:
        """Where a store is."""
        return str(self.directory / name)

    def copy(self, name: str, to: str) -> None:
        """A copy as a backup makes it, of a store that may be in use."""
        self.lose(to)
        source, target = sqlite3.connect(self.path(name)), sqlite3.connect(self.path(to))
        source.backup(target)
        source.close()
        target.close()

    def put_back(self, copy: str, name: str) -> bool:
        """Put a copy in the place of a store that nobody has open; False: there is no such copy."""
        path = self.directory / copy
        if not path.exists():
            return False
        self.lose(name)
        (self.directory / name).write_bytes(path.read_bytes())
        return True

    def lose(self, name: str) -> None:
        """A store that nobody has open is gone."""
        for suffix in ("", "-wal", "-shm"):
            (self.directory / f"{name}{suffix}").unlink(missing_ok=True)

    def rows(self, name: str, query: str) -> list[tuple[Any, ...]]:
        """Look into a store from outside, as a person would; nothing if there is no such store or table."""
        if not (self.directory / name).exists():
            return []
        database = sqlite3.connect(self.path(name))
        try:
            return database.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            database.close()


def connection_class(life: Life, disk: Disk) -> type[sqlite3.Connection]:
    """The class of a process's connections: each statement that writes is a place to die, a commit two of them."""

    class MortalConnection(sqlite3.Connection):
        _changes = 0
        _on_disk: tuple[Callable[[], None], ...] = ()

        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            word = sql.lstrip()[:6].upper()
            if word == "BEGIN ":
                self._changes, self._on_disk = self.total_changes, ()
            if word not in WRITES:
                return super().execute(sql, parameters)
            life.spend(sql[:60])
            if word != "COMMIT":
                if disk.error and word != "CREATE":
                    disk.fail(word, lambda: None)
                self._on_disk = (*self._on_disk, *disk.writes(sql, parameters))
                return super().execute(sql, parameters)
            if self.total_changes > self._changes:
                if disk.error:
                    disk.fail(word, self._commit)
                disk.pass_time(disk.slow_s)
            cursor = self._commit()
            life.spend("after COMMIT")
            return cursor

        def _commit(self) -> sqlite3.Cursor:
            cursor = super().execute("COMMIT")
            for tell in self._on_disk:
                tell()
            self._on_disk = ()
            return cursor

        def executemany(self, sql: str, parameters: Iterable[Any]) -> sqlite3.Cursor:
            life.spend(sql[:60])
            return super().executemany(sql, parameters)

    return MortalConnection
