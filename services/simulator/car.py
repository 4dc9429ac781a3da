"""A car, as the station sees it: a pilot letter and a current.

Owns: what the car wants and when it asks for it. Does not: know the controller; it sees a pilot and a live or dead cable.
Time comes in as `dt_s`.
"""

from typing import Literal

Pilot = Literal["A", "B", "C"]

READY_DELAY_S = 1.0
"""From the offer of current to the car's request for it."""
OFFER_A_MIN = 6.0
"""IEC 61851 cannot express less; below it nothing is offered."""
_RISE_A_PER_S = 32.0
_FALL_A_PER_S = 96.0
"""Fast enough that any current is gone within a second of the offer's end."""


class Car:
    """The car at one connector. What it can do (`max_a`, amps per phase) stays when it leaves; the rest goes with it."""

    def __init__(self, max_a: float = 16.0) -> None:
        self.max_a = max_a
        self.plugged = False
        self.paused = False
        self.full = False
        self.holds_on = False
        """It goes on drawing when the offer has ended, until the contactor opens under it."""
        self.current_a = 0.0
        self._asks = False
        self._offered_for_s = 0.0

    @property
    def pilot(self) -> Pilot:
        """A: no car. B: plugged in. C: asks for energy."""
        if not self.plugged:
            return "A"
        return "C" if self._asks else "B"

    @property
    def wants_energy(self) -> bool:
        """Whether it would charge if it were offered current."""
        return self.plugged and not self.paused and not self.full

    @property
    def at_rest(self) -> bool:
        """Nothing about the car changes as long as nothing around it does; current may flow evenly."""
        return self._rest

    _rest = True

    def plug_in(self) -> None:
        """The cable is in. A pause asked for beforehand belongs to this car."""
        self.plugged = True

    def plug_out(self) -> None:
        """The cable is pulled, under load too; the next car comes unpaused and empty."""
        self.plugged = self.paused = self.full = self.holds_on = self._asks = False
        self.current_a = self._offered_for_s = 0.0

    def step(self, dt_s: float, *, offered_a: float, live: bool) -> None:
        """Live on for `dt_s`. `offered_a`: amps on the pilot, 0 without PWM. `live`: the contactor is closed."""
        before = (self.current_a, self._asks)
        offered = offered_a >= OFFER_A_MIN
        willing = self.wants_energy and offered
        self._offered_for_s = self._offered_for_s + dt_s if willing else 0.0
        if willing and self._offered_for_s >= READY_DELAY_S:
            self._asks = True
        holds = self.holds_on and self.wants_energy and not offered and self._asks and live
        target_a = min(offered_a, self.max_a) if willing and self._asks and live else 0.0
        self._draw(dt_s, self.current_a if holds else target_a, live=live)
        if not willing and not holds and self.current_a == 0.0:
            self._asks = False
        waiting = willing and not self._asks
        self._rest = not waiting and before == (self.current_a, self._asks)

    def _draw(self, dt_s: float, target_a: float, *, live: bool) -> None:
        if not live:
            self.current_a = 0.0
        elif self.current_a < target_a:
            self.current_a = min(target_a, self.current_a + _RISE_A_PER_S * dt_s)
        else:
            self.current_a = max(target_a, self.current_a - _FALL_A_PER_S * dt_s)
