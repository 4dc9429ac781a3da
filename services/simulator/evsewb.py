"""The virtual EVSE-WB at the end of its line: its registers over Modbus RTU (hardware.md §3.2). Sans I/O.

Owns: which register tells and takes what, in which unit, and what a clone does not have. Does not: know what the board does
(`evsewb_board.py`), or frames (`modbus_slave.py`).
"""

from typing import Any

from services.simulator.evsewb_board import WbBoard, WbEeprom
from services.simulator.modbus_slave import ILLEGAL_ADDRESS, ILLEGAL_VALUE, ModbusSlave, Quirks, Refusal

RUN_TIME, CONFIGURATION = 1000, 2000
RUN_TIME_REGISTERS, RUN_TIME_REGISTERS_OF_CLONE = 10, 7
AMPS_OF_BUTTON = (6, 10, 16, 25, 32, 48, 63, 80)
BOOT_LOADER_REVISION = 3
_CONFIGURATION_REGISTERS = 18
_CURRENT, _COMMAND = 1000, 1004
_TURN_OFF, _SELF_TEST, _CLEAR_RCD = 0x01, 0x02, 0x04
_STEADY, _GENERATING, _OFF = 1, 2, 3
_NEVER_SET = 0x8000
"""The boot loader."""
_AMPS_MAX = 80
_BITS = {"relay": 0x01, "diode": 0x02, "ventilation": 0x04, "test": 0x10, "rcd": 0x20}


class EvseWb:
    """A board and its line."""

    def __init__(self, board: WbBoard, quirks: Quirks | None = None) -> None:
        self.board = board
        self._slave = ModbusSlave(self, quirks)

    @property
    def quirks(self) -> Quirks:
        """How bad the line is."""
        return self._slave.quirks

    @property
    def eeprom(self) -> WbEeprom:
        """What it keeps without power."""
        return self.board.eeprom

    @property
    def unit(self) -> int:
        """Its address on the bus."""
        return self.board.eeprom.unit

    def receive(self, data: bytes) -> None:
        """Bytes from the line; what they ask for is done now."""
        if not self.board.booting:
            self._slave.receive(data, self.board.now_s)

    def take_output(self) -> bytes:
        """What it has said since the last call."""
        return self._slave.take_output()

    def read(self, address: int, count: int) -> list[int]:
        """Holding registers. Raises Refusal."""
        if RUN_TIME <= address < CONFIGURATION:
            first, words = RUN_TIME, self._run_time()
        else:
            first, words = CONFIGURATION, self._configuration()
        if address < first or not count or address + count > first + len(words):
            raise Refusal(ILLEGAL_ADDRESS)
        return words[address - first : address - first + count]

    def write(self, address: int, words: list[int]) -> None:
        """All registers of a request, or none. Raises Refusal."""
        targets = [self._target(address + place, word) for place, word in enumerate(words)]
        for name, word in targets:
            self._take(name, word)

    def _target(self, address: int, word: int) -> tuple[str, int]:
        names = {_CURRENT: "current", _COMMAND: "command"}
        names |= {CONFIGURATION + place: name for place, name in enumerate(_SETTINGS)}
        if address not in names:
            raise Refusal(ILLEGAL_ADDRESS)
        name = names[address]
        per_amp = 100 if self.board.hundredths else 1
        bounds = {"current": _AMPS_MAX * per_amp, "power_up_a": _AMPS_MAX, "unit": 247, "minimum_a": 13}
        if word > bounds.get(name, 0xFFFF) or (name == "options" and word & _NEVER_SET):
            raise Refusal(ILLEGAL_VALUE)
        return name, word

    def _take(self, name: str, word: int) -> None:
        board = self.board
        if name == "current":
            board.configured_a = word / (100 if board.hundredths else 1)
        elif name == "command":
            if word & _TURN_OFF:
                board.turn_off()
            if word & _SELF_TEST:
                board.self_test()
            if word & _CLEAR_RCD:
                board.clear_rcd()
        else:
            self._keep(name, word)

    def _keep(self, name: str, word: int) -> None:
        """A setting. The number in register 1000 stays when its unit changes, so what it means does not."""
        before = self.board.hundredths
        setattr(self.board.eeprom, name, word)
        if name == "options" and before != self.board.hundredths:
            self.board.configured_a *= 100 if before else 0.01

    def _run_time(self) -> list[int]:
        board = self.board
        per_amp = 100 if board.hundredths else 1
        words = [
            round(board.configured_a * per_amp),
            round(board.offered_a * per_amp),
            board.vehicle,
            board.cable_a,
            0,
            board.eeprom.firmware,
            _OFF if board.disabled else _GENERATING if board.pwm else _STEADY,
            self._status(),
            board.seconds_to_clear,
            board.seconds_of_test,
        ]
        return words[:RUN_TIME_REGISTERS_OF_CLONE] if board.eeprom.short else words

    def _status(self) -> int:
        board = self.board
        bits: dict[str, Any] = {
            "relay": board.relay_seen,
            "diode": board.diode_failed,
            "ventilation": board.ventilation_refused,
            "test": board.testing,
            "rcd": board.rcd_tripped,
        }
        return sum(_BITS[name] for name, on in bits.items() if on)

    def _configuration(self) -> list[int]:
        eeprom = self.board.eeprom
        settings = [int(getattr(eeprom, name)) for name in _SETTINGS]
        words = [*settings, 0xFFFF, BOOT_LOADER_REVISION, *AMPS_OF_BUTTON]
        assert len(words) == _CONFIGURATION_REGISTERS, "registers 2000 to 2017"
        return words


_SETTINGS = ("power_up_a", "unit", "minimum_a", "analogue", "button_a", "options", "sharing", "cable_limit_a")
"""Registers from 2000 on, by their place."""
