"""Eastron energy meters over Modbus RTU: one driver, one table a model (hardware.md §2.3, §4.1).

Owns: reading a table's registers through minimalmodbus, and what a failure is called. Does not: judge readings
(`services/meter/quality.py`) or know addresses (`models.py`).
"""

import math
import struct
import termios

import minimalmodbus
import msgspec
import serial

from bus.clock import boottime_s
from services.hardware.contract import Counters, DeviceInfo, MeterDesired, NoAnswer, PortMissing, RawReading, WrongAnswer
from services.hardware.port import open_port
from services.meter.drivers.models import SERIAL_ADDRESS, Block, Model, Quantity

REPLY_S = 0.3
TRIES = 2
POLL_PERIOD_S = 1.0
INPUT_REGISTERS, HOLDING_REGISTERS = 4, 3


class EastronMeter:
    """One meter on one port."""

    name = "eastron"

    def __init__(self, port: str, model: Model, *, baud: int, parity: str, unit: int) -> None:
        self.poll_period_s = POLL_PERIOD_S
        self._path = port
        self._model = model
        self._line = (baud, parity)
        self._unit = unit
        self._port: serial.Serial | None = None
        self._instrument: minimalmodbus.Instrument | None = None
        self._counters = Counters()
        self._serial = ""
        self._single_reads = False

    def open(self) -> DeviceInfo:
        """Open and ask for the serial number and one reading. Raises DeviceError."""
        self.close()
        baud, parity = self._line
        self._port = open_port(self._path, baud, parity=parity, timeout_s=REPLY_S)
        self._instrument = minimalmodbus.Instrument(self._port, self._unit)
        self._instrument.clear_buffers_before_each_transaction = True
        high, low = self._registers(SERIAL_ADDRESS, 2, HOLDING_REGISTERS)
        self._serial = str(high << 16 | low)
        self._read_values()
        return DeviceInfo(vendor="Eastron", model=self._model.name, serial=self._serial, protocol=f"Modbus unit {self._unit}")

    def fileno(self) -> int | None:
        """A meter never speaks unasked."""
        return None

    def exchange(self, desired: MeterDesired | None) -> list[RawReading]:  # noqa: ARG002
        """One poll. Whatever reading is wanted, this is a new one. Raises DeviceError."""
        began_s = boottime_s()
        return [self._reading(began_s, self._read_values())]

    def close(self) -> None:
        """Close the port."""
        if self._port is not None:
            try:
                self._port.close()
            except (OSError, termios.error):
                pass
        self._port = self._instrument = None

    def counters(self) -> Counters:
        """Since the driver was made."""
        return self._counters

    def _reading(self, began_s: float, values: dict[int, float]) -> RawReading:
        rows = self._model.rows

        def total(quantity: Quantity) -> float | None:
            return next((values[row.address] * row.scale for row in rows if row.quantity is quantity and not row.phase), None)

        def phases(quantity: Quantity) -> tuple[float, ...]:
            return tuple(values[row.address] * row.scale for row in rows if row.quantity is quantity and row.phase)

        import_wh, export_wh = total(Quantity.IMPORT), total(Quantity.EXPORT)
        assert import_wh is not None, f"the table of {self._model.name} has no import register"
        return RawReading(
            read_boottime_s=began_s,
            serial=self._serial,
            energy_import_wh=round(import_wh),
            energy_export_wh=None if export_wh is None else round(export_wh),
            power_w=total(Quantity.POWER_TOTAL),
            voltages_v=phases(Quantity.VOLTAGE),
            currents_a=phases(Quantity.CURRENT),
            powers_w=phases(Quantity.POWER),
            frequency_hz=total(Quantity.FREQUENCY),
            power_factor=total(Quantity.POWER_FACTOR),
        )

    def _read_values(self) -> dict[int, float]:
        """The value at each address of the table. Raises WrongAnswer for what is no number."""
        words: dict[int, int] = {}
        for block in self._plan():
            read = self._registers(block.address, block.count, INPUT_REGISTERS)
            words.update({block.address + index: word for index, word in enumerate(read)})
        values: dict[int, float] = {}
        for row in self._model.rows:
            value = struct.unpack(">f", struct.pack(">HH", words[row.address], words[row.address + 1]))[0]
            if not math.isfinite(value):
                self._count(errors=1)
                raise WrongAnswer(f"{self._path}: the meter gives no number for its {row.quantity.value}")
            values[row.address] = value
        return values

    def _plan(self) -> tuple[Block, ...]:
        """Blocks, or single values for a meter that refuses to be read across gaps."""
        if not self._single_reads:
            return self._model.blocks
        return tuple(Block(address, 2) for address in sorted({row.address for row in self._model.rows}))

    def _registers(self, address: int, count: int, function: int) -> list[int]:
        assert self._instrument is not None, "the port is not open"
        for attempt in range(1, TRIES + 1):
            self._count(transmissions=1)
            try:
                words: list[int] = self._instrument.read_registers(address, count, functioncode=function)
            except minimalmodbus.NoResponseError:
                self._count(timeouts=1)
                if attempt == TRIES:
                    raise NoAnswer(
                        f"{self._path}: no meter answers as unit {self._unit}; check wiring, address and baud rate"
                    ) from None
            except minimalmodbus.IllegalRequestError as error:
                self._refused(count, error)
            except (minimalmodbus.ModbusException, ValueError, TypeError) as error:
                self._count(errors=1)
                if attempt == TRIES:
                    raise WrongAnswer(
                        f"{self._path}: the meter's answer is garbled ({error}); check wiring and parity"
                    ) from None
            except (serial.SerialException, termios.error, OSError) as error:
                raise PortMissing(f"{self._path} vanished ({error}); check the adapter") from None
            else:
                self._count(replies=1)
                return words
        raise AssertionError("the last try either returns or raises")

    def _refused(self, count: int, error: Exception) -> None:
        """Exception 2: read value by value from now on; a single value that is refused is another model."""
        self._count(errors=1)
        if count > 2 and not self._single_reads:
            self._single_reads = True
            raise WrongAnswer(f"{self._path}: the meter refuses a block, its values are read one by one") from None
        raise WrongAnswer(f"{self._path}: this is no {self._model.name}, it refuses a register ({error})") from None

    def _count(self, *, transmissions: int = 0, replies: int = 0, timeouts: int = 0, errors: int = 0) -> None:
        old = self._counters
        self._counters = msgspec.structs.replace(
            old,
            transmissions=old.transmissions + transmissions,
            replies=old.replies + replies,
            timeouts=old.timeouts + timeouts,
            errors=old.errors + errors,
        )
