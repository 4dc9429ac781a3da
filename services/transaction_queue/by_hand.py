"""Answers the calls of `station queue`: a person has messages sent again, or taken in from another board.

Each is one commit, answered after it, and not acted on once its caller has gone (design §3).

Owns: these answers. Does not: know how tables change (`handover.py`, `taking_in.py`), or decide what is sent next (`core.py`).
"""

import sqlite3
from collections.abc import Callable

import msgspec

from bus.calls import IncomingCall
from bus.database import transaction
from bus.logs import Logger
from bus.node import Node
from bus.queue_messages import QueueChanged, QueueTransactionAgain, TakeInTransaction
from services.transaction_queue import handover, taking_in
from services.transaction_queue.handover import CannotBeDone
from services.transaction_queue.kept import KeptTransaction


def serve(
    node: Node, database: sqlite3.Connection, log: Logger, *, is_under_way: Callable[[str], bool], changed: Callable[[], None]
) -> None:
    """Answer from now on. `is_under_way`: a message of that transaction is under way; `changed`: tables are others now."""

    def do(call: IncomingCall, change: Callable[[], QueueChanged]) -> None:
        try:
            with transaction(database):
                answer = change()
                if call.expired(node.now()):
                    raise CannotBeDone("the caller has gone")
        except CannotBeDone as refusal:
            call.answer(QueueChanged(refusal=str(refusal)))
            return
        call.answer(answer)
        changed()

    def queue_again(request: QueueTransactionAgain) -> QueueChanged:
        if is_under_way(request.local_tx_id):
            raise CannotBeDone("one of its messages is being delivered now; try again in a minute")
        count = handover.queue_again(database, request.local_tx_id)
        log.warning("given-up messages are queued again by hand", local_tx_id=request.local_tx_id, messages=count)
        return QueueChanged(changed=count)

    def take_in(request: TakeInTransaction) -> QueueChanged:
        try:
            given = msgspec.json.decode(request.kept, type=KeptTransaction)
        except msgspec.MsgspecError as error:
            raise CannotBeDone(f"not a transaction of an export: {error}") from None
        added, known = taking_in.take_in(database, given)
        log.warning("messages of another board taken in", local_tx_id=given.local_tx_id, added=added, known=known)
        return QueueChanged(changed=added, known=known)

    node.serve(QueueTransactionAgain, lambda request, call: do(call, lambda: queue_again(request)))
    node.serve(TakeInTransaction, lambda request, call: do(call, lambda: take_in(request)))
