"""A plug that nobody presents a card for (pure; OCPP 1.6 §4.9, B6, errata v4.0 3.20).

After ConnectionTimeOut in Preparing the connector goes on to Finishing, so that the next driver's card does not pay for a car
that somebody left there. A card or a remote start that means this connector begins a session from there too (F2).

Owns: how long a plug waits for its card. Does not: time out authorizations that wait for their plug (`core.py`).
Choice: the time runs while the connector could be used and nobody's card is being asked about, else it begins anew. With
ConnectionTimeOut 0 a plug waits for ever.
"""

from services.connectors import events as e
from services.connectors import transactions
from services.connectors.state import Connector, Finished, Idle, State
from services.connectors.status import may_begin, reservation_of
from services.connectors.work import Work


def due_s(state: State, connector: Connector) -> float | None:
    """When this plug has waited long enough; None: it does not wait."""
    timeout_s = state.settings.connection_time_out_s
    if connector.card_awaited_since_s is None or timeout_s <= 0:
        return None
    return connector.card_awaited_since_s + timeout_s


def time_out(work: Work, connector: Connector) -> None:
    """B6, once it is due."""
    at_s = due_s(work.state, connector)
    if at_s is None or at_s > work.now.boottime_s:
        return
    finished = Finished(transactions.mark_of(connector.seen), None, known_at=work.now.moment())
    work.change(e.SaveFinished(connector.connector_id, finished))
    work.put(connector, phase=finished, card_awaited_since_s=None)
    work.note("nobody presented a card for the plugged vehicle within ConnectionTimeOut", connector_id=connector.connector_id)


def watch(work: Work, connector: Connector) -> None:
    """Begin to wait, or wait no longer, as the facts of this step have it."""
    awaits = _awaits_card(work.state, connector)
    if awaits != (connector.card_awaited_since_s is not None):
        work.put(connector, card_awaited_since_s=work.now.boottime_s if awaits else None)


def _awaits_card(state: State, connector: Connector) -> bool:
    if not isinstance(connector.phase, Idle) or not connector.plugged or not may_begin(state, connector):
        return False
    spoken_for = any(waiting.connector_id == connector.connector_id for waiting in state.waiting)
    # Reserved is left when the holder has come, or the reservation has ended (G1, G2).
    reserved = reservation_of(state, connector.connector_id) is not None
    asking = any(asked.waiting_id is None for asked in state.asked)
    return not spoken_for and not asking and not reserved and state.resetting is None
