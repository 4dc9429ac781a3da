"""How soon a dead connection is noticed, and how soon the station is back after an outage (`design.md` §8).

Owns: a line that goes dead without a word, as mobile networks do, and an outage. Does not: use other settings than the defaults
of the product.
"""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bus.messages import LinkState
from bus.observer import Observer
from tests.bench.central_system import CentralSystem
from tests.bench.figures import Budget, Figure, percentile
from tests.bench.station import config
from tests.harness import Station
from tests.torture.proxy import Proxy

DEAD_TIMES = 3
OUTAGES = ((10.0, 3), (60.0, 1))
"""Seconds, and how many of them."""
RECONNECT_SETTINGS = "reconnect_min_s = 0.5\nreconnect_max_s = 8.0\n"
"""Of the other suites, which shall not wait; here the defaults hold."""


def measure(directory: Path) -> Iterator[Figure]:
    """One station behind a proxy."""
    with CentralSystem() as central, Proxy(central.port) as proxy:
        text = config(f"ws://127.0.0.1:{proxy.port}/", 1)
        assert RECONNECT_SETTINGS in text
        began_s = time.perf_counter()
        with Station(text.replace(RECONNECT_SETTINGS, ""), state_dir=directory) as station:
            central.wait_for("StatusNotification", after_s=began_s, number=2)
            yield _dead(station, central, proxy)
            for outage_s, times in OUTAGES:
                yield _outage(central, outage_s, times)


def _dead(station: Station, central: CentralSystem, proxy: Proxy) -> Figure:
    """The line carries nothing any more, and no socket learns of it."""
    before = os.getcwd()
    os.chdir(station.state_dir / "run")
    taken_s = []
    try:
        with Observer("bench", [LinkState]) as observer:

            def connected() -> bool:
                link = observer.values(LinkState).get("")
                return link is not None and link.connected

            for _ in range(DEAD_TIMES):
                assert observer.wait(connected, 60), "the station does not connect"
                number = central.connections + 1
                began_s = time.perf_counter()
                proxy.stall()
                assert observer.wait(lambda: not connected(), 90), "the dead line is not noticed"
                taken_s.append(time.perf_counter() - began_s)
                proxy.heal()
                central.wait_for_connection(number)
    finally:
        os.chdir(before)
    detail = f"most of {DEAD_TIMES}, with a ping every 20 s"
    return Figure("dead connection noticed", max(taken_s), "s", Budget(30.0), detail=detail)


def _outage(central: CentralSystem, outage_s: float, times: int) -> Figure:
    """The Central System is away, and nothing listens there; from its return to the connection."""
    taken_s = []
    for _ in range(times):
        central.stop()
        threading.Event().wait(outage_s)
        number = central.connections + 1
        central.start()
        began_s = time.perf_counter()
        taken_s.append(central.wait_for_connection(number) - began_s)
    name = f"Central System back after {outage_s:.0f} s, to connected"
    return Figure(
        name, percentile(taken_s, 50), "s", Budget(10.0), detail=f"median of {times}, most {max(taken_s):.1f} s, jittered"
    )
