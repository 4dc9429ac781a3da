"""transactions.db: real SQLite, reopened at every point, readable for people, no scans (design §3, §4, issue 4)."""

import json
import sqlite3
import subprocess
import sys

import msgspec
import pytest

from bus.database import open_database, transaction
from bus.messages import Delivered, GivenUp, TransactionEntry
from services.transaction_queue import handover, recognition, rows, schema, store
from services.transaction_queue.state import Start
from services.transaction_queue.store import Store
from services.transaction_queue.times import Boot
from tests.transaction_queue.world import BOOT, UTC_0_MS, World, meter_values, moment, session, start, stop

AT = moment(1000)


@pytest.fixture
def database(tmp_path):
    opened = open_database(str(tmp_path / "transactions.db"))
    yield opened
    opened.close()


def filled(database: sqlite3.Connection, *entries: TransactionEntry) -> Store:
    opened = Store(database, BOOT)
    with transaction(database):
        for entry in entries:
            opened.add(entry, AT)
    return opened


def test_a_store_reopened_knows_what_it_knew(tmp_path, database):
    filled(database, *session("tx"))
    again = Store(open_database(str(tmp_path / "transactions.db")), BOOT)
    assert (again.depth, again.dead_letters) == (3, 0)
    row = again.head(None)
    assert row is not None
    assert (row.local_tx_id, row.number, row.message, row.stored_at) == ("tx", 0, start(moment(1)), AT)


@pytest.mark.parametrize("transaction_id", [4711, 0, -5, 2**70])
def test_an_entry_brings_its_transaction_id_to_a_store_that_has_lost_the_start(database, transaction_id):
    """Design §3: a lost `transactions.db` is filled again from what `connectors` keeps; any integer is an id."""
    row = filled(database, TransactionEntry("tx", 5, stop(moment(3)), transaction_id)).head(None)
    assert row is not None
    assert (row.start, row.transaction_id) == (Start.ANSWERED, transaction_id)


def test_an_entry_tells_a_store_that_has_lost_the_start_that_it_was_given_up(database):
    """Design §3; OCPP 1.6 errata v4.0 3.18: a lost `transactions.db` goes on with -1 where the lost one would have."""
    row = filled(database, TransactionEntry("tx", 5, stop(moment(3)), start_given_up=True)).head(None)
    assert row is not None
    assert row.start is Start.GIVEN_UP


@pytest.mark.parametrize(
    ("told", "start_is"), [({"transaction_id": 4711}, Start.ANSWERED), ({"start_given_up": True}, Start.GIVEN_UP)]
)
def test_an_entry_tells_an_older_copy_what_became_of_the_start_that_waits_there(database, told, start_is):
    """Design §3; the distance to a start that went out holds for what follows."""
    opened = Store(database, BOOT)
    with transaction(database):
        assert not opened.add(session("tx")[0], AT).learned
        entry = TransactionEntry("tx", 5, stop(moment(3)), started_at=moment(1), **told)
        assert opened.add(entry, AT).learned
        assert not opened.add(msgspec.structs.replace(entry, number=6), AT).learned
    row = opened.head(None)
    assert row is not None
    assert (row.number, row.start, row.anchor) == (0, start_is, moment(1))


def test_a_start_that_a_person_has_queued_again_waits_for_its_answer(database):
    """`connectors` goes on to tell that it was given up, and is told once it is answered (design §4.6)."""
    opened = filled(database, session("tx")[0])
    with transaction(database):
        row = opened.head(None)
        assert row is not None
        opened.give_up(row, "reason", None)
        handover.queue_again(database, "tx")
        assert not opened.add(TransactionEntry("tx", 5, stop(moment(3)), start_given_up=True), AT).learned
    with transaction(database):
        row = opened.head(None)
        assert row is not None
        assert (row.number, row.start) == (0, Start.MISSING), "it is to be answered yet"
        opened.mark_delivered(row, 4711, None)
        row = opened.head(None)
    assert row is not None
    assert (row.start, row.transaction_id) == (Start.ANSWERED, 4711)


