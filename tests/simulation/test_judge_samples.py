"""What of readings on their way the judge refuses, and what it accepts: each rule and each excuse both ways (design §7)."""

import sqlite3
from pathlib import Path

import pytest

from bus.logs import utc_text
from tests.simulation import judge_samples as samples
from tests.simulation.book import Copy
from tests.simulation.clock import UTC_0_S
from tests.simulation.cooked import Change, Cooked, excused, found_despite
from tests.simulation.disk import IO_ERROR, Disk, Life, connection_class
from tests.simulation.judge import DeadLetter, Residue, Rules
from tests.simulation.ledger import Death, Span


def register_wh(at_s: float) -> int:
    """Of the first session of the cooked ledger."""
    return int(1000 + (at_s - 102) / 300 * 1000)


def sample(cooked: Cooked, at_s: float) -> Copy:
    """MeterValues of the first session, in their place in the book."""
    values = [{"timestamp": utc_text(UTC_0_S + at_s), "sampledValue": [{"value": str(register_wh(at_s))}]}]
    copy = cooked.copy("MeterValues", at_s + 0.5, connectorId=1, transactionId=1, meterValue=values, timestamp=at_s)
    del copy.payload["timestamp"]
    cooked.book.copies.sort(key=lambda copy: copy.at_s)
    cooked.ledger.committed.sort(key=lambda entry: entry.at_s)
    return copy


def with_samples(interval_s: int = 120, at_s: tuple[float, ...] = (220.0, 340.0)) -> Cooked:
    """The second session has none, as it was over before anything was sampled."""
    cooked = Cooked()
    cooked.rules = Rules(attempts=3, retry_interval_s=60, sample_interval_s=interval_s)
    cooked.ledger.spans.append(Span("meter 1 silent", 1000.0, 1320.0))
    for one in at_s:
        sample(cooked, one)
    return cooked


def taken_again(cooked: Cooked, at_s: float, **changes: str) -> Copy:
    """Another copy of the first sample."""
    first = next(copy for copy in cooked.book.copies if copy.action == "MeterValues")
    cooked.again(first, at_s)
    copy = cooked.book.copies[-1]
    for name, value in changes.items():
        setattr(copy, name, value)
    cooked.book.copies.sort(key=lambda copy: copy.at_s)
    return copy


def test_a_sample_each_interval_is_right() -> None:
    assert with_samples().promises() == set()
    assert with_samples(60, (161.0, 220.5, 280.0, 342.0)).promises() == set()


def lose_them_on_the_way(cooked: Cooked) -> None:
    cooked.book.copies = [copy for copy in cooked.book.copies if copy.action != "MeterValues"]


def lose_one_to_errors(cooked: Cooked) -> None:
    next(copy for copy in cooked.book.copies if copy.action == "MeterValues").fate = "error"


def send_what_nobody_has_committed(cooked: Cooked) -> None:
    taken_again(cooked, 222.0, entry="9 7")


def send_what_belongs_to_nothing(cooked: Cooked) -> None:
    taken_again(cooked, 222.0, entry="")


def say_another_register(cooked: Cooked) -> None:
    entry = next(entry for entry in cooked.ledger.committed if entry.action == "MeterValues")
    entry.said = str(register_wh(220.0) - 1)


def say_the_same_of_another_time(cooked: Cooked) -> None:
    first = next(copy for copy in cooked.book.copies if copy.action == "MeterValues")
    first.fate = "silent after it"
    taken_again(cooked, 300.0, raw=first.raw + " ")


def take_none(cooked: Cooked) -> None:
    lose_them_on_the_way(cooked)
    cooked.ledger.committed = [entry for entry in cooked.ledger.committed if entry.action != "MeterValues"]


def take_too_few(cooked: Cooked) -> None:
    cooked.rules = Rules(attempts=3, retry_interval_s=60, sample_interval_s=60)


def take_one_twice(cooked: Cooked) -> None:
    sample(cooked, 223.0)


def take_what_nobody_wants(cooked: Cooked) -> None:
    cooked.rules = Rules(attempts=3, retry_interval_s=60)


def take_one_of_another_kind(cooked: Cooked) -> None:
    next(entry for entry in cooked.ledger.committed if entry.action == "MeterValues").contexts = frozenset({"Sample.Clock"})


BREACHES = [
    (take_one_of_another_kind, samples.SAMPLED),
    (lose_them_on_the_way, samples.ARRIVES),
    (lose_one_to_errors, samples.ARRIVES),
    (send_what_nobody_has_committed, samples.ARRIVES),
    (send_what_belongs_to_nothing, samples.ARRIVES),
    (say_another_register, samples.ARRIVES),
    (say_the_same_of_another_time, samples.ARRIVES),
    (take_none, samples.SAMPLED),
    (take_too_few, samples.SAMPLED),
    (take_one_twice, samples.SAMPLED),
    (take_what_nobody_wants, samples.SAMPLED),
]


