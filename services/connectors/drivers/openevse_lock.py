"""The Type 2 lock of an OpenEVSE, for a socket (hardware.md §3.1 `$S5`, `$G5`, §6).

Owns: bringing the lock to where it is wanted, and what is known of it. Does not: decide when a plug is held.

The controller's own mode locks while a vehicle is connected; the plug is ours to hold, so the lock is put into manual mode,
which a restart of the controller loses. There is no position feedback: `$G5` gives back what was commanded, a lock that
does not move shows as a refused command.
"""

from collections.abc import Callable
from typing import Literal

import msgspec

from services.connectors.drivers.rapi import Reply
from services.hardware.contract import EvseDesired

ATTEMPTS_MAX = 3
"""Tries in one go; then it is told as a failure (hardware.md §6)."""
RETRY_S = 10.0
"""A lock that failed is tried again after so long, as it may only have been under tension."""


class LockSeen(msgspec.Struct, frozen=True):
    """What is known of a lock. `locked` None: the controller has none. `failed`: what it was told last and did not do.

    `unlock_attempts` is of the newest `EvseDesired.unlock_attempts` that was tried.
    """

    locked: bool | None = None
    failed: Literal["", "lock", "unlock"] = ""
    unlock_attempts: int = 0


class CableLock:
    """The lock of one controller; only its driver's thread calls it. `request` may raise DeviceError."""

    def __init__(self, request: Callable[[str, float], Reply], now: Callable[[], float]) -> None:
        self._request = request
        self._now = now
        self._manual = False
        self._retry_at_s = 0.0
        self.seen = LockSeen()

    def look(self, deadline_s: float) -> None:
        """Ask how it is, without changing anything."""
        reply = self._request("G5", deadline_s)
        position, mode = (*reply.values, "", "")[:2]
        if not reply.ok or position not in ("0", "1"):
            return
        self._manual = mode == "M"
        self.seen = msgspec.structs.replace(self.seen, locked=position == "1")

    def forget(self) -> None:
        """The controller restarted: manual mode is lost."""
        self._manual = False
        self._retry_at_s = 0.0

    def differs(self, desired: EvseDesired, *, relay_closed: bool) -> bool:
        """Whether there is something to do. A plug is never let go while the contactor is closed."""
        if desired.locked is None or self.seen.locked is None or (relay_closed and not desired.locked):
            return False
        if _forced(desired, self.seen):
            return True
        if self.seen.failed == _order(desired):
            return self._now() >= self._retry_at_s
        # Changing the mode may let go for a moment; with the contactor closed its own mode holds the plug.
        mode_differs = not self._manual and not relay_closed
        return bool(self.seen.failed) or mode_differs or self.seen.locked != desired.locked

    def follow(self, desired: EvseDesired, deadline_s: float, *, relay_closed: bool) -> None:
        """Bring it where it is wanted, in a few tries."""
        if desired.locked is None or not self.differs(desired, relay_closed=relay_closed):
            return
        attempts = desired.unlock_attempts if not desired.locked else self.seen.unlock_attempts
        moved = any(self._move(desired.locked, deadline_s, relay_closed=relay_closed) for _ in range(ATTEMPTS_MAX))
        self._retry_at_s = self._now() + RETRY_S
        self.seen = msgspec.structs.replace(self.seen, failed="" if moved else _order(desired), unlock_attempts=attempts)

    def _move(self, locked: bool, deadline_s: float, *, relay_closed: bool) -> bool:
        if not self._manual and not relay_closed:
            self._request("S5 M", deadline_s)
        taken = self._request(f"S5 {int(locked)}", deadline_s).ok
        self.look(deadline_s)
        return taken and self.seen.locked == locked


def _order(desired: EvseDesired) -> Literal["lock", "unlock"]:
    return "lock" if desired.locked else "unlock"


def _forced(desired: EvseDesired, seen: LockSeen) -> bool:
    return not desired.locked and desired.unlock_attempts > seen.unlock_attempts
