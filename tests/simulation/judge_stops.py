"""A stop says the time of what ended its transaction (pure; design §2, §5).

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
    BREATH_S,
    CHECKPOINT_S,
    FOR_EVER,
    LOOK_S,
    NEAR_S,
    anchor_lost,
    committed_s,
    contacts_of,
    done_until_s,
    found_s,
    is_dated,
    noticed_s,
    orphaned,
    plug_in_of,
    plugged_in,
    same_id_tag,
    unseen_about,
    watched_since_s,
)

UNHEARD_S = 14.0
"""A controller that is silent for longer may have another plug when it is back."""
BEGUN_S = 0.01
DISK_S = 12.0
"""The slowest disk takes six seconds for each of the commits before a start is written."""
CLOSES_S = 1.5
"""So long after its start a contactor closes at the soonest: the car asks first."""
READING_S = 30.0
"""After a power cut the first reading is waited for as long."""
ENDING = ("RemoteStopTransaction", "Reset")


def stops_are_near_what_ended_them(case: Case) -> Findings:
    """Near something that may have ended it, and no later than what must have."""
    for transaction in case.transactions:
        contacts = contacts_of(case, transaction)
        stopped = _stopped(case, transaction, contacts)
        if stopped is None:
            continue
        plugs, lost = _plugs(case, transaction, contacts), _lost(case, transaction, contacts)
        ends = [*_acts(case, transaction, contacts), *_cuts(case, transaction, plugs), *lost]
        must = _must_end(case, transaction, contacts, plugs)
        if must is not None:
            ends.append(must)
        if not any(end.from_s - NEAR_S <= stopped.to_s and stopped.from_s <= end.to_s + NEAR_S for end in ends):
            text = f"the {transaction.name} stops at {stopped.to_s:.0f} s, when nothing ended it"
            yield Finding(TRUE_STOPS, text, stopped.to_s)
        elif must is not None and stopped.from_s > max(end.to_s for end in (must, *lost)) + NEAR_S:
            text = f"the {transaction.name} stops at {stopped.from_s:.0f} s, but ended with {must.what} at {must.from_s:.0f} s"
            yield Finding(TRUE_STOPS, text, stopped.from_s)


def _stopped(case: Case, transaction: Transaction, contacts: list[Contact]) -> Span | None:
    """When it says that it stopped, in true time; None: nothing is to be known of that.

    Where clocks lie it is as long after its true start as it says, within a boot: that was before its contactor closed.
    """
    if transaction.stop is None:
        return None
    if is_dated(case, transaction):
        return Span("stopped", transaction.stopped_s, transaction.stopped_s)
    if not contacts or anchor_lost(case, transaction):
        return None
    from_s, to_s = watched_since_s(case, plug_in_of(case, contacts[0])), contacts[0].closed_s
    begun_s = committed_s(case, transaction.start)
    if begun_s is not None:
        slow = case.ledger.during("disk bad", begun_s - DISK_S, begun_s)
        from_s, to_s = begun_s - (DISK_S if slow else NEAR_S), begun_s
    lasted_s = transaction.stopped_s - transaction.started_s
    if case.ledger.during("power off", from_s, max(to_s + lasted_s, transaction.stop.at_s)):
        return None
    return Span("stopped", from_s + lasted_s, to_s + lasted_s)


def _plugs(case: Case, transaction: Transaction, contacts: list[Contact]) -> list[PlugIn]:
    """In their order; more than one where nobody could see that one came after the other."""
    found = [plug_in_of(case, contact) for contact in contacts]
    if not contacts or (orphaned(case, contacts[0]) is not None and is_dated(case, transaction)):
        # Its own had none, if the contactor closed for another one that nobody saw come.
        began = plugged_in(case, transaction)
        found = found if began in found else [began, *found]
    plugs = [plug for plug in found if plug is not None]
    for after in case.ledger.plug_ins:
        if plugs and after.connector_id == transaction.connector_id and after.in_s > plugs[-1].in_s:
            unseen = unseen_about(case, after.connector_id, plugs[-1].out_s)
            if unseen is not None and unseen.from_s <= after.in_s <= unseen.to_s + LOOK_S:
                plugs.append(after)
    return plugs


def _acts(case: Case, transaction: Transaction, contacts: list[Contact]) -> list[Span]:
    """What people and the Central System did that ends a transaction, each until when it was noticed at the latest."""
    tags = {transaction.id_tag, str(transaction.stop.payload.get("idTag", transaction.id_tag)) if transaction.stop else ""}
    ids = {copy.transaction_id for copy in transaction.starts}
    cards = [p.at_s for p in case.ledger.presented if any(same_id_tag(p.id_tag, tag) for tag in tags)]
    acts = [Span("a card", at_s, at_s) for at_s in cards]
    acts += [
        Span(asked.action, asked.at_s, done_until_s(case, asked))
        for asked in case.book.asked
        if asked.action in ENDING and asked.payload.get("transactionId") in {None, *ids}
    ]
    if transaction.id_tag.startswith(BAD_CARD):
        acts += [Span("a refusal", copy.at_s, copy.at_s) for copy in transaction.starts if copy.fate == GOOD]
    # Whatever was done before its start has begun it, if anything.
    begun_s = transaction.started_s if is_dated(case, transaction) else contacts[0].closed_s - CLOSES_S
    acts = [Span(act.what, max(act.from_s, begun_s), act.to_s) for act in acts if act.to_s > begun_s + BEGUN_S]
    return [Span(act.what, act.from_s, noticed_s(case, transaction.connector_id, act.to_s)) for act in acts]


def _cuts(case: Case, transaction: Transaction, plugs: list[PlugIn]) -> list[Span]:
    """What cut it short: it ends with the last reading that was written, or the first one when somebody is there again.

    While only the controller is silent the meter is read on, so that the last reading may be of any time until it is heard.
    """
    number = transaction.connector_id
    silent = f"controller {number} silent"
    # Silent when `connectors` ended, or when it came back: nobody saw the plug all the while.
    blind = case.ledger.without_breath(("connectors down", silent), BREATH_S)
    spans = [s for s in blind if s.to_s - s.from_s >= UNHEARD_S and case.ledger.during(silent, s.from_s, s.to_s)]
    changes_s = [plug.out_s for plug in plugs]
    changes_s += [s.from_s for s in case.ledger.spans if s.what == f"controller {number} restarts"]
    spans += [span for span in (unseen_about(case, number, at_s) for at_s in changes_s) if span is not None]
    ends = [Span(span.what, _written_s(case, number, span.from_s), noticed_s(case, number, span.to_s)) for span in spans]
    for cut in case.ledger.spans:
        if cut.what == "power off":
            ends.append(Span(cut.what, _written_s(case, number, cut.from_s), cut.from_s))
            ends.append(Span(cut.what, cut.to_s, _read_again_s(case, number, cut.to_s)))
    return ends


def _read_again_s(case: Case, connector_id: int, at_s: float) -> float:
    """Until when the power's return gives a reading: a meter that does not answer yet is waited for."""
    until_s = noticed_s(case, connector_id, at_s)
    causes = ("meter down", f"meter {connector_id} silent")
    silent = [s.to_s for cause in causes for s in case.ledger.during(cause, at_s, until_s)]
    return max([until_s, *(min(to_s, until_s + READING_S) for to_s in silent)])


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
            ends.append(Span("the power", span.from_s, _read_again_s(case, number, span.to_s)))
    return min(ends, key=lambda end: end.from_s, default=None)


def _lost(case: Case, transaction: Transaction, contacts: list[Contact]) -> list[Span]:
    """Where `connectors.db` was lost with it, it ends when the queue has found it, with whatever is known of it then."""
    assert transaction.stop is not None
    from_s = watched_since_s(case, plug_in_of(case, contacts[0])) if contacts else transaction.started_s
    lost = case.ledger.losses("connectors.db", from_s, transaction.stop.at_s)
    return [Span("the loss of connectors.db", from_s, found_s(case, death.at_s)) for death in lost]


RULES = (stops_are_near_what_ended_them,)
