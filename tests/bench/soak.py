"""A day of sessions, compressed, and a thousand reconnects: does anything grow (issue 8)?

Owns: the load and what is looked at: memory and file descriptors of each process. Does not: judge correctness, as torture does.
A session is as long as it takes to start and end it; a station in the field has one or two in an hour.
"""

import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import procfs
from tests.bench.central_system import CentralSystem
from tests.bench.figures import Budget, Figure
from tests.bench.station import HARDWARE, TAG, config, hands
from tests.harness import Station, wait_until

RECONNECTS = 1000
SESSIONS = 48
"""One each half hour of a day."""
WARM_UP = 0.2
"""The share of the run after which what a process needs is there: caches are full, lazy imports done."""
GROWTH_MAX_PERCENT = 3.0


def measure(directory: Path) -> Iterator[Figure]:
    """One station; each reconnect follows its predecessor at once."""
    with CentralSystem() as central:
        text = config(central.url, 1).replace("reconnect_min_s = 0.5", "reconnect_min_s = 0.1")
        began_s = time.perf_counter()
        with Station(text.replace("reconnect_max_s = 8.0", "reconnect_max_s = 0.5"), state_dir=directory) as station:
            central.wait_for("StatusNotification", after_s=began_s, number=2)
            pids = {name: pid for name, pid in station.processes().items() if name not in HARDWARE}
            memory: dict[str, list[float]] = {name: [] for name in pids}
            files: dict[str, list[int]] = {name: [] for name in pids}
            for number in range(RECONNECTS):
                connection = central.connections + 1
                central.cut()
                central.wait_for_connection(connection, 60)
                if number % (RECONNECTS // SESSIONS) == 0:
                    _session(station, central)
                    del central.received[:]
                    for name, pid in pids.items():
                        memory[name].append(procfs.pss_mb(pid))
                        files[name].append(procfs.file_descriptors(pid))
            assert {name: pid for name, pid in station.processes().items() if name in pids} == pids, "a process was replaced"
            took_s = time.perf_counter() - began_s
    yield Figure("soak", took_s, "s", detail=f"{RECONNECTS} reconnects, {len(memory['broker'])} sessions")
    for name in sorted(pids):
        yield _growth(name, memory[name], files[name])


def _session(station: Station, central: CentralSystem) -> None:
    mark_s = time.perf_counter()
    hands(station, "plug-in", "1")
    # Preparing: by then everybody knows that the link is online again, and the card is not judged offline.
    central.wait_for("StatusNotification", after_s=mark_s)
    hands(station, "swipe", TAG)
    central.wait_for("StartTransaction", after_s=mark_s)
    wait_until(lambda: hands(station, "state")["state"]["connectors"]["1"]["relay"]["closed"], 15, "the contactor closes")
    hands(station, "plug-out", "1")
    central.wait_for("StopTransaction", after_s=mark_s)
    wait_until(lambda: not hands(station, "state")["state"]["reader"]["card_present"], 15, "the card is taken away")
    threading.Event().wait(2.0)


def _growth(name: str, memory_mb: list[float], files: list[int]) -> Figure:
    """The last fifth of a run against the fifth after the warm-up."""
    part = max(1, round(len(memory_mb) * WARM_UP))
    early, late = memory_mb[part : 2 * part], memory_mb[-part:]
    growth = (statistics.median(late) / statistics.median(early) - 1) * 100
    detail = f"{statistics.median(early):.1f} to {statistics.median(late):.1f} MB, descriptors {files[part]} to {files[-1]}"
    return Figure(f"growth of {name} over a day", growth, "%", Budget(GROWTH_MAX_PERCENT), detail=detail)
