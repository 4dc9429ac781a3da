"""What the guard does with controllers that the connectors service has left alone (pure; design §2).

Owns: when they are taken, what they are told, when energy counts as withdrawn, when a plug is newly out. Does not: look for
processes or talk to devices (`guard.py`).
"""

from services.hardware.contract import EvseDesired, EvseObservation

LOOK_S = 2.0
"""So long an order waits for the first observation, which says whether a plug is held."""


def is_due(gone_since_s: float, now_s: float, grace_s: float) -> bool:
    """Whether the service is gone for so long that its controllers are taken. Boottimes."""
    return now_s >= gone_since_s + grace_s


def order(seen: EvseObservation | None, taken_s: float, now_s: float) -> EvseDesired | None:
    """What a controller is told that was taken at boottime `taken_s`; None: nothing yet.

    No energy, and a plug that is held stays so: the transaction that it belongs to goes on when the service returns.
    """
    if seen is None and now_s < taken_s + LOOK_S:
        return None
    return EvseDesired(locked=seen is not None and seen.locked is True)


def is_newly_unplugged(before: EvseObservation | None, seen: EvseObservation) -> bool:
    """Whether a plug is out that was in, or of which nothing was known: whatever is in later is another plug-in."""
    return seen.plugged is False and (before is None or before.plugged is not False)


def is_withdrawn(seen: EvseObservation | None) -> bool:
    """Whether a controller is known to give nothing."""
    return seen is not None and not seen.offering and not seen.relay_closed
