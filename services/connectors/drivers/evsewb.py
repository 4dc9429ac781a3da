"""Driver of EVSE-WB controllers (EVSE DIN, SimpleEVSE and clones) over Modbus RTU (hardware.md §3.2).

Owns: bringing the controller to the desired state, polling it, saying what it observes. Does not: decide who may charge.

The controller's output survives this process: `open` looks and changes nothing, and `close` leaves things as they are. It
watches nobody, so when this process dies it goes on until the guard withdraws. Energy is given and withdrawn by register
1000 alone, which is RAM; the EEPROM is written only where it differs. With that a vehicle has a few seconds to let go; the
emergency stop does not wait for it, and turns charging off by bit 0 of register 1004 as well. That comes second: what every
make obeys comes first.
"""

import math
from collections.abc import Callable

import msgspec

from bus import logs
from bus.clock import boottime_s
from services.connectors.drivers import evsewb_states as states
from services.connectors.drivers.evsewb_states import Controller
from services.hardware.contract import Counters, DeviceInfo, EvseDesired, EvseObservation, NoAnswer, WrongAnswer
from services.hardware.link import CONTROLLER_WAIT_S_MAX
from services.hardware.modbus import HOLDING_REGISTERS, ModbusUnit, Refused, Wire
from services.hardware.port import Port, open_port
from services.hardware.tally import Tally

EXCHANGE_S = 1.0
POLL_PERIOD_S = 1.0
TEST_PERIOD_S = 86400.0
"""Choice: the residual current device tests itself once a day, while no vehicle is there."""
CLEAR_PERIOD_S = 300.0
CLEARS_MAX = 6
"""Choice: a residual current device that has tripped is tried again as OpenEVSE does by itself (hardware.md §3.1): after
five minutes, six times; then it waits for another vehicle or for power."""
_EARLY = 0.9
"""A poll may come a little early rather than miss its turn by a hair."""
_ROUNDS_MAX = 2


