"""`station queue` on a real station, running and stopped: list, requeue, export, import, check (issue 4)."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from bus.database import open_database, transaction
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
