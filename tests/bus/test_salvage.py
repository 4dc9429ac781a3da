"""Damaged databases: the service starts, what can be read is saved, the file is kept (design §3, field report 52)."""

import os
import random
import sqlite3
from pathlib import Path

import pytest

from bus import salvage
from bus.database import open_database, store_id, transaction
from bus.salvage import open_store, schema_of
from tests.bus.rig import entry, outbox

ROWS = 3000
PAGE = 4096
TABLES = (
    "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, number INTEGER, body TEXT)",
    "CREATE TABLE IF NOT EXISTS names (name TEXT PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE UNIQUE INDEX IF NOT EXISTS by_number ON messages (number)",
    "CREATE VIEW IF NOT EXISTS queue AS SELECT body FROM messages",
)
SCHEMA = schema_of(TABLES)


def body(number: int) -> str:
    return f"row {number} " + "x" * 200


def fill(path: Path, rows: int = ROWS) -> None:
    """A store as services have it: whole numbers and texts as keys, an index, a view, a journal."""
    database = open_database(str(path))
    store_id(database)
    SCHEMA.create(database)
    journal = outbox(database)
    with transaction(database):
        database.executemany("INSERT INTO messages VALUES (?, ?, ?)", ((n, n, body(n)) for n in range(1, rows + 1)))
        database.executemany("INSERT INTO names VALUES (?, ?)", ((f"name-{n}", body(n)) for n in range(1, rows + 1)))
        for number in range(1, 11):
            journal.append(entry(number), str(number))
    database.close()


def read(database: sqlite3.Connection) -> dict[int, str]:
    return dict(database.execute("SELECT id, body FROM messages").fetchall())


def spoil(path: Path, first_page: int, pages: int = 1, byte: int = 0xA5) -> None:
    """Overwrite pages; number 1 is the first."""
    content = bytearray(path.read_bytes())
    content[(first_page - 1) * PAGE : (first_page - 1 + pages) * PAGE] = bytes([byte]) * (pages * PAGE)
    path.write_bytes(content)


def page_of_row(path: Path, number: int) -> int:
    return path.read_bytes().index(body(number).encode()) // PAGE + 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_a_sound_store_and_a_missing_one_are_just_opened(path: Path) -> None:
    assert open_store(str(path), SCHEMA).problem == ""
    fill(path)
    opened = open_store(str(path), SCHEMA)
    assert opened.problem == ""
    assert len(read(opened.database)) == ROWS
    assert salvage.kept_files(str(path)) == []
    assert salvage.salvaged(opened.database) == ""


def test_a_bad_leaf_costs_only_its_own_rows(path: Path) -> None:
    fill(path)
    spoil(path, page_of_row(path, 1500))
    opened = open_store(str(path), SCHEMA)
    assert opened.problem.startswith("store.db was damaged (")
    assert opened.problem.endswith("the file is kept as store.db.damaged-1")
    found = read(opened.database)
    assert ROWS - 40 < len(found) < ROWS
    assert 1500 not in found
    assert all(text == body(number) for number, text in found.items())
    assert opened.database.execute("SELECT count(*) FROM names").fetchone() == (ROWS,)
    assert opened.database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert opened.database.execute("SELECT count(*) FROM queue").fetchone()[0] == len(found)


