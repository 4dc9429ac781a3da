"""A boot that ended without a clock is dated once all that `connectors` has of it is here (design §5: order and durations)."""

from pathlib import Path

import pytest

from bus.messages import ConnectorState, StartTransaction, StopTransaction, TransactionEntry
from bus.vocabulary import ChargePointStatus
from services.transaction_queue.ended_boots import OPEN_S_MAX, QUIET_S, SILENT_S_MAX
from tests.transaction_queue.world import BOOT, UTC_0_MS, World, moment, session, start, stop

NEXT = "boot-b"
HALF_AN_HOUR_MS = 1_800_000


@pytest.fixture
def world(tmp_path: Path) -> World:
    """The board has started again, knows the time, and is online; its boot-a never did, and 100 s of it are known here."""
    found = World(tmp_path)
    found.connectors.write(TransactionEntry("tx", 0, start(moment(100, known=False))))
    found.reboot(NEXT)
    found.link.clock()
    found.link.online()
    return found


def heard(world: World) -> None:
    """A sign of life of `connectors`."""
    world.connectors.node.publish(ConnectorState(0, ChargePointStatus.AVAILABLE, moment(1, NEXT)), "0")
    world.settle()


def bounds_ms(world: World) -> tuple[int, int]:
    """Start and stop as they went out, from the start of the boot that runs."""
    found = [
        request.message.at.utc_ms for request in world.sent if isinstance(request.message, StartTransaction | StopTransaction)
    ]
    return found[0] - UTC_0_MS, found[-1] - UTC_0_MS


def test_a_start_waits_for_the_stop_that_tells_how_long_its_boot_was(world: World) -> None:
    heard(world)
    world.advance(30)
    assert world.sent == []
    assert world.states[-1].detail == "connectors may have more of a boot that ended without a clock"
    world.connectors.write(TransactionEntry("tx", 1, stop(moment(25, NEXT)), last_read_at=moment(1900, known=False)))
    assert bounds_ms(world) == (-HALF_AN_HOUR_MS - 1, 25_000)


def test_the_stop_of_a_silent_meter_has_its_own_moment_in_that_boot(world: World) -> None:
    heard(world)
    world.connectors.write(TransactionEntry("tx", 1, stop(moment(1900, known=False))))
    world.advance(QUIET_S)
    assert bounds_ms(world) == (-HALF_AN_HOUR_MS - 1, -1)


def test_connectors_may_start_later_than_the_queue(world: World) -> None:
    """What waits in its journal is of that boot as well: here a transaction that the queue has not heard of."""
    world.connectors.write(TransactionEntry("tx", 1, stop(moment(130, known=False))))
    heard(world)
    world.advance(QUIET_S - 1)
    world.connectors.write(*session("other", 1900, known=False))
    world.advance(QUIET_S - 1)
    assert world.sent == []
    world.advance(1)
    (began, *_), ended = bounds_ms(world), world.sent[-1].message.at.utc_ms
    assert (began, ended) == (-1_920_001, UTC_0_MS - 1)


def test_an_entry_of_the_boot_that_runs_comes_after_all_of_earlier_ones(world: World) -> None:
    """A running session that is sampled each second holds nothing."""
    world.connectors.write(TransactionEntry("tx", 1, stop(moment(130, known=False))))
    assert world.sent == []
    world.connectors.write(TransactionEntry("now", 0, start(moment(9, NEXT))))
    assert world.said() == [("StartTransaction", None), ("StopTransaction", 101), ("StartTransaction", None)]


def test_a_transaction_that_is_never_closed_holds_nothing_for_ever(world: World) -> None:
    """What comes of it after all is not dated after its boot, nor before its start."""
    heard(world)
    world.advance(QUIET_S + OPEN_S_MAX - 1)
    assert world.sent == []
    world.advance(1)
    assert len(world.sent) == 1
    world.connectors.write(TransactionEntry("tx", 1, stop(moment(1900, known=False))))
    assert bounds_ms(world) == (-1, 0)


def test_without_connectors_nothing_is_held_for_ever(world: World) -> None:
    world.advance(SILENT_S_MAX - 1)
    assert world.sent == []
    world.advance(1)
    assert len(world.sent) == 1


def test_what_was_dated_once_waits_for_nobody(world: World) -> None:
    """Estimates are kept from the first use on."""
    world.advance(SILENT_S_MAX)
    world.restart_queue()
    world.connectors.write(TransactionEntry("tx", 1, stop(moment(100, known=False))))
    assert world.said()[-1] == ("StopTransaction", 101)


def test_an_estimate_of_one_boot_is_none_of_a_later_one(world: World) -> None:
    """The rest of what was dated once goes out before the length of the boot after it is known."""
    world.advance(SILENT_S_MAX)
    world.link.offline()
    world.database.execute("UPDATE boots SET utc_offset_ms = NULL WHERE boot_id = ?", (NEXT,))
    world.connectors.write(TransactionEntry("tx", 1, stop(moment(100, known=False))))
    world.connectors.write(TransactionEntry("later", 0, start(moment(50, NEXT, known=False))))
    world.reboot("boot-c")
    world.link.clock()
    world.link.online()
    assert world.said()[-1] == ("StopTransaction", 101)
    end = TransactionEntry("later", 1, stop(moment(25, "boot-c")), last_read_at=moment(1850, NEXT, known=False))
    world.connectors.write(end)
    assert [world.sent[-1].message.at.utc_ms, world.sent[-2].message.at.utc_ms] == [UTC_0_MS + 25_000, UTC_0_MS - 1_800_001]


def test_a_boot_whose_time_was_known_waits_for_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.link.clock()
    world.connectors.write(TransactionEntry("tx", 0, start(moment(100, BOOT, known=False))))
    world.reboot(NEXT)
    world.link.online()
    assert len(world.sent) == 1
