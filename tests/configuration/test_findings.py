"""`examine`: everything that is wrong with a station.toml at once, not only the first (issue 7, `station check`)."""

from pathlib import Path

from services.configuration import station
from tests.configuration.test_station import GOOD

SECOND = """
[[connector]]
id = 5
cable = "rope"
evse = { driver = "openevse", port = "/dev/ttyE" }
meter = { driver = "sdm120", port = "/dev/ttyN", unit = 900 }
"""


def found(tmp_path: Path, text: str) -> list[str]:
    """The key of each finding, as it is printed before the colon."""
    file = tmp_path / "station.toml"
    file.write_text(text)
    _, lines = station.examine(str(file))
    assert all("\n" not in line and ": " in line for line in lines)
    return [line.partition(": ")[0] for line in lines]


def test_a_good_file_has_no_findings(tmp_path: Path) -> None:
    assert found(tmp_path, GOOD) == []


def test_every_broken_rule_is_found_in_every_section(tmp_path: Path) -> None:
    text = GOOD.replace('vendor = "Vendor"', f'vendor = "{"v" * 21}"').replace('model = "Model"', 'model = " "')
    text = text.replace("max_current_a = 32", "max_current_a = 3\nphases = 7")
    assert found(tmp_path, text + SECOND) == [
        "[station] model",
        "[station] vendor",
        "[supply] max_current_a",
        "[supply] phases",
        "[[connector]] number 2 id",
        "[[connector]] number 2 cable",
        "[[connector]] number 2 meter.unit",
        "[[connector]] number 5 evse.port",
    ]


def test_unknown_names_wrong_types_and_missing_values_are_found_together(tmp_path: Path) -> None:
    text = GOOD.replace('vendor = "Vendor"', "vendor = 3").replace("max_current_a = 32", 'max_current = 32\nphases = "three"')
    text = text.replace('cable = "fixed"', "cable = true") + '[sation]\n[system]\non_reset = "never"\n'
    assert found(tmp_path, text) == [
        "top of the file",
        "[supply]",
        "[station] vendor",
        "[supply] max_current_a",
        "[supply] phases",
        "[[connector]] number 1 cable",
        # The sections whose types are right are judged too.
        "[system] on_reset",
    ]


def test_every_wrong_ocpp_key_is_found(tmp_path: Path) -> None:
    text = GOOD + '[ocpp]\nHeartbeatIntervall = 5\nResetRetries = "many"\nNumberOfConnectors = 9\nLocalAuthorizeOffline = 3.5\n'
    keys = ("HeartbeatIntervall", "ResetRetries", "LocalAuthorizeOffline", "NumberOfConnectors")
    lines = found(tmp_path, text)
    assert lines[0] == "[ocpp]"
    assert lines[1:] == [f"[ocpp] {key}" for key in keys[1:]]


def test_what_a_file_means_is_told_even_if_a_rule_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "station.toml"
    file.write_text(GOOD.replace("max_current_a = 32", "max_current_a = 3"))
    config, lines = station.examine(str(file))
    assert config is not None, "its devices can be looked at all the same"
    assert config.connectors[0].evse.port == "/dev/ttyE"
    assert len(lines) == 1


def test_a_file_that_cannot_be_read_is_one_finding(tmp_path: Path) -> None:
    config, lines = station.examine(str(tmp_path / "nowhere.toml"))
    assert (config, len(lines)) == (None, 1)
