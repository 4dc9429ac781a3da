"""OpenEVSE over RAPI: desired output in, observed state out (hardware.md §3.1).

Owns: which commands bring the controller to a desired output, and what its answers mean. Does not: decide (the core), or open
the contactor because our process starts: `open` only asks, and `exchange(None)` changes nothing.

Traps that it minds: stock firmware powers up enabled, so after `$AB` the desired output is applied at once; current is set
with `V`, which wears no EEPROM; `$FD` is never sent; `$NK` to `$SC` still tells the amps in force; after a missed heartbeat
the current has to be set again.
"""

import select
import termios

import msgspec
import serial

from bus.clock import boottime_s
from bus.logs import logger
from bus.vocabulary import ChargePointErrorCode
from services.connectors.drivers.rapi import Notice, Parser, Reply, encode
from services.hardware.contract import (
    ControlPilot,
    Counters,
    DeviceInfo,
    EvseDesired,
    EvseFault,
    EvseObservation,
    NoAnswer,
    PortMissing,
    WrongAnswer,
)
from services.hardware.port import open_port

BAUD = 115200
REPLY_S = 0.4
TRIES = 2
STATUS_PERIOD_S = 1.0
PASSING_PERIOD_S = 0.1
SESSION_PERIOD_S = 5.0
TEMPERATURE_PERIOD_S = 10.0
PULSE_PERIOD_S = 5.0
SUPERVISION = "20 6"
"""Seconds without a pulse, and the amps that the pilot then drops to: the lowest that the controller can be told."""
OFFER_A_MIN = 6.0
SAFETY_CHECKS_OFF = 0x061E
"""Flags of `$GE` that say that a safety check is switched off."""
EV_CONNECTED, RELAY_CLOSED = 0x0100, 0x0040
SLEEPING, DISABLED, UNKNOWN = 0xFE, 0xFF, 0x00

_PILOTS: dict[int, ControlPilot] = {1: "A", 2: "B", 3: "C", 4: "D"}
_FAULTS = {
    0x04: ChargePointErrorCode.EV_COMMUNICATION_ERROR,
    0x05: ChargePointErrorCode.EV_COMMUNICATION_ERROR,
    0x06: ChargePointErrorCode.GROUND_FAILURE,
    0x07: ChargePointErrorCode.GROUND_FAILURE,
    0x08: ChargePointErrorCode.POWER_SWITCH_FAILURE,
    0x09: ChargePointErrorCode.GROUND_FAILURE,
    0x0A: ChargePointErrorCode.HIGH_TEMPERATURE,
    0x0B: ChargePointErrorCode.OVER_CURRENT_FAILURE,
    0x0E: ChargePointErrorCode.POWER_SWITCH_FAILURE,
}
_KNOWN_STATES = frozenset({0x01, 0x02, 0x03, SLEEPING, DISABLED})

log = logger("openevse")


class _Status(msgspec.Struct, frozen=True):
    """What `$GS` and `$AT` tell."""

    state: int = UNKNOWN
    pilot: int = UNKNOWN
    vflags: int | None = None
    """None: RAPI before 5 does not tell."""


