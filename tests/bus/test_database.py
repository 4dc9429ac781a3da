"""SQLite as the station uses it: all or nothing, and on the disk (design §3)."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus.database import open_database, store_id, transaction


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = open_database(str(tmp_path / "test.db"))
    opened.execute("CREATE TABLE t (a INTEGER PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)")
    yield opened
    opened.close()


def count(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT count(*) FROM t").fetchone()[0])


def test_a_commit_is_on_the_disk(database: sqlite3.Connection) -> None:
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_exception_takes_everything_back_and_the_next_transaction_works(database: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError), transaction(database):
        database.executemany("INSERT INTO t VALUES (?)", [(1,), (1,)])
    assert count(database) == 0
    with transaction(database):
        database.execute("INSERT INTO t VALUES (1)")
    assert count(database) == 1


def test_a_commit_that_fails_leaves_no_transaction_open(database: sqlite3.Connection) -> None:
    database.execute("CREATE TABLE child (a INTEGER REFERENCES t (a) DEFERRABLE INITIALLY DEFERRED)")
    with pytest.raises(sqlite3.IntegrityError), transaction(database):
        database.execute("INSERT INTO child VALUES (9)")
    assert not database.in_transaction
    assert database.execute("SELECT count(*) FROM child").fetchone() == (0,)


def test_the_error_is_seen_where_sqlite_has_rolled_back_itself(database: sqlite3.Connection) -> None:
    with pytest.raises(ZeroDivisionError), transaction(database):
        _fail_rolled_back(database)


def test_transactions_do_not_nest(database: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="within a transaction"), transaction(database):
        _insert_in_transaction(database)
    assert count(database) == 0


def test_a_store_keeps_its_id_and_a_lost_one_gets_another(tmp_path: Path, database: sqlite3.Connection) -> None:
    kept = store_id(database)
    database.close()
    again = open_database(str(tmp_path / "test.db"))
    other = open_database(str(tmp_path / "other.db"))
    assert store_id(again) == kept != store_id(other)
    again.close()
    other.close()


def _fail_rolled_back(database: sqlite3.Connection) -> None:
    database.execute("ROLLBACK")
    raise ZeroDivisionError


def _insert_in_transaction(database: sqlite3.Connection) -> None:
    database.execute("INSERT INTO t VALUES (1)")
    with transaction(database):
        pass
