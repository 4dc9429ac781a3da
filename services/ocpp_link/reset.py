"""The restart at the end of a Reset, as `[system] on_reset` says (OCPP 1.6 §5.14, errata v4.0 3.36).

Owns: how the station restarts, and noticing that it can't. Does not: stop transactions (connectors), decide when it is time
or whether it is tried again (`resets.py`). The virtual board's hardware is not restarted: what is reset is the application.
"""

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from bus.clock import RUN_ID_ENVIRONMENT
from bus.logs import Logger
from services.station.programs import PROGRAMS

if TYPE_CHECKING:
    from services.station.supervisor_client import SupervisorClient

OWN_NAME = "ocpp_link"
REBOOT_COMMAND = ("/sbin/reboot",)
REBOOT_S_MAX = 10.0
"""The command comes back at once, since init does the work."""


def restart_station(on_reset: str, log: Logger, *, hard: bool) -> str:
    """Restart all services, reboot the board, or end `station run`; why that is not possible, or empty.

    Choice: where the board can't be rebooted, a Soft reset restarts the services, which is what §5.14 asks of it first; a Hard
    reset has failed, since it is the hardware that it is about.
    """
    log.warning("Reset is carried out", on_reset=on_reset, type="Hard" if hard else "Soft")
    if RUN_ID_ENVIRONMENT not in os.environ:
        log.error("not started by `station run`: this service alone restarts")
        os.kill(os.getpid(), signal.SIGTERM)
        return ""
    if on_reset == "exit":
        os.kill(os.getppid(), signal.SIGTERM)
        return ""
    if on_reset == "reboot":
        problem = _reboot()
        if not problem or hard:
            return problem
        log.error("the board can't be rebooted, all services restart instead", reason=problem)
    return _restart_services()


def _reboot() -> str:
    try:
        done = subprocess.run(REBOOT_COMMAND, capture_output=True, text=True, timeout=REBOOT_S_MAX, check=False)
    except subprocess.TimeoutExpired:
        return f"{REBOOT_COMMAND[0]} does not come back within {REBOOT_S_MAX:.0f} s"
    except OSError as error:
        return f"{REBOOT_COMMAND[0]}: {error.strerror}"
    return "" if done.returncode == 0 else f"{REBOOT_COMMAND[0]} refuses: {' '.join(done.stderr.split())[:120]}"


def _restart_services() -> str:
    """End each service in good order, this one last; supervisord starts what has ended.

    A service that is not running is not in the way: it starts anew as it is.
    """
    from services.station.supervisor_client import SupervisorClient, SupervisorUnreachable

    client = SupervisorClient()
    try:
        running = client.processes()
        for program in PROGRAMS:
            here = program.name != OWN_NAME and not program.virtual_only and program.name in running
            if here and running[program.name].pid:
                _end(client, program.name, running[program.name].pid)
    except SupervisorUnreachable as error:
        return str(error)
    os.kill(os.getpid(), signal.SIGTERM)
    return ""


def _end(client: "SupervisorClient", name: str, pid: int) -> None:
    """Raises SupervisorUnreachable, but not for a process that has gone by itself in this moment."""
    from services.station.supervisor_client import SupervisorUnreachable

    try:
        client.send_signal(name, "TERM")
    except SupervisorUnreachable:
        if client.process(name).pid == pid:
            raise
