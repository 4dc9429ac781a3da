"""What a restart of the link must know again, as texts under the application boot's id (pure; design §2).

Owns: the names and forms of these texts. Does not: read or write the database (`services/configuration/store.py`).
"""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from bus.vocabulary import RegistrationStatus
from services.ocpp_link.state import Said, State

REGISTRATION = "registration"
INTERVAL = "interval_s"
CONNECTIONS = "connections"
ACKNOWLEDGED = "acknowledged_statuses"


def facts(state: State) -> dict[str, str]:
    """What to keep."""
    return {
        REGISTRATION: "" if state.registration is None else str(state.registration),
        INTERVAL: str(state.interval_s),
        CONNECTIONS: str(state.connection_number),
        ACKNOWLEDGED: msgspec.json.encode(state.acknowledged).decode(),
    }


def restored(state: State, kept: Mapping[str, str]) -> State:
    """The state with what was kept; a text that can't be read counts as not kept."""
    try:
        registration = RegistrationStatus(kept[REGISTRATION]) if kept.get(REGISTRATION) else None
        acknowledged = msgspec.json.decode(kept.get(ACKNOWLEDGED, "[]"), type=tuple[tuple[int, Said], ...])
        connections = int(kept.get(CONNECTIONS, "0"))
        return replace(
            state,
            registration=registration,
            interval_s=int(kept.get(INTERVAL, "0")),
            connection_number=connections,
            acknowledged=acknowledged,
        )
    except (ValueError, msgspec.MsgspecError):
        return state
