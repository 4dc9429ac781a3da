"""What the registers of an EVSE-WB controller mean (pure; hardware.md §3.2, §3.4).

Owns: registers, bits, faults, and how they become an observation. Does not: talk to the controller.
"""

import msgspec

from bus.vocabulary import ChargePointErrorCode
from services.hardware.contract import ControlPilot, EvseFault, EvseObservation, WrongAnswer

CURRENT, COMMAND, STATUS = 1000, 1004, 1007
STATE_REGISTERS, STATUS_REGISTERS = 7, 3
"""Seven from 1000 on are all that clones have; three more tell bits and countdowns."""
POWER_UP_A, OPTIONS = 2000, 2005
CONFIGURATION_REGISTERS = 6

READY, PRESENT, CHARGING, VENTILATED, FAILURE = 1, 2, 3, 4, 5
"""Vehicle state, register 1002."""
GENERATING = 2
"""EVSE state, register 1006: current is offered. 1 and 3: steady voltage."""

BIT_RELAY, BIT_DIODE, BIT_VENTILATION, BIT_TEST, BIT_RCD = 0x01, 0x02, 0x04, 0x10, 0x20
COMMAND_TURN_OFF, COMMAND_SELF_TEST, COMMAND_CLEAR_RCD = 0x01, 0x02, 0x04

OPTION_BUTTON = 0x0003
"""The button changes the current, or stops charging: nobody shall get energy past the authorization by it."""
OPTION_VENTILATION = 0x0008
OPTION_RCD_FITTED = 0x0010
OPTION_HUNDREDTHS = 0x0080
HUNDREDTHS_FROM_FIRMWARE = 17
HUNDREDTHS = 100
WHOLE_A_MAX = 80
"""More can't be amps: then registers 1000 and 1001 are in 0.01 A."""

LIMIT_A_MIN = 6
SELF_TEST_S = 40.0
"""The test takes 30 s; while it lasts bit 4 is no fault, though some clones mean one by it."""
RELAY_SETTLES_S = 10.0
"""A contactor that is not where it should be for so long is stuck."""
LETS_GO_S = 5.0
"""A vehicle that goes on asking when the offer has ended may still be connected for so long (hardware.md §2.1)."""
_PILOTS: dict[int, ControlPilot] = {READY: "A", PRESENT: "B", CHARGING: "C", VENTILATED: "D"}


class Relay(msgspec.Struct, frozen=True):
    """What is known of bit 0 of register 1007: public sources split about its sense, and some boards never set it.

    It is believed once it was seen to differ between no vehicle and one that has charged for a while.
    """

    without_vehicle: bool | None = None
    charging: bool | None = None
    wrong_since_s: float | None = None
    """Since when it has contradicted what the board should do."""

    @property
    def believed(self) -> bool:
        """Whether its sense is known."""
        return None not in (self.without_vehicle, self.charging) and self.without_vehicle != self.charging


class Controller(msgspec.Struct, frozen=True):
    """What is known of a controller. `status` None: it has no such register. Currents in the unit of the registers."""

    current: int = 0
    offered: int = 0
    vehicle: int = READY
    cable_a: int = 0
    firmware: int = 0
    evse: int = 1
    status: int | None = None
    options: int | None = None
    power_up_a: int | None = None
    tested_s: float | None = None
    """Boottime of the last self-test that was commanded."""
    bit: Relay = Relay()
    seen_s: float = 0.0
    pwm_since_s: float | None = None
    """Since when it offers to a vehicle that asks."""
    withdrawn_s: float | None = None
    """When the offer to a vehicle ended that still asks."""
    boots: int = 0

    @property
    def per_amp(self) -> int:
        """Units of the current registers in one ampere."""
        if max(self.current, self.offered) > WHOLE_A_MAX:
            return HUNDREDTHS
        able = self.firmware >= HUNDREDTHS_FROM_FIRMWARE and self.options is not None
        return HUNDREDTHS if able and (self.options or 0) & OPTION_HUNDREDTHS else 1

    @property
    def testing(self) -> bool:
        """A self-test that was commanded may still be under way."""
        return self.tested_s is not None and self.seen_s < self.tested_s + SELF_TEST_S


