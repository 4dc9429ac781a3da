"""Whether the Central System's book equals what truly happened at relays and meters (pure; design §7).

Every watt-hour that a register counted stands in exactly one transaction: the transactions of a connector are a chain over
its register. Where one ended in good order the chain is closed to the watt-hour. A gap is allowed by these rules only
(design §§2, 4.1):

- *another plug-in*: `connectors` was dead while one plug went out and another came in: the old transaction is closed with the
  last committed reading;
- *fallback*: the meter service, or the broker before it, was dead at the stop: a stop falls back after 5 s on the last
  trustworthy reading;
- *checkpoint*: after a power cut no reading came, because one of the two was dead again: the last checkpoint counts.

Owns: the comparison, in plain words. Does not: look at anything that the station says of itself but what is left undelivered.
"""

from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec

from tests.torture import copies
from tests.torture.copies import Message
from tests.torture.evidence import Charge, Disturbance, Evidence

CLOCK_S = 6.0
"""The station takes its time from the Central System's answers, which torture delays by up to MessageTimeout."""
COMMITTED_S = 10.0
"""Sample interval, age of a reading, and a machine under load: so old may a last committed reading be."""
FALLBACK_S = 8.0
"""A stop waits 5 s for its reading."""
RECOVERY_S = 45.0
"""After a power cut the reading is waited for 30 s, and the services have to start."""
CHECKPOINT_S = 5.0
READING_PATH = frozenset({"meter", "broker"})
SAMPLING_PATH = READING_PATH | {"connectors"}


class Transaction(msgspec.Struct, frozen=True):
    """A transaction as the book has it. `stop` None: it was never stopped. Times on the judge's clock."""

    connector_id: int
    id_tag: str
    meter_start_wh: int
    started_s: float
    transaction_ids: frozenset[int]
    order: int
    stop: dict[str, Any] | None
    stopped_s: float
    samples: tuple[tuple[float, int], ...]

    @property
    def meter_stop_wh(self) -> int:
        """Of one without a stop: where it began, so that the gap is told as well."""
        return self.meter_start_wh if self.stop is None else int(self.stop["meterStop"])

    @property
    def reason(self) -> str:
        """Local where it was left out (OCPP 1.6 §6.49)."""
        return "" if self.stop is None else str(self.stop.get("reason", "Local"))

    @property
    def name(self) -> str:
        """For a person."""
        ids = "/".join(str(number) for number in sorted(self.transaction_ids)) or "without id"
        return f"transaction {ids} of {self.id_tag} on connector {self.connector_id}"


def differences(evidence: Evidence) -> list[str]:
    """Everything in which the book differs from the truth, each in one line; empty: nothing was lost, nothing doubled."""
    found = copies.messages(evidence.entries)
    transactions, problems = _transactions(found, evidence)
    problems += copies.doubles(found, evidence.disturbances)
    for number in sorted(evidence.first_wh):
        of_one = sorted((t for t in transactions if t.connector_id == number), key=lambda t: t.order)
        charges = [charge for charge in evidence.charges if charge.connector_id == number]
        problems += _chain(of_one, number, evidence)
        problems += _charges(of_one, charges, evidence.last_wh[number])
        problems += _plug_ins(of_one, charges, evidence)
        problems += _times(of_one, evidence)
        problems += _samples(of_one, charges, evidence)
    problems += _authorised(transactions, evidence)
    problems += _left(found, evidence)
    problems += [
        f"the Central System complains of entry {e.number}, {e.action} {e.payload}: {violation}"
        for e in evidence.entries
        for violation in e.violations
    ]
    return problems


def counted(evidence: Evidence) -> tuple[int, int, int]:
    """Transactions, messages and repeats in the book, for the summary."""
    found = copies.messages(evidence.entries)
    starts = sum(message.action == "StartTransaction" for message in found)
    return starts, sum(len(message.copies) for message in found), copies.repeats(found)


