"""OpenEVSE as the meter of its connector: `$GU` and `$GG` as readings (hardware.md §3.1)."""

from collections.abc import Callable

import pytest

from services.connectors.drivers import openevse_states as states
from services.connectors.drivers.openevse import OpenEvse
from services.hardware.contract import EvseDesired, RawReading
from tests.hardware.peers import PtyPeer
from tests.hardware.virtual_evse import OFF, STEP_S, Pair, offer

MakePeer = Callable[..., PtyPeer]


def readings(pair: Pair, seconds: float, desired: EvseDesired = OFF) -> list[RawReading]:
    found = []
    for _ in range(round(seconds / STEP_S)):
        seen = pair.run(STEP_S, desired)
        if seen.reading is not None and seen.reading not in found:
            found.append(seen.reading)
    return found


@pytest.fixture
def pair(peer: MakePeer) -> Pair:
    pair = Pair(peer, "openevse", is_meter=True)
    pair.board.eeprom.energy_wh = 1_000_000
    return pair.opened()


def test_a_controller_without_the_task_tells_no_readings(peer: MakePeer) -> None:
    assert readings(Pair(peer, "openevse").opened(), 3.0) == []


def test_it_is_read_every_second_while_idle_too(pair: Pair) -> None:
    found = readings(pair, 4.0)
    assert len(found) >= 3
    assert {reading.energy_import_wh for reading in found} == {1_000_000}
    assert found[-1].read_boottime_s == pytest.approx(pair.now(), abs=STEP_S + 1.0)


def test_the_register_goes_on_through_a_session_and_beyond_the_plug(pair: Pair) -> None:
    """The session's energy joins the total only at unplugging, and its own count stays there: nothing counts twice."""
    pair.plug_in()
    found = readings(pair, 20.0, offer(32.0))
    assert found[-1].power_w == pytest.approx(230.0 * 16.0, rel=0.01)
    pair.plug_out()
    found += readings(pair, 3.0)
    pair.plug_in()
    found += readings(pair, 10.0, offer(32.0))
    registers = [reading.energy_import_wh for reading in found]
    assert registers == sorted(registers)
    assert registers[-1] - 1_000_000 == pytest.approx(pair.connector.register.wh, abs=3.0)
    assert pair.connector.register.wh > 15.0


def test_a_controller_without_an_ammeter_gives_none() -> None:
    """Current -1: nothing is measured, and nothing may be billed by it."""
    assert states.reading(("0", "5"), ("-1", "230000"), plugged=True, asked_s=1.0) is None


def test_the_counters_become_units_of_the_bus() -> None:
    found = states.reading(("3600000", "1234567"), ("16000", "230000"), plugged=True, asked_s=7.0)
    assert found == RawReading(7.0, "", 1_235_567, None, 3680.0, (230.0,), (16.0,), (3680.0,))
    assert isinstance(OpenEvse("nowhere", is_meter=True), OpenEvse)
