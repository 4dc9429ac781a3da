"""`make proof`: the long version of the power cut, at every write, with every single unsynced write lost and many choices.

Owns: the command line and the figures. Does not: cut. Ends with 1 if an acknowledged commit can be lost.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.powercut.cases import CASES
from tests.powercut.proof import gone_on, proved
from tests.powercut.replay import Bounds

CHECKPOINTS = {"early checkpoints": 10, "checkpoints as in production": None}


def main() -> int:
    """0: every acknowledged commit is there after every cut."""
    parser = argparse.ArgumentParser(prog="python -m tests.powercut", description="Cut the power at every write.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=8, help="choices of lost and torn writes at each cut")
    arguments = parser.parse_args()
    lost = 0
    for name, case in CASES.items():
        for words, pages in CHECKPOINTS.items():
            began_s = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="powercut-") as directory:
                record, going_on = case.record(Path(directory), checkpoint_pages=pages)
            result = proved(record, case.stores, Bounds(samples=arguments.samples, seed=arguments.seed))
            result.found += gone_on(record, going_on)
            lost += len(result.found)
            took_s = time.monotonic() - began_s
            print(
                f"{name}, {words}: {result.cuts} cuts, {result.images} disks, {result.kept} with an unacknowledged commit"
                f" whole, {len(result.found)} wrong, {took_s:.0f} s",
                *result.found,
                sep="\n  ",
                flush=True,
            )
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
