"""A contactor that is stuck closed is found by what it does, whatever its controller says (hardware.md §3.4; OCPP 1.6 §7.6)."""

from pathlib import Path

import pytest

from bus.vocabulary import ChargePointErrorCode, ChargePointStatus
from services.connectors.observations import STUCK_S
from tests.connectors.world import World

FLOWS = {"power_w": 3680.0}
RESTS = {"power_w": 0.0}
MARGIN_S = 3.0


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.plants[1].plug_in()
    world.advance(2.0)
    return world


def shown(world: World) -> tuple[ChargePointStatus, ChargePointErrorCode, str]:
    state = world.shown()
    assert state is not None
    return state.status, state.error_code, state.vendor_error_code


def test_power_without_permission_is_a_power_switch_failure_until_it_ends(world: World) -> None:
    """EVSE-WB does not look at its contactor: the meter does."""
    world.plants[1].measured = FLOWS
    world.advance(STUCK_S - MARGIN_S)
    assert shown(world)[0] is ChargePointStatus.PREPARING
    world.advance(2 * MARGIN_S)
    assert shown(world) == (ChargePointStatus.FAULTED, ChargePointErrorCode.POWER_SWITCH_FAILURE, "contactor-stuck")
    world.card()
    world.advance(3.0)
    assert world.plants[1].desired.energy_allowed is False, "no session begins on a stuck contactor"
    world.plants[1].measured = RESTS
    world.advance(MARGIN_S)
    assert shown(world)[1] is ChargePointErrorCode.NO_ERROR


def test_what_a_session_draws_is_no_failure_and_its_end_has_time(world: World) -> None:
    world.plants[1].measured = FLOWS
    world.card()
    world.advance(3 * STUCK_S)
    assert shown(world)[:2] == (ChargePointStatus.CHARGING, ChargePointErrorCode.NO_ERROR)
    world.card()
    world.advance(STUCK_S - MARGIN_S)
    world.plants[1].measured = RESTS
    world.advance(STUCK_S)
    assert shown(world)[:2] == (ChargePointStatus.FINISHING, ChargePointErrorCode.NO_ERROR)


def test_a_meter_that_has_fallen_silent_accuses_nobody(world: World) -> None:
    world.plants[1].measured = FLOWS
    world.advance(2.0)
    world.plants[1].meter_answers = False
    world.advance(3 * STUCK_S)
    assert shown(world)[1] is not ChargePointErrorCode.POWER_SWITCH_FAILURE
