"""Whose contact it was, and what nobody could see: how the judge lays a book along a ledger (pure).

A register only grows, so that a reading tells its time within the ledger, whatever a clock said: transactions are laid along
the register first, and only then are their times looked at.

Owns: these look-ups. Does not: find anything broken (`judge_money.py`, `judge_times.py`, `judge_askings.py`).
"""

import msgspec

from tests.simulation.book import Asked, Copy
from tests.simulation.judge import Case, Transaction
from tests.simulation.ledger import Contact, PlugIn, Span

ROUNDING_WH = 2.0
CHECKPOINT_S = 62.0
BREATH_S = 3.0
LOOK_S = 1.0
"""Whoever is back looks at the hardware within so long."""
NEAR_S = 4.0
WRITTEN_S = 15.0
"""Within so long of its end a session is on disk: its contactor opens, and its meter is read, within 5 s each."""
FOUND_S = 30.0
"""Within so long the queue, if it lives, has a transaction closed that `connectors` has lost."""
BACK_S = 6.0
"""Within so long after trouble a station has heard its devices again, and what it missed."""
CALL_S = 5.0
"""How long the link waits for the owner of a CALL; nothing may begin because of it later (design §3)."""
COMMITS_S = 24.0
"""As long as the slowest disk takes for a few commits."""
ASKED_S_MAX = 12.0
"""MessageTimeout of a day, and the margin that `connectors` gives the link: only then the offline rules decide about a card."""
FOR_EVER = float("inf")
BLINDING = ("connectors down", "meter down", "broker down", "bus bad", "disk bad", "power off")
"""Troubles in which nobody could read the meter, or nobody was there to write it down."""


class Asking(msgspec.Struct, frozen=True):
    """Somebody used a card or the app, within this time; nothing begins because of it after `until_s`."""

    id_tag: str
    from_s: float
    to_s: float
    until_s: float = FOR_EVER


def stop_told_s(case: Case, transaction: Transaction) -> float:
    """When what its stop says was decided for good: it was committed, or told. For ever, if it has none."""
    if transaction.stop is None:
        return FOR_EVER
    committed = (e.at_s for e in case.ledger.committed if e.entry == transaction.stop.entry)
    return min([transaction.stop.at_s, *committed])


def transactions_of(case: Case, connector_id: int) -> list[Transaction]:
    return [t for t in case.transactions if t.connector_id == connector_id]


def owner_of(case: Case, contact: Contact) -> Transaction | None:
    """The transaction in which a contactor was closed, by its register.

    Where hardly anything flowed several may fit: it is the one that says a time near to it.
    """
    shared = {
        transaction: min(contact.opened_wh, stop_wh_of(case, transaction)) - max(contact.closed_wh, transaction.start_wh)
        for transaction in transactions_of(case, contact.connector_id)
    }
    fitting = [t for t, wh in shared.items() if wh > ROUNDING_WH]
    if not fitting and not case.rules.honest_clock and orphaned(case, contact) is not None:
        # Hardly anything flowed, nobody saw it, and no time tells whose it was.
        return None
    fitting = fitting or [t for t, wh in shared.items() if _near(case, t, contact, wh)]
    begun = {transaction: committed_s(case, transaction.start) for transaction in fitting}
    if len(begun) > 1 and all(at_s is not None for at_s in begun.values()):
        # When a start went to the disk is known, whatever it says itself: it is the last one before the contact.
        before = {t: at_s for t, at_s in begun.items() if at_s is not None and at_s <= contact.closed_s + NEAR_S}
        if case.rules.honest_clock:
            # The queue writes down later what began before the contactor closed; the clock tells when that was.
            before = {t: at_s for t, at_s in before.items() if t.started_s <= contact.closed_s} or before
        return max(before, key=before.__getitem__, default=None)
    if not case.rules.honest_clock:
        # Where clocks lie, the one that was asked for then, whose start came next after the plug, else the last one before it.
        in_s = plug_in_of(case, contact).in_s

        def distance(transaction: Transaction) -> tuple[bool, bool, float]:
            came_s = transaction.start.at_s
            return not asked_for(case, transaction, contact), came_s < in_s, abs(came_s - in_s)

        return min(fitting, key=distance, default=None)
    return min(fitting, key=lambda t: abs(t.started_s - contact.closed_s), default=None)


def committed_s(case: Case, copy: Copy) -> float | None:
    """When a message was committed; None: its queue's store is gone, so that nobody knows which one it is."""
    return next((e.at_s for e in case.ledger.committed if e.entry == copy.entry), None)


