"""A running station and a station.toml that changes under it: what has to be restarted, and what must not be (issue 7)."""

import json
from pathlib import Path

import pytest

from services.station import command_log
from services.station.config_changes import Changes, changes_of
from tests.harness import Station, config, wait_until


def test_a_file_that_this_user_can_not_read_is_nothing_wrong(tmp_path: Path) -> None:
    assert changes_of("", virtual=True, started={}) == Changes()
    assert changes_of(str(tmp_path / "gone" / "station.toml"), virtual=True, started={}) == Changes()


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    path = tmp_path / "station.toml"
    assert changes_of(str(path), virtual=True, started={}).problem == f"{path} is not there"


def test_the_log_of_commands_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    for _ in range(100):
        command_log.note(str(tmp_path), "x" * 20_000, command="station restart meter")
    sizes = [file.stat().st_size for file in (tmp_path / "log").iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < 300_000


def test_a_log_that_can_not_be_written_prevents_nothing(tmp_path: Path) -> None:
    command_log.note(str(tmp_path / "gone"), "event")
    assert not (tmp_path / "gone").exists()


@pytest.mark.process
def test_a_changed_file_names_the_restarts_that_apply_it(tmp_path: Path) -> None:
    text = config()
    with Station(text, state_dir=tmp_path / "state") as station:

        def warnings() -> list[str]:
            return [reason["text"] for reason in station.status()["warnings"]]

        assert warnings() == []
        station.config_path.write_text(text.replace("max_current_a = 32", "max_current_a = 16"))
        expected = "[supply] of station.toml changed: station restart ocpp_link connectors meter"
        assert warnings() == [expected]
        checked = station.command("check", "--virtual", "--config", str(station.config_path))
        assert f"advice: {expected}" in checked.stderr.splitlines()
        done = station.command("restart", "meter", "ocpp_link", "connectors")
        assert (done.returncode, done.stdout.count(" works again after ")) == (0, 3)
        wait_until(lambda: warnings() == [], 10, "all go by the file")

        station.config_path.write_text(text + '\n[metrics]\nlisten = "127.0.0.1:9464"\n[policy]\nnonsense = 1\n')
        assert "unknown key 'nonsense'" in warnings()[0]
        refused = station.command("restart", "meter")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "nothing is restarted, it would not start again" in refused.stderr
        station.config_path.write_text(text + '\n[metrics]\nlisten = "127.0.0.1:9464"\n')
        assert warnings()[0] == "[metrics] of station.toml was added or removed: end the station and start it anew"

        lines = [json.loads(line) for line in station.command("logs", "commands", "--json").stdout.splitlines()]
        assert [(line["service_name"], line["event"]) for line in lines[:2]] == [
            ("meter", "restart of a service is commanded"),
            ("meter", "service works again after a restart"),
        ]
        assert (lines[1]["command"], float(lines[1]["gone_s"]) > 0) == ("station restart meter", True)
        assert len(lines) == 6
