"""MeterValues of connectors without a transaction: sent now or never (pure; OCPP 1.6 §3.16.2, §4.7).

Owns: which of them go out. Does not: touch those of a transaction, which the queue keeps and delivers (`deliveries.py`).

Choice: they belong to no transaction, so they are no transaction-related messages (OCPP 1.6 §3.7): nothing is kept while
offline, and nothing is sent again after CALLERROR or silence. The next mark of the clock brings the next one.
"""

from bus.messages import ConnectorMeterValues
from services.ocpp_link import events as e
from services.ocpp_link.work import Work

UNDER_WAY_MAX = 16
"""One for each connector that a station can have; with the other CALLs they stay below what `rpc.py` lets wait."""


def said(work: Work, values: ConnectorMeterValues) -> None:
    """Connectors say readings: send them if that is possible at once."""
    under_way = work.state.meter_values_under_way
    dated = all(value.at.utc_ms is not None for value in values.meter_values)
    told = any(value.sampled_values for value in values.meter_values)
    if work.state.accepted and dated and told and under_way < UNDER_WAY_MAX:
        work.set(meter_values_under_way=under_way + 1)
        work.do(e.SendCall(e.Purpose.METER_VALUES, str(values.connector_id), values))


def ended(work: Work, refusal: str = "") -> None:
    """One of them has its answer, or will have none. `refusal`: a CALLERROR or silence, which the log tells once.

    A Central System may want none of them (report 22 of operators): ClockAlignedDataInterval 0 turns them off.
    """
    if refusal and refusal != work.state.meter_values_refusal:
        work.note("Central System does not take MeterValues outside a transaction", detail=refusal, warning=True)
    work.set(meter_values_under_way=max(0, work.state.meter_values_under_way - 1), meter_values_refusal=refusal)
