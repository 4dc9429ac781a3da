"""When a service is helped, when the guard is called, what is told (design §2; issue 7)."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.watchdog import core
from services.watchdog import events as e
from services.watchdog.state import State

NAMES = ("broker", "ocpp_link", "connectors", "meter")
GRACE_S = 15.0


class Watch:
    """A watchdog's core with a clock of its own, on a station that has been well for a while."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.state: State = core.initial(NAMES, GRACE_S, self.now_s)
        self.effects: list[e.Effect] = []
        for name in NAMES:
            self.starts(name)
        self.wait(60)
        self.effects.clear()

    def feed(self, event: e.Event) -> list[e.Effect]:
        self.state, effects = core.step(self.state, event, self.now_s)
        self.effects += effects
        return list(effects)

    def wait(self, seconds: float) -> None:
        """Time passes; supervisord ticks."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + 0.5)
            self.feed(e.SupervisorTicked())
            self.feed(e.Tick())

    def starts(self, name: str) -> None:
        self.feed(e.SupervisorSaid(name, "STARTING"))
        self.feed(e.Heard(name))
        self.feed(e.SupervisorSaid(name, "RUNNING"))

    def dies(self, name: str) -> None:
        self.feed(e.SupervisorSaid(name, "EXITED", expected=False))

    def found(self, kind: type[e.Effect]) -> list[e.Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]


def test_a_station_that_is_well_is_left_alone() -> None:
    watch = Watch()
    watch.wait(3600)
    assert not [effect for effect in watch.effects if not isinstance(effect, e.Feed)]


def test_a_silent_service_is_ended_and_then_killed_and_told() -> None:
    watch = Watch()
    watch.feed(e.Unheard("meter"))
    assert watch.found(e.End) == [e.End("meter", kill=False)]
    assert watch.found(e.Tell) == [e.Tell("meter runs but is not heard on the bus")]
    assert watch.found(e.Problem) == [e.Problem("meter", "meter runs but is not heard on the bus")]
    watch.wait(core.KILL_S)
    assert watch.found(e.End)[1:] == [e.End("meter", kill=True)]
    watch.dies("meter")
    watch.starts("meter")
    watch.wait(core.TOLD_S + 1)
    assert watch.found(e.End)[2:] == []
    assert watch.found(e.Tell)[-1] == e.Tell("")
    assert watch.found(e.Problem)[-1] == e.Problem("meter", "")
    assert not watch.found(e.CallGuard)


def test_what_was_mended_at_once_stays_told_for_a_while() -> None:
    watch = Watch()
    watch.feed(e.Unheard("meter"))
    watch.dies("meter")
    watch.starts("meter")
    watch.wait(core.TOLD_S - 1)
    assert e.Tell("") not in watch.effects
    watch.wait(2)
    assert e.Tell("") in watch.effects


def test_the_broker_is_blamed_before_those_who_can_not_be_heard_without_it() -> None:
    watch = Watch()
    watch.feed(e.Unheard("broker"))
    for name in NAMES[1:]:
        watch.feed(e.Unheard(name))
    watch.wait(5)
    assert {effect.name for effect in watch.found(e.End)} == {"broker"}
    watch.dies("broker")
    watch.starts("broker")
    for name in NAMES[1:]:
        watch.feed(e.Heard(name))
    watch.wait(30)
    assert {effect.name for effect in watch.found(e.End)} == {"broker"}


def test_who_is_still_silent_once_the_broker_is_back_is_helped_too() -> None:
    watch = Watch()
    watch.feed(e.Unheard("broker"))
    watch.feed(e.Unheard("meter"))
    watch.dies("broker")
    watch.starts("broker")
    watch.wait(core.AFTER_BROKER_S - 1)
    assert "meter" not in {effect.name for effect in watch.found(e.End)}
    watch.wait(2)
    assert e.End("meter", kill=False) in watch.effects


def test_remedies_come_ever_more_rarely_and_never_end() -> None:
    watch = Watch()
    times = []
    for _ in range(4000):
        watch.feed(e.Unheard("meter"))
        if any(not effect.kill for effect in watch.found(e.End)):
            times.append(watch.now_s)
            watch.dies("meter")
            watch.feed(e.SupervisorSaid("meter", "STARTING"))
            watch.feed(e.SupervisorSaid("meter", "RUNNING"))
            watch.state = core.step(watch.state, e.Heard("meter"), watch.now_s)[0]
        watch.effects.clear()
        watch.wait(1)
    pauses = [round(b - a) for a, b in itertools.pairwise(times)]
    assert pauses[:4] == sorted(pauses[:4])
    assert max(pauses) <= core.REMEDY_S_MAX + core.START_S + 2
    assert times[-1] > watch.now_s - core.REMEDY_S_MAX - core.START_S - 2


def test_a_crash_loop_is_told_and_left_to_supervisord() -> None:
    watch = Watch()
    for _ in range(core.DEATHS):
        watch.dies("ocpp_link")
        watch.wait(1)
        watch.starts("ocpp_link")
        watch.wait(1)
    assert e.Tell("ocpp_link ends again and again") in watch.effects
    assert not watch.found(e.End)
    watch.wait(core.DEATHS_S)
    assert watch.found(e.Tell)[-1] == e.Tell("")


def test_one_death_is_supervisords_business() -> None:
    watch = Watch()
    watch.dies("ocpp_link")
    watch.starts("ocpp_link")
    watch.wait(30)
    assert not watch.found(e.Tell)


def test_a_service_that_supervisord_gave_up_is_started_again() -> None:
    watch = Watch()
    watch.feed(e.SupervisorSaid("meter", "FATAL", expected=False))
    watch.wait(core.REMEDY_S + 1)
    assert watch.found(e.Start) == [e.Start("meter"), e.Start("meter")]
    assert e.Tell("meter was given up by supervisord") in watch.effects


def test_a_service_that_somebody_stopped_is_told_of_and_stays_stopped() -> None:
    watch = Watch()
    watch.feed(e.SupervisorSaid("rfid", "STOPPED"))
    watch.feed(e.SupervisorSaid("meter", "STOPPED"))
    watch.wait(60)
    assert e.Tell("meter was stopped") in watch.effects
    assert not watch.found(e.Start)


def test_a_restart_of_connectors_calls_no_guard() -> None:
    watch = Watch()
    watch.feed(e.SupervisorSaid("connectors", "EXITED"))
    watch.wait(1)
    watch.starts("connectors")
    watch.wait(60)
    assert not watch.found(e.CallGuard)


def test_the_guard_is_called_while_connectors_is_gone_and_again_if_it_ends() -> None:
    watch = Watch()
    watch.feed(e.SupervisorSaid("connectors", "STOPPED"))
    watch.wait(core.GUARD_AFTER_S + 0.5)
    (call,) = watch.found(e.CallGuard)
    assert call.gone_for_s == pytest.approx(core.GUARD_AFTER_S)
    watch.wait(100)
    assert len(watch.found(e.CallGuard)) == 1
    watch.feed(e.GuardEnded(1))
    watch.wait(core.GUARD_PAUSE_S + 0.5)
    assert len(watch.found(e.CallGuard)) == 2
    assert watch.found(e.CallGuard)[1].gone_for_s > 100
    watch.starts("connectors")
    watch.feed(e.GuardEnded(0))
    watch.wait(60)
    assert len(watch.found(e.CallGuard)) == 2


def test_connectors_that_starts_and_falls_has_been_gone_all_the_while() -> None:
    """Nobody looks after the controllers for as long as it takes to read the disk."""
    watch = Watch()
    watch.dies("connectors")
    for _ in range(5):
        watch.wait(2)
        watch.starts("connectors")
        watch.feed(e.GuardEnded(0))
        watch.wait(1.5)
        watch.dies("connectors")
    watch.wait(1)
    assert watch.found(e.CallGuard)[-1].gone_for_s >= 15.0


def test_connectors_that_hangs_is_gone_since_it_was_heard_last() -> None:
    watch = Watch()
    watch.feed(e.Unheard("connectors"))
    since_s = watch.now_s
    watch.wait(core.KILL_S)
    watch.feed(e.SupervisorSaid("connectors", "BACKOFF", expected=False))
    watch.wait(2)
    (call,) = watch.found(e.CallGuard)
    assert call.gone_for_s == pytest.approx(watch.now_s - since_s, abs=2.0)


def test_the_hardware_watchdog_is_fed_while_the_board_can_do_its_work() -> None:
    watch = Watch()
    watch.wait(60)
    assert len(watch.found(e.Feed)) == 60 / core.FEED_S
    watch.feed(e.Unheard("broker"))
    watch.wait(core.SOUND_S_MAX)
    watch.effects.clear()
    watch.wait(60)
    assert not watch.found(e.Feed), "the broker does not come back: the board is to be reset"


def test_without_supervisord_the_board_is_to_be_reset() -> None:
    watch = Watch()
    for _ in range(200):
        watch.now_s += 1
        watch.feed(e.Tick())
    watch.effects.clear()
    watch.now_s += 10
    watch.feed(e.Tick())
    assert not watch.found(e.Feed)


WORDS = st.sampled_from(["STARTING", "RUNNING", "BACKOFF", "STOPPING", "EXITED", "STOPPED", "FATAL", "UNKNOWN"])
EVENTS = st.one_of(
    st.builds(e.SupervisorSaid, st.sampled_from([*NAMES, "stranger"]), WORDS, st.booleans()),
    st.builds(e.Heard, st.sampled_from([*NAMES, "stranger"])),
    st.builds(e.Unheard, st.sampled_from([*NAMES, "stranger"])),
    st.builds(e.GuardEnded, st.integers(-15, 5)),
    st.just(e.Tick()),
    st.just(e.SupervisorTicked()),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(EVENTS, st.floats(0, 40)), max_size=60))
def test_whatever_happens_one_guard_runs_at_a_time_and_ever_while_connectors_is_gone(
    steps: list[tuple[e.Event, float]],
) -> None:
    """Style §1: every event in every state has an answer. Safety: gone without a process means a guard."""
    state, now_s, running = core.initial(NAMES, GRACE_S, 0.0), 0.0, False
    for event, wait_s in steps:
        for each in (event, e.Tick()):
            if isinstance(each, e.GuardEnded):
                if not running:
                    continue
                running = False
            state, effects = core.step(state, each, now_s)
            calls = [effect for effect in effects if isinstance(effect, e.CallGuard)]
            assert len(calls) + running <= 1
            running = running or bool(calls)
            now_s += wait_s
    now_s += core.GUARD_AFTER_S + core.GUARD_PAUSE_S
    state, _ = core.step(state, e.Tick(), now_s)
    connectors = state.service("connectors")
    assert connectors is not None
    assert connectors.up or state.guard_runs
