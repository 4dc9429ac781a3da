"""The virtual EVSE-WB on its own: the vectors of hardware.md §2.3 and §3.2, and independent clients (issue 6, acceptance 2)."""

import asyncio
from collections.abc import Callable

import minimalmodbus
import pytest
import serial
from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from services.connectors.drivers.evsewb import EvseWb
from services.hardware.modbus import Wire
from services.simulator.evsewb import EvseWb as VirtualEvseWb
from services.simulator.evsewb_board import WbBoard, WbEeprom
from tests.hardware.peers import PtyPeer, bytes_of
from tests.hardware.virtual_evse import OFF, Pair, offer

MakePeer = Callable[..., PtyPeer]
START_S = 1000.0
LINE_S = 0.1


class Line:
    """A controller, its pilot, and a clock that is turned by hand."""

    def __init__(self, eeprom: WbEeprom | None = None) -> None:
        self.board = WbBoard(eeprom or WbEeprom(), now_s=START_S)
        self.device = VirtualEvseWb(self.board)
        self.now_s = START_S
        self.pilot = "A"
        self.run(1.0)

    def run(self, seconds: float) -> None:
        self.now_s += seconds
        self.board.step(self.now_s, seconds, pilot=self.pilot, current_a=0.0)

    def ask(self, text: str) -> bytes:
        self.run(LINE_S)
        self.device.receive(bytes_of(text))
        return self.device.take_output()


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        ("01 10 03 E8 00 01 02 00 10 83 B4", "01 10 03 E8 00 01 81 B9"),
        ("01 10 03 EC 00 01 02 00 01 42 3C", "01 10 03 EC 00 01 C0 78"),
        (
            "01 03 07 D0 00 12 C5 4A",
            "01 03 24 00 20 00 01 00 05 00 01 00 00 02 09 00 00 00 00 FF FF 00 03 00 06 00 0A 00 10 00 19 00 20 00 30 00 3F"
            "00 50 42 EE",
        ),
    ],
)
def test_it_answers_as_the_real_one_was_seen_to(request_: str, reply: str) -> None:
    """hardware.md §2.3 and §3.2: traces and computed frames."""
    assert Line(WbEeprom(options=0x0209)).ask(request_) == bytes_of(reply)


def test_it_tells_its_state_in_seven_registers_and_a_clone_no_more() -> None:
    line = Line(WbEeprom(short=True))
    line.pilot = "C"
    line.run(1.0)
    words = line.ask("01 03 03 E8 00 07 84 78")[3:-2]
    assert [int.from_bytes(words[place : place + 2]) for place in range(0, 14, 2)] == [32, 32, 3, 32, 0, 18, 2]
    assert line.ask("01 03 03 EF 00 03 34 7A")[:3] == bytes((1, 0x83, 2))


def test_other_units_wrong_checksums_and_half_frames_get_no_answer() -> None:
    line = Line()
    assert line.ask("02 03 03 E8 00 07 84 4B") == b""
    assert line.ask("01 03 03 E8 00 07 84 79") == b""
    assert line.ask("01 03 03 E8") == b""
    assert line.ask("01 03 03 E8 00 07 84 78") != b""


def test_it_powers_up_offering_what_its_eeprom_says() -> None:
    """hardware.md §3.2: a car that is plugged in charges until somebody writes 0."""
    assert Line().board.offered_a == 32.0
    assert Line(WbEeprom(power_up_a=0)).board.offered_a == 0.0


def test_minimalmodbus_reads_and_writes_it(peer: MakePeer) -> None:
    pair = Pair(peer, "evsewb")
    with serial.Serial(pair.pty.path, 9600, timeout=0.5) as port:
        instrument = minimalmodbus.Instrument(port, 1)
        assert instrument.read_registers(1000, 7, functioncode=3)[:3] == [32, 32, 1]
        instrument.write_registers(1000, [16])
        assert instrument.read_register(1000, functioncode=3) == 16
        with pytest.raises(minimalmodbus.IllegalRequestError):
            instrument.read_registers(1000, 11, functioncode=3)


def test_pymodbus_reads_and_writes_it(peer: MakePeer) -> None:
    pair = Pair(peer, "evsewb")
    client = ModbusSerialClient(pair.pty.path, framer=FramerType.RTU, baudrate=9600, timeout=1.0)
    assert client.connect()
    try:
        assert client.read_holding_registers(1000, count=7, device_id=1).registers[:3] == [32, 32, 1]
        assert not client.write_registers(1000, [16], device_id=1).isError()
        assert client.read_holding_registers(1000, count=1, device_id=1).registers == [16]
        assert client.read_holding_registers(1000, count=11, device_id=1).isError()
    finally:
        client.close()


class PymodbusEvse:
    """pymodbus's own server with the registers of a controller that has a car: an independent counterpart of our driver."""

    def __init__(self) -> None:
        self.run_time = [32, 32, 3, 32, 0, 18, 2]
        self.written: list[tuple[int, list[int]]] = []

    def __call__(self, data: bytes) -> bytes:
        return asyncio.run(self._answer(data))

    async def _answer(self, data: bytes) -> bytes:
        replies: list[bytes] = []
        bits = [SimData(0, count=16, values=False, datatype=DataType.BITS)]
        holding = [
            SimData(1000, values=list(self.run_time), datatype=DataType.REGISTERS),
            SimData(2000, values=[0, 1, 5, 1, 0, 0x0210], datatype=DataType.REGISTERS),
        ]
        device = SimDevice(
            id=1, simdata=(bits, list(bits), holding, [SimData(0, values=[0], datatype=DataType.REGISTERS)]), action=self._act
        )
        protocol = ModbusSerialServer(device, framer=FramerType.RTU).handle_new_connection()
        protocol.connection_made(_Line(replies))
        protocol.data_received(data)
        for _ in range(10):
            await asyncio.sleep(0)
        return b"".join(replies)

    async def _act(self, function: int, _first: int, address: int, _count: int, _held: list[int], values: object) -> None:
        if function == 16 and isinstance(values, list):
            self.written.append((address, [int(value) for value in values]))
            if address == 1000:
                self.run_time[0] = self.run_time[1] = int(values[0])


class _Line(asyncio.Transport):
    def __init__(self, replies: list[bytes]) -> None:
        super().__init__()
        self._replies = replies

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._replies.append(bytes(data))


def test_our_driver_drives_a_controller_that_pymodbus_plays(peer: MakePeer) -> None:
    device = PymodbusEvse()
    driver = EvseWb(Wire("charging controller", peer(device).path, 9600))
    assert driver.open().firmware == "18"
    (seen,) = driver.exchange(offer(16.0))
    assert (seen.control_pilot, seen.limit_a, seen.relay_closed) == ("C", 16.0, True)
    driver.exchange(OFF)
    driver.close()
    assert device.written == [(1000, [16]), (1000, [0])]
