"""A lost connectors.db: transactions that only the queue knows get one stop each (design §3)."""

import msgspec

from bus.messages import CloseLostTransaction, StopTransaction, TransactionEntry
from bus.queue_messages import LostTransactionAnswer
from services.connectors import events as e
from tests.connectors.bench import Bench, charging


def lose_database(bench: Bench) -> CloseLostTransaction:
    """A car charges; the database is gone with the process. What the queue knows of the transaction."""
    bench.deliver_start()
    bench.advance(5)
    known = bench.connector().transaction
    assert known is not None
    last = max(entry.number for entry in entries(bench, known.local_tx_id))
    for table in ("transactions", "journal_out", "transaction_data"):
        bench.database.execute(f"DELETE FROM {table}")
    bench.restart()
    bench.advance(5)
    return CloseLostTransaction(
        known.local_tx_id,
        1,
        known.id_tag,
        known.started_at,
        known.meter_start_wh,
        known.meter_start_wh,
        known.started_at,
        last + 1,
        transaction_id=known.transaction_id,
    )


def entries(bench: Bench, local_tx_id: str) -> list[TransactionEntry]:
    return bench.audit.entries.get(local_tx_id, [])


def stops(bench: Bench, local_tx_id: str) -> list[TransactionEntry]:
    return [entry for entry in entries(bench, local_tx_id) if isinstance(entry.message, StopTransaction)]


def ask(bench: Bench, asked: CloseLostTransaction, call_id: str = "call", *, closed_here: bool = False) -> bool:
    bench.feed(e.LostTransactionFound(call_id, asked, closed_here))
    answer = bench.answers[call_id]
    assert isinstance(answer, LostTransactionAnswer)
    return answer.lost


def test_it_has_no_energy_and_is_stopped_once_with_the_register_of_now() -> None:
    bench = charging()
    asked = lose_database(bench)
    assert not bench.plants[1].desired.energy_allowed
    assert ask(bench, asked)
    assert not ask(bench, asked, "again", closed_here=True)
    bench.advance(10)
    (entry,) = stops(bench, asked.local_tx_id)
    stop = entry.message
    assert isinstance(stop, StopTransaction)
    assert (entry.transaction_id, stop.reason) == (asked.transaction_id, "Other")
    assert asked.meter_start_wh < stop.meter_stop_wh <= bench.plants[1].register_wh


def test_after_a_power_cut_the_reason_says_so() -> None:
    bench = charging()
    asked = lose_database(bench)
    bench.boot_id = "boot-2"
    assert ask(bench, asked)
    (entry,) = stops(bench, asked.local_tx_id)
    assert isinstance(entry.message, StopTransaction)
    assert entry.message.reason == "PowerLoss"


def test_what_is_open_here_or_on_its_way_is_not_lost() -> None:
    bench = charging()
    known = bench.connector().transaction
    assert known is not None
    asked = CloseLostTransaction(
        known.local_tx_id, 1, "TAG", known.started_at, known.meter_start_wh, known.meter_start_wh, known.started_at, 5
    )
    assert not ask(bench, asked)
    assert not ask(bench, msgspec.structs.replace(asked, local_tx_id="other"), "other", closed_here=True)
    bench.advance(10)
    assert bench.status() == "Charging"
    assert stops(bench, "other") == stops(bench, known.local_tx_id) == []


def test_another_transaction_on_the_connector_goes_on_and_its_energy_is_its_own() -> None:
    bench = charging()
    asked = lose_database(bench)
    bench.card("OTHER")
    bench.advance(30)
    assert bench.status() == "Charging"
    assert ask(bench, asked)
    bench.advance(10)
    assert bench.status() == "Charging"
    (entry,) = stops(bench, asked.local_tx_id)
    assert isinstance(entry.message, StopTransaction)
    other = bench.connector().transaction
    assert other is not None
    assert (entry.message.meter_stop_wh, entry.message.at) == (other.meter_start_wh, other.started_at)
    assert entry.message.meter_stop_wh > asked.last_wh


def test_another_transaction_that_is_over_has_its_energy_to_itself() -> None:
    """The queue knows where it began; the register of now is beyond its end."""
    bench = charging()
    asked = lose_database(bench)
    bench.card("OTHER")
    bench.advance(30)
    other = bench.connector().transaction
    assert other is not None
    bench.card("OTHER")
    bench.advance(30)
    assert bench.connector().transaction is None
    known = msgspec.structs.replace(asked, next_start_wh=other.meter_start_wh, next_started_at=other.started_at)
    assert ask(bench, known)
    (entry,) = stops(bench, asked.local_tx_id)
    assert isinstance(entry.message, StopTransaction)
    assert (entry.message.meter_stop_wh, entry.message.at) == (other.meter_start_wh, other.started_at)


def test_another_transaction_by_another_meter_says_nothing_of_the_one_before() -> None:
    bench = charging()
    asked = lose_database(bench)
    bench.card("OTHER")
    bench.advance(30)
    assert ask(bench, msgspec.structs.replace(asked, last_wh=10**9))
    (entry,) = stops(bench, asked.local_tx_id)
    assert isinstance(entry.message, StopTransaction)
    assert entry.message.meter_stop_wh == 10**9


def test_a_connector_that_is_no_more_gets_its_stop_too() -> None:
    bench = charging()
    asked = lose_database(bench)
    assert ask(bench, msgspec.structs.replace(asked, connector_id=9))
    assert len(stops(bench, asked.local_tx_id)) == 1
