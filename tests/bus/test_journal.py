"""Outbox, inbox and the sender's rules, without nodes (design §3)."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest

from bus.codec import JournalHeader
from bus.database import open_database, transaction
from bus.journal import (
    EPOCHS_KEPT,
    RESEND_S,
    WINDOW,
    Inbox,
    Outbox,
    Sender,
    Verdict,
    after,
    judge,
    on_consumer_unknown,
    on_position,
    on_sent,
    on_silence,
    room,
)
from bus.messages import JournalPosition
from tests.bus.rig import TOPIC, entry, outbox

OURS = ("store", 7)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = open_database(str(tmp_path / "test.db"))
    yield opened
    opened.close()


@contextmanager
def rolled_back(database: sqlite3.Connection) -> Iterator[None]:
    """A transaction that ends in an error of its owner's."""
    with suppress(ZeroDivisionError), transaction(database):
        yield
        raise ZeroDivisionError


def filled(database: sqlite3.Connection, count: int) -> Outbox:
    made = outbox(database)
    with transaction(database):
        for number in range(1, count + 1):
            made.append(entry(number), str(number))
    return made


def header(seq: int, previous: int, *, store: str = "p", stream: int = 1) -> JournalHeader:
    return JournalHeader("connectors", 1, seq, 0.0, store, stream, seq, previous, 5)


def position(last_seq: int, *, missing: bool = False, ours: bool = True) -> JournalPosition:
    store, incarnation = OURS if ours else ("another", 1)
    return JournalPosition("consumer", store, incarnation, last_seq, missing)


def test_entries_are_numbered_from_one_and_chained(database: sqlite3.Connection) -> None:
    entries = filled(database, 3).after(0, 10)
    assert [(e.seq, e.previous) for e in entries] == [(1, 0), (2, 1), (3, 2)]
    assert msgspec.json.decode(entries[1].payload, type=TOPIC.message) == entry(2)


def test_an_append_that_is_rolled_back_uses_up_no_number(database: sqlite3.Connection) -> None:
    made = filled(database, 1)
    with rolled_back(database):
        made.append(entry(2))
    assert made.last_seq == 1
    assert [e.seq for e in made.after(0, 10)] == [1]


def test_the_chain_skips_what_is_forgotten(database: sqlite3.Connection) -> None:
    made = filled(database, 5)
    with transaction(database):
        made.forget_named("2")
        made.forget_named("4")
    assert [(e.seq, e.previous) for e in made.after(0, 10)] == [(1, 0), (3, 1), (5, 3)]
    assert [(e.seq, e.previous) for e in made.after(3, 10)] == [(5, 3)]
    assert [(e.seq, e.previous) for e in made.after(2, 1)] == [(3, 1)]


def test_numbers_are_never_used_again_even_when_all_is_forgotten(database: sqlite3.Connection) -> None:
    made = filled(database, 3)
    with transaction(database):
        made.forget_through(3)
    again = outbox(database)
    with transaction(database):
        assert again.append(entry(4)) == 4


def test_a_new_incarnation_numbers_what_is_kept_anew_and_keeps_the_names(database: sqlite3.Connection) -> None:
    made = filled(database, 5)
    with transaction(database):
        made.forget_named("1")
        made.forget_named("3")
    before = made.incarnation
    made.begin_incarnation()
    assert made.incarnation != before
    assert [(e.seq, e.previous) for e in made.after(0, 10)] == [(1, 0), (2, 1), (3, 2)]
    with transaction(database):
        made.forget_named("4")
        assert made.append(entry(6)) == 4
    assert [msgspec.json.decode(e.payload)["number"] for e in made.after(0, 10)] == [2, 5, 6]


def test_two_streams_in_one_database_do_not_meet(database: sqlite3.Connection) -> None:
    one, other = Outbox(database, "one"), Outbox(database, "other")
    with transaction(database):
        one.append(entry(1), "x")
        other.append(entry(2), "x")
        one.forget_named("x")
    one.begin_incarnation()
    assert (one.after(0, 9), len(other.after(0, 9)), other.incarnation) == ([], 1, 1)


def test_an_entry_of_a_wrong_type_is_refused_before_it_is_on_the_disk(database: sqlite3.Connection) -> None:
    """Style §6, pair assertions: a row that can't be sent would end every process that reads it, for ever."""
    made = outbox(database)
    wrong = msgspec.structs.replace(entry(1), number="one")
    with pytest.raises(AssertionError, match="TransactionEntry"), transaction(database):
        made.append(wrong)
    assert made.last_seq == 0


def test_an_entry_belongs_into_a_transaction(database: sqlite3.Connection) -> None:
    with pytest.raises(AssertionError, match="transaction"):
        outbox(database).append(entry(1))


@pytest.mark.parametrize(
    ("last", "following", "verdict"),
    [
        (0, (1, 0), Verdict.NEW),
        (1, (1, 0), Verdict.REPEATED),
        (1, (2, 1), Verdict.NEW),
        (1, (3, 2), Verdict.MISSING),
        (5, (9, 3), Verdict.NEW),
        (5, (4, 3), Verdict.REPEATED),
        (0, (9, 0), Verdict.NEW),
    ],
)
def test_a_consumer_takes_only_what_follows(
    database: sqlite3.Connection, last: int, following: tuple[int, int], verdict: Verdict
) -> None:
    inbox = Inbox(database, TOPIC.name)
    if last:
        with transaction(database):
            inbox.accept(after(inbox.position(), header(last, 0)))
    assert judge(inbox.position(), header(*following)) is verdict


