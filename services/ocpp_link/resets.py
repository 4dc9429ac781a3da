"""The end of a Reset: when the station restarts, and what if it can't (pure; OCPP 1.6 §5.14, §9.1.22, errata v4.0 3.36).

Connectors stop the transactions and say when that is done. A Soft reset then waits until the queue has sent their messages,
as long as that is possible and not for ever: what is not sent is kept and goes out after the boot. A Hard reset waits for
nothing but the transactions' end, and not long for that.

A restart fails when it can't be asked for, or when this process still lives long after it was. It is tried again
ResetRetries times, each time as a whole Reset: connectors stop what may have begun. After the last failure the station goes
on as it was, and connector 0 reports ResetFailure (§7.6) until the next Reset.

Owns: these waits and tries. Does not: stop transactions (`connectors`) or restart anything (`reset.py`).
"""

from msgspec.structs import replace

from bus.messages import ResetReady
from bus.vocabulary import RegistrationStatus, ResetType
from services.ocpp_link import events as e
from services.ocpp_link import statuses
from services.ocpp_link.state import Resetting, Restarting, State
from services.ocpp_link.work import Work

RESET_WAIT_S = {ResetType.SOFT: 60.0, ResetType.HARD: 15.0}
"""How long transactions may take to stop before the station restarts all the same."""
HAND_OVER_S = 1.0
"""How long a StopTransaction may take from connectors to the queue, before which an empty queue says nothing."""
SEND_WAIT_S = 20.0
"""How long a Soft reset waits for the queue to send what it has."""
RETRY_S = 10.0
"""Choice: so long after a failed restart comes the next try; OCPP gives ResetRetries without an interval."""
RESTART_WAIT_S = 60.0
"""A restart that has not ended this process by then has failed."""


def accepted(work: Work, type_: ResetType, *, ready: bool) -> None:
    """Connectors took a Reset, and its answer has gone out. One that is being carried out already counts for it."""
    reset = work.state.reset
    if reset is not None and reset.restarting is not None:
        return
    _begin(work, type_, ready=ready)


def said(work: Work, ready: ResetReady) -> None:
    """How far connectors are. A Reset that an earlier process of the link has accepted is carried out all the same.

    Not at the first word of it: Reset.conf may be on its way, and goes out before the restart (field report 27).
    """
    reset = work.state.reset
    if ready.type is None:
        return
    if reset is None:
        if not work.state.reset_failed:
            _begin(work, ready.type, ready=False)
    elif ready.ready and reset.ready_s is None:
        work.set(reset=replace(reset, ready_s=work.now.boottime_s))


def failed(work: Work, reason: str) -> None:
    """The restart was not possible. What was true before it is true again, and it is tried again or given up."""
    reset = work.state.reset
    if reset is None or reset.restarting is None:
        return
    work.set(registration=reset.restarting.registration, boot_due_s=reset.restarting.boot_due_s)
    if work.state.registration is RegistrationStatus.ACCEPTED:
        statuses.reconnected(work)
    work.do(e.KeepSession())
    if reset.failures < work.state.settings.reset_retries:
        work.note("Reset failed, it is tried again", detail=reason, warning=True)
        due_s = work.now.boottime_s + RETRY_S
        work.set(reset=replace(reset, due_s=due_s, failures=reset.failures + 1, restarting=None))
        work.do(e.AskReset(reset.type))
    else:
        work.note("Reset failed, the station goes on without it", detail=reason, warning=True)
        work.set(reset=None, reset_failed=True)


def pursue(work: Work) -> None:
    """Restart as soon as everything that has to come first is done, or its time is over."""
    reset, now_s = work.state.reset, work.now.boottime_s
    if reset is None:
        return
    if reset.restarting is not None:
        if reset.restarting.until_s <= now_s:
            failed(work, f"the station still runs {RESTART_WAIT_S:.0f} s after it was to restart")
    elif _restart_at_s(work.state, reset) <= now_s:
        _restart(work, reset)


def next_deadline_s(state: State) -> float | None:
    """When `pursue` has something to do, if nothing happens before."""
    if state.reset is None:
        return None
    return state.reset.restarting.until_s if state.reset.restarting is not None else _restart_at_s(state, state.reset)


def _begin(work: Work, type_: ResetType, *, ready: bool) -> None:
    now_s = work.now.boottime_s
    reset = Resetting(type_, due_s=now_s + RESET_WAIT_S[type_], ready_s=now_s if ready else None)
    work.set(reset=reset, reset_failed=False)


def _restart_at_s(state: State, reset: Resetting) -> float:
    if reset.ready_s is None or reset.failures:
        return reset.due_s
    if reset.type is ResetType.HARD or not state.accepted:
        return reset.ready_s
    # The whole station is reset, so messages of older transactions are worth the same wait.
    wait_s = SEND_WAIT_S if state.queue_depth else HAND_OVER_S
    return min(reset.ready_s + wait_s, reset.due_s)


def _restart(work: Work, reset: Resetting) -> None:
    state = work.state
    until_s = work.now.boottime_s + RESTART_WAIT_S
    restarting = Restarting(until_s, state.registration, state.boot_due_s)
    work.note("station restarts because of Reset", detail=str(reset.type), warning=True)
    # The next process sends BootNotification, not this one: its acceptance would be taken for the next one's.
    work.set(reset=replace(reset, restarting=restarting), registration=None, boot_due_s=until_s + RETRY_S)
    work.do(e.KeepSession())
    work.do(e.RestartStation(hard=reset.type is ResetType.HARD))