def _transactions(found: list[Message], evidence: Evidence) -> tuple[list[Transaction], list[str]]:
    problems: list[str] = []
    rest = [message for message in found if message.action != "StartTransaction"]
    known: list[Transaction] = []
    for order, start in enumerate(m for m in found if m.action == "StartTransaction"):
        ids = start.transaction_ids
        own = [message for message in rest if message.payload.get("transactionId") in ids]
        stops = [message for message in own if message.action == "StopTransaction"]
        rest = [message for message in rest if message not in own]
        stop = stops[0] if stops else None
        transaction = Transaction(
            connector_id=start.payload["connectorId"],
            id_tag=start.payload["idTag"],
            meter_start_wh=start.payload["meterStart"],
            started_s=_at_s(start.payload["timestamp"], evidence),
            transaction_ids=frozenset(ids),
            order=order,
            stop=None if stop is None else stop.payload,
            stopped_s=0.0 if stop is None else _at_s(stop.payload["timestamp"], evidence),
            samples=tuple(_sample(m, evidence) for m in own if m.action == "MeterValues"),
        )
        known.append(transaction)
        problems += _life(transaction, start, own)
    problems += [f"{m.action} of entry {m.copies[0].received.number} belongs to no transaction: {m.payload}" for m in rest]
    return known, problems


def _life(transaction: Transaction, start: Message, own: list[Message]) -> Iterator[str]:
    """One start, one stop, in order, each processed."""
    stops = [message for message in own if message.action == "StopTransaction"]
    if len(stops) != 1:
        yield f"{transaction.name} has {len(stops)} different StopTransactions, not one"
    for message in (start, *own):
        if not any(copy.processed for copy in message.copies):
            yield f"{transaction.name}: a {message.action} was never processed by the Central System"
    first = [message.copies[0].received.number for message in own]
    if first != sorted(first) or (stops and own[-1].action != "StopTransaction"):
        yield f"{transaction.name}: its messages came out of order"
    registers = [transaction.meter_start_wh, *(wh for _, wh in transaction.samples)]
    if stops:
        registers.append(transaction.meter_stop_wh)
    if registers != sorted(registers):
        yield f"{transaction.name}: its register goes back: {registers}"
    times = [at_s for at_s, _ in transaction.samples]
    if any(a >= b for a, b in pairwise(times)):
        yield f"{transaction.name}: its samples are not in the order of their times"


def _chain(transactions: list[Transaction], connector_id: int, evidence: Evidence) -> Iterator[str]:
    """All that the register counted, once."""
    at_wh = evidence.first_wh[connector_id]
    before: Transaction | None = None
    for transaction in transactions:
        yield from _link(before, at_wh, transaction.meter_start_wh, evidence)
        before, at_wh = transaction, transaction.meter_stop_wh
    yield from _link(before, at_wh, evidence.last_wh[connector_id], evidence)


def _link(before: Transaction | None, billed_wh: int, next_wh: int, evidence: Evidence) -> Iterator[str]:
    gap_wh = next_wh - billed_wh
    if gap_wh == 0:
        return
    name = "before any transaction" if before is None else f"after {before.name} ({before.reason})"
    if gap_wh < 0:
        yield f"energy billed twice: {-gap_wh} Wh {name}, from {next_wh} to {billed_wh} Wh"
    elif before is None or not _may_fall_short(before, next_wh, evidence):
        yield f"energy not billed: {gap_wh} Wh {name}, from {billed_wh} to {next_wh} Wh"


def _may_fall_short(transaction: Transaction, next_wh: int, evidence: Evidence) -> bool:
    """Whether one of the three rules holds, and the reading is as new as the rule wants it."""
    allowed = [*_another_plug_in(transaction, evidence), *_fallback(transaction, next_wh, evidence)]
    return any(transaction.meter_stop_wh >= _register_wh(transaction, at_s, evidence) for at_s in allowed)


def _another_plug_in(transaction: Transaction, evidence: Evidence) -> Iterator[float]:
    if transaction.reason != "EVDisconnected":
        return
    for d in evidence.disturbances:
        if d.what == "kill" and d.who == "connectors":
            inside = [
                p for p in evidence.plugs if p.connector_id == transaction.connector_id and d.from_s <= p.at_s <= d.until_s
            ]
            if any(not p.inserted for p in inside) and inside[-1].inserted:
                yield d.from_s - COMMITTED_S


