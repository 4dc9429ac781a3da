"""Where a station keeps its things, and what is taken when the command line does not say.

Owns: defaults and the layout of a state directory. Does not: read or write what is in it.
"""

import argparse
import os

from bus.process import lock_holder

CONFIG_DEFAULT = "/etc/chargebus/station.toml"
STATE_DIR_DEFAULT = "/var/lib/chargebus"
STATE_DIR_VIRTUAL = "state"
"""Of `station run --virtual`, below the current directory."""
RUN_DIRECTORY = "run"
LOG_DIRECTORY = "log"
_UNIT = "/etc/systemd/system/chargebus.service"
STATION_LOCK = "station.lock"
"""In the run directory; held by `station run` and the supervisord that it becomes."""
RUN_FACTS = "station.json"
"""In the run directory: how the running station was started."""


class NotRunning(Exception):
    """No station runs in the state directory; the text says so in one line."""


def deploy_file(*names: str) -> str:
    """A file that comes with the product."""
    import deploy

    return os.path.join(os.path.dirname(os.path.abspath(deploy.__file__)), *names)


def default_state_dir(*, virtual: bool = False) -> str:
    """The installed station's directory; `./state` for the virtual one, or where no station is installed."""
    if virtual or not os.path.isdir(STATE_DIR_DEFAULT):
        return os.path.abspath(STATE_DIR_VIRTUAL)
    return STATE_DIR_DEFAULT


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    """The option that every subcommand about a running station has."""
    text = f"directory of the station (without it: {STATE_DIR_DEFAULT}, or ./{STATE_DIR_VIRTUAL} where that does not exist)"
    parser.add_argument("--state-dir", metavar="DIR", help=text)


def given_state_dir(arguments: argparse.Namespace) -> str:
    """The directory that the command line means, absolute."""
    return os.path.abspath(arguments.state_dir) if arguments.state_dir else default_state_dir()


def enter_run_directory(state_dir: str) -> None:
    """Work in the run directory, where sockets have short relative names (design §2). Raises NotRunning."""
    try:
        os.chdir(os.path.join(state_dir, RUN_DIRECTORY))
    except OSError as error:
        raise NotRunning(f"no station runs in {state_dir}: {error.strerror}") from None


def how_to_start(state_dir: str) -> str:
    """The command that starts the station of this directory, in the words of the shell."""
    installed = state_dir == STATE_DIR_DEFAULT and os.path.exists(_UNIT)
    return "systemctl start chargebus" if installed else f"station run --state-dir {state_dir}"


def station_pid() -> int | None:
    """Process of the running station, seen from its run directory: supervisord's. None if none runs."""
    return lock_holder(STATION_LOCK)
