"""What is known of a transaction, as columns of its row: out of its messages, and two accounts of it made one (pure).

Columns that belong together are taken from one account, never mixed: a start, a stop, the moment sent last, a register.

Owns: these rules. Does not: read or write rows (`handover.py`, `taking_in.py`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bus.messages import Moment, TransactionMessage
from services.transaction_queue import rows, times
from services.transaction_queue.kept import KeptBoot, KeptMessage, KeptTransaction
from services.transaction_queue.schema import TRANSACTION_COLUMNS

Facts = dict[str, str | int]

_START = ("start_boot_id", "start_boottime_ms", "start_utc_ms", "id_tag", "started", "meter_start_wh")
_STOP = ("stop_reason", "stopped", "meter_stop_wh")
_ANCHOR = ("anchor_boot_id", "anchor_boottime_ms", "anchor_utc_ms")
_LAST = ("last_wh", "last_boot_id", "last_boottime_ms", "last_utc_ms")
_GROUPS = (_START, _STOP, _ANCHOR, _LAST)
"""The first column of each says whether it is known."""
_MOMENTS = ("start", "anchor", "last")


def clean(facts: Mapping[str, Any]) -> Facts:
    """Only columns that there are, with values of their type: what a damaged row or file has is left out."""
    found: Facts = {}
    for name, value in facts.items():
        kind = TRANSACTION_COLUMNS.get(name)
        if isinstance(value, str) and kind is str:
            found[name] = value
        elif isinstance(value, int) and kind is int and abs(value) <= rows.INTEGER_MAX:
            found[name] = int(value)
    return found


def of_messages(messages: Iterable[KeptMessage]) -> Facts:
    """What messages tell, as the queue notes it when they come by the journal."""
    found: dict[str, Any] = {}
    numbers = []
    for kept in sorted(messages, key=lambda one: one.number):
        numbers.append(kept.number)
        message = message_of(kept)
        if message is not None:
            found |= {"connector_id": message.connector_id} | rows.facts_of(message)
    if numbers:
        found["last_number"] = max(numbers)
    return clean({name: value for name, value in found.items() if value is not None})


def message_of(kept: KeptMessage) -> TransactionMessage | None:
    """The message itself; None: it can't be read."""
    if not isinstance(kept.payload, dict):
        return None
    try:
        found: TransactionMessage = msgspec.convert(kept.payload, TransactionMessage)
    except msgspec.MsgspecError:
        return None
    return found


def merged(known: Facts, more: Facts) -> Facts:
    """Two accounts of one transaction: what is known holds, but the higher number and the higher register are later."""
    found = more | known
    for names in _GROUPS:
        first = names[0]
        later = first not in known or (names is _LAST and int(more.get(first, -1)) > int(known[first]))
        chosen = more if later and first in more else known
        for name in names:
            found.pop(name, None)
            if name in chosen:
                found[name] = chosen[name]
    numbers = [int(one["last_number"]) for one in (known, more) if "last_number" in one]
    return found | ({"last_number": max(numbers)} if numbers else {})


def completed(given: KeptTransaction) -> Facts:
    """The row of an exported transaction, with what its messages tell beyond it."""
    told = of_messages(given.messages)
    # A message that waits was never in this row where only `connectors.db` had it.
    return merged(clean(given.facts), told)


def is_open(facts: Facts) -> bool:
    """Whether the row says that a StopTransaction is still to come."""
    return "start_boot_id" in facts and "stop_reason" not in facts


def of_moment(name: str, at: Moment) -> dict[str, Any]:
    """A moment as the columns of that name."""
    return {f"{name}_boot_id": at.boot_id, f"{name}_boottime_ms": at.boottime_ms, f"{name}_utc_ms": at.utc_ms}


def boot_ids(facts: Facts) -> set[str]:
    """Boots that the row names."""
    return {str(facts[f"{name}_boot_id"]) for name in _MOMENTS if f"{name}_boot_id" in facts}


def boots_told(given: KeptTransaction) -> tuple[KeptBoot, ...]:
    """The boots of an exported transaction, with what its moments tell of them: one that they alone know is later."""
    found = {boot.boot_id: boot for boot in given.boots}
    for at in _moments(given):
        boot = found.get(at.boot_id, KeptBoot(at.boot_id))
        last_ms = max(boot.last_boottime_ms, at.boottime_ms)
        if at.utc_ms is not None and (boot.utc_offset_ms is None or boot.estimated):
            boot = KeptBoot(at.boot_id, at.utc_ms - at.boottime_ms)
        found[at.boot_id] = msgspec.structs.replace(boot, last_boottime_ms=last_ms)
    return tuple(found.values())


def _moments(given: KeptTransaction) -> list[Moment]:
    facts = clean(given.facts)
    found = []
    for name in _MOMENTS:
        boot_id, boottime_ms = facts.get(f"{name}_boot_id"), facts.get(f"{name}_boottime_ms")
        utc_ms = facts.get(f"{name}_utc_ms")
        # The anchor was sent: its UTC may be one that keeps a distance, not one of its boot.
        if isinstance(boot_id, str) and isinstance(boottime_ms, int) and name != "anchor":
            found.append(Moment(boot_id, boottime_ms, utc_ms if isinstance(utc_ms, int) else None))
    for kept in given.messages:
        message = None if kept.unique_ids else message_of(kept)
        # The moments of one that was sent have been dated then, with the same exception.
        found += [] if message is None else times.moments(message)
    return found
