"""What the tables say of an arriving entry of the journal: whether it is here, and what became of it.

Owns: these questions. Does not: decide by the answers (`recognition.py`), or write (`store.py`).
"""

import sqlite3
from typing import Any

from bus.messages import Delivered, GivenUp, StopTransaction, TransactionEntry
from services.transaction_queue import ranges
from services.transaction_queue.recognition import Here


def here(database: sqlite3.Connection, entry: TransactionEntry, tx: dict[str, Any] | None) -> Here:
    """`tx`: the row of its transaction, as the store reads it; None: there is none."""
    key = (entry.local_tx_id,)
    waits = database.execute(SELECT_PENDING, (*key, entry.number)).fetchone() is not None
    settled = tx is not None and is_settled(tx, entry.number)
    last = -1 if tx is None else tx["last_number"]
    stop_settled = tx is not None and bool(tx["stopped_at_all"]) and is_settled(tx, last)
    if not isinstance(entry.message, StopTransaction):
        return Here(waits, settled, highest=last, stop_settled=stop_settled)
    queries = (SELECT_HIGHEST.format("messages"), SELECT_STOP.format("messages"))
    highest, stop_waits = (database.execute(query, key).fetchone() for query in queries)
    return Here(
        waits,
        settled,
        highest=last if highest[0] is None else max(last, highest[0]),
        stop_waits=None if stop_waits is None else stop_waits[0],
        stop_settled=stop_settled,
    )


def outcome(database: sqlite3.Connection, entry: TransactionEntry) -> Delivered | GivenUp:
    """What became of a message that is settled; of a stop, whatever its number was."""
    key = (entry.local_tx_id, entry.number)
    if isinstance(entry.message, StopTransaction):
        letter = database.execute(SELECT_DEAD_STOP, key[:1]).fetchone()
    else:
        letter = database.execute(SELECT_DEAD_LETTER, key).fetchone()
    if letter is not None:
        return GivenUp("given up before, and sent again by an older copy of connectors.db")
    found = database.execute(SELECT_TRANSACTION_ID, key[:1]).fetchone() if entry.number == 0 else None
    return Delivered(None if found is None or found[0] is None else int(found[0]))


def is_settled(tx: dict[str, Any], number: int) -> bool:
    """Whether message `number` was delivered or given up. A store of the first release has no settled_number yet."""
    settled = tx["last_number"] if tx["settled_number"] is None else tx["settled_number"]
    return bool(number <= settled and not ranges.contains(ranges.decode(tx["missing"]), number))


SELECT_PENDING = "SELECT 1 FROM messages WHERE local_tx_id = ? AND number = ?"
SELECT_HIGHEST = "SELECT max(number) FROM {} WHERE local_tx_id = ? AND typeof(number) = 'integer'"
SELECT_STOP = "SELECT number FROM {} WHERE local_tx_id = ? AND action = 'StopTransaction' ORDER BY number DESC LIMIT 1"
SELECT_DEAD_LETTER = "SELECT 1 FROM dead_letters WHERE local_tx_id = ? AND number = ? LIMIT 1"
SELECT_DEAD_STOP = "SELECT 1 FROM dead_letters WHERE local_tx_id = ? AND action = 'StopTransaction' LIMIT 1"
SELECT_TRANSACTION_ID = "SELECT transaction_id FROM transactions WHERE local_tx_id = ?"
