"""One rotten byte in connectors.db: the row is set aside, people are told, and the station charges on (field report 52)."""

import random
from pathlib import Path

import pytest

from bus.database import transaction
from bus.messages import Delivered, DeliveryEntry, IdTagInfo, StartTransaction, StopTransaction
from bus.salvage import open_store
from bus.vocabulary import AuthorizationStatus
from services.connectors import events as e
from services.connectors.state import LocalList
from services.connectors.store import SCHEMA, Store
from tests.bus.rig import Clock, Wires, entry
from tests.bus.sink import Sink
from tests.connectors.test_service import charging, messages, status
from tests.connectors.world import World
from tests.rot import NOT_TEXT, content, flip_one_bit, put, spoil
from tests.transaction_queue.world import session

INFO = IdTagInfo(AuthorizationStatus.ACCEPTED)
FLIPS = 120


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def path(world: World) -> Path:
    return world.directory / "connectors.db"


def spoilt(world: World, table: str, change: str, where: str = "1") -> None:
    """The service is killed, its file rots, and it is started again."""
    content(world.database, path(world))
    world.kill()
    spoil(path(world), table, change, where)
    world.advance(3)


def set_aside(world: World) -> list[str]:
    return [source for (source,) in world.database.execute("SELECT source FROM unreadable")]


@pytest.mark.parametrize("rotten", [NOT_TEXT, "'{'", "17"])
@pytest.mark.parametrize(
    "table", ["transactions", "cache", "reservations", "availability", "finished", "waiting", "plug_faults"]
)
def test_a_body_that_cannot_be_read_is_set_aside(world: World, table: str, rotten: str) -> None:
    charging(world)
    if table not in ("transactions", "cache"):
        world.database.execute(f"INSERT INTO {table} VALUES (7, '{{}}')")
    spoilt(world, table, f"body = {rotten}")
    assert world.damage == "", "no other row has to do with it"
    assert set_aside(world) == [table]
    assert world.problems["unreadable"] == "rows that can't be read were set aside: 1; see table unreadable of connectors.db"
    assert status(world) in ("Charging", "SuspendedEVSE", "Preparing", "Finishing")
    world.kill()
    world.advance(3)
    assert world.problems["unreadable"] is None, "it goes with the next start"
    assert set_aside(world) == [table], "and the row stays"


@pytest.mark.parametrize("rotten", [NOT_TEXT, "'{'"])
def test_a_local_list_with_an_unreadable_entry_is_no_list(world: World, rotten: str) -> None:
    store = Store(world.database)
    with transaction(world.database):
        store.local_list.save(e.SaveLocalList(True, (("A", INFO), ("B", INFO)), ()))
        store.local_list.save_size(LocalList(3, 2))
    spoilt(world, "local_list", f"body = {rotten}", "id_tag = 'A'")
    assert status(world) == "Available"
    assert world.database.execute("SELECT count(*) FROM local_list").fetchone() == (0,)


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("known", f"value = {NOT_TEXT}"),
        ("known", f"name = {NOT_TEXT}"),
        ("store", f"value = {NOT_TEXT}"),
        ("transactions", "connector_id = 'x'"),
        ("transactions", f"local_tx_id = {NOT_TEXT}"),
        ("cache", f"id_tag = {NOT_TEXT}"),
        ("journal_in", "last_seq = 'x'"),
        ("journal_in", f"publisher_store = {NOT_TEXT}"),
        ("journal_stream", "last_seq = 'x'"),
        ("journal_epoch", "epoch = 'x'"),
    ],
)
def test_a_value_that_cannot_be_read_costs_its_row(world: World, table: str, change: str) -> None:
    """Such a store is salvaged, so that the queue sends again what this one may have forgotten."""
    charging(world)
    spoilt(world, table, change)
    assert f"table {table}: " in world.damage
    world.advance(20)
    world.plants[1].unplug()
    world.advance(5)
    assert status(world) == "Available"


