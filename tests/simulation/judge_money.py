"""Promises about energy: what is billed is what flowed, and in which transaction (pure).

Owns: book against hardware, and the names of all promises about money. Does not: look at times (`judge_times.py`), at who asked
(`judge_askings.py`) or at transmissions (`judge_delivery.py`).
"""

from tests.simulation.judge import Case, Finding, Findings, Transaction
from tests.simulation.ledger import Contact, plug_seen_out
from tests.simulation.whose import (
    FOR_EVER,
    LOOK_S,
    NEAR_S,
    ROUNDING_WH,
    committed_s,
    contacts_of,
    lost_at_most,
    orphaned,
    owner_of,
    plug_in_of,
    stop_told_s,
    stop_wh_of,
    transactions_of,
    unseen_about,
)

BILLED = "all energy that flowed is billed, and none that did not"
START_FIRST = "no contactor closes outside of a transaction that was committed before"
AUTHORIZED = "no contactor closes without authorization"
ASKED_ONCE = "nothing begins or ends that nobody asked for, and one asking begins or ends one transaction"
ONE_PLUG_IN = "a transaction ends with its plug-in"
TRUE_TIMES = "times on the wire are true"
TRUE_STOPS = "a stop says the time of what ended its transaction"
TRUE_DURATION = "durations and order are true whatever a clock does"
DEAUTHORIZED = "a refused idTag gets no more energy"
CHECKPOINT_S_MIN = 5.0


def energy_is_billed(case: Case) -> Findings:
    """Along each register: no energy between two transactions, none twice, and each reading within what the register was."""
    for connector_id, register in case.ledger.registers.items():
        at_wh, before = register.at(0.0), None
        for transaction in transactions_of(case, connector_id):
            if transaction.start_wh < at_wh - ROUNDING_WH:
                text = f"the {transaction.name} bills energy again that was billed up to {at_wh:.0f} Wh"
                yield Finding(BILLED, text, transaction.start.at_s)
            yield from _unbilled(case, connector_id, (at_wh, float(transaction.start_wh)), before)
            at_wh = max(at_wh, float(stop_wh_of(case, transaction)))
            before = transaction
        yield from _unbilled(case, connector_id, (at_wh, register.at(FOR_EVER)), before)
        if at_wh > register.at(FOR_EVER) + ROUNDING_WH:
            text = f"{at_wh:.0f} Wh are billed on connector {connector_id}, which the meter never showed"
            yield Finding(BILLED, text, case.ledger.end_s)


def contactors_close_in_transactions(case: Case) -> Findings:
    """Each closing lies within a transaction, by its register.

    While `connectors` is down the controller keeps its order, and closes for whoever is plugged in then (design §2).
    """
    for contact in case.ledger.contacts:
        if owner_of(case, contact) is None and orphaned(case, contact) is None:
            text = f"the contactor of connector {contact.connector_id} closed at {contact.closed_wh:.0f} Wh in no transaction"
            yield Finding(START_FIRST, text, contact.closed_s)


def one_plug_in(case: Case) -> Findings:
    """No transaction has energy of two plug-ins, but for what flowed before `connectors` was back to see it."""
    for transaction in case.transactions:
        contacts = contacts_of(case, transaction)
        for contact in contacts:
            if contact.plug_in == contacts[0].plug_in or _overtaken(case, contacts[0], contact):
                continue
            down = orphaned(case, contact)
            seen_wh = contact.closed_wh
            if down is not None:
                seen_wh = case.ledger.registers[contact.connector_id].at(down.to_s + NEAR_S)
            if down is None or stop_wh_of(case, transaction) > seen_wh + ROUNDING_WH:
                text = f"the {transaction.name} goes on in another plug-in, at {contact.closed_wh:.0f} Wh"
                yield Finding(ONE_PLUG_IN, text, contact.closed_s)


