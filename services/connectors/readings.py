"""OCPP sampled values from a meter reading (pure; OCPP 1.6 §4.7, §7.31, §7.34, §7.43; hardware.md §4.5).

Owns: which measurands a reading gives, with phase, unit and location written out. Does not: decide when to sample.
"""

from collections.abc import Iterator

from bus.messages import MeterSample, SampledValue
from bus.vocabulary import Measurand, Phase, ReadingContext, UnitOfMeasure

PHASES = (Phase.L1, Phase.L2, Phase.L3)
PHASES_TO_NEUTRAL = (Phase.L1_N, Phase.L2_N, Phase.L3_N)


def sampled_values(
    sample: MeterSample,
    register_wh: int,
    measurands: tuple[tuple[Measurand, Phase | None], ...],
    *,
    context: ReadingContext,
    offered_a: float,
) -> tuple[SampledValue, ...]:
    """The wanted measurands of one reading, in the wanted order. What the meter does not measure is left out.

    `register_wh` is the transaction's register, which goes on when a meter is replaced. Total power has no phase, power
    per phase has L1 to L3, currents have L1 to L3, voltages L1-N to L3-N (field report 8 of operators).
    """
    return tuple(
        SampledValue(value=text, context=context, measurand=measurand, unit=unit, phase=phase)
        for measurand, wanted_phase in measurands
        for text, unit, phase in _values(measurand, sample, register_wh, offered_a)
        if wanted_phase is None or wanted_phase is phase
    )


_Value = tuple[str, UnitOfMeasure | None, Phase | None]


def _values(measurand: Measurand, sample: MeterSample, register_wh: int, offered_a: float) -> Iterator[_Value]:
    match measurand:
        case Measurand.ENERGY_ACTIVE_IMPORT_REGISTER:
            yield str(register_wh), UnitOfMeasure.WH, None
        case Measurand.ENERGY_ACTIVE_EXPORT_REGISTER if sample.energy_export_wh is not None:
            yield str(sample.energy_export_wh), UnitOfMeasure.WH, None
        case Measurand.POWER_ACTIVE_IMPORT:
            if sample.power_w is not None:
                yield _text(max(0.0, sample.power_w)), UnitOfMeasure.W, None
            for phase, watts in zip(PHASES, sample.powers_w, strict=False):
                yield _text(max(0.0, watts)), UnitOfMeasure.W, phase
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
        case Measurand.CURRENT_OFFERED:
            yield _text(offered_a), UnitOfMeasure.A, None
        case Measurand.POWER_OFFERED:
            yield _text(offered_a * sum(sample.voltages_v)), UnitOfMeasure.W, None


def _text(value: float) -> str:
    """At most two decimals, never an exponent, never -0."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
