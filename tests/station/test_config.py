"""`station config`: value, origin and what is shadowed; set and reset, with the link and without it (issue 7)."""

import json
from pathlib import Path

import pytest

from services.configuration import keys
from services.configuration.station import load
from services.configuration.store import ConfigurationStore, read_changes
from services.station import config_table
from services.station.config_table import CENTRAL_SYSTEM, DEFAULT, FILE, HERE, Stored
from tests.acceptance.rig import rig
from tests.harness import Station, config, wait_until

UTC = "2026-11-25T03:00:00.000Z"
MORE = """
[ocpp]
HeartbeatInterval = 120
ConnectionTimeOut = 45
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A station.toml with two keys."""
    file = tmp_path / "station.toml"
    file.write_text(config(more=MORE).replace("[central_system]", '[central_system]\nauthorization_key = "secret-of-the-site"'))
    return file


def row(path: Path, key: str, **stored: Stored) -> config_table.Row:
    found = config_table.rows(stored, load(str(path), with_virtual_devices=True))
    return next(row for row in found if row.key == key)


def test_a_value_is_the_default_until_somebody_says_more(path: Path) -> None:
    assert row(path, "ResetRetries").origin == DEFAULT
    assert row(path, "ResetRetries").shadows == ()


def test_station_toml_shadows_the_default(path: Path) -> None:
    found = row(path, "ConnectionTimeOut")
    default = next(key.default for key in keys.KEYS if key.name == "ConnectionTimeOut")
    assert (found.value, found.origin, found.shadows) == ("45", FILE, (f"default: {default}",))


def test_a_change_shadows_both_and_says_whose_it_is(path: Path) -> None:
    found = row(path, "ConnectionTimeOut", ConnectionTimeOut=Stored("90", UTC, False))
    assert (found.value, found.origin, found.changed_utc) == ("90", CENTRAL_SYSTEM, UTC)
    assert found.shadows[0] == "station.toml: 45"
    assert len(found.shadows) == 2
    assert row(path, "ConnectionTimeOut", ConnectionTimeOut=Stored("90", UTC, True)).origin == HERE


def test_a_stored_value_that_does_not_hold_says_why(path: Path) -> None:
    found = row(path, "NumberOfConnectors", NumberOfConnectors=Stored("7", UTC, False))
    assert (found.value, found.origin) == ("1", DEFAULT)
    assert "does not let it be changed" in found.note


def test_no_password_is_shown(path: Path) -> None:
    stored = {keys.AUTHORIZATION_KEY: Stored("another-secret-of-the-site", UTC, False)}
    found = config_table.rows(stored, load(str(path), with_virtual_devices=True))
    text = config_table.text(found)
    assert keys.AUTHORIZATION_KEY in text
    assert "secret" not in text


def test_every_key_that_is_offered_has_a_line(path: Path) -> None:
    names = [row.key for row in config_table.rows({}, load(str(path), with_virtual_devices=True))]
    assert len(names) == len(set(names)) >= 36
    assert "secret" not in config_table.text(config_table.rows({}, load(str(path), with_virtual_devices=True)))


def test_what_a_person_set_is_told_apart_until_the_central_system_sets_it(tmp_path: Path) -> None:
    store = ConfigurationStore(str(tmp_path / "configuration.db"))
    store.set_value("ConnectionTimeOut", "90", UTC, here=True)
    assert read_changes(str(tmp_path / "configuration.db")) == {"ConnectionTimeOut": ("90", UTC, True)}
    store.set_value("ConnectionTimeOut", "80", UTC)
    assert read_changes(str(tmp_path / "configuration.db")) == {"ConnectionTimeOut": ("80", UTC, False)}
    store.forget_value("ConnectionTimeOut")
    assert read_changes(str(tmp_path / "configuration.db")) == {}
    store.close()


@pytest.mark.process
def test_on_a_station_that_runs_a_change_holds_at_once_and_over_a_restart() -> None:
    """The Central System sees it too; a refusal says why; without a link the command writes itself."""
    with rig() as one:
        station = one.station
        assert station.command("config", "set", "connectiontimeout", "77").stdout == "ConnectionTimeOut is set\n"
        answer = one.central_system.call("GetConfiguration", {"key": ["ConnectionTimeOut"]})
        assert answer["configurationKey"][0]["value"] == "77"
        refused = station.command("config", "set", "NumberOfConnectors", "3")
        assert (refused.returncode, "read-only" in refused.stderr) == (1, True)
        told = 'event="change of a key at the station refused" key=NumberOfConnectors'
        wait_until(lambda: told in station.log("ocpp_link"), 5, "the refusal is in the log")
        unknown = station.command("config", "set", "Nonsense", "3")
        assert (unknown.returncode, "no such key" in unknown.stderr) == (1, True)
        station.restart("ocpp_link")
        found = json.loads(station.command("config", "--json").stdout)
        (key,) = [row for row in found if row["key"] == "ConnectionTimeOut"]
        assert (key["value"], key["origin"]) == ("77", HERE)
        assert station.command("config", "reset", "ConnectionTimeOut").returncode == 0
        assert "set here" not in station.command("config").stdout


@pytest.mark.process
def test_on_a_station_that_does_not_run_the_command_writes_itself(tmp_path: Path) -> None:
    with Station(config(), state_dir=tmp_path / "state") as station:
        pass
    assert station.command("config", "set", "ConnectionTimeOut", "77").returncode == 0
    assert "set here" in station.command("config", "list").stdout
    assert station.command("config", "reset", "ConnectionTimeOut").returncode == 0
    assert "set here" not in station.command("config", "list").stdout


def test_where_no_station_ever_ran_it_says_so(tmp_path: Path) -> None:
    done = Station(config(), state_dir=tmp_path / "state").command("config")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "no station runs" in done.stderr
