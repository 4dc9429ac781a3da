"""What the virtual hardware takes from station.toml, and how it refuses."""

import tomllib
from pathlib import Path

import pytest

from services.simulator.settings import ReaderSettings, SettingsError, from_table, load

GOOD = """
[supply]
max_current_a = 32
phases = 3

[reader]
driver = "rdm6300"

[[connector]]
id = 1
cable = "fixed"
evse = { driver = "openevse", port = "/dev/ttyUSB0" }
meter = { driver = "sdm630", port = "/dev/ttyUSB1", baud = 9600 }

[[connector]]
id = 2
cable = "socket"
evse = { driver = "openevse" }
meter = { driver = "sdm120", unit = 7 }
"""


def test_devices_of_all_connectors_are_found() -> None:
    settings = from_table(tomllib.loads(GOOD))
    assert [(c.id, c.meter, c.unit, c.phases) for c in settings.connectors] == [(1, "sdm630", 1, 3), (2, "sdm120", 7, 1)]
    assert (settings.max_current_a, settings.voltage_v, settings.reader) == (32, 230.0, ReaderSettings("rdm6300"))


def test_a_supply_for_many_connectors_makes_no_board_stronger_than_it_is_built() -> None:
    table = tomllib.loads(GOOD.replace("max_current_a = 32", "max_current_a = 512"))
    assert from_table(table).max_current_a == 80


def test_without_a_reader_section_there_is_no_reader() -> None:
    table = tomllib.loads(GOOD)
    del table["reader"]
    assert from_table(table).reader is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'driver = "sdm630"',
            'driver = "sdm72"',
            "[[connector]] 1 meter.driver is 'sdm72'; there is",
        ),
        ('driver = "openevse", port', 'driver = "wb", port', "[[connector]] 1 evse.driver is 'wb'"),
        ('driver = "rdm6300"', "driver = 3", "[reader] driver is 3"),
        ('driver = "rdm6300"', 'driver = "line"\nframing = "x"', "[reader] framing is 'x'"),
        ('driver = "rdm6300"', 'driver = "hid"\npayload = 1', "[reader] payload is 1"),
        ("phases = 3", "phases = 4", "[supply] phases is 4"),
        ("max_current_a = 32", "max_current_a = nan", "[supply] max_current_a is nan"),
        ("unit = 7", "unit = 248", "[[connector]] 2 meter.unit is 248"),
        ("id = 2", "id = 1", "two [[connector]] sections have the same id"),
        ("id = 2", "id = true", "[[connector]] id is True"),
        ('meter = { driver = "sdm120", unit = 7 }', "meter = 1", "[[connector]] 2 meter must be a table"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "station.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(SettingsError) as error:
        load(str(path))
    assert str(error.value).startswith(f"{path}: {said}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"connector = 1", b"connector = [1]", b"[supply", b"\xff\xfe", b"supply = 3\n"])
def test_an_unusable_file_gives_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "station.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        load(str(path))
    assert "\n" not in str(error.value)


def test_a_missing_file_gives_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be read"):
        load(str(tmp_path / "none.toml"))
