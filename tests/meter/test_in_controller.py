"""A meter that is part of the charging controller: raw readings come over the bus, and are judged (design §2)."""

import pytest

from bus.device_messages import ControllerReading
from services.meter.in_controller import MetersInControllers
from tests.meter.test_service import World


class InController(World):
    """As a meter's world, but the readings come from the connectors service."""

    def __init__(self) -> None:
        super().__init__()
        self.source = MetersInControllers(self.meter, [1], self.service.feed)

    def count(self, energy_wh: int) -> None:
        """The controller was read, now."""
        self.asker.publish(ControllerReading(1, self.now_s, energy_wh, 3680.0, 230.0, 16.0), "1")
        self.deliver()


@pytest.fixture
def world() -> InController:
    return InController()


def test_readings_of_a_controller_are_trusted_as_those_of_a_meter(world: InController) -> None:
    world.count(1000)
    assert world.samples == [], "the first reading waits to be confirmed (field report 36)"
    world.later(1.0)
    world.count(1001)
    (sample,) = world.samples
    assert (sample.energy_import_wh, sample.power_w, sample.voltages_v, sample.currents_a) == (1001, 3680.0, (230.0,), (16.0,))


def test_what_the_bus_repeats_confirms_nothing(world: InController) -> None:
    """A state is refreshed by its owner; one reading stays one reading."""
    world.count(1000)
    for _ in range(3):
        world.later(0.9)
    assert world.samples == []


def test_a_register_that_lost_its_session_is_another_meter_once_it_is_confirmed(world: InController) -> None:
    """hardware.md §3.1 `$GU`: a power cut in mid-session loses what is not in the EEPROM yet."""
    for energy_wh in (5000, 5001, 4000, 4001, 4002):
        world.count(energy_wh)
        world.later(1.0)
    told = {sample.read_boottime_s: (sample.energy_import_wh, sample.replacements) for sample in world.samples}
    assert list(told.values()) == [(5001, 0), (4002, 1)]


def test_a_controller_that_does_not_answer_is_a_meter_failure(world: InController) -> None:
    world.count(1000)
    world.later(1.0)
    world.count(1000)
    world.asker.publish(ControllerReading(1, failure="controller does not answer"), "1")
    world.deliver()
    for _ in range(6):
        world.later(1.0)
    assert world.states[-1].failure == "controller does not answer"
    for _ in range(2):
        world.count(1000)
        world.later(1.0)
    assert world.states[-1].failure == ""


def test_a_silent_connectors_service_is_a_meter_failure(world: InController) -> None:
    for _ in range(2):
        world.count(1000)
        world.later(1.0)
    for _ in range(10):
        world.now_s += 1.0
        world.meter.tick()
        world.service.tick()
    for frame in world.meter.take_outgoing():
        world.asker.receive(list(frame))
    assert "the connectors service, which reads the meter in the controller, is down" in world.states[-1].failure
