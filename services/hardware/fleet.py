"""All devices of one service: their threads, their reports by connector, their health for people.

Owns: the runners of a process. Does not: know what the devices are for.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, TypeVar

import msgspec

from bus.device_messages import DeviceFrame
from bus.mailbox import Mailbox
from bus.messages import DeviceHealth
from bus.runtime import Runtime
from services.hardware.contract import DeviceInfo, Driver
from services.hardware.runner import DeviceDown, DeviceRunner, DeviceUp, Observed, Report

Desired = TypeVar("Desired")

STOP_WAIT_S = 0.8
HEALTH_PERIOD_S = 3.0
LOGGED_FRAMES = 4
LOGGED_BYTES = 24
SECRETIVE = frozenset({"reader"})
"""Kinds of device whose frames hold card numbers: they are not logged."""


class Fleet(Generic[Desired]):
    """Devices by number (the connector's; 0 for what belongs to the whole station), named `KIND-NUMBER`."""

    def __init__(self, runtime: Runtime, kind: str) -> None:
        self._runtime = runtime
        self._kind = kind
        self._reports: Mailbox[Report[Any]] = Mailbox()
        self._infos: dict[int, DeviceInfo] = {}
        self._runners: dict[int, DeviceRunner[Desired, Any]] = {}
        self._numbers: dict[str, int] = {}
        self._written: dict[int, tuple[str, str]] = {}
        self._down: dict[int, str] = {}
        self._health_due_s = 0.0

    def add(self, number: int, driver: Driver[Desired, Any], *, name: str = "", port: str = "", shared: bool = False) -> None:
        """One more device; not started yet. `name` of its driver and `port`: as people wrote them into station.toml.

        `shared`: others use the port too, so nothing else may be tried there.
        """
        device = f"{self._kind}-{number}" if number else self._kind
        path = os.path.join(self._runtime.process.state_dir, port)
        who = partial(_somebody_else, path, name) if port and not shared else None
        runner: DeviceRunner[Desired, Any] = DeviceRunner(device, driver, self._reports, who=who)
        self._runners[number] = runner
        self._numbers[device] = number
        self._written[number] = (name or driver.name, port)
        self._runtime.trace_device(device, runner.frames)

    def start(
        self,
        *,
        observed: Callable[[int, Any], None],
        down: Callable[[int, str], None],
        up: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Begin to try all devices; what they report comes on the deciding thread."""

        def take(report: Report[Any]) -> None:
            number = self._numbers[report.name]
            match report:
                case Observed(value=value):
                    observed(number, value)
                case DeviceUp(info=info):
                    self._down.pop(number, None)
                    self._infos[number] = info
                    self._runtime.log.info("device answers", device=report.name, identity=identity(info) or None)
                    self._tell_health()
                    up(number)
                case DeviceDown(reason=reason):
                    self._down[number] = reason
                    frames = self._runners[number].frames()
                    last = shown(frames) if self._kind not in SECRETIVE else None
                    self._runtime.log.warning(
                        "device lost, it is tried again", device=report.name, reason=reason, last_frames=last
                    )
                    self._tell_health()
                    down(number, reason)

        self._runtime.read(self._reports, take)
        for runner in self._runners.values():
            runner.start()

    def set_desired(self, number: int, desired: Desired) -> None:
        """What the device shall do from now on; nothing where there is none of that number."""
        runner = self._runners.get(number)
        if runner is not None:
            runner.set_desired(desired)

    def tick(self, now_s: float) -> None:
        """Tell the counters now and then."""
        if now_s >= self._health_due_s:
            self._health_due_s = now_s + HEALTH_PERIOD_S
            self._tell_health()

    def next_deadline_s(self) -> float:
        """When `tick` has something to do."""
        return self._health_due_s

    def close(self) -> None:
        """End all threads; the devices keep their output."""
        for runner in self._runners.values():
            runner.stop(STOP_WAIT_S)

    def _tell_health(self) -> None:
        for number, runner in self._runners.items():
            failure = self._down.get(number)
            health = _health(runner, self._infos.get(number), failure)
            driver, port = self._written[number]
            self._runtime.set_device(msgspec.structs.replace(health, driver=driver, port=port))
            self._runtime.set_problem(runner.name, None if failure is None else f"{runner.name}: {failure}")


def _somebody_else(path: str, driver: str) -> str:
    """Who answers at a port whose device does not; empty: nobody, or a device of the kind that should."""
    from services.hardware import probe  # Needed only where something is wrong.

    who = probe.first_answer(path)
    return "" if probe.is_kind(who, driver) else who


def shown(frames: tuple[DeviceFrame, ...]) -> str | None:
    """The last frames for the log: `>` to the device, `<` from it; None: there were none."""
    found = []
    for frame in frames[-LOGGED_FRAMES:]:
        cut = "…" if len(frame.data) > LOGGED_BYTES else ""
        found.append(f"{'>' if frame.sent else '<'} {frame.data[:LOGGED_BYTES].hex(' ')}{cut}")
    return " ".join(found) or None


def _health(runner: DeviceRunner[Any, Any], info: DeviceInfo | None, failure: str | None) -> DeviceHealth:
    """A device for people: whether it answers, who it is, its counters."""
    counters = runner.counters()
    return DeviceHealth(
        name=runner.name,
        connected=failure is None and info is not None,
        detail=failure or ("has not answered yet" if info is None else identity(info)),
        transmissions=counters.transmissions,
        replies=counters.replies,
        timeouts=counters.timeouts,
        errors=counters.errors,
        reconnects=counters.reconnects,
        identity="" if info is None else identity(info),
    )


def identity(info: DeviceInfo) -> str:
    """Who a device says it is, on one line."""
    return " ".join(part for part in (info.vendor, info.model, info.firmware, info.serial) if part)
