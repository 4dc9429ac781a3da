"""What is kept of transactions, as it is exported, imported and shown (pure).

Owns: the shape of an export (a field keeps its name and meaning, new ones are added with a default) and the words for where a
message is kept. Does not: read or write the tables (`handover.py`).
"""

from typing import Any

import msgspec

from services.transaction_queue.rows import Failure

FORMAT = "chargebus queue"
FORMAT_VERSION = 2
"""2: transactions that are still open, the order of boots. An older release refuses it rather than lose a stop."""

STATES = {
    "waiting": "messages",
    "given up": "dead_letters",
    "delivered with transactionId -1": "delivered_without_id",
    "unreadable": "quarantine",
}
"""Where a message is kept, in words, and the table. The order is that of the commands' output."""


class KeptMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message, whole. `state` is one of STATES; times in UTC, null: not known."""

    number: int
    action: str
    state: str
    payload: Any
    """What is to be sent, as JSON; text where it can't be read any more."""
    attempts: int = 0
    failures: tuple[Failure, ...] = ()
    unique_ids: tuple[str, ...] = ()
    outstanding: bool = False
    reason: str | None = None
    stored_utc: str | None = None
    moved_utc: str | None = None
    stored_boot_id: str = ""
    stored_boottime_ms: int = 0
    alarm: str | None = None
    correlation_id: str = ""
    without_id: bool = False
    """It went out with transactionId -1, and its repeats do."""


class KeptBoot(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hardware boot that messages happened in, so that their times can be told elsewhere."""

    boot_id: str
    utc_offset_ms: int | None = None
    estimated: bool = False
    last_boottime_ms: int = 0


class KeptTransaction(msgspec.Struct, frozen=True):
    """A transaction of which something is kept, or that is still open. `facts`: its row, for `take_in`; no null values."""

    local_tx_id: str
    transaction_id: str | None
    facts: dict[str, str | int]
    messages: tuple[KeptMessage, ...]
    boots: tuple[KeptBoot, ...] = ()
    open: bool = False
    """Its StopTransaction was never made: who takes it in ends it at `last_wh` of its facts."""


class Rest(msgspec.Struct, frozen=True):
    """What only `connectors.db` has of a transaction. `facts`: columns of its row, as far as they are told there."""

    messages: tuple[KeptMessage, ...] = ()
    facts: dict[str, str | int] = {}
    transaction_id: str | None = None
    closed: bool = False
    """It has been ended there, so that its stop is among the messages, or is done with."""


class Export(msgspec.Struct, frozen=True):
    """A whole queue. `boots`: all that matter, in their order."""

    format: str
    version: int
    exported_utc: str
    transactions: tuple[KeptTransaction, ...]
    boots: tuple[KeptBoot, ...] = ()


class Counts(msgspec.Struct, frozen=True):
    """What is kept: the tables by their sizes."""

    waiting: int
    given_up: int
    unreadable: int
    open: int = 0
    """Transactions that still have to be ended."""
    oldest_utc: str | None = None
