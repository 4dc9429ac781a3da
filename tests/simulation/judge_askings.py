"""Promises about people: nobody is billed who did not ask for it, or was refused (pure; OCPP 1.6 §3.5, §4.8, §5.11).

Each asking is good for one thing: a card that is held to the reader, or an app that is used, begins or ends one transaction.
So transactions are matched with askings, each within the time in which it must have been asked for. People who ask in vain
leave askings over, which hide a few sessions that nobody wanted, but not many of them.

Owns: transactions against cards and remote starts. Does not: look at what is billed (`judge_money.py`).
"""

import msgspec

from tests.simulation.book import GOOD
from tests.simulation.central_system import BAD_CARD
from tests.simulation.judge import Case, Finding, Findings, Transaction
from tests.simulation.judge_money import ASKED_ONCE, AUTHORIZED, DEAUTHORIZED
from tests.simulation.whose import (
    ASKED_S_MAX,
    FOR_EVER,
    NEAR_S,
    asked_for,
    begun_at_s,
    cards,
    contacts_of,
    is_dated,
    orphaned,
    owner_of,
    plug_in_of,
    plugged_in,
    remote_starts,
    waits_s_max,
)


class Wanted(msgspec.Struct, frozen=True):
    """Something that somebody must have asked for within a time. `by_app`: a remote start will do too, if it held at `at_s`."""

    text: str
    id_tag: str
    from_s: float
    to_s: float
    at_s: float = 0.0
    by_app: bool = True


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


def each_is_asked_for(case: Case) -> Findings:
    """No transaction that nobody asked for, no two for one asking, no end by a card that was not there."""
    wanted = [_begin(case, t) for t in case.transactions if not _is_found_without(case, t)]
    wanted += [_end(case, t) for t in case.transactions if t.stop is not None and t.stop.payload.get("idTag")]
    for id_tag in sorted({w.id_tag for w in wanted}):
        for left in _unmatched(case, id_tag, sorted((w for w in wanted if w.id_tag == id_tag), key=lambda w: w.to_s)):
            asked = sum(id_tag == _folded(p.id_tag) for p in case.ledger.presented)
            text = f"{left.text}, and nobody asked for that between {left.from_s:.0f} and {left.to_s:.0f} s, or for another one"
            yield Finding(ASKED_ONCE, f"{text} ({id_tag} was presented {asked} times that day)", left.to_s)


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


def _is_found_without(case: Case, transaction: Transaction) -> bool:
    """Whether `contactors_close_with_authorization` says already that nobody asked at all."""
    contacts = contacts_of(case, transaction)
    return bool(contacts) and orphaned(case, contacts[0]) is None and not asked_for(case, transaction, contacts[0])


def _begin(case: Case, transaction: Transaction) -> Wanted:
    """By its plug-in: whoever is authorized may take a while to plug in. Where nothing tells it, at any time before it came."""
    text, id_tag, at_s = f"the {transaction.name} began", _folded(transaction.id_tag), begun_at_s(case, transaction)
    contacts = contacts_of(case, transaction)
    if contacts and orphaned(case, contacts[0]) is None:
        return Wanted(text, id_tag, plug_in_of(case, contacts[0]).in_s - waits_s_max(case), contacts[0].closed_s, at_s)
    if not is_dated(case, transaction):
        return Wanted(text, id_tag, 0.0, transaction.start.at_s, at_s)
    plug = plugged_in(case, transaction)
    in_s = transaction.started_s if plug is None else plug.in_s
    return Wanted(text, id_tag, in_s - waits_s_max(case), transaction.started_s + NEAR_S, at_s)


def _end(case: Case, transaction: Transaction) -> Wanted:
    """The idTag of a stop is the one that was presented for it; a remote stop has none."""
    assert transaction.stop is not None
    id_tag = str(transaction.stop.payload["idTag"])
    text = f"the {transaction.name} was ended by {id_tag}"
    if not is_dated(case, transaction):
        return Wanted(text, _folded(id_tag), 0.0, transaction.stop.at_s, by_app=False)
    at_s = transaction.stopped_s
    return Wanted(text, _folded(id_tag), at_s - ASKED_S_MAX - NEAR_S, at_s + NEAR_S, by_app=False)


def _unmatched(case: Case, id_tag: str, wanted: list[Wanted]) -> list[Wanted]:
    """Those that no asking is left for, when the askings are shared out so that most have one."""
    by_card = [asking for asking in cards(case) if _folded(asking.id_tag) == id_tag]
    askings = by_card + [asking for asking in remote_starts(case) if _folded(asking.id_tag) == id_tag]
    taken: dict[int, int] = {}

    def find(number: int, tried: set[int]) -> bool:
        want = wanted[number]
        for place, asking in enumerate(askings):
            fits = asking.from_s <= want.to_s and asking.to_s >= want.from_s and (want.by_app or place < len(by_card))
            if not fits or want.at_s > asking.until_s or place in tried:
                continue
            tried.add(place)
            if place not in taken or find(taken[place], tried):
                taken[place] = number
                return True
        return False

    return [want for number, want in enumerate(wanted) if not find(number, set())]


def _folded(id_tag: str) -> str:
    """An idTag is a CiString (OCPP 1.6 §7.28)."""
    return id_tag.upper()


RULES = (contactors_close_with_authorization, each_is_asked_for, refused_tags_stop)
