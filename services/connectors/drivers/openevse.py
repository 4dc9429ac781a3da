"""Driver of OpenEVSE controllers over RAPI (hardware.md §3.1).

Owns: bringing the controller to the desired state, polling it, saying what it observes. Does not: decide who may charge.

The controller's output survives this process: `open` looks and changes nothing, as a vehicle may be charging while the
service restarts, and `close` leaves things as they are. Everything goes by comparing the desired state with what the
controller says, so that a restart of the controller (which comes up *enabled*), a lost command and a pressed button all end
in the desired state.

Energy is withdrawn with `$FS`, which gives a vehicle up to three seconds to let go. The emergency stop does not wait for that:
`$FD` opens the contactor at once. At its -12 V the controller can't tell whether a plug is in, and a lock in its own mode lets
go; so `$FS` follows as soon as the contactor is seen open, and nothing is said of the plug until it can be seen again.
"""

import math
from collections.abc import Callable

import msgspec

from bus import logs
from bus.clock import boottime_s
from services.connectors.drivers import openevse_states as states
from services.connectors.drivers import rapi
from services.connectors.drivers.openevse_lock import CableLock
from services.connectors.drivers.openevse_states import Controller
from services.connectors.drivers.rapi_channel import RapiChannel
from services.hardware.contract import Counters, DeviceInfo, EvseDesired, EvseObservation, NoAnswer, RawReading, WrongAnswer
from services.hardware.link import CONTROLLER_WAIT_S_MAX
from services.hardware.port import Port, open_port
from services.hardware.tally import Tally

BAUD = 115200
EXCHANGE_S = 1.0
POLL_PERIOD_S = 1.0
PASSING_PERIOD_S = 0.1
"""While the controller passes through "starting": firmware without asynchronous lines says nothing when it is through."""
LIMIT_A_MIN = 6
"""Less can't be expressed on the control pilot: it means no energy."""
LIMIT_A_MAX = 80
SUPERVISION = (20, 6)
"""`$SY`: without a pulse for 20 s the controller falls back to 6 A, the least that it can. It can't stop by itself."""
PULSE_PERIOD_S = 5.0
SESSION_PERIOD_S = 5.0
"""`$GU` while nobody charges; while charging it goes with every poll."""
SLOW_PERIOD_S = 10.0
"""`$GP` and `$GC`: temperatures, and the current in force in case an asynchronous line was lost."""
REPEAT_S = 5.0
"""A command that the controller takes, but does not follow, is said again after so long. Withdrawing waits for nothing."""
OPENS_S = 1.0
"""`$FD` opens the contactor at once; `$FS` follows after so long even if it is not seen open."""
SEES_AGAIN_S = 0.5
"""After -12 V the controller needs a moment until it knows again whether a plug is in (debouncing: 250 ms)."""
_EARLY = 0.9
"""A poll may come a little early rather than miss its turn by a hair."""
_ROUNDS_MAX = 2


class _Due(msgspec.Struct):
    """Boottimes from which each thing is done again."""

    status: float = 0.0
    session: float = 0.0
    slow: float = 0.0
    pulse: float = 0.0
    enable: float = 0.0
    limit: float = 0.0


