"""A whole station on virtual hardware and a bare Central System: start, restart, memory, idleness, and how fast it answers.

Owns: the figures of `design.md` §8 that need a running station. Does not: look into the station for times; they are taken at
the Central System, at the virtual hardware, and on the bus.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bus.messages import ServiceHealth
from bus.observer import Observer
from services.simulator import board
from services.simulator.client import request
from services.station.programs import programs
from services.station.supervisor_client import SupervisorClient
from tests.bench import procfs
from tests.bench.awake import kept_awake
from tests.bench.central_system import CentralSystem
from tests.bench.figures import Budget, Figure, percentile
from tests.bench.yardsticks import COMMIT, ECHO, PYTHON_IMPORTS, PYTHON_START
from tests.harness import Station, wait_until

TAG = "04A2B3C4D5"
SLEEPS = f"{board.SLEEPING:02X}"
SETTLING = "OpenEVSE from $FE to current"
"""Its firmware looks at the pilot anew for so long; what we are asked for is done before."""
STARTS = 5
IDLE_S = 30.0
ROUNDS = 300
SESSIONS = 5
HARDWARE = frozenset({"simulator"})
BESIDE = frozenset({"supervisord", "watchdog"})
"""Listed beside the services in the budget of memory."""
CONFIG = """
[station]
identity = "BENCH"
vendor = "Chargebus"
model = "Virtual"

[central_system]
url = "{url}"
reconnect_min_s = 0.5
reconnect_max_s = 8.0

[supply]
max_current_a = {supply_a}
phases = 3

[reader]
driver = "rdm6300"

[ocpp]
MeterValueSampleInterval = 60

