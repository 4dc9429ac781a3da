"""Counts what goes over a device's wire, for support (hardware.md §7).

Owns: the counting. Does not: decide what a count means.
"""

from services.hardware.contract import Counters


class Tally:
    """Counters of one driver: its own thread counts, any thread may take a snapshot."""

    def __init__(self) -> None:
        self.transmissions = 0
        self.replies = 0
        self.timeouts = 0
        self.errors = 0

    def snapshot(self) -> Counters:
        """The counts now; the driver's runner adds the reconnects."""
        return Counters(transmissions=self.transmissions, replies=self.replies, timeouts=self.timeouts, errors=self.errors)
