"""The watchdog's guard: whoever is charged while `connectors` is away loses the energy after a while (design §2).

It is no part of what is simulated; its effect on the controllers is, and what it notes of their plugs.

Owns: that effect. Does not: run `services.connectors.guard`, which needs processes and ports.
"""

from typing import TYPE_CHECKING

from services.connectors import orphans, unplugged
from services.hardware.contract import EvseDesired, EvseObservation
from tests.simulation.ledger import Span, plug_seen_out
from tests.simulation.story import StoryLog

if TYPE_CHECKING:
    from tests.simulation.world import World


class Guard:
    """Of one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._took_s: float | None = None
        """When `connectors` died whose controllers it has taken last."""
        self._saw: dict[int, EvseObservation | None] = {}

    def expect(self, died_s: float) -> None:
        """`connectors` has just died: its controllers are taken if it stays away."""
        world = self._world

        def withdraw() -> None:
            if self._away_since(died_s):
                self._took_s = died_s
                self._saw.clear()
                world.story.tell("fault", "the guard withdraws energy, connectors is away for too long")
                for point in world.points.values():
                    point.set_desired(EvseDesired())

        world.agenda.at(died_s + world.config.system.orphan_grace_s, withdraw)

    def look(self) -> None:
        """Which plugs are out, as long as it has the controllers."""
        world = self._world
        if self._took_s is None or not self._away_since(self._took_s):
            return
        for number, point in world.points.items():
            before, seen = self._saw.get(number), point.observation() if point.answers else None
            self._saw[number] = seen
            if seen is not None and orphans.is_newly_unplugged(before, seen):
                world.story.tell("fault", f"the guard notes that the plug of connector {number} is out")
                world.ledger.spans.append(Span(plug_seen_out(number), world.clock.true_s, world.clock.true_s))
                noted = {number: world.clock.boottime_s()}
                unplugged.add(world.disk.path(unplugged.FILE), world.clock.boot_id, noted, StoryLog("guard", world.story))

    def _away_since(self, died_s: float) -> bool:
        down = self._world.ledger.open("connectors down")
        return self._world.powered and down is not None and down.from_s == died_s
