"""`station config`: every OCPP key with value, origin and what it shadows; sets and resets one.

Owns: the command line, and the way to the one writer of `configuration.db`: the link, over the bus; where it does not run, this
command, under the link's own lock. Does not: decide what is valid; `services/configuration/keys.py` does, as for the Central
System.
"""

import argparse
import contextlib
import sqlite3
import sys

import msgspec

from bus.key_messages import ChangeKey, KeyChanged
from bus.logs import utc_text
from bus.vocabulary import ConfigurationStatus
from services.configuration import keys, store
from services.configuration.checks import ConfigurationError
from services.configuration.model import StationConfig
from services.station import config_table, known_config, one_writer, paths

_DONE, _REFUSED, _USAGE, _FAILED = 0, 1, 2, 3
_DATABASE = f"../{store.FILE_NAME}"
_ANSWER_S = 5.0
_TAKEN = (ConfigurationStatus.ACCEPTED, ConfigurationStatus.REBOOT_REQUIRED)


class Failed(Exception):
    """It can't be done or told; one line."""


def main(argv: list[str]) -> int:
    """0: shown or done; 1: the value is refused; 2: no such command; 3: it can't be done, one line says why."""
    parser = argparse.ArgumentParser(
        prog="station config",
        description="OCPP keys: what holds, where it is from, what it shadows. A change holds until somebody changes it.",
    )
    paths.add_state_dir(parser)
    parser.add_argument("--config", metavar="FILE", help="station.toml of a station that does not run")
    parser.add_argument("--json", action="store_true", help="for programs")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("list", help="all keys (the same without COMMAND)")
    change = commands.add_parser("set", help="change a key, as ChangeConfiguration does")
    change.add_argument("key", metavar="KEY")
    change.add_argument("value", metavar="VALUE")
    back = commands.add_parser("reset", help="back to station.toml, or the firmware's default")
    back.add_argument("key", metavar="KEY")
    arguments = parser.parse_args(argv)
    try:
        paths.enter_run_directory(paths.given_state_dir(arguments))
        config = known_config.load_known(arguments.config)
        if arguments.command == "set":
            return _change(ChangeKey(arguments.key, arguments.value), config)
        if arguments.command == "reset":
            return _change(ChangeKey(arguments.key), config)
        return _list(config, as_json=arguments.json)
    except (Failed, ConfigurationError, known_config.NotKnown, paths.NotRunning) as error:
        print(f"station config: {error}", file=sys.stderr)
        return _FAILED


def _list(config: StationConfig, *, as_json: bool) -> int:
    found = config_table.rows(_stored(), config)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        print(config_table.text(found))
    return _DONE


def _stored() -> dict[str, config_table.Stored]:
    try:
        return {name: config_table.Stored(*facts) for name, facts in store.read_changes(_DATABASE).items()}
    except FileNotFoundError:
        return {}
    except sqlite3.Error as error:
        raise Failed(f"configuration.db can't be read ({error}); the link saves what it can at its next start") from None


def _change(request: ChangeKey, config: StationConfig) -> int:
    answer = _changed(request, config)
    if answer.status not in _TAKEN:
        print(f"station config: {request.key} is {answer.status}: {answer.reason}", file=sys.stderr)
        return _REFUSED
    known = keys.find_any(request.key)
    name = request.key if known is None else known.name
    what = "is back to station.toml or its default" if request.value is None else "is set"
    after = ", it holds after the next Reset" if answer.status is ConfigurationStatus.REBOOT_REQUIRED else ""
    print(f"{name} {what}{after}")
    return _DONE


def _changed(request: ChangeKey, config: StationConfig) -> KeyChanged:
    def here() -> KeyChanged:
        return _changed_here(request, config)

    try:
        return one_writer.changed(request, KeyChanged, here, service="ocpp_link", answer_s=_ANSWER_S)
    except one_writer.NoAnswer as error:
        raise Failed(f"the link runs, but gives {error}; see station config list, and try again") from None


def _changed_here(request: ChangeKey, config: StationConfig) -> KeyChanged:
    """On a station whose link does not run; its lock is held."""
    from bus.clock import system_utc_s
    from services.ocpp_link.configuration import Configuration

    try:
        opened = store.ConfigurationStore(_DATABASE)
        with contextlib.closing(opened):
            return Configuration(opened, config).change_by_hand(request, utc_text(system_utc_s()))
    except sqlite3.Error as error:
        raise Failed(f"configuration.db can't be written ({error}); check the disk") from None
