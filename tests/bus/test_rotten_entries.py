"""Entries of an outbox that can't be read any more: set aside, told, and all others arrive in order (field report 52)."""

from pathlib import Path

import pytest

from bus.database import transaction
from bus.journal import WINDOW
from tests.bus.test_streams import Pair, upto
from tests.rot import NOT_TEXT

ROTTEN = [NOT_TEXT, "'{'", "'{}'", "''", "x'ff'", "17"]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.mark.parametrize("rotten", ROTTEN)
@pytest.mark.parametrize("which", [(1,), (5,), (10,), (3, 4, 9), tuple(upto(10))])
def test_an_unreadable_entry_is_set_aside_and_the_others_arrive(
    pair: Pair, which: tuple[int, ...], rotten: str, caplog: pytest.LogCaptureFixture
) -> None:
    pair.consumer.stop()
    pair.append(10)
    said: list[str] = []
    marks = ", ".join(map(str, which))
    pair.publisher.database.execute(f"UPDATE journal_out SET payload = {rotten} WHERE seq IN ({marks})")
    pair.publisher.restart()
    pair.publisher.journal.on_unreadable = said.append
    pair.consumer.start()
    pair.run()
    pair.append(3)
    pair.run()
    assert pair.consumer.raw() == [number for number in upto(13) if number not in which]
    rows = pair.publisher.database.execute("SELECT source, id, CAST(body AS BLOB), reason <> '' FROM unreadable").fetchall()
    (body,) = pair.publisher.database.execute(f"SELECT CAST({rotten} AS BLOB)").fetchone()
    assert rows == [("journal_out journal.transaction.", str(number), body, 1) for number in which]
    assert [text.split(":")[0] for text in said] == [f"journal.transaction. {number}" for number in which]
    assert caplog.text.count("unreadable journal entry was set aside") == len(which)


def test_an_entry_that_rots_after_it_was_acknowledged_is_in_nobodys_way(pair: Pair) -> None:
    pair.append(3)
    pair.run()
    pair.publisher.database.execute(f"UPDATE journal_out SET payload = {NOT_TEXT} WHERE seq = 2")
    pair.append(1)
    pair.run()
    pair.put_back("consumer", lost=True)
    pair.run()
    assert pair.consumer.raw() == [1, 3, 4]


def test_more_unreadable_entries_than_the_window_has_room_for(pair: Pair) -> None:
    pair.consumer.stop()
    pair.append(WINDOW * 3)
    pair.publisher.database.execute(f"UPDATE journal_out SET payload = {NOT_TEXT} WHERE seq % 7 <> 0")
    pair.publisher.restart()
    pair.consumer.start()
    pair.run()
    assert pair.consumer.raw() == [number for number in upto(WINDOW * 3) if number % 7 == 0]


def test_who_looks_for_one_entry_or_changes_some_gets_bytes_whatever_they_are(pair: Pair) -> None:
    pair.append(3)
    outbox = pair.publisher.journal.outbox
    pair.publisher.database.execute(f"UPDATE journal_out SET payload = {NOT_TEXT} WHERE name = '2'")
    assert outbox.find_named("2") == b"{\xff}"
    seen: list[bytes] = []
    with transaction(pair.publisher.database):
        outbox.amend("2", lambda payload: seen.append(payload))
    assert seen == [b"{\xff}"]
