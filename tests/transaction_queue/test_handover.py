"""Export, import on another board, and queueing again by hand (design §4.6, issue 4; field reports 7, 8)."""

import json
from pathlib import Path

import msgspec
import pytest

from bus.database import transaction
from bus.messages import Deliver, Delivered, Failed
from bus.queue_messages import QueueChanged, QueueTransactionAgain, TakeInTransaction
from services.transaction_queue import handover, kept
from services.transaction_queue.handover import CannotBeDone
from services.transaction_queue.kept import Export
from tests.transaction_queue.world import World, session


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def refusing(world: World, *actions: str):  # type: ignore[no-untyped-def]
    """A Central System that fails to process these."""

    def answer(request: Deliver):  # type: ignore[no-untyped-def]
        return Failed("CALLERROR InternalError") if type(request.message).__name__ in actions else world.central_system(request)

    return answer


def give_up(world: World, *actions: str) -> None:
    world.link.answer = refusing(world, *actions)
    world.link.configure(TransactionMessageAttempts=1)
    world.link.online()
    world.connectors.write(*session("tx"))
    world.advance(5)
    world.link.answer = world.central_system


def export(world: World) -> Export:
    found = Export(kept.FORMAT, kept.FORMAT_VERSION, "2027-01-15T08:00:00.000Z", tuple(handover.transactions(world.database)))
    return handover.read_export(msgspec.json.encode(found))


def ask(world: World, request: QueueTransactionAgain | TakeInTransaction) -> QueueChanged:
    replies: list[QueueChanged] = []
    world.observer.call(request, timeout_s=10, on_reply=lambda reply: replies.append(reply.value))
    world.settle()
    world.advance(1)
    return replies[0]


def take_all_in(world: World, given: Export) -> tuple[int, int]:
    answers = [ask(world, TakeInTransaction(msgspec.json.encode(tx).decode())) for tx in given.transactions]
    assert not any(answer.refusal for answer in answers)
    return sum(answer.changed for answer in answers), sum(answer.known for answer in answers)


def test_a_given_up_transaction_goes_again_whole_under_its_new_id(world: World) -> None:
    """Design §4.6: its start, then the rest under the new id; errata v4.0 3.18 had sent it with -1."""
    give_up(world, "StartTransaction")
    assert world.said() == [("StartTransaction", None), ("MeterValues", -1), ("StopTransaction", -1)]
    first = list(world.sent)
    assert ask(world, QueueTransactionAgain("tx")) == QueueChanged(changed=3)
    assert world.said()[3:] == [("StartTransaction", None), ("MeterValues", 101), ("StopTransaction", 101)]
    assert [r.message for r in world.sent[3:]] == [r.message for r in first], "the content is the same (field report 16)"
    assert set(world.ids()[4:]).isdisjoint(r.unique_id for r in first), "another transactionId is another message"
    assert world.rows("dead_letters") == world.rows("delivered_without_id") == world.rows("messages") == []
    assert "dead_letters" not in world.problems
    assert world.connectors.outcomes[-3].outcome == Delivered(transaction_id=101)


def test_what_was_given_up_of_an_answered_start_goes_again_alone(world: World) -> None:
    give_up(world, "StopTransaction")
    assert ask(world, QueueTransactionAgain("tx")) == QueueChanged(changed=1)
    assert world.said()[3:] == [("StopTransaction", 101)]
    assert world.rows("dead_letters") == []


def test_messages_that_still_wait_stay_behind_those_that_come_back(world: World) -> None:
    """The transaction goes on while its start is queued again."""
    world.link.answer = refusing(world, "StartTransaction")
    world.link.configure(TransactionMessageAttempts=1)
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.link.offline()
    world.connectors.write(*session("tx")[1:], *session("other", 300))
    world.link.answer = world.central_system
    assert ask(world, QueueTransactionAgain("tx")).changed == 1
    world.link.online()
    said = [(name, tx) for name, tx in world.said()[1:] if tx in (None, 102)]
    assert said == [("StartTransaction", None), ("StartTransaction", None), ("MeterValues", 102), ("StopTransaction", 102)]


def test_failures_and_reasons_stay_with_a_message_that_is_queued_again(world: World) -> None:
    give_up(world, "StopTransaction")
    world.link.offline()
    ask(world, QueueTransactionAgain("tx"))
    (row,) = world.rows("messages")
    assert row["attempts"] == 0
    assert row["alarm"] == "queued again by hand"
    assert [f["reason"] for f in json.loads(row["failures"])] == ["CALLERROR InternalError"]


@pytest.mark.parametrize("name", ["tx", "never"])
def test_nothing_given_up_is_refused_in_plain_words(world: World, name: str) -> None:
    world.link.online()
    world.connectors.write(*session("tx"))
    assert "nothing of a transaction" in ask(world, QueueTransactionAgain(name)).refusal
    assert len(world.sent) == 3


def test_a_transaction_under_delivery_is_left_alone(world: World) -> None:
    world.link.answer = refusing(world, "StartTransaction")
    world.link.configure(TransactionMessageAttempts=1)
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.link.answer = lambda _: None
    world.connectors.write(session("tx")[1])
    assert "being delivered now" in ask(world, QueueTransactionAgain("tx")).refusal
    assert len(world.rows("dead_letters")) == 1


