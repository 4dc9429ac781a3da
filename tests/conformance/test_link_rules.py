"""Rules of OCPP 1.6 and OCPP-J for the link: requests and their answers, acceptance, times, lengths.

Each test stands in the table of clauses (`core.md`), and most have nothing to do but to show one clause.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus import messages as m
from bus.vocabulary import (
    AvailabilityStatus,
    ChargePointStatus,
    ClearCacheStatus,
    RemoteStartStopStatus,
    ResetStatus,
    UnlockStatus,
)
from services.configuration.store import ConfigurationStore
from services.ocpp_link import payloads as p
from services.ocpp_link.actions import ACTIONS, Direction, Malformed, decode_conf
from tests.ocpp_link.world import CONFIG, UTC_0_S, World, connector, error

A = ChargePointStatus.AVAILABLE
CORE_REQUESTS: dict[str, dict[str, Any]] = {
    "ChangeAvailability": {"connectorId": 1, "type": "Inoperative"},
    "ChangeConfiguration": {"key": "HeartbeatInterval", "value": "60"},
    "ClearCache": {},
    "DataTransfer": {"vendorId": "com.example"},
    "GetConfiguration": {},
    "RemoteStartTransaction": {"idTag": "TAG"},
    "RemoteStopTransaction": {"transactionId": 1},
    "Reset": {"type": "Soft"},
    "UnlockConnector": {"connectorId": 1},
}
"""The requests of Core for a Charge Point, each with as little as it needs (OCPP 1.6 §3.3, §6)."""
OWNERS = {
    m.RemoteStartTransaction: m.RemoteStartStopAnswer(RemoteStartStopStatus.ACCEPTED),
    m.RemoteStopTransaction: m.RemoteStartStopAnswer(RemoteStartStopStatus.REJECTED),
    m.ChangeAvailability: m.ChangeAvailabilityAnswer(AvailabilityStatus.ACCEPTED),
    m.ClearCache: m.ClearCacheAnswer(ClearCacheStatus.ACCEPTED),
    m.UnlockConnector: m.UnlockConnectorAnswer(UnlockStatus.NOT_SUPPORTED),
    m.Reset: m.ResetAnswer(ResetStatus.REJECTED),
}
PROFILES = {
    "FirmwareManagement": ("GetDiagnostics", "UpdateFirmware"),
    "LocalAuthListManagement": ("GetLocalListVersion", "SendLocalList"),
    "Reservation": ("CancelReservation", "ReserveNow"),
    "SmartCharging": ("ClearChargingProfile", "GetCompositeSchedule", "SetChargingProfile"),
    "RemoteTrigger": ("TriggerMessage",),
}
"""The other profiles' requests for a Charge Point (OCPP 1.6 §3.3 with errata v4.0 3.2)."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.remote_answers.update(OWNERS)
    return world


@pytest.fixture
def online(world: World) -> World:
    return world.online()


@pytest.mark.parametrize("action", CORE_REQUESTS)
def test_every_request_of_core_is_answered_with_a_result(online: World, action: str) -> None:
    """OCPP 1.6 §3.3: the Core profile is required. The answer is checked against its schema."""
    unique_id = online.ask(action, CORE_REQUESTS[action])
    assert online.results[unique_id][0] == 3
    assert online.asked(action, CORE_REQUESTS[action])


def test_the_requests_of_core_are_all_there() -> None:
    """OCPP 1.6 §3.3."""
    core = [action for action in ACTIONS.values() if action.profile == "Core"]
    downward = {action.name for action in core if action.direction is not Direction.TO_CENTRAL_SYSTEM}
    assert downward == set(CORE_REQUESTS)
    assert all(action.req and action.conf for action in core)


@pytest.mark.parametrize("profile", PROFILES)
def test_messages_of_other_profiles_name_the_profile_that_they_need(tmp_path: Path, profile: str) -> None:
    """OCPP-J 1.6 §4.2.3 NotSupported where the profile is off; which one a message belongs to: errata v4.0 3.2."""
    online = World(tmp_path, msgspec.structs.replace(CONFIG, ocpp={"SupportedFeatureProfiles": "Core"})).online()
    for action in PROFILES[profile]:
        answer = online.results[online.ask(action, {})]
        assert answer[2] == "NotSupported"
        assert profile in answer[3]


