"""`station out-of-service`: takes a connector, or all, out of service, on a running station and on one that is stopped.

Owns: the command line, and the way to the one writer of `connectors.db`: the connectors service, over the bus; where it does
not run, this command, under that service's own lock. Does not: decide what it means (`services/connectors/availability.py`).
"""

import argparse
import contextlib
import sqlite3
import sys

from bus.operating_messages import OutOfService, OutOfServiceAnswer
from services.configuration.checks import ConfigurationError
from services.station import command_log, known_config, one_writer, paths

_DONE, _REFUSED, _FAILED = 0, 1, 3
_DATABASE = "../connectors.db"
_ANSWER_S = 5.0


class Failed(Exception):
    """It can't be done; one line."""


def main(argv: list[str]) -> int:
    """0: done, or so already; 1: there is no such connector; 3: it can't be done, one line says why."""
    parser = argparse.ArgumentParser(
        prog="station out-of-service",
        description="Take a connector, or the whole station, out of service: Unavailable until you lift it, over restarts and "
        "power cuts, whatever the Central System says. A running transaction finishes first.",
    )
    paths.add_state_dir(parser)
    parser.add_argument("--config", metavar="FILE", help="station.toml of a station that does not run")
    parser.add_argument("what", choices=("on", "off"), help="on: out of service; off: back in service")
    parser.add_argument("connector", nargs="?", type=int, metavar="N", help="number of a connector; without it all of them")
    arguments = parser.parse_args(argv)
    request = OutOfService(arguments.what == "on", arguments.connector)
    if request.connector_id is not None and request.connector_id < 1:
        parser.error("connectors are numbered from 1; without a number all are meant")
    try:
        paths.enter_run_directory(paths.given_state_dir(arguments))
        answer = _ask(request, arguments.config)
    except (Failed, ConfigurationError, known_config.NotKnown, paths.NotRunning) as error:
        print(f"station out-of-service: {error}", file=sys.stderr)
        return _FAILED
    if answer.refusal:
        print(f"station out-of-service: {answer.refusal}", file=sys.stderr)
        return _REFUSED
    print("\n".join(words(request, answer)))
    return _DONE


def words(request: OutOfService, answer: OutOfServiceAnswer) -> list[str]:
    """What came of it, for a person."""
    whole = (
        "the charge point and all connectors are" if request.connector_id is None else f"connector {request.connector_id} is"
    )
    state = "out of service until `station out-of-service off`" if request.out else "in service"
    lines = [f"{whole} {state}" + ("" if answer.changed else "; it was so already")]
    lines += [
        f"connector {number} still charges: it is out of service when that transaction ends" for number in answer.charging
    ]
    for number in answer.inoperative:
        name = "the charge point" if number == 0 else f"connector {number}"
        lines.append(f"{name} stays Unavailable: the Central System has commanded that (ChangeAvailability)")
    return lines


def _ask(request: OutOfService, config_path: str | None) -> OutOfServiceAnswer:
    def here() -> OutOfServiceAnswer:
        return _change_here(request, config_path)

    try:
        return one_writer.changed(request, OutOfServiceAnswer, here, service="connectors", answer_s=_ANSWER_S)
    except one_writer.NoAnswer as error:
        raise Failed(f"connectors runs, but gives {error}; see `station status`, it is safe to try again") from None


def _asked(request: OutOfService) -> str:
    return f"{'on' if request.out else 'off'} {request.connector_id or 'all'}"


def _change_here(request: OutOfService, config_path: str | None) -> OutOfServiceAnswer:
    """On a station whose connectors do not run; their lock is held."""
    from bus.clock import boottime_s, hardware_boot_id, system_utc_s
    from bus.database import open_database
    from bus.messages import Moment
    from services.connectors import by_hand

    config = known_config.load_known(config_path)
    at = Moment(hardware_boot_id(), round(boottime_s() * 1000), round(system_utc_s() * 1000))
    try:
        with contextlib.closing(open_database(_DATABASE)) as database:
            command_log.note("..", "out of service is commanded, the station's connectors do not run", detail=_asked(request))
            return by_hand.take_out_of_service(database, request, {one.id for one in config.connectors}, at)
    except sqlite3.Error as error:
        raise Failed(f"connectors.db can't be read or written ({error}); check the disk, or start the station") from None