@pytest.mark.parametrize(("spoil", "promise"), BREACHES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_book_whose_readings_are_cooked_is_found_out(spoil: Change, promise: str) -> None:
    """Design §4: a message is delivered, or given up after failures of the Central System, and nothing else."""
    cooked = with_samples()
    spoil(cooked)
    assert promise in cooked.promises()


def give_it_up(cooked: Cooked) -> None:
    first = next(copy for copy in cooked.book.copies if copy.action == "MeterValues")
    cooked.rules = Rules(attempts=1, retry_interval_s=60, sample_interval_s=120)
    cooked.residue = Residue(dead_letters=(DeadLetter((first.unique_id,), 1, "MeterValues", "", first.entry),))


def lose_the_store_while_it_is_on_its_way(cooked: Cooked) -> None:
    first = next(copy for copy in cooked.book.copies if copy.action == "MeterValues")
    cooked.ledger.deaths.append(Death(221.5, "store transactions.db", frozenset(), frozenset({first.entry})))


def answer_late(at_s: float) -> Change:
    """The copy before it, while this one was on its way."""

    def excuse(cooked: Cooked) -> None:
        first = next(copy for copy in cooked.book.copies if copy.action == "MeterValues")
        first.late_answer_s = at_s

    return excuse


def lose_the_store_that_told_it(cooked: Cooked) -> None:
    cooked.rules = Rules(attempts=3, retry_interval_s=60, sample_interval_s=120, honest_clock=False)
    lose_the_store_while_it_is_on_its_way(cooked)


def during(what: str, from_s: float, to_s: float) -> Change:
    """A trouble."""

    def excuse(cooked: Cooked) -> None:
        cooked.ledger.spans.append(Span(what, from_s, to_s))

    excuse.__name__ = f"{what.replace(' ', '_')}_{from_s:.0f}_{to_s:.0f}"
    return excuse


def have_no_meter(cooked: Cooked) -> None:
    cooked.ledger.spans.append(Span("meter 1 silent", 99.0, 420.0))


EXCUSES = [
    (lose_one_to_errors, samples.ARRIVES, give_it_up),
    (send_what_belongs_to_nothing, samples.ARRIVES, lose_the_store_while_it_is_on_its_way),
    (send_what_belongs_to_nothing, samples.ARRIVES, answer_late(221.0)),
    (say_the_same_of_another_time, samples.ARRIVES, lose_the_store_that_told_it),
    (take_none, samples.SAMPLED, have_no_meter),
    *((take_none, samples.SAMPLED, during(what, 205.0, 300.0)) for what in samples.TROUBLE if what != "power off"),
    (take_none, samples.SAMPLED, during("controller 1 silent", 205.0, 300.0)),
]


@pytest.mark.parametrize(("spoil", "promise", "excuse"), EXCUSES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_trouble_excuses_what_nobody_could_do_better(spoil: Change, promise: str, excuse: Change) -> None:
    """Found without it, excused with it."""
    excused(with_samples(), spoil, promise, excuse)


SHIFTS = [
    (send_what_belongs_to_nothing, samples.ARRIVES, answer_late(223.0)),
    (take_none, samples.SAMPLED, during("meter 1 silent", 120.0, 130.0)),
    (take_none, samples.SAMPLED, during("connectors down", 250.0, 260.0)),
    (take_none, samples.SAMPLED, during("meter 2 silent", 99.0, 420.0)),
    (take_none, samples.SAMPLED, during("rfid down", 99.0, 420.0)),
    (take_one_twice, samples.SAMPLED, during("connectors down", 221.0, 222.0)),
    (lose_them_on_the_way, samples.ARRIVES, have_no_meter),
    (
        send_what_belongs_to_nothing,
        samples.ARRIVES,
        lambda cooked: cooked.ledger.deaths.append(Death(190.0, "store transactions.db")),
    ),
    (
        say_the_same_of_another_time,
        samples.ARRIVES,
        lambda cooked: cooked.ledger.deaths.append(Death(310.0, "store transactions.db")),
    ),
]


@pytest.mark.parametrize(("spoil", "promise", "elsewhere"), SHIFTS, ids=lambda value: getattr(value, "__name__", ""))
def test_another_trouble_or_time_excuses_nothing(spoil: Change, promise: str, elsewhere: Change) -> None:
    """An excuse covers a connector and a time, no more."""
    found_despite(with_samples(), spoil, promise, elsewhere)


def test_what_a_disk_has_is_noted_and_nothing_else(tmp_path: Path) -> None:
    """An entry counts once it is committed, though the disk may say that it is not; one that is rolled back never does."""
    told: list[str] = []
    disk = Disk(tmp_path, lambda _: None)
    disk.committed = told.append
    database = sqlite3.connect(disk.path("a.db"), factory=connection_class(Life(), disk), isolation_level=None)
    database.execute("CREATE TABLE journal_out (stream TEXT, seq INTEGER, payload TEXT, name TEXT)")

    def append(payload: str, end: str, stream: str = "journal.transaction.") -> None:
        database.execute("BEGIN IMMEDIATE")
        values = (stream, 1, payload, "")
        database.execute("INSERT INTO journal_out (stream, seq, payload, name) VALUES (?, ?, ?, ?)", values)
        database.execute(end)

    append("kept", "COMMIT")
    append("rolled back", "ROLLBACK")
    append("of another stream", "COMMIT", "journal.delivery.")
    append("kept too", "COMMIT")
    disk.error, disk.failed = IO_ERROR, 2
    with pytest.raises(sqlite3.OperationalError):
        append("kept, it says not", "COMMIT")
    disk.failed = 0
    with pytest.raises(sqlite3.OperationalError):
        append("not kept", "COMMIT")
    database.close()
    assert told == ["kept", "kept too", "kept, it says not"]
    assert [
        payload for (payload,) in disk.rows("a.db", "SELECT payload FROM journal_out WHERE stream LIKE '%transaction.'")
    ] == told
