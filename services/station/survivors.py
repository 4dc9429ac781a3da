"""Ends what an earlier run left behind, if it is provably ours (design §2).

supervisord puts each child into a process group of its own, and children outlive it when it is killed. Each service
dies with its parent and holds a lock; what still lives is proved by lock, pid and start time. Owns: that proof and the
ending. Does not: touch a process that it cannot prove.
"""

import glob
import signal
import time

from bus.process import lock_holder, locked, signal_holder
from services.station.paths import STATION_LOCK

TERM_WAIT_S = 3.0
KILL_WAIT_S = 2.0
_STEP_S = 0.01


class Survivor(Exception):
    """A process of an earlier run does not end, or a lock is held by a stranger; the text is one line."""


def end_survivors() -> list[str]:
    """End all holders of locks in the current directory but `station run` itself; their names. Raises Survivor."""
    locks = [path for path in sorted(glob.glob("*.lock")) if path != STATION_LOCK and locked(path)]
    for number, wait_s in ((signal.SIGTERM, TERM_WAIT_S), (signal.SIGKILL, KILL_WAIT_S)):
        for path in locks:
            signal_holder(path, number)
        deadline_s = time.monotonic() + wait_s
        while any(locked(path) for path in locks) and time.monotonic() < deadline_s:
            time.sleep(_STEP_S)
        if not any(locked(path) for path in locks):
            return [path.removesuffix(".lock") for path in locks]
    held = [path for path in locks if locked(path)]
    holders = ", ".join(f"{path} (process {lock_holder(path) or 'not known'})" for path in held)
    raise Survivor(f"what an earlier run left cannot be ended: {holders}; end it by hand and start again")
