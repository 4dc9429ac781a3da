"""Repeated lines become one with a count; an idle station writes nothing (issue 7)."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import logs
from bus.folding import KEYS_MAX, REPEAT_S_MAX, Fold, Folded
from bus.logs import FoldingHandler, Logger, parse


class Paper:
    """Where lines are written."""

    def __init__(self) -> None:
        self.text = ""
        self.writes = 0

    def write(self, text: str) -> object:
        """Take them."""
        self.text += text
        self.writes += 1
        return None

    def flush(self) -> object:
        """They are seen already."""
        return None

    def lines(self) -> list[dict[str, str]]:
        """Read back, strictly."""
        return [parse(line) for line in self.text.splitlines()]


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture(name="log")
def made_log(paper: Paper) -> Iterator[Logger]:
    yield logs.own_log("folding test", "meter", paper)
    for handler in logging.getLogger("folding test").handlers:
        handler.close()


def test_the_first_of_its_kind_is_written_at_once(log: Logger, paper: Paper) -> None:
    log.info("meter answers", port="ttyUSB0")
    assert [line["event"] for line in paper.lines()] == ["meter answers"]


def test_a_line_that_repeats_is_counted_and_told_before_the_next_other_one(log: Logger, paper: Paper) -> None:
    for _ in range(100):
        log.warning("meter is silent", port="ttyUSB0")
    assert paper.writes == 1
    log.info("meter answers")
    first, folded, other = paper.lines()
    assert ("times" in first, folded["times"], folded["port"], other["event"]) == (False, "99", "ttyUSB0", "meter answers")
    assert first["ts"] <= folded["since"] <= folded["ts"] <= other["ts"]


def test_a_line_that_was_held_alone_is_written_as_it_was(log: Logger, paper: Paper) -> None:
    log.info("a")
    log.info("a")
    log.info("b")
    assert [(line["event"], line.get("times")) for line in paper.lines()] == [("a", None), ("a", None), ("b", None)]


@pytest.mark.parametrize("other", [{"port": "b"}, {}, {"port": "a", "unit": 2}])
def test_a_line_with_another_field_is_another_line(log: Logger, paper: Paper, other: dict[str, object]) -> None:
    log.info("meter answers", port="a")
    log.info("meter answers", **other)
    assert len(paper.lines()) == 2


def test_what_is_normal_while_nothing_happens_writes_nothing(log: Logger, paper: Paper) -> None:
    for _ in range(1000):
        log.quiet("ping sent", "ping")
        log.quiet("frame sent", "heartbeat", action="Heartbeat")
    assert paper.text == ""
    log.info("frame received", action="Reset")
    pings, heartbeats, frame = paper.lines()
    assert (pings["times"], heartbeats["times"], heartbeats["action"], frame["event"]) == (
        "1000",
        "1000",
        "Heartbeat",
        "frame received",
    )


def test_the_same_request_refused_again_is_counted_whatever_its_unique_id(log: Logger, paper: Paper) -> None:
    for number in range(100):
        log.info("request refused", action="UnlockConnector", unique_id=f"u{number}", reason="there is no connector 9")
    log.info("request refused", action="UnlockConnector", unique_id="u100", reason="there is no connector 8")
    first, folded, other = paper.lines()
    assert (first["unique_id"], folded["unique_id"], folded["times"], other["unique_id"]) == ("u0", "u99", "99", "u100")


def test_a_quiet_line_does_not_make_another_line_of_a_repeated_one(log: Logger, paper: Paper) -> None:
    log.warning("no route")
    log.quiet("ping sent", "ping")
    log.warning("no route")
    assert paper.writes == 1


def test_what_is_held_is_written_at_the_end(log: Logger, paper: Paper) -> None:
    log.quiet("ping sent", "ping")
    log.quiet("ping sent", "ping")
    logging.getLogger("folding test").handlers[0].close()
    assert paper.lines()[0]["times"] == "2"


@pytest.mark.usefixtures("log")
def test_a_traceback_is_never_folded(paper: Paper) -> None:
    for _ in range(2):
        try:
            raise RuntimeError("broken")
        except RuntimeError:
            logging.getLogger("folding test").error("traceback of the error above", exc_info=True)
    assert [line["traceback"][-6:] for line in paper.lines()] == ["broken", "broken"]


@pytest.mark.parametrize("refusal", [OSError("disk full"), ValueError("closed")])
def test_a_stream_that_refuses_ends_nothing(refusal: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    class Refusing(Paper):
        def write(self, text: str) -> object:
            raise refusal from ValueError(text)

    handler = FoldingHandler(Refusing(), "meter")
    handler.emit(logging.LogRecord("meter", logging.INFO, "", 0, "it happens", None, None))


def test_an_error_that_goes_on_is_told_again_after_an_hour() -> None:
    fold: Fold[str] = Fold()
    written = [(at_s, fold.take("e", "same", float(at_s), urgent=True)) for at_s in range(0, 10_000, 10)]
    told = [(at_s, lines[0].times) for at_s, lines in written if lines]
    times = int(REPEAT_S_MAX) // 10 + 1
    assert told == [(0, 1), (10 + int(REPEAT_S_MAX), times), (20 + 2 * int(REPEAT_S_MAX), times)]


def test_what_is_no_error_is_not_told_again_by_time_alone() -> None:
    fold: Fold[str] = Fold()
    assert [len(fold.take("i", "same", float(at_s))) for at_s in (0, 10, 1_000_000)] == [1, 0, 0]


def test_kinds_of_quiet_lines_are_bounded() -> None:
    fold: Fold[str] = Fold()
    gone = [len(fold.take_quiet("q", str(number), 0.0)) for number in range(3 * KEYS_MAX)]
    assert max(gone) == KEYS_MAX
    assert sum(gone) + len(fold.flush()) == 3 * KEYS_MAX


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_no_line_is_lost_and_none_invented(given_lines: list[tuple[str, bool]]) -> None:
    fold: Fold[str] = Fold()
    out: list[Folded[str]] = []
    for at_s, (text, quiet) in enumerate(given_lines):
        if quiet:
            out += fold.take_quiet(f"quiet {text}", text, float(at_s))
        else:
            out += fold.take(text, text, float(at_s))
    out += fold.flush()
    counted: dict[str, int] = {}
    for one in out:
        counted[one.last] = counted.get(one.last, 0) + one.times
    expected = [f"quiet {text}" if quiet else text for text, quiet in given_lines]
    assert counted == {text: expected.count(text) for text in set(expected)}
