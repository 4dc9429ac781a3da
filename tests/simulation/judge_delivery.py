"""Promises about messages: each once, in order, none lost, none given up but by the rule, none spent offline (pure).

Owns: design §4 as the Central System sees it. Does not: look at registers (`judge_money.py`).
"""

from collections import defaultdict
from itertools import pairwise
from typing import Any

from tests.simulation.book import ERRORS, FAILS, SETTLES, TAKEN, Copy
from tests.simulation.central_system import HOP_S
from tests.simulation.judge import Case, Finding, Findings, Transaction, retold

EVERYTHING_ARRIVES = "every message arrives, within bounded time after the last fault"
ONCE = "each message once; a repeat only where its answer was lost, and then the same to the byte"
IN_ORDER = "the messages of a transaction arrive in their order"
ONE_STOP = "each transaction has one start and one stop"
OWN_ID = "a message bears the transactionId that its own StartTransaction was given"
NO_OFFLINE_ATTEMPT = "no attempt is spent without a failure of the Central System"
RETRY_RULE = "OCPP 1.6 §3.7.1: no more than TransactionMessageAttempts, and the interval between them"
UNIQUE_IDS = "OCPP-J 1.6 §4.1.4: a unique id is used once on a connection"
LATE_COUNTS = "a late answer on the same connection ends its message (field report A9)"
SETTLING_S = 1.0
ROUNDING_WH = 2.0
ON_ITS_WAY_S = 2 * HOP_S
WAITS_S = 11.0
"""In the link, while a CALL before it has no answer: MessageTimeout of a day."""
SILENCE_S = 22.0
"""MessageTimeout of a day, and as long for the Heartbeat that is to tell whether anybody is there."""
QUEUED_S = 25.0
"""A message may wait for calls that are under way, each for MessageTimeout at most, and for the link to be asked again."""
IN_BETWEEN = ("transaction_queue down", "ocpp_link down", "broker down", "bus bad", "disk bad", "power off")
"""Troubles of what lies between the Central System and the queue's disk."""
SETTLERS = frozenset({"transaction_queue", "ocpp_link", "power", "station", "store transactions.db"})
"""Whose death keeps the queue from learning, or from writing down, what became of a message."""


def everything_arrives(case: Case) -> Findings:
    """Nothing waits at the end, and nothing that was delivered is still kept."""
    residue, end_s = case.residue, case.ledger.end_s
    for count, what in (
        (residue.waiting, "messages still wait in the queue"),
        (residue.kept, "journal entries are still kept by connectors or queue"),
        (residue.open_transactions, "transactions are still open, with nobody there"),
    ):
        if count:
            yield Finding(EVERYTHING_ARRIVES, f"{count} {what}", end_s)


def each_has_one_stop(case: Case) -> Findings:
    """A stop for each start; repeats are the same stop."""
    for transaction in case.transactions:
        at_s = transaction.start.at_s
        if not transaction.stops and not _stop_given_up(case, transaction):
            yield Finding(ONE_STOP, f"the {transaction.name} has no StopTransaction", at_s)
        for before, after in pairwise(transaction.stops):
            if _stop_content(before) != _stop_content(after) and not retold(case.ledger, case.rules, before, after):
                yield Finding(ONE_STOP, f"the {transaction.name} has different stops", after.at_s)
    for copy in case.orphans:
        text = f"{copy.action} came for transaction {copy.payload['transactionId']}, which nobody was given"
        yield Finding(OWN_ID, text, copy.at_s)


def each_once(case: Case) -> Findings:
    """Repeats are excused by what became of the copy before them."""
    by_content: dict[str, list[Copy]] = defaultdict(list)
    for copy in case.book.copies:
        if copy.fate in TAKEN:
            by_content[copy.raw].append(copy)
    for copies in by_content.values():
        for before, after in pairwise(copies):
            if not _excused(case, before, after):
                text = f"{after.action} came again {after.at_s - before.at_s:.0f} s after it was answered: {after.raw[:150]}"
                yield Finding(ONCE, text, after.at_s)
    yield from _same_start_differently(case)


def in_order(case: Case) -> Findings:
    """Start, MeterValues by their time, stop; and transactions of a connector one after the other."""
    last: dict[int, Transaction] = {}
    for transaction in case.transactions:
        stop = transaction.stop
        for copy in transaction.values:
            if (
                stop is not None
                and copy.at_s > stop.at_s
                and not any(v.raw == copy.raw and v.at_s < stop.at_s for v in transaction.values)
            ):
                yield Finding(IN_ORDER, f"MeterValues of the {transaction.name} came after its stop", copy.at_s)
        times = [copy.payload["meterValue"][0]["timestamp"] for copy in _firsts(transaction.values)]
        if times != sorted(times):
            yield Finding(
                IN_ORDER, f"MeterValues of the {transaction.name} came out of their order", transaction.values[0].at_s
            )
        before = last.get(transaction.connector_id)
        late = before is not None and before.stop is not None and before.stop.at_s > transaction.start.at_s
        if before is not None and late and not _lost_between(case, before, transaction):
            text = f"the {transaction.name} started before the stop of the {before.name} was there"
            yield Finding(IN_ORDER, text, transaction.start.at_s)
        last[transaction.connector_id] = transaction


