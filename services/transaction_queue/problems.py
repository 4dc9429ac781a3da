"""What people have to know of the queue, in plain words (pure).

Owns: the conditions and their texts. Does not: say them; `set_problem` of the runtime does, and only what changed.
"""

STALLED = "the oldest transaction message waits for over 10 minutes although the link is online; see the log"


def texts(*, dead_letters: int, set_aside: int, stalled: bool, alarm: str) -> dict[str, str | None]:
    """Each condition by its name; None: it is not there. `alarm`: the last rule that a transaction message broke."""
    given_up = f"transaction messages that were given up and are kept: {dead_letters}; see station queue"
    unreadable = f"rows that can't be read and are kept: {set_aside}; see station queue"
    return {
        "dead_letters": given_up if dead_letters else None,
        "stalled": STALLED if stalled else None,
        "quarantine": unreadable if set_aside else None,
        "alarm": alarm or None,
    }
