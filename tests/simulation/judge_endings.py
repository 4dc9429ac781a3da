"""Promises about the end of a transaction: it has a cause, and its reason tells which (pure; OCPP 1.6 §4.10, §7.36).

Owns: why a transaction ended, against what people, the Central System and the power did. Does not: look at what it billed
(`judge_money.py`) or at how its stop came (`judge_delivery.py`).

A restart of `connectors` is no cause: the same plug-in goes on in the same transaction, neither a stop nor a second start
(design §2). When an end was committed is known from the disk, so wrong clocks play no part here.
"""

from tests.simulation.central_system import BAD_CARD
from tests.simulation.judge import Case, Finding, Findings
from tests.simulation.ledger import TOLD_TO_END, Committed, Death, PlugIn
from tests.simulation.whose import BREATH_S, done_until_s

CAUSED = "a transaction ends for a cause; a restart of a service is none"
POWER_LOSS = "OCPP 1.6 §7.36: what a power cut has ended says PowerLoss, and nothing else does"
REASON = "OCPP 1.6 §7.36: a stop gives the reason for which the transaction ended"
ANYTHING = "anything"
ENDS_WITHIN_S = 30.0
"""From what ends a transaction to the commit of its stop: a call, contactor and reading, with a margin."""
GRACE_S = 14.0
"""Nobody exchanges plugs sooner; `orphan_grace_s` is 15."""
READ_S = 12.0
"""A stop waits for contactor and meter, 5 s each at most (design §4.1)."""
CARD_S = 2.0
"""A card that comes later over the bus is dropped (design §3)."""
ENDING_S = 5.0
"""Who is back from an end in order has forgotten it within so long."""
SLOW_S = 15.0
"""So much later on a disk that takes seconds for a commit."""
DELAYS = ("connectors down", "transaction_queue down", "broker down", "bus bad", "calls held", "disk bad", "power off")
"""Troubles in which a cause waits for its effect."""


def ends_have_a_cause(case: Case) -> Findings:
    """Somebody pulled a plug, held a card, asked, cut the power; or nobody could know whether it was the same plug any more."""
    for start, stop in _sessions(case):
        causes = _causes(case, start, stop)
        name = f"the transaction of connector {start.connector_id} {start.said}"
        if not causes:
            yield Finding(CAUSED, f"{name} ends for nothing: {stop.said}", stop.at_s)
        elif ANYTHING not in causes and _reason(stop) not in causes:
            yield Finding(REASON, f"{name} ends because of {' or '.join(sorted(causes))}, and says {stop.said}", stop.at_s)


def power_cuts_are_told(case: Case) -> Findings:
    """A transaction that nothing else had ended by then was ended by the power cut; without one none was."""
    for start, stop in _sessions(case):
        cuts = [d for d in case.ledger.deaths if d.who == "power" and start.at_s <= d.at_s <= stop.at_s]
        reason = _reason(stop)
        name = f"the transaction of connector {start.connector_id} {start.said}"
        if reason in ("PowerLoss", "Reboot") and not cuts:
            yield Finding(POWER_LOSS, f"{name} ended with {reason}, and the power never failed", stop.at_s)
        elif cuts and reason not in _reasons(case, cuts[0]) and not _ended_before(case, start, cuts[0]):
            yield Finding(POWER_LOSS, f"{name} was ended by a power cut, and says {reason}", cuts[0].at_s)


def _sessions(case: Case) -> list[tuple[Committed, Committed]]:
    """Start and first stop of each transaction, as they went to the disk."""
    stops: dict[str, Committed] = {}
    for entry in case.ledger.committed:
        if entry.action == "StopTransaction":
            stops.setdefault(entry.local_tx_id, entry)
    starts = [entry for entry in case.ledger.committed if entry.number == 0]
    return [(start, stops[start.local_tx_id]) for start in starts if start.local_tx_id in stops]


def _causes(case: Case, start: Committed, stop: Committed) -> set[str]:
    """The reasons that a transaction may give for its end, as of what was there then."""
    number, deaths = start.connector_id, [d.who for d in case.ledger.deaths if start.at_s <= d.at_s <= stop.at_s]
    plug = _plug_at(case, number, start.at_s)
    if plug is None or any(who.startswith("store ") for who in deaths):
        # Where a store was lost the queue found it, or an older one knew something else of it.
        return {ANYTHING}
    causes = _asked_to_end(case, start, _effective_from(case, stop.at_s - ENDS_WITHIN_S), stop.at_s)
    if plug.out_s <= stop.at_s or _may_be_anothers(case, number, start.at_s, stop.at_s):
        causes.add("EVDisconnected")
    if "power" in deaths:
        causes |= {"PowerLoss", "Reboot"}
    if start.said.startswith(BAD_CARD):
        causes.add("DeAuthorized")
    return causes