def test_a_repeated_entry_changes_nothing(database):
    opened = filled(database, *session("tx"))
    with transaction(database):
        assert all(opened.add(entry, AT).repeated for entry in session("tx"))
    assert opened.depth == 3


def test_a_stop_under_a_readings_number_is_kept_under_the_next_one_once(database):
    """Design §3: an older copy of `connectors.db` numbers it so; the transaction has one stop, be it handed over again."""
    begun, read, stopped = session("tx")
    opened = filled(database, begun, read)
    again = msgspec.structs.replace(stopped, number=1)
    with transaction(database):
        added = opened.add(again, AT)
        assert (added.repeated, added.number, added.alarms) == (False, 2, (recognition.RENUMBERED,))
        for number in (1, 2, 3):
            added = opened.add(msgspec.structs.replace(stopped, number=number), AT)
            assert (added.repeated, added.number, added.settled) == (True, 2, None), "it waits: nothing became of it yet"
        while (row := opened.head(None)) is not None:
            opened.mark_delivered(row, 4711, None)
        added = opened.add(again, AT)
    assert (added.repeated, added.settled) == (True, Delivered())
    assert opened.depth == 0


def test_a_stop_that_was_lost_after_it_was_numbered_anew_is_taken_in_again(database):
    """Its row was rotten: `connectors` still keeps it, under its own number."""
    begun, read, stopped = session("tx")
    opened = filled(database, begun, read, msgspec.structs.replace(stopped, number=1))
    database.execute("DELETE FROM messages WHERE number = 2")
    with transaction(database):
        assert not opened.add(msgspec.structs.replace(stopped, number=1), AT).repeated
        assert opened.add(msgspec.structs.replace(stopped, number=1), AT).repeated


def test_a_stop_that_was_given_up_is_known_by_what_it_is(database):
    begun, read, stopped = session("tx")
    again = msgspec.structs.replace(stopped, number=1)
    opened = filled(database, begun, read, again)
    with transaction(database):
        for _ in range(2):
            row = opened.head(None)
            assert row is not None
            opened.mark_delivered(row, 4711, None)
        row = opened.head(None)
        assert row is not None
        opened.give_up(row, "reason", None)
        assert isinstance(opened.add(again, AT).settled, GivenUp)
        handover.queue_again(database, "tx")
        opened.count()
        added = opened.add(again, AT)
        assert (added.repeated, added.settled) == (True, None), "it waits again"


def test_a_delivered_entry_is_known_until_its_transaction_is_long_finished(database, monkeypatch):
    monkeypatch.setattr(store, "FINISHED_KEPT", 5)
    opened = filled(database)
    for n in range(10):
        with transaction(database):
            for entry in session(f"tx-{n}"):
                opened.add(entry, AT)
            while (row := opened.head(None)) is not None:
                opened.mark_delivered(row, n, None)
    kept = [name for (name,) in database.execute("SELECT local_tx_id FROM transactions ORDER BY finished_number")]
    assert kept == [f"tx-{n}" for n in range(5, 10)]
    with transaction(database):
        assert opened.add(session("tx-9")[2], AT).repeated


def test_a_transaction_with_dead_letters_is_never_forgotten(database, monkeypatch):
    """They may be queued again, under the transactionId that only its row knows (design §4.6)."""
    monkeypatch.setattr(store, "FINISHED_KEPT", 1)
    opened = filled(database)
    for n in range(5):
        with transaction(database):
            for entry in session(f"tx-{n}"):
                opened.add(entry, AT)
            while (row := opened.head(None)) is not None:
                if n == 0 and row.number == 2:
                    opened.give_up(row, "reason", None)
                else:
                    opened.mark_delivered(row, n, None)
    kept = {name for (name,) in database.execute("SELECT local_tx_id FROM transactions")}
    assert kept == {"tx-0", "tx-4"}


def test_a_transaction_id_of_any_length_comes_back(database):
    opened = filled(database, *session("tx"))
    for transaction_id in (0, -1, 2**63, -(2**70)):
        row = opened.head(None)
        assert row is not None
        with transaction(database):
            opened.mark_delivered(row, transaction_id, None)
        following = opened.head(None)
        assert following is not None
        assert (following.start, following.transaction_id) == (Start.ANSWERED, transaction_id)
        database.execute("DELETE FROM messages")
        database.execute("DELETE FROM transactions")
        opened = filled(database, *session("tx"))


