"""The judge: the Central System's book against the ledger of what truly happened (pure; design §7).

Owns: the order in which the promises are checked, and what a finding is. Each promise has a function: those about registers
are in `judge_money.py`, about times in `judge_times.py` and `judge_stops.py`, about who asked in `judge_askings.py`, about
transmissions in `judge_delivery.py`, about entries and samples in `judge_samples.py`, about ends in `judge_endings.py`. Nothing
here knows how the station works: only what OCPP lets it say, what the hardware did, and what went wrong around it.
"""

import json
import re
from collections.abc import Iterator

import msgspec

from tests.simulation.book import TAKEN, Book, Copy
from tests.simulation.central_system import HOP_S
from tests.simulation.clock import UTC_0_S
from tests.simulation.ledger import Ledger

ROUNDING_S = 0.001
"""On the wire times have milliseconds."""
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+Z")


class Finding(msgspec.Struct, frozen=True):
    """A broken promise: which one, what was seen, and when in true seconds to look."""

    promise: str
    text: str
    at_s: float


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that the queue gave up. `unique_ids`: all that it was ever sent under."""

    unique_ids: tuple[str, ...]
    attempts: int
    action: str
    reason: str = ""
    entry: str = ""
    """Which message of the station it is, as `ledger.entry_of` names it."""


class Residue(msgspec.Struct, frozen=True):
    """What the station still has at the end, or gave up."""

    waiting: int = 0
    kept: int = 0
    open_transactions: int = 0
    dead_letters: tuple[DeadLetter, ...] = ()
    alarms: tuple[str, ...] = ()
    given_up_ids: frozenset[str] = frozenset()
    """What was ever given up was sent under these, though a late answer may have settled it since."""


class Rules(msgspec.Struct, frozen=True):
    """What the station was configured to do, as far as promises depend on it."""

    attempts: int = 3
    retry_interval_s: int = 60
    sample_interval_s: int = 0
    connection_time_out_s: float = 60.0
    charges_unknown_offline: bool = False
    honest_clock: bool = True


class Transaction:
    """What the book says of one transaction: copies of its start, and of all that came under its ids."""

    def __init__(self, start: Copy) -> None:
        self.starts = [start]
        self.values: list[Copy] = []
        self.stops: list[Copy] = []
        self.given_up = False
        """The queue gave its start up: what follows comes under -1 (errata v4.0 3.18), until a late answer gives it an id."""

    @property
    def start(self) -> Copy:
        """The first copy."""
        return self.starts[0]

    @property
    def stop(self) -> Copy | None:
        """The first copy of its stop."""
        return self.stops[0] if self.stops else None

    @property
    def connector_id(self) -> int:
        return int(self.start.payload["connectorId"])

    @property
    def id_tag(self) -> str:
        return str(self.start.payload["idTag"])

    @property
    def start_wh(self) -> int:
        return int(self.start.payload["meterStart"])

    @property
    def stop_wh(self) -> int:
        assert self.stop is not None
        return int(self.stop.payload["meterStop"])

    @property
    def started_s(self) -> float:
        """As it says, in true seconds if its clock was right."""
        return said_s(self.start.payload["timestamp"])

    @property
    def stopped_s(self) -> float:
        assert self.stop is not None
        return said_s(self.stop.payload["timestamp"])

    @property
    def name(self) -> str:
        return f"transaction of {self.id_tag} on connector {self.connector_id} from {self.start_wh} Wh"


class Case(msgspec.Struct, frozen=True):
    """Everything that is judged."""

    ledger: Ledger
    book: Book
    residue: Residue
    rules: Rules
    transactions: tuple[Transaction, ...]
    """In the order in which their starts first came."""
    orphans: tuple[Copy, ...]
    """Copies under a transactionId that was never given."""


def case(ledger: Ledger, book: Book, residue: Residue, rules: Rules) -> Case:
    """Sort the book by transactions: a start is told by its content, all else by the id that a start was answered with."""
    by_content: dict[str, Transaction] = {}
    by_id: dict[int, Transaction] = {}
    given_up_ids = {i for letter in residue.dead_letters for i in letter.unique_ids} | residue.given_up_ids
    given_up = {copy.raw for copy in book.copies if copy.unique_id in given_up_ids}
    others = []
    for copy in book.copies:
        if copy.action != "StartTransaction":
            others.append(copy)
            continue
        if copy.fate not in TAKEN and copy.raw not in given_up:
            continue
        known = by_content.get(copy.raw)
        known = known or next((t for t in by_content.values() if retold(ledger, rules, t.starts[-1], copy)), None)
        if known is None:
            known = by_content[copy.raw] = Transaction(copy)
            known.given_up = copy.raw in given_up
        else:
            known.starts.append(copy)
        if copy.transaction_id is not None:
            by_id[copy.transaction_id] = known
    known_of = (copy for copy in others if copy.fate in TAKEN or copy.raw in given_up)
    orphans = [copy for copy in known_of if not _find_owner(ledger, copy, by_id, by_content)]
    return Case(ledger, book, residue, rules, tuple(by_content.values()), tuple(orphans))


def _find_owner(ledger: Ledger, copy: Copy, by_id: dict[int, Transaction], by_content: dict[str, Transaction]) -> bool:
    """Put a copy to its transaction; False if it has none. Under -1 the register tells which it is."""
    owner = by_id.get(copy.payload["transactionId"])
    if owner is None and copy.payload["transactionId"] == -1:
        lost = [t for t in by_content.values() if t.given_up and t.start.at_s <= copy.at_s]
        if copy.action == "StopTransaction":
            lost = [t for t in lost if t.start_wh <= copy.payload["meterStop"] and not _stopped_otherwise(ledger, t, copy)]
            # Of those that began at the same register its own, or the last one that had begun by then, if nobody knows.
            stopped_s, name = said_s(copy.payload["timestamp"]), copy.entry.rpartition(" ")[0]
            known = {t for t in lost if name and t.start.entry.rpartition(" ")[0] == name}
            owner = max(lost, key=lambda t: (t.start_wh, t in known, t.started_s <= stopped_s, t.started_s), default=None)
        else:
            lost = [t for t in lost if t.connector_id == copy.payload["connectorId"]]
            owner = lost[-1] if lost else None
    if owner is None:
        return False
    (owner.stops if copy.action == "StopTransaction" else owner.values).append(copy)
    return True


def _stopped_otherwise(ledger: Ledger, transaction: Transaction, copy: Copy) -> bool:
    """An older copy of the queue's store tells all again, and may be refused the start that was given an id before."""
    if not transaction.stops or transaction.stops[0].raw == copy.raw:
        return False
    before = transaction.stops[0]
    return before.entry != copy.entry or not ledger.losses("transactions.db", before.at_s, copy.at_s)


