"""Transactions that this service has lost with its database, and the queue still knows (pure; design §3).

A connector without a transaction gives no energy, so what ran in truth has ended already; here it gets its one stop, with the
register of now, or that at which the connector has begun another transaction, or the last one known where the meter is silent.
One that is open here, or was closed here, is not lost: then nothing happens, however often the queue asks. It may be the
queue that has an older copy of its database.

Where the database is an older copy, what it has open may have been stopped, and delivered, since the copy was made: it is let
go, without energy. If it is still open for the queue, the queue finds it as above.

Owns: these decisions. Does not: find them (`services/transaction_queue/lost.py`) or close them (`transactions.py`).
"""

import msgspec

from bus.messages import CloseLostTransaction
from bus.queue_messages import LostTransactionAnswer
from bus.vocabulary import Reason
from services.connectors import events as e
from services.connectors import transactions
from services.connectors.open_transaction import Reading, Segment, Transaction
from services.connectors.plug_in import SessionMark
from services.connectors.work import Work


def take_up(work: Work, call_id: str, request: CloseLostTransaction, *, closed_here: bool) -> None:
    """Close it if it is lost. `closed_here`: this database has its stop, whether it waits or is long delivered."""
    open_here = any(c.transaction and c.transaction.local_tx_id == request.local_tx_id for c in work.state.connectors)
    work.answer(e.Answer(call_id, LostTransactionAnswer(lost=not (open_here or closed_here))))
    if open_here or closed_here:
        return
    power_failed = request.started_at.boot_id != work.now.boot_id
    reason = Reason.POWER_LOSS if power_failed else Reason.OTHER
    work.note(
        "transaction that this database has lost is closed, the queue knew it",
        connector_id=request.connector_id,
        local_tx_id=request.local_tx_id,
        warning=True,
    )
    transaction = _to_its_end(work, request, _transaction(request))
    transactions.close_at_last_reading(work, transaction, (), reason)


def let_go(work: Work, taken_up: frozenset[str]) -> None:
    """This database is an older copy: what it had open gets no energy from here any more. A stop that is under way goes on."""
    for connector in work.state.connectors:
        transaction = connector.ongoing
        if transaction is not None and transaction.local_tx_id in taken_up:
            work.note(
                "transaction of an older copy of this database gets no more energy, the queue knows whether it is open",
                connector_id=connector.connector_id,
                local_tx_id=transaction.local_tx_id,
                warning=True,
            )
            transactions.let_go(work, connector, transaction)


def _to_its_end(work: Work, request: CloseLostTransaction, transaction: Transaction) -> Transaction:
    """All that flowed until the connector's next transaction was its own; a register below its last one is another meter's.

    The next one may be over by now: the queue knows it all the same.
    """
    connector = work.connector(request.connector_id)
    following = None if connector is None else connector.transaction
    end = None if following is None else Reading(following.meter_start_wh, following.started_at)
    if request.next_start_wh is not None and request.next_started_at is not None:
        end = Reading(request.next_start_wh, request.next_started_at)
    if end is not None:
        return transaction if end.energy_wh < transaction.last.energy_wh else msgspec.structs.replace(transaction, last=end)
    if connector is None or connector.sample is None:
        return transaction
    return transactions.follow_register(transaction, connector.sample, work.now)[0]


def _transaction(request: CloseLostTransaction) -> Transaction:
    """As far as the queue knows it; the register goes on from its last MeterValues."""
    return Transaction(
        local_tx_id=request.local_tx_id,
        connector_id=request.connector_id,
        id_tag=request.id_tag,
        started_at=request.started_at,
        meter_start_wh=request.meter_start_wh,
        segment=Segment("", first_wh=request.meter_start_wh, base_wh=request.meter_start_wh),
        last=Reading(request.last_wh, request.last_at),
        mark=SessionMark(0, 0),
        transaction_id=request.transaction_id,
        next_number=request.next_number,
    )
