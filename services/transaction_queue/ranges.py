"""Sets of whole numbers as a few ranges (pure): the messages of a transaction that are missing here.

Owns: the arithmetic and the JSON of the column. Does not: know what is missing, or why.
"""

from collections.abc import Iterable

import msgspec

RANGES_MAX = 200
"""Beyond it the oldest are forgotten: what comes of them will be taken for repeated."""

Ranges = tuple[tuple[int, int], ...]
"""(first, last) of each, ascending, apart from each other."""


def contains(ranges: Ranges, number: int) -> bool:
    """Whether the number is in one of them."""
    return any(first <= number <= last for first, last in ranges)


def added(ranges: Ranges, first: int, last: int) -> Ranges:
    """With one more range, above all others."""
    assert not ranges or ranges[-1][1] < first, "ranges come in their order"
    return (*ranges, (first, last))[-RANGES_MAX:]


def without(ranges: Ranges, number: int) -> Ranges:
    """Without one number."""
    found: list[tuple[int, int]] = []
    for first, last in ranges:
        if not first <= number <= last:
            found.append((first, last))
            continue
        found.extend(part for part in ((first, number - 1), (number + 1, last)) if part[0] <= part[1])
    return tuple(found[-RANGES_MAX:])


def united(ranges: Ranges, numbers: Iterable[int]) -> Ranges:
    """With more numbers; too many ranges become one, which leaves out nothing."""
    found: list[tuple[int, int]] = []
    for first, last in sorted([*ranges, *((number, number) for number in numbers)]):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found) if len(found) <= RANGES_MAX else ((found[0][0], found[-1][1]),)


def encode(ranges: Ranges) -> str:
    """For the database."""
    return msgspec.json.encode(ranges).decode()


def decode(text: str | None) -> Ranges:
    """From the database; what can't be read means none: then what comes of it is taken for repeated."""
    try:
        return () if text is None else msgspec.json.decode(text, type=Ranges)
    except msgspec.MsgspecError:
        return ()
