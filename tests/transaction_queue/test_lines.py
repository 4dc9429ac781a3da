"""Lines about what is being committed: when they are written, with which time, in which order."""

import logging
import sqlite3
from pathlib import Path

import pytest

from bus import logs
from bus.messages import Delivered
from services.transaction_queue.lines import LINGER_S, TOGETHER, Lines
from tests.transaction_queue.world import World, session


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
    lines.committed()
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
        lines.committed()
        lines.tell()
    assert [record.__dict__["fields"]["number"] for record in caplog.records] == list(range(TOGETHER))


def test_what_is_wrong_is_written_at_once_after_what_was_before(lines: Lines, caplog: pytest.LogCaptureFixture) -> None:
    lines.delivered("message delivered")
    lines.wrong(logs.logger("lines").error, "message given up")
    lines.tell()
    assert caplog.records == [], "only after the commit"
    lines.committed()
    lines.tell()
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR"]


def test_nothing_is_left_at_the_end(lines: Lines, caplog: pytest.LogCaptureFixture) -> None:
    lines.delivered("message delivered", number=0)
    lines.committed()
    lines.delivered("message delivered", number=1)
    lines.tell_all()
    assert [record.__dict__["fields"]["number"] for record in caplog.records] == [0], "the other commit has failed"


class FullDisk:
    """A connection whose commits fail from some time on."""

    full = False

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def execute(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        if self.full and sql == "COMMIT":
            raise sqlite3.OperationalError("database or disk is full")
        return self._database.execute(sql, *parameters)

    def __getattr__(self, name: str) -> object:
        return getattr(self._database, name)


def test_a_delivery_that_could_not_be_noted_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Issue 4: the process ends over its disk, in good order; what its log says of money is on that disk."""
    world = World(tmp_path)
    world.kill_queue()
    world.wrap = FullDisk
    world.start_queue()
    world.link.answer = lambda _: None
    world.connectors.write(*session("a"))
    world.link.online()
    world.database.full = True
    with pytest.raises(sqlite3.OperationalError):
        world.link.report(0, Delivered(101))
    world.queue.close()
    assert "message delivered" not in caplog.text
    world.kill_queue()
    world.wrap = lambda database: database
    world.start_queue()
    world.link.answer = world.central_system
    world.link.online()
    world.advance(100)
    assert caplog.text.count("message delivered") == 2
