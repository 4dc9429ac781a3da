"""How `station queue` reaches `transactions.db`: it reads the file, and has it changed by its one writer (`one_writer.py`).

Owns: both databases as a command looks at them, whatever state they are in. Does not: know the tables of the queue
(`handover.py`, `taking_in.py`), or what `connectors.db` has (`queue_beside.py`).
"""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator

import msgspec

from bus.database import open_database, transaction
from bus.queue_messages import QueueChanged, QueueTransactionAgain, TakeInTransaction
from bus.salvage import Schema, kept_files, open_store
from services.station import one_writer, paths, queue_beside
from services.station.queue_beside import Beside
from services.transaction_queue import handover, schema, taking_in
from services.transaction_queue.handover import CannotBeDone
from services.transaction_queue.kept import KeptBoot, KeptTransaction

_SERVICE = "transaction_queue"
_DATABASE = "../transactions.db"
_CONNECTORS = "../connectors.db"
_ANSWER_S = 15.0
_SAVED_LATER = "its service saves what it can at its next start"

Change = Callable[[sqlite3.Connection], QueueChanged]


class NoQueue(Exception):
    """There is no queue to look at; the text says so in one line."""


def enter(state_dir: str, *, new: bool = False) -> None:
    """Work in the station's run directory, whether it runs or not; a `new` board was never started. Raises NoQueue, OSError."""
    if new and os.path.isdir(state_dir):
        os.makedirs(os.path.join(state_dir, paths.RUN_DIRECTORY), mode=0o700, exist_ok=True)
    try:
        paths.enter_run_directory(state_dir)
    except paths.NotRunning:
        raise NoQueue(f"no station was ever run in {state_dir}; give its directory with --state-dir") from None


def is_live() -> bool:
    """Whether the queue process lives."""
    return one_writer.is_live(_SERVICE)


class Look(msgspec.Struct, frozen=True):
    """What a command looks at. `problems`: why that may not be all, in one line each."""

    database: sqlite3.Connection
    beside: Beside
    problems: tuple[str, ...] = ()


@contextlib.contextmanager
def reading() -> Iterator[Look]:
    """Both databases, to be read only. Raises NoQueue, also where they can't be read.

    A damaged database of a station that is stopped is read as the service would save it, from a copy.
    """
    if not os.path.exists(_DATABASE) and not os.path.exists(_CONNECTORS):
        raise NoQueue("there is no transactions.db yet: nothing was ever queued here")
    with contextlib.ExitStack() as stack:
        missing = not os.path.exists(_DATABASE)
        database, problem = (_none(stack), "") if missing else _opened(stack, _DATABASE, _SERVICE, lambda: schema.SCHEMA)
        beside, other = _beside(stack, database)
        if missing and not beside.rests and not other:
            raise NoQueue("there is no transactions.db, so what it had is not known; connectors.db has nothing undelivered")
        gone = "there is no transactions.db: what was given up, or delivered, is not known" if missing else ""
        try:
            yield Look(database, beside, tuple(text for text in (gone, problem, other) if text))
        except sqlite3.DatabaseError as error:
            raise NoQueue(f"transactions.db can't be read ({error}); {_SAVED_LATER}") from None


def damaged_files() -> list[str]:
    """Names of the damaged databases that are kept."""
    return [os.path.basename(file) for name in (_DATABASE, _CONNECTORS, "../configuration.db") for file in kept_files(name)]


def _beside(stack: contextlib.ExitStack, queue: sqlite3.Connection) -> tuple[Beside, str]:
    """What only `connectors.db` has, and what is wrong with it."""
    if not os.path.exists(_CONNECTORS):
        return Beside(), ""
    try:
        connectors, problem = _opened(stack, _CONNECTORS, "connectors", _connectors_schema)
        return queue_beside.read(connectors, queue), problem
    except NoQueue as error:
        return Beside(), str(error)
    except sqlite3.Error as error:
        return Beside(), f"connectors.db can't be read ({error}); {_SAVED_LATER}"


def _none(stack: contextlib.ExitStack) -> sqlite3.Connection:
    """A queue that has nothing."""
    database = stack.enter_context(contextlib.closing(sqlite3.connect(":memory:")))
    schema.ensure(database)
    return database


def _opened(
    stack: contextlib.ExitStack, path: str, service: str, known: Callable[[], Schema]
) -> tuple[sqlite3.Connection, str]:
    """A database to be read, and what was wrong with it. Raises NoQueue, sqlite3.Error."""
    name = os.path.basename(path)
    database = stack.enter_context(contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)))
    # One that is in use was looked at when its service started.
    if one_writer.is_live(service) or _is_sound(database):
        return database, ""
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="chargebus-"))
    copy = os.path.join(directory, name)
    try:
        for suffix in ("", "-wal"):
            if os.path.exists(path + suffix):
                shutil.copyfile(path + suffix, copy + suffix)
        opened = open_store(copy, known())
    except (sqlite3.Error, OSError) as error:
        raise NoQueue(f"{name} can't be read, nor what of it can be saved ({error})") from None
    stack.enter_context(contextlib.closing(opened.database))
    flaw = opened.problem.partition("; the file is kept")[0]
    return opened.database, f"{flaw}; what can be read of it is shown, and exported" if flaw else ""


def _is_sound(database: sqlite3.Connection) -> bool:
    """Whether a database can be read as it lies there: it is not damaged, empty, or on a disk that does not let SQLite in."""
    try:
        sound = database.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
        return sound and database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None
    except (sqlite3.Error, UnicodeDecodeError):
        return False


def _connectors_schema() -> Schema:
    # Only here: it costs more to import than commands that only look may take.
    from services.connectors.store import SCHEMA

    return SCHEMA


def queue_again(local_tx_id: str) -> int:
    """Have a transaction sent again; how many messages. Raises CannotBeDone."""
    request = QueueTransactionAgain(local_tx_id)
    return _changed(request, lambda database: QueueChanged(handover.queue_again(database, local_tx_id))).changed


def take_in(given: KeptTransaction, boots: tuple[KeptBoot, ...]) -> tuple[int, int]:
    """Have a transaction of an export taken in, piece by piece: messages (added, known). Raises CannotBeDone.

    `boots`: to be taken in before those of the transaction.
    """
    added = known = 0
    for piece in taking_in.pieces(given, boots):
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
