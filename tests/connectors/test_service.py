"""The service among real nodes with a real database (design §3): whole sessions, and deaths at every effect of one."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bus.calls import Reply
from bus.database import transaction
from bus.messages import (
    CloseLostTransaction,
    ConfigurationState,
    IdTagInfo,
    MeterState,
    MeterValue,
    MeterValues,
    RemoteStartStopAnswer,
    RemoteStartTransaction,
    RemoteStopTransaction,
    Reset,
    ResetReady,
    StartTransaction,
    StopTransaction,
    TransactionEntry,
    UnlockConnector,
    UnlockConnectorAnswer,
)
from bus.queue_messages import LostTransactionAnswer
from bus.vocabulary import (
    AuthorizationStatus,
    ChargePointErrorCode,
    ReadingContext,
    Reason,
    RemoteStartStopStatus,
    ResetType,
    UnlockStatus,
)
from services.connectors import events as e
from services.connectors.state import Running
from tests.bus.rig import copy_database
from tests.connectors.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def charging(world: World) -> World:
    world.plants[1].plug_in()
    world.advance(1)
    world.card()
    world.advance(20)
    assert status(world) == "Charging"
    return world


def status(world: World, number: int = 1) -> str | None:
    shown = world.shown(number)
    return None if shown is None else shown.status


def messages(world: World) -> list[object]:
    return [entry.message for entry in world.queue.entries]


def test_a_whole_session_reaches_the_queue_once_and_in_order(world: World) -> None:
    """Issue: the main job, from the reader's event to the journal; nothing is kept once it is delivered."""
    charging(world)
    world.advance(60)
    world.card()
    world.advance(5)
    world.plants[1].unplug()
    world.advance(3)
    entries = world.queue.entries
    assert [entry.number for entry in entries] == list(range(len(entries)))
    assert [type(m).__name__ for m in messages(world)] == ["StartTransaction", "MeterValues", "StopTransaction"]
    stop = entries[-1].message
    assert isinstance(stop, StopTransaction)
    assert stop.meter_stop_wh == int(world.plants[1].register_wh)
    assert stop.at.utc_ms is not None
    assert status(world) == "Available"
    assert world.database.execute("SELECT count(*) FROM journal_out").fetchone() == (0,)
    assert world.database.execute("SELECT count(*) FROM transactions").fetchone() == (0,)


def test_unlock_connector_is_answered_when_the_lock_has_moved(tmp_path: Path) -> None:
    """OCPP 1.6 §5.18: the transaction is finished first, so the answer comes in a later step."""
    world = charging(World(tmp_path, socket=True))
    replies = world.call(UnlockConnector(1))
    assert replies == []
    world.advance(5)
    (reply,) = replies
    assert isinstance(reply, Reply)
    assert reply.value == UnlockConnectorAnswer(UnlockStatus.UNLOCKED)
    assert [type(m).__name__ for m in messages(world)][-1] == "StopTransaction"
    assert not world.plants[1].locked


def test_an_unlock_connector_that_nobody_waits_for_any_more_is_not_answered(tmp_path: Path) -> None:
    """Design §3: the caller takes back what it was told nothing about; the cable is let go all the same."""
    world = charging(World(tmp_path, socket=True))
    replies: list[Reply] = []
    world.link.call(UnlockConnector(1), timeout_s=0.5, on_reply=replies.append)
    world.advance(5)
    assert [reply.timed_out for reply in replies] == [True]
    assert not world.plants[1].locked


def test_remote_start_and_stop_are_answered_and_done(world: World) -> None:
    """OCPP 1.6 §5.11, §5.12."""
    world.plants[1].plug_in()
    world.advance(1)
    (reply,) = world.call(RemoteStartTransaction("APP", 1))
    assert isinstance(reply, Reply)
    assert reply.value == RemoteStartStopAnswer(RemoteStartStopStatus.ACCEPTED)
    world.advance(10)
    assert status(world) == "Charging"
    assert world.authorized == ["APP"]
    (reply,) = world.call(RemoteStopTransaction(4711))
    assert isinstance(reply, Reply)
    assert reply.value == RemoteStartStopAnswer(RemoteStartStopStatus.ACCEPTED)
    world.advance(5)
    stop = messages(world)[-1]
    assert isinstance(stop, StopTransaction)
    assert stop.reason is Reason.REMOTE