PROFILE = {
    "chargingProfileId": 1,
    "stackLevel": 0,
    "chargingProfilePurpose": "TxProfile",
    "chargingProfileKind": "Relative",
    "chargingSchedule": {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6.0}]},
}
PROFILE_WITHOUT_PERIODS = {**PROFILE, "chargingSchedule": {"chargingRateUnit": "A", "chargingSchedulePeriod": []}}
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("ChangeAvailability", {"type": "Operative"}, "FormationViolation"),
    ("ChangeAvailability", {"connectorId": 1}, "FormationViolation"),
    ("ChangeAvailability", {"connectorId": "1", "type": "Operative"}, "FormationViolation"),
    ("ChangeAvailability", {"connectorId": -1, "type": "Operative"}, "PropertyConstraintViolation"),
    ("ChangeAvailability", {"connectorId": 1, "type": "Broken"}, "PropertyConstraintViolation"),
    ("ChangeConfiguration", {"key": "HeartbeatInterval"}, "FormationViolation"),
    ("ChangeConfiguration", {"value": "1"}, "FormationViolation"),
    ("ChangeConfiguration", {"key": "x" * 51, "value": "1"}, "FormationViolation"),
    ("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "1" * 501}, "FormationViolation"),
    ("ChangeConfiguration", {"key": "HeartbeatInterval", "value": 60}, "FormationViolation"),
    ("ClearCache", {"all": True}, "FormationViolation"),
    ("DataTransfer", {"data": "x"}, "FormationViolation"),
    ("DataTransfer", {"vendorId": "x" * 256}, "FormationViolation"),
    ("DataTransfer", {"vendorId": "x", "messageId": "x" * 51}, "FormationViolation"),
    ("DataTransfer", {"vendorId": "x", "data": {"a": 1}}, "FormationViolation"),
    ("GetConfiguration", {"key": "HeartbeatInterval"}, "FormationViolation"),
    ("GetConfiguration", {"key": ["x" * 51]}, "FormationViolation"),
    ("RemoteStartTransaction", {"connectorId": 1}, "FormationViolation"),
    ("RemoteStartTransaction", {"idTag": "x" * 21}, "FormationViolation"),
    ("RemoteStartTransaction", {"idTag": "x", "parentIdTag": "y"}, "FormationViolation"),
    ("RemoteStopTransaction", {}, "FormationViolation"),
    ("RemoteStopTransaction", {"transactionId": "5"}, "FormationViolation"),
    ("RemoteStartTransaction", {"idTag": "x", "chargingProfile": PROFILE_WITHOUT_PERIODS}, "OccurenceConstraintViolation"),
    ("Reset", {"type": "soft"}, "PropertyConstraintViolation"),
    ("UnlockConnector", {}, "FormationViolation"),
    ("UnlockConnector", {"connectorId": "1"}, "FormationViolation"),
]


@pytest.mark.parametrize(("action", "payload", "code"), WRONG)
def test_a_field_that_is_missing_or_wrong_is_a_callerror(online: World, action: str, payload: Any, code: str) -> None:
    """OCPP 1.6 §6, §7.15 to §7.19 (errata v4.0 3.58 to 3.62: most characters), OCPP-J 1.6 §4.2.3, OCPP-J errata 3.1."""
    answer = online.results[online.ask(action, payload)]
    assert (answer[0], answer[2]) == (4, code)
    assert answer[3]
    assert online.remote == []


LONGEST: list[tuple[str, dict[str, Any]]] = [
    ("ChangeConfiguration", {"key": "x" * 50, "value": "1" * 500}),
    ("DataTransfer", {"vendorId": "x" * 255, "messageId": "x" * 50, "data": "x" * 10_000}),
    ("GetConfiguration", {"key": ["x" * 50]}),
    ("RemoteStartTransaction", {"idTag": "x" * 20}),
]


