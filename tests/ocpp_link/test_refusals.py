"""What the one line about a negative answer or a CALLERROR has in it (field report 63). Which there are: `test_reasons.py`."""

from pathlib import Path
from typing import Any

import pytest

from bus import messages as m
from bus import profile_messages as pm
from bus import vocabulary as v
from services.ocpp_link.actions import ACTIONS, Direction
from tests.ocpp_link.world import World

REJECTED = m.RemoteStartStopAnswer(v.RemoteStartStopStatus.REJECTED, "no transaction with id 7 is running here")
FAILED = m.UnlockConnectorAnswer(v.UnlockStatus.UNLOCK_FAILED, "the lock does not move")
OCCUPIED = pm.ReserveNowAnswer(v.ReservationStatus.OCCUPIED, "connector 1 is reserved already")
UNAVAILABLE = m.ChangeAvailabilityAnswer(v.AvailabilityStatus.REJECTED, "there is no connector 9")
NO_CACHE = m.ClearCacheAnswer(v.ClearCacheStatus.REJECTED, "AuthorizationCacheEnabled is false")
OLD = pm.SendLocalListAnswer(v.UpdateStatus.VERSION_MISMATCH, "version 2 is not above 3")
NO_LIST = pm.LocalListVersion(-1, "LocalAuthListEnabled is false")
NO_RESERVATION = pm.CancelReservationAnswer(v.CancelReservationStatus.REJECTED, "there is no reservation 5")
NO_READING = pm.MeterValuesTaken(v.TriggerMessageStatus.REJECTED, reason="the time is not known yet")
RESERVE = {"connectorId": 1, "expiryDate": "2027-01-01T00:00:00Z", "idTag": "TAG", "reservationId": 5}
LIST = {"listVersion": 2, "updateType": "Full"}


@pytest.fixture
def online(tmp_path: Path) -> World:
    return World(tmp_path).online()


def line(world: World, unique_id: str) -> dict[str, Any]:
    """The one line about the answer to this call."""
    (fields,) = [fields for _, _, fields in world.log.lines if fields.get("unique_id") == unique_id]
    return fields


@pytest.mark.parametrize(
    ("action", "payload", "status", "words", "about"),
    [
        ("ChangeConfiguration", {"key": "Nonsense", "value": "1"}, "NotSupported", "no such key", {"key": "Nonsense"}),
        ("ChangeConfiguration", {"key": "NumberOfConnectors", "value": "1"}, "Rejected", "read-only", {}),
        ("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "x"}, "Rejected", "number", {}),
        ("DataTransfer", {"vendorId": "org.nobody"}, "UnknownVendorId", "of this vendor", {"vendor": "org.nobody"}),
        ("TriggerMessage", {"requestedMessage": "BootNotification"}, "Rejected", "accepted already", {}),
        ("TriggerMessage", {"requestedMessage": "Poem"}, "NotImplemented", "can't be triggered", {"requested": "Poem"}),
        ("TriggerMessage", {"requestedMessage": "StatusNotification", "connectorId": 8}, "Rejected", "8", {"connector": 8}),
        ("RemoteStartTransaction", {"idTag": "", "connectorId": 2}, "Rejected", "idTag is empty", {"connector": 2}),
        ("ReserveNow", {**RESERVE, "idTag": ""}, "Rejected", "idTag is empty", {"connector": 1, "reservation_id": 5}),
        ("SendLocalList", {**LIST, "localAuthorizationList": [{"idTag": ""}]}, "Failed", "idTag in the list is empty", {}),
    ],
)
def test_what_the_link_itself_refuses(
    online: World, action: str, payload: dict[str, Any], status: str, words: str, about: dict[str, Any]
) -> None:
    unique_id = online.ask(action, payload)
    assert online.results[unique_id][2]["status"] == status
    said = line(online, unique_id)
    assert said.items() >= {"action": action, "status": status, **about}.items()
    assert words in said["reason"]


@pytest.mark.parametrize(
    ("action", "payload", "answer", "about"),
    [
        ("RemoteStartTransaction", {"idTag": "TAG", "connectorId": 1}, REJECTED, {"connector": 1}),
        ("RemoteStopTransaction", {"transactionId": 7}, REJECTED, {"transaction_id": 7}),
        ("ChangeAvailability", {"connectorId": 9, "type": "Operative"}, UNAVAILABLE, {"connector": 9}),
        ("UnlockConnector", {"connectorId": 1}, FAILED, {"connector": 1}),
        ("ClearCache", {}, NO_CACHE, {}),
        ("SendLocalList", LIST, OLD, {}),
        ("GetLocalListVersion", {}, NO_LIST, {}),
        ("ReserveNow", RESERVE, OCCUPIED, {"connector": 1, "reservation_id": 5}),
        ("CancelReservation", {"reservationId": 5}, NO_RESERVATION, {"reservation_id": 5}),
        ("TriggerMessage", {"requestedMessage": "MeterValues", "connectorId": 1}, NO_READING, {"requested": "MeterValues"}),
        ("Reset", {"type": "Soft"}, m.ResetAnswer(v.ResetStatus.REJECTED, "a Reset is under way"), {}),
    ],
)
def test_an_owners_reason_reaches_the_log(
    online: World, action: str, payload: dict[str, Any], answer: Any, about: dict[str, Any]
) -> None:
    online.remote_answers = dict.fromkeys(
        (
            m.RemoteStartTransaction,
            m.RemoteStopTransaction,
            m.ChangeAvailability,
            m.UnlockConnector,
            m.ClearCache,
            m.Reset,
            pm.SendLocalList,
            pm.GetLocalListVersion,
            pm.ReserveNow,
            pm.CancelReservation,
            pm.TakeMeterValues,
        ),
        answer,
    )
    unique_id = online.ask(action, payload)
    assert line(online, unique_id).items() >= {"action": action, "reason": answer.reason, **about}.items()


@pytest.mark.parametrize("action", [*(a for a in ACTIONS), "Nonsense"])
def test_each_action_with_a_payload_that_can_not_be_read(online: World, action: str) -> None:
    """CALLERROR of any code; of an action that is not for a station or not enabled, the reason says so."""
    unique_id = online.ask(action, {"nonsense": 1})
    said = line(online, unique_id)
    assert said["action"] == action
    assert said["code"] == online.results[unique_id][2]
    known = ACTIONS.get(action)
    if known is None:
        words = "not an action of OCPP 1.6"
    elif known.direction is Direction.TO_CENTRAL_SYSTEM:
        words = "only sent by a charge point"
    else:
        words = "not enabled" if known.req is None else "nonsense"
    assert words in said["reason"]


def test_a_call_that_is_no_call(online: World) -> None:
    online.frame('[2,"short","Reset"]')
    assert line(online, "short").items() >= {"action": "Reset", "code": "FormationViolation"}.items()
    assert "4 elements" in line(online, "short")["reason"]


def test_an_id_tag_or_a_value_is_not_in_the_line(online: World) -> None:
    unique_id = online.ask("ChangeConfiguration", {"key": "Nonsense", "value": "canary"})
    assert "canary" not in str(line(online, unique_id))
    assert online.log.said("refused") == 1
