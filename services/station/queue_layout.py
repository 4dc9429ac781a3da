"""`station queue` for a person: lines out of what is kept. Pure.

Owns: words and columns. Does not: read the database (`queue_access.py`) or know its tables (`handover.py`).
"""

import json
from collections.abc import Iterable, Sequence

from bus.vocabulary import masked_id_tag
from services.station.masking import masked_values
from services.transaction_queue.kept import STATES, Counts, KeptMessage, KeptTransaction

OPEN = "the station that goes on with what is here ends each of them with one StopTransaction"
"""What becomes of open transactions, be it on this board or on another one."""
RISK = """\
The Central System may have processed some of these messages although it never said so: it answered with an error, or not in
time. Sent again, they may be booked a second time: look there first whether it has a transaction of this card at this time."""
RISK_OF_WHOLE = """\
Its StartTransaction was given up, so the rest went out with transactionId -1. All of it goes again, under a new transactionId:
what the Central System has booked under -1 is then there twice."""

RISK_OF_LATE = """\
Its StartTransaction was answered late: some of it had gone out with transactionId -1, and goes again under the right one;
what the Central System has booked under -1 is then there twice."""


def verdict(counts: Counts, only_in_connectors: int, damaged: list[str], problems: Sequence[str] = ()) -> list[str]:
    """The answer in the first line, and what is kept, each in one more. `only_in_connectors`: of those that wait."""
    parts = [
        f"{count} {what}"
        for count, what in (
            (counts.waiting, "waiting"),
            (counts.given_up, "given up"),
            (counts.unreadable, "unreadable"),
            (counts.open, "still open"),
        )
        if count
    ]
    parts += ["what can't be told"] if problems else []
    lines = ["empty: the Central System has everything"]
    if parts:
        lines = [f"NOT EMPTY: {', '.join(parts)}. Export before this board is taken away: station queue export FILE"]
    lines += problems
    if counts.oldest_utc:
        lines.append(f"the oldest has waited since {counts.oldest_utc}")
    if only_in_connectors:
        lines.append(f"{only_in_connectors} of them are in connectors.db alone: the queue has not stored them yet")
    if counts.open:
        lines.append(f"transactions still open: {counts.open}. {OPEN[0].upper()}{OPEN[1:]}")
    lines += [f"damaged database kept: {name}; delete it when nobody needs it any more" for name in damaged]
    return lines


def listing(transactions: Iterable[KeptTransaction], *, everything: bool) -> list[str]:
    """One line for each transaction; without `everything` only those with messages that are not just waiting."""
    lines = []
    for tx in transactions:
        counts = {state: sum(1 for m in tx.messages if m.state == state) for state in STATES}
        if not everything and not (counts["given up"] or counts["unreadable"]):
            continue
        parts = [f"{count} {state}" for state, count in counts.items() if count]
        kept = ", ".join([*parts, "still open"] if tx.open else parts)
        lines.append(f"{tx.local_tx_id}  {_about(tx)}: {kept}")
        reasons = dict.fromkeys(m.reason for m in tx.messages if m.reason and m.state in ("given up", "unreadable"))
        lines += [f"{'':<18}because: {reason}" for reason in list(reasons)[:3]]
    return lines


def details(tx: KeptTransaction) -> list[str]:
    """All that is kept of one transaction, idTags shortened: the Central System knows them, and the export has them."""
    lines = [f"{tx.local_tx_id}  {_about(tx)}"]
    if tx.open:
        lines.append(f"  still open, its last reading is {tx.facts.get('last_wh', tx.facts.get('meter_start_wh'))} Wh")
    for message in tx.messages:
        lines += _message(message)
    return lines


def risk(tx: KeptTransaction) -> list[str]:
    """What a person has to know before it is queued again."""
    letters = [m for m in tx.messages if m.state == "given up"]
    again = [m for m in tx.messages if m.state in ("given up", "delivered with transactionId -1")]
    more = [RISK_OF_WHOLE] if tx.transaction_id is None else [RISK_OF_LATE] if len(again) > len(letters) else []
    return [f"{tx.local_tx_id}  {_about(tx)}: {len(again)} messages would be sent again.", RISK, *more]


def _about(tx: KeptTransaction) -> str:
    facts = tx.facts
    card = masked_id_tag(str(facts["id_tag"])) if facts.get("id_tag") else "card not known"
    number = f"transaction {tx.transaction_id}" if tx.transaction_id is not None else "no transactionId"
    times = f"{facts.get('started', 'start not known')} to {facts.get('stopped', 'not stopped')}"
    return f"connector {facts.get('connector_id', '?')}, {card}, {number}, {times}"


def _message(message: KeptMessage) -> list[str]:
    head = f"  {message.number:>5}  {message.action}, {message.state}, stored {message.stored_utc or 'at a time not known'}"
    lines = [head + (f", alarm: {message.alarm}" if message.alarm else "")]
    if message.reason:
        lines.append(f"         because: {message.reason} ({message.moved_utc or 'at a time not known'})")
    lines += [
        f"         attempt failed {f.utc or 'at a time not known'}: {f.reason}, id {f.unique_id}" for f in message.failures
    ]
    if message.unique_ids:
        lines.append(f"         sent under {', '.join(message.unique_ids[-3:])}")
    if isinstance(message.payload, str):
        lines.append(f"         {len(message.payload)} characters that can't be read; station queue export has them")
    else:
        lines.append(f"         {json.dumps(masked_values(message.payload), ensure_ascii=False)[:400]}")
    return lines
