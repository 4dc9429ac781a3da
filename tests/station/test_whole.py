"""The real services on virtual hardware, under the real supervisord (issue 2, `station` command and acceptance 2)."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.station.programs import programs
from tests.harness import CommandFailed, Station, wait_until

pytestmark = pytest.mark.process

SERVICES = [program.name for program in programs(virtual=True) if program.on_bus]


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """One for all tests here, in a directory whose path has more than 200 characters."""
    directory: Path = tmp_path_factory.mktemp("whole") / ("x" * 200)
    with Station(state_dir=directory) as found:
        yield found


def works(station: Station, service: str, *, other_than: int) -> bool:
    row: dict[str, Any] = station.status()["services"][service]
    return row["pid"] not in (0, other_than) and row["state"] in ("STARTING", "RUNNING") and row["health"] == "well"


def test_all_services_and_devices_are_up_without_a_central_system(station: Station) -> None:
    def healths() -> set[str]:
        return {row["health"] for row in station.status()["services"].values()}

    wait_until(lambda: healths() == {"well"}, 20, "all services are well")
    answer = station.status()
    assert set(answer["services"]) == {*SERVICES, "simulator"}
    assert answer["reasons"][0]["text"].startswith("not connected to the Central System")
    assert answer["connectors"]["1"]["status"] == "Available"
    assert all(device["connected"] for row in answer["services"].values() for device in row["devices"])


def test_hands_on_the_virtual_hardware_are_felt(station: Station) -> None:
    station.sim("plug-in", "1")
    wait_until(lambda: station.status()["connectors"].get("1", {}).get("plugged"), 10, "the car is seen")
    assert station.sim("state")["connectors"]["1"]["car"]["plugged"]
    station.sim("plug-out", "1")
    wait_until(lambda: station.status()["connectors"]["1"]["status"] == "Available", 10, "the car has gone")


def test_what_the_hardware_cannot_do_is_one_line_and_code_1(station: Station) -> None:
    done = station.command("sim", "plug-in", "9")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    with pytest.raises(CommandFailed, match="there is no connector"):
        station.sim("plug-in", "9")


def test_devices_are_listed_with_who_they_are_and_their_counters(station: Station) -> None:
    """Issue 6: what is configured, what answers, how it identifies itself; asked over the bus, on a station that runs."""
    done = station.command("devices", "--json")
    assert done.returncode == 0, done.stderr
    found = {device["name"]: device for device in json.loads(done.stdout)}
    assert set(found) == {"evse-1", "meter-1", "reader", "estop"}
    assert (found["evse-1"]["driver"], found["evse-1"]["port"]) == ("openevse", "dev/evse-1")
    assert found["evse-1"]["identity"] == "OpenEVSE OpenEVSE 8.2.3"
    assert found["meter-1"]["replies"] > 0
    text = station.command("devices").stdout
    assert "configured as sdm120 at dev/meter-1" in text
    assert re.search(r"sent \d+, answered \d+, timeouts \d+, errors \d+, reconnects 0", text)
    assert "well: estop, evse-1 answer" in station.command("status").stdout


def test_the_last_frames_of_a_device_are_shown(station: Station) -> None:
    """Issue 6: a ring of the last frames, shown by `station devices trace NAME`."""
    lines = station.command("devices", "trace", "evse-1").stdout.splitlines()
    assert any(" > 24 47 53 " in line and line.endswith("$GS :" + line[-5:]) for line in lines)
    assert any(" < 24 4f 4b " in line for line in lines)
    frames = [json.loads(line) for line in station.command("devices", "--json", "trace", "meter-1").stdout.splitlines()]
    assert {frame["sent"] for frame in frames} == {True, False}
    assert any(frame["data"].startswith("0104") for frame in frames)
    done = station.command("devices", "trace", "meter-9")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert "there is no device 'meter-9'; there is " in done.stderr


def test_a_port_that_a_service_holds_is_asked_of_the_service(station: Station) -> None:
    """Issue 6: `station devices probe PORT` is safe on a live station."""
    port = str(station.state_dir / "dev" / "evse-1")
    before = station.status()["services"]["connectors"]["devices"]
    done = station.command("devices", "probe", port)
    assert done.returncode == 0, done.stderr
    assert "is held by the running station" in done.stdout
    assert "answers: OpenEVSE OpenEVSE 8.2.3" in done.stdout
    after = station.status()["services"]["connectors"]["devices"]
    assert [(d["timeouts"], d["errors"], d["reconnects"]) for d in after] == [
        (d["timeouts"], d["errors"], d["reconnects"]) for d in before
    ]
    done = station.command("devices", "probe", str(station.state_dir / "dev" / "none"))
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "is not there" in done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_restarted_works_again(station: Station, service: str) -> None:
    before = station.pid(service)
    assert "works again" in station.restart(service)
    assert works(station, service, other_than=before)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_killed_works_again(station: Station, service: str) -> None:
    before = station.kill(service)
    wait_until(lambda: works(station, service, other_than=before), 15, f"{service} works again")


def test_the_log_tells_of_the_kills_in_the_order_of_time(station: Station) -> None:
    lines = station.command("logs", "-n", "1000").stdout.splitlines()
    stamps = [line[:24] for line in lines if line.startswith("2")]
    assert stamps == sorted(stamps)
    assert any("terminated by SIGKILL" in line and "service=supervisord" in line for line in lines)


def test_nothing_survives_supervisord_and_the_next_run_starts_clean(station: Station) -> None:
    station.kill_supervisord()
    wait_until(lambda: not station.processes(), 10, "every process dies with supervisord")
    station.start()
    assert set(station.processes()) == {*SERVICES, "simulator", "supervisord"}