@pytest.mark.parametrize("other", [{"store": "q"}, {"stream": 2}])
def test_another_store_or_incarnation_starts_from_nothing(database: sqlite3.Connection, other: dict[str, object]) -> None:
    inbox = Inbox(database, TOPIC.name)
    with transaction(database):
        inbox.accept(after(inbox.position(), header(5, 4)))
    assert judge(inbox.position(), msgspec.structs.replace(header(1, 0), **other)) is Verdict.NEW
    assert judge(inbox.position(), msgspec.structs.replace(header(6, 5), **other)) is Verdict.MISSING


def test_the_position_is_on_disk_with_what_was_stored(database: sqlite3.Connection) -> None:
    inbox = Inbox(database, TOPIC.name)
    with rolled_back(database):
        inbox.accept(after(inbox.position(), header(1, 0)))
    assert inbox.position().last_seq == 0
    with transaction(database):
        inbox.accept(after(inbox.position(), header(1, 0)))
    again = Inbox(database, TOPIC.name).position()
    assert again == JournalPosition(inbox.store, "p", 1, 1, epoch=5)


def test_each_run_of_the_publisher_numbers_under_its_own_epoch(database: sqlite3.Connection) -> None:
    first = filled(database, 2)
    second = outbox(database)
    with transaction(database):
        second.append(entry(3))
    epochs = [e.epoch for e in second.after(0, 9)]
    assert epochs[0] == epochs[1] != epochs[2]
    assert [second.epoch_of(seq) for seq in (1, 2, 3)] == epochs
    assert not second.contradicts(JournalPosition("c", first.store, first.incarnation, 2, epoch=epochs[0]))
    assert second.contradicts(JournalPosition("c", first.store, first.incarnation, 3, epoch=epochs[0]))
    assert second.contradicts(JournalPosition("c", first.store, first.incarnation, 4, epoch=epochs[2]))
    assert not second.contradicts(JournalPosition("c", "another", first.incarnation, 9, epoch=1))


def test_a_run_that_appends_nothing_leaves_no_trace(database: sqlite3.Connection) -> None:
    filled(database, 1)
    for _ in range(5):
        outbox(database)
    assert database.execute("SELECT count(*) FROM journal_epoch").fetchone() == (1,)


def test_epochs_are_bounded(database: sqlite3.Connection) -> None:
    filled(database, 1)
    with transaction(database):
        for number in range(2, EPOCHS_KEPT + 10):
            made = outbox_inside(database)
            made.append(entry(number))
    assert database.execute("SELECT count(*) FROM journal_epoch").fetchone() == (EPOCHS_KEPT,)
    assert made.epoch_of(1) == 0
    assert not made.contradicts(JournalPosition("c", made.store, made.incarnation, 1, epoch=77))


def outbox_inside(database: sqlite3.Connection) -> Outbox:
    """A new run's outbox; its tables are there, so it need not open a transaction of its own."""
    database.execute("COMMIT")
    made = outbox(database)
    database.execute("BEGIN IMMEDIATE")
    return made


def test_nothing_goes_out_before_the_consumer_has_said_what_it_has() -> None:
    assert room(Sender()) == 0
    assert room(on_position(Sender(), position(0), OURS, 0.0)) == WINDOW


def test_the_window_bounds_what_is_on_its_way() -> None:
    sender = on_position(Sender(), position(10), OURS, 0.0)
    sender = on_sent(sender, 10 + WINDOW, 0.0)
    assert room(sender) == 0
    assert room(on_position(sender, position(20), OURS, 0.0)) == 10


def test_a_position_of_another_stream_acknowledges_nothing() -> None:
    sender = on_position(Sender(), position(9, ours=False), OURS, 0.0)
    assert (sender.acknowledged, sender.sent, sender.consumer_known) == (0, 0, True)


def test_a_missing_entry_is_sent_again_once_for_all_that_came_too_early() -> None:
    """One lost entry in a full window brings 63 complaints; they must not bring 63 windows."""
    sender = on_sent(on_position(Sender(), position(0), OURS, 0.0), WINDOW, 0.0)
    back = on_position(sender, position(0, missing=True), OURS, 0.1)
    assert back.sent == 0
    again = on_sent(back, WINDOW, 0.1)
    assert on_position(again, position(0, missing=True), OURS, 0.2).sent == WINDOW
    progressed = on_position(again, position(3), OURS, 0.2)
    assert on_position(progressed, position(3, missing=True), OURS, 0.3).sent == 3


def test_complaints_do_not_put_off_the_next_resending() -> None:
    sender = on_sent(on_position(Sender(), position(0), OURS, 0.0), 5, 0.0)
    for tenth in range(1, 10):
        sender = on_position(sender, position(0, missing=True), OURS, tenth / 10)
        sender = on_sent(sender, 5, tenth / 10)
    assert sender.resend_at_s is not None
    assert sender.resend_at_s <= RESEND_S + 0.1
    assert on_silence(sender, sender.resend_at_s).sent == 0


def test_silence_sends_again_and_a_dead_consumer_gets_nothing() -> None:
    sender = on_sent(on_position(Sender(), position(2), OURS, 0.0), 5, 0.0)
    assert on_silence(sender, RESEND_S - 0.01) == sender
    assert on_silence(sender, RESEND_S) == Sender(2, 2, True)
    gone = on_consumer_unknown(sender)
    assert (room(gone), gone.sent, gone.resend_at_s) == (0, 2, None)


def test_a_consumer_that_went_back_gets_everything_since() -> None:
    sender = on_sent(on_position(Sender(), position(50), OURS, 0.0), 60, 0.0)
    assert on_position(sender, position(30), OURS, 0.0).sent == 30
