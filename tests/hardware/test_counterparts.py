"""Counterparts that others wrote: public clients read our virtual devices, our driver a public server (issue 6)."""

import asyncio
from collections.abc import Callable

import minimalmodbus
import pytest
import serial
from adafruit_pn532.uart import PN532_UART
from pymodbus import FramerType
from pymodbus.client import ModbusSerialClient
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from bus.clock import boottime_s
from services.configuration.model import METER_BAUDS, Meter
from services.hardware.contract import MeterDesired
from services.meter.drivers import meter_driver
from services.simulator.pn532 import Reader
from tests.hardware.peers import PtyPeer
from tests.hardware.test_evsewb_counterparts import _Line
from tests.hardware.test_meters_and_their_devices import VirtualMeter

MakePeer = Callable[..., PtyPeer]
EASTRONS = [model for model in METER_BAUDS if model.startswith("sdm")]
IMPORT_KWH, VOLTAGE_V = 0x0048, 0x0000
ABB_IMPORT, EM340_VOLTAGE = 0x5000, 0x0000


@pytest.mark.parametrize("uid", ["DEADBEEF", "04A1B2C3D4E580"])
def test_a_public_library_reads_cards_at_the_virtual_pn532(peer: MakePeer, uid: str) -> None:
    """hardware.md §5.2; by Adafruit's library, which wakes, configures and polls in its own way."""
    reader = Reader()
    device = peer(lambda data: reader.receive(data, boottime_s()))
    with serial.Serial(device.path, 115200, timeout=0.5) as port:
        library = PN532_UART(port)
        assert library.firmware_version == (0x32, 1, 6, 7)
        library.SAM_configuration()
        reader.swipe(uid, boottime_s(), 10.0)
        assert bytes(library.read_passive_target(timeout=2)).hex().upper() == uid


@pytest.mark.parametrize("model", EASTRONS)
def test_minimalmodbus_reads_the_virtual_eastrons(peer: MakePeer, model: str) -> None:
    """hardware.md §4.1: float32, high word first."""
    meter = VirtualMeter(model)
    with serial.Serial(peer(meter).path, 9600, timeout=0.5) as port:
        instrument = minimalmodbus.Instrument(port, 1)
        assert instrument.read_float(IMPORT_KWH, functioncode=4) == pytest.approx(meter.register_wh / 1000)
        assert instrument.read_float(VOLTAGE_V, functioncode=4) == pytest.approx(230.4, rel=1e-6)
        assert instrument.read_long(0xFC00, functioncode=3) == 24110001
        with pytest.raises(minimalmodbus.IllegalRequestError):
            instrument.read_float(0x7000, functioncode=4)


def test_minimalmodbus_reads_the_virtual_abb_and_em340(peer: MakePeer) -> None:
    """hardware.md §4.2 and §4.3: integers, of which one kind has its low word first."""
    meter = VirtualMeter("abb-b23")
    with serial.Serial(peer(meter).path, 9600, timeout=0.5) as port:
        words = minimalmodbus.Instrument(port, 1).read_registers(ABB_IMPORT, 4, functioncode=3)
    assert int.from_bytes(b"".join(word.to_bytes(2) for word in words)) == meter.meter.shown_wh(meter.register_wh) // 10
    with serial.Serial(peer(VirtualMeter("em340")).path, 9600, timeout=0.5) as port:
        instrument = minimalmodbus.Instrument(port, 1)
        assert instrument.read_long(EM340_VOLTAGE, functioncode=4, byteorder=minimalmodbus.BYTEORDER_LITTLE_SWAP) == 2304


def test_pymodbus_reads_a_virtual_meter(peer: MakePeer) -> None:
    meter = VirtualMeter("sdm630")
    client = ModbusSerialClient(peer(meter).path, framer=FramerType.RTU, baudrate=9600, timeout=1.0)
    assert client.connect()
    try:
        words = client.read_input_registers(IMPORT_KWH, count=2, device_id=1).registers
        kwh = client.convert_from_registers(words, client.DATATYPE.FLOAT32)
        assert kwh == pytest.approx(meter.register_wh / 1000)
        assert client.read_input_registers(0x7000, count=2, device_id=1).isError()
    finally:
        client.close()


class PymodbusMeter:
    """pymodbus's own server with the registers of an SDM120, written down here: none of our virtual devices takes part."""

    def __call__(self, data: bytes) -> bytes:
        return asyncio.run(self._answer(data))

    async def _answer(self, data: bytes) -> bytes:
        replies: list[bytes] = []
        bits = [SimData(0, count=16, values=False, datatype=DataType.BITS)]
        floats = {0x0000: 231.5, 0x0006: 10.5, 0x000C: 2430.75, 0x001E: 0.5, 0x0046: 49.75, 0x0048: 1234.5, 0x004A: 0.25}
        inputs = [SimData(address, values=[value], datatype=DataType.FLOAT32) for address, value in floats.items()]
        holding = [SimData(0xFC00, values=[1, 0x86A0, 0x0020, 0x0200], datatype=DataType.REGISTERS)]
        device = SimDevice(id=1, simdata=(bits, list(bits), holding, inputs))
        protocol = ModbusSerialServer(device, framer=FramerType.RTU).handle_new_connection()
        protocol.connection_made(_Line(replies))
        protocol.data_received(data)
        for _ in range(10):
            await asyncio.sleep(0)
        return b"".join(replies)


def test_our_driver_reads_a_meter_that_pymodbus_plays(peer: MakePeer) -> None:
    """It has nothing between its values, so blocks are refused and each value is read by itself."""
    driver = meter_driver(Meter(driver="sdm120", port="", baud=9600), peer(PymodbusMeter()).path)
    info = driver.open()
    assert (info.model, info.serial) == ("SDM120", "100000")
    (reading,) = driver.exchange(MeterDesired(1e18))
    driver.close()
    assert driver.counters().errors > 0, "the blocks were refused"
    assert (reading.energy_import_wh, reading.energy_export_wh) == (1_234_500, 250)
    assert (reading.voltages_v, reading.currents_a, reading.powers_w) == ((231.5,), (10.5,), (2430.75,))
    assert (reading.power_w, reading.frequency_hz, reading.power_factor) == (2430.75, 49.75, 0.5)