def test_an_interior_page_costs_the_rows_below_it_and_takes_bounded_work(path: Path) -> None:
    fill(path)
    database = sqlite3.connect(path)
    (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'messages'").fetchone()
    database.close()
    spoil(path, root)
    opened = open_store(str(path), SCHEMA)
    assert read(opened.database) == {}
    assert opened.database.execute("SELECT count(*) FROM names").fetchone() == (ROWS,)


@pytest.mark.parametrize("keep", [0, 1, 50, 100, 4095, 4096, 9000, 200_000, 400_001])
def test_a_truncated_file_gives_what_is_left_of_it(path: Path, keep: int) -> None:
    fill(path)
    os.truncate(path, keep)
    opened = open_store(str(path), SCHEMA)
    assert opened.problem
    # The row in which the file ends is told by what is in it, which the service checks.
    assert all(text == body(number) or text is None or "\0" in text for number, text in read(opened.database).items())
    assert (path.parent / "store.db.damaged-1").stat().st_size == keep
    assert open_store(str(path), SCHEMA).problem == ""


def test_a_truncated_file_keeps_most_rows(path: Path) -> None:
    fill(path)
    os.truncate(path, path.stat().st_size // 2)
    opened = open_store(str(path), SCHEMA)
    assert len(read(opened.database)) > 0


@pytest.mark.parametrize(
    "content", [b"no database at all " * 100, b"\x00" * 8192, b"SQLite format 3\x00" + b"\xff" * 5000, b"{}"]
)
def test_a_foreign_file_is_kept_and_a_new_store_begun(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    opened = open_store(str(path), SCHEMA)
    assert "nothing in it could be used, a new one was begun" in opened.problem
    assert (path.parent / "store.db.damaged-1").read_bytes() == content
    opened.database.close()
    assert open_store(str(path), SCHEMA).problem == ""


def test_the_database_of_something_else_is_not_taken_over(path: Path) -> None:
    """Two files were confused: the other one's rows are none of ours, and stay where they are."""
    fill(path)
    opened = open_store(str(path), schema_of(["CREATE TABLE IF NOT EXISTS configuration (key TEXT)"]))
    assert "was a database of something else" in opened.problem
    assert "messages" in {name for (name,) in sqlite3.connect(f"{path}.damaged-1").execute("SELECT name FROM sqlite_master")}


@pytest.mark.parametrize("offset", [18, 19])
def test_an_unknown_file_format_is_saved(path: Path, offset: int) -> None:
    """A wrong version: nobody can write such a file, and some may still read it."""
    fill(path)
    content = bytearray(path.read_bytes())
    content[offset] = 9
    path.write_bytes(content)
    opened = open_store(str(path), SCHEMA)
    assert "unknown version of the file format" in opened.problem
    assert len(read(opened.database)) in (0, ROWS)


def test_a_column_whose_name_is_rotten_is_found(path: Path) -> None:
    """quick_check does not know names; the service would end at its first statement, again and again."""
    fill(path)
    content = path.read_bytes()
    assert content.count(b"last_seq INTEGER NOT NULL)") == 1
    path.write_bytes(content.replace(b"last_seq INTEGER NOT NULL)", b"last_s\xf1q INTEGER NOT NULL)"))
    opened = open_store(str(path), SCHEMA)
    assert "columns of table journal_stream are missing" in opened.problem
    assert len(read(opened.database)) == ROWS
    assert outbox(opened.database).last_seq == 10


def test_a_store_of_an_older_release_grows_and_one_of_a_newer_is_used_as_it_is(path: Path) -> None:
    """Schema changes are additive (field report 54)."""
    fill(path)
    newer = schema_of([*TABLES, "CREATE TABLE IF NOT EXISTS extra (a INTEGER)"])
    opened = open_store(str(path), newer)
    assert opened.problem == ""
    opened.database.execute("INSERT INTO extra VALUES (1)")
    opened.database.execute("ALTER TABLE messages ADD COLUMN more TEXT DEFAULT 'x'")
    opened.database.close()
    older = open_store(str(path), SCHEMA)
    assert older.problem == ""
    assert len(read(older.database)) == ROWS
    older.database.close()
    spoil(path, page_of_row(path, 1500))
    saved = open_store(str(path), SCHEMA)
    assert saved.database.execute("SELECT a FROM extra").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("more", "saved"),
    [
        ("CREATE UNIQUE INDEX IF NOT EXISTS one_size ON messages (length(body))", 4),
        ("CREATE INDEX IF NOT EXISTS by_time ON messages (time)", ROWS),
    ],
    ids=["the rows break a new rule", "an older table lacks a column"],
)
def test_a_store_that_cannot_be_brought_up_to_date_never_prevents_the_start(path: Path, more: str, saved: int) -> None:
    """Field report 54: an upgrade starts even if a migration fails; what the new tables bear is there, the old file is kept."""
    fill(path)
    tables = [TABLES[0].replace("body TEXT", "body TEXT, time TEXT"), *TABLES[1:], more]
    opened = open_store(str(path), schema_of(tables))
    assert opened.problem.startswith("store.db could not be brought up to date (")
    assert len(read(opened.database)) == saved
    opened.database.close()
    (kept,) = salvage.kept_files(str(path))
    assert len(read(sqlite3.connect(kept))) == ROWS
    again = open_store(str(path), schema_of(tables))
    assert again.problem == ""
    again.database.close()


@pytest.mark.parametrize("seed", range(40))
def test_bit_rot_anywhere_never_prevents_the_start(path: Path, seed: int) -> None:
    dice = random.Random(seed)
    fill(path, 400)
    content = bytearray(path.read_bytes())
    for _ in range(dice.choice([1, 3, 30, 1000])):
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    path.write_bytes(content)
    opened = open_store(str(path), SCHEMA)
    assert opened.database.execute("PRAGMA quick_check").fetchone() == ("ok",)
    opened.database.close()
    again = open_store(str(path), SCHEMA)
    assert again.problem == ""
    again.database.close()


def test_what_was_in_the_log_alone_is_saved_too(path: Path) -> None:
    """The newest commits are in the write-ahead log until a checkpoint."""
    fill(path)
    database = open_database(str(path))
    database.execute("PRAGMA wal_autocheckpoint=0")
    database.execute("INSERT INTO messages VALUES (9999, 9999, 'newest')")
    main, wal = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    database.close()
    path.write_bytes(main)
    Path(f"{path}-wal").write_bytes(wal)
    spoil(path, page_of_row(path, 100))
    opened = open_store(str(path), SCHEMA)
    assert read(opened.database)[9999] == "newest"


def test_a_log_without_its_database_is_kept_and_not_played_into_another(path: Path) -> None:
    fill(path)
    database = open_database(str(path))
    database.execute("PRAGMA wal_autocheckpoint=0")
    database.execute("DELETE FROM messages")
    wal = Path(f"{path}-wal").read_bytes()
    database.close()
    path.unlink()
    Path(f"{path}-wal").write_bytes(wal)
    opened = open_store(str(path), SCHEMA)
    assert "though its write-ahead log is there" in opened.problem
    assert Path(f"{path}.damaged-1-wal").read_bytes() == wal
    assert read(opened.database) == {}


def test_a_saved_store_is_another_store_that_keeps_its_entries(path: Path) -> None:
    """Its peers are to compare anew, so the id is new; numbers of the journal are not given twice."""
    fill(path)
    before = store_id(sqlite3.connect(path, isolation_level=None))
    spoil(path, page_of_row(path, 1500))
    opened = open_store(str(path), SCHEMA)
    assert salvage.salvaged(opened.database).startswith("was damaged")
    assert store_id(opened.database) != before
    journal = outbox(opened.database)
    assert journal.last_seq == 10
    assert [e.seq for e in journal.after(0, 20)] == list(range(1, 11))
    with transaction(opened.database):
        assert journal.append(entry(11), "11") == 11
        salvage.forget_salvaged(opened.database)
    assert salvage.salvaged(opened.database) == ""


def test_only_so_many_damaged_files_are_kept(path: Path) -> None:
    for number in range(6):
        path.write_bytes(f"file {number}".encode())
        open_store(str(path), SCHEMA).database.close()
    kept = salvage.kept_files(str(path))
    assert [Path(name).read_bytes() for name in kept] == [b"file 3", b"file 4", b"file 5"]


class PowerCut(Exception):
    """Everything ends here."""


@pytest.mark.parametrize("at", range(1, 12))
def test_a_power_cut_at_any_move_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The damaged file or the saved one is there after each step, and the next start goes on from it."""
    fill(path, 500)
    spoil(path, page_of_row(path, 250))
    left = [at]

    def cut(function):  # type: ignore[no-untyped-def]
        def wrapped(*arguments, **named):  # type: ignore[no-untyped-def]
            left[0] -= 1
            if left[0] == 0:
                raise PowerCut
            return function(*arguments, **named)

        return wrapped

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink", "fsync"):
            patch.setattr(salvage.os, name, cut(getattr(os, name)))
        try:
            open_store(str(path), SCHEMA).database.close()
        except PowerCut:
            pass
    opened = open_store(str(path), SCHEMA)
    assert len(read(opened.database)) > 450
    assert not Path(f"{path}.salvage").exists()


def test_a_disk_that_refuses_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        open_store(str(tmp_path / "no directory" / "store.db"), SCHEMA)
    (tmp_path / "store.db").mkdir()
    with pytest.raises(OSError, match="directory"):
        open_store(str(tmp_path / "store.db"), SCHEMA)