def _fallback(transaction: Transaction, next_wh: int, evidence: Evidence) -> Iterator[float]:
    wait_s = RECOVERY_S if transaction.reason == "PowerLoss" else FALLBACK_S + CLOCK_S
    for charge in evidence.charges:
        own = charge.connector_id == transaction.connector_id
        unbilled = charge.opened_wh > transaction.meter_stop_wh and charge.closed_wh < next_wh
        from_s, until_s = charge.opened_s - 2.0, charge.opened_s + wait_s
        if own and unbilled and _disturbed(evidence, READING_PATH, from_s, until_s, powered=False):
            yield charge.opened_s - COMMITTED_S


def _charges(transactions: list[Transaction], charges: list[Charge], last_wh: int) -> Iterator[str]:
    """No contactor closed outside of a transaction, and none closed in two."""
    ends = [*(t.meter_start_wh for t in transactions[1:]), last_wh]
    for charge in charges:
        holders = [
            t
            for t, next_wh in zip(transactions, ends, strict=False)
            if t.meter_start_wh <= charge.closed_wh and charge.opened_wh <= next_wh and t.started_s <= charge.closed_s + CLOCK_S
        ]
        if not holders:
            yield (
                f"contactor of connector {charge.connector_id} was closed from {charge.closed_wh} to {charge.opened_wh} Wh"
                f" ({charge.opened_s - charge.closed_s:.1f} s), and no single transaction has that"
            )


def _plug_ins(transactions: list[Transaction], charges: list[Charge], evidence: Evidence) -> Iterator[str]:
    """A transaction is of one plug-in: no energy of another car is billed in it, unless the counters could not tell."""
    for a, b in pairwise(charges):
        own = [p for p in evidence.plugs if p.connector_id == a.connector_id and a.closed_s <= p.at_s <= b.closed_s]
        if not any(p.inserted for p in own) or b.closed_wh == b.opened_wh or _overtaken(a, b, evidence):
            continue
        for t in transactions:
            if t.meter_start_wh <= a.closed_wh and t.meter_stop_wh >= b.opened_wh and a.closed_wh < b.closed_wh:
                yield f"{t.name} went on with another plug-in, from {b.closed_wh} to {b.opened_wh} Wh"


def _overtaken(a: Charge, b: Charge, evidence: Evidence) -> bool:
    """Whether the new plug-in had counted as much as is on the disk of the old one when `connectors` came back.

    The controller's counters are all that tells plug-ins apart (design §2), and a checkpoint is as old as CHECKPOINT_S, or
    half of the session: a car that charges for longer than that while the service is away can't be told.
    """
    for d in evidence.disturbances:
        if d.what == "kill" and d.who == "connectors" and d.from_s <= b.closed_s <= d.until_s:
            counted_s = min(a.opened_s, d.from_s) - a.closed_s
            return d.until_s - b.closed_s >= counted_s / 2 - CHECKPOINT_S
    return False


def _times(transactions: list[Transaction], evidence: Evidence) -> Iterator[str]:
    for transaction in transactions:
        asked = [a.at_s for a in evidence.asked if a.id_tag == transaction.id_tag]
        if asked and transaction.started_s < min(asked) - CLOCK_S:
            yield f"{transaction.name} starts {min(asked) - transaction.started_s:.1f} s before anybody asked for it"
        if transaction.stop is None:
            continue
        if transaction.stopped_s < transaction.started_s:
            yield f"{transaction.name} stops before it starts"
        for charge in _last_charge(transaction, evidence):
            early = transaction.stopped_s < charge.closed_s - CLOCK_S
            late = transaction.stopped_s > charge.opened_s + CLOCK_S and transaction.reason != "PowerLoss"
            dead = _disturbed(evidence, SAMPLING_PATH, charge.opened_s - 2.0, transaction.stopped_s + CLOCK_S, powered=True)
            if early or (late and not dead):
                off_s = transaction.stopped_s - charge.opened_s
                yield f"{transaction.name} stops {off_s:+.1f} s from when its contactor opened ({transaction.reason})"
    for a, b in pairwise(transactions):
        if a.stop is not None and b.started_s < a.stopped_s - CLOCK_S:
            yield f"{b.name} starts before {a.name} has stopped"


