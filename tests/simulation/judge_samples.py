"""Promises about readings on their way: what `connectors` has committed arrives as it is; a sample each interval (pure).

Owns: the journal's entries (design §3, §4) and MeterValues (OCPP 1.6 §4.7, §9.1.19) against the book. Does not: look at
registers (`judge_money.py`) or at when something is tried again (`judge_delivery.py`).

The ledger has each entry as it passed the disk, with its true time: so wrong clocks play no part here.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from tests.simulation.book import TAKEN, Copy, said
from tests.simulation.judge import Case, Finding, Findings, retold
from tests.simulation.ledger import Committed

ARRIVES = "every entry that was committed arrives, as it was committed"
SAMPLED = "OCPP 1.6 §9.1.19: a sample each MeterValueSampleInterval, and none twice"
PERIODIC = "Sample.Periodic"
LATE_S = 10.0
"""A sample may come so much later: a reading is fresh for three seconds, and a stride is longer."""
ENDING_S = 12.0
"""A stop is on its way for so long before it is committed: contactor and reading. Nothing is sampled meanwhile."""
RECOVERY_S = 6.0
"""After a trouble all are at work again within so long."""
BUS_S = 16.0
"""What the bus has held back comes so much later."""
TROUBLE = ("connectors down", "meter down", "broker down", "bus bad", "disk bad", "power off")


def entries_arrive(case: Case) -> Findings:
    """Each entry is in the book or was given up, and what is in the book is an entry."""
    committed: dict[str, list[Committed]] = defaultdict(list)
    for entry in case.ledger.committed:
        committed[entry.entry].append(entry)
    given_up = {letter.entry for letter in case.residue.dead_letters}
    given_up_ids = {unique_id for letter in case.residue.dead_letters for unique_id in letter.unique_ids}
    copies: dict[str, list[Copy]] = defaultdict(list)
    for copy in case.book.copies:
        copies[copy.entry].append(copy)
    for name, entries in committed.items():
        settled = name in given_up or any(c.fate in TAKEN or c.unique_id in given_up_ids for c in copies[name])
        if not settled:
            entry = entries[-1]
            text = f"{entry.action} of connector {entry.connector_id} was committed and never came: {entry.said}"
            yield Finding(ARRIVES, text, entry.at_s)
    for name, found in copies.items():
        yield from _come_as_committed(case, found, committed[name])


def samples_keep_their_interval(case: Case) -> Findings:
    """Where nothing is in the way one sample an interval; and never two of a kind within half of it."""
    interval_s = case.rules.sample_interval_s
    for start in case.ledger.committed:
        if start.number != 0:
            continue
        samples = [e for e in case.ledger.committed if e.local_tx_id == start.local_tx_id and e.action == "MeterValues"]
        name = f"the transaction of connector {start.connector_id} {start.said}"
        for before, after in pairwise(samples):
            if before.number != after.number and after.at_s - before.at_s < interval_s / 2:
                text = f"{name} has two samples within {after.at_s - before.at_s:.0f} s, not {interval_s} s"
                yield Finding(SAMPLED, text, after.at_s)
        # No station of a simulated day has an interval for clock-aligned readings.
        unwanted = [s for s in samples if interval_s == 0 or s.contexts != {PERIODIC}]
        yield from (Finding(SAMPLED, f"{name} has a sample that nobody wants", sample.at_s) for sample in unwanted)
        if interval_s == 0:
            continue
        for from_s, to_s in _undisturbed(case, start):
            times = [from_s, *(s.at_s for s in samples if from_s < s.at_s < to_s), to_s]
            for before_s, after_s in pairwise(times):
                if after_s - before_s > interval_s + LATE_S:
                    text = f"{name} has no sample for {after_s - before_s:.0f} s, and the interval is {interval_s} s"
                    yield Finding(SAMPLED, text, before_s)


def _come_as_committed(case: Case, copies: list[Copy], entries: list[Committed]) -> Findings:
    """Under one entry's name comes what it said, and always the same."""
    for copy in copies:
        if not copy.entry and (_store_gone(case, copy) or _settled_late(case, copy)):
            continue
        if said(copy.action, copy.payload) not in {entry.said for entry in entries}:
            yield Finding(ARRIVES, f"{copy.action} came that was never committed: {copy.raw[:150]}", copy.at_s)
    for before, after in pairwise(copies):
        lost = any(d.who.startswith("store ") and before.at_s <= d.at_s <= after.at_s for d in case.ledger.deaths)
        if copies[0].entry and before.raw != after.raw and not lost and not retold(case.ledger, case.rules, before, after):
            yield Finding(ARRIVES, f"{after.action} came again, told differently: {after.raw[:150]}", after.at_s)


def _store_gone(case: Case, copy: Copy) -> bool:
    """Whether the queue's store was lost while this copy was on its way: nobody can tell which message it is."""
    return bool(case.ledger.losses("transactions.db", copy.at_s - BUS_S, copy.at_s))


def _settled_late(case: Case, copy: Copy) -> bool:
    """Whether a late answer to the copy before had settled the message while this one was on its way: it has left the queue."""
    before = (c for c in case.book.copies if c.raw == copy.raw and c.entry and c.late_answer_s is not None)
    return any(c.late_answer_s <= copy.at_s for c in before if c.late_answer_s is not None)


def _undisturbed(case: Case, start: Committed) -> Iterator[tuple[float, float]]:
    """The times in a transaction in which nothing is in the way of a sample."""
    number = start.connector_id
    ends = [e.at_s - ENDING_S for e in case.ledger.committed if _ends(e, start)]
    ends += [d.at_s for d in case.ledger.deaths if d.at_s >= start.at_s and d.who in ("power", "store connectors.db")]
    end_s = min(ends, default=case.ledger.end_s)
    causes = (*TROUBLE, f"meter {number} silent", f"controller {number} silent")
    troubles = [s for cause in causes for s in case.ledger.during(cause, start.at_s - BUS_S, end_s)]
    at_s = start.at_s
    for span in sorted(troubles, key=lambda s: s.from_s):
        if span.from_s > at_s:
            yield at_s, min(span.from_s, end_s)
        at_s = max(at_s, span.to_s + (BUS_S if span.what == "bus bad" else RECOVERY_S))
    if end_s > at_s:
        yield at_s, end_s


def _ends(entry: Committed, start: Committed) -> bool:
    return entry.local_tx_id == start.local_tx_id and entry.action == "StopTransaction"


RULES = (entries_arrive, samples_keep_their_interval)