[policy]
backlog_messages_per_s = 0
"""
CONNECTOR = """
[[connector]]
id = {number}
cable = "fixed"
evse = {{ driver = "openevse" }}
meter = {{ driver = "sdm630" }}
"""


def measure(directory: Path) -> Iterator[Figure]:
    """A station with one connector."""
    yield _start(directory)
    with running(directory / "one", connectors=1) as (station, central):
        yield from _memory(station)
        yield from _idleness(station)
        yield from calls(central, "alone")
        mark_s = _charge(station, central, 1)
        yield from calls(central, "1 charging")
        hands(station, "plug-out", "1")
        central.wait_for("StopTransaction", after_s=mark_s)
        yield from _sessions(station, central)
        yield from _restarts(station)
        yield _connected_again(central)


def measure_many(directory: Path) -> Iterator[Figure]:
    """A station with sixteen connectors that all charge."""
    with running(directory, connectors=16) as (station, central):
        for number in range(1, 17):
            _charge(station, central, number)
        yield from calls(central, "16 charging")
        used = procfs.cpu_share(station.processes(), 10.0)
        services = sum(share for name, share in used.items() if name not in HARDWARE)
        yield Figure("CPU, all services, 16 charging", services * 100, "%", detail="of one core, meters at 1 Hz")


def _charge(station: Station, central: CentralSystem, number: int) -> float:
    """A transaction on this connector; when it was asked for."""
    hands(station, "plug-in", str(number))
    began_s = time.perf_counter()
    central.call("RemoteStartTransaction", {"idTag": f"TAG{number}", "connectorId": number})
    central.wait_for("StartTransaction", after_s=began_s)
    return began_s


@contextlib.contextmanager
def running(directory: Path, *, connectors: int, round_trip_s: float = 0.0) -> Iterator[tuple[Station, CentralSystem]]:
    """A station that has booted."""
    with CentralSystem(round_trip_s=round_trip_s) as central:
        began_s = time.perf_counter()
        with Station(config(central.url, connectors), state_dir=directory) as station:
            central.wait_for("StatusNotification", after_s=began_s, number=connectors + 1)
            yield station, central


def config(url: str, connectors: int) -> str:
    """A station.toml."""
    parts = [CONNECTOR.format(number=number) for number in range(1, connectors + 1)]
    return CONFIG.format(url=url, supply_a=32 * connectors) + "".join(parts)


def hands(station: Station, command: str, *arguments: str) -> dict[str, Any]:
    """Hands on the virtual hardware, without the start of a command."""
    answer = request(str(station.state_dir), command, list(arguments))
    assert answer["ok"], answer
    return answer


def calls(central: CentralSystem, when: str) -> Iterator[Figure]:
    """Response times: answered by the link, by connectors, and with a durable change."""
    quick, slow = Budget(3.0), Budget(15.0)
    value = [60]

    def change() -> tuple[str, dict[str, Any]]:
        value[0] = 131 - value[0]
        return "ChangeConfiguration", {"key": "ConnectionTimeOut", "value": str(value[0])}

    kinds: list[tuple[str, Callable[[], tuple[str, dict[str, Any]]], Budget, Budget | None, str]] = [
        ("GetConfiguration", lambda: ("GetConfiguration", {"key": ["HeartbeatInterval"]}), quick, slow, ECHO),
        ("RemoteStopTransaction", lambda: ("RemoteStopTransaction", {"transactionId": -7}), quick, slow, ECHO),
        ("ChangeConfiguration", change, Budget(5.0), None, COMMIT),
    ]
    for name, make, median, rare, yardstick in kinds:
        taken_ms = [central.call(*make())[1] * 1000 for _ in range(ROUNDS + 20)][20:]
        yield Figure(f"{name}, {when}, median", percentile(taken_ms, 50), "ms", median, yardstick)
        yield Figure(f"{name}, {when}, 99 %", percentile(taken_ms, 99), "ms", rare)


def _start(directory: Path) -> Figure:
    taken_s = []
    for number in range(STARTS):
        with CentralSystem() as central:
            station = Station(config(central.url, 1), state_dir=directory / f"start-{number}", ready_timeout_s=None)
            began_s = time.perf_counter()
            with station:
                taken_s.append(central.wait_for("BootNotification", after_s=began_s).at_s - began_s)
    return Figure("station run to BootNotification", percentile(taken_s, 50), "s", Budget(1.5), PYTHON_START, f"of {STARTS}")


def _memory(station: Station) -> Iterator[Figure]:
    found = {name: procfs.pss_mb(pid) for name, pid in station.processes().items()}
    for name, megabytes in sorted(found.items()):
        yield Figure(f"memory of {name}", megabytes, "MB", detail="PSS")
    services = sum(mb for name, mb in found.items() if name not in HARDWARE | BESIDE)
    yield Figure("memory of the services together", services, "MB", Budget(100.0), detail="PSS, without simulator, supervisord")


def _idleness(station: Station) -> Iterator[Figure]:
    """Connected, no session. The simulator is the hardware, and supervisord's share is listed with the rest.

    Twice: on a machine that nothing else keeps awake, and at its working speed (`awake.py`).
    """
    # Whatever the start has left to write is written by then.
    wait_until(lambda: procfs.written_bytes(station.processes(), 2.0) == 0, 60, "the station is idle")
    pids = {name: pid for name, pid in station.processes().items() if name not in HARDWARE}
    before = procfs.written(pids)
    asleep = procfs.cpu_share(pids, IDLE_S)
    with kept_awake():
        used = procfs.cpu_share(pids, IDLE_S)
    written = procfs.written(pids) - before
    name = "CPU when idle, all processes"
    yield Figure(name, sum(used.values()) * 100, "%", Budget(2.0), detail=f"of one core at working speed, {_shares(used)}")
    detail = f"cores and memory slow as on an idle machine, {_shares(asleep)}"
    yield Figure(f"{name}, the machine asleep", sum(asleep.values()) * 100, "%", detail=detail)
    yield Figure("disk writes when idle", written, "bytes", Budget(1.0), detail=f"in {2 * IDLE_S:.0f} s")


def _sessions(station: Station, central: CentralSystem) -> Iterator[Figure]:
    """What a driver and an operator wait for."""
    found: dict[str, list[float]] = {"card": [], "start": [], "order": [], "offer": [], "unplug": []}
    for _ in range(SESSIONS):
        _session(station, central, found)
    taken_ms = {name: percentile(values, 50) * 1000 for name, values in found.items()}
    detail = f"median of {SESSIONS}"
    yield Figure("card presented to Authorize.req", taken_ms["card"], "ms", Budget(100.0), detail=detail)
    yield Figure("RemoteStart to StartTransaction.req", taken_ms["start"], "ms", Budget(150.0), detail=detail)
    yield Figure("RemoteStart to the controller's order", taken_ms["order"], "ms", Budget(150.0), detail=detail)
    yield Figure(SETTLING, board.SETTLE_S * 1000, "ms", detail="hardware.md §3.1, not to be shortened")
    yield Figure("RemoteStart to current offered", taken_ms["offer"], "ms", yardstick=SETTLING, detail=detail)
    yield Figure("unplug under load to StopTransaction.req", taken_ms["unplug"], "ms", detail=detail)


def _session(station: Station, central: CentralSystem, found: dict[str, list[float]]) -> None:
    """One by card, one by the Central System; each ends by pulling the plug under load."""
    mark_s = _plug_in(station, central)
    hands(station, "swipe", TAG)
    found["card"].append(central.wait_for("Authorize", after_s=mark_s).at_s - mark_s)
    found["unplug"].append(_charge_and_unplug(station, central, mark_s))
    mark_s = _plug_in(station, central)
    central.call("RemoteStartTransaction", {"idTag": TAG, "connectorId": 1})
    found["order"].append(_seconds_until(lambda controller: controller["state"] != SLEEPS, station, mark_s))
    found["offer"].append(_seconds_until(lambda controller: controller["offering"], station, mark_s))
    found["start"].append(central.wait_for("StartTransaction", after_s=mark_s).at_s - mark_s)
    _charge_and_unplug(station, central, mark_s)


def _seconds_until(condition: Callable[[dict[str, Any]], bool], station: Station, mark_s: float) -> float:
    """From `mark_s` until connector 1's controller is so."""
    while not condition(hands(station, "state")["state"]["connectors"]["1"]["controller"]):
        assert time.perf_counter() < mark_s + 10, "no current is offered"
    return time.perf_counter() - mark_s


