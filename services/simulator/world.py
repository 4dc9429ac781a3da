"""The virtual installation: for each connector a car, a controller, a contactor and a meter; one card reader; an e-stop.

Owns: how these act on each other, and the record of what truly happened. Does not: do I/O, or know the time: it comes in
with `advance`, as CLOCK_BOOTTIME in seconds.
"""

from typing import Any, Literal

import msgspec

from services.simulator.car import Car
from services.simulator.circuit import Contactor, Register
from services.simulator.controllers import VirtualBoard, VirtualController, made
from services.simulator.eastron import Measured
from services.simulator.faults import KINDS, LOCK
from services.simulator.meters import MODELS
from services.simulator.readers import CardReader
from services.simulator.settings import METER_IN_EVSE, ConnectorSettings, Settings

STEP_S = 0.02
"""Model time moves in steps of at most this."""
CATCH_UP_S_MAX = 60.0
"""A process that was stopped for longer lets the rest of that time pass without its hardware."""
FREQUENCY_HZ = 50.0
SERIAL_FIRST = 24_110_000

EventKind = Literal[
    "plugged",
    "unplugged",
    "swiped",
    "fault",
    "fault-cleared",
    "meter-replaced",
    "relay-closed",
    "relay-opened",
    "locked",
    "unlocked",
    "estop",
]


class Event(msgspec.Struct, frozen=True):
    """Something that truly happened, at a boottime. `register_wh` is the meter's of that connector."""

    kind: EventKind
    boottime_s: float
    connector_id: int | None = None
    register_wh: float | None = None
    detail: str | None = None


class Connector:
    """One connector with everything behind it. It is made powered up and without a car."""

    def __init__(
        self, settings: ConnectorSettings, supply: Settings, *, now_s: float, register: Register, eeprom: msgspec.Struct
    ) -> None:
        self.id = settings.id
        self.voltage_v = supply.voltage_v
        self.phases = settings.phases
        self.socket = settings.cable == "socket"
        self.locked = False
        self.car = Car()
        self.contactor = Contactor()
        self.register = register
        self.meter = None if settings.meter == METER_IN_EVSE else MODELS[settings.meter](settings.meter, settings.unit)
        """None: the controller's own is the only one; the register beside it shows what truly went through."""
        self.controller: VirtualController = made(eeprom, current_a_max=supply.max_current_a, now_s=now_s)

    @property
    def board(self) -> VirtualBoard:
        """The controller without its line."""
        board: VirtualBoard = self.controller.board
        return board

    @property
    def power_w(self) -> float:
        """What flows now, over all phases."""
        return self.voltage_v * self.car.current_a * self.phases

    @property
    def at_rest(self) -> bool:
        """Nothing changes soon by itself but the register."""
        return self.car.at_rest and self.board.at_rest

    @property
    def shown_wh(self) -> int:
        """What a person reads at the meter."""
        return self.meter.shown_wh(self.register.wh) if self.meter else int(self.register.wh)

    def measured(self) -> Measured:
        """What the meter sees now."""
        return Measured(
            voltages_v=(self.voltage_v,) * self.phases,
            currents_a=(self.car.current_a,) * self.phases,
            frequency_hz=FREQUENCY_HZ,
            energy_wh=self.shown_wh,
            serial=self.register.serial,
        )

    def step(self, now_s: float, dt_s: float) -> list[Event]:
        """Live on for `dt_s` until `now_s`; the register counts what flowed."""
        self.register.add(self.power_w, dt_s)
        self.car.step(dt_s, offered_a=self.board.offered_a, live=self.contactor.closed)
        self.board.step(now_s, dt_s, pilot=self.car.pilot, current_a=self.car.current_a)
        return [*self._follow_lock(now_s), *self.follow(now_s)]

    def _follow_lock(self, now_s: float) -> list[Event]:
        """The lock of a socket does what it is told, unless it jams."""
        if not self.socket or self.board.lock_jammed or self.locked == self.board.cable_locked:
            return []
        self.locked = self.board.cable_locked
        return [self.event("locked" if self.locked else "unlocked", now_s)]

    def follow(self, now_s: float) -> list[Event]:
        """The contactor does what it is told, at once."""
        change = self.contactor.follow(self.board.relay_commanded, now_s)
        if change is None:
            return []
        if change == "opened":
            self.car.current_a = 0.0
        return [self.event("relay-closed" if change == "closed" else "relay-opened", now_s)]

    def event(self, kind: EventKind, now_s: float, detail: str | None = None) -> Event:
        """An event of this connector, with its register."""
        return Event(kind, now_s, self.id, self.register.wh, detail)

    def set_fault(self, kind: str, *, present: bool) -> None:
        """Put a cause there, or take it away so that the controller looks again at once. `kind` is one of KINDS, or LOCK."""
        if kind == LOCK:
            self.board.lock_jammed = present
            return
        assert kind in KINDS, "checked where it came in"
        if kind == "stuck-relay":
            self.contactor.welded = present
        if kind == "relay":
            self.contactor.dead = present
        if present:
            self.board.faults.inject(kind)
        else:
            self.board.faults.clear(kind)

    def has_fault(self, kind: str) -> bool:
        """Whether this cause is there."""
        return self.board.lock_jammed if kind == LOCK else kind in self.board.faults.causes

    def facts(self) -> dict[str, Any]:
        """What car, controller, contactor, lock and meter really are."""
        board = self.board
        return {
            "car": {
                "plugged": self.car.plugged,
                "pilot": self.car.pilot,
                "wants_energy": self.car.wants_energy,
                "paused": self.car.paused,
                "full": self.car.full,
                "holds_on": self.car.holds_on,
                "max_a": self.car.max_a,
                "drawing_a": self.car.current_a,
            },
            "controller": {**board.facts(), "relay_closed": self.contactor.closed},
            "relay": {
                "closed": self.contactor.closed,
                "closed_count": self.contactor.closed_count,
                "opened_count": self.contactor.opened_count,
                "history": [list(entry) for entry in self.contactor.history],
            },
            "lock": {"fitted": self.socket, "closed": self.locked, "jammed": board.lock_jammed},
            "meter": {
                "model": self.meter.model if self.meter else METER_IN_EVSE,
                "unit": self.meter.unit if self.meter else 0,
                "serial": self.register.serial,
                "register_wh": self.register.wh,
                "shown_wh": self.shown_wh,
                "power_w": self.power_w,
                "voltage_v": self.voltage_v,
                "phases": self.phases,
            },
        }


