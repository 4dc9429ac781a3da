"""The deliberate breaks name rows that there are, and every row with a test is broken by one (issue 3, acceptance 2).

Whether each break is noticed is seen by `python -m tests.conformance.break_clauses`, which `make proof` runs.
"""

from collections.abc import Iterable

import pytest

from tests.conformance import break_clauses
from tests.conformance.break_clauses import Tree, try_break
from tests.conformance.clauses import ROOT, Row, whole_table
from tests.conformance.one_break import Break, Malformed, all_breaks, parse

GOOD = "services/a.py: two at a time [4.9-1 E3.19]\n-if one:\n-    pass\n+if two:"
TEST = "tests/conformance/test_breaks.py::test_a_break_has_a_form"


def test_every_row_with_a_test_is_broken_on_purpose() -> None:
    """Issue 3, acceptance 2: each row's test fails when the clause is broken."""
    broken = {row for one in all_breaks() for row in one.rows}
    with_tests = {row.row.split()[0] for row in whole_table() if row.tests}
    assert broken - with_tests == set(), "rows of breaks that are not in the table, or have no test there"
    assert with_tests - broken == set(), "rows that no break is for"


def test_each_break_is_of_a_file_that_there_is_and_named_once() -> None:
    names = [(one.file, one.what) for one in all_breaks()]
    assert len(names) == len(set(names))
    assert [file for file, _ in names if not (ROOT / file).is_file()] == []


def test_each_break_finds_its_lines_once() -> None:
    """Whoever changes a line that is broken on purpose sees it here, and not at the next long run."""
    found = [(one.file, one.what, (ROOT / one.file).read_text(encoding="utf-8").count(one.old)) for one in all_breaks()]
    assert [one for one in found if one[2] != 1] == []


def test_a_break_has_a_form() -> None:
    assert parse(f"# a remark\n\n{GOOD}\n") == [
        Break("two at a time", "services/a.py", "if one:\n    pass", "if two:", ("4.9-1", "E3.19"))
    ]
    assert parse(GOOD.rpartition("\n")[0])[0].new == "", "without new lines the old ones go"


@pytest.mark.parametrize("block", ["services/a.py: no rows\n-a\n+b", GOOD.replace("-", "+"), f"{GOOD}\nsomething", "a: b [c]"])
def test_what_is_no_break_is_told(block: str) -> None:
    with pytest.raises(Malformed):
        parse(block)


class FakeTree(Tree):
    """A tree of one file, whose tests fail while it is broken."""

    def __init__(self, text: str, failing: set[str]) -> None:
        self.text, self.noticed, self.restored = text, failing, False

    def replace(self, file: str, old: str, new: str) -> str:
        return "" if self.text.count(old) == 1 and new != old else f"{file}: not once"

    def restore(self) -> None:
        self.restored = True

    def failing(self, tests: Iterable[str], timeout_s: float = 1.0) -> tuple[set[str], set[str], str]:
        assert timeout_s
        return set(tests), self.noticed, ""


ROW = Row(1, "4.9-1", "4.9", "told", "told", (TEST,), "", "")


def outcome(text: str, failing: set[str], row: str = "4.9-1") -> tuple[break_clauses.Outcome, FakeTree]:
    tree = FakeTree(text, failing)
    return try_break(tree, Break("what", "a.py", "old", "new", (row,)), {"4.9-1": ROW}), tree


def test_a_break_that_no_test_notices_is_told_by_its_row() -> None:
    found, tree = outcome("old", set())
    assert (found.unnoticed, found.problem, tree.restored) == (("4.9-1",), "", True)
    assert "NOT NOTICED by 4.9-1" in break_clauses.line(found)
    assert outcome("old", {TEST})[0].unnoticed == ()


def test_a_break_that_cannot_be_made_is_told() -> None:
    assert outcome("another text", {TEST})[0].problem == "a.py: not once"
    assert outcome("old", {TEST}, row="9.9-9")[0].problem == "rows without tests: 9.9-9"


def test_slow_tests_run_only_for_rows_without_others() -> None:
    slow = "tests/acceptance/test_session.py::test_x"
    assert break_clauses.tests_of(ROW._replace(tests=(TEST, slow))) == (TEST,)
    assert break_clauses.tests_of(ROW._replace(tests=(slow,))) == (slow,)