def _plug_in(station: Station, central: CentralSystem) -> float:
    """When the connector was Preparing and the next thing may happen."""
    mark_s = time.perf_counter()
    hands(station, "plug-in", "1")
    _status(central, "Preparing", mark_s)
    return time.perf_counter()


def _charge_and_unplug(station: Station, central: CentralSystem, mark_s: float) -> float:
    """Seconds from pulling the plug under load until StopTransaction.req was there."""
    _status(central, "Charging", mark_s)
    mark_s = time.perf_counter()
    hands(station, "plug-out", "1")
    taken_s = central.wait_for("StopTransaction", after_s=mark_s).at_s - mark_s
    _status(central, "Available", mark_s)
    return taken_s


def _status(central: CentralSystem, status: str, after_s: float) -> None:
    wait_until(
        lambda: any(
            one.at_s > after_s and one.payload.get("status") == status and one.payload.get("connectorId") == 1
            for one in list(central.received)
        ),
        15,
        f"status {status}",
    )


def _restarts(station: Station) -> Iterator[Figure]:
    """From SIGKILL until the service says on the bus that it works."""
    before = os.getcwd()
    os.chdir(station.state_dir / "run")
    try:
        for program in programs(virtual=False):
            if program.name == "broker":
                continue
            taken_s = [_restart(station, program.name) for _ in range(3)]
            yield Figure(
                f"restart of {program.name}", percentile(taken_s, 50), "s", Budget(1.0), PYTHON_IMPORTS, "SIGKILL to working"
            )
    finally:
        os.chdir(before)


def _restart(station: Station, service: str) -> float:
    # A service that dies within its first second waits for another: supervisord's back-off, no figure of ours.
    wait_until(lambda: SupervisorClient().process(service).state == "RUNNING", 20, f"{service} stays up")
    with Observer("bench", [ServiceHealth]) as observer:
        assert observer.wait(lambda: service in observer.values(ServiceHealth), 20), f"{service} is not heard"
        pid = station.kill(service)
        began_s = time.perf_counter()

        def works() -> bool:
            health = observer.values(ServiceHealth).get(service)
            return health is not None and health.pid != pid

        assert observer.wait(works, 20), f"{service} does not come back"
        return time.perf_counter() - began_s


def _connected_again(central: CentralSystem) -> Figure:
    """The connection is cut, by a Central System that is there again at once."""
    taken_s = []
    for _ in range(5):
        number = central.connections + 1
        began_s = time.perf_counter()
        central.cut()
        taken_s.append(central.wait_for_connection(number) - began_s)
    return Figure(
        "connection cut to connected again", percentile(taken_s, 50), "s", Budget(10.0), detail="median of 5, jittered"
    )


def _shares(used: dict[str, float]) -> str:
    return ", ".join(f"{name} {share * 100:.2f}" for name, share in sorted(used.items(), key=lambda item: -item[1])[:4])
