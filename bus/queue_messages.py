"""Messages on the bus about what the queue holds and what it lost, most of them for a person's command.

Owns: shapes, as `bus/messages.py`; the same rules hold. Does not: say who answers (`bus/topics.py`).
"""

from bus.messages import Message


class QueueTransactionAgain(Message, frozen=True):
    """Call to the queue, by a person's command: send again what was given up of a transaction. Answer: QueueChanged."""

    local_tx_id: str


class TakeInTransaction(Message, frozen=True):
    """Call to the queue, by a person's command: take in what another board exported. Answer: QueueChanged.

    `kept`: a transaction of an export as JSON (`services/transaction_queue/handover.py`), at most some of its messages.
    """

    kept: str


class QueueChanged(Message, frozen=True):
    """What came of a person's command; `refusal` in plain words, empty when it was done. Counts are messages."""

    changed: int = 0
    known: int = 0
    """Of those to be taken in: there already."""
    refusal: str = ""


class LostTransactionAnswer(Message, frozen=True):
    """Answer to CloseLostTransaction.

    `lost`: it was not known, and is being closed now; else it is open, or its stop is on its way.
    """

    lost: bool
