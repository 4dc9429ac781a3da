"""Which connectors may be used: ChangeAvailability, and "out of service" by a person at the station (pure; OCPP 1.6 §5.2, §4.9
A8, C8 to F8, H1, H2).

Theory of operation. On disk is what was commanded, one fact for each connector and one for the charge point, of the Central
System and of people at the station; either takes it out of use. What is in force follows from it (`Connector.unavailable`,
`State.unavailable`): a connector that has a transaction stays in use until that is closed, which is all there is to a
scheduled change. So no crash and no power cut can lose or repeat its moment, and no other status flashes up in between (field
reports 42, 50).

Owns: these commands. Does not: derive statuses (`status.py`).

Choice: a scheduled change takes effect with the transaction's end though a cable may still be in (§5.2, §7.3). F8 could be
read to wait for the cable; but Finishing counts as operative (§7.7), and no new transaction may begin here any more.

Choice: the Central System's Operative does not lift what a person at the station has set: somebody may have his hands in there.
The answer has to say "whether the Charge Point is able to change to the requested availability" (§5.2). So it is Rejected
where all that is meant is Unavailable by such a command, and then nothing of it is kept. Of connector 0 it is Accepted as soon
as anything follows; and so it is while a transaction still runs, since a connector that charges is operative (§5.2).
Inoperative is taken in as ever, and holds when the person lifts his.
"""

import msgspec

from bus.messages import ChangeAvailability, ChangeAvailabilityAnswer, Moment
from bus.operating_messages import OutOfService, OutOfServiceAnswer
from bus.vocabulary import CHARGE_POINT, AvailabilityStatus, AvailabilityType
from services.connectors import cards
from services.connectors import events as e
from services.connectors.state import Availability, Connector, Finished, Idle, Resuming
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
    if operative and _all_out_of_service(work, request.connector_id):
        reason = "it was taken out of service at the station, where `station out-of-service off` lifts that"
        work.answer(e.Answer(call_id, ChangeAvailabilityAnswer(AvailabilityStatus.REJECTED, reason)))
        return
    _set_all(work, request.connector_id, operative=operative)
    charging = any(connector.transaction is not None for connector in _meant(work, request.connector_id))
    status = AvailabilityStatus.SCHEDULED if charging and not operative else AvailabilityStatus.ACCEPTED
    work.answer(e.Answer(call_id, ChangeAvailabilityAnswer(status)))
    work.note("availability is commanded", connector_id=request.connector_id, detail=f"{request.type}, {status}")


def take_out_of_service(work: Work, call_id: str, request: OutOfService) -> None:
    """A person's command at the station: on disk, then answered. Without a number it means the charge point and all of it."""
    number = CHARGE_POINT if request.connector_id is None else request.connector_id
    if request.connector_id is not None and not 1 <= number <= len(work.state.connectors):
        work.answer(e.Answer(call_id, OutOfServiceAnswer(refusal=f"there is no connector {number}")))
        return
    before = _availabilities(work, number)
    charging = {c.connector_id for c in work.state.connectors if c.transaction is not None}
    answer = out_of_service_answer(before, request, charging)
    for key in answer.changed:
        _set(work, key, with_out_of_service(before[key], request, work.now.moment()))
    _drop_authorizations(work)
    work.answer(e.Answer(call_id, answer))
    if answer.changed:
        text = "taken out of service at the station" if request.out else "in service again, by a command at the station"
        for key in answer.changed:
            detail = "when its transaction is over" if key in answer.charging else None
            work.note(text, connector_id=key, detail=detail)


def out_of_service_answer(before: dict[int, Availability], request: OutOfService, charging: set[int]) -> OutOfServiceAnswer:
    """What came of a command, from what was known of all that it meant. `charging`: connectors with an open transaction."""
    changed = (key for key, known in before.items() if (known.out_of_service_since is not None) != request.out)
    return OutOfServiceAnswer(
        changed=tuple(changed),
        charging=tuple(key for key in before if request.out and key in charging),
        inoperative=tuple(key for key, known in before.items() if not request.out and not known.operative),
    )


def with_out_of_service(known: Availability, request: OutOfService, at: Moment) -> Availability:
    """As the command wants it; `at`: when it came."""
    return msgspec.structs.replace(known, out_of_service_since=at if request.out else None)


def _all_out_of_service(work: Work, number: int) -> bool:
    """Whether all that is meant is Unavailable, and by a command at the station."""
    charge_point = work.state.availability
    own_out = work.state.unavailable and charge_point.out_of_service_since is not None
    connectors = _meant(work, number)
    all_out = all(c.unavailable and c.availability.out_of_service_since is not None for c in connectors)
    return all_out and (number != CHARGE_POINT or own_out)


def _meant(work: Work, number: int) -> list[Connector]:
    return [c for c in work.state.connectors if number in (CHARGE_POINT, c.connector_id)]


def _availabilities(work: Work, number: int) -> dict[int, Availability]:
    """What is known of all that is meant; of the charge point first."""
    own = {CHARGE_POINT: work.state.availability} if number == CHARGE_POINT else {}
    return own | {c.connector_id: c.availability for c in _meant(work, number)}


def _set_all(work: Work, number: int, *, operative: bool) -> None:
    for key, known in _availabilities(work, number).items():
        _set(work, key, msgspec.structs.replace(known, operative=operative))
    _drop_authorizations(work)


def _set(work: Work, number: int, availability: Availability) -> None:
    connector = work.connector(number)
    before = work.state.availability if connector is None else connector.availability
    if availability == before:
        return
    work.change(e.SaveAvailability(number, availability))
    if connector is None:
        work.set(availability=availability)
        return
    was_unavailable = connector.unavailable
    connector = work.put(connector, availability=availability)
    if was_unavailable and not connector.unavailable:
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
