"""The readings of now, for a TriggerMessage of MeterValues (pure; OCPP 1.6 §5.17, errata v4.0 3.46).

Owns: which connectors have readings to tell, and what of them. Does not: send anything; the link does, after its answer.

Choice: they are told at once or not at all, and change nothing of what is journalled: a transaction's own MeterValues go on at
their interval. Within a transaction they tell its register, and its transactionId as far as it is known. There is no main
meter, so connector 0 has no readings (errata v4.0 3.16).
"""

from bus.messages import MeterValue
from bus.profile_messages import MeterValuesTaken, TakeMeterValues, TriggeredMeterValues
from bus.vocabulary import CHARGE_POINT, ReadingContext, TriggerMessageStatus
from services.connectors import events as e
from services.connectors.readings import Instant, sampled_values
from services.connectors.sampling import is_fresh, offered_a
from services.connectors.state import Connector, Resuming
from services.connectors.transaction_data import export_wh
from services.connectors.work import Work


def take(work: Work, call_id: str, request: TakeMeterValues) -> None:
    """Answer with what MeterValuesSampledData wants of this connector, or of each that has a fresh reading."""
    wanted = [c for c in work.state.connectors if request.connector_id in (None, c.connector_id)]
    values = tuple(taken for c in wanted if (taken := _of(work, c)) is not None)
    if values:
        answer = MeterValuesTaken(TriggerMessageStatus.ACCEPTED, values)
    else:
        answer = MeterValuesTaken(TriggerMessageStatus.REJECTED, reason=_why_none(work, wanted, request.connector_id))
    work.answer(e.Answer(call_id, answer))


def _of(work: Work, connector: Connector) -> TriggeredMeterValues | None:
    sample, transaction = connector.sample, connector.transaction
    at = None if sample is None else work.now.moment(sample.read_boottime_s)
    if sample is None or at is None or at.utc_ms is None or not is_fresh(work, connector, 0.0):
        return None
    if isinstance(connector.phase, Resuming):
        # Whether the register is this transaction's is known in a moment.
        return None
    if transaction is None:
        instant = Instant(sample, sample.energy_import_wh, sample.energy_export_wh, offered_a(connector))
    else:
        instant = Instant(sample, transaction.last.energy_wh, export_wh(transaction, sample), offered_a(connector))
    told = sampled_values(instant, work.state.settings.meter_values_sampled_data, ReadingContext.TRIGGER)
    if not told:
        return None
    transaction_id = None if transaction is None else transaction.transaction_id
    return TriggeredMeterValues(connector.connector_id, (MeterValue(at, told),), transaction_id)


def _why_none(work: Work, wanted: list[Connector], connector_id: int | None) -> str:
    if connector_id == CHARGE_POINT:
        return "there is no main meter, so connector 0 has no readings"
    if not wanted:
        return f"there is no connector {connector_id}"
    if work.now.utc_offset_s is None:
        return "the time is not known yet"
    if not work.state.settings.meter_values_sampled_data:
        return "MeterValuesSampledData is empty"
    return "the meter gives no trustworthy reading of what MeterValuesSampledData wants"
