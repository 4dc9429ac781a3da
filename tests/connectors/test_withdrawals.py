"""Energy does not wait for the disk for long (design §3): the shell, the disk's time and the timer's looks are injected."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bus.clock import boottime_s
from bus.logs import logger
from bus.messages import RemoteStopTransaction, StopTransaction
from services.connectors import events as e
from services.connectors.withdrawals import HANGS_S, STOP_WAITS_S, Timer, Withdrawals
from services.hardware.contract import EvseDesired
from tests.connectors.world import World

OFFER = EvseDesired(True, 16.0, locked=True)
NOTHING = EvseDesired(locked=True)
A_HAIR_S = 0.01


class SlowDisk:
    """Each commit takes `takes_s`, in which the timer looks as often as it likes. `meanwhile` happens at its end."""

    def __init__(self, world: World, takes_s: float) -> None:
        assert world.service is not None
        self.world = world
        self.takes_s = takes_s
        self.error: Exception | None = None
        self.at_commit: list[tuple[float, int, EvseDesired]] = []
        """What was ordered before the newest slow commit was on disk."""
        self._commit = world.service._try_commit
        world.service._try_commit = self.commit  # type: ignore[method-assign]

    def commit(self, changes: tuple[e.Change, ...]) -> None:
        assert self.world.service is not None
        end_s, takes_s, self.takes_s = self.world.now_s + self.takes_s, self.takes_s, 0.0
        while (due_s := self.world.service.withdrawals.look()) is not None and due_s <= end_s and takes_s:
            self.world.now_s = max(due_s, self.world.now_s)
        if takes_s:
            self.world.now_s = end_s
            self.at_commit = list(self.world.orders)
        if self.error is not None:
            raise self.error
        self._commit(changes)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two cars charge at sockets."""
    world = World(tmp_path, connectors=2, socket=True)
    for number, id_tag in ((1, "TAG"), (2, "OTHER")):
        world.plants[number].plug_in()
        world.advance(2.0)
        world.card(id_tag)
        world.advance(10.0)
    assert [plant.relay_closed for plant in world.plants.values()] == [True, True]
    world.orders.clear()
    return world


def energy(world: World) -> list[tuple[int, bool]]:
    return [(number, desired.energy_allowed) for _, number, desired in world.orders]


def stops(world: World) -> list[str]:
    return [entry.local_tx_id for entry in world.queue.entries if isinstance(entry.message, StopTransaction)]


def test_an_ordinary_stop_waits_for_the_disk_no_longer_than_it_may(world: World) -> None:
    disk, asked_s = SlowDisk(world, 2.0), world.now_s
    world.card()
    assert disk.at_commit == [(asked_s + STOP_WAITS_S, 1, NOTHING)], "the plug is held, and nobody else is touched"
    world.advance(10.0)
    assert (1, True) not in energy(world), "no order for energy comes after it"
    assert len(stops(world)) == 1


def test_a_stop_that_is_on_disk_in_time_opens_the_contactor_once(world: World) -> None:
    disk = SlowDisk(world, STOP_WAITS_S - A_HAIR_S)
    world.card()
    assert disk.at_commit == []
    assert energy(world) == [(1, False)]
    assert world.service is not None
    world.now_s += 10 * HANGS_S
    assert world.service.withdrawals.look() is None
    assert energy(world) == [(1, False)]


def test_a_lock_waits_for_the_disk(world: World) -> None:
    """Only energy is withdrawn early: a plug is let go when its transaction is closed on disk."""
    world.card()
    world.advance(0.25)
    disk = SlowDisk(world, 2.0)
    world.advance(5.0)
    assert disk.takes_s == 0.0, "the close was slow"
    assert all(desired.locked for _, number, desired in disk.at_commit if number == 1)
    assert world.orders[-1][2].locked is False or world.plants[1].locked is False


