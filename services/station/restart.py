"""`station restart SERVICE`: ends one service; supervisord starts it again, and we wait until it works.

The end is a signal and the start is supervisord's own `autorestart`: a maintainer whose connection breaks in between leaves
no service stopped. Owns: waiting, and SIGKILL for a service that does not go. Does not: stop anything for good.
"""

import argparse
import sys
import time

from bus.messages import ServiceHealth
from bus.observer import Observer
from bus.process import start_ticks
from services.station import paths
from services.station.programs import SILENT
from services.station.supervisor_client import ProcessState, SupervisorClient, SupervisorUnreachable

_WORKS_WITHIN_S = 10.0
_TERM_WAIT_S = 5.0
_STEP_S = 0.03


class RestartFailed(Exception):
    """The service does not go, or does not come back; the text says which."""


def main(argv: list[str]) -> int:
    """0: the service works again; 1: it does not; 2: there is no such service; 3: no station runs."""
    parser = argparse.ArgumentParser(prog="station restart", description="Restart one service of the running station.")
    paths.add_state_dir(parser)
    parser.add_argument("service", metavar="SERVICE")
    arguments = parser.parse_args(argv)
    state_dir = paths.given_state_dir(arguments)
    try:
        paths.enter_run_directory(state_dir)
        if paths.station_pid() is None:
            raise paths.NotRunning(f"no station runs in {state_dir}")
        known = SupervisorClient().processes()
        if arguments.service not in known:
            print(f"station restart: there is no service {arguments.service!r}; there is {', '.join(known)}", file=sys.stderr)
            return 2
        print(_restart(arguments.service))
        return 0
    except (SupervisorUnreachable, RestartFailed) as error:
        print(f"station restart: {error}", file=sys.stderr)
        return 1
    except paths.NotRunning as error:
        print(f"station restart: {error}", file=sys.stderr)
        return 3


def _restart(service: str) -> str:
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
    how = "; it had to be killed" if killed else ""
    return f"{service} works again after {took_s:.2f} s (process {old.pid or 'none'} -> {new.pid}){how}"


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
