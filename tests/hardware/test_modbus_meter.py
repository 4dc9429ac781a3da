"""The meter driver against a scripted Modbus slave on a pty (hardware.md §2.3, §4.1)."""

import math
from collections.abc import Callable

import pytest

from bus.clock import boottime_s
from services.hardware.contract import MeterDesired, NoAnswer, PortMissing, RawReading, WrongAnswer
from services.hardware.modbus import Wire
from services.meter.drivers.modbus import ModbusMeter
from services.meter.drivers.models import MODELS, Block, Model, Quantity, Row, Type
from tests.hardware.peers import PtyPeer, ScriptedMeter, bytes_of, crc

MakePeer = Callable[..., PtyPeer]
NOW = MeterDesired(math.inf)
"""Wants a reading that is newer than any: each exchange reads."""

SDM630 = {0x00: 230.1, 0x02: 230.2, 0x04: 230.3, 0x06: 1.1, 0x08: 1.2, 0x0A: 1.3, 0x0C: 253.0, 0x0E: 276.0, 0x10: 299.0}
SDM630 |= {0x34: 828.0, 0x3E: 0.98, 0x46: 50.01, 0x48: 1234.567, 0x4A: 12.0}
SDM120 = {0x00: 229.0, 0x06: 10.0, 0x0C: 2290.0, 0x1E: 1.0, 0x46: 49.98, 0x48: 0.5, 0x4A: 0.0}


PLAIN = Model(vendor="", name="", rows=(), blocks=())


class Bench:
    """A meter, its pty, and the driver under test."""

    def __init__(self, make: MakePeer, model: str = "sdm630", **meter: object) -> None:
        self.meter = ScriptedMeter(**meter)  # type: ignore[arg-type]
        self.meter.values = dict(SDM630 if model == "sdm630" else SDM120)
        self.pty = make(self.meter)
        self.ahead_s = 0.0
        self.driver = ModbusMeter(
            Wire("meter", self.pty.path, 9600, "E", self.meter.unit),
            MODELS[model],
            now=lambda: boottime_s() + self.ahead_s,
        )

    def read(self) -> RawReading:
        (reading,) = self.driver.exchange(NOW)
        return reading


@pytest.mark.parametrize(
    ("frame", "answer"),
    [
        ("02 04 00 00 00 02 71 F8", "02 04 04 43 66 33 33 69 FA"),
        ("02 04 00 48 00 02 F1 EE", "02 04 04 44 9A 52 25 00 E0"),
    ],
)
def test_the_scripted_meter_speaks_as_the_vectors(frame: str, answer: str) -> None:
    """hardware.md §2.3: it checks the driver only as far as it is right itself."""
    meter = ScriptedMeter(unit=2)
    meter.values = {0x0000: 230.2, 0x0048: 1234.567}
    assert meter(bytes_of(frame)) == bytes_of(answer)
    assert crc(bytes_of("01 03 03 E8 00 07")) == bytes_of("84 78")


@pytest.mark.parametrize(
    ("row", "words", "value"),
    [
        (Row(Quantity.VOLTAGE, 0), [0x4366, 0x3333], 230.2),
        (Row(Quantity.IMPORT, 0x48, scale=1000.0), [0x449A, 0x5225], 1_234_567.0),
        (Row(Quantity.IMPORT, 0x5000, scale=10.0, type=Type.U64), [0, 0, 1, 0xE240], 1_234_560.0),
        (Row(Quantity.POWER, 0x5B14, scale=0.01, type=Type.S32), [0xFFFF, 0xC568], -150.0),
        (Row(Quantity.FREQUENCY, 0x5B2C, scale=0.01, type=Type.U16), [5001], 50.01),
        (Row(Quantity.POWER_FACTOR, 0x5B3A, scale=0.001, type=Type.S16), [0xFC18], -1.0),
    ],
)
def test_a_row_says_type_and_scale_of_its_value(row: Row, words: list[int], value: float) -> None:
    """hardware.md §4.1, §4.2: one type per table row."""
    assert len(words) == row.type.registers
    assert PLAIN.value(row, words) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_each_plan_fetches_every_value_once_and_not_too_much_at_a_time(model: object) -> None:
    """SDM72D-M takes at most 60 registers a request."""
    assert isinstance(model, type(MODELS["sdm630"]))
    for row in model.rows:
        assert sum(block.holds(row) for block in model.blocks) == 1
    assert all(block.count <= 60 for block in model.blocks)


