"""What a plug-in is known by, and what is remembered of its faults (pure; design §2, hardware.md §3.1).

Owns: the counters that tell plug-ins apart, and how long a fault that comes back takes energy away. Does not: find faults
(`observations.py`, `overcurrent.py`) or withdraw energy (`output.py`).
"""

import msgspec

FAULT_RETURN_S = 300.0
"""A fault that comes back sooner takes energy away for as long.

Choice: after a first fault charging goes on as soon as the controller says that it is over. A contactor is not closed again
and again on a fault that returns; OpenEVSE waits as long between its own tries (hardware.md §3.1).
"""


class SessionMark(msgspec.Struct, frozen=True):
    """The controller's own counters of a plug-in; it sets them back at the next one, so that a mark tells plug-ins apart."""

    energy_ws: int
    elapsed_s: int


class PlugFaults(msgspec.Struct, frozen=True):
    """What is remembered of the faults at a plug until it is out. On disk, as a restart of this service changes nothing.

    Choice: after a power cut none of it holds. Whoever charged has to present a card anew, a controller that was without power
    finds its own faults again, and nobody can tell any more whose plug is in.
    """

    boot_id: str = ""
    """The hardware boot that its times are of."""
    present: bool = False
    ended_s: float | None = None
    """When the last one went; None: it is there, or none went within FAULT_RETURN_S."""
    returned: bool = False
    """The present or last one came back soon after the one before."""
    over_current: bool = False
    """The vehicle drew more than it was offered for too long, and has not been unplugged since."""
    over_current_s: float = 0.0
    """When that was found."""
    mark: SessionMark = SessionMark(0, 0)
    """Of the plug-in that it was found of."""

    @property
    def any(self) -> bool:
        """Whether there is anything to remember."""
        return self.present or self.returned or self.over_current or self.ended_s is not None


class SavePlugFaults(msgspec.Struct, frozen=True):
    """Change on disk: what is remembered of the faults at this plug; None: nothing any more."""

    connector_id: int
    faults: PlugFaults | None


def with_fault(faults: PlugFaults, now_s: float, *, present: bool) -> PlugFaults:
    """After a look at whether there is a fault. Those that went are forgotten in time (`with_time`)."""
    if present == faults.present:
        return faults
    if present:
        returned = faults.returned or faults.ended_s is not None
        return msgspec.structs.replace(faults, present=True, returned=returned, ended_s=None)
    return msgspec.structs.replace(faults, present=False, ended_s=now_s)


def with_time(faults: PlugFaults, now_s: float) -> PlugFaults:
    """A fault that went long ago counts no more."""
    due_s = forgotten_s(faults)
    return faults if due_s is None or now_s < due_s else msgspec.structs.replace(faults, ended_s=None, returned=False)


def forgotten_s(faults: PlugFaults) -> float | None:
    """Boottime at which the fault that went is forgotten, and energy given again if it had come back; None: there is none."""
    return None if faults.ended_s is None else faults.ended_s + FAULT_RETURN_S
