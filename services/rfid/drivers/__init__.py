"""Drivers of RFID readers, by the names that station.toml uses."""

from services.configuration.model import Reader
from services.hardware.contract import Driver, TokenSeen


def reader_driver(reader: Reader, port: str) -> Driver[None, TokenSeen]:
    """The driver of a reader; its name was checked when station.toml was read."""
    assert reader.driver == "rdm6300", f"no driver {reader.driver}"
    from services.rfid.drivers.rdm6300 import Rdm6300

    return Rdm6300(port)
