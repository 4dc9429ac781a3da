"""A disk that is full or read-only: told, no new transactions by policy, and what runs can still be ended (issue 4)."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bus.messages import StopTransaction
from bus.vocabulary import ChargePointErrorCode, RemoteStartStopStatus
from services.connectors import events as e
from tests.connectors.bench import Bench, charging
from tests.connectors.world import World

FULL = e.DiskChanged("the disk is full but for 3 MB", True)
WELL = e.DiskChanged("", False)


def test_no_transaction_begins_and_the_central_system_is_told() -> None:
    bench = Bench()
    bench.feed(FULL)
    bench.plug_in()
    bench.card()
    bench.advance(30)
    assert bench.status() == "Preparing"
    assert not any(isinstance(effect, e.AskAuthorize) for effect in bench.effects), "the card is refused at once"
    told = bench.state.charge_point
    assert told is not None
    assert (told.error_code, told.vendor_error_code, told.info) == (ChargePointErrorCode.INTERNAL_ERROR, "disk", FULL.failure)
    assert bench.remote_start("TAG").status is RemoteStartStopStatus.REJECTED
    bench.feed(WELL)
    assert bench.state.charge_point is not None
    assert bench.state.charge_point.error_code is ChargePointErrorCode.NO_ERROR
    bench.card()
    bench.advance(10)
    assert bench.status() == "Charging"


def test_what_runs_goes_on_and_is_ended_as_ever() -> None:
    bench = charging()
    bench.feed(FULL)
    bench.advance(60)
    assert bench.status() == "Charging"
    bench.card()
    bench.advance(10)
    assert bench.stop_message().reason == "Local"


def test_policy_may_let_transactions_begin() -> None:
    """`[policy] charge_on_full_disk`: told all the same."""
    bench = Bench()
    bench.feed(e.DiskChanged(FULL.failure, False))
    bench.plug_in()
    bench.card()
    bench.advance(10)
    assert bench.status() == "Charging"
    assert bench.state.charge_point is not None
    assert bench.state.charge_point.error_code is ChargePointErrorCode.INTERNAL_ERROR


def fill_up(world: World) -> None:
    """From now on the database may not grow: SQLITE_FULL, as from a full disk."""
    world.database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    world.database.execute("VACUUM")
    pages = world.database.execute("PRAGMA page_count").fetchone()[0]
    world.database.execute(f"PRAGMA max_page_count = {pages}")


def test_a_running_transaction_commits_its_stop_with_the_ballast(tmp_path: Path) -> None:
    """Issue 4: the ballast is released so that running ones can still commit their stop."""
    world = World(tmp_path, configuration={"MeterValueSampleInterval": "5"})
    world.queue.delivers = False
    world.plants[1].plug_in()
    world.card()
    world.advance(30)
    fill_up(world)
    released: list[bool] = []

    def make_room() -> bool:
        released.append(True)
        world.database.execute("PRAGMA max_page_count = 100000")
        return True

    assert world.service is not None
    world.service._board.make_room = make_room
    for _ in range(200):
        world.advance(60)
        if released:
            break
    world.card()
    world.advance(30)
    assert released
    assert isinstance(world.queue.entries[-1].message, StopTransaction)


def test_without_ballast_the_process_ends(tmp_path: Path) -> None:
    """Going on would be a lie; supervisord starts it again."""
    world = World(tmp_path, configuration={"MeterValueSampleInterval": "5"})
    world.queue.delivers = False
    world.plants[1].plug_in()
    world.card()
    world.advance(30)
    fill_up(world)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        world.advance(12_000)


def emergency_stop(world: World) -> None:
    """A hand on the station."""
    assert world.service is not None
    world.service.feed(e.EmergencyStopChanged(True))


@pytest.mark.parametrize("stop", [World.card, emergency_stop])
def test_a_disk_that_could_not_take_a_stop_gives_no_energy_again(tmp_path: Path, stop: Callable[[World], None]) -> None:
    """The contactor has opened; the next process finds a transaction that runs, and must write before it closes it again."""
    world = World(tmp_path)
    world.plants[1].plug_in()
    world.card()
    world.advance(30)
    assert world.plants[1].relay_closed
    world.plants[1].meter_answers = False
    world.database.execute("CREATE TRIGGER t BEFORE INSERT ON transactions BEGIN SELECT RAISE(ABORT, 'bad disk'); END")
    with pytest.raises(sqlite3.Error, match="bad disk"):
        stop(world)
    for _ in range(3):
        world.kill()
        with pytest.raises(sqlite3.Error, match="bad disk"):
            world.advance(10)
        assert not world.plants[1].desired.energy_allowed
    world.kill()
    with closing(sqlite3.connect(tmp_path / "connectors.db")) as mended:
        mended.execute("DROP TRIGGER t")
    world.advance(10)
    assert world.plants[1].relay_closed
