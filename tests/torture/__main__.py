"""`make torture MINUTES=n [SEED=s]`: rounds of torture until the time is up, each on a new station, and a summary.

Owns: the command line and the sums. Does not: torture (`torture.py`). Ends with 1 at the first round that has a difference.
"""

import argparse
import random
import sys
import time
from collections import Counter

from tests.torture.torture import Report, torture

ROUND_S = 180.0
SEED_MAX = 1_000_000


def main() -> int:
    """0: no difference; 1: there is one, and the last lines say which."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture", description="Torture the real station, and compare the books."
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="of the first round; the others count on from it")
    arguments = parser.parse_args()
    seed = random.randrange(SEED_MAX) if arguments.seed is None else arguments.seed
    end_s = time.monotonic() + arguments.minutes * 60
    reports: list[Report] = []
    while (left_s := end_s - time.monotonic()) > 0:
        report = torture(seed + len(reports), min(ROUND_S, left_s))
        reports.append(report)
        print(_line(report), flush=True)
        if report.differences:
            print(report.text())
            break
    print(_summary(reports))
    return 1 if any(report.differences for report in reports) else 0


def _line(report: Report) -> str:
    return (
        f"seed {report.seed}: {report.sessions} sessions ({report.without_energy} without energy), {report.deeds} deeds,"
        f" {sum(report.kills.values())} kills, {report.transactions} transactions, {report.messages} messages"
        f" ({report.repeats} repeats), drained in {report.drain_s:.0f} s, {len(report.differences)} differences"
    )


def _summary(reports: list[Report]) -> str:
    kills: Counter[str] = Counter()
    for report in reports:
        kills.update(report.kills)
    by_process = ", ".join(f"{name} {count}" for name, count in sorted(kills.items()))
    return "\n".join(
        [
            f"rounds        {len(reports)}",
            f"kill -9       {sum(kills.values())} ({by_process})",
            f"sessions      {sum(r.sessions for r in reports)}",
            f"transactions  {sum(r.transactions for r in reports)}",
            f"messages      {sum(r.messages for r in reports)}",
            f"repeats       {sum(r.repeats for r in reports)}",
            f"differences   {sum(len(r.differences) for r in reports)}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