@pytest.mark.parametrize(("action", "payload"), LONGEST)
def test_the_longest_texts_are_taken(online: World, action: str, payload: Any) -> None:
    """Errata v4.0 3.58 to 3.62: a length is a maximum. The length of `data` is undefined (OCPP 1.6 §6.15)."""
    assert online.results[online.ask(action, payload)][0] == 3


def test_the_action_is_case_sensitive(online: World) -> None:
    """OCPP-J 1.6 §4.2.1."""
    assert online.asked("getconfiguration") == "NotImplemented"
    assert "configurationKey" in online.asked("GetConfiguration")


@pytest.mark.parametrize("vendor", ["com.example", "org.openchargealliance", "Vendor"])
def test_data_transfer_of_any_vendor_is_unknown(online: World, vendor: str) -> None:
    """OCPP 1.6 §4.3, §5.6: UnknownVendorId, and the data element SHALL not be present."""
    request = {"vendorId": vendor, "messageId": "Hello", "data": "x"}
    assert online.asked("DataTransfer", request) == {"status": "UnknownVendorId"}


def test_a_charging_profile_of_a_remote_start_is_ignored(online: World) -> None:
    """OCPP 1.6 §5.11, note: without support for Smart Charging this parameter SHOULD be ignored."""
    request = {"idTag": "TAG", "connectorId": 1, "chargingProfile": PROFILE}
    assert online.asked("RemoteStartTransaction", request) == {"status": "Accepted"}
    assert online.remote == [m.RemoteStartTransaction("TAG", 1)]


def test_get_configuration_leaves_out_what_is_empty(online: World) -> None:
    """OCPP 1.6 §6.24: both lists are optional."""
    assert online.asked("GetConfiguration", {"key": ["Nonsense"]}) == {"unknownKey": ["Nonsense"]}
    assert set(online.asked("GetConfiguration", {"key": ["HeartbeatInterval"]})) == {"configurationKey"}


@pytest.mark.parametrize(
    "frame",
    [
        '[2,"x","Nonsense",{}]',
        '[2,"x","Reset",{"type":5}]',
        '[2,"x","GetConfiguration"]',
        '[2,"x",5,{}]',
        f'[2,"{"x" * 40}","GetConfiguration",{{}}]',
    ],
)
def test_rejected_is_silent_to_bad_calls_too(world: World, frame: str) -> None:
    """OCPP 1.6 §4.2: while Rejected, it SHALL NOT respond to any Central System initiated message."""
    world.answers["BootNotification"] = world.boot("Rejected", 60)
    world.advance(0.1)
    world.frame(frame)
    world.frame(frame)
    assert world.results == {}


def test_rejected_sends_nothing_until_the_interval_is_over(world: World) -> None:
    """OCPP 1.6 §4.2: SHALL NOT send any OCPP message, not after a reconnect either, and no BootNotification earlier."""
    world.answers["BootNotification"] = world.boot("Rejected", 60)
    world.advance(0.1)
    world.say(connector(1, A))
    world.authorize()
    world.deliver("id-1")
    world.lose()
    world.advance(59)
    assert world.said() == ["BootNotification"]
    world.advance(2)
    assert world.said() == ["BootNotification"] * 2


RESPONSES: list[tuple[type[p.Conf], dict[str, Any]]] = [
    (p.AuthorizeConf, {"idTagInfo": {"status": "Accepted"}}),
    (p.BootNotificationConf, {"status": "Accepted", "currentTime": "2027-01-15T08:00:00Z", "interval": 300}),
    (p.HeartbeatConf, {"currentTime": "2027-01-15T08:00:00Z"}),
    (p.StartTransactionConf, {"transactionId": 1, "idTagInfo": {"status": "Accepted"}}),
]


