"""One rotten byte in transactions.db: the row is set aside, people are told, and everything else is delivered (field
report 52)."""

import random
from pathlib import Path

import msgspec
import pytest

from bus.database import transaction
from bus.messages import Delivered, DeliveryEntry, Failed, MeterValue, MeterValues, StartTransaction, TransactionEntry
from bus.salvage import open_store
from services.transaction_queue import facts, handover, taking_in
from services.transaction_queue.kept import KeptTransaction
from services.transaction_queue.schema import SCHEMA
from services.transaction_queue.store import Store
from tests.bus.rig import Clock, Wires
from tests.bus.sink import Sink
from tests.rot import NOT_TEXT, content, flip_one_bit, put, spoil
from tests.transaction_queue.world import BOOT, UTC_0_MS, World, meter_values, moment, session, start, stop

FLIPS = 120
DELIVERED = [("StartTransaction", None), ("MeterValues", 102), ("StopTransaction", 102)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An open transaction and a finished one are delivered, a whole one waits."""
    world = World(tmp_path)
    world.link.clock()
    world.connectors_forget = True
    world.connectors.write(TransactionEntry("open", 0, start(moment(5))), *session("tx"))
    world.link.online()
    world.advance(2)
    world.link.offline()
    world.connectors.write(*session("next", 300))
    world.advance(10)
    world.sent.clear()
    return world


def path(world: World) -> Path:
    return world.directory / "transactions.db"


def spoilt(world: World, table: str, change: str, where: str = "1") -> None:
    """The queue is killed, its file rots, and it is started again."""
    content(world.database, path(world))
    world.kill_queue()
    spoil(path(world), table, change, where)
    world.start_queue()


@pytest.mark.parametrize(
    ("table", "change", "where"),
    [
        ("boots", f"boot_id = {NOT_TEXT}", "1"),
        ("boots", "boot_id = NULL", "1"),
        ("boots", "utc_offset_ms = 'x'", "1"),
        ("boots", "last_boottime_ms = x'00'", "1"),
        ("transactions", f"id_tag = {NOT_TEXT}", "local_tx_id = 'open'"),
        ("transactions", f"missing = {NOT_TEXT}", "local_tx_id = 'tx'"),
        ("transactions", "settled_number = 'x'", "local_tx_id = 'tx'"),
        ("transactions", "last_number = 'x'", "local_tx_id = 'open'"),
        ("transactions", "last_number = 'x'", "local_tx_id = 'next'"),
        ("transactions", f"local_tx_id = {NOT_TEXT}", "local_tx_id = 'open'"),
        ("transactions", "transaction_id = '10q'", "local_tx_id = 'open'"),
        ("transactions", "transaction_id = '-'", "local_tx_id = 'tx'"),
        ("transactions", "start_boottime_ms = NULL", "local_tx_id = 'open'"),
        ("transactions", "meter_start_wh = NULL", "local_tx_id = 'next'"),
        ("messages", f"local_tx_id = {NOT_TEXT}", "number = 1"),
        ("messages", "number = 'x'", "number = 1"),
        ("messages", "number = NULL", "number = 1"),
        ("journal_in", "last_seq = 'x'", "1"),
        ("journal_in", f"publisher_store = {NOT_TEXT}", "1"),
        ("journal_stream", "last_seq = 'x'", "1"),
        ("journal_stream", "incarnation = x'00'", "1"),
        ("store", f"value = {NOT_TEXT}", "1"),
    ],
)
def test_a_value_that_cannot_be_read_costs_its_row_and_nothing_is_lost(
    world: World, table: str, change: str, where: str
) -> None:
    """`connectors` keeps what is not delivered: it comes again, to a store that is another one now."""
    spoilt(world, table, change, where)
    assert f"table {table}: " in world.damage
    (source,) = {name for (name,) in world.database.execute("SELECT source FROM unreadable")} or {table}
    assert source == table
    world.connectors.write(TransactionEntry("new", 0, start(moment(900))))
    world.connectors.write(TransactionEntry("open", 1, stop(moment(950)), transaction_id=101))
    world.link.online()
    world.advance(70)
    sent = [(r.local_tx_id, type(r.message).__name__) for r in world.sent]
    assert sorted(sent) == sorted(
        [
            ("next", "StartTransaction"),
            ("next", "MeterValues"),
            ("next", "StopTransaction"),
            ("new", "StartTransaction"),
            ("open", "StopTransaction"),
        ]
    )
    assert world.rows("messages") == []
    world.restart_queue()
    assert world.damage == ""


@pytest.mark.parametrize("change", ["last_number = NULL", "settled_number = NULL", "missing = '{'", "id_tag = NULL"])
def test_a_value_that_may_be_missing_is_no_damage(world: World, change: str) -> None:
    spoilt(world, "transactions", change, "local_tx_id = 'open'")
    assert world.damage == ""
    world.connectors.write(TransactionEntry("open", 1, stop(moment(950)), transaction_id=101))
    world.link.online()
    world.advance(70)
    assert len(world.sent) == 4


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("change", ["local_tx_id = x'ff'", "meter_start_wh = NULL", f"id_tag = {NOT_TEXT}"])
def test_a_transaction_whose_row_is_lost_while_its_messages_wait_goes_on_under_its_id(
    tmp_path: Path, change: str, *, refused: bool
) -> None:
    """Design §3: its messages come again, and are there; what they tell of their start is not (errata v4.0 3.18)."""
    world = World(tmp_path)
    world.link.clock()
    world.connectors_forget = True
    if refused:
        world.link.answer = lambda _: Failed("no")
        world.link.configure(TransactionMessageAttempts=1)
    begun, *rest = session("a")
    world.link.online()
    world.connectors.write(begun)
    world.link.offline()
    world.link.answer = world.central_system
    told = {"start_given_up": True} if refused else {"transaction_id": 101}
    world.connectors.write(*(msgspec.structs.replace(entry, started_at=moment(1), **told) for entry in rest))
    spoilt(world, "transactions", change)
    world.advance(70)
    assert world.rows("transactions")[0]["anchor_utc_ms"] == moment(1).utc_ms
    world.link.online()
    world.advance(100)
    known = -1 if refused else 101
    assert world.said()[1:] == [("MeterValues", known), ("StopTransaction", known)]


@pytest.mark.parametrize("rotten", [NOT_TEXT, "'{'", "17"])
def test_an_outcome_that_cannot_be_read_is_told_again(world: World, rotten: str) -> None:
    """The queue knows what became of the message: `connectors` asks by sending it once more, and gets the transactionId."""
    nodes = world._nodes
    world.connectors.write(
        TransactionEntry("late", 0, start(moment(800))), TransactionEntry("late", 1, meter_values(moment(860)))
    )
    world._nodes = lambda: [node for node in nodes() if node is not world.connectors.node]  # type: ignore[method-assign]
    world.link.online()
    world.advance(2)
    world.link.offline()
    assert len(world.sent) == 5
    content(world.database, path(world))
    world.kill_queue()
    spoil(path(world), "journal_out", f"payload = {rotten}", "payload LIKE '%late%' AND payload LIKE '%104%'")
    world._nodes = nodes  # type: ignore[method-assign]
    world.connectors.outcomes.clear()
    world.start_queue()
    world.advance(70)
    told = [one.outcome for one in world.connectors.outcomes if (one.local_tx_id, one.number) == ("late", 0)]
    assert told == [Delivered(104)]
    assert "set aside: 1; see table unreadable of transactions.db" in world.problems["unreadable"]
    assert len(world.sent) == 5, "nothing went out twice"


def build(directory: Path) -> bytes:
    """Messages that wait, failed and were given up, open and finished transactions, outcomes that nobody has stored yet."""
    world = World(directory)
    world.link.clock()
    world.connectors.write(TransactionEntry("open", 0, start(moment(5))), *session("tx"))
    world.link.online()
    world.advance(2)
    world.link.answer = lambda _: Failed("no")
    world.link.configure(TransactionMessageAttempts=1)
    world.connectors.write(*session("bad", 200))
    world.advance(5)
    world.link.offline()
    for number in range(8):
        world.connectors.write(*session(f"t{number}", 300 + 200 * number, known=number % 2 == 0))
    with transaction(world.database):
        for number in range(10):
            world.queue._journal.outbox.append(DeliveryEntry(f"gone{number}", 0, Delivered(4711)))
    good = content(world.database, path(world))
    world.kill_queue()
    return good


def read_through(file: Path) -> None:
    """All that the queue reads, sends and clears away in its life."""
    opened = open_store(str(file), SCHEMA)
    store = Store(opened.database, BOOT)
    sink = Sink(Wires(Clock()), opened.database, publishes="journal.delivery.", stores="journal.transaction.")
    assert sink.arrived() == sink.kept()
    assert len(store.boots) <= 1
    store.open_transactions(64)
    name: str | None = ""
    while (name := store.transaction_after(name or "")) is not None:
        store.meter_values_waiting(name, 100)
    with transaction(opened.database):
        for one in (*session("tx"), *session("open"), *session("t1"), *session("new", 9000)):
            store.add(one, moment(9500))
        store.set_offset(UTC_0_MS)
        sent = 0
        while (row := store.head(None)) is not None:
            sent += 1
            row = store.mark_sending(row, f"id-{sent}")
            if sent % 3:
                store.mark_delivered(row, 5 if isinstance(row.message, StartTransaction) else None, None)
            else:
                store.give_up(row, "no", None)
        for table in ("dead_letters", "quarantine", "transactions", "boots"):
            opened.database.execute(f"DELETE FROM {table}")
    opened.database.close()


def test_one_flipped_bit_anywhere_never_prevents_the_start(tmp_path: Path) -> None:
    good = build(tmp_path)
    dice, rotten = random.Random(1), tmp_path / "rotten.db"
    for _ in range(FLIPS):
        put(rotten, flip_one_bit(good, dice))
        read_through(rotten)


SENSELESS = ["1=00", "", "NaN", "Infinity", "1e30", "9" * 400]


def with_value(entry: TransactionEntry, value: str) -> TransactionEntry:
    """MeterValues whose register is this text."""
    assert isinstance(entry.message, MeterValues)
    (read,) = entry.message.meter_values
    sampled = tuple(msgspec.structs.replace(one, value=value) for one in read.sampled_values)
    message = msgspec.structs.replace(entry.message, meter_values=(MeterValue(read.at, sampled),))
    return msgspec.structs.replace(entry, message=message)


@pytest.mark.parametrize("value", SENSELESS)
def test_a_reading_that_is_no_number_is_delivered_and_stops_nothing(tmp_path: Path, value: str) -> None:
    """OCPP 1.6 §7.43: a SampledValue's value is a string; what is in it decides nothing here (design §3)."""
    world = World(tmp_path)
    world.connectors_forget = True
    begun, read, stopped = session("a")
    world.connectors.write(begun, with_value(read, value), stopped, *session("b", 300))
    assert [row["last_wh"] for row in world.rows("transactions")] == [None, 1500]
    world.link.online()
    world.advance(10)
    assert len(world.sent) == 6


@pytest.mark.parametrize("value", SENSELESS)
def test_a_reading_that_is_no_number_is_exported_and_taken_in(tmp_path: Path, value: str) -> None:
    """Design §6: what only `connectors.db` has is listed, exported and imported, whatever is in it."""
    begun, read, stopped = session("a")
    (messages,) = handover.of_entries([begun, with_value(read, value), stopped]).values()
    assert "last_wh" not in facts.of_messages(messages)
    world = World(tmp_path)
    with transaction(world.database):
        assert taking_in.take_in(world.database, KeptTransaction("a", None, {}, messages)) == (3, 0)
