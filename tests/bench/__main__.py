"""`make bench`: measures the budget of `design.md` §8 and prints one table; JSON for a later comparison.

    python -m tests.bench [SUITE …] [--json FILE] [--compare FILE]

Owns: which suites there are, and their order. Does not: assert; a figure that misses its budget is shown as such,
and a suite that can't be finished leaves what it has measured.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from tests.bench import bus, connection, drain, imports, locallist, queue, soak, station, yardsticks
from tests.bench.figures import Figure, Run, table, unmet
from tests.harness import CommandFailed

Suite = Callable[[Path], Iterator[Figure]]

SUITES: dict[str, Suite] = {
    "imports": imports.measure,
    "bus": bus.measure,
    "station": station.measure,
    "sixteen": station.measure_many,
    "queue": queue.measure,
    "month": queue.month,
    "drain": drain.measure,
    "locallist": locallist.measure,
    "connection": connection.measure,
    "soak": soak.measure,
}
"""By name, in the order of the table. Each gets a directory of its own."""
LONG = frozenset({"month", "soak"})
"""Suites of a quarter of an hour: run only where they are named."""


def main() -> int:
    """Run the suites that were asked for, all without a name."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure the budget of design.md §8.")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)}; none: all but {', '.join(LONG)}")
    parser.add_argument("--json", metavar="FILE", help="write the figures, for a later --compare")
    parser.add_argument("--compare", metavar="FILE", help="show the change against an earlier run's figures")
    arguments = parser.parse_args()
    strangers = set(arguments.suites) - set(SUITES)
    if strangers:
        parser.error(f"no such suite: {', '.join(sorted(strangers))}; there are {', '.join(SUITES)}")
    before = msgspec.json.decode(Path(arguments.compare).read_bytes(), type=Run).figures if arguments.compare else ()
    figures = _measure(arguments.suites or [name for name in SUITES if name not in LONG])
    if arguments.json:
        run = Run(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), os.cpu_count() or 1, figures)
        Path(arguments.json).write_bytes(msgspec.json.format(msgspec.json.encode(run)))
    print(table(figures, before))
    print(f"{len(unmet(figures))} of {sum(f.budget is not None for f in figures)} budgets are missed")
    return 0


def _measure(names: list[str]) -> tuple[Figure, ...]:
    found: list[Figure] = []
    for name, suite in [("yardsticks", yardsticks.measure), *((name, SUITES[name]) for name in names)]:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            try:
                for figure in suite(Path(directory)):
                    found.append(figure)
            except (AssertionError, CommandFailed) as error:
                print(f"suite {name} ended early: {error}", file=sys.stderr)
    return tuple(found)


if __name__ == "__main__":
    raise SystemExit(main())
