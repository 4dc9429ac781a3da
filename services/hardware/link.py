"""When a device counts as up or lost, and when it is tried again (pure; hardware.md §7, contract 4).

Owns: counting failures, the back-off, what is reported. Does not: touch a port or a clock.

Three failures in a row lose a link, a vanished port loses it at once. A driver forgets on `open` what it had applied, so
after a reconnect the whole desired state goes out again.
"""

from typing import Literal

import msgspec

FAILURES_MAX = 3
"""Failed exchanges in a row that make a device lost."""
RETRY_S = 0.25
"""Between failed exchanges of a device that is still up, and between the first tries after a start."""
CONNECTING_GRACE_S = 2.0
"""A device that is not there at the start is reported after so long: at a cold start all parts come up at once."""
BACKOFF_S = (0.25, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Waits before the tries to reconnect; the last one goes on for ever."""
CONTROLLER_WAIT_S_MAX = 8.0
"""A charging controller that fell silent and comes back enabled shall not wait longer for its order than an orphan does."""
PORT_MISSING_WAIT_S_MAX = 2.0
"""Choice: looking for a missing port costs nothing and disturbs no device, so a replugged one is back soon."""
STABLE_S = 10.0
"""Only a link that was up for so long begins its back-off anew: a device that comes and goes is not tried in a frenzy."""


class Opened(msgspec.Struct, frozen=True):
    """The port is open and the device said who it is."""


class Exchanged(msgspec.Struct, frozen=True):
    """An exchange went well; the next one is due in `poll_in_s`."""

    poll_in_s: float


class Failed(msgspec.Struct, frozen=True):
    """Opening or an exchange failed; plain words."""

    reason: str
    port_missing: bool = False


class ReportUp(msgspec.Struct, frozen=True):
    """Say that the device works."""


class ReportDown(msgspec.Struct, frozen=True):
    """Say that the device does not work, or now for another reason."""

    reason: str
    retry_in_s: float


class ClosePort(msgspec.Struct, frozen=True):
    """Close the port; the next step is to open it again."""


Event = Opened | Exchanged | Failed
Effect = ReportUp | ReportDown | ClosePort
Phase = Literal["connecting", "up", "lost"]


class Link(msgspec.Struct, frozen=True):
    """One device's link. `due_s`: when it is opened, or polled, next. Times are boottime seconds."""

    started_s: float
    due_s: float
    phase: Phase = "connecting"
    port_open: bool = False
    failures: int = 0
    attempts: int = 0
    up_since_s: float = 0.0
    reason: str = ""
    wait_s_max: float = BACKOFF_S[-1]


def initial(now_s: float, wait_s_max: float = BACKOFF_S[-1]) -> Link:
    """A link that is to be opened now, and tried again after `wait_s_max` at the latest."""
    return Link(started_s=now_s, due_s=now_s, wait_s_max=wait_s_max)


def step(link: Link, event: Event, now_s: float) -> tuple[Link, tuple[Effect, ...]]:
    """What becomes of `link`, and what is to be done, in order."""
    match event:
        case Opened():
            return msgspec.structs.replace(link, port_open=True, due_s=now_s), ()
        case Exchanged():
            return _exchanged(link, event, now_s)
        case Failed():
            return _failed(link, event, now_s)


def _exchanged(link: Link, event: Exchanged, now_s: float) -> tuple[Link, tuple[Effect, ...]]:
    effects: tuple[Effect, ...] = ()
    if link.phase != "up":
        link = msgspec.structs.replace(link, phase="up", up_since_s=now_s, reason="")
        effects = (ReportUp(),)
    return msgspec.structs.replace(link, failures=0, due_s=now_s + event.poll_in_s), effects


def _failed(link: Link, event: Failed, now_s: float) -> tuple[Link, tuple[Effect, ...]]:
    link = msgspec.structs.replace(link, failures=link.failures + 1)
    if link.phase == "up" and not event.port_missing and link.failures < FAILURES_MAX:
        return msgspec.structs.replace(link, due_s=now_s + RETRY_S), ()
    effects: list[Effect] = [ClosePort()] if link.port_open else []
    if link.phase == "up" and now_s - link.up_since_s >= STABLE_S:
        link = msgspec.structs.replace(link, attempts=0)
    wait_s = _wait_s(link, event)
    starting = link.phase == "connecting" and (link.failures < FAILURES_MAX or now_s - link.started_s < CONNECTING_GRACE_S)
    changes: dict[str, object] = {"attempts": 0} if starting else {"attempts": link.attempts + 1, "phase": "lost"}
    if not starting and event.reason != link.reason:
        effects.append(ReportDown(event.reason, wait_s))
        changes["reason"] = event.reason
    return msgspec.structs.replace(link, port_open=False, due_s=now_s + wait_s, **changes), tuple(effects)


def _wait_s(link: Link, event: Failed) -> float:
    if link.phase == "connecting":
        return RETRY_S
    wait_s = min(link.wait_s_max, BACKOFF_S[min(link.attempts, len(BACKOFF_S) - 1)])
    return min(wait_s, PORT_MISSING_WAIT_S_MAX) if event.port_missing else wait_s
