"""Bounded by disk: logs first, then MeterValues from the middle, never what bills (issue 4, field reports 11, 13, 52)."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.disk import BALLAST_BYTES, MB, Space
from bus.logs import logger
from bus.messages import GivenUp
from services.transaction_queue.space import Warden, thinned
from tests.transaction_queue.test_lost_stores import contents, long_session
from tests.transaction_queue.world import World, session

RESERVE = 32 * MB


class FakeDisk:
    """A disk as a test tells it: each log frees 1 MB."""

    def __init__(self) -> None:
        self.free = 500 * MB
        self.read_only = False
        self.ballast = False
        self.logs: list[str] = []

    def look(self) -> Space:
        return Space(self.free, self.read_only)

    def has_ballast(self) -> bool:
        return self.ballast

    def make_ballast(self) -> bool:
        self.ballast, self.free = True, self.free - BALLAST_BYTES
        return True

    def release_ballast(self) -> bool:
        had, self.ballast = self.ballast, False
        self.free += BALLAST_BYTES if had else 0
        return had

    def delete_oldest_log(self) -> str:
        if not self.logs:
            return ""
        self.free += MB
        return self.logs.pop(0)


@pytest.fixture
def disk() -> FakeDisk:
    return FakeDisk()


@pytest.fixture
def world(tmp_path: Path, disk: FakeDisk) -> World:
    found = World(tmp_path)
    found.connectors_forget = True
    found.warden = lambda: Warden(disk, RESERVE, logger("transaction_queue"), found._set_problem)  # type: ignore[arg-type]
    found.restart_queue()
    return found


@given(st.lists(st.integers(0, 10_000), unique=True).map(sorted))
def test_the_first_and_the_last_stay_and_about_half_of_the_middle_goes(numbers: list[int]) -> None:
    gone = thinned(numbers)
    assert set(gone) <= set(numbers[1:-1])
    assert len(gone) == max(0, len(numbers) - 1) // 2
    left = [number for number in numbers if number not in gone]
    assert len(left) == len(numbers) - len(gone)


def test_logs_go_first_and_only_as_many_as_needed(world: World, disk: FakeDisk) -> None:
    world.connectors.write(*long_session("a", 50))
    disk.free, disk.logs = RESERVE - 3 * MB, [f"log.{n}" for n in range(10)]
    world.advance(11)
    assert len(disk.logs) == 7
    assert len(world.rows("messages")) == 52
    assert "disk" not in world.problems


def test_values_are_thinned_from_the_middle_and_what_bills_stays(world: World, disk: FakeDisk) -> None:
    """Field report 11: always keep first, last and the registers at start and stop."""
    entries = [*long_session("a", 50), *session("b", 500)]
    world.connectors.write(*entries)
    disk.free = RESERVE - 1
    world.advance(10.5)
    left = [row["number"] for row in world.rows("messages") if row["local_tx_id"] == "a"]
    assert {0, 1, 50, 51} <= set(left)
    assert 10 < len(left) < 35
    assert "were thinned out" in world.problems["disk"]
    disk.free = 0
    world.advance(60)
    assert [row["number"] for row in world.rows("messages") if row["local_tx_id"] == "a"] == [0, 1, 50, 51]
    assert [row["number"] for row in world.rows("messages") if row["local_tx_id"] == "b"] == [0, 1, 2]
    disk.free = 500 * MB
    world.advance(11)
    assert "disk" not in world.problems
    world.link.online()
    assert len(world.sent) == 7
    assert contents(world)[:2] == [entries[0].message, entries[1].message]


def test_no_transaction_is_thinned_to_the_bone_before_the_others(world: World, disk: FakeDisk) -> None:
    world.connectors.write(*long_session("a", 50), *long_session("b", 50, 300))
    disk.free = 0
    world.advance(11.5)
    left = {name: sum(1 for row in world.rows("messages") if row["local_tx_id"] == name) for name in "ab"}
    assert abs(left["a"] - left["b"]) <= 15


def test_what_a_running_transaction_adds_under_pressure_is_thinned_too(world: World, disk: FakeDisk) -> None:
    """Nothing was left to thin when the pressure began; that holds only until something new is there."""
    entries = long_session("a", 200)
    world.connectors.write(*entries[:2])
    disk.free = 0
    world.advance(60)
    for number in range(2, 201, 20):
        world.connectors.write(*entries[number : number + 20])
        world.advance(30)
    world.connectors.write(*entries[-1:])
    world.advance(30)
    left = [row["number"] for row in world.rows("messages")]
    assert {0, 1, 201} <= set(left)
    assert len(left) < 10
    assert world.problems["disk"].endswith(f"{202 - len(left)} MeterValues were thinned out")


def test_with_nothing_new_it_looks_seldom_and_searches_once(world: World, disk: FakeDisk) -> None:
    """No busy loop on a station that is short of space for weeks."""
    world.connectors.write(*session("a"))
    looks: list[float] = []
    searches: list[float] = []
    disk.look = lambda: looks.append(world.now_s) or Space(0, False)  # type: ignore[method-assign, func-returns-value]
    assert world.queue is not None
    thin = world.queue._thin
    world.queue._thin = lambda: searches.append(world.now_s) or thin()  # type: ignore[method-assign, func-returns-value]
    world.advance(1000)
    assert len(searches) == 1
    assert len(set(looks)) <= 102
    world.connectors.write(*session("b", 500))
    world.advance(1000)
    assert len(searches) <= 3


def test_thinning_is_told_once_a_minute_and_at_its_end(world: World, disk: FakeDisk, caplog: pytest.LogCaptureFixture) -> None:
    entries = long_session("a", 100)
    world.connectors.write(*entries[:2])
    disk.free = 0
    for entry in entries[2:]:
        world.connectors.write(entry)
        world.advance(10)
    disk.free = 500 * MB
    world.advance(11)
    told = [record for record in caplog.records if "are thinned out" in record.getMessage()]
    assert 10 < len(told) < 20
    assert sum(record.__dict__["fields"]["removed"] for record in told) == len(entries) - len(world.rows("messages"))


def test_connectors_learns_what_was_thinned_so_that_its_copy_goes_too(world: World, disk: FakeDisk) -> None:
    world.connectors.write(*long_session("a", 50))
    disk.free = 0
    world.advance(60)
    kept = world.connectors.database.execute("SELECT count(*) FROM journal_out").fetchone()[0]
    assert kept == 4
    assert all(isinstance(o.outcome, GivenUp) and "disk was full" in o.outcome.reason for o in world.connectors.outcomes)


def test_a_message_that_was_ever_sent_is_never_thinned(world: World, disk: FakeDisk) -> None:
    """Nobody knows whether the Central System has it; and the head is in flight."""
    world.link.answer = lambda r: world.central_system(r) if len(world.sent) < 10 else None
    world.connectors.write(*long_session("a", 50))
    world.link.online()
    in_flight = world.sent[-1].message
    disk.free = 0
    world.advance(30)
    world.link.answer = world.central_system
    world.link.report(0, world.central_system(world.sent[-1]))
    assert in_flight in contents(world)
    assert world.rows("messages") == []
    assert contents(world)[-1] == long_session("a", 50)[-1].message


def test_space_inside_the_database_counts_as_free(world: World, disk: FakeDisk) -> None:
    """SQLite uses the pages of deleted rows again, so that thinning ends."""
    world.connectors.write(*long_session("a", 1000))
    disk.free = RESERVE - 100_000
    world.advance(120)
    assert 100 < len(world.rows("messages")) < 1000


def test_the_ballast_is_made_given_back_and_made_again(world: World, disk: FakeDisk) -> None:
    world.advance(11)
    assert disk.ballast
    disk.free = MB // 2
    world.advance(11)
    assert not disk.ballast
    world.advance(60)
    assert not disk.ballast, "there is no space for it yet"
    disk.free = RESERVE + BALLAST_BYTES
    world.advance(11)
    assert disk.ballast


def test_a_read_only_disk_is_said_and_nothing_is_tried_on_it(world: World, disk: FakeDisk) -> None:
    world.connectors.write(*long_session("a", 50))
    disk.read_only, disk.logs = True, ["log.1"]
    world.advance(30)
    assert world.problems["disk"] == "the disk is read-only"
    assert disk.logs == ["log.1"]
    assert len(world.rows("messages")) == 52


def test_a_full_database_ends_the_process_and_the_next_one_goes_on(world: World) -> None:
    """A real SQLITE_FULL; the runtime gives the ballast back on the way out (`bus/runtime.py`)."""
    world.connectors.write(*session("a"))
    pages = world.database.execute("PRAGMA page_count").fetchone()[0]
    world.database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Exception, match="full"):
        world.connectors.write(*long_session("b", 200, 300))
    world.kill_queue()
    world.start_queue()
    world.link.online()
    world.advance(20)
    assert len(world.sent) == 205
