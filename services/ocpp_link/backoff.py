"""When the next connection is tried: exponential back-off with jitter and cap (pure; OCPP-J errata, field report 22).

Owns: the rule. Does not: know why the connection was lost; every way of losing it is treated alike.
"""

STABLE_S = 60.0
"""A connection that lasted this long sets the back-off back to its start."""


def wait_s(failures: int, shortest_s: float, longest_s: float, random: float) -> float:
    """Seconds to wait after `failures` lost connections or failed tries in a row (0: the first); `random` from [0, 1).

    The random part is the upper half, so that a fleet does not return as one.
    """
    full_s = min(longest_s, shortest_s * 2.0 ** min(failures, 30))
    return full_s * (0.5 + 0.5 * random)