def retold(ledger: Ledger, rules: Rules, before: Copy, after: Copy) -> bool:
    """The same message with other times: of a wrong clock the queue lost, with its store, which times it had told.

    It comes again at all only where `connectors` still kept it when the store was lost. Its start, told with other times, is
    another one for the Central System, and so is its transactionId.
    """
    one, other = _content(before), _content(after)
    if before.entry != after.entry or TIMESTAMP.sub("", one) != TIMESTAMP.sub("", other):
        return False
    if rules.honest_clock and not _dated_twice(ledger, before.entry, one, other):
        return False
    return any(before.entry in death.kept for death in ledger.losses("transactions.db", before.at_s, after.at_s))


def _content(copy: Copy) -> str:
    return json.dumps([copy.action, {name: value for name, value in copy.payload.items() if name != "transactionId"}])


def _dated_twice(ledger: Ledger, entry: str, before: str, after: str) -> bool:
    """Of a boot that had no time yet: what the Central System says is late, by the line, against a time server."""
    dated = next((one.dated for one in ledger.committed if one.entry == entry), True)
    times = zip(TIMESTAMP.findall(before), TIMESTAMP.findall(after), strict=True)
    return not dated and all(abs(said_s(one) - said_s(other)) <= HOP_S + ROUNDING_S for one, other in times)


def said_s(timestamp: str) -> float:
    """A timestamp of the wire as true seconds."""
    from datetime import datetime

    return datetime.fromisoformat(timestamp).timestamp() - UTC_0_S


def judge(ledger: Ledger, book: Book, residue: Residue, rules: Rules) -> list[Finding]:
    """All broken promises, in the order of their time."""
    from tests.simulation import judge_askings, judge_delivery, judge_money, judge_reservations, judge_states, judge_times
    from tests.simulation import judge_endings as endings
    from tests.simulation import judge_samples as samples
    from tests.simulation import judge_stops as stops

    whole = case(ledger, book, residue, rules)
    about_money = (judge_money, judge_askings, judge_times, stops)
    modules = (judge_delivery, samples, endings, *about_money, judge_states, judge_reservations)
    found = [finding for module in modules for rule in module.RULES for finding in rule(whole)]
    return sorted(found, key=lambda f: f.at_s)


Findings = Iterator[Finding]
