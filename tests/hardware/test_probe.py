"""What hangs on a port is found out by questions that change nothing, and a lost device's port tells who else answers there."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from bus.mailbox import Mailbox
from services.configuration.model import METER_BAUDS, Meter
from services.hardware import probe
from services.hardware.contract import PortMissing, WrongAnswer
from services.hardware.fleet import _somebody_else
from services.hardware.port import open_port
from services.hardware.runner import DeviceDown, DeviceRunner, Report
from services.meter.drivers import meter_driver
from services.simulator.pn532 import Reader
from tests.hardware.peers import PtyPeer, bytes_of
from tests.hardware.test_meters_and_their_devices import VirtualMeter
from tests.hardware.test_runner import ScriptedDriver
from tests.hardware.virtual_evse import OFF, Pair
from tests.harness import wait_until

MakePeer = Callable[..., PtyPeer]
FRAME = bytes_of("02 30 31 30 30 43 44 41 34 45 43 38 34 03")


@pytest.fixture(autouse=True)
def _answers_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pty answers as soon as a busy machine lets it; who does not answer needs not be waited for as long as in the field."""
    monkeypatch.setattr(probe, "ANSWER_S", 0.25)


def found(device: PtyPeer) -> list[str]:
    return list(probe.who_answers(device.path, bauds=(9600,)))


@pytest.mark.parametrize(
    ("kind", "who"),
    [("openevse", "OpenEVSE, firmware 8.2.3 at 115200 baud"), ("evsewb", "EVSE-WB, firmware 18 as Modbus unit 1 at 9600 baud")],
)
def test_a_charging_controller_is_found_and_goes_on_as_it_was(peer: MakePeer, kind: str, who: str) -> None:
    """Issue 6: read-only. It sleeps, and it sleeps on."""
    pair = Pair(peer, kind).opened(OFF)
    pair.driver.close()
    before = pair.board.facts()
    assert found(pair.pty) == [who]
    assert {key: pair.board.facts()[key] for key in ("offering", "enabled") if key in before} == {
        key: before[key] for key in ("offering", "enabled") if key in before
    }


@pytest.mark.parametrize(
    ("model", "who"),
    [
        ("sdm630", "Eastron SDM630"),
        ("sdm120", "Eastron SDM120"),
        ("sdm230", "Eastron SDM230"),
        ("sdm72d-m-2", "Eastron SDM72D-M v2"),
        ("abb-b23", "ABB B23/B24"),
        ("em340", "Carlo Gavazzi EM340"),
    ],
)
def test_a_meter_is_found_with_its_model(peer: MakePeer, model: str, who: str) -> None:
    assert found(peer(VirtualMeter(model))) == [f"{who} as Modbus unit 1 at 9600 baud"]
    assert probe.is_kind(who, model)
    assert not probe.is_kind(who, "openevse")


def test_a_pn532_is_found_from_its_sleep_on(peer: MakePeer) -> None:
    reader = Reader()
    device = peer(lambda data: reader.receive(data, 1.0))
    assert found(device) == ["PN532, firmware 1.6 at 115200 baud"]


def test_behind_an_adapter_that_echoes_the_answer_is_found_too(peer: MakePeer) -> None:
    meter = VirtualMeter("sdm120")
    assert found(peer(lambda data: data + meter(data))) == ["Eastron SDM120 as Modbus unit 1 at 9600 baud"]


@pytest.mark.parametrize("answer", [lambda _: b"", lambda data: data, lambda _: bytes(range(256)) * 8])
def test_silence_echo_and_garbage_are_nobody(peer: MakePeer, answer: Any) -> None:
    assert found(peer(answer)) == []


def test_an_unknown_modbus_device_is_said_to_be_one(peer: MakePeer) -> None:
    def refuse(data: bytes) -> bytes:
        reply = bytes((data[0], data[1] | 0x80, 2))
        return reply + probe.crc(reply) if probe.crc(data[:-2]) == data[-2:] else b""

    assert found(peer(refuse)) == ["a device of no known kind as Modbus unit 1 at 9600 baud"]


@pytest.mark.parametrize(
    ("sent", "who"),
    [
        (FRAME, "RDM6300, or a reader like it"),
        (b"A1B2C3\r\n", "a line reader that sends 6 digits"),
        (b"\x020013477100\x03", "a line reader (stx-etx) that sends 10 digits"),
    ],
)
def test_a_reader_that_only_speaks_is_found_by_its_card(peer: MakePeer, sent: bytes, who: str) -> None:
    device = peer()
    reports: list[str] = []
    listening = threading.Thread(target=lambda: reports.append(probe.listened(device.path, 5.0)))
    listening.start()
    while listening.is_alive():
        device.send(sent)
        listening.join(0.05)
    assert reports == [who]


def test_a_port_that_somebody_holds_is_left_alone(peer: MakePeer) -> None:
    device = peer()
    held = open_port(device.path, 9600)
    with pytest.raises(PortMissing, match="used by another process"):
        found(device)
    assert probe.first_answer(device.path) == ""
    held.close()


def test_the_checksum_is_that_of_the_vectors() -> None:
    """hardware.md §2.3."""
    assert probe.crc(bytes_of("01 03 03 E8 00 07")) == bytes_of("84 78")
    assert probe.words_of(bytes_of("01 83 02 C0 F1"), 1, 3) == []
    assert probe.words_of(bytes_of("02 04 04 43 66 33 33 69 FA"), 2, 4) == [0x4366, 0x3333]
    assert probe.words_of(bytes_of("02 04 04 43 66 33 33 69 FB"), 2, 4) is None


def test_the_driver_names_another_model_of_the_same_maker(peer: MakePeer) -> None:
    """Its registers would be read well, but for those that it does not have."""
    driver = meter_driver(Meter(driver="sdm630", port="", baud=METER_BAUDS["sdm630"]), peer(VirtualMeter("sdm120")).path)
    with pytest.raises(WrongAnswer, match=r"is an Eastron SDM120, not an SDM630; correct station\.toml"):
        driver.open()


def test_a_lost_device_is_told_with_who_answers_in_its_place(peer: MakePeer) -> None:
    """Issue 6: another device than configured; two cables were swapped."""
    reader = Reader()
    device = peer(lambda data: reader.receive(data, 1.0))
    reports: Mailbox[Report[str]] = Mailbox()
    driver = ScriptedDriver()
    driver.open_failure = WrongAnswer("it does not answer as an OpenEVSE")
    runner = DeviceRunner("evse-1", driver, reports, who=lambda: _somebody_else(device.path, "openevse"))
    runner.start()
    told: list[str] = []

    def heard() -> bool:
        told.extend(report.reason for report in reports.drain() if isinstance(report, DeviceDown))
        return len(told) == 2

    wait_until(heard, 10, "the loss and who is there are told")
    assert runner.stop(3.0)
    assert told == [
        "it does not answer as an OpenEVSE",
        "it does not answer as an OpenEVSE; but PN532, firmware 1.6 at 115200 baud answers there",
    ]


def test_a_device_of_the_right_kind_is_not_somebody_else(peer: MakePeer) -> None:
    assert _somebody_else(peer(VirtualMeter("sdm630")).path, "sdm630") == ""
