"""`station status` and `station restart` on a running station, with parts of it down (design §2: whatever is down)."""

import signal
from pathlib import Path
from typing import Any

import pytest

from bus.process import lock_holder
from services.station import paths
from services.station.supervisor_client import SupervisorClient
from tests.harness import CommandFailed, wait_until
from tests.station.conftest import StandInStation

pytestmark = pytest.mark.process


def test_status_shows_each_process_with_pid_uptime_and_health(stand_ins: StandInStation) -> None:
    """Issue 2: `station status --json`."""
    answer = wait_until(lambda: _healths(stand_ins, "well"), 10, "all services are heard")
    for name in ("broker", "meter", "rfid"):
        row = answer["services"][name]
        assert (row["state"], row["pid"], row["health"]) == ("RUNNING", stand_ins.pid(name), "well")
        assert row["uptime_s"] >= 0
    assert answer["supervisord_pid"] == stand_ins.pid("supervisord")
    assert answer["bus"]
    assert answer["virtual"]
    assert answer["config"] == str(stand_ins.config_path)


def test_status_for_people_answers_in_its_first_line_and_by_its_exit_code(stand_ins: StandInStation) -> None:
    done = stand_ins.command("status")
    assert done.returncode == 2
    assert done.stdout.startswith("NOT WELL: nothing is known of the link to the Central System; nothing is known of")
    assert len(done.stdout.splitlines()) < 24


def test_status_without_the_bus_shows_what_supervisord_knows(stand_ins: StandInStation) -> None:
    stand_ins.kill("broker", signal.SIGSTOP)
    answer = stand_ins.status()
    stand_ins.kill("broker", signal.SIGCONT)
    assert not answer["bus"]
    assert answer["reasons"][0]["text"] == "the bus does not answer, so only the processes are known"
    assert answer["services"]["meter"]["state"] == "RUNNING"
    assert answer["services"]["meter"]["health"] == "unknown"


def test_status_without_supervisord_shows_what_the_bus_knows(stand_ins: StandInStation) -> None:
    wait_until(lambda: _healths(stand_ins, "well"), 10, "all services are heard")
    stand_ins.kill("supervisord", signal.SIGSTOP)
    answer = stand_ins.status()
    stand_ins.kill("supervisord", signal.SIGCONT)
    assert not answer["supervisord"]
    assert "supervisord does not answer" in answer["reasons"][0]["text"]
    assert answer["services"]["meter"] == answer["services"]["meter"] | {"state": "unknown", "health": "well"}
    assert answer["services"]["meter"]["pid"] == stand_ins.pid("meter")


def test_status_of_a_station_that_does_not_run_is_one_line_and_code_3(stand_ins: StandInStation, tmp_path: Path) -> None:
    assert stand_ins.stop() == []
    done = stand_ins.command("status")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    with pytest.raises(CommandFailed, match="code 3: station status: no station runs in"):
        StandInStation(state_dir=tmp_path / "empty").status()


def test_restart_waits_until_the_service_is_heard_again(stand_ins: StandInStation) -> None:
    before = stand_ins.pid("meter")
    line = stand_ins.restart("meter")
    after = stand_ins.pid("meter")
    assert before != after
    assert f"(process {before} -> {after})" in line
    assert stand_ins.status()["services"]["meter"]["health"] == "well"
    assert stand_ins.log("meter").count("event=stopped") == 1


def test_restart_of_the_broker_brings_the_bus_back(stand_ins: StandInStation) -> None:
    stand_ins.restart("broker")
    wait_until(lambda: _healths(stand_ins, "well"), 10, "all services are heard by the new broker")


def test_restart_kills_a_service_that_hangs(stand_ins: StandInStation) -> None:
    stand_ins.kill("rfid", signal.SIGSTOP)
    assert "it had to be killed" in stand_ins.restart("rfid")


def test_restart_of_an_unknown_service_names_those_that_there_are(stand_ins: StandInStation) -> None:
    done = stand_ins.command("restart", "nobody")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "there is no service 'nobody'; there is broker, meter, rfid" in done.stderr


def test_a_killed_service_is_started_again(stand_ins: StandInStation) -> None:
    before = stand_ins.kill("meter")
    wait_until(lambda: stand_ins.processes().get("meter", before) != before, 10, "supervisord starts it again")
    wait_until(lambda: _healths(stand_ins, "well"), 10, "it is heard again")


def test_a_reload_of_supervisord_keeps_the_lock_and_the_waker(
    stand_ins: StandInStation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`supervisorctl reload` closes descriptors by number."""
    before = stand_ins.processes()
    monkeypatch.chdir(stand_ins.state_dir / "run")
    SupervisorClient().reload()
    wait_until(lambda: stand_ins.processes().get("meter") not in (None, before["meter"]), 20, "the services are new")
    assert lock_holder(paths.STATION_LOCK) == before["supervisord"] == stand_ins.pid("supervisord")
    wait_until(lambda: _healths(stand_ins, "well"), 20, "all services are heard")
    killed = stand_ins.kill("meter")
    wait_until(lambda: stand_ins.processes().get("meter", killed) != killed, 10, "supervisord starts it again")


def _healths(station: StandInStation, word: str) -> dict[str, Any]:
    """The status once every service's health is `word`; {} before."""
    try:
        answer = station.status()
    except CommandFailed:
        return {}
    return answer if {row["health"] for row in answer["services"].values()} == {word} else {}
