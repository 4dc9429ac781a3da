"""The verdict on an idle station can fail, and for the right reason (design §8)."""

import pytest

from tests.idle.verdict import FLOOR_BYTES_MAX, GROWTH_MB_MAX, Look, troubles


def looks(minutes: int = 60, *, growth_mb: float = 0.0, changed: tuple[str, ...] = (), **written: int) -> list[Look]:
    """`written` and `growth_mb` by the end, evenly."""
    at_end = {"ocpp_link": 0, "meter": 0, **written}
    return [
        Look(
            60.0 * number,
            {name: total * number // minutes for name, total in at_end.items()},
            {"ocpp_link": 10.0 + growth_mb * number / minutes, "meter": 9.0},
            changed if number == minutes else (),
        )
        for number in range(minutes + 1)
    ]


def test_a_station_that_keeps_only_its_clock_is_idle() -> None:
    assert troubles(looks(ocpp_link=FLOOR_BYTES_MAX, changed=("configuration.db-wal",), growth_mb=GROWTH_MB_MAX / 2)) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (looks(meter=1), "meter wrote 1 bytes"),
        (looks(ocpp_link=3 * FLOOR_BYTES_MAX), "ocpp_link wrote"),
        (looks(changed=("log/meter.log",)), "files changed: log/meter.log"),
        (looks(growth_mb=2 * GROWTH_MB_MAX), "memory grew from"),
    ],
)
def test_one_that_writes_or_grows_is_not(found: list[Look], words: str) -> None:
    (trouble,) = troubles(found)
    assert words in trouble
