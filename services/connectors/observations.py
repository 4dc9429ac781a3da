"""What an observation of the charging controller means: plug, plug-in, faults, and what has to settle (pure).

Owns: the facts of a connector that come from its controller. Does not: move phases on (`core.py`).
"""

from typing import Any

import msgspec

from bus.vocabulary import ChargePointErrorCode
from services.connectors import overcurrent, plug_in, supply
from services.connectors.errors import stopping_faults
from services.connectors.plug_in import PlugFaults
from services.connectors.state import Connector, Running
from services.connectors.work import Work
from services.hardware.contract import EvseFault, EvseObservation

SETTLING_AFTER_PILOT_S = 2.0
"""Between the vehicle's request and the closed contactor lies the controller's self-test; it is not SuspendedEVSE."""
STUCK_S = 10.0
"""A contactor that is seen closed, or current that flows, so long after energy was withdrawn, means that it is stuck.

Longer than any controller lets a vehicle take to let go (hardware.md §2.1, §3.1).
"""
STUCK_POWER_W = 200.0
"""More than a meter shows of nothing, less than any vehicle charges with."""
READING_AGE_S_MAX = 3.0
UNSEEN_S_MAX = 15.0
"""A plug that nobody could see for so long may have been exchanged; as long as the guard waits (design §2)."""
UNSEEN = "nobody could see for too long whether the plug stayed in"
STUCK = EvseFault(ChargePointErrorCode.POWER_SWITCH_FAILURE, "contactor-stuck", "contactor stuck closed")


def missed_unplugging(connector: Connector, new: EvseObservation, now_s: float) -> str:
    """How it is known, in words, that the plug was out and in again without being seen; empty: it was not.

    The controller has set its session's energy back. Its own restart sets it back too, and then it is still the same plug-in.
    The elapsed time alone proves nothing here, as old firmware begins it anew whenever charging resumes. Or nobody could see
    the plug for so long that it may have been another's meanwhile.
    """
    seen = connector.seen
    if seen is None or not connector.plugged:
        return ""
    if new.plugged is not False and new.boots <= seen.boots and new.session_energy_ws < seen.session_energy_ws:
        return "the controller counts a new plug-in"
    return "" if was_seen(connector, new, now_s) else UNSEEN


def was_seen(connector: Connector, new: EvseObservation, now_s: float) -> bool:
    """Whether a plug can't have been exchanged while the controller was silent or could not tell.

    Nobody exchanges plugs within UNSEEN_S_MAX, and one that has charged for longer than the silence was there before it.

    Choice: what can't be shown to be the same plug-in is another one. Its owner may have to present a card once more; on the
    other side somebody would pay for a stranger's energy. So it is where the plug is out by then: another one may have come
    and gone.
    """
    unseen_s = 0.0 if connector.unseen_since_s is None else now_s - connector.unseen_since_s
    return new.plugged is None or unseen_s < UNSEEN_S_MAX or new.session_elapsed_s > unseen_s + UNSEEN_S_MAX


def silent(work: Work, connector: Connector, reason: str) -> Connector:
    """The controller does not answer."""
    return work.put(connector, evse_failure=reason, unseen_since_s=_unseen_since_s(connector, work.now.boottime_s))


def _unseen_since_s(connector: Connector, now_s: float) -> float:
    return now_s if connector.unseen_since_s is None else connector.unseen_since_s


def observed(work: Work, connector: Connector, new: EvseObservation) -> Connector:
    """Take over what the controller says."""
    now_s = work.now.boottime_s
    if connector.plugged is None and new.plugged is not None and not was_seen(connector, new, now_s):
        connector = work.put(connector, unplugged_s=now_s)
    live_since_s = _live_since_s(connector, new, now_s)
    new, over_current = overcurrent.observed(connector, _with_stuck_contactor(new, live_since_s, now_s))
    facts: dict[str, Any] = {"seen": new, "evse_failure": "", "live_since_s": live_since_s}
    facts["in_force_a"] = supply.with_observation(connector, new, draws=_draws(connector, now_s))
    if new.plugged is None:
        facts["unseen_since_s"] = _unseen_since_s(connector, now_s)
    else:
        facts |= {"plugged": new.plugged, "unseen_since_s": None}
        if new.plugged and not connector.plugged:
            facts["plugged_since_s"] = now_s
            facts["correlation_id"] = _correlation_id(work, connector)
    if isinstance(connector.phase, Running) and asks_for_energy(new) and not asks_for_energy(connector.seen):
        facts["settling_until_s"] = max(connector.settling_until_s, now_s + SETTLING_AFTER_PILOT_S)
    return work.remember(work.put(connector, **facts), _faults(connector, new, now_s, over_current=over_current))


def _correlation_id(work: Work, connector: Connector) -> str:
    """A plug that goes in begins what the log calls one session, unless a transaction or a card has begun it."""
    if connector.transaction is not None:
        return connector.correlation_id
    number = connector.connector_id
    cards = [w.correlation_id for w in work.state.waiting if w.connector_id in (None, number)]
    return next(iter(cards), "") or work.correlation_id()


def _faults(connector: Connector, new: EvseObservation, now_s: float, *, over_current: bool) -> PlugFaults:
    """With the plug goes what is remembered."""
    if new.plugged is False:
        return PlugFaults()
    faults = msgspec.structs.replace(connector.faults, over_current=over_current)
    return plug_in.with_fault(faults, now_s, present=bool(stopping_faults(new)))


def asks_for_energy(seen: EvseObservation | None) -> bool:
    """Whether the vehicle is ready to charge (hardware.md §2.1)."""
    return seen is not None and seen.control_pilot in ("C", "D")


def _live_since_s(connector: Connector, new: EvseObservation, now_s: float) -> float | None:
    """Since when energy can flow, or does, although it is withdrawn; None while it does not."""
    if connector.commanded is None or connector.commanded.energy_allowed:
        return None
    if not new.relay_closed and not _draws(connector, now_s):
        return None
    return now_s if connector.live_since_s is None else connector.live_since_s


def _draws(connector: Connector, now_s: float) -> bool:
    """Whether the meter shows now that a vehicle is charged: what a controller without a look at its contactor can't know."""
    sample = connector.sample
    fresh = sample is not None and now_s - sample.read_boottime_s <= READING_AGE_S_MAX
    return sample is not None and fresh and (sample.power_w or 0.0) > STUCK_POWER_W


def _with_stuck_contactor(new: EvseObservation, live_since_s: float | None, now_s: float) -> EvseObservation:
    """A fault of the contactor that the controller does not tell itself (hardware.md §3.4)."""
    told = any(fault.error_code is STUCK.error_code for fault in new.faults)
    if told or live_since_s is None or now_s < live_since_s + STUCK_S:
        return new
    return msgspec.structs.replace(new, faults=(STUCK, *new.faults))
