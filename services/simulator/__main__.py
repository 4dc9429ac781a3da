"""`python -m services.simulator`: the virtual hardware as a process of its own, of which the station knows only the ports.

Owns: the process's life. Does not: know the hardware. Each start is a power-up: no car, no fault, no emergency stop.
"""

import argparse
import asyncio
import os
import signal
import sys

from bus import logs, process
from bus.logs import Logger
from services.simulator import commands, settings
from services.simulator.control import ControlServer
from services.simulator.pty_port import DEVICES_DIRECTORY, PortError
from services.simulator.rig import Rig
from services.simulator.settings import Settings, SettingsError
from services.simulator.storage import Storage

_RUN_DIRECTORY, _HARDWARE = "run", "../hardware"
_LOCK = "simulator.lock"


def main() -> int:
    """0: ended as asked; 2: the configuration can't be used; 1: anything else. One line says why."""
    arguments = _parser().parse_args()
    logs.set_up("simulator", level=arguments.log_level)
    log = logs.logger("simulator")
    process.die_with_parent()
    try:
        chosen = settings.load(arguments.config)
        _enter(arguments.state_dir)
        lock = process.take_lock(_LOCK)
        asyncio.run(_live(chosen, log))
        os.close(lock)
    except SettingsError as error:
        log.error("the configuration can't be used", reason=error)
        return 2
    except (OSError, PortError, process.AlreadyRunning) as error:
        log.error("the virtual hardware can't run", reason=error, state_dir=arguments.state_dir)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.simulator",
        description="Virtual charging controllers, meters and card reader behind pseudo-terminals.",
        epilog="commands on the control socket:\n" + commands.usage(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, help="station.toml")
    parser.add_argument("--state-dir", required=True, help="directory of the station")
    parser.add_argument("--virtual", action="store_true", help="taken for the sake of uniformity; there is nothing else")
    parser.add_argument("--log-level", default="INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser


def _enter(state_dir: str) -> None:
    """Work in the run directory, where the socket has a short name."""
    run = os.path.join(os.path.abspath(state_dir), _RUN_DIRECTORY)
    os.makedirs(run, mode=0o700, exist_ok=True)
    os.chdir(run)


async def _live(chosen: Settings, log: Logger) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    rig = Rig(chosen, Storage(_HARDWARE, log), device_directory=DEVICES_DIRECTORY, log=log)
    control = ControlServer(lambda request: commands.answer(rig, request))
    try:
        await control.start()
        log.info("started", pid=os.getpid(), devices=",".join(rig.ports))
        await stopped.wait()
        await control.close()
    finally:
        rig.close()
    log.info("stopped")


if __name__ == "__main__":
    sys.exit(main())
