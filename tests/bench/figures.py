"""What a benchmark found: figures beside their budget and a yardstick of the same run, as a table and as JSON (pure).

Owns: shapes, the table, the comparison of two runs. Does not: measure anything.
"""

from collections.abc import Iterable

import msgspec


class Budget(msgspec.Struct, frozen=True):
    """`design.md` §8: the figure is to be below `limit`, or above it where more is better."""

    limit: float
    more_is_better: bool = False

    def met(self, value: float) -> bool:
        """Whether a figure keeps to it."""
        return value > self.limit if self.more_is_better else value < self.limit


class Figure(msgspec.Struct, frozen=True):
    """One measured number. `yardstick` names the figure of the same run that it is compared to; empty: none fits."""

    name: str
    value: float
    unit: str
    budget: Budget | None = None
    yardstick: str = ""
    detail: str = ""


class Run(msgspec.Struct, frozen=True):
    """One run of the benchmarks, as it is kept in a file for `COMPARE`."""

    at_utc: str
    cpu_count: int
    figures: tuple[Figure, ...]


def percentile(values: Iterable[float], percent: float) -> float:
    """The value that `percent` of the values do not exceed (nearest rank). Raises ValueError if there are none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no value was measured")
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def table(figures: tuple[Figure, ...], before: tuple[Figure, ...] = ()) -> str:
    """All figures for a person: value, yardstick, ratio, budget, met or not; with `before`, the change against that run."""
    values = {figure.name: figure for figure in figures}
    earlier = {figure.name: figure for figure in before}
    head = ["figure", "value", "yardstick", "ratio", "budget", "met", *(["before", "change"] if before else []), ""]
    rows = [head, *(_row(figure, values, earlier if before else None) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def unmet(figures: tuple[Figure, ...]) -> tuple[Figure, ...]:
    """Those that do not keep to their budget."""
    return tuple(figure for figure in figures if figure.budget is not None and not figure.budget.met(figure.value))


def text(value: float, unit: str) -> str:
    """Three significant digits, or whole numbers from 100 on."""
    number = f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{number} {unit}".strip()


def _row(figure: Figure, values: dict[str, Figure], earlier: dict[str, Figure] | None) -> list[str]:
    yardstick = values.get(figure.yardstick)
    ratio = "" if yardstick is None or not yardstick.value else f"{_base(figure) / _base(yardstick):.2f}"
    yardstick_text = "" if yardstick is None else f"{text(yardstick.value, yardstick.unit)} ({yardstick.name})"
    row = [figure.name, text(figure.value, figure.unit), yardstick_text, ratio, *_budget_cells(figure)]
    if earlier is not None:
        known = earlier.get(figure.name)
        row.append("" if known is None else text(known.value, known.unit))
        row.append("" if known is None or not known.value else f"{(figure.value / known.value - 1) * 100:+.0f} %")
    return [*row, figure.detail]


def _base(figure: Figure) -> float:
    """The value in the base unit of what it measures, so that seconds can be compared with milliseconds."""
    return figure.value / 1000 if figure.unit == "ms" else figure.value


def _budget_cells(figure: Figure) -> list[str]:
    budget = figure.budget
    if budget is None:
        return ["", ""]
    sign = ">" if budget.more_is_better else "<"
    return [f"{sign} {text(budget.limit, figure.unit)}", "yes" if budget.met(figure.value) else "NO"]
