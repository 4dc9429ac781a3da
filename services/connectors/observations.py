"""What an observation of the charging controller means: plug, plug-in, faults, and what has to settle (pure).

Owns: the facts of a connector that come from its controller. Does not: move phases on (`core.py`).
"""

from typing import Any

from services.connectors.errors import stopping_faults
from services.connectors.state import Connector, Running
from services.connectors.work import Work
from services.hardware.contract import EvseObservation

SETTLING_AFTER_PILOT_S = 2.0
"""Between the vehicle's request and the closed contactor lies the controller's self-test; it is not SuspendedEVSE."""
FAULT_RETURN_S = 300.0
"""A fault that comes back sooner takes energy away for as long.

Choice: after a first fault charging goes on as soon as the controller says that it is over. A contactor is not closed again
and again on a fault that returns; OpenEVSE waits as long between its own tries (hardware.md §3.1).
"""


def missed_unplugging(connector: Connector, new: EvseObservation) -> bool:
    """Whether the plug was out and in again without being seen: the controller has set its session's energy back.

    Its own restart sets it back too, and then it is still the same plug-in. The elapsed time alone proves nothing here, as old
    firmware begins it anew whenever charging resumes.
    """
    seen = connector.seen
    if seen is None or not connector.plugged or new.plugged is False or new.boots > seen.boots:
        return False
    return new.session_energy_ws < seen.session_energy_ws


def observed(work: Work, connector: Connector, new: EvseObservation) -> None:
    """Take over what the controller says."""
    now_s = work.now.boottime_s
    facts: dict[str, Any] = {"seen": new, "evse_failure": ""}
    if new.plugged is not None:
        facts["plugged"] = new.plugged
        if new.plugged and not connector.plugged:
            facts["plugged_since_s"] = now_s
    if isinstance(connector.phase, Running) and asks_for_energy(new) and not asks_for_energy(connector.seen):
        facts["settling_until_s"] = max(connector.settling_until_s, now_s + SETTLING_AFTER_PILOT_S)
    work.put(connector, **facts, **_fault_facts(connector, new, now_s))


def asks_for_energy(seen: EvseObservation | None) -> bool:
    """Whether the vehicle is ready to charge (hardware.md §2.1)."""
    return seen is not None and seen.control_pilot in ("C", "D")


def _fault_facts(connector: Connector, new: EvseObservation, now_s: float) -> dict[str, Any]:
    had, has = bool(stopping_faults(connector.seen)), bool(stopping_faults(new))
    if new.plugged is False:
        return {"fault_ended_s": None, "fault_returned": False, "offer_from_s": 0.0}
    if has and not had:
        ended_s = connector.fault_ended_s
        return {"fault_returned": ended_s is not None and now_s < ended_s + FAULT_RETURN_S}
    if had and not has:
        return {"fault_ended_s": now_s, "offer_from_s": now_s + FAULT_RETURN_S if connector.fault_returned else 0.0}
    return {}
