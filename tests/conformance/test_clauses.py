"""The table of clauses is whole: each clause has its row, each row its test or its reason, and each named test exists.

Issue 3, acceptance 1. That the tests fail when their clause is broken is shown by `break_clauses.py`.
"""

import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.conformance.clauses import ROOT, Malformed, Row, named_tests, rows, shown_by, whole_table

GOOD = "| 4.9-1 | A change is told | it is | `tests/conformance/test_clauses.py::test_each_clause_has_a_row` |"

OCPP = (
    "3.3 3.4 3.5 3.5.1 3.5.2 3.5.3 3.5.4 3.6 3.7 3.7.1 3.8 3.9 3.10 3.11 3.12 3.13 3.14 3.15 3.16 3.16.1 3.16.2 3.16.3 3.16.4"
    " 3.16.5 4.1 4.2 4.2.1 4.3 4.4 4.5 4.6 4.7 4.8 4.9 4.10 5.1 5.2 5.3 5.4 5.5 5.6 5.7 5.8 5.9 5.10 5.11 5.12 5.13 5.14 5.15"
    " 5.16 5.17 5.18 5.19 6.1 6.2 6.3 6.4 6.5 6.7 6.8 6.9 6.10 6.11 6.12 6.13 6.15 6.16 6.17 6.21 6.23 6.24 6.27 6.29 6.30 6.31"
    " 6.32 6.33 6.34 6.35 6.36 6.37 6.39 6.40 6.43 6.45 6.46 6.47 6.48 6.49 6.50 6.51 6.53 6.54 7.1 7.2 7.3 7.4 7.5 7.6 7.7 7.8"
    " 7.15 7.16 7.17 7.18 7.19 7.20 7.22 7.23 7.24 7.27 7.28 7.29 7.30 7.31 7.32 7.33 7.34 7.35 7.36 7.38 7.39 7.40 7.41 7.42"
    " 7.43 7.44 7.45 7.46 7.47 7.49 8 9 9.2 9.3 9.4"
)
"""Sections of OCPP 1.6 edition 2 with rules for a Charge Point. Those of profiles that there are not share a row."""
KEYS = [f"9.1.{number}" for number in range(1, 35)]
ERRATA = [f"E3.{number}" for number in range(1, 90)] + [f"E4.{number}" for number in range(1, 30)]
OCPP_J = "J2 J3.1 J3.1.1 J3.1.2 J3.2 J4.1.1 J4.1.2 J4.1.3 J4.1.4 J4.2.1 J4.2.2 J4.2.3 J5.1 J5.3 J5.4 J5.5 J6.1 J6.2.1 J6.2.2 J7"
OCPP_J_ERRATA = "JE2.1 JE2.2 JE2.3 JE2.4 JE2.5 JE3.1 JE3.2 JE3.3 JE3.4 JE3.5 JE3.6 JE3.7 JE3.8 JE3.9 JE3.10 JE5.1 JE5.2"
LOCAL_AUTH_LIST = (
    "L3.5 L3.5.2 L3.5.3 L3.5.4 L3.10 L4.1 L4.2 L5.10 L5.11 L5.15 L6.27 L6.41 L7.1 L7.47 L7.48 L9.2.1 L9.2.2 L9.2.3 LE3.52"
    " LJE2.2"
)
REMOTE_TRIGGER = "T4.2 T4.4 T4.5 T5.17 T6.51 T7.32 T7.35 T7.44 T9.1.20 TE3.22 TE3.35 TE3.40 TE3.46"
"""Of these profiles also what they say of sections that Core has rows of."""
_OF_PROFILES = [*LOCAL_AUTH_LIST.split(), *REMOTE_TRIGGER.split()]
CLAUSES = [*OCPP.split(), *KEYS, *ERRATA, *OCPP_J.split(), *OCPP_J_ERRATA.split(), *_OF_PROFILES]


@cache
def table() -> list[Row]:
    return whole_table()


@cache
def known_tests(path: Path) -> set[str]:
    return named_tests(path) if path.is_file() else set()


def problems(found: list[Row], clauses: list[str]) -> list[str]:
    """What is wrong with a table, one line each."""
    seen_rows: set[str] = set()
    seen_statements: set[tuple[str, str]] = set()
    said = [f"clause {clause} has no row" for clause in clauses if clause not in {row.clause for row in found}]
    said += [f"{row.row}: its clause is not in the list of clauses" for row in found if row.clause not in clauses]
    for row in found:
        if row.row in seen_rows or (row.clause, row.statement) in seen_statements:
            said.append(f"{row.row}: stands there twice")
        seen_rows.add(row.row)
        seen_statements.add((row.clause, row.statement))
        if not (row.tests or row.reason or row.waits_for):
            said.append(f"{row.row}: neither a test nor a reason")
        for test in row.tests:
            file, _, name = test.partition("::")
            if name not in known_tests(ROOT / file):
                said.append(f"{row.row}: there is no {test}")
    return said


def test_each_clause_has_a_row_and_each_row_a_test_or_a_reason() -> None:
    """Issue 3, acceptance 1."""
    assert problems(table(), CLAUSES) == []


def test_no_row_waits_for_what_is_still_to_be_built() -> None:
    """`open: WHAT` in the last column is for a branch of work in progress."""
    assert [f"{row.row} waits for {row.waits_for}" for row in table() if row.waits_for] == []


def test_a_whole_table_is_good() -> None:
    assert problems(rows(GOOD.replace("test_each_clause_has_a_row", "test_a_whole_table_is_good")), ["4.9"]) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD, "4.9-1: there is no tests/conformance/test_clauses.py::test_each_clause_has_a_row"),
        (GOOD.replace("test_clauses.py", "test_nothing.py"), "4.9-1: there is no tests/conformance/test_nothing.py"),
        ("| 4.9-1 | A change is told | it is | |", "4.9-1: neither a test nor a reason"),
        ("| 4.9-1 | A change is told | it is | test_something |", "4.9-1: neither a test nor a reason"),
        (f"{GOOD}\n{GOOD}", "4.9-1: stands there twice"),
        (f"{GOOD}\n{GOOD.replace('4.9-1', '4.9-2')}", "4.9-2: stands there twice"),
        (GOOD.replace("4.9-1", "4.99-1"), "clause 4.9 has no row"),
        (GOOD.replace("4.9-1", "4.99-1"), "4.99-1: its clause is not in the list of clauses"),
    ],
)
def test_a_table_that_is_not_whole_is_told(text: str, said: str) -> None:
    assert any(problem.startswith(said) for problem in problems(rows(text), ["4.9"]))


@pytest.mark.parametrize(
    "line", ["| 4.9-1 | A change is told | it is |", "| §4 | a | b | n/a: c |", "| 4.9-1 |  | b | n/a: c |"]
)
def test_a_line_that_is_no_row_is_told(line: str) -> None:
    with pytest.raises(Malformed):
        rows(line)


def test_the_tests_of_a_clause_can_be_asked_for() -> None:
    """For `pytest $(python -m tests.conformance.clauses 4.9)`."""
    command = [sys.executable, "-m", "tests.conformance.clauses", "J4.1.1", "3.14-1"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    assert printed == shown_by(table(), ["J4.1.1", "3.14-1"])
    assert "tests/ocpp_link/test_rpc.py::test_crossing_calls_are_answered_while_ours_waits" in printed
    assert "tests/ocpp_link/test_timestamps.py::test_what_we_write_is_read_back" in printed
