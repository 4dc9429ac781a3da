"""MeterValues of connectors without a transaction: sent while online, else forgotten (OCPP 1.6 §3.16.2, §4.7)."""

from pathlib import Path

import pytest

from bus import messages as m
from bus.vocabulary import Measurand, ReadingContext, UnitOfMeasure
from services.ocpp_link import events as e
from services.ocpp_link.events import Purpose
from services.ocpp_link.meter_values import UNDER_WAY_MAX
from services.ocpp_link.payloads import MeterValuesConf
from tests.ocpp_link.steps import Core, calls
from tests.ocpp_link.world import World, moment

READING = m.SampledValue("1234", ReadingContext.SAMPLE_CLOCK, Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, UnitOfMeasure.WH)


def values(*sampled: m.SampledValue, utc: bool = True, connector_id: int = 1) -> m.ConnectorMeterValues:
    """A reading of a mark."""
    return m.ConnectorMeterValues(connector_id, (m.MeterValue(moment(5.0, utc), sampled),))


def said(core: Core, *sampled: m.SampledValue, utc: bool = True) -> list[str]:
    return calls(core.do(e.MeterValuesSaid(values(*sampled, utc=utc))))


def test_they_go_out_at_once_while_accepted_and_never_later() -> None:
    """OCPP 1.6 §4.2: nothing is sent before Accepted; they are not kept, as they belong to no transaction."""
    core = Core()
    assert said(core, READING) == []
    core.open()
    assert said(core, READING) == []
    assert "meter values" not in calls(core.boot())
    assert said(core, READING) == ["meter values"]
    core.do(e.ConnectionLost("cable cut"))
    assert said(core, READING) == []
    assert "meter values" not in calls(core.open())


@pytest.mark.parametrize(("sampled", "utc"), [((), True), ((READING,), False)])
def test_what_is_no_message_of_ocpp_is_not_sent(sampled: tuple[m.SampledValue, ...], utc: bool) -> None:
    """Report 4 of operators: sampledValue is never empty; field report 27: nothing without its time."""
    assert said(Core().online(), *sampled, utc=utc) == []


def test_only_so_many_are_under_way_at_once() -> None:
    """Style §6: a slow Central System gets no queue of readings; what ends makes room, whatever the end."""
    core = Core().online()
    for _ in range(UNDER_WAY_MAX):
        assert said(core, READING) == ["meter values"]
    assert said(core, READING) == []
    ends: list[e.Event] = [
        e.CallAnswered(Purpose.METER_VALUES, "1", MeterValuesConf()),
        e.CallFailed(Purpose.METER_VALUES, "1", "InternalError", "no"),
        e.CallTimedOut(Purpose.METER_VALUES, "1"),
        e.CallNotSent(Purpose.METER_VALUES, "1"),
    ]
    for end in ends:
        core.do(end)
        assert said(core, READING) == ["meter values"]
        assert said(core, READING) == []
    core.do(e.ConnectionLost("cable cut"))
    core.open()
    assert said(core, READING) == ["meter values"]


def test_silence_asks_whether_the_central_system_is_there_and_nothing_is_repeated() -> None:
    """A reading is not worth a repeat; but silence may be a dead connection (design §4.5)."""
    core = Core().online()
    said(core, READING)
    assert calls(core.do(e.CallTimedOut(Purpose.METER_VALUES, "1"))) == ["heartbeat"]


def test_a_refusal_is_told_once() -> None:
    """Style §7: changes are logged, not conditions; report 22 of operators."""
    core = Core().online()
    for _ in range(3):
        said(core, READING)
        core.fail(Purpose.METER_VALUES, "NotSupported")
    assert len([note for note in core.notes if "MeterValues" in note]) == 1


def test_on_the_wire_there_is_no_transaction_id(tmp_path: Path) -> None:
    """OCPP 1.6 §6.31: through bus, session and frame; each field written out (§7.43)."""
    world = World(tmp_path).online()
    world.connectors.emit(values(READING, connector_id=2), "2")
    world.settle()
    (payload,) = world.said("MeterValues")
    sampled = {
        "value": "1234",
        "context": "Sample.Clock",
        "format": "Raw",
        "measurand": "Energy.Active.Import.Register",
        "location": "Outlet",
        "unit": "Wh",
    }
    (value,) = payload["meterValue"]
    assert payload.keys() == {"connectorId", "meterValue"}
    assert payload["connectorId"] == 2
    assert value["sampledValue"] == [sampled]