class OpenEvse:
    """One controller on one port."""

    name = "openevse"

    def __init__(self, port: str) -> None:
        self.poll_period_s = STATUS_PERIOD_S
        self._path = port
        self._port: serial.Serial | None = None
        self._parser = Parser()
        self._counters = Counters()
        self._sequence = 0
        self._forget()

    def open(self) -> DeviceInfo:
        """Open and ask who is there. Raises PortMissing, NoAnswer, WrongAnswer."""
        self.close()
        self._port = open_port(self._path, BAUD, timeout_s=REPLY_S)
        self._parser = Parser()
        self._forget()
        version = self._ask("GV")
        if not version.ok or not version.values:
            raise WrongAnswer(f"{self._path}: something answers, but not as an OpenEVSE; check which device hangs there")
        firmware = version.values[0]
        protocol = version.values[1] if len(version.values) > 1 else ""
        self._warn_of_safety_checks()
        return DeviceInfo(vendor="OpenEVSE", model="OpenEVSE", firmware=firmware, protocol=f"RAPI {protocol}".strip())

    def fileno(self) -> int | None:
        """Readable when the controller says something by itself."""
        return None if self._port is None else self._port.fileno()

    def exchange(self, desired: EvseDesired | None) -> list[EvseObservation]:
        """Apply, poll what is due, and tell what is seen. Raises DeviceError."""
        self._listen()
        if desired is not None and desired != self._applied:
            self._apply(desired)
        now_s = boottime_s()
        if self._status_due_s <= now_s:
            self._poll_status(now_s)
        charging = self._status.state == 0x03
        if self._session_due_s <= now_s or (charging and self._session_due_s <= now_s + SESSION_PERIOD_S - STATUS_PERIOD_S):
            self._poll_session(now_s)
        if desired is not None and self._pulse_due_s <= now_s:
            self._pulse(now_s, desired)
        if self._temperature_due_s <= now_s:
            self._poll_temperature(now_s)
        if desired is not None and desired != self._applied:
            # The controller restarted meanwhile, and is enabled by itself.
            self._apply(desired)
            self._poll_status(now_s)
        return self._observation()

    def close(self) -> None:
        """Close the port; the controller keeps its output."""
        if self._port is not None:
            try:
                self._port.close()
            except (OSError, termios.error):
                pass
            self._port = None

    def counters(self) -> Counters:
        """Since the driver was made."""
        return msgspec.structs.replace(self._counters, errors=self._counters.errors + self._parser.errors)

    def _forget(self) -> None:
        self._applied: EvseDesired | None = None
        self._prepared = False
        self._status = _Status()
        self._elapsed_s = 0
        self._session_ws = 0
        self._amps = 0.0
        self._temperature_c: float | None = None
        self._boots = 0
        self._status_due_s = self._session_due_s = self._pulse_due_s = self._temperature_due_s = 0.0

    def _warn_of_safety_checks(self) -> None:
        reply = self._ask("GE")
        flags = _number(reply.values[1], 16) if reply.ok and len(reply.values) > 1 else 0
        if flags & SAFETY_CHECKS_OFF:
            log.warning("a safety check of the controller is switched off; switch it on again", flags=f"{flags:04X}")

    def _apply(self, desired: EvseDesired) -> None:
        """Bring the controller to the desired output; remembered only when all of it was taken."""
        boots = self._boots
        if desired.energy_allowed and desired.limit_a >= OFFER_A_MIN:
            reply = self._ask(f"SC {min(255, int(desired.limit_a))} V")
            if reply.values:
                self._amps = float(_number(reply.values[0], 10))
            self._must("FE")
        else:
            self._must("FS")
        if not self._prepared:
            # The front button could start a session without authorization, and so could the controller's own timer.
            self._ask("FF B 0")
            self._ask("ST 0 0 0 0")
            self._ask(f"SY {SUPERVISION}")
            self._prepared = True
        self._status_due_s = 0.0
        if self._boots == boots:
            self._applied = desired

    def _must(self, command: str) -> None:
        if not self._ask(command).ok:
            raise WrongAnswer(f"{self._path}: OpenEVSE refuses ${command}; check its firmware")

    def _poll_status(self, now_s: float) -> None:
        values = self._ask("GS").values
        if len(values) >= 4:
            self._status = _Status(_number(values[0], 16), _number(values[2], 16), _number(values[3], 16))
        elif len(values) == 2:
            state = _number(values[0], 10)
            self._status = _Status(state, state if state in _PILOTS else UNKNOWN)
        else:
            raise WrongAnswer(f"{self._path}: OpenEVSE gives no state")
        self._elapsed_s = _number(values[1], 10)
        # A state that only passes through is asked for again soon.
        self.poll_period_s = STATUS_PERIOD_S if self._status.state != UNKNOWN else PASSING_PERIOD_S
        self._status_due_s = now_s + 0.9 * self.poll_period_s

    def _poll_session(self, now_s: float) -> None:
        values = self._ask("GU").values
        if values:
            self._session_ws = _number(values[0], 10)
        limits = self._ask("GC").values
        if len(limits) > 2:
            self._amps = float(_number(limits[2], 10))
        self._session_due_s = now_s + SESSION_PERIOD_S

    def _poll_temperature(self, now_s: float) -> None:
        tenths = [_signed(value) for value in self._ask("GP").values]
        present = [value for value in tenths if value != -2560]
        self._temperature_c = max(present) / 10 if present else None
        self._temperature_due_s = now_s + TEMPERATURE_PERIOD_S

    def _pulse(self, now_s: float, desired: EvseDesired) -> None:
        """Heartbeat supervision: without us the controller drops to its lowest current."""
        if not self._ask("SY").ok and self._ask("SY 165").ok and desired.energy_allowed:
            # The acknowledgement has put the pilot to the configured maximum.
            self._applied = None
            self._apply(desired)
        self._pulse_due_s = now_s + PULSE_PERIOD_S

    def _observation(self) -> list[EvseObservation]:
        status = self._status
        if status.state == UNKNOWN:
            return []
        disabled = status.state == DISABLED
        pilot: ControlPilot | None = "F" if disabled else _PILOTS.get(status.pilot)
        plugged: bool | None
        if status.vflags is not None and not disabled:
            plugged = bool(status.vflags & EV_CONNECTED)
        else:
            plugged = None if pilot in (None, "F") else pilot != "A"
        relay_closed = status.state == 0x03 if status.vflags is None else bool(status.vflags & RELAY_CLOSED)
        return [
            EvseObservation(
                control_pilot=pilot,
                plugged=plugged,
                offering=status.state in (0x02, 0x03),
                relay_closed=relay_closed,
                limit_a=self._amps,
                faults=_faults(status.state),
                session_energy_ws=self._session_ws,
                session_elapsed_s=self._elapsed_s,
                boots=self._boots,
                temperature_c=self._temperature_c,
            )
        ]

    def _ask(self, command: str) -> Reply:
        """One command and its answer; a new sequence id for each try, so that a stale answer is never taken for it."""
        for _ in range(TRIES):
            self._sequence = self._sequence % 255 + 1
            self._write(encode(command, self._sequence))
            deadline_s = boottime_s() + REPLY_S
            while (left_s := deadline_s - boottime_s()) > 0:
                for line in self._read(left_s):
                    if isinstance(line, Notice):
                        self._noticed(line)
                    elif line.sequence == self._sequence:
                        self._count(replies=1)
                        return line
            self._count(timeouts=1)
        raise NoAnswer(f"{self._path}: OpenEVSE does not answer ${command}; check power and cable of the controller")

    def _listen(self) -> None:
        """Take what the controller has said by itself."""
        for line in self._read(0.0):
            if isinstance(line, Notice):
                self._noticed(line)

    def _noticed(self, notice: Notice) -> None:
        if notice.code == "AB":
            self._boots += 1
            self._applied = None
            self._prepared = False
            self._status_due_s = self._session_due_s = self._pulse_due_s = 0.0
            log.warning("charging controller restarted", port=self._path, post=notice.values[0] if notice.values else "")
        elif notice.code == "AT" and len(notice.values) >= 4:
            state, pilot = _number(notice.values[0], 16), _number(notice.values[1], 16)
            self._amps = float(_number(notice.values[2], 10))
            self._status = _Status(state, pilot, _number(notice.values[3], 16))
            if state == UNKNOWN or state in (0x01, 0x02):
                # A plug-in sets the session counters back: they are read again before anybody relies on them.
                self._status_due_s = self._session_due_s = 0.0
        else:
            self._status_due_s = 0.0

    def _write(self, data: bytes) -> None:
        assert self._port is not None, "the port is not open"
        try:
            self._port.write(data)
        except (serial.SerialException, termios.error, OSError) as error:
            raise PortMissing(f"{self._path} vanished ({error}); check the adapter") from None
        self._count(transmissions=1)

    def _read(self, timeout_s: float) -> list[Reply | Notice]:
        assert self._port is not None, "the port is not open"
        try:
            ready, _, _ = select.select([self._port.fileno()], [], [], timeout_s)
            if not ready:
                return []
            data = self._port.read(max(1, self._port.in_waiting))
        except (serial.SerialException, termios.error, OSError, ValueError) as error:
            raise PortMissing(f"{self._path} vanished ({error}); check the adapter") from None
        return self._parser.feed(data)

    def _count(self, *, transmissions: int = 0, replies: int = 0, timeouts: int = 0) -> None:
        old = self._counters
        self._counters = Counters(old.transmissions + transmissions, old.replies + replies, old.timeouts + timeouts, old.errors)


def _faults(state: int) -> tuple[EvseFault, ...]:
    """The fault that a state code is; a code that nobody knows is one too (hardware.md §3.4)."""
    if state in _KNOWN_STATES or state == UNKNOWN:
        return ()
    return (EvseFault(_FAULTS.get(state, ChargePointErrorCode.OTHER_ERROR), f"openevse:{state:02X}"),)


def _number(text: str, base: int) -> int:
    """An unsigned number of an answer; what is none counts as a wrong answer."""
    try:
        return int(text, base)
    except ValueError:
        raise WrongAnswer(f"OpenEVSE answers {text!r} where a number belongs") from None


def _signed(text: str) -> int:
    return -_number(text[1:], 10) if text.startswith("-") else _number(text, 10)
