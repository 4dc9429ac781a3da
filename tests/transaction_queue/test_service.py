"""The queue among its neighbours: real nodes, real SQLite, a fake link, a virtual clock (design §4)."""

import sqlite3

import msgspec
import pytest

from bus.messages import (
    ConnectorState,
    Deliver,
    Delivered,
    DeliveryReport,
    Failed,
    GivenUp,
    IdTagInfo,
    NotSent,
    StartTransaction,
    StopTransaction,
    TransactionEntry,
    TransactionView,
)
from bus.vocabulary import AuthorizationStatus, ChargePointStatus
from services.transaction_queue import service as service_module
from tests.transaction_queue.world import UTC_0_MS, World, meter_values, moment, session, start, stop

WHOLE = [("StartTransaction", None), ("MeterValues", 101), ("StopTransaction", 101)]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def failing(world: World, times: int, action: str = ""):
    """A Central System that fails to process the first `times` messages (of that action)."""
    left = [times]

    def answer(request: Deliver):
        if left[0] and action in ("", type(request.message).__name__):
            left[0] -= 1
            return Failed("CALLERROR InternalError")
        return world.central_system(request)

    return answer


def test_a_transaction_is_delivered_in_order_with_the_central_systems_id(world):
    """OCPP 1.6 §3.7, design §4.1 to §4.4."""
    world.link.online()
    world.connectors.write(*session("tx"))
    assert world.said() == WHOLE
    outcomes = [(entry.number, entry.outcome) for entry in world.connectors.outcomes]
    assert outcomes == [(0, Delivered(transaction_id=101)), (1, Delivered()), (2, Delivered())]
    assert len(set(world.ids())) == 3
    assert world.rows("messages") == []


@pytest.mark.parametrize("transaction_id", [0, -1, -7, 2**31, 2**63 - 1])
def test_any_integer_is_a_valid_transaction_id(world, transaction_id):
    """Field report 2: real Central Systems give 0 and negative ones."""
    world.transaction_ids = iter([transaction_id])
    world.link.online()
    world.connectors.write(*session("tx"))
    assert world.said()[1:] == [("MeterValues", transaction_id), ("StopTransaction", transaction_id)]
    assert world.rows("delivered_without_id") == [], "-1 from the Central System is an id like any other"


def test_what_the_central_system_says_of_the_id_tag_is_journalled_back(world):
    info = IdTagInfo(AuthorizationStatus.BLOCKED, parent_id_tag="PARENT")
    world.link.answer = lambda _: Delivered(transaction_id=5, id_tag_info=info)
    world.link.online()
    world.connectors.write(session("tx")[0])
    assert world.connectors.outcomes[0].outcome == Delivered(transaction_id=5, id_tag_info=info)


def test_stop_waits_for_the_answer_to_its_own_start(world):
    """Field report 1: started offline, stopped online."""
    world.link.answer = lambda _: None
    world.link.online()
    world.connectors.write(*session("tx"))
    assert world.said() == WHOLE[:1]
    world.link.answer = world.central_system
    world.link.report(0, Delivered(transaction_id=77))
    assert world.said() == [("StartTransaction", None), ("MeterValues", 77), ("StopTransaction", 77)]


def test_one_at_a_time_over_the_whole_station(world):
    """OCPP 1.6 §3.7: chronological order, over all connectors."""
    world.link.answer = lambda _: None
    world.link.online()
    world.connectors.write(session("a")[0], session("b")[0], *session("a")[1:], *session("b")[1:])
    assert len(world.sent) == 1
    for _ in range(6):
        world.link.report(0, Delivered(transaction_id=len(world.sent)))
    assert [request.transaction_id for request in world.sent] == [None, None, 1, 1, 2, 2]


def test_failed_is_repeated_after_interval_times_attempts_then_given_up(world):
    """OCPP 1.6 §3.7.1: the specification's own example, three attempts and 60 seconds; errata v4.0 3.18 for the rest."""
    world.link.answer = failing(world, 3)
    world.link.configure(TransactionMessageAttempts=3, TransactionMessageRetryInterval=60)
    world.link.online()
    world.connectors.write(*session("tx"))
    assert len(world.sent) == 1
    world.advance(59)
    assert len(world.sent) == 1
    world.advance(2)
    assert len(world.sent) == 2
    world.advance(118)
    assert len(world.sent) == 2, "nothing overtakes the message that waits"
    world.advance(2)
    assert world.said() == [("StartTransaction", None)] * 3 + [("MeterValues", -1), ("StopTransaction", -1)]
    assert isinstance(world.connectors.outcomes[0].outcome, GivenUp)
    assert [entry.outcome for entry in world.connectors.outcomes[1:]] == [Delivered(), Delivered()]