def _near(case: Case, transaction: Transaction, contact: Contact, shared_wh: float) -> bool:
    """Whether a transaction that shares no energy with a contact may be its own all the same: by its time, in its plug-in.

    What flowed may have been lost with a blind station; how much of it may be is the business of `energy_is_billed`.
    """
    blind = bool(blind_about(case, contact.connector_id, contact.opened_s))
    if not case.rules.honest_clock:
        return shared_wh > -ROUNDING_WH or blind
    from_s, to_s = watched_since_s(case, plug_in_of(case, contact)), contact.closed_s
    for unknown in case.ledger.during("clock unknown", from_s, to_s):
        from_s, to_s = min(from_s, _known_before_s(case, unknown)), max(to_s, _known_after_s(case, unknown))
    if not from_s - NEAR_S <= transaction.started_s <= to_s + NEAR_S:
        return False
    return blind or transaction.stop is None or transaction.stopped_s >= contact.closed_s - NEAR_S


def contacts_of(case: Case, transaction: Transaction) -> list[Contact]:
    return [c for c in case.ledger.contacts if c.connector_id == transaction.connector_id and owner_of(case, c) is transaction]


def stop_wh_of(case: Case, transaction: Transaction) -> float:
    """Of a transaction whose stop was given up, or never came, all up to the next start is taken to be its own."""
    if transaction.stop is not None:
        return transaction.stop_wh
    later = [t.start_wh for t in transactions_of(case, transaction.connector_id) if t.start_wh > transaction.start_wh]
    return min(later, default=case.ledger.registers[transaction.connector_id].at(FOR_EVER))


def plug_in_of(case: Case, contact: Contact) -> PlugIn:
    return next(p for p in case.ledger.plug_ins if (p.connector_id, p.number) == (contact.connector_id, contact.plug_in))


def orphaned(case: Case, contact: Contact) -> Span | None:
    """The time in which a contactor closed and nobody watched: without `connectors`, or with a controller that is silent."""
    return unseen_about(case, contact.connector_id, contact.closed_s)


def unseen_about(case: Case, connector_id: int, at_s: float) -> Span | None:
    """The time around this moment in which nobody watched this connector, whatever kept them from it."""
    causes = ("connectors down", f"controller {connector_id} silent")
    spans = case.ledger.without_breath(causes, BREATH_S)
    return next((span for span in spans if span.from_s <= at_s <= span.to_s + LOOK_S), None)


def watched_since_s(case: Case, plug: PlugIn) -> float:
    """When a plug came, for all that the station can know: one that came while nobody watched may be the one before it.

    The controller's counters tell plug-ins apart (design §2), but only where the one before it was charged.
    """
    unseen = unseen_about(case, plug.connector_id, plug.in_s)
    if unseen is None:
        return plug.in_s
    before = (p for p in case.ledger.plug_ins if p.connector_id == plug.connector_id and p.in_s < plug.in_s)
    return min((p.in_s for p in before if p.out_s >= unseen.from_s), default=plug.in_s)


def lost_at_most(case: Case, connector_id: int, ended_s: float, told_s: float = FOR_EVER) -> float:
    """Energy that a station can't know of that was blind when the session ended: all since its last checkpoint.

    `told_s`: when the Central System first had its stop; no trouble after that changes what it says.
    """
    blind = blind_about(case, connector_id, ended_s, told_s)
    if not blind:
        return 0.0
    register = case.ledger.registers[connector_id]
    return register.at(max(s.to_s for s in blind) + NEAR_S) - register.at(min(s.from_s for s in blind) - CHECKPOINT_S)


def blind_about(case: Case, connector_id: int, at_s: float, told_s: float = FOR_EVER) -> list[Span]:
    """Times about this moment at which nobody could read the meter, or nobody was there to write it down."""
    causes = (*BLINDING, f"meter {connector_id} silent", f"controller {connector_id} silent")
    found: list[Span] = []
    from_s, to_s = at_s - LOOK_S - 1.0, min(at_s + WRITTEN_S, told_s)
    for _ in range(10):
        more = [s for cause in causes for s in case.ledger.during(cause, from_s, to_s) if s not in found]
        if not more:
            break
        found += more
        from_s = min(from_s, *(s.from_s - BREATH_S for s in more))
    return found


def done_until_s(case: Case, asked: Asked) -> float:
    """Until when it may be done because the Central System asked for it: its answer, else the end of its owner's time."""
    return asked.answered_s or owner_asked_s(case, asked) + CALL_S


