"""TriggerMessage: which message can be sent now, and sending it (pure; OCPP 1.6 §5.17, errata v4.0 3.35, 3.40, 3.46).

Theory of operation. `verdict` answers the request; the service sends that answer, and then tells the core to send the message:
so it goes out after the answer. Readings are the connectors service's, so a trigger of MeterValues asks it first, and its
answer has the values. Whether a message is sent rests on the registration alone: while Pending it is the only thing that is
sent (OCPP 1.6 §4.2).

Owns: these answers. Does not: take readings (`services/connectors/triggered.py`), or decide what a status is.

Choice: once a BootNotification was accepted, no other one is triggered until the station boots again (errata v4.0 3.35, 3.40);
a mere reconnect is no reason, since the acceptance holds beyond it. Choice: a status that is not known yet is Rejected, as is
everything before the first BootNotification.conf, when nothing else may be sent (OCPP 1.6 §4.2). Choice: a message of the kind
that is under way counts as the triggered one. There are no diagnostics or updates of firmware, so both are Idle.
"""

import msgspec
from msgspec.structs import replace

from bus.messages import Message
from bus.profile_messages import DiagnosticsStatusNotification, FirmwareStatusNotification
from bus.vocabulary import DiagnosticsStatus, FirmwareStatus, MessageTrigger, RegistrationStatus, TriggerMessageStatus
from services.ocpp_link import events as e
from services.ocpp_link import statuses
from services.ocpp_link.state import State
from services.ocpp_link.work import Work

UNDER_WAY_MAX = 17
"""The charge point and each of sixteen connectors; with the other CALLs they stay below what `rpc.py` lets wait."""
ACCEPTED, REJECTED = TriggerMessageStatus.ACCEPTED, TriggerMessageStatus.REJECTED


class Verdict(msgspec.Struct, frozen=True):
    """The answer to a TriggerMessage; `reason` in plain words where it refuses."""

    status: TriggerMessageStatus
    reason: str = ""


def known(requested: str) -> MessageTrigger | None:
    """The message of that name; None: there is no such message, or it can't be triggered."""
    return next((trigger for trigger in MessageTrigger if trigger == requested), None)


def verdict(state: State, requested: str, connector_id: int | None) -> Verdict:
    """What to answer; of MeterValues whether any may be sent. A connectorId that means nothing to the message is ignored."""
    trigger = known(requested)
    if trigger is None:
        return Verdict(TriggerMessageStatus.NOT_IMPLEMENTED, f"{requested[:50]} can't be triggered")
    if trigger is MessageTrigger.BOOT_NOTIFICATION:
        if state.registration is RegistrationStatus.ACCEPTED:
            return Verdict(REJECTED, "the station is accepted already (errata v4.0 3.35)")
        return Verdict(ACCEPTED)
    if state.registration is None:
        return Verdict(REJECTED, "BootNotification is not answered yet (OCPP 1.6 §4.2)")
    if state.triggered_under_way >= UNDER_WAY_MAX:
        return Verdict(REJECTED, f"{UNDER_WAY_MAX} triggered messages are not answered yet")
    if trigger is MessageTrigger.STATUS_NOTIFICATION and not statuses.current(state, connector_id):
        which = "any connector" if connector_id is None else f"connector {connector_id}"
        return Verdict(REJECTED, f"no status of {which} is known here")
    return Verdict(ACCEPTED)


def send(work: Work, event: e.Triggered) -> None:
    """The answer has gone out: now the message itself. `values` are those of MeterValues."""
    match event.requested:
        case MessageTrigger.BOOT_NOTIFICATION:
            work.set(boot_due_s=work.now.boottime_s)
        case MessageTrigger.HEARTBEAT:
            if not work.state.heartbeat_asked:
                _send(work, "Heartbeat", None)
        case MessageTrigger.DIAGNOSTICS_STATUS_NOTIFICATION:
            _send(work, event.requested, DiagnosticsStatusNotification(DiagnosticsStatus.IDLE))
        case MessageTrigger.FIRMWARE_STATUS_NOTIFICATION:
            _send(work, event.requested, FirmwareStatusNotification(FirmwareStatus.IDLE))
        case MessageTrigger.METER_VALUES:
            for values in event.values:
                _send(work, f"{event.requested} {values.connector_id}", values)
        case MessageTrigger.STATUS_NOTIFICATION:
            _send_statuses(work, event.connector_id)


def ended(work: Work, tag: str, failure: str = "") -> None:
    """One of them has its answer, or will have none. It is not sent again: it told of a moment that is over."""
    work.set(triggered_under_way=max(0, work.state.triggered_under_way - 1))
    if failure:
        work.note("a triggered message was not taken", detail=f"{tag}: {failure}", warning=True)


def _send_statuses(work: Work, connector_id: int | None) -> None:
    """As they are now, MinimumStatusDuration or not, told already or not (field report 41).

    They bear the time of now: some Central Systems ignore a status that is no newer than the one they have (field report
    §2.19). While accepted they go behind the statuses that still wait, so that the newest comes last.
    """
    now_ms = round(work.now.boottime_s * 1000)
    for connector in statuses.current(work.state, connector_id):
        fresh = replace(connector, at=replace(connector.at, boottime_ms=now_ms, utc_ms=None))
        if work.state.accepted:
            statuses.tell_again(work, fresh)
        else:
            _send(work, f"StatusNotification {connector.connector_id}", fresh)


def _send(work: Work, tag: str, message: Message | None) -> None:
    """Nothing goes out where the connection ended, or the registration changed, between the answer and this."""
    if work.state.usable and work.state.registration in (RegistrationStatus.ACCEPTED, RegistrationStatus.PENDING):
        work.set(triggered_under_way=work.state.triggered_under_way + 1)
        work.do(e.SendCall(e.Purpose.TRIGGERED, tag, message))
