"""The controller board OpenEVSE without its serial line: pilot, relay, states, faults, supervision (hardware.md §3.1).

Owns: what the board does with a car, by itself and when told. Does not: know RAPI's text (`board_commands.py`,
`openevse.py`) or move bytes. Time comes in with `step`.

It powers up ENABLED, as the stock firmware does: a car that is plugged in charges until somebody says `$FS`.
"""

import enum
from typing import Any

import msgspec

from services.simulator.faults import KINDS, POST_KINDS, FaultLatch

CURRENT_A_MIN = 6
FIRMWARE = "8.2.3"
POST_S = 0.2
"""From power to `$AB`."""
RESET_S = 1.5
"""From the watchdog's bite to `$AB`."""
RESTART_UNDER_LOAD_S = 3.0
SLEEP_OPENS_AFTER_S = 3.0
SLEEP_OPENS_BELOW_A = 1.0
RELAY_DELAY_S = 0.1
"""GFI self-test and the relay's own time."""
DEBOUNCE_S = 0.25
DEBOUNCE_UNPLUG_S = 0.025
SETTLE_S = 0.25

STARTING, CONNECTED_NOT, CONNECTED, CHARGING, SLEEPING, DISABLED = 0x00, 0x01, 0x02, 0x03, 0xFE, 0xFF
_PILOT_CODES = {"A": 1, "B": 2, "C": 3}

BUTTON_OFF_FLAG = 0x8000
_FLAGS_DEFAULT = 0x0021
_ANNOUNCED_VFLAGS = 0x211A
"""Auth lock, EV connected, time limit, charge limit, hard fault: only these count as a change."""
_COUNTER_MAX = 0xFF
_EPSILON_S = 1e-6


class Eeprom(msgspec.Struct):
    """What the board keeps without power."""

    current_a: int
    flags: int = _FLAGS_DEFAULT
    heartbeat_s: int = 0
    heartbeat_a: int = 0
    energy_wh: int = 0
    gfi_trips: int = 0
    no_ground_trips: int = 0
    stuck_relay_trips: int = 0
    voltage_mv: int = 230_000


class Mode(enum.Enum):
    """What the board was told last."""

    ENABLED = "enabled"
    SLEEPING = "sleeping"
    DISABLED = "disabled"


class Message(msgspec.Struct, frozen=True):
    """Something that the board says unasked."""

    name: str
    values: tuple[str, ...]


