"""The OCPP keys of a station for a person: value, origin, what it shadows.

Owns: which of the sources a value is from: the firmware's default, `station.toml`, a change at run time. Does not: read files
(`config.py`) or know the keys (`services/configuration/keys.py`).
"""

from collections.abc import Mapping

import msgspec

from services.configuration import keys
from services.configuration.model import StationConfig
from services.configuration.station import capabilities, initial_values
from services.configuration.store import effective

DEFAULT, FILE, CENTRAL_SYSTEM, HERE = "default", "station.toml", "Central System", "set here"
HIDDEN = "(not shown)"


class Stored(msgspec.Struct, frozen=True):
    """A value in `configuration.db`. `here`: by `station config set`."""

    value: str
    changed_utc: str
    here: bool


class Row(msgspec.Struct, frozen=True):
    """One key. `shadows`: the values that hold no longer, with their origin. `note`: why a stored value does not hold."""

    key: str
    value: str
    access: str
    origin: str
    changed_utc: str = ""
    shadows: tuple[str, ...] = ()
    note: str = ""


class _Sources(msgspec.Struct, frozen=True):
    """Where a value may be from. `values` are those in force, `problems` why stored ones are not."""

    able: keys.Capabilities
    defaults: dict[str, str]
    initial: dict[str, str]
    values: dict[str, str]
    problems: list[str]


def rows(stored: Mapping[str, Stored], config: StationConfig) -> tuple[Row, ...]:
    """Every key that this station offers, in the order of the table."""
    able = capabilities(config)
    problems: list[str] = []
    values = effective({name: one.value for name, one in stored.items()}, config, problems.append)
    sources = _Sources(able, keys.defaults(able), initial_values(config), values, problems)
    offered = (key for key in keys.KEYS if keys.find(key.name, able) is not None)
    return tuple(_row(key, stored.get(key.name), sources) for key in offered)


def text(found: tuple[Row, ...]) -> str:
    """As a table, for a person."""
    cells = [("KEY", "VALUE", "", "FROM", "SHADOWS"), *map(_cells, found)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return "\n".join("  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[4]]).rstrip() for row in cells)


def _row(key: keys.Key, stored: Stored | None, sources: _Sources) -> Row:
    name, secret = key.name, key.name == keys.AUTHORIZATION_KEY
    note = next((problem for problem in sources.problems if f" {name} " in problem), "")
    layers = [(DEFAULT, sources.defaults.get(name, ""))]
    if sources.initial.get(name, "") != layers[0][1]:
        layers.append((FILE, sources.initial[name]))
    if stored is not None and not note:
        layers.append((HERE if stored.here else CENTRAL_SYSTEM, stored.value))
    origin = layers[-1][0]
    shadows = () if secret else tuple(f"{source}: {value}" for source, value in reversed(layers[:-1]))
    return Row(
        key=name,
        value=HIDDEN if secret else sources.values.get(name, ""),
        access=keys.access(key, sources.able).value,
        origin=origin,
        changed_utc=stored.changed_utc if stored is not None and origin in (HERE, CENTRAL_SYSTEM) else "",
        shadows=shadows if len(layers) > 1 else (),
        note=note,
    )


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    changed = f" {row.changed_utc}" if row.changed_utc else ""
    last = ", ".join(row.shadows) + (f"  ({row.note})" if row.note else "")
    return row.key, row.value or '""', row.access, row.origin + changed, last
