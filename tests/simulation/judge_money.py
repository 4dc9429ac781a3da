"""Promises about energy, people and time: what is billed is what flowed, by whom it was allowed, when it truly was (pure).

Owns: book against hardware. Does not: look at transmissions (`judge_delivery.py`).

A register only grows, so that a reading tells its time within the ledger, whatever a clock said: transactions are laid along
the register first, and only then are their times looked at.
"""

from tests.simulation.book import GOOD, Asked
from tests.simulation.central_system import BAD_CARD
from tests.simulation.judge import Case, Finding, Findings, Transaction, said_s
from tests.simulation.ledger import Contact, PlugIn, Span, plug_seen_out

BILLED = "all energy that flowed is billed, and none that did not"
START_FIRST = "no contactor closes outside of a transaction that was committed before"
AUTHORIZED = "no contactor closes without authorization"
ONE_PLUG_IN = "a transaction ends with its plug-in"
TRUE_TIMES = "times on the wire are true"
TRUE_DURATION = "durations and order are true whatever a clock does"
DEAUTHORIZED = "a refused idTag gets no more energy"
ROUNDING_WH = 2.0
CHECKPOINT_S = 62.0
CHECKPOINT_S_MIN = 5.0
BREATH_S = 3.0
LOOK_S = 1.0
"""Whoever is back looks at the hardware within so long."""
FOUND_S = 30.0
"""Within so long the queue, if it lives, has a transaction closed that `connectors` has lost."""
NEAR_S = 4.0
CALL_S = 5.0
ASKED_S_MAX = 12.0
"""MessageTimeout of a day, and the margin that `connectors` gives the link: only then the offline rules decide about a card."""
"""How long the link waits for the owner of a CALL; nothing may begin because of it later (design §3)."""
FOR_EVER = float("inf")
BLINDING = ("connectors down", "meter down", "broker down", "bus bad", "disk bad", "power off")
"""Troubles in which nobody could read the meter, or nobody was there to write it down."""


def energy_is_billed(case: Case) -> Findings:
    """Along each register: no energy between two transactions, none twice, and each reading within what the register was."""
    for connector_id, register in case.ledger.registers.items():
        at_wh, before = register.at(0.0), None
        for transaction in _of(case, connector_id):
            if transaction.start_wh < at_wh - ROUNDING_WH:
                text = f"the {transaction.name} bills energy again that was billed up to {at_wh:.0f} Wh"
                yield Finding(BILLED, text, transaction.start.at_s)
            yield from _unbilled(case, connector_id, (at_wh, float(transaction.start_wh)), before)
            at_wh = max(at_wh, float(_stop_wh(case, transaction)))
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
        if _owner(case, contact) is None and _orphaned(case, contact) is None:
            text = f"the contactor of connector {contact.connector_id} closed at {contact.closed_wh:.0f} Wh in no transaction"
            yield Finding(START_FIRST, text, contact.closed_s)


def contactors_close_with_authorization(case: Case) -> Findings:
    """Who is billed has asked for it, at this plug-in or shortly before, and was not refused."""
    for transaction in case.transactions:
        contacts = _contacts(case, transaction)
        if not contacts or _orphaned(case, contacts[0]) is not None:
            continue
        first = contacts[0]
        if not _asked_for(case, transaction, first):
            text = f"the {transaction.name} closed the contactor, and nobody presented that card"
            yield Finding(AUTHORIZED, text, first.closed_s)
        elif transaction.id_tag.startswith(BAD_CARD) and not case.rules.charges_unknown_offline:
            text = f"the {transaction.name} closed the contactor for a card that is refused"
            yield Finding(AUTHORIZED, text, first.closed_s)


