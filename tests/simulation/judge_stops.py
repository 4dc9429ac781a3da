"""A stop says the time of what ended its transaction (pure; design §2, §5, with honest clocks that are known).

A card, a plug that is pulled, a remote stop, a Reset, a refusal: each is noticed at once by a station that lives, and no sooner
than it happens. A power cut, and a plug-in that went unseen, end a transaction with a reading, stamped with its own time.

Owns: what may have ended a transaction, and when that may be said. Does not: look at registers (`judge_money.py`), readings and
durations (`judge_times.py`).
"""

from tests.simulation.book import GOOD
from tests.simulation.central_system import BAD_CARD
from tests.simulation.judge import Case, Finding, Findings, Transaction
from tests.simulation.judge_money import TRUE_STOPS
from tests.simulation.ledger import Contact, PlugIn, Span
from tests.simulation.whose import (
    CALL_S,
    CHECKPOINT_S,
    FOR_EVER,
    LOOK_S,
    NEAR_S,
    contacts_of,
    found_s,
    is_dated,
    noticed_s,
    plug_in_of,
    plugged_in,
    same_id_tag,
    unseen_about,
    watched_since_s,
)

UNHEARD_S = 14.0
"""A controller that is silent for longer may have another plug when it is back."""
BEGUN_S = 0.01
ENDING = ("RemoteStopTransaction", "Reset")


def stops_are_near_what_ended_them(case: Case) -> Findings:
    """Near something that may have ended it, and no later than what must have."""
    for transaction in case.transactions:
        if transaction.stop is None or not is_dated(case, transaction):
            continue
        contacts = contacts_of(case, transaction)
        plugs = _plugs(case, transaction, contacts)
        at_s, lost_s = transaction.stopped_s, _lost(case, transaction, contacts)
        ends = [*_acts(case, transaction), *_cuts(case, transaction, plugs), *lost_s]
        must = _must_end(case, transaction, contacts, plugs)
        if must is not None:
            ends.append(must)
        if not any(end.from_s - NEAR_S <= at_s <= end.to_s + NEAR_S for end in ends):
            yield Finding(TRUE_STOPS, f"the {transaction.name} stops at {at_s:.0f} s, when nothing ended it", at_s)
        elif must is not None and at_s > max(end.to_s for end in (must, *lost_s)) + NEAR_S:
            text = f"the {transaction.name} stops at {at_s:.0f} s, but ended with {must.what} at {must.from_s:.0f} s"
            yield Finding(TRUE_STOPS, text, at_s)


def _plugs(case: Case, transaction: Transaction, contacts: list[Contact]) -> list[PlugIn]:
    """In their order; more than one where nobody could see that one came after the other."""
    plugs = [plug_in_of(case, contact) for contact in contacts] or [plugged_in(case, transaction)]
    return [plug for plug in plugs if plug is not None]


def _acts(case: Case, transaction: Transaction) -> list[Span]:
    """What people and the Central System did that ends a transaction, each until when it was noticed at the latest."""
    tags = {transaction.id_tag, str(transaction.stop.payload.get("idTag", transaction.id_tag)) if transaction.stop else ""}
    ids = {copy.transaction_id for copy in transaction.starts}
    acts = [("a card", p.at_s) for p in case.ledger.presented if any(same_id_tag(p.id_tag, tag) for tag in tags)]
    acts += [
        (asked.action, at_s)
        for asked in case.book.asked
        if asked.action in ENDING and asked.payload.get("transactionId") in {None, *ids}
        for at_s in (asked.at_s, asked.answered_s or asked.at_s + CALL_S)
    ]
    if transaction.id_tag.startswith(BAD_CARD):
        acts += [("a refusal", copy.at_s) for copy in transaction.starts if copy.fate == GOOD]
    # Whatever was done before its start has begun it, if anything.
    acts = [(what, at_s) for what, at_s in acts if at_s > transaction.started_s + BEGUN_S]
    return [Span(what, at_s, noticed_s(case, transaction.connector_id, at_s)) for what, at_s in acts]


def _cuts(case: Case, transaction: Transaction, plugs: list[PlugIn]) -> list[Span]:
    """What cut it short: it ends with the last reading that was written, or the first one when somebody is there again."""
    number, ends = transaction.connector_id, []
    spans = [s for s in case.ledger.spans if s.what == "power off"]
    spans += [s for s in case.ledger.spans if s.what == f"controller {number} silent" and s.to_s - s.from_s >= UNHEARD_S]
    changes_s = [plug.out_s for plug in plugs]
    changes_s += [s.from_s for s in case.ledger.spans if s.what == f"controller {number} restarts"]
    spans += [span for span in (unseen_about(case, number, at_s) for at_s in changes_s) if span is not None]
    for span in spans:
        ends.append(Span(span.what, _written_s(case, number, span.from_s), span.from_s))
        ends.append(Span(span.what, span.to_s, noticed_s(case, number, span.to_s)))
    return ends


def _written_s(case: Case, connector_id: int, at_s: float) -> float:
    """How old the last reading on disk may be: a minute, and as long as nothing could be read or written before."""
    causes = ("meter down", "broker down", "bus bad", "disk bad", "connectors down", f"meter {connector_id} silent")
    from_s = at_s
    for _ in range(10):
        spans = [s for cause in causes for s in case.ledger.during(cause, from_s - CHECKPOINT_S, from_s) if s.from_s < from_s]
        if not spans:
            break
        from_s = min(s.from_s for s in spans)
    return from_s - CHECKPOINT_S


def _must_end(case: Case, transaction: Transaction, contacts: list[Contact], plugs: list[PlugIn]) -> Span | None:
    """The first thing after which it can't go on: its plug is out, energy is withdrawn for good, or the power fails."""
    number, ends = transaction.connector_id, []
    if plugs and plugs[-1].out_s < FOR_EVER:
        ends.append(Span("its plug", plugs[-1].out_s, noticed_s(case, number, plugs[-1].out_s)))
    opened_s = contacts[-1].opened_s if contacts and contacts[-1].opened_by == "station" else FOR_EVER
    # What the guard takes away is given back to the same transaction, if its car still wants it then.
    if opened_s < FOR_EVER and not case.ledger.during("connectors down", opened_s - LOOK_S, opened_s):
        slow = [s.from_s for s in case.ledger.during("disk bad", opened_s - NEAR_S, opened_s)]
        ends.append(Span("its energy", min([opened_s, *slow]), noticed_s(case, number, opened_s)))
    begun_s = contacts[0].closed_s if contacts else transaction.started_s
    for span in case.ledger.spans:
        if span.what == "power off" and span.from_s > begun_s:
            ends.append(Span("the power", span.from_s, noticed_s(case, number, span.to_s)))
    return min(ends, key=lambda end: end.from_s, default=None)


def _lost(case: Case, transaction: Transaction, contacts: list[Contact]) -> list[Span]:
    """Where `connectors.db` was lost with it, it ends when the queue has found it, with whatever is known of it then."""
    assert transaction.stop is not None
    from_s = watched_since_s(case, plug_in_of(case, contacts[0])) if contacts else transaction.started_s
    lost = (d.at_s for d in case.ledger.deaths if d.who == "store connectors.db")
    return [
        Span("the loss of connectors.db", from_s, found_s(case, at_s))
        for at_s in lost
        if from_s <= at_s <= transaction.stop.at_s
    ]


RULES = (stops_are_near_what_ended_them,)
