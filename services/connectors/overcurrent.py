"""A vehicle that draws more than it was offered, found by the meter (pure; hardware.md §3.4, "meter rule").

Only some OpenEVSE look at it themselves, EVSE-WB never. Owns: the rule, and when it is over. Does not: withdraw energy; a fault
does (`output.py`).
"""

import msgspec

from bus.messages import MeterSample
from bus.vocabulary import ChargePointErrorCode
from services.connectors import transactions
from services.connectors.state import Connector
from services.connectors.supply import ordered_a
from services.connectors.work import Work
from services.hardware.contract import EvseFault, EvseObservation

MARGIN_A = 5.0
OVER_S = 10.0
"""Choice: margin and time are those of OpenEVSE (hardware.md §3.1, state 0B). A vehicle has 5 s to follow a lower offer."""
GAP_S_MAX = 3.0
"""What was not measured for longer than this proves nothing."""
OVER_CURRENT = EvseFault(ChargePointErrorCode.OVER_CURRENT_FAILURE, "over-current", "vehicle draws more than it was offered")


def measured(work: Work, connector: Connector, sample: MeterSample) -> Connector:
    """Judge a reading that is newer than `connector.sample`; the connector with what follows from it."""
    since_s = _over_since_s(connector, sample)
    connector = work.put(connector, over_current_since_s=since_s)
    if since_s is not None and sample.read_boottime_s >= since_s + OVER_S and not connector.faults.over_current:
        mark, now_s = transactions.mark_of(connector.seen), work.now.boottime_s
        found = {"present": True, "over_current": True, "over_current_s": now_s, "mark": mark}
        connector = work.remember(connector, msgspec.structs.replace(connector.faults, **found))
        if connector.seen is not None:
            connector = work.put(connector, seen=_with_fault(connector.seen))
        detail = f"{max(sample.currents_a):.1f} A, offered {_offered_a(connector):.0f} A"
        text = "vehicle draws more than it was offered, energy is withdrawn until it is unplugged"
        work.note(text, connector_id=connector.connector_id, detail=detail, warning=True)
    return connector


def observed(connector: Connector, new: EvseObservation) -> tuple[EvseObservation, bool]:
    """What the controller says, with the fault while it lasts, and whether it does: until the plug was out."""
    lasts = connector.faults.over_current and new.plugged is not False and connector.plugged is not False
    lasts = lasts and not _is_another(connector, new)
    return (_with_fault(new) if lasts else new), lasts


def _is_another(connector: Connector, new: EvseObservation) -> bool:
    """Whether the plug that a new process finds is not the one that this was found of, as far as anybody can tell."""
    if connector.plugged is not None or not new.plugged:
        return False
    was_out = connector.unplugged_s is not None and connector.faults.over_current_s < connector.unplugged_s
    return was_out or not transactions.same_session(connector.faults.mark, new)


def _over_since_s(connector: Connector, sample: MeterSample) -> float | None:
    offered_a = _offered_a(connector)
    if not offered_a or max(sample.currents_a, default=0.0) <= offered_a + MARGIN_A:
        return None
    before, since_s = connector.sample, connector.over_current_since_s
    if since_s is None or before is None or sample.read_boottime_s - before.read_boottime_s > GAP_S_MAX:
        return sample.read_boottime_s
    return since_s


def _offered_a(connector: Connector) -> float:
    """The most that it may think it has, A; 0: it was offered nothing, and what flows then is the contactor's fault."""
    ordered = ordered_a(connector.commanded)
    return max(ordered, connector.in_force_a or 0.0) if ordered else 0.0


def _with_fault(seen: EvseObservation) -> EvseObservation:
    """Unless the controller tells it itself."""
    if any(fault.error_code is OVER_CURRENT.error_code for fault in seen.faults):
        return seen
    return msgspec.structs.replace(seen, faults=(OVER_CURRENT, *seen.faults))
