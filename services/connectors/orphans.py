"""What the guard does with controllers that the connectors service has left alone (pure; design §2).

Owns: when they are taken, what they are told, when energy counts as withdrawn, when a plug is newly out. Does not: look for
processes or talk to devices (`guard.py`).
"""

from services.hardware.contract import EvseDesired, EvseObservation


def is_due(gone_since_s: float, now_s: float, grace_s: float) -> bool:
    """Whether the service is gone for so long that its controllers are taken. Boottimes."""
    return now_s >= gone_since_s + grace_s


def is_held(held: bool, seen: EvseObservation) -> bool:
    """Whether the plug at a controller is to be held, where `held` was known of it before it said this.

    Choice: once it was held it stays so until the service is back, whatever is seen later: a controller that restarts has its
    lock open for a moment, and one that is silent says nothing.
    """
    return held or seen.locked is True


def order(*, held: bool) -> EvseDesired:
    """What a controller is told: no energy, and a plug that is held stays so (OCPP 1.6 §4.10).

    The transaction that it belongs to goes on when the service returns. Where it is not known to be held, nothing is said to
    the lock.
    """
    return EvseDesired(locked=True if held else None)


def is_newly_unplugged(before: EvseObservation | None, seen: EvseObservation) -> bool:
    """Whether a plug is out that was in, or of which nothing was known: whatever is in later is another plug-in."""
    return seen.plugged is False and (before is None or before.plugged is not False)


def is_withdrawn(seen: EvseObservation | None) -> bool:
    """Whether a controller is known to give nothing."""
    return seen is not None and not seen.offering and not seen.relay_closed
