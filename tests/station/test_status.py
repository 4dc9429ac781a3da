"""`station status` against a bus on which the services' states are published, with no supervisord about (issue 2)."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from bus import logs, sockets
from bus.clock import boottime_ns, boottime_s, hardware_boot_id
from bus.messages import (
    ClockState,
    ConnectorState,
    LinkState,
    Message,
    MeterSample,
    Moment,
    QueueState,
    ReaderState,
    ServiceHealth,
    TransactionView,
)
from bus.node import Node
from bus.observer import Observer
from bus.topics import topic_of
from bus.vocabulary import ChargePointStatus, RegistrationStatus

pytestmark = pytest.mark.process


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A broker alone; the test works in its run directory."""
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path / "run")
    command = [sys.executable, "-m", "bus.broker", "--config", "none", "--state-dir", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    yield tmp_path
    process.terminate()
    process.wait(10)


def say(*values: tuple[Message, str], message_sender: str = "") -> None:
    """Publish each value as its owner would, and wait until the broker has them all."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = sockets.publisher(context)
    assert socket.poll(5000), "no broker"
    socket.recv()
    for value, key in values:
        owner = topic_of(type(value)).publisher
        node = Node(message_sender or owner, incarnation=boottime_ns(), now=boottime_s, log=logs.logger("test"))
        node.publish(value, key)
        for frames in node.take_outgoing():
            socket.send_multipart(frames)
    with Observer("test", [type(value) for value, _ in values]) as observer:
        assert observer.wait(lambda: all(key in observer.values(type(value)) for value, key in values), 5)
    socket.close()
    context.term()


def status(state_dir: Path) -> tuple[int, dict[str, dict[str, object]]]:
    command = [sys.executable, "-m", "services.station.cli", "status", "--json", "--state-dir", str(state_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, json.loads(done.stdout)


def moment(ago_s: float) -> Moment:
    return Moment(hardware_boot_id(), round((boottime_s() - ago_s) * 1000))


def test_what_the_services_publish_is_shown(bus: Path) -> None:
    running = TransactionView("local-1", "04A1B2C3D4", moment(60), 1000, transaction_id=0)
    say(
        (LinkState(True, RegistrationStatus.ACCEPTED, 1, True, boottime_s()), ""),
        (ClockState("central_system", 1_800_000_000.0 - boottime_s()), ""),
        (ConnectorState(1, ChargePointStatus.CHARGING, moment(50), offered_a=16.0, transaction=running), "1"),
        (MeterSample(1, boottime_s(), "S1", 1500, power_w=3600.0), "1"),
        (QueueState(3, 0, moment(40)), ""),
        (ReaderState(), ""),
    )
    code, answer = status(bus)
    assert code == 2
    assert answer["link"]["online"] is True
    assert str(answer["clock"]["utc"]).startswith("2027-01-15T08:0")
    connector = answer["connectors"]["1"]
    assert isinstance(connector, dict)
    assert connector["status"] == "Charging"
    assert connector["transaction"]["transaction_id"] == 0
    assert connector["transaction"]["energy_wh"] == 500
    assert connector["reading"]["power_w"] == 3600.0
    assert answer["queue"]["depth"] == 3
    assert 40 <= float(str(answer["queue"]["oldest_age_s"])) < 100
    assert answer["reader"] == ""


def test_a_service_that_is_heard_is_shown_without_supervisord(bus: Path) -> None:
    say((ServiceHealth(os.getpid(), "1", boottime_s()), "meter"), message_sender="meter")
    _, answer = status(bus)
    services = answer["services"]
    assert isinstance(services["meter"], dict)
    assert services["meter"]["health"] == "well"
    assert services["meter"]["pid"] == os.getpid()
    assert isinstance(services["rfid"], dict)
    assert services["rfid"]["health"] == "down"
    assert "simulator" not in services


@pytest.mark.usefixtures("bus")
def test_an_observer_has_the_last_values_as_soon_as_it_is_attached() -> None:
    """design §3: a late subscriber has the current value."""
    say((QueueState(1, 0), ""), (ReaderState("no answer"), ""))
    with Observer("test", [QueueState, ReaderState]) as observer:
        assert observer.wait(observer.attached, 5)
        assert observer.values(QueueState) == {"": QueueState(1, 0)}
        assert observer.values(ReaderState) == {"": ReaderState("no answer")}


def test_an_observer_without_a_broker_gives_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Observer("test", [LinkState]) as observer:
        assert not observer.wait(observer.attached, 0.05)
        assert observer.values(LinkState) == {}