def test_while_a_commit_hangs_nobody_has_energy_and_after_it_transactions_go_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes meanwhile is not even heard, as the deciding thread waits."""
    disk, asked_s = SlowDisk(world, 20.0), world.now_s
    with caplog.at_level(logging.WARNING):
        world.card()
    assert [(at_s, number, desired.energy_allowed) for at_s, number, desired in disk.at_commit] == [
        (asked_s + STOP_WAITS_S, 1, False),
        (asked_s + HANGS_S, 2, False),
    ]
    assert [record.message for record in caplog.records if "disk" in record.message] == [
        "disk does not answer, energy is withdrawn everywhere until it does; check it",
        "disk was slow, energy was withdrawn before it had answered",
    ]
    world.advance(10.0)
    assert (len(stops(world)), world.plants[2].relay_closed, world.plants[1].relay_closed) == (1, True, False)


def test_what_came_while_a_commit_hung_is_heard_before_energy_is_given_again(world: World) -> None:
    SlowDisk(world, 20.0)
    world.card()
    service = world.service
    assert service is not None
    service.tick()
    assert service.next_deadline_s() == world.now_s, "the loop does not rest"
    service.feed(e.EmergencyStopChanged(True))
    service.tick()
    world.advance(5.0)
    assert (2, True) not in energy(world)
    assert len(stops(world)) == 2


def test_a_call_that_nobody_waits_for_any_more_leaves_the_energy(world: World) -> None:
    """Its stop does not count, as the commit took longer than the call may (design §3)."""
    disk = SlowDisk(world, 0.0)
    world.advance(2.0)
    disk.takes_s = 30.0
    world.call(RemoteStopTransaction(4711))
    assert [number for _, number, _ in disk.at_commit][:1] in ([1], [2])
    world.advance(10.0)
    assert stops(world) == []
    assert [plant.relay_closed for plant in world.plants.values()] == [True, True]


def test_a_commit_that_fails_late_leaves_what_was_withdrawn(world: World) -> None:
    disk = SlowDisk(world, 20.0)
    disk.error = sqlite3.OperationalError("disk I/O error")
    with pytest.raises(sqlite3.OperationalError):
        world.card()
    assert [plant.desired.energy_allowed for plant in world.plants.values()] == [False, False]


class Controllers:
    """Keeps orders, and says when there is one."""

    def __init__(self) -> None:
        self.orders: list[tuple[int, EvseDesired]] = []
        self.withdrawn = threading.Event()

    def set_desired(self, connector_id: int, desired: EvseDesired) -> None:
        self.orders.append((connector_id, desired))
        if not desired.energy_allowed:
            self.withdrawn.set()


def between(controllers: Controllers, now: Callable[[], float]) -> Withdrawals:
    found = Withdrawals(controllers, (1, 2), now, logger("test"))
    found.set_desired(1, OFFER)
    controllers.orders.clear()
    return found


def test_a_withdrawal_never_follows_a_newer_order() -> None:
    controllers, clock = Controllers(), [100.0]
    withdrawals = between(controllers, lambda: clock[0])
    withdrawals.commit_begins(frozenset({1}))
    withdrawals.commit_ends(on_disk=True)
    withdrawals.set_desired(1, NOTHING)
    withdrawals.set_desired(1, OFFER)
    clock[0] += 60.0
    assert withdrawals.look() is None
    assert controllers.orders == [(1, NOTHING), (1, OFFER)]


def test_an_order_that_is_given_after_a_hang_is_not_undone_by_the_one_before() -> None:
    controllers, clock = Controllers(), [100.0]
    withdrawals = between(controllers, lambda: clock[0])
    withdrawals.commit_begins()
    clock[0] += HANGS_S
    assert withdrawals.look() is None
    assert controllers.orders == [(1, NOTHING), (2, EvseDesired(locked=None))], "of 2 nothing was said yet, nor is to its lock"
    withdrawals.commit_ends(on_disk=True)
    withdrawals.set_desired(1, EvseDesired(True, 8.0))
    for _ in range(5):
        withdrawals.turn()
    assert controllers.orders[2:] == [(1, EvseDesired(True, 8.0))]


def test_the_thread_withdraws_while_the_deciding_one_waits() -> None:
    controllers = Controllers()
    withdrawals = between(controllers, boottime_s)
    timer = Timer(withdrawals, boottime_s)
    timer.start()
    withdrawals.commit_begins(frozenset({1}))
    assert controllers.withdrawn.wait(30.0), "the commit ends only after it"
    withdrawals.commit_ends(on_disk=True)
    timer.stop()
    assert controllers.orders[0] == (1, NOTHING)


def test_many_short_commits_wake_the_thread_once_and_the_next_long_one_is_not_missed() -> None:
    """A backlog is hundreds of commits a second."""
    controllers, clock, woken = Controllers(), [100.0], []
    withdrawals = between(controllers, lambda: clock[0])
    withdrawals.on_begin = lambda: woken.append(clock[0])
    for _ in range(10):
        withdrawals.commit_begins(frozenset({1}))
        clock[0] += 0.03125
        withdrawals.commit_ends(on_disk=True)
    assert woken == [100.0]
    withdrawals.commit_begins(frozenset({1}))
    clock[0] = 100.0 + STOP_WAITS_S
    due_s = withdrawals.look()
    assert due_s == 100.3125 + STOP_WAITS_S, "the look that was due finds the commit that runs now"
    clock[0] = due_s
    assert withdrawals.look() == 100.3125 + HANGS_S
    assert controllers.orders == [(1, NOTHING)]
    withdrawals.commit_ends(on_disk=True)
    clock[0] = 100.3125 + HANGS_S
    assert withdrawals.look() is None
    withdrawals.commit_begins()
    assert len(woken) == 2, "nobody was to look any more"
