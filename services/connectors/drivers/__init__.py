"""Drivers of charging controllers, by the names that station.toml uses."""

from services.configuration.model import Connector
from services.hardware.contract import Driver, EvseDesired, EvseObservation


def evse_driver(connector: Connector, port: str) -> Driver[EvseDesired, EvseObservation]:
    """The driver of a connector's charging controller; its name was checked when station.toml was read."""
    evse, socket = connector.evse, not connector.fixed_cable
    if evse.driver == "evsewb":
        from services.connectors.drivers.evsewb import EvseWb
        from services.hardware.modbus import Wire

        return EvseWb(Wire("charging controller", port, evse.baud, evse.parity, evse.unit, evse.shared), socket=socket)
    if evse.driver != "openevse":
        from services.hardware import outside

        found: Driver[EvseDesired, EvseObservation] = outside.made("evse", evse.driver, connector, port)
        return found
    from services.connectors.drivers.openevse import OpenEvse

    return OpenEvse(port, socket=socket, is_meter=connector.meter_in_evse)
