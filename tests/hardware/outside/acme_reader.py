"""A reader's driver as another company would write it: it lives outside of the package, and is found by its entry point.

The reader sends `CARD `, a UID in hexadecimal digits, and a semicolon.
"""

from services.configuration.model import Reader
from services.hardware.contract import Counters, DeviceInfo, TokenSeen
from services.hardware.port import Port, open_port


class AcmeReader:
    """`services.hardware.contract.Driver` of a reader."""

    name = "acme"
    poll_period_s = 5.0

    def __init__(self, port: str, greeting: str) -> None:
        self._path = port
        self._greeting = greeting
        self._port: Port | None = None
        self._heard = b""
        self._cards = 0

    def open(self) -> DeviceInfo:
        self.close()
        self._port = open_port(self._path, 9600)
        self._port.write(self._greeting.encode("ascii"))
        return DeviceInfo(vendor="Acme", model="Reader")

    def fileno(self) -> int | None:
        return None if self._port is None else self._port.fileno()

    def exchange(self, desired: None) -> list[TokenSeen]:  # noqa: ARG002
        assert self._port is not None
        *lines, self._heard = (self._heard + self._port.read()).split(b";")
        uids = [line.removeprefix(b"CARD ").decode("ascii") for line in lines if line.startswith(b"CARD ")]
        self._cards += len(uids)
        return [TokenSeen(uid, 0.0) for uid in uids]

    def close(self) -> None:
        if self._port is not None:
            self._port.close()
            self._port = None

    def counters(self) -> Counters:
        return Counters(replies=self._cards)


def driver(reader: Reader, port: str) -> AcmeReader:
    """What the entry point names."""
    return AcmeReader(port, str(reader.options.get("greeting", "")))
