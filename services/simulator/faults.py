"""What can go wrong at the virtual controller, and how it holds on to it (hardware.md §3.1).

Owns: which causes are present, which one the controller has found, when it tries again, when it gives up. Does not:
switch anything; the board does. A cause is found at once whatever the board does, but pilot faults need a car.

Choice: a fault that was left by unplugging while its cause remains is found again when a car is plugged in next.
"""

import msgspec

RETRY_INTERVAL_S = 300.0
RETRIES_MAX = 6


class FaultKind(msgspec.Struct, frozen=True):
    """One kind. `check_off_flag`: EEPROM flag with which the firmware doesn't look for it. `retried`: recovers by itself."""

    state: int
    check_off_flag: int = 0
    needs_car: bool = False
    retried: bool = False
    unplugging_clears: bool = True


KINDS: dict[str, FaultKind] = {
    "stuck-relay": FaultKind(0x08, check_off_flag=0x0010, unplugging_clears=False),
    "relay": FaultKind(0x0E),
    "gfci": FaultKind(0x06, retried=True),
    "no-ground": FaultKind(0x07, check_off_flag=0x0008, retried=True),
    "gfi-self-test": FaultKind(0x09, check_off_flag=0x0200),
    "overtemp": FaultKind(0x0A, check_off_flag=0x0400),
    "overcurrent": FaultKind(0x0B),
    "diode": FaultKind(0x05, check_off_flag=0x0002, needs_car=True),
    "vent": FaultKind(0x04, check_off_flag=0x0004, needs_car=True),
    "other": FaultKind(0x0D, unplugging_clears=False),
}
"""The gravest first. `other` is a code outside of what the firmware's documentation lists as emitted."""

LOCK = "lock"
"""The lock of a socket jams. No state of the controller: it refuses to move it (hardware.md §3.4)."""

POST_KINDS = ("stuck-relay", "no-ground", "gfi-self-test")
"""What the power-on self-test looks for."""


class FaultLatch:
    """The controller's memory of faults. Volatile, but the causes outlive its restarts."""

    def __init__(self) -> None:
        self.causes: set[str] = set()
        self.found: str | None = None
        self.hard = False
        self.ever: set[str] = set()
        self._left: set[str] = set()
        self._retries = 0
        self._retry_at_s = 0.0

    @property
    def state(self) -> int | None:
        """The controller's state code in this fault, None without one."""
        return None if self.found is None else KINDS[self.found].state

    def inject(self, kind: str) -> None:
        """The cause is there from now on."""
        self.causes.add(kind)
        self._left.discard(kind)

    def remove_cause(self, kind: str) -> None:
        """The cause is gone; the controller leaves the fault as its rules say: a retry, unplugging, or power."""
        self.causes.discard(kind)
        self._left.discard(kind)

    def clear(self, kind: str) -> None:
        """The cause is gone and the controller is made to look again at once, also where it would wait for unplugging."""
        self.remove_cause(kind)
        if self.found == kind:
            self._release()

    def look(self, now_s: float, *, flags: int, car: bool) -> str | None:
        """Look for causes and try again where that is due; the kind that was found anew, if any."""
        if self.found is not None:
            self._retry(now_s)
        if self.found is not None:
            return None
        for kind, facts in KINDS.items():
            if kind in self.causes and kind not in self._left and not flags & facts.check_off_flag:
                if facts.needs_car and not car:
                    continue
                self._find(kind, now_s)
                return kind
        return None

    def unplugged(self) -> None:
        """The car left."""
        if self.found is not None and KINDS[self.found].unplugging_clears:
            self._left = {kind for kind in self.causes if KINDS[kind].unplugging_clears}
            self._release()

    def plugged(self) -> None:
        """A car came: what is still wrong is found again."""
        self._left.clear()

    def restart(self) -> None:
        """The controller's memory is gone."""
        self._release()
        self._left.clear()
        self.ever.clear()

    def _find(self, kind: str, now_s: float) -> None:
        self.found = kind
        self.ever.add(kind)
        self.hard = not KINDS[kind].retried
        self._retries = 0
        self._retry_at_s = now_s + RETRY_INTERVAL_S

    def _retry(self, now_s: float) -> None:
        if self.hard or now_s < self._retry_at_s:
            return
        if self.found not in self.causes:
            self._release()
            return
        self._retries += 1
        self._retry_at_s = now_s + RETRY_INTERVAL_S
        self.hard = self._retries >= RETRIES_MAX

    def _release(self) -> None:
        self.found = None
        self.hard = False