def test_a_dead_letter_keeps_payload_attempts_reasons_and_ids(world):
    """Field report 7, 8: parked rows are kept, never deleted, and people are told."""
    world.link.answer = failing(world, 3, "StopTransaction")
    world.link.configure(TransactionMessageRetryInterval=1)
    world.link.online()
    world.connectors.write(*session("tx"), *session("next", 300))
    world.advance(10)
    (letter,) = world.rows("dead_letters")
    assert (letter["action"], letter["attempts"], letter["local_tx_id"]) == ("StopTransaction", 3, "tx")
    assert msgspec.json.decode(letter["payload"])["meter_stop_wh"] == 2000
    assert len(msgspec.json.decode(letter["unique_ids"])) == 3
    assert [f["reason"] for f in msgspec.json.decode(letter["failures"])] == ["CALLERROR InternalError"] * 3
    assert world.said()[-3:] == [("StartTransaction", None), ("MeterValues", 102), ("StopTransaction", 102)]
    assert "given up and are kept: 1" in world.problems["dead_letters"]
    world.restart_queue()
    assert "dead_letters" in world.problems


def test_what_went_out_without_an_id_is_kept_for_a_whole_repeat(world):
    """Design §4.6: a given-up transaction can be queued again only whole."""
    world.link.answer = failing(world, 1)
    world.link.configure(TransactionMessageAttempts=1)
    world.link.online()
    world.connectors.write(*session("tx"))
    kept = [(row["number"], row["action"]) for row in world.rows("delivered_without_id")]
    assert kept == [(1, "MeterValues"), (2, "StopTransaction")]


def test_a_repeat_on_the_same_connection_has_a_new_id_and_the_same_content(world):
    """OCPP-J 1.6 §4.1.4, design §4.10, field report 6 and 16."""
    world.link.answer = failing(world, 2)
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.advance(200)
    assert len(world.sent) == 3
    assert len(set(world.ids())) == 3
    assert len({msgspec.json.encode(request.message) for request in world.sent}) == 1


def test_a_repeat_on_a_new_connection_keeps_the_id(world):
    """Design §4.10: a Central System that stored the first copy can tell."""
    world.link.answer = failing(world, 1)
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.link.offline()
    world.link.online()
    world.advance(61)
    assert len(world.sent) == 2
    assert world.sent[0] == world.sent[1]


def test_connections_of_another_application_boot_are_other_connections(world):
    """Numbers begin anew with `station run`, so 1 is not the same connection as 1."""
    world.link.answer = failing(world, 1)
    world.link.online(1)
    world.connectors.write(session("tx")[0])
    world.kill_queue()
    world.run_id = "run-2"
    world.start_link().online(1)
    world.start_queue()
    world.advance(61)
    assert world.sent[0] == world.sent[1]


def test_a_cut_connection_costs_no_attempt_and_keeps_the_id(world):
    """Design §4.7; issue 4: three cut connections on the same message cost it nothing."""
    world.link.answer = lambda _: None
    world.link.online()
    world.connectors.write(session("tx")[0])
    for _ in range(3):
        world.link.report(0, NotSent("connection lost"))
        world.link.offline()
        world.link.online()
    assert len(world.sent) == 4
    assert len(set(world.ids())) == 1
    assert world.rows("messages")[0]["attempts"] == 0


def test_a_refusal_for_want_of_acceptance_costs_no_attempt_and_the_repeat_has_a_new_id(world):
    """OCPP-J errata 3.8, design §4.5: SecurityError; the Central System has answered that id on this connection."""
    world.link.answer = lambda _: NotSent("SecurityError")
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.link.pending()
    world.advance(60)
    assert len(world.sent) == 1
    world.link.answer = world.central_system
    world.link.online(world.link.connection)
    assert len(world.sent) == 2
    assert len(set(world.ids())) == 2
    assert [entry.outcome for entry in world.connectors.outcomes] == [Delivered(transaction_id=101)]


