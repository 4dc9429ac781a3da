"""Power cut at the file level: no acknowledged commit of the money path is lost, none is there in part (design §3).

The short version. `make proof` cuts at every write, with every single write lost, and many choices.
"""

from itertools import pairwise
from pathlib import Path

import pytest

from bus.database import open_database, transaction
from bus.journal import Inbox
from bus.messages import JournalPosition
from bus.salvage import forget_salvaged
from bus.vocabulary import Reason
from services.connectors import events as e
from services.transaction_queue.service import TransactionQueue
from tests.connectors.world import MortalService
from tests.powercut.cases import CASES
from tests.powercut.proof import gone_on, proved
from tests.powercut.recorder import Commit, Create, Delete, Event, Recorder, Sync, Truncate, Write
from tests.powercut.recovery import loaded
from tests.powercut.replay import Bounds, cuts, whole

SHORT = Bounds(singles=2, samples=1)
EVERY = 16
LOSING = ("connectors", "recovery from a cut in a sample", "queue", "configuration")
"""Cases that show what less than synchronous=FULL loses."""
RECOVERY = (
    "open, stop intent",
    "PowerLoss stop",
    "delivery of the PowerLoss stop",
    "next start",
    "end in good order",
    "intent of the Reboot stop",
    "Reboot stop",
    "its delivery",
)
MONEY_PATH = {
    "connectors": (
        "card and start",
        "delivery of the start stored",
        "samples and checkpoints",
        "taken up again after a restart",
        "stop",
        "delivery of the stop stored",
        "unplugged",
    ),
    "recovery from a cut just after the start": RECOVERY,
    "recovery from a cut in a sample": RECOVERY,
    "recovery from a cut in the stop": RECOVERY,
    "lost": ("session that waits", "journal begun anew", "delivery", "lost transaction closed", "delivery of its stop"),
    "queue": ("clock noted", "entries stored", "sent and delivered", "failed, then delivered", "given up"),
    "kept": (
        "given up",
        "queued again by hand",
        "taken in by hand",
        "publisher's journal begun anew",
        "filled again",
        "boot after a power cut",
        "all delivered",
    ),
    "configuration": ("ChangeConfiguration", "facts of the session kept", "accepted", "time kept"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_power_cut_at_any_write_loses_no_acknowledged_commit(name: str, tmp_path: Path) -> None:
    """The disk may have dropped, torn and reordered all that was not synced; from each commit the services go on."""
    record, going_on = CASES[name].record(tmp_path)
    for step in MONEY_PATH[name]:
        assert record.commits(step) > 0, f"{step} was to be in the record"
    result = proved(record, CASES[name].stores, SHORT, every=EVERY)
    assert result.found == []
    assert result.kept > 0, "the record has cuts where the next commit was whole, but not yet acknowledged"
    assert gone_on(record, going_on) == []


def test_recoveries_begin_with_a_transaction_that_is_open_and_commit_their_intent_first(tmp_path: Path) -> None:
    """Design §3: commit the intent, then act; what is cut the second time is a recovery that is under way."""
    for number, name in enumerate(name for name in CASES if name.startswith("recovery")):
        (tmp_path / str(number)).mkdir()
        record, _ = CASES[name].record(tmp_path / str(number))
        reasons: list[list[Reason | None]] = []

        def note(directory: str, reasons: list[list[Reason | None]] = reasons) -> str:
            found = loaded(Path(directory)).transactions
            reasons.append([None if one.stop is None else one.stop.reason for one in found])
            return ""

        assert gone_on(record, note) == []
        first = Reason.LOCAL if name.endswith("stop") else None
        intent = first or Reason.POWER_LOSS
        changes = [now for before, now in pairwise([[], *reasons]) if now != before]
        assert changes == [[first], *([] if first else [[intent]]), [], [None], [Reason.REBOOT], []], name


class Piecemeal(MortalService):
    """Spoilt: what belongs into one commit is in several, in an order that has the stop before the end of its transaction."""

    def _try_commit(self, changes: tuple[e.Change, ...]) -> None:
        for change in sorted(changes, key=lambda change: not isinstance(change, e.AppendEntry)):
            super()._try_commit((change,))


class Hasty(MortalService):
    """Spoilt: the transaction is dropped in a commit before the one that has its stop."""

    def _try_commit(self, changes: tuple[e.Change, ...]) -> None:
        for change in sorted(changes, key=lambda change: isinstance(change, e.AppendEntry)):
            super()._try_commit((change,))


class Forgetful(MortalService):
    """Spoilt: it acts without an intent, but takes note that the reboot that was wanted is over."""

    def _try_commit(self, changes: tuple[e.Change, ...]) -> None:
        if any(isinstance(change, e.SaveEnded) for change in changes):
            changes = tuple(change for change in changes if not isinstance(change, e.SaveTransaction))
        super()._try_commit(changes)


@pytest.mark.parametrize(
    ("name", "spoilt", "step", "words"),
    [
        ("recovery from a cut in a sample", Piecemeal, "PowerLoss stop", "and again as"),
        ("recovery from a cut in a sample", Hasty, "PowerLoss stop", "0 stops"),
        ("recovery from a cut just after the start", Forgetful, "intent of the Reboot stop", "not Reboot"),
        ("lost", Hasty, "lost transaction closed", "got no stop"),
    ],
)
def test_going_on_finds_a_service_that_breaks_the_order_of_its_commits(
    name: str, spoilt: type[MortalService], step: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof proves itself: each commit alone is safe on the disk, but what is there after a cut is not enough."""
    monkeypatch.setattr("tests.connectors.world.MortalService", spoilt)
    record, going_on = CASES[name].record(tmp_path)
    monkeypatch.undo()
    found = gone_on(record, going_on)
    assert any(repr(step) in text and words in text for text in found), found


def test_going_on_finds_a_queue_that_acknowledges_before_it_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof proves itself: the entry's number is committed before the message is."""
    accept = Inbox.accept

    def early(inbox: Inbox, position: JournalPosition) -> None:
        accept(inbox, position)
        if inbox._stream == "journal.transaction.":
            inbox._database.execute("COMMIT")
            inbox._database.execute("BEGIN IMMEDIATE")

    monkeypatch.setattr(Inbox, "accept", early)
    record, going_on = CASES["kept"].record(tmp_path)
    monkeypatch.undo()
    found = gone_on(record, going_on)
    assert any(repr("publisher's journal begun anew") in text and "does not know" in text for text in found), found


def test_going_on_finds_a_queue_that_believes_itself_filled_too_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof proves itself: that the store was saved from damage is forgotten before what it lost has come again."""
    begin = TransactionQueue._begin_refill

    def early(queue: TransactionQueue) -> None:
        with transaction(queue._database):
            forget_salvaged(queue._database)
        begin(queue)

    monkeypatch.setattr(TransactionQueue, "_begin_refill", early)
    record, going_on = CASES["kept"].record(tmp_path)
    monkeypatch.undo()
    found = gone_on(record, going_on)
    assert any(repr("filled again") in text and "does not know" in text for text in found), found


@pytest.mark.parametrize("name", LOSING)
@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
def test_the_proof_finds_the_loss_without_synchronous_full(name: str, synchronous: str, tmp_path: Path) -> None:
    """The proof proves itself: with less than synchronous=FULL acknowledged commits are lost, and it says which step's."""
    record, _ = CASES[name].record(tmp_path, synchronous=synchronous, checkpoint_pages=None)
    found = proved(record, CASES[name].stores, SHORT, every=EVERY).found
    assert any("acknowledged" in text and "lost" in text for text in found), found


def test_the_proof_finds_half_a_commit(tmp_path: Path) -> None:
    """A commit is there whole or not at all: a disk with a part of one, as a log without checksums would leave, is told."""
    record, _ = CASES["configuration"].record(tmp_path)
    files = whole({}, record.events)
    half = tmp_path / "half.db"
    half.write_bytes(files["configuration.db"])
    database = open_database(str(half))
    with transaction(database):
        database.execute("DELETE FROM session WHERE name = 'interval'")
    database.close()
    record.events.append(Write("configuration.db", 0, half.read_bytes()))
    found = proved(record, CASES["configuration"].stores, SHORT, every=len(record.events)).found
    assert any("part of a commit" in text for text in found), found


def test_each_commit_is_synced_before_it_is_acknowledged(tmp_path: Path) -> None:
    """The shim sees what SQLite does: with synchronous=FULL the log is synced between its last write and the commit's end."""
    with Recorder(str(tmp_path)) as recorder:
        database = open_database(str(tmp_path / "a.db"))
        with transaction(database):
            database.execute("CREATE TABLE t (x)")
        before = len(recorder.events)
        for number in range(5):
            with transaction(database):
                database.execute("INSERT INTO t VALUES (?)", (number,))
        events = recorder.events[before:]
        database.close()
    assert sum(isinstance(event, Commit) for event in events) == 5
    assert [type(a) for a, b in pairwise(events) if isinstance(b, Commit)] == [Sync] * 5
    assert any(isinstance(event, Write) and event.file == "a.db-wal" for event in events)


def test_the_record_is_complete(tmp_path: Path) -> None:
    """Replayed in full it gives the very files that are there: no write goes past the shim."""
    with Recorder(str(tmp_path)) as recorder:
        database = open_database(str(tmp_path / "a.db"))
        database.execute("PRAGMA wal_autocheckpoint=3")
        with transaction(database):
            database.execute("CREATE TABLE t (x)")
        for number in range(20):
            with transaction(database):
                database.execute("INSERT INTO t VALUES (?)", (str(number) * 3000,))
        there = {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith("-shm")}
        assert whole({}, recorder.events) == there
        database.close()
    assert whole({}, recorder.events) == {"a.db": (tmp_path / "a.db").read_bytes()}


def test_outside_of_the_recorder_and_its_directory_nothing_is_recorded(tmp_path: Path) -> None:
    """The default is put back: other tests of the same process are not recorded."""
    inside = tmp_path / "inside"
    inside.mkdir()
    with Recorder(str(inside)) as recorder:
        open_database(str(tmp_path / "elsewhere.db")).close()
        assert recorder.events == []
    open_database(str(inside / "later.db")).close()
    assert recorder.events == []


def images(*events: Event) -> list[dict[str, bytes]]:
    """All images of the cut after all these events."""
    return [cut.image for cut in cuts({"f": b"old."}, events, Bounds()) if cut.at == len(events)]


def test_what_is_synced_is_on_every_disk_and_what_is_not_may_be_missing() -> None:
    first, second = Write("f", 0, b"new."), Write("f", 4, b"more")
    assert images(first, second, Sync("f", directory=False)) == [{"f": b"new.more"}]
    found = images(first, Sync("f", directory=False), second)
    assert {image["f"] for image in found} == {b"new.", b"new.more"}
    found = images(first, second)
    assert {b"old.", b"new.", b"old.more", b"new.more"} <= {image["f"] for image in found}


def test_a_write_is_torn_by_sectors_and_never_outside_of_itself() -> None:
    page = Write("f", 512, b"x" * 2048)
    found = {cut.image["f"] for cut in cuts({"f": b"o" * 4096}, [page], Bounds(samples=50)) if cut.at == 1}
    assert any(image.count(b"x") not in (0, 2048) for image in found)
    for image in found:
        assert len(image) == 4096
        assert image[:512] == b"o" * 512
        assert image[2560:] == b"o" * 1536


def test_names_follow_their_own_syncs() -> None:
    """A file that was made may be missing, one that was deleted may be there, until the directory is synced."""
    made, deleted = Create("new"), Delete("f", durable=False)
    assert {"f": b"old."} in images(made)
    assert {"f": b"old.", "new": b""} in images(made)
    assert {"f": b"old."} in images(deleted)
    assert {} in images(deleted)
    assert images(Delete("f", durable=True)) == [{}]
    assert images(deleted, made, Write("new", 0, b"1"), Sync("new", directory=True)) == [{"new": b"1"}]
    assert {"f": b"ol"} in images(Truncate("f", 2))
    assert {"f": b"old."} in images(Truncate("f", 2))
