"""dateTime as any Central System may write it (errata v4.0 3.10)."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ocpp_link.timestamps import parse_utc_ms, utc_ms_text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2013-02-01T20:53:32.486Z", 1359752012486),
        ("2013-02-01T20:53:32Z", 1359752012000),
        ("2013-02-01T20:53:32", 1359752012000),
        ("2013-02-01 20:53:32z", 1359752012000),
        ("2013-02-01T20:53Z", 1359751980000),
        ("2013-02-01T21:53:32.4869999999999+01:00", 1359752012486),
        ("2013-02-01T15:23:32.4-0530", 1359752012400),
        ("2013-02-01T20:53:32,486+00", 1359752012486),
        ("1969-12-31T23:59:59.5Z", -500),
        ("2016-12-31T23:59:60Z", 1483228800000),
        ("2024-02-29T00:00:00Z", 1709164800000),
    ],
)
def test_all_usual_forms_are_read(text: str, expected: int) -> None:
    assert parse_utc_ms(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2013-02-01",
        "2013-13-01T00:00:00Z",
        "2013-02-29T00:00:00Z",
        "2013-02-00T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2013-02-01T24:00:00Z",
        "2013-02-01T00:60:00Z",
        "2013-02-01T00:00:61Z",
        "0000-02-01T00:00:00Z",
        "2013-02-01T00:00:00+24:00",
        "2013-02-01T00:00:00+00:60",
        "2013-02-01T00:00:00 CET",
        "٢٠١٣-02-01T00:00:00Z",
        "2013-02-01T00:00:00." + "1" * 1000,
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_utc_ms(text) is None


@settings(deadline=None)
@given(
    st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),
    st.integers(-23 * 60, 23 * 60),
)
def test_it_agrees_with_the_standard_library(moment: datetime, offset_min: int) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_utc_ms(aware.isoformat()) == expected


@settings(deadline=None)
@given(st.integers(0, 253402300799999))
def test_what_we_write_is_read_back(utc_ms: int) -> None:
    assert parse_utc_ms(utc_ms_text(utc_ms)) == utc_ms


@settings(deadline=None)
@given(st.text())
def test_no_text_raises(text: str) -> None:
    parse_utc_ms(text)
