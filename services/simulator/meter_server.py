"""The virtual meter's Modbus: pymodbus's serial server on the bytes of a pseudo-terminal.

Owns: joining pymodbus to bytes and to the register map, and telling frames apart by silence. Does not: know addresses
(`meters.py`). A wrong unit or checksum gets no answer; an unmapped register gets exception 2.
"""

import asyncio
from collections.abc import Callable

from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from services.simulator.eastron import Measured
from services.simulator.meters import VirtualMeter

SILENCE_S = 0.02
"""Ends a frame. The protocol's 3.5 characters are 4 ms; a pseudo-terminal delivers a frame at once."""
_ANY_UNIT = 0
_READ_HOLDING, _READ_INPUT, _WRITE_HOLDING = 3, 4, 16


class MeterServer:
    """One meter on one line. `measure` is asked at each request, so an answer is never older than its request."""

    def __init__(self, meter: VirtualMeter, *, measure: Callable[[], Measured], write: Callable[[bytes], None]) -> None:
        """Needs a running event loop."""
        self._meter = meter
        self._measure = measure
        self._last_s = -SILENCE_S
        self._for_us = False
        bits = [SimData(0, count=16, values=False, datatype=DataType.BITS)]
        holding, inputs = _blocks(meter.holding_blocks), _blocks(meter.input_blocks)
        device = SimDevice(id=_ANY_UNIT, simdata=(bits, list(bits), holding, inputs), action=self._act)
        server = ModbusSerialServer(device, framer=FramerType.RTU)
        # As pymodbus's own transport does on each connection.
        self._protocol = server.handle_new_connection()
        self._protocol.connection_made(_Line(write))

    def receive(self, data: bytes, now_s: float) -> None:
        """Bytes from the line at `now_s`. A frame begins after silence, with the unit that it is for."""
        if now_s - self._last_s >= SILENCE_S:
            self._protocol.recv_buffer = b""
            self._for_us = data[:1] == bytes([self._meter.unit])
        self._last_s = now_s
        if self._for_us:
            self._protocol.data_received(data)

    async def _act(
        self,
        function: int,
        first: int,
        address: int,
        count: int,
        registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Called by pymodbus with the block's registers, which it then reads or writes."""
        if function == _WRITE_HOLDING and values is not None:
            return None if self._meter.write(address, [int(value) for value in values]) else ExcCodes.ILLEGAL_ADDRESS
        if function == _READ_INPUT:
            words = self._meter.input_words(address, count, self._measure())
        elif function == _READ_HOLDING:
            words = self._meter.holding_words(address, count, self._measure())
        else:
            return ExcCodes.ILLEGAL_FUNCTION
        if words is None:
            return ExcCodes.ILLEGAL_VALUE
        registers[address - first : address - first + count] = words
        return None


class _Line(asyncio.Transport):
    """What pymodbus takes for its serial port."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        super().__init__()
        self._write = write

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._write(bytes(data))

    def close(self) -> None:
        pass


def _blocks(ranges: tuple[tuple[int, int], ...]) -> list[SimData]:
    return [SimData(first, count=end - first, values=0, datatype=DataType.REGISTERS) for first, end in ranges]
