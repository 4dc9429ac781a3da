"""What the virtual hardware needs to know of `station.toml`: which devices there are, and the supply behind them.

Owns: reading those few values, with the same defaults as the station has. Does not: check the rest of the file; that is
the station's, and hardware shares no code with its drivers.
"""

import tomllib
from typing import Any

import msgspec

EVSE_DRIVERS = ("openevse", "evsewb")
READER_DRIVERS = ("rdm6300", "pn532", "line", "hid")
FRAMINGS = ("line", "stx-etx", "stx-etx-lrc")
PAYLOADS = ("hex", "decimal", "text")
METER_IN_EVSE = "evse"
METER_PHASES = {"sdm630": 3, "sdm120": 1, "sdm230": 1, "sdm72d-m-2": 3, "abb-b23": 3, "em340": 3}
_FILE_BYTES_MAX = 1_000_000
_CONNECTORS_MAX = 64
_BOARD_A_MAX = 80
"""No board is built for more, however strong the supply of the whole station is (hardware.md §3.1)."""


class SettingsError(Exception):
    """The file can't be used; the text is one line that names file, key and remedy."""


class ConnectorSettings(msgspec.Struct, frozen=True):
    """One connector. `phases` are those that both supply and meter have. `unit` is the meter's Modbus address, 1..247."""

    id: int
    cable: str
    evse: str
    meter: str
    unit: int
    phases: int
    evse_unit: int = 1
    """Modbus address of a controller that has one."""
    evse_line: str = ""
    meter_line: str = ""
    """Which line the device shares with others; empty: none."""


class ReaderSettings(msgspec.Struct, frozen=True):
    """The card reader; the last two are of those that send characters."""

    driver: str
    framing: str = "line"
    payload: str = "hex"


class Settings(msgspec.Struct, frozen=True):
    """The virtual installation. Amps per phase that each board is built for, volts between phase and neutral."""

    max_current_a: int
    voltage_v: float
    connectors: tuple[ConnectorSettings, ...]
    reader: ReaderSettings | None


def load(path: str) -> Settings:
    """The devices that `station.toml` names. Raises SettingsError."""
    try:
        return from_table(_table(path))
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def from_table(table: dict[str, Any]) -> Settings:
    """As `load`, of a table that is read already. Raises SettingsError without the file's name."""
    supply = _section(table, "supply")
    phases = _whole(supply.get("phases", 1), "[supply] phases", 1, 3)
    connectors = table.get("connector", [])
    if not isinstance(connectors, list) or not 1 <= len(connectors) <= _CONNECTORS_MAX:
        raise SettingsError(f"needs one to {_CONNECTORS_MAX} [[connector]] sections")
    found = tuple(_connector(entry, phases) for entry in connectors)
    if len({connector.id for connector in found}) != len(found):
        raise SettingsError("two [[connector]] sections have the same id; number them from 1")
    return Settings(
        max_current_a=int(min(_BOARD_A_MAX, _number(supply.get("max_current_a", 32), "[supply] max_current_a", 6, 1000))),
        voltage_v=_number(supply.get("voltage_v", 230.0), "[supply] voltage_v", 50, 500),
        connectors=found,
        reader=_reader(table),
    )


def _table(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(f"can't be read ({error.strerror}); give the right file with --config") from None
    if len(content) > _FILE_BYTES_MAX:
        raise SettingsError("is larger than 1 MB; give a station.toml with --config")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"is not TOML: {error}") from None


def _connector(entry: Any, phases: int) -> ConnectorSettings:
    if not isinstance(entry, dict):
        raise SettingsError("connector must be written as [[connector]] sections")
    number = _whole(entry.get("id"), "[[connector]] id", 1, 999)
    where = f"[[connector]] {number}"
    meter = _section(entry, "meter", where)
    evse = _section(entry, "evse", where)
    model = _one_of(meter.get("driver"), f"{where} meter.driver", (*METER_PHASES, METER_IN_EVSE))
    return ConnectorSettings(
        id=number,
        cable=_one_of(entry.get("cable", "fixed"), f"{where} cable", ("fixed", "socket")),
        evse=_one_of(evse.get("driver"), f"{where} evse.driver", EVSE_DRIVERS),
        meter=model,
        unit=_whole(meter.get("unit", 1), f"{where} meter.unit", 1, 247),
        phases=min(phases, METER_PHASES.get(model, 1)),
        evse_unit=_whole(evse.get("unit", 1), f"{where} evse.unit", 1, 247),
        evse_line=_line(evse, number),
        meter_line=_line(meter, number),
    )


def _line(device: dict[str, Any], number: int) -> str:
    """The name of a shared line: that of its port, or of its connector where no port is given."""
    return str(device.get("port") or f"connector {number}") if device.get("shared") is True else ""


def _reader(table: dict[str, Any]) -> ReaderSettings | None:
    if "reader" not in table:
        return None
    section = _section(table, "reader")
    return ReaderSettings(
        driver=_one_of(section.get("driver"), "[reader] driver", READER_DRIVERS),
        framing=_one_of(section.get("framing", "line"), "[reader] framing", FRAMINGS),
        payload=_one_of(section.get("payload", "hex"), "[reader] payload", PAYLOADS),
    )


def _section(table: dict[str, Any], name: str, where: str = "") -> dict[str, Any]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise SettingsError(f"{where} {name} must be a table".strip())
    return value


def _number(value: Any, key: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise SettingsError(f"{key} is {value!r}; the virtual hardware takes {low:g} to {high:g}")
    return float(value)


def _whole(value: Any, key: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{key} is {value!r}; the virtual hardware takes whole numbers from {low} to {high}")
    return value


def _one_of(value: Any, key: str, allowed: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in allowed:
        raise SettingsError(f"{key} is {value!r}; there is virtual hardware for {', '.join(allowed)}")
    return value
