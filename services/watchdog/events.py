"""What the watchdog's core is told, and what it wants done (pure).

Owns: the shapes. Does not: decide (`core.py`) or do (`__main__.py`).
"""

import msgspec


class Event(msgspec.Struct, frozen=True):
    """Base of all events."""


class SupervisorSaid(Event, frozen=True):
    """supervisord's word for a process has changed. `expected`: it ended with exit code 0."""

    name: str
    word: str
    expected: bool = True


class SupervisorTicked(Event, frozen=True):
    """supervisord lives."""


class Heard(Event, frozen=True):
    """A service says on the bus that it lives."""

    name: str


class Unheard(Event, frozen=True):
    """What a service said last is too old to be true."""

    name: str


class GuardEnded(Event, frozen=True):
    """The guard has ended; 0: `connectors` is there."""

    exit_code: int


class Tick(Event, frozen=True):
    """Time passed."""


class Effect(msgspec.Struct, frozen=True):
    """Base of all effects."""


class End(Effect, frozen=True):
    """Send SIGTERM to the service's process, or SIGKILL."""

    name: str
    kill: bool


class Start(Effect, frozen=True):
    """Have supervisord start a service that it has given up."""

    name: str


class CallGuard(Effect, frozen=True):
    """Let the guard withdraw energy; `connectors` is gone for so long already."""

    gone_for_s: float


class Tell(Effect, frozen=True):
    """Say on the bus, and so to the Central System, what is wrong; empty: nothing any more."""

    text: str


class Problem(Effect, frozen=True):
    """A problem of one service for `station status`; empty: it is over."""

    name: str
    text: str


class Feed(Effect, frozen=True):
    """Tell the hardware watchdog that all is well."""


class Note(Effect, frozen=True):
    """A line for the log."""

    event: str
    name: str
    detail: str = ""
    warning: bool = True
