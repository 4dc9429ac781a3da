"""A late answer on the same connection counts even after its message was given up (field report 9, design §4.6).

The last attempt meets silence, a Heartbeat is answered, so it is given up; then its answer comes after all.
"""

import json
from pathlib import Path

import msgspec
import pytest

from bus.messages import (
    Deliver,
    Delivered,
    DeliveryReport,
    Failed,
    GivenUp,
    IdTagInfo,
    MeterValues,
    StartTransaction,
    StopTransaction,
)
from bus.queue_messages import QueueTransactionAgain, TakeInTransaction
from bus.vocabulary import AuthorizationStatus
from services.station import queue_layout
from services.transaction_queue import handover, letters
from tests.transaction_queue.test_handover import ask
from tests.transaction_queue.world import Outcome, World, session

SILENCE = Failed("no answer within MessageTimeout, while a later Heartbeat was answered")
BLOCKED = IdTagInfo(AuthorizationStatus.BLOCKED)
LATE = Delivered(77, BLOCKED)


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = World(tmp_path)
    found.connectors_forget = True
    found.link.configure(TransactionMessageAttempts=1, TransactionMessageRetryInterval=1)
    silent_to(found, StartTransaction)
    return found


def silent_to(world: World, *kinds: type) -> None:
    """Those messages fail as by silence, all others are answered."""

    def answer(request: Deliver) -> Outcome:
        return SILENCE if isinstance(request.message, kinds) else world.central_system(request)

    world.link.answer = answer


def late(world: World, index: int = 0, outcome: Delivered = LATE) -> None:
    """The answer to what was sent as number `index` comes now."""
    world.link.node.emit(DeliveryReport(world.ids()[index], outcome, world.link.connection))
    world.settle()
    world.advance(1)


def outcomes(world: World) -> list[tuple[int, Delivered | GivenUp]]:
    return [(entry.number, entry.outcome) for entry in world.connectors.outcomes]


def kept_without_id(world: World) -> list[int]:
    return [row["number"] for row in world.rows("delivered_without_id")]


def test_the_rest_of_a_running_transaction_goes_out_under_its_id(world: World) -> None:
    start, values, stop = session("tx")
    world.link.online()
    world.connectors.write(start)
    assert len(world.rows("dead_letters")) == 1
    world.advance(3)
    late(world)
    assert world.rows("dead_letters") == []
    assert "dead_letters" not in world.problems
    assert world.states[-1].dead_letters == 0
    world.connectors.write(values, stop)
    assert world.said() == [("StartTransaction", None), ("MeterValues", 77), ("StopTransaction", 77)]
    assert kept_without_id(world) == []
    given_up, delivered = outcomes(world)[:2]
    assert isinstance(given_up[1], GivenUp)
    assert delivered == (0, LATE), "connectors learns transactionId and idTagInfo"
    (row,) = world.rows("transactions")
    assert (row["transaction_id"], row["given_up"], row["finished_number"]) == ("77", 0, 1)


def test_the_answer_to_an_earlier_attempt_counts_as_well(world: World) -> None:
    world.link.configure(TransactionMessageAttempts=3, TransactionMessageRetryInterval=1)
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.advance(20)
    assert len(world.sent) == 3
    late(world, 0)
    assert world.rows("dead_letters") == []
    world.connectors.write(*session("tx")[1:])
    assert world.said()[3:] == [("MeterValues", 77), ("StopTransaction", 77)]


def test_what_went_out_with_minus_one_stays_and_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    start, values, stop = session("tx")
    world.link.online()
    world.connectors.write(start, values)
    late(world)
    world.connectors.write(stop)
    assert world.said() == [("StartTransaction", None), ("MeterValues", -1), ("StopTransaction", 77)]
    assert kept_without_id(world) == [1]
    (line,) = [record for record in caplog.records if record.getMessage().startswith("late answer")]
    assert "transactionId -1" in line.getMessage()
    fields = line.__dict__["fields"]
    assert (fields["transaction_id"], fields["without_id"], fields["local_tx_id"]) == (77, 1, "tx")


@pytest.mark.parametrize("again", [Failed("CALLERROR"), None], ids=["failed", "connection lost"])
def test_a_repeat_of_what_went_out_with_minus_one_is_the_same_message(world: World, again: Outcome) -> None:
    """The next message is on its way with -1 when the answer comes; the next but one is not."""
    start, values, stop = session("tx")
    world.link.configure(TransactionMessageAttempts=2, TransactionMessageRetryInterval=1)
    world.link.online()
    world.link.answer = lambda request: SILENCE if isinstance(request.message, StartTransaction) else None
    world.connectors.write(start, values, stop)
    world.advance(2)
    assert world.said()[-1] == ("MeterValues", -1)
    late(world, 1)
    if again is None:
        world.restart_queue()
        world.link.offline()
        world.link.answer = world.central_system
        world.link.online()
    else:
        world.link.answer = world.central_system
        world.link.report(0, again)
    world.advance(5)
    first, *repeats, last = world.sent[2:]
    assert [r.transaction_id for r in (first, *repeats)] == [-1] * (1 + len(repeats))
    assert len(repeats) >= 1
    assert {r.message for r in repeats} == {first.message}
    assert (type(last.message), last.transaction_id) == (StopTransaction, 77)
    assert kept_without_id(world) == [1]
    assert world.rows("messages") == world.rows("dead_letters") == []


