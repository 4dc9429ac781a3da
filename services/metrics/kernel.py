"""What the kernel counts of a process: memory and writing. Owns: reading /proc. Does not: know whose process it is."""

import os
import re

from bus.process import start_ticks
from services.metrics.figures import ProcessFigures

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_SLACK_S = 1.0


def process_figures(pid: int, started_s: float | None = None) -> ProcessFigures | None:
    """Of a living process; None: there is none, or it began later than `started_s` (boottime) and so is a stranger."""
    ticks = start_ticks(pid)
    if ticks is None or (started_s is not None and ticks / _TICKS_PER_S > started_s + _SLACK_S):
        return None
    pss_kb = _figure(pid, "smaps_rollup", rb"^Pss:\s+(\d+) kB$")
    return ProcessFigures(None if pss_kb is None else pss_kb * 1024, _figure(pid, "io", rb"^write_bytes: (\d+)$"))


def _figure(pid: int, name: str, pattern: bytes) -> int | None:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            found = re.search(pattern, file.read(), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1])
