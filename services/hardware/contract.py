"""What every device driver owes the service above it: desired state in, observed state out (hardware.md §7).

Owns: the shapes of both, the driver protocol and its errors. Does not: know a wire protocol or a bus topic.

Error tree: `DeviceError` -> `PortMissing` (the port is not there, or vanished), `NoAnswer` (time-out), `WrongAnswer` (checksum,
nonsense, another device than configured).
"""

from typing import Generic, Literal, Protocol, TypeVar

import msgspec

from bus.card_messages import CardOutcome
from bus.vocabulary import ChargePointErrorCode

Desired = TypeVar("Desired", contravariant=True)
Observed = TypeVar("Observed")
ControlPilot = Literal["A", "B", "C", "D", "E", "F"]


class DeviceError(Exception):
    """A device can't be used now; the text says in plain words which one, why, and what to do."""


class PortMissing(DeviceError):
    """The port is not there, can't be opened, or vanished."""


class NoAnswer(DeviceError):
    """The device did not answer in time."""


class WrongAnswer(DeviceError):
    """The device answered with a wrong checksum, nonsense, or as another device than configured."""


class DeviceInfo(msgspec.Struct, frozen=True):
    """Who a device says it is; empty where it does not say."""

    vendor: str = ""
    model: str = ""
    serial: str = ""
    firmware: str = ""
    protocol: str = ""


class Counters(msgspec.Struct, frozen=True):
    """Since the driver was made."""

    transmissions: int = 0
    replies: int = 0
    timeouts: int = 0
    errors: int = 0
    reconnects: int = 0


class Driver(Protocol, Generic[Desired, Observed]):
    """One device. Only its own thread calls it; each call is bounded by about a second."""

    name: str
    poll_period_s: float
    # A driver may have `wait_s_max`: the longest wait until its lost device is tried again, 30 s without it.

    def open(self) -> DeviceInfo:
        """Open the port and find out who is there, without changing any output. Raises DeviceError."""

    def fileno(self) -> int | None:
        """Readable: call `exchange` early. None: the device never speaks unasked."""

    def exchange(self, desired: Desired | None) -> "list[Observed]":
        """Apply `desired` where it differs (None: change nothing), poll, and say what was seen. Raises DeviceError."""

    def close(self) -> None:
        """Close the port and leave the output as it is. Never raises; harmless when nothing is open."""

    def counters(self) -> Counters:
        """What went over the wire since the driver was made. Any thread may ask."""


class RawReading(msgspec.Struct, frozen=True):
    """What a meter says, from one poll. `read_boottime_s` is the instant before the request went out. Tuples per phase."""

    read_boottime_s: float
    serial: str
    energy_import_wh: int
    energy_export_wh: int | None = None
    power_w: float | None = None
    voltages_v: tuple[float, ...] = ()
    currents_a: tuple[float, ...] = ()
    powers_w: tuple[float, ...] = ()
    frequency_hz: float | None = None
    power_factor: float | None = None


class EvseDesired(msgspec.Struct, frozen=True):
    """The output that a charging controller shall give. The default is the safe one. Amps per phase; below 6: no energy."""

    energy_allowed: bool = False
    limit_a: float = 0.0
    locked: bool | None = False
    """Hold the plug in the socket. It is held before energy is offered, and let go only once the contactor is open. None: the
    lock stays as it is, nothing is said to it."""
    unlock_attempts: int = 0
    """How often the lock was to be opened by force so far: one more is one more attempt, even if it seems to be open."""
    at_once: bool = False
    """The emergency stop, only where no energy is allowed: the contactor opens without waiting for the vehicle to let go."""


class EvseFault(msgspec.Struct, frozen=True):
    """One fault of a charging controller, in OCPP's words and in its own (`openevse:06`). `warning`: it charges on."""

    error_code: ChargePointErrorCode
    vendor_code: str
    info: str = ""
    """Plain words, 50 characters at most."""
    warning: bool = False


class EvseObservation(msgspec.Struct, frozen=True):
    """What a charging controller says. `offering`: PWM on. `limit_a`: amps in force. None: it can't tell now.

    `session_energy_ws` and `session_elapsed_s` are the controller's own counters that it sets back at plug-in: they tell
    whether it is still the same plug-in after a restart of ours. `boots`: restarts of the controller seen since `open`.
    `locked` None: there is no lock. `unlock_attempts`: the newest of `EvseDesired` that was tried, well or not.
    `reading`: what its own meter has counted, if it is to be one and could be read in this exchange.
    `order`: what was carried out before this was seen; None: there was no order yet.
    """

    control_pilot: ControlPilot | None
    plugged: bool | None
    offering: bool
    relay_closed: bool
    limit_a: float
    faults: tuple[EvseFault, ...] = ()
    session_energy_ws: int = 0
    session_elapsed_s: int = 0
    boots: int = 0
    temperature_c: float | None = None
    locked: bool | None = None
    unlock_attempts: int = 0
    reading: RawReading | None = None
    order: EvseDesired | None = None


class MeterDesired(msgspec.Struct, frozen=True):
    """A reading is wanted that is not older than this boottime."""

    read_not_before_boottime_s: float = 0.0


class ReaderDesired(msgspec.Struct, frozen=True):
    """What a reader shall show to the person before it, as far as it can; None: nothing."""

    outcome: CardOutcome | None = None


class TokenSeen(msgspec.Struct, frozen=True):
    """A reader sees a card: hexadecimal digits of its UID, or text; repeated while it is held there.

    `verbatim`: the reader sends a whole idTag as text, which is used as it is, even if it looks like a UID.
    """

    uid: str
    boottime_s: float
    verbatim: bool = False


class InputObservation(msgspec.Struct, frozen=True):
    """A digital input of the station, told when it changes."""

    active: bool
