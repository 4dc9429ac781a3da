"""Tables and views of `transactions.db`, made with sqlite-utils so that its command line shows what a person can read.

The schema only ever grows: a missing table or column is added, nothing is dropped, and what is added later may be left out by
an older release. Owns: the schema. Does not: read or write rows (`store.py`).

sqlite_utils costs 65 ms and 4 MB at import, and it is needed only where something is missing: so it is imported here, late.
"""

import sqlite3

from bus import unreadable
from bus.salvage import Schema

VERSION = 5
"""To be raised with every change below; an older or unmarked database is brought up to it at the start."""

_VERSION_MAX = 2**31 - 1
Columns = dict[str, type]

_MESSAGE: Columns = {
    "local_tx_id": str,
    "number": int,
    "action": str,
    "attempts": int,
    "last_failure": str,
    "stored_utc": str,
    "payload": str,
    "unique_id": str,
    "unique_ids": str,
    "outstanding": int,
    "answered_on": str,
    "failures": str,
    "failed_boot_id": str,
    "failed_boottime_ms": int,
    "stored_boot_id": str,
    "stored_boottime_ms": int,
    "alarm": str,
    # For the logs; NULL in rows of an older release, and no part of any decision.
    "correlation_id": str,
    # 1: it went out with transactionId -1, and its repeats do.
    "without_id": int,
}
"""What a message is, wherever it is kept. `payload` is the message as JSON; `failures` what each attempt came to."""
MESSAGE_COLUMNS = tuple(_MESSAGE)
KEPT_COLUMNS = (*MESSAGE_COLUMNS, "reason", "moved_utc")

_KEPT: Columns = {"id": int, **_MESSAGE, "reason": str, "moved_utc": str}
_TABLES: dict[str, tuple[str, Columns]] = {
    "messages": ("id", {"id": int, **_MESSAGE}),
    "dead_letters": ("id", _KEPT),
    "delivered_without_id": ("id", _KEPT),
    "quarantine": ("id", _KEPT),
    "transactions": (
        "local_tx_id",
        {
            "local_tx_id": str,
            # Text, since any integer that a Central System gives is valid, however long.
            "transaction_id": str,
            "connector_id": int,
            "id_tag": str,
            "started": str,
            "stopped": str,
            "meter_start_wh": int,
            "meter_stop_wh": int,
            "stop_reason": str,
            # 1: its StartTransaction was, and is not waiting again; NULL: a person had it queued again.
            "given_up": int,
            "last_number": int,
            "finished_number": int,
            "settled_number": int,
            # Numbers up to it that were never here, as JSON: [[from, to], ...].
            "missing": str,
            "start_boot_id": str,
            "start_boottime_ms": int,
            "start_utc_ms": int,
            "anchor_boot_id": str,
            "anchor_boottime_ms": int,
            "anchor_utc_ms": int,
            # The register as its last MeterValues had it, for a stop that nobody else can make any more.
            "last_wh": int,
            "last_boot_id": str,
            "last_boottime_ms": int,
            "last_utc_ms": int,
            # From another board: what a register here has counted since is not this transaction's.
            "taken_in": int,
        },
    ),
    "given_up_ids": ("unique_id", {"unique_id": str, "local_tx_id": str, "number": int}),
    "boots": (
        "boot_id",
        {"boot_id": str, "position": int, "utc_offset_ms": int, "estimated": int, "last_boottime_ms": int},
    ),
}
TRANSACTION_COLUMNS = _TABLES["transactions"][1]
_INDEXES: tuple[tuple[str, tuple[str, ...], bool], ...] = (
    ("messages", ("local_tx_id", "number"), True),
    ("dead_letters", ("local_tx_id", "number"), False),
    ("delivered_without_id", ("local_tx_id", "number"), False),
    ("quarantine", ("local_tx_id", "number"), False),
    ("transactions", ("finished_number",), False),
    ("transactions", ("stop_reason",), False),
)
_VIEWS = {
    "queue": (
        "SELECT m.id, m.action, t.connector_id, t.id_tag, t.transaction_id, t.started, m.attempts, m.last_failure,"
        " m.stored_utc, m.unique_id, m.alarm, m.local_tx_id, m.number"
        " FROM messages AS m LEFT JOIN transactions AS t ON t.local_tx_id = m.local_tx_id ORDER BY m.id"
    ),
    "given_up": (
        "SELECT d.id, d.action, t.connector_id, t.id_tag, t.started, t.stopped, d.reason, d.moved_utc, d.attempts,"
        " d.local_tx_id, d.number"
        " FROM dead_letters AS d LEFT JOIN transactions AS t ON t.local_tx_id = d.local_tx_id ORDER BY d.id"
    ),
}


def ensure(database: sqlite3.Connection) -> None:
    """Bring the database up to this schema. Raises sqlite3.Error."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version >= VERSION and _complete(database):
        return
    _grow(database)
    database.execute(f"PRAGMA user_version = {min(max(version, VERSION), _VERSION_MAX)}")


def _complete(database: sqlite3.Connection) -> bool:
    """Whether nothing is missing, whatever the version says: the number alone may be a damaged one."""
    present = {str(name) for (name,) in database.execute("SELECT name FROM sqlite_master")}
    if not present.issuperset([*_TABLES, *_VIEWS, *(_index_name(table, columns) for table, columns, _ in _INDEXES)]):
        return False
    for table, (_, columns) in _TABLES.items():
        found = {str(row[1]) for row in database.execute(f"PRAGMA table_info({table})")}
        if not found.issuperset(columns):
            return False
    return True


def _index_name(table: str, columns: tuple[str, ...]) -> str:
    """As sqlite-utils names it."""
    return f"idx_{table}_{'_'.join(columns)}"


_ID_IS_NUMBER = "transaction_id IS NULL OR transaction_id GLOB '*[0-9]' AND trim(ltrim(transaction_id, '-'), '0123456789') = ''"
_START_IS_WHOLE = "start_boot_id IS NULL OR start_boottime_ms IS NOT NULL AND meter_start_wh IS NOT NULL"
SCHEMA = Schema(
    {name: frozenset(columns) for name, (_, columns) in _TABLES.items()},
    ensure,
    # `Store.head` puts a message into quarantine whatever of it can't be read, but it has to be found for that.
    bodies=unreadable.BODIES | frozenset(KEPT_COLUMNS) - {"local_tx_id", "number"},
    rules={
        "transactions": f"({_ID_IS_NUMBER}) AND ({_START_IS_WHOLE})",
        **dict.fromkeys(_TABLES.keys() - {"transactions", "boots"}, "local_tx_id IS NOT NULL AND number IS NOT NULL"),
    },
)
"""For `bus.salvage`."""


def _grow(database: sqlite3.Connection) -> None:
    import sqlite_utils

    # Plugins are for people's own machines; firmware runs only its own code.
    db = sqlite_utils.Database(database, recursive_triggers=False, execute_plugins=False)
    for name, (key, columns) in _TABLES.items():
        table = db.table(name)
        if not table.exists():
            table.create(columns, pk=key)
            continue
        for column in [name for name in columns if name not in table.columns_dict]:
            table.add_column(column, columns[column])
    for name, index_columns, unique in _INDEXES:
        db.table(name).create_index(index_columns, unique=unique, if_not_exists=True)
    for name, query in _VIEWS.items():
        db.create_view(name, query, replace=True)
