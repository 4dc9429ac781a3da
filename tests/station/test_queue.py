"""`station queue` on a real station, running and stopped: list, requeue, export, import, check (issue 4)."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.database import open_database, transaction
from bus.journal import Outbox
from bus.messages import TransactionEntry
from services.connectors.events import AppendEntry, Change, SaveTransaction
from services.connectors.open_transaction import Reading, Segment, Transaction
from services.connectors.plug_in import SessionMark
from services.connectors.store import Store as ConnectorsStore
from services.transaction_queue.store import Store
from tests.harness import Station, config, wait_until
from tests.transaction_queue.world import BOOT, moment, session


def fill(state_dir: Path, *names: str, given_up: bool = False) -> None:
    """A queue as an earlier run left it."""
    (state_dir / "run").mkdir(parents=True, exist_ok=True)
    with closing(open_database(str(state_dir / "transactions.db"))) as database:
        store = Store(database, BOOT)
        with transaction(database):
            for number, name in enumerate(names):
                for entry in session(name, 1.0 + 300 * number):
                    store.add(entry, moment(5000))
            while given_up and (row := store.head(None)) is not None:
                store.give_up(row, "failed 3 times, at last: CALLERROR InternalError", "2027-01-15T08:00:00.000Z")


def station(tmp_path: Path, name: str) -> Station:
    return Station(config(), state_dir=tmp_path / name)


def fresh(tmp_path: Path, name: str) -> Station:
    """A board that was never started: its directory is there."""
    one = station(tmp_path, name)
    one.state_dir.mkdir(parents=True, exist_ok=True)
    return one


def test_a_stopped_station_is_listed_shown_and_queued_again(tmp_path: Path) -> None:
    one = station(tmp_path, "a")
    fill(one.state_dir, "abcd", given_up=True)
    listed = one.command("queue")
    assert listed.returncode == 0
    assert listed.stdout.startswith("NOT EMPTY: 3 given up.")
    assert "because: failed 3 times, at last: CALLERROR InternalError" in listed.stdout
    shown = one.command("queue", "show", "abcd")
    assert "StopTransaction, given up" in shown.stdout
    assert '"meter_stop_wh": 2000' in shown.stdout
    assert one.command("queue", "check").returncode == 1
    refused = one.command("queue", "requeue", "abcd")
    assert refused.returncode == 1
    assert "booked a second time" in refused.stdout
    assert "nothing was changed" in refused.stdout
    done = one.command("queue", "requeue", "abcd", "--yes")
    assert done.stdout.endswith("3 messages are queued again\n")
    assert one.command("queue").stdout.startswith("NOT EMPTY: 3 waiting.")


def test_export_and_import_between_two_stopped_stations(tmp_path: Path) -> None:
    """A board swap; the file is for a person too, and for its owner only."""
    old, new = station(tmp_path, "old"), station(tmp_path, "new")
    fill(old.state_dir, "dead", given_up=True)
    fill(old.state_dir, "wait")
    fill(new.state_dir)
    assert new.command("queue", "check").stdout == "empty: the Central System has everything\n"
    file = tmp_path / "export.json"
    done = old.command("queue", "export", str(file))
    assert (done.returncode, done.stderr) == (0, "station queue: 6 messages exported\n")
    assert file.stat().st_mode & 0o777 == 0o600
    exported = json.loads(file.read_text())
    assert [m["payload"]["type"] for m in exported["transactions"][0]["messages"]] == [
        "StartTransaction",
        "MeterValues",
        "StopTransaction",
    ]
    assert new.command("queue", "import", str(file)).stdout == "6 messages taken in, 0 were known already\n"
    assert new.command("queue", "import", str(file)).stdout == "0 messages taken in, 6 were known already\n"
    assert new.command("queue").stdout.startswith("NOT EMPTY: 3 waiting, 3 given up.")
    assert old.command("queue", "export", "-").stdout.startswith('{"format":"chargebus queue"')


def test_what_only_connectors_has_is_counted_and_exported(tmp_path: Path) -> None:
    """The queue was down when the board was taken away."""
    one = station(tmp_path, "a")
    fill(one.state_dir, "here")
    with closing(sqlite3.connect(one.state_dir / "connectors.db")) as database:
        database.execute("CREATE TABLE journal_out (stream TEXT, seq INTEGER, payload TEXT)")
        entries = [*session("here"), *session("there")]
        rows = [("journal.transaction.", n, msgspec.json.encode(entry).decode()) for n, entry in enumerate(entries)]
        database.executemany("INSERT INTO journal_out VALUES (?, ?, ?)", rows)
        database.commit()
    assert "3 of them are in connectors.db alone" in one.command("queue").stdout
    file = tmp_path / "export.json"
    one.command("queue", "export", str(file))
    exported = json.loads(file.read_text())["transactions"]
    assert [(tx["local_tx_id"], len(tx["messages"])) for tx in exported] == [("here", 3), ("there", 3)]


def beside(state_dir: Path, *entries: TransactionEntry, running: Transaction | None = None) -> Path:
    """`connectors.db` as an earlier run left it."""
    (state_dir / "run").mkdir(parents=True, exist_ok=True)
    path = state_dir / "connectors.db"
    with closing(open_database(str(path))) as database:
        store, outbox = ConnectorsStore(database), Outbox(database, "journal.transaction.")
        changes: list[Change] = [AppendEntry(entry) for entry in entries]
        changes += [SaveTransaction(running)] if running is not None else []
        with transaction(database):
            store.apply(tuple(changes), outbox)
    return path


def spoil(path: Path, sql: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(sql).rowcount > 0
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def exported(one: Station, tmp_path: Path, code: int = 0) -> dict[str, dict[str, Any]]:
    """Transactions of an export by their names."""
    file = tmp_path / "export.json"
    done = one.command("queue", "export", str(file))
    assert done.returncode == code, done.stderr
    return {tx["local_tx_id"]: tx for tx in json.loads(file.read_text())["transactions"]}


RUNNING = Transaction(
    local_tx_id="runs",
    connector_id=1,
    id_tag="TAG",
    started_at=moment(1),
    meter_start_wh=1000,
    segment=Segment("", 1000, 1000),
    last=Reading(1650, moment(100)),
    mark=SessionMark(0, 0),
    transaction_id=77,
    next_number=4,
)


def test_what_is_open_keeps_the_board_and_is_exported_with_its_last_reading(tmp_path: Path) -> None:
    """All of it is delivered so far; a station that is stopped leaves its transactions open."""
    old, new = station(tmp_path, "old"), station(tmp_path, "new")
    fill(old.state_dir)
    beside(old.state_dir, running=RUNNING)
    fill(new.state_dir)
    checked = old.command("queue", "check")
    assert checked.returncode == 1
    assert checked.stdout.startswith("NOT EMPTY: 1 still open.")
    assert "its last reading is 1650 Wh" in old.command("queue", "show", "runs").stdout
    assert "still open" in old.command("queue", "list", "--all").stdout
    found = exported(old, tmp_path)["runs"]
    assert (found["open"], found["transaction_id"], found["messages"]) == (True, "77", [])
    done = new.command("queue", "import", str(tmp_path / "export.json"))
    assert done.stdout.startswith("0 messages taken in, 0 were known already\n1 transactions were still open")
    assert new.command("queue", "check").stdout.startswith("NOT EMPTY: 1 still open.")
    with closing(open_database(str(new.state_dir / "transactions.db"))) as database:
        (request,) = Store(database, BOOT).open_transactions(9)
    assert (request.last_wh, request.next_number, request.transaction_id, request.id_tag) == (1650, 4, 77, "TAG")


def test_a_session_is_found_where_transactions_db_is_missing(tmp_path: Path) -> None:
    one = station(tmp_path, "a")
    beside(one.state_dir, *session("there"))
    checked = one.command("queue", "check")
    assert checked.returncode == 1
    assert checked.stdout.startswith("NOT EMPTY: 3 waiting, what can't be told.")
    assert "there is no transactions.db" in checked.stdout
    assert "3 waiting" in one.command("queue", "list", "--all").stdout
    assert len(exported(one, tmp_path, code=1)["there"]["messages"]) == 3


def test_without_transactions_db_nothing_is_called_empty(tmp_path: Path) -> None:
    one = station(tmp_path, "a")
    beside(one.state_dir)
    checked = one.command("queue", "check")
    assert (checked.returncode, checked.stdout) == (3, "")
    assert "there is no transactions.db" in checked.stderr


@pytest.mark.parametrize("content", ["'{'", "CAST(x'7bff7d' AS TEXT)", "x''", "'null'"])
def test_an_entry_of_connectors_that_cannot_be_read_counts_and_hides_no_other(tmp_path: Path, content: str) -> None:
    one = station(tmp_path, "a")
    fill(one.state_dir)
    path = beside(one.state_dir, *session("bad"), *session("good"))
    spoil(path, f"UPDATE journal_out SET payload = {content} WHERE seq = 1")
    checked = one.command("queue", "check")
    assert checked.returncode == 1
    assert checked.stdout.startswith("NOT EMPTY: 5 waiting, 1 unreadable.")
    found = exported(one, tmp_path)
    assert [m["state"] for m in found["bad"]["messages"]] == ["unreadable", "waiting", "waiting"]
    assert "connectors.db has it" in found["bad"]["messages"][0]["reason"]
    assert len(found["good"]["messages"]) == 3
    new = fresh(tmp_path, "new")
    assert new.command("queue", "import", str(tmp_path / "export.json")).stdout.startswith("6 messages taken in")
    assert new.command("queue", "import", str(tmp_path / "export.json")).stdout.startswith("0 messages taken in, 6")


def test_only_an_unreadable_entry_is_something(tmp_path: Path) -> None:
    one = station(tmp_path, "a")
    fill(one.state_dir)
    spoil(beside(one.state_dir, session("bad")[0]), "UPDATE journal_out SET payload = '{', name = ''")
    assert one.command("queue", "check").returncode == 1
    assert exported(one, tmp_path)["unknown"]["messages"][0]["payload"] == "{"


def test_an_open_transaction_that_cannot_be_read_is_something(tmp_path: Path) -> None:
    one = station(tmp_path, "a")
    fill(one.state_dir)
    spoil(beside(one.state_dir, running=RUNNING), "UPDATE transactions SET body = '{'")
    checked = one.command("queue", "check")
    assert (checked.returncode, checked.stdout.partition(".")[0]) == (1, "NOT EMPTY: 1 unreadable")
    assert exported(one, tmp_path)["runs"]["messages"][0]["payload"] == "{"


@pytest.mark.parametrize("name", ["connectors.db", "transactions.db"])
@pytest.mark.parametrize("damage", ["page", "header", "nothing"])
def test_a_damaged_database_is_never_empty_and_is_read_as_far_as_it_goes(tmp_path: Path, name: str, damage: str) -> None:
    """What cannot be read counts as something; the file itself is left as it is."""
    one = station(tmp_path, "a")
    many = [entry for number in range(40) for entry in session(f"there-{number}", 1.0 + 300 * number)]
    fill(one.state_dir, *(f"here-{number}" for number in range(40)))
    beside(one.state_dir, *many)
    path = one.state_dir / name
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        table = "journal_out" if name == "connectors.db" else "messages"
        (root,) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    content = bytearray(path.read_bytes())
    match damage:
        case "page":
            leaf = next(at for at in range(4096 * root, len(content), 4096) if b"StartTransaction" in content[at : at + 4096])
            content[leaf : leaf + 2048] = bytes(2048)
        case "header":
            content[:4096] = b"x" * 4096
        case _:
            content.clear()
    path.write_bytes(content)
    checked = one.command("queue", "check")
    assert checked.returncode == 1, checked.stdout
    assert f"{name} was" in checked.stdout
    found = exported(one, tmp_path, code=1)
    other = "here" if name == "connectors.db" else "there"
    assert sum(1 for tx in found if tx.startswith(other)) == 40
    if damage == "page":
        assert 0 < sum(1 for tx in found if not tx.startswith(other)) <= 40
    assert path.read_bytes() == content


def test_a_row_that_is_no_text_is_listed_shown_and_exported(tmp_path: Path) -> None:
    one = station(tmp_path, "a")
    fill(one.state_dir, "good", "dead", given_up=True)
    spoil(
        one.state_dir / "transactions.db",
        "INSERT INTO quarantine (local_tx_id, number, action, payload, unique_ids, failures, reason)"
        " VALUES ('bad', 1, 'MeterValues', CAST(x'7bff7d' AS TEXT), '[]', '[]', 'not text')",
    )
    listed = one.command("queue")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "because: not text" in listed.stdout
    assert "3 given up" in listed.stdout
    assert "characters that can't be read" in one.command("queue", "show", "bad").stdout
    found = exported(one, tmp_path)
    assert found["bad"]["messages"][0]["payload"] == "{\\xff}"
    assert found.keys() == {"good", "dead", "bad"}
    new = fresh(tmp_path, "new")
    assert new.command("queue", "import", str(tmp_path / "export.json")).stdout.startswith("7 messages taken in")


def test_the_export_has_the_boots_in_their_order(tmp_path: Path) -> None:
    """Whatever the order of transactions: what was given up is oldest, and what waits may be of an earlier boot."""
    old, new = station(tmp_path, "old"), fresh(tmp_path, "new")
    fill(old.state_dir)
    with closing(open_database(str(old.state_dir / "transactions.db"))) as database:
        store = Store(database, "boot-9")
        with transaction(database):
            for number in range(9):
                for entry in session(f"tx-{number}", boot_id=f"boot-{number}"):
                    store.add(entry, moment(5000, "boot-9"))
            database.execute("UPDATE transactions SET rowid = -rowid")
    old.command("queue", "export", str(tmp_path / "export.json"))
    new.command("queue", "import", str(tmp_path / "export.json"))
    with closing(sqlite3.connect(new.state_dir / "transactions.db")) as database:
        found = [boot_id for (boot_id,) in database.execute("SELECT boot_id FROM boots ORDER BY position")]
    assert found == [f"boot-{number}" for number in range(9)]


def test_a_damaged_database_that_is_kept_is_named(tmp_path: Path) -> None:
    one = station(tmp_path, "a")
    fill(one.state_dir)
    (one.state_dir / "transactions.db.damaged-1").write_bytes(b"x")
    assert "damaged database kept: transactions.db.damaged-1" in one.command("queue").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("show", "never"), 1, "nothing is kept of a transaction never"),
        (("requeue", "never", "--yes"), 1, "nothing of a transaction never was given up"),
        (("import", "no such file"), 1, "No such file"),
        (("show",), 2, "show of what?"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    one = station(tmp_path, "a")
    fill(one.state_dir)
    done = one.command("queue", *arguments)
    assert done.returncode == code
    assert words in done.stderr.splitlines()[-1]


def test_a_directory_without_a_station_has_no_queue(tmp_path: Path) -> None:
    one = station(tmp_path, "a")
    assert one.command("queue").returncode == 3
    (one.state_dir / "run").mkdir()
    assert "nothing was ever queued here" in one.command("queue").stderr


@pytest.mark.process
def test_a_running_station_changes_its_queue_itself(tmp_path: Path) -> None:
    """The queue process is the one writer: the commands ask it over the bus."""
    one = station(tmp_path, "live")
    fill(one.state_dir, "dead", given_up=True)
    other = station(tmp_path, "other")
    fill(other.state_dir, "wait")
    file = tmp_path / "export.json"
    other.command("queue", "export", str(file))
    with one:
        wait_until(lambda: (one.status()["queue"] or {}).get("dead_letters") == 3, 10, "the queue counts its dead letters")
        assert "see station queue" in one.command("status").stdout
        done = one.command("queue", "requeue", "dead", "--yes")
        assert done.returncode == 0, done.stderr
        assert one.command("queue", "import", str(file)).stdout == "3 messages taken in, 0 were known already\n"
        wait_until(lambda: (one.status()["queue"] or {}).get("depth") == 6, 10, "six messages wait")
        assert one.status()["queue"]["dead_letters"] == 0
        exported = one.command("queue", "export", str(tmp_path / "live.json"))
        assert "stop it first" in exported.stderr
    assert "messages are kept that no Central System has" in (one.state_dir / "log" / "transaction_queue.log").read_text()