def test_hot_statements_use_indexes(database):
    """Issue 4: no full scans, with 100,000 messages as with 10."""
    filled(database, *session("tx"))
    seen: list[str] = []
    world_statements = collect(database, seen)
    scans = []
    for statement in world_statements:
        for *_, detail in database.execute(f"EXPLAIN QUERY PLAN {statement}"):
            if "SCAN" in detail and not detail.startswith("SCAN m"):
                scans.append((statement, detail))
    assert scans == []
    for first in (rows.SELECT_HEAD, rows.SELECT_AFTER_HEAD):
        plan = " ".join(detail for *_, detail in database.execute(f"EXPLAIN QUERY PLAN {first}"))
        assert "TEMP B-TREE" not in plan, "the first rows by their key"


def collect(database: sqlite3.Connection, seen: list[str]) -> list[str]:
    """The statements of a message's whole life, as SQLite ran them."""
    opened = Store(database, BOOT)
    database.set_trace_callback(seen.append)
    with transaction(database):
        opened.add(TransactionEntry("other", 0, start(moment(5, known=False))), AT)
        opened.set_offset(UTC_0_MS)
        for _ in range(3):
            row = opened.head(None)
            assert row is not None
            row = opened.mark_sending(row, "id")
            opened.mark_not_sent(row, "run/1")
            opened.mark_delivered(row, 5, None)
        row = opened.head(None)
        assert row is not None
        opened.give_up(row, "reason", None)
        opened.adopt("other", 5)
    database.set_trace_callback(None)
    return [sql for sql in seen if sql.split()[0] in ("SELECT", "UPDATE", "DELETE", "INSERT")]


def test_a_hundred_thousand_rows_do_not_make_the_head_slower(database):
    """Steps of SQLite's machine are counted, not time."""
    opened = filled(database, *session("tx"))
    few = steps(database, opened)
    with transaction(database):
        database.executemany(
            "INSERT INTO messages (local_tx_id, number, payload) VALUES ('many', ?, '{}')", ((n,) for n in range(100_000))
        )
    assert steps(database, opened) <= few + 10


def steps(database: sqlite3.Connection, opened: Store) -> int:
    count = [0]

    def counted() -> int:
        count[0] += 1
        return 0

    database.set_progress_handler(counted, 1)
    opened.head(None)
    database.set_progress_handler(None, 1)
    return count[0]


def test_columns_that_are_missing_are_added_and_nothing_is_lost(database):
    """The schema only grows (field report 54): here it comes from an older release."""
    filled(database, *session("tx"))
    database.execute("DROP VIEW queue")
    database.execute("ALTER TABLE messages DROP COLUMN alarm")
    database.execute("ALTER TABLE transactions DROP COLUMN anchor_utc_ms")
    database.execute("PRAGMA user_version = 0")
    again = Store(database, BOOT)
    assert again.depth == 3
    assert again.head(None) is not None
    assert database.execute("PRAGMA user_version").fetchone()[0] == schema.VERSION


@pytest.mark.parametrize("name", [None, 7, 1.5, b"\xff\x00", "", "x" * 5000])
def test_a_message_is_delivered_whatever_the_logs_call_its_session(database, name):
    """An older release leaves NULL there, and damage anything."""
    opened = filled(database, TransactionEntry("tx", 0, start(moment(1)), correlation_id="0a0b0c0d"))
    row = opened.head(None)
    assert row is not None
    assert row.correlation_id == "0a0b0c0d"
    database.execute("UPDATE messages SET correlation_id = ?", (name,))
    row = opened.head(None)
    assert row is not None
    assert (row.message, len(row.correlation_id) <= rows.CORRELATION_CHARS_MAX) == (start(moment(1)), True)


def test_a_database_of_a_newer_release_is_used_as_it_is(database):
    filled(database, *session("tx"))
    database.execute("ALTER TABLE messages ADD COLUMN of_the_future TEXT")
    database.execute("PRAGMA user_version = 99")
    again = Store(database, BOOT)
    with transaction(database):
        again.add(TransactionEntry("new", 0, start(moment(5))), AT)
    assert again.depth == 4
    assert database.execute("PRAGMA user_version").fetchone()[0] == 99


