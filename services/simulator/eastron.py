"""Register maps of the Eastron meters of the SDM family (hardware.md §4.1), filled from what the virtual meter measures.

Input registers (function 4) are float32, high word first. Owns: addresses, values, what may be read and written. Does not:
speak Modbus; pymodbus does that in `meter_server.py`.
"""

import struct

import msgspec

PHASES_MAX = 3
METER_CODES = {"sdm630": 0x0070, "sdm120": 0x0020, "sdm230": 0x002B, "sdm72d-m-2": 0x0089}
THREE_PHASE = frozenset({"sdm630", "sdm72d-m-2"})
SOFTWARE_VERSION = 0x0200

_ENERGY_IMPORT, _ENERGY_EXPORT, _ENERGY_TOTAL = 0x0048, 0x004A, 0x0156
_FREQUENCY = 0x0046
_INPUT_BLOCKS = {
    "sdm630": ((0x0000, 0x0058), (0x00C8, 0x00FA), (0x0156, 0x0182)),
    "sdm120": ((0x0000, 0x0058), (0x0156, 0x015A)),
    "sdm230": ((0x0000, 0x0058), (0x0156, 0x015A)),
    "sdm72d-m-2": ((0x0000, 0x004C), (0x00C8, 0x00E2), (0x0156, 0x0158), (0x0180, 0x0188)),
}
"""First address and the one after the last; inside, undefined addresses read 0."""
_REGISTERS_PER_READ_MAX = {"sdm72d-m-2": 60}
_REGISTERS_PER_READ_MAX_USUAL = 80

ADDRESS_REGISTER = 0x0014
_PARAMETERS = {0x0002: 60.0, 0x000C: 100.0, 0x0012: 0.0, 0x0018: 1000.0, 0x001C: 2.0}
_SYSTEM_TYPE = 0x000A
_AUTHORISATION = 0x000E
_SERIAL, _METER_CODE = 0xFC00, 0xFC02
_MEASUREMENT_MODE = 0xF920
_WORDS_OF_FLOAT = 2


class Measured(msgspec.Struct, frozen=True):
    """What the meter measures now. Tuples per phase of the supply, energy as it is shown."""

    voltages_v: tuple[float, ...]
    currents_a: tuple[float, ...]
    frequency_hz: float
    energy_wh: int
    """As the meter shows it."""
    serial: int

    @property
    def energy_kwh(self) -> float:
        """The same in kilowatt-hours."""
        return self.energy_wh / 1000


class Eastron:
    """One meter on the bus. `unit` can be changed over the bus, as on the real one, until power goes."""

    def __init__(self, model: str, unit: int) -> None:
        self.model = model
        self.unit = unit
        self._parameters = {**_PARAMETERS, _SYSTEM_TYPE: 3.0 if model in THREE_PHASE else 1.0, _AUTHORISATION: 0.0}

    def shown_wh(self, register_wh: float) -> int:
        """Kilowatt-hours as float32, in whole watt-hours: coarser the higher the register stands."""
        return round(as_float32(register_wh / 1000) * 1000)

    @property
    def input_blocks(self) -> tuple[tuple[int, int], ...]:
        """Ranges that can be read with function 4: first address, and the one after the last."""
        return _INPUT_BLOCKS[self.model]

    @property
    def holding_blocks(self) -> tuple[tuple[int, int], ...]:
        """Ranges that can be read with function 3."""
        more = ((_MEASUREMENT_MODE, _MEASUREMENT_MODE + 1),) if self.model == "sdm120" else ()
        return ((0x0000, 0x001E), *more, (_SERIAL, _METER_CODE + 2))

    def input_words(self, address: int, count: int, measured: Measured) -> list[int] | None:
        """`count` registers from `address` on; None if that is more than the meter gives at once."""
        if count > _REGISTERS_PER_READ_MAX.get(self.model, _REGISTERS_PER_READ_MAX_USUAL):
            return None
        values = input_values(self.model, measured)
        words: dict[int, int] = {}
        for first, value in values.items():
            words[first], words[first + 1] = words_of(value)
        return [words.get(address + offset, 0) for offset in range(count)]

    def holding_words(self, address: int, count: int, measured: Measured) -> list[int]:
        """`count` holding registers from `address` on."""
        words = {_METER_CODE: METER_CODES[self.model], _METER_CODE + 1: SOFTWARE_VERSION, _MEASUREMENT_MODE: 2}
        words[_SERIAL], words[_SERIAL + 1] = measured.serial >> 16, measured.serial & 0xFFFF
        for first, value in {**self._parameters, ADDRESS_REGISTER: float(self.unit)}.items():
            words[first], words[first + 1] = words_of(value)
        return [words.get(address + offset, 0) for offset in range(count)]

    def write(self, address: int, words: list[int]) -> bool:
        """One parameter of two registers, as function 16 writes it; False if the meter refuses."""
        if len(words) != _WORDS_OF_FLOAT:
            return False
        value = struct.unpack(">f", struct.pack(">HH", *words))[0]
        if address == ADDRESS_REGISTER:
            if not 1 <= value <= 247 or value != int(value):
                return False
            self.unit = int(value)
        elif address in self._parameters and value >= 0:
            self._parameters[address] = value
            if address == _AUTHORISATION:
                self._parameters[address] = float(value == self._parameters[0x0018])
        else:
            return False
        return True


