"""Log lines: what is written is read back, whatever is in it."""

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import logs
from bus.logs import LogfmtFormatter, line, parse, utc_text

STAMP = "2026-11-24T03:15:00.123Z"
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,15}", fullmatch=True)


@given(fields=st.dictionaries(KEYS, st.text(max_size=200), max_size=6))
def test_any_text_comes_back(fields: dict[str, str]) -> None:
    assert parse(f"{STAMP} {line(fields)}") == {"ts": STAMP, **fields}


@given(fields=st.dictionaries(KEYS, st.text(), max_size=4))
def test_a_line_is_one_line(fields: dict[str, str]) -> None:
    assert len(line(fields).splitlines()) <= 1


@given(text=st.text())
def test_reading_arbitrary_text_raises_nothing_but_value_error(text: str) -> None:
    for candidate in (text, f"{STAMP} {text}", f'{STAMP} a="{text}'):
        try:
            parse(candidate)
        except ValueError:
            pass


@pytest.mark.parametrize("escape", [r"\u12", r"\u12g4", r"\U0011ffff", r"\Uffffffff", r"\u+123", r"\u"])
def test_a_broken_escape_is_no_character(escape: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse(f'{STAMP} a="{escape}"')


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, ""),
        (True, "a=true"),
        (False, "a=false"),
        (0.1 + 0.2, "a=0.3"),
        (100.0, "a=100"),
        (0.0, "a=0"),
        (12, "a=12"),
        ("", 'a=""'),
        ("two words", 'a="two words"'),
        ("a=b", 'a="a=b"'),
        ('say "no"', r'a="say \"no\""'),
        ("two\nlines", r'a="two\nlines"'),
        ("\x1b[2J", r'a="\u001b[2J"'),
        ("\U000e0001", r'a="\U000e0001"'),
    ],
)
def test_values_are_written_so_that_a_person_can_read_them(value: object, written: str) -> None:
    assert line({"a": value}) == written


def test_a_value_without_end_is_cut() -> None:
    assert len(line({"a": "x" * 1_000_000})) < 5000


def test_a_record_becomes_a_line_with_its_fields_and_traceback() -> None:
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        record = logging.LogRecord("meter", logging.WARNING, "", 0, "meter is silent", None, sys.exc_info())
    record.created = 0.5
    record.fields = {"port": "ttyUSB0", "left_out": None}
    fields = parse(LogfmtFormatter("meter").format(record))
    assert fields.pop("traceback").endswith("RuntimeError: broken")
    assert fields == {
        "ts": "1970-01-01T00:00:00.500Z",
        "level": "warning",
        "service": "meter",
        "event": "meter is silent",
        "port": "ttyUSB0",
    }


def test_the_four_levels_reach_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log = logs.logger("some service")
    with caplog.at_level("DEBUG"):
        for write in (log.debug, log.info, log.warning, log.error):
            write("it happens", count=1)
    assert [(r.levelname, json.dumps(r.fields)) for r in caplog.records] == [
        (level, '{"count": 1}') for level in ("DEBUG", "INFO", "WARNING", "ERROR")
    ]


@pytest.mark.parametrize(
    ("unix_s", "text"),
    [(0.0, "1970-01-01T00:00:00.000Z"), (0.9996, "1970-01-01T00:00:01.000Z"), (1709251199.9994, "2024-02-29T23:59:59.999Z")],
)
def test_times_are_utc_with_milliseconds(unix_s: float, text: str) -> None:
    """OCPP-J 1.6 §4: times in UTC."""
    assert utc_text(unix_s) == text
