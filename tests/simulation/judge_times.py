"""Promises about time: what is told happened then, and lasted as long (pure; design §5).

Owns: times and durations of transactions and readings. Does not: look at what is billed (`judge_money.py`).
"""

from tests.simulation.judge import Case, Finding, Findings, Transaction, said_s
from tests.simulation.judge_money import TRUE_DURATION, TRUE_TIMES
from tests.simulation.ledger import Contact, Span
from tests.simulation.whose import (
    CHECKPOINT_S,
    NEAR_S,
    ROUNDING_WH,
    anchor_lost,
    blind_about,
    contacts_of,
    found_s,
    lost_at_most,
    noticed_s,
    orphaned,
    plug_in_of,
    stop_told_s,
    unseen_about,
    unsynchronised,
    watched_since_s,
)

READ_S = 10.0
"""Within so long of the intent to stop the contactor is open and the meter read: each takes 5 s at most (design §4.1)."""


def times_are_true(case: Case) -> Findings:
    """With honest clocks: a start before the contactor closes, a stop near its opening, readings of their time."""
    if not case.rules.honest_clock:
        return
    for transaction in case.transactions:
        if transaction.stop is None:
            continue
        unknown = unsynchronised(case, transaction)
        if unknown is not None:
            yield from _estimates_are_possible(case, transaction, unknown)
            continue
        yield from _readings_are_of_their_time(case, transaction)
        contacts = contacts_of(case, transaction)
        if not contacts:
            yield from _begins_at_a_plug(case, transaction)
            continue
        early_s = watched_since_s(case, plug_in_of(case, contacts[0])) - NEAR_S
        down = orphaned(case, contacts[0])
        # What closed while nobody was there may be given to who comes with a card right after.
        until_s = contacts[0].closed_s if down is None else max(contacts[0].closed_s, down.to_s)
        if not early_s <= transaction.started_s <= until_s + NEAR_S:
            late_s = transaction.started_s - contacts[0].closed_s
            text = f"the {transaction.name} says that it started {late_s:.0f} s after the contactor closed"
            yield Finding(TRUE_TIMES, text, contacts[0].closed_s)


def durations_are_true(case: Case) -> Findings:
    """Whatever the clock: a transaction is as long as it was, if it lies within one boot."""
    for transaction in case.transactions:
        if transaction.stop is None:
            continue
        lasted_s = transaction.stopped_s - transaction.started_s
        contacts = contacts_of(case, transaction)
        if not case.rules.honest_clock and anchor_lost(case, transaction):
            continue
        if lasted_s < 0:
            yield Finding(TRUE_DURATION, f"the {transaction.name} lasts {lasted_s:.0f} s", transaction.start.at_s)
        if not any(c.opened_wh > c.closed_wh + 10 for c in contacts):
            continue
        out_s = min(plug_in_of(case, contacts[0]).out_s, case.ledger.end_s)
        unseen = unseen_about(case, transaction.connector_id, out_s)
        # Nobody was there to close it before the power failed: its stop is of another boot, which may be told another time.
        until_s = out_s if unseen is None else max(out_s, unseen.to_s)
        if case.ledger.during("power off", contacts[0].closed_s - 120, until_s + 120):
            continue
        true_s = contacts[-1].opened_s - contacts[0].closed_s
        ends = (contacts[-1].opened_s, out_s)
        blind = {
            id(s): s for at_s in ends for s in blind_about(case, transaction.connector_id, at_s, stop_told_s(case, transaction))
        }
        blind_s = sum(min(s.to_s, case.ledger.end_s) - s.from_s for s in blind.values())
        late_s = max(blind_s, _found_late(case, transaction, contacts), until_s - out_s)
        if not -CHECKPOINT_S - blind_s <= lasted_s - true_s <= 30.0 + late_s + _car_waits(case, contacts):
            text = f"the {transaction.name} says that it lasted {lasted_s:.0f} s, the contactor was closed for {true_s:.0f} s"
            yield Finding(TRUE_DURATION, text, contacts[-1].opened_s)


def _begins_at_a_plug(case: Case, transaction: Transaction) -> Findings:
    """Without a contact: some plug was in, or seemed to be to a station that could not see it go."""
    number, at_s = transaction.connector_id, transaction.started_s
    plugs = [p for p in case.ledger.plug_ins if p.connector_id == number and p.in_s <= at_s + NEAR_S]
    if not any(at_s <= noticed_s(case, number, plug.out_s) + NEAR_S for plug in plugs):
        yield Finding(TRUE_TIMES, f"the {transaction.name} says that it started at {at_s:.0f} s, when no plug was in", at_s)


