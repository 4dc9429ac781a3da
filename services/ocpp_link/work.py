"""One step of the link in the making: starts from the old state, ends as new state and ordered effects.

Owns: noticing that the link's state on the bus has changed. Does not: decide anything about OCPP.
"""

from typing import Any

import msgspec

from bus.messages import LinkState
from services.ocpp_link import events as e
from services.ocpp_link.state import Connecting, Now, Offline, Open, State


class Work:
    """What the rules of one step write into."""

    def __init__(self, state: State, now: Now) -> None:
        self.state = state
        self.now = now
        self._before = view(state)
        self._effects: list[e.Effect] = []

    def set(self, **facts: Any) -> None:
        """Replace facts."""
        self.state = msgspec.structs.replace(self.state, **facts)

    def do(self, effect: e.Effect) -> None:
        """Do this, after all that was asked for before."""
        self._effects.append(effect)

    def note(self, text: str, *, detail: str | None = None, warning: bool = False) -> None:
        """Write a line into the log."""
        self._effects.append(e.Note(text, detail=detail, warning=warning))

    def finish(self) -> tuple[State, tuple[e.Effect, ...]]:
        """The new state and everything to be done, in order."""
        if view(self.state) != self._before:
            self._effects.append(e.PublishLink())
        return self.state, tuple(self._effects)


def view(state: State) -> LinkState:
    """The link's state for the bus, without the time of the last frame, which changes with each."""
    match state.connection:
        case Open():
            detail = "connected" if state.registration else "connected, BootNotification not answered yet"
        case Connecting():
            detail = "connecting"
        case Offline(reason=reason):
            detail = reason
    return LinkState(
        connected=isinstance(state.connection, Open),
        registration=state.registration,
        connection=state.connection_number,
        ever_accepted=state.ever_accepted,
        detail=detail,
    )
