"""What each charging controller shall give: derived from facts, never commanded on the way (pure).

Owns: who gets how much of the supply. Does not: talk to devices.
"""

import math

from services.connectors.state import Connector, Resuming, Running, State
from services.hardware.contract import EvseDesired

OFFER_A_MIN = 6.0
"""Less can't be expressed on the control pilot (IEC 61851-1)."""


def desired_output(state: State, connector: Connector) -> EvseDesired | None:
    """The output for a connector; None: leave it as it is, until the hardware has said whether its plug-in is the same."""
    match connector.phase:
        case Resuming(transaction=transaction) if transaction is not None:
            return None
        case Running(transaction=transaction) if not (state.emergency_stop or transaction.deauthorized):
            limit_a = min(connector.max_current_a, share_of_supply(state, connector))
            return EvseDesired(energy_allowed=True, limit_a=limit_a) if limit_a >= OFFER_A_MIN else EvseDesired()
    return EvseDesired()


def share_of_supply(state: State, connector: Connector) -> float:
    """Amps of the supply that this connector may have, as all that charge together may not exceed it.

    Choice: equal shares in whole amps. Where a share would be below 6 A, the transactions that began first charge and
    the others wait (SuspendedEVSE).
    """
    running = [c for c in state.connectors if isinstance(c.phase, Running | Resuming) and c.transaction is not None]
    running.sort(key=_began_ms)
    served = running[: max(1, int(state.supply_current_a // OFFER_A_MIN))]
    if connector.connector_id not in {c.connector_id for c in served}:
        return 0.0
    return float(math.floor(state.supply_current_a / len(served)))


def _began_ms(connector: Connector) -> tuple[int, int]:
    transaction = connector.transaction
    assert transaction is not None
    return transaction.started_at.boottime_ms, connector.connector_id
