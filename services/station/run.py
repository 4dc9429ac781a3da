"""`station run`: checks the configuration, clears the ground, and becomes supervisord.

Owns: the state directory's layout, the station's lock, the ids of this run. Does not: look after processes; that is
supervisord's.
"""

import argparse
import json
import os
import sys
import uuid
from collections.abc import Sequence
from typing import NoReturn

from bus.clock import BOOT_ID_ENVIRONMENT, RUN_ID_ENVIRONMENT, boottime_s, hardware_boot_id
from bus.process import SUPERVISOR_PID_ENVIRONMENT, AlreadyRunning, take_lock
from services.station import paths
from services.station.programs import Program, programs
from services.station.rendering import supervisord_conf
from services.station.survivors import Survivor, end_survivors

_LOCK_DESCRIPTOR = 3
"""Where the lock stays open: supervisord closes descriptors from 5 on when it reloads, and from 3 on in its children."""
_LOCK_WAIT_S = 0.5
_UMASK = 0o027
_STALE_SOCKET = "supervisor.sock"


def main(argv: list[str]) -> int:
    """Start the station in the foreground. Returns only on an error: 2 for the configuration, 1 for the rest."""
    parser = argparse.ArgumentParser(prog="station run", description="Start the whole station in the foreground.")
    parser.add_argument("--config", metavar="FILE", help=f"station.toml (without it: {paths.CONFIG_DEFAULT})")
    parser.add_argument("--state-dir", metavar="DIR", help=f"databases, logs, sockets (without it: {paths.STATE_DIR_DEFAULT})")
    parser.add_argument("--virtual", action="store_true", help="virtual hardware; demo profile and ./state unless given")
    arguments = parser.parse_args(argv)
    virtual = bool(arguments.virtual)
    config = arguments.config or (paths.deploy_file("profiles", "demo.toml") if virtual else paths.CONFIG_DEFAULT)
    state_dir = arguments.state_dir or (paths.default_state_dir(virtual=True) if virtual else paths.STATE_DIR_DEFAULT)
    # Only here: the others who import this module have no use for it.
    from services.configuration import station

    try:
        chosen = programs(virtual=virtual, config=station.load(config, with_virtual_devices=virtual))
    except station.ConfigurationError as error:
        print(f"station run: {error}", file=sys.stderr)
        return 2
    try:
        start(os.path.abspath(config), os.path.abspath(state_dir), chosen, virtual=virtual)
    except (AlreadyRunning, Survivor, ValueError) as error:
        print(f"station run: {error}", file=sys.stderr)
    except OSError as error:
        print(f"station run: cannot start in {state_dir}: {error}", file=sys.stderr)
    return 1


def start(config: str, state_dir: str, chosen: Sequence[Program], *, virtual: bool) -> NoReturn:
    """Become supervisord over the `chosen` programs; paths are absolute, the configuration is known to be good.

    Raises AlreadyRunning, Survivor, OSError, and ValueError for a path that supervisord cannot be told.
    """
    os.umask(_UMASK)
    _make_directories(state_dir)
    os.chdir(os.path.join(state_dir, paths.RUN_DIRECTORY))
    try:
        lock = take_lock(paths.STATION_LOCK, _LOCK_WAIT_S)
    except AlreadyRunning:
        raise AlreadyRunning(f"a station runs already in {state_dir} (process {paths.station_pid()})") from None
    ended = end_survivors()
    if ended:
        print(f"ended what an earlier run left: {', '.join(ended)}", file=sys.stderr)
    if virtual:
        # Services start with the simulator, not after it: what an old name leads to may be another station's device.
        from services.simulator.pty_port import DEVICES_DIRECTORY, forget_ports

        forget_ports(DEVICES_DIRECTORY)
    _write_supervisord_conf(config, state_dir, chosen, virtual=virtual)
    _set_environment(virtual=virtual)
    _write_facts(config, virtual=virtual)
    if os.path.lexists(_STALE_SOCKET):
        os.unlink(_STALE_SOCKET)
    print(f"station starts in {state_dir}; from another terminal: station status --state-dir {state_dir}", flush=True)
    _become_supervisord(lock)


def _make_directories(state_dir: str) -> None:
    os.makedirs(state_dir, mode=0o750, exist_ok=True)
    for name, mode in ((paths.RUN_DIRECTORY, 0o700), (paths.LOG_DIRECTORY, 0o750)):
        path = os.path.join(state_dir, name)
        os.makedirs(path, mode=mode, exist_ok=True)
        os.chmod(path, mode)


def _write_supervisord_conf(config: str, state_dir: str, chosen: Sequence[Program], *, virtual: bool) -> None:
    with open(paths.deploy_file("supervisord.conf"), encoding="utf-8") as file:
        template = file.read()
    suffix = ["--config", config, "--state-dir", state_dir, *(["--virtual"] if virtual else [])]
    # The effective user is said to root's supervisord only, which complains at each start otherwise.
    user = "0" if os.geteuid() == 0 else ""
    # -P: a file in the working directory must never stand in for a module.
    text = supervisord_conf(template, chosen, prefix=[sys.executable, "-P", "-m"], suffix=suffix, user=user)
    _replace("supervisord.conf", text)


def _set_environment(*, virtual: bool) -> None:
    os.environ[RUN_ID_ENVIRONMENT] = uuid.uuid4().hex
    os.environ.pop(BOOT_ID_ENVIRONMENT, None)
    if virtual:
        os.environ[BOOT_ID_ENVIRONMENT] = uuid.uuid4().hex
    os.environ[SUPERVISOR_PID_ENVIRONMENT] = str(os.getpid())
    os.environ["PYTHONUNBUFFERED"] = "1"
    os.environ["TZ"] = "UTC"  # supervisord's own log has local times without a zone.


def _write_facts(config: str, *, virtual: bool) -> None:
    facts = {
        "config": config,
        "virtual": virtual,
        "boot_id": hardware_boot_id(),
        "run_id": os.environ[RUN_ID_ENVIRONMENT],
        "started_boottime_s": boottime_s(),
    }
    _replace(paths.RUN_FACTS, json.dumps(facts) + "\n")


def _replace(name: str, text: str) -> None:
    with open(f"{name}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{name}.new", name)


def _become_supervisord(lock: int) -> NoReturn:
    """The pid stays, so the lock's text stays true; the descriptor stays open as long as supervisord lives."""
    if lock == _LOCK_DESCRIPTOR:
        os.set_inheritable(lock, True)
    else:
        os.dup2(lock, _LOCK_DESCRIPTOR, inheritable=True)
    command = [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", "supervisord.conf"]
    os.execv(sys.executable, command)
