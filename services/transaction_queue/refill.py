"""How long the queue waits while `connectors` sends again what it keeps (design §3: lost stores).

Something that was stored here is lost: a damaged file, a row that can't be read. What is neither delivered nor given up is in
`connectors.db` as well, so it comes again, in its order. Until then nothing is sent: a StopTransaction must not overtake the
MeterValues that come after all, and a StartTransaction that comes after all needs no transactionId -1.

Owns: when that wait begins and ends. Does not: ask or store (`service.py`).
"""

from collections.abc import Callable

WAIT_S_MAX = 60.0
"""`connectors` may be down: then the messages that are there go out all the same."""
QUIET_S = 3.0
"""After the last entry; a live publisher sends one right after the other, and again after a second where one was lost."""
REFILLS_MAX = 3
"""In one life of the process: rows that come to grief here again and again are not asked for for ever."""


class Refill:
    """The wait; `until_s` None: there is none."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left = REFILLS_MAX
        self.until_s: float | None = None

    def possible(self) -> bool:
        """Whether there may be one more."""
        return self._left > 0

    def begin(self) -> bool:
        """Wait from now on; False if there were too many already."""
        if not self.possible():
            return False
        self._left -= 1
        self.until_s = self._now() + WAIT_S_MAX
        return True

    def entry_came(self) -> None:
        """The publisher is at it."""
        self.until_s = self._now() + QUIET_S

    def over(self) -> bool:
        """Whether the wait has come to its end."""
        return self.until_s is not None and self._now() >= self.until_s

    def end(self) -> None:
        """It is over."""
        self.until_s = None
