"""Drivers from outside of this package, by the entry points of the distributions that are installed beside it.

    [options.entry_points]                 in the setup.cfg of the other distribution
    chargebus.reader =
        acme = acme_reader:driver

Owns: the groups, finding and loading one. Does not: know the drivers of this package (the tables in
`services/configuration/model.py` and the `drivers/__init__.py` of each service). Only what is not found there is looked for
here, so that a station without such a driver pays nothing.
"""

from collections.abc import Callable
from typing import Any

GROUPS = {"evse": "chargebus.evse", "meter": "chargebus.meter", "reader": "chargebus.reader"}
"""By kind of device. What is named there is called with the device's section of station.toml and its port, and gives a
`services.hardware.contract.Driver` of that kind."""


class OutsideDriverError(Exception):
    """A driver from outside can't be used; the text is one line."""


def names(kind: str) -> tuple[str, ...]:
    """The drivers of a kind that are installed beside this package."""
    return tuple(sorted(point.name for point in _points(kind)))


def made(kind: str, name: str, *arguments: Any) -> Any:
    """The driver of this name. Raises OutsideDriverError: it is not installed, or can't be imported."""
    point = next((point for point in _points(kind) if point.name == name), None)
    if point is None:
        raise OutsideDriverError(f"there is no {kind} driver {name!r}; install the distribution that has it")
    try:
        factory: Callable[..., Any] = point.load()
    except (ImportError, AttributeError) as error:
        raise OutsideDriverError(f"the {kind} driver {name!r} is {point.value}, which can't be loaded: {error}") from None
    return factory(*arguments)


def _points(kind: str) -> Any:
    from importlib.metadata import entry_points  # It costs more than most services need in all.

    return entry_points(group=GROUPS[kind])