def test_it_counts_once_however_often_it_is_told(world: World) -> None:
    """The link tells it again, since nobody acknowledges it."""
    world.link.online()
    world.connectors.write(session("tx")[0])
    for _ in range(4):
        late(world)
    assert [outcome for _, outcome in outcomes(world)[1:]] == [LATE]
    world.restart_queue()
    late(world)
    assert [outcome for _, outcome in outcomes(world)[1:]] == [LATE]


def test_it_counts_after_a_restart_of_the_queue(world: World) -> None:
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.restart_queue()
    late(world)
    assert world.rows("dead_letters") == []
    world.connectors.write(*session("tx")[1:])
    assert world.said()[1:] == [("MeterValues", 77), ("StopTransaction", 77)]


def test_a_commit_that_fails_changes_nothing_and_the_next_telling_does(world: World) -> None:
    """All in one commit: letter, transactionId and journal."""
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.database.execute("CREATE TEMP TRIGGER broken BEFORE INSERT ON journal_out BEGIN SELECT raise(ABORT, 'disk'); END")
    with pytest.raises(Exception, match="disk"):
        late(world)
    world.kill_queue()
    world.start_queue()
    assert len(world.rows("dead_letters")) == 1
    assert world.rows("transactions")[0]["transaction_id"] is None
    late(world)
    assert world.rows("dead_letters") == []
    assert outcomes(world)[-1] == (0, LATE)


def test_a_late_stop_is_settled_and_the_transaction_is_over(world: World) -> None:
    silent_to(world, StopTransaction)
    world.link.online()
    world.connectors.write(*session("tx"))
    (row,) = world.rows("transactions")
    assert row["finished_number"] is None, "its letters may be queued again"
    late(world, 2, Delivered(None, BLOCKED))
    assert world.rows("dead_letters") == world.rows("delivered_without_id") == []
    assert outcomes(world)[-1] == (2, Delivered(None, BLOCKED))
    assert world.rows("transactions")[0]["finished_number"] == 1


def test_a_late_stop_that_went_out_with_minus_one_is_kept_with_the_others(world: World) -> None:
    silent_to(world, StartTransaction, StopTransaction)
    world.link.online()
    world.connectors.write(*session("tx"))
    late(world, 2, Delivered())
    assert kept_without_id(world) == [1, 2]
    assert [row["number"] for row in world.rows("dead_letters")] == [0]


def test_what_went_out_with_minus_one_may_go_again_under_the_id(world: World) -> None:
    """By hand: else nothing could end the transaction at the Central System."""
    silent_to(world, StartTransaction, StopTransaction)
    world.link.online()
    world.connectors.write(*session("tx"))
    late(world)
    world.link.answer = world.central_system
    assert ask(world, QueueTransactionAgain("tx")).changed == 2
    assert world.said()[3:] == [("MeterValues", 77), ("StopTransaction", 77)]
    assert len(set(world.ids())) == len(world.ids()), "another transactionId is another message"
    assert world.rows("dead_letters") == world.rows("delivered_without_id") == []


def test_on_another_board_a_repeat_keeps_minus_one(world: World, tmp_path: Path) -> None:
    world.link.answer = lambda request: SILENCE if isinstance(request.message, StartTransaction) else None
    world.link.online()
    world.connectors.write(*session("tx"))
    late(world)
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other")
    ask(other, TakeInTransaction(msgspec.json.encode(handover.kept(world.database, "tx")).decode()))
    other.link.online()
    assert other.said() == [("MeterValues", -1), ("StopTransaction", 77)]
    assert other.ids()[0] == world.ids()[1]


def test_one_that_is_queued_again_meanwhile_is_settled_in_its_place(world: World) -> None:
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.link.offline()
    ask(world, QueueTransactionAgain("tx"))
    late(world)
    assert world.rows("messages") == world.rows("dead_letters") == []
    assert len(world.sent) == 1
    assert world.rows("transactions")[0]["transaction_id"] == "77"


def queued_behind_another(world: World, *kinds: type) -> None:
    """Of the session tx these were given up, and are queued again while another transaction's start has no answer yet."""
    silent_to(world, *kinds)
    world.link.online()
    world.connectors.write(*session("tx"))
    world.link.answer = lambda _: None
    world.connectors.write(session("other", 300)[0])
    ask(world, QueueTransactionAgain("tx"))