def test_a_three_phase_meter_is_read_in_two_requests(peer: MakePeer) -> None:
    bench = Bench(peer, unit=2)
    info = bench.driver.open()
    assert (info.vendor, info.model, info.serial) == ("Eastron", "SDM630", "12345")
    began_s = boottime_s()
    reading = bench.read()
    assert began_s <= reading.read_boottime_s <= boottime_s()
    assert bench.meter.requests[:2] == [(3, 0xFC00, 2), (3, 0xFC02, 1)], "who is it, and is it of the configured model"
    assert bench.meter.requests[2:] == [(3, 0xFC00, 2), (4, 0x0000, 18), (4, 0x0034, 24)]
    assert (reading.serial, reading.energy_import_wh, reading.energy_export_wh) == ("12345", 1_234_567, 12_000)
    assert reading.power_w == 828.0
    assert reading.voltages_v == pytest.approx((230.1, 230.2, 230.3), rel=1e-6)
    assert reading.currents_a == pytest.approx((1.1, 1.2, 1.3), rel=1e-6)
    assert reading.powers_w == (253.0, 276.0, 299.0)
    assert reading.frequency_hz == pytest.approx(50.01, rel=1e-6)
    assert reading.power_factor == pytest.approx(0.98, rel=1e-6)


def test_a_single_phase_meter_has_one_value_of_each(peer: MakePeer) -> None:
    bench = Bench(peer, "sdm120")
    bench.driver.open()
    reading = bench.read()
    assert (reading.power_w, reading.voltages_v, reading.currents_a, reading.powers_w) == (2290.0, (229.0,), (10.0,), (2290.0,))
    assert reading.energy_import_wh == 500


def test_a_reading_is_taken_each_period_or_when_a_newer_one_is_wanted(peer: MakePeer) -> None:
    bench = Bench(peer)
    bench.driver.open()
    (first,) = bench.driver.exchange(None)
    assert bench.driver.exchange(MeterDesired(first.read_boottime_s)) == []
    assert bench.driver.exchange(MeterDesired(first.read_boottime_s + 0.001)) != []
    bench.ahead_s += 1.0
    assert bench.driver.exchange(None) != []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_a_wrong_answer_that_names_the_value(peer: MakePeer, value: float) -> None:
    """Field report 36."""
    bench = Bench(peer)
    bench.driver.open()
    bench.meter.values[0x08] = value
    with pytest.raises(WrongAnswer, match="gives no number as current of L2"):
        bench.read()


def test_a_refused_block_is_read_value_by_value_and_that_is_remembered(peer: MakePeer) -> None:
    """hardware.md §4.1: exception 2 where the block has holes."""
    bench = Bench(peer)
    bench.meter.holes = {0x36, 0x40}
    bench.driver.open()
    assert bench.read().energy_import_wh == 1_234_567
    bench.meter.requests.clear()
    assert bench.read().power_w == 828.0
    assert bench.meter.requests[1:] == [(4, 0, 18), *((4, address, 2) for address in (0x34, 0x3E, 0x46, 0x48, 0x4A))]


def test_a_value_that_the_model_lacks_is_left_out(peer: MakePeer) -> None:
    bench = Bench(peer)
    bench.meter.holes = {0x3E, 0x4A}
    bench.driver.open()
    reading = bench.read()
    assert (reading.power_factor, reading.energy_export_wh, reading.energy_import_wh) == (None, None, 1_234_567)


def test_a_device_without_an_import_register_is_another_one(peer: MakePeer) -> None:
    bench = Bench(peer)
    bench.meter.holes = {0x48}
    bench.driver.open()
    with pytest.raises(WrongAnswer, match="has no import register; is it of kind SDM630"):
        bench.read()


def test_a_meter_without_a_serial_number_is_read_all_the_same(peer: MakePeer) -> None:
    bench = Bench(peer, serial=None)
    assert bench.driver.open().serial == ""
    assert bench.read().serial == ""


def test_a_reading_that_is_asked_for_has_the_serial_number_of_now(peer: MakePeer) -> None:
    """Asked for are those that bill, and those that confirm a register that did not go on (design §4)."""
    bench = Bench(peer)
    bench.driver.open()
    bench.meter.serial = 777
    assert bench.driver.exchange(None)[0].serial == "12345"
    assert bench.read().serial == "777"


def test_the_serial_number_is_read_again_now_and_then(peer: MakePeer) -> None:
    bench = Bench(peer)
    bench.driver.open()
    bench.meter.serial = 777
    bench.ahead_s += 30.0
    assert bench.driver.exchange(None)[0].serial == "777"


