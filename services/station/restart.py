"""`station restart SERVICE…`: ends services one after the other; supervisord starts each again, and we wait until it works.

The end is a signal and the start is supervisord's own `autorestart`: a maintainer whose connection breaks in between leaves
no service stopped. Owns: waiting, and SIGKILL for a service that does not go. Does not: stop anything for good.
"""

import argparse
import sys
import time

import msgspec

from bus.messages import ServiceHealth
from bus.observer import Observer
from bus.process import start_ticks
from services.configuration.applied import READ_BY
from services.station import command_log, known_config, paths
from services.station.config_changes import changes_of
from services.station.programs import SILENT
from services.station.supervisor_client import ProcessState, SupervisorClient, SupervisorUnreachable

_WORKS_WITHIN_S = 10.0
_TERM_WAIT_S = 5.0
_STEP_S = 0.03


class RestartFailed(Exception):
    """The service does not go, or does not come back; the text says which."""


class Restarted(msgspec.Struct, frozen=True):
    """A service that works again: for how long it did not, and its processes (0: there was none)."""

    gone_s: float
    before: int
    after: int
    killed: bool


def main(argv: list[str]) -> int:
    """0: the services work again; 1: one does not, or would not; 2: there is no such service; 3: no station runs."""
    parser = argparse.ArgumentParser(prog="station restart", description="Restart services of the running station.")
    paths.add_state_dir(parser)
    parser.add_argument("services", metavar="SERVICE", nargs="+", help="one after the other, in this order")
    arguments = parser.parse_args(argv)
    state_dir = paths.given_state_dir(arguments)
    try:
        paths.enter_run_directory(state_dir)
        if paths.station_pid() is None:
            raise paths.NotRunning(f"no station runs in {state_dir}")
        known = SupervisorClient().processes()
        for service in arguments.services:
            if service not in known:
                print(f"station restart: there is no service {service!r}; there is {', '.join(known)}", file=sys.stderr)
                return 2
        _refuse_if_it_would_not_start(arguments.services)
        for service in arguments.services:
            print(_told_restart(service, state_dir), flush=True)
        return 0
    except (SupervisorUnreachable, RestartFailed) as error:
        print(f"station restart: {error}", file=sys.stderr)
        return 1
    except paths.NotRunning as error:
        print(f"station restart: {error}", file=sys.stderr)
        return 3


def _refuse_if_it_would_not_start(services: list[str]) -> None:
    """A service that runs is better than one that does not come back. Raises RestartFailed."""
    facts = known_config.run_facts()
    file = changes_of(str(facts.get("config", "")), virtual=bool(facts.get("virtual")), started={})
    if file.problem and any(READ_BY.get(service) for service in services):
        raise RestartFailed(f"nothing is restarted, it would not start again: {file.problem}")


def _told_restart(service: str, state_dir: str) -> str:
    """Restart one, with a trace in the log; what came of it, for a person. Raises RestartFailed, SupervisorUnreachable."""
    command = f"station restart {service}"
    command_log.note(state_dir, "restart of a service is commanded", service_name=service, command=command)
    try:
        done = _restart(service)
    except (RestartFailed, SupervisorUnreachable) as error:
        command_log.note(
            state_dir, "restarted service does not work", warning=True, service_name=service, command=command, reason=error
        )
        raise
    command_log.note(
        state_dir,
        "service works again after a restart",
        service_name=service,
        command=command,
        gone_s=f"{done.gone_s:.2f}",
        pid_before=done.before or None,
        pid=done.after,
        killed="yes" if done.killed else None,
    )
    how = "; it had to be killed" if done.killed else ""
    return f"{service} works again after {done.gone_s:.2f} s (process {done.before or 'none'} -> {done.after}){how}"


def _restart(service: str) -> Restarted:
    supervisor = SupervisorClient()
    began_s = time.monotonic()
    with Observer("restart", [ServiceHealth]) as observer:
        old = supervisor.process(service)
        killed = _end(supervisor, old)

        def works() -> bool:
            if service in SILENT:
                return supervisor.process(service).pid not in (0, old.pid)
            health = observer.values(ServiceHealth).get(service)
            return health is not None and health.pid != old.pid and start_ticks(health.pid) is not None

        if not observer.wait(works, _WORKS_WITHIN_S):
            state = supervisor.process(service)
            raise RestartFailed(
                f"{service} ended, but does not work again within {_WORKS_WITHIN_S:g} s: supervisord says {state.state} "
                f"{state.error}; look at `station logs {service}`"
            )
        took_s = time.monotonic() - began_s
        new = _until_running(supervisor, service)
    return Restarted(took_s, old.pid, new.pid, killed)


def _end(supervisor: SupervisorClient, old: ProcessState) -> bool:
    """Have the old process ended, or a missing one started; whether it had to be killed."""
    if old.pid == 0:
        supervisor.start(old.name)
        return False
    ticks = start_ticks(old.pid)
    supervisor.send_signal(old.name, "TERM")
    for number, wait_s in (("KILL", _TERM_WAIT_S), (None, _TERM_WAIT_S)):
        deadline_s = time.monotonic() + wait_s
        while time.monotonic() < deadline_s:
            if start_ticks(old.pid) != ticks or supervisor.process(old.name).pid != old.pid:
                return number is None
            time.sleep(_STEP_S)
        if number is not None:
            supervisor.send_signal(old.name, number)
    raise RestartFailed(f"{old.name} (process {old.pid}) does not end, not even by SIGKILL; its device or disk hangs")


def _until_running(supervisor: SupervisorClient, service: str) -> ProcessState:
    deadline_s = time.monotonic() + _WORKS_WITHIN_S
    while True:
        state = supervisor.process(service)
        if state.state == "RUNNING":
            return state
        if state.state not in ("STARTING", "RUNNING") or time.monotonic() >= deadline_s:
            raise RestartFailed(f"{service} came back and ended again ({state.state}); look at `station logs {service}`")
        time.sleep(_STEP_S)
