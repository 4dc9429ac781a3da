"""What a restart of the link must know again, as texts under the application boot's id (pure; design §2).

Owns: the names and forms of these texts. Does not: read or write the database (`services/configuration/store.py`).
"""

import math
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from bus.vocabulary import RegistrationStatus
from services.ocpp_link.clock import Clock
from services.ocpp_link.state import Said, State

REGISTRATION = "registration"
INTERVAL = "interval_s"
BOOT_DUE = "boot_due_s"
CONNECTIONS = "connections"
ACKNOWLEDGED = "acknowledged_statuses"
CLOCK_SOURCE = "clock_source"
UTC_OFFSET = "utc_offset_s"
CLOCK_SYNCHRONISED = "clock_synchronised"


def facts(state: State) -> dict[str, str]:
    """What to keep of the session."""
    waits = state.registration in (RegistrationStatus.PENDING, RegistrationStatus.REJECTED)
    return {
        REGISTRATION: "" if state.registration is None else str(state.registration),
        INTERVAL: str(state.interval_s),
        # The wait that Pending and Rejected demand outlives the process, and nothing else does (OCPP 1.6 §4.2).
        BOOT_DUE: str(state.boot_due_s if waits else 0.0),
        CONNECTIONS: str(state.connection_number),
        ACKNOWLEDGED: msgspec.json.encode(state.acknowledged).decode(),
    }


def restored(state: State, kept: Mapping[str, str]) -> State:
    """The state with what was kept; if a text can't be read, only the number of connections counts."""
    connections = kept.get(CONNECTIONS, "0")
    state = replace(state, connection_number=int(connections) if connections.isdecimal() else 0)
    try:
        registration = RegistrationStatus(kept[REGISTRATION]) if kept.get(REGISTRATION) else None
        acknowledged = msgspec.json.decode(kept.get(ACKNOWLEDGED, "[]"), type=tuple[tuple[int, Said], ...])
        return replace(
            state,
            registration=registration,
            interval_s=int(kept.get(INTERVAL, "0")),
            boot_due_s=_number(kept.get(BOOT_DUE, "0")),
            acknowledged=acknowledged,
        )
    except (ValueError, msgspec.MsgspecError):
        return state


def clock_facts(clock: Clock) -> dict[str, str]:
    """What to keep of the clock: without a BootNotification, nobody would tell a new process the time for a while."""
    return {
        CLOCK_SOURCE: clock.source,
        UTC_OFFSET: str(clock.utc_offset_s),
        CLOCK_SYNCHRONISED: "yes" if clock.synchronised else "no",
    }


def restored_clock(clock: Clock, kept: Mapping[str, str]) -> Clock:
    """The clock as it was kept. Boottime is the same one: an application boot lies within one hardware boot.

    An earlier release did not keep whether it is synchronised: that shows as soon as the system clock is looked at.
    """
    synchronised = kept.get(CLOCK_SYNCHRONISED) == "yes"
    try:
        return Clock(kept[CLOCK_SOURCE], _number(kept[UTC_OFFSET]), clock.floor_utc_ms, synchronised)
    except (KeyError, ValueError):
        return clock


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value
