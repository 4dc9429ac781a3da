"""connectors.db: open transactions, waiting authorizations, cache and local list, the outbox of the journal; all changes of a
step in one commit.

Owns: the tables `transactions`, `transaction_data`, `waiting`, `finished`, `plug_faults`, `availability`, `reservations`,
`known`, `cache`; `list_table.py` has `local_list`. Does not: decide anything. Bodies are JSON, so that a support engineer can
read them with any SQLite tool; types are checked when they are written and when they are read. A row that can't be read is set
aside in `unreadable` (`bus/unreadable.py`), reported, and never prevents the start. So bodies are read as bytes: one that is no
text is the same as one that is no JSON.
"""

import sqlite3
from functools import partial
from typing import TypeVar

import msgspec

from bus import unreadable
from bus.codec import checked_builtins
from bus.database import transaction
from bus.journal import Outbox
from bus.messages import DeliveryEntry, IdTagInfo, MeterValues, StopTransaction, TransactionEntry
from bus.salvage import schema_of
from services.connectors import events as e
from services.connectors import list_table
from services.connectors.open_transaction import KeptReading, Transaction
from services.connectors.plug_in import PlugFaults, SavePlugFaults
from services.connectors.recovery import Loaded
from services.connectors.state import Availability, Finished, Reservation, Waiting

T = TypeVar("T")

_TABLES = (
    "CREATE TABLE IF NOT EXISTS transactions (local_tx_id TEXT PRIMARY KEY, connector_id INTEGER NOT NULL, body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS transaction_data (id TEXT PRIMARY KEY, local_tx_id TEXT NOT NULL, body TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS transaction_data_of ON transaction_data (local_tx_id)",
    "CREATE TABLE IF NOT EXISTS waiting (waiting_id TEXT PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS finished (connector_id INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS plug_faults (connector_id INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS availability (connector_id INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS reservations (reservation_id INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS known (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS closed (local_tx_id TEXT PRIMARY KEY)",
    # Its rows are in the order of their last update: INSERT OR REPLACE gives the row a new number.
    "CREATE TABLE IF NOT EXISTS cache (id_tag TEXT PRIMARY KEY, body TEXT NOT NULL)",
    list_table.STATEMENT,
)
SCHEMA = schema_of(_TABLES)
"""For `bus.salvage`."""
CLOSED_KEPT = 1000
"""Closed transactions that are remembered, for a queue with an older copy of its database that takes them for lost."""
_A_STOP = f'"message":{{"type":"{StopTransaction.__name__}"'
"""What an entry with a StopTransaction has in its JSON."""
_EVER_ACCEPTED = "ever_accepted"
_ENDED = "ended_in_boot"
_KEYS = {
    "transactions": "local_tx_id",
    "transaction_data": "id",
    "waiting": "waiting_id",
    "finished": "connector_id",
    "plug_faults": "connector_id",
    "availability": "connector_id",
    "reservations": "reservation_id",
    "cache": "id_tag",
}


