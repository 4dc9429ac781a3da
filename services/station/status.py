"""`station status`: asks supervisord and the bus, each of which may be down, and shows what they say.

Owns: gathering the facts, the exit code. Does not: judge (`report.py`) or lay out (`layout.py`).
"""

import argparse
import os
import sys

import msgspec

from bus.clock import boottime_s, hardware_boot_id, system_utc_s
from bus.disk import MB, Disk, trouble
from bus.messages import (
    ClockState,
    ConnectorState,
    LinkState,
    Message,
    MeterSample,
    MeterState,
    QueueState,
    ReaderState,
    ServiceHealth,
    WatchdogState,
)
from bus.observer import Observer
from bus.process import lock_holder, start_ticks
from bus.profile_messages import LocalListState
from services.station import known_config, layout, paths
from services.station.config_changes import changes_of
from services.station.facts import Facts, ServiceFacts
from services.station.programs import PROGRAMS, SILENT, programs
from services.station.report import report
from services.station.supervisor_client import ProcessState, SupervisorClient, SupervisorUnreachable

_BUS_WAIT_S = 1.0
_HEALTH_WAIT_S = 0.3
_WRITABLE_BYTES_MIN = 1 * MB
"""Below it commits begin to fail; the reserve that the services keep is told by them."""
_WELL, _WARNING, _NOT_WELL, _NOT_RUNNING = 0, 1, 2, 3
_WATCHED: tuple[type[Message], ...] = (
    ServiceHealth,
    LinkState,
    ClockState,
    ConnectorState,
    MeterSample,
    MeterState,
    ReaderState,
    QueueState,
    LocalListState,
    WatchdogState,
)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def main(argv: list[str]) -> int:
    """0: the station is well; 1: well, with a warning; 2: it is not well; 3: none runs. The first line says why."""
    description = "Show whether the station is well, and what it is doing."
    epilog = "Exit code, for monitoring: 0 well, 1 well with a warning, 2 not well, 3 not running. The first line says why."
    parser = argparse.ArgumentParser(prog="station status", description=description, epilog=epilog)
    paths.add_state_dir(parser)
    parser.add_argument("--json", action="store_true", help="for programs; what is not known is null")
    arguments = parser.parse_args(argv)
    try:
        answer = report(gather(paths.given_state_dir(arguments)))
    except paths.NotRunning as error:
        print(f"station status: {error}", file=sys.stderr)
        return _NOT_RUNNING
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    else:
        print("\n".join(layout.lines(answer)))
    return _NOT_WELL if not answer.well else _WARNING if answer.warnings else _WELL


def gather(state_dir: str) -> Facts:
    """The facts about the station in `state_dir`. Raises NotRunning. Changes the working directory."""
    paths.enter_run_directory(state_dir)
    pid = paths.station_pid()
    if pid is None and lock_holder("broker.lock") is None:
        remedy = f"`station check` says what keeps it from starting; start it with: {paths.how_to_start(state_dir)}"
        raise paths.NotRunning(f"no station runs in {state_dir}; {remedy}")
    processes, error = _ask_supervisord()
    run = known_config.run_facts()
    now_s = boottime_s()
    with Observer("status", _WATCHED) as observer:
        attached = observer.wait(observer.attached, _BUS_WAIT_S)
        if attached:
            observer.wait(lambda: _all_heard(observer, processes), _HEALTH_WAIT_S)
        path, virtual = str(run.get("config", "")), bool(run.get("virtual"))
        started = {name: health.config_parts for name, health in observer.values(ServiceHealth).items()}
        file = changes_of(path, virtual=virtual, started=started, programs_known=processes.keys())
        return Facts(
            state_dir=state_dir,
            now_boottime_s=boottime_s(),
            system_utc_s=system_utc_s(),
            boot_id=str(run.get("boot_id") or hardware_boot_id()),
            config=path,
            virtual=virtual,
            uptime_s=_uptime_s(pid, now_s),
            supervisor_pid=pid or 0,
            supervisor_error=error,
            bus_attached=attached,
            services=_services(processes, observer.values(ServiceHealth), now_s),
            link=observer.values(LinkState).get(""),
            clock=observer.values(ClockState).get(""),
            connectors=observer.values(ConnectorState),
            samples=observer.values(MeterSample),
            meters=observer.values(MeterState),
            reader=observer.values(ReaderState).get(""),
            queue=observer.values(QueueState).get(""),
            local_list=observer.values(LocalListState).get(""),
            watchdog=observer.values(WatchdogState).get(""),
            config_problem=file.problem,
            behind=file.behind,
            programs_changed=file.programs,
            disk_trouble=trouble(Disk("..").look(), _WRITABLE_BYTES_MIN),
        )


def _ask_supervisord() -> tuple[dict[str, ProcessState], str]:
    try:
        return SupervisorClient().processes(), ""
    except SupervisorUnreachable as error:
        return {}, str(error)


def _all_heard(observer: Observer, processes: dict[str, ProcessState]) -> bool:
    heard = {name: health.pid for name, health in observer.values(ServiceHealth).items()}
    speaking = [process for name, process in processes.items() if process.state == "RUNNING" and name not in SILENT]
    return all(heard.get(process.name) == process.pid for process in speaking)


def _services(processes: dict[str, ProcessState], healths: dict[str, ServiceHealth], now_s: float) -> tuple[ServiceFacts, ...]:
    """Known to supervisord, or heard on the bus; in the order of the list of programs."""
    order = {program.name: number for number, program in enumerate(PROGRAMS)}
    # Without supervisord nothing says whether the simulator belongs to this station, so it is listed only if heard.
    expected = processes.keys() or {program.name for program in programs(virtual=False)}
    found = []
    for name in sorted(expected | healths.keys(), key=lambda name: (order.get(name, len(order)), name)):
        process, health = processes.get(name), healths.get(name)
        if process is not None:
            uptime_s = _uptime_s(process.pid, now_s)
            found.append(ServiceFacts(name, process.state, process.pid, uptime_s, process.error, health, name not in SILENT))
        else:
            pid = health.pid if health else 0
            found.append(ServiceFacts(name, "", pid, _uptime_s(pid, now_s), "", health))
    return tuple(found)


def _uptime_s(pid: int | None, now_s: float) -> float | None:
    # By the process's own start: supervisord knows it by the system clock only, which may step.
    ticks = start_ticks(pid) if pid else None
    return None if ticks is None else round(max(0.0, now_s - ticks / _TICKS_PER_S), 3)
