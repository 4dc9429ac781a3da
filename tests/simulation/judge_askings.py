"""Promises about people: nobody is billed who did not ask for it, or was refused (pure; OCPP 1.6 §3.5, §4.8, §5.11).

Owns: transactions against cards and remote starts. Does not: look at what is billed (`judge_money.py`).
"""

from tests.simulation.book import GOOD
from tests.simulation.central_system import BAD_CARD
from tests.simulation.judge import Case, Finding, Findings
from tests.simulation.judge_money import AUTHORIZED, DEAUTHORIZED
from tests.simulation.whose import FOR_EVER, asked_for, contacts_of, orphaned, owner_of


def contactors_close_with_authorization(case: Case) -> Findings:
    """Who is billed has asked for it, at this plug-in or shortly before, and was not refused."""
    for transaction in case.transactions:
        contacts = contacts_of(case, transaction)
        if not contacts or orphaned(case, contacts[0]) is not None:
            continue
        first = contacts[0]
        if not asked_for(case, transaction, first):
            text = f"the {transaction.name} closed the contactor, and nobody presented that card"
            yield Finding(AUTHORIZED, text, first.closed_s)
        elif transaction.id_tag.startswith(BAD_CARD) and not case.rules.charges_unknown_offline:
            text = f"the {transaction.name} closed the contactor for a card that is refused"
            yield Finding(AUTHORIZED, text, first.closed_s)


def refused_tags_stop(case: Case) -> Findings:
    """Once StartTransaction.conf has said that the idTag is refused, the contactor opens (OCPP 1.6 §4.8)."""
    for contact in case.ledger.contacts:
        owner = owner_of(case, contact)
        if owner is None or not owner.id_tag.startswith(BAD_CARD):
            continue
        told_s = min((c.at_s for c in owner.starts if c.fate == GOOD), default=FOR_EVER)
        if contact.opened_s > max(told_s, contact.closed_s) + 240.0:
            text = f"the {owner.name} charges on {contact.opened_s - told_s:.0f} s after its idTag was refused"
            yield Finding(DEAUTHORIZED, text, told_s)


RULES = (contactors_close_with_authorization, refused_tags_stop)
