"""For pytest within `break_clauses.py`: says which tests failed, one JSON line each, and does not shrink examples.

A failure that hypothesis has found is enough here, the smallest example is of no interest.
"""

import json
import os

import pytest
from hypothesis import Phase, settings

REPORT = "CHARGEBUS_BREAK_REPORT"

settings.register_profile("break", phases=(Phase.explicit, Phase.generate), database=None, derandomize=True)
settings.load_profile("break")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Called by pytest for each phase of each test."""
    if report.when == "call" or report.failed:
        with open(os.environ[REPORT], "a", encoding="utf-8") as file:
            file.write(json.dumps([report.nodeid.partition("[")[0].removesuffix("::runTest"), report.failed]) + "\n")
