"""The virtual hardware at work: the world's time, its ports, and its files.

Owns: when the model moves on, and carrying bytes between it and the ports. Does not: decide what hardware does
(`world.py`), or take commands (`commands.py`).

Every way in does the same: `advance` to now, act, `settle`.
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from bus.clock import boottime_s
from bus.logs import Logger
from services.simulator.controllers import new_eeprom
from services.simulator.eastron import Measured
from services.simulator.meter_server import MeterServer
from services.simulator.pty_port import PtyPort, Tap
from services.simulator.readers import made
from services.simulator.settings import Settings
from services.simulator.storage import Storage
from services.simulator.world import Connector, World

Receive = Callable[[bytes], None]
_PERIOD_MOVING_S = 0.025
_PERIOD_DRAWING_S = 0.2
_PERIOD_IDLE_S = 0.5


class Rig:
    """All devices of `settings`, powered up, with their ports in `device_directory`. Needs a running event loop."""

    def __init__(self, settings: Settings, storage: Storage, *, device_directory: str, log: Logger) -> None:
        """Raises PortError."""
        self._storage = storage
        self._log = log
        now_s = boottime_s()
        connectors = {
            each.id: Connector(
                each,
                settings,
                now_s=now_s,
                register=storage.register(each.id),
                eeprom=storage.eeprom(each.id, new_eeprom(each.evse, settings.max_current_a, each.evse_unit)),
            )
            for each in settings.connectors
        }
        self.world = World(connectors, made(settings.reader) if settings.reader else None, now_s)
        self._meters: dict[int, MeterServer] = {}
        self.ports: dict[str, PtyPort | Tap] = {}
        self._lines: dict[str, tuple[PtyPort, list[Tap]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        os.makedirs(device_directory, mode=0o750, exist_ok=True)
        self._make_ports(device_directory, settings)
        storage.save_estop(False)
        self.settle()

    def advance(self) -> None:
        """Bring the world to the present."""
        self.world.advance(boottime_s())

    def settle(self, *, touched: bool = False) -> None:
        """Send what the devices say, keep what they remember, write down what happened, and plan the next look.

        `touched`: something was done to the hardware, so look again soon.
        """
        for number, connector in self.world.connectors.items():
            self.ports[f"evse-{number}"].write(connector.controller.take_output())
            self._storage.save_register(number, connector.register)
            self._storage.save_eeprom(number, connector.controller.eeprom)
        if self.world.reader is not None:
            self.ports["reader"].write(self.world.reader.advance(self.world.now_s))
        for event in self.world.take_events():
            self._storage.record(event)
            detail = None if event.kind == "swiped" else event.detail
            self._log.info("virtual hardware", what=event.kind, connector=event.connector_id, detail=detail)
        self._plan(moving=touched or not self.world.at_rest)

    def set_estop(self, pressed: bool) -> None:
        """Press or release the emergency stop."""
        self.world.set_estop(pressed)
        self._storage.save_estop(pressed)

    def facts(self) -> dict[str, Any]:
        """Everything as it truly is. The registers are on disk, as before they are shown to anyone."""
        self.settle()
        reader = self.world.reader
        return {
            **self.world.facts(),
            "devices": {name: port.plugged for name, port in self.ports.items()},
            "reader": None if reader is None else {"card_present": reader.card_present, "lamps": reader.lamps},
        }

    def close(self) -> None:
        """The adapters vanish."""
        if self._timer is not None:
            self._timer.cancel()
        self.advance()
        self.settle()
        if self._timer is not None:
            self._timer.cancel()
        for port in self.ports.values():
            port.unplug()
        self._storage.close()

    def _make_ports(self, directory: str, settings: Settings) -> None:
        for each in settings.connectors:
            number, connector = each.id, self.world.connectors[each.id]
            self._device(directory, f"evse-{number}", each.evse_line, partial(self._to_controller, number))
            if connector.meter is not None:
                meter = self._device(directory, f"meter-{number}", each.meter_line, partial(self._to_meter, number))
                self._meters[number] = MeterServer(connector.meter, measure=partial(self._measure, number), write=meter.write)
        if self.world.reader is not None:
            self._device(directory, "reader", "", self._to_reader)
        for port in self.ports.values():
            port.plug()

    def _device(self, directory: str, name: str, line: str, receive: Receive) -> PtyPort | Tap:
        """A device with a port of its own, or on a line that it shares, which bears the number of its first connector."""
        if not line:
            self.ports[name] = PtyPort(os.path.join(directory, name), receive)
            return self.ports[name]
        if line not in self._lines:
            link = f"line-{name.partition('-')[2]}"
            self._lines[line] = (PtyPort(os.path.join(directory, link), partial(self._to_line, line)), [])
            self.ports[link] = self._lines[line][0]
        port, taps = self._lines[line]
        taps.append(Tap(port, receive))
        self.ports[name] = taps[-1]
        return taps[-1]

    def _to_line(self, line: str, data: bytes) -> None:
        for tap in self._lines[line][1]:
            tap.receive(data)

    def _to_controller(self, number: int, data: bytes) -> None:
        self.advance()
        self.world.connectors[number].controller.receive(data)
        self.world.settle(number)
        self.settle(touched=True)

    def _to_meter(self, number: int, data: bytes) -> None:
        self._meters[number].receive(data, boottime_s())

    def _to_reader(self, data: bytes) -> None:
        assert self.world.reader is not None, "its port was made for it"
        self.advance()
        self.ports["reader"].write(self.world.reader.receive(data, self.world.now_s))

    def _measure(self, number: int) -> Measured:
        """What a meter shows, kept before it is shown: after a restart it never shows less."""
        self.advance()
        self.settle()
        return self.world.connectors[number].measured()

    def _tick(self) -> None:
        self.advance()
        self.settle()

    def _plan(self, *, moving: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        card_present = self.world.reader is not None and self.world.reader.next_s is not None
        period_s = _PERIOD_DRAWING_S if self.world.drawing else _PERIOD_IDLE_S
        if moving or card_present:
            period_s = _PERIOD_MOVING_S
        self._timer = asyncio.get_running_loop().call_later(period_s, self._tick)