def one_plug_in(case: Case) -> Findings:
    """No transaction has energy of two plug-ins, but for what flowed before `connectors` was back to see it."""
    for transaction in case.transactions:
        contacts = _contacts(case, transaction)
        for contact in contacts:
            if contact.plug_in == contacts[0].plug_in or _overtaken(case, contacts[0], contact):
                continue
            down = _orphaned(case, contact)
            seen_wh = contact.closed_wh
            if down is not None:
                seen_wh = case.ledger.registers[contact.connector_id].at(down.to_s + NEAR_S)
            if down is None or _stop_wh(case, transaction) > seen_wh + ROUNDING_WH:
                text = f"the {transaction.name} goes on in another plug-in, at {contact.closed_wh:.0f} Wh"
                yield Finding(ONE_PLUG_IN, text, contact.closed_s)


def times_are_true(case: Case) -> Findings:
    """With honest clocks: a start before the contactor closes, a stop near its opening, readings of their time."""
    if not case.rules.honest_clock:
        return
    for transaction in case.transactions:
        if transaction.stop is None or _unsynchronised(case, transaction):
            continue
        yield from _readings_are_of_their_time(case, transaction)
        contacts = _contacts(case, transaction)
        if not contacts:
            continue
        early_s = _watched_since_s(case, _plug_in(case, contacts[0])) - NEAR_S
        if not early_s <= transaction.started_s <= contacts[0].closed_s + NEAR_S:
            late_s = transaction.started_s - contacts[0].closed_s
            text = f"the {transaction.name} says that it started {late_s:.0f} s after the contactor closed"
            yield Finding(TRUE_TIMES, text, contacts[0].closed_s)


def durations_are_true(case: Case) -> Findings:
    """Whatever the clock: a transaction is as long as it was, if it lies within one boot."""
    for transaction in case.transactions:
        if transaction.stop is None:
            continue
        lasted_s = transaction.stopped_s - transaction.started_s
        contacts = _contacts(case, transaction)
        if not case.rules.honest_clock and _anchor_lost(case, transaction):
            continue
        if lasted_s < 0:
            yield Finding(TRUE_DURATION, f"the {transaction.name} lasts {lasted_s:.0f} s", transaction.start.at_s)
        if not any(c.opened_wh > c.closed_wh + 10 for c in contacts):
            continue
        out_s = min(_plug_in(case, contacts[0]).out_s, case.ledger.end_s)
        unseen = _unseen(case, transaction.connector_id, out_s)
        # Nobody was there to close it before the power failed: its stop is of another boot, which may be told another time.
        until_s = out_s if unseen is None else max(out_s, unseen.to_s)
        if case.ledger.during("power off", contacts[0].closed_s - 120, until_s + 120):
            continue
        true_s = contacts[-1].opened_s - contacts[0].closed_s
        ends = (contacts[-1].opened_s, out_s)
        blind = {id(s): s for at_s in ends for s in _blind(case, transaction.connector_id, at_s)}
        blind_s = sum(min(s.to_s, case.ledger.end_s) - s.from_s for s in blind.values())
        late_s = max(blind_s, _found_late(case, transaction, contacts), until_s - out_s)
        if not -CHECKPOINT_S - blind_s <= lasted_s - true_s <= 30.0 + late_s + _car_waits(case, contacts):
            text = f"the {transaction.name} says that it lasted {lasted_s:.0f} s, the contactor was closed for {true_s:.0f} s"
            yield Finding(TRUE_DURATION, text, contacts[-1].opened_s)


def refused_tags_stop(case: Case) -> Findings:
    """Once StartTransaction.conf has said that the idTag is refused, the contactor opens (OCPP 1.6 §4.8)."""
    for contact in case.ledger.contacts:
        owner = _owner(case, contact)
        if owner is None or not owner.id_tag.startswith(BAD_CARD):
            continue
        told_s = min((c.at_s for c in owner.starts if c.fate == GOOD), default=FOR_EVER)
        if contact.opened_s > max(told_s, contact.closed_s) + 240.0:
            text = f"the {owner.name} charges on {contact.opened_s - told_s:.0f} s after its idTag was refused"
            yield Finding(DEAUTHORIZED, text, told_s)


