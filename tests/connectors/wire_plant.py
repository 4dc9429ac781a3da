"""A virtual charging controller behind a line in memory, driven by the production driver: the hardware of a `World`.

Owns: the line and what can be wrong with it, the driver's turns as its runner takes them, but without a thread, the guard, and
the judgement whether current is offered without authorization. Does not: know the service under test; `SafetyWorld` does.
"""

from collections.abc import Callable
from typing import Any, Literal

import serial

from bus.messages import MeterSample
from services.connectors import orphans
from services.connectors.drivers.evsewb import EvseWb
from services.connectors.drivers.openevse import OpenEvse
from services.hardware import link as links
from services.hardware.contract import DeviceError, EvseDesired, EvseObservation, PortMissing
from services.hardware.modbus import Wire
from services.hardware.port import Port
from services.simulator.circuit import Register
from services.simulator.controllers import new_eeprom
from services.simulator.settings import ConnectorSettings, Settings
from services.simulator.world import Connector, World

FRAME_GAP_S = 0.03


class Line:
    """A controller at the end of a line. Time goes on while somebody waits there; `gone`: the adapter is pulled."""

    def __init__(self, driver: str, now_s: float, *, cable: Literal["fixed", "socket"] = "fixed") -> None:
        self.driver = driver
        self.cable = cable
        self.now_s = now_s
        self.gone = False
        one = ConnectorSettings(id=1, cable=cable, evse=driver, meter="sdm120", unit=9, phases=1)
        supply = Settings(max_current_a=32, voltage_v=230.0, connectors=(one,), reader=None)
        kept = new_eeprom(driver, 32, 1)
        self.connector = Connector(one, supply, now_s=now_s, register=Register(wh=1000.0, serial=1), eeprom=kept)
        self.world = World({1: self.connector}, None, now_s)

    @property
    def board(self) -> Any:
        return self.connector.board

    @property
    def quirks(self) -> Any:
        return self.connector.controller.quirks  # type: ignore[attr-defined]

    @property
    def reachable(self) -> bool:
        """Whether an order can get through."""
        return not (self.gone or self.quirks.mute or self.quirks.garble_checksums)

    def now(self) -> float:
        return self.now_s

    def live_until(self, now_s: float) -> None:
        self.now_s = max(self.now_s, now_s)
        self.world.advance(self.now_s)

    def ask(self, data: bytes) -> None:
        if self.gone:
            raise PortMissing("the adapter is pulled")
        self.live_until(self.now_s + FRAME_GAP_S)
        self.connector.controller.receive(data)
        self.world.settle(1)

    def hear(self, timeout_s: float) -> bytes:
        if self.gone:
            raise PortMissing("the adapter is pulled")
        said = self.connector.controller.take_output()
        if not said and timeout_s > 0:
            self.live_until(self.now_s + timeout_s)
            said = self.connector.controller.take_output()
        return said

    def opened(self, path: str, _baud: int, *, timeout_s: float = 0.5, **_: object) -> Port:
        if self.gone:
            raise PortMissing("the adapter is pulled")
        return MemoryPort(path, self, timeout_s)

    def new_driver(self) -> OpenEvse | EvseWb:
        if self.driver == "evsewb":
            return EvseWb(Wire("controller", "line", 115200), now=self.now, opened=self.opened)
        return OpenEvse("line", socket=self.cable == "socket", now=self.now, opened=self.opened)


class MemoryPort(Port):
    """The line as a driver sees it."""

    def __init__(self, path: str, line: Line, timeout_s: float) -> None:
        super().__init__(path, MemorySerial(line, timeout_s))
        self._line = line

    @property
    def echoes(self) -> bool:
        return False

    def read(self, timeout_s: float = 0.0) -> bytes:
        return self._line.hear(timeout_s)

    def write(self, data: bytes) -> None:
        self._line.ask(data)


class MemorySerial(serial.Serial):  # type: ignore[misc]
    """The line as minimalmodbus sees it."""

    def __init__(self, line: Line, timeout_s: float) -> None:
        super().__init__()
        self._line = line
        self._answer_s = timeout_s
        self.is_open = True

    def write(self, data: bytes) -> int:
        self._line.ask(bytes(data))
        return len(data)

    def read(self, size: int = 1) -> bytes:
        return self._line.hear(self._answer_s)[:size]

    def reset_input_buffer(self) -> None:
        self._line.hear(0.0)

    def reset_output_buffer(self) -> None:
        pass

    def close(self) -> None:
        self.is_open = False


class Turns:
    """One driver and its link: what `DeviceRunner` does, at the pace of a virtual clock."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.driver = line.new_driver()
        self.desired: EvseDesired | None = None
        self.link = links.initial(line.now(), wait_s_max=links.CONTROLLER_WAIT_S_MAX)
        self._applied: EvseDesired | None = None

    @property
    def up(self) -> bool:
        return self.link.port_open and self.link.phase == "up"

    def turn(self, observed: Callable[[EvseObservation], None], down: Callable[[str], None]) -> None:
        """What is due now; an order, or a word of the controller, does not wait."""
        for _ in range(2):
            due = self.line.now() >= self.link.due_s
            if not due and not (self.link.port_open and (self.desired != self._applied or self.line.driver == "openevse")):
                return
            try:
                if self.link.port_open:
                    desired = self.desired
                    seen = self.driver.exchange(desired)
                    self._applied = desired
                    self._step(links.Exchanged(self.driver.poll_period_s), down)
                    for each in seen:
                        observed(each)
                    return
                self.driver.open()
                self._step(links.Opened(), down)
            except DeviceError as error:
                self._step(links.Failed(str(error), port_missing=isinstance(error, PortMissing)), down)

    def close(self) -> None:
        self.driver.close()

    def _step(self, event: links.Event, down: Callable[[str], None]) -> None:
        self.link, effects = links.step(self.link, event, self.line.now())
        for effect in effects:
            match effect:
                case links.ClosePort():
                    self.driver.close()
                case links.ReportDown(reason=reason):
                    down(reason)


class Guard:
    """What the guard does with the line while the service is gone."""

    def __init__(self, line: Line) -> None:
        self._turns = Turns(line)
        self._held = False

    def turn(self) -> None:
        self._turns.desired = orphans.order(held=self._held)
        self._turns.turn(self._observed, lambda _: None)
        self._turns.desired = orphans.order(held=self._held)

    def close(self) -> None:
        self._turns.close()

    def _observed(self, seen: EvseObservation) -> None:
        self._held = orphans.is_held(self._held, seen)


def sample(line: Line, now_s: float) -> MeterSample:
    """What the meter says."""
    return MeterSample(1, now_s, "M1", round(line.connector.register.wh), power_w=line.connector.power_w)
