"""A station that has nothing to do: `python -m tests.idle --minutes 60` (design §8).

Connected, heartbeats and pings going, no session, no MeterValues due. Then it writes nothing to the disk but the clock's
floor, and its memory stays flat. Real processes under supervisord, virtual hardware, a Central System on loopback.

Owns: the station, and what is looked at. Does not: judge (`verdict.py`).
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from tests.bench import procfs
from tests.bench.central_system import CentralSystem
from tests.bench.station import HARDWARE, config
from tests.harness import Station, wait_until
from tests.idle.verdict import Look, troubles

HEARTBEAT_INTERVAL_S = 30
SETTLE_S = 90.0
"""What a start has left to do is done by then: also the plug that is looked at, and the first minute of every service."""


def main() -> int:
    """Exit code 0: it was idle."""
    parser = argparse.ArgumentParser(prog="python -m tests.idle", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="idle-") as directory, CentralSystem() as central:
        central.heartbeat_interval_s = HEARTBEAT_INTERVAL_S
        with Station(config(central.url, 1), state_dir=Path(directory)) as station:
            central.wait_for("StatusNotification", after_s=0.0, number=2)
            threading.Event().wait(SETTLE_S)
            # supervisord's own log and the simulator's registers count too, but the hardware is no part of the station.
            wait_until(lambda: procfs.written_bytes(_pids(station), 5.0) == 0, 120, "the station is idle")
            looks = _watch(station, Path(directory), minutes * 60)
    found = troubles(looks)
    for trouble in found:
        print(f"✗ {trouble}")
    beats = sum(received.action == "Heartbeat" for received in central.received)
    if not found:
        print(f"✔ {minutes:g} minutes idle, {beats} heartbeats: nothing written but the clock's floor, memory flat")
    return 1 if found else 0


def _watch(station: Station, directory: Path, seconds: float) -> list[Look]:
    began_s = time.monotonic()
    pids = _pids(station)
    files = _sizes(directory)
    looks = [_look(0.0, pids, [])]
    while looks[-1].at_s < seconds:
        threading.Event().wait(min(60.0, seconds - looks[-1].at_s))
        now_files = _sizes(directory)
        changed = sorted(name for name in now_files if now_files[name] != files.get(name))
        looks.append(_look(time.monotonic() - began_s, pids, changed))
        first, last = looks[0], looks[-1]
        print(
            f"{last.at_s / 60:5.1f} min: {sum(last.written.values()) - sum(first.written.values())} bytes written, "
            f"{sum(last.memory_mb.values()):.2f} MB (at first {sum(first.memory_mb.values()):.2f})",
            *([f"changed: {', '.join(changed)}"] if changed else []),
            flush=True,
        )
    assert _pids(station) == pids, "a process was replaced"
    return looks


def _look(at_s: float, pids: Mapping[str, int], changed: list[str]) -> Look:
    return Look(
        at_s,
        {name: procfs.written({name: pid}) for name, pid in pids.items()},
        {name: procfs.own_mb(pid) for name, pid in pids.items()},
        tuple(changed),
    )


def _pids(station: Station) -> dict[str, int]:
    return {name: pid for name, pid in station.processes().items() if name not in HARDWARE}


def _sizes(directory: Path) -> dict[str, tuple[int, int]]:
    """Size and time of the last change of each file, without the virtual hardware's."""
    found = {}
    for path in directory.rglob("*"):
        if path.is_file() and "hardware" not in path.parts:
            entry = os.stat(path)
            found[str(path.relative_to(directory))] = (entry.st_size, entry.st_mtime_ns)
    return found


if __name__ == "__main__":
    sys.exit(main())
