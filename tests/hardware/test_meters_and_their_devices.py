"""Each meter's table in the driver against the virtual meter of that model: two readings of hardware.md §4 that must agree."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from services.configuration.model import METER_BAUDS, METER_PHASES, Meter
from services.hardware.contract import MeterDesired, NoAnswer, RawReading
from services.meter.drivers import meter_driver
from services.simulator import meters, settings
from services.simulator.eastron import Measured
from services.simulator.meter_server import MeterServer
from tests.hardware.peers import PtyPeer

MakePeer = Callable[..., PtyPeer]
NOW = MeterDesired(math.inf)


class VirtualMeter:
    """A virtual meter behind pymodbus's server, as a device that answers bytes."""

    def __init__(self, model: str, unit: int = 1) -> None:
        self.phases = METER_PHASES[model]
        self.meter = meters.MODELS[model](model, unit)
        self.register_wh = 1_234_567.0
        self.amps = 16.0
        self._time_s = 0.0

    def __call__(self, data: bytes) -> bytes:
        return asyncio.run(self._answer(data))

    async def _answer(self, data: bytes) -> bytes:
        replies: list[bytes] = []
        server = MeterServer(self.meter, measure=self._measure, write=replies.append)
        self._time_s += 1.0
        server.receive(data, self._time_s)
        for _ in range(10):
            await asyncio.sleep(0)
        return b"".join(replies)

    def _measure(self) -> Measured:
        return Measured(
            voltages_v=(230.4,) * self.phases,
            currents_a=(self.amps,) * self.phases,
            frequency_hz=50.0,
            energy_wh=self.meter.shown_wh(self.register_wh),
            serial=24110001,
        )


def reading(make: MakePeer, device: VirtualMeter, model: str) -> RawReading:
    driver = meter_driver(Meter(driver=model, port="", baud=METER_BAUDS[model]), make(device).path)
    driver.open()
    (found,) = driver.exchange(NOW)
    driver.close()
    return found


def test_every_model_of_station_toml_has_a_table_and_a_virtual_meter() -> None:
    assert set(METER_BAUDS) == set(METER_PHASES) == set(meters.MODELS) == set(settings.METER_PHASES)


@pytest.mark.parametrize("model", METER_BAUDS)
def test_driver_and_device_agree_on_every_value(peer: MakePeer, model: str) -> None:
    device = VirtualMeter(model)
    found = reading(peer, device, model)
    phases = device.phases
    assert found.energy_import_wh == device.meter.shown_wh(device.register_wh)
    assert abs(found.energy_import_wh - device.register_wh) <= 100
    assert found.voltages_v == pytest.approx((230.4,) * phases)
    assert found.currents_a == pytest.approx((16.0,) * phases)
    assert found.powers_w == pytest.approx((3686.4,) * phases)
    assert found.power_w == pytest.approx(3686.4 * phases)
    assert found.frequency_hz == pytest.approx(50.0)
    assert found.power_factor == pytest.approx(1.0)
    assert found.energy_export_wh == 0


@pytest.mark.parametrize("model", METER_BAUDS)
def test_an_idle_meter_says_zero_and_not_nothing(peer: MakePeer, model: str) -> None:
    """Field report §2.12."""
    device = VirtualMeter(model)
    device.amps, device.register_wh = 0.0, 0.0
    found = reading(peer, device, model)
    assert (found.energy_import_wh, found.power_w) == (0, 0.0)
    assert found.currents_a == (0.0,) * device.phases


@pytest.mark.parametrize("model", METER_BAUDS)
def test_a_meter_with_another_address_is_not_taken_for_ours(peer: MakePeer, model: str) -> None:
    with pytest.raises(NoAnswer, match=r"no meter answers .* as unit 1"):
        reading(peer, VirtualMeter(model, unit=9), model)


def test_an_abb_meter_on_one_phase_tells_one_phase(peer: MakePeer) -> None:
    device: Any = VirtualMeter("abb-b23")
    device.phases = 1
    found = reading(peer, device, "abb-b23")
    assert (found.voltages_v, found.currents_a) == (pytest.approx((230.4,)), pytest.approx((16.0,)))
