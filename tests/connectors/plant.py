"""A charging point's hardware in memory: controller, car and meter of one connector, on a virtual clock.

Owns: what truly happens at the relay and the register. Does not: know anything of the service under test. The car asks for
energy a second after it is offered, the controller closes half a second later, and opens soon after its order is withdrawn.
"""

from bus.messages import MeterSample
from bus.vocabulary import ChargePointErrorCode
from services.hardware.contract import EvseDesired, EvseFault, EvseObservation

VOLTAGE_V = 230.0
CAR_ASKS_AFTER_S = 1.0
RELAY_CLOSES_AFTER_S = 0.5
RELAY_OPENS_AFTER_S = 0.3
GROUND_FAULT = EvseFault(ChargePointErrorCode.GROUND_FAILURE, "openevse:06")


class Plant:
    """One connector's hardware. Set the attributes of the first block to make something happen."""

    def __init__(self, connector_id: int = 1, *, register_wh: float = 1000.0) -> None:
        self.plugged = False
        self.wants_energy = True
        self.max_a = 16.0
        self.faults: tuple[EvseFault, ...] = ()
        self.warnings: tuple[EvseFault, ...] = ()
        self.answers = True
        self.knows = True
        self.meter_answers = True
        self.has_lock = False
        self.counts = True
        self.lock_jams = False
        self.register_wh = register_wh
        self.serial = "M1"
        self.measured: dict[str, object] = {"power_w": 0.0}
        self.connector_id = connector_id
        self.desired = EvseDesired()
        self.order: EvseDesired | None = None
        """What the present process has told the controller."""
        self.welded = False
        """The contactor does not open any more once it is closed."""
        self.in_force_a = 0.0
        """What a car may take now, or could since the contactor closed."""
        self.relay_closed = False
        self.locked = False
        self.unlock_attempts = 0
        self._lock_failed = ""
        self.boots = 0
        self.openings_under_load = 0
        self.delivered_wh = 0.0
        self._energy_ws = 0.0
        self._elapsed_s = 0.0
        self._offered_s = 0.0
        self._asked_s = 0.0
        self._withdrawn_s = 0.0

    def plug_in(self) -> None:
        """A plug goes in; the controller begins to count anew."""
        self.plugged = True
        self._energy_ws = self._elapsed_s = 0.0
        self._offered_s = self._asked_s = 0.0

    def unplug(self) -> None:
        """The plug comes out, under load too."""
        self.plugged = False
        self._open()

    def restart_controller(self) -> None:
        """The controller starts anew: its counters too, and it says so."""
        self.boots += 1
        self._open()
        self._energy_ws = self._elapsed_s = 0.0
        self._offered_s = self._asked_s = 0.0

    def lose_power(self) -> None:
        """A power cut: contactor open, counters and orders gone; the meter's register stays."""
        self._open()
        self.desired = EvseDesired()
        self.order = None
        self.boots = 0
        self._energy_ws = self._elapsed_s = self._offered_s = self._asked_s = 0.0

    def pass_time(self, seconds: float) -> None:
        """Let controller, car, lock and meter live."""
        self._move_lock()
        if self.desired.energy_allowed:
            self.in_force_a = self.desired.limit_a
        elif not self.relay_closed:
            self.in_force_a = 0.0
        if self.relay_closed:
            wh = VOLTAGE_V * min(self.desired.limit_a or self.max_a, self.max_a) * seconds / 3600
            self.register_wh += wh
            self.delivered_wh += wh
            self._energy_ws += wh * 3600 * self.counts
            self._elapsed_s += seconds * self.counts
        self._offered_s = self._offered_s + seconds if self.offering else 0.0
        self._asked_s = self._asked_s + seconds if self.pilot == "C" and self.offering else 0.0
        self._withdrawn_s = 0.0 if self.offering else self._withdrawn_s + seconds
        if self.offering and self._asked_s >= RELAY_CLOSES_AFTER_S:
            self.relay_closed = True
        elif self.pilot != "C" or self._withdrawn_s >= RELAY_OPENS_AFTER_S:
            self._open()

    @property
    def offering(self) -> bool:
        """Whether the pilot offers energy."""
        held = self.locked or not self.has_lock
        return self.desired.energy_allowed and self.plugged and not self.faults and held

    @property
    def pilot(self) -> str:
        """The control pilot's letter."""
        if not self.plugged:
            return "A"
        asks = self.wants_energy and (self._offered_s >= CAR_ASKS_AFTER_S or self.relay_closed)
        return "C" if asks and not self.faults else "B"

    def observation(self) -> EvseObservation:
        """What the controller says."""
        return EvseObservation(
            control_pilot=self.pilot if self.knows else None,  # type: ignore[arg-type]
            plugged=self.plugged if self.knows else None,
            offering=self.offering,
            relay_closed=self.relay_closed,
            limit_a=self.desired.limit_a,
            faults=self.faults + self.warnings + self._lock_faults(),
            session_energy_ws=int(self._energy_ws),
            session_elapsed_s=int(self._elapsed_s),
            boots=self.boots,
            locked=self.locked if self.has_lock else None,
            unlock_attempts=self.unlock_attempts,
            order=self.order,
        )

    def sample(self, now_s: float) -> MeterSample:
        """What the meter says."""
        return MeterSample(self.connector_id, now_s, self.serial, int(self.register_wh), **self.measured)  # type: ignore[arg-type]

    def replace_meter(self, serial: str, register_wh: float) -> None:
        """Another meter is fitted."""
        self.serial, self.register_wh = serial, register_wh

    def _move_lock(self) -> None:
        """As a driver does: let go only when the contactor is open, one more try for each attempt that is asked for."""
        wanted = self.desired.locked
        if not self.has_lock or (self.relay_closed and not wanted):
            return
        forced = not wanted and self.desired.unlock_attempts > self.unlock_attempts
        if not wanted:
            self.unlock_attempts = self.desired.unlock_attempts
        if forced or self.locked != wanted or self._lock_failed:
            self._lock_failed = ("lock" if wanted else "unlock") if self.lock_jams else ""
            self.locked = self.locked if self.lock_jams else wanted

    def _lock_faults(self) -> tuple[EvseFault, ...]:
        if not self._lock_failed:
            return ()
        code = ChargePointErrorCode.CONNECTOR_LOCK_FAILURE
        return (EvseFault(code, f"openevse:{self._lock_failed}", warning=self._lock_failed == "unlock"),)

    def _open(self) -> None:
        if self.relay_closed and self.plugged and self.wants_energy and not self.faults:
            self.openings_under_load += 1
        self.relay_closed = self.relay_closed and self.welded