def test_the_schema_is_made_without_sqlite_utils_once_it_is_there(tmp_path):
    """Its import costs 65 ms and 4 MB in a process that must be back within a second."""
    program = (
        "import sys\nfrom bus.database import open_database\nfrom services.transaction_queue.store import Store\n"
        f"Store(open_database({str(tmp_path / 't.db')!r}), 'boot')\nprint('sqlite_utils' in sys.modules)"
    )
    answers = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout for _ in "12"]
    assert answers == ["True\n", "False\n"]


def test_the_sqlite_utils_command_shows_what_a_person_can_read(tmp_path, database):
    """Issue 2: a support engineer reads the tables."""
    opened = filled(database, *session("tx"))
    with transaction(database):
        row = opened.head(None)
        assert row is not None
        opened.mark_sending(row, "id-1")
    path = str(tmp_path / "transactions.db")
    counts = {line["table"]: line["count"] for line in sqlite_utils("tables", path, "--counts")}
    assert (counts["messages"], counts["transactions"], counts["dead_letters"]) == (3, 1, 0)
    first = sqlite_utils("rows", path, "messages")[0]
    assert (first["action"], first["attempts"], first["unique_id"]) == ("StartTransaction", 0, "id-1")
    assert first["stored_utc"] == "2027-01-15T08:16:40.000Z"
    assert json.loads(first["payload"])["id_tag"] == "TAG"
    queue = sqlite_utils("rows", path, "queue")[0]
    assert (queue["connector_id"], queue["id_tag"], queue["started"]) == (1, "TAG", "2027-01-15T08:00:01.000Z")


def sqlite_utils(*arguments: str) -> list[dict]:
    command = [sys.executable, "-m", "sqlite_utils", *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_boots_are_kept_in_their_order_with_the_running_one_last(tmp_path, database):
    opened = Store(database, "boot-c")
    with transaction(database):
        opened.set_offset(UTC_0_MS)
        opened.add(TransactionEntry("a", 0, start(moment(5, "boot-a", known=False))), AT)
        opened.add(TransactionEntry("b", 0, start(moment(6, "boot-b"))), AT)
    expected = (Boot("boot-a", None, 5000), Boot("boot-b", UTC_0_MS), Boot("boot-c", UTC_0_MS))
    assert opened.boots == expected
    assert Store(open_database(str(tmp_path / "transactions.db")), "boot-c").boots == expected
    assert Store(open_database(str(tmp_path / "transactions.db")), "boot-d").boots == expected


def test_only_so_many_boots_are_kept(database, monkeypatch):
    monkeypatch.setattr(store, "BOOTS_KEPT", 3)
    opened = Store(database, BOOT)
    with transaction(database):
        for n in range(8):
            opened.add(TransactionEntry(f"tx-{n}", 0, start(moment(5, f"boot-{n}"))), AT)
    assert [boot.boot_id for boot in opened.boots] == ["boot-5", "boot-6", "boot-7"]
    assert Store(database, BOOT).boots == opened.boots


def test_a_small_change_of_the_clock_is_no_news(database):
    opened = Store(database, BOOT)
    assert opened.offset_is_news(UTC_0_MS)
    with transaction(database):
        opened.set_offset(UTC_0_MS)
    assert not opened.offset_is_news(UTC_0_MS + 500)
    assert opened.offset_is_news(UTC_0_MS - 501)


def test_ids_and_failures_of_one_message_are_bounded(database, monkeypatch):
    monkeypatch.setattr(store, "UNIQUE_IDS_MAX", 4)
    opened = filled(database, *session("tx"))
    with transaction(database):
        for n in range(10):
            row = opened.head(None)
            assert row is not None
            opened.mark_sending(row, f"id-{n}")
    row = opened.head(None)
    assert row is not None
    assert row.unique_ids == ("id-6", "id-7", "id-8", "id-9")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE messages SET payload = NULL WHERE id = 1",
        "UPDATE messages SET payload = CAST(x'ff' AS TEXT) WHERE id = 1",
        "UPDATE messages SET local_tx_id = CAST(x'ff' AS TEXT) WHERE id = 1",
        "UPDATE messages SET number = -1 WHERE id = 1",
        "UPDATE messages SET unique_ids = '{}' WHERE id = 1",
        "UPDATE messages SET stored_utc = 'yesterday' WHERE id = 1",
        "UPDATE messages SET failed_boottime_ms = 1.5 WHERE id = 1",
        "UPDATE transactions SET transaction_id = 'x' WHERE local_tx_id = 'tx'",
    ],
)
def test_a_row_that_cannot_be_read_is_moved_as_it_is(database, damage):
    """Field report 15."""
    opened = filled(database, *session("tx"), *session("good", 300))
    database.execute(damage)
    with transaction(database):
        row = opened.head("2027-01-15T08:00:00.000Z")
    assert row is not None
    assert opened.quarantined >= 1
    assert database.execute("SELECT count(*) FROM quarantine").fetchone()[0] == opened.quarantined
    assert opened.depth == database.execute("SELECT count(*) FROM messages").fetchone()[0]


