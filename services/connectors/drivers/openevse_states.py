"""What the words of an OpenEVSE controller mean (pure; hardware.md §3.1, §3.4).

Owns: state codes, flags, faults, and how they become an observation. Does not: talk to the controller.
"""

import msgspec

from bus.vocabulary import ChargePointErrorCode
from services.connectors.drivers.openevse_lock import LockSeen
from services.connectors.drivers.rapi import decimal, hexadecimal
from services.hardware.contract import ControlPilot, EvseFault, EvseObservation, RawReading, WrongAnswer

STARTING, NOT_CONNECTED, CONNECTED, CHARGING = 0x00, 0x01, 0x02, 0x03
FAULTS = range(0x04, 0xFE)
"""All codes between are faults, or unknown to us and treated as such."""
SLEEPING, DISABLED = 0xFE, 0xFF

VFLAG_RELAY_CLOSED = 0x0040
VFLAG_EV_CONNECTED = 0x0100
FLAG_BUTTON_DISABLED = 0x8000
SAFETY_CHECKS = {
    0x0002: "diode",
    0x0004: "ventilation",
    0x0008: "ground",
    0x0010: "stuck relay",
    0x0200: "GFI self-test",
    0x0400: "temperature",
}
"""`$GE` flags of the checks that an installer can switch off: mask 061E."""

HOT_C = 80.0
"""From here on HighTemperature is a warning: the controller cuts the current by itself, and stops at its own threshold."""
COOL_C = 75.0
"""The warning ends below; between the two it stays as it is."""

_FAULTS: dict[int, tuple[ChargePointErrorCode, str]] = {
    0x04: (ChargePointErrorCode.EV_COMMUNICATION_ERROR, "vehicle demands ventilation"),
    0x05: (ChargePointErrorCode.EV_COMMUNICATION_ERROR, "diode check of the vehicle failed"),
    0x06: (ChargePointErrorCode.GROUND_FAILURE, "residual current tripped"),
    0x07: (ChargePointErrorCode.GROUND_FAILURE, "no protective earth"),
    0x08: (ChargePointErrorCode.POWER_SWITCH_FAILURE, "contactor stuck closed"),
    0x09: (ChargePointErrorCode.GROUND_FAILURE, "self-test of the residual current device failed"),
    0x0A: (ChargePointErrorCode.HIGH_TEMPERATURE, "controller too hot"),
    0x0B: (ChargePointErrorCode.OVER_CURRENT_FAILURE, "vehicle draws more than it was offered"),
    0x0E: (ChargePointErrorCode.POWER_SWITCH_FAILURE, "contactor did not close"),
}
"""hardware.md §3.4. Every other code is OtherError (field report 6 of operators)."""
_TOO_HOT = 0x0A
_LOCK_FAULTS = {
    "lock": EvseFault(ChargePointErrorCode.CONNECTOR_LOCK_FAILURE, "openevse:lock", "plug can't be held"),
    "unlock": EvseFault(ChargePointErrorCode.CONNECTOR_LOCK_FAILURE, "openevse:unlock", "plug can't be let go", warning=True),
}
"""A plug that is not held gets no energy. One that is not let go can still charge."""
_PILOTS: dict[int, ControlPilot] = {0x01: "A", 0x02: "B", 0x03: "C", 0x04: "D"}
_SENSOR_ABSENT = -2560


class Controller(msgspec.Struct, frozen=True):
    """What is known of a controller. None: it has not said, or its firmware can't."""

    state: int = STARTING
    pilot_state: int | None = None
    vflags: int | None = None
    elapsed_s: int = 0
    session_ws: int = 0
    pilot_a: int = 0
    temperature_c: float | None = None
    hot: bool = False
    """The temperature has reached HOT_C and has not fallen below COOL_C since."""
    checks_off: tuple[str, ...] = ()
    """Safety checks that an installer has switched off (hardware.md §3.1, flags 061E)."""
    connected: bool | None = None
    """From `$G0`, for firmware without vflags (RAPI before 5)."""
    boots: int = 0
    blind: bool = False
    """It was told `$FD`, so that its word on the vehicle says nothing until a moment after it was told something else."""
    lock: LockSeen = LockSeen()


def with_status(known: Controller, values: tuple[str, ...]) -> Controller:
    """After a reply to `$GS`: four values, or two with a decimal state before RAPI 5. Raises WrongAnswer."""
    try:
        match values:
            case [state, elapsed, pilot_state, vflags]:
                return msgspec.structs.replace(
                    known,
                    state=hexadecimal(state),
                    elapsed_s=max(0, decimal(elapsed)),
                    pilot_state=hexadecimal(pilot_state),
                    vflags=hexadecimal(vflags),
                )
            case [state, elapsed]:
                return msgspec.structs.replace(
                    known, state=decimal(state), elapsed_s=max(0, decimal(elapsed)), pilot_state=None, vflags=None
                )
    except ValueError:
        pass
    raise WrongAnswer(f"charging controller answers $GS with {' '.join(values)!r}; is it an OpenEVSE?")


