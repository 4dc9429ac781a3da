"""The virtual board under torture: its power, its processes, and what its hardware truly did, seen from outside the station.

Owns: kills and power cuts with what the judge must know of them; registers over time; moments as they come. Does not: decide
what is done (`plan.py`) or judge. Several threads use it.
"""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bus.process import lock_holder
from services.simulator.client import SimulatorUnreachable, request
from tests.harness import Station, wait_until
from tests.torture.evidence import Charge, Disturbance, Plug, PowerUp, Sample, read_ledger

STEP_S = 0.01
SAMPLE_S = 0.2
WORKS_S = 2.0
"""From a new process to a service that does its work, on a machine under load."""
START_S = 90.0
_LEDGER_KINDS = frozenset({"plugged", "swiped", "relay-closed", "relay-opened", "unplugged"})


class PowerFailed(Exception):
    """The board was powered down: no car is there any more, and whatever somebody was doing is over."""


class Story:
    """What was done, line by line, for the person who reads a failed round."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._lines: list[str] = []

    def tell(self, text: str) -> None:
        """Add a line."""
        self._lines.append(f"{time.monotonic() - self._began_s:7.2f} s  {text}")

    def text(self) -> str:
        """All of it."""
        return "\n".join(self._lines)


class Moments:
    """Named moments, for whoever waits for the next one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._counts: dict[str, int] = {}

    def came(self, name: str) -> None:
        """It is now."""
        with self._changed:
            self._counts[name] = self._counts.get(name, 0) + 1
            self._changed.notify_all()

    def wait(self, name: str, timeout_s: float) -> bool:
        """Whether the moment came in time."""
        with self._changed:
            before = self._counts.get(name, 0)
            return self._changed.wait_for(lambda: self._counts.get(name, 0) > before, timeout_s)


