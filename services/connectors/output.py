"""What each charging controller shall give: derived from facts, never commanded on the way (pure).

Owns: when energy is given, and when a plug is held. Does not: talk to devices, or divide the supply (`supply.py`).
"""

import msgspec

from services.connectors.errors import stopping_faults
from services.connectors.state import Connector, Resuming, State
from services.connectors.supply import OFFER_A_MIN, allowed_a
from services.hardware.contract import EvseDesired


def desired_output(state: State, connector: Connector) -> EvseDesired | None:
    """The output for a connector; None: leave it as it is, until the hardware has said whether its plug-in is the same, and
    whether the emergency stop is pressed.

    A controller that does not answer keeps its order: a short silence on the line must not open a contactor.
    """
    transaction = connector.ongoing
    if transaction is None or transaction.deauthorized or state.emergency_stop:
        return withdrawn(state, connector)
    if isinstance(connector.phase, Resuming):
        # At F nothing flows, and nobody can see whether a plug is in: the order brings that back.
        blind = connector.seen is not None and connector.seen.control_pilot == "F"
        return withdrawn(state, connector) if blind else None
    if stopping_faults(connector.seen) or connector.faults.returned:
        return withdrawn(state, connector)
    limit_a = min(connector.max_current_a, allowed_a(state, connector))
    if limit_a < OFFER_A_MIN:
        return withdrawn(state, connector)
    if not state.emergency_stop_read:
        return None
    return msgspec.structs.replace(withdrawn(state, connector), energy_allowed=True, limit_a=limit_a, at_once=False)


def withdrawn(state: State, connector: Connector) -> EvseDesired:
    """The output without energy."""
    at_once = state.emergency_stop or _still_opens_at_once(connector)
    return EvseDesired(locked=holds_plug(connector), unlock_attempts=connector.unlock_attempts, at_once=at_once)


def _still_opens_at_once(connector: Connector) -> bool:
    """The emergency stop may be released before the order has reached a controller that was busy, or silent."""
    if connector.commanded is None or not connector.commanded.at_once:
        return False
    return connector.seen is None or connector.seen.relay_closed or bool(connector.evse_failure)


def holds_plug(connector: Connector) -> bool:
    """Whether the plug in a socket is held: while a transaction is open, where it is kept beyond it, and until the contactor
    is open (OCPP 1.6 §4.10; hardware.md §6)."""
    if not connector.socket:
        return False
    held = connector.commanded is not None and connector.commanded.locked is True
    live = connector.seen is not None and connector.seen.relay_closed
    return connector.transaction is not None or connector.plug_kept or (held and live)
