"""ChargePointStatus from facts, and the table of transitions that OCPP 1.6 §4.9 allows (pure).

Owns: what a connector's state is called. Does not: change any fact. `Faulted` overlays the status underneath and does not
replace it: when the fault is gone, the facts give the status before it again (I1 to I8).
"""

import msgspec

from bus.messages import ConnectorState, ReservationView, TransactionView
from bus.vocabulary import CHARGE_POINT, ChargePointStatus
from services.connectors import supply
from services.connectors.errors import NO_ERROR, charge_point_errors, connector_errors, stopping_faults
from services.connectors.state import (
    Connector,
    ConnectorError,
    Finished,
    Idle,
    Now,
    Reservation,
    Resuming,
    Running,
    Starting,
    State,
    Stopping,
)
from services.hardware.contract import EvseObservation

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

EV_SIDE_DISCONNECTED = "EV side disconnected"
"""`info` of SuspendedEV or Finishing, as OCPP 1.6 §4.9 spells it."""
OUT_OF_SERVICE = "out of service by a command at the station"
"""`info` of Unavailable, so that the Central System sees why its Operative changes nothing; at most 50 characters."""
SUPPLY_HELD = "supply may still be in use by connector {}"
"""`info` of SuspendedEVSE while this connector's share is not known to be free."""

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
        # Choice: back in use while somebody's plug is still kept there. Nobody else can use it before its holder has come.
        (UNAVAILABLE, FINISHING),
        # Choice: the holder of a reservation has taken his card back, or has not plugged in within ConnectionTimeOut. Only a
        # transaction ends it (OCPP 1.6 §5.13); by way of Available it would invite a new user (field report 42).
        (PREPARING, RESERVED),
        # Choice: a connector becomes free, and is at once the one that is kept for the reservation of connector 0.
        (FINISHING, RESERVED),
        (UNAVAILABLE, RESERVED),
    }
)
"""Transitions outside the table that real facts can hit."""


def allowed(before: ChargePointStatus, after: ChargePointStatus) -> bool:
    """Whether OCPP 1.6 §4.9, or one of our stated choices, knows this transition."""
    return before == after or after in TRANSITIONS[before] or (before, after) in ALLOWED_BESIDE


def reservation_of(state: State, connector_id: int) -> Reservation | None:
    """The reservation that names this connector, or connector 0."""
    return next((r for r in state.reservations if r.connector_id == connector_id), None)


def reservation_shown(state: State, connector: Connector) -> Reservation | None:
    """What a connector is kept for: its own reservation, or that of connector 0 where it is the last one that is left."""
    own, of_any = reservation_of(state, connector.connector_id), reservation_of(state, CHARGE_POINT)
    if own is not None or of_any is None or not vacant(state, connector):
        return own
    others = (c for c in state.connectors if c.connector_id != connector.connector_id)
    left = any(vacant(state, c) and reservation_of(state, c.connector_id) is None for c in others)
    return None if left else of_any


def vacant(state: State, connector: Connector) -> bool:
    """Whether a connector is there for a new user, but for reservations."""
    return status_unreserved(state, connector) is AVAILABLE


def connector_status(state: State, connector: Connector) -> ChargePointStatus | None:
    """A connector's status from its facts; None while the hardware has not yet been heard and there is no failure to report.

    A reserved one is Reserved until its holder has come (OCPP 1.6 §4.9, G2): a plug alone says nothing about whose it is.
    """
    status = status_unreserved(state, connector)
    if status in (AVAILABLE, PREPARING) and isinstance(connector.phase, Idle) and not _awaited(state, connector):
        return status if reservation_shown(state, connector) is None else RESERVED
    return status


def status_unreserved(state: State, connector: Connector) -> ChargePointStatus | None:
    """As `connector_status`, if nothing were reserved."""
    if state.emergency_stop or stopping_faults(connector.seen) or connector.evse_failure:
        return FAULTED
    if connector.unavailable:
        return UNAVAILABLE
    if connector.seen is None or connector.plugged is None:
        return None
    match connector.phase:
        case Resuming():
            return None
        case Running() if connector.commanded is None:
            # It goes on as it was, until the emergency stop is read.
            return None
        case Running():
            return _status_running(state, connector, connector.seen)
        case Stopping() | Finished():
            return FINISHING
        case Starting():
            return PREPARING
        case Idle():
            return PREPARING if connector.plugged or _awaited(state, connector) else AVAILABLE


