"""What has changed in station.toml since the services of a running station began.

Owns: reading the file for that. Does not: compare (`services/configuration/applied.py`), or restart anything.
"""

import os
from collections.abc import Collection, Mapping

import msgspec

from services.configuration.applied import behind
from services.configuration.station import ConfigurationError, load
from services.station.programs import PROGRAMS, programs


class Changes(msgspec.Struct, frozen=True):
    """Empty: none."""

    problem: str = ""
    """The file is wrong now: what, and what to do."""
    behind: dict[str, tuple[str, ...]] = {}
    """Services that began with something else, and the parts that differ."""
    programs: tuple[str, ...] = ()
    """Programs that would be there, or not be there, after a new start of the whole station."""


def changes_of(
    path: str, *, virtual: bool, started: Mapping[str, Mapping[str, int]], programs_known: Collection[str] = ()
) -> Changes:
    """`started`: digests by service, as each tells. `programs_known` empty: supervisord was not reached."""
    if not os.access(path, os.R_OK):
        # Who may not read it is told nothing wrong. That it is gone is.
        gone = bool(path) and os.path.isdir(os.path.dirname(path)) and not os.path.exists(path)
        return Changes(problem=f"{path} is not there") if gone else Changes()
    try:
        config = load(path, with_virtual_devices=virtual)
    except ConfigurationError as error:
        return Changes(problem=str(error))
    wanted = {program.name for program in programs(virtual=virtual, config=config)}
    optional = {program.name for program in PROGRAMS if program.section}
    changed = (wanted ^ set(programs_known)) & optional if programs_known else set()
    old = {service: parts for service, parts in behind(config, started).items() if service not in changed}
    return Changes(behind=old, programs=tuple(sorted(changed)))