@pytest.mark.parametrize("rotten", [NOT_TEXT, "'{'"])
def test_a_message_that_cannot_be_read_does_not_hold_up_the_next(world: World, rotten: str) -> None:
    """The queue was down when it was written; it takes the messages after it."""
    charging(world)
    outbox = world.service._journal_out.outbox  # type: ignore[union-attr]
    with transaction(world.database):
        for one in session("lost"):
            outbox.append(one, f"{one.local_tx_id}/{one.number}")
    spoilt(world, "journal_out", f"payload = {rotten}", "name = 'lost/1'")
    assert [type(message) for message in messages(world)] == [StartTransaction, StartTransaction, StopTransaction]
    assert set_aside(world) == ["journal_out journal.transaction."]
    assert "set aside: 1" in (world.problems["unreadable"] or "")


@pytest.mark.parametrize("rotten", [NOT_TEXT, "'{'"])
def test_an_unreadable_message_is_none_that_closed_a_lost_transaction(world: World, rotten: str) -> None:
    outbox = world.service._journal_out.outbox  # type: ignore[union-attr]
    with transaction(world.database):
        outbox.append(entry(2), "tx/2")
    world.queue.delivers = False
    content(world.database, path(world))
    world.database.execute(f"UPDATE journal_out SET payload = {rotten}")
    store = Store(world.database)
    assert not store.was_closed("tx")
    assert store.id_tag_of("tx", 2, outbox) is None
    with transaction(world.database):
        store.apply((e.NoteStartSettled("tx", 7),), outbox)


def read_through(file: Path) -> None:
    """All that the service reads, sends and clears away in its life."""
    opened = open_store(str(file), SCHEMA)
    store = Store(opened.database)
    loaded = store.load()
    sink = Sink(Wires(Clock()), opened.database, publishes="journal.transaction.", stores="journal.delivery.")
    assert sink.arrived() == sink.kept()
    with transaction(opened.database):
        for one in loaded.transactions:
            closing = e.CloseTransaction(one.local_tx_id, one.connector_id, None, True)
            store.apply((e.NoteStartSettled(one.local_tx_id, 7), e.SaveTransaction(one), closing), sink.outbox)
        for number in range(10):
            assert store.was_closed(f"tx{number}") in (True, False)
            store.id_tag_of(f"tx{number}", 0, sink.outbox)
            told = [DeliveryEntry(f"tx{number}", k, Delivered(), "StopTransaction" if k == 2 else "") for k in range(3)]
            forgets = tuple(e.ForgetEntry(one) for one in told)
            store.apply((e.NoteStartSettled(f"tx{number}", 7), *forgets), sink.outbox)
        store.apply((*(e.AppendEntry(one) for one in session("new")), e.SaveEverAccepted(True), e.EmptyCache()), sink.outbox)
    store.local_list.find([f"LIST{number}" for number in range(50)])
    opened.database.close()


def test_one_flipped_bit_anywhere_never_prevents_the_start(tmp_path: Path) -> None:
    """With a transaction that runs, cards, reservations, a local list, and messages that the queue does not have yet."""
    world = charging(World(tmp_path))
    store, outbox = world.service._store, world.service._journal_out.outbox  # type: ignore[union-attr]
    with transaction(world.database):
        store.apply(tuple(e.SaveCached(f"CARD{number:04}", INFO) for number in range(50)), outbox)
        store.local_list.save(e.SaveLocalList(True, tuple((f"LIST{number}", INFO) for number in range(50)), ()))
        store.local_list.save_size(LocalList(3, 50))
        for number in range(10):
            for one in session(f"tx{number}"):
                outbox.append(one, f"{one.local_tx_id}/{one.number}")
    good = content(world.database, path(world))
    world.kill()
    dice, rotten = random.Random(1), tmp_path / "rotten.db"
    for _ in range(FLIPS):
        put(rotten, flip_one_bit(good, dice))
        read_through(rotten)