@pytest.mark.parametrize(("conf", "whole"), RESPONSES)
def test_a_response_without_a_required_field_is_malformed(conf: type[p.Conf], whole: dict[str, Any]) -> None:
    """OCPP 1.6 §6.2, §6.4, §6.30, §6.46, §7.27 (errata v4.0 3.72)."""
    assert isinstance(decode_conf(json.dumps(whole), conf), conf)
    for name in whole:
        without = {key: value for key, value in whole.items() if key != name}
        assert isinstance(decode_conf(json.dumps(without), conf), Malformed)
    if "idTagInfo" in whole:
        assert isinstance(decode_conf(json.dumps({**whole, "idTagInfo": {"parentIdTag": "P"}}), conf), Malformed)


def test_pending_keeps_the_connection(world: World) -> None:
    """OCPP 1.6 §4.2: the communication channel SHOULD NOT be closed."""
    world.answers["BootNotification"] = world.boot("Pending", 3600)
    world.advance(1800)
    assert (world.socket.connects, world.socket.closes) == (1, [])
    assert world.said() == ["BootNotification"]


def test_acceptance_counts_for_the_url_that_gave_it(online: World) -> None:
    """OCPP 1.6 §4.2.1: never before accepted "using the current connection settings, URL, etc."."""
    elsewhere = msgspec.structs.replace(CONFIG.central_system, url="ws://127.0.0.1:9/another")
    assert online.links[-1].ever_accepted
    online.kill_link()
    online.config = msgspec.structs.replace(CONFIG, central_system=elsewhere)
    online.boot_id = "run-2"
    online.answers["BootNotification"] = None
    online.start_link()
    assert not online.links[-1].ever_accepted


def test_a_heartbeat_sets_the_clock(online: World) -> None:
    """OCPP 1.6 §4.6: RECOMMENDED to synchronise the internal clock with it."""
    online.answers["Heartbeat"] = {"currentTime": "2027-01-15T10:00:00.000Z"}
    online.advance(301)
    assert online.clocks[-1].utc_offset_s == pytest.approx(UTC_0_S + 7200 - online.now_s, abs=2)


def test_boot_notification_has_no_deprecated_field(online: World) -> None:
    """OCPP 1.6 §6.3."""
    assert "chargeBoxSerialNumber" not in online.said("BootNotification")[0]


def test_a_status_bears_the_time_at_which_it_became_true(online: World) -> None:
    """OCPP 1.6 §6.47: "the time for which the status is reported", not the time of sending."""
    online.advance(50)
    online.say(connector(1, A, at_s=120.0))
    assert online.said("StatusNotification")[-1]["timestamp"] == "2027-01-15T08:02:00.000Z"


def test_a_status_is_cut_to_the_lengths_of_ocpp(online: World) -> None:
    """OCPP 1.6 §6.47: info and vendorErrorCode are CiString50; what is empty is left out."""
    online.say(connector(1, A, info="i" * 60, vendor_error_code="v" * 60))
    said = online.said("StatusNotification")[-1]
    assert (said["info"], said["vendorErrorCode"], said["vendorId"]) == ("i" * 50, "v" * 50, "Vendor")
    online.say(connector(1, ChargePointStatus.CHARGING))
    assert not {"info", "vendorErrorCode", "vendorId"} & set(online.said("StatusNotification")[-1])


def test_a_new_authorization_key_holds_for_the_next_connection(online: World) -> None:
    """OCPP-J 1.6 §6.2.2: after Accepted the old credentials are no longer accepted; and they must not be easily lost."""
    key = "00112233445566778899aabbccddeeff00112233"
    assert online.asked("ChangeConfiguration", {"key": "AuthorizationKey", "value": key}) == {"status": "Accepted"}
    assert online.link.authorization_key() == key
    online.restart_link()
    assert online.link.authorization_key() == key
    assert ConfigurationStore(online.path).values()["AuthorizationKey"] == key


def test_an_error_keeps_the_link_working(online: World) -> None:
    """OCPP-J 1.6 §4.2.3: after a CALLERROR of the Central System the next message goes out."""
    online.answers["Authorize"] = error("GenericError")
    online.authorize()
    online.answers["Authorize"] = {"idTagInfo": {"status": "Accepted"}}
    assert online.authorize()[0].value.status == "Accepted"
