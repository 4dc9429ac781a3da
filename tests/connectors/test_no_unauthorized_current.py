"""Safety: nothing leaves current offered without authorization for longer than it may (issue 6, acceptance 4; design §2).

The real service with its core and store, the production driver, the guard and the virtual controller, joined in memory under a
virtual clock. Device faults, a pulled and a silent line, restarts of the controller, deaths of the service, cars and cards come
in any order. What is judged is the pilot of the virtual controller, never what the station says.

    CHARGEBUS_LONG=1 pytest tests/connectors/test_no_unauthorized_current.py
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.connectors import events as e
from services.connectors import orphans
from services.connectors.state import Running
from services.hardware.contract import EvseDesired
from services.hardware.link import CONTROLLER_WAIT_S_MAX
from tests.connectors.wire_plant import Guard, Line, Turns, sample
from tests.connectors.world import STEP_S, World

LONG = bool(os.environ.get("CHARGEBUS_LONG"))
GRACE_S = 15.0
WINDOW_S = 1.5
"""From stock firmware that comes up enabled, or from the end of an authorization, to the end of the offer: measured 0.5 s."""
RETURN_S = CONTROLLER_WAIT_S_MAX + WINDOW_S
"""The same for a controller that was silent, as the driver looks for it in steps."""
FAULTS = {"openevse": ("gfci", "diode", "stuck-relay", "overtemp"), "evsewb": ("gfci", "diode", "stuck-relay", "vent")}
OPS = [
    "plug-in",
    "plug-out",
    "card",
    "card",
    "kill",
    "kill-long",
    "power-cycle",
    "pull",
    "put-back",
    "mute",
    "speak",
    "garble",
    "fault-0",
    "fault-1",
    "fault-2",
    "fault-3",
    "clear",
    "clear",
    "pause",
    "pause",
    "long-pause",
]


class Plant:
    """The controller as `World` wants it; time passes at the line, and the guard works while the service is gone."""

    meter_answers = True
    has_lock = False
    answers = True

    def __init__(self, world: "SafetyWorld") -> None:
        self._world = world
        self.desired = EvseDesired()

    def pass_time(self, _seconds: float) -> None:
        self._world.pass_time()

    def sample(self, now_s: float) -> Any:
        return sample(self._world.line, now_s)


UNSEEN = [("evsewb", "fault-0", "clear"), ("evsewb", "pull", "put-back"), ("openevse", "pull", "put-back")]
"""Driver, what hides the plug from the station, and what shows it again."""


class SafetyWorld(World):
    """A `World` whose one connector is a virtual controller behind its driver; `offered_s`: how long without authorization."""

    def __init__(self, directory: Path, driver: str) -> None:
        self.line = Line(driver, 100.0)
        self.turns: Turns | None = None
        self.guard: Guard | None = None
        self.died_s = 100.0
        self.authorized_at_death = False
        self.revive_s = 0.0
        self.started_s = 100.0
        self.reachable_s = 100.0
        self.offered_s = self.longest_s = 0.0
        super().__init__(directory)

    def start(self) -> None:
        if not isinstance(self.plants[1], Plant):
            self.plants = {1: Plant(self)}  # type: ignore[dict-item]
        if self.now_s < self.revive_s:
            return
        if self.guard is not None:
            self.guard.close()
            self.guard = None
        self.turns = Turns(self.line)
        self.started_s = self.now_s
        super().start()

    def set_desired(self, connector_id: int, desired: EvseDesired) -> None:
        super().set_desired(connector_id, desired)
        assert self.turns is not None
        self.turns.desired = desired

    def die(self, away_s: float) -> None:
        """SIGKILL; supervisord brings it back after so long."""
        if self.service is not None:
            self.revive_s = self.now_s + away_s
            self.authorized_at_death = self.is_authorized()
            self.kill()

    def is_authorized(self) -> bool:
        """Whether a transaction goes on that may have energy. As long as hardware has not spoken, the last word holds."""
        if self.service is None:
            return self.authorized_at_death and self.now_s <= self.died_s + GRACE_S
        connector = self.service._state.connectors[0]
        transaction = connector.ongoing
        return transaction is not None and not transaction.deauthorized

    def pass_time(self) -> None:
        self.line.live_until(self.now_s)
        if self.service is None and orphans.is_due(self.died_s, self.now_s, GRACE_S):
            self.guard = self.guard or Guard(self.line)
            self.guard.turn()
        self.judge()

    def judge(self) -> None:
        if not self.line.reachable:
            # Nobody can reach the controller: what counts is how soon it obeys when it can be reached again.
            self.reachable_s = self.now_s
            return
        wrong = self.line.board.offered_a > 0 and not self.is_authorized()
        self.offered_s = self.offered_s + STEP_S if wrong else 0.0
        up = self.service is not None and self.turns is not None and self.turns.up
        if up and self.now_s > self.reachable_s + RETURN_S:
            self.longest_s = max(self.longest_s, self.offered_s)
        can_s = self.died_s + GRACE_S if self.service is None else self.started_s
        late = self.now_s > max(self.reachable_s, can_s) + RETURN_S
        assert not (late and self.offered_s > RETURN_S), "current is offered without authorization"

    def do(self, op: str) -> None:
        line = self.line
        match op:
            case "plug-in":
                line.world.plug_in(1)
            case "plug-out":
                line.world.plug_out(1)
            case "card":
                self.card()
            case "kill" | "kill-long":
                self.die(1.0 if op == "kill" else 40.0)
            case "power-cycle":
                line.board.power_up()
            case "pull" | "put-back":
                line.gone = op == "pull"
            case "mute" | "speak":
                line.quirks.mute = op == "mute"
                line.quirks.garble_checksums = False
            case "garble":
                line.quirks.garble_checksums = True
            case "clear":
                for kind in FAULTS[line.driver]:
                    line.world.set_fault(1, kind, present=False)
            case _ if op.startswith("fault-"):
                line.world.set_fault(1, FAULTS[line.driver][int(op[-1])], present=True)
        self.advance({"pause": 6.0, "long-pause": 30.0}.get(op, 1.0))

    def recover(self) -> None:
        """Everything works again; in the end nothing may be offered without authorization."""
        for op in ("put-back", "speak", "clear"):
            self.do(op)
        self.advance(2 * RETURN_S + GRACE_S)

    def _observe(self) -> None:
        service, turns = self.service, self.turns
        assert service is not None
        assert turns is not None
        turns.turn(lambda seen: service.feed(e.EvseObserved(1, seen)), lambda reason: service.feed(e.EvseFailed(1, reason)))

    def _bury(self) -> None:
        self.died_s = self.now_s
        if self.turns is not None:
            self.turns.close()
            self.turns = None
        super()._bury()


def life(driver: str, ops: list[str]) -> SafetyWorld:
    with tempfile.TemporaryDirectory() as directory:
        world = SafetyWorld(Path(directory), driver)
        try:
            for op in ops:
                world.do(op)
            world.recover()
            assert world.offered_s == 0.0
        finally:
            world.database.close()
        return world


@pytest.mark.parametrize("driver", ["openevse", "evsewb"])
def test_the_bench_charges_at_all(driver: str) -> None:
    """The judge sees an authorized session, and the service resumes it after a death."""
    with tempfile.TemporaryDirectory() as directory:
        world = SafetyWorld(Path(directory), driver)
        for op in ("plug-in", "card", "pause", "kill", "pause"):
            world.do(op)
        assert world.line.connector.contactor.closed
        assert world.line.connector.contactor.opened_count == 0
        assert world.service is not None
        assert isinstance(world.service._state.connectors[0].phase, Running)
        world.die(60.0)
        world.advance(GRACE_S - 1.0)
        assert world.line.board.offered_a > 0, "the contactor stays as it is for the grace"
        world.advance(4.0)
        assert world.line.board.offered_a == 0.0, "then the guard withdraws"
        world.database.close()


@pytest.mark.parametrize(("driver", "hides", "shows"), UNSEEN, ids=["tripped", "evsewb-pulled", "openevse-pulled"])
def test_another_car_that_nobody_saw_come_needs_its_own_card(driver: str, hides: str, shows: str) -> None:
    """An EVSE-WB does not tell of the plug while its residual current device has tripped; a silent controller of nothing."""
    with tempfile.TemporaryDirectory() as directory:
        world = SafetyWorld(Path(directory), driver)
        for op in ("plug-in", "card", "pause", hides, "plug-out", "long-pause", "plug-in", "long-pause", shows):
            world.do(op)
        world.advance(320.0)
        assert world.service is not None
        assert world.service._state.connectors[0].transaction is None
        assert world.line.board.offered_a == 0.0
        assert not world.line.connector.contactor.closed
        assert world.service._state.connectors[0].plugged
        world.database.close()


def test_stock_firmware_that_comes_up_enabled_offers_for_a_moment_only() -> None:
    """hardware.md §3.1, trap 1: the window from the controller's start to the end of its offer, measured."""
    world = life("openevse", ["plug-in", "pause", "power-cycle", "pause", "power-cycle", "pause"])
    assert 0.0 < world.longest_s <= WINDOW_S


@pytest.mark.parametrize("driver", ["openevse", "evsewb"])
@settings(
    max_examples=400 if LONG else 12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(ops=st.lists(st.sampled_from(OPS), min_size=4, max_size=24))
def test_no_current_without_authorization(driver: str, ops: list[str]) -> None:
    """Any sequence of faults, deaths and reconnects."""
    assert life(driver, ops).longest_s <= RETURN_S