def owner_asked_s(case: Case, asked: Asked) -> float:
    """When the link has asked its owner at the latest: it works on one CALL at a time, and others may have come before it.

    It writes to the disk as well, and on a slow one everybody waits for everybody's commits. An answer that died with the link
    was over with that.
    """
    earlier = [call for call in case.book.asked if call.at_s <= asked.at_s and call is not asked]
    before = [call.answered_s for call in earlier]
    silent_s = [call.at_s for call in earlier if not call.answered_s]
    deaths = (death.at_s for death in case.ledger.deaths if death.who == "ocpp_link" and death.at_s >= asked.at_s)
    before += [at_s for at_s in deaths if any(at_s <= since_s + CALL_S + LOOK_S for since_s in silent_s)]
    slow = (min(span.to_s, asked.at_s + COMMITS_S) for span in case.ledger.during("disk bad", asked.at_s, asked.at_s))
    return max([asked.at_s, *before, *slow])


def asked_for(case: Case, transaction: Transaction, contact: Contact) -> bool:
    """Whether the card of a transaction was presented, or the app used, before its contactor closed first."""
    from_s, begun_s = plug_in_of(case, contact).in_s - waits_s_max(case), begun_at_s(case, transaction)
    askings = [a for a in (*cards(case), *remote_starts(case)) if a.id_tag == transaction.id_tag and begun_s <= a.until_s]
    return any(from_s <= a.to_s and a.from_s <= contact.closed_s for a in askings)


def begun_at_s(case: Case, transaction: Transaction) -> float:
    """When it began for certain; 0, where the store is gone that knew it."""
    return committed_s(case, transaction.start) or 0.0


def waits_s_max(case: Case) -> float:
    """How long before its plug somebody may have asked, seconds: an authorization waits from when it was decided."""
    return case.rules.connection_time_out_s + NEAR_S + ASKED_S_MAX


def cards(case: Case) -> list[Asking]:
    """Cards that were held to the reader."""
    return [Asking(p.id_tag, p.at_s, p.at_s) for p in case.ledger.presented]


def remote_starts(case: Case) -> list[Asking]:
    """Remote starts that may have begun something, each from its asking until its answer."""
    asked = (asked for asked in case.book.asked if asked.action == "RemoteStartTransaction")
    return [
        Asking(str(one.payload["idTag"]), one.at_s, max(one.at_s, one.answered_s), until_s)
        for one in asked
        if (until_s := _may_begin_until_s(case, one)) is not None
    ]


def _may_begin_until_s(case: Case, asked: Asked) -> float | None:
    """Until when a remote start may begin something; None: never.

    Design §3: its call is answered or timed out, and never acted on late. Where no answer has come, it may have been taken in
    in time all the same, and goes on until `connectors` hears that it was given up.
    """
    if asked.answer == "Accepted":
        return FOR_EVER
    from_s, to_s = asked.at_s + CALL_S, owner_asked_s(case, asked) + CALL_S + LOOK_S
    calls = (c for c in case.ledger.remote_starts.values() if from_s <= c.deadline_s <= to_s)
    taken = (c for c in calls if same_id_tag(c.id_tag, asked.payload["idTag"]) and c.taken_s < c.deadline_s)
    return max((call.given_up_s for call in taken), default=None)


def is_dated(case: Case, transaction: Transaction) -> bool:
    """Whether what it says of its times can be relied on: clocks were honest, and known."""
    return case.rules.honest_clock and unsynchronised(case, transaction) is None


def unsynchronised(case: Case, transaction: Transaction) -> Span | None:
    """The time in which its times may be told if they are estimates: it lies, in part, in a boot that never knew the time.

    Such a boot begins after the last time that was known, and is over when the next one begins that learns it (design §5).
    """
    from_s, to_s = _lived(case, transaction)
    for unknown in case.ledger.spans:
        if unknown.what != "clock unknown":
            continue
        told = Span(unknown.what, _known_before_s(case, unknown), _known_after_s(case, unknown))
        # Where only its own words say when it was, they may be such an estimate.
        about = unknown if contacts_of(case, transaction) else told
        if from_s <= about.to_s and to_s >= about.from_s:
            return Span(unknown.what, min(from_s, told.from_s), max(to_s, _learned_again_s(case, transaction, told.to_s)))
    return _forgotten(case, transaction)


def _learned_again_s(case: Case, transaction: Transaction, to_s: float) -> float:
    """When the boot begins that tells the time, where the store that knew of the first one was lost before the message went."""
    told_s = max(copy.at_s for copy in (transaction.start, transaction.stop) if copy is not None)
    lost = [death.at_s for death in case.ledger.losses("transactions.db", to_s, told_s)]
    offs = [s.to_s for s in case.ledger.spans if s.what == "power off" and any(s.to_s < at_s for at_s in lost)]
    later_s = max([to_s, *offs])
    return max([later_s, *(_known_after_s(case, s) for s in case.ledger.during("clock unknown", later_s, later_s + 1.0))])


