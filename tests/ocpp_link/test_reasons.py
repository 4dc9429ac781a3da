"""Which refusals the station sends, each with a reason in the log (field report 63; OCPP 1.6 §4, §5; OCPP-J 1.6 §4.2.3)."""

from pathlib import Path
from typing import Any

import pytest

from bus import messages as m
from bus import profile_messages as pm
from bus import vocabulary as v
from bus.topics import TOPICS
from services.ocpp_link.actions import ACTIONS, Direction
from tests.ocpp_link.world import World

WHY = "the owner's reason"
AT = "2027-01-15T09:00:00Z"
RESERVE = {"connectorId": 1, "expiryDate": AT, "idTag": "TAG", "reservationId": 1}
REJECTED = m.RemoteStartStopAnswer(v.RemoteStartStopStatus.REJECTED, WHY)
REFUSED: dict[str, list[tuple[dict[str, Any], m.Message | None, str]]] = {
    "CancelReservation": [
        ({"reservationId": 1}, pm.CancelReservationAnswer(v.CancelReservationStatus.REJECTED, WHY), "Rejected"),
    ],
    "ChangeAvailability": [
        ({"connectorId": 9, "type": "Operative"}, m.ChangeAvailabilityAnswer(v.AvailabilityStatus.REJECTED, WHY), "Rejected"),
    ],
    "ChangeConfiguration": [
        ({"key": "NoSuchKey", "value": "1"}, None, "NotSupported"),
        ({"key": "HeartbeatInterval", "value": "soon"}, None, "Rejected"),
        ({"key": "NumberOfConnectors", "value": "7"}, None, "Rejected"),
    ],
    "ClearCache": [({}, m.ClearCacheAnswer(v.ClearCacheStatus.REJECTED, WHY), "Rejected")],
    "DataTransfer": [({"vendorId": "com.example"}, None, "UnknownVendorId")],
    "GetConfiguration": [],
    "GetLocalListVersion": [],
    "RemoteStartTransaction": [({"idTag": "TAG"}, REJECTED, "Rejected"), ({"idTag": ""}, None, "Rejected")],
    "RemoteStopTransaction": [({"transactionId": 1}, REJECTED, "Rejected")],
    "ReserveNow": [
        *((RESERVE, pm.ReserveNowAnswer(status, WHY), status) for status in v.ReservationStatus if status != "Accepted"),
        ({**RESERVE, "idTag": ""}, None, "Rejected"),
    ],
    "Reset": [({"type": "Soft"}, m.ResetAnswer(v.ResetStatus.REJECTED, WHY), "Rejected")],
    "SendLocalList": [
        (
            {"listVersion": 1, "updateType": "Full"},
            pm.SendLocalListAnswer(status, WHY),
            status,
        )
        for status in v.UpdateStatus
        if status != "Accepted"
    ],
    "TriggerMessage": [
        ({"requestedMessage": "BootNotification"}, None, "Rejected"),
        ({"requestedMessage": "StatusNotification", "connectorId": 9}, None, "Rejected"),
        ({"requestedMessage": "LogStatusNotification"}, None, "NotImplemented"),
        ({"requestedMessage": "MeterValues"}, pm.MeterValuesTaken(v.TriggerMessageStatus.REJECTED, reason=WHY), "Rejected"),
    ],
    "UnlockConnector": [
        ({"connectorId": 1}, m.UnlockConnectorAnswer(status, WHY), status) for status in v.UnlockStatus if status != "Unlocked"
    ],
}
"""By action: payload, what its owner answers (None: the link answers itself), and the status that goes out."""
ASKED = {name: action for name, action in ACTIONS.items() if action.direction is not Direction.TO_CENTRAL_SYSTEM}
HERE = {"ChangeConfiguration", "DataTransfer", "GetConfiguration"}
"""Actions that no other service has a part in."""


@pytest.fixture
def online(tmp_path: Path) -> World:
    return World(tmp_path).online()


def answers(world: World, answer: m.Message) -> None:
    """From now on the owner answers so."""
    for topic in TOPICS:
        if topic.answer is type(answer):
            world.remote_answers[topic.message] = answer


def refusals(world: World, event: str = "request of the Central System refused") -> list[dict[str, Any]]:
    return [fields for _, text, fields in world.log.lines if text == event]


def test_the_table_has_all_actions_that_are_carried_out() -> None:
    assert {name for name, action in ASKED.items() if action.req is not None} == set(REFUSED)


@pytest.mark.parametrize(
    ("action", "payload", "answer", "status"),
    [pytest.param(action, *row, id=f"{action}-{row[2]}-{n}") for action, rows in REFUSED.items() for n, row in enumerate(rows)],
)
def test_a_refusal_has_its_reason_in_the_log(
    online: World, action: str, payload: dict[str, Any], answer: m.Message | None, status: str
) -> None:
    if answer is not None:
        answers(online, answer)
    assert online.asked(action, payload)["status"] == status
    (line,) = refusals(online)
    assert (line["action"], line["status"]) == (action, status)
    assert line["reason"] == WHY if answer is not None else len(line["reason"]) > 10


@pytest.mark.parametrize("action", [name for name in REFUSED if name not in HERE])
def test_an_owner_that_does_not_answer_is_in_the_log(online: World, action: str) -> None:
    payload = next((payload for payload, answer, _ in REFUSED[action] if answer is not None), {})
    unique_id = online.ask(action, payload)
    online.advance(20)
    assert online.results[unique_id][2] == "InternalError"
    (line,) = refusals(online, "CALL answered with CALLERROR")
    assert line["action"] == action
    assert line["reason"] == "the station can't do this now, service connectors: timed out"


def test_a_refusal_without_a_reason_is_told_too(online: World) -> None:
    answers(online, m.ClearCacheAnswer(v.ClearCacheStatus.REJECTED))
    assert online.asked("ClearCache")["status"] == "Rejected"
    (line,) = refusals(online)
    assert line["reason"] == "no reason was given"


def test_what_is_carried_out_is_no_refusal(online: World) -> None:
    answers(online, m.UnlockConnectorAnswer(v.UnlockStatus.UNLOCKED))
    assert online.asked("UnlockConnector", {"connectorId": 1})["status"] == "Unlocked"
    assert refusals(online) == []
