"""Whether a station was idle: what its processes wrote and how much memory they had, minute by minute (pure; design §8).

Owns: what counts as idle. Does not: look at processes.
"""

import statistics
from collections.abc import Mapping, Sequence

import msgspec

FLOOR_PROCESS = "ocpp_link"
FLOOR_FILES = frozenset({"configuration.db", "configuration.db-wal", "configuration.db-shm"})
FLOOR_PERIOD_S = 3600.0
FLOOR_BYTES_MAX = 64 * 1024
"""What one commit of the known time may cost, with its log and its checkpoint."""
GROWTH_MB_MAX = 0.5
"""Of all processes together. An interpreter's memory moves by pages; a leak of one object a heartbeat is more in an hour."""


class Look(msgspec.Struct, frozen=True):
    """One look at all processes. `written`: bytes to the disk since their start. `memory_mb`: of their own, MB, by process.
    `changed`: files of the state directory that are not as at the first look.
    """

    at_s: float
    written: Mapping[str, int]
    memory_mb: Mapping[str, float]
    changed: tuple[str, ...] = ()


def troubles(looks: Sequence[Look]) -> list[str]:
    """What an idle station may not do, in words; empty: it was idle."""
    first, last = looks[0], looks[-1]
    found = []
    floors = int((last.at_s - first.at_s) // FLOOR_PERIOD_S) + 1
    for name, before in first.written.items():
        wrote = last.written[name] - before
        allowed = floors * FLOOR_BYTES_MAX if name == FLOOR_PROCESS else 0
        if wrote > allowed:
            found.append(f"{name} wrote {wrote} bytes to the disk, {allowed} are allowed")
    strange = sorted({name for look in looks for name in look.changed} - FLOOR_FILES)
    if strange:
        found.append(f"files changed: {', '.join(strange)}")
    part = max(1, len(looks) // 5)
    early, late = (statistics.median(sum(look.memory_mb.values()) for look in some) for some in (looks[:part], looks[-part:]))
    if late - early > GROWTH_MB_MAX:
        found.append(f"memory grew from {early:.2f} to {late:.2f} MB, by more than {GROWTH_MB_MAX} MB")
    return found
