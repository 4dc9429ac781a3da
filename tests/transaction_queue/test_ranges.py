"""Ranges of numbers against a plain set."""

from hypothesis import given
from hypothesis import strategies as st

from services.transaction_queue import ranges


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6)), max_size=20), st.lists(st.integers(0, 120), max_size=60))
def test_ranges_are_a_set(steps: list[tuple[int, int]], taken: list[int]) -> None:
    found: ranges.Ranges = ()
    expected: set[int] = set()
    at = 0
    for distance, length in steps:
        first = at + distance
        at = first + length
        found = ranges.added(found, first, at)
        expected |= set(range(first, at + 1))
    for number in taken:
        found = ranges.without(found, number)
        expected.discard(number)
    found = ranges.decode(ranges.encode(found))
    assert {number for number in range(300) if ranges.contains(found, number)} == expected


def test_they_are_bounded_and_damage_means_none() -> None:
    found: ranges.Ranges = ()
    for number in range(0, 4 * ranges.RANGES_MAX, 2):
        found = ranges.added(found, number, number)
    assert len(found) == ranges.RANGES_MAX
    assert not ranges.contains(found, 0)
    assert ranges.decode("[[1,") == ranges.decode("[]") == ranges.decode(None) == ()