def input_values(model: str, measured: Measured) -> dict[int, float]:
    """All values of function 4 by address: volts, amps, watts, volt-amperes, hertz, kilowatt-hours."""
    phases = PHASES_MAX if model in THREE_PHASE else 1
    volts = padded(measured.voltages_v, phases)
    amps = padded(measured.currents_a, phases)
    watts = tuple(volt * amp for volt, amp in zip(volts, amps, strict=True))
    values = {_FREQUENCY: measured.frequency_hz}
    for phase in range(phases):
        step = 2 * phase
        values |= {0x0000 + step: volts[phase], 0x0006 + step: amps[phase], 0x000C + step: watts[phase]}
        values |= {0x0012 + step: watts[phase], 0x001E + step: 1.0}
    for address in (_ENERGY_IMPORT, _ENERGY_TOTAL):
        values[address] = measured.energy_kwh
    values |= {0x0054: sum(watts), 0x0056: sum(watts)}
    return values | (_sums(volts, amps, watts, measured) if phases == PHASES_MAX else {})


def as_float32(value: float) -> float:
    """`value` with the precision of an IEEE 754 single."""
    return float(struct.unpack(">f", struct.pack(">f", value))[0])


def words_of(value: float) -> tuple[int, int]:
    """`value` as two registers, high word first."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return high, low


def _sums(volts: tuple[float, ...], amps: tuple[float, ...], watts: tuple[float, ...], measured: Measured) -> dict[int, float]:
    """What only a three-phase meter has."""
    live = [volt for volt in volts if volt] or [0.0]
    between = [_between(volts[a], volts[b]) for a, b in ((0, 1), (1, 2), (2, 0))]
    values = {
        0x002A: sum(live) / len(live),
        0x002E: sum(amps) / len(amps),
        0x0030: sum(amps),
        0x0034: sum(watts),
        0x0038: sum(watts),
        0x003E: 1.0,
        0x00CE: sum(between) / len(between),
        0x0180: measured.energy_kwh,
    }
    for phase in range(PHASES_MAX):
        values[0x00C8 + 2 * phase] = between[phase]
        share = measured.energy_kwh / len(live) if volts[phase] else 0.0
        values |= {0x015A + 2 * phase: share, 0x0166 + 2 * phase: share}
    return values


def _between(first_v: float, second_v: float) -> float:
    """Voltage between two phases that are 120 degrees apart; 0 where one of them is not connected."""
    return (first_v**2 + second_v**2 + first_v * second_v) ** 0.5 if first_v and second_v else 0.0


def padded(values: tuple[float, ...], phases: int) -> tuple[float, ...]:
    """Values of so many phases: 0 where one is not connected."""
    return (*values, *(0.0,) * phases)[:phases]
