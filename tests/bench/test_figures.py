"""The table of the benchmarks and its arithmetic."""

import pytest

from tests.bench.figures import Budget, Figure, percentile, table, text, unmet

HOP = Figure("bus hop", 0.3, "ms", Budget(0.4), yardstick="bare hop")
BARE = Figure("bare hop", 0.2, "ms")
SLOW = Figure("drain", 400.0, "messages/s", Budget(500.0, more_is_better=True))


def test_a_figure_stands_beside_its_yardstick_and_budget() -> None:
    lines = table((BARE, HOP)).splitlines()
    assert lines[2].split() == ["bus", "hop", "0.3", "ms", "0.2", "ms", "(bare", "hop)", "1.50", "<", "0.4", "ms", "yes"]


def test_a_ratio_minds_the_units() -> None:
    start = Figure("start", 1.5, "s", yardstick="bare start")
    assert "50.00" in table((Figure("bare start", 30.0, "ms"), start))


def test_what_misses_its_budget_is_named() -> None:
    assert unmet((BARE, HOP, SLOW)) == (SLOW,)
    assert "NO" in table((SLOW,))


def test_a_budget_is_not_met_by_its_limit() -> None:
    assert not Budget(1.0).met(1.0)
    assert not Budget(1.0, more_is_better=True).met(1.0)


def test_a_comparison_shows_the_change_and_leaves_new_figures_open() -> None:
    earlier = (Figure("bus hop", 0.6, "ms"),)
    lines = table((BARE, HOP), earlier).splitlines()
    assert "-50 %" in lines[2]
    assert "%" not in lines[1]


@pytest.mark.parametrize(("percent", "expected"), [(50, 2), (99, 4), (100, 4), (1, 1), (25, 1), (26, 2)])
def test_percentiles_are_values_that_were_measured(percent: float, expected: int) -> None:
    assert percentile([4, 1, 3, 2], percent) == expected


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no value"):
        percentile([], 50)


@pytest.mark.parametrize(("value", "expected"), [(0.12345, "0.123 s"), (123.4, "123 s"), (7.0, "7 s"), (0.0, "0 s")])
def test_numbers_are_short(value: float, expected: str) -> None:
    assert text(value, "s") == expected
