"""What people have to know of the queue, in plain words (pure).

Owns: the conditions and their texts. Does not: say them; `set_problem` of the runtime does, and only what changed.
"""

from bus.unreadable import problem

STALLED = "the oldest transaction message waits for over 10 minutes although the link is online; see the log"


def texts(kept: tuple[int, int, int], *, stalled: bool, alarm: str) -> dict[str, str | None]:
    """Each condition by its name; None: it is not there. `kept` as the store has it; `alarm`: the last rule that a
    transaction message broke."""
    dead_letters, quarantined, unreadable = kept
    given_up = f"transaction messages that were given up and are kept: {dead_letters}; see station queue"
    set_aside = f"messages that can't be read and are kept: {quarantined}; see station queue"
    return {
        "dead_letters": given_up if dead_letters else None,
        "stalled": STALLED if stalled else None,
        "quarantine": set_aside if quarantined else None,
        "unreadable": problem(unreadable, "transactions.db"),
        "alarm": alarm or None,
    }
