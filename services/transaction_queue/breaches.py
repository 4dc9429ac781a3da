"""What may not be in the life of a transaction (pure): checked when a message is stored.

A breach raises an alarm and never refuses the message: the Central System is to see what happened, and a person is to know
(field-reports.md §2: Central Systems acknowledge such messages without processing them).

Owns: the rules. Does not: store or log.
"""

import msgspec

from bus.messages import Moment, StartTransaction, StopTransaction, TransactionMessage
from services.transaction_queue.times import moments

FUTURE_MS_MAX = 5 * 60 * 1000
"""Central Systems refuse a stop that is dated further ahead."""


class Known(msgspec.Struct, frozen=True):
    """What is stored of a transaction when its next message comes."""

    started_at: Moment | None = None
    """None: its StartTransaction is not in this store."""
    meter_start_wh: int | None = None
    stopped: bool = False


def breaches(known: Known | None, message: TransactionMessage, stored_at: Moment) -> tuple[str, ...]:
    """Each broken rule in plain words; `known` None: the first message of its transaction."""
    found = [_order(known, message)]
    if known is not None and isinstance(message, StopTransaction):
        found.append(_stop(known, message))
    if any(_ahead(at, stored_at) for at in moments(message)):
        found.append("dated in the future")
    return tuple(text for text in found if text)


def _order(known: Known | None, message: TransactionMessage) -> str:
    if isinstance(message, StartTransaction):
        return "" if known is None else "a second StartTransaction"
    if known is None or known.started_at is None:
        return "no StartTransaction before it in this store"
    if known.stopped:
        return "a second StopTransaction" if isinstance(message, StopTransaction) else "MeterValues after the StopTransaction"
    return ""


def _stop(known: Known, message: StopTransaction) -> str:
    if known.started_at is not None and _before(message.at, known.started_at):
        return "stopped before it started"
    if known.meter_start_wh is not None and message.meter_stop_wh < known.meter_start_wh:
        return f"meterStop {message.meter_stop_wh} Wh is below meterStart {known.meter_start_wh} Wh"
    return ""


def _before(a: Moment, b: Moment) -> bool:
    if a.boot_id == b.boot_id:
        return a.boottime_ms < b.boottime_ms
    return a.utc_ms is not None and b.utc_ms is not None and a.utc_ms < b.utc_ms


def _ahead(at: Moment, now: Moment) -> bool:
    if at.boot_id == now.boot_id:
        return at.boottime_ms > now.boottime_ms + FUTURE_MS_MAX
    return at.utc_ms is not None and now.utc_ms is not None and at.utc_ms > now.utc_ms + FUTURE_MS_MAX