class World:
    """All of the virtual hardware. Whoever changes something says so first: `advance` to now, change, `advance` again."""

    def __init__(self, connectors: dict[int, Connector], reader: CardReader | None, now_s: float) -> None:
        self.connectors = connectors
        self.reader = reader
        self.estop = False
        self.now_s = now_s
        self._events: list[Event] = []

    @property
    def at_rest(self) -> bool:
        """Nothing changes soon by itself."""
        return all(connector.at_rest for connector in self.connectors.values())

    @property
    def drawing(self) -> bool:
        """Energy flows somewhere."""
        return any(connector.car.current_a > 0 for connector in self.connectors.values())

    def advance(self, now_s: float) -> None:
        """Live on until boottime `now_s`."""
        if now_s - self.now_s > CATCH_UP_S_MAX:
            self.now_s = now_s - CATCH_UP_S_MAX
        while self.now_s < now_s:
            before_s = self.now_s
            self.now_s = min(now_s, before_s + STEP_S)
            for connector in self.connectors.values():
                self._events += connector.step(self.now_s, self.now_s - before_s)

    def plug_in(self, connector_id: int) -> None:
        """A car is plugged in; nothing if there is one."""
        connector = self.connectors[connector_id]
        if not connector.car.plugged:
            connector.car.plug_in()
            self._record(connector.event("plugged", self.now_s))

    def plug_out(self, connector_id: int) -> None:
        """The cable is pulled, under load too; nothing if no car is there."""
        connector = self.connectors[connector_id]
        if connector.car.plugged:
            connector.car.plug_out()
            self._record(connector.event("unplugged", self.now_s))

    def swipe(self, tag: str) -> None:
        """Hold a card to the reader, which there must be. Raises TagError."""
        assert self.reader is not None, "checked where it came in"
        self.reader.swipe(tag, self.now_s)
        self._record(Event("swiped", self.now_s, detail=tag))

    def set_fault(self, connector_id: int, kind: str, *, present: bool) -> None:
        """See `Connector.set_fault`."""
        connector = self.connectors[connector_id]
        if connector.has_fault(kind) == present:
            return
        connector.set_fault(kind, present=present)
        self._record(connector.event("fault" if present else "fault-cleared", self.now_s, kind))
        self.settle(connector_id)

    def settle(self, connector_id: int) -> None:
        """Let what was just told to a controller take effect, without time going on."""
        self._events += self.connectors[connector_id].step(self.now_s, 0.0)

    def set_estop(self, pressed: bool) -> None:
        """The emergency stop's input; the station has to act on it, the virtual hardware doesn't."""
        if pressed != self.estop:
            self.estop = pressed
            self._record(Event("estop", self.now_s, detail="on" if pressed else "off"))

    def set_meter(self, connector_id: int, register_wh: float) -> None:
        """Another meter is fitted."""
        connector = self.connectors[connector_id]
        connector.register.replace(register_wh)
        self._record(connector.event("meter-replaced", self.now_s, str(connector.register.serial)))

    def take_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    def facts(self) -> dict[str, Any]:
        """Everything as it truly is, ready for JSON."""
        return {
            "boottime_s": self.now_s,
            "estop": self.estop,
            "connectors": {str(number): connector.facts() for number, connector in self.connectors.items()},
        }

    def _record(self, event: Event) -> None:
        self._events.append(event)
