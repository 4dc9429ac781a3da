"""The conformance kit of meters and readers: every driver against its virtual device, with one set of cases (issue 6).

A new meter is in METER_BAUDS and has its virtual one; a new reader is one line in READERS.
"""

import contextlib
import math
import select
from collections.abc import Callable
from typing import Any

import pytest

from bus.card_messages import CardOutcome
from bus.clock import boottime_s
from services.configuration.model import METER_BAUDS, READER_DRIVERS, Meter, Reader
from services.hardware.contract import DeviceError, Driver, MeterDesired, PortMissing, RawReading, ReaderDesired, TokenSeen
from services.hardware.link import FAILURES_MAX
from services.meter.drivers import meter_driver
from services.rfid.drivers import reader_driver
from services.simulator.readers import CardReader, made
from services.simulator.settings import ReaderSettings
from tests.hardware.peers import PtyPeer
from tests.hardware.test_conformance_controllers import SPOILT, TOO_LATE, spoil
from tests.hardware.test_meters_and_their_devices import VirtualMeter

MakePeer = Callable[..., PtyPeer]
NOW = MeterDesired(math.inf)
READER_SECTIONS = {
    "rdm6300": Reader(driver="rdm6300"),
    "pn532": Reader(driver="pn532", wait_pin="P33", accepted_pin="P30", refused_pin="P71"),
    "line": Reader(driver="line"),
    "hid": Reader(driver="hid"),
}
SHOWN = {"pn532": ("P33", "P30", "P71"), "hid": ("ScrollLock", "NumLock", "CapsLock")}
"""What is lit for wait, accepted and refused; the other readers only ever send."""
READERS = {"rdm6300": "0100CDA4EC", "pn532": "04A1B2C3D4E580", "line": "04A1B2C3D4E580", "hid": "DEADBEEF"}
"""Each driver, and a card that its reader can carry."""


class MeterPair:
    """One meter driver with its virtual meter on a pty."""

    def __init__(self, make: MakePeer, model: str) -> None:
        self.meter = VirtualMeter(model)
        self.pty = make(self.meter)
        self.driver = meter_driver(Meter(driver=model, port="", baud=115200), self.pty.path)

    def read(self) -> RawReading:
        (found,) = self.driver.exchange(NOW)
        return found

    def read_as_its_runner(self) -> RawReading:
        """So many failures in a row are borne before a device counts as lost, and a busy machine may add one of its own."""
        for _ in range(FAILURES_MAX - 1):
            with contextlib.suppress(DeviceError):
                return self.read()
        return self.read()


@pytest.fixture(params=METER_BAUDS)
def meter(peer: MakePeer, request: pytest.FixtureRequest) -> MeterPair:
    return MeterPair(peer, request.param)


@pytest.mark.parametrize("how", SPOILT)
def test_a_meters_reply_that_is_spoilt_is_made_good(meter: MeterPair, how: str) -> None:
    meter.driver.open()
    wanted = meter.read_as_its_runner().energy_import_wh
    spoil(meter.pty, SPOILT[how], 1)
    assert meter.read_as_its_runner().energy_import_wh == wanted
    meter.driver.close()


def test_a_meters_reply_that_is_too_late_is_no_answer_to_the_next_question(meter: MeterPair) -> None:
    meter.driver.open()
    wanted = meter.read_as_its_runner()
    spoil(meter.pty, TOO_LATE, 1)
    with contextlib.suppress(DeviceError):
        meter.read()
    found = [meter.read_as_its_runner() for _ in range(2)]
    assert [(one.energy_import_wh, one.voltages_v) for one in found] == [(wanted.energy_import_wh, wanted.voltages_v)] * 2
    meter.driver.close()


def test_a_meter_behind_an_echoing_adapter_is_read_and_without_it_again(meter: MeterPair) -> None:
    answer = meter.pty.answer
    meter.pty.answer = lambda data: data + answer(data)
    meter.driver.open()
    wanted = meter.read_as_its_runner()
    meter.pty.answer = answer
    assert meter.read_as_its_runner().energy_import_wh == wanted.energy_import_wh
    meter.driver.close()


@pytest.mark.parametrize(
    "answer", [lambda _: b"", lambda _: bytes(range(255)), lambda data: data], ids=["mute", "garbage", "echo"]
)
def test_what_is_no_meter_is_an_error_and_its_return_ends_it(meter: MeterPair, answer: Any) -> None:
    meter.driver.open()
    meter.read_as_its_runner()
    real, meter.pty.answer = meter.pty.answer, answer
    before = meter.driver.counters()
    with pytest.raises(DeviceError):
        meter.read()
    after = meter.driver.counters()
    assert after.timeouts + after.errors > before.timeouts + before.errors
    meter.pty.answer = real
    meter.driver.open()
    assert meter.read_as_its_runner().energy_import_wh > 0
    meter.driver.close()