class EvseWb:
    """One controller; only its runner's thread calls it (`services.hardware.contract.Driver`).

    `socket`: the cable is the vehicle's, and its plug says what it bears.
    """

    name = "evsewb"
    wait_s_max = CONTROLLER_WAIT_S_MAX

    def __init__(
        self,
        wire: Wire,
        *,
        socket: bool = False,
        log: logs.Logger | None = None,
        now: Callable[[], float] = boottime_s,
        opened: Callable[..., Port] = open_port,
    ) -> None:
        self.poll_period_s = POLL_PERIOD_S
        self._path = wire.path
        self._unit = wire.unit
        self._socket = socket
        self._log = log or logs.logger("connectors")
        self._now = now
        self._tally = Tally()
        self._modbus = ModbusUnit(wire, self._tally, now, opened)
        self._warned: set[str] = set()
        self._test_due_s = now() + TEST_PERIOD_S
        self._forget()

    def _forget(self) -> None:
        """Nothing is known of the controller, and nothing of what it was told."""
        self._known = Controller()
        self._has_status = True
        self._prepared = False
        self._turned_off = False
        self._asked: int | None = None
        self._given: int | None = None
        """What was last written to register 1000, and what it held after that."""
        self._polled_s = -math.inf
        self._clear_due_s: float | None = None
        self._clears = 0

    def open(self) -> DeviceInfo:
        """Open the port and ask who is there; changes no output. Raises DeviceError."""
        self.close()
        self._forget()
        self._modbus.open(states.STATE_REGISTERS)
        try:
            deadline_s = self._now() + EXCHANGE_S
            self._read_state(deadline_s)
            self._probe_status(deadline_s)
            self._read_configuration(deadline_s)
        except BaseException:
            self.close()
            raise
        firmware = str(self._known.firmware)
        return DeviceInfo(vendor="EVSE-WB", model="EVSE-WB", firmware=firmware, protocol=f"Modbus RTU unit {self._unit}")

    def fileno(self) -> int | None:
        """The controller never speaks unasked."""
        return None

    def exchange(self, desired: EvseDesired | None) -> list[EvseObservation]:
        """Apply `desired` where the controller differs, poll when it is due. Within about a second. Raises DeviceError."""
        deadline_s = self._now() + EXCHANGE_S
        before = self._known
        due = polled = self._now() >= self._polled_s + POLL_PERIOD_S * _EARLY
        for _ in range(_ROUNDS_MAX):
            # Orders go first: a poll that fails must not keep energy from being withdrawn.
            written = desired is not None and self._converge(desired, deadline_s)
            if written or due:
                self._poll(deadline_s, written=written)
                due, polled = False, True
            if desired is None or not self._differs(self._wanted(desired)):
                break
        if desired is not None:
            self._look_after(deadline_s)
        seen = msgspec.structs.replace(states.observation(self._known), order=desired)
        return [seen] if polled or self._known != before else []

    def close(self) -> None:
        """Close the port; the controller goes on as it is."""
        self._modbus.close()

    def counters(self) -> Counters:
        """Since the driver was made."""
        return self._tally.snapshot()

    def _poll(self, deadline_s: float, *, written: bool) -> None:
        self._read_state(deadline_s)
        if self._has_status:
            (status,) = self._read(states.STATUS, 1, deadline_s)
            self._known = states.with_status(self._known, status)
        self._polled_s = self._now()
        if written:
            self._check_given(deadline_s)
        elif self._given is not None and self._known.current != self._given:
            self._log.warning("charging controller has forgotten its current, it restarted", port=self._path)
            self._known = msgspec.structs.replace(self._known, boots=self._known.boots + 1)
            self._given, self._prepared, self._turned_off = None, False, False

    def _check_given(self, deadline_s: float) -> None:
        """What is in force after an order: the controller may have less, never more. Raises WrongAnswer."""
        self._given = self._known.current
        if self._asked is not None and self._given > self._asked:
            self._write(states.CURRENT, 0, deadline_s)
            self._asked = None
            raise WrongAnswer(f"charging controller at {self._path} takes a higher current than told, energy is withdrawn")

    def _read_state(self, deadline_s: float) -> None:
        """Exactly seven registers: clones refuse more."""
        words = self._read(states.CURRENT, states.STATE_REGISTERS, deadline_s)
        try:
            self._known = states.with_state(self._known, words, self._now())
        except WrongAnswer as error:
            raise WrongAnswer(f"charging controller at {self._path}: {error}") from None

    def _probe_status(self, deadline_s: float) -> None:
        try:
            status, _, _ = self._read(states.STATUS, states.STATUS_REGISTERS, deadline_s)
        except Refused:
            self._has_status = False
            self._log.info("charging controller tells no status bits, its faults have no names", port=self._path)
        else:
            self._known = states.with_status(self._known, status)

    def _read_configuration(self, deadline_s: float) -> None:
        try:
            words = self._read(states.POWER_UP_A, states.CONFIGURATION_REGISTERS, deadline_s)
        except Refused:
            self._warn_once("charging controller does not tell its settings; check that it starts without current")
            return
        self._known = msgspec.structs.replace(
            self._known, power_up_a=words[0], options=words[states.OPTIONS - states.POWER_UP_A]
        )

    def _converge(self, desired: EvseDesired, deadline_s: float) -> bool:
        """Write what differs; whether anything was written. Withdrawing comes before everything else."""
        wanted = self._wanted(desired)
        written = self._differs(wanted)
        if written:
            self._write(states.CURRENT, wanted, deadline_s)
            self._asked = wanted
        elif self._given is None:
            self._asked = self._given = wanted
        self._turned_off = self._turned_off and desired.at_once
        if self._must_turn_off(desired):
            self._turn_off(deadline_s)
            written = True
        if not self._prepared:
            self._prepare(deadline_s)
            self._prepared = written = True
        return written

    def _must_turn_off(self, desired: EvseDesired) -> bool:
        """Once in an emergency, where a vehicle may be charged."""
        live = self._known.vehicle != states.READY or states.relay_closed(self._known)
        return desired.at_once and live and not self._turned_off

    def _turn_off(self, deadline_s: float) -> None:
        self._turned_off = True
        try:
            self._modbus.write(states.COMMAND, [states.COMMAND_TURN_OFF], deadline_s)
        except Refused:
            self._warn_once("charging controller can't be turned off at once, its contactor opens within seconds")

    def _differs(self, wanted: int) -> bool:
        """Whether register 1000 is to be written: it holds something else, and that is not the most that it takes."""
        if self._given is None:
            return self._known.current != wanted
        return self._known.current != self._given or (self._known.current != wanted and self._asked != wanted)

    def _wanted(self, desired: EvseDesired) -> int:
        """Register 1000 in its own unit; 0: no energy. Never more than desired, nor than the cable in a socket bears."""
        limit_a = desired.limit_a
        if not desired.energy_allowed or not math.isfinite(limit_a):
            return 0
        if self._socket and self._known.cable_a:
            limit_a = min(limit_a, self._known.cable_a)
        if limit_a < states.LIMIT_A_MIN:
            return 0
        return math.floor(min(limit_a, states.WHOLE_A_MAX) * self._known.per_amp)

    def _prepare(self, deadline_s: float) -> None:
        """What must hold on a controller of ours; written only where it differs, as the EEPROM wears."""
        if self._socket:
            self._warn_once("charging controller has no lock, the plug in its socket is not held")
        known = self._known
        if known.options is None:
            return
        options = known.options & ~(states.OPTION_BUTTON | states.OPTION_VENTILATION)
        if options != known.options:
            self._write_setting(states.OPTIONS, options, deadline_s)
            known = msgspec.structs.replace(known, options=options)
        if known.power_up_a:
            # After a power cut it shall wait for its order.
            self._write_setting(states.POWER_UP_A, 0, deadline_s)
            (power_up_a,) = self._read(states.POWER_UP_A, 1, deadline_s)
            known = msgspec.structs.replace(known, power_up_a=power_up_a)
        if known.power_up_a:
            self._warn_once("charging controller offers current when it gets power, until it is told not to")
        self._known = known

    def _look_after(self, deadline_s: float) -> None:
        """The residual current device: its daily test, and another try after it has tripped."""
        known, now_s = self._known, self._now()
        if not states.rcd_tripped(known):
            self._clear_due_s = None
            if known.vehicle == states.READY:
                self._clears = 0
        elif self._clear_due_s is None:
            self._clear_due_s = now_s + CLEAR_PERIOD_S
        elif now_s >= self._clear_due_s and self._clears < CLEARS_MAX:
            self._clear_due_s = now_s + CLEAR_PERIOD_S
            self._clears += 1
            self._log.info("residual current device is tried again", port=self._path, attempt=self._clears)
            self._write(states.COMMAND, states.COMMAND_CLEAR_RCD, deadline_s)
        fitted = bool((known.options or 0) & states.OPTION_RCD_FITTED) and known.status is not None
        if fitted and known.vehicle == states.READY and now_s >= self._test_due_s:
            self._test_due_s = now_s + TEST_PERIOD_S
            self._write(states.COMMAND, states.COMMAND_SELF_TEST, deadline_s)
            self._known = msgspec.structs.replace(known, tested_s=now_s)

    def _read(self, address: int, count: int, deadline_s: float) -> list[int]:
        return self._modbus.read(HOLDING_REGISTERS, address, count, deadline_s)

    def _write(self, address: int, word: int, deadline_s: float) -> None:
        """A run-time register. A refusal is a failure of the device: what it was told does not hold."""
        try:
            self._modbus.write(address, [word], deadline_s)
        except Refused:
            raise NoAnswer(
                f"charging controller at {self._path} refuses {word} for register {address}; check its settings"
            ) from None

    def _write_setting(self, address: int, word: int, deadline_s: float) -> None:
        try:
            self._modbus.write(address, [word], deadline_s)
        except Refused:
            self._warn_once("charging controller refuses a setting; set it with the maker's tool", register=address, value=word)

    def _warn_once(self, event: str, **fields: object) -> None:
        if event not in self._warned:
            self._warned.add(event)
            self._log.warning(event, port=self._path, **fields)
