"""Driver of energy meters over Modbus RTU, by table (hardware.md §2.3, §4).

Owns: fetching a table's values. Does not: move bytes (`services.hardware.modbus`), know addresses (`models.py`),
or judge whether a reading can be trusted (the meter service's core does).
"""

import math
from collections.abc import Callable

from bus import logs
from bus.clock import boottime_s
from services.hardware.contract import Counters, DeviceInfo, MeterDesired, RawReading, WrongAnswer
from services.hardware.modbus import HOLDING_REGISTERS, ModbusUnit, Refused, Wire
from services.hardware.probe import EASTRON_CODES
from services.hardware.tally import Tally
from services.meter.drivers.models import Block, Model, Quantity, Row

POLL_PERIOD_S = 1.0
EXCHANGE_S = 1.0
"""No try begins that might end after so long."""
SERIAL_PERIOD_S = 30.0
"""How often the serial number is read again, as a meter may be replaced without the link being lost. It also goes with every
reading that somebody asks for: those bill, or confirm a register that did not go on."""
_EARLY = 0.9
"""A poll may come a little early rather than miss its turn by a hair."""


class ModbusMeter:
    """One meter alone on its port; only its runner's thread calls it (`services.hardware.contract.Driver`)."""

    name = "modbus"

    def __init__(self, wire: Wire, model: Model, *, now: Callable[[], float] = boottime_s) -> None:
        self.poll_period_s = POLL_PERIOD_S
        self._path = wire.path
        self._model = model
        self._unit = wire.unit
        self._now = now
        self._log = logs.logger("meter")
        self._tally = Tally()
        self._modbus = ModbusUnit(wire, self._tally, now)
        self._forget()

    def _forget(self) -> None:
        """The next device may be another one."""
        self._plan: list[Block] = list(self._model.blocks)
        self._missing: set[int] = set()
        self._serial = ""
        self._serial_due_s = 0.0
        self._serial_address = self._model.serial_address
        self._read_s = -math.inf

    def open(self) -> DeviceInfo:
        """Open the port and ask for the serial number. Raises DeviceError."""
        self.close()
        self._forget()
        self._modbus.open(max(block.count for block in self._model.blocks))
        try:
            self._read_serial(self._now() + EXCHANGE_S)
            self._check_model(self._now() + EXCHANGE_S)
        except BaseException:
            self.close()
            raise
        protocol = f"Modbus RTU unit {self._unit}"
        return DeviceInfo(vendor=self._model.vendor, model=self._model.name, serial=self._serial, protocol=protocol)

    def fileno(self) -> int | None:
        """A meter never speaks unasked."""
        return None

    def exchange(self, desired: MeterDesired | None) -> list[RawReading]:
        """One poll, unless the last one is recent enough for both the period and `desired`. Raises DeviceError."""
        began_s = self._now()
        wanted = desired is not None and desired.read_not_before_boottime_s > self._read_s
        if not wanted and began_s < self._read_s + POLL_PERIOD_S * _EARLY:
            return []
        deadline_s = began_s + EXCHANGE_S
        if wanted or began_s >= self._serial_due_s:
            self._read_serial(deadline_s)
        reading = self._reading(began_s, self._read_values(deadline_s))
        self._read_s = began_s
        return [reading]

    def close(self) -> None:
        """Close the port."""
        self._modbus.close()

    def counters(self) -> Counters:
        """Since the driver was made."""
        return self._tally.snapshot()

    def _reading(self, began_s: float, values: dict[Row, float]) -> RawReading:
        def total(quantity: Quantity) -> float | None:
            return next((value for row, value in values.items() if row.quantity is quantity and not row.phase), None)

        def phases(quantity: Quantity) -> tuple[float, ...]:
            found = sorted((row.phase, value) for row, value in values.items() if row.quantity is quantity and row.phase)
            return tuple(value for _, value in found)

        import_wh, export_wh = total(Quantity.IMPORT), total(Quantity.EXPORT)
        if import_wh is None:
            raise WrongAnswer(f"meter at {self._path} has no {Quantity.IMPORT.value}; is it of kind {self._model.name}?")
        return RawReading(
            read_boottime_s=began_s,
            serial=self._serial,
            energy_import_wh=round(import_wh),
            energy_export_wh=None if export_wh is None else round(export_wh),
            power_w=total(Quantity.POWER),
            voltages_v=phases(Quantity.VOLTAGE),
            currents_a=phases(Quantity.CURRENT),
            powers_w=phases(Quantity.POWER),
            frequency_hz=total(Quantity.FREQUENCY),
            power_factor=total(Quantity.POWER_FACTOR),
        )

    def _read_values(self, deadline_s: float) -> dict[Row, float]:
        """All values of the table that the meter has now, each a finite number."""
        words: dict[int, int] = {}
        for block in tuple(self._plan):
            words.update(self._read_block(block, deadline_s))
        values: dict[Row, float] = {}
        for row in self._model.rows:
            addresses = range(row.address, row.address + row.type.registers)
            if self._missing.isdisjoint(addresses):
                value = self._model.value(row, [words[address] for address in addresses])
                if value is None:
                    continue
                if not math.isfinite(value):
                    self._tally.errors += 1
                    raise WrongAnswer(
                        f"meter at {self._path} gives no number as {row.label}; if it stays so, replace the meter"
                    )
                values[row] = value
        return values

    def _read_block(self, block: Block, deadline_s: float) -> dict[int, int]:
        """Registers of a block by address. Where the meter refuses it, its values are read one by one, from now on."""
        try:
            return self._numbered(block, self._modbus.read(self._model.function, block.address, block.count, deadline_s))
        except Refused:
            pass
        rows = [row for row in self._model.rows if block.holds(row)]
        single = sorted({(row.address, row.type.registers) for row in rows})
        position = self._plan.index(block)
        if [(block.address, block.count)] == single:
            self._plan.remove(block)
            self._missing.update(range(block.address, block.address + block.count))
            self._log.warning("meter does not have a value", port=self._path, value=rows[0].label, model=self._model.name)
            return {}
        self._plan[position : position + 1] = [Block(address, count) for address, count in single]
        self._log.info("meter refuses a block of registers, its values are read one by one", port=self._path)
        found: dict[int, int] = {}
        for value in self._plan[position : position + len(single)]:
            found.update(self._read_block(value, deadline_s))
        return found

    def _check_model(self, deadline_s: float) -> None:
        """Another model of the same maker has the same registers, but not all of them: it must not pass for this one."""
        if self._serial_address is None or self._model.code_address is None:
            return
        try:
            (code,) = self._modbus.read(HOLDING_REGISTERS, self._model.code_address, 1, deadline_s)
        except Refused:
            return
        other = EASTRON_CODES.get(code, self._model.name)
        if other != self._model.name:
            raise WrongAnswer(
                f"meter at {self._path} as unit {self._unit} is an {self._model.vendor} {other}, not an {self._model.name}; "
                "correct station.toml, or connect the right meter"
            )

    def _read_serial(self, deadline_s: float) -> None:
        if self._serial_address is None:
            return
        try:
            high, low = self._modbus.read(HOLDING_REGISTERS, self._serial_address, 2, deadline_s)
            self._serial = str(high << 16 | low)
        except Refused:
            self._serial_address = None
        self._serial_due_s = self._now() + SERIAL_PERIOD_S

    def _numbered(self, block: Block, words: list[int]) -> dict[int, int]:
        return {block.address + index: word for index, word in enumerate(words)}
