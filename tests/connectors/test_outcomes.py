"""What the queue tells of a message, and which entry of the outbox is done with by that (design §3)."""

from pathlib import Path

import msgspec
import pytest

from bus.database import open_database, transaction
from bus.journal import Outbox
from bus.messages import Delivered, DeliveryEntry, TransactionEntry
from services.connectors.store import entry_name, forget_entry
from tests.transaction_queue.world import session


def kept(tmp_path: Path, outcome: DeliveryEntry, *entries: TransactionEntry) -> list[int]:
    """Numbers of the entries that are left."""
    database = open_database(str(tmp_path / "connectors.db"))
    outbox = Outbox(database, "journal.transaction.")
    with transaction(database):
        for entry in entries:
            outbox.append(entry, entry_name(entry.local_tx_id, entry.number))
        forget_entry(outbox, outcome)
    left = [msgspec.json.decode(entry.payload, type=TransactionEntry) for entry in outbox.after(0, 10)]
    database.close()
    return [entry.number for entry in left if entry.local_tx_id == "a"]


@pytest.mark.parametrize("action", ["", "MeterValues", "StartTransaction", "StopTransaction"])
@pytest.mark.parametrize("number", [0, 1, 7])
def test_an_outcome_is_of_its_number(tmp_path: Path, number: int, action: str) -> None:
    """`action` empty: a queue of an older release. One that is not known here is of another past, and no matter."""
    found = kept(tmp_path, DeliveryEntry("a", number, Delivered(), action), *session("a")[:2], *session("ab"))
    assert found == [one for one in (0, 1) if one != number]


@pytest.mark.parametrize(("action", "left"), [("MeterValues", [0, 2]), ("StopTransaction", [0]), ("", [0])])
def test_what_is_told_of_a_reading_is_not_of_the_stop_that_bears_its_number(
    tmp_path: Path, action: str, left: list[int]
) -> None:
    """This database is an older copy, which gave that number a second time."""
    begun, _, stopped = session("a")
    assert kept(tmp_path, DeliveryEntry("a", 2, Delivered(), action), begun, stopped) == left


def test_what_is_told_of_a_stop_is_of_the_one_stop_that_there_is(tmp_path: Path) -> None:
    assert kept(tmp_path, DeliveryEntry("a", 9, Delivered(), "StopTransaction"), *session("a"), *session("ab")) == [0, 1]