def test_one_lost_or_garbled_reply_is_made_good(peer: MakePeer) -> None:
    bench = Bench(peer)
    bench.driver.open()
    before = bench.driver.counters()
    bench.meter.mute = 1
    bench.read()
    bench.meter.garble = 1
    bench.read()
    counters = bench.driver.counters()
    assert (counters.timeouts - before.timeouts, counters.errors - before.errors) == (1, 1)


def test_a_mute_meter_is_no_answer_within_the_bound(peer: MakePeer) -> None:
    bench = Bench(peer)
    bench.driver.open()
    bench.meter.mute = 100
    with pytest.raises(NoAnswer, match=r"no meter answers at .* as unit 1; check power, wiring, address and 9600 baud"):
        bench.read()
    assert bench.driver.counters().timeouts <= 3


def test_an_answer_of_another_device_says_which(peer: MakePeer) -> None:
    bench = Bench(peer)
    bench.driver.open()
    bench.meter.answers_as = 7
    with pytest.raises(WrongAnswer, match="address: 7 instead of 1"):
        bench.read()


def test_a_meter_that_is_not_there_is_no_answer_on_open(peer: MakePeer) -> None:
    bench = Bench(peer)
    bench.meter.mute = 100
    with pytest.raises(NoAnswer):
        bench.driver.open()


def test_a_babbling_device_is_a_wrong_answer(peer: MakePeer) -> None:
    driver = ModbusMeter(Wire("meter", peer(lambda data: b"\x55" * len(data) * 4).path, 9600), MODELS["sdm120"])
    with pytest.raises(WrongAnswer, match="answers wrongly"):
        driver.open()


def test_unplug_and_replug_of_the_adapter(peer: MakePeer) -> None:
    bench = Bench(peer)
    bench.driver.open()
    bench.pty.vanish()
    with pytest.raises(PortMissing, match="has lost its device"):
        bench.read()
    with pytest.raises(PortMissing, match="is not there"):
        bench.driver.open()
    bench.pty.appear()
    bench.driver.open()
    assert bench.read().energy_import_wh == 1_234_567
    bench.driver.close()
    bench.driver.close()


def test_a_block_holds_a_row_only_whole() -> None:
    assert Block(0, 2).holds(Row(Quantity.VOLTAGE, 0))
    assert not Block(0, 2).holds(Row(Quantity.VOLTAGE, 1))
    assert not Block(2, 2).holds(Row(Quantity.VOLTAGE, 0))


@pytest.mark.parametrize(
    ("type_", "words"),
    [
        (Type.U16, [0xFFFF]),
        (Type.S16, [0x7FFF]),
        (Type.U32, [0xFFFF, 0xFFFF]),
        (Type.S32, [0x7FFF, 0xFFFF]),
        (Type.U64, [0xFFFF] * 4),
    ],
)
def test_what_a_meter_marks_as_missing_is_no_value(type_: Type, words: list[int]) -> None:
    """hardware.md §4.2; a meter that marks nothing means the number."""
    row = Row(Quantity.POWER, 0, type=type_)
    assert Model(vendor="", name="", rows=(), blocks=(), marks_missing=True).value(row, words) is None
    assert PLAIN.value(row, words) is not None


def spread(values: dict[int, tuple[int, int]], *, low_word_first: bool = False) -> dict[int, int]:
    """Registers of integers: by address, the value and how many registers it takes."""
    found: dict[int, int] = {}
    for address, (value, count) in values.items():
        words = [(value >> (16 * place)) & 0xFFFF for place in range(count)]
        for place, word in enumerate(words if low_word_first else reversed(words)):
            found[address + place] = word
    return found


ABB = {0x5000: (123_456, 4), 0x5004: (0, 4), 0x5B14: (-150_000, 2), 0x5B2C: (5001, 1), 0x5B3A: (-1000, 1)}
ABB |= {0x5B00 + 2 * phase: (2301 + phase, 2) for phase in range(3)}
ABB |= {0x5B0C + 2 * phase: (1600 + phase, 2) for phase in range(3)}
ABB |= {0x5B16 + 2 * phase: (-50_000, 2) for phase in range(3)}
FILLED = dict.fromkeys([*range(0x5B00, 0x5B2D)], 0)
EM340 = {0x0028: (-15_000, 2), 0x0031: (-980, 1), 0x0033: (500, 1), 0x0034: (12_345, 2)}
EM340 |= {2 * phase: (2305, 2) for phase in range(3)}
EM340 |= {0x000C + 2 * phase: (16_000, 2) for phase in range(3)}
EM340 |= {0x0012 + 2 * phase: (-5_000, 2) for phase in range(3)}