def test_a_link_that_is_online_and_does_not_send_is_not_asked_in_a_loop(world):
    world.link.answer = lambda _: NotSent("cannot")
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.advance(60)
    assert 5 <= len(world.sent) <= 12


def test_a_month_offline_costs_no_attempt_and_loses_nothing(world):
    """Design §4.7, field report 8."""
    world.link.online()
    world.link.offline()
    world.connectors.write(*session("tx"))
    world.advance(3600)
    world.now_s += 30 * 86400.0
    world.advance(10)
    assert world.sent == []
    assert [row["attempts"] for row in world.rows("messages")] == [0, 0, 0]
    world.link.online()
    assert world.said() == WHOLE


def test_nothing_is_sent_before_accepted(world):
    """Design §4.9."""
    world.link.connection = 1
    world.link.pending()
    world.connectors.write(*session("tx"))
    world.advance(60)
    assert world.sent == []
    world.link.online(1)
    assert world.said() == WHOLE


def test_the_link_dies_with_a_message_in_flight(world):
    """Link unknown: no attempt, the same id goes out on the next connection."""
    world.link.answer = lambda _: None
    world.link.online()
    world.connectors.write(*session("tx"))
    world.kill_link()
    world.advance(30)
    assert world.states[-1].detail == "offline"
    world.start_link().online(2)
    assert world.sent[0] == world.sent[1]
    assert world.said()[1:] == WHOLE
    assert [row["attempts"] for row in world.rows("messages")] == []


def test_a_link_restarted_faster_than_anybody_notices_is_asked_again_under_the_same_id(world):
    world.link.answer = lambda _: None
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.start_link().online(2)
    assert world.sent[0] == world.sent[1]
    assert world.connectors.outcomes[0].outcome == Delivered(transaction_id=101)


def test_the_queue_dies_with_a_message_in_flight_and_asks_again_under_the_same_id(world):
    """The id is committed before the link is asked (design §4.2); the link then gives the outcome that it has."""
    world.link.answer = lambda _: None
    world.link.online()
    world.connectors.write(*session("tx"))
    world.kill_queue()
    world.link.answer = world.central_system
    world.start_queue()
    assert world.said() == WHOLE[:1] + WHOLE
    assert world.sent[0] == world.sent[1]


def test_the_queue_can_die_after_any_message(world):
    """Restarts between any two deliveries: each message reaches the Central System once, in order."""
    world.link.answer = lambda _: None
    world.link.online()
    world.connectors.write(*session("tx"))
    for transaction_id in (9, None, None):
        world.restart_queue()
        world.link.report(-1, Delivered(transaction_id=transaction_id))
        world.restart_queue()
    unique = dict.fromkeys((request.unique_id, type(request.message).__name__) for request in world.sent)
    assert [action for _, action in unique] == ["StartTransaction", "MeterValues", "StopTransaction"]
    assert [entry.number for entry in world.connectors.outcomes] == [0, 1, 2]


def test_attempts_and_due_times_survive_a_restart(world):
    """Design §4.6: a restart resets nothing."""
    world.link.answer = failing(world, 9)
    world.link.configure(TransactionMessageAttempts=3)
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.advance(61)
    assert len(world.sent) == 2
    world.advance(60)
    world.restart_queue()
    assert len(world.sent) == 2
    world.advance(61)
    assert len(world.sent) == 3
    assert world.rows("dead_letters")[0]["attempts"] == 3


def test_no_report_in_time_is_not_an_attempt(world):
    """MessageTimeout × 3 + 15 s, then the link is asked again under the same id."""
    world.link.answer = lambda _: None
    world.link.configure(MessageTimeout=10)
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.advance(44)
    assert len(world.sent) == 1
    world.advance(10)
    assert len(world.sent) == 2
    assert world.sent[0] == world.sent[1]
    assert world.link.cancelled, "what may still happen is taken back"
    assert world.rows("messages")[0]["attempts"] == 0


