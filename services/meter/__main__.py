"""The meter process: `python -m services.meter`.

Owns: the meters' ports, but of those that are part of a charging controller. Does not: judge readings (`quality.py`).
Topics: publishes meter.sample., meter.state.; answers call.meter.read.; reads
connector.reading.
"""

import os

from bus.clock import boottime_s
from bus.runtime import Runtime, run
from services.configuration.at_start import load_for
from services.configuration.model import StationConfig
from services.hardware.contract import MeterDesired
from services.hardware.fleet import Fleet
from services.meter import quality
from services.meter.drivers import meter_driver
from services.meter.in_controller import MetersInControllers
from services.meter.service import MeterService


class MeterProcess:
    """The service with its meters: what the runtime feeds."""

    def __init__(self, runtime: Runtime, config: StationConfig) -> None:
        self._fleet: Fleet[MeterDesired] = Fleet(runtime, "meter")
        for connector in config.connectors:
            if connector.meter_in_evse:
                continue
            meter = connector.meter
            port = os.path.join(runtime.process.state_dir, meter.port)
            self._fleet.add(connector.id, meter_driver(meter, port), name=meter.driver, port=meter.port, shared=meter.shared)
        supply = config.supply
        power_w_max = supply.max_current_a * supply.phases * supply.voltage_v
        watts = {connector.id: power_w_max for connector in config.connectors}
        service = MeterService(runtime.node, self._fleet, runtime.log, watts)
        self._service = service
        in_evse = [connector.id for connector in config.connectors if connector.meter_in_evse]
        self._in_controllers = MetersInControllers(runtime.node, in_evse, service.feed)
        self._fleet.start(
            observed=lambda number, reading: service.feed(number, quality.ReadingTaken(reading)),
            down=lambda number, reason: service.feed(number, quality.MeterDown(reason)),
            up=lambda number: service.feed(number, quality.MeterUp()),
        )

    def tick(self) -> None:
        """Time passed."""
        self._fleet.tick(boottime_s())
        self._service.tick()

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        due_s = self._service.next_deadline_s()
        return self._fleet.next_deadline_s() if due_s is None else min(due_s, self._fleet.next_deadline_s())

    def close(self) -> None:
        """Stop the threads."""
        self._fleet.close()


def build(runtime: Runtime) -> MeterProcess:
    """The process as the runtime wants it."""
    return MeterProcess(runtime, load_for(runtime))


if __name__ == "__main__":
    raise SystemExit(run("meter", build))
