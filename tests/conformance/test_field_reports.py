"""Each field report on the queue, boot and time, persistence, triggers and devices has a named test (issues 4 to 6)."""

from pathlib import Path

from tests.conformance.clauses import rows
from tests.conformance.test_clauses import problems

TABLE = Path(__file__).with_name("field_reports.md")
REPORTS = [str(number) for number in (*range(1, 18), *range(27, 34), 41, *range(50, 56))]
OPERATORS = ["T11", "T12", "T20"]
"""Numbers of the reports of operators on triggers, which are a collection of their own."""
ON_DEVICES = ["34", "35", "36", "37", "38", "40", "49", "2.2", "2.6", "2.8", "2.12", "2.16"]


def test_each_report_has_a_row_whose_tests_exist() -> None:
    found = rows(TABLE.read_text(encoding="utf-8"))
    assert problems(found, [*REPORTS, *OPERATORS, *ON_DEVICES]) == []
    assert not [row.row for row in found if not row.tests], "each one is shown by a test"
