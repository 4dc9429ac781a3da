"""Out of service by a person at the station: Unavailable, whatever the Central System says, over restarts (OCPP 1.6 §5.2)."""

from pathlib import Path

import pytest

from bus.calls import Reply
from bus.database import open_database
from bus.operating_messages import OutOfService, OutOfServiceAnswer
from services.connectors import events as e
from services.connectors.status import OUT_OF_SERVICE
from services.connectors.store import Store
from tests.connectors.bench import WHOLE, Bench, charging
from tests.connectors.world import World


def statuses(bench: Bench) -> list[str]:
    return [str(bench.status(number)) for number in range(len(bench.plants) + 1)]


def since(bench: Bench, number: int = 1) -> object:
    return bench.audit.statuses[number][-1].out_of_service_since


def test_one_connector_is_unavailable_at_once_and_back() -> None:
    """The Central System is told why; committed, then answered, then shown."""
    bench = Bench(connectors=2)
    before = len(bench.effects)
    assert bench.out_of_service(True, 1) == OutOfServiceAnswer(changed=(1,))
    kinds = [type(effect) for effect in bench.effects[before:]]
    assert kinds.index(e.Commit) < kinds.index(e.Answer) < kinds.index(e.PublishConnector)
    assert statuses(bench) == ["Available", "Unavailable", "Available"]
    assert bench.audit.statuses[1][-1].info == OUT_OF_SERVICE
    assert since(bench) is not None
    assert bench.out_of_service(False, 1) == OutOfServiceAnswer(changed=(1,))
    assert (bench.history(), since(bench)) == (["Available", "Unavailable", "Available"], None)


def test_without_a_number_it_is_the_charge_point_and_all_connectors() -> None:
    bench = Bench(connectors=2)
    bench.out_of_service(True, 2)
    assert bench.out_of_service(True).changed == (0, 1)
    assert statuses(bench) == ["Unavailable"] * 3
    assert bench.audit.statuses[0][-1].info == OUT_OF_SERVICE
    assert bench.out_of_service(False).changed == (0, 1, 2)
    assert statuses(bench) == ["Available"] * 3


def test_the_same_again_changes_nothing_and_keeps_since_when() -> None:
    bench = Bench()
    bench.out_of_service(True, 1)
    commits, began = bench.commits, since(bench)
    bench.advance(60)
    assert bench.out_of_service(True, 1) == OutOfServiceAnswer()
    assert (bench.commits, since(bench)) == (commits, began)


@pytest.mark.parametrize("number", [0, 2])
def test_a_connector_that_is_not_there_is_refused(number: int) -> None:
    bench = Bench()
    assert bench.out_of_service(True, number).refusal == f"there is no connector {number}"
    assert bench.history() == ["Available"]


@pytest.mark.parametrize("number", [None, 1])
def test_a_running_transaction_finishes_first(number: int | None) -> None:
    """As a scheduled change of the Central System (OCPP 1.6 §5.2); field report 42: no Available in between."""
    bench = charging()
    assert bench.out_of_service(True, number).charging == (1,)
    assert (bench.status(), bench.status(0)) == ("Charging", "Available")
    assert since(bench) is not None
    bench.card()
    bench.advance(3)
    bench.unplug()
    bench.advance(3)
    assert bench.history() == [*WHOLE[:4], "Unavailable"]
    assert bench.status(0) == ("Unavailable" if number is None else "Available")
    assert len(bench.transactions) == 1


def test_a_running_transaction_finishes_first_over_a_restart_too() -> None:
    bench = charging()
    bench.out_of_service(True)
    bench.restart()
    bench.advance(3)
    assert bench.status() == "Charging"
    bench.unplug()
    bench.advance(5)
    assert statuses(bench) == ["Unavailable"] * 2


@pytest.mark.parametrize("number", [0, 1])
def test_operative_does_not_lift_it(number: int) -> None:
    """OCPP 1.6 §5.2: the answer says "whether the Charge Point is able to change"; nothing of it is kept."""
    bench = Bench()
    bench.change_availability(number, "Inoperative")
    bench.out_of_service(True)
    assert bench.change_availability(number, "Operative") == "Rejected"
    assert statuses(bench) == ["Unavailable"] * 2
    assert bench.out_of_service(False).inoperative == ((0, 1) if number == 0 else (1,))
    assert bench.status() == "Unavailable"
    assert bench.change_availability(number, "Operative") == "Accepted"
    assert statuses(bench) == ["Available"] * 2


