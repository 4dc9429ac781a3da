"""Remote starts as bus and disk see them, and what the judge makes of those that failed for the Central System (design §3)."""

import sqlite3
from pathlib import Path

import msgspec
import pytest

from bus.database import transaction
from bus.journal import Outbox
from bus.logs import Logger
from bus.messages import RemoteStartTransaction
from bus.node import Node
from services.connectors.events import SaveEverAccepted, SaveWaiting
from services.connectors.service import ConnectorsService
from services.connectors.state import Waiting
from services.connectors.store import Store
from tests.simulation import judge_money as money
from tests.simulation import people, remote_starts
from tests.simulation.book import Asked
from tests.simulation.bus import Mood
from tests.simulation.cooked import Change, Cooked, excused, found_despite
from tests.simulation.disk import Disk, Life, connection_class
from tests.simulation.ledger import Ledger, RemoteStart
from tests.simulation.plan import Fault, day
from tests.simulation.simulation import outcome
from tests.simulation.test_judge_askings import session_without_energy
from tests.simulation.whose import FOR_EVER

FAILED = "CALLERROR InternalError"


def start_by_an_app_that_was_told_of_a_failure(cooked: Cooked) -> None:
    """5 s after it asked; its transaction was committed at 100 s."""
    del cooked.ledger.presented[0]
    cooked.book.asked.append(Asked(98.0, "RemoteStartTransaction", {"idTag": "TAG1"}, FAILED, 103.1))


def start_by_an_app_that_was_told_nothing(cooked: Cooked) -> None:
    start_by_an_app_that_was_told_of_a_failure(cooked)
    cooked.book.asked[-1].answer, cooked.book.asked[-1].answered_s = "", 0.0


def start_without_energy(cooked: Cooked) -> None:
    session_without_energy(cooked, "NOBODY", 500.0)
    cooked.book.asked.append(Asked(498.0, "RemoteStartTransaction", {"idTag": "NOBODY"}, FAILED, 503.1))


def call(deadline_s: float, taken_s: float, given_up_s: float = FOR_EVER, id_tag: str = "TAG1") -> Change:
    """What bus and disk saw of it."""

    def act(cooked: Cooked) -> None:
        cooked.ledger.remote_starts[f"call-{deadline_s}"] = RemoteStart(id_tag, deadline_s, taken_s, given_up_s)

    return act


def taken_in_by(call_id: str) -> SaveWaiting:
    """What `connectors` writes then."""
    return SaveWaiting(Waiting("w", "ANNA", deadline_s=60.0, boot_id="boot", call_id=call_id))


def after_a_call_that_took(answered_s: float, change: Change) -> Change:
    """The link works on one CALL at a time."""

    def act(cooked: Cooked) -> None:
        cooked.book.asked.insert(0, Asked(97.0, "ClearCache", {}, "Accepted", answered_s))
        change(cooked)

    return act


@pytest.mark.parametrize(
    ("spoil", "excuse"),
    [
        (start_by_an_app_that_was_told_of_a_failure, call(103.02, 99.0)),
        (start_by_an_app_that_was_told_of_a_failure, call(103.02, 99.0, given_up_s=103.2)),
        (start_by_an_app_that_was_told_of_a_failure, call(103.02, 99.0, id_tag="tag1")),
        (start_by_an_app_that_was_told_of_a_failure, after_a_call_that_took(99.0, call(104.01, 99.5))),
        (start_by_an_app_that_was_told_nothing, call(103.02, 99.0)),
    ],
)
def test_a_start_that_was_taken_in_in_time_may_go_on_until_its_cancellation_is_heard(spoil: Change, excuse: Change) -> None:
    """The answer was lost on its way, or came late, and the cancellation was lost too (seed 80600)."""
    excused(Cooked(), spoil, money.AUTHORIZED, excuse)


@pytest.mark.parametrize(
    ("spoil", "elsewhere"),
    [
        (start_by_an_app_that_was_told_of_a_failure, call(103.02, FOR_EVER)),
        (start_by_an_app_that_was_told_of_a_failure, call(103.02, 103.02)),
        (start_by_an_app_that_was_told_of_a_failure, call(103.02, 99.0, given_up_s=99.9)),
        (start_by_an_app_that_was_told_of_a_failure, call(103.02, 99.0, id_tag="TAG2")),
        (start_by_an_app_that_was_told_of_a_failure, call(102.9, 97.5)),
        (start_by_an_app_that_was_told_of_a_failure, call(138.0, 99.0)),
        (start_by_an_app_that_was_told_of_a_failure, after_a_call_that_took(97.5, call(104.01, 99.5))),
        (start_by_an_app_that_was_told_nothing, call(103.02, FOR_EVER)),
    ],
)
def test_a_call_that_was_late_or_given_up_begins_nothing(spoil: Change, elsewhere: Change) -> None:
    """Nor does one that the link made for another asking, or gave more time than 5 s."""
    found_despite(Cooked(), spoil, money.AUTHORIZED, elsewhere)