def own_transaction_id(case: Case) -> Findings:
    """What comes under an id fits the start that was given it."""
    for transaction in case.transactions:
        for copy in transaction.values:
            if copy.payload["connectorId"] != transaction.connector_id:
                yield Finding(
                    OWN_ID, f"MeterValues of another connector came under the id of the {transaction.name}", copy.at_s
                )
        stop = transaction.stop
        if stop is not None and transaction.stop_wh < transaction.start_wh:
            text = f"the {transaction.name} stops at {transaction.stop_wh} Wh, below its start"
            yield Finding(OWN_ID, text, stop.at_s)


def attempts(case: Case) -> Findings:
    """A message is given up after as many failures as the Central System has made of it, and not sooner or later."""
    for letter in case.residue.dead_letters:
        copies = [c for c in case.book.copies if c.unique_id in letter.unique_ids]
        at_s = copies[-1].at_s if copies else case.ledger.end_s
        failures = sum(copy.fate in FAILS for copy in copies)
        if letter.attempts > failures:
            text = f"{letter.action} was given up after {letter.attempts} attempts, of which {failures} were failures"
            yield Finding(NO_OFFLINE_ATTEMPT, text, at_s)
        elif letter.attempts < case.rules.attempts:
            text = f"{letter.action} was given up after {letter.attempts} of {case.rules.attempts} attempts: {letter.reason}"
            yield Finding(RETRY_RULE, text, at_s)
    by_content: dict[str, list[Copy]] = defaultdict(list)
    for copy in case.book.copies:
        by_content[copy.raw].append(copy)
    for copies in by_content.values():
        for life in _lives(case, copies):
            yield from _too_many(case, life)
            yield from _too_soon(case, life)
        yield from _too_late(case, copies)


def late_answers_count(case: Case) -> Findings:
    """The Central System has it, and has said so: nothing more of it is sent."""
    by_content: dict[str, list[Copy]] = defaultdict(list)
    for copy in case.book.copies:
        by_content[copy.raw].append(copy)
    for copies in by_content.values():
        answered = [copy for copy in copies if copy.late_answer_s is not None]
        for before, after in ((before, after) for before in answered for after in copies):
            at_s = before.late_answer_s
            assert at_s is not None
            if after.at_s < at_s + SETTLING_S or _in_between(case, at_s - SETTLING_S, at_s + SETTLING_S):
                continue
            if not _filled_again(case, before, after):
                text = f"{after.action} came again {after.at_s - at_s:.0f} s after its late answer: {after.raw[:150]}"
                yield Finding(LATE_COUNTS, text, after.at_s)


def unique_ids(case: Case) -> Findings:
    """Of transaction messages."""
    seen: set[tuple[int, str]] = set()
    for copy in case.book.copies:
        key = (copy.connection, copy.unique_id)
        if key in seen:
            yield Finding(UNIQUE_IDS, f"{copy.action} came twice as {copy.unique_id} on one connection", copy.at_s)
        seen.add(key)


def _lives(case: Case, copies: list[Copy]) -> list[list[Copy]]:
    """The copies between one loss of the queue's store and the next: its counters are lost with it."""
    lives = [copies[:1]]
    for before, after in pairwise(copies):
        if _store_lost(case, before, after):
            lives.append([])
        lives[-1].append(after)
    return lives


def _too_many(case: Case, copies: list[Copy]) -> Findings:
    """Failures that nobody died over count."""
    after = [*copies[1:], None]
    failed = [c for c, following in zip(copies, after, strict=True) if not _report_lost(case, c, following)]
    certain = [c for c in failed if c.fate in ERRORS and not _death_over(case, c)]
    if len(certain) > case.rules.attempts:
        text = f"{certain[0].action} was sent again after {case.rules.attempts} failures: {certain[0].raw[:100]}"
        yield Finding(RETRY_RULE, text, certain[-1].at_s)


def _report_lost(case: Case, copy: Copy, following: Copy | None) -> bool:
    """Whether the bus was bad when the link told of this copy, and the connection broke before the queue had heard of it."""
    broke = following is not None and following.connection != copy.connection
    until_s = copy.at_s + SETTLING_S
    return broke and any(case.ledger.during(cause, copy.at_s, until_s) for cause in ("bus bad", "broker down"))


