"""Which virtual charging controllers there are, and what the installation may ask of each. Sans I/O.

Owns: the table by driver. Does not: know a board (`board.py`, `evsewb_board.py`) or its line (`openevse.py`, `evsewb.py`).
"""

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from services.simulator.board import Board, Eeprom
from services.simulator.evsewb import EvseWb
from services.simulator.evsewb_board import WbBoard, WbEeprom
from services.simulator.openevse import OpenEvse


class VirtualBoard(Protocol):
    """A controller without its line."""

    kinds: Iterable[str]
    """The faults that it can have."""
    lock_jammed: bool
    relay_commanded: bool

    @property
    def faults(self) -> Any:
        """What is wrong around it: `causes`, `inject(kind)` and `clear(kind)`, which makes it look again."""

    @property
    def booting(self) -> bool:
        """It hears and says nothing."""

    @property
    def offered_a(self) -> float:
        """Amps that the pilot offers to the car; 0: steady voltage."""

    @property
    def cable_locked(self) -> bool:
        """What is commanded at the lock output."""

    @property
    def at_rest(self) -> bool:
        """Nothing about the board changes soon as long as nothing around it does."""

    def step(self, now_s: float, dt_s: float, *, pilot: str, current_a: float) -> None:
        """Live on until `now_s`."""

    def power_up(self) -> None:
        """Power was gone and is back."""

    def facts(self) -> dict[str, Any]:
        """What it really is and does."""


class VirtualController(Protocol):
    """A board and its line."""

    board: Any
    """See `VirtualBoard`."""

    @property
    def eeprom(self) -> msgspec.Struct:
        """What it keeps without power."""

    def receive(self, data: bytes) -> None:
        """Bytes from the line; what they ask for is done now."""

    def take_output(self) -> bytes:
        """What it has said since the last call."""


def new_eeprom(driver: str, current_a: int, unit: int) -> msgspec.Struct:
    """The EEPROM of a controller that was set up for an installation of `current_a`, with this Modbus address."""
    return WbEeprom(unit=unit) if driver == "evsewb" else Eeprom(current_a=current_a)


def made(eeprom: msgspec.Struct, *, current_a_max: int, now_s: float) -> VirtualController:
    """The controller to which this EEPROM belongs, powered up."""
    if isinstance(eeprom, WbEeprom):
        return EvseWb(WbBoard(eeprom, now_s=now_s))
    assert isinstance(eeprom, Eeprom), "there are two kinds"
    return OpenEvse(Board(eeprom, current_a_max=current_a_max, now_s=now_s))
