"""Asks the devices of a station that does not run, by its own drivers: `open` of a driver finds out who is there and changes no
output.

Owns: which drivers, one after the other. Does not: know what they are for, or come near a port that somebody holds: they open
it for themselves alone.
"""

from collections.abc import Iterator
from typing import Any

from services.configuration.model import StationConfig
from services.configuration.station import load
from services.hardware.contract import DeviceError, Driver
from services.hardware.fleet import identity
from services.station.facts import DeviceReport


def ask_all(config_path: str) -> list[DeviceReport]:
    """What each configured device says. Raises ConfigurationError."""
    return [_asked(name, driver, made, port) for name, driver, made, port in _configured(load(config_path))]


def _configured(config: StationConfig) -> Iterator[tuple[str, str, Driver[Any, Any], str]]:
    """Name, driver's name, driver and port of each, as the services name them."""
    from services.connectors.drivers import evse_driver
    from services.meter.drivers import meter_driver
    from services.rfid.drivers import reader_driver

    for connector in config.connectors:
        evse, meter = connector.evse, connector.meter
        yield f"evse-{connector.id}", evse.driver, evse_driver(connector, evse.port), evse.port
        if not connector.meter_in_evse:
            yield f"meter-{connector.id}", meter.driver, meter_driver(meter, meter.port), meter.port
    if config.reader is not None:
        yield "reader", config.reader.driver, reader_driver(config.reader, config.reader.port), config.reader.port


def _asked(name: str, driver_name: str, driver: Driver[Any, Any], port: str) -> DeviceReport:
    try:
        info = driver.open()
    except DeviceError as error:
        return DeviceReport(name, False, str(error), driver=driver_name, port=port)
    finally:
        driver.close()
    return DeviceReport(name, True, "", driver=driver_name, port=port, identity=identity(info))
