"""When a device counts as lost and when it is tried again (hardware.md §7, contract 4)."""

import itertools

from services.hardware import link as links
from services.hardware.link import ClosePort, Exchanged, Failed, Link, Opened, ReportDown, ReportUp

NO_ANSWER = Failed("no answer")
GONE = Failed("port gone", port_missing=True)


def run(link: Link, *events: links.Event, now_s: float) -> tuple[Link, list[links.Effect]]:
    effects: list[links.Effect] = []
    for event in events:
        link, more = links.step(link, event, now_s)
        effects += more
    return link, effects


def up(now_s: float = 0.0) -> Link:
    link, effects = run(links.initial(now_s), Opened(), Exchanged(1.0), now_s=now_s)
    assert effects == [ReportUp()]
    return link


def waits(link: Link, event: Failed, count: int) -> list[float]:
    """The waits after each of `count` failures, each at the moment when it was due."""
    found = []
    for _ in range(count):
        now_s = link.due_s
        link, _ = links.step(link, event, now_s)
        found.append(link.due_s - now_s)
    return found


def test_a_new_link_is_opened_at_once_and_polled_at_once() -> None:
    link = links.initial(5.0)
    assert link.due_s == 5.0
    link, _ = links.step(link, Opened(), 5.2)
    assert (link.port_open, link.due_s) == (True, 5.2)


def test_up_is_told_once_and_the_next_poll_is_due_after_the_period() -> None:
    link, effects = run(up(), Exchanged(1.0), Exchanged(0.5), now_s=3.0)
    assert effects == []
    assert link.due_s == 3.5


def test_two_failures_are_no_loss_and_a_good_exchange_forgives_them() -> None:
    link, effects = run(up(), NO_ANSWER, NO_ANSWER, Exchanged(1.0), NO_ANSWER, NO_ANSWER, now_s=20.0)
    assert effects == []
    assert link.phase == "up"
    assert link.due_s == 20.25


def test_three_failures_in_a_row_lose_the_link() -> None:
    link, effects = run(up(), NO_ANSWER, NO_ANSWER, NO_ANSWER, now_s=20.0)
    assert effects == [ClosePort(), ReportDown("no answer", 0.25)]
    assert (link.phase, link.port_open, link.due_s) == ("lost", False, 20.25)


def test_a_vanished_port_loses_the_link_at_once() -> None:
    _, effects = run(up(), GONE, now_s=20.0)
    assert effects == [ClosePort(), ReportDown("port gone", 0.25)]


def test_the_back_off_grows_to_thirty_seconds_and_stays_there() -> None:
    link, _ = run(up(), NO_ANSWER, NO_ANSWER, NO_ANSWER, now_s=20.0)
    assert waits(link, NO_ANSWER, 8) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_charging_controller_is_looked_for_more_often() -> None:
    """It may come back enabled, and shall not wait longer for its order than an orphan does (design §2)."""
    link, _ = run(links.initial(0.0, links.CONTROLLER_WAIT_S_MAX), Opened(), Exchanged(1.0), NO_ANSWER, NO_ANSWER, now_s=20.0)
    assert waits(link, NO_ANSWER, 7) == [0.25, 1, 2, 4, 8, 8, 8]


def test_a_missing_port_is_looked_for_every_two_seconds() -> None:
    link, _ = run(up(), GONE, now_s=20.0)
    assert waits(link, GONE, 6) == [1, 2, 2, 2, 2, 2]


def test_down_is_told_again_only_for_another_reason() -> None:
    link, _ = run(up(), GONE, now_s=20.0)
    link, effects = run(link, GONE, GONE, NO_ANSWER, NO_ANSWER, now_s=30.0)
    assert [effect.reason for effect in effects if isinstance(effect, ReportDown)] == ["no answer"]


def test_a_device_that_comes_late_at_a_cold_start_is_not_told_as_lost() -> None:
    link = links.initial(0.0)
    for index in range(8):
        link, effects = links.step(link, GONE, index * 0.25)
        assert effects == ()
        assert link.due_s == (index + 1) * 0.25
    link, effects = links.step(link, GONE, 2.0)
    assert effects == (ReportDown("port gone", 0.25),)
    assert link.phase == "lost"


def test_a_device_that_opens_but_does_not_exchange_is_not_up() -> None:
    link, _ = run(up(), GONE, now_s=20.0)
    link, effects = run(link, Opened(), NO_ANSWER, now_s=21.0)
    assert effects == [ClosePort(), ReportDown("no answer", 1.0)]
    assert not link.port_open


def test_back_is_told_and_the_back_off_begins_anew_after_a_stable_time_only() -> None:
    link, _ = run(up(), NO_ANSWER, NO_ANSWER, NO_ANSWER, NO_ANSWER, NO_ANSWER, now_s=20.0)
    link, effects = run(link, Opened(), Exchanged(1.0), now_s=30.0)
    assert effects == [ReportUp()]
    flapping, effects = run(link, NO_ANSWER, NO_ANSWER, NO_ANSWER, now_s=31.0)
    assert effects[-1] == ReportDown("no answer", 4.0)
    _, effects = run(link, NO_ANSWER, NO_ANSWER, NO_ANSWER, now_s=30.0 + links.STABLE_S)
    assert effects[-1] == ReportDown("no answer", 0.25)
    assert flapping.phase == "lost"


def test_every_event_in_every_state_keeps_the_link_in_order() -> None:
    """Up and down alternate, a port is closed only when open, and something is always due."""
    events = (Opened(), Exchanged(1.0), NO_ANSWER, GONE)
    for sequence in itertools.product(events, repeat=6):
        link, told_up = links.initial(0.0), None
        for index, event in enumerate(sequence):
            if isinstance(event, Exchanged) and not link.port_open:
                continue
            was_open = link.port_open
            link, effects = links.step(link, event, index * 3.0)
            assert link.due_s >= index * 3.0
            assert effects.count(ClosePort()) <= was_open
            for effect in effects:
                if isinstance(effect, ReportUp):
                    assert told_up is not True
                    told_up = True
                elif isinstance(effect, ReportDown):
                    told_up = False
            assert (link.phase == "up") == (told_up is True)
