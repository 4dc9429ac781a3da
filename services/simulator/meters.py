"""Which virtual meters there are, and what their server may ask of each. Sans I/O.

Owns: the table by model. Does not: know registers (`eastron.py`, `integer_meters.py`).
"""

from collections.abc import Callable
from typing import Protocol

from services.simulator.eastron import METER_CODES, Eastron, Measured
from services.simulator.integer_meters import AbbB23, Em340


class VirtualMeter(Protocol):
    """One meter on the bus."""

    model: str
    unit: int

    @property
    def input_blocks(self) -> tuple[tuple[int, int], ...]:
        """Ranges that function 4 can read: first address, and the one after the last."""

    @property
    def holding_blocks(self) -> tuple[tuple[int, int], ...]:
        """Ranges that function 3 can read."""

    def shown_wh(self, register_wh: float) -> int:
        """What it shows when so much has gone through it: it has a resolution."""

    def input_words(self, address: int, count: int, measured: Measured) -> list[int] | None:
        """Registers by function 4; None if that is more than the meter gives at once."""

    def holding_words(self, address: int, count: int, measured: Measured) -> list[int]:
        """Registers by function 3."""

    def write(self, address: int, words: list[int]) -> bool:
        """Function 16; False if the meter refuses."""


MODELS: dict[str, Callable[[str, int], VirtualMeter]] = {
    **dict.fromkeys(METER_CODES, Eastron),
    "abb-b23": AbbB23,
    "em340": Em340,
}
"""By the names that station.toml uses; made with model and Modbus address."""
