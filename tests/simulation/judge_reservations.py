"""Promises about reservations: what was promised to one is not given to another (pure; OCPP 1.6 §4.8, §5.13).

Owns: from when to when a reservation stood for certain, told from what the Central System asked and was answered, and from what
truly happened. What may have ended it ends it here: then nothing is judged. Does not: look at days whose clocks lie.
"""

import msgspec

from tests.simulation.book import Asked
from tests.simulation.judge import Case, Finding, Findings, Transaction, said_s
from tests.simulation.ledger import Contact
from tests.simulation.whose import NEAR_S

KEPT = "a reserved connector never serves another's card (OCPP 1.6 §5.13)"
ONE_LEFT = "one connector remains for a reservation of connector 0 (OCPP 1.6 §5.13)"
TOLD = "StartTransaction names the reservation that it ends, and no other (OCPP 1.6 §4.8)"
JUST_NOW_S = 20.0
"""What became so not longer ago may not have been seen when a session was let begin."""
HELD_S = 30.0
"""The bus may hold a call back for so long, so that a later one is done before it."""
EPSILON_WH = 1.0
EPSILON_S = 0.001


class Stood(msgspec.Struct):
    """A reservation that stood for certain between two true seconds."""

    reservation_id: int
    connector_id: int
    id_tag: str
    from_s: float
    to_s: float


def reserved_connectors_are_kept(case: Case) -> Findings:
    """Nobody but the holder begins to charge there; its own StartTransaction has the reservationId.

    A contactor may close again for a session that has begun, or close at last for one whose start was told before.
    """
    for stood in _stood(case):
        for contact in _closed_while(case, stood):
            transaction = _owner(case, contact)
            if transaction is None or stood.connector_id not in (0, contact.connector_id):
                continue
            if contact != _first_contact(case, transaction, contact) or transaction.start.at_s < stood.from_s:
                continue
            if transaction.id_tag == stood.id_tag:
                if transaction.start.payload.get("reservationId") != stood.reservation_id and not _may_name_other(case, stood):
                    yield Finding(TOLD, f"{transaction.name} does not name {stood.reservation_id}", contact.closed_s)
            elif stood.connector_id:
                yield Finding(KEPT, f"{transaction.name}, reserved for {stood.id_tag}", contact.closed_s)
            elif not (_has_its_own(case, transaction) or _another_is_left(case, stood, contact)):
                yield Finding(ONE_LEFT, f"{transaction.name}, kept for {stood.id_tag}", contact.closed_s)


def only_what_was_reserved_is_named(case: Case) -> Findings:
    """A reservationId was asked for, for this idTag, and for this connector or for any."""
    for transaction in case.transactions:
        payload = transaction.start.payload
        if "reservationId" not in payload:
            continue
        wanted = (payload["reservationId"], payload["idTag"])
        asked = [a.payload for a in case.book.asked if a.action == "ReserveNow" and a.at_s <= transaction.start.at_s]
        fits = [p for p in asked if p["connectorId"] in (0, payload["connectorId"])]
        if wanted not in [(p["reservationId"], p["idTag"]) for p in fits]:
            yield Finding(
                TOLD, f"{transaction.name} names {wanted[0]}, which nobody has reserved for it", transaction.start.at_s
            )


def _stood(case: Case) -> list[Stood]:
    if not case.rules.honest_clock:
        return []
    accepted = [a for a in case.book.asked if a.action == "ReserveNow" and a.answer == "Accepted"]
    return [one for one in (_from(case, asked) for asked in accepted) if one.from_s < one.to_s]


def _from(case: Case, asked: Asked) -> Stood:
    """From the answer on, until anything that may have ended it."""
    payload, since_s = asked.payload, asked.at_s
    number, id_ = payload["connectorId"], payload["reservationId"]
    again = [a for a in case.book.asked if a.action in ("ReserveNow", "CancelReservation") and a is not asked]
    ends = [said_s(payload["expiryDate"])]
    ends += [a.at_s for a in again if a.payload["reservationId"] == id_ and a.at_s > since_s - HELD_S]
    ends += [death.at_s for death in case.ledger.losses("connectors.db", since_s)]
    troubles = {
        f"{what} {each} {how}"
        for each in ((number,) if number else case.ledger.registers)
        for what, how in (("controller", "silent"), ("connector", "faulted"))
    }
    ends += [span.from_s for span in case.ledger.spans if span.what in troubles and span.to_s > since_s]
    for transaction in case.transactions:
        closed = [contact.closed_s for contact in _contacts(case, transaction)] or [transaction.started_s]
        if transaction.start.payload.get("reservationId") == id_:
            ends += [at_s for at_s in closed if at_s >= since_s]
        elif transaction.id_tag == payload["idTag"] and number in (0, transaction.connector_id):
            # It ends with any start of its holder, who may have had two: this one should have named it, or the other.
            ends += [at_s + EPSILON_S for at_s in closed if at_s >= since_s]
    return Stood(id_, number, payload["idTag"], asked.answered_s, min(ends))


