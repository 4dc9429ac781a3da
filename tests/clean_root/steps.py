"""Runs the steps of a proof one after the other, and tells of each.

Owns: titles, times, the logs of a failure. Does not: know what a step does.
"""

import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable

from tests.clean_root.system import Root


def run_steps(steps: Iterable[Callable[[], None]], root: Root) -> int:
    """0: all steps went well; 1: one did not, and the others after it were not tried."""
    for step in steps:
        began_s = time.monotonic()
        title = step.__name__.replace("_", " ")
        try:
            step()
        except (AssertionError, TimeoutError, OSError, subprocess.SubprocessError):
            print(f"FAILED  {title}", flush=True)
            traceback.print_exc()
            _print_logs(root)
            return 1
        print(f"ok      {title} ({time.monotonic() - began_s:.0f} s)", flush=True)
    return 0


def _print_logs(root: Root) -> None:
    for path in [root.path / "tmp/station-run.txt", *sorted((root.path / "var/log/chargebus").glob("*.log"))]:
        if path.exists():
            print(f"--- {path.name}", *path.read_text(errors="replace").splitlines()[-25:], sep="\n", file=sys.stderr)
