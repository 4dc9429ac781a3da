"""The controller board EVSE-WB (EVSE DIN, SimpleEVSE) without its serial line (hardware.md §3.2).

Owns: what the board does with a car, by itself and when told: pilot, relay, residual current device, self-test. Does not: know
registers (`evsewb.py`) or move bytes. Time comes in with `step`.

It powers up with the current of its EEPROM, 32 A as it leaves the factory: a car that is plugged in then charges. It watches
nobody: when the station falls silent it goes on for ever.
"""

from typing import Any

import msgspec

OFFER_A_MIN = 6.0
POST_S = 0.3
SELF_TEST_S = 30.0
CLEARS_ITSELF_S = 30.0
LETS_GO_S = 3.0
"""After the end of the offer a car that holds on is cut off."""
LET_GO_A = 1.0
RELAY_DELAY_S = 0.1
CABLE_A = 32

VENTILATION_ALLOWED, RCD_FITTED, RCD_CLEARS_ITSELF, HUNDREDTHS, DISABLED = 0x0008, 0x0010, 0x0020, 0x0080, 0x4000
"""Bits of the options in register 2005."""
HUNDREDTHS_FROM_FIRMWARE = 17

READY, PRESENT, CHARGING, VENTILATED, FAILURE = 1, 2, 3, 4, 5
"""Vehicle states as register 1002 tells them."""
_PILOTS = {"A": READY, "B": PRESENT, "C": CHARGING}


class WbEeprom(msgspec.Struct):
    """What the board keeps without power. `firmware` and `short` are its make: a `short` clone has only seven registers."""

    power_up_a: int = 32
    unit: int = 1
    minimum_a: int = 5
    analogue: int = 1
    button_a: int = 0
    options: int = 0x0219
    sharing: int = 0
    cable_limit_a: int = 0
    firmware: int = 18
    short: bool = False


class Causes:
    """What is wrong around the board, by the names of `faults.py`; it sees only some of it."""

    KINDS = ("gfci", "gfi-self-test", "diode", "vent", "stuck-relay", "relay")

    def __init__(self) -> None:
        self.causes: set[str] = set()

    def inject(self, kind: str) -> None:
        """It is there from now on."""
        self.causes.add(kind)

    def clear(self, kind: str) -> None:
        """It is gone."""
        self.causes.discard(kind)