def _closed_while(case: Case, stood: Stood) -> list[Contact]:
    return [c for c in case.ledger.contacts if stood.from_s < c.closed_s < stood.to_s]


def _owner(case: Case, contact: Contact) -> Transaction | None:
    """The transaction in which a contactor was closed, by its register, then by its time; None: none, or an estimate.

    What closed before it started is of somebody else, who has hardly moved the register: a car that came while nobody watched.
    """
    fits = [t for t in case.transactions if contact in _contacts(case, t)]
    if case.ledger.during("clock unknown", contact.closed_s - 3600.0, contact.closed_s + 3600.0):
        return fits[0] if len(fits) == 1 else None
    fits = [t for t in fits if t.started_s <= contact.closed_s + NEAR_S]
    return min(fits, key=lambda t: abs(t.started_s - contact.closed_s), default=None)


def _contacts(case: Case, transaction: Transaction) -> list[Contact]:
    from_wh = transaction.start_wh - EPSILON_WH
    to_wh = transaction.stop_wh + EPSILON_WH if transaction.stop is not None else float("inf")
    mine = (c for c in case.ledger.contacts if c.connector_id == transaction.connector_id)
    return [c for c in mine if from_wh <= c.closed_wh <= to_wh]


def _first_contact(case: Case, transaction: Transaction, contact: Contact) -> Contact:
    """The first one of this transaction in this plug-in."""
    mine = (c for c in _contacts(case, transaction) if c.plug_in == contact.plug_in and _owner(case, c) is transaction)
    return min(mine, key=lambda c: c.closed_s)


def _has_its_own(case: Case, transaction: Transaction) -> bool:
    """Whether this connector was promised to it as well, while the other one had another free: its own promise holds too."""
    payload = transaction.start.payload
    own = (payload.get("reservationId"), payload["idTag"], payload["connectorId"])
    accepted = (a for a in case.book.asked if a.action == "ReserveNow" and a.answer == "Accepted")
    stood = (a.payload for a in accepted if a.at_s <= transaction.started_s <= said_s(a.payload["expiryDate"]))
    return own in [(p["reservationId"], p["idTag"], p["connectorId"]) for p in stood]


def _another_is_left(case: Case, stood: Stood, contact: Contact) -> bool:
    """Whether another connector was free of plugs, or may have looked so, or the holder may have come to one."""
    others = [number for number in case.ledger.registers if number != contact.connector_id]
    at_s = contact.closed_s
    plugged = {
        p.connector_id
        for p in case.ledger.plug_ins
        if p.in_s < at_s - JUST_NOW_S and p.out_s > at_s and p.connector_id in others
    }
    return set(others) != plugged or _holder_came(case, stood, at_s)


def _holder_came(case: Case, stood: Stood, at_s: float) -> bool:
    lately = (at_s - case.rules.connection_time_out_s - JUST_NOW_S, at_s)
    cards = [p.at_s for p in case.ledger.presented if p.id_tag == stood.id_tag]
    apps = [a.at_s for a in case.book.asked if a.payload.get("idTag") == stood.id_tag and a.action == "RemoteStartTransaction"]
    return any(lately[0] <= came_s <= lately[1] for came_s in (*cards, *apps))


def _may_name_other(case: Case, stood: Stood) -> bool:
    """Whether the holder may have had two reservations at once, of which StartTransaction can name one."""
    asked = [a for a in case.book.asked if a.action == "ReserveNow" and a.payload["idTag"] == stood.id_tag]
    ids = {
        a.payload["reservationId"] for a in asked if a.at_s <= stood.to_s and said_s(a.payload["expiryDate"]) >= stood.from_s
    }
    return len(ids) > 1


RULES = (reserved_connectors_are_kept, only_what_was_reserved_is_named)