def test_reset_is_answered_then_ready_is_published(world: World) -> None:
    """OCPP 1.6 §5.14."""
    world.link.watch(ResetReady, lambda _, __: None)
    charging(world)
    (reply,) = world.call(Reset(ResetType.SOFT))
    assert isinstance(reply, Reply)
    assert reply.error is None
    world.advance(5)
    assert world.link.latest(ResetReady) == ResetReady(ResetType.SOFT, ready=True)


def test_a_refusal_in_start_transaction_conf_stops_the_transaction(world: World) -> None:
    """OCPP 1.6 §4.8, through both journals."""
    world.queue.info = IdTagInfo(AuthorizationStatus.BLOCKED)
    world.plants[1].plug_in()
    world.advance(1)
    world.card()
    world.advance(10)
    stop = messages(world)[-1]
    assert isinstance(stop, StopTransaction)
    assert stop.reason is Reason.DE_AUTHORIZED
    assert world.database.execute("SELECT count(*) FROM journal_out").fetchone() == (0,)


def test_an_authorize_without_answer_is_decided_by_the_offline_rules(tmp_path: Path) -> None:
    """OCPP 1.6 §3.5; MessageTimeout and a little more."""
    world = World(tmp_path, configuration={"AllowOfflineTxForUnknownId": "true", "MessageTimeout": "5"})
    world.answers_authorize = False
    world.plants[1].plug_in()
    world.advance(1)
    world.card()
    world.advance(6)
    assert status(world) == "Preparing"
    world.advance(5)
    assert status(world) == "Charging"


def test_a_start_is_refused_when_the_meter_does_not_answer(world: World) -> None:
    """Design §4.1."""
    world.plants[1].plug_in()
    world.advance(1)
    world.plants[1].meter_answers = False
    world.card()
    world.advance(5)
    assert messages(world) == []
    assert status(world) == "Preparing"


def test_entries_wait_while_the_queue_is_down_and_are_handed_over_in_order(world: World) -> None:
    """Design §2: queue down, charging goes on."""
    node = world.nodes.pop("transaction_queue")
    charging(world)
    world.card()
    world.advance(20)
    assert messages(world) == []
    assert world.database.execute("SELECT count(*) FROM journal_out").fetchone() == (2,)
    world.nodes["transaction_queue"] = node
    world.advance(20)
    assert [type(m).__name__ for m in messages(world)] == ["StartTransaction", "StopTransaction"]


def test_messages_bear_the_transaction_id_once_it_is_known(world: World) -> None:
    """Design §3: a queue that loses its store is filled again, by messages whose StartTransaction is long delivered.

    Found by simulation (seed 7): their stop was given up, as nobody knew its transactionId any more.
    """
    world.queue.delivers = False
    charging(world)
    world.card()
    world.advance(4)
    assert [entry.transaction_id for entry in kept(world)] == [None, None]
    world.queue.deliver_next()
    world.advance(1)
    assert [(entry.number, entry.transaction_id) for entry in kept(world)] == [(1, 4711)], "of a stop that waits"
    world.plants[1].unplug()
    world.advance(2)
    charging(world)
    world.queue.deliver_next()
    world.queue.deliver_next()
    world.advance(1)
    world.card()
    world.advance(4)
    assert [(entry.number, entry.transaction_id) for entry in kept(world)] == [(1, 4711)], "of a stop that comes after"