def integer_meter(make: MakePeer, model: str, registers: dict[int, dict[int, int]]) -> tuple[ScriptedMeter, ModbusMeter]:
    meter = ScriptedMeter()
    meter.registers = registers
    driver = ModbusMeter(Wire("meter", make(meter).path, 9600), MODELS[model])
    return meter, driver


def test_the_vectors_of_integers_are_read_as_they_are_meant() -> None:
    """hardware.md §2.3: EM340 has the low word first."""
    em340 = MODELS["em340"]
    power = next(row for row in em340.rows if row.quantity is Quantity.POWER and not row.phase)
    voltage = next(row for row in em340.rows if row.quantity is Quantity.VOLTAGE)
    assert em340.value(power, [0xC568, 0xFFFF]) == pytest.approx(-1500.0)
    assert em340.value(voltage, [0x0901, 0x0000]) == pytest.approx(230.5)
    abb = MODELS["abb-b23"]
    register = next(row for row in abb.rows if row.quantity is Quantity.IMPORT)
    assert abb.value(register, [0, 0, 1, 0xE240]) == 1_234_560.0


def test_an_abb_meter_is_read_in_holding_registers_of_integers(peer: MakePeer) -> None:
    meter, driver = integer_meter(peer, "abb-b23", {3: {**FILLED, **spread(ABB)}})
    info = driver.open()
    assert (info.vendor, info.model, info.serial) == ("ABB", "B23", "")
    (reading,) = driver.exchange(NOW)
    assert meter.requests == [(3, 0x5000, 8), (3, 0x5B00, 45), (3, 0x5B3A, 1)]
    assert (reading.energy_import_wh, reading.energy_export_wh) == (1_234_560, 0)
    assert reading.power_w == pytest.approx(-1500.0)
    assert reading.voltages_v == pytest.approx((230.1, 230.2, 230.3))
    assert reading.currents_a == pytest.approx((16.0, 16.01, 16.02))
    assert reading.powers_w == pytest.approx((-500.0,) * 3)
    assert (reading.frequency_hz, reading.power_factor) == (pytest.approx(50.01), pytest.approx(-1.0))
    driver.close()


def test_values_that_an_abb_meter_marks_as_missing_are_left_out(peer: MakePeer) -> None:
    """A single-phase connection of a three-phase meter: L2 and L3 have no value."""
    missing = {0x5B02: 0xFFFF, 0x5B03: 0xFFFF, 0x5B04: 0xFFFF, 0x5B05: 0xFFFF, 0x5B3A: 0x7FFF}
    _, driver = integer_meter(peer, "abb-b23", {3: {**FILLED, **spread(ABB), **missing}})
    driver.open()
    (reading,) = driver.exchange(NOW)
    assert reading.voltages_v == pytest.approx((230.1,))
    assert reading.power_factor is None
    driver.close()


def test_a_register_that_is_marked_as_missing_is_no_reading(peer: MakePeer) -> None:
    """Field report 36: a sentinel never becomes energy."""
    missing = dict.fromkeys(range(0x5000, 0x5004), 0xFFFF)
    _, driver = integer_meter(peer, "abb-b23", {3: {**FILLED, **spread(ABB), **missing}})
    driver.open()
    with pytest.raises(WrongAnswer, match="has no import register"):
        driver.exchange(NOW)
    driver.close()


def test_a_carlo_gavazzi_meter_has_its_low_words_first(peer: MakePeer) -> None:
    filled = dict.fromkeys(range(54), 0)
    meter, driver = integer_meter(peer, "em340", {4: {**filled, **spread(EM340, low_word_first=True)}})
    assert driver.open().vendor == "Carlo Gavazzi"
    (reading,) = driver.exchange(NOW)
    assert meter.requests[:2] == [(4, 0x0000, 54), (4, 0x004E, 2)]
    assert (reading.energy_import_wh, reading.energy_export_wh) == (1_234_500, None)
    assert reading.power_w == pytest.approx(-1500.0)
    assert reading.currents_a == pytest.approx((16.0,) * 3)
    assert (reading.frequency_hz, reading.power_factor) == (pytest.approx(50.0), pytest.approx(-0.98))
    driver.close()
