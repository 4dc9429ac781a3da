"""The watchdog: `python -m services.watchdog`, an event listener of supervisord (design §2).

Topics: publishes watchdog.; watches service.health., broker.

Owns: signals to services, the guard's process, the hardware watchdog. Does not: decide (`core.py`), start services that have
ended: that is supervisord's, which is asked only for one that it has given up.
"""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Mapping

import msgspec

from bus.clock import boottime_s
from bus.mailbox import Mailbox
from bus.messages import BrokerState, ServiceHealth, WatchdogState
from bus.process import locked, signal_holder
from bus.runtime import Runtime, run
from services.configuration.at_start import load_for
from services.configuration.model import StationConfig
from services.station.programs import programs
from services.watchdog import core
from services.watchdog import events as e
from services.watchdog.hardware import HardwareWatchdog
from services.watchdog.listener import Listener, SupervisorEvent
from services.watchdog.state import STARTING

OWN_NAME = "watchdog"
STATE_EVENT = "PROCESS_STATE_"
GUARD_END_S = 2.0


class Watchdog:
    """Feeds the core and does what it wants. An `Application` of `bus.runtime`."""

    def __init__(self, runtime: Runtime, config: StationConfig) -> None:
        self._runtime = runtime
        self._log = runtime.log
        chosen = programs(virtual=runtime.process.virtual, config=config)
        names = tuple(p.name for p in chosen if p.on_bus and p.name != OWN_NAME)
        orphan_grace_s = config.system.orphan_grace_s
        self._state = core.initial(names, orphan_grace_s, boottime_s())
        self._due_s = 0.0
        self._guard: subprocess.Popen[bytes] | None = None
        self._hardware = HardwareWatchdog(config.system.hardware_watchdog, self._log)
        self._told = WatchdogState(board_was_reset=self._hardware.has_reset)
        node = runtime.node
        node.publish(self._told)
        # The broker's health is what it says of itself; that it passes messages on is known by its own state.
        node.watch(ServiceHealth, self._heard, lambda name: self._feed(e.Unheard(name)) if name != core.BROKER else None)
        node.watch(BrokerState, lambda *_: self._feed(e.Heard(core.BROKER)), lambda _: self._feed(e.Unheard(core.BROKER)))
        mailbox: Mailbox[SupervisorEvent | None] = Mailbox()
        runtime.read(mailbox, self._supervisor_said)
        self._listener = Listener(mailbox)
        self._listener.start()

    def tick(self) -> None:
        """Time passed."""
        if self._guard is not None and self._guard.poll() is not None:
            code, self._guard = self._guard.returncode, None
            self._feed(e.GuardEnded(code))
        if self.next_deadline_s() <= boottime_s():
            self._feed(e.Tick())

    def next_deadline_s(self) -> float:
        """When `tick` has something to do."""
        return self._due_s

    def close(self) -> None:
        """The guard goes on alone if it has to: it ends when `connectors` is back, or with the station."""
        self._listener.stop()
        if self._guard is not None:
            self._guard.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guard.wait(GUARD_END_S)
        self._hardware.close()

    def _heard(self, name: str, _: ServiceHealth) -> None:
        if name != core.BROKER:
            self._feed(e.Heard(name))

    def _supervisor_said(self, event: SupervisorEvent | None) -> None:
        if event is None:
            return
        if event.name.startswith(STATE_EVENT):
            word = event.name.removeprefix(STATE_EVENT)
            expected = event.fields.get("expected", "1" if word == "STOPPED" else "0") == "1"
            self._feed(e.SupervisorSaid(event.fields.get("processname", ""), word, expected))
            self._count_restart(word, event.fields)
        self._feed(e.SupervisorTicked())

    def _count_restart(self, word: str, fields: Mapping[str, str]) -> None:
        # supervisord's first start of a process comes from STOPPED.
        if word == STARTING and fields.get("from_state") != "STOPPED":
            name = fields.get("processname", "")
            counts = {**self._told.restarts, name: self._told.restarts.get(name, 0) + 1}
            self._publish(msgspec.structs.replace(self._told, restarts=counts))

    def _publish(self, told: WatchdogState) -> None:
        self._told = told
        self._runtime.node.publish(told)

    def _feed(self, event: e.Event) -> None:
        now_s = boottime_s()
        self._state, effects = core.step(self._state, event, now_s)
        for effect in effects:
            self._act(effect)
        self._due_s = core.next_deadline_s(self._state, now_s)

    def _act(self, effect: e.Effect) -> None:
        match effect:
            case e.End(name=name, kill=kill):
                self._end(name, signal.SIGKILL if kill else signal.SIGTERM)
            case e.Start(name=name):
                self._start(name)
            case e.CallGuard(gone_for_s=gone_for_s):
                self._call_guard(gone_for_s)
            case e.Tell(text=text):
                self._publish(msgspec.structs.replace(self._told, trouble=text))
            case e.Problem(name=name, text=text):
                self._runtime.set_problem(name, text or None)
            case e.Feed():
                self._hardware.feed()
            case e.Note(event=event, name=name, detail=detail, warning=warning):
                tell = self._log.warning if warning else self._log.info
                tell(event, service_name=name, detail=detail or None)

    def _end(self, name: str, number: signal.Signals) -> None:
        if locked(f"{name}.lock"):
            self._log.warning("service is ended, supervisord starts it again", service_name=name, signal=number.name)
            signal_holder(f"{name}.lock", number)
        else:
            # It ended before this process began to listen.
            self._feed(e.SupervisorSaid(name, "STOPPED"))

    def _start(self, name: str) -> None:
        # Only here: http and xmlrpc cost more to import than all the rest of this process.
        from services.station.supervisor_client import SupervisorClient, SupervisorUnreachable

        try:
            SupervisorClient().start(name)
        except SupervisorUnreachable as error:
            self._log.error("service can't be started", service_name=name, reason=error)

    def _call_guard(self, gone_for_s: float) -> None:
        own = self._runtime.process
        command = [sys.executable, "-P", "-m", "services.connectors.guard", "--gone-for", f"{gone_for_s:.1f}"]
        command += ["--config", own.config_path, "--state-dir", own.state_dir, *(["--virtual"] if own.virtual else [])]
        try:
            self._guard = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        except OSError as error:
            self._log.error("the guard can't be started, it is tried again", reason=error)
            self._feed(e.GuardEnded(1))


def build(runtime: Runtime) -> Watchdog:
    """The process as the runtime wants it."""
    return Watchdog(runtime, load_for(runtime))


if __name__ == "__main__":
    raise SystemExit(run("watchdog", build))