class Store:
    """The database of the connectors service. `outbox` is its journal's; changes go through `apply` inside a transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.local_list = list_table.ListTable(database)
        self.unreadable: list[str] = []
        SCHEMA.create(database)
        database.execute(unreadable.TABLE)

    def load(self) -> Loaded:
        """What was open when the last process ended; unreadable rows are set aside and listed in `unreadable`."""
        transactions = tuple(self._rows("transactions", Transaction).values())
        waiting = tuple(self._rows("waiting", Waiting).values())
        finished = {int(key): body for key, body in self._rows("finished", Finished).items()}
        availability = {int(key): body for key, body in self._rows("availability", Availability).items()}
        faults = {int(key): body for key, body in self._rows("plug_faults", PlugFaults).items()}
        local_list, problem = self.local_list.load()
        self.unreadable.extend([problem] if problem else [])
        known = dict(self._database.execute("SELECT name, value FROM known").fetchall())
        return Loaded(
            transactions,
            waiting,
            finished,
            faults=faults,
            ever_accepted=known.get(_EVER_ACCEPTED) == "true",
            ended_boot_id=known.get(_ENDED, ""),
            availability=availability,
            cache=self._rows("cache", IdTagInfo),
            local_list=local_list,
            reservations=tuple(self._rows("reservations", Reservation).values()),
            kept=self._kept({transaction.local_tx_id for transaction in transactions}),
        )

    def id_tag_of(self, local_tx_id: str, number: int, outbox: Outbox) -> str | None:
        """The idTag in a message that the queue has an outcome of; None: it has none, or it can't be read any more."""
        payload = outbox.find_named(entry_name(local_tx_id, number))
        entry = None if payload is None else _entry(payload)
        return None if entry is None or isinstance(entry.message, MeterValues) else entry.message.id_tag

    def was_closed(self, local_tx_id: str) -> bool:
        """Whether this database has closed a transaction: its stop waits in the outbox, or is delivered."""
        if self._database.execute("SELECT 1 FROM closed WHERE local_tx_id = ?", (local_tx_id,)).fetchone() is not None:
            return True
        payloads = self._database.execute(
            "SELECT CAST(payload AS BLOB) FROM journal_out"
            " WHERE stream = 'journal.transaction.' AND name >= ?1 || '/' AND name < ?1 || '0'",
            (local_tx_id,),
        )
        entries = (_entry(payload) for (payload,) in payloads)
        return any(entry is not None and isinstance(entry.message, StopTransaction) for entry in entries)

    def apply(self, changes: tuple[e.Change, ...], outbox: Outbox) -> None:
        """Write changes, inside the caller's transaction."""
        for change in changes:
            match change:
                case e.SaveTransaction(transaction=saved):
                    keys = (saved.local_tx_id, saved.connector_id)
                    self._save("transactions", "(local_tx_id, connector_id, body)", keys, saved)
                case e.CloseTransaction(local_tx_id=local_tx_id, connector_id=connector_id, finished=finished, ended=ended):
                    self._drop("transactions", local_tx_id)
                    if ended:
                        self._note_closed(local_tx_id)
                    self._database.execute("DELETE FROM transaction_data WHERE local_tx_id = ?", (local_tx_id,))
                    if finished is not None:
                        self._save("finished", "(connector_id, body)", (connector_id,), finished)
                case e.SaveFinished(connector_id=connector_id, finished=finished):
                    self._save("finished", "(connector_id, body)", (connector_id,), finished)
                case e.KeepReading(local_tx_id=local_tx_id, reading=reading):
                    names = (entry_name(local_tx_id, reading.position), local_tx_id)
                    self._save("transaction_data", "(id, local_tx_id, body)", names, reading)
                case e.DropReadings(local_tx_id=local_tx_id, positions=positions):
                    for position in positions:
                        self._drop("transaction_data", entry_name(local_tx_id, position))
                case e.DropFinished(connector_id=connector_id):
                    self._drop("finished", connector_id)
                case SavePlugFaults(connector_id=connector_id, faults=None):
                    self._drop("plug_faults", connector_id)
                case SavePlugFaults(connector_id=connector_id, faults=PlugFaults() as faults):
                    self._save("plug_faults", "(connector_id, body)", (connector_id,), faults)
                case e.SaveWaiting(waiting=waiting):
                    self._save("waiting", "(waiting_id, body)", (waiting.waiting_id,), waiting)
                case e.DropWaiting(waiting_id=waiting_id):
                    self._drop("waiting", waiting_id)
                case e.SaveAvailability():
                    self.save_availability(change)
                case e.SaveReservation(reservation=reservation):
                    self._save("reservations", "(reservation_id, body)", (reservation.reservation_id,), reservation)
                case e.DropReservation(reservation_id=reservation_id):
                    self._drop("reservations", reservation_id)
                case e.AppendEntry(entry=entry):
                    outbox.append(entry, entry_name(entry.local_tx_id, entry.number))
                case e.ForgetEntry(outcome=outcome):
                    forget_entry(outbox, outcome)
                case e.NoteStartSettled(local_tx_id=local_tx_id, transaction_id=transaction_id):
                    outbox.amend(entry_name(local_tx_id, ""), partial(_with_start_settled, transaction_id))
                case e.SaveEverAccepted(ever_accepted=ever_accepted):
                    self._know(_EVER_ACCEPTED, "true" if ever_accepted else "false")
                case e.SaveEnded(boot_id=boot_id):
                    self._know(_ENDED, boot_id)
                case e.SaveCached(key=key, info=info):
                    self._save("cache", "(id_tag, body)", (key,), info)
                case e.DropCached(keys=keys):
                    for key in keys:
                        self._drop("cache", key)
                case e.EmptyCache():
                    self._database.execute("DELETE FROM cache")
                case e.SaveLocalList():
                    self.local_list.save(change)
                case e.SaveLocalListSize(size=size):
                    self.local_list.save_size(size)

    def save_availability(self, change: e.SaveAvailability) -> None:
        """Inside the caller's transaction."""
        self._save("availability", "(connector_id, body)", (change.connector_id,), change.availability)

    def _kept(self, open_ids: set[str]) -> dict[str, tuple[KeptReading, ...]]:
        """Readings by transaction, in order. What an older release has left of transactions that it closed is removed."""
        found: dict[str, tuple[KeptReading, ...]] = {}
        for name, reading in self._rows("transaction_data", KeptReading).items():
            local_tx_id = name.rpartition("/")[0]
            if local_tx_id in open_ids:
                found[local_tx_id] = (*found.get(local_tx_id, ()), reading)
            else:
                with transaction(self._database):
                    self._drop("transaction_data", name)
        return {id_: tuple(sorted(readings, key=lambda one: one.position)) for id_, readings in found.items()}

    def _note_closed(self, local_tx_id: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO closed VALUES (?)", (local_tx_id,))
        self._database.execute("DELETE FROM closed WHERE rowid <= (SELECT max(rowid) FROM closed) - ?", (CLOSED_KEPT,))

    def _rows(self, table: str, type_: type[T]) -> dict[str, T]:
        found: dict[str, T] = {}
        query = f"SELECT {_KEYS[table]}, CAST(body AS BLOB) FROM {table} ORDER BY rowid"
        for key, body in self._database.execute(query).fetchall():
            try:
                found[str(key)] = msgspec.json.decode(body, type=type_)
            except msgspec.MsgspecError as error:
                self._set_aside(table, str(key), body, str(error))
        return found

    def _set_aside(self, table: str, key: str, body: bytes, reason: str) -> None:
        with transaction(self._database):
            unreadable.keep(self._database, table, key, body, reason)
            self._drop(table, key)
        self.unreadable.append(f"{table} {key}: {reason}")

    def _save(self, table: str, columns: str, keys: tuple[object, ...], body: msgspec.Struct) -> None:
        marks = ", ".join("?" * (len(keys) + 1))
        statement = f"INSERT OR REPLACE INTO {table} {columns} VALUES ({marks})"
        self._database.execute(statement, (*keys, msgspec.json.encode(checked_builtins(body)).decode()))

    def _know(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO known VALUES (?, ?)", (name, value))

    def _drop(self, table: str, key: object) -> None:
        self._database.execute(f"DELETE FROM {table} WHERE {_KEYS[table]} = ?", (key,))


def entry_name(local_tx_id: str, number: int | str) -> str:
    """By which the outbox finds a transaction's entry again, and this store a kept reading."""
    return f"{local_tx_id}/{number}"


def forget_entry(outbox: Outbox, outcome: DeliveryEntry) -> None:
    """The queue has said what became of a message, inside the caller's transaction.

    A transaction has one StopTransaction: the queue may know it under another number, where this database is an older copy
    that gave one a second time (design §3). So what is told of a stop is about that one, and what is told of others is not.
    """
    name = entry_name(outcome.local_tx_id, outcome.number)
    if outcome.action == StopTransaction.__name__:
        outbox.forget_holding(entry_name(outcome.local_tx_id, ""), _A_STOP)
    outbox.forget_named(name, unless=_A_STOP if outcome.action else "")


def _with_start_settled(transaction_id: int | None, payload: bytes) -> TransactionEntry | None:
    """An entry that tells what became of its StartTransaction; None: it can't be read any more, and stays as it is."""
    entry = _entry(payload)
    if entry is None:
        return None
    return msgspec.structs.replace(entry, transaction_id=transaction_id, start_given_up=transaction_id is None)


def _entry(payload: bytes) -> TransactionEntry | None:
    """An entry of the outbox; None: it can't be read any more."""
    try:
        return msgspec.json.decode(payload, type=TransactionEntry)
    except msgspec.MsgspecError:
        return None
