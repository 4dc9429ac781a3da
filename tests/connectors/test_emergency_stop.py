"""The emergency stop until it is read for the first time, and beyond: nothing closes, nothing opens for a mere restart."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from bus.messages import StopTransaction
from bus.vocabulary import Reason
from services.connectors import __main__ as process
from services.connectors import events as e
from services.hardware.contract import EvseDesired, EvseObservation
from tests.connectors.bench import Bench
from tests.connectors.plant import GROUND_FAULT
from tests.connectors.test_no_unauthorized_current import SafetyWorld

PRESSED, RELEASED = e.EmergencyStopChanged(True), e.EmergencyStopChanged(False)


def charging() -> Bench:
    """A car charges at a station with an emergency stop."""
    bench = Bench(emergency_stop_fitted=True)
    bench.feed(RELEASED)
    bench.plug_in()
    bench.card()
    bench.advance(30)
    assert bench.status() == "Charging"
    return bench


def test_a_restart_leaves_a_session_as_it_is_until_the_emergency_stop_is_read_and_then_it_goes_on() -> None:
    """Design §2: the end of the service, and its start, leave the controller's output as it is."""
    bench = charging()
    shown = len(bench.history())
    bench.restart()
    before = len(bench.effects)
    bench.advance(2)
    assert not any(isinstance(effect, e.SetEvse) for effect in bench.effects[before:]), "nobody knows whether it is pressed"
    assert (bench.plants[1].relay_closed, bench.plants[1].openings_under_load) == (True, 0)
    bench.feed(RELEASED)
    bench.advance(2)
    assert bench.plants[1].desired.energy_allowed
    assert (bench.status(), bench.history()[shown:]) == ("Charging", []), "nothing else was shown meanwhile"
    assert "emergency stop released" not in bench.notes()
    assert len(bench.transactions) == 1


def test_a_contactor_that_the_guard_has_opened_closes_only_when_the_emergency_stop_is_read() -> None:
    bench = charging()
    bench.plants[1].desired = EvseDesired()
    bench.restart(away_s=30.0)
    bench.advance(5)
    assert not bench.plants[1].relay_closed
    bench.feed(RELEASED)
    bench.advance(5)
    assert bench.plants[1].relay_closed


@pytest.mark.parametrize("heard", [False, True], ids=["before the controller", "after the controller"])
def test_an_emergency_stop_that_is_pressed_at_the_first_reading_ends_the_transaction(heard: bool) -> None:
    """Or that can't be read for its given time (`services.hardware.link`): that counts as pressed."""
    bench = charging()
    bench.restart()
    if heard:
        bench.advance(1)
    before = len(bench.effects)
    bench.feed(PRESSED)
    kinds = [type(effect) for effect in bench.effects[before:] if isinstance(effect, e.SetEvse | e.Commit)]
    assert kinds[:2] == [e.SetEvse, e.Commit]
    bench.advance(10)
    assert not bench.plants[1].relay_closed
    assert bench.stop_message().reason is Reason.EMERGENCY_STOP


@pytest.mark.parametrize(("first", "begun"), [(RELEASED, 1), (PRESSED, 0)], ids=["released", "pressed"])
def test_a_session_begins_only_when_the_emergency_stop_is_read(first: e.Event, begun: int) -> None:
    bench = Bench(emergency_stop_fitted=True)
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert (bench.transactions, bench.status()) == ([], "Preparing")
    bench.feed(first)
    bench.advance(5)
    bench.feed(RELEASED)
    bench.advance(5)
    assert len(bench.transactions) == begun


def test_a_fault_takes_energy_away_although_the_emergency_stop_was_not_read_yet() -> None:
    bench = charging()
    bench.restart()
    bench.plants[1].faults = (GROUND_FAULT,)
    bench.advance(1)
    assert not bench.plants[1].desired.energy_allowed


