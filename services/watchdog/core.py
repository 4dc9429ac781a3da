"""When a silent or crash-looping service is helped, when the guard is called, what is told (pure; design §2).

A service is in trouble when it is not heard on the bus although it runs, when it ends again and again, when supervisord has
given it up, or somebody has stopped it. The broker comes first: while it is not heard, nobody else can be, and nobody else is
blamed. A silent service is ended, by SIGTERM and then by SIGKILL, and supervisord starts it again; each further remedy within
WELL_S waits twice as long as the one before, up to REMEDY_S_MAX, for ever.

`connectors` is *gone* from its end, or from its last word, until it has lived on for STEADY_S: a service that starts and falls
looks after nothing. While it is gone and has no process, the guard is called; it counts the grace itself.

Owns: these decisions. Does not: read a clock, send signals, or know how a service is heard.
"""

from msgspec.structs import replace

from services.watchdog import events as e
from services.watchdog.state import BACKOFF, FATAL, RUNNING, STARTING, Service, State

BROKER, CONNECTORS = "broker", "connectors"
START_S = 10.0
"""So long a process may take from its start until it is heard. A service that is heard goes silent after three periods."""
BROKER_START_S = 6.0
AFTER_BROKER_S = 5.0
"""Once the broker is heard again, all others say at once how they are; who has not by then, has not heard the broker."""
KILL_S = 2.0
DEATHS, DEATHS_S = 3, 60.0
"""So many unexpected ends in so long are a crash loop."""
REMEDY_S, REMEDY_S_MAX = 10.0, 300.0
WELL_S = 60.0
STEADY_S = 5.0
GUARD_AFTER_S = 3.0
"""A restart takes less: no guard for that."""
GUARD_PAUSE_S = 1.0
TOLD_S = 10.0
"""What was told stays told for so long, so that a Central System learns of a trouble that was mended at once."""
FEED_S = 5.0
SOUND_S_MAX = 60.0
"""So long the board goes on without what it must have; then the hardware watchdog is left to its own devices."""

Effects = tuple[e.Effect, ...]


def initial(names: tuple[str, ...], orphan_grace_s: float, now_s: float) -> State:
    """Nothing is known yet."""
    services = tuple(Service(name, since_s=now_s, heard_s=now_s) for name in names)
    return State(services, began_s=now_s, orphan_grace_s=orphan_grace_s, supervisor_s=now_s, sound_s=now_s)


def step(state: State, event: e.Event, now_s: float) -> tuple[State, Effects]:
    """What `event` does to `state`; effects in the order in which they are to be done."""
    state, effects = _take(state, event, now_s)
    state, judged = _judge_all(state, now_s)
    state = _look_after_connectors(state, now_s)
    state, guard = _call_guard(state, now_s)
    state, told = _tell(state, now_s)
    state, fed = _feed(state, now_s)
    return state, (*effects, *judged, *guard, *told, *fed)


def next_deadline_s(state: State, now_s: float) -> float:
    """Boottime of the next Tick: soon while something is wrong, else when the hardware watchdog is due."""
    troubled = state.told or state.gone_since_s is not None or any(s.trouble or not s.heard for s in state.services)
    return min(now_s + 0.5, state.feed_due_s) if troubled else max(now_s, state.feed_due_s)


def _take(state: State, event: e.Event, now_s: float) -> tuple[State, Effects]:
    match event:
        case e.SupervisorSaid(name=name, word=word, expected=expected):
            service = state.service(name)
            if service is None or service.word == word:
                return state, ()
            return _put(state, _with_word(service, word, now_s, expected=expected)), ()
        case e.SupervisorTicked():
            return replace(state, supervisor_s=now_s), ()
        case e.Heard(name=name):
            service = state.service(name)
            if service is not None and not service.heard:
                state = _put(state, replace(service, heard=True, heard_s=now_s))
        case e.Unheard(name=name):
            service = state.service(name)
            if service is not None and service.heard:
                state = _put(state, replace(service, heard=False, heard_s=now_s))
        case e.GuardEnded(exit_code=code):
            state = replace(state, guard_runs=False, guard_due_s=now_s + GUARD_PAUSE_S)
            if code not in (0, 3):
                return state, (e.Note("the guard could not do its work, it is called again", CONNECTORS, f"exit code {code}"),)
        case e.Tick():
            pass
    return state, ()


def _with_word(service: Service, word: str, now_s: float, *, expected: bool) -> Service:
    if word == STARTING:
        # What the process before it said is nothing about this one.
        return replace(service, word=word, since_s=now_s, heard=False, heard_s=now_s, kill_due_s=None)
    since_s = service.since_s if word == RUNNING else now_s
    deaths_s = service.deaths_s
    if word in ("EXITED", BACKOFF, FATAL) and not expected and service.word in ("", STARTING, RUNNING):
        deaths_s = (*deaths_s, now_s)[-DEATHS:]
    return replace(service, word=word, since_s=since_s, deaths_s=deaths_s)


def _judge_all(state: State, now_s: float) -> tuple[State, Effects]:
    effects: list[e.Effect] = []
    for name in [service.name for service in state.services]:
        state, found = _judge(state, name, now_s)
        effects.extend(found)
    return state, tuple(effects)


