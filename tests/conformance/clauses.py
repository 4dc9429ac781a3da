"""The table of clauses, a file for each profile, as data; and which tests show a clause, for the command line of pytest.

    pytest $(python -m tests.conformance.clauses 4.9 E3.22)

Owns: reading the table. Does not: judge it (`test_clauses.py`) or break clauses on purpose (`break_clauses.py`).
"""

import ast
import re
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PROFILES = ("core.md", "local_auth_list.md", "remote_trigger.md", "reservation.md")
"""The files of the table. A letter before a number tells rows of a profile from those of Core on the same section: L3.5-1."""
_NUMBER = re.compile(r"[LT]?(J|E|JE)?(A\.)?\d+(\.\d+)*")
_TEST = re.compile(r"`(tests/[\w/]+\.py::[\w:]+)`")
_COLUMNS = 4


class Row(NamedTuple):
    """One row. `clause` is the number without the statement's; `tests` are pytest's names without parameters."""

    line: int
    row: str
    clause: str
    statement: str
    what_we_do: str
    tests: tuple[str, ...]
    reason: str
    """Why no test is needed: the statement does not apply."""
    waits_for: str
    """Who is still to land what the row needs; empty in a finished table."""


class Malformed(ValueError):
    """A line of the table that is no row; the text says which."""


def whole_table() -> list[Row]:
    """The rows of all profiles. Raises Malformed."""
    return [row for name in PROFILES for row in rows(Path(__file__).with_name(name).read_text(encoding="utf-8"))]


def rows(text: str) -> list[Row]:
    """All rows of a file of the table. Raises Malformed."""
    return [_row(number, line) for number, line in enumerate(text.splitlines(), 1) if _is_row(line)]


def named_tests(path: Path) -> set[str]:
    """Names of the tests in a file, those in classes as `Class::name`; by its syntax alone, nothing is imported."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.FunctionDef(name=name) if name.startswith("test_"):
                found.add(name)
            case ast.ClassDef(name=name, body=body) if name.startswith("Test"):
                found |= {f"{name}::{one.name}" for one in body if isinstance(one, ast.FunctionDef)}
            case ast.Assign(targets=[ast.Name(id=name)]) if name.startswith("test_"):
                found.add(name)
    return found


def shown_by(table: list[Row], numbers: list[str]) -> list[str]:
    """The tests of these clauses or rows, each once, in the order of the table: `4.9` means all of its rows."""
    wanted = [row for row in table if row.clause in numbers or row.row.split()[0] in numbers]
    return list(dict.fromkeys(test for row in wanted for test in row.tests))


def _is_row(line: str) -> bool:
    return line.startswith("|") and not line.startswith(("| row |", "|---"))


def _row(number: int, line: str) -> Row:
    cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    if len(cells) != _COLUMNS:
        raise Malformed(f"line {number}: {len(cells)} columns, not {_COLUMNS}")
    name, statement, what_we_do, shown = cells
    clause = _NUMBER.match(name)
    if clause is None or not statement or not what_we_do:
        raise Malformed(f"line {number}: no clause number, statement or description")
    reason = shown.removeprefix("n/a: ") if shown.startswith("n/a: ") else ""
    waits_for = shown.removeprefix("open: ") if shown.startswith("open: ") else ""
    tests = () if reason or waits_for else tuple(_TEST.findall(shown))
    return Row(number, name, clause[0], statement, what_we_do, tests, reason, waits_for)


def main() -> None:
    """Print the tests of the clauses that are given; of all, where none is."""
    table = whole_table()
    print("\n".join(shown_by(table, sys.argv[1:] or [row.clause for row in table])))


if __name__ == "__main__":
    main()
