"""`configuration.db`: one writer, many readers at their start, and never a reason not to start."""

import sqlite3
from pathlib import Path

import pytest

from services.configuration import keys, station
from services.configuration.station import StationConfig
from services.configuration.store import ConfigurationStore, effective, read_configuration
from tests.rot import NOT_TEXT, spoil

PROFILES = Path(__file__).parents[2] / "deploy" / "profiles"
NOW = "2026-11-24T03:15:00.123Z"


@pytest.fixture
def config() -> StationConfig:
    return station.load(str(PROFILES / "demo.toml"), with_virtual_devices=True)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "a directory with # ? and %" / "configuration.db")


@pytest.fixture(autouse=True)
def _directory(path: str) -> None:
    Path(path).parent.mkdir()


def test_a_stored_value_wins_over_the_file_and_the_file_over_the_default(path: str, config: StationConfig) -> None:
    """Issue: a value changed later by the Central System and stored wins at the next start."""
    store = ConfigurationStore(path)
    store.set_value("MeterValueSampleInterval", "15", NOW)
    store.set_value("MeterValueSampleInterval", "10", NOW)
    store.close()
    problems: list[str] = []
    values = read_configuration(path, config, problems.append)
    assert values["MeterValueSampleInterval"] == "10"
    assert values["MeterValuesSampledData"] == config.ocpp["MeterValuesSampledData"]
    assert values["ConnectionTimeOut"] == "60"
    assert problems == []


def test_it_is_read_while_the_link_has_it_open(path: str, config: StationConfig) -> None:
    store = ConfigurationStore(path)
    store.set_value("ResetRetries", "3", NOW)
    assert read_configuration(path, config)["ResetRetries"] == "3"
    store.close()
    assert read_configuration(path, config)["ResetRetries"] == "3"