def test_a_late_answer_counts_and_ends_the_wait_for_the_retry(world):
    """Field report 9: accept a late answer for a row still unacknowledged."""
    world.link.answer = lambda _: Failed("no answer")
    world.link.online()
    world.connectors.write(session("tx")[0])
    late = DeliveryReport(world.ids()[0], Delivered(transaction_id=55), connection=1)
    world.link.node.emit(late)
    world.settle()
    assert world.connectors.outcomes[0].outcome == Delivered(transaction_id=55)
    assert world.rows("messages") == []
    world.link.node.emit(late)
    world.settle()
    assert len(world.connectors.outcomes) == 1


def test_a_start_answered_without_a_transaction_id_has_failed(world):
    """Field reports §2 25: a bad answer counts as failure to process."""
    world.link.answer = lambda _: Delivered()
    world.link.configure(TransactionMessageAttempts=1)
    world.link.online()
    world.connectors.write(session("tx")[0])
    assert "without a transactionId" in world.rows("dead_letters")[0]["reason"]


@pytest.mark.parametrize("attempts", [0, 1])
def test_attempts_zero_and_one_mean_a_single_transmission(world, attempts):
    world.link.answer = failing(world, 1)
    world.link.configure(TransactionMessageAttempts=attempts)
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.advance(500)
    assert len(world.sent) == 1
    assert isinstance(world.connectors.outcomes[0].outcome, GivenUp)


def test_interval_zero_repeats_at_once(world):
    world.link.answer = failing(world, 2)
    world.link.configure(TransactionMessageRetryInterval=0)
    world.link.online()
    world.connectors.write(*session("tx"))
    assert world.said() == [("StartTransaction", None)] * 2 + WHOLE
    assert len(set(world.ids())) == 5


def test_a_changed_interval_holds_for_the_retry_that_waits(world):
    world.link.answer = failing(world, 1)
    world.link.configure(TransactionMessageRetryInterval=3600)
    world.link.online()
    world.connectors.write(session("tx")[0])
    world.advance(100)
    assert len(world.sent) == 1
    world.link.configure(TransactionMessageRetryInterval=120)
    assert len(world.sent) == 1
    world.advance(21)
    assert len(world.sent) == 2


def test_lowered_attempts_give_up_the_message_that_waits(world):
    world.link.answer = failing(world, 2)
    world.link.configure(TransactionMessageAttempts=5)
    world.link.online()
    world.connectors.write(*session("tx"))
    world.advance(61)
    world.link.configure(TransactionMessageAttempts=2)
    assert world.said()[2:] == [("MeterValues", -1), ("StopTransaction", -1)]


def test_the_configuration_on_disk_holds_until_the_link_speaks(tmp_path):
    """Design §2: a dead link does not decide."""
    world = World(tmp_path, configuration={"TransactionMessageAttempts": "1"})
    world.link.answer = failing(world, 1)
    world.link.online()
    world.connectors.write(session("tx")[0])
    assert len(world.rows("dead_letters")) == 1


def test_messages_wait_for_the_clock_and_get_their_true_time(world):
    """Design §5, field report 27: nothing goes out dated 1970."""
    world.link.online()
    world.connectors.write(*session("tx", known=False))
    assert world.sent == []
    world.advance(1)
    assert world.states[-1].detail == "the time is not known yet"
    world.link.clock()
    assert world.said() == WHOLE
    begin, end = world.sent[0].message, world.sent[2].message
    assert isinstance(begin, StartTransaction)
    assert isinstance(end, StopTransaction)
    assert begin.at.utc_ms == UTC_0_MS + 1000
    assert end.at.utc_ms == UTC_0_MS + 121_000


def test_a_later_message_may_bring_the_time_before_the_clock_does(world):
    """`connectors` may hear of the clock first: its next message tells this boot's offset, and the head waits no more."""
    world.link.online()
    world.connectors.write(*session("tx", known=False)[:2])
    assert world.sent == []
    world.connectors.write(session("tx")[2])
    assert world.said() == WHOLE
    assert world.sent[0].message.at.utc_ms == UTC_0_MS + 1000


def test_a_time_that_was_once_sent_stays_the_same(world):
    """Design §4.10: the same message, byte for byte, whatever the clock has become since."""
    world.link.answer = failing(world, 1)
    world.link.online()
    world.link.clock()
    world.connectors.write(session("tx", known=False)[0])
    world.link.clock(UTC_0_MS / 1000 + 5000)
    world.restart_queue()
    world.advance(61)
    assert len(world.sent) == 2
    assert world.sent[0].message == world.sent[1].message


