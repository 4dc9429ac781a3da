"""Between the bus's messages and OCPP's payloads (pure).

Owns: which field becomes which, and what is cut to OCPP's lengths. Does not: decide when something is sent.
Everything is written out even where OCPP has a default: context, measurand, unit, location, reason.
"""

from typing import Any

from bus import messages as m
from bus import profile_messages as pm
from bus.vocabulary import AuthorizationStatus, Reason, ValueFormat
from services.configuration.model import Station
from services.ocpp_link import payloads as p
from services.ocpp_link import profile_payloads as pp
from services.ocpp_link.timestamps import parse_utc_ms, utc_ms_text

INFO_LENGTH_MAX = 50
VENDOR_ID_LENGTH_MAX = 255


def request(message: m.Message | None, vendor: str, utc_offset_s: float | None) -> p.Req:
    """What goes out for a message of the bus; None: Heartbeat."""
    match message:
        case m.ConnectorState():
            return status_notification(message, vendor, utc_offset_s)
        case m.ConnectorMeterValues() | pm.TriggeredMeterValues():
            return meter_values(message)
        case m.Authorize(id_tag=id_tag):
            return p.AuthorizeReq(id_tag=id_tag)
        case m.Deliver():
            return transaction_request(message)
        case pm.DiagnosticsStatusNotification(status=diagnostics):
            return pp.DiagnosticsStatusNotificationReq(status=diagnostics)
        case pm.FirmwareStatusNotification(status=firmware):
            return pp.FirmwareStatusNotificationReq(status=firmware)
    return p.HeartbeatReq()


def boot_notification(station: Station) -> p.BootNotificationReq:
    """Who this station is; lengths are bounded when station.toml is read."""
    return p.BootNotificationReq(
        charge_point_vendor=station.vendor,
        charge_point_model=station.model,
        charge_point_serial_number=station.serial_number or None,
        firmware_version=station.firmware_version or None,
        iccid=station.iccid or None,
        imsi=station.imsi or None,
    )


def status_notification(state: m.ConnectorState, vendor: str, utc_offset_s: float | None) -> p.StatusNotificationReq:
    """A connector's state; without a timestamp while the clock is unknown (field reports 27, 28).

    The time is the link's own view of the moment: what connectors wrote beside it may be from before a step of the clock.
    """
    utc_ms = state.at.utc_ms if utc_offset_s is None else state.at.boottime_ms + round(utc_offset_s * 1000)
    return p.StatusNotificationReq(
        connector_id=state.connector_id,
        error_code=state.error_code,
        status=state.status,
        info=state.info[:INFO_LENGTH_MAX] or None,
        timestamp=None if utc_ms is None else utc_ms_text(utc_ms),
        vendor_id=vendor[:VENDOR_ID_LENGTH_MAX] if state.vendor_error_code else None,
        vendor_error_code=state.vendor_error_code[:INFO_LENGTH_MAX] or None,
    )


def meter_values(values: m.ConnectorMeterValues | pm.TriggeredMeterValues) -> p.MeterValuesReq:
    """Readings that are not in the journal: with a transactionId only where they were triggered (OCPP 1.6 §4.7, §5.17)."""
    return p.MeterValuesReq(
        connector_id=values.connector_id,
        transaction_id=values.transaction_id if isinstance(values, pm.TriggeredMeterValues) else None,
        meter_value=_meter_values(values.meter_values),
    )


def why_unsendable(request: m.Deliver) -> str:
    """What keeps a transaction message from being put into OCPP, in plain words; empty: nothing."""
    message = request.message
    if not isinstance(message, m.StartTransaction) and request.transaction_id is None:
        return "it has no transactionId"
    values = () if isinstance(message, m.StartTransaction) else message.meter_values
    moments = [value.at for value in values]
    if isinstance(message, m.MeterValues):
        if not any(value.sampled_values for value in values):
            return "it has no value in it"
    else:
        moments.append(message.at)
    return "it has a moment without UTC" if any(moment.utc_ms is None for moment in moments) else ""


def transaction_request(request: m.Deliver) -> p.StartTransactionReq | p.MeterValuesReq | p.StopTransactionReq:
    """A transaction message with its transactionId; the same request always gives the same bytes (field report 16).

    Only for a request of which `why_unsendable` says nothing.
    """
    message, transaction_id = request.message, request.transaction_id
    match message:
        case m.StartTransaction():
            return p.StartTransactionReq(
                connector_id=message.connector_id,
                id_tag=message.id_tag,
                meter_start=message.meter_start_wh,
                timestamp=_timestamp(message.at),
                reservation_id=message.reservation_id,
            )
        case m.MeterValues():
            assert transaction_id is not None, "MeterValues of a transaction have its transactionId"
            return p.MeterValuesReq(
                connector_id=message.connector_id,
                transaction_id=transaction_id,
                meter_value=_meter_values(message.meter_values),
            )
        case m.StopTransaction():
            assert transaction_id is not None, "a StopTransaction has its transactionId"
            return p.StopTransactionReq(
                transaction_id=transaction_id,
                meter_stop=message.meter_stop_wh,
                timestamp=_timestamp(message.at),
                id_tag=message.id_tag,
                reason=Reason(message.reason),
                transaction_data=_meter_values(message.meter_values) or None,
            )


def id_tag_info(conf: Any) -> m.IdTagInfo | None:
    """The idTagInfo of a response, if it has one. Choice: an expiryDate that is no date counts as absent."""
    info = getattr(conf, "id_tag_info", None)
    return None if info is None else _id_tag_info(info)


def send_local_list(req: pp.SendLocalListReq) -> pm.SendLocalList:
    """An update of the Local Authorization List. Only for one whose idTags are not empty."""
    entries = (
        pm.AuthorizationData(one.id_tag, None if one.id_tag_info is None else _id_tag_info(one.id_tag_info))
        for one in req.local_authorization_list or ()
    )
    return pm.SendLocalList(req.list_version, req.update_type, tuple(entries))


def _id_tag_info(info: p.IdTagInfo | pp.ListedIdTagInfo) -> m.IdTagInfo:
    expiry_utc_ms = None if info.expiry_date is None else parse_utc_ms(info.expiry_date)
    return m.IdTagInfo(AuthorizationStatus(info.status), expiry_utc_ms, info.parent_id_tag)


def _meter_values(values: tuple[m.MeterValue, ...]) -> tuple[p.MeterValue, ...]:
    """An instant without a value is left out, since sampledValue must not be empty (field report §2.4)."""
    return tuple(
        p.MeterValue(timestamp=_timestamp(value.at), sampled_value=tuple(_sampled(s) for s in value.sampled_values))
        for value in values
        if value.sampled_values
    )


def _sampled(value: m.SampledValue) -> p.SampledValue:
    return p.SampledValue(
        value=value.value,
        context=value.context,
        format=ValueFormat.RAW,
        measurand=value.measurand,
        phase=value.phase,
        location=value.location,
        unit=value.unit,
    )


def _timestamp(at: m.Moment) -> str:
    assert at.utc_ms is not None, "the queue gives each moment its time before it asks for delivery"
    return utc_ms_text(at.utc_ms)
