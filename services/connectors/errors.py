"""What is wrong with a connector or the charge point: every error that there is, the gravest first (pure; OCPP 1.6 §7.6).

Owns: which fact is which error, and which of them stop charging. Does not: say them (`status.py`); a driver has given
each fault of a controller its error code (hardware.md §3.4).
"""

import re

from bus.vocabulary import ChargePointErrorCode, ChargePointStatus
from services.connectors.state import Connector, ConnectorError, State
from services.hardware.contract import EvseFault, EvseObservation

EV_COMMUNICATION_ERROR_STATUSES = frozenset(
    {
        ChargePointStatus.PREPARING,
        ChargePointStatus.SUSPENDED_EV,
        ChargePointStatus.SUSPENDED_EVSE,
        ChargePointStatus.FINISHING,
    }
)
"""With others EVCommunicationError shall not be used (OCPP 1.6 §4.9)."""
_DIRECTORIES = re.compile(r"/(?:[^\s/]+/)+")
INFO_LENGTH_MAX = 50
"""Characters in `info` and `vendorErrorCode`, both CiString50 (OCPP 1.6 §6.47)."""


NO_ERROR = ConnectorError(ChargePointErrorCode.NO_ERROR)
EMERGENCY_STOP = ConnectorError(ChargePointErrorCode.OTHER_ERROR, "CX008", "emergency stop pressed")


def stopping_faults(seen: EvseObservation | None) -> tuple[EvseFault, ...]:
    """Faults that make a connector Faulted. EVCommunicationError is always a warning (OCPP 1.6 §4.9)."""
    return () if seen is None else tuple(fault for fault in seen.faults if not _is_warning(fault))


def connector_errors(state: State, connector: Connector, status: ChargePointStatus) -> tuple[ConnectorError, ...]:
    """All errors of a connector that has this status. Those that make it Faulted come first."""
    found = [EMERGENCY_STOP] if state.emergency_stop else []
    if connector.evse_failure:
        found.append(_error(ChargePointErrorCode.INTERNAL_ERROR, "evse-offline", connector.evse_failure))
    found.extend(map(_of_fault, stopping_faults(connector.seen)))
    if connector.seen is not None:
        warnings = [fault for fault in connector.seen.faults if _is_warning(fault) and _may_be_told(fault, status)]
        found.extend(map(_of_fault, warnings))
    if connector.meter_failure:
        found.append(_error(ChargePointErrorCode.POWER_METER_FAILURE, "", connector.meter_failure))
    return tuple(found)


def charge_point_errors(state: State) -> tuple[ConnectorError, ...]:
    """All errors of connector 0."""
    found = [EMERGENCY_STOP] if state.emergency_stop else []
    if state.reader_failure:
        found.append(_error(ChargePointErrorCode.READER_FAILURE, "", state.reader_failure))
    if state.disk_failure:
        found.append(_error(ChargePointErrorCode.INTERNAL_ERROR, "disk", state.disk_failure))
    if state.list_conflicts and state.settings.local_auth_list_enabled:
        others = f" +{len(state.list_conflicts) - 1}" if len(state.list_conflicts) > 1 else ""
        found.append(_error(ChargePointErrorCode.LOCAL_LIST_CONFLICT, "", state.list_conflicts[-1].words + others))
    if state.reset_failed:
        found.append(_error(ChargePointErrorCode.RESET_FAILURE, "", "the station could not be restarted"))
    return tuple(found)


def shortened(info: str) -> str:
    """What has room in `info`: without the remedy, then without directories, then up to a word.

    Half of "port /dev/serial/by-id/usb-… is not there" would say that there is one.
    """
    if len(info) > INFO_LENGTH_MAX:
        info = info.partition("; ")[0]
    if len(info) > INFO_LENGTH_MAX:
        info = _DIRECTORIES.sub("", info)
    if len(info) > INFO_LENGTH_MAX:
        info = info[:INFO_LENGTH_MAX].rpartition(" ")[0] + "…"
    return info


def _is_warning(fault: EvseFault) -> bool:
    return fault.warning or fault.error_code is ChargePointErrorCode.EV_COMMUNICATION_ERROR


def _may_be_told(fault: EvseFault, status: ChargePointStatus) -> bool:
    return fault.error_code is not ChargePointErrorCode.EV_COMMUNICATION_ERROR or status in EV_COMMUNICATION_ERROR_STATUSES


def _of_fault(fault: EvseFault) -> ConnectorError:
    return _error(fault.error_code, fault.vendor_code, fault.info)


def _error(error_code: ChargePointErrorCode, vendor_error_code: str, info: str) -> ConnectorError:
    return ConnectorError(error_code, vendor_error_code[:INFO_LENGTH_MAX], shortened(info))
