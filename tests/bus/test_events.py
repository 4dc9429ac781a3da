"""Events: numbered, so that a loss shows; never acted on late (design §3)."""

import pytest

from bus.events import EventArrival, EventInput, EventOutput

NAME = "rfid.presented."


def test_events_are_numbered_per_name() -> None:
    output = EventOutput("rfid", 5)
    assert [output.header(NAME, 1.0).number, output.header("other.", 1.0).number, output.header(NAME, 1.0).number] == [1, 1, 2]


@pytest.mark.parametrize(("age_s", "fresh"), [(0.0, True), (2.0, True), (2.01, False), (60.0, False)])
def test_an_event_is_acted_on_only_while_it_is_fresh(age_s: float, fresh: bool) -> None:
    """A card event older than 2 s is dropped: a stalled bus must not start a session later."""
    header = EventOutput("rfid", 5).header(NAME, 100.0)
    assert EventInput().judge(NAME, header, age_s_max=2.0, now_s=100.0 + age_s).fresh is fresh


def test_a_gap_tells_how_many_were_lost() -> None:
    output, reader = EventOutput("rfid", 5), EventInput()
    headers = [output.header(NAME, 100.0) for _ in range(5)]
    assert reader.judge(NAME, headers[0], age_s_max=2.0, now_s=100.0) == EventArrival(fresh=True, lost=0, age_s=0.0)
    assert reader.judge(NAME, headers[4], age_s_max=2.0, now_s=100.0) == EventArrival(fresh=True, lost=3, age_s=0.0)


def test_a_repeated_event_is_not_acted_on() -> None:
    output, reader = EventOutput("rfid", 5), EventInput()
    first, second = output.header(NAME, 100.0), output.header(NAME, 100.0)
    assert reader.judge(NAME, second, age_s_max=2.0, now_s=100.0).fresh
    assert not reader.judge(NAME, second, age_s_max=2.0, now_s=100.0).fresh
    assert not reader.judge(NAME, first, age_s_max=2.0, now_s=100.0).fresh


def test_a_restarted_publisher_counts_from_one_and_nothing_was_lost() -> None:
    reader = EventInput()
    old = EventOutput("rfid", 5)
    for _ in range(7):
        reader.judge(NAME, old.header(NAME, 100.0), age_s_max=2.0, now_s=100.0)
    new = reader.judge(NAME, EventOutput("rfid", 6).header(NAME, 100.0), age_s_max=2.0, now_s=100.0)
    assert (new.fresh, new.lost) == (True, 0)
    assert not reader.judge(NAME, old.header(NAME, 100.0), age_s_max=2.0, now_s=100.0).fresh
