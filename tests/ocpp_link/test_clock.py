"""Which clock is believed, and for how long (design §5)."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import messages as m
from services.ocpp_link.clock import (
    CENTRAL_STEP_S_MIN,
    STEP_S_MIN,
    Clock,
    central_system_seen,
    change,
    system_clock_seen,
)
from services.ocpp_link.kept import CLOCK_SYNCHRONISED, clock_facts, restored_clock
from tests.ocpp_link.world import UTC_0_S, World

WRONG_S = UTC_0_S + 5 * 365 * 86400.0
"""What a time service that is wrong by five years makes of boottime 0."""
AT_S = 1000.0
UTC_MS = round((UTC_0_S + AT_S) * 1000)
WRONG = system_clock_seen(Clock(floor_utc_ms=1), WRONG_S, synchronised=True)
LOST = system_clock_seen(WRONG, WRONG_S, synchronised=False)


@pytest.fixture
def online(tmp_path: Path) -> World:
    return World(tmp_path).online()


offsets = st.floats(UTC_0_S - 100, UTC_0_S + 100)


def test_a_synchronised_system_clock_ranks_above_the_central_system() -> None:
    assert (WRONG.source, WRONG.utc_offset_s) == ("system", WRONG_S)
    assert central_system_seen(WRONG, UTC_MS, AT_S) == WRONG


def test_one_that_is_not_synchronised_any_more_keeps_its_offset_and_ranks_below() -> None:
    assert LOST.state() == WRONG.state()
    assert central_system_seen(LOST, UTC_MS, AT_S) == Clock("central_system", UTC_0_S, 1)


def test_it_ranks_first_again_once_it_is_synchronised_again() -> None:
    central = central_system_seen(LOST, UTC_MS, AT_S)
    assert system_clock_seen(central, UTC_0_S + 1, synchronised=False) == central
    again = system_clock_seen(central, UTC_0_S + 1, synchronised=True)
    assert (again.source, again.utc_offset_s) == ("system", UTC_0_S + 1)
    assert central_system_seen(again, UTC_MS + 60_000, AT_S) == again


def test_what_an_unsynchronised_system_clock_says_later_is_not_believed() -> None:
    assert system_clock_seen(LOST, UTC_0_S + 77, synchronised=False) == LOST


@given(st.lists(st.tuples(st.booleans(), st.floats(-0.24, 0.24), st.floats(-0.9, 0.9))))
def test_a_small_difference_steps_nothing_however_often_the_synchronisation_comes_and_goes(
    looks: list[tuple[bool, float, float]],
) -> None:
    """What differs by noise is one and the same time (hardware.md §8.4)."""
    clock = first = system_clock_seen(Clock(), UTC_0_S, synchronised=True)
    for synchronised, drift_s, central_s in looks:
        clock = system_clock_seen(clock, UTC_0_S + drift_s, synchronised=synchronised)
        clock = central_system_seen(clock, UTC_MS + round(central_s * 1000), AT_S)
    assert clock.state() == first.state()


@given(offsets, offsets, st.booleans())
def test_what_is_believed_is_never_far_from_who_ranks_first(system_s: float, central_s: float, synchronised: bool) -> None:
    clock = system_clock_seen(Clock(), system_s, synchronised=True)
    clock = system_clock_seen(clock, system_s, synchronised=synchronised)
    clock = central_system_seen(clock, round(central_s * 1000), 0.0)
    assert clock.utc_offset_s is not None
    assert abs(clock.utc_offset_s - (system_s if synchronised else central_s)) <= (
        STEP_S_MIN if synchronised else CENTRAL_STEP_S_MIN
    )


@pytest.mark.parametrize("clock", [WRONG, LOST, Clock("central_system", UTC_0_S, 1)])
def test_a_restart_of_the_link_keeps_the_rank(clock: Clock) -> None:
    assert restored_clock(Clock(floor_utc_ms=1), clock_facts(clock)) == clock


def test_what_an_earlier_release_kept_ranks_below_until_the_system_clock_is_looked_at() -> None:
    kept = {name: text for name, text in clock_facts(WRONG).items() if name != CLOCK_SYNCHRONISED}
    assert restored_clock(Clock(floor_utc_ms=1), kept) == LOST
    assert system_clock_seen(LOST, WRONG_S, synchronised=True) == WRONG


def test_changes_have_plain_words() -> None:
    assert change(Clock(), WRONG) == ("clock is known", None)
    assert change(WRONG, LOST)[0].startswith("system clock is not synchronised any more")
    assert change(LOST, WRONG) == ("system clock is synchronised again", None)
    assert change(LOST, Clock("central_system", WRONG_S + 3)) == ("clock steps", 3.0)


class TestInTheLink:
    """The same through the service, its database and the bus."""

    @pytest.mark.parametrize("restarts", [False, True])
    def test_a_wrong_time_service_that_is_cut_off_is_put_right_by_the_central_system(
        self, online: World, restarts: bool
    ) -> None:
        online.link.system_clock(WRONG_S, synchronised=True)
        online.advance(301)
        assert online.clocks[-1].source == "system"
        online.link.system_clock(WRONG_S, synchronised=False)
        online.settle()
        assert online.clocks[-1] == m.ClockState("system", WRONG_S, online.clocks[-1].floor_utc_ms), (
            "until somebody knows better"
        )
        if restarts:
            online.restart_link()
            online.online()
        online.advance(301)
        clock = online.watchdog.latest(m.ClockState)
        assert clock is not None
        assert (clock.source, clock.utc_offset_s) == ("central_system", pytest.approx(UTC_0_S, abs=0.01))
        floor_utc_ms = online.store.known_utc_ms()
        assert floor_utc_ms == pytest.approx((UTC_0_S + online.now_s) * 1000, abs=302_000), "nor is the next boot misled"
        online.link.system_clock(UTC_0_S + 5, synchronised=True)
        online.settle()
        assert (online.clocks[-1].source, online.clocks[-1].utc_offset_s) == ("system", UTC_0_S + 5)

    def test_a_restart_while_the_system_clock_is_synchronised_changes_nothing(self, online: World) -> None:
        online.link.system_clock(UTC_0_S + 5, synchronised=True)
        online.restart_link()
        said = online.log.said("clock")
        online.link.system_clock(UTC_0_S + 5, synchronised=True)
        online.online()
        online.advance(301)
        assert online.log.said("clock") == said
        clock = online.watchdog.latest(m.ClockState)
        assert clock is not None
        assert (clock.source, clock.utc_offset_s) == ("system", UTC_0_S + 5)
