"""Values that SQLite takes for sound and no SELECT can read: set aside at the start (field report 52)."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from bus.database import open_database, store_id, transaction
from bus.salvage import Schema, open_store, schema_of
from tests.bus.rig import entry, outbox
from tests.rot import NOT_TEXT, spoil

TABLES = (
    "CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, note TEXT, number INTEGER, body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY, size INTEGER NOT NULL)",
)
SCHEMA = schema_of(TABLES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    database = open_database(str(path))
    store_id(database)
    SCHEMA.create(database)
    journal = outbox(database)
    with transaction(database):
        database.executemany("INSERT INTO names VALUES (?, 'ä note', ?, '{}')", ((f"name-{n}", n) for n in range(5)))
        database.executemany("INSERT INTO events VALUES (?, ?)", ((n, n) for n in range(5)))
        for number in range(1, 4):
            journal.append(entry(number), str(number))
    database.close()
    return path


def set_aside(database: sqlite3.Connection) -> list[tuple[str, str, dict[str, object], str]]:
    rows = database.execute("SELECT source, id, body, reason FROM unreadable").fetchall()
    return [(source, key, msgspec.json.decode(body), reason) for source, key, body, reason in rows]


@pytest.mark.parametrize(
    ("change", "shown", "reason"),
    [
        (f"note = {NOT_TEXT}", {"note": "{\\xff}"}, "note can't be read"),
        ("note = x'61'", {"note": "YQ=="}, "note can't be read"),
        ("number = 'many'", {"number": "many"}, "number can't be read"),
        ("number = 0.5", {"number": 0.5}, "number can't be read"),
        (f"number = 'x', note = {NOT_TEXT}", {"number": "x", "note": "{\\xff}"}, "note can't be read"),
        (f"name = {NOT_TEXT}", {"name": "{\\xff}"}, "name can't be read"),
        ("name = NULL", {"name": None}, "name can't be read"),
    ],
)
def test_a_row_with_a_wrong_value_is_set_aside_whole(path: Path, change: str, shown: dict[str, object], reason: str) -> None:
    spoil(path, "names", change, "name = 'name-3'")
    opened = open_store(str(path), SCHEMA)
    assert opened.problem.startswith("store.db was damaged (table names: ")
    assert "and 1 that can't be read were set aside in table unreadable" in opened.problem
    assert [name for (name,) in opened.database.execute("SELECT name FROM names")] == ["name-0", "name-1", "name-2", "name-4"]
    ((source, key, body, why),) = set_aside(opened.database)
    assert (source, key, why) == ("names", str(body["name"]), reason)
    assert body == {"name": "name-3", "note": "ä note", "number": 3, "body": "{}"} | shown
    opened.database.close()
    again = open_store(str(path), SCHEMA)
    assert again.problem == ""
    assert len(set_aside(again.database)) == 1


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("store", f"value = {NOT_TEXT}"),
        ("journal_stream", "last_seq = 'x'"),
        ("journal_stream", "incarnation = 'x'"),
        ("journal_epoch", "epoch = 'x'"),
        ("journal_out", f"name = {NOT_TEXT}"),
    ],
)
def test_a_store_that_cannot_say_who_it_is_begins_anew_with_what_it_keeps(path: Path, table: str, change: str) -> None:
    spoil(path, table, change, "rowid = 1")
    opened = open_store(str(path), SCHEMA)
    assert f"table {table}: " in opened.problem
    journal = outbox(opened.database)
    assert len(journal.after(0, 20)) == (2 if table == "journal_out" else 3)
    with transaction(opened.database):
        assert journal.append(entry(4), "4") == 4


def test_a_key_that_is_not_the_one_in_its_index_is_found(path: Path) -> None:
    """quick_check compares no index with its table; the first DELETE of such a row ends the service, at each start."""
    content = path.read_bytes()
    at = content.rindex(b"name-3", 0, content.rindex("ä note".encode()))
    path.write_bytes(content[:at] + b"nbme-3" + content[at + 6 :])
    opened = open_store(str(path), SCHEMA)
    assert "missing from index" in opened.problem
    assert opened.database.execute("DELETE FROM names").rowcount == 5


def test_a_rule_that_does_not_hold_sets_a_row_aside(path: Path) -> None:
    schema = Schema(SCHEMA.tables, SCHEMA.create, rules={"events": "size < 3"})
    opened = open_store(str(path), schema)
    assert "table events: its values can't be true" in opened.problem
    assert [key for _, key, *_ in set_aside(opened.database)] == ["3", "4"]


def test_bodies_are_left_to_who_reads_them(path: Path) -> None:
    spoil(path, "names", f"body = {NOT_TEXT}")
    spoil(path, "journal_out", f"payload = {NOT_TEXT}")
    assert open_store(str(path), SCHEMA).problem == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"note TEXT", b"note T\xc5XT"),
        (b"note TEXT", b"note TDXT"),
        (b"note TEXT", b"n\xeffe TEXT"),
        (b"payload TEXT", b"p\xe1yload TEXT"),
        (b"payload TEXT", b"payload UEXT"),
    ],
)
def test_a_schema_with_a_rotten_column_is_found_and_made_as_it_has_to_be(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    opened = open_store(str(path), SCHEMA)
    assert "was damaged" in opened.problem
    assert "note" in {row[1] for row in opened.database.execute("PRAGMA table_info(names)")}
    journal = outbox(opened.database)
    with transaction(opened.database):
        journal.append(entry(4), "4")
    assert [e.seq for e in journal.after(0, 20)][-1] in (1, 4)
    opened.database.close()
    assert open_store(str(path), SCHEMA).problem == ""


@pytest.mark.parametrize("rotten", [0, 1, 2])
def test_a_last_number_below_one_that_is_taken_is_not_given_again(path: Path, rotten: int) -> None:
    spoil(path, "journal_stream", f"last_seq = {rotten}")
    database = open_store(str(path), SCHEMA).database
    journal = outbox(database)
    with transaction(database):
        assert journal.append(entry(4), "4") == 4
