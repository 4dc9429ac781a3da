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

EMERGENCY_STOP = (ChargePointErrorCode.OTHER_ERROR, "CX008", "emergency stop pressed")
EV_COMMUNICATION_ERROR_STATUSES = frozenset({PREPARING, SUSPENDED_EV, SUSPENDED_EVSE, FINISHING})
"""With others EVCommunicationError shall not be used (OCPP 1.6 §4.9)."""
EV_SIDE_DISCONNECTED = "EV side disconnected"
"""`info` of SuspendedEV or Finishing, as OCPP 1.6 §4.9 spells it."""
INFO_LENGTH_MAX = 50
"""Characters in `info` and `vendorErrorCode`, both CiString50 (OCPP 1.6 §6.47)."""

ALLOWED_BESIDE: frozenset[tuple[ChargePointStatus, ChargePointStatus]] = frozenset(
    {
        # Choice: a new session may begin from Finishing without a visible Preparing when the card was accepted while
        # the connector finished; the facts pass through F2 and B3 to B5 within one step.
        (FINISHING, CHARGING),
        (FINISHING, SUSPENDED_EV),
        (FINISHING, SUSPENDED_EVSE),
        # Choice: taken out of use while a plug or a card waits there. OCPP 1.6 §5.2 demands the change at once, as no
        # transaction runs; by way of Available it would invite a new user (field report 42).
        (PREPARING, UNAVAILABLE),
    }
)
"""Transitions outside the table that real facts can hit."""


def allowed(before: ChargePointStatus, after: ChargePointStatus) -> bool:
    """Whether OCPP 1.6 §4.9, or one of our stated choices, knows this transition."""
    return before == after or after in TRANSITIONS[before] or (before, after) in ALLOWED_BESIDE


def connector_state(state: State, connector: Connector, now: Now) -> ConnectorState | None:
    """What to say of a connector; None while the hardware has not yet been heard and there is no failure to report."""
    status = _status(state, connector)
    if status is None:
        return None
    error_code, vendor, info = _error(state, connector, status)
    before = connector.published
    info = info or _info(connector)
    said = (status, error_code, info, vendor)
    same = before is not None and (before.status, before.error_code, before.info, before.vendor_error_code) == said
    seen = connector.seen
    return ConnectorState(
        connector_id=connector.connector_id,
        status=status,
        at=before.at if same and before is not None else now.moment(),
        error_code=error_code,
        info=info,
        vendor_error_code=vendor,
        plugged=connector.plugged,
        relay_closed=None if seen is None else seen.relay_closed,
        offered_a=seen.limit_a if seen is not None and seen.offering else 0.0,
        transaction=_view(connector),
    )


def charge_point_state(state: State, now: Now) -> ConnectorState:
    """What to say of connector 0: only Available, Unavailable and Faulted (OCPP 1.6 §4.9)."""
    status = UNAVAILABLE if state.unavailable else AVAILABLE
    error_code, vendor, info = ChargePointErrorCode.NO_ERROR, "", ""
    if state.emergency_stop:
        status, (error_code, vendor, info) = FAULTED, EMERGENCY_STOP
    elif state.reader_failure:
        error_code, info = ChargePointErrorCode.READER_FAILURE, state.reader_failure[:INFO_LENGTH_MAX]
    before = state.charge_point
    same = before is not None and (before.status, before.error_code, before.info) == (status, error_code, info)
    at = before.at if same and before is not None else now.moment()
    return ConnectorState(CHARGE_POINT, status, at, error_code=error_code, info=info, vendor_error_code=vendor)


def stopping_faults(seen: EvseObservation | None) -> tuple[EvseFault, ...]:
    """Faults that make a connector Faulted. EVCommunicationError is a warning (OCPP 1.6 §4.9)."""
    faults = () if seen is None else seen.faults
    return tuple(fault for fault in faults if fault.error_code is not ChargePointErrorCode.EV_COMMUNICATION_ERROR)


def may_begin(state: State, connector: Connector) -> bool:
    """Whether a session may begin here: it is in use, its controller answers, and there is no fault and no emergency stop."""
    prevented = connector.unavailable or state.emergency_stop or connector.evse_failure or stopping_faults(connector.seen)
    return not prevented and connector.seen is not None


def _error(state: State, connector: Connector, status: ChargePointStatus) -> tuple[ChargePointErrorCode, str, str]:
    """Error code, vendor code and info; the gravest first."""
    if state.emergency_stop:
        return EMERGENCY_STOP
    if connector.evse_failure:
        return ChargePointErrorCode.INTERNAL_ERROR, "evse-offline", connector.evse_failure[:INFO_LENGTH_MAX]
    faults = stopping_faults(connector.seen)
    if not faults and connector.seen is not None and status in EV_COMMUNICATION_ERROR_STATUSES:
        faults = connector.seen.faults
    if faults:
        return faults[0].error_code, faults[0].vendor_code[:INFO_LENGTH_MAX], ""
    if connector.meter_failure:
        return ChargePointErrorCode.POWER_METER_FAILURE, "", connector.meter_failure[:INFO_LENGTH_MAX]
    return ChargePointErrorCode.NO_ERROR, "", ""


def _status(state: State, connector: Connector) -> ChargePointStatus | None:
    if state.emergency_stop or stopping_faults(connector.seen) or connector.evse_failure:
        return FAULTED
    if connector.unavailable:
        return UNAVAILABLE
    if connector.seen is None or connector.plugged is None:
        return None
    match connector.phase:
        case Resuming():
            return None
        case Running():
            return _status_running(connector, connector.seen)
        case Stopping() | Finished():
            return FINISHING
        case Starting():
            return PREPARING
        case Idle():
            awaited = any(w.connector_id == connector.connector_id for w in state.waiting)
            return PREPARING if connector.plugged or awaited else AVAILABLE


def _status_running(connector: Connector, seen: EvseObservation) -> ChargePointStatus:
    """SuspendedEVSE takes precedence where both suspend, except with no vehicle (OCPP 1.6 §4.9)."""
    if not connector.plugged:
        return SUSPENDED_EV
    if connector.commanded is None or not connector.commanded.energy_allowed:
        return SUSPENDED_EVSE
    asks = seen.control_pilot in ("C", "D")
    if seen.offering and asks and seen.relay_closed:
        return CHARGING
    if connector.beneath is not None and (connector.settling_until_s or seen.control_pilot is None):
        return connector.beneath
    return SUSPENDED_EV if seen.offering and not asks else SUSPENDED_EVSE


def _info(connector: Connector) -> str:
    match connector.phase:
        case Stopping(info=info):
            return info
        case Running() if connector.plugged is False:
            return EV_SIDE_DISCONNECTED
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
