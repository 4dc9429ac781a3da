"""The virtual Eastron meters on pymodbus's server, byte for byte (hardware notes §2.3 and §4.1)."""

import asyncio
import struct

import pytest

from services.simulator.eastron import Eastron, Measured, input_values
from services.simulator.meter_server import MeterServer

MEASURED = Measured(
    voltages_v=(230.2, 230.2, 230.2), currents_a=(16.0, 16.0, 16.0), frequency_hz=50.0, energy_wh=1_234_567, serial=24110001
)


def exchange(meter: Eastron, *requests: bytes, measured: Measured = MEASURED) -> list[bytes]:
    """What the meter answers to each request, with silence between them."""

    async def talk() -> list[bytes]:
        replies: list[bytes] = []
        server = MeterServer(meter, measure=lambda: measured, write=replies.append)
        answers = []
        for number, request in enumerate(requests):
            replies.clear()
            server.receive(request, float(number))
            for _ in range(10):
                await asyncio.sleep(0)
            answers.append(b"".join(replies))
        return answers

    return asyncio.run(talk())


def of(text: str) -> bytes:
    return bytes.fromhex(text)


def crc(frame: bytes) -> bytes:
    """CRC-16 of Modbus, low byte first, written here anew so that pymodbus's own is checked."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return struct.pack("<H", value)


def with_crc(text: str) -> bytes:
    return of(text) + crc(of(text))


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        ("02 04 00 00 00 02 71 F8", "02 04 04 43 66 33 33 69 FA"),
        ("02 04 00 48 00 02 F1 EE", "02 04 04 44 9A 52 25 00 E0"),
    ],
)
def test_readings_of_the_vectors(request_: str, reply: str) -> None:
    assert exchange(Eastron("sdm630", 2), of(request_)) == [of(reply)]


@pytest.mark.parametrize(
    ("model", "unit", "request_", "registers"),
    [
        ("sdm630", 2, "02 04 00 00 00 50 F0 05", 80),
        ("sdm630", 2, "02 04 00 00 00 12 70 34", 18),
        ("sdm630", 2, "02 04 00 34 00 18 B1 FD", 24),
        ("sdm120", 1, "01 04 00 00 00 20 F1 D2", 32),
        ("sdm120", 1, "01 04 00 46 00 06 91 DD", 6),
    ],
)
def test_block_reads_of_the_vectors(model: str, unit: int, request_: str, registers: int) -> None:
    (reply,) = exchange(Eastron(model, unit), of(request_))
    assert len(reply) == 5 + 2 * registers
    assert reply[:3] == bytes([unit, 4, 2 * registers])
    assert crc(reply[:-2]) == reply[-2:]


def test_the_serial_number_and_the_meter_code() -> None:
    replies = exchange(Eastron("sdm630", 1), of("01 03 FC 00 00 02 F4 5B"), with_crc("01 03 FC 02 00 02"))
    assert replies[0][3:7] == (24110001).to_bytes(4, "big")
    assert replies[1][3:5] == of("00 70")


def test_the_address_can_be_changed_as_in_the_vector() -> None:
    meter = Eastron("sdm630", 1)
    change, read = of("01 10 00 14 00 02 04 40 00 00 00 E6 90"), of("02 04 00 00 00 02 71 F8")
    assert exchange(meter, read, change, read) == [
        b"",
        of("01 10 00 14 00 02 01 CC"),
        of("02 04 04 43 66 33 33 69 FA"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "01 04 90 00 00 02",  # nothing is there
        "01 04 00 57 00 04",  # it begins inside of a block and ends outside
        "01 03 10 00 00 02",
        "01 10 00 48 00 02 04 00 00 00 00",  # not a parameter
        "01 10 00 14 00 02 04 43 96 00 00",  # address 300
    ],
)
def test_what_is_not_there_gets_exception_2(text: str) -> None:
    (reply,) = exchange(Eastron("sdm630", 1), with_crc(text))
    assert reply[:3] == bytes([1, of(text)[1] | 0x80, 2])


def test_more_than_80_registers_at_once_are_refused() -> None:
    (reply,) = exchange(Eastron("sdm630", 1), with_crc("01 04 00 00 00 51"))
    assert reply[:3] == of("01 84 03")


@pytest.mark.parametrize("text", ["01 01 00 00 00 01", "01 02 00 00 00 01", "01 06 00 14 00 02", "01 05 00 00 FF 00"])
def test_functions_that_the_meter_does_not_have_get_exception_1(text: str) -> None:
    (reply,) = exchange(Eastron("sdm630", 1), with_crc(text))
    assert reply[:3] == bytes([1, of(text)[1] | 0x80, 1])


def test_other_units_and_broken_frames_get_silence_and_the_next_request_an_answer() -> None:
    good = of("02 04 00 00 00 02 71 F8")
    bad = (
        with_crc("03 04 00 00 00 02"),
        good[:-1] + b"\x00",
        good[:5],
        b"\x02\x04\xff",
        b"\xff" * 300,
        b"\x02" * 300,
    )
    replies = exchange(Eastron("sdm630", 2), *bad, good)
    assert replies[:-1] == [b""] * len(bad)
    assert replies[-1] == of("02 04 04 43 66 33 33 69 FA")


def test_a_request_may_come_in_pieces() -> None:
    async def talk() -> bytes:
        replies: list[bytes] = []
        server = MeterServer(Eastron("sdm630", 2), measure=lambda: MEASURED, write=replies.append)
        for number, byte in enumerate(of("02 04 00 00 00 02 71 F8")):
            server.receive(bytes([byte]), 1.0 + number / 1000)
        for _ in range(10):
            await asyncio.sleep(0)
        return b"".join(replies)

    assert asyncio.run(talk()) == of("02 04 04 43 66 33 33 69 FA")


def test_undefined_addresses_inside_a_block_read_zero() -> None:
    (reply,) = exchange(Eastron("sdm630", 1), with_crc("01 04 00 36 00 02"))
    assert reply[3:7] == bytes(4)


def test_a_three_phase_meter_sums_its_phases() -> None:
    values = input_values("sdm630", MEASURED)
    assert values[0x0034] == pytest.approx(3 * 230.2 * 16)
    assert values[0x0030] == 48.0
    assert values[0x002A] == pytest.approx(230.2)
    assert values[0x00C8] == pytest.approx(230.2 * 3**0.5)
    assert values[0x0046] == 50.0


def test_a_three_phase_meter_on_one_phase_shows_the_others_dead() -> None:
    values = input_values("sdm630", Measured((230.0,), (10.0,), 50.0, 1000, 1))
    assert (values[0x0002], values[0x0008], values[0x0034], values[0x00C8]) == (0.0, 0.0, 2300.0, 0.0)
    assert (values[0x015A], values[0x015C]) == (1.0, 0.0)


def test_a_single_phase_meter_has_no_other_phases() -> None:
    values = input_values("sdm120", MEASURED)
    assert values[0x000C] == pytest.approx(230.2 * 16)
    assert not {0x0002, 0x0008, 0x0034} & values.keys()
