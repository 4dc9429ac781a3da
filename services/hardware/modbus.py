"""One unit of Modbus RTU on a port, through minimalmodbus (hardware.md §2.3).

Owns: requests with their tries and time-outs, their counting, and what each failure is called. Does not: know what a register
means; the drivers do.
"""

import contextlib
import termios
from collections.abc import Callable

import minimalmodbus
import msgspec
import serial

from services.hardware.contract import NoAnswer, WrongAnswer
from services.hardware.port import Port, open_port, port_missing
from services.hardware.tally import Tally
from services.hardware.turns import Turns

TRIES = 3
TURNAROUND_S = 0.2
"""A device's time to think; it comes on top of the time that the bytes need."""
HOLDING_REGISTERS, INPUT_REGISTERS = 3, 4
"""Function codes that read them."""
_BITS_PER_BYTE = 11
_REPLY_OVERHEAD_BYTES = 5
_REQUEST_BYTES = 8


class Refused(WrongAnswer):
    """The device does not have these registers, or does not take these values (exceptions 1 to 3)."""


class Wire(msgspec.Struct, frozen=True):
    """How a unit is reached. `what`: what people call the device, for the words of a failure."""

    what: str
    path: str
    baud: int
    parity: str = "N"
    unit: int = 1
    shared: bool = False
    """Other processes talk to other units on the same line; all of them take turns."""


class ModbusUnit:
    """The conversation with one unit; only its driver's thread calls it."""

    def __init__(self, wire: Wire, tally: Tally, now: Callable[[], float], opened: Callable[..., Port] = open_port) -> None:
        self._wire = wire
        self._opened = opened
        self._tally = tally
        self._now = now
        self._port: Port | None = None
        self._turns: Turns | None = None
        self._timeout_s = 0.0

    def open(self, registers_max: int) -> None:
        """Open the port; no reply will have more registers than that. Raises PortMissing."""
        self.close()
        wire = self._wire
        self._timeout_s = timeout_s(registers_max, wire.baud)
        if wire.shared:
            self._turns = Turns(wire.path, self._now)
        # Opening throws away what has arrived: not while somebody else waits for it.
        with self._turn(self._now()):
            self._port = self._opened(wire.path, wire.baud, parity=wire.parity, timeout_s=self._timeout_s, shared=wire.shared)
        self._instrument = minimalmodbus.Instrument(self._port.serial, wire.unit)

    def close(self) -> None:
        """Close the port; harmless when none is open."""
        if self._port is not None:
            self._port.close()
            self._port = None
        if self._turns is not None:
            self._turns.close()
            self._turns = None

    def read(self, function: int, address: int, count: int, deadline_s: float) -> list[int]:
        """`count` registers from `address` on. No try begins that might end after boottime `deadline_s`, but the first.

        Raises DeviceError, among them Refused.
        """
        return self._tried(lambda: self._instrument.read_registers(address, count, functioncode=function), count, deadline_s)

    def write(self, address: int, words: list[int], deadline_s: float) -> None:
        """Write holding registers from `address` on, with function 16. Raises DeviceError, among them Refused."""

        def send() -> list[int]:
            self._instrument.write_registers(address, words)
            return words

        self._tried(send, len(words), deadline_s)

    def _tried(self, exchange: Callable[[], list[int]], registers: int, deadline_s: float) -> list[int]:
        """One request, tried again while time is left."""
        assert self._port is not None, "open comes first"
        failure: NoAnswer | WrongAnswer | None = None
        for _ in range(TRIES):
            if failure is not None and self._now() + timeout_s(registers, self._wire.baud) > deadline_s:
                break
            self._tally.transmissions += 1
            try:
                with self._turn(deadline_s):
                    words = exchange()
            except minimalmodbus.IllegalRequestError as error:
                self._tally.errors += 1
                raise Refused(f"{self._who} refuses a request ({_brief(error)}); is it of the kind in station.toml?") from None
            except minimalmodbus.NoResponseError:
                self._tally.timeouts += 1
                failure = NoAnswer(
                    f"no {self._wire.what} answers at {self._wire.path} as unit {self._wire.unit}; "
                    f"check power, wiring, address and {self._wire.baud} baud"
                )
            except minimalmodbus.ModbusException as error:
                self._tally.errors += 1
                # Some adapters echo what is sent (hardware.md §2.2); another one may be fitted later.
                self._instrument.handle_local_echo = self._port.echoes
                failure = WrongAnswer(f"{self._who} answers wrongly ({_brief(error)}); check wiring, speed, parity")
            except (serial.SerialException, termios.error, OSError) as error:
                raise port_missing(self._wire.path, error) from None
            else:
                self._tally.replies += 1
                return words
        assert failure is not None, "each try ends in words or in a failure"
        raise failure

    def _turn(self, deadline_s: float) -> contextlib.AbstractContextManager[None]:
        """The line for one exchange; alone on it, it is always ours."""
        return contextlib.nullcontext() if self._turns is None else self._turns.turn(deadline_s, self._timeout_s)

    @property
    def _who(self) -> str:
        return f"{self._wire.what} at {self._wire.path}"


def timeout_s(registers: int, baud: int) -> float:
    """How long a reply with so many registers may take."""
    reply_bytes = _REPLY_OVERHEAD_BYTES + 2 * registers
    return TURNAROUND_S + (_REQUEST_BYTES + reply_bytes) * _BITS_PER_BYTE / baud


def _brief(error: Exception) -> str:
    """The library's words without the bytes that it appends; which device answered, where another one did."""
    text = " ".join(str(error).split())
    return text.split(" The response is")[0].split(". ")[0].removesuffix(".")[:120]
