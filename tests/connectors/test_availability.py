"""ChangeAvailability: at once or after the transaction, over restarts and power cuts, told once (OCPP 1.6 §5.2, §4.9)."""

import pytest

from bus.vocabulary import ChargePointStatus
from services.connectors import events as e
from services.connectors.state import Idle
from tests.connectors.bench import WHOLE, Bench, charging
from tests.connectors.plant import GROUND_FAULT


def test_an_idle_connector_changes_at_once_and_back() -> None:
    """OCPP 1.6 §4.9 A8, H1; connector 0 has no direct connection to the others."""
    bench = Bench(connectors=2)
    assert bench.change_availability(1, "Inoperative") == "Accepted"
    assert [bench.status(number) for number in range(3)] == ["Available", "Unavailable", "Available"]
    assert bench.change_availability(1, "Operative") == "Accepted"
    assert bench.history() == ["Available", "Unavailable", "Available"]


def test_the_same_state_again_is_accepted_and_writes_nothing() -> None:
    """OCPP 1.6 §5.2: "a status it is already in"."""
    bench = Bench()
    assert bench.change_availability(1, "Operative") == "Accepted"
    assert bench.change_availability(0, "Operative") == "Accepted"
    assert bench.commits == 1, "only that the station was accepted once"
    for _ in range(2):
        assert bench.change_availability(1, "Inoperative") == "Accepted"
    assert bench.commits == 2


def test_an_unknown_connector_is_rejected() -> None:
    bench = Bench()
    assert bench.change_availability(2, "Inoperative") == "Rejected"
    assert bench.history() == ["Available"]


def test_the_change_is_on_disk_before_it_is_answered() -> None:
    """Field report 50."""
    bench = Bench()
    before = len(bench.effects)
    bench.change_availability(0, "Inoperative")
    kinds = [type(effect) for effect in bench.effects[before:]]
    assert kinds.index(e.Commit) < kinds.index(e.Answer) < kinds.index(e.PublishConnector)


def test_connector_0_means_the_charge_point_and_every_connector() -> None:
    """OCPP 1.6 §5.2: whatever was commanded of each before."""
    bench = Bench(connectors=2)
    bench.change_availability(1, "Inoperative")
    assert bench.change_availability(0, "Inoperative") == "Accepted"
    assert [bench.status(number) for number in range(3)] == ["Unavailable"] * 3
    assert bench.change_availability(0, "Operative") == "Accepted"
    assert [bench.status(number) for number in range(3)] == ["Available"] * 3


def test_a_connector_can_be_used_again_while_the_charge_point_itself_is_not() -> None:
    """OCPP 1.6 §4.9: the status of connector 0 has no direct connection to the others; the newest command counts."""
    bench = Bench(connectors=2)
    bench.change_availability(0, "Inoperative")
    assert bench.change_availability(1, "Operative") == "Accepted"
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert [bench.status(number) for number in range(3)] == ["Unavailable", "Charging", "Unavailable"]


@pytest.mark.parametrize("number", [0, 1])
def test_during_a_transaction_the_change_is_scheduled_and_told_when_that_is_over(number: int) -> None:
    """OCPP 1.6 §5.2, §7.3; field report 42: no Available in between."""
    bench = charging()
    for _ in range(2):
        assert bench.change_availability(number, "Inoperative") == "Scheduled"
    bench.advance(5)
    assert (bench.status(), bench.status(0)) == ("Charging", "Available")
    bench.card()
    bench.advance(3)
    assert bench.history() == [*WHOLE[:4], "Unavailable"]
    bench.unplug()
    bench.advance(3)
    assert bench.history() == [*WHOLE[:4], "Unavailable"]
    assert bench.status(0) == ("Unavailable" if number == 0 else "Available")


def test_with_connector_0_those_who_do_not_charge_change_at_once() -> None:
    """OCPP 1.6 §5.2; as errata v4.0 3.49 advises for a similar wait."""
    bench = charging(connectors=2)
    assert bench.change_availability(0, "Inoperative") == "Scheduled"
    assert [bench.status(number) for number in range(3)] == ["Available", "Charging", "Unavailable"]
    bench.unplug()
    bench.advance(3)
    assert [bench.status(number) for number in range(3)] == ["Unavailable"] * 3
    assert "Available" not in bench.history()[1:]


def test_operative_takes_a_scheduled_change_back() -> None:
    """OCPP 1.6 §5.2: it is in that state already."""
    bench = charging()
    bench.change_availability(0, "Inoperative")
    assert bench.change_availability(0, "Operative") == "Accepted"
    bench.card()
    bench.advance(3)
    bench.unplug()
    assert bench.history() == WHOLE
    assert bench.status(0) == "Available"