@pytest.mark.parametrize("fitted", [True, False])
def test_the_process_waits_for_the_first_reading_where_there_is_one_to_come(
    monkeypatch: pytest.MonkeyPatch, fitted: bool
) -> None:
    """The first word of the input is handed on, be it that nothing is pressed."""
    boards: list[Any] = []
    service = MagicMock()
    monkeypatch.setattr(process, "Fleet", MagicMock())
    monkeypatch.setattr(process, "Timer", MagicMock())
    monkeypatch.setattr(process, "read_configuration", MagicMock())
    monkeypatch.setattr(process, "ConnectorsService", lambda board, *_, **__: boards.append(board) or service)
    monkeypatch.setattr(process, "emergency_stop_contact", lambda *_, **__: MagicMock() if fitted else None)
    config = MagicMock(connectors=())
    made = process.ConnectorsProcess(MagicMock(process=SimpleNamespace(state_dir="", virtual=True)), config)
    assert boards[0].emergency_stop_fitted is fitted
    made._stop_pressed(False)
    made._stop_pressed(False)
    assert service.feed.call_args_list == [((RELEASED,),)]


def test_the_emergency_stop_opens_at_once_and_an_ordinary_stop_withdraws() -> None:
    """hardware.md §3.1: opening without waiting for the vehicle is for emergencies only."""
    bench = charging()
    bench.card()
    assert bench.plants[1].desired == EvseDesired()
    bench.feed(PRESSED)
    assert bench.plants[1].desired == EvseDesired(at_once=True)
    bench.advance(5)
    bench.feed(RELEASED)
    assert bench.plants[1].desired == EvseDesired()


def test_a_stop_that_is_under_way_is_hurried_up_before_anything_is_written() -> None:
    bench = Bench(2, emergency_stop_fitted=True)
    bench.feed(RELEASED)
    bench.plug_in()
    bench.card()
    bench.card("OTHER")
    bench.advance(30)
    bench.card()
    before = len(bench.effects)
    bench.feed(PRESSED)
    kinds = [type(effect) for effect in bench.effects[before:] if isinstance(effect, e.SetEvse | e.Commit)]
    assert kinds == [e.SetEvse, e.SetEvse, e.Commit]


def test_a_press_that_a_silent_controller_could_not_hear_opens_it_at_once_all_the_same() -> None:
    bench = charging()
    bench.plants[1].answers = False
    bench.advance(1)
    bench.feed(PRESSED)
    bench.feed(RELEASED)
    assert bench.connector().commanded == EvseDesired(at_once=True)
    bench.plants[1].answers = True
    bench.advance(3)
    assert bench.connector().commanded == EvseDesired()


def test_a_controller_that_was_left_disabled_is_told_to_look_again_and_its_transaction_ends_or_goes_on() -> None:
    """The process died between `$FD` and `$FS`, before its commit; the emergency stop is released by now."""
    bench = charging()
    bench.restart()
    blind = EvseObservation(control_pilot="F", plugged=None, offering=False, relay_closed=False, limit_a=16.0)
    bench.feed(e.EvseObserved(1, blind))
    assert not bench.plants[1].desired.energy_allowed
    bench.feed(RELEASED)
    bench.advance(5)
    assert bench.status() == "Charging"


@pytest.mark.parametrize("driver", ["openevse", "evsewb"])
def test_a_contactor_opens_within_a_second_under_a_vehicle_that_holds_on(tmp_path: Path, driver: str) -> None:
    """Real service, real driver, virtual controller (acceptance 4): `$FS` and register 1000 alone give it three seconds."""
    world = SafetyWorld(tmp_path, driver)
    world.do("plug-in")
    world.card()
    world.advance(30)
    assert world.line.connector.contactor.closed
    world.line.connector.car.holds_on = True
    assert world.service is not None
    pressed_s = world.now_s
    world.service.feed(PRESSED)
    world.advance(10)
    opened_s, change = world.line.connector.contactor.history[-1][:2]
    assert (change, opened_s - pressed_s < 1.0) == ("opened", True)
    stop = world.queue.entries[-1].message
    assert isinstance(stop, StopTransaction)
    assert stop.reason is Reason.EMERGENCY_STOP
    world.service.feed(RELEASED)
    world.advance(2)
    shown = world.shown()
    assert shown is not None
    assert (shown.status, shown.plugged) == ("Finishing", True)
    world.database.close()
