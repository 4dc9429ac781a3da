"""The emergency stop: a contact at a GPIO line, or a file of the virtual hardware.

Owns: when it counts as pressed. Does not: decide what follows (`core.py`). It is pressed at once, also by an edge that is over
by the time anybody looks, and released only once it has been so for RELEASE_S: its contact bounces.
"""

import os
from collections.abc import Callable
from typing import Protocol

from bus.clock import boottime_s
from services.hardware.contract import Counters, DeviceInfo, InputObservation
from services.hardware.gpio import GpioLine, request_line
from services.hardware.tally import Tally

POLL_PERIOD_S = 1.0
"""Edges wake the thread; this finds one that was lost, and a chip that is gone."""
FILE_PERIOD_S = 0.5
RELEASE_S = 0.3
RELEASING_PERIOD_S = 0.1


class Contact(Protocol):
    """Where the emergency stop is wired to."""

    period_s: float

    def open(self) -> DeviceInfo:
        """Begin to look. Raises DeviceError."""

    def fileno(self) -> int | None:
        """Readable when it has moved; None: it has to be looked at."""

    def pressed(self) -> bool:
        """Whether it is pressed, or was since the last call. Raises DeviceError."""

    def close(self) -> None:
        """Look no longer."""


class GpioContact:
    """A contact at line `offset` of a chip. `pressed_level`: "high" or "low"."""

    period_s = POLL_PERIOD_S

    def __init__(
        self,
        path: str,
        offset: int,
        *,
        pressed_level: str,
        bias: str,
        request: Callable[[str, int, str], GpioLine] = request_line,
    ) -> None:
        self._path = path
        self._offset = offset
        self._pressed_high = pressed_level == "high"
        self._bias = bias
        self._request = request
        self._line: GpioLine | None = None

    def open(self) -> DeviceInfo:
        """Take the line. Raises PortMissing."""
        self._line = self._request(self._path, self._offset, self._bias)
        return DeviceInfo(model="GPIO contact", protocol=f"line {self._offset}")

    def fileno(self) -> int | None:
        """Readable after an edge."""
        return None if self._line is None else self._line.fileno()

    def pressed(self) -> bool:
        """By its level, and by the edges since the last look. Raises PortMissing."""
        assert self._line is not None
        return self._pressed_high in [*self._line.edges(), self._line.level()]

    def close(self) -> None:
        """Give the line back."""
        if self._line is not None:
            self._line.close()
            self._line = None


class FileContact:
    """The virtual one: a file that holds 0 or 1; no file: not pressed."""

    period_s = FILE_PERIOD_S

    def __init__(self, path: str) -> None:
        self._path = path

    def open(self) -> DeviceInfo:
        """There is nothing to open."""
        return DeviceInfo(model="virtual contact")

    def fileno(self) -> int | None:
        """A file has to be looked at."""
        return None

    def pressed(self) -> bool:
        """What the file says."""
        # Twice a second for ever: without a file object, which would cost four system calls more.
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(file, 1) == b"1"
            finally:
                os.close(file)
        except OSError:
            return False

    def close(self) -> None:
        """There is nothing to close."""


class EmergencyStop:
    """One emergency stop; only its runner's thread calls it (`services.hardware.contract.Driver`)."""

    name = "emergency stop"

    def __init__(self, contact: Contact, *, now: Callable[[], float] = boottime_s) -> None:
        self.poll_period_s = contact.period_s
        self._contact = contact
        self._now = now
        self._tally = Tally()
        self._told: bool | None = None
        self._released_s: float | None = None

    def open(self) -> DeviceInfo:
        """Begin to look; whatever is found will be told. Raises DeviceError."""
        self.close()
        self._told = self._released_s = None
        return self._contact.open()

    def fileno(self) -> int | None:
        """Readable when the contact has moved."""
        return self._contact.fileno()

    def exchange(self, desired: None) -> list[InputObservation]:  # noqa: ARG002
        """How it is now, if that is news. Raises DeviceError."""
        self._tally.transmissions += 1
        pressed = self._contact.pressed()
        self._tally.replies += 1
        if pressed or not self._told:
            self._released_s = None
        elif self._released_s is None:
            self._released_s = self._now()
        if self._released_s is not None:
            pressed = self._now() - self._released_s < RELEASE_S
        self.poll_period_s = RELEASING_PERIOD_S if pressed and self._released_s is not None else self._contact.period_s
        if pressed == self._told:
            return []
        self._told = pressed
        return [InputObservation(pressed)]

    def close(self) -> None:
        """Look no longer."""
        self._contact.close()

    def counters(self) -> Counters:
        """How often it was looked at."""
        return self._tally.snapshot()