def numbers(command: str, values: tuple[str, ...], count: int) -> tuple[int, ...]:
    """The first `count` values of a reply, all decimal. Raises WrongAnswer."""
    try:
        found = tuple(decimal(value) for value in values[:count])
    except ValueError:
        found = ()
    if len(found) < count:
        raise WrongAnswer(f"charging controller answers ${command} with {' '.join(values)!r}; is it an OpenEVSE?")
    return found


def reading(energy: tuple[str, ...], power: tuple[str, ...], *, plugged: bool, asked_s: float) -> RawReading | None:
    """What `$GU` and `$GG` say as of boottime `asked_s`; None: no ammeter is fitted. Raises WrongAnswer.

    The total in the controller's EEPROM has the session only once the plug is out; the session's own count stays until the
    next one begins. Only phase 1 is measured, the voltage is assumed (hardware.md §3.1).
    """
    session_ws, total_wh = numbers("GU", energy, 2)
    milliamps, millivolts = numbers("GG", power, 2)
    if milliamps < 0:
        return None
    current_a, voltage_v = milliamps / 1000, millivolts / 1000
    return RawReading(
        read_boottime_s=asked_s,
        serial="",
        energy_import_wh=total_wh + (max(0, session_ws) // 3600 if plugged else 0),
        power_w=current_a * voltage_v,
        voltages_v=(voltage_v,),
        currents_a=(current_a,),
        powers_w=(current_a * voltage_v,),
    )


def hottest_c(values: tuple[str, ...]) -> float | None:
    """The highest of the temperatures of `$GP`; None if no sensor is fitted. Raises WrongAnswer."""
    tenths = [value for value in numbers("GP", values, len(values)) if value != _SENSOR_ABSENT]
    return max(tenths) / 10 if tenths else None


def with_temperature(known: Controller, temperature_c: float | None) -> Controller:
    """After a look at its sensors; None: it has none."""
    limit_c = COOL_C if known.hot else HOT_C
    hot = temperature_c is not None and temperature_c >= limit_c
    return msgspec.structs.replace(known, temperature_c=temperature_c, hot=hot)


def switched_off(flags: int) -> tuple[str, ...]:
    """The safety checks that the flags of `$GE` switch off."""
    return tuple(name for bit, name in SAFETY_CHECKS.items() if flags & bit)


def observation(known: Controller) -> EvseObservation:
    """What the services are told."""
    return EvseObservation(
        control_pilot=_control_pilot(known),
        plugged=_plugged(known),
        offering=known.state in (CONNECTED, CHARGING),
        relay_closed=relay_closed(known),
        limit_a=float(known.pilot_a),
        faults=_faults(known),
        session_energy_ws=known.session_ws,
        session_elapsed_s=known.elapsed_s,
        boots=known.boots,
        temperature_c=known.temperature_c,
        locked=known.lock.locked,
        unlock_attempts=known.lock.unlock_attempts,
    )


def _control_pilot(known: Controller) -> ControlPilot | None:
    """The pilot state follows the vehicle even while the controller sleeps, so it is asked first."""
    if known.state == DISABLED:
        return "F"
    if known.pilot_state is not None and known.pilot_state in _PILOTS:
        return _PILOTS[known.pilot_state]
    return _PILOTS.get(known.state)


def _plugged(known: Controller) -> bool | None:
    """None while its flags are empty, at its start and at -12 V: neither must look like an unplugging in a session."""
    if known.blind or known.state in (STARTING, DISABLED):
        return None
    if known.vflags is not None:
        return bool(known.vflags & VFLAG_EV_CONNECTED)
    if known.state in (NOT_CONNECTED, CONNECTED, CHARGING):
        return known.state != NOT_CONNECTED
    return known.connected


def relay_closed(known: Controller) -> bool:
    """Whether the controller says that its relay is closed."""
    if known.vflags is not None:
        return bool(known.vflags & VFLAG_RELAY_CLOSED)
    return known.state == CHARGING


def _faults(known: Controller) -> tuple[EvseFault, ...]:
    """The state's own fault first, then what is only a warning."""
    found = []
    if known.state in FAULTS:
        unknown = (ChargePointErrorCode.OTHER_ERROR, f"unknown state {known.state:02X} of the controller")
        error_code, words = _FAULTS.get(known.state, unknown)
        warning = error_code is ChargePointErrorCode.EV_COMMUNICATION_ERROR
        found.append(EvseFault(error_code, f"openevse:{known.state:02X}", words, warning=warning))
    if known.lock.failed:
        found.append(_LOCK_FAULTS[known.lock.failed])
    if known.hot and known.state != _TOO_HOT:
        words = f"controller hot, from {HOT_C:.0f} °C on"
        found.append(EvseFault(ChargePointErrorCode.HIGH_TEMPERATURE, "openevse:hot", words, warning=True))
    if known.checks_off:
        words = f"checks switched off: {', '.join(known.checks_off)}"
        found.append(EvseFault(ChargePointErrorCode.INTERNAL_ERROR, "openevse:checks-off", words, warning=True))
    return tuple(found)
