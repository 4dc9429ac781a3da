"""What each charging controller shall give: derived from facts, never commanded on the way (pure).

Owns: who gets how much of the supply. Does not: talk to devices.
"""

import math

import msgspec

from services.connectors.errors import stopping_faults
from services.connectors.state import Connector, Resuming, State
from services.hardware.contract import EvseDesired

OFFER_A_MIN = 6.0
"""Less can't be expressed on the control pilot (IEC 61851-1)."""


def desired_output(state: State, connector: Connector) -> EvseDesired | None:
    """The output for a connector; None: leave it as it is, until the hardware has said whether its plug-in is the same, and
    whether the emergency stop is pressed.

    A controller that does not answer keeps its order: a short silence on the line must not open a contactor.
    """
    transaction = connector.ongoing
    if transaction is None or transaction.deauthorized or state.emergency_stop:
        return withdrawn(connector)
    if isinstance(connector.phase, Resuming):
        return None
    if stopping_faults(connector.seen) or connector.offer_from_s:
        return withdrawn(connector)
    limit_a = min(connector.max_current_a, share_of_supply(state, connector))
    if limit_a < OFFER_A_MIN:
        return withdrawn(connector)
    if not state.emergency_stop_read:
        return None
    return msgspec.structs.replace(withdrawn(connector), energy_allowed=True, limit_a=limit_a)


def withdrawn(connector: Connector) -> EvseDesired:
    """The output without energy."""
    return EvseDesired(locked=holds_plug(connector), unlock_attempts=connector.unlock_attempts)


def holds_plug(connector: Connector) -> bool:
    """Whether the plug in a socket is held: while a transaction is open, where it is kept beyond it, and until the contactor
    is open (OCPP 1.6 §4.10; hardware.md §6)."""
    if not connector.socket:
        return False
    held = connector.commanded is not None and connector.commanded.locked
    live = connector.seen is not None and connector.seen.relay_closed
    return connector.transaction is not None or connector.plug_kept or (held and live)


def share_of_supply(state: State, connector: Connector) -> float:
    """Amps of the supply that this connector may have, as all that charge together may not exceed it.

    Choice: equal shares in whole amps. Where a share would be below 6 A, the transactions that began first charge and
    the others wait (SuspendedEVSE).
    """
    holders = sorted((c for c in state.connectors if _holds_supply(c)), key=_began_ms)
    served = holders[: max(1, int(state.supply_current_a // OFFER_A_MIN))]
    if connector.connector_id not in {c.connector_id for c in served}:
        return 0.0
    return float(math.floor(state.supply_current_a / len(served)))


def _holds_supply(connector: Connector) -> bool:
    """Whether a connector may draw: its transaction is to have energy, or its contactor has not opened yet."""
    if connector.transaction is None:
        return False
    wants = connector.ongoing is not None and not connector.ongoing.deauthorized
    return wants or (connector.seen is not None and connector.seen.relay_closed)


def _began_ms(connector: Connector) -> tuple[int, int]:
    transaction = connector.transaction
    assert transaction is not None, "only a transaction holds supply"
    return transaction.started_at.boottime_ms, connector.connector_id
