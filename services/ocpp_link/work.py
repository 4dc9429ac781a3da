"""One step of the link in the making: starts from the old state, ends as new state and ordered effects (pure).

Owns: noticing that the link's state on the bus has changed, and what it means to end a connection. Does not: decide anything
about OCPP.
"""

from typing import Any

import msgspec

from bus.messages import LinkState
from services.ocpp_link import events as e
from services.ocpp_link.state import Connecting, Now, Offline, Open, State

CLOSE_WAIT_S = 5.0
"""A connection that we ended counts as gone after this long, whatever the socket says."""


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

    def end_connection(self, reason: str) -> None:
        """Close the connection; nothing is sent on it from here on."""
        connection = self.state.connection
        if isinstance(connection, Open) and connection.closing_until_s is None:
            until_s = self.now.boottime_s + CLOSE_WAIT_S
            closing = msgspec.structs.replace(connection, closing_until_s=until_s, closing_reason=reason)
            self.set(connection=closing)
            self.do(e.CloseConnection(reason))

    def finish(self) -> tuple[State, tuple[e.Effect, ...]]:
        """The new state and everything to be done, in order."""
        if view(self.state) != self._before:
            self._effects.append(e.PublishLink())
        return self.state, tuple(self._effects)


def view(state: State) -> LinkState:
    """The link's state for the bus, without the time of the last frame, which changes with each."""
    match state.connection:
        case Open(closing_until_s=None):
            detail = "connected" if state.registration else "connected, BootNotification not answered yet"
        case Open(closing_reason=reason):
            detail = reason
        case Connecting():
            detail = "connecting"
        case Offline(reason=reason):
            detail = reason
    return LinkState(
        connected=state.usable,
        registration=state.registration,
        connection=state.connection_number,
        ever_accepted=state.ever_accepted,
        reset_failed=state.reset_failed,
        detail=detail,
    )
