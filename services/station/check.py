"""`station check`: says all that is wrong with a station.toml and with what is around it, and starts nothing.

Owns: the command line, the order, the exit code. Does not: know the rules on the file (`services.configuration`) or what a
station needs around it (`surroundings.py`).
"""

import argparse
import os
import sys
from collections.abc import Sequence

from services.station import paths
from services.station.surroundings import Finding, Severity

_SOUND, _WRONG, _FATAL = 0, 1, 2


def main(argv: list[str]) -> int:
    """0: nothing but advice; 1: the station starts, but something of it does not work; 2: it does not start."""
    parser = argparse.ArgumentParser(
        prog="station check",
        description="Say all that is wrong with a station.toml, devices, disk and clock included, without starting anything.",
        epilog="Exit code: 0 nothing is wrong, 1 the station starts but something will not work, 2 it does not start.",
    )
    parser.add_argument("--config", metavar="FILE", default=paths.CONFIG_DEFAULT, help="default: %(default)s")
    paths.add_state_dir(parser)
    parser.add_argument("--virtual", action="store_true", help="for a station on virtual hardware: no ports are needed")
    arguments = parser.parse_args(argv)
    state_dir = arguments.state_dir or paths.default_state_dir(virtual=arguments.virtual)
    found, good = _check(arguments.config, os.path.abspath(state_dir), virtual=arguments.virtual)
    for finding in found:
        print(f"{finding.severity}: {finding.text}", file=sys.stderr)
    code = exit_code(found)
    if code == _SOUND:
        print(f"{arguments.config} is good: {good}")
    return code


def exit_code(found: Sequence[Finding]) -> int:
    """What a script is told: the worst of what was found."""
    severities = {finding.severity for finding in found}
    return _FATAL if Severity.FATAL in severities else _WRONG if Severity.WRONG in severities else _SOUND


def _check(config_path: str, state_dir: str, *, virtual: bool) -> tuple[list[Finding], str]:
    """What is wrong, the fatal first; and what is good, in a few words."""
    from services.configuration import station
    from services.station import surroundings
    from services.station.look_around import look_around

    config, lines = station.examine(config_path, with_virtual_devices=virtual)
    found = [Finding(Severity.FATAL, f"{config_path}: {line}") for line in lines]
    if config is None:
        return found, ""
    facts = look_around(config, config_path, state_dir, virtual=virtual)
    reserve_bytes = config.system.disk_reserve_mb << 20
    found += surroundings.findings(facts, disk_reserve_bytes=reserve_bytes)
    found += _not_applied(os.path.abspath(config_path), state_dir)
    order = list(Severity)
    found.sort(key=lambda finding: order.index(finding.severity))
    count = len(config.connectors)
    return found, f"station {config.station.identity}, {count} connector{'s' if count != 1 else ''}"


def _not_applied(config_path: str, state_dir: str) -> list[Finding]:
    """Where the station of this file runs: which services have to be restarted, so that all of it holds."""
    from services.station.report import not_applied
    from services.station.status import gather

    try:
        facts = gather(state_dir)
    except paths.NotRunning:
        return []
    if facts.config != config_path:
        return []
    return [Finding(Severity.ADVICE, reason.text) for reason in not_applied(facts)]
