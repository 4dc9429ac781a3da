"""What each process imports at its start, and what that costs: a start without config, up to the first own line.

Owns: import time, modules and memory of each service. Does not: start a service.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from services.station.programs import PROGRAMS
from tests.bench.figures import Figure, percentile
from tests.bench.yardsticks import PYTHON_IMPORTS

STARTS = 5
_SCRIPT = """
import sys, time
began_s = time.perf_counter()
import {module}
spent_ms = (time.perf_counter() - began_s) * 1000
with open("/proc/self/smaps_rollup") as file:
    pss_kb = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
print(spent_ms, len(sys.modules), pss_kb)
"""


def measure(_: Path) -> Iterator[Figure]:
    """Each program of the station."""
    for program in PROGRAMS:
        module = program.module if program.module.startswith("bus.") else f"{program.module}.__main__"
        runs = [_import(module) for _ in range(STARTS)]
        spent_ms = percentile((run[0] for run in runs), 50)
        detail = f"{runs[0][1]:.0f} modules, {runs[0][2] / 1024:.1f} MB then; most: {_heaviest(module)}"
        yield Figure(f"imports of {program.name}", spent_ms, "ms", yardstick=PYTHON_IMPORTS, detail=detail)


def _import(module: str) -> tuple[float, float, float]:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(module=module)], check=True, capture_output=True, text=True
    ).stdout.split()
    return float(done[0]), float(done[1]), float(done[2])


def _heaviest(module: str, count: int = 4) -> str:
    """The modules whose own code takes longest, by Python's `-X importtime`."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"], check=True, capture_output=True, text=True
    )
    own = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    costs = [(int(cells[0]), cells[2].strip()) for cells in own if cells[0].strip().isdigit()]
    return ", ".join(f"{name} {spent_us / 1000:.1f} ms" for spent_us, name in sorted(costs, reverse=True)[:count])
