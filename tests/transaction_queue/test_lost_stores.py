"""Lost, damaged, restored and older stores: what `connectors` keeps fills the gap, once and in order (design §3, issue 4)."""

import random
import shutil
import sqlite3
from pathlib import Path

import msgspec
import pytest

from bus.calls import IncomingCall
from bus.database import open_database, transaction
from bus.messages import (
    CloseLostTransaction,
    ConnectorState,
    Delivered,
    Failed,
    StopTransaction,
    TransactionEntry,
    TransactionView,
)
from bus.queue_messages import LostTransactionAnswer
from bus.salvage import open_store
from bus.vocabulary import ChargePointStatus
from services.transaction_queue import refill
from services.transaction_queue.schema import SCHEMA
from tests.transaction_queue.world import UTC_0_MS, World, meter_values, moment, session, start, stop

PAGE = 4096


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path)
    found.connectors_forget = True
    return found


def long_session(local_tx_id: str, values: int = 200, at_s: float = 1.0) -> list[TransactionEntry]:
    """A start, many MeterValues, a stop; each with its own register, so that they can be told apart."""
    messages = [
        start(moment(at_s)),
        *(meter_values(moment(at_s + n), 1000 + n) for n in range(1, values + 1)),
        stop(moment(at_s + values + 1), 9000),
    ]
    return [TransactionEntry(local_tx_id, number, message) for number, message in enumerate(messages)]


def path(world: World) -> Path:
    return world.directory / "transactions.db"


def spoil(world: World, marker: bytes, *, keep_log: bool = False) -> None:
    """Bit rot in the page that holds `marker`; the queue is down."""
    if not keep_log:
        database = sqlite3.connect(path(world))
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
    content = bytearray(path(world).read_bytes())
    at = content.index(marker) // PAGE * PAGE
    content[at : at + PAGE] = b"\xa5" * PAGE
    path(world).write_bytes(content)


def lose(world: World) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path(world)}{suffix}").unlink(missing_ok=True)


def contents(world: World) -> list[object]:
    """What the Central System got, each content once, in order."""
    return list(dict.fromkeys(request.message for request in world.sent))


def test_a_lost_database_is_filled_again_from_connectors(world: World) -> None:
    """Design §3: connectors keeps each entry until the queue journals it back as delivered or given up."""
    world.connectors.write(*session("a"), *session("b", 300))
    world.kill_queue()
    lose(world)
    world.start_queue()
    world.link.online()
    world.advance(100)
    assert contents(world) == [entry.message for entry in (*session("a"), *session("b", 300))]
    assert len(world.sent) == 6
    assert [entry.number for entry in world.connectors.outcomes] == [0, 1, 2, 0, 1, 2]


def test_a_database_lost_in_the_middle_of_a_delivery_doubles_nothing_that_was_answered(world: World) -> None:
    world.connectors.write(*session("a"))
    world.link.answer = lambda r: world.central_system(r) if len(world.sent) < 2 else None
    world.link.online()
    assert len(world.sent) == 2
    world.kill_queue()
    lose(world)
    view = TransactionView("a", "TAG", moment(1), 1000, transaction_id=101)
    world.connectors.node.publish(ConnectorState(1, ChargePointStatus.CHARGING, moment(1), transaction=view), "1")
    world.link.answer = world.central_system
    world.start_queue()
    world.advance(100)
    assert [(type(r.message).__name__, r.transaction_id) for r in world.sent] == [
        ("StartTransaction", None),
        ("MeterValues", 101),
        ("MeterValues", 101),
        ("StopTransaction", 101),
    ], "the MeterValues was in flight: nobody knows whether it was processed"


def test_an_older_copy_of_connectors_is_told_what_became_of_what_it_sends_again(world: World) -> None:
    """Design §3: it would keep these entries for ever. Found by simulation (seed 187)."""
    world.connectors.write(*session("a"))
    world.link.online()
    world.connectors.write(*session("a"))
    world.advance(5)
    assert len(world.sent) == 3
    told = [(entry.number, entry.outcome) for entry in world.connectors.outcomes[3:]]
    assert told == [(0, Delivered(101)), (1, Delivered()), (2, Delivered())]