def _may_be_anothers(case: Case, number: int, from_s: float, to_s: float) -> bool:
    """Whether nobody could see the plug for long, or its counters began anew: it may have been another one's."""
    spans = case.ledger.without_breath(("connectors down", f"controller {number} silent"), BREATH_S)
    blind = [s for s in spans if s.to_s >= from_s and s.from_s < to_s]
    if any(min(s.to_s, to_s) - s.from_s >= GRACE_S for s in blind):
        return True
    return bool(blind) and bool(case.ledger.during(f"controller {number} restarts", from_s, to_s))


def _asked_to_end(case: Case, start: Committed, from_s: float, to_s: float) -> set[str]:
    """What its own card or the Central System may have ended it with; a card that began it does not end it too.

    A card that is held to the reader again and again may come over a slow bus when it has begun a transaction already.
    """
    from_s, id_tag = max(from_s, start.at_s), start.said.split(" ")[0]
    ids = {copy.transaction_id for copy in case.book.copies if copy.entry == start.entry}
    slow_s = CARD_S if case.ledger.during("bus bad", start.at_s - CARD_S, start.at_s) else 0.0
    cards = [p.at_s for p in case.ledger.presented if p.id_tag == id_tag]
    again = [at_s for at_s in cards if start.at_s - slow_s < at_s <= start.at_s and at_s > _begun_s(cards, start.at_s)]
    asked = [("Local", at_s, at_s) for at_s in cards] + [("Local", to_s, to_s) for _ in again]
    for call in case.book.asked:
        until_s = done_until_s(case, call)
        if call.action == "RemoteStopTransaction" and call.payload["transactionId"] in ids:
            asked.append(("Remote", call.at_s, until_s))
        elif call.action == "Reset":
            asked.append((f"{call.payload['type']}Reset", call.at_s, until_s))
        elif call.action == "UnlockConnector":
            asked.append(("UnlockCommand", call.at_s, until_s))
    return {reason for reason, at_s, until_s in asked if from_s < until_s and at_s <= to_s}


def _begun_s(cards: list[float], start_s: float) -> float:
    """When the card was held to the reader for the first time of those that have begun a transaction."""
    return min((at_s for at_s in cards if start_s - ENDS_WITHIN_S < at_s <= start_s), default=start_s)


def _ended_before(case: Case, start: Committed, cut: Death) -> bool:
    """Whether a transaction may have been ending when the power failed."""
    plug = _plug_at(case, start.connector_id, start.at_s)
    if plug is None or plug.out_s <= cut.at_s or start.said.startswith(BAD_CARD):
        return True
    if any(d.who.startswith("store ") and start.at_s <= d.at_s for d in case.ledger.deaths):
        return True
    if _may_be_anothers(case, start.connector_id, start.at_s, cut.at_s):
        return True
    return bool(_asked_to_end(case, start, start.at_s, cut.at_s))


def _reasons(case: Case, cut: Death) -> tuple[str, ...]:
    """Reboot is right where `connectors` had been told to end, and was not back when the power failed."""
    slow_s = SLOW_S if case.ledger.during("disk bad", cut.at_s - ENDING_S - SLOW_S, cut.at_s) else 0.0
    told = case.ledger.during(TOLD_TO_END, cut.at_s - ENDING_S - slow_s, cut.at_s)
    return ("PowerLoss", "Reboot") if told else ("PowerLoss",)


def _effective_from(case: Case, from_s: float) -> float:
    """Since when a cause may have waited for its effect."""
    for _ in range(10):
        delayed = [s.from_s - READ_S for cause in DELAYS for s in case.ledger.during(cause, from_s, from_s + ENDS_WITHIN_S)]
        if min(delayed, default=from_s) >= from_s:
            break
        from_s = min(delayed)
    return from_s


def _reason(stop: Committed) -> str:
    return stop.said.split(" ")[0]


def _plug_at(case: Case, number: int, at_s: float) -> PlugIn | None:
    plugs = (p for p in case.ledger.plug_ins if p.connector_id == number and p.in_s <= at_s <= p.out_s)
    return next(plugs, None)


RULES = (ends_have_a_cause, power_cuts_are_told)
