"""Drivers of energy meters, by the names that station.toml uses."""

from services.configuration.model import Meter
from services.hardware.contract import Driver, MeterDesired, RawReading


def meter_driver(meter: Meter, port: str) -> Driver[MeterDesired, RawReading]:
    """The driver of a meter; its name was checked when station.toml was read."""
    from services.configuration.model import METER_BAUDS

    if meter.driver not in METER_BAUDS:
        from services.hardware import outside

        found: Driver[MeterDesired, RawReading] = outside.made("meter", meter.driver, meter, port)
        return found
    from services.hardware.modbus import Wire
    from services.meter.drivers.modbus import ModbusMeter
    from services.meter.drivers.models import MODELS

    return ModbusMeter(Wire("meter", port, meter.baud, meter.parity, meter.unit, meter.shared), MODELS[meter.driver])