def test_without_energy_it_is_the_same() -> None:
    """Matched with what was asked for (OCPP 1.6 §5.11)."""
    excused(Cooked(), start_without_energy, money.ASKED_ONCE, call(503.02, 499.0, id_tag="NOBODY"))
    found_despite(Cooked(), start_without_energy, money.ASKED_ONCE, call(503.02, 499.0, 499.5, id_tag="NOBODY"))
    found_despite(Cooked(), start_without_energy, money.ASKED_ONCE, call(503.02, 503.5, id_tag="NOBODY"))


def test_a_call_and_its_cancellation_are_seen_when_they_come() -> None:
    ledger, boottime_s = Ledger(), [10.0]
    link = Node("ocpp_link", incarnation=1, now=lambda: boottime_s[0], log=Logger("ocpp_link"))
    call_id = link.call(RemoteStartTransaction("ANNA", 1), timeout_s=5.0, on_reply=lambda _: None)
    remote_starts.given(ledger, link.take_outgoing(), 1000.0)
    start = ledger.remote_starts[call_id]
    assert start == RemoteStart("ANNA", 1015.0)
    boottime_s[0] = 15.0
    link.tick()
    frames = link.take_outgoing()
    remote_starts.given(ledger, frames, 1000.0)
    assert start.given_up_s == FOR_EVER, "it was not handled yet"
    remote_starts.handled(ledger, frames, 1016.0)
    assert start == RemoteStart("ANNA", 1015.0, given_up_s=1016.0)


def test_what_is_taken_in_is_seen_when_it_is_written_and_counts_once_it_is_committed(tmp_path: Path) -> None:
    """The deadline is looked at inside the commit, which may take long."""
    ledger, now_s = Ledger(), [12.0]
    start = ledger.remote_starts["call-1"] = RemoteStart("ANNA", 15.0)

    def pass_time(seconds: float) -> None:
        assert start.taken_s == FOR_EVER, "nothing is committed yet"
        now_s[0] += seconds

    disk = Disk(tmp_path, pass_time)
    database = sqlite3.connect(disk.path("connectors.db"), isolation_level=None, factory=connection_class(Life(), disk))
    store, outbox = Store(database), Outbox(database, "journal.transaction.")
    disk.waits = lambda row: remote_starts.written(ledger, row, now_s[0])
    disk.slow_s = 6.0
    for call_id, at_s, taken_s in (("call-0", 18.0, FOR_EVER), ("call-1", 24.0, 18.0)):
        with transaction(database):
            store.apply((taken_in_by(call_id),), outbox)
        assert (now_s[0], start.taken_s) == (at_s, taken_s)
    database.close()


def test_what_is_taken_back_within_its_commit_was_never_taken_in(tmp_path: Path) -> None:
    """As `connectors` does with a call whose deadline has passed meanwhile."""
    ledger = Ledger()
    start = ledger.remote_starts["call-1"] = RemoteStart("ANNA", 15.0)
    disk = Disk(tmp_path, lambda _: None)
    database = sqlite3.connect(disk.path("connectors.db"), isolation_level=None, factory=connection_class(Life(), disk))
    store, outbox = Store(database), Outbox(database, "journal.transaction.")
    disk.waits = lambda row: remote_starts.written(ledger, row, 12.0)

    def take_it_in_too_late() -> None:
        with transaction(database):
            store.apply((taken_in_by("call-1"),), outbox)
            raise TimeoutError

    with pytest.raises(TimeoutError):
        take_it_in_too_late()
    with transaction(database):
        store.apply((SaveEverAccepted(ever_accepted=True),), outbox)
    assert start.taken_s == FOR_EVER
    database.close()


@pytest.mark.parametrize("deaf", [False, True])
def test_a_station_that_hears_no_cancellation_is_found(deaf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An app was told of a failure, as the answer was lost, and somebody plugs in after that."""
    if deaf:
        monkeypatch.setattr(ConnectorsService, "_cancelled", lambda *_: None)
    visit = people.Plan(1000.0, 1, "ANNA", plug_first=False, gap_s=12.0, remote=True, tries=1, patience_s=6.0)
    lost = Fault(999.0, "hold_calls", 5.0, (Mood(loss=1.0, only=(b"reply.ocpp_link.",)),))
    plan = msgspec.structs.replace(day(5), visits=(visit,), faults=(lost,), wishes=(), lists_sent=())
    assert {finding.promise for finding in outcome(plan).findings} == ({money.AUTHORIZED} if deaf else set())