def _forgotten(case: Case, transaction: Transaction) -> Span | None:
    """The same where it went to the disk without a time, and the store that knew the time of its boot was lost after that."""
    names = [copy.entry for copy in (transaction.start, transaction.stop) if copy is not None]
    undated = [c.at_s for c in case.ledger.committed if c.entry in names and not c.dated]
    lost = [death.at_s for death in case.ledger.losses("transactions.db", to_s=transaction.start.at_s)]
    offs = sorted((s for s in case.ledger.spans if s.what == "power off"), key=lambda off: off.from_s)
    for off in offs:
        if undated and undated[0] < off.from_s and any(at_s > off.from_s for at_s in lost):
            begun_s = max((before.to_s for before in offs if before.to_s < undated[0]), default=0.0)
            return Span("clock unknown", begun_s, off.to_s)
    return None


def _lived(case: Case, transaction: Transaction) -> tuple[float, float]:
    """From when until when it may have run. Without a contact only its own words tell."""
    contacts = contacts_of(case, transaction)
    if not contacts:
        stopped_s = transaction.started_s if transaction.stop is None else transaction.stopped_s
        return transaction.started_s, max(stopped_s, transaction.started_s)
    last, plug = contacts[-1], plug_in_of(case, contacts[-1])
    end_s = plug.out_s if last.opened_by in ("car", "fault") else last.opened_s
    from_s = watched_since_s(case, plug_in_of(case, contacts[0]))
    return from_s, noticed_s(case, transaction.connector_id, min(end_s, case.ledger.end_s))


def _known_before_s(case: Case, unknown: Span) -> float:
    """The last moment before a boot without a time at which the time was known."""
    from_s = unknown.from_s
    for before in sorted((s for s in case.ledger.spans if s.what == "power off"), key=lambda s: -s.from_s):
        if before.to_s <= from_s + NEAR_S:
            from_s = before.from_s
            earlier = case.ledger.during("clock unknown", from_s - 1.0, from_s)
            if not earlier:
                break
            from_s = earlier[0].from_s
    return from_s


def _known_after_s(case: Case, unknown: Span) -> float:
    """When the first boot after it begins that learns the time."""
    to_s = unknown.to_s
    for after in sorted((s for s in case.ledger.spans if s.what == "power off"), key=lambda s: s.from_s):
        if after.from_s >= to_s - NEAR_S:
            to_s = after.to_s
            later = case.ledger.during("clock unknown", to_s, to_s + 1.0)
            if not later:
                break
            to_s = later[0].to_s
    return to_s


def found_s(case: Case, lost_s: float) -> float:
    """When the queue has found, at the latest, what was open in a `connectors.db` that was lost then."""
    at_s = lost_s + FOUND_S
    for cause in ("connectors down", "transaction_queue down", "broker down", "bus bad", "disk bad"):
        at_s = max([at_s, *(s.to_s + FOUND_S for s in case.ledger.during(cause, lost_s, at_s))])
    return at_s


def noticed_s(case: Case, connector_id: int, at_s: float) -> float:
    """Until when something that happened then is noticed: soon, or after the trouble that kept the station from it."""
    causes = ("connectors down", "power off", "broker down", "bus bad", "disk bad", "calls held")
    causes = (*causes, f"controller {connector_id} silent")
    until_s = at_s + LOOK_S
    for _ in range(10):
        later = [s.to_s + BACK_S for cause in causes for s in case.ledger.during(cause, at_s - LOOK_S, until_s)]
        if max(later, default=until_s) <= until_s:
            break
        until_s = max(later)
    return until_s


def plugged_in(case: Case, transaction: Transaction) -> PlugIn | None:
    """Of a transaction without a contact: the plug that was in when it says that it began."""
    at_s = transaction.started_s
    plugs = [p for p in case.ledger.plug_ins if p.connector_id == transaction.connector_id]
    near = [p for p in plugs if p.in_s - NEAR_S <= at_s <= p.out_s + NEAR_S]
    return min(near, key=lambda p: max(p.in_s - at_s, at_s - p.out_s, 0.0), default=None)


def same_id_tag(one: str, other: str) -> bool:
    """An idTag is a CiString (OCPP 1.6 §7.28)."""
    return one.upper() == other.upper()


def anchor_lost(case: Case, transaction: Transaction) -> bool:
    """Whether the queue has lost, with its store, which wrong time it had sent with the start.

    Where the start knew its time when it was made, what follows it tells the queue which one.
    """
    assert transaction.stop is not None
    if unsynchronised(case, transaction) is None:
        return False
    return bool(case.ledger.losses("transactions.db", transaction.start.at_s, transaction.stop.at_s))
