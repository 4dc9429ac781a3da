"""What the kernel says of processes: memory, processor time, bytes written.

Owns: reading /proc. Does not: judge.
"""

import os
import threading
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int) -> float:
    """Proportional set size, MB."""
    return _memory_mb(pid, "Pss:")


def own_mb(pid: int) -> float:
    """Memory that no file stands behind, MB: what a leak grows in, whatever other processes share."""
    return _memory_mb(pid, "Anonymous:")


def cpu_s(pid: int) -> float:
    """Processor time spent so far, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def cpu_share(pids: dict[str, int], seconds: float) -> dict[str, float]:
    """Share of one core that each process takes for so long."""
    before = {name: cpu_s(pid) for name, pid in pids.items()}
    threading.Event().wait(seconds)
    return {name: (cpu_s(pid) - before[name]) / seconds for name, pid in pids.items()}


def written(pids: dict[str, int]) -> int:
    """Bytes that the processes have sent to the disk so far."""
    return sum(_written(pid) for pid in pids.values())


def written_bytes(pids: dict[str, int], seconds: float) -> int:
    """Bytes that they send to the disk within so long."""
    before = written(pids)
    threading.Event().wait(seconds)
    return written(pids) - before


def file_descriptors(pid: int) -> int:
    """How many are open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def _memory_mb(pid: int, kind: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def _written(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))