def test_a_missing_database_means_defaults_and_is_told_as_what_it_is(
    path: str, config: StationConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """Each station's first start: nothing that anybody has to look after."""
    caplog.set_level("INFO")
    problems: list[str] = []
    assert read_configuration(path, config, problems.append) == keys.public(station.initial_values(config))
    assert problems == []
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert not Path(path).exists()


@pytest.mark.parametrize("content", [b"", b"no database at all " * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_an_unreadable_database_means_defaults_and_is_told(path: str, config: StationConfig, content: bytes) -> None:
    Path(path).write_bytes(content)
    problems: list[str] = []
    assert read_configuration(path, config, problems.append)["MeterValueSampleInterval"] == "5"
    assert len(problems) == 1


def test_the_link_puts_a_damaged_database_aside_and_goes_on(path: str) -> None:
    """field report 52: quarantine and rebuild."""
    Path(path).write_bytes(b"no database at all " * 100)
    store = ConfigurationStore(path)
    assert "was no database" in store.problem
    assert Path(path + ".damaged-1").exists()
    store.set_value("ResetRetries", "3", NOW)
    store.close()
    again = ConfigurationStore(path)
    assert again.problem == ""
    assert again.values() == {"ResetRetries": "3"}
    again.close()


def test_a_damaged_page_inside_is_found_at_the_start(path: str) -> None:
    store = ConfigurationStore(path)
    for number in range(200):
        store.set_value(f"key{number}", "x" * 400, NOW)
    store.close()
    content = bytearray(Path(path).read_bytes())
    content[8192:16384] = b"\xa5" * 8192
    Path(path).write_bytes(content)
    again = ConfigurationStore(path)
    assert "damaged" in again.problem
    saved = again.values()
    assert 100 < len(saved) <= 200
    assert set(saved.values()) == {"x" * 400}
    again.close()


@pytest.mark.parametrize(
    ("table", "change", "left"),
    [
        ("configuration", f"value = {NOT_TEXT}", 0),
        ("configuration", f"key = {NOT_TEXT}", 0),
        ("configuration", f"changed_utc = {NOT_TEXT}", 0),
        ("previous_key", f"value = {NOT_TEXT}", 1),
        ("session", f"value = {NOT_TEXT}", 1),
        ("accepted", f"since_utc = {NOT_TEXT}", 1),
        ("known_time", "utc_ms = 'x'", 1),
    ],
)
def test_a_value_that_cannot_be_read_costs_its_row_alone(path: str, table: str, change: str, left: int) -> None:
    """Field report 52: one rotten byte must not end the link again and again."""
    store = ConfigurationStore(path)
    store.set_value("ResetRetries", "3", NOW)
    store.set_authorization_key("new key of the station", "old key of the station", NOW)
    store.keep("boot", {"interval": "300"})
    store.set_accepted("ws://central", NOW)
    store.set_known_utc_ms(1_800_000_000_000)
    store.close()
    spoil(Path(path), table, change, "value = '3'" if table == "configuration" else "1")
    again = ConfigurationStore(path)
    assert f"table {table}: " in again.problem
    assert len(again.values()) == 1 + left
    assert again.previous_key() == (None if table == "previous_key" else "old key of the station")
    assert again.begin_session("boot") == ({} if table == "session" else {"interval": "300"})
    assert again.ever_accepted("ws://central") is (table != "accepted")
    assert again.known_utc_ms() == (None if table == "known_time" else 1_800_000_000_000)
    again.close()


def test_a_directory_in_the_place_of_the_database_is_told(path: str, config: StationConfig) -> None:
    Path(path).mkdir()
    problems: list[str] = []
    read_configuration(path, config, problems.append)
    assert len(problems) == 1


def test_stored_values_that_no_longer_fit_are_left_out_and_told(config: StationConfig) -> None:
    """Another meter was fitted, a key became read-only, an older firmware had more keys."""
    problems: list[str] = []
    stored = {
        "MeterValuesSampledData": "SoC",
        "NumberOfConnectors": "9",
        "BlinkRepeat": "1",
        "ResetRetries": "many",
        "HeartbeatInterval": "77",
    }
    values = effective(stored, config, problems.append)
    assert values == {**station.initial_values(config), "HeartbeatInterval": "77"}
    assert len(problems) == 4


def test_services_never_get_the_password(path: str, config: StationConfig) -> None:
    store = ConfigurationStore(path)
    store.set_value("AuthorizationKey", "a secret password", NOW)
    assert "AuthorizationKey" not in read_configuration(path, config)
    assert effective(store.values(), config)["AuthorizationKey"] == "a secret password"
    store.close()


def test_facts_of_a_session_are_kept_for_this_boot_only(path: str) -> None:
    """design §2: a restart of the link alone is no boot."""
    store = ConfigurationStore(path)
    assert store.begin_session("boot-1") == {}
    store.keep("boot-1", {"registration": "Accepted", "interval_s": "300"})
    store.keep("boot-1", {"interval_s": "20"})
    store.close()
    again = ConfigurationStore(path)
    assert again.begin_session("boot-1") == {"registration": "Accepted", "interval_s": "20"}
    assert again.begin_session("boot-2") == {}
    assert again.begin_session("boot-1") == {}
    again.close()


def test_the_known_time_survives(path: str) -> None:
    store = ConfigurationStore(path)
    assert store.known_utc_ms() is None
    store.set_known_utc_ms(1_700_000_000_000)
    store.set_known_utc_ms(1_700_000_001_000)
    store.close()
    again = ConfigurationStore(path)
    assert again.known_utc_ms() == 1_700_000_001_000
    again.close()


def test_a_write_is_all_or_nothing_and_durable(path: str) -> None:
    store = ConfigurationStore(path)
    with pytest.raises(sqlite3.Error):
        store.keep("boot-1", {"a": "1", "b": None})  # type: ignore[dict-item]
    assert store.begin_session("boot-1") == {}
    assert store._database.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert store._database.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    store.close()
