"""A Central System and a station on virtual hardware, and what a person does to them.

Owns: the words of the acceptance tests. Does not: judge; the tests do, by the Central System's book and the virtual hardware.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.demo import central_system, schemas
from services.demo.book import Transaction, What
from tests.harness import Station, wait_until

TAG = "04A1B2C3D4"
OTHER_TAG = "0100CDA4EC"

CONNECTOR = """
[[connector]]
id = {number}
cable = "{cable}"
evse = {{ driver = "openevse" }}
meter = {{ driver = "{meter}" }}
"""

CONFIG = """
[station]
identity = "{identity}"
vendor = "Chargebus"
model = "Virtual"

[central_system]
url = "{url}"
reconnect_min_s = 0.2
reconnect_max_s = 1.0
ping_interval_s = 1
pong_timeout_s = 1.0

[supply]
max_current_a = 63
phases = 3
voltage_v = 230

[reader]
driver = "{reader}"
{connectors}
[ocpp]
MeterValueSampleInterval = 2
MeterValuesSampledData = "Energy.Active.Import.Register,Power.Active.Import"
MessageTimeout = 5
"""


def config_text(
    url: str,
    *,
    identity: str = "CP-1",
    meters: tuple[str, ...] = ("sdm630",),
    reader: str = "rdm6300",
    cable: str = "fixed",
    connectors: str = "",
) -> str:
    """A station.toml with a connector for each meter, or with `connectors` as they stand."""
    connectors = connectors or "".join(
        CONNECTOR.format(number=number, meter=meter, cable=cable) for number, meter in enumerate(meters, 1)
    )
    return CONFIG.format(url=url, identity=identity, reader=reader, connectors=connectors)


class CentralSystem(central_system.CentralSystem):
    """No test passes in which the station sent a message that is not as the schemas want it (OCPP-J 1.6 §4, errata 3.6)."""

    def stop(self, *, abrupt: bool = False) -> None:
        """End, and judge every frame that has come."""
        super().stop(abrupt=abrupt)
        asked = {entry.unique_id: entry.action for entry in self.book.calls_sent()}
        frames = [json.loads(entry.text) for entry in self.book.entries() if entry.what is What.RECEIVED]
        assert [found for frame in frames if (found := schemas.frame_violation(frame, asked.get))] == []


class Rig:
    """One station and the Central System that it belongs to."""

    def __init__(self, station: Station, central_system: CentralSystem, identity: str) -> None:
        self.station = station
        self.central_system = central_system
        self.identity = identity

    def hardware(self, connector_id: int = 1) -> dict[str, Any]:
        """What car, controller and meter of a connector really are."""
        connectors = self.station.sim("state")["connectors"]
        found = connectors[str(connector_id)] if isinstance(connectors, dict) else connectors[connector_id - 1]
        return dict(found)

    def register_wh(self, connector_id: int = 1) -> int:
        """The register as the meter shows it."""
        return int(self.hardware(connector_id)["meter"]["shown_wh"])

    def relay(self, connector_id: int = 1) -> tuple[bool, int]:
        """Whether the contactor is closed, and how often it has opened since the board was powered up."""
        relay = self.hardware(connector_id)["relay"]
        return bool(relay["closed"]), int(relay["opened_count"])

    def lamps(self) -> list[str]:
        """What is lit at the reader."""
        return list(self.station.sim("state")["reader"]["lamps"])

    def wait_for_boot(self) -> None:
        """Until the Central System has the status of every connector."""
        self.central_system.wait_for(lambda book: book.status(1, self.identity), 20, "the first StatusNotification")

    def start_by_card(self, connector_id: int = 1, tag: str = TAG) -> None:
        """Plug in, present the card, and wait for energy to flow."""
        self.station.sim("plug-in", str(connector_id))
        self.wait_for_status(connector_id, "Preparing")
        self.station.sim("swipe", tag)
        self.wait_for_charging(connector_id)

    def wait_for_status(self, connector_id: int, status: str, timeout_s: float = 10.0) -> None:
        """Until the Central System was told so."""
        what = f"connector {connector_id} is {status}"
        self.central_system.wait_for(lambda book: book.status(connector_id, self.identity) == status, timeout_s, what)

    def wait_for_charging(self, connector_id: int = 1) -> None:
        """Until the contactor is closed and energy has flowed."""
        began_wh = self.register_wh(connector_id)
        self.wait_for_status(connector_id, "Charging", 15)
        self.wait_for_energy(connector_id, began_wh + 5)

    def wait_for_energy(self, connector_id: int, register_wh: int) -> None:
        """Until the meter shows so much."""
        wait_until(lambda: self.register_wh(connector_id) >= register_wh, 20, f"the register reaches {register_wh} Wh")

    def stop_by_card(self, connector_id: int = 1, tag: str = TAG) -> None:
        """Present the card again, and wait until the car may be unplugged and the transaction is with the Central System."""
        self.station.sim("swipe", tag)
        self.wait_for_status(connector_id, "Finishing", 15)

    def finished(self, count: int = 1) -> list[Transaction]:
        """The transactions, once `count` of them are stopped at the Central System."""

        def stopped(book: Any) -> list[Transaction]:
            found: list[Transaction] = book.transactions(self.identity)
            return found if len([t for t in found if t.stop is not None]) >= count else []

        return list(self.central_system.wait_for(stopped, 30, f"{count} stopped transactions of {self.identity}"))

    def check_one_transaction(self, meter_start_wh: int, connector_id: int = 1, *, expected_violation: str = "") -> Transaction:
        """Exactly one start, one stop, the same transactionId, and the meter's energy to the watt-hour; nothing doubled."""
        (transaction,) = self.finished()
        book = self.central_system.book
        starts = book.calls("StartTransaction", self.identity)
        stops = book.calls("StopTransaction", self.identity)
        assert len(starts) == 1, f"StartTransaction came {len(starts)} times"
        assert len(stops) == 1, f"StopTransaction came {len(stops)} times"
        assert stops[0].payload["transactionId"] == transaction.transaction_id
        assert transaction.meter_start_wh == meter_start_wh
        assert transaction.meter_stop_wh == self.register_wh(connector_id)
        assert transaction.energy_wh is not None
        assert transaction.energy_wh > 0
        values = [entry.payload for entry in book.calls("MeterValues", self.identity)]
        ids = {payload["transactionId"] for payload in values if "transactionId" in payload}
        assert ids <= {transaction.transaction_id}, "a MeterValues has another transactionId"
        violations = [text for text in book.violations() if not (expected_violation and expected_violation in text)]
        assert violations == []
        return transaction


@contextlib.contextmanager
def rig(
    *,
    meters: tuple[str, ...] = ("sdm630",),
    reader: str = "rdm6300",
    identity: str = "CP-1",
    state_dir: Path | None = None,
    connectors: str = "",
    cable: str = "fixed",
    ocpp: str = "",
) -> Iterator[Rig]:
    """A Central System and a station that has booted there. `connectors`: in place of what `meters` and `cable` give.

    `ocpp`: more lines of the section of that name; more sections may follow.
    """
    with CentralSystem() as central_system:
        devices: dict[str, Any] = {"meters": meters, "reader": reader, "cable": cable, "connectors": connectors}
        text = config_text(central_system.url, identity=identity, **devices) + ocpp
        with Station(text, state_dir=state_dir) as station:
            found = Rig(station, central_system, identity)
            found.wait_for_boot()
            yield found
