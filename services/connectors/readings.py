"""OCPP sampled values from what is known of a connector (pure; OCPP 1.6 §4.7, §7.31, §7.34, §7.43; hardware.md §4.5).

Owns: which measurands a reading gives, with phase, unit and location written out. Does not: decide when to sample
(`sampling.py`), or which measurands a station offers (`services/configuration`).

Choice: registers and what is measured at one instant; no `.Interval`, which is the difference of two registers that the Central
System has, and no Current.Export, as a meter's current has no direction.
"""

from collections.abc import Iterator

import msgspec

from bus.messages import MeterSample, SampledValue
from bus.vocabulary import Measurand, Phase, ReadingContext, UnitOfMeasure

PHASES = (Phase.L1, Phase.L2, Phase.L3)
PHASES_TO_NEUTRAL = (Phase.L1_N, Phase.L2_N, Phase.L3_N)

Measurands = tuple[tuple[Measurand, Phase | None], ...]
"""A list of a configuration key; a phase narrows the measurand to it, None means all that the meter gives."""


class Instant(msgspec.Struct, frozen=True):
    """All that is known of a connector at the instant of `sample`.

    `import_wh` and `export_wh` are the registers to tell: within a transaction its own, which go on when a meter is replaced;
    outside of one the meter's. None: not known, so not told. `offered_a`: amps that the controller offers.
    """

    sample: MeterSample
    import_wh: int
    export_wh: int | None
    offered_a: float | None


def sampled_values(instant: Instant, measurands: Measurands, context: ReadingContext) -> tuple[SampledValue, ...]:
    """The wanted measurands of one instant, in the wanted order, each value once. What is not measured is left out.

    Total power has no phase, power per phase has L1 to L3, currents have L1 to L3, voltages L1-N to L3-N (field report 8 of
    operators).
    """
    found = (
        SampledValue(value=text, context=context, measurand=measurand, unit=unit, phase=phase)
        for measurand, wanted in measurands
        for text, unit, phase in _values(measurand, instant)
        if meant(wanted, phase)
    )
    return tuple(dict.fromkeys(found))


def meant(wanted: Phase | None, phase: Phase | None) -> bool:
    """Whether a value of `phase` is what an item of a list asks for. `Voltage.L1` means L1-N: voltage is taken to neutral."""
    if wanted is None or wanted is phase:
        return True
    return phase in PHASES_TO_NEUTRAL and wanted is PHASES[PHASES_TO_NEUTRAL.index(phase)]


_Value = tuple[str, UnitOfMeasure | None, Phase | None]


def _values(measurand: Measurand, instant: Instant) -> Iterator[_Value]:
    sample, offered_a = instant.sample, instant.offered_a
    match measurand:
        case Measurand.ENERGY_ACTIVE_IMPORT_REGISTER:
            yield str(instant.import_wh), UnitOfMeasure.WH, None
        case Measurand.ENERGY_ACTIVE_EXPORT_REGISTER if instant.export_wh is not None:
            yield str(instant.export_wh), UnitOfMeasure.WH, None
        case Measurand.POWER_ACTIVE_IMPORT:
            yield from _powers(sample, 1)
        case Measurand.POWER_ACTIVE_EXPORT:
            yield from _powers(sample, -1)
        case Measurand.CURRENT_IMPORT:
            for phase, amps in zip(PHASES, sample.currents_a, strict=False):
                yield _text(amps), UnitOfMeasure.A, phase
        case Measurand.VOLTAGE:
            for phase, volts in zip(PHASES_TO_NEUTRAL, sample.voltages_v, strict=False):
                yield _text(volts), UnitOfMeasure.V, phase
        case Measurand.FREQUENCY if sample.frequency_hz is not None:
            # There is no Hz among the units (errata v4.0 3.84).
            yield _text(sample.frequency_hz), None, None
        case Measurand.POWER_FACTOR if sample.power_factor is not None:
            yield _text(sample.power_factor), None, None
        case Measurand.CURRENT_OFFERED if offered_a is not None:
            yield _text(offered_a), UnitOfMeasure.A, None
        case Measurand.POWER_OFFERED if offered_a is not None and sample.voltages_v:
            yield _text(offered_a * sum(sample.voltages_v)), UnitOfMeasure.W, None


def _powers(sample: MeterSample, sign: int) -> Iterator[_Value]:
    """Active power in one direction, W; the other direction is 0 in this one."""
    if sample.power_w is not None:
        yield _text(max(0.0, sign * sample.power_w)), UnitOfMeasure.W, None
    for phase, watts in zip(PHASES, sample.powers_w, strict=False):
        yield _text(max(0.0, sign * watts)), UnitOfMeasure.W, phase


def _text(value: float) -> str:
    """At most two decimals, never an exponent, never -0."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
