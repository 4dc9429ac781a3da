"""The guard: `python -m services.connectors.guard` withdraws energy when the connectors service is gone (design §2).

    --gone-for S    it is gone for so long already, as far as the caller knows
    --silent        it is there and does not work: end it, by SIGTERM and then by SIGKILL
    --once          the station has ended: withdraw at once, and end when that is done

It waits until the service is gone for `[system] orphan_grace_s`, takes the controllers' ports, withdraws energy and goes on
withdrawing, as a controller that restarts comes up enabled; when the service is back, it gives the ports back and ends. It
may be called at any time and as often as one likes.

Meanwhile it is the only one who sees a plug that is pulled, and notes it (`unplugged.py`): a car that is plugged in then must
not charge on the card of the one before, also where the controller's counters can't tell the two apart.

Owns: the ports while nobody else does. Does not: decide that a service is silent, or start one; those are the watchdog's and
supervisord's. What is told to whom is decided in `orphans.py`.

Exit codes: 0 the service is there, or with --once all is withdrawn; 1 an error, told in one line; 2 the configuration can't be
used; 3 another guard is at work; 4 told to end while the service was still gone.
"""

import argparse
import os
import select
import signal
import sys
import time

import msgspec

from bus import logs, process
from bus.clock import boottime_s, hardware_boot_id
from bus.mailbox import Mailbox
from bus.runtime import RUN_DIRECTORY, Stopping
from services.configuration.model import StationConfig
from services.configuration.station import ConfigurationError, load
from services.connectors import orphans, unplugged
from services.connectors.drivers import evse_driver
from services.hardware.contract import EvseDesired, EvseObservation
from services.hardware.runner import DeviceDown, DeviceRunner, DeviceUp, Observed, Report

THERE, FAILED, BAD_CONFIGURATION, AT_WORK_ALREADY, TOLD_TO_END = 0, 1, 2, 3, 4
SERVICE_LOCK, GUARD_LOCK = "connectors.lock", "guard.lock"
LOOK_PERIOD_S = 0.1
"""How often it looks whether the service is back; the service tries its ports for longer than that before it complains."""
TERM_WAIT_S = 3.0
KILL_WAIT_S = 2.0
CLOSE_WAIT_S = 1.5
ONCE_S_MAX = 12.0
"""With --once: a controller that has not answered by then is told of, and left."""


def main() -> int:
    """See the head of this module."""
    arguments = _parser().parse_args()
    logs.set_up("guard", level=arguments.log_level)
    log = logs.logger("guard")
    try:
        config_path, state_dir = os.path.abspath(arguments.config), os.path.abspath(arguments.state_dir)
        config = load(config_path, with_virtual_devices=arguments.virtual)
        os.chdir(os.path.join(state_dir, RUN_DIRECTORY))
        process.die_with_parent(os.getppid())
        lock = process.take_lock(GUARD_LOCK, wait_s=0.0)
    except ConfigurationError as error:
        log.error("the configuration can't be used", reason=error)
        return BAD_CONFIGURATION
    except process.AlreadyRunning as error:
        log.info("another guard is at work", reason=error)
        return AT_WORK_ALREADY
    except OSError as error:
        log.error("the guard can't run", reason=error, state_dir=arguments.state_dir)
        return FAILED
    stopping = Stopping()
    if arguments.silent:
        end_service(log)
    guard = Guard(config, state_dir, log, gone_since_s=boottime_s() - arguments.gone_for)
    code = guard.withdraw_once(stopping) if arguments.once else guard.work(stopping)
    os.close(lock)
    return code


def end_service(log: logs.Logger) -> None:
    """End what is left of the service, if it is provably ours."""
    for number, wait_s in ((signal.SIGTERM, TERM_WAIT_S), (signal.SIGKILL, KILL_WAIT_S)):
        if not process.locked(SERVICE_LOCK):
            return
        log.warning("the connectors service does not work, it is ended", signal=number.name)
        process.signal_holder(SERVICE_LOCK, number)
        deadline_s = time.monotonic() + wait_s
        while process.locked(SERVICE_LOCK) and time.monotonic() < deadline_s:
            time.sleep(LOOK_PERIOD_S / 5)


