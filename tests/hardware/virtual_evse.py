"""A virtual charging controller with its car behind a pty, and the production driver that talks to it.

Both kinds have the same shape, so that one suite runs on either:

    pair = Pair(peer, "evsewb")
    pair.driver.open()
    pair.plug_in()
    pair.run(3.0, OFFER_16)       ->  the last observation, after three seconds of the model's time

Time is boottime, ahead of it by what `run` lets go by.
"""

import threading
from collections.abc import Callable
from typing import Any

from bus.clock import boottime_s
from services.configuration.model import Connector as ConnectorConfig
from services.configuration.model import Evse, Meter
from services.connectors.drivers.evsewb import EvseWb
from services.connectors.drivers.openevse import OpenEvse
from services.hardware.contract import EvseDesired, EvseObservation
from services.hardware.modbus import Wire
from services.simulator.circuit import Register
from services.simulator.controllers import new_eeprom
from services.simulator.settings import ConnectorSettings, Settings
from services.simulator.world import Connector, World
from tests.hardware.peers import PtyPeer

OFF = EvseDesired()
STEP_S = 0.5
BOOT_S = 0.5
FAST_BAUD = 115200
"""A pty does not care, and the silence between frames that the library keeps is shorter."""

MakePeer = Callable[..., PtyPeer]


def offer(limit_a: float) -> EvseDesired:
    """Energy is allowed, up to so much."""
    return EvseDesired(energy_allowed=True, limit_a=limit_a)


class Pair:
    """One controller with its car, its pty, and the driver under test, not opened yet."""

    def __init__(
        self,
        make: MakePeer,
        driver: str,
        *,
        eeprom: Any = None,
        cable: str = "fixed",
        unit: int = 1,
        is_meter: bool = False,
    ) -> None:
        self.kind = driver
        self.ahead_s = 0.0
        self._lock = threading.Lock()
        one = ConnectorSettings(id=1, cable=cable, evse=driver, meter="sdm120", unit=9, phases=1, evse_unit=unit)
        installation = Settings(max_current_a=32, voltage_v=230.0, connectors=(one,), reader=None)
        kept = eeprom or new_eeprom(driver, 32, unit)
        register = Register(wh=0.0, serial=1)
        self.connector = Connector(one, installation, now_s=self.now(), register=register, eeprom=kept)
        self.world = World({1: self.connector}, None, self.now())
        self.ahead_s = BOOT_S
        self.pty = make(self._answer)
        self.driver: OpenEvse | EvseWb = (
            EvseWb(Wire("charging controller", self.pty.path, FAST_BAUD, unit=unit), socket=cable == "socket", now=self.now)
            if driver == "evsewb"
            else OpenEvse(self.pty.path, socket=cable == "socket", is_meter=is_meter, now=self.now)
        )
        self.seen: EvseObservation | None = None

    @property
    def board(self) -> Any:
        return self.connector.board

    @property
    def quirks(self) -> Any:
        return self.connector.controller.quirks  # type: ignore[attr-defined]

    def now(self) -> float:
        return boottime_s() + self.ahead_s

    def run(self, seconds: float, desired: EvseDesired | None) -> EvseObservation:
        """Let so much of the model's time go by while the driver works."""
        for _ in range(max(1, round(seconds / STEP_S))):
            with self._lock:
                self.ahead_s += STEP_S
                self.world.advance(self.now())
                unasked = self.connector.controller.take_output()
            if unasked:
                self.pty.send(unasked)
            for seen in self.driver.exchange(desired):
                self.seen = seen
        assert self.seen is not None, "the first exchange observes"
        return self.seen

    def opened(self, desired: EvseDesired = OFF) -> "Pair":
        """Open the driver and let it bring the controller to `desired`."""
        self.driver.open()
        self.run(2.0, desired)
        return self

    def plug_in(self) -> None:
        self._act(lambda: self.world.plug_in(1))

    def plug_out(self) -> None:
        self._act(lambda: self.world.plug_out(1))

    def fault(self, kind: str, *, present: bool = True) -> None:
        self._act(lambda: self.world.set_fault(1, kind, present=present))

    def power_cycle(self) -> None:
        self._act(self.board.power_up)

    def _act(self, act: Callable[[], object]) -> None:
        with self._lock:
            self.world.advance(self.now())
            act()

    def _answer(self, data: bytes) -> bytes:
        with self._lock:
            self.world.advance(self.now())
            self.connector.controller.receive(data)
            self.world.settle(1)
            return self.connector.controller.take_output()


def config(driver: str, *, cable: str = "fixed", unit: int = 1) -> ConnectorConfig:
    """A connector of station.toml with this controller."""
    return ConnectorConfig(id=1, cable=cable, evse=Evse(driver=driver, baud=9600, unit=unit), meter=Meter(driver="sdm120"))