def test_without_its_start_it_cannot_go_again(world: World) -> None:
    world.link.online()
    world.connectors.write(*session("lost")[1:])
    world.advance(40)
    assert "StartTransaction is not among" in ask(world, QueueTransactionAgain("lost")).refusal


def test_a_call_that_came_too_late_changes_nothing(world: World) -> None:
    """Design §3: never acted on late; asked inside the commit."""
    give_up(world, "StopTransaction")
    world.observer.call(QueueTransactionAgain("tx"), timeout_s=0.0, on_reply=lambda _: None)
    world.settle()
    assert len(world.rows("dead_letters")) == 1


def test_a_board_swap_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Issue 4: export and import serve a board swap; a second import of the same file adds nothing."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = World(tmp_path / "old"), World(tmp_path / "new")
    give_up(old, "StartTransaction")
    old.link.offline()
    old.connectors.write(*session("waiting", 300), *session("undated", 900, known=False))
    given = export(old)
    assert sum(len(tx.messages) for tx in given.transactions) == 9
    new.link.clock()
    new.connectors.write(*session("own", 2000))
    assert take_all_in(new, given) == (9, 0)
    assert take_all_in(new, given) == (0, 9)
    assert sum(1 for row in new.rows("messages")) == 9
    new.link.online()
    assert len(new.sent) == 9
    assert take_all_in(new, given) == (0, 9), "delivered meanwhile: known all the same"
    assert len(new.rows("dead_letters")) == 1
    assert [row["reason"] for row in new.rows("dead_letters")] == [row["reason"] for row in old.rows("dead_letters")]
    assert ask(new, QueueTransactionAgain("tx")).changed == 3
    assert [entry.message for entry in session("waiting", 300)] == [request.message for request in new.sent[3:6]]


def test_an_imported_message_keeps_attempts_ids_and_reasons(tmp_path: Path) -> None:
    """A message whose answer was outstanding goes out under the same id, so that a Central System that has it can tell."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = World(tmp_path / "old"), World(tmp_path / "new")
    old.link.answer = lambda _: Failed("no")
    old.link.online()
    old.connectors.write(session("tx")[0])
    old.link.offline()
    old.link.answer = lambda _: None
    old.link.online()
    old.advance(61)
    assert old.rows("messages")[0]["outstanding"] == 1
    take_all_in(new, export(old))
    before, after = old.rows("messages")[0], new.rows("messages")[0]
    same = ("attempts", "failures", "unique_ids", "payload", "stored_utc", "outstanding", "last_failure")
    assert [before[name] for name in same] == [after[name] for name in same]
    new.link.online()
    assert new.ids() == [old.ids()[-1]]


def test_an_unreadable_row_is_exported_and_shown_as_far_as_it_goes(world: World) -> None:
    world.connectors.write(*session("tx"))
    world.database.execute('UPDATE messages SET payload = \'{"id_tag": "TA\' WHERE number = 1')
    world.connectors.forget_all()
    world.restart_queue()
    world.link.online()
    world.advance(70)
    (message,) = [m for tx in export(world).transactions for m in tx.messages]
    assert (message.state, message.payload) == ("unreadable", '{"id_tag": "TA')


def test_entries_that_the_queue_was_never_handed_are_in_the_export_too(tmp_path: Path) -> None:
    """The queue was down for long: a board swap must not lose what only connectors.db has."""
    (tmp_path / "new").mkdir()
    new = World(tmp_path / "new")
    for local_tx_id, messages in handover.of_entries(session("tx")).items():
        given = kept.KeptTransaction(local_tx_id, None, {}, messages)
        assert ask(new, TakeInTransaction(msgspec.json.encode(given).decode())).changed == 3
    new.link.online()
    assert [request.message for request in new.sent] == [entry.message for entry in session("tx")]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"format": "else", "version": 1, "exported_utc": "", "transactions": []}',
        b'{"format": "chargebus queue", "version": 3, "exported_utc": "", "transactions": []}',
        b'{"format": "chargebus queue", "version": 1, "exported_utc": "", "transactions": [{"local_tx_id": "a",'
        b' "transaction_id": null, "facts": {}, "messages": [{"number": 0, "action": "", "state": "lost", "payload": {}}]}]}',
    ],
)
def test_what_is_no_export_is_refused_in_one_line(text: bytes) -> None:
    with pytest.raises(CannotBeDone) as refusal:
        handover.read_export(text)
    assert "\n" not in str(refusal.value)


def test_a_damaged_piece_over_the_bus_is_refused(world: World) -> None:
    assert "not a transaction of an export" in ask(world, TakeInTransaction("{")).refusal


def test_reading_changes_nothing(world: World) -> None:
    give_up(world, "StartTransaction")
    before = world.database.total_changes
    assert export(world).transactions
    assert handover.counts(world.database).given_up == 1
    assert world.database.total_changes == before
    with transaction(world.database):
        pass