def _judge(state: State, name: str, now_s: float) -> tuple[State, Effects]:
    service = state.service(name)
    assert service is not None
    trouble, silent = _trouble(state, service, now_s)
    effects: list[e.Effect] = []
    if trouble != service.trouble:
        since_s = service.trouble_since_s if service.trouble and trouble else now_s
        service = replace(service, trouble=trouble, trouble_since_s=since_s)
        effects.append(e.Problem(name, f"{name} {trouble}" if trouble else ""))
        note = e.Note(f"{name} {trouble}", name) if trouble else e.Note(f"{name} is well again", name, warning=False)
        effects.append(note)
    if not trouble and service.remedies and now_s - service.trouble_since_s >= WELL_S:
        service = replace(service, remedies=0)
    service, helped = _help(service, now_s, silent=silent)
    return _put(state, service), (*effects, *helped)


def _trouble(state: State, service: Service, now_s: float) -> tuple[str, bool]:
    """What is wrong with a service, and whether it is that it runs and is not heard."""
    if service.word == FATAL:
        return "was given up by supervisord", False
    if _in_crash_loop(service, now_s) or service.word == BACKOFF:
        return f"ends again and again, station logs {service.name} says why", False
    if service.word in ("STOPPED", "UNKNOWN"):
        return f"was stopped, supervisorctl start {service.name} starts it", False
    if service.up and not service.heard and now_s >= _to_be_heard_s(state, service):
        return "runs but is not heard on the bus", True
    return "", False


def _in_crash_loop(service: Service, now_s: float) -> bool:
    """It is over once a process has lived on for longer than the pauses of a loop."""
    looped = len(service.deaths_s) == DEATHS and service.deaths_s[-1] - service.deaths_s[0] <= DEATHS_S
    return looped and now_s - service.deaths_s[-1] < DEATHS_S / 2


def _to_be_heard_s(state: State, service: Service) -> float:
    """When a service that is not heard is to blame for that itself."""
    if service.name == BROKER:
        return max(service.since_s + BROKER_START_S, service.heard_s)
    broker = state.service(BROKER)
    if broker is not None and not broker.heard:
        return float("inf")
    through_s = broker.heard_s + AFTER_BROKER_S if broker is not None and broker.heard_s > state.began_s else 0.0
    return max(service.since_s + START_S, through_s, service.heard_s)


def _help(service: Service, now_s: float, *, silent: bool) -> tuple[Service, Effects]:
    if service.kill_due_s is not None and service.up and now_s >= service.kill_due_s:
        return replace(service, kill_due_s=now_s + KILL_S), (e.End(service.name, kill=True),)
    if not (silent or service.word == FATAL) or service.kill_due_s is not None or now_s < service.remedy_due_s:
        return service, ()
    wait_s = min(REMEDY_S * 2.0 ** min(service.remedies, 10), REMEDY_S_MAX)
    service = replace(service, remedies=service.remedies + 1, remedy_due_s=now_s + wait_s)
    if silent:
        return replace(service, kill_due_s=now_s + KILL_S), (e.End(service.name, kill=False),)
    return service, (e.Start(service.name),)


def _look_after_connectors(state: State, now_s: float) -> State:
    service = state.service(CONNECTORS)
    if service is None:
        return state
    silent = bool(service.trouble) and service.up and not service.heard
    if not service.up or silent:
        if state.gone_since_s is None:
            return replace(state, gone_since_s=service.heard_s if silent else now_s)
    elif service.heard and now_s - service.since_s >= STEADY_S and state.gone_since_s is not None:
        return replace(state, gone_since_s=None)
    return state


def _call_guard(state: State, now_s: float) -> tuple[State, Effects]:
    service = state.service(CONNECTORS)
    if service is None or state.gone_since_s is None or state.guard_runs or service.up or now_s < state.guard_due_s:
        return state, ()
    gone_for_s = now_s - state.gone_since_s
    if gone_for_s < GUARD_AFTER_S:
        return state, ()
    note = e.Note("connectors is gone, the guard is called", CONNECTORS, f"for {gone_for_s:.0f} s")
    return replace(state, guard_runs=True), (note, e.CallGuard(gone_for_s))


def _tell(state: State, now_s: float) -> tuple[State, Effects]:
    troubled = [service for service in state.services if service.trouble]
    if troubled:
        first = min(troubled, key=lambda service: (service.name != BROKER, service.trouble_since_s))
        text = f"{first.name} {first.trouble.partition(',')[0]}"
        state, changed = replace(state, told=text, told_until_s=now_s + TOLD_S), text != state.told
        return state, (e.Tell(text),) if changed else ()
    if state.told and now_s >= state.told_until_s:
        return replace(state, told=""), (e.Tell(""),)
    return state, ()


def _feed(state: State, now_s: float) -> tuple[State, Effects]:
    """A board must have supervisord, the broker, and somebody who looks after the controllers."""
    broker, connectors = state.service(BROKER), state.service(CONNECTORS)
    watched = connectors is None or state.gone_since_s is None or state.guard_runs
    if now_s - state.supervisor_s < SOUND_S_MAX and watched and (broker is None or broker.heard):
        state = replace(state, sound_s=now_s)
    if now_s < state.feed_due_s:
        return state, ()
    state = replace(state, feed_due_s=now_s + FEED_S)
    return state, (e.Feed(),) if now_s - state.sound_s < SOUND_S_MAX else ()


def _put(state: State, service: Service) -> State:
    return replace(state, services=tuple(service if s.name == service.name else s for s in state.services))
