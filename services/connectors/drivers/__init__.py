"""Drivers of charging controllers, by the names that station.toml uses."""

from services.configuration.model import Connector
from services.hardware.contract import Driver, EvseDesired, EvseObservation


def evse_driver(connector: Connector, port: str) -> Driver[EvseDesired, EvseObservation]:
    """The driver of a connector's charging controller; its name was checked when station.toml was read."""
    assert connector.evse.driver == "openevse", f"no driver {connector.evse.driver}"
    from services.connectors.drivers.openevse import OpenEvse

    return OpenEvse(port, socket=not connector.fixed_cable)