def _readings_are_of_their_time(case: Case, transaction: Transaction) -> Findings:
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
    low, high = register.at(at_s - NEAR_S) - ROUNDING_WH, register.at(max(at_s, opened_s) + NEAR_S) + ROUNDING_WH
    if not low - _lost_at_most(case, transaction.connector_id, at_s) <= wh <= high:
        text = f"the {transaction.name} stops at {wh} Wh, at a time when the meter showed {register.at(at_s):.0f} Wh"
        yield Finding(TRUE_TIMES, text, at_s)


def _is_register(sampled: dict[str, str]) -> bool:
    measurand = sampled.get("measurand", "Energy.Active.Import.Register")
    return measurand == "Energy.Active.Import.Register" and sampled.get("unit", "Wh") == "Wh"


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
    lost_wh = max((_lost_at_most(case, connector_id, c.opened_s) for c in cut_short), default=0.0)
    if to_wh - from_wh > lost_wh + ROUNDING_WH:
        text = f"{to_wh - from_wh:.0f} Wh flowed on connector {connector_id} from {from_wh:.0f} Wh on, and nobody is billed"
        if lost_wh:
            text += f" (a station that was blind then may miss {lost_wh:.0f} Wh)"
        yield Finding(BILLED, text, at_s)


def _lost_at_most(case: Case, connector_id: int, ended_s: float) -> float:
    """Energy that a station can't know of that was blind when the session ended: all since its last checkpoint."""
    blind = _blind(case, connector_id, ended_s)
    if not blind:
        return 0.0
    register = case.ledger.registers[connector_id]
    return register.at(max(s.to_s for s in blind) + NEAR_S) - register.at(min(s.from_s for s in blind) - CHECKPOINT_S)


def _blind(case: Case, connector_id: int, at_s: float) -> list[Span]:
    """Times about this moment at which nobody could read the meter, or nobody was there to write it down."""
    causes = (*BLINDING, f"meter {connector_id} silent", f"controller {connector_id} silent")
    found: list[Span] = []
    from_s, to_s = at_s - LOOK_S - 1.0, at_s + 35.0
    for _ in range(10):
        more = [s for cause in causes for s in case.ledger.during(cause, from_s, to_s) if s not in found]
        if not more:
            break
        found += more
        from_s = min(from_s, *(s.from_s - BREATH_S for s in more))
    return found


def _of(case: Case, connector_id: int) -> list[Transaction]:
    return [t for t in case.transactions if t.connector_id == connector_id]


def _stop_wh(case: Case, transaction: Transaction) -> float:
    """Of a transaction whose stop was given up, or never came, all up to the next start is taken to be its own."""
    if transaction.stop is not None:
        return transaction.stop_wh
    later = [t.start_wh for t in _of(case, transaction.connector_id) if t.start_wh > transaction.start_wh]
    return min(later, default=case.ledger.registers[transaction.connector_id].at(FOR_EVER))


def _owner(case: Case, contact: Contact) -> Transaction | None:
    """The transaction in which a contactor was closed, by its register.

    Where hardly anything flowed several may fit: it is the one that says a time near to it.
    """
    shared = {
        transaction: min(contact.opened_wh, _stop_wh(case, transaction)) - max(contact.closed_wh, transaction.start_wh)
        for transaction in _of(case, contact.connector_id)
    }
    fitting = [t for t, wh in shared.items() if wh > ROUNDING_WH]
    if not fitting and not case.rules.honest_clock and _orphaned(case, contact) is not None:
        # Hardly anything flowed, nobody saw it, and no time tells whose it was.
        return None
    fitting = fitting or [t for t, wh in shared.items() if _near(case, t, contact, wh)]
    if not case.rules.honest_clock:
        # Where clocks lie, the one that was asked for then, whose start came next after the plug, else the last one before it.
        in_s = _plug_in(case, contact).in_s

        def distance(transaction: Transaction) -> tuple[bool, bool, float]:
            came_s = transaction.start.at_s
            return not _asked_for(case, transaction, contact), came_s < in_s, abs(came_s - in_s)

        return min(fitting, key=distance, default=None)
    return min(fitting, key=lambda t: abs(t.started_s - contact.closed_s), default=None)


