"""The station's supply: who may have how much of it, and who may be drawing how much (pure).

An order is not yet what is in force: a line can be lost before it arrives, a contactor can weld. So each connector counts with
the most that may be drawn there (`Connector.in_force_a`), with or without a transaction. An order that gives more counts at
once; one that gives less counts when the controller, having carried it out, shows that it is so. Nobody else gets what may
still be drawn.

Owns: shares, and what is in force. Does not: order anything (`output.py`).
"""

import math

from bus.vocabulary import ChargePointErrorCode
from services.connectors.state import Connector, State
from services.hardware.contract import EvseDesired, EvseObservation

OFFER_A_MIN = 6.0
"""Less can't be expressed on the control pilot (IEC 61851-1)."""


def allowed_a(state: State, connector: Connector) -> float:
    """Amps that a connector may be given now: its share, as far as nobody else may be drawing it.

    What it may be drawing already it may keep, so that a restart of this service, which knows of nobody at first, withdraws
    nothing.
    """
    others = (other for other in state.connectors if other.connector_id != connector.connector_id)
    room_a = state.supply_current_a - sum(_counted_a(other) for other in others)
    return min(share_a(state, connector), max(connector.in_force_a or 0.0, math.floor(room_a)))


def share_a(state: State, connector: Connector) -> float:
    """Amps of the supply that this connector has a right to, as all that charge together may not exceed it.

    Choice: equal shares in whole amps of what those leave who are to have nothing and may be drawing all the same. Where a
    share would be below 6 A, the transactions that began first charge and the others wait (SuspendedEVSE).
    """
    return _share_a(state, connector, sum(c.in_force_a or 0.0 for c in state.connectors if not _wants(c)))


def holding(state: State, connector: Connector) -> tuple[int, ...]:
    """The connectors that may be drawing more than they are to, so that this one can't be given 6 A; empty: there are none."""
    if not _wants(connector) or _share_a(state, connector, 0.0) < OFFER_A_MIN or allowed_a(state, connector) >= OFFER_A_MIN:
        return ()
    others = (other for other in state.connectors if other.connector_id != connector.connector_id)
    return tuple(other.connector_id for other in others if _counted_a(other) > ordered_a(other.commanded))


def ordered_a(desired: EvseDesired | None) -> float:
    """What an order gives, amps."""
    return desired.limit_a if desired is not None and desired.energy_allowed else 0.0


def with_order(connector: Connector, desired: EvseDesired) -> float | None:
    """`Connector.in_force_a` once this is ordered: more counts at once."""
    return None if connector.in_force_a is None else max(connector.in_force_a, ordered_a(desired))


def with_observation(connector: Connector, seen: EvseObservation, *, draws: bool) -> float | None:
    """`Connector.in_force_a` after an observation: less counts when it is seen, after the order was carried out.

    `draws`: its meter shows that current flows. Choice: where nothing was in force, a contactor that is seen closed counts once
    it is known to be stuck, with the most that the connector bears.
    """
    known_a = connector.in_force_a
    offered_a = seen.limit_a if seen.offering else 0.0
    if seen.order is None:
        # Nothing was ordered yet by this process: what it finds is of the one before.
        return max(known_a or 0.0, offered_a) if offered_a else known_a
    carried_a = ordered_a(seen.order)
    live = seen.relay_closed or draws or _stuck(seen)
    obeys = seen.limit_a <= carried_a if carried_a else not (offered_a or live)
    if obeys:
        return max(carried_a, ordered_a(connector.commanded))
    if known_a is None:
        return None
    return connector.max_current_a if known_a == 0.0 and _stuck(seen) else max(known_a, offered_a)


def _share_a(state: State, connector: Connector, taken_a: float) -> float:
    left_a = state.supply_current_a - taken_a
    holders = sorted((c for c in state.connectors if _wants(c)), key=_began_ms)
    served = holders[: max(1, int(left_a // OFFER_A_MIN))]
    if connector.connector_id not in {c.connector_id for c in served}:
        return 0.0
    return float(math.floor(left_a / len(served)))


def _counted_a(connector: Connector) -> float:
    """One that was not heard since this process started may be drawing all that it bears."""
    return connector.max_current_a if connector.in_force_a is None else connector.in_force_a


def _stuck(seen: EvseObservation) -> bool:
    return any(fault.error_code is ChargePointErrorCode.POWER_SWITCH_FAILURE for fault in seen.faults)


def _wants(connector: Connector) -> bool:
    """Whether it is to have energy."""
    return connector.ongoing is not None and not connector.ongoing.deauthorized


def _began_ms(connector: Connector) -> tuple[int, int]:
    transaction = connector.transaction
    assert transaction is not None, "only a transaction wants energy"
    return transaction.started_at.boottime_ms, connector.connector_id
