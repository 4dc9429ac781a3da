"""No statement scans a table, with 100,000 messages as with 10 (issue 4).

The statements are collected: a story is played that takes every path of the store, SQLite tells what it ran, and the text of
the modules tells whether one was never run.
"""

import ast
import re
import sqlite3
from pathlib import Path

import msgspec
import pytest

from bus.messages import Deliver, Delivered, DeliveryReport, Failed, NotSent, StopTransaction, TransactionEntry
from bus.queue_messages import QueueChanged, QueueTransactionAgain, TakeInTransaction
from services.transaction_queue import handover, schema, store
from tests.transaction_queue.test_lost_stores import long_session
from tests.transaction_queue.world import World, meter_values, moment, session, start, stop

ROOT = Path(__file__).parents[2]
MODULES = (
    "services/transaction_queue/store.py",
    "services/transaction_queue/arrivals.py",
    "services/transaction_queue/letters.py",
    "services/transaction_queue/rows.py",
    "services/transaction_queue/handover.py",
    "services/transaction_queue/taking_in.py",
)
AT_THE_START = re.compile(r"SELECT count\(\*\) FROM \w+$")
"""Counted once, when the process starts and after a person's command; then the numbers are carried on."""
SMALL = ("boots", "journal_stream", "journal_in", "store")
"""Tables with a bounded number of rows: BOOTS_KEPT, one for each stream, a few facts."""
COMMANDS_ONLY = ("ORDER BY id", "ORDER BY rowid", "stored_utc FROM messages")
"""Of `station queue list` and `export`, which read everything, in a process of their own."""


def play(world: World) -> None:
    """Every path of the store: deliveries, failures, giving up, quarantine, refills, thinning, imports, boots, old ones."""

    def answer(request: Deliver):  # type: ignore[no-untyped-def]
        if isinstance(request.message, StopTransaction) or getattr(request.message, "meter_start_wh", 0) == 7:
            return Failed("CALLERROR")
        return NotSent("no") if len(world.sent) == 2 else world.central_system(request)

    world.link.answer = answer
    world.link.configure(TransactionMessageAttempts=1, TransactionMessageRetryInterval=1)
    world.connectors.write(*session("undated", known=False), *long_session("a", 30), *session("b", 500))
    world.database.execute("UPDATE messages SET payload = '{' WHERE local_tx_id = 'b' AND number = 1")
    world.link.clock()
    world.link.online()
    lost = TransactionEntry("lost", 1, meter_values(moment(700)), transaction_id=5, started_at=moment(690))
    world.connectors.write(lost)
    world.connectors.write(TransactionEntry("lost too", 1, meter_values(moment(710)), start_given_up=True))
    world.connectors.write(TransactionEntry("late", 0, start(moment(640), 7)), TransactionEntry("late", 1, stop(moment(645))))
    world.advance(300)
    for number, outcome in ((1, Delivered()), (0, Delivered(77))):
        sent = [request.unique_id for request in world.sent if request.local_tx_id == "late"]
        world.link.node.emit(DeliveryReport(sent[number], outcome, world.link.connection))
        world.settle()
    world.connectors.write(TransactionEntry("dead", 0, start(moment(650), 7)), TransactionEntry("dead", 1, stop(moment(660))))
    world.advance(300)
    world.link.offline()
    world.connectors.write(*long_session("c", 30, 800), TransactionEntry("c2", 0, start(moment(900))))
    world.connectors.begin_incarnation()
    assert world.queue is not None
    assert world.queue._thin() > 0
    changed: list[QueueChanged] = []
    given = msgspec.json.encode(handover.kept(world.database, "c")).decode()
    for request in (QueueTransactionAgain("b"), QueueTransactionAgain("dead"), TakeInTransaction(given)):
        world.observer.call(request, timeout_s=5, on_reply=lambda reply: changed.append(reply.value))
        world.settle()
    assert [answer.changed for answer in changed[:2]] == [1, 2], changed
    for name in ("b", "c"):
        foreign = msgspec.structs.replace(handover.kept(world.database, name), local_tx_id=f"foreign {name}")
        world.observer.call(TakeInTransaction(msgspec.json.encode(foreign).decode()), timeout_s=5, on_reply=lambda _: None)
    world.settle()
    world.advance(100)
    world.link.online()
    world.advance(100)


@pytest.fixture
def statements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[World, set[str]]:
    """What SQLite ran in the story, each once, with its values as they were."""
    monkeypatch.setattr(store, "FINISHED_KEPT", 1)
    monkeypatch.setattr(store, "BOOTS_KEPT", 3)
    seen: set[str] = set()
    world = World(tmp_path)

    def traced(database: sqlite3.Connection) -> sqlite3.Connection:
        database.set_trace_callback(lambda sql: seen.add(" ".join(sql.split())))
        return database

    world.wrap = traced
    world.restart_queue()
    play(world)
    world.reboot("boot-b")
    world.connectors.write(TransactionEntry("old", 0, start(moment(5, "boot-0", known=False))), *session("new", 10))
    world.link.clock()
    world.link.online()
    world.advance(70)
    for number in range(6):
        world.connectors.write(TransactionEntry(f"old-{number}", 0, start(moment(5, f"boot-x{number}"))))
    return world, {sql for sql in seen if sql.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE")}


def test_no_statement_scans_a_table(statements: tuple[World, set[str]]) -> None:
    world, seen = statements
    scans = []
    for sql in sorted(seen):
        if AT_THE_START.match(sql):
            continue
        for *_, detail in world.database.execute(f"EXPLAIN QUERY PLAN {sql}"):
            if reads_all(sql, detail):
                scans.append(f"{detail}: {sql[:160]}")
    assert len(seen) > 60
    assert not scans, "\n".join(scans)


def reads_all(sql: str, detail: str) -> bool:
    """Whether a step of a plan goes over a whole table or sorts one that is not small."""
    if any(f"FROM {name}" in sql for name in (*SMALL, "sqlite_master")) or "CONSTANT" in detail:
        return False
    # The head: the first row by its key, so the scan ends with it.
    return ("SCAN" in detail and not (detail.startswith("SCAN m") and "LIMIT 1" in sql)) or "TEMP B-TREE" in detail


def test_every_statement_in_the_text_was_run(statements: tuple[World, set[str]]) -> None:
    """So that the collection is whole: a new statement that no story runs is found here."""
    _, seen = statements
    missing = []
    for name in MODULES:
        for text in written(ROOT / name):
            pattern = re.compile(pattern_of(text))
            known = any(pattern.match(sql) for sql in seen) or any(part in text for part in COMMANDS_ONLY)
            if not known and "PRAGMA" not in text:
                missing.append(f"{name}: {text}")
    assert not missing, "\n".join(missing)


def written(path: Path) -> list[str]:
    """The SQL in a module: constants and f-strings that begin with a verb; values in braces become `{}`."""
    found = []
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    inner = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        text = ""
        if id(node) in inner:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
        elif isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        if re.match(r"(SELECT|INSERT INTO|INSERT OR|UPDATE|DELETE FROM) ", text):
            found.append(" ".join(text.split()))
    return found


def pattern_of(text: str) -> str:
    """What SQLite says it ran, whatever the values: its trace has them in place of the marks."""
    escaped = re.escape(text).replace(r"\{\}", ".*").replace(r"\?1", ".*?").replace(r"\?", ".*?")
    return escaped.replace(r"\ ", r"\s*")


def test_the_schema_has_the_indexes_that_the_plans_use() -> None:
    assert {table for table, *_ in schema._INDEXES} >= {"messages", "transactions", "dead_letters", "quarantine"}
