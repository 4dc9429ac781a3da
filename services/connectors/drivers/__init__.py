"""Drivers of charging controllers, by the names that station.toml uses."""

from services.configuration.model import Evse
from services.hardware.contract import Driver, EvseDesired, EvseObservation


def evse_driver(evse: Evse, port: str) -> Driver[EvseDesired, EvseObservation]:
    """The driver of a charging controller; its name was checked when station.toml was read."""
    assert evse.driver == "openevse", f"no driver {evse.driver}"
    from services.connectors.drivers.openevse import OpenEvse

    return OpenEvse(port)
