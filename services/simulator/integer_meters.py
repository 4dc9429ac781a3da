"""Register maps of meters that tell integers: ABB B23 and Carlo Gavazzi EM340 (hardware.md §4.2, §4.3).

Owns: addresses, scales, word order, what the display can show. Does not: speak Modbus; pymodbus does in `meter_server.py`.
Neither can be written to here: their parameters are set at the meter.
"""

import math

import msgspec

from services.simulator.eastron import PHASES_MAX, Measured, padded


class _Value(msgspec.Struct, frozen=True):
    """A value that takes so many registers."""

    number: int
    registers: int = 2


class IntegerMeter:
    """One meter on the bus."""

    model = ""
    low_word_first = False
    resolution_wh = 10
    """The register is shown in steps of so much."""
    input_blocks: tuple[tuple[int, int], ...] = ()
    holding_blocks: tuple[tuple[int, int], ...] = ()

    def __init__(self, model: str, unit: int) -> None:
        self.model = model
        self.unit = unit

    def shown_wh(self, register_wh: float) -> int:
        """What the display shows of the register."""
        return math.floor(register_wh / self.resolution_wh) * self.resolution_wh

    def input_words(self, address: int, count: int, measured: Measured) -> list[int] | None:
        """`count` registers from `address` on."""
        return self._words(address, count, measured)

    def holding_words(self, address: int, count: int, measured: Measured) -> list[int]:
        """The same registers, by function 3."""
        return self._words(address, count, measured)

    def write(self, address: int, words: list[int]) -> bool:  # noqa: ARG002
        """Refused."""
        return False

    def values(self, measured: Measured) -> dict[int, _Value]:
        """All values by address."""
        raise AssertionError(f"a meter without values at {measured.serial}")

    def _words(self, address: int, count: int, measured: Measured) -> list[int]:
        words: dict[int, int] = {}
        for first, value in self.values(measured).items():
            parts = [(value.number >> (16 * place)) & 0xFFFF for place in range(value.registers)]
            for place, part in enumerate(parts if self.low_word_first else reversed(parts)):
                words[first + place] = part
        return [words.get(address + offset, 0) for offset in range(count)]


class AbbB23(IntegerMeter):
    """Holding registers only, high word first; phases that are not connected have no value."""

    holding_blocks = ((0x5000, 0x5008), (0x5B00, 0x5B2D), (0x5B3A, 0x5B3E))
    input_blocks = ((0xFFFE, 0xFFFF),)

    def values(self, measured: Measured) -> dict[int, _Value]:
        """Hundredths of kilowatt-hours and watts, tenths of volts, hundredths of amps and hertz."""
        watts = [volt * amp for volt, amp in zip(measured.voltages_v, measured.currents_a, strict=True)]
        found = {0x5000: _Value(measured.energy_wh // 10, 4), 0x5004: _Value(0, 4), 0x5B14: _Value(round(sum(watts) * 100))}
        for place in range(PHASES_MAX):
            there = place < len(watts)
            found |= {
                0x5B00 + 2 * place: _Value(round(measured.voltages_v[place] * 10) if there else 0xFFFFFFFF),
                0x5B0C + 2 * place: _Value(round(measured.currents_a[place] * 100) if there else 0xFFFFFFFF),
                0x5B16 + 2 * place: _Value(round(watts[place] * 100) if there else 0x7FFFFFFF),
            }
        return found | {0x5B2C: _Value(round(measured.frequency_hz * 100), 1), 0x5B3A: _Value(1000, 1)}


class Em340(IntegerMeter):
    """Low word first; the same registers by functions 3 and 4."""

    low_word_first = True
    resolution_wh = 100
    holding_blocks = input_blocks = ((0x0000, 0x0052),)

    def values(self, measured: Measured) -> dict[int, _Value]:
        """Tenths of volts, watts, hertz and kilowatt-hours, thousandths of amps."""
        volts, amps = padded(measured.voltages_v, PHASES_MAX), padded(measured.currents_a, PHASES_MAX)
        watts = [volt * amp for volt, amp in zip(volts, amps, strict=True)]
        found = {0x0028: _Value(round(sum(watts) * 10)), 0x0034: _Value(measured.energy_wh // 100)}
        for place in range(PHASES_MAX):
            found[2 * place] = _Value(round(volts[place] * 10))
            found[0x000C + 2 * place] = _Value(round(amps[place] * 1000))
            found[0x0012 + 2 * place] = _Value(round(watts[place] * 10))
        return found | {0x0031: _Value(1000, 1), 0x0033: _Value(round(measured.frequency_hz * 10), 1)}
