"""Breaks clauses on purpose and sees whether their tests notice: `python -m tests.conformance.break_clauses [ROW …]`.

Each break of `breaks/*.txt` is made in a copy of the tree, one at a time, and the tests that the table names for its rows run
there. A row passes when at least one of them fails. Said are: rows whose tests did not notice, breaks whose text is not in its
file any more, and tests that fail without any break. The exit status is 0 if there is none of these.

Owns: copying, breaking, running. Does not: know what is broken (`breaks/*.txt`) or the table (`clauses.py`).
"""

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.conformance.break_plugin import REPORT
from tests.conformance.clauses import ROOT, Row, whole_table
from tests.conformance.one_break import Break, all_breaks

RUN_S_MAX = 300
"""A break may make a test hang; that is noticed too, but late."""
WHOLE_S_MAX = 3600
"""All tests of the table without a break, one after the other."""
SLOW = ("tests/acceptance/",)
"""Tests of whole stations run only for rows that have no others."""


class Outcome(NamedTuple):
    """What a break has shown."""

    broken: Break
    unnoticed: tuple[str, ...]
    problem: str
    duration_s: float
    ran: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()


class Tree:
    """A copy of the tree, in which one break at a time is made."""

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self._stamp = 1_000_000_000
        self._broken = (directory, "")
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
        )
        for name in listed.stdout.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, directory / name)

    def replace(self, file: str, old: str, new: str) -> str:
        """Change the only place of `old`; what is wrong, or empty."""
        path = self._root / file
        text = path.read_text(encoding="utf-8")
        if text.count(old) != 1:
            return f"{file}: the text to be broken is there {text.count(old)} times, not once: {old.strip().splitlines()[0]}"
        self._write(path, text.replace(old, new))
        self._broken = (path, text)
        return ""

    def restore(self) -> None:
        """Put the last break right again."""
        path, text = self._broken
        self._write(path, text)

    def _write(self, path: Path, text: str) -> None:
        """The time stamp is new each time, so that no stale bytecode is used."""
        path.write_text(text, encoding="utf-8")
        self._stamp += 10
        os.utime(path, (self._stamp, self._stamp))

    def failing(self, tests: Iterable[str], timeout_s: float = RUN_S_MAX) -> tuple[set[str], set[str], str]:
        """The tests that ran, those of them that failed, and what prevented them from running."""
        report = self._root / "report.jsonl"
        report.write_text("")
        own = {"PYTHONPATH": str(self._root), REPORT: str(report), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conformance.break_plugin", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [*command, *tests], cwd=self._root, env={**os.environ, **own}, capture_output=True, text=True, timeout=timeout_s
            )
        except subprocess.TimeoutExpired:
            return set(tests), set(tests), ""
        said = [json.loads(line) for line in report.read_text().splitlines()]
        ran, failed = {name for name, _ in said}, {name for name, bad in said if bad}
        prevented = "" if done.returncode in (0, 1) and said else f"tests can't run: {done.stdout.strip()[-400:]}"
        return ran, failed, prevented


def tests_of(row: Row) -> tuple[str, ...]:
    """The tests that are run for a row."""
    quick = tuple(test for test in row.tests if not test.startswith(SLOW))
    return quick or row.tests


def try_break(tree: Tree, broken: Break, table: dict[str, Row]) -> Outcome:
    """Break, run, put right again."""
    began_s = time.monotonic()
    wanted = [table[row] for row in broken.rows if row in table]
    tests = list(dict.fromkeys(test for row in wanted for test in tests_of(row)))
    if len(wanted) < len(broken.rows) or not tests:
        unknown = [row for row in broken.rows if row not in table or not table[row].tests]
        return Outcome(broken, (), f"rows without tests: {', '.join(unknown)}", 0.0)
    if problem := tree.replace(broken.file, broken.old, broken.new):
        return Outcome(broken, (), problem, 0.0)
    try:
        ran, failed, problem = tree.failing(tests)
    finally:
        tree.restore()
    unnoticed = tuple(row.row for row in wanted if not set(tests_of(row)) & failed)
    duration_s = time.monotonic() - began_s
    return Outcome(broken, () if problem else unnoticed, problem, duration_s, frozenset(ran), frozenset(failed))


def run_all(breaks: Iterable[Break], table: dict[str, Row], jobs: int) -> list[Outcome]:
    """All breaks, on `jobs` copies of the tree at a time."""
    todo: queue.SimpleQueue[Break] = queue.SimpleQueue()
    for broken in breaks:
        todo.put(broken)
    outcomes: list[Outcome] = []

    def work() -> None:
        with tempfile.TemporaryDirectory(prefix="break-") as directory:
            tree = Tree(Path(directory))
            while not todo.empty():
                try:
                    broken = todo.get_nowait()
                except queue.Empty:
                    return
                outcome = try_break(tree, broken, table)
                outcomes.append(outcome)
                print(line(outcome), flush=True)

    workers = [threading.Thread(target=work) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return outcomes


def line(outcome: Outcome) -> str:
    """One line for a person."""
    broken = outcome.broken
    what = outcome.problem or (f"NOT NOTICED by {', '.join(outcome.unnoticed)}" if outcome.unnoticed else "noticed")
    return f"{outcome.duration_s:5.1f} s  {broken.file}  {broken.what}  [{' '.join(broken.rows)}]: {what}"


def check_whole(tests: list[str]) -> set[str]:
    """Tests that fail without any break: they would notice everything."""
    with tempfile.TemporaryDirectory(prefix="break-") as directory:
        _, failed, prevented = Tree(Path(directory)).failing(tests, WHOLE_S_MAX)
    return failed or ({prevented} if prevented else set())


def main() -> int:
    """Run the breaks, of the given rows or all; 0 if all is noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("rows", nargs="*", help="rows of the table, or parts of a file's name or of a break's words; none: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trust", action="store_true", help="do not first run the tests without a break")
    arguments = parser.parse_args()
    table = {row.row.split()[0]: row for row in whole_table()}
    wanted = set(arguments.rows)
    chosen = [
        one
        for one in all_breaks()
        if not wanted or wanted & set(one.rows) or any(word in f"{one.file} {one.what}" for word in wanted)
    ]
    named = dict.fromkeys(test for one in chosen for row in one.rows if row in table for test in tests_of(table[row]))
    bad = set() if arguments.trust else check_whole(list(named))
    for test in sorted(bad):
        print(f"fails without a break: {test}")
    if bad:
        return 1
    outcomes = run_all(chosen, table, arguments.jobs)
    noticed = {
        row for outcome in outcomes if not outcome.problem for row in outcome.broken.rows if row not in outcome.unnoticed
    }
    unnoticed = {row for outcome in outcomes for row in outcome.unnoticed}
    with_tests = {name for name, row in table.items() if row.tests}
    ran = frozenset[str]().union(*(outcome.ran for outcome in outcomes))
    failed = frozenset[str]().union(*(outcome.failed for outcome in outcomes))
    for test in sorted(ran - failed):
        print(f"noticed no break of its rows: {test}")
    print(
        f"{len(outcomes)} breaks; {len(noticed - unnoticed)} of {len(with_tests)} rows with a test broken and noticed; "
        f"{len(unnoticed)} not noticed: {' '.join(sorted(unnoticed)) or '-'}; "
        f"{sum(bool(outcome.problem) for outcome in outcomes)} breaks could not be tried"
    )
    return 1 if unnoticed or any(outcome.problem for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
