"""Registers of energy meters, as tables (hardware.md §4.1 to §4.4).

Owns: addresses, types, scales, word orders and polling plans. Does not: talk; `modbus.py` reads any table. A new model is a
new table here, its line in `services/configuration/model.py`, and a virtual one in `services/simulator/meters.py`.
"""

import struct
from enum import Enum

import msgspec

from services.hardware.modbus import HOLDING_REGISTERS, INPUT_REGISTERS


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

    @property
    def missing(self) -> bytes:
        """How "no value" is written, where it is: all bits set, or but for the sign (hardware.md §4.2)."""
        first = b"\x7f" if self.value[1].islower() else b"\xff"
        return first + b"\xff" * (2 * self.registers - 1)


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


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of meter: its values, and the requests that fetch them."""

    vendor: str
    name: str
    rows: tuple[Row, ...]
    blocks: tuple[Block, ...]
    function: int = INPUT_REGISTERS
    low_word_first: bool = False
    marks_missing: bool = False
    """Whether the largest number of a type means that there is no value now."""
    serial_address: int | None = None
    """Holding registers (FC 3) with the serial number, uint32; None: it does not tell one."""

    code_address: int | None = None
    """Holding register that tells Eastron's models apart; None: it has none."""

    def value(self, row: Row, words: list[int]) -> float | None:
        """The value of a row from its registers, scaled. None: the meter says that it has none now.

        What is no number comes out as one that is not finite.
        """
        ordered = words[::-1] if self.low_word_first else words
        raw = struct.pack(f">{len(ordered)}H", *ordered)
        if self.marks_missing and raw == row.type.missing:
            return None
        (value,) = struct.unpack(row.type.value, raw)
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

_EASTRON_SERIAL = 0xFC00
_EASTRON_CODE = 0xFC02


def _eastron(name: str, rows: tuple[Row, ...], blocks: tuple[Block, ...]) -> Model:
    return Model(
        vendor="Eastron", name=name, rows=rows, blocks=blocks, serial_address=_EASTRON_SERIAL, code_address=_EASTRON_CODE
    )


def _in_turn(quantity: Quantity, first: int, scale: float, type_: Type) -> tuple[Row, ...]:
    """L1, L2 and L3, one behind the other."""
    return tuple(Row(quantity, first + type_.registers * place, scale, place + 1, type_) for place in range(3))


_ABB = Model(
    vendor="ABB",
    name="B23",
    function=HOLDING_REGISTERS,
    marks_missing=True,
    rows=(
        Row(Quantity.IMPORT, 0x5000, scale=10.0, type=Type.U64),
        Row(Quantity.EXPORT, 0x5004, scale=10.0, type=Type.U64),
        *_in_turn(Quantity.VOLTAGE, 0x5B00, 0.1, Type.U32),
        *_in_turn(Quantity.CURRENT, 0x5B0C, 0.01, Type.U32),
        Row(Quantity.POWER, 0x5B14, scale=0.01, type=Type.S32),
        *_in_turn(Quantity.POWER, 0x5B16, 0.01, Type.S32),
        Row(Quantity.FREQUENCY, 0x5B2C, scale=0.01, type=Type.U16),
        Row(Quantity.POWER_FACTOR, 0x5B3A, scale=0.001, type=Type.S16),
    ),
    blocks=(Block(0x5000, 8), Block(0x5B00, 45), Block(0x5B3A, 1)),
)
_EM340 = Model(
    vendor="Carlo Gavazzi",
    name="EM340",
    low_word_first=True,
    rows=(
        *_in_turn(Quantity.VOLTAGE, 0x0000, 0.1, Type.S32),
        *_in_turn(Quantity.CURRENT, 0x000C, 0.001, Type.S32),
        *_in_turn(Quantity.POWER, 0x0012, 0.1, Type.S32),
        Row(Quantity.POWER, 0x0028, scale=0.1, type=Type.S32),
        Row(Quantity.POWER_FACTOR, 0x0031, scale=0.001, type=Type.S16),
        Row(Quantity.FREQUENCY, 0x0033, scale=0.1, type=Type.S16),
        # In steps of 100 Wh: coarse for billing (hardware.md §4.3).
        Row(Quantity.IMPORT, 0x0034, scale=100.0, type=Type.S32),
        Row(Quantity.EXPORT, 0x004E, scale=100.0, type=Type.S32),
    ),
    blocks=(Block(0x0000, 54), Block(0x004E, 2)),
)

MODELS: dict[str, Model] = {
    "sdm630": _eastron("SDM630", _THREE_PHASE, _THREE_PHASE_BLOCKS),
    "sdm120": _eastron("SDM120", _SINGLE_PHASE, _SINGLE_PHASE_BLOCKS),
    "sdm230": _eastron("SDM230", _SINGLE_PHASE, _SINGLE_PHASE_BLOCKS),
    "sdm72d-m-2": _eastron("SDM72D-M v2", _THREE_PHASE, _THREE_PHASE_BLOCKS),
    "abb-b23": _ABB,
    "em340": _EM340,
}
"""By the names that station.toml uses; `METER_BAUDS` in services/configuration/model.py says which of them it accepts."""