class Board:
    """One controller. `current_a_max` is the installation's maximum, written by the installer with `$SC n M`."""

    kinds = tuple(KINDS)

    def __init__(self, eeprom: Eeprom, *, current_a_max: int, now_s: float, lock_build: bool = False) -> None:
        self.eeprom = eeprom
        self.current_a_max = current_a_max
        self.eeprom.current_a = max(CURRENT_A_MIN, min(eeprom.current_a, current_a_max))
        self.lock_build = lock_build
        self.faults = FaultLatch()
        self.now_s = now_s
        self.messages: list[Message] = []
        self._pilot_now = "A"
        self.lock_jammed = False
        self._power_up(now_s + POST_S)

    def _power_up(self, ready_at_s: float) -> None:
        """Everything volatile."""
        self.faults.restart()
        self.mode = Mode.ENABLED
        self.relay_commanded = False
        self.pilot_a = self.eeprom.current_a
        self.boot_locked = self.lock_build
        self.auth_locked = False
        self.lock_manual = self.lock_closed = False
        self.session_ended = True
        self.session_ws = self.elapsed_s = self.current_a = 0.0
        self.time_limit_quarters = self.charge_limit_kwh = 0
        self.limited = self.timer_on = False
        self.heartbeat_trigger = 0
        self._pulse_s = ready_at_s
        self._seen = self._candidate = self._pilot_now
        self._candidate_since_s = ready_at_s
        self._settle_at_s = ready_at_s
        self._sleep_opens_at_s = 0.0
        self._close_at_s: float | None = None
        self._restart_at_s: float | None = None
        self._ready_at_s: float | None = ready_at_s
        self._announced: tuple[int, ...] | None = None

    @property
    def booting(self) -> bool:
        """It hears and says nothing."""
        return self._ready_at_s is not None

    @property
    def state(self) -> int:
        """The state code as `$GS` reports it."""
        fault = self.faults.state
        if self.booting:
            return STARTING
        if fault is not None:
            return fault
        if self.mode is not Mode.ENABLED:
            return SLEEPING if self.mode is Mode.SLEEPING else DISABLED
        if self.now_s < self._settle_at_s:
            return STARTING
        if self._seen == "C" and self.relay_commanded:
            return CHARGING
        return CONNECTED_NOT if self._seen == "A" else CONNECTED

    @property
    def pilot_code(self) -> int:
        """What the pilot shows as 01, 02 or 03, in sleep and fault too; 00 where -12 V hides it."""
        return 0 if self.mode is Mode.DISABLED else _PILOT_CODES[self._seen]

    @property
    def connected(self) -> bool | None:
        """Whether it sees a car; None: it can't tell."""
        return None if self.mode is Mode.DISABLED else self._seen != "A"

    @property
    def offered_a(self) -> float:
        """Amps that the pilot's PWM offers to the car; 0: steady voltage."""
        offering = self.state in (CONNECTED, CHARGING) and not self.locked and self._restart_at_s is None
        return float(self.pilot_a) if offering else 0.0

    @property
    def locked(self) -> bool:
        """Boot lock or authorization lock, in builds that have them."""
        return self.boot_locked or self.auth_locked

    @property
    def cable_locked(self) -> bool:
        """What is commanded at the lock output; automatic: while connected."""
        return self.lock_closed if self.lock_manual else bool(self.connected)

    @property
    def vflags(self) -> int:
        """The volatile flags of `$GS` and `$AT`."""
        bits = {
            0x0002: self.faults.hard,
            0x0004: self.limited,
            0x0008: self.auth_locked,
            0x0010: self.time_limit_quarters > 0,
            0x0020: "no-ground" in self.faults.ever,
            0x0040: self.relay_commanded,
            0x0080: "gfci" in self.faults.ever,
            0x0100: bool(self.connected),
            0x0200: self.session_ended,
            0x1000: self.timer_on,
            0x2000: self.charge_limit_kwh > 0,
            0x4000: self.boot_locked,
            0x8000: self.lock_manual,
        }
        return sum(bit for bit, on in bits.items() if on)

    @property
    def at_rest(self) -> bool:
        """Nothing about the board changes soon as long as nothing around it does."""
        waiting = self.booting or self._restart_at_s is not None or self._close_at_s is not None
        settling = self.now_s < self._settle_at_s or self._candidate != self._seen
        return not waiting and not settling and not (self.relay_commanded and self.mode is not Mode.ENABLED)

    def step(self, now_s: float, dt_s: float, *, pilot: str, current_a: float) -> None:
        """Live on until `now_s`. `pilot` is the car's letter, `current_a` what flows on phase 1."""
        self.now_s = now_s
        self._pilot_now = pilot
        self.current_a = current_a
        if self._ready_at_s is not None:
            if now_s >= self._ready_at_s:
                self._finish_boot()
            return
        if self._restart_at_s is not None and now_s >= self._restart_at_s:
            self._power_up(now_s + RESET_S)
            return
        self._watch_pilot(pilot)
        self._watch_faults()
        self._watch_heartbeat()
        self._watch_limits()
        self._switch()
        if self.relay_commanded:
            self.elapsed_s += dt_s
            self.session_ws += self.current_a * self.eeprom.voltage_mv / 1000 * dt_s
        self.announce()

    def power_up(self) -> None:
        """Power was gone and is back."""
        self._power_up(self.now_s + POST_S)

    def facts(self) -> dict[str, Any]:
        """What it really is and does, for people and tests."""
        return {
            "state": f"{self.state:02X}",
            "mode": self.mode.value,
            "enabled": self.mode is Mode.ENABLED,
            "booting": self.booting,
            "offering": self.offered_a > 0,
            "pilot_a": self.pilot_a,
            "charging": self.state == CHARGING,
            "faults": sorted(self.faults.causes),
            "fault": self.faults.found,
            "supervision": {
                "interval_s": self.eeprom.heartbeat_s,
                "fallback_a": self.eeprom.heartbeat_a,
                "trigger": self.heartbeat_trigger,
            },
        }

    def enable(self) -> None:
        """`$FE`: the pilot is looked at anew."""
        if self.mode is Mode.ENABLED:
            return
        self.mode = Mode.ENABLED
        self.limited = False
        self._settle_at_s = self.now_s + SETTLE_S
        self._sleep_opens_at_s = self.now_s + SLEEP_OPENS_AFTER_S

    def sleep(self) -> None:
        """`$FS`: steady +12 V; the relay opens once the car has let go, or after 3 s."""
        if self.mode is not Mode.SLEEPING:
            self.mode = Mode.SLEEPING
            self._sleep_opens_at_s = self.now_s + SLEEP_OPENS_AFTER_S

    def disable(self) -> None:
        """`$FD`: -12 V, and the relay opens at once."""
        self.mode = Mode.DISABLED
        self._open()

    def restart(self) -> None:
        """`$FR`: with the relay closed the offer ends first, and 3 s later power is gone."""
        if self._restart_at_s is None:
            self._restart_at_s = self.now_s + (RESTART_UNDER_LOAD_S if self.relay_commanded else 0.0)
            self._sleep_opens_at_s = self._restart_at_s

    def set_current(self, amps: int, *, volatile: bool) -> bool:
        """`$SC`: put `amps` in force, clamped; whether they were taken as given."""
        wanted = max(CURRENT_A_MIN, min(amps, self.current_a_max))
        if self.faults.found == "overtemp":
            wanted = min(wanted, self.pilot_a)
        self.pilot_a = wanted
        if not volatile:
            self.eeprom.current_a = wanted
        return wanted == amps

    def supervise(self, interval_s: int, amps: int) -> None:
        """`$SY i a`: without a pulse for so long the pilot drops to `amps`. Kept in the EEPROM; 0 0 is off."""
        self.eeprom.heartbeat_s, self.eeprom.heartbeat_a = interval_s, amps
        self.heartbeat_trigger = 0
        self._pulse_s = self.now_s

    def pulse(self) -> bool:
        """`$SY`: still alive; False if a pulse was missed and nobody acknowledged that."""
        self._pulse_s = self.now_s
        return self.heartbeat_trigger != 2

    def acknowledge(self) -> None:
        """`$SY 165`: the missed pulse is known; the *configured* maximum holds again."""
        self._pulse_s = self.now_s
        if self.heartbeat_trigger == 2:
            self.heartbeat_trigger = 1
            self.pilot_a = self.eeprom.current_a

    def press_button(self, *, long: bool = False) -> None:
        """The front button: acts by itself, or only tells if it was disabled with `$FF B 0`."""
        if self.eeprom.flags & BUTTON_OFF_FLAG:
            self.messages.append(Message("AN", ("1" if long else "0",)))
        elif self.mode is Mode.ENABLED:
            self.sleep()
        else:
            self.enable()

    def announce(self) -> None:
        """Say `$AT` if anything that counts has changed."""
        if self.booting:
            return
        fields = (self.state, self.pilot_code, self.pilot_a, self.vflags)
        counted = (*fields[:3], fields[3] & _ANNOUNCED_VFLAGS)
        if counted != self._announced:
            self._announced = counted
            self.messages.append(Message("AT", (f"{fields[0]:02x}", f"{fields[1]:02x}", str(fields[2]), f"{fields[3]:04x}")))

    def _finish_boot(self) -> None:
        self._ready_at_s = None
        self._pulse_s = self.now_s
        self._seen = self._candidate = self._pilot_now
        if self._seen != "A":
            self._plugged()
        found = self.faults.look(self.now_s, flags=self.eeprom.flags, car=self._seen != "A")
        if found is not None:
            self._count_trip(found)
        code = KINDS[found].state if found is not None and found in POST_KINDS else 0
        self.messages.append(Message("AB", (f"{code:02x}", FIRMWARE)))
        self.announce()

    def _watch_pilot(self, pilot: str) -> None:
        if self.mode is Mode.DISABLED:
            return
        if pilot != self._candidate:
            self._candidate = pilot
            self._candidate_since_s = self.now_s
        wait_s = DEBOUNCE_UNPLUG_S if pilot == "A" else DEBOUNCE_S
        if pilot == self._seen or self.now_s - self._candidate_since_s < wait_s - _EPSILON_S:
            return
        was_connected = self._seen != "A"
        self._seen = pilot
        if pilot == "A":
            self._unplugged()
        elif not was_connected:
            self._plugged()

    def _plugged(self) -> None:
        self.session_ws = self.elapsed_s = 0.0
        self.session_ended = False
        self.faults.plugged()

    def _unplugged(self) -> None:
        """The kWh counter in the EEPROM is brought up to date only here: a power cut in mid-session loses it."""
        self.eeprom.energy_wh += int(self.session_ws / 3600)
        self.session_ended = True
        self.time_limit_quarters = self.charge_limit_kwh = 0
        if self.limited:
            self.enable()
        self.faults.unplugged()

    def _watch_faults(self) -> None:
        found = self.faults.look(self.now_s, flags=self.eeprom.flags, car=bool(self.connected))
        if found is not None:
            self._open()
            self._count_trip(found)

    def _count_trip(self, kind: str) -> None:
        counters = {"gfci": "gfi_trips", "no-ground": "no_ground_trips", "stuck-relay": "stuck_relay_trips"}
        name = counters.get(kind)
        if name is not None:
            setattr(self.eeprom, name, min(_COUNTER_MAX, getattr(self.eeprom, name) + 1))

    def _watch_heartbeat(self) -> None:
        # Choice: the interval wraps at 65.536 s as it appears to on the board's 16-bit arithmetic, so that a driver
        # that asks for more is found out here.
        interval_s = (self.eeprom.heartbeat_s * 1000 & 0xFFFF) / 1000
        if self.eeprom.heartbeat_s == 0 or self.heartbeat_trigger == 2 or self.now_s - self._pulse_s <= interval_s:
            return
        self.heartbeat_trigger = 2
        self.pilot_a = min(self.pilot_a, max(CURRENT_A_MIN, self.eeprom.heartbeat_a))

    def _watch_limits(self) -> None:
        too_long = 0 < self.time_limit_quarters * 900 <= self.elapsed_s
        too_much = 0 < self.charge_limit_kwh * 3_600_000 <= self.session_ws
        if (too_long or too_much) and self.mode is Mode.ENABLED:
            self.sleep()
            self.limited = True

    def _switch(self) -> None:
        if self.faults.found is not None or self.mode is Mode.DISABLED:
            self._open()
        elif self.mode is Mode.SLEEPING or self.now_s < self._settle_at_s or self._restart_at_s is not None or self.locked:
            self._close_at_s = None
            let_go = self._seen != "C" or self.current_a <= SLEEP_OPENS_BELOW_A
            if let_go or self.now_s >= self._sleep_opens_at_s:
                self._open()
        elif self._seen != "C":
            self._open()
        elif not self.relay_commanded:
            self._close_at_s = self.now_s + RELAY_DELAY_S if self._close_at_s is None else self._close_at_s
            if self.now_s >= self._close_at_s - _EPSILON_S:
                self._close_at_s = None
                self.relay_commanded = True

    def _open(self) -> None:
        self.relay_commanded = False
        self._close_at_s = None