def _last_charge(transaction: Transaction, evidence: Evidence) -> list[Charge]:
    """The charge in which the register reached what was billed; none for a transaction without energy."""
    wh = transaction.meter_stop_wh
    own = (c for c in evidence.charges if c.connector_id == transaction.connector_id and c.closed_wh < wh <= c.opened_wh)
    return [charge for charge in own if transaction.meter_start_wh < wh]


def _samples(transactions: list[Transaction], charges: list[Charge], evidence: Evidence) -> Iterator[str]:
    """A charge of four intervals without a disturbance has left MeterValues."""
    for charge in charges:
        long = charge.opened_s - charge.closed_s >= 4 * evidence.sample_interval_s + CLOCK_S
        if not long or _disturbed(evidence, SAMPLING_PATH, charge.closed_s - 5.0, charge.opened_s, powered=True):
            continue
        inside = [
            at_s
            for transaction in transactions
            for at_s, _ in transaction.samples
            if charge.closed_s - CLOCK_S <= at_s <= charge.opened_s + CLOCK_S
        ]
        if not inside:
            yield f"connector {charge.connector_id} charged for {charge.opened_s - charge.closed_s:.0f} s without MeterValues"


def _authorised(transactions: list[Transaction], evidence: Evidence) -> Iterator[str]:
    """No transaction that nobody asked for, no two for one asking."""
    for tag in sorted({transaction.id_tag for transaction in transactions}):
        of_tag = [transaction for transaction in transactions if transaction.id_tag == tag]
        asked = [a for a in evidence.asked if a.id_tag == tag]
        if len(of_tag) > len(asked):
            yield f"{len(of_tag)} transactions of {tag}, but energy was asked for with it {len(asked)} times"
        wrong = {t.connector_id for t in of_tag} - {a.connector_id for a in asked}
        if asked and wrong:
            yield f"{tag} charged on connector {min(wrong)}, where nobody presented it"


def _left(found: list[Message], evidence: Evidence) -> Iterator[str]:
    rest = evidence.rest
    refused = sum(sum(copy.refused or not copy.processed for copy in m.copies) >= evidence.attempts_max for m in found)
    if rest.dead_letters > refused:
        yield f"{rest.dead_letters} dead letters, but the Central System refused only {refused} messages that often"
    for count, what in (
        (rest.queued, "messages are still in the queue"),
        (rest.quarantined, "rows are in quarantine"),
        (rest.open_transactions, "transactions are still open in connectors.db"),
        (rest.kept_entries, "journal entries are still kept in connectors.db"),
    ):
        if count:
            yield f"{count} {what}"


def _disturbed(evidence: Evidence, services: frozenset[str], from_s: float, until_s: float, *, powered: bool) -> bool:
    return any(_touches(d, from_s, until_s) for d in evidence.disturbances if _counts(d, services, powered=powered))


def _counts(d: Disturbance, services: frozenset[str], *, powered: bool) -> bool:
    return (d.what == "kill" and d.who in services) or (powered and d.what == "power")


def _touches(d: Disturbance, from_s: float, until_s: float) -> bool:
    return d.from_s <= until_s and d.until_s >= from_s


def _register_wh(transaction: Transaction, at_s: float, evidence: Evidence) -> int:
    """What the meter surely showed at a time: its last sample before it, but at least what the transaction began with."""
    number = transaction.connector_id
    before = [s.wh for s in evidence.samples if s.connector_id == number and s.at_s <= at_s]
    return max(transaction.meter_start_wh, max(before, default=0))


def _sample(message: Message, evidence: Evidence) -> tuple[float, int]:
    value = message.payload["meterValue"][0]
    registers = [
        v["value"] for v in value["sampledValue"] if v.get("measurand", "").startswith("Energy.Active.Import.Register")
    ]
    return _at_s(value["timestamp"], evidence), int(registers[0])


def _at_s(text: str, evidence: Evidence) -> float:
    return datetime.fromisoformat(text).timestamp() - evidence.utc_offset_s
