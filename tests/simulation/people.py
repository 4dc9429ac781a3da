"""People with cars and cards: what they do at the station, by what they see of it.

Owns: how a visit goes. They see the contactor's lamp and hear nothing of what the station says. A visit is a generator that
yields what it waits for: until when, and for what.
"""

from collections.abc import Callable, Generator

import msgspec

from tests.simulation.hardware import Point

Wait = tuple[float, Callable[[], bool]]
"""True second until which somebody waits at most, and what ends it sooner."""
Visit = Generator[Wait, None, None]


class Plan(msgspec.Struct, frozen=True):
    """How one visit goes. Seconds; `patience_s`: how long somebody waits for the lamp before the card is tried again."""

    at_s: float
    connector_id: int
    id_tag: str
    car_a: float = 16.0
    plug_first: bool = True
    gap_s: float = 3.0
    """Between plug and card."""
    charge_s: float = 300.0
    full_after_s: float | None = None
    """The car takes no more after so long."""
    tries: int = 3
    patience_s: float = 20.0
    leaves_by: str = "card"
    """`card`, `plug` (pulls it without a word) or `other car` (pulls it, and another car comes at once without a card)."""
    remote: bool = False
    """Starts by the Central System's app, not by a card."""


class Hands:
    """What people can do, and where they are. Told to the story by the world."""

    def __init__(
        self,
        point: Point,
        *,
        card: Callable[[str], None],
        app: Callable[[str, int], None],
        tell: Callable[[str], None],
        now: Callable[[], float],
    ) -> None:
        self.point = point
        self.card = card
        self.app = app
        self.tell = tell
        self.now = now


def never() -> bool:
    """Nothing ends the wait but time."""
    return False


def visit(plan: Plan, hands: Hands) -> Visit:
    """From coming to going."""
    point = hands.point
    if point.plugged:
        return
    if plan.plug_first:
        _plug_in(plan, hands)
        yield hands.now() + plan.gap_s, never
        yield from _identify(plan, hands)
    else:
        _identify_once(plan, hands)
        yield hands.now() + plan.gap_s, never
        if point.plugged:
            return
        _plug_in(plan, hands)
        yield hands.now() + plan.patience_s, lambda: point.closed
        if not point.closed:
            yield from _identify(plan, hands)
    if point.closed:
        yield from _charge(plan, hands)
    yield from _leave(plan, hands)


def _plug_in(plan: Plan, hands: Hands) -> None:
    hands.tell(f"{plan.id_tag} plugs in at connector {plan.connector_id}")
    hands.point.plug_in(plan.car_a)


def _identify_once(plan: Plan, hands: Hands) -> None:
    if plan.remote:
        hands.app(plan.id_tag, plan.connector_id)
    else:
        hands.card(plan.id_tag)


def _identify(plan: Plan, hands: Hands) -> Visit:
    for _ in range(plan.tries):
        _identify_once(plan, hands)
        yield hands.now() + plan.patience_s, lambda: hands.point.closed
        if hands.point.closed:
            return


def _charge(plan: Plan, hands: Hands) -> Visit:
    if plan.full_after_s is not None and plan.full_after_s < plan.charge_s:
        yield hands.now() + plan.full_after_s, never
        hands.point.rest(False)
        yield hands.now() + plan.charge_s - plan.full_after_s, never
    else:
        yield hands.now() + plan.charge_s, never


def _leave(plan: Plan, hands: Hands) -> Visit:
    if plan.leaves_by == "card" and hands.point.closed:
        for _ in range(2):
            hands.card(plan.id_tag)
            yield hands.now() + 10.0, lambda: not hands.point.closed
            if not hands.point.closed:
                break
        yield hands.now() + 4.0, never
    hands.tell(f"{plan.id_tag} pulls the plug of connector {plan.connector_id}")
    hands.point.unplug()
    if plan.leaves_by == "other car":
        yield hands.now() + 1.5, never
        hands.tell(f"another car is plugged in at connector {plan.connector_id}, nobody presents a card for it")
        hands.point.plug_in(plan.car_a)
        yield hands.now() + 90.0, never
        hands.point.unplug()