def _too_soon(case: Case, copies: list[Copy]) -> Findings:
    failures = 0
    for before, after in pairwise(copies):
        if before.fate not in ERRORS or _death_over(case, before) or _report_lost(case, before, after):
            continue
        failures += 1
        wait_s = failures * case.rules.retry_interval_s
        if case.ledger.during("power off", before.at_s, after.at_s):
            wait_s = 0
        if after.at_s - before.at_s < wait_s - SETTLING_S:
            text = f"{after.action} was sent again {after.at_s - before.at_s:.1f} s after failure {failures}, not {wait_s} s"
            yield Finding(RETRY_RULE, text, after.at_s)


def _too_late(case: Case, copies: list[Copy]) -> Findings:
    """On a connection that stands a repeat comes when it is due, where nobody in between was in trouble (OCPP 1.6 §3.7.1)."""
    for number, (before, after) in enumerate(pairwise(copies), start=1):
        if before.fate not in FAILS or before.connection != after.connection or _in_between(case, before.at_s, after.at_s):
            continue
        wait_s = number * case.rules.retry_interval_s + QUEUED_S + (0.0 if before.fate in ERRORS else SILENCE_S)
        if after.at_s - before.at_s > wait_s:
            text = f"{after.action} was sent again only {after.at_s - before.at_s:.0f} s after failure {number}"
            yield Finding(RETRY_RULE, text, after.at_s)


def _in_between(case: Case, from_s: float, to_s: float) -> bool:
    return any(case.ledger.during(cause, from_s, to_s) for cause in IN_BETWEEN)


def _stop_content(stop: Copy) -> dict[str, Any]:
    """All of it but its transactionId, which a StartTransaction that was repeated may have changed."""
    return {name: value for name, value in stop.payload.items() if name != "transactionId"}


def _excused(case: Case, before: Copy, after: Copy) -> bool:
    if before.fate not in SETTLES:
        return True
    if _death_over(case, before, after.at_s):
        return True
    return _filled_again(case, before, after)


def _filled_again(case: Case, before: Copy, after: Copy) -> bool:
    """Whether a store was lost between two copies while `connectors` still kept their entry."""
    return any(before.entry in d.kept for d in case.ledger.deaths if before.at_s <= d.at_s <= after.at_s)


def _death_over(case: Case, copy: Copy, until_s: float = float("inf")) -> bool:
    """Whether somebody died before the queue could have settled this copy; it may have been on its way yet (seed 64701).

    Who died long before it had nothing of it, and who lets others pass nothing to settle.
    """
    gone_s = [death.at_s for death in case.ledger.losses("transactions.db")]
    for death in case.ledger.deaths:
        if death.who in SETTLERS and copy.unique_id in death.pending and death.at_s <= until_s:
            # A queue that finds its store asks again for the same message; without it the message has another id.
            forgotten = any(abs(at_s - death.at_s) <= SETTLING_S for at_s in gone_s)
            if death.at_s >= copy.at_s - (WAITS_S if forgotten else ON_ITS_WAY_S):
                return True
    return False


def _lost_between(case: Case, before: Transaction, after: Transaction) -> bool:
    """Whether `connectors.db` was lost after one start and before the next: the queue finds the first one a while later."""
    register = case.ledger.registers[before.connector_id]
    lost_wh = (register.at(death.at_s) for death in case.ledger.losses("connectors.db"))
    return any(before.start_wh <= wh + ROUNDING_WH and wh <= after.start_wh + ROUNDING_WH for wh in lost_wh)


def _store_lost(case: Case, before: Copy, after: Copy) -> bool:
    """Whether the queue's store was lost between two copies."""
    return bool(case.ledger.losses("transactions.db", before.at_s, after.at_s))


def _same_start_differently(case: Case) -> Findings:
    """Two starts of one connector from one register, told differently: the same session twice."""
    seen: dict[tuple[int, str, str], Transaction] = {}
    for transaction in case.transactions:
        payload = transaction.start.payload
        key = (payload["connectorId"], payload["idTag"], payload["timestamp"])
        if key in seen:
            yield Finding(ONCE, f"the {transaction.name} came twice, told differently", transaction.start.at_s)
        seen[key] = transaction


def _firsts(copies: list[Copy]) -> list[Copy]:
    return list({copy.raw: copy for copy in reversed(copies)}.values())[::-1]


def _stop_given_up(case: Case, transaction: Transaction) -> bool:
    """The queue gave its stop up, and told so."""
    ids = {i for letter in case.residue.dead_letters if letter.action == "StopTransaction" for i in letter.unique_ids}
    given = {copy.transaction_id for copy in transaction.starts} | ({-1} if transaction.given_up else set())
    return any(c.unique_id in ids and c.payload.get("transactionId") in given for c in case.book.copies)


RULES = (
    everything_arrives,
    each_has_one_stop,
    each_once,
    in_order,
    own_transaction_id,
    attempts,
    late_answers_count,
    unique_ids,
)
