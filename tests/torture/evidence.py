"""What a round of torture leaves behind, as plain facts (pure): the judge needs nothing else.

Owns: the shapes, and reading them from the virtual hardware's own ledger. Does not: judge (`judge.py`). Times are seconds of
CLOCK_MONOTONIC; registers are whole watt-hours, as the meter shows them.
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from services.demo.entries import Entry


class Facts(msgspec.Struct, frozen=True):
    """Base of all shapes here."""


class Charge(Facts, frozen=True):
    """One time that a contactor was closed. `opened_s` of one that a power cut opened: when the power was cut."""

    connector_id: int
    closed_s: float
    closed_wh: int
    opened_s: float
    opened_wh: int


class Plug(Facts, frozen=True):
    """A plug went in, or came out."""

    connector_id: int
    at_s: float
    inserted: bool


class Asked(Facts, frozen=True):
    """Somebody asked for energy while the contactor was open: by a card, or by RemoteStartTransaction."""

    connector_id: int
    at_s: float
    id_tag: str


class Disturbance(Facts, frozen=True):
    """Something that torture did, from when to when it had passed. `what`: kill, power, link, central."""

    what: str
    who: str
    from_s: float
    until_s: float


class Sample(Facts, frozen=True):
    """What a meter showed at a time."""

    connector_id: int
    at_s: float
    wh: int


class PowerUp(Facts, frozen=True):
    """The virtual board was powered up, after its power was cut at `cut_s`; `wh`: what each meter then showed."""

    cut_s: float
    at_s: float
    wh: Mapping[int, int]


class Rest(Facts, frozen=True):
    """What is left in the station's databases when all is over."""

    queued: int = 0
    dead_letters: int = 0
    quarantined: int = 0
    open_transactions: int = 0
    kept_entries: int = 0


class Evidence(Facts, frozen=True):
    """A whole round. `utc_offset_s`: UTC in Unix seconds, less CLOCK_MONOTONIC. `sample_interval_s`: of MeterValues."""

    entries: tuple[Entry, ...]
    charges: tuple[Charge, ...]
    plugs: tuple[Plug, ...]
    asked: tuple[Asked, ...]
    disturbances: tuple[Disturbance, ...]
    samples: tuple[Sample, ...]
    first_wh: Mapping[int, int]
    last_wh: Mapping[int, int]
    utc_offset_s: float
    sample_interval_s: float
    attempts_max: int
    rest: Rest = Rest()


def shown_wh(register_wh: float) -> int:
    """What an Eastron meter shows of its register: kilowatt-hours as an IEEE 754 single, read to the watt-hour."""
    (kwh,) = struct.unpack(">f", struct.pack(">f", register_wh / 1000))
    return round(kwh * 1000)


def read_ledger(
    lines: Iterable[Mapping[str, Any]], power_ups: Iterable[PowerUp], *, boottime_offset_s: float
) -> tuple[tuple[Charge, ...], tuple[Plug, ...]]:
    """Charges and plugs from the ledger's lines. A power cut opens what is closed, at the register that then is found.

    `boottime_offset_s`: CLOCK_BOOTTIME less CLOCK_MONOTONIC. A contactor that is still closed at the end is left out.
    """
    charges: list[Charge] = []
    plugs: list[Plug] = []
    closed: dict[int, tuple[float, int]] = {}
    cuts = sorted(power_ups, key=lambda up: up.at_s)
    for line in lines:
        at_s = float(line["boottime_s"]) - boottime_offset_s
        while cuts and cuts[0].at_s <= at_s:
            _cut(cuts.pop(0), closed, charges)
        number = line.get("connector_id")
        match line["kind"]:
            case "relay-closed":
                closed[number] = (at_s, shown_wh(line["register_wh"]))
            case "relay-opened" if number in closed:
                closed_s, closed_wh = closed.pop(number)
                charges.append(Charge(number, closed_s, closed_wh, at_s, shown_wh(line["register_wh"])))
            case "plugged" | "unplugged":
                plugs.append(Plug(number, at_s, line["kind"] == "plugged"))
    for up in cuts:
        _cut(up, closed, charges)
    charges.sort(key=lambda charge: charge.closed_s)
    return tuple(charges), tuple(plugs)


def _cut(up: PowerUp, closed: dict[int, tuple[float, int]], charges: list[Charge]) -> None:
    for number, (closed_s, closed_wh) in closed.items():
        charges.append(Charge(number, closed_s, closed_wh, max(closed_s, up.cut_s), up.wh[number]))
    closed.clear()
