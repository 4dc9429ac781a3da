"""ChargePointStatus from facts, and the table of transitions that OCPP 1.6 §4.9 allows (pure).

Owns: what a connector's state is called. Does not: change any fact. `Faulted` overlays the status underneath and does not
replace it: when the fault is gone, the facts give the status before it again (I1 to I8).
"""

from bus.messages import ConnectorState, TransactionView
from bus.vocabulary import CHARGE_POINT, ChargePointErrorCode, ChargePointStatus
from services.connectors.state import Connector, Finished, Idle, Now, Resuming, Running, Starting, State, Stopping
from services.hardware.contract import EvseFault, EvseObservation

AVAILABLE = ChargePointStatus.AVAILABLE
PREPARING = ChargePointStatus.PREPARING
CHARGING = ChargePointStatus.CHARGING
SUSPENDED_EV = ChargePointStatus.SUSPENDED_EV
SUSPENDED_EVSE = ChargePointStatus.SUSPENDED_EVSE
FINISHING = ChargePointStatus.FINISHING
RESERVED = ChargePointStatus.RESERVED
UNAVAILABLE = ChargePointStatus.UNAVAILABLE
FAULTED = ChargePointStatus.FAULTED

TRANSITIONS: dict[ChargePointStatus, frozenset[ChargePointStatus]] = {
    AVAILABLE: frozenset({PREPARING, CHARGING, SUSPENDED_EV, SUSPENDED_EVSE, RESERVED, UNAVAILABLE, FAULTED}),
    PREPARING: frozenset({AVAILABLE, CHARGING, SUSPENDED_EV, SUSPENDED_EVSE, FINISHING, FAULTED}),
    CHARGING: frozenset({AVAILABLE, SUSPENDED_EV, SUSPENDED_EVSE, FINISHING, UNAVAILABLE, FAULTED}),
    SUSPENDED_EV: frozenset({AVAILABLE, CHARGING, SUSPENDED_EVSE, FINISHING, UNAVAILABLE, FAULTED}),
    SUSPENDED_EVSE: frozenset({AVAILABLE, CHARGING, SUSPENDED_EV, FINISHING, UNAVAILABLE, FAULTED}),
    FINISHING: frozenset({AVAILABLE, PREPARING, UNAVAILABLE, FAULTED}),
    RESERVED: frozenset({AVAILABLE, PREPARING, UNAVAILABLE, FAULTED}),
    UNAVAILABLE: frozenset({AVAILABLE, PREPARING, CHARGING, SUSPENDED_EV, SUSPENDED_EVSE, FAULTED}),
    FAULTED: frozenset(set(ChargePointStatus) - {FAULTED}),
}
"""OCPP 1.6 §4.9, the table of transitions, for connectors above 0."""

ALLOWED_BESIDE: frozenset[tuple[ChargePointStatus, ChargePointStatus]] = frozenset(
    {
        # Choice: a new session may begin from Finishing without a visible Preparing when the card was accepted while
        # the connector finished; the facts pass through F2 and B3 to B5 within one step.
        (FINISHING, CHARGING),
        (FINISHING, SUSPENDED_EV),
        (FINISHING, SUSPENDED_EVSE),
    }
)
"""Transitions outside the table that real facts can hit."""


def allowed(before: ChargePointStatus, after: ChargePointStatus) -> bool:
    """Whether OCPP 1.6 §4.9, or one of our stated choices, knows this transition."""
    return before == after or after in TRANSITIONS[before] or (before, after) in ALLOWED_BESIDE


def connector_state(state: State, connector: Connector, now: Now) -> ConnectorState | None:
    """What to say of a connector; None while the hardware has not yet been heard and there is no failure to report."""
    error_code, vendor, info = _error(state, connector)
    status = _status(state, connector, now)
    if status is None:
        return None
    before = connector.published
    info = info or _info(connector)
    same = before is not None and (before.status, before.error_code, before.info) == (status, error_code, info)
    seen = connector.seen
    return ConnectorState(
        connector_id=connector.connector_id,
        status=status,
        at=before.at if same and before is not None else now.moment(),
        error_code=error_code,
        info=info,
        vendor_error_code=vendor,
        plugged=None if seen is None else seen.plugged,
        relay_closed=None if seen is None else seen.relay_closed,
        offered_a=seen.limit_a if seen is not None and seen.offering else 0.0,
        transaction=_view(connector),
    )