def _near(case: Case, transaction: Transaction, contact: Contact, shared_wh: float) -> bool:
    """Whether a transaction that shares no energy with a contact may be its own all the same: by its time, in its plug-in.

    What flowed may have been lost with a blind station; how much of it may be is the business of `energy_is_billed`.
    """
    blind = bool(_blind(case, contact.connector_id, contact.opened_s))
    if not case.rules.honest_clock:
        return shared_wh > -ROUNDING_WH or blind
    if not _watched_since_s(case, _plug_in(case, contact)) - NEAR_S <= transaction.started_s <= contact.closed_s + NEAR_S:
        return False
    return blind or transaction.stop is None or transaction.stopped_s >= contact.closed_s - NEAR_S


def _contacts(case: Case, transaction: Transaction) -> list[Contact]:
    return [c for c in case.ledger.contacts if c.connector_id == transaction.connector_id and _owner(case, c) is transaction]


def _orphaned(case: Case, contact: Contact) -> Span | None:
    """The time in which a contactor closed and nobody watched: without `connectors`, or with a controller that is silent."""
    return _unseen(case, contact.connector_id, contact.closed_s)


def _unseen(case: Case, connector_id: int, at_s: float) -> Span | None:
    """The time around this moment in which nobody watched this connector, whatever kept them from it."""
    causes = ("connectors down", f"controller {connector_id} silent")
    spans = case.ledger.without_breath(causes, BREATH_S)
    return next((span for span in spans if span.from_s <= at_s <= span.to_s + LOOK_S), None)


def _watched_since_s(case: Case, plug: PlugIn) -> float:
    """When a plug came, for all that the station can know: one that came while nobody watched may be the one before it.

    The controller's counters tell plug-ins apart (design §2), but only where the one before it was charged.
    """
    unseen = _unseen(case, plug.connector_id, plug.in_s)
    if unseen is None:
        return plug.in_s
    before = (p for p in case.ledger.plug_ins if p.connector_id == plug.connector_id and p.in_s < plug.in_s)
    return min((p.in_s for p in before if p.out_s >= unseen.from_s), default=plug.in_s)


def _overtaken(case: Case, before: Contact, after: Contact) -> bool:
    """Whether another car had charged for as long as the disk knew of the one before, when `connectors` came back.

    Where the guard has not seen the plug out, the controller's counters are all that tells plug-ins apart (design §2), and
    those on the disk are as old as half of the session, or a few seconds; where the disk took no commit when `connectors`
    ended, as old as that disk's trouble.
    """
    came_s = _plug_in(case, after).in_s
    span = _unseen(case, before.connector_id, came_s)
    if span is None or case.ledger.during(plug_seen_out(before.connector_id), _plug_in(case, before).out_s, came_s):
        return False
    restarts = case.ledger.during(f"controller {before.connector_id} restarts", before.closed_s, span.to_s)
    begun_s = max([before.closed_s, *(restart.from_s for restart in restarts)])
    disk = case.ledger.during("disk bad", span.from_s - LOOK_S, span.from_s)
    counted_s = min([before.opened_s, span.from_s, *(trouble.from_s for trouble in disk)]) - begun_s
    same = [c for c in case.ledger.contacts if (c.connector_id, c.plug_in) == (after.connector_id, after.plug_in)]
    charged_s = sum(max(0.0, min(c.opened_s, span.to_s) - c.closed_s) for c in same)
    return charged_s >= counted_s / 2 - CHECKPOINT_S_MIN


def _plug_in(case: Case, contact: Contact) -> PlugIn:
    return next(p for p in case.ledger.plug_ins if (p.connector_id, p.number) == (contact.connector_id, contact.plug_in))


def _anchor_lost(case: Case, transaction: Transaction) -> bool:
    """Whether the queue has lost, with its store, which wrong time it had sent with the start.

    Where the start knew its time when it was made, what follows it tells the queue which one.
    """
    assert transaction.stop is not None
    if not _unsynchronised(case, transaction):
        return False
    lost = (d.at_s for d in case.ledger.deaths if d.who == "store transactions.db")
    return any(transaction.start.at_s <= at_s <= transaction.stop.at_s for at_s in lost)