def with_state(known: Controller, words: list[int], now_s: float) -> Controller:
    """After a read of 1000 to 1006. Raises WrongAnswer where that can't be such a controller."""
    current, offered, vehicle, cable_a, _, firmware, evse = words
    if vehicle not in (READY, PRESENT, CHARGING, VENTILATED, FAILURE) or evse not in (1, 2, 3):
        raise WrongAnswer(f"registers 1002 and 1006 are {vehicle} and {evse}; is it an EVSE-WB?")
    since_s = known.pwm_since_s if known.pwm_since_s is not None else now_s
    charges, asks = _charges(vehicle, evse), vehicle in (CHARGING, VENTILATED)
    withdrawn_s = now_s if known.pwm_since_s is not None else known.withdrawn_s
    return msgspec.structs.replace(
        known,
        current=current,
        offered=offered,
        vehicle=vehicle,
        cable_a=cable_a,
        firmware=firmware,
        evse=evse,
        seen_s=now_s,
        pwm_since_s=since_s if charges else None,
        withdrawn_s=withdrawn_s if asks and not charges else None,
    )


def with_status(known: Controller, status: int) -> Controller:
    """After a read of 1007: the bits, and what they teach about bit 0."""
    return msgspec.structs.replace(known, status=status, bit=_learned(known, bool(status & BIT_RELAY)))


def relay_closed(known: Controller) -> bool:
    """Whether the contactor is closed: by its bit where that can be believed, else by what the controller does."""
    if known.status is not None and known.bit.believed:
        return bool(known.status & BIT_RELAY) == known.bit.charging
    # The controller gives a vehicle a moment to let go before it opens the contactor.
    letting_go = known.withdrawn_s is not None and known.seen_s < known.withdrawn_s + LETS_GO_S
    return _charges(known.vehicle, known.evse) or letting_go


def observation(known: Controller) -> EvseObservation:
    """What the services are told. The controller counts nothing, so plug-ins can't be told apart by counters."""
    in_force = known.offered or known.current
    return EvseObservation(
        control_pilot=_PILOTS.get(known.vehicle),
        plugged=None if known.vehicle == FAILURE else known.vehicle != READY,
        offering=known.evse == GENERATING and known.vehicle != FAILURE,
        relay_closed=relay_closed(known),
        limit_a=in_force / known.per_amp,
        faults=_faults(known),
        boots=known.boots,
    )


def rcd_tripped(known: Controller) -> bool:
    """Whether the residual current device, or the test of it, has tripped."""
    status = known.status or 0
    old_sense = bool(status & BIT_TEST) and known.vehicle == FAILURE and not known.testing
    return bool(status & BIT_RCD) or old_sense


def _charges(vehicle: int, evse: int) -> bool:
    return vehicle in (CHARGING, VENTILATED) and evse == GENERATING


def _learned(known: Controller, bit: bool) -> Relay:
    relay = known.bit
    since_s = known.pwm_since_s
    if not relay.believed:
        if known.vehicle == READY:
            return msgspec.structs.replace(relay, without_vehicle=bit)
        if since_s is not None and known.seen_s >= since_s + RELAY_SETTLES_S:
            return msgspec.structs.replace(relay, charging=bit)
        return relay
    wrong = (bit == relay.charging) != _charges(known.vehicle, known.evse)
    before_s = relay.wrong_since_s if relay.wrong_since_s is not None else known.seen_s
    return msgspec.structs.replace(relay, wrong_since_s=before_s if wrong else None)


def _faults(known: Controller) -> tuple[EvseFault, ...]:
    """The gravest first."""
    found = [*_stuck(known)]
    status = known.status or 0
    if rcd_tripped(known):
        words = "residual current tripped, or its test failed"
        found.append(EvseFault(ChargePointErrorCode.GROUND_FAILURE, f"evsewb:1007=0x{status:02x}", words))
    elif known.vehicle == FAILURE and known.status is None:
        # This make does not tell which of the two it is, so it is taken for the graver one.
        found.append(EvseFault(ChargePointErrorCode.OTHER_ERROR, "evsewb:1002=5", "residual current or diode check"))
    if status & BIT_DIODE:
        found.append(_pilot_fault("evsewb:1007.1", "diode check of the vehicle failed"))
    if status & BIT_VENTILATION:
        found.append(_pilot_fault("evsewb:1007.2", "vehicle demands ventilation"))
    if known.vehicle == FAILURE and not found:
        found.append(_pilot_fault("evsewb:1002=5", "the pilot of the vehicle is not valid"))
    return tuple(found)


def _stuck(known: Controller) -> list[EvseFault]:
    wrong_s = known.bit.wrong_since_s
    if wrong_s is None or known.seen_s < wrong_s + RELAY_SETTLES_S:
        return []
    words = "contactor stuck closed" if relay_closed(known) else "contactor did not close"
    return [EvseFault(ChargePointErrorCode.POWER_SWITCH_FAILURE, "evsewb:1007.0", words)]


def _pilot_fault(vendor_code: str, words: str) -> EvseFault:
    return EvseFault(ChargePointErrorCode.EV_COMMUNICATION_ERROR, vendor_code, words, warning=True)
