"""Lines about what is being committed: when they are written, with which time, in which order."""

import logging

import pytest

from bus import logs
from services.transaction_queue.lines import LINGER_S, TOGETHER, Lines


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(clock: Clock) -> Lines:
    return Lines(logs.logger("lines"), clock)


@pytest.fixture(autouse=True)
def level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_what_was_delivered_waits_a_moment_and_keeps_its_time(
    lines: Lines, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    lines.delivered("message delivered", number=0)
    assert lines.due_s == clock.now_s + LINGER_S
    lines.tell()
    assert caplog.records == []
    clock.now_s += LINGER_S
    lines.tell()
    assert [record.getMessage() for record in caplog.records] == ["message delivered"]
    assert caplog.records[0].__dict__["ago_s"] == pytest.approx(LINGER_S)
    assert lines.due_s is None


def test_many_are_written_at_once(lines: Lines, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(TOGETHER):
        assert caplog.records == []
        lines.delivered("message delivered", number=number)
        lines.tell()
    assert [record.__dict__["fields"]["number"] for record in caplog.records] == list(range(TOGETHER))


def test_what_is_wrong_is_written_at_once_after_what_was_before(lines: Lines, caplog: pytest.LogCaptureFixture) -> None:
    lines.delivered("message delivered")
    lines.wrong(logs.logger("lines").error, "message given up")
    assert caplog.records == [], "only after the commit"
    lines.tell()
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR"]


def test_nothing_is_left_at_the_end(lines: Lines, caplog: pytest.LogCaptureFixture) -> None:
    lines.delivered("message delivered")
    lines.tell_all()
    assert len(caplog.records) == 1
