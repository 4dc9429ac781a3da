"""The meter service on a node: who gets which reading, and when (design §4.1)."""

from typing import Any

import pytest

from bus import logs
from bus.calls import Reply
from bus.messages import MeterSample, MeterState, ReadMeter
from bus.node import Node
from services.hardware.contract import MeterDesired, RawReading
from services.meter import quality
from services.meter.service import MeterService


class World:
    """The service and one who asks, joined in memory, under a clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.desired: list[MeterDesired] = []
        log = logs.logger("test")
        self.meter = Node("meter", incarnation=1, now=lambda: self.now_s, log=log)
        self.asker = Node("connectors", incarnation=1, now=lambda: self.now_s, log=log)
        self.samples: list[MeterSample] = []
        self.states: list[MeterState] = []
        self.replies: list[Reply] = []
        self.asker.watch(MeterSample, lambda _, sample: self.samples.append(sample))
        self.asker.watch(MeterState, lambda _, state: self.states.append(state))
        self.service = MeterService(self.meter, self, log, {1: 11_000.0})
        self.deliver()

    def set_desired(self, connector_id: int, desired: MeterDesired) -> None:
        """As the meters' threads."""
        assert connector_id == 1
        self.desired.append(desired)

    def deliver(self) -> None:
        """All frames in both directions."""
        for sender, receiver in ((self.meter, self.asker), (self.asker, self.meter), (self.meter, self.asker)):
            for frame in sender.take_outgoing():
                receiver.receive(list(frame))

    def read(self, energy_wh: int, serial: str = "A", **more: Any) -> None:
        """The meter was read, now."""
        self.service.feed(1, quality.ReadingTaken(RawReading(self.now_s, serial, energy_wh, **more)))
        self.deliver()

    def ask(self, not_before_s: float, timeout_s: float = 2.0) -> None:
        """A call for a reading."""
        self.asker.call(ReadMeter(1, not_before_s), timeout_s=timeout_s, on_reply=self.replies.append)
        self.deliver()

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds
        for node in (self.meter, self.asker):
            node.tick()
        self.service.tick()
        self.deliver()


@pytest.fixture
def world() -> World:
    found = World()
    found.read(1000)
    found.later(0.2)
    found.read(1000)
    return found


def test_the_first_reading_is_published_once_it_is_confirmed(world: World) -> None:
    """Field report 36: a first garbled poll bills nobody."""
    assert [sample.energy_import_wh for sample in world.samples] == [1000]
    assert world.desired, "the second reading was asked for at once"


def test_a_reading_that_is_fresh_enough_is_given_at_once(world: World) -> None:
    world.ask(world.now_s - 0.1)
    assert [reply.value.energy_import_wh for reply in world.replies] == [1000]


def test_a_fresh_reading_is_taken_and_given(world: World) -> None:
    """Design §4.1: `meter.read(not_before)`."""
    world.later(0.5)
    world.ask(world.now_s)
    assert world.replies == []
    assert world.desired[-1] == MeterDesired(world.now_s)
    world.read(1001)
    assert [reply.value.energy_import_wh for reply in world.replies] == [1001]


def test_nobody_gets_an_old_reading_for_a_fresh_one(world: World) -> None:
    """Field report 34: with a silent meter the call times out."""
    world.later(0.5)
    world.ask(world.now_s)
    world.later(2.1)
    assert [reply.timed_out for reply in world.replies] == [True]
    world.read(1002)
    assert len(world.replies) == 1


def test_a_connector_without_a_meter_is_refused_in_words(world: World) -> None:
    world.asker.call(ReadMeter(9, 0.0), timeout_s=2.0, on_reply=world.replies.append)
    world.deliver()
    assert [reply.error for reply in world.replies] == ["connector 9 has no meter"]


def test_a_silent_meter_fails_and_its_return_clears_it(world: World) -> None:
    """PowerMeterFailure after debounce (OCPP 1.6 §7.6, field report 34)."""
    world.service.feed(1, quality.MeterDown("cable out"))
    world.later(6.0)
    assert world.states[-1] == MeterState(1, "cable out")
    for _ in range(3):
        world.read(1003)
        world.later(0.2)
    assert world.states[-1] == MeterState(1, "")


@pytest.mark.parametrize("energy_wh", [5, 900_000])
def test_a_replaced_meter_is_counted_whatever_its_register_and_serial(world: World, energy_wh: int) -> None:
    """Design §4.1: the transaction has to know that the register does not go on, upwards as well."""
    for _ in range(quality.CONFIRMATIONS_REPLACED):
        world.later(0.2)
        world.read(energy_wh)
    assert world.samples[-1].energy_import_wh == energy_wh
    assert [sample.replacements for sample in world.samples] == [0] * (len(world.samples) - 1) + [1]
