"""The end of a Reset, as `[system] on_reset` says (OCPP 1.6 §5.14, errata v4.0 3.36).

Owns: how the station restarts. Does not: stop transactions (connectors) or decide when it is time (`core.py`).
The virtual board's hardware is not restarted: what is reset is the application.
"""

import os
import signal
import subprocess

from bus.clock import RUN_ID_ENVIRONMENT
from bus.logs import Logger
from services.station.programs import programs

OWN_NAME = "ocpp_link"


def restart_station(on_reset: str, log: Logger, *, hard: bool) -> None:
    """Restart all services, reboot the board, or end `station run`."""
    log.warning("Reset is carried out", on_reset=on_reset, type="Hard" if hard else "Soft")
    if RUN_ID_ENVIRONMENT not in os.environ:
        log.error("not started by `station run`: this service alone restarts")
        os.kill(os.getpid(), signal.SIGTERM)
    elif on_reset == "exit":
        os.kill(os.getppid(), signal.SIGTERM)
    elif on_reset == "reboot" and _reboot(log):
        return
    else:
        _restart_services(log)


def _reboot(log: Logger) -> bool:
    try:
        subprocess.Popen(["/sbin/reboot"], start_new_session=True)
    except OSError as error:
        log.error("the board can't be rebooted, all services restart instead", reason=error)
        return False
    return True


def _restart_services(log: Logger) -> None:
    """End each service in good order, this one last; supervisord starts what has ended."""
    from services.station.supervisor_client import SupervisorClient, SupervisorUnreachable

    client = SupervisorClient()
    for program in programs(virtual=False):
        if program.name == OWN_NAME:
            continue
        try:
            client.send_signal(program.name, "TERM")
        except SupervisorUnreachable as error:
            log.error("service could not be restarted for the Reset", name=program.name, reason=error)
    os.kill(os.getpid(), signal.SIGTERM)