def _found_late(case: Case, transaction: Transaction, contacts: list[Contact]) -> float:
    """Seconds from its last contact until the queue has found a transaction that was open in a lost `connectors.db`.

    A store that was lost before its plug came, or once its stop was there, did not have it open, wherever the register stood.
    """
    assert transaction.stop is not None
    register, last_s = case.ledger.registers[transaction.connector_id], contacts[-1].opened_s
    from_s, to_s = _watched_since_s(case, _plug_in(case, contacts[0])), transaction.stop.at_s
    low, high = transaction.start_wh - ROUNDING_WH, transaction.stop_wh + ROUNDING_WH
    lost = [d.at_s for d in case.ledger.deaths if d.who == "store connectors.db" and from_s <= d.at_s <= to_s]
    return max((_found_s(case, at_s) - last_s for at_s in lost if low <= register.at(at_s) <= high), default=0.0)


def _found_s(case: Case, lost_s: float) -> float:
    """When the queue has found, at the latest, what was open in a `connectors.db` that was lost then."""
    at_s = lost_s + FOUND_S
    for cause in ("connectors down", "transaction_queue down", "broker down", "bus bad", "disk bad"):
        at_s = max([at_s, *(s.to_s + FOUND_S for s in case.ledger.during(cause, lost_s, at_s))])
    return at_s


def _car_waits(case: Case, contacts: list[Contact]) -> float:
    """How long the plug was in before and after the contactor was closed: a transaction may last as long."""
    plug = _plug_in(case, contacts[0])
    return contacts[0].closed_s - plug.in_s + max(0.0, min(plug.out_s, case.ledger.end_s) - contacts[-1].opened_s)


def _asked_for(case: Case, transaction: Transaction, contact: Contact) -> bool:
    """Whether the card of a transaction was presented, or the app used, before its contactor closed first."""
    from_s = _plug_in(case, contact).in_s - case.rules.connection_time_out_s - NEAR_S
    presented = [p.at_s for p in case.ledger.presented if p.id_tag == transaction.id_tag]
    if any(from_s - ASKED_S_MAX <= at_s <= contact.closed_s for at_s in presented):
        return True
    remote = [
        at_s
        for asked in case.book.asked
        for at_s in (asked.at_s, asked.answered_s)
        if asked.action == "RemoteStartTransaction" and asked.payload["idTag"] == transaction.id_tag
        if asked.answer in ("Accepted", "") or _answer_was_lost(case, asked)
    ]
    return any(from_s <= at_s <= contact.closed_s for at_s in remote)


def _answer_was_lost(case: Case, asked: Asked) -> bool:
    """A start that failed for the Central System may have been done in time all the same: it asked about the idTag at once."""
    if not asked.answer.startswith("CALLERROR") or asked.action != "RemoteStartTransaction":
        return False
    until_s = asked.at_s + CALL_S + 1.0
    if case.ledger.during("bus bad", asked.at_s, until_s) or case.ledger.during("disk bad", asked.at_s, until_s):
        until_s += 20.0
    asked_for = (a.at_s for a in case.book.authorized if a.id_tag == asked.payload["idTag"])
    return any(asked.at_s <= at_s <= until_s for at_s in asked_for)


def _unsynchronised(case: Case, transaction: Transaction) -> bool:
    """Whether its times may be estimates: a boot that never knew the time lies about it."""
    contacts = _contacts(case, transaction)
    if not contacts:
        return bool(case.ledger.during("clock unknown", 0.0, case.ledger.end_s))
    return bool(case.ledger.during("clock unknown", contacts[0].closed_s - 200.0, contacts[-1].opened_s + 60.0))


RULES = (
    energy_is_billed,
    contactors_close_in_transactions,
    contactors_close_with_authorization,
    one_plug_in,
    times_are_true,
    durations_are_true,
    refused_tags_stop,
)
