"""ConnectionTimeOut on either side: a card without a plug, and a plug without a card (OCPP 1.6 §4.9, §9.1.6, errata v4.0)."""

import pytest

from bus.messages import IdTagInfo
from bus.vocabulary import AuthorizationStatus
from services.connectors.state import Settings
from tests.connectors.bench import REFUSED, Bench
from tests.connectors.plant import GROUND_FAULT

UNATTENDED = ["Available", "Preparing", "Finishing"]


@pytest.mark.parametrize("who", ["card", "remote"])
def test_an_authorization_without_a_plug_goes_back_to_available_after_its_time(who: str) -> None:
    """Errata v4.0 3.21, 3.76, 3.87: from the beginning of Preparing; B1."""
    bench = Bench(settings=Settings(connection_time_out_s=30))
    bench.card() if who == "card" else bench.remote_start("APP", 1)
    bench.advance(29.9)
    assert bench.status() == "Preparing"
    bench.advance(0.2)
    assert bench.history() == ["Available", "Preparing", "Available"]
    bench.plug_in()
    bench.advance(5)
    assert bench.transactions == []


def test_a_plug_without_a_card_goes_on_to_finishing_after_the_time() -> None:
    """Errata v4.0 3.20, B6; F1 when the plug is out."""
    bench = Bench(settings=Settings(connection_time_out_s=30))
    bench.plug_in()
    bench.advance(29.8)
    assert bench.status() == "Preparing"
    bench.advance(0.3)
    assert bench.history() == UNATTENDED
    bench.advance(600)
    bench.unplug()
    assert bench.history() == [*UNATTENDED, "Available"]


@pytest.mark.parametrize("who", ["card", "remote"])
def test_a_session_can_begin_there_later(who: str) -> None:
    """OCPP 1.6 §4.9, F2; field report 26."""
    bench = Bench()
    bench.plug_in()
    bench.advance(61)
    bench.card() if who == "card" else bench.remote_start("APP")
    bench.advance(5)
    assert bench.history() == [*UNATTENDED, "Preparing", "Charging"]


def test_the_next_drivers_card_does_not_pay_for_a_car_that_somebody_left_there() -> None:
    """Errata v4.0 3.20: the reason for B6, two connectors and one reader."""
    bench = Bench(connectors=2)
    bench.plug_in(1)
    bench.advance(61)
    bench.card()
    bench.advance(5)
    assert bench.transactions == []
    bench.plug_in(2)
    bench.advance(5)
    assert (bench.status(1), bench.status(2)) == ("Finishing", "Charging")


def test_it_is_still_finishing_after_a_restart() -> None:
    """Design §2: a restart of this service is nothing that a Central System should hear of."""
    bench = Bench()
    bench.plug_in()
    bench.advance(61)
    said = len(bench.audit.statuses[1])
    bench.restart()
    bench.advance(5)
    assert {state.status for state in bench.audit.statuses[1][said:]} == {"Finishing"}


def test_a_refused_card_gives_the_driver_the_time_once_more() -> None:
    """B6 is for a user who presents no idTag; this one did."""
    bench = Bench()
    bench.authorize = lambda _: None
    bench.plug_in()
    bench.advance(50)
    bench.card()
    bench.advance(20)
    assert bench.status() == "Preparing"
    bench.answer_authorize(REFUSED)
    bench.advance(59)
    assert bench.status() == "Preparing"
    bench.advance(2)
    assert bench.status() == "Finishing"


def test_a_card_that_is_being_asked_about_at_the_end_of_the_time_still_starts() -> None:
    bench = Bench()
    bench.authorize = lambda _: None
    bench.plug_in()
    bench.advance(59)
    bench.card()
    bench.advance(3)
    bench.answer_authorize(IdTagInfo(AuthorizationStatus.ACCEPTED))
    bench.advance(5)
    assert bench.history() == ["Available", "Preparing", "Charging"]


def test_a_changed_time_counts_at_once_and_none_never_ends() -> None:
    """OCPP 1.6 §9.1.6; field report 24. Choice: 0 is off."""
    bench = Bench()
    bench.plug_in()
    bench.advance(30)
    bench.settings(connection_time_out_s=0)
    bench.advance(600)
    assert bench.status() == "Preparing"
    bench.settings(connection_time_out_s=20)
    bench.advance(0.1)
    assert bench.status() == "Finishing"


def test_the_time_does_not_run_while_nobody_could_charge() -> None:
    """OCPP 1.6 §4.9, I2: a fault gives Preparing back."""
    bench = Bench()
    bench.plug_in()
    bench.advance(30)
    bench.plants[1].faults = (GROUND_FAULT,)
    bench.advance(100)
    bench.plants[1].faults = ()
    bench.advance(50)
    assert bench.history() == ["Available", "Preparing", "Faulted", "Preparing"]
    bench.advance(11)
    assert bench.status() == "Finishing"


def test_a_connector_that_is_in_use_again_gives_the_time_from_then_on() -> None:
    """OCPP 1.6 §4.9, H2, then B6."""
    bench = Bench()
    bench.plug_in()
    bench.change_availability(1, "Inoperative")
    bench.advance(100)
    bench.change_availability(1, "Operative")
    bench.advance(59)
    assert bench.status() == "Preparing"
    bench.advance(2)
    assert bench.status() == "Finishing"