class OpenEvse:
    """One controller; only its runner's thread calls it (`services.hardware.contract.Driver`).

    `is_meter`: what it counts is told as a reading of the connector's meter. `socket`: the cable is the vehicle's, and its plug
    is held by a lock. A fixed cable has none, and its controller gets no command about one.
    """

    name = "openevse"
    wait_s_max = CONTROLLER_WAIT_S_MAX

    def __init__(
        self,
        path: str,
        *,
        socket: bool = False,
        is_meter: bool = False,
        log: logs.Logger | None = None,
        now: Callable[[], float] = boottime_s,
        opened: Callable[..., Port] = open_port,
    ) -> None:
        self.poll_period_s = POLL_PERIOD_S
        self._path = path
        self._socket = socket
        self._is_meter = is_meter
        self._opened = opened
        self._lock: CableLock | None = None
        self._log = log or logs.logger("connectors")
        self._now = now
        self._tally = Tally()
        self._port: Port | None = None
        self._warned: set[str] = set()
        self._forget()

    def _forget(self) -> None:
        """Nothing is known of the controller, and nothing of what it was told."""
        self._known = Controller()
        self._reading: RawReading | None = None
        self._flags = 0
        self._has_temperature = True
        self._told_nothing()

    def _told_nothing(self) -> None:
        """The controller has forgotten, or may have, what it was told."""
        self._due = _Due()
        self._prepared = False
        self._supervised = False
        self._slept = False
        self._limit_asked: int | None = None
        self._limit_given = 0
        self._reboot_seen = False
        self._disabled_s: float | None = None
        """When it was told `$FD`; None: it was not since its contactor was last seen open."""
        self._blind_until_s = 0.0

    def open(self) -> DeviceInfo:
        """Open the port and ask who is there; changes no output. Raises DeviceError."""
        self.close()
        self._forget()
        self._port = self._opened(self._path, BAUD)
        self._channel = RapiChannel(self._port, self._tally, self._now)
        self._lock = CableLock(self._channel.request, self._now) if self._socket else None
        try:
            return self._probe(self._now() + EXCHANGE_S)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int | None:
        """Readable when the controller has said something unasked."""
        return None if self._port is None else self._port.fileno()

    def exchange(self, desired: EvseDesired | None) -> list[EvseObservation]:
        """Hear what was said, apply `desired` where the controller differs, poll what is due. Within about a second."""
        assert self._port is not None
        deadline_s = self._now() + EXCHANGE_S
        before = self._known
        news = self._listen()
        for _ in range(_ROUNDS_MAX):
            if desired is not None:
                self._converge(desired, deadline_s)
            news |= self._poll(deadline_s, pulse=desired is not None)
            news |= self._listen()
            if desired is None or not self._differs(desired):
                break
        if not news and self._known == before:
            return []
        return [msgspec.structs.replace(states.observation(self._known), reading=self._take_reading(), order=desired)]

    def close(self) -> None:
        """Close the port; the controller goes on as it is."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def counters(self) -> Counters:
        """Since the driver was made."""
        return self._tally.snapshot()

    def _probe(self, deadline_s: float) -> DeviceInfo:
        version = self._ask("GV", deadline_s)
        flags = self._ask("GE", deadline_s)
        limits = self._ask("GC", deadline_s)
        trips = self._ask("GF", deadline_s)
        if version is None or flags is None or len(flags) < 2:
            raise WrongAnswer(f"device at {self._path} does not know $GV and $GE; is it an OpenEVSE?")
        self._take_flags(flags[1])
        self._take_limits(limits, states.numbers("GE", flags, 1)[0])
        self._ask_status(deadline_s)
        self._ask_session(deadline_s)
        self._look_at_lock(deadline_s)
        self._log.debug("charging controller found", port=self._path, fault_counters=" ".join(trips or ()))
        firmware, protocol = (*version, "", "")[:2]
        return DeviceInfo(vendor="OpenEVSE", model="OpenEVSE", firmware=firmware, protocol=f"RAPI {protocol}".strip())

    def _listen(self) -> bool:
        """Take what the controller says unasked; True if there was something."""
        lines = self._channel.unasked()
        for line in lines:
            match line:
                case rapi.Booted(post_code=post_code, firmware=firmware):
                    self._log.warning("charging controller restarted", port=self._path, post=post_code, firmware=firmware)
                    self._told_nothing()
                    known = self._known
                    self._known = Controller(
                        boots=known.boots + 1, pilot_a=known.pilot_a, checks_off=known.checks_off, lock=known.lock
                    )
                    if self._lock is not None:
                        self._lock.forget()
                    self._reboot_seen = True
                case rapi.StateChanged(state=state, pilot_state=pilot_state, pilot_a=pilot_a, vflags=vflags):
                    self._known = msgspec.structs.replace(
                        self._known, state=state, pilot_state=pilot_state, pilot_a=pilot_a, vflags=vflags
                    )
                    # The session's counters may have been set back: never show them beside a newer state.
                    self._due.status = self._due.session = 0.0
                case rapi.OldStateChanged():
                    self._due.status = self._due.session = 0.0
                case rapi.ButtonPressed():
                    self._log.debug("front button pressed", port=self._path)
        return bool(lines)

    def _converge(self, desired: EvseDesired, deadline_s: float) -> None:
        """Say what is to be said so that the output becomes the desired one; safe things first."""
        if not desired.at_once or (self._known.state == states.SLEEPING and not states.relay_closed(self._known)):
            self._disabled_s = None
        if self._must_disable(desired):
            self._disable(deadline_s)
        if self._awaits_opening():
            return
        if self._lock is not None:
            self._lock.follow(desired, deadline_s, relay_closed=states.relay_closed(self._known))
            self._known = msgspec.structs.replace(self._known, lock=self._lock.seen)
        amps = self._offerable_a(desired)
        if amps and self._limit_differs(amps):
            self._set_limit(amps, deadline_s)
        if not amps or self._limit_given > amps:
            if self._must_sleep():
                self._sleep(deadline_s)
        else:
            self._slept = False
            if self._must_wake():
                self._command("FE", deadline_s)
                self._due.enable = self._now() + REPEAT_S
                self._due.status = 0.0
        if not self._prepared:
            self._prepare(deadline_s)

    def _differs(self, desired: EvseDesired) -> bool:
        amps = self._offerable_a(desired)
        if self._lock is not None and self._lock.differs(desired, relay_closed=states.relay_closed(self._known)):
            return True
        if self._reboot_seen:
            self._reboot_seen = False
            return True
        if self._awaits_opening():
            return False
        if self._must_disable(desired):
            return True
        if not amps or self._limit_given > amps:
            return self._must_sleep()
        return self._limit_differs(amps) or self._must_wake()

    def _offerable_a(self, desired: EvseDesired) -> int:
        """No energy through a plug that should be held and is not (hardware.md §6)."""
        return 0 if desired.locked and self._known.lock.locked is False else offered_a(desired)

    def _must_disable(self, desired: EvseDesired) -> bool:
        """Once, until it was seen to work: a contactor that is stuck would not open for another one either."""
        live = states.relay_closed(self._known) or self._known.state in (states.CONNECTED, states.CHARGING)
        return desired.at_once and self._disabled_s is None and live

    def _disable(self, deadline_s: float) -> None:
        """`$FD`; what can't open at once is put to sleep."""
        self._disabled_s = self._now()
        if not self._request_ok("FD", deadline_s):
            self._disabled_s -= OPENS_S
            self._warn_once("charging controller refuses $FD, its contactor opens only when the vehicle lets go, or after 3 s")
            return
        self._slept = False
        self._blind_until_s = math.inf
        self._known = msgspec.structs.replace(self._known, blind=True)
        self._due.status = 0.0

    def _awaits_opening(self) -> bool:
        """Whether `$FD` has still to be seen to work."""
        closed = states.relay_closed(self._known)
        return closed and self._disabled_s is not None and self._now() < self._disabled_s + OPENS_S

    def _sleep(self, deadline_s: float) -> None:
        self._command("FS", deadline_s)
        if self._known.blind or self._known.state == states.DISABLED:
            self._blind_until_s = self._now() + SEES_AGAIN_S
            self._known = msgspec.structs.replace(self._known, blind=True)
        self._slept = True
        self._due.status = self._due.enable = 0.0

    def _must_sleep(self) -> bool:
        """A fault keeps its state whatever it is told, so there one acknowledged command does."""
        if self._known.state == states.SLEEPING:
            return False
        if self._known.state in states.FAULTS or self._known.state == states.DISABLED:
            return not self._slept
        return True

    def _must_wake(self) -> bool:
        """Only a controller that sleeps is enabled: on one that charges nothing may be touched."""
        return self._known.state in (states.SLEEPING, states.DISABLED) and self._now() >= self._due.enable

    def _limit_differs(self, amps: int) -> bool:
        if self._limit_asked != amps or self._known.pilot_a > max(self._limit_given, amps):
            return True
        # Cut by the controller, which may be cooler by now, or by a missed pulse.
        return self._known.pilot_a < amps and self._now() >= self._due.limit

    def _set_limit(self, amps: int, deadline_s: float) -> None:
        """`$SC n V`: volatile, as the EEPROM wears. A negative reply still names the current that is now in force."""
        self._due.limit = self._now() + REPEAT_S
        reply = self._channel.request(f"SC {amps} V", deadline_s)
        if not reply.values:
            self._command("FS", deadline_s)
            raise WrongAnswer(f"charging controller at {self._path} refuses a current limit, energy is withdrawn")
        self._limit_given = states.numbers("SC", reply.values, 1)[0]
        self._limit_asked = amps
        self._known = msgspec.structs.replace(self._known, pilot_a=self._limit_given)
        if self._limit_given > amps:
            self._warn_once("charging controller can't go so low, energy is withdrawn", asked_a=amps, least_a=self._limit_given)

    def _prepare(self, deadline_s: float) -> None:
        """What must hold on a controller of ours; written only where it differs, as the EEPROM wears."""
        # Nobody shall get energy past the authorization by the front button.
        if not self._flags & states.FLAG_BUTTON_DISABLED and self._request_ok("FF B 0", deadline_s):
            self._flags |= states.FLAG_BUTTON_DISABLED
        timer = self._ask("GD", deadline_s)
        if timer is None or any(value.strip("0") for value in timer):
            self._request_ok("ST 0 0 0 0", deadline_s)
        supervision = self._ask("GY", deadline_s)
        if supervision is not None and states.numbers("GY", supervision, 2) == SUPERVISION:
            self._supervised = True
        else:
            accepted = self._request_ok(f"SY {SUPERVISION[0]} {SUPERVISION[1]}", deadline_s)
            self._supervised = accepted or supervision is not None
        if not self._supervised:
            self._warn_once("charging controller has no supervision of this process, it keeps its output if we end")
        self._prepared = True

    def _poll(self, deadline_s: float, *, pulse: bool) -> bool:
        now_s = self._now()
        due = self._due
        polled = now_s >= due.status
        before = self._known.state
        if polled:
            self._ask_status(deadline_s)
        if self._is_meter and polled:
            self._read_meter(deadline_s)
        elif now_s >= due.session:
            self._ask_session(deadline_s)
        if now_s >= due.slow:
            self._ask_slow(deadline_s)
        if pulse and self._supervised and now_s >= due.pulse:
            self._pulse(deadline_s)
        if self._known.state in states.FAULTS and self._known.state != before:
            trips = self._ask("GF", deadline_s)
            code = f"{self._known.state:02X}"
            self._log.warning("charging controller has a fault", port=self._path, state=code, counters=" ".join(trips or ()))
        return polled

    def _pulse(self, deadline_s: float) -> None:
        """Say that this process lives. Refused: a pulse was missed, and the current cut; acknowledge, and set ours again."""
        self._due.pulse = self._now() + PULSE_PERIOD_S * _EARLY
        if not self._request_ok("SY", deadline_s):
            self._log.warning("charging controller missed this process and cut the current, it is set again", port=self._path)
            self._request_ok("SY 165", deadline_s)
            self._limit_asked = None

    def _ask_status(self, deadline_s: float) -> None:
        values = self._ask("GS", deadline_s)
        if values is None:
            raise WrongAnswer(f"device at {self._path} does not know $GS; is it an OpenEVSE?")
        known = states.with_status(self._known, values)
        if known.vflags is None:
            plugged = self._ask("G0", deadline_s)
            known = msgspec.structs.replace(known, connected=None if plugged not in (("0",), ("1",)) else plugged == ("1",))
        known = msgspec.structs.replace(known, blind=self._now() < self._blind_until_s)
        self._known = known
        self.poll_period_s = PASSING_PERIOD_S if known.blind or known.state == states.STARTING else POLL_PERIOD_S
        self._due.status = self._now() + self.poll_period_s * _EARLY

    def _ask_session(self, deadline_s: float) -> None:
        values = self._ask("GU", deadline_s)
        if values is not None:
            session_ws = max(0, states.numbers("GU", values, 1)[0])
            self._known = msgspec.structs.replace(self._known, session_ws=session_ws)
        period_s = POLL_PERIOD_S if self._known.state == states.CHARGING else SESSION_PERIOD_S
        self._due.session = self._now() + period_s * _EARLY

    def _read_meter(self, deadline_s: float) -> None:
        """`$GU` and `$GG` as a reading, unless the plug was moved meanwhile: that is when the session joins the total."""
        plugged, asked_s = states.observation(self._known).plugged, self._now()
        energy, power = self._ask("GU", deadline_s), self._ask("GG", deadline_s)
        self._ask_status(deadline_s)
        if energy is None or power is None:
            self._warn_once("charging controller has no meter of its own; name the meter that is fitted in station.toml")
            return
        session_ws, _ = states.numbers("GU", energy, 2)
        self._known = msgspec.structs.replace(self._known, session_ws=max(0, session_ws))
        if plugged is not None and states.observation(self._known).plugged is plugged:
            self._reading = states.reading(energy, power, plugged=plugged, asked_s=asked_s)
            if self._reading is None:
                self._warn_once("charging controller has no ammeter; name the meter that is fitted in station.toml")

    def _take_reading(self) -> RawReading | None:
        reading, self._reading = self._reading, None
        return reading

    def _look_at_lock(self, deadline_s: float) -> None:
        if self._lock is None:
            return
        self._lock.look(deadline_s)
        self._known = msgspec.structs.replace(self._known, lock=self._lock.seen)
        if self._lock.seen.locked is None:
            self._warn_once("charging controller has no lock, the plug in its socket is not held")

    def _ask_slow(self, deadline_s: float) -> None:
        if self._has_temperature:
            values = self._ask("GP", deadline_s)
            self._has_temperature = values is not None
            temperature_c = None if values is None else states.hottest_c(values)
            self._known = states.with_temperature(self._known, temperature_c)
        self._take_limits(self._ask("GC", deadline_s), self._known.pilot_a)
        self._due.slow = self._now() + SLOW_PERIOD_S

    def _take_limits(self, values: tuple[str, ...] | None, otherwise_a: int) -> None:
        """`$GC`: min, hwmax, pilot, cfgmax. Old firmware has only two of them, and the pilot is not among those."""
        pilot_a = states.numbers("GC", values, 3)[2] if values is not None and len(values) >= 3 else otherwise_a
        self._known = msgspec.structs.replace(self._known, pilot_a=pilot_a)

    def _take_flags(self, text: str) -> None:
        try:
            self._flags = rapi.hexadecimal(text)
        except ValueError:
            raise WrongAnswer(f"charging controller answers $GE with flags {text!r}; is it an OpenEVSE?") from None
        off = states.switched_off(self._flags)
        self._known = msgspec.structs.replace(self._known, checks_off=off)
        if off:
            self._warn_once("charging controller has safety checks switched off; switch them on", checks=", ".join(off))

    def _ask(self, command: str, deadline_s: float) -> tuple[str, ...] | None:
        """The values of a reply; None where the controller does not know the command."""
        reply = self._channel.request(command, deadline_s)
        return reply.values if reply.ok else None

    def _request_ok(self, command: str, deadline_s: float) -> bool:
        return self._channel.request(command, deadline_s).ok

    def _command(self, command: str, deadline_s: float) -> None:
        if not self._request_ok(command, deadline_s):
            raise NoAnswer(f"charging controller at {self._path} refuses ${command}; check its settings, or power it anew")

    def _warn_once(self, event: str, **fields: object) -> None:
        if event not in self._warned:
            self._warned.add(event)
            self._log.warning(event, port=self._path, **fields)


def offered_a(desired: EvseDesired) -> int:
    """Whole amps to offer; 0 when no energy may flow, which a limit below 6 A means too. Never more than desired."""
    if not desired.energy_allowed or not math.isfinite(desired.limit_a) or desired.limit_a < LIMIT_A_MIN:
        return 0
    return min(math.floor(desired.limit_a), LIMIT_A_MAX)
