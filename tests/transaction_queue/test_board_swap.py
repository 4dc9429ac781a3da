"""A board swap: what ran is ended once, boots keep their order, a second import adds nothing, damage hides nothing."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from bus.database import transaction
from bus.messages import (
    CloseLostTransaction,
    Failed,
    StartTransaction,
    StopTransaction,
    TransactionEntry,
)
from bus.queue_messages import QueueTransactionAgain, TakeInTransaction
from services.station import queue_beside
from services.transaction_queue import handover, taking_in
from services.transaction_queue.kept import Export, KeptBoot, KeptMessage, KeptTransaction, Rest
from tests.transaction_queue.test_handover import ask, give_up, take_all_in
from tests.transaction_queue.test_lost_stores import long_session, lost_calls
from tests.transaction_queue.world import UTC_0_MS, World, meter_values, moment, session, start, stop

H = 3600.0


@pytest.fixture
def old(tmp_path: Path) -> World:
    (tmp_path / "old").mkdir()
    return World(tmp_path / "old")


def another(tmp_path: Path, name: str = "new", boot_id: str = "boot-new") -> World:
    (tmp_path / name).mkdir()
    world = World(tmp_path / name)
    world.boot_id = boot_id
    world.restart_queue()
    return world


def swap(world: World, transactions: list[KeptTransaction]) -> tuple[int, int]:
    """As the command does it: in pieces."""
    pieces = [piece for one in transactions for piece in taking_in.pieces(one)]
    return take_all_in(world, Export("chargebus queue", 2, "", tuple(pieces)))


def closing_calls(world: World) -> list[CloseLostTransaction]:
    """What connectors is asked to close; it does so, as the real one does, with the reading that it is told."""
    asked = lost_calls(world)

    def answer(request: CloseLostTransaction) -> None:
        assert request.next_start_wh is not None
        message = stop(request.next_started_at or request.last_at, request.next_start_wh)
        world.connectors.write(TransactionEntry(request.local_tx_id, request.next_number, message))

    def advance(seconds: float) -> None:
        before = len(asked)
        World.advance(world, seconds)
        for request in asked[before:]:
            answer(request)
        World.advance(world, 1)

    world.advance = advance  # type: ignore[method-assign]
    return asked


def stops(world: World, local_tx_id: str = "tx") -> list[tuple[int, int, int | None]]:
    """Register, UTC in seconds, transactionId of each StopTransaction that went out."""
    return [
        (r.message.meter_stop_wh, ((r.message.at.utc_ms or 0) - UTC_0_MS) // 1000, r.transaction_id)
        for r in world.sent
        if isinstance(r.message, StopTransaction) and r.local_tx_id == local_tx_id
    ]


def running() -> list[TransactionEntry]:
    return [TransactionEntry("tx", 0, start(moment(1))), TransactionEntry("tx", 1, meter_values(moment(61)))]


def test_the_stop_of_what_ran_is_no_repeat_of_what_only_connectors_has(old: World, tmp_path: Path) -> None:
    """The queue ended before connectors, which journalled another reading."""
    old.connectors.write(*running())
    more = TransactionEntry("tx", 2, meter_values(moment(121), 1700))
    rest = Rest(handover.of_entries([more])["tx"])
    found = handover.joined(handover.kept(old.database, "tx"), rest)
    assert (found.open, found.facts["last_number"], found.facts["last_wh"]) == (True, 2, 1700)
    new = another(tmp_path)
    assert swap(new, [found]) == (3, 0)
    asked = closing_calls(new)
    new.link.clock()
    new.advance(40)
    assert [one.next_number for one in asked] == [3]
    new.link.online()
    new.advance(60)
    assert [name for name, _ in new.said()] == ["StartTransaction", "MeterValues", "MeterValues", "StopTransaction"]
    assert stops(new) == [(1700, 121, 101)]


@pytest.mark.parametrize("online", [False, True])
def test_a_stop_that_bears_a_readings_number_in_an_older_copy_of_connectors_is_taken_along(
    old: World, tmp_path: Path, *, online: bool
) -> None:
    """Design §3: each gets one stop, on the new board too; the queue was never handed it, or has it already."""
    if online:
        old.link.online()
    old.connectors.write(*running())
    old.connectors.forget_all()
    stopped = TransactionEntry("tx", 1, stop(moment(121)), transaction_id=101 if online else None)
    with transaction(old.connectors.database):
        old.connectors.journal.outbox.append(stopped, "tx/1")

    def found() -> KeptTransaction:
        (one,) = queue_beside.whole(old.database, queue_beside.read(old.connectors.database, old.database))
        return one

    numbers = [2] if online else [0, 1, 2]
    assert [message.number for message in found().messages] == numbers
    new = another(tmp_path)
    assert swap(new, [found()]) == (len(numbers), 0)
    new.link.clock()
    new.link.online()
    new.advance(10)
    assert stops(new) == [(2000, 121, 101)]
    old.link.offline()
    old.connectors.journal.send()
    old.advance(1)
    assert [message.number for message in found().messages] == numbers


def test_an_export_of_the_first_format_is_completed_by_its_messages(tmp_path: Path) -> None:
    """It has the row as it was, beside messages that only connectors.db had; or no row at all."""
    entries = [*running(), TransactionEntry("tx", 2, meter_values(moment(121), 1700))]
    messages = handover.of_entries(entries)["tx"]
    row = {"last_number": 1, "settled_number": -1, "given_up": 0, "connector_id": 1, "id_tag": "TAG", "meter_start_wh": 1000}
    row |= {"start_boot_id": "boot-a", "start_boottime_ms": 1000, "start_utc_ms": UTC_0_MS + 1000, "last_wh": 1500}
    for number, facts in enumerate([row, {}]):
        new = another(tmp_path, f"new-{number}")
        text = msgspec.json.encode(Export("chargebus queue", 1, "", (KeptTransaction("tx", None, facts, messages),)))
        swap(new, list(handover.read_export(text).transactions))
        asked = closing_calls(new)
        new.link.clock()
        new.advance(30)
        (request,) = asked
        assert (request.next_number, request.last_wh, request.id_tag) == (3, 1700, "TAG")
        assert request.started_at == moment(1)


def open_on_the_old_board(old: World) -> KeptTransaction:
    """All was delivered, and it ran on: the last reading is in connectors.db alone."""
    old.link.online()
    old.connectors.write(*running())
    old.advance(2)
    assert old.rows("messages") == []
    facts = {"last_wh": 1650, "last_boot_id": "boot-a", "last_boottime_ms": 100_000, "last_utc_ms": UTC_0_MS + 100_000}
    return handover.joined(handover.kept(old.database, "tx"), Rest(facts=facts | {"last_number": 1}, transaction_id="101"))


def test_what_is_open_with_nothing_waiting_gets_its_one_stop_on_the_new_board(old: World, tmp_path: Path) -> None:
    """At the last reading that was committed; the Central System knows it under its transactionId."""
    found = open_on_the_old_board(old)
    assert (found.messages, found.open, found.transaction_id) == ((), True, "101")
    new = another(tmp_path)
    new.connectors.write(*session("own", 5000, boot_id="boot-new"))
    assert swap(new, [found]) == (0, 0)
    asked = closing_calls(new)
    new.link.clock()
    new.advance(30)
    (request,) = asked
    assert (request.last_wh, request.next_start_wh, request.transaction_id, request.id_tag) == (1650, 1650, 101, "TAG")
    new.link.online()
    new.advance(10)
    assert stops(new, "tx") == [(1650, 100, 101)]
    swap(new, [found])
    new.advance(1000)
    assert len(asked) == 1, "a second import does not open it again"
    assert len(stops(new, "tx")) == 1


def test_energy_of_others_on_the_new_board_is_not_billed_to_what_was_taken_in(old: World, tmp_path: Path) -> None:
    """Cars have charged there before the import came: the register has gone on, and it is not known whose that was."""
    found = open_on_the_old_board(old)
    new = another(tmp_path)
    swap(new, [found])
    new.connectors.write(TransactionEntry("next", 0, start(moment(5000, "boot-new"), 9000)))
    asked = lost_calls(new)
    new.advance(30)
    of_old = next(one for one in asked if one.local_tx_id == "tx")
    assert (of_old.next_start_wh, of_old.next_started_at) == (1650, moment(100))


def test_one_that_connectors_has_ended_is_not_open(old: World) -> None:
    """An older copy of transactions.db: its stop is delivered, or was given up, long since."""
    old.connectors.write(*running())
    found = handover.joined(handover.kept(old.database, "tx"), Rest(closed=True))
    assert not found.open
    assert "stop_reason" in found.facts


def undated(world: World, name: str, at_s: float, boot_id: str, *, known: bool = False) -> None:
    world.connectors.write(
        TransactionEntry(name, 0, start(moment(at_s, boot_id, known=known))),
        TransactionEntry(name, 1, stop(moment(at_s + 600, boot_id, known=known))),
    )


def three_boots(world: World) -> None:
    """Two boots without the time, one that knew it."""
    world.boot_id = "boot-1"
    world.restart_queue()
    undated(world, "t1", 100, "boot-1")
    world.reboot("boot-2")
    undated(world, "t2", 50, "boot-2")
    world.reboot("boot-3")
    undated(world, "t3", 50, "boot-3", known=True)


def step_the_clock(world: World) -> None:
    """The boot that runs has moved behind others, so that there is room before it, as on any board that has run for a while."""
    world.now_s = 20 * H
    world.link.clock(UTC_0_MS / 1000 + 86_397)
    world.link.clock(UTC_0_MS / 1000 + 86_400)


def times(world: World) -> list[tuple[str, str, int]]:
    return [
        (r.local_tx_id, type(r.message).__name__, r.message.at.utc_ms)
        for r in world.sent
        if isinstance(r.message, StartTransaction | StopTransaction) and r.message.at.utc_ms is not None
    ]


def deliver(world: World) -> None:
    world.link.clock(UTC_0_MS / 1000 + 86_400)
    world.link.online()
    world.advance(30)


def boots_of(world: World) -> list[str]:
    return [str(boot_id) for (boot_id,) in world.database.execute("SELECT boot_id FROM boots ORDER BY position")]


def test_the_times_on_the_wire_are_those_of_the_old_board(old: World, tmp_path: Path) -> None:
    """Design §5: boots without the time are placed by those after them."""
    three_boots(old)
    given = list(handover.transactions(old.database))
    old.link.clock()
    old.link.online()
    old.advance(30)
    new = another(tmp_path)
    step_the_clock(new)
    swap(new, given)
    swap(new, given)
    assert boots_of(new)[:3] == ["boot-1", "boot-2", "boot-3"]
    deliver(new)
    assert times(new) == times(old)
    assert times(new) == sorted(times(new), key=lambda one: one[2])


def test_a_start_is_before_its_stop_of_the_next_boot(old: World, tmp_path: Path) -> None:
    old.boot_id = "boot-1"
    old.restart_queue()
    old.connectors.write(TransactionEntry("t1", 0, start(moment(100, "boot-1", known=False))))
    old.reboot("boot-2")
    old.connectors.write(TransactionEntry("t1", 1, stop(moment(20, "boot-2"))))
    new = another(tmp_path)
    step_the_clock(new)
    swap(new, list(handover.transactions(old.database)))
    deliver(new)
    (_, _, started), (_, _, stopped) = times(new)
    assert started <= stopped
    assert stopped == UTC_0_MS + 20_000


def test_boots_of_several_boards_keep_their_order_before_those_of_this_one(old: World) -> None:
    """However often, and whatever is new in a later export of the same board."""

    def given(*names: str) -> list[KeptBoot]:
        return [KeptBoot(name) for name in names]

    undated(old, "own", 10, "boot-a")
    steps: list[tuple[list[KeptBoot], list[str]]] = [
        (given("a1", "a3"), ["a1", "a3"]),
        (given("b1", "b2"), ["a1", "a3", "b1", "b2"]),
        (given("a1", "a2", "a3", "a4"), ["a1", "a2", "a3", "a4", "b1", "b2"]),
        (given("b1", "b2"), ["a1", "a2", "a3", "a4", "b1", "b2"]),
        (given("b0", "b1"), ["a1", "a2", "a3", "a4", "b0", "b1", "b2"]),
    ]
    for boots, expected in steps:
        taking_in.take_in_boots(old.database, boots)
        assert boots_of(old) == [*expected, "boot-a"]
    old.restart_queue()
    undated(old, "later", 10, "boot-z")
    assert boots_of(old)[-2:] == ["boot-z", "boot-a"], "the one that runs is the last"


def test_a_boot_that_only_a_message_knows_is_noted_with_its_time(tmp_path: Path) -> None:
    """The queue was down all that boot: its start did not know the time, its reading did."""
    entries = [
        TransactionEntry("tx", 0, start(moment(1, "boot-x", known=False))),
        TransactionEntry("tx", 1, stop(moment(61, "boot-x"))),
    ]
    new = another(tmp_path)
    swap(new, [KeptTransaction("tx", None, {}, handover.of_entries(entries)["tx"])])
    deliver(new)
    assert [utc - UTC_0_MS for *_, utc in times(new)] == [1000, 61_000]


@pytest.mark.parametrize("refused", ["StartTransaction", "StopTransaction"])
def test_what_was_queued_again_and_delivered_does_not_come_back(old: World, tmp_path: Path, refused: str) -> None:
    """A second requeue would send that StartTransaction again."""
    give_up(old, refused)
    given = list(handover.transactions(old.database))
    new = another(tmp_path)
    added, _ = swap(new, given)
    new.link.clock()
    new.link.online()
    assert ask(new, QueueTransactionAgain("tx")).changed == added
    new.advance(5)
    assert swap(new, given) == (0, added)
    assert new.rows("dead_letters") == new.rows("delivered_without_id") == new.rows("messages") == []
    assert "nothing of a transaction" in ask(new, QueueTransactionAgain("tx")).refusal


def test_an_import_in_pieces_that_was_cut_off_is_completed_by_the_second_one(old: World, tmp_path: Path) -> None:
    """Dead letters of a later piece are not taken for delivered ones."""
    old.link.answer = lambda _: Failed("no")
    old.link.configure(TransactionMessageAttempts=1)
    old.link.online()
    old.connectors.write(*long_session("tx", 150))
    old.advance(300)
    (given,) = handover.transactions(old.database)
    count = len(given.messages)
    assert {message.state for message in given.messages} == {"given up"}
    first, *later = taking_in.pieces(given)
    assert later
    new = another(tmp_path)
    assert take_all_in(new, Export("", 2, "", (first,))) == (100, 0)
    assert swap(new, [given]) == (count - 100, 100)
    assert swap(new, [given]) == (0, count)
    new.link.clock()
    new.link.online()
    assert ask(new, QueueTransactionAgain("tx")).changed == count
    new.advance(300)
    assert len(new.sent) == count
    assert swap(new, [given]) == (0, count)


def test_what_was_queued_again_on_the_old_board_is_not_taken_for_delivered(old: World, tmp_path: Path) -> None:
    give_up(old, "StartTransaction")
    old.link.offline()
    assert ask(old, QueueTransactionAgain("tx")).changed == 3
    new = another(tmp_path)
    assert swap(new, list(handover.transactions(old.database))) == (3, 0)
    new.link.clock()
    new.link.online()
    new.advance(5)
    assert new.said() == [("StartTransaction", None), ("MeterValues", 101), ("StopTransaction", 101)]


def spoilt(world: World, column: str, *, state: str = "quarantine") -> None:
    world.connectors.write(*session("good", 500), *session("tx"))
    world.connectors.forget_all()
    if state == "quarantine":
        world.database.execute("UPDATE messages SET payload = '{' WHERE local_tx_id = 'tx' AND number = 1")
        world.link.clock()
        world.link.answer = lambda r: None if isinstance(r.message, StopTransaction) else world.central_system(r)
        world.restart_queue()
        world.link.online()
        world.advance(70)
        world.link.answer = world.central_system
        world.link.report(0, world.central_system(world.sent[-1]))
        world.advance(70)
        assert len(world.rows("quarantine")) == 1
    world.database.execute(f"UPDATE {state} SET {column} = CAST(x'7bff7d' AS TEXT) WHERE local_tx_id = 'tx' AND number = 1")


COLUMNS = ["payload", "unique_ids", "failures", "stored_utc", "action", "alarm", "correlation_id", "stored_boot_id", "number"]


@pytest.mark.parametrize("state", ["quarantine", "messages"])
@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_that_is_not_text_is_exported_and_taken_in_and_hides_no_other(
    old: World, tmp_path: Path, column: str, state: str
) -> None:
    spoilt(old, column, state=state)
    with closing(sqlite3.connect(f"file:{old.directory}/transactions.db?mode=ro", uri=True)) as reader:
        assert handover.counts(reader).waiting + handover.counts(reader).unreadable
        found = list(handover.transactions(reader))
    text = msgspec.json.encode(Export("chargebus queue", 2, "", tuple(found)))
    export_read = handover.read_export(text)
    damaged = next(tx for tx in export_read.transactions if tx.local_tx_id == "tx")
    if column == "payload":
        assert "{\\xff}" in [message.payload for message in damaged.messages]
    count = sum(len(tx.messages) for tx in export_read.transactions)
    new = another(tmp_path)
    assert swap(new, list(export_read.transactions)) == (count, 0)
    assert swap(new, list(export_read.transactions)) == (0, count)
    if column != "number":
        assert swap(old, list(export_read.transactions))[0] == 0, "nor does it come back where it is from"


@pytest.mark.parametrize("value", ["CAST(x'ff61' AS TEXT)", "x'74'"])
def test_a_name_that_is_damaged_is_shown_and_found(old: World, value: str) -> None:
    old.connectors.write(*session("tx"))
    old.database.execute(f"UPDATE messages SET local_tx_id = {value} WHERE number = 1")
    found = {tx.local_tx_id: len(tx.messages) for tx in handover.transactions(old.database)}
    assert sorted(found.values()) == [1, 2]
    for name, count in found.items():
        assert len(handover.kept(old.database, name).messages) == count


@pytest.mark.parametrize(
    "facts",
    [
        {"settled_number": "x", "last_number": "y"},
        {"start_boot_id": 5, "id_tag": 7, "missing": 3, "no such column": 1},
        {"last_wh": 2**70, "transaction_id": "x", "finished_number": 3},
    ],
)
def test_a_row_that_a_file_has_wrong_is_taken_as_far_as_it_is_right(tmp_path: Path, facts: dict[str, str | int]) -> None:
    new = another(tmp_path)
    messages = handover.of_entries(session("tx"))["tx"]
    swap(new, [KeptTransaction("tx", "no number", facts, messages)])
    deliver(new)
    assert [request.message for request in new.sent] == [entry.message for entry in session("tx")]


def test_a_good_copy_of_what_is_unreadable_is_taken_in_beside_it(tmp_path: Path) -> None:
    messages = handover.of_entries(session("tx"))["tx"]
    raw = KeptMessage(1, "MeterValues", "unreadable", "{")
    new = another(tmp_path)
    assert swap(new, [KeptTransaction("tx", None, {}, (messages[0], raw, *messages[1:]))]) == (4, 0)
    deliver(new)
    assert len(new.sent) == 3


def test_a_start_that_waits_goes_out_though_the_file_says_that_it_was_given_up(tmp_path: Path) -> None:
    """Queued again by hand on the old board, whose connectors.db still tells of the time before."""
    messages = handover.of_entries(session("tx"))["tx"]
    new = another(tmp_path)
    swap(new, [KeptTransaction("tx", None, {"given_up": 1}, messages)])
    deliver(new)
    assert new.said() == [("StartTransaction", None), ("MeterValues", 101), ("StopTransaction", 101)]


def test_an_open_transaction_is_taken_in_over_the_bus_without_a_message(tmp_path: Path) -> None:
    new = another(tmp_path)
    facts: dict[str, str | int] = {
        "start_boot_id": "b",
        "start_boottime_ms": 1,
        "meter_start_wh": 0,
        "connector_id": 1,
        "id_tag": "T",
    }
    (piece,) = taking_in.pieces(KeptTransaction("tx", "5", facts, (), open=True))
    assert ask(new, TakeInTransaction(msgspec.json.encode(piece).decode())).refusal == ""
    asked = lost_calls(new)
    new.advance(20)
    assert asked[0].transaction_id == 5


def test_a_number_that_no_database_bears_is_refused_and_nothing_is_taken_in(tmp_path: Path) -> None:
    new = another(tmp_path)
    text = msgspec.json.encode(KeptTransaction("tx", None, {}, handover.of_entries(session("tx"))["tx"])).decode()
    text = text.replace('"number":2', '"number":9223372036854775808')
    assert "too large" in ask(new, TakeInTransaction(text)).refusal
    assert new.rows("messages") == new.rows("transactions") == []
