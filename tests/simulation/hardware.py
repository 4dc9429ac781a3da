"""The hardware of one connector: charging controller, contactor, car and meter, exact in time.

Owns: what truly happens at the relay and the register, and telling the ledger of it. Does not: know anything of the station.
The car asks for energy a second after it is offered, the contactor closes half a second later, and opens soon after the
offer is withdrawn; at once where the plug is pulled or a fault trips it.
"""

from bus.messages import ChargePointErrorCode
from services.hardware.contract import EvseDesired, EvseFault, EvseObservation, RawReading
from tests.simulation.clock import Clock
from tests.simulation.ledger import Contact, Ledger, PlugIn, Register, Span

VOLTAGE_V = 230.0
ASKS_AFTER_S = 1.0
CLOSES_AFTER_S = 1.5
OPENS_AFTER_S = 0.3
GROUND_FAULT = EvseFault(ChargePointErrorCode.GROUND_FAILURE, "openevse:06")
NEVER = float("inf")


class Point:
    """One connector. `advance` must be called before anything is changed or read at a later time."""

    def __init__(self, connector_id: int, clock: Clock, ledger: Ledger, *, register_wh: float) -> None:
        self.connector_id = connector_id
        self.answers = True
        self.meter_answers = True
        self.desired = EvseDesired()
        self.plugged = False
        self.closed = False
        self.car_a = 16.0
        self.wants = True
        self.changed = True
        """Whether something is to be seen that the controller's last poll did not show."""
        self._clock = clock
        self._ledger = ledger
        self._register = ledger.registers[connector_id] = Register(register_wh)
        self._wh = register_wh
        self._last_s = clock.true_s
        self._fault: EvseFault | None = None
        self._offered_s = NEVER
        self._opens_s = NEVER
        self._boots = 0
        self._session_ws = self._session_s = 0.0

    def next_s(self) -> float:
        """When something happens here by itself."""
        if self.closed:
            return self._opens_s
        return self._offered_s + CLOSES_AFTER_S if self.wants else NEVER

    def advance(self) -> None:
        """Live on until now."""
        now_s = self._clock.true_s
        while (due_s := self.next_s()) <= now_s:
            self._flow(due_s)
            self._move(not self.closed, due_s, by="station" if self.wants else "car")
        self._flow(now_s)

    def set_desired(self, desired: EvseDesired) -> None:
        """The controller gets an order."""
        self.advance()
        self.changed = self.changed or desired != self.desired
        self._mark()
        self.desired = desired
        self._consider()

    def plug_in(self, car_a: float) -> None:
        """A car comes; the controller begins to count anew."""
        self.advance()
        self.plugged, self.car_a, self.wants = True, car_a, True
        self._session_ws = self._session_s = 0.0
        number = 1 + sum(p.connector_id == self.connector_id for p in self._ledger.plug_ins)
        self._ledger.plug_ins.append(PlugIn(self.connector_id, number, self._clock.true_s))
        self.changed = True
        self._consider()

    def unplug(self) -> None:
        """The plug comes out, under load too."""
        self.advance()
        if self.plugged:
            self._plug_in().out_s = self._clock.true_s
        self.plugged = False
        self._trip("plug")

    def rest(self, wants: bool) -> None:
        """The car is full, or wants more."""
        self.advance()
        self.wants = wants
        self.changed = True
        self._consider()

    def fault(self, present: bool) -> None:
        """The controller trips, or is well again."""
        self.advance()
        self._fault = GROUND_FAULT if present else None
        self._trip("fault")

    def restart_controller(self) -> None:
        """The controller starts anew, with its counters."""
        self.advance()
        self._boots += 1
        now_s = self._clock.true_s
        self._ledger.spans.append(Span(f"controller {self.connector_id} restarts", now_s, now_s))
        self._session_ws = self._session_s = 0.0
        self._trip("fault")

    def lose_power(self) -> None:
        """Contactor open, orders and counters gone; the meter's register stays."""
        self.advance()
        self.desired = EvseDesired()
        self._boots = 0
        self._session_ws = self._session_s = 0.0
        self._trip("power")

    def observation(self) -> EvseObservation:
        """What the controller says."""
        self.advance()
        now_s = self._clock.true_s
        asks = self.closed or (self.wants and now_s >= self._offered_s + ASKS_AFTER_S)
        pilot = "A" if not self.plugged else "C" if asks and self._fault is None else "B"
        return EvseObservation(
            control_pilot=pilot,  # type: ignore[arg-type]
            plugged=self.plugged,
            offering=self._offering(),
            relay_closed=self.closed,
            limit_a=self.desired.limit_a,
            faults=() if self._fault is None else (self._fault,),
            session_energy_ws=int(self._session_ws),
            session_elapsed_s=int(self._session_s),
            boots=self._boots,
            order=self.desired,
        )

    def reading(self) -> RawReading:
        """What the meter says."""
        self.advance()
        return RawReading(self._clock.boottime_s(), f"M{self.connector_id}", int(self._wh), power_w=self._power_w())

    def _offering(self) -> bool:
        return self.desired.energy_allowed and self.plugged and self._fault is None

    def _power_w(self) -> float:
        return VOLTAGE_V * min(self.desired.limit_a or self.car_a, self.car_a) if self.closed and self.wants else 0.0

    def _consider(self) -> None:
        """What the facts now lead to."""
        now_s = self._clock.true_s
        if not self._offering():
            self._offered_s = NEVER
        elif self._offered_s == NEVER:
            self._offered_s = now_s
        if self.closed and not (self._offering() and self.wants):
            self._opens_s = min(self._opens_s, now_s + OPENS_AFTER_S)
        else:
            self._opens_s = NEVER
        self._mark()

    def _trip(self, by: str) -> None:
        if self.closed:
            self._move(False, self._clock.true_s, by=by)
        self._offered_s = NEVER
        self.changed = True
        self._consider()

    def _move(self, closes: bool, at_s: float, *, by: str) -> None:
        self.closed = closes
        self.changed = True
        self._opens_s = NEVER
        if closes:
            self._ledger.contacts.append(Contact(self.connector_id, at_s, self._wh, self._plug_in().number))
        else:
            contact = next(c for c in reversed(self._ledger.contacts) if c.connector_id == self.connector_id)
            contact.opened_s, contact.opened_wh, contact.opened_by = at_s, self._wh, by
            if self._offering():
                self._offered_s = at_s
        self._register.add(at_s, self._wh)

    def _flow(self, until_s: float) -> None:
        seconds = until_s - self._last_s
        if self.closed and seconds > 0:
            self._wh += self._power_w() * seconds / 3600
            self._session_ws += self._power_w() * seconds
            self._session_s += seconds
        self._last_s = max(self._last_s, until_s)

    def _mark(self) -> None:
        self._register.add(self._clock.true_s, self._wh)

    def _plug_in(self) -> PlugIn:
        return next(p for p in reversed(self._ledger.plug_ins) if p.connector_id == self.connector_id)
