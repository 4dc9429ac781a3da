"""Registers of energy meters, as tables (hardware.md §4.1).

Owns: addresses, types, scales and polling plans. Does not: talk; `eastron.py` reads any table. A new model is a new table.
"""

from enum import Enum

import msgspec


class Quantity(Enum):
    """What a register tells; per phase where the row has a phase."""

    VOLTAGE = "voltage"
    CURRENT = "current"
    POWER = "power"
    POWER_TOTAL = "total power"
    POWER_FACTOR = "power factor"
    FREQUENCY = "frequency"
    IMPORT = "import register"
    EXPORT = "export register"


class Row(msgspec.Struct, frozen=True):
    """One value: float32, high word first, at an input register. `scale` brings it to V, A, W, Hz or Wh. `phase` 0: total."""

    quantity: Quantity
    address: int
    scale: float = 1.0
    phase: int = 0


class Block(msgspec.Struct, frozen=True):
    """Registers that are read in one request."""

    address: int
    count: int


class Model(msgspec.Struct, frozen=True):
    """One kind of meter. `codes`: what holding register FC02 answers, where that is known; () : not checked."""

    name: str
    rows: tuple[Row, ...]
    blocks: tuple[Block, ...]


SERIAL_ADDRESS = 0xFC00
"""Holding registers with the serial number, uint32."""


def _three_phases() -> tuple[Row, ...]:
    rows = []
    for phase in (1, 2, 3):
        offset = 2 * (phase - 1)
        rows += [
            Row(Quantity.VOLTAGE, 0x0000 + offset, phase=phase),
            Row(Quantity.CURRENT, 0x0006 + offset, phase=phase),
            Row(Quantity.POWER, 0x000C + offset, phase=phase),
        ]
    return tuple(rows)


_REGISTERS = (
    Row(Quantity.FREQUENCY, 0x0046),
    Row(Quantity.IMPORT, 0x0048, scale=1000.0),
    Row(Quantity.EXPORT, 0x004A, scale=1000.0),
)
_SINGLE_PHASE = (
    Row(Quantity.VOLTAGE, 0x0000, phase=1),
    Row(Quantity.CURRENT, 0x0006, phase=1),
    Row(Quantity.POWER, 0x000C, phase=1),
    Row(Quantity.POWER_TOTAL, 0x000C),
    Row(Quantity.POWER_FACTOR, 0x001E),
    *_REGISTERS,
)
_THREE_PHASE = (
    *_three_phases(),
    Row(Quantity.POWER_TOTAL, 0x0034),
    Row(Quantity.POWER_FACTOR, 0x003E),
    *_REGISTERS,
)

MODELS: dict[str, Model] = {
    "sdm630": Model("SDM630", _THREE_PHASE, (Block(0x0000, 18), Block(0x0034, 24))),
    "sdm120": Model("SDM120", _SINGLE_PHASE, (Block(0x0000, 32), Block(0x0046, 6))),
}
"""By the names that station.toml uses."""