def connector_states(state: State, connector: Connector, now: Now) -> tuple[ConnectorState, ...]:
    """What to say of a connector, one after the other; the last is how it is. Empty: nothing is known yet, or nothing is new.

    A StatusNotification carries one error. So an error that comes while a graver one is there is said in a state of its own,
    before the one that stays: two faults at once are both told, and none is merged away (field report 40).
    """
    status = connector_status(state, connector)
    if status is None:
        return ()
    seen = connector.seen
    said = ConnectorState(
        connector_id=connector.connector_id,
        status=status,
        at=now.moment(),
        info=_info(state, connector, status),
        plugged=connector.plugged,
        relay_closed=None if seen is None else seen.relay_closed,
        offered_a=seen.limit_a if seen is not None and seen.offering else 0.0,
        transaction=_view(connector),
        reservation=_reserved(reservation_shown(state, connector)),
        out_of_service_since=connector.availability.out_of_service_since,
    )
    return _with_errors(said, connector_errors(state, connector, status), connector.told, connector.published)


def charge_point_states(state: State, now: Now) -> tuple[ConnectorState, ...]:
    """As `connector_states`, of connector 0: only Available, Unavailable and Faulted (OCPP 1.6 §4.9)."""
    status = UNAVAILABLE if state.unavailable else AVAILABLE
    said = ConnectorState(
        connector_id=CHARGE_POINT,
        status=FAULTED if state.emergency_stop else status,
        at=now.moment(),
        info=OUT_OF_SERVICE if state.unavailable and state.availability.out_of_service_since is not None else "",
        reservation=_reserved(reservation_of(state, CHARGE_POINT)),
        out_of_service_since=state.availability.out_of_service_since,
    )
    return _with_errors(said, charge_point_errors(state), state.charge_point_told, state.charge_point)


def may_begin(state: State, connector: Connector) -> bool:
    """Whether a session may begin here: in use, its controller answers, no fault, no emergency stop, no plug to be let go."""
    locking = connector.plug_kept or connector.unlocking is not None or state.disk_refuses
    prevented = (
        locking or connector.unavailable or state.emergency_stop or connector.evse_failure or stopping_faults(connector.seen)
    )
    return not prevented and connector.seen is not None


def _with_errors(
    said: ConnectorState, errors: tuple[ConnectorError, ...], told: tuple[ConnectorError, ...], before: ConnectorState | None
) -> tuple[ConnectorState, ...]:
    """One state for each error that is new beside the gravest, and then the one that stays."""
    known = {error.identity for error in told}
    beside = [_with_error(said, error) for error in reversed(errors[1:]) if error.identity not in known]
    current = _with_error(said, errors[0] if errors else NO_ERROR)
    if not beside and before is not None:
        if _words(before) == _words(current):
            current = msgspec.structs.replace(current, at=before.at)
        if before == current:
            return ()
    return (*beside, current)


def _with_error(said: ConnectorState, error: ConnectorError) -> ConnectorState:
    return msgspec.structs.replace(
        said, error_code=error.error_code, vendor_error_code=error.vendor_error_code, info=error.info or said.info
    )


def _words(said: ConnectorState) -> tuple[str, ...]:
    """What a StatusNotification tells of it; `at` is of when this became true."""
    return said.status, said.error_code, said.info, said.vendor_error_code


def _status_running(state: State, connector: Connector, seen: EvseObservation) -> ChargePointStatus:
    """SuspendedEVSE takes precedence where both suspend, except with no vehicle (OCPP 1.6 §4.9)."""
    if not connector.plugged:
        return SUSPENDED_EV
    if connector.commanded is None or not connector.commanded.energy_allowed:
        soon = connector.settling_until_s and supply.holding(state, connector)
        return connector.beneath if soon and connector.beneath is not None else SUSPENDED_EVSE
    asks = seen.control_pilot in ("C", "D")
    if seen.offering and asks and seen.relay_closed:
        return CHARGING
    if connector.beneath is not None and (connector.settling_until_s or seen.control_pilot is None):
        return connector.beneath
    return SUSPENDED_EV if seen.offering and not asks else SUSPENDED_EVSE


def _info(state: State, connector: Connector, status: ChargePointStatus) -> str:
    if connector.unavailable and connector.availability.out_of_service_since is not None:
        return OUT_OF_SERVICE
    match connector.phase:
        case Stopping(info=info):
            return info
        case Running() | Finished() if connector.plugged is False:
            return EV_SIDE_DISCONNECTED
    if status is SUSPENDED_EVSE:
        holding = supply.holding(state, connector)
        return SUPPLY_HELD.format(" ".join(map(str, holding))) if holding else ""
    return ""


def _awaited(state: State, connector: Connector) -> bool:
    """Whether somebody's authorization waits for this very connector."""
    return any(waiting.connector_id == connector.connector_id for waiting in state.waiting)


def _reserved(reservation: Reservation | None) -> ReservationView | None:
    if reservation is None:
        return None
    return ReservationView(reservation.reservation_id, reservation.id_tag, reservation.expiry_utc_ms)


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
        correlation_id=transaction.correlation_id,
    )