def test_a_transaction_that_was_closed_here_is_not_lost_whatever_the_queue_says(world: World) -> None:
    """Design §3: an older copy of the queue's database takes for open what is long closed and delivered.

    Found by simulation (seed 58): it got a second stop, with reason PowerLoss.
    """
    charging(world)
    world.card()
    world.advance(4)
    assert kept(world) == []
    start = world.queue.entries[0].message
    assert isinstance(start, StartTransaction)
    name, wh = world.queue.entries[0].local_tx_id, start.meter_start_wh
    replies: list[Reply] = []
    for _ in range(2):
        world.queue.call(CloseLostTransaction(name, 1, start.id_tag, start.at, wh, wh, start.at, 2), replies.append)
        world.advance(2)
        world.kill()
        world.advance(2)
    assert [reply.value for reply in replies] == [LostTransactionAnswer(lost=False)] * 2
    assert [type(m).__name__ for m in messages(world)] == ["StartTransaction", "StopTransaction"]


def go_on_with_an_older_copy(world: World, copied: Path) -> None:
    """The process ends, and its database is replaced by a copy from before."""
    world.kill()
    world.database.close()
    for file in world.directory.glob("connectors.db*"):
        file.unlink()
    (world.directory / "connectors.db").write_bytes(copied.read_bytes())
    world.advance(30)


def test_outcomes_that_come_together_count_one_after_the_other(world: World) -> None:
    """The transactionId and the end of a whole session in one commit; nothing is kept, and the connector is free."""
    world.queue.delivers = False
    charging(world)
    world.advance(60)
    world.card()
    world.advance(5)
    waiting = len(world.queue.waiting)
    assert waiting >= 3
    for _ in range(waiting):
        world.queue.deliver_next()
    frames = world.nodes["transaction_queue"].take_outgoing()
    statements: list[str] = []
    world.database.set_trace_callback(statements.append)
    world.nodes["connectors"].receive_all(list(frame) for frame in frames)
    world.database.set_trace_callback(None)
    assert statements.count("COMMIT") == 1
    assert world.database.execute("SELECT count(*) FROM journal_out").fetchone() == (0,)
    assert status(world) == "Finishing"


def test_a_transaction_that_an_older_copy_has_open_does_not_go_on(world: World, tmp_path: Path) -> None:
    """Design §3: stopped and delivered since the copy was made, with the plug still in: it would charge for nothing.

    Found by simulation (seed 43523).
    """
    charging(world)
    copied = tmp_path / "copied.db"
    copy_database(world.database, copied)
    world.card()
    world.advance(4)
    stop = messages(world)[-1]
    assert isinstance(stop, StopTransaction)
    go_on_with_an_older_copy(world, copied)
    assert int(world.plants[1].register_wh) == stop.meter_stop_wh
    assert (status(world), messages(world)[-1]) == ("Finishing", stop)
    world.kill()
    world.advance(5)
    assert status(world) == "Finishing"
    world.card("OTHER")
    world.advance(10)
    assert (status(world), type(messages(world)[-1]).__name__) == ("Charging", "StartTransaction")


def test_a_transaction_that_is_open_in_an_older_copy_and_in_truth_gets_its_stop_from_the_queue(
    world: World, tmp_path: Path
) -> None:
    """Design §3: what the copy would go on with has numbers that the queue has seen already."""
    charging(world)
    copied = tmp_path / "copied.db"
    copy_database(world.database, copied)
    world.advance(120)
    start, last = world.queue.entries[0], world.queue.entries[-1]
    assert isinstance(start.message, StartTransaction)
    assert isinstance(last.message, MeterValues)
    go_on_with_an_older_copy(world, copied)
    assert not world.plants[1].desired.energy_allowed
    name, wh, at = start.local_tx_id, start.message.meter_start_wh, start.message.at
    replies: list[Reply] = []
    asked = CloseLostTransaction(name, 1, start.message.id_tag, at, wh, wh, at, last.number + 1)
    world.queue.call(asked, replies.append)
    world.advance(5)
    assert [reply.value for reply in replies] == [LostTransactionAnswer(lost=True)]
    stop = world.queue.entries[-1]
    assert isinstance(stop.message, StopTransaction)
    assert (stop.local_tx_id, stop.number) == (name, last.number + 1)
    assert stop.message.meter_stop_wh == int(world.plants[1].register_wh)


