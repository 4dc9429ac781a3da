"""Which virtual card readers there are, and what the rig may ask of each. Sans I/O.

Owns: the table by driver name. Does not: speak a protocol (`rdm6300.py`, `pn532.py`).
"""

from typing import Protocol

from services.simulator import pn532, rdm6300


class CardReader(Protocol):
    """One virtual reader."""

    @property
    def card_present(self) -> bool:
        """Whether a card is held to it."""

    @property
    def next_s(self) -> float | None:
        """When something happens by itself; None: nothing will."""

    def swipe(self, tag: str, now_s: float) -> None:
        """Hold a card to it for a moment. Raises TagError."""

    def advance(self, now_s: float) -> bytes:
        """What it sends until `now_s`."""

    def receive(self, data: bytes, now_s: float) -> bytes:
        """What it sends because of `data`."""


READERS: dict[str, type[CardReader]] = {"rdm6300": rdm6300.Reader, "pn532": pn532.Reader}