def _estimates_are_possible(case: Case, transaction: Transaction, unknown: Span) -> Findings:
    """Of a boot that never knew the time: after the last known time, before the first sync less what has elapsed since.

    Its stop may be of a later one, which knows the time and has found it.
    """
    found_s = stop_told_s(case, transaction)
    said = [("starts", transaction.started_s), ("stops", transaction.stopped_s)]
    said += [("reads", said_s(value["timestamp"])) for copy in transaction.values for value in copy.payload["meterValue"]]
    for what, at_s in said:
        of_now = what == "stops" and abs(at_s - found_s) <= NEAR_S
        if not unknown.from_s - NEAR_S <= at_s <= unknown.to_s + NEAR_S and not of_now:
            text = f"the {transaction.name} {what} at {at_s:.0f} s by its estimate, which can only be"
            yield Finding(TRUE_TIMES, f"{text} between {unknown.from_s:.0f} and {unknown.to_s:.0f} s", at_s)


def _readings_are_of_their_time(case: Case, transaction: Transaction) -> Findings:
    assert transaction.stop is not None
    register = case.ledger.registers[transaction.connector_id]
    claims = [(transaction.started_s, transaction.start_wh, "start")]
    for copy in transaction.values:
        for value in copy.payload["meterValue"]:
            told = [int(float(s["value"])) for s in value["sampledValue"] if _is_register(s)]
            claims += [(said_s(value["timestamp"]), wh, "MeterValues") for wh in told]
    for at_s, wh, what in claims:
        low, high = register.at(at_s - NEAR_S) - ROUNDING_WH, register.at(at_s + NEAR_S) + ROUNDING_WH
        if not low <= wh <= high:
            text = f"{what} of the {transaction.name} says {wh} Wh when the meter showed {register.at(at_s):.0f} Wh"
            yield Finding(TRUE_TIMES, text, at_s)
    at_s, wh = transaction.stopped_s, transaction.stop_wh
    later = (c.opened_s for c in case.ledger.contacts if c.connector_id == transaction.connector_id)
    opened_s = min((opened_s for opened_s in later if opened_s >= at_s - NEAR_S), default=at_s)
    # The register is read when the contactor is open, which takes a while only where something keeps the station from it.
    read_s = min(max(at_s, opened_s), noticed_s(case, transaction.connector_id, at_s) + READ_S)
    low, high = register.at(at_s - NEAR_S) - ROUNDING_WH, register.at(read_s + NEAR_S) + ROUNDING_WH
    if not low - lost_at_most(case, transaction.connector_id, at_s, stop_told_s(case, transaction)) <= wh <= high:
        text = f"the {transaction.name} stops at {wh} Wh, at a time when the meter showed {register.at(at_s):.0f} Wh"
        yield Finding(TRUE_TIMES, text, at_s)


def _is_register(sampled: dict[str, str]) -> bool:
    measurand = sampled.get("measurand", "Energy.Active.Import.Register")
    return measurand == "Energy.Active.Import.Register" and sampled.get("unit", "Wh") == "Wh"


def _found_late(case: Case, transaction: Transaction, contacts: list[Contact]) -> float:
    """Seconds from its last contact until the queue has found a transaction that was open in a lost `connectors.db`.

    A store that was lost before its plug came, or once its stop was there, did not have it open, wherever the register stood.
    """
    assert transaction.stop is not None
    register, last_s = case.ledger.registers[transaction.connector_id], contacts[-1].opened_s
    from_s, to_s = watched_since_s(case, plug_in_of(case, contacts[0])), transaction.stop.at_s
    low, high = transaction.start_wh - ROUNDING_WH, transaction.stop_wh + ROUNDING_WH
    lost = [death.at_s for death in case.ledger.losses("connectors.db", from_s, to_s)]
    return max((found_s(case, at_s) - last_s for at_s in lost if low <= register.at(at_s) <= high), default=0.0)


def _car_waits(case: Case, contacts: list[Contact]) -> float:
    """How long a plug was in, for all that anybody saw, around the contacts: a transaction may last as long."""
    plug = plug_in_of(case, contacts[0])
    after_s = max(0.0, min(plug.out_s, case.ledger.end_s) - contacts[-1].opened_s)
    return contacts[0].closed_s - watched_since_s(case, plug) + after_s


RULES = (times_are_true, durations_are_true)