class Crash(Exception):
    """The process is killed here."""


class Crashing:
    """A connection that dies before its n-th statement, or after its n-th commit."""

    def __init__(self, database: sqlite3.Connection, at: int, *, after: bool) -> None:
        self._database = database
        self._left = at
        self._after = after

    def execute(self, *arguments):
        if self._after and arguments[0] != "COMMIT":
            return self._database.execute(*arguments)
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Crash
        cursor = self._database.execute(*arguments)
        if self._left == 0:
            raise Crash
        return cursor

    def at_peace(self) -> None:
        """The story is over: no crash any more."""
        self._left = 0

    def __getattr__(self, name):
        return getattr(self._database, name)


@pytest.mark.parametrize("after", [False, True], ids=["before a statement", "after a commit"])
def test_a_crash_at_any_statement_loses_and_doubles_nothing(tmp_path, after):
    """Design §3: effectively once, across a crash at any instruction. Every statement of the queue's database in turn."""
    for at in range(1, 1000):
        directory = tmp_path / str(at)
        directory.mkdir()
        if not crash_once(directory, at, after=after):
            assert at > (10 if after else 100)
            return
    raise AssertionError("the story never ended without a crash")


def crash_once(directory, at: int, *, after: bool) -> bool:
    """Whether the story came to the crash; checks what the Central System and connectors know at the end."""
    world = World(directory)
    world.kill_queue()
    book: dict[str, Delivered] = {}

    def central_system(request):
        return book.setdefault(request.unique_id, world.central_system(request))

    world.link.answer = central_system
    world.wrap = lambda database: Crashing(database, at, after=after)
    crashed = False
    try:
        world.start_queue()
        world.link.clock()
        world.link.online()
        world.connectors.write(*session("tx", known=False))
        world.advance(10)
        world.database.at_peace()
    except Crash:
        crashed = True
        world.kill_queue()
        world.wrap = lambda database: database
        world.start_queue()
        world.link.clock()
        world.link.online()
    if not world.connectors.outcomes:
        world.connectors.write(*session("tx", known=False))
    world.advance(30)
    by_id = {request.unique_id: request for request in world.sent}
    assert all(by_id[request.unique_id] == request for request in world.sent), "a repeat is the same message"
    assert [type(request.message).__name__ for request in by_id.values()] == [
        "StartTransaction",
        "MeterValues",
        "StopTransaction",
    ]
    assert [entry.number for entry in world.connectors.outcomes] == [0, 1, 2]
    assert world.rows("messages") == []
    world.kill_queue()
    world.connectors.database.close()
    return crashed


def test_a_stop_and_its_values_read_back_as_they_were(database):
    messages = [meter_values(moment(2)), stop(moment(3))]
    opened = filled(database, *(TransactionEntry("tx", n, m) for n, m in enumerate(messages, start=1)))
    for message in messages:
        row = opened.head(None)
        assert row is not None
        assert row.message == message
        assert row.start is Start.MISSING
        with transaction(database):
            opened.give_up(row, "no start", None)
