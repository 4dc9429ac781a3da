"""Virtual time: the true time, the board's boottime, its system clock, and an agenda of what is to come.

Owns: the only clocks that anything in a simulation reads. The true time is what the ledger is dated in; the station never
sees it. Boottime begins anew with each hardware boot. The system clock may be wrong, and may be set.
"""

import heapq
from collections.abc import Callable

UTC_0_S = 1_800_000_000.0
"""What a right clock says when a simulation begins: 2027-01-15 08:00 UTC."""
KERNEL_S = 8.0
"""Boottime when the services start."""


class Clock:
    """True seconds since the beginning, and what the board makes of them."""

    def __init__(self) -> None:
        self.true_s = 0.0
        self.boots = 1
        self.synchronised = True
        """Whether the kernel says that somebody disciplines the system clock."""
        self.system_error_s = 0.0
        """How far the system clock is ahead of the truth."""
        self._booted_true_s = -KERNEL_S

    @property
    def boot_id(self) -> str:
        """Of the hardware boot."""
        return f"boot-{self.boots}"

    def pass_until(self, true_s: float) -> None:
        """Time passes until then; it never goes back, where a slow commit has outlasted what was planned either."""
        self.true_s = max(self.true_s, true_s)

    def boottime_s(self) -> float:
        """CLOCK_BOOTTIME of the running board."""
        return self.true_s - self._booted_true_s

    def system_utc_s(self) -> float:
        """What the board's system clock says."""
        return UTC_0_S + self.true_s + self.system_error_s

    def boot(self, *, has_clock: bool) -> None:
        """The board starts again; without a battery its system clock begins at 1970, and nobody disciplines it."""
        self.boots += 1
        self._booted_true_s = self.true_s - KERNEL_S
        self.synchronised = has_clock
        self.system_error_s = 0.0 if has_clock else KERNEL_S - UTC_0_S - self.true_s

    def set_system(self, error_s: float) -> None:
        """Somebody sets the system clock and says that it is disciplined from now on."""
        self.synchronised, self.system_error_s = True, error_s


class Agenda:
    """What happens at which true second; what is due at the same time happens in the order in which it was put down."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def at(self, true_s: float, action: Callable[[], None]) -> None:
        """Put something down."""
        self._number += 1
        heapq.heappush(self._heap, (true_s, self._number, action))

    def next_s(self) -> float:
        """When the next thing is due; infinity: never."""
        return self._heap[0][0] if self._heap else float("inf")

    def take_due(self, true_s: float) -> Callable[[], None] | None:
        """The next thing that is due by now."""
        if self._heap and self._heap[0][0] <= true_s:
            return heapq.heappop(self._heap)[2]
        return None