class Board:
    """One station with its virtual hardware, over all its power cuts. A context: watches between enter and exit."""

    def __init__(self, station: Station, story: Story, moments: Moments) -> None:
        self.station = station
        self.story = story
        self.moments = moments
        self.power = threading.RLock()
        self.epoch = 0
        self.kills: dict[str, int] = {}
        self.samples: list[Sample] = []
        self.power_ups: list[PowerUp] = []
        self.first_wh: dict[int, int] = {}
        self._disturbances: list[Disturbance] = []
        self._dead: list[tuple[str, float, int]] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._ledger_bytes = 0
        self._thread = threading.Thread(target=self._watch, name="board", daemon=True)

    def __enter__(self) -> "Board":
        self.first_wh = self.registers()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)

    def do(self, command: str, *args: str) -> dict[str, Any]:
        """A hand on the virtual hardware. Raises PowerFailed where there is none now."""
        try:
            answer = request(str(self.station.state_dir), command, list(args), 5.0)
        except SimulatorUnreachable as error:
            raise PowerFailed(str(error)) from None
        assert answer.get("ok"), f"{command} {args}: {answer}"
        return answer

    def connector(self, number: int) -> dict[str, Any]:
        """What car, controller, relay and meter of a connector really are. Raises PowerFailed."""
        return dict(self.do("state")["state"]["connectors"][str(number)])

    def registers(self) -> dict[int, int]:
        """What each meter shows. Raises PowerFailed."""
        connectors = self.do("state")["state"]["connectors"]
        return {int(number): int(facts["meter"]["shown_wh"]) for number, facts in connectors.items()}

    def kill(self, services: Iterable[str], number: signal.Signals = signal.SIGKILL) -> list[str]:
        """Send a signal to each; the names of those that were there."""
        hit = []
        for service in services:
            pid = self._pid(service)
            if pid is None:
                continue
            with self._lock:
                self._dead.append((service, time.monotonic(), pid))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                hit.append(service)
            if number is signal.SIGKILL:
                self.kills[service] = self.kills.get(service, 0) + 1
        return hit

    def restart(self, service: str) -> None:
        """`station restart`, as a maintainer does."""
        pid = self._pid(service)
        if pid is not None:
            with self._lock:
                self._dead.append((service, time.monotonic(), pid))
            self.station.command("restart", service)

    def cut_power(self, *, everything: bool) -> None:
        """SIGKILL to supervisord, `everything`: and to all processes; then `station run` again, on another hardware boot."""
        with self.power:
            cut_s = time.monotonic()
            self.epoch += 1
            pids = list(self.station.processes().values()) if everything else []
            self.station.kill_supervisord()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not self.station.processes(), 15, "no process survives the end of supervisord")
            self.kills["supervisord"] = self.kills.get("supervisord", 0) + 1
            up_s = time.monotonic()
            self._start()
            self.power_ups.append(PowerUp(cut_s, up_s, self.registers()))
            with self._lock:
                self._disturbances.append(Disturbance("power", "station", cut_s, time.monotonic() + WORKS_S))

    def wait_for_power(self) -> int:
        """The epoch, once the board is powered."""
        with self.power:
            return self.epoch

    def disturb(self, what: str, who: str, from_s: float, until_s: float) -> None:
        """Note what torture did elsewhere."""
        with self._lock:
            self._disturbances.append(Disturbance(what, who, from_s, until_s))

    def disturbances(self) -> tuple[Disturbance, ...]:
        """All of them; one that has not passed lasts until now."""
        with self._lock:
            now_s = time.monotonic()
            still = [Disturbance("kill", service, from_s, now_s) for service, from_s, _ in self._dead]
            return tuple(sorted([*self._disturbances, *still], key=lambda d: d.from_s))

    def settled(self) -> bool:
        """Whether every service that was hit is back at work."""
        with self._lock:
            return not self._dead

    def truth(self) -> tuple[tuple[Charge, ...], tuple[Plug, ...]]:
        """What relays and plugs did, from the hardware's own ledger."""
        lines = [json.loads(line) for path in self._ledgers() for line in path.read_bytes().splitlines()]
        offset_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
        return read_ledger(lines, self.power_ups, boottime_offset_s=offset_s)

    def _start(self) -> None:
        """Under heavy load the first patience may not be enough; a station that does not come up at all fails the round.

        Nobody plugs in before the station shows how its connectors are: after a power cut a plug that is found in is taken for
        the one of the transaction that ended with it, so that nobody's card pays for a car that has been there all night.
        """
        self.station.start()
        self.station.sim("ready", "--timeout", str(START_S))
        wait_until(self._shown, START_S, "the station shows the status of each connector")

    def _shown(self) -> bool:
        connectors = self.station.status()["connectors"]
        return all(str(number) in connectors and connectors[str(number)]["plugged"] is not None for number in self.first_wh)

    def _ledgers(self) -> list[Path]:
        directory = self.station.state_dir / "hardware"
        return [path for path in (directory / "ledger.jsonl.1", directory / "ledger.jsonl") if path.exists()]

    def _pid(self, service: str) -> int | None:
        """The living process of a service of this very station, proved by its lock."""
        return lock_holder(str(self.station.state_dir / "run" / f"{service}.lock"))

    def _watch(self) -> None:
        sample_due_s = 0.0
        while not self._ended.wait(STEP_S):
            self._read_moments()
            now_s = time.monotonic()
            if now_s >= sample_due_s:
                sample_due_s = now_s + SAMPLE_S
                self._bury()
                with contextlib.suppress(PowerFailed):
                    self.samples += [Sample(number, now_s, wh) for number, wh in self.registers().items()]

    def _read_moments(self) -> None:
        path = self.station.state_dir / "hardware" / "ledger.jsonl"
        with contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            if size == self._ledger_bytes:
                return
            with open(path, "rb") as file:
                file.seek(self._ledger_bytes if size > self._ledger_bytes else 0)
                lines = file.read().splitlines(keepends=True)
            whole = [line for line in lines if line.endswith(b"\n")]
            self._ledger_bytes = (self._ledger_bytes if size > self._ledger_bytes else 0) + sum(map(len, whole))
            for line in whole:
                kind = json.loads(line)["kind"]
                if kind in _LEDGER_KINDS:
                    self.moments.came(kind)

    def _bury(self) -> None:
        """A kill has passed when another process has the lock, and a while after that."""
        with self._lock:
            for dead in list(self._dead):
                service, from_s, pid = dead
                if self._pid(service) not in (None, pid):
                    self._dead.remove(dead)
                    self._disturbances.append(Disturbance("kill", service, from_s, time.monotonic() + WORKS_S))