def charge_point_state(state: State, now: Now) -> ConnectorState:
    """What to say of connector 0: only Available, Unavailable and Faulted (OCPP 1.6 §4.9)."""
    error_code, info = ChargePointErrorCode.NO_ERROR, ""
    if state.reader_failure:
        error_code, info = ChargePointErrorCode.READER_FAILURE, state.reader_failure
    status = AVAILABLE
    if state.emergency_stop:
        status, error_code, info = FAULTED, ChargePointErrorCode.OTHER_ERROR, "emergency stop pressed"
    before = state.charge_point
    same = before is not None and (before.status, before.error_code, before.info) == (status, error_code, info[:50])
    at = before.at if same and before is not None else now.moment()
    return ConnectorState(CHARGE_POINT, status, at, error_code=error_code, info=info[:50])


def stopping_faults(connector: Connector) -> tuple[EvseFault, ...]:
    """Faults that make a connector Faulted. EVCommunicationError is a warning (OCPP 1.6 §4.9)."""
    faults = () if connector.seen is None else connector.seen.faults
    return tuple(fault for fault in faults if fault.error_code is not ChargePointErrorCode.EV_COMMUNICATION_ERROR)


def healthy(state: State, connector: Connector) -> bool:
    """Whether a session may begin here: the controller answers, and there is no fault and no emergency stop."""
    return not (state.emergency_stop or connector.evse_failure or stopping_faults(connector)) and connector.seen is not None


def _error(state: State, connector: Connector) -> tuple[ChargePointErrorCode, str, str]:
    if state.emergency_stop:
        return ChargePointErrorCode.OTHER_ERROR, "CX008", "emergency stop pressed"
    if connector.evse_failure:
        return ChargePointErrorCode.INTERNAL_ERROR, "evse-offline", connector.evse_failure[:50]
    faults = () if connector.seen is None else stopping_faults(connector) or connector.seen.faults
    if faults:
        return faults[0].error_code, faults[0].vendor_code, ""
    if connector.meter_failure:
        return ChargePointErrorCode.POWER_METER_FAILURE, "", connector.meter_failure[:50]
    return ChargePointErrorCode.NO_ERROR, "", ""


def _status(state: State, connector: Connector, now: Now) -> ChargePointStatus | None:
    if state.emergency_stop or stopping_faults(connector) or connector.evse_failure:
        return FAULTED
    if connector.seen is None:
        return None if connector.published is None else connector.published.status
    match connector.phase:
        case Resuming():
            return None if connector.published is None else connector.published.status
        case Running():
            return _status_running(connector, connector.seen, now)
        case Stopping():
            return FINISHING
        case Starting():
            return PREPARING
        case Finished():
            return FINISHING if connector.plugged else AVAILABLE
        case Idle():
            bound = any(w.connector_id == connector.connector_id for w in state.waiting)
            return PREPARING if connector.plugged or bound else AVAILABLE


def _status_running(connector: Connector, seen: EvseObservation, now: Now) -> ChargePointStatus:
    commanded = connector.commanded
    offered = commanded is not None and commanded.energy_allowed
    if offered and seen.offering and seen.control_pilot in ("C", "D") and seen.relay_closed:
        return CHARGING
    settling = now.boottime_s < connector.settling_until_s
    before = connector.published
    if settling and before is not None and before.status is not FAULTED:
        return before.status
    return SUSPENDED_EV if offered and seen.offering else SUSPENDED_EVSE


def _info(connector: Connector) -> str:
    match connector.phase:
        case Stopping(info=info):
            return info
        case Running() if not connector.plugged:
            return "EV side disconnected"
    return ""


def _view(connector: Connector) -> TransactionView | None:
    transaction = connector.transaction
    if transaction is None:
        return None
    return TransactionView(
        local_tx_id=transaction.local_tx_id,
        id_tag=transaction.id_tag,
        started_at=transaction.started_at,
        meter_start_wh=transaction.meter_start_wh,
        transaction_id=transaction.transaction_id,
        stopping=isinstance(connector.phase, Stopping),
    )