def test_messages_tell_that_their_start_was_given_up(world: World) -> None:
    """Design §3 and OCPP 1.6 errata v4.0 3.18: a queue that has lost its store goes on with -1 all the same.

    Found by simulation: the StopTransaction was given up too, as nobody knew any more that no transactionId was to come.
    """
    world.queue.delivers = False
    charging(world)
    world.card()
    world.advance(4)
    world.queue.give_up_next()
    world.advance(1)
    assert [(entry.number, entry.start_given_up) for entry in kept(world)] == [(1, True)], "of a stop that waits"
    world.queue.deliver_next()
    world.plants[1].unplug()
    world.advance(2)
    charging(world)
    world.queue.give_up_next()
    world.advance(1)
    world.card()
    world.advance(4)
    assert [(entry.number, entry.start_given_up) for entry in kept(world)] == [(1, True)], "of a stop that comes after"


def test_a_start_that_is_queued_again_by_hand_brings_its_transaction_id(world: World) -> None:
    """Design §4.6: its start, then the rest under the new id."""
    world.queue.delivers = False
    charging(world)
    start = world.queue.waiting[0]
    world.queue.give_up_next()
    world.advance(1)
    world.queue.waiting.append(start)
    world.queue.deliver_next()
    world.advance(1)
    world.card()
    world.advance(4)
    assert [(entry.transaction_id, entry.start_given_up) for entry in kept(world)] == [(4711, False)]


def test_what_follows_a_start_tells_when_that_was(world: World) -> None:
    """Design §3, §5: a queue that has lost its store keeps the distances to it, though the clock was stepped since."""
    world.link.publish(ConfigurationState({"MeterValueSampleInterval": "5"}))
    world.queue.delivers = False
    charging(world)
    world.advance(15)
    world.card()
    world.advance(4)
    start, *others = kept(world)
    assert isinstance(start.message, StartTransaction)
    assert len(others) > 1
    assert start.started_at is None
    assert {entry.started_at for entry in others} == {start.message.at}


def kept(world: World) -> list[TransactionEntry]:
    """What the outbox has for the queue."""
    rows = world.database.execute("SELECT payload FROM journal_out ORDER BY seq").fetchall()
    return [msgspec.json.decode(payload, type=TransactionEntry) for (payload,) in rows]


def test_a_meter_service_that_falls_silent_is_reported_and_survived(world: World) -> None:
    """Design §2: PowerMeterFailure."""
    charging(world)
    world.plants[1].meter_answers = False
    world.advance(1)
    world.meter._state_out._due_s.clear()  # its process is gone: nothing is refreshed any more
    world.advance(20)
    shown = world.shown()
    assert shown is not None
    assert (shown.status, shown.error_code) == ("Charging", ChargePointErrorCode.POWER_METER_FAILURE)


def test_services_that_never_say_a_word_are_reported(tmp_path: Path) -> None:
    """Design §2: rfid or meter down from the start is as wrong as later."""
    world = World(tmp_path)
    world.kill()
    world.nodes.pop("meter")
    world.nodes.pop("rfid")
    world.advance(20)
    shown, whole = world.shown(1), world.shown(0)
    assert shown is not None
    assert whole is not None
    assert shown.error_code is ChargePointErrorCode.POWER_METER_FAILURE
    assert whole.error_code is ChargePointErrorCode.READER_FAILURE
    assert status(world) == "Available"


def test_a_nonsense_key_on_the_bus_is_survived(world: World) -> None:
    world.meter.publish(MeterState(1), "x")
    world.advance(30)
    world.meter._state_out._due_s.pop("meter.state.x.")
    world.advance(30)
    assert status(world) == "Available"


def test_configuration_from_the_bus_takes_effect(world: World) -> None:
    """Field report 24."""
    charging(world)
    world.link.publish(ConfigurationState({"MeterValueSampleInterval": "5"}))
    world.advance(21)
    assert len(world.queue.entries) >= 4