class Guard:
    """Waits, takes, withdraws, gives back. Works in the run directory."""

    def __init__(self, config: StationConfig, state_dir: str, log: logs.Logger, *, gone_since_s: float) -> None:
        self._config = config
        self._state_dir = state_dir
        self._log = log
        self._gone_since_s = gone_since_s
        self._controllers: dict[str, _Controller] = {}
        self._reports: Mailbox[Report[EvseObservation]] = Mailbox()
        self._unplugged_s: dict[int, float] = {}
        self._noted = True
        """Whether all of them are in the file."""

    def work(self, stopping: Stopping) -> int:
        """Until the service is there, or somebody says to end; the exit code."""
        poller = self._poller(stopping)
        try:
            while not process.locked(SERVICE_LOCK):
                if stopping.requested():
                    return TOLD_TO_END
                self._turn(boottime_s())
                poller.poll(LOOK_PERIOD_S * 1000)
        finally:
            self._give_back()
        self._log.info("the connectors service is there, its ports are its own")
        return THERE

    def withdraw_once(self, stopping: Stopping) -> int:
        """Whatever the grace: nobody is left who could come back in time. The exit code."""
        poller = self._poller(stopping)
        deadline_s = boottime_s() + ONCE_S_MAX
        try:
            if not process.locked(SERVICE_LOCK):
                self._take()
            while self._controllers and boottime_s() < deadline_s and not stopping.requested():
                if process.locked(SERVICE_LOCK) or all(orphans.is_withdrawn(c.seen) for c in self._controllers.values()):
                    return THERE
                self._turn(boottime_s())
                poller.poll(LOOK_PERIOD_S * 1000)
            left = [name for name, controller in self._controllers.items() if not orphans.is_withdrawn(controller.seen)]
        finally:
            self._give_back()
        if left:
            self._log.error("energy could not be withdrawn from all controllers", devices=" ".join(left))
        return FAILED if left else THERE

    def _poller(self, stopping: Stopping) -> select.poll:
        poller = select.poll()
        poller.register(stopping.fileno(), select.POLLIN)
        poller.register(self._reports.fileno(), select.POLLIN)
        return poller

    def _turn(self, now_s: float) -> None:
        if not self._controllers and orphans.is_due(self._gone_since_s, now_s, self._config.system.orphan_grace_s):
            self._take()
        self._take_reports(now_s)
        for controller in self._controllers.values():
            controller.runner.set_desired(orphans.order(held=controller.held))

    def _take(self) -> None:
        self._log.warning("the connectors service is gone, energy is withdrawn", controllers=len(self._config.connectors))
        for connector in self._config.connectors:
            name = f"evse-{connector.id}"
            driver = evse_driver(connector, os.path.join(self._state_dir, connector.evse.port))
            runner: DeviceRunner[EvseDesired, EvseObservation] = DeviceRunner(name, driver, self._reports)
            self._controllers[name] = _Controller(connector.id, runner)
            runner.start()

    def _take_reports(self, now_s: float) -> None:
        reports = self._reports.drain()
        for report in reports:
            self._take_report(report, now_s)
        if reports and not self._noted:
            self._note_unplugged()

    def _take_report(self, report: Report[EvseObservation], now_s: float) -> None:
        controller = self._controllers[report.name]
        match report:
            case Observed(value=seen):
                if orphans.is_newly_unplugged(controller.seen, seen):
                    self._unplugged_s[controller.connector_id] = now_s
                    self._noted = False
                was = orphans.is_withdrawn(controller.seen)
                controller.seen = seen
                controller.held = orphans.is_held(controller.held, seen)
                if orphans.is_withdrawn(seen) and not was:
                    self._log.info("energy is withdrawn", device=report.name, plugged=seen.plugged)
                elif was and not orphans.is_withdrawn(seen):
                    self._log.warning("controller offers energy by itself, it is withdrawn again", device=report.name)
            case DeviceUp():
                self._log.info("controller answers", device=report.name)
            case DeviceDown(reason=reason):
                controller.seen = None
                self._log.error("energy can't be withdrawn, it is tried again", device=report.name, reason=reason)

    def _note_unplugged(self) -> None:
        """To withdraw energy matters more: where it can't be noted, it is tried again when a controller has said more."""
        try:
            unplugged.add(unplugged.FILE, hardware_boot_id(), self._unplugged_s, self._log)
            self._noted = True
        except OSError as error:
            self._log.error("that a plug is out can't be noted, check the disk of the state directory", reason=error)

    def _give_back(self) -> None:
        # What was seen is noted before the ports are free, and with that before the service sees what is plugged in.
        self._take_reports(boottime_s())
        for controller in self._controllers.values():
            controller.runner.stop(CLOSE_WAIT_S)
        self._controllers.clear()


class _Controller(msgspec.Struct):
    """One controller that was taken. `seen` None: it does not answer. `held`: its plug is to be held."""

    connector_id: int
    runner: "DeviceRunner[EvseDesired, EvseObservation]"
    seen: EvseObservation | None = None
    held: bool = False


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.connectors.guard",
        description="Withdraws energy from the charging controllers when the connectors service is gone.",
        epilog="exit codes: 0 the service is there, 1 error, 2 configuration, 3 another guard is at work, 4 told to end",
    )
    parser.add_argument("--config", required=True, help="station.toml")
    parser.add_argument("--state-dir", required=True, help="directory of the station")
    parser.add_argument("--virtual", action="store_true", help="devices are those of services.simulator")
    parser.add_argument("--gone-for", type=float, default=0.0, metavar="S", help="seconds that the service is gone already")
    parser.add_argument("--silent", action="store_true", help="the service is there and does not work: end it")
    parser.add_argument("--once", action="store_true", help="the station has ended: withdraw at once, then end")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