@pytest.mark.parametrize("online", [False, True])
def test_a_stop_of_an_older_copy_of_connectors_is_delivered_once_and_forgotten_there(world: World, *, online: bool) -> None:
    """Design §3: each gets one stop. It bears the number of a reading, whose outcome is not the stop's."""
    begun, read, stopped = session("a")
    if online:
        world.link.online()
    world.connectors.write(begun, read)
    world.connectors.forget_all()
    world.connectors.write(msgspec.structs.replace(stopped, number=1))
    world.restart_queue()
    world.connectors.begin_incarnation()
    if not online:
        world.link.answer = lambda r: None if isinstance(r.message, StopTransaction) else world.central_system(r)
        world.link.online()
        kept = world.connectors.database.execute("SELECT name FROM journal_out").fetchall()
        assert kept == [("a/1",)], "only what was told of the reading has come"
        world.link.report(0, Delivered())
    world.advance(10)
    assert contents(world) == [begun.message, read.message, stopped.message]
    assert len(world.sent) == 3
    assert world.connectors.database.execute("SELECT name FROM journal_out").fetchall() == []
    world.connectors.write(msgspec.structs.replace(stopped, number=1))
    world.advance(10)
    assert len(world.sent) == 3
    assert world.connectors.database.execute("SELECT name FROM journal_out").fetchall() == []


