"""What goes wrong in a simulated day truly goes wrong."""

import sqlite3
from pathlib import Path

import pytest

from tests.simulation.disk import IO_ERROR, Disk, Life, connection_class
from tests.simulation.faults import ACTIONS
from tests.simulation.plan import day


def test_the_days_of_a_test_run_have_every_kind_of_fault() -> None:
    found = {fault.what for seed in range(60) for fault in day(seed).faults}
    assert found == ACTIONS.keys()


@pytest.mark.parametrize("error", [IO_ERROR, "database or disk is full"])
def test_a_bad_disk_refuses_at_the_commit_and_before_it_and_a_broken_one_keeps_what_it_denies(
    tmp_path: Path, error: str
) -> None:
    disk = Disk(tmp_path, lambda _: None)
    database = sqlite3.connect(disk.path("a.db"), isolation_level=None, factory=connection_class(Life(), disk))
    database.execute("CREATE TABLE a (b INTEGER)")
    disk.error = error
    refused_at = [refused(database, number) for number in range(3)]
    assert refused_at == [f"COMMIT: {error}", f"INSERT: {error}", f"COMMIT: {error}"]
    kept = [2] if error == IO_ERROR else []
    assert [row for (row,) in database.execute("SELECT b FROM a")] == kept
    database.close()


def refused(database: sqlite3.Connection, number: int) -> str:
    """At which statement a change is refused, and in which words."""
    for statement in ("BEGIN IMMEDIATE", f"INSERT INTO a VALUES ({number})", "COMMIT"):
        try:
            database.execute(statement)
        except sqlite3.OperationalError as told:
            if database.in_transaction:
                database.execute("ROLLBACK")
            return f"{statement.split()[0]}: {told}"
    return ""