def test_operative_for_all_is_accepted_where_anything_follows() -> None:
    """OCPP 1.6 §5.2: connector 0 means all; the one that is out of service stays so."""
    bench = Bench(connectors=2)
    bench.change_availability(0, "Inoperative")
    bench.out_of_service(True, 1)
    assert bench.change_availability(0, "Operative") == "Accepted"
    assert statuses(bench) == ["Available", "Unavailable", "Available"]
    assert bench.out_of_service(False, 1) == OutOfServiceAnswer(changed=(1,))
    assert statuses(bench) == ["Available"] * 3


def test_inoperative_is_taken_in_and_holds_after_it() -> None:
    """OCPP 1.6 §5.2: "a status it is already in" is Accepted."""
    bench = Bench()
    bench.out_of_service(True, 1)
    assert bench.change_availability(1, "Inoperative") == "Accepted"
    assert bench.out_of_service(False, 1) == OutOfServiceAnswer(changed=(1,), inoperative=(1,))
    assert (bench.status(), bench.audit.statuses[1][-1].info) == ("Unavailable", "")


def test_operative_while_the_transaction_runs_is_accepted_and_lifts_only_its_own() -> None:
    """OCPP 1.6 §5.2: a connector that charges is operative."""
    bench = charging()
    bench.change_availability(1, "Inoperative")
    bench.out_of_service(True, 1)
    assert bench.change_availability(1, "Operative") == "Accepted"
    bench.unplug()
    bench.advance(3)
    assert bench.status() == "Unavailable"
    assert bench.out_of_service(False, 1).inoperative == ()
    assert bench.status() == "Available"


@pytest.mark.parametrize("restart", [Bench.restart, Bench.power_cut])
def test_it_outlives_restart_and_power_cut(restart: object) -> None:
    bench = Bench(connectors=2)
    bench.out_of_service(True, 2)
    began = since(bench, 2)
    restart(bench)  # type: ignore[operator]
    bench.advance(3)
    assert statuses(bench) == ["Available", "Available", "Unavailable"]
    assert since(bench, 2) == began


def test_whoever_waits_there_is_sent_away_and_a_reservation_ends() -> None:
    bench = Bench()
    bench.card()
    bench.reserve(1, connector_id=1)
    bench.out_of_service(True, 1)
    assert bench.state.waiting == ()
    assert bench.state.reservations == ()
    assert bench.reserve(2, connector_id=1).status == "Unavailable"


@pytest.mark.parametrize("power_fails", [False, True])
def test_whenever_the_service_dies_what_was_answered_holds(tmp_path: Path, power_fails: bool) -> None:
    """Field report 50: at each effect of the command."""
    lives, finished, outcomes = 0, False, set()
    while not finished:
        directory = tmp_path / str(lives)
        directory.mkdir()
        world = World(directory)
        world.lives[0] = lives
        replies = world.call(OutOfService(True))
        finished, lives = world.deaths == 0, lives + 1
        answered = any(isinstance(reply, Reply) and reply.error is None for reply in replies)
        world.lives[0] = 10**9
        if power_fails:
            world.boot_id = "boot-2"
            world.kill()
        world.advance(3.0)
        shown = world.shown()
        assert shown is not None
        assert shown.status == "Unavailable" or not answered
        assert (shown.out_of_service_since is not None) == (shown.status == "Unavailable")
        outcomes.add((str(shown.status), answered))
    assert outcomes == {("Available", False), ("Unavailable", False), ("Unavailable", True)}


def test_a_row_of_an_older_release_means_in_service(tmp_path: Path) -> None:
    """Additive: a row without the new fact is read, and one with it is for who does not know it."""
    database = open_database(str(tmp_path / "connectors.db"))
    store = Store(database)
    database.execute("""INSERT INTO availability VALUES (1, '{"operative":false}')""")
    known = store.load().availability[1]
    database.close()
    assert (known.operative, known.out_of_service_since) == (False, None)