def test_a_transaction_that_had_its_stop_goes_on_in_an_older_copy_of_connectors_for_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Design §3: each gets one stop, and the copy keeps nothing of what it said."""
    world.link.online()
    world.connectors.write(*session("a"))
    more = [meter_values(moment(n), 1600 + n) for n in range(200, 205)]
    entries = [TransactionEntry("a", number, message) for number, message in enumerate([*more, stop(moment(300))], start=1)]
    world.connectors.write(*entries)
    world.advance(10)
    assert len(world.sent) == 3
    assert world.rows("messages") == []
    assert world.rows("transactions")[0]["last_wh"] == 1500
    assert [entry.outcome for entry in world.connectors.outcomes[3:]] == [Delivered()] * 6
    assert world.connectors.database.execute("SELECT name FROM journal_out").fetchall() == []
    assert caplog.text.count("had its stop already") == 1


def test_a_refill_keeps_a_stop_that_was_numbered_anew_behind_its_readings(world: World) -> None:
    begun, read, stopped = session("a")
    world.connectors.write(begun, read, msgspec.structs.replace(stopped, number=1))
    world.database.execute("UPDATE messages SET payload = '{' WHERE number = 0")
    world.restart_queue()
    world.link.online()
    world.advance(100)
    assert contents(world) == [begun.message, read.message, stopped.message]
    assert world.connectors.database.execute("SELECT name FROM journal_out").fetchall() == []


def test_the_entry_itself_tells_the_transaction_id_of_a_start_that_was_answered(world: World) -> None:
    """The transaction is over and connectors has forgotten it, but for the messages that were not delivered."""
    world.connectors.write(session("a")[0])
    world.link.online()
    world.link.offline()
    rest = [TransactionEntry("a", entry.number, entry.message, transaction_id=101) for entry in session("a")[1:]]
    world.connectors.write(*rest)
    world.kill_queue()
    lose(world)
    world.start_queue()
    world.link.online()
    world.advance(100)
    assert world.said() == [("StartTransaction", None), ("MeterValues", 101), ("StopTransaction", 101)]


@pytest.mark.parametrize("known", [True, False])
def test_a_lost_store_keeps_the_distances_to_a_start_that_knew_its_time(world: World, *, known: bool) -> None:
    """Design §5: steps of the clock, backwards ones too, change no interval and no order; found by simulation (seed 62700)."""
    began = moment(10, known=known)
    ended = moment(100, offset_ms=UTC_0_MS - 365 * 86_400_000)
    world.link.online()
    world.connectors.write(TransactionEntry("tx", 1, stop(ended), transaction_id=101, started_at=began))
    world.advance(100)
    (sent,) = world.sent
    assert isinstance(sent.message, StopTransaction)
    assert sent.message.at == (moment(100) if known else ended)


def test_a_lost_store_lets_no_stop_of_a_later_boot_be_before_its_start(world: World) -> None:
    """Design §5: the boot that a transaction began in was before all others that are told of it."""
    began = moment(10_000, "boot-before")
    ended = moment(5, "boot-between", offset_ms=UTC_0_MS)
    world.link.online()
    world.connectors.write(TransactionEntry("tx", 1, stop(ended), transaction_id=101, started_at=began))
    world.advance(100)
    (sent,) = world.sent
    assert isinstance(sent.message, StopTransaction)
    assert sent.message.at.utc_ms == began.utc_ms


@pytest.mark.parametrize("marker", [b'"value":"1001"', b'"value":"1100"', b'"value":"1200"'])
def test_rows_lost_with_a_page_come_again_in_their_order(world: World, marker: bytes) -> None:
    """A damaged page: its rows are lost here and kept by connectors; no StopTransaction overtakes them."""
    world.connectors.write(*long_session("a"), *session("b", 500))
    world.kill_queue()
    spoil(world, marker)
    world.link.online()
    world.start_queue()
    assert "rows were saved" in world.damage
    assert world.sent == [], "nothing goes out before connectors has sent again what it keeps"
    world.advance(1)
    assert world.states[-1].detail == "connectors sends again what was lost here"
    world.advance(60)
    assert contents(world) == [entry.message for entry in (*long_session("a"), *session("b", 500))]
    assert len(world.sent) == 205
    assert world.problems == {}


@pytest.mark.parametrize("seed", range(12))
def test_any_damage_between_deliveries_loses_and_doubles_nothing(world: World, seed: int) -> None:
    """Pages anywhere, truncation, an empty file, at any point of the drain; both tables of the queue may be hit."""
    dice = random.Random(seed)
    entries = [*long_session("a", 60), *long_session("b", 60, 300)]
    stops_at = dice.randrange(len(entries))
    world.link.answer = lambda r: world.central_system(r) if len(world.sent) <= stops_at else None
    world.connectors.write(*entries[:100])
    world.link.online()
    world.connectors.write(*entries[100:])
    world.kill_queue()
    world.link.offline()
    content = bytearray(path(world).read_bytes())
    match dice.randrange(4):
        case 0:
            del content[dice.randrange(len(content)) :]
        case 1:
            content.clear()
        case _:
            for _ in range(dice.choice([1, 2, 5])):
                at = dice.randrange(len(content) // PAGE) * PAGE
                content[at : at + PAGE] = bytes(dice.randrange(256) for _ in range(PAGE))
    path(world).write_bytes(content)
    Path(f"{path(world)}-wal").unlink(missing_ok=True)
    world.start_queue()
    for local_tx_id, transaction_id in (("a", 101), ("b", 102)):
        if any(o.local_tx_id == local_tx_id and o.number == 0 for o in world.connectors.outcomes):
            # Still running as far as connectors knows, so that it tells the id of a start that was answered.
            view = TransactionView(local_tx_id, "TAG", moment(1), 1000, transaction_id=transaction_id)
            at = moment(1)
            world.connectors.node.publish(ConnectorState(1, ChargePointStatus.CHARGING, at, transaction=view), local_tx_id)
    world.link.answer = world.central_system
    world.advance(70)
    world.link.online()
    world.advance(200)
    assert set(contents(world)) == {entry.message for entry in entries}
    assert len(world.sent) - len(contents(world)) <= 1, "only what was in flight may be sent again"
    for local_tx_id in ("a", "b"):
        mine = [entry.message for entry in entries if entry.local_tx_id == local_tx_id]
        assert [message for message in contents(world) if message in mine] == mine
    assert world.rows("messages") == []


def test_a_row_that_cannot_be_read_comes_again_from_connectors(world: World) -> None:
    """Field report 15: set aside, kept, and its good copy is fetched, before anything overtakes it."""
    world.connectors.write(*session("a"), *session("b", 300))
    world.database.execute("UPDATE messages SET payload = '{' WHERE local_tx_id = 'a' AND number = 1")
    world.database.execute("UPDATE messages SET payload = '{' WHERE local_tx_id = 'b' AND number = 0")
    world.restart_queue()
    world.link.online()
    world.advance(100)
    assert contents(world) == [
        *(entry.message for entry in session("a")),
        *(entry.message for entry in session("b", 300)),
    ]
    assert len(world.sent) == 6
    assert {request.transaction_id for request in world.sent} == {None, 101, 102}, "no -1: the start came after all"
    assert world.rows("messages") == []
    assert len(world.rows("quarantine")) == 2


def test_rows_that_come_to_grief_again_and_again_are_not_asked_for_for_ever(world: World) -> None:
    world.connectors.write(*session("a"))
    world.link.online()
    world.restart_queue()
    for n in range(refill.REFILLS_MAX + 1):
        world.link.offline()
        world.connectors.write(*session(f"tx-{n}"))
        world.database.execute("UPDATE messages SET payload = '{' WHERE number = 0")
        world.connectors.forget_all()
        world.queue._read_head()
        world.link.online()
        world.advance(70)
    assert world.rows("messages") == []
    assert len(world.rows("quarantine")) == refill.REFILLS_MAX + 1


def test_a_refill_that_is_interrupted_goes_on_after_the_restart(world: World) -> None:
    world.connectors.write(*long_session("a"))
    world.kill_queue()
    spoil(world, b'"value":"1100"')
    world.link.online()
    world.start_queue()
    world.restart_queue()
    assert world.damage == ""
    assert world.sent == []
    world.advance(60)
    assert contents(world) == [entry.message for entry in long_session("a")]


def test_damage_is_met_while_connectors_is_down(world: World) -> None:
    """Then what is there goes out after a minute, and what comes later is delivered all the same."""
    world.connectors.write(*long_session("a"))
    node, world.connectors.node = world.connectors.node, world.observer
    world.kill_queue()
    spoil(world, b'"value":"1100"')
    world.link.online()
    world.start_queue()
    world.advance(59)
    assert world.sent == []
    world.advance(2)
    assert 150 < len(world.sent) < 202
    world.connectors.node = node
    node.broker_attached()
    world.advance(20)
    assert set(contents(world)) == {entry.message for entry in long_session("a")}
    assert len(world.sent) == 202


def test_an_older_copy_of_the_queue_gets_what_it_lacks_and_doubles_only_what_it_cannot_know(world: World) -> None:
    """Design §3, restored from a copy: outcomes of before the copy are known to both sides."""
    world.connectors.write(*session("a"))
    world.link.online()
    world.link.offline()
    world.kill_queue()
    shutil.copy(path(world), world.directory / "copy")
    world.start_queue()
    world.connectors.write(*session("b", 300))
    world.link.online()
    world.kill_queue()
    lose(world)
    shutil.copy(world.directory / "copy", path(world))
    world.link.offline()
    world.start_queue()
    world.connectors.write(*session("c", 600))
    world.link.online()
    world.advance(30)
    assert contents(world) == [entry.message for n, at_s in (("a", 1.0), ("b", 300), ("c", 600)) for entry in session(n, at_s)]
    assert len(world.sent) == 9


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("shown", [False, True])
def test_a_start_that_waits_in_an_older_copy_of_the_queue_is_not_sent_again(
    world: World, *, refused: bool, shown: bool
) -> None:
    """Design §3: `connectors` names the transactionId, in an entry or in what it shows, or says that it was given up."""
    world.link.configure(TransactionMessageAttempts=1)
    if refused:
        world.link.answer = lambda _: Failed("no")
    begun, *rest = session("a")
    world.connectors.write(begun)
    world.kill_queue()
    shutil.copy(path(world), world.directory / "copy")
    world.start_queue()
    world.link.online()
    world.link.offline()
    assert [outcome.number for outcome in world.connectors.outcomes] == [0]
    world.link.answer = world.central_system
    world.kill_queue()
    lose(world)
    shutil.copy(world.directory / "copy", path(world))
    world.start_queue()
    if shown and not refused:
        view = TransactionView("a", "TAG", moment(1), 1000, transaction_id=101)
        world.connectors.node.publish(ConnectorState(1, ChargePointStatus.CHARGING, moment(1), transaction=view), "1")
        world.settle()
        assert world.rows("messages") == []
    told = {"start_given_up": True} if refused else {"transaction_id": 101}
    world.connectors.write(*(msgspec.structs.replace(entry, **told) for entry in rest))
    assert [row["number"] for row in world.rows("messages")] == [1, 2]
    world.link.online()
    world.advance(60)
    known = -1 if refused else 101
    assert world.said() == [("StartTransaction", None), ("MeterValues", known), ("StopTransaction", known)]
    assert [row["action"] for row in world.rows("dead_letters")] == ["StartTransaction"] * refused
    assert {entry.number for entry in world.connectors.outcomes} == {0, 1, 2}


def test_swapped_boards_begin_clean_and_keep_what_they_have(tmp_path: Path) -> None:
    """transactions.db of another station: its messages are delivered, ours are filled in."""
    other = World(tmp_path / "other") if (tmp_path / "other").mkdir() is None else None
    assert other is not None
    other.connectors.write(*session("theirs"))
    other.kill_queue()
    ours = World(tmp_path)
    ours.connectors_forget = True
    ours.connectors.write(*session("ours", 300))
    ours.kill_queue()
    lose(ours)
    shutil.copy(path(other), path(ours))
    ours.start_queue()
    ours.link.online()
    ours.advance(30)
    assert contents(ours) == [entry.message for entry in (*session("theirs"), *session("ours", 300))]


def test_the_database_of_another_service_in_its_place_is_put_aside(world: World) -> None:
    world.connectors.write(*session("a"))
    world.kill_queue()
    lose(world)
    database = open_database(str(path(world)))
    for statement in ("CREATE TABLE transactions (local_tx_id TEXT PRIMARY KEY, body TEXT)", "CREATE TABLE waiting (a)"):
        database.execute(statement)
    database.close()
    world.start_queue()
    assert "was a database of something else" in world.damage
    world.link.online()
    world.advance(70)
    assert contents(world) == [entry.message for entry in session("a")]


def test_a_store_of_the_first_release_grows_and_knows_what_it_knew(world: World) -> None:
    """Field report 54: additive; before settled_number came, last_number alone told what was known."""
    world.connectors.write(*session("a"))
    world.kill_queue()
    database = open_database(str(path(world)))
    with transaction(database):
        database.execute("ALTER TABLE transactions DROP COLUMN settled_number")
        database.execute("PRAGMA user_version = 1")
    database.close()
    world.start_queue()
    assert world.damage == ""
    world.connectors.begin_incarnation()
    world.link.online()
    world.advance(10)
    assert len(world.sent) == 3
    assert world.rows("transactions")[0]["settled_number"] == 2


@pytest.mark.parametrize("version", [0, 7, -5, 2**31 - 1])
def test_a_newer_or_senseless_version_is_opened(world: World, version: int) -> None:
    """Issue 4: an older release can open a newer store, with more columns, tables and views than it knows."""
    world.connectors.write(*session("a"))
    world.kill_queue()
    database = open_database(str(path(world)))
    with transaction(database):
        database.execute("ALTER TABLE messages ADD COLUMN priority INTEGER DEFAULT 5")
        database.execute("ALTER TABLE transactions ADD COLUMN tariff TEXT")
        database.execute("CREATE TABLE tariffs (name TEXT PRIMARY KEY, price REAL)")
        database.execute("CREATE INDEX messages_by_priority ON messages (priority, id)")
        database.execute("CREATE VIEW expensive AS SELECT * FROM messages WHERE priority > 5")
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    world.start_queue()
    assert world.damage == ""
    world.connectors.write(*session("b", 300))
    world.link.online()
    world.advance(10)
    assert len(world.sent) == 6
    world.kill_queue()
    opened = open_store(str(path(world)), SCHEMA).database
    assert opened.execute("SELECT count(*) FROM tariffs").fetchone() == (0,)
    opened.close()


def test_a_start_found_again_after_its_rest_went_out_is_delivered_alone(world: World) -> None:
    """Whatever the order of misfortunes, nothing is dropped without a trace."""
    world.link.answer = lambda _: Failed("no")
    world.link.configure(TransactionMessageAttempts=1)
    world.connectors.write(*session("a"))
    world.link.online()
    world.advance(5)
    world.link.answer = lambda _: Delivered(transaction_id=5)
    world.connectors.begin_incarnation()
    assert {row["number"] for row in world.rows("dead_letters")} == {0, 1, 2}
    assert len([r for r in world.sent if isinstance(r.message, StopTransaction)]) == 1


def lost_calls(world: World, *, lost: bool = True) -> list[CloseLostTransaction]:
    """What connectors is asked to close; it shows two free connectors."""
    asked: list[CloseLostTransaction] = []

    def answer(request: CloseLostTransaction, call: IncomingCall) -> None:
        asked.append(request)
        call.answer(LostTransactionAnswer(lost))

    world.connectors.node.serve(CloseLostTransaction, answer)
    for number in ("0", "1"):
        state = ConnectorState(int(number), ChargePointStatus.AVAILABLE, moment(1))
        world.connectors.node.publish(state, number)
    world.settle()
    return asked


def test_an_open_transaction_that_connectors_has_lost_is_closed_once_it_is_missed(world: World) -> None:
    """Design §3: found by the queue, and each gets one stop."""
    asked = lost_calls(world)
    world.connectors.write(*session("a"), *session("open", 500)[:2])
    world.link.online()
    world.advance(9)
    assert asked == [], "its stop may be on its way"
    world.advance(20)
    expected = CloseLostTransaction("open", 1, "TAG", moment(500), 1000, 1500, moment(560), 2, transaction_id=102)
    assert asked == [expected]
    world.connectors.write(TransactionEntry("open", 2, stop(moment(600))))
    world.advance(1000)
    assert asked == [expected]


def test_a_transaction_that_is_shown_or_whose_connectors_is_silent_is_not_asked_about(world: World) -> None:
    world.connectors.write(*session("open")[:2])
    asked: list[CloseLostTransaction] = []
    world.connectors.node.serve(CloseLostTransaction, lambda request, _: asked.append(request))
    world.advance(100)
    assert asked == [], "connectors has not said a word"
    view = TransactionView("open", "TAG", moment(1), 1000)
    for number, running in (("0", None), ("1", view)):
        state = ConnectorState(int(number), ChargePointStatus.CHARGING, moment(1), transaction=running)
        world.connectors.node.publish(state, number)
    world.advance(100)
    assert asked == []


def test_the_question_tells_where_the_next_transaction_on_the_connector_began(world: World) -> None:
    """What flowed from there on is not the lost one's, be it over or not (design §3)."""
    asked = lost_calls(world)
    opened = session("open", 500)[:1]
    elsewhere = TransactionEntry("other", 0, msgspec.structs.replace(start(moment(590), 77), connector_id=2))
    world.connectors.write(*opened, elsewhere, *session("after", 600), *session("later", 700))
    world.advance(30)
    told = [(one.local_tx_id, one.next_start_wh, one.next_started_at) for one in asked]
    assert told == [("open", 1000, moment(600)), ("other", None, None)]


def test_a_question_that_is_not_answered_is_asked_again_soon(world: World) -> None:
    """The bus may lose it; until then the transaction has no stop, and the time of its stop is billed."""
    asked: list[CloseLostTransaction] = []
    lost_calls(world)
    world.connectors.node.serve(CloseLostTransaction, lambda request, _: asked.append(request))
    world.connectors.write(*session("open")[:1])
    world.advance(60)
    assert len(asked) >= 3


def test_an_answer_that_it_is_not_lost_is_asked_for_again_only_much_later(world: World) -> None:
    asked = lost_calls(world, lost=False)
    world.connectors.write(*session("open")[:1])
    world.advance(300)
    assert len(asked) == 1
    world.advance(300)
    assert len(asked) == 2
