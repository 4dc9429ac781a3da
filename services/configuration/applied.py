"""What of station.toml each service goes by, and which of them began with something else than the file says now (pure).

Owns: the table. Does not: read the file, or know which services run. What a service has read it tells in its health, as a short
digest of each part: the texts themselves, passwords among them, stay where they are.
"""

import zlib
from collections.abc import Mapping

import msgspec

from services.configuration.model import StationConfig

READ_BY: dict[str, tuple[str, ...]] = {
    "broker": (),
    "ocpp_link": (
        "station",
        "central_system",
        "supply",
        "connectors",
        "ocpp",
        "policy.keys_not_offered",
        "system.on_reset",
        "logs",
    ),
    "connectors": (
        "connectors",
        "emergency_stop",
        "supply",
        "policy.charge_before_first_acceptance",
        "policy.charge_on_full_disk",
        "system.disk_reserve_mb",
        "logs",
    ),
    "meter": ("connectors", "supply"),
    "rfid": ("reader",),
    "transaction_queue": ("policy.backlog_messages_per_s", "system.disk_reserve_mb"),
    "watchdog": ("system.orphan_grace_s", "system.hardware_watchdog"),
    "metrics": ("metrics",),
}
"""Parts by service, as `model.py` names them. OCPP keys of `[ocpp]` come to the others from the link, over the bus."""


def digests(config: StationConfig, service: str) -> dict[str, int]:
    """What `service` reads of `config`, each part as a number that another content hardly has."""
    return {part: zlib.crc32(msgspec.json.encode(_part(config, part))) for part in READ_BY.get(service, ())}


def behind(config: StationConfig, started: Mapping[str, Mapping[str, int]]) -> dict[str, tuple[str, ...]]:
    """Services that began with something else than `config`, and the parts that differ, as station.toml writes them.

    `started`: by service, what it has told. One that has told nothing is of an older release, and nothing is known of it.
    """
    found: dict[str, tuple[str, ...]] = {}
    for service, told in started.items():
        now = digests(config, service)
        changed = tuple(_as_written(part) for part in now if told and told.get(part) != now[part])
        if changed:
            found[service] = changed
    return found


def _part(config: StationConfig, part: str) -> object:
    value: object = config
    for name in part.split("."):
        value = getattr(value, name)
    return value


def _as_written(part: str) -> str:
    section, _, key = part.partition(".")
    return "[[connector]]" if section == "connectors" else f"[{section}]{f' {key}' if key else ''}"