def test_a_boot_that_never_knew_the_time_is_told_before_the_next_one(world):
    """Design §5: estimated, order and durations kept, marked."""
    world.link.online()
    world.connectors.write(*session("tx", 900, known=False))
    world.reboot("boot-b")
    world.link.online()
    world.connectors.write(*session("tx2", 5, boot_id="boot-b", known=False))
    assert world.sent == []
    world.link.clock()
    times = [request.message.at.utc_ms for request in world.sent if not hasattr(request.message, "meter_values")]
    stops = [request.message.at.utc_ms for request in world.sent if isinstance(request.message, StopTransaction)]
    assert stops[0] - times[0] == 120_000
    assert stops[0] < UTC_0_MS + 5000 == times[1]
    assert len(world.sent) == 6


def test_the_offset_of_an_earlier_boot_is_remembered(world):
    """Design §5: every service persists the last one."""
    world.link.clock()
    world.connectors.write(*session("tx", known=False))
    world.reboot("boot-b")
    world.link.online()
    assert world.said() == WHOLE, "no clock is needed for what another boot knew"
    assert world.sent[0].message.at.utc_ms == UTC_0_MS + 1000


def test_a_step_of_the_clock_during_a_transaction_changes_no_duration(world):
    """Design §5: steps, backwards ones too, change no interval and no order."""
    year_ms = 365 * 86_400_000
    world.link.online()
    world.connectors.write(
        TransactionEntry("tx", 0, start(moment(10))),
        TransactionEntry("tx", 1, stop(moment(100, offset_ms=UTC_0_MS - year_ms))),
    )
    assert world.sent[1].message.at.utc_ms - world.sent[0].message.at.utc_ms == 90_000


def test_the_clock_is_written_only_when_it_changes(world):
    """No disk writes while idle (design §8)."""
    world.link.online()
    world.link.clock()
    before = world.database.total_changes
    for second in range(10):
        world.link.clock(UTC_0_MS / 1000 + 0.04 * second)
    world.advance(120)
    assert world.database.total_changes == before


def test_idle_after_work_writes_once_to_forget_and_never_again(world):
    world.link.online()
    world.connectors.write(*session("tx"))
    world.advance(30)
    assert world.rows("journal_out") == []
    before = world.database.total_changes
    world.advance(600)
    assert world.database.total_changes == before


def test_repeated_journal_entries_are_ignored_even_when_delivered(world):
    """Design §3: recognised by what is in them. Field report 4."""
    world.link.online()
    world.connectors.write(*session("tx"))
    world.connectors.begin_incarnation()
    assert world.said() == WHOLE
    assert world.rows("messages") == []


def test_repeated_journal_entries_are_ignored_while_pending(world):
    world.connectors.write(*session("tx"))
    world.connectors.begin_incarnation()
    assert [row["number"] for row in world.rows("messages")] == [0, 1, 2]


def test_a_broken_rule_raises_an_alarm_and_is_delivered(world):
    """field-reports.md §2: check before commit, alarm on breach, never refuse."""
    world.link.online()
    world.connectors.write(
        TransactionEntry("tx", 0, start(moment(100), 5000)), TransactionEntry("tx", 1, stop(moment(50), 4000))
    )
    assert len(world.sent) == 2
    assert "stopped before it started" in world.problems["alarm"]


def test_a_damaged_row_is_set_aside_and_the_next_goes(world):
    """Field report 15: one bad row can't stop the process from starting."""
    world.connectors.write(*session("a"), *session("b", 300))
    world.database.execute("UPDATE messages SET payload = CAST(x'7bff00' AS TEXT) WHERE local_tx_id = 'a' AND number = 1")
    world.database.execute("UPDATE messages SET attempts = 'many' WHERE local_tx_id = 'b' AND number = 1")
    world.connectors.forget_all()
    world.restart_queue()
    world.link.online()
    world.advance(150)
    assert world.said() == [
        ("StartTransaction", None),
        ("StopTransaction", 101),
        ("StartTransaction", None),
        ("StopTransaction", 102),
    ]
    assert "can't be read and are kept: 2" in world.problems["quarantine"]


