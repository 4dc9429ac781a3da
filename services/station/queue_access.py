"""How `station queue` reaches `transactions.db`: it reads the file, and has it changed by its one writer (`one_writer.py`).

Owns: what is still only in `connectors.db`. Does not: know the tables of the queue (`handover.py`).
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator

import msgspec

from bus.database import open_database, transaction
from bus.messages import TransactionEntry
from bus.queue_messages import QueueChanged, QueueTransactionAgain, TakeInTransaction
from bus.salvage import kept_files
from services.station import one_writer, paths
from services.transaction_queue import handover, schema, taking_in
from services.transaction_queue.handover import CannotBeDone
from services.transaction_queue.kept import KeptTransaction

_SERVICE = "transaction_queue"
_DATABASE = "../transactions.db"
_CONNECTORS = "../connectors.db"
_ANSWER_S = 15.0

Change = Callable[[sqlite3.Connection], QueueChanged]


class NoQueue(Exception):
    """There is no queue to look at; the text says so in one line."""


def enter(state_dir: str) -> None:
    """Work in the station's run directory, whether it runs or not. Raises NoQueue."""
    try:
        paths.enter_run_directory(state_dir)
    except paths.NotRunning:
        raise NoQueue(f"no station was ever run in {state_dir}; give its directory with --state-dir") from None


def is_live() -> bool:
    """Whether the queue process lives."""
    return one_writer.is_live(_SERVICE)


@contextlib.contextmanager
def reading() -> Iterator[sqlite3.Connection]:
    """The database, to be read only. Raises NoQueue, also where it can't be read."""
    if not os.path.exists(_DATABASE):
        raise NoQueue("there is no transactions.db yet: nothing was ever queued here")
    database = sqlite3.connect(f"file:{_DATABASE}?mode=ro", uri=True, timeout=5.0)
    try:
        yield database
    except sqlite3.DatabaseError as error:
        raise NoQueue(f"transactions.db can't be read ({error}); the queue saves what it can at its next start") from None
    finally:
        database.close()


def damaged_files() -> list[str]:
    """Names of the damaged databases that are kept."""
    return [os.path.basename(file) for name in (_DATABASE, _CONNECTORS, "../configuration.db") for file in kept_files(name)]


def not_handed_over(database: sqlite3.Connection) -> list[TransactionEntry]:
    """Entries that `connectors` keeps and the queue does not have: the queue was down, or has lost them."""
    if not os.path.exists(_CONNECTORS):
        return []
    found: list[TransactionEntry] = []
    with contextlib.suppress(sqlite3.Error, msgspec.MsgspecError):
        connectors = sqlite3.connect(f"file:{_CONNECTORS}?mode=ro", uri=True, timeout=5.0)
        with contextlib.closing(connectors):
            query = "SELECT payload FROM journal_out WHERE stream = 'journal.transaction.' ORDER BY seq"
            for (payload,) in connectors.execute(query):
                entry = msgspec.json.decode(payload, type=TransactionEntry)
                if not handover.is_here(database, entry.local_tx_id, entry.number):
                    found.append(entry)
    return found


def queue_again(local_tx_id: str) -> int:
    """Have a transaction sent again; how many messages. Raises CannotBeDone."""
    request = QueueTransactionAgain(local_tx_id)
    return _changed(request, lambda database: QueueChanged(handover.queue_again(database, local_tx_id))).changed


def take_in(given: KeptTransaction) -> tuple[int, int]:
    """Have a transaction of an export taken in, piece by piece: messages (added, known). Raises CannotBeDone."""
    added = known = 0
    for piece in taking_in.pieces(given):
        changed = _take_in_piece(piece)
        added, known = added + changed.changed, known + changed.known
    return added, known


def _take_in_piece(piece: KeptTransaction) -> QueueChanged:
    def change(database: sqlite3.Connection) -> QueueChanged:
        added, known = taking_in.take_in(database, piece)
        return QueueChanged(changed=added, known=known)

    return _changed(TakeInTransaction(msgspec.json.encode(piece).decode()), change)


def _changed(request: QueueTransactionAgain | TakeInTransaction, change: Change) -> QueueChanged:
    def here() -> QueueChanged:
        return _changed_here(change)

    try:
        answer = one_writer.changed(request, QueueChanged, here, service=_SERVICE, answer_s=_ANSWER_S)
    except one_writer.NoAnswer as error:
        raise CannotBeDone(
            f"the queue runs, but gives {error}; nothing is known to have changed, it is safe to try again"
        ) from None
    if answer.refusal:
        raise CannotBeDone(answer.refusal)
    return answer


def _changed_here(change: Change) -> QueueChanged:
    """On a station whose queue does not run; its lock is held."""
    with contextlib.closing(open_database(_DATABASE)) as database:
        schema.ensure(database)
        with transaction(database):
            return change(database)
