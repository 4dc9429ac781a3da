"""The power path of one connector: a contactor, and the register of the meter behind it.

Owns: whether energy can flow, and how much has flowed. Does not: decide anything. Time comes in as arguments.
"""

from collections import deque
from typing import Literal

import msgspec

RELAY_HISTORY_MAX = 1000
REGISTER_WH_MAX = 9_999_999_999.0
"""What the meter's display can show: 9 999 999.999 kWh."""
SERIAL_MAX = 0xFFFF_FFFF

Change = Literal["closed", "opened"]


class Contactor:
    """The relay as it really is. `welded` keeps it closed, `dead` keeps it open, whatever is commanded."""

    def __init__(self) -> None:
        self.closed = False
        self.welded = False
        self.dead = False
        self.closed_count = 0
        self.opened_count = 0
        self.history: deque[tuple[float, Change]] = deque(maxlen=RELAY_HISTORY_MAX)

    def follow(self, commanded: bool, now_s: float) -> Change | None:
        """Move as commanded at boottime `now_s`, if it can; what it did."""
        closed = (commanded or self.welded) and not self.dead
        if closed == self.closed:
            return None
        self.closed = closed
        self.closed_count += closed
        self.opened_count += not closed
        change: Change = "closed" if closed else "opened"
        self.history.append((now_s, change))
        return change


class Register(msgspec.Struct):
    """The energy register of one meter, and which meter that is. It only grows, until another meter is fitted."""

    wh: float
    serial: int

    def add(self, power_w: float, dt_s: float) -> None:
        """Count `power_w` for `dt_s`."""
        assert power_w >= 0, "a car takes energy"
        assert dt_s >= 0, "time goes on"
        self.wh = min(REGISTER_WH_MAX, self.wh + power_w * dt_s / 3600)

    def replace(self, wh: float) -> None:
        """Another meter is fitted, whose register stands at `wh`."""
        assert 0 <= wh <= REGISTER_WH_MAX, "checked where it came in"
        self.wh = wh
        self.serial = self.serial % SERIAL_MAX + 1000 if self.serial <= SERIAL_MAX - 1000 else 1000
