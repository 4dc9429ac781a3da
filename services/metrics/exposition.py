"""Prometheus' text format, version 0.0.4 (pure): families with HELP and TYPE, samples with labels.

Owns: how it is spelled. Does not: know what is measured (`figures.py`).
"""

import math
from collections.abc import Sequence

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = dict[str, str]


class Exposition:
    """A text in the making. A family without a sample is left out: what is not known is not said to be 0."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._head: tuple[str, ...] = ()

    def family(self, name: str, kind: str, help_: str) -> None:
        """The samples that follow are of this one. `kind`: gauge, counter or histogram."""
        self._head = (f"# HELP {name} {_escaped(help_)}", f"# TYPE {name} {kind}")
        self._name = name

    def sample(self, value: float | None, **labels: str) -> None:
        """A value with its labels; None: not known."""
        if value is not None:
            self._write("", labels, value)

    def histogram(self, bounds: Sequence[float], counts: Sequence[int], total: float, **labels: str) -> None:
        """`counts`: one for each upper bound and one above, none of them including another; `total`: the sum of all values."""
        so_far = 0
        for bound, count in zip((*bounds, math.inf), counts, strict=True):
            so_far += count
            self._write("_bucket", {**labels, "le": _number(bound)}, so_far)
        self._write("_sum", labels, total)
        self._write("_count", labels, so_far)

    def text(self) -> str:
        """All of it."""
        return "".join(f"{line}\n" for line in self._lines)

    def _write(self, suffix: str, labels: Labels, value: float) -> None:
        self._lines.extend(self._head)
        self._head = ()
        inside = ",".join(f'{name}="{_escaped(text, quoted=True)}"' for name, text in labels.items())
        self._lines.append(f"{self._name}{suffix}{f'{{{inside}}}' if inside else ''} {_number(value)}")


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quoted else text


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else f"{value:.15g}"
