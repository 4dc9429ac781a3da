"""GetLocalListVersion and SendLocalList on their way through the link (OCPP 1.6 §5.10, §5.15, §6.27, §6.41)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.messages import IdTagInfo
from bus.profile_messages import (
    AuthorizationData,
    GetLocalListVersion,
    LocalListVersion,
    SendLocalList,
    SendLocalListAnswer,
)
from bus.vocabulary import AuthorizationStatus, UpdateStatus, UpdateType
from services.configuration import keys
from services.ocpp_link.rpc import FRAME_BYTES_MAX
from tests.ocpp_link.world import CONFIG, UTC_0_S, World

ENTRY = {
    "idTag": "04A2B3C4D5",
    "idTagInfo": {"status": "Accepted", "expiryDate": "2027-01-15T09:00:00+01:00", "parentIdTag": "FAMILY"},
}
LIST = {"listVersion": 7, "updateType": "Differential", "localAuthorizationList": [ENTRY, {"idTag": "GONE"}]}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path).online()
    world.remote_answers[SendLocalList] = SendLocalListAnswer(UpdateStatus.ACCEPTED)
    world.remote_answers[GetLocalListVersion] = LocalListVersion(7)
    return world


@pytest.mark.parametrize("version", [7, 0, -1])
def test_the_version_is_that_of_its_owner(world: World, version: int) -> None:
    """OCPP 1.6 §5.10, §6.28."""
    world.remote_answers[GetLocalListVersion] = LocalListVersion(version)
    assert world.asked("GetLocalListVersion") == {"listVersion": version}


@pytest.mark.parametrize("status", UpdateStatus)
def test_each_status_of_the_owner_is_answered(world: World, status: UpdateStatus) -> None:
    """OCPP 1.6 §6.42, §7.47."""
    world.remote_answers[SendLocalList] = SendLocalListAnswer(status, "because")
    assert world.asked("SendLocalList", LIST) == {"status": status}


def test_an_update_reaches_its_owner_whole(world: World) -> None:
    """OCPP 1.6 §6.41, §7.1, §7.27: an entry without idTagInfo is to be deleted; dates may have any zone."""
    world.asked("SendLocalList", LIST)
    info = IdTagInfo(AuthorizationStatus.ACCEPTED, round(UTC_0_S * 1000), "FAMILY")
    entries = (AuthorizationData("04A2B3C4D5", info), AuthorizationData("GONE"))
    assert world.remote == [SendLocalList(7, UpdateType.DIFFERENTIAL, entries)]


@pytest.mark.parametrize("empty", [{}, {"localAuthorizationList": []}, {"localAuthorizationList": None}])
def test_no_list_is_an_empty_one(world: World, empty: dict[str, Any]) -> None:
    """OCPP 1.6 §6.41: "no (empty) localAuthorizationList"."""
    assert world.asked("SendLocalList", {"listVersion": 1, "updateType": "Full", **empty}) == {"status": "Accepted"}
    assert world.remote == [SendLocalList(1, UpdateType.FULL)]


def test_an_empty_parent_id_tag_is_none(world: World) -> None:
    """As in idTagInfo of a response: some Central Systems send it so."""
    entry = {"idTag": "A", "idTagInfo": {"status": "Blocked", "parentIdTag": ""}}
    world.asked("SendLocalList", {"listVersion": 1, "updateType": "Full", "localAuthorizationList": [entry]})
    (request,) = world.remote
    assert isinstance(request, SendLocalList)
    assert request.entries == (AuthorizationData("A", IdTagInfo(AuthorizationStatus.BLOCKED)),)


def test_an_empty_id_tag_fails(world: World) -> None:
    """OCPP 1.6 §7.28 allows it, and no card has it: the whole update is refused, nobody is asked."""
    entries = [ENTRY, {"idTag": ""}]
    assert world.asked("SendLocalList", {**LIST, "localAuthorizationList": entries}) == {"status": "Failed"}
    assert world.remote == []


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"updateType": "Full"}, "FormationViolation"),
        ({"listVersion": 1}, "FormationViolation"),
        ({"listVersion": 1, "updateType": "Partial"}, "PropertyConstraintViolation"),
        ({"listVersion": "1", "updateType": "Full"}, "FormationViolation"),
        ({**LIST, "localAuthorizationList": [{"idTagInfo": {"status": "Accepted"}}]}, "FormationViolation"),
        ({**LIST, "localAuthorizationList": [{"idTag": "x" * 21}]}, "FormationViolation"),
        ({**LIST, "localAuthorizationList": [{"idTag": "A", "idTagInfo": {}}]}, "FormationViolation"),
        ({**LIST, "localAuthorizationList": [{"idTag": "A", "idTagInfo": {"status": "Good"}}]}, "PropertyConstraintViolation"),
        (
            {**LIST, "localAuthorizationList": [{"idTag": "A", "idTagInfo": {"status": "Accepted", "expiryDate": "soon"}}]},
            "FormationViolation",
        ),
    ],
)
def test_a_malformed_update_is_refused(world: World, payload: dict[str, Any], code: str) -> None:
    """OCPP-J 1.6 §4.2.3; OCPP 1.6 §6.41. An expiryDate that is none would make the entry valid for ever."""
    assert world.asked("SendLocalList", payload) == code
    assert world.remote == []


@pytest.mark.parametrize("action", ["GetLocalListVersion", "SendLocalList"])
def test_both_are_answered_while_pending(tmp_path: Path, action: str) -> None:
    """OCPP 1.6 §4.2: the Central System may set things before it accepts."""
    world = World(tmp_path)
    world.answers["BootNotification"] = world.boot("Pending")
    world.remote_answers[SendLocalList] = SendLocalListAnswer(UpdateStatus.ACCEPTED)
    world.remote_answers[GetLocalListVersion] = LocalListVersion(7)
    world.advance(1)
    assert world.asked(action, LIST if action == "SendLocalList" else {}) in ({"status": "Accepted"}, {"listVersion": 7})


@pytest.mark.parametrize("action", ["GetLocalListVersion", "SendLocalList"])
def test_without_the_profile_both_are_not_supported(tmp_path: Path, action: str) -> None:
    """OCPP 1.6 §3.5.2, §9.1.29."""
    config = msgspec.structs.replace(CONFIG, ocpp={"SupportedFeatureProfiles": "Core"})
    world = World(tmp_path, config).online()
    assert world.asked(action, LIST) == "NotSupported"
    asked = ["LocalAuthListEnabled", "LocalAuthListMaxLength", "SendLocalListMaxLength"]
    assert world.asked("GetConfiguration", {"key": asked}) == {"unknownKey": asked}


def test_the_longest_update_is_a_frame_that_is_taken() -> None:
    """OCPP 1.6 §9.2.3: what SendLocalListMaxLength promises, with every field full and the JSON printed in lines."""
    full = {"idTag": "X" * 20, "idTagInfo": {"status": "ConcurrentTx", "expiryDate": "2027-01-15T09:00:00.000Z"}}
    full["idTagInfo"]["parentIdTag"] = "Y" * 20  # type: ignore[index]
    payload = {"listVersion": 1, "updateType": "Full", "localAuthorizationList": [full] * keys.SEND_LOCAL_LIST_LENGTH_MAX}
    text = msgspec.json.format(msgspec.json.encode([2, "x" * 36, "SendLocalList", payload]), indent=2)
    assert len(text) < FRAME_BYTES_MAX