class WbBoard:
    """One controller."""

    kinds = Causes.KINDS
    lock_jammed = False
    cable_locked = False
    """There is no lock on this board."""

    def __init__(self, eeprom: WbEeprom, *, now_s: float) -> None:
        self.eeprom = eeprom
        self.faults = Causes()
        self.cable_a = CABLE_A
        self.now_s = now_s
        self._pilot = "A"
        self.current_a = 0.0
        self.power_up()

    def power_up(self) -> None:
        """Power comes, or comes back: everything volatile is anew."""
        self.configured_a = float(self.eeprom.power_up_a)
        self.relay_commanded = False
        self.rcd_tripped = False
        self.test_ends_s: float | None = None
        self._trips_until_s = 0.0
        self._ready_at_s = self.now_s + POST_S
        self._lets_go_at_s = self.now_s
        self._close_at_s: float | None = None

    @property
    def booting(self) -> bool:
        """It hears and says nothing."""
        return self.now_s < self._ready_at_s

    @property
    def hundredths(self) -> bool:
        """Whether currents are told in 0.01 A."""
        return bool(self.eeprom.options & HUNDREDTHS) and self.eeprom.firmware >= HUNDREDTHS_FROM_FIRMWARE

    @property
    def testing(self) -> bool:
        """The self-test is under way."""
        return self.test_ends_s is not None

    @property
    def diode_failed(self) -> bool:
        """The car's diode is missing, and there is a car."""
        return "diode" in self.faults.causes and self._pilot != "A"

    @property
    def ventilation_refused(self) -> bool:
        """The car wants ventilation that this installation does not have."""
        return self._ventilated and not self.eeprom.options & VENTILATION_ALLOWED

    @property
    def vehicle(self) -> int:
        """Register 1002."""
        if self.rcd_tripped or self.diode_failed or self.ventilation_refused:
            return FAILURE
        return VENTILATED if self._ventilated else _PILOTS[self._pilot]

    @property
    def pwm(self) -> bool:
        """Whether current is offered on the pilot."""
        able = not (self.booting or self.testing or self.disabled)
        return able and self.vehicle != FAILURE and self.configured_a >= OFFER_A_MIN

    @property
    def disabled(self) -> bool:
        """Switched off by its options."""
        return bool(self.eeprom.options & DISABLED)

    @property
    def offered_a(self) -> float:
        """Amps that the pilot's PWM offers to the car; 0: steady voltage."""
        return min(self.configured_a, float(self.cable_a)) if self.pwm else 0.0

    @property
    def relay_seen(self) -> bool:
        """What the board's own look at the relay says."""
        return (self.relay_commanded or "stuck-relay" in self.faults.causes) and "relay" not in self.faults.causes

    @property
    def seconds_to_clear(self) -> int:
        """Register 1008."""
        left_s = self._trips_until_s - self.now_s
        return round(max(0.0, left_s)) if self.rcd_tripped and self.eeprom.options & RCD_CLEARS_ITSELF else 0

    @property
    def seconds_of_test(self) -> int:
        """Register 1009."""
        return 0 if self.test_ends_s is None else round(max(0.0, self.test_ends_s - self.now_s))

    @property
    def at_rest(self) -> bool:
        """Nothing about the board changes soon as long as nothing around it does."""
        return not (self.booting or self.testing or self.rcd_tripped or self._moving)

    def step(self, now_s: float, dt_s: float, *, pilot: str, current_a: float) -> None:
        """Live on until `now_s`. `pilot` is the car's letter, `current_a` what flows on phase 1."""
        assert dt_s >= 0, "time goes on"
        self.now_s = now_s
        self._pilot = pilot
        self.current_a = current_a
        if self.booting:
            return
        self._watch_rcd()
        self._watch_test()
        self._switch()

    def turn_off(self) -> None:
        """Bit 0 of register 1004: stop charging now."""
        self._open()
        self.configured_a = 0.0

    def self_test(self) -> None:
        """Bit 1 of register 1004."""
        if self.test_ends_s is None:
            self.test_ends_s = self.now_s + SELF_TEST_S

    def clear_rcd(self) -> None:
        """Bit 2 of register 1004; a cause that is still there trips it again."""
        self.rcd_tripped = False

    def facts(self) -> dict[str, Any]:
        """What it really is and does, for people and tests."""
        return {
            "state": str(self.vehicle),
            "mode": "disabled" if self.disabled else "enabled",
            "enabled": not self.disabled,
            "booting": self.booting,
            "offering": self.offered_a > 0,
            "pilot_a": self.configured_a,
            "charging": self.relay_commanded,
            "faults": sorted(self.faults.causes),
            "fault": "gfci" if self.rcd_tripped else "diode" if self.diode_failed else None,
        }

    @property
    def _ventilated(self) -> bool:
        return "vent" in self.faults.causes and self._pilot != "A"

    @property
    def _moving(self) -> bool:
        return self._close_at_s is not None or (self.relay_commanded and not self.pwm)

    def _watch_rcd(self) -> None:
        if not self.eeprom.options & RCD_FITTED:
            return
        if "gfci" in self.faults.causes and not self.rcd_tripped:
            self._trip()
        elif self.rcd_tripped and self.eeprom.options & RCD_CLEARS_ITSELF and self.now_s >= self._trips_until_s:
            self.rcd_tripped = False

    def _watch_test(self) -> None:
        if self.test_ends_s is not None and self.now_s >= self.test_ends_s:
            self.test_ends_s = None
            if "gfi-self-test" in self.faults.causes:
                self._trip()

    def _trip(self) -> None:
        self.rcd_tripped = True
        self._trips_until_s = self.now_s + CLEARS_ITSELF_S
        self._open()

    def _switch(self) -> None:
        if self.vehicle == FAILURE:
            self._open()
        elif self.pwm and self._pilot == "C":
            self._lets_go_at_s = self.now_s + LETS_GO_S
            if not self.relay_commanded:
                self._close_at_s = self.now_s + RELAY_DELAY_S if self._close_at_s is None else self._close_at_s
                if self.now_s >= self._close_at_s:
                    self._close_at_s = None
                    self.relay_commanded = True
        elif self._pilot != "C" or self.current_a <= LET_GO_A or self.now_s >= self._lets_go_at_s:
            self._open()

    def _open(self) -> None:
        self.relay_commanded = False
        self._close_at_s = None
