"""What a seed's Central System reserves and cancels (pure data from dice of its own, so that nothing else of a seed changes).

Owns: the plan of reservations, and asking for them. Does not: judge (`judge_reservations.py`).
"""

import random
from typing import TYPE_CHECKING

import msgspec

from bus.logs import utc_text
from tests.simulation import people
from tests.simulation.clock import UTC_0_S

if TYPE_CHECKING:
    from tests.simulation.world import World

CARDS = ("ANNA", "BERT", "CARLA", "DORA")


class Reserve(msgspec.Struct, frozen=True):
    """ReserveNow at `at_s`. `connector_id` 0: any."""

    at_s: float
    reservation_id: int
    connector_id: int
    id_tag: str
    for_s: float
    parent_id_tag: str | None = None


class Cancel(msgspec.Struct, frozen=True):
    """CancelReservation at `at_s`."""

    at_s: float
    reservation_id: int


Wish = Reserve | Cancel


def wishes(seed: int, visits: tuple[people.Plan, ...]) -> tuple[Wish, ...]:
    """What is reserved on a day: on two days of three something, aimed at visits, for who comes then or for somebody else."""
    dice = random.Random(f"{seed} reservations")
    if dice.random() < 1 / 3:
        return ()
    found: list[Wish] = []
    # Whoever comes last finds nothing reserved for somebody else alone, so that a day with one card has its session.
    for number, visit in enumerate(visits[:-1]):
        if dice.random() < 0.4:
            continue
        reserve = Reserve(
            at_s=max(60.0, visit.at_s - dice.choice((4.0, 60.0, 900.0)) * dice.uniform(0.5, 1.0)),
            reservation_id=number if dice.random() < 0.7 else 0,
            connector_id=dice.choice((visit.connector_id, visit.connector_id, 0)),
            id_tag=dice.choice((visit.id_tag, *CARDS)),
            for_s=dice.choice((30.0, 300.0, 2000.0, 8000.0)) * dice.uniform(0.5, 1.0),
            parent_id_tag=dice.choice((None, None, "GROUP")),
        )
        found.append(reserve)
        if dice.random() < 0.3:
            found.append(Cancel(visit.at_s + dice.uniform(-30.0, 30.0), reserve.reservation_id))
    return tuple(sorted(found, key=lambda wish: wish.at_s))


def ask(world: "World", wish: Wish) -> None:
    """The Central System asks for it, if the station is connected."""
    world.wake(5.0)
    if isinstance(wish, Cancel):
        world.central.ask("CancelReservation", {"reservationId": wish.reservation_id})
        return
    payload = {
        "connectorId": wish.connector_id,
        "expiryDate": utc_text(UTC_0_S + wish.at_s + wish.for_s),
        "idTag": wish.id_tag,
        "reservationId": wish.reservation_id,
    }
    if wish.parent_id_tag is not None:
        payload["parentIdTag"] = wish.parent_id_tag
    world.central.ask("ReserveNow", payload)