def test_a_damaged_start_leaves_its_transaction_without_an_id(world):
    """Errata v4.0 3.18: the start can't be delivered any more."""
    world.connectors.write(*session("a"))
    world.database.execute("UPDATE messages SET payload = '{' WHERE number = 0")
    world.connectors.forget_all()
    world.restart_queue()
    world.link.online()
    world.advance(59)
    assert world.sent == [], "it may come again"
    world.advance(2)
    assert world.said() == [("MeterValues", -1), ("StopTransaction", -1)]


def test_a_message_without_its_start_waits_for_connectors_to_tell_the_id(world):
    """Design §3: a lost transactions.db; `connectors` keeps what is not delivered, and knows the transactionId."""
    world.link.online()
    world.connectors.write(session("tx")[1])
    assert world.sent == []
    view = TransactionView("tx", "TAG", moment(1), 1000, transaction_id=42)
    state = ConnectorState(1, ChargePointStatus.CHARGING, moment(1), transaction=view)
    world.connectors.node.publish(state, "1")
    world.settle()
    assert world.said() == [("MeterValues", 42)]


def test_a_message_whose_id_nobody_knows_is_kept_and_blocks_nothing(world):
    world.link.online()
    world.connectors.write(*session("lost")[1:], *session("tx", 300))
    world.advance(29)
    assert world.sent == []
    world.advance(2)
    assert world.said() == WHOLE
    assert [row["number"] for row in world.rows("dead_letters")] == [1, 2]


def test_many_given_up_at_once_are_worked_off(world, monkeypatch):
    monkeypatch.setattr(service_module, "HEADS_PER_COMMIT_MAX", 3)
    entries = [TransactionEntry("lost", n, meter_values(moment(n))) for n in range(1, 20)]
    world.link.online()
    world.connectors.write(*entries, *session("tx", 300))
    world.advance(32)
    assert len(world.rows("dead_letters")) == 19
    assert world.said() == WHOLE


def test_the_queues_state_tells_depth_and_the_oldest(world):
    world.connectors.write(*session("tx"))
    world.advance(1)
    assert world.states[-1].depth == 3
    assert world.states[-1].oldest_at.boottime_ms == 1_000_000
    assert world.states[-1].detail == "offline"
    world.link.online()
    world.advance(1)
    assert (world.states[-1].depth, world.states[-1].oldest_at, world.states[-1].detail) == (0, None, "")


def test_a_message_that_waits_for_ten_minutes_online_is_a_problem(world):
    """Field report 14: watchdog when rows age while connected."""
    world.link.answer = lambda _: NotSent("cannot")
    world.connectors.write(session("tx")[0])
    world.advance(3600)
    assert "stalled" not in world.problems, "offline is no problem of the queue"
    world.link.online()
    world.advance(590)
    assert "stalled" not in world.problems
    world.advance(20)
    assert "stalled" in world.problems
    world.link.answer = world.central_system
    world.advance(20)
    assert "stalled" not in world.problems


def test_a_failed_commit_ends_the_process_and_nothing_is_lost(world):
    """The disk refuses: the exception goes up, supervisord starts the service again (style §6)."""
    world.link.online()
    world.connectors.write(*session("tx")[:1])
    world.link.answer = lambda _: None
    world.connectors.write(*session("tx")[1:])
    world.database.execute("PRAGMA query_only = 1")
    with pytest.raises(sqlite3.OperationalError):
        world.link.report(0, Delivered())
    world.kill_queue()
    world.link.answer = world.central_system
    world.start_queue()
    assert world.said() == [WHOLE[0], WHOLE[1], WHOLE[1], WHOLE[2]]
    assert world.sent[1] == world.sent[2]


def test_a_backlog_drains_with_one_commit_for_each_message(world):
    """Design §8: the outcome of one and the id of the next are one commit."""
    entries = [TransactionEntry("tx", n, meter_values(moment(n))) for n in range(1, 60)]
    world.connectors.write(session("tx")[0], *entries)
    commits: list[str] = []
    world.database.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
    world.link.online()
    world.database.set_trace_callback(None)
    assert len(world.sent) == 60
    assert len(commits) == 61