@pytest.mark.parametrize("restart", [Bench.restart, Bench.power_cut])
def test_what_was_commanded_outlives_restart_and_power_cut(restart: object) -> None:
    """OCPP 1.6 §4.9, §5.2: persistent across reboots."""
    bench = Bench(connectors=2)
    bench.change_availability(2, "Inoperative")
    restart(bench)  # type: ignore[operator]
    bench.advance(3)
    assert [bench.status(number) for number in range(3)] == ["Available", "Available", "Unavailable"]
    bench.change_availability(2, "Operative")
    restart(bench)  # type: ignore[operator]
    bench.advance(3)
    assert bench.status(2) == "Available"


@pytest.mark.parametrize("restart", [Bench.restart, Bench.power_cut])
def test_a_scheduled_change_outlives_restart_and_power_cut(restart: object) -> None:
    """Field report 50: lost or odd after reboot."""
    bench = charging()
    bench.change_availability(0, "Inoperative")
    before = len(bench.audit.statuses[1])
    restart(bench)  # type: ignore[operator]
    bench.advance(5)
    if bench.status() == "Charging":
        bench.card()
        bench.advance(3)
    assert (bench.status(), bench.status(0)) == ("Unavailable", "Unavailable")
    assert ChargePointStatus.AVAILABLE not in [said.status for said in bench.audit.statuses[1][before:]]
    assert len(bench.transactions) == 1


@pytest.mark.parametrize("first", ["plug", "card"])
def test_whoever_waits_is_sent_away_and_nothing_begins(first: str) -> None:
    """OCPP 1.6 §5.2: it "does not allow any charging"; Preparing to Unavailable is our choice."""
    bench = Bench()
    bench.plug_in() if first == "plug" else bench.card()
    assert bench.change_availability(1, "Inoperative") == "Accepted"
    assert bench.history() == ["Available", "Preparing", "Unavailable"]
    bench.card() if first == "plug" else bench.plug_in()
    bench.advance(5)
    assert bench.remote_start("APP", 1).reason == "connector 1 is busy, faulted or unavailable"
    assert bench.remote_start("APP").reason == "no connector is free"
    assert (bench.status(), bench.transactions) == ("Unavailable", [])


def test_a_card_is_not_even_asked_about_where_nothing_is_in_use() -> None:
    bench = Bench()
    bench.change_availability(0, "Inoperative")
    bench.card()
    assert not any(isinstance(effect, e.AskAuthorize) for effect in bench.effects)


def test_an_authorization_for_any_connector_ends_only_when_none_is_left() -> None:
    bench = Bench(connectors=2)
    bench.card()
    assert bench.change_availability(1, "Inoperative") == "Accepted"
    assert len(bench.state.waiting) == 1
    bench.change_availability(2, "Inoperative")
    assert bench.state.waiting == ()


def test_a_start_that_awaits_its_reading_does_not_happen() -> None:
    """It is no transaction yet, so the change is not scheduled."""
    bench = Bench()
    bench.plants[1].meter_answers = False
    bench.plug_in()
    bench.card()
    assert bench.change_availability(1, "Inoperative") == "Accepted"
    bench.plants[1].meter_answers = True
    bench.advance(5)
    assert bench.transactions == []
    assert not bench.plants[1].desired.energy_allowed


@pytest.mark.parametrize("restarted", [False, True])
def test_a_cable_that_is_still_in_when_it_is_in_use_again_is_preparing(restarted: bool) -> None:
    """OCPP 1.6 §4.9, H2; there is no way from Unavailable to Finishing."""
    bench = charging()
    bench.change_availability(1, "Inoperative")
    bench.card()
    bench.advance(3)
    if restarted:
        bench.restart()
        bench.change_availability(1, "Operative")
        bench.advance(1)
    else:
        bench.change_availability(1, "Operative")
    assert bench.status() == "Preparing"
    assert isinstance(bench.connector().phase, Idle)
    bench.card("NEXT")
    bench.advance(5)
    assert bench.status() == "Charging"


def test_a_fault_overlays_unavailable_and_gives_it_back() -> None:
    """OCPP 1.6 §4.9, H9 and I8; A8 below a fault shows when that is gone."""
    bench = Bench()
    bench.change_availability(1, "Inoperative")
    bench.plants[1].faults = (GROUND_FAULT,)
    bench.advance(1)
    assert bench.status() == "Faulted"
    bench.change_availability(1, "Operative")
    bench.change_availability(1, "Inoperative")
    bench.plants[1].faults = ()
    bench.advance(1)
    assert bench.history() == ["Available", "Unavailable", "Faulted", "Unavailable"]


def test_the_charge_point_is_faulted_by_the_emergency_stop_and_unavailable_again_after_it() -> None:
    """OCPP 1.6 §4.9: connector 0 is Available, Unavailable or Faulted."""
    bench = Bench()
    bench.change_availability(0, "Inoperative")
    bench.feed(e.EmergencyStopChanged(True))
    assert bench.status(0) == "Faulted"
    bench.feed(e.EmergencyStopChanged(False))
    assert (bench.status(0), bench.status()) == ("Unavailable", "Unavailable")