def test_a_commit_that_fails_changes_nothing_but_an_ordinary_stop_still_opens(world: World) -> None:
    """Design §3: safety does not depend on the disk; and what is not on disk has not happened."""
    charging(world)
    assert world.service is not None
    world.database.execute("CREATE TRIGGER full BEFORE INSERT ON transactions BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    before = world.service._state
    with pytest.raises(sqlite3.Error):
        world.service.feed(e.CardPresented("TAG"))
    assert not world.plants[1].desired.energy_allowed
    assert world.service._state == before
    world.database.execute("DROP TRIGGER full")
    world.kill()
    world.advance(10)
    assert status(world) == "Charging", "the stop was never on disk; its holder presents the card again"


def test_a_start_whose_commit_fails_offers_nothing(world: World) -> None:
    """Design §3: the start of a transaction is on disk before current is offered."""
    world.plants[1].plug_in()
    world.advance(1)
    world.database.execute("CREATE TRIGGER full BEFORE INSERT ON transactions BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    with pytest.raises(sqlite3.Error):
        world.card()
    assert not any(desired.energy_allowed for _, _, desired in world.orders)


def test_a_delivery_whose_commit_fails_does_not_count(world: World) -> None:
    """Design §3: the consumer stores, commits, and only then acts and acknowledges."""
    world.queue.delivers = False
    charging(world)
    assert world.service is not None
    world.database.execute("CREATE TRIGGER full BEFORE DELETE ON journal_out BEGIN SELECT RAISE(FAIL, 'disk full'); END")
    world.queue.delivers = True
    with pytest.raises(sqlite3.Error):
        world.advance(1)
    transaction_now = world.service._state.connectors[0].transaction
    assert transaction_now is not None
    assert transaction_now.transaction_id is None
    world.database.execute("DROP TRIGGER full")
    world.kill()
    world.advance(10)
    phase = world.service._state.connectors[0].phase  # type: ignore[union-attr]
    assert isinstance(phase, Running)
    assert phase.transaction.transaction_id == 4711


def test_a_call_whose_caller_gave_up_during_the_commit_did_not_happen(world: World) -> None:
    """Design §3: an absolute deadline that the handler checks inside its commit."""
    world.plants[1].plug_in()
    world.advance(1)
    node = world.nodes["connectors"]
    clock = node.now
    late = iter([0.0, 0.0])

    def slow() -> float:
        return clock() + next(late, 100.0)

    node.now = slow  # type: ignore[method-assign]
    assert world.call(RemoteStartTransaction("APP", 1)) == []
    node.now = clock  # type: ignore[method-assign]
    world.advance(5)
    assert messages(world) == []
    assert world.database.execute("SELECT count(*) FROM waiting").fetchone() == (0,)


def test_unreadable_rows_are_set_aside_and_do_not_prevent_the_start(world: World) -> None:
    """Field report 52."""
    with transaction(world.database):
        world.database.execute("INSERT INTO transactions VALUES ('bad', 1, '{}')")
        world.database.execute("INSERT INTO waiting VALUES ('bad', 'nonsense')")
        world.database.execute("INSERT INTO finished VALUES (1, 'null')")
    world.kill()
    world.advance(3)
    assert status(world) == "Available"
    assert world.database.execute("SELECT source FROM unreadable ORDER BY source").fetchall() == [
        ("finished",),
        ("transactions",),
        ("waiting",),
    ]


def play(world: World) -> None:
    """One session with a person who presents the card again as long as the display shows that nothing came of it."""
    world.plants[1].plug_in()
    world.advance(1)
    for _ in range(6):
        shown = world.shown()
        if shown is not None and shown.transaction is not None:
            break
        world.on_guard(world.card)
        world.advance(3)
    world.advance(8)
    world.stop_s = world.now_s
    for _ in range(6):
        shown = world.shown()
        if shown is not None and (shown.transaction is None or shown.transaction.stopping):
            break
        world.on_guard(world.card)
        world.advance(3)
    world.advance(8)
    world.plants[1].unplug()
    world.advance(8)


def deaths(tmp_path: Path, configuration: dict[str, str] | None = None, **options: object) -> Iterator[World]:
    """Worlds in which `play` was played, the process dying one effect later each time; the last one is without death."""
    lives = 0
    while True:
        directory = tmp_path / str(lives)
        directory.mkdir()
        world = World(directory, configuration=configuration)
        world.lives[0] = lives
        for name, value in options.items():
            setattr(world, name, value)
        play(world)
        yield world
        world.database.close()
        if world.deaths == 0:
            break
        lives += 1
    assert lives > 30, "a session does more than that"


@pytest.mark.parametrize("next_lives", [10**9, 0, 1, 3, 6])
def test_death_at_any_effect_of_a_session_loses_and_doubles_nothing(tmp_path: Path, next_lives: int) -> None:
    """Style §9, design §3: crash after every effect in turn, and once more while it comes back; hardware as it was.

    One StartTransaction, one StopTransaction, energy to the watt-hour; and a healthy transaction's contactor is never told to
    open by a restart.
    """
    for world in deaths(tmp_path, next_lives=next_lives):
        numbers = [entry.number for entry in world.queue.entries]
        assert numbers == list(range(len(numbers)))
        start, *_, stop = messages(world)
        assert isinstance(start, StartTransaction)
        assert isinstance(stop, StopTransaction)
        assert (start.meter_start_wh, stop.meter_stop_wh) == (1000, int(world.plants[1].register_wh))
        assert stop.reason is Reason.LOCAL
        on_s = next(at_s for at_s, _, desired in world.orders if desired.energy_allowed)
        off = [at_s for at_s, _, desired in world.orders if on_s < at_s < world.stop_s and not desired.energy_allowed]
        assert off == []
        assert world.plants[1].openings_under_load <= 1
        assert_nothing_is_left(world)


def test_a_power_cut_at_any_effect_of_a_session_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Design §2: each transaction has one start and one stop, and together they are what the meter counted."""
    for world in deaths(tmp_path, power_fails_with_it=True):
        entries: dict[str, list[TransactionEntry]] = {}
        for entry in world.queue.entries:
            entries.setdefault(entry.local_tx_id, []).append(entry)
        billed_wh = 0
        for own in entries.values():
            assert [entry.number for entry in own] == list(range(len(own)))
            start, stop = own[0].message, own[-1].message
            assert isinstance(start, StartTransaction)
            assert isinstance(stop, StopTransaction)
            assert stop.reason in (Reason.POWER_LOSS, Reason.LOCAL)
            billed_wh += stop.meter_stop_wh - start.meter_start_wh
        assert billed_wh == int(world.plants[1].register_wh) - 1000
        assert_nothing_is_left(world)


@pytest.mark.parametrize("power_fails", [False, True])
def test_death_at_any_effect_leaves_transaction_data_whole(tmp_path: Path, power_fails: bool) -> None:
    """OCPP 1.6 §3.16, errata v4.0 3.14: what was sent as MeterValues is in transactionData too, between start and stop."""
    energy = "Energy.Active.Import.Register"
    lists = dict.fromkeys(("StopTxnSampledData", "StopTxnAlignedData", "MeterValuesAlignedData"), energy)
    intervals = {"MeterValueSampleInterval": "4", "ClockAlignedDataInterval": "5"}
    for world in deaths(tmp_path, {**lists, **intervals}, power_fails_with_it=power_fails):
        sent: dict[str, list[MeterValue]] = {}
        for entry in world.queue.entries:
            if isinstance(entry.message, StopTransaction):
                begin, *between, end = entry.message.meter_values
                assert between == sent.get(entry.local_tx_id, [])
                contexts = [value.sampled_values[0].context for value in (begin, end)]
                assert contexts == [ReadingContext.TRANSACTION_BEGIN, ReadingContext.TRANSACTION_END]
                assert end.sampled_values[0].value == str(entry.message.meter_stop_wh)
            elif isinstance(entry.message, MeterValues):
                sent.setdefault(entry.local_tx_id, []).extend(entry.message.meter_values)
        assert any(sent.values()) or power_fails
        assert_nothing_is_left(world)


def assert_nothing_is_left(world: World) -> None:
    """All is delivered, nobody waits, the connector is free."""
    assert status(world) == "Available"
    for table in ("journal_out", "transactions", "transaction_data", "waiting", "finished", "plug_faults"):
        assert world.database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