def _unbilled(case: Case, connector_id: int, between_wh: tuple[float, float], before: Transaction | None) -> Findings:
    """Energy that flowed between two transactions: none, but for what a blind station could not know."""
    from_wh, to_wh = between_wh
    if to_wh <= from_wh + ROUNDING_WH:
        return
    contacts = [c for c in case.ledger.contacts if c.connector_id == connector_id]
    contacts = [c for c in contacts if c.opened_wh > from_wh + 1 and c.closed_wh < to_wh - 1]
    at_s = contacts[0].opened_s if contacts else case.ledger.end_s
    # What was over when the contactor closed can't have been cut short.
    cut_short = [c for c in contacts if before and (before.stop is None or before.stop.at_s > c.closed_s)]
    told_s = FOR_EVER if before is None else stop_told_s(case, before)
    if before is not None and _closed_blindly(case, before):
        return
    lost_wh = max((lost_at_most(case, connector_id, c.opened_s, told_s) for c in cut_short), default=0.0)
    lost_wh = max([lost_wh, *(_of_nobody(case, c) for c in contacts)])
    if to_wh - from_wh > lost_wh + ROUNDING_WH:
        text = f"{to_wh - from_wh:.0f} Wh flowed on connector {connector_id} from {from_wh:.0f} Wh on, and nobody is billed"
        if lost_wh:
            text += f" (a station that was blind then may miss {lost_wh:.0f} Wh)"
        yield Finding(BILLED, text, at_s)


def _of_nobody(case: Case, contact: Contact) -> float:
    """Energy of a car that came while `connectors` was away, and its order stood: until it is back, and has looked.

    It need not open the contactor where somebody may charge there by then.
    """
    down = orphaned(case, contact)
    if down is None or plug_in_of(case, contact).in_s < down.from_s:
        return 0.0
    until_wh = case.ledger.registers[contact.connector_id].at(down.to_s + NEAR_S)
    return max(0.0, min(contact.opened_wh, until_wh) - contact.closed_wh)


def _closed_blindly(case: Case, transaction: Transaction) -> bool:
    """Whether it was closed for a lost store while the meter could not be read: only readings that were told are known then."""
    closed_s = None if transaction.stop is None else committed_s(case, transaction.stop)
    begun_s = committed_s(case, transaction.start)
    if closed_s is None or begun_s is None:
        return False
    causes = ("meter down", f"meter {transaction.connector_id} silent")
    lost = case.ledger.losses("connectors.db", begun_s, closed_s)
    return bool(lost) and any(case.ledger.during(cause, closed_s, closed_s) for cause in causes)


def _overtaken(case: Case, before: Contact, after: Contact) -> bool:
    """Whether another car had charged for as long as the disk knew of the one before, when `connectors` came back.

    Where the guard has not seen the plug out, the controller's counters are all that tells plug-ins apart (design §2), and
    those on the disk are as old as half of the session, or a few seconds; where the disk took no commit in that time, or a slow
    one, as old as that disk's trouble.
    """
    came_s = plug_in_of(case, after).in_s
    span = unseen_about(case, before.connector_id, came_s)
    if span is None or case.ledger.during(plug_seen_out(before.connector_id), plug_in_of(case, before).out_s, came_s):
        return False
    restarts = case.ledger.during(f"controller {before.connector_id} restarts", before.closed_s, span.to_s)
    begun_s = max([before.closed_s, *(restart.from_s for restart in restarts)])
    until_s = min(before.opened_s, span.from_s)
    disk = case.ledger.during("disk bad", min((begun_s + until_s) / 2, span.from_s - LOOK_S), span.from_s)
    counted_s = min([until_s, *(trouble.from_s for trouble in disk)]) - begun_s
    same = [c for c in case.ledger.contacts if (c.connector_id, c.plug_in) == (after.connector_id, after.plug_in)]
    charged_s = sum(max(0.0, min(c.opened_s, span.to_s) - c.closed_s) for c in same)
    return charged_s >= counted_s / 2 - CHECKPOINT_S_MIN


RULES = (energy_is_billed, contactors_close_in_transactions, one_plug_in)
