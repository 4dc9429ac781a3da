"""Drivers of RFID readers, by the names that station.toml uses."""

from services.configuration.model import Reader
from services.hardware.contract import Driver, ReaderDesired, TokenSeen


def reader_driver(reader: Reader, port: str) -> Driver[ReaderDesired, TokenSeen]:
    """The driver of a reader; its name was checked when station.toml was read."""
    match reader.driver:
        case "rdm6300":
            from services.rfid.drivers.rdm6300 import Rdm6300

            return Rdm6300(port)
        case "pn532":
            from services.rfid.drivers.pn532 import Pn532, pins

            return Pn532(port, lamps=pins(reader))
        case "line":
            from services.rfid.drivers.line import LineReader

            return LineReader(port, baud=reader.baud, framing=reader.framing, payload=reader.payload)
        case "hid":
            from services.rfid.drivers.hid import HidReader

            return HidReader(port, payload=reader.payload)
    from services.hardware import outside

    found: Driver[ReaderDesired, TokenSeen] = outside.made("reader", reader.driver, reader, port)
    return found
