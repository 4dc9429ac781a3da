"""Which virtual card readers there are, and what the rig may ask of each. Sans I/O.

Owns: the table by driver name. Does not: speak a protocol (`rdm6300.py`, `pn532.py`, `line_reader.py`, `keyboard.py`).
"""

from collections.abc import Callable
from typing import Protocol

from services.simulator import keyboard, line_reader, pn532, rdm6300
from services.simulator.settings import ReaderSettings


class CardReader(Protocol):
    """One virtual reader."""

    @property
    def card_present(self) -> bool:
        """Whether a card is held to it."""

    @property
    def lamps(self) -> tuple[str, ...]:
        """What is lit at it, by the device's own names."""

    @property
    def next_s(self) -> float | None:
        """When something happens by itself; None: nothing will."""

    def swipe(self, tag: str, now_s: float) -> None:
        """Hold a card to it for a moment. Raises TagError."""

    def advance(self, now_s: float) -> bytes:
        """What it sends until `now_s`."""

    def receive(self, data: bytes, now_s: float) -> bytes:
        """What it sends because of `data`."""


READERS: dict[str, Callable[[ReaderSettings], CardReader]] = {
    "rdm6300": lambda _: rdm6300.Reader(),
    "pn532": lambda _: pn532.Reader(),
    "line": lambda settings: line_reader.Reader(settings.framing, settings.payload),
    "hid": lambda settings: keyboard.Reader(settings.payload),
}


def made(settings: ReaderSettings) -> CardReader:
    """The reader that `station.toml` names."""
    return READERS[settings.driver](settings)
