"""Which connectors may be used: ChangeAvailability (pure; OCPP 1.6 §5.2, §4.9 A8, C8 to F8, H1, H2).

Theory of operation. On disk is what was commanded, one fact for each connector and one for the charge point. What is in
force follows from it (`Connector.unavailable`, `State.unavailable`): a connector that has a transaction stays in use until
that is closed, which is all there is to a scheduled change. So no crash and no power cut can lose or repeat its moment, and
no other status flashes up in between (field reports 42, 50).

Owns: this command. Does not: derive statuses (`status.py`), or know of a local "out of service", which will be a second
fact of `Availability` that the Central System's Operative does not lift.

Choice: a scheduled change takes effect with the transaction's end though a cable may still be in (§5.2, §7.3). F8 could be
read to wait for the cable; but Finishing counts as operative (§7.7), and no new transaction may begin here any more.
"""

import msgspec

from bus.messages import ChangeAvailability, ChangeAvailabilityAnswer
from bus.vocabulary import CHARGE_POINT, AvailabilityStatus, AvailabilityType
from services.connectors import cards
from services.connectors import events as e
from services.connectors.state import Connector, Finished, Idle, Resuming
from services.connectors.work import Work


def change(work: Work, call_id: str, request: ChangeAvailability) -> None:
    """ChangeAvailability: on disk, then answered (field report 50).

    Connector 0 means the charge point and every connector, whatever was commanded of each before (OCPP 1.6 §5.2); a later
    command for one connector is then again for that one only. Operative takes back a scheduled Inoperative.
    """
    if request.connector_id > len(work.state.connectors):
        reason = f"there is no connector {request.connector_id}"
        work.answer(e.Answer(call_id, ChangeAvailabilityAnswer(AvailabilityStatus.REJECTED, reason)))
        return
    operative = request.type is AvailabilityType.OPERATIVE
    if request.connector_id == CHARGE_POINT:
        _set_charge_point(work, operative)
    for connector in _meant(work, request):
        _set_connector(work, connector, operative)
    _drop_authorizations(work)
    scheduled = any(connector.change_scheduled for connector in _meant(work, request))
    status = AvailabilityStatus.SCHEDULED if scheduled else AvailabilityStatus.ACCEPTED
    work.answer(e.Answer(call_id, ChangeAvailabilityAnswer(status)))
    work.note("availability is commanded", connector_id=request.connector_id, detail=f"{request.type}, {status}")


def _meant(work: Work, request: ChangeAvailability) -> list[Connector]:
    return [c for c in work.state.connectors if request.connector_id in (CHARGE_POINT, c.connector_id)]


def _set_charge_point(work: Work, operative: bool) -> None:
    if work.state.availability.operative != operative:
        availability = msgspec.structs.replace(work.state.availability, operative=operative)
        work.set(availability=availability)
        work.change(e.SaveAvailability(CHARGE_POINT, availability))


def _set_connector(work: Work, connector: Connector, operative: bool) -> None:
    if connector.availability.operative == operative:
        return
    was_unavailable = connector.unavailable
    availability = msgspec.structs.replace(connector.availability, operative=operative)
    connector = work.put(connector, availability=availability)
    work.change(e.SaveAvailability(connector.connector_id, availability))
    if was_unavailable and operative:
        _readmit(work, connector)


def _readmit(work: Work, connector: Connector) -> None:
    """Back in use: a plug that is still in from a session before counts as a new user's, Preparing (H2).

    OCPP knows no way from Unavailable to Finishing; if nobody presents a card, B6 leads there. A plug that is kept for its
    holder stays so.
    """
    match connector.phase:
        case Finished() | Resuming(transaction=None) if not connector.plug_kept:
            work.change(e.DropFinished(connector.connector_id))
            work.put(connector, phase=Idle())


def _drop_authorizations(work: Work) -> None:
    """Whoever waits to charge where nobody may any more need not wait on."""
    unavailable = {c.connector_id for c in work.state.connectors if c.unavailable}
    nowhere = len(unavailable) == len(work.state.connectors)
    for waiting in cards.all_waiting(work.state):
        if nowhere or waiting.connector_id in unavailable:
            cards.drop_waiting(work, waiting)
            work.note(
                "authorization ends, its connector is out of use", connector_id=waiting.connector_id, id_tag=waiting.id_tag
            )
