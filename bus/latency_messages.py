"""Messages on the bus that tell how long OCPP calls took.

Owns: shapes, as `bus/messages.py`; the same rules hold. Does not: measure (`services/ocpp_link/latency.py`).
"""

from bus.messages import Message

BOUNDS_S = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0)
"""Upper bounds of the classes that calls are counted in, seconds; the last class has none."""


class ActionTimes(Message, frozen=True):
    """All calls of one action since the link's process began: how many in each class, and how long together."""

    counts: tuple[int, ...]
    """One for each of BOUNDS_S, and one above; none of them includes another."""
    sum_s: float


class LinkTimes(Message, frozen=True):
    """By OCPP action. `handled`: calls of the Central System, until our answer; `answered`: ours, until its answer."""

    handled: dict[str, ActionTimes] = {}
    answered: dict[str, ActionTimes] = {}
