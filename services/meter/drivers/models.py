"""Registers of energy meters, as tables (hardware.md §4.1, §4.4).

Owns: addresses, types, scales and polling plans. Does not: talk; `eastron.py` reads any table. A new model is a new table.
"""

import struct
from enum import Enum

import msgspec


class Quantity(Enum):
    """What a value tells; per phase where the row has a phase."""

    VOLTAGE = "voltage"
    CURRENT = "current"
    POWER = "power"
    POWER_FACTOR = "power factor"
    FREQUENCY = "frequency"
    IMPORT = "import register"
    EXPORT = "export register"


class Type(Enum):
    """How a value lies in its registers, high word first: the format for `struct`."""

    F32 = ">f"
    U16 = ">H"
    S16 = ">h"
    U32 = ">I"
    S32 = ">i"
    U64 = ">Q"

    @property
    def registers(self) -> int:
        """How many registers of 16 bits the value takes."""
        return struct.calcsize(self.value) // 2


class Row(msgspec.Struct, frozen=True):
    """One value at a register. `scale` brings it to V, A, W, Hz or Wh. `phase` 0: of all phases together."""

    quantity: Quantity
    address: int
    scale: float = 1.0
    phase: int = 0
    type: Type = Type.F32

    @property
    def label(self) -> str:
        """For people: `current of L2`."""
        return f"{self.quantity.value} of L{self.phase}" if self.phase else self.quantity.value


class Block(msgspec.Struct, frozen=True):
    """Registers that are read in one request."""

    address: int
    count: int

    def holds(self, row: Row) -> bool:
        """Whether the row lies in the block."""
        return self.address <= row.address and row.address + row.type.registers <= self.address + self.count


class Model(msgspec.Struct, frozen=True):
    """One kind of meter: its values, and the requests that fetch them. Input registers, FC 4."""

    name: str
    rows: tuple[Row, ...]
    blocks: tuple[Block, ...]


SERIAL_ADDRESS = 0xFC00
"""Holding registers (FC 3) with the serial number, uint32."""


def decode(row: Row, words: list[int]) -> float:
    """The value of a row from its registers, scaled. What the meter calls no number comes out as one that is not finite."""
    (value,) = struct.unpack(row.type.value, struct.pack(f">{len(words)}H", *words))
    return float(value) * row.scale


def _per_phase(phases: int) -> tuple[Row, ...]:
    starts = ((Quantity.VOLTAGE, 0x0000), (Quantity.CURRENT, 0x0006), (Quantity.POWER, 0x000C))
    return tuple(Row(quantity, start + 2 * phase, phase=phase + 1) for quantity, start in starts for phase in range(phases))


_REGISTERS = (Row(Quantity.IMPORT, 0x0048, scale=1000.0), Row(Quantity.EXPORT, 0x004A, scale=1000.0))
_FREQUENCY = Row(Quantity.FREQUENCY, 0x0046)

_SINGLE_PHASE = (
    *_per_phase(1),
    # The power of the only phase is the total.
    Row(Quantity.POWER, 0x000C),
    Row(Quantity.POWER_FACTOR, 0x001E),
    _FREQUENCY,
    *_REGISTERS,
)
_THREE_PHASE = (
    *_per_phase(3),
    Row(Quantity.POWER, 0x0034),
    Row(Quantity.POWER_FACTOR, 0x003E),
    _FREQUENCY,
    *_REGISTERS,
)
_SINGLE_PHASE_BLOCKS = (Block(0x0000, 32), Block(0x0046, 6))
_THREE_PHASE_BLOCKS = (Block(0x0000, 18), Block(0x0034, 24))

MODELS: dict[str, Model] = {
    "sdm630": Model("SDM630", _THREE_PHASE, _THREE_PHASE_BLOCKS),
    "sdm120": Model("SDM120", _SINGLE_PHASE, _SINGLE_PHASE_BLOCKS),
    "sdm230": Model("SDM230", _SINGLE_PHASE, _SINGLE_PHASE_BLOCKS),
    "sdm72d-m-2": Model("SDM72D-M v2", _THREE_PHASE, _THREE_PHASE_BLOCKS),
}
"""By the names that station.toml uses; `METER_BAUDS` in services/configuration/model.py says which of them it accepts."""