def test_a_meter_that_is_pulled_out_is_missing_and_read_when_it_is_back(meter: MeterPair) -> None:
    meter.driver.open()
    meter.pty.vanish()
    with pytest.raises(PortMissing):
        meter.read()
    with pytest.raises(PortMissing):
        meter.driver.open()
    meter.pty.appear()
    meter.driver.open()
    meter.meter.register_wh += 100_000.0
    assert meter.read_as_its_runner().energy_import_wh == meter.meter.meter.shown_wh(meter.meter.register_wh)
    meter.driver.close()


class ReaderPair:
    """One reader driver with its virtual reader on a pty."""

    def __init__(self, make: MakePeer, name: str) -> None:
        self.reader: CardReader = made(ReaderSettings(name))
        self.pty = make(lambda data: self.reader.receive(data, boottime_s()))
        self.driver: Driver[ReaderDesired, TokenSeen] = reader_driver(READER_SECTIONS[name], self.pty.path)
        self.tag = READERS[name]

    def swipe(self) -> None:
        """Hold the card there; what is sent unasked comes at once."""
        self.reader.swipe(self.tag, boottime_s())
        sent = self.reader.advance(boottime_s())
        if sent:
            self.pty.send(sent)

    def heard(self) -> list[TokenSeen]:
        """What the driver sees within a second."""
        until_s = boottime_s() + 1.0
        found: list[TokenSeen] = []
        while not found and boottime_s() < until_s:
            descriptor = self.driver.fileno()
            if descriptor is not None:
                select.select([descriptor], [], [], 0.2)
            found = self.driver.exchange(None)
        return found

    def shows(self, outcome: CardOutcome | None) -> tuple[str, ...]:
        """What is lit at the reader within a second once this is to be shown."""
        wanted = (SHOWN[self.driver.name][list(CardOutcome).index(outcome)],) if outcome and self.driver.name in SHOWN else ()
        self.driver.exchange(ReaderDesired(outcome))
        until_s = boottime_s() + 1.0
        while self.reader.lamps != wanted and boottime_s() < until_s:
            select.select([], [], [], 0.01)
        assert self.reader.lamps == wanted
        return wanted


@pytest.fixture(params=READERS)
def reader(peer: MakePeer, request: pytest.FixtureRequest) -> ReaderPair:
    return ReaderPair(peer, request.param)


def test_every_reader_of_station_toml_is_in_the_kit() -> None:
    assert set(READERS) == set(READER_DRIVERS)


def test_a_card_is_read_whole(reader: ReaderPair) -> None:
    """Field report 49: nothing of a long UID is cut."""
    reader.driver.open()
    assert reader.driver.exchange(None) == []
    reader.swipe()
    assert reader.heard()[0].uid == reader.tag
    reader.driver.close()


def test_garbage_is_no_card_and_the_next_card_is_read(reader: ReaderPair) -> None:
    reader.driver.open()
    reader.pty.send(b"\x02\x00\xff\xff\x03garbage\r\n" + bytes(range(128, 255)))
    try:
        assert reader.driver.exchange(None) == []
    except DeviceError:
        reader.driver.open()
    reader.driver.open()
    reader.swipe()
    assert reader.heard()[0].uid == reader.tag
    reader.driver.close()


def test_a_reader_that_is_pulled_out_is_missing_and_reads_when_it_is_back(reader: ReaderPair) -> None:
    reader.driver.open()
    reader.pty.vanish()
    with pytest.raises(PortMissing):
        reader.driver.exchange(None)
    with pytest.raises(PortMissing):
        reader.driver.open()
    reader.pty.appear()
    reader.driver.open()
    reader.swipe()
    assert reader.heard()[0].uid == reader.tag
    reader.driver.close()
    reader.driver.close()


def test_a_reader_shows_what_becomes_of_a_card_as_far_as_it_can(reader: ReaderPair) -> None:
    """Issue 6: accepted, refused, wait where the device can show it; and cards are read all the same."""
    reader.driver.open()
    lit = [reader.shows(outcome) for outcome in (*CardOutcome, None)]
    assert lit[-1] == ()
    assert len(set(lit)) == (4 if reader.driver.name in SHOWN else 1)
    reader.shows(CardOutcome.WAIT)
    reader.swipe()
    assert reader.heard()[0].uid == reader.tag
    assert reader.driver.counters().errors == 0
    reader.driver.close()


def test_a_reader_that_was_away_shows_what_it_has_to_show_by_now(reader: ReaderPair) -> None:
    reader.driver.open()
    reader.shows(CardOutcome.WAIT)
    reader.pty.vanish()
    with pytest.raises(PortMissing):
        reader.driver.exchange(ReaderDesired(CardOutcome.ACCEPTED))
    reader.reader = made(ReaderSettings(reader.driver.name))
    reader.pty.appear()
    reader.driver.open()
    reader.shows(CardOutcome.WAIT)
    reader.driver.close()


def test_a_reader_behind_an_echoing_adapter_is_read(peer: MakePeer) -> None:
    """The others say nothing that could be echoed."""
    pair = ReaderPair(peer, "pn532")
    answer = pair.pty.answer
    pair.pty.answer = lambda data: data + answer(data)
    pair.driver.open()
    pair.swipe()
    assert pair.heard()[0].uid == pair.tag
    assert pair.driver.counters().errors == 0
    pair.driver.close()