def test_a_start_that_waits_again_brings_the_id_for_what_waits_behind_it(world: World) -> None:
    """It is settled where it waits: a second one would begin a transaction that nothing ends (design §4.10)."""
    queued_behind_another(world, StartTransaction)
    assert [row["local_tx_id"] for row in world.rows("messages")] == ["other", "tx", "tx", "tx"]
    for _ in range(4):
        late(world)
    assert world.states[-1].depth == 3
    assert outcomes(world)[-1] == (0, LATE)
    world.link.answer = world.central_system
    world.link.report(0, Delivered(101))
    assert world.said()[4:] == [("MeterValues", 77), ("StopTransaction", 77)]
    assert [outcome for _, outcome in outcomes(world)].count(LATE) == 1
    assert world.rows("messages") == world.rows("dead_letters") == world.rows("delivered_without_id") == []
    assert world.rows("transactions")[0]["finished_number"] is not None


def test_a_stop_that_waits_again_is_not_sent_again(world: World) -> None:
    queued_behind_another(world, StopTransaction)
    late(world, 2, Delivered(None, BLOCKED))
    assert outcomes(world)[-1] == (2, Delivered(None, BLOCKED))
    assert world.rows("transactions")[0]["finished_number"] == 1
    world.link.answer = world.central_system
    world.link.report(0, Delivered(101))
    world.advance(60)
    assert len(world.sent) == 4
    assert world.rows("messages") == []


def test_an_error_for_what_waits_again_settles_nothing(world: World) -> None:
    queued_behind_another(world, StartTransaction)
    late(world, 0, Failed("CALLERROR"))  # type: ignore[arg-type]
    late(world, 0, Delivered())
    world.link.answer = world.central_system
    world.link.report(0, Delivered(100))
    assert world.said()[4:] == [("StartTransaction", None), ("MeterValues", 101), ("StopTransaction", 101)]
    assert world.ids()[4] != world.ids()[0], "on the same connection (OCPP-J 1.6 §4.1.4)"


def test_the_first_answer_wins_where_it_is_under_way_again(world: World) -> None:
    queued_behind_another(world, StartTransaction)
    world.link.report(0, Delivered(100))
    assert world.said()[4:] == [("StartTransaction", None)]
    late(world)
    world.link.answer = world.central_system
    world.link.report(0, Delivered(88))
    late(world)
    world.link.report(0, Delivered())
    assert world.said()[5:] == [("MeterValues", 77), ("StopTransaction", 77)]
    assert world.rows("transactions")[0]["transaction_id"] == "77"


def test_what_waits_for_its_retry_behind_what_is_queued_again_is_settled_as_well(world: World) -> None:
    """A person's command has put it behind the letter: it is the head no more when its answer comes."""
    silent_to(world, MeterValues)
    world.link.online()
    world.connectors.write(*session("tx")[:2])
    world.link.configure(TransactionMessageAttempts=3, TransactionMessageRetryInterval=60)
    silent_to(world, StopTransaction)
    world.connectors.write(session("tx")[2])
    world.link.answer = lambda _: None
    assert ask(world, QueueTransactionAgain("tx")).changed == 1
    assert [row["number"] for row in world.rows("messages")] == [1, 2]
    late(world, 2, Delivered(None, BLOCKED))
    assert [row["number"] for row in world.rows("messages")] == [1]
    assert outcomes(world)[-1] == (2, Delivered(None, BLOCKED))
    world.link.report(0, Delivered())
    world.advance(300)
    assert [action for action, _ in world.said()] == ["StartTransaction", "MeterValues", "StopTransaction", "MeterValues"]


@pytest.mark.parametrize("outcome", [Failed("CALLERROR"), Delivered()], ids=["an error", "no transactionId"])
def test_what_says_nothing_good_settles_nothing(world: World, outcome: Delivered | Failed) -> None:
    world.link.online()
    world.connectors.write(session("tx")[0])
    late(world, 0, outcome)  # type: ignore[arg-type]
    assert len(world.rows("dead_letters")) == 1
    assert len(world.connectors.outcomes) == 1


def test_a_damaged_letter_is_left_alone(world: World) -> None:
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.database.execute("UPDATE dead_letters SET unique_ids = x'ff'")
    late(world)
    assert len(world.rows("dead_letters")) == 1


def test_only_so_many_ids_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "IDS_KEPT", 3)
    world.link.online()
    for number in range(5):
        world.connectors.write(session(f"tx-{number}", 1 + 10 * number)[0])
    assert [row["local_tx_id"] for row in world.rows("given_up_ids")] == ["tx-2", "tx-3", "tx-4"]
    late(world, 0)
    late(world, 4)
    assert [row["local_tx_id"] for row in world.rows("dead_letters")] == ["tx-0", "tx-1", "tx-2", "tx-3"]
    assert all(json.loads(row["unique_ids"]) for row in world.rows("dead_letters")), "they stay with the letter"


def test_who_sends_it_again_is_told_what_that_means(world: World) -> None:
    world.link.online()
    world.connectors.write(*session("tx"))
    late(world)
    first, *_, last = queue_layout.risk(handover.kept(world.database, "tx"))
    assert "transaction 77" in first
    assert first.endswith(": 2 messages would be sent again.")
    assert last == queue_layout.RISK_OF_LATE
