"""How `station queue` reaches `transactions.db`: it reads the file, and has it changed by whoever is its one writer.

While the queue process lives, that is asked over the bus. While it does not, the command takes the queue's own lock, and so is
the one writer for the moment; a queue that starts meanwhile waits for the lock.

Owns: that choice, and what is still only in `connectors.db`. Does not: know the tables of the queue (`handover.py`).
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator

import msgspec

from bus.caller import Caller, Unanswered
from bus.database import open_database, transaction
from bus.messages import TransactionEntry
from bus.process import AlreadyRunning, lock_holder, take_lock
from bus.queue_messages import QueueChanged, QueueTransactionAgain, TakeInTransaction
from bus.salvage import kept_files
from services.station import paths
from services.transaction_queue import handover, schema
from services.transaction_queue.handover import CannotBeDone
from services.transaction_queue.kept import KeptTransaction

_LOCK = "transaction_queue.lock"
_DATABASE = "../transactions.db"
_CONNECTORS = "../connectors.db"
_ANSWER_S = 15.0
_LOCK_WAIT_S = 0.5

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
    return lock_holder(_LOCK) is not None


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
    size = handover.MESSAGES_AT_ONCE_MAX
    for start in range(0, len(given.messages), size):
        piece = msgspec.structs.replace(given, messages=given.messages[start : start + size])
        changed = _take_in_piece(piece)
        added, known = added + changed.changed, known + changed.known
    return added, known


def _take_in_piece(piece: KeptTransaction) -> QueueChanged:
    def change(database: sqlite3.Connection) -> QueueChanged:
        added, known = handover.take_in(database, piece)
        return QueueChanged(changed=added, known=known)

    return _changed(TakeInTransaction(msgspec.json.encode(piece).decode()), change)


def _changed(request: QueueTransactionAgain | TakeInTransaction, change: Change) -> QueueChanged:
    if not is_live():
        with contextlib.suppress(AlreadyRunning):
            return _changed_here(change)
    try:
        with Caller("queue-command") as caller:
            answer = caller.ask(request, _ANSWER_S)
    except Unanswered as error:
        raise CannotBeDone(
            f"the queue runs, but gives {error}; nothing is known to have changed, it is safe to try again"
        ) from None
    assert isinstance(answer, QueueChanged)
    if answer.refusal:
        raise CannotBeDone(answer.refusal)
    return answer


def _changed_here(change: Change) -> QueueChanged:
    """As the one writer, under the queue's own lock. Raises AlreadyRunning if it starts just now."""
    lock = take_lock(_LOCK, _LOCK_WAIT_S)
    try:
        with contextlib.closing(open_database(_DATABASE)) as database:
            schema.ensure(database)
            with transaction(database):
                return change(database)
    finally:
        os.close(lock)
