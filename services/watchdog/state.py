"""What the watchdog's core knows (pure): its services, the broker, the guard.

Owns: the shapes. Does not: decide (`core.py`). Times are boottime seconds.
"""

import msgspec

STARTING, RUNNING, BACKOFF, FATAL = "STARTING", "RUNNING", "BACKOFF", "FATAL"
"""supervisord's words for a process; the others say that it has ended, or is about to."""


class Facts(msgspec.Struct, frozen=True):
    """Base of the core's structs."""


class Service(Facts, frozen=True):
    """One service. `word` is supervisord's; empty: it has said nothing yet, and the service is taken to run."""

    name: str
    word: str = ""
    since_s: float = 0.0
    """When supervisord's word became true, or this process began."""
    heard: bool = False
    """It says on the bus that it lives."""
    heard_s: float = 0.0
    """When it began or ceased to be heard."""
    deaths_s: tuple[float, ...] = ()
    """Its last unexpected ends."""
    trouble: str = ""
    """In plain words, without its name; empty: none."""
    trouble_since_s: float = 0.0
    remedies: int = 0
    """Remedies without a lasting success."""
    remedy_due_s: float = 0.0
    """The next one not before this."""
    kill_due_s: float | None = None
    """It was told to end: if it is still there then, it is killed."""

    @property
    def up(self) -> bool:
        """Whether supervisord has a process of it."""
        return self.word in ("", STARTING, RUNNING)


class State(Facts, frozen=True):
    """Everything. `told`: what the Central System is to know, and until when at least."""

    services: tuple[Service, ...]
    began_s: float
    orphan_grace_s: float
    gone_since_s: float | None = None
    """Since when `connectors` does not look after its controllers; None: it does."""
    guard_runs: bool = False
    guard_due_s: float = 0.0
    told: str = ""
    told_until_s: float = 0.0
    supervisor_s: float = 0.0
    """When supervisord was heard last."""
    sound_s: float = 0.0
    """When all that a board must have was there last."""
    feed_due_s: float = 0.0

    def service(self, name: str) -> Service | None:
        """One of them."""
        return next((service for service in self.services if service.name == name), None)
