"""The link as a whole, among its neighbours in memory (design §2 to §5; OCPP 1.6 §§4.2, 4.6, 5.3, 5.8, 5.11, 5.12, 5.14)."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus import messages as m
from bus.vocabulary import (
    AuthorizationStatus,
    AvailabilityStatus,
    AvailabilityType,
    ChargePointStatus,
    ClearCacheStatus,
    RemoteStartStopStatus,
    ResetStatus,
    ResetType,
    UnlockStatus,
)
from services.configuration.store import ConfigurationStore
from services.ocpp_link import resets, rpc
from services.ocpp_link.frame_log import NOTHING, About
from tests.ocpp_link.world import CONFIG, UTC_0_S, World, connector, error, moment, start, stop

A, C = ChargePointStatus.AVAILABLE, ChargePointStatus.CHARGING
ACCEPTED = m.RemoteStartStopAnswer(RemoteStartStopStatus.ACCEPTED)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def online(world: World) -> World:
    return world.online()


def stored(world: World) -> dict[str, str]:
    """The changed keys, as another process reads them."""
    store = ConfigurationStore(world.path)
    try:
        return store.values()
    finally:
        store.close()


class TestBoot:
    def test_says_who_it_is_and_then_all_statuses(self, world: World) -> None:
        world.connectors.publish(connector(1, A), "1")
        world.connectors.publish(connector(0, A), "0")
        world.online()
        assert world.said() == ["BootNotification", "StatusNotification", "StatusNotification"]
        identity = {"chargePointVendor": "Vendor", "chargePointModel": "Model", "chargePointSerialNumber": "S-1"}
        assert world.said("BootNotification")[0].items() >= identity.items()
        assert [status["connectorId"] for status in world.said("StatusNotification")] == [0, 1]

    def test_is_on_disk_when_the_link_says_so(self, online: World) -> None:
        assert ConfigurationStore(online.path).ever_accepted(CONFIG.central_system.url)
        assert ConfigurationStore(online.path).begin_session(online.boot_id)["registration"] == "Accepted"

    def test_sets_the_heartbeat_interval_for_everybody_and_for_the_next_start(self, world: World) -> None:
        world.answers["BootNotification"] = world.boot("Accepted", 45)
        world.online()
        state = world.watchdog.latest(m.ConfigurationState)
        assert state is not None
        assert state.values["HeartbeatInterval"] == stored(world)["HeartbeatInterval"] == "45"
        world.restart_link()
        world.advance(46)
        assert world.said().count("Heartbeat") == 1

    def test_losing_the_connection_under_it_comes_to_rest(self, world: World) -> None:
        world.answers["BootNotification"] = None
        world.advance(0.1)
        world.lose()
        assert world.said() == ["BootNotification"]
        world.answers["BootNotification"] = world.boot("Accepted")
        world.advance(10)
        assert world.links[-1].online

    @pytest.mark.parametrize("answer", [error("InternalError"), {"status": "Perhaps"}, {}, None])
    def test_that_fails_is_repeated(self, world: World, answer: Any) -> None:
        world.answers["BootNotification"] = answer
        world.advance(31)
        world.answers["BootNotification"] = world.boot("Accepted")
        world.advance(70)
        assert world.links[-1].online

    def test_pending_answers_calls_and_refuses_remote_start_and_stop(self, world: World) -> None:
        """OCPP 1.6 §4.2."""
        world.answers["BootNotification"] = world.boot("Pending", 60)
        world.advance(0.1)
        assert world.asked("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "20"}) == {"status": "Accepted"}
        assert world.asked("RemoteStartTransaction", {"idTag": "TAG"}) == {"status": "Rejected"}
        assert world.asked("RemoteStopTransaction", {"transactionId": 1}) == {"status": "Rejected"}
        assert world.remote == []

    def test_rejected_answers_nothing(self, world: World) -> None:
        """OCPP 1.6 §4.2: while Rejected, the Charge Point SHALL NOT respond to any Central System initiated message."""
        world.answers["BootNotification"] = world.boot("Rejected", 60)
        world.advance(0.1)
        asked = [world.ask("GetConfiguration"), world.ask("Reset", {"type": "Soft"}), world.ask("NoSuchAction")]
        for malformed in ('[2,"bad","Reset"]', '[2,"bad",5,{}]', f'[2,"{asked[0]}","GetConfiguration",{{}}]'):
            world.frame(malformed)
        assert world.results == {}
        world.answers["BootNotification"] = world.boot("Accepted")
        world.advance(60)
        assert world.said() == ["BootNotification", "BootNotification"]
        assert "configurationKey" in world.asked("GetConfiguration")

    def test_rejected_answers_not_even_what_was_asked_while_pending(self, world: World) -> None:
        """OCPP 1.6 §4.2."""
        world.answers["BootNotification"] = world.boot("Pending", 3)
        world.advance(0.1)
        world.ask("Reset", {"type": "Soft"})
        world.answers["BootNotification"] = world.boot("Rejected", 60)
        world.advance(3)
        world.held[0].answer(m.ResetAnswer(ResetStatus.REJECTED))
        world.settle()
        assert world.results == {}
        world.answers["BootNotification"] = world.boot("Accepted")
        world.advance(60)
        assert "configurationKey" in world.asked("GetConfiguration")

    def test_after_security_error_comes_first(self, online: World) -> None:
        """OCPP-J errata 3.8; what waits is taken back."""
        online.advance(60)
        online.answers["Authorize"] = None
        online.authorize()
        authorized, delivered = online.authorize("OTHER"), online.deliver("id-1")
        online.say(connector(1, A))
        sent = len(online.calls)
        online.answers["Authorize"] = error("SecurityError")
        online.answer(online.calls[-1][1], error("SecurityError"))
        assert online.said()[sent:] == ["Authorize", "BootNotification", "StatusNotification"]
        assert isinstance(delivered[0].value.outcome, m.NotSent)
        assert authorized[0].error is not None
        assert online.links[-1].online
        assert online.said("StatusNotification")[-1]["connectorId"] == 1


class TestAuthorize:
    def test_round_trip(self, online: World) -> None:
        """OCPP 1.6 §4.1."""
        online.answers["Authorize"] = {
            "idTagInfo": {"status": "Blocked", "parentIdTag": "PARENT", "expiryDate": "2027-01-15T08:00:00+01:00"}
        }
        replies = online.authorize("Tag-of-20-characters")
        assert online.said("Authorize") == [{"idTag": "Tag-of-20-characters"}]
        assert replies[0].value == m.IdTagInfo(AuthorizationStatus.BLOCKED, 1_799_996_400_000, "PARENT")

    @pytest.mark.parametrize("answer", [error("InternalError"), {"idTagInfo": {"status": "Perhaps"}}, None])
    def test_without_a_good_answer_is_refused(self, online: World, answer: Any) -> None:
        online.answers["Authorize"] = answer
        replies = online.authorize()
        online.advance(31)
        assert [reply.value for reply in replies] == [None]

    def test_that_nobody_waits_for_any_more_is_not_sent(self, online: World) -> None:
        """Design §3: never acted on late."""
        online.answers["Authorize"] = None
        online.authorize("FIRST")
        call_id = online.connectors.call(m.Authorize("SECOND"), timeout_s=60, on_reply=lambda _: None)
        online.settle()
        online.connectors.cancel(call_id)
        online.connectors.call(m.Authorize("THIRD"), timeout_s=3, on_reply=lambda _: None)
        online.settle()
        # Its process dies, so that nobody says that the call is not wanted any more.
        online.connectors = online._node("connectors")
        online.advance(40)
        assert online.said("Authorize") == [{"idTag": "FIRST"}]


class TestDeliver:
    def test_round_trip(self, online: World) -> None:
        replies = online.deliver("id-1")
        assert replies[0].value.outcome == m.Delivered(7, m.IdTagInfo(AuthorizationStatus.ACCEPTED))
        assert replies[0].value.connection == online.links[-1].connection
        action, unique_id, payload = online.calls[-1]
        assert (action, unique_id) == ("StartTransaction", "id-1")
        assert payload == {"connectorId": 1, "idTag": "TAG", "meterStart": 1000, "timestamp": "2027-01-15T08:00:01.000Z"}

    def test_goes_out_again_byte_for_byte_but_for_nothing_on_a_new_connection(self, online: World) -> None:
        """Design §4.10."""
        online.answers["StartTransaction"] = None
        replies = online.deliver("id-1")
        online.lose()
        assert isinstance(replies[0].value.outcome, m.NotSent)
        online.advance(10)
        online.deliver("id-1")
        first, second = (call for call in online.calls if call[0] == "StartTransaction")
        assert first == second

    def test_meets_silence_though_the_central_system_lives(self, online: World) -> None:
        """Design §4.5."""
        online.answers["StartTransaction"] = None
        replies = online.deliver("id-1")
        online.advance(31)
        assert online.said()[-2:] == ["StartTransaction", "Heartbeat"]
        assert isinstance(replies[0].value.outcome, m.Failed)
        online.answer("id-1", {"transactionId": 3, "idTagInfo": {"status": "Accepted"}})
        assert online.late[0].unique_id == "id-1"
        assert online.late[0].outcome == m.Delivered(3, m.IdTagInfo(AuthorizationStatus.ACCEPTED))

    def test_meets_silence_of_a_dead_central_system_behind_a_proxy(self, online: World) -> None:
        online.answers["StartTransaction"] = online.answers["Heartbeat"] = None
        replies = online.deliver("id-1")
        online.advance(61)
        assert isinstance(replies[0].value.outcome, m.NotSent)
        assert online.socket.closes == ["the Central System does not answer a Heartbeat"]

    def test_survives_the_restart_of_the_queue(self, online: World) -> None:
        online.answers["StartTransaction"] = None
        online.deliver("id-1")
        online.queue = online._node("transaction_queue")
        replies = online.deliver("id-1")
        online.answer("id-1", {"transactionId": 3, "idTagInfo": {"status": "Accepted"}})
        assert replies[0].value.outcome.transaction_id == 3
        online.queue = online._node("transaction_queue")
        assert online.deliver("id-1")[0].value.outcome.transaction_id == 3
        assert len(online.said("StartTransaction")) == 1

    def test_survives_the_restart_of_the_link(self, online: World) -> None:
        """Nothing is known of what was under way: it is asked for again under the same id, on a connection of its own."""
        online.answers["StartTransaction"] = None
        online.deliver("id-1")
        before = online.links[-1].connection
        online.restart_link()
        online.answers["StartTransaction"] = {"transactionId": 3, "idTagInfo": {"status": "Accepted"}}
        online.advance(1)
        report = online.deliver("id-1")[0].value
        assert report.outcome.transaction_id == 3
        assert report.connection > before
        assert online.said().count("BootNotification") == 1

    def test_taken_back_before_it_is_sent_is_never_sent(self, online: World) -> None:
        online.answers["Authorize"] = None
        online.authorize()
        online.deliver("id-1")
        online.queue.cancel(online.deliver_id)
        online.settle()
        online.advance(40)
        assert online.said("StartTransaction") == []
        assert online.deliver("id-2")[0].value.outcome.transaction_id == 7

    def test_that_was_refused_for_security_and_asked_again_ends_nothing(self, online: World) -> None:
        """The late answer to an id that was refused on this connection must find a living process."""
        online.advance(60)
        online.answers["StartTransaction"] = None
        online.deliver("id-1")
        online.answers["Heartbeat"] = error("SecurityError")
        online.advance(31)
        online.answers["Heartbeat"] = lambda _: {"currentTime": online.central_time()}
        online.advance(20)
        online.deliver("id-1")
        online.answer("id-1", {"transactionId": 3, "idTagInfo": {"status": "Accepted"}})
        assert online.links[-1].online

    def test_stop_and_meter_values_carry_their_transaction_id(self, online: World) -> None:
        online.deliver("id-1", stop(), 0)
        online.deliver("id-2", stop(), -1)
        assert [payload["transactionId"] for payload in online.said("StopTransaction")] == [0, -1]


class TestRemote:
    def test_start_is_routed_to_connectors_and_answered(self, online: World) -> None:
        """OCPP 1.6 §5.11, errata v4.0 3.32."""
        online.remote_answers[m.RemoteStartTransaction] = ACCEPTED
        assert online.asked("RemoteStartTransaction", {"idTag": "TAG", "connectorId": 1}) == {"status": "Accepted"}
        assert online.remote == [m.RemoteStartTransaction("TAG", 1)]

    def test_stop_is_routed_to_connectors_and_its_refusal_is_explained(self, online: World) -> None:
        """OCPP 1.6 §5.12, field report 63."""
        refusal = m.RemoteStartStopAnswer(RemoteStartStopStatus.REJECTED, "no transaction 5 runs here")
        online.remote_answers[m.RemoteStopTransaction] = refusal
        assert online.asked("RemoteStopTransaction", {"transactionId": 5}) == {"status": "Rejected"}
        assert any(fields.get("reason") == "no transaction 5 runs here" for _, _, fields in online.log.lines)

    def test_change_availability_is_routed_to_connectors_and_answered(self, online: World) -> None:
        """OCPP 1.6 §5.2."""
        online.remote_answers[m.ChangeAvailability] = m.ChangeAvailabilityAnswer(AvailabilityStatus.SCHEDULED)
        assert online.asked("ChangeAvailability", {"connectorId": 0, "type": "Inoperative"}) == {"status": "Scheduled"}
        assert online.remote == [m.ChangeAvailability(0, AvailabilityType.INOPERATIVE)]

    def test_unlock_connector_waits_for_the_lock_and_its_refusal_is_explained(self, online: World) -> None:
        """OCPP 1.6 §5.18: a transaction is finished first, which takes longer than other answers; field report 63."""
        unique_id = online.ask("UnlockConnector", {"connectorId": 1})
        online.advance(14)
        assert unique_id not in online.results
        online.held[0].answer(m.UnlockConnectorAnswer(UnlockStatus.UNLOCK_FAILED, "the lock does not move"))
        online.settle()
        assert online.results[unique_id][2] == {"status": "UnlockFailed"}
        assert any(fields.get("reason") == "the lock does not move" for _, _, fields in online.log.lines)

    def test_start_with_an_empty_id_tag_is_rejected(self, online: World) -> None:
        assert online.asked("RemoteStartTransaction", {"idTag": ""}) == {"status": "Rejected"}

    def test_an_owner_that_is_silent_is_an_internal_error_and_its_call_is_taken_back(self, online: World) -> None:
        """Design §3."""
        unique_id = online.ask("RemoteStartTransaction", {"idTag": "TAG"})
        online.advance(4.9)
        assert unique_id not in online.results
        online.advance(0.2)
        assert online.results[unique_id][:3] == [4, unique_id, "InternalError"]
        assert online.cancelled == [online.held[0].call_id]
        online.held[0].answer(ACCEPTED)
        online.settle()
        assert "configurationKey" in online.asked("GetConfiguration")

    def test_an_answer_never_reaches_another_call_with_the_same_unique_id(self, online: World) -> None:
        """Unique ids count within a connection (OCPP-J 1.6 §4.1.4): a Central System may begin at 1 each time."""
        online.ask("RemoteStartTransaction", {"idTag": "TAG"}, "1")
        online.lose()
        assert online.cancelled == [online.held[0].call_id]
        online.advance(2)
        online.ask("Reset", {"type": "Soft"}, "1")
        online.held[0].answer(ACCEPTED)
        online.settle()
        assert "1" not in online.results
        online.held[1].answer(m.ResetAnswer(ResetStatus.REJECTED))
        online.settle()
        assert online.results["1"] == [3, "1", {"status": "Rejected"}]

    @pytest.mark.parametrize("status", list(ClearCacheStatus))
    def test_clear_cache_is_answered_by_the_owner_of_the_cache(self, online: World, status: ClearCacheStatus) -> None:
        """OCPP 1.6 §5.4, errata v4.0 3.23; a refusal says why (field report 63)."""
        online.remote_answers[m.ClearCache] = m.ClearCacheAnswer(status, "AuthorizationCacheEnabled is false")
        assert online.asked("ClearCache") == {"status": status}
        assert online.remote == [m.ClearCache()]

    def test_a_charging_profile_is_ignored_by_a_station_without_smart_charging(self, online: World) -> None:
        """OCPP 1.6 §5.11, its note; an ill-formed one is still a malformed request."""
        online.remote_answers[m.RemoteStartTransaction] = ACCEPTED
        schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 10.0}]}
        profile = {
            "chargingProfileId": 1,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxProfile",
            "chargingProfileKind": "Relative",
            "chargingSchedule": schedule,
        }
        request = {"idTag": "TAG", "connectorId": 1, "chargingProfile": profile}
        assert online.asked("RemoteStartTransaction", request) == {"status": "Accepted"}
        assert online.remote == [m.RemoteStartTransaction("TAG", 1)]
        del profile["stackLevel"]
        assert online.asked("RemoteStartTransaction", request) == "FormationViolation"


class TestConfiguration:
    def test_get_gives_all_some_and_unknown_keys(self, online: World) -> None:
        """OCPP 1.6 §5.8."""
        everything = online.asked("GetConfiguration", {})
        assert {"key": "HeartbeatInterval", "readonly": False, "value": "300"} in everything["configurationKey"]
        assert online.asked("GetConfiguration", {"key": []}) == everything
        some = online.asked("GetConfiguration", {"key": ["heartbeatinterval", "Nonsense"]})
        assert [entry["key"] for entry in some["configurationKey"]] == ["HeartbeatInterval"]
        assert some["unknownKey"] == ["Nonsense"]
        assert online.asked("GetConfiguration", {"key": ["x"] * 101}) == "OccurenceConstraintViolation"

    def test_a_change_is_durable_before_its_answer(self, online: World) -> None:
        """Field report 50."""
        seen: list[dict[str, str]] = []
        send = online.socket.send

        def look(text: str, about: About = NOTHING) -> bool:
            seen.append(stored(online))
            return send(text, about)

        online.socket.send = look  # type: ignore[method-assign]
        assert online.asked("ChangeConfiguration", {"key": "MeterValueSampleInterval", "value": "10"}) == {"status": "Accepted"}
        assert seen[0]["MeterValueSampleInterval"] == "10"
        state = online.watchdog.latest(m.ConfigurationState)
        assert state is not None
        assert state.values["MeterValueSampleInterval"] == "10"

    @pytest.mark.parametrize(
        ("key", "value", "status"),
        [
            ("HeartbeatInterval", "-1", "Rejected"),
            ("NumberOfConnectors", "5", "Rejected"),
            ("Nonsense", "1", "NotSupported"),
        ],
    )
    def test_what_can_not_be_changed_changes_nothing(self, online: World, key: str, value: str, status: str) -> None:
        """OCPP 1.6 §5.3."""
        before = stored(online)
        assert online.asked("ChangeConfiguration", {"key": key, "value": value}) == {"status": status}
        assert stored(online) == before

    def test_the_password_is_told_to_nobody(self, online: World) -> None:
        """Field report 56."""
        key = "0123456789abcdef0123456789abcdef"
        assert online.asked("ChangeConfiguration", {"key": "AuthorizationKey", "value": key}) == {"status": "Accepted"}
        assert online.link.authorization_key() == key
        online.asked("GetConfiguration", {"key": ["AuthorizationKey"]})
        online.ask("ChangeConfiguration", {"value": key, "key": "authorizationKEY", "extra": 1})
        state = online.watchdog.latest(m.ConfigurationState)
        assert key not in repr(online.log.lines) + repr(online.results) + repr(state)


class TestBadInput:
    """Issue: each has a defined answer or log line, the process lives, the next good message works."""

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "null",
            "[",
            "[]",
            "[2]",
            '{"a":1}',
            '[9,"x",{}]',
            '[2,5,"Reset",{}]',
            '[3,"never-asked",{}]',
            '[4,"never-asked"]',
            '[2,"x","Reset",{"type":"Soft"},1]',
            "\x00\ud800",
            "[" * 5000,
            '"' + "x" * 300_000 + '"',
        ],
    )
    def test_frames(self, online: World, text: str) -> None:
        online.frame(text)
        assert "configurationKey" in online.asked("GetConfiguration")

    def test_binary_frames(self, online: World) -> None:
        online.link.on_binary(10)
        assert "configurationKey" in online.asked("GetConfiguration")

    @pytest.mark.parametrize(
        ("action", "payload", "code"),
        [
            ("Nonsense", {}, "NotImplemented"),
            ("SetChargingProfile", {}, "NotSupported"),
            ("StatusNotification", {}, "NotSupported"),
            ("Reset", {}, "FormationViolation"),
            ("Reset", {"type": "Soft", "more": 1}, "FormationViolation"),
            ("Reset", [], "FormationViolation"),
        ],
    )
    def test_calls(self, online: World, action: str, payload: Any, code: str) -> None:
        unique_id = online.ask(action, payload) if payload != [] else "u"
        if payload == []:
            online.frame('[2,"u","Reset",[]]')
        assert online.results[unique_id][2] == code
        assert "configurationKey" in online.asked("GetConfiguration")

    def test_answers_to_our_calls(self, online: World) -> None:
        for answer in ([], "x", 5, {"currentTime": 5}, {}):
            online.answers["Heartbeat"] = None
            online.advance(301)
            online.frame(json.dumps([3, online.calls[-1][1], answer]))
        assert online.links[-1].online

    def test_actions_that_need_no_owner(self, online: World) -> None:
        assert online.asked("DataTransfer", {"vendorId": "x"}) == {"status": "UnknownVendorId"}


class TestReset:
    """OCPP 1.6 §5.14."""

    def accept(self, world: World, type_: str = "Soft") -> None:
        world.remote_answers[m.Reset] = m.ResetAnswer(ResetStatus.ACCEPTED)
        assert world.asked("Reset", {"type": type_}) == {"status": "Accepted"}

    def test_answers_first_and_restarts_when_connectors_are_ready(self, online: World) -> None:
        online.connectors.publish(m.ResetReady())
        self.accept(online)
        assert online.restarts == []
        online.connectors.publish(m.ResetReady(ResetType.SOFT))
        online.settle()
        assert online.restarts == []
        online.connectors.publish(m.ResetReady(ResetType.SOFT, ready=True))
        online.queue.publish(m.QueueState(depth=1, dead_letters=0))
        online.advance(5)
        assert online.restarts == []
        online.queue.publish(m.QueueState(depth=0, dead_letters=0))
        online.settle()
        assert online.restarts == [False]
        online.advance(10)
        assert online.restarts == [False]

    def test_that_fails_is_tried_again_as_often_as_reset_retries_says(self, online: World) -> None:
        """OCPP 1.6 §9.1.22: each try is a whole Reset, and the last failure is told to connectors."""
        online.asked("ChangeConfiguration", {"key": "ResetRetries", "value": "2"})
        online.restart_problem = "supervisord does not answer"
        self.accept(online, "Hard")
        online.connectors.publish(m.ResetReady(ResetType.HARD, ready=True))
        online.advance(40)
        assert online.restarts == [True] * 3
        assert online.remote == [m.Reset(ResetType.HARD)] * 3
        assert online.links[-1].reset_failed
        assert online.links[-1].online
        assert online.said().count("BootNotification") == 1

    def test_the_answer_goes_out_first_even_where_connectors_are_ready_before_they_answer(self, online: World) -> None:
        unique_id = online.ask("Reset", {"type": "Soft"})
        online.connectors.publish(m.ResetReady(ResetType.SOFT, ready=True))
        online.settle()
        assert online.restarts == []
        online.held[0].answer(m.ResetAnswer(ResetStatus.ACCEPTED))
        online.settle()
        assert online.results[unique_id][2] == {"status": "Accepted"}
        online.advance(resets.HAND_OVER_S + 0.1)
        assert online.restarts == [False]

    @pytest.mark.parametrize(("type_", "hard"), [("Soft", False), ("Hard", True)])
    def test_restarts_at_its_deadline_all_the_same(self, online: World, type_: str, hard: bool) -> None:
        self.accept(online, type_)
        online.advance(resets.RESET_WAIT_S[ResetType(type_)] + 0.1)
        assert online.restarts == [hard]

    def test_the_next_start_boots(self, online: World) -> None:
        """`on_reset = "restart"` keeps the id of the application boot: the acceptance has to go."""
        self.accept(online)
        online.advance(61)
        assert online.said().count("BootNotification") == 1
        online.restart_link()
        online.advance(1)
        assert online.said().count("BootNotification") == 2

    def test_a_link_that_dies_in_the_middle_carries_it_out(self, online: World) -> None:
        self.accept(online)
        online.connectors.publish(m.ResetReady(ResetType.SOFT))
        online.restart_link()
        online.connectors.publish(m.ResetReady(ResetType.SOFT, ready=True))
        online.advance(resets.HAND_OVER_S + 0.1)
        assert online.restarts == [False]

    def test_refused_restarts_nothing(self, online: World) -> None:
        online.remote_answers[m.Reset] = m.ResetAnswer(ResetStatus.REJECTED, "a transaction can't be stopped")
        assert online.asked("Reset", {"type": "Soft"}) == {"status": "Rejected"}
        online.advance(100)
        assert online.restarts == []


class TestClock:
    """Design §5."""

    def test_comes_from_the_central_system(self, online: World) -> None:
        assert online.clocks[-1] == m.ClockState("central_system", pytest.approx(UTC_0_S, abs=0.01))

    def test_is_known_after_a_restart_of_the_link(self, online: World) -> None:
        """No BootNotification tells it then."""
        online.restart_link()
        clock = online.watchdog.latest(m.ClockState)
        assert clock is not None
        assert clock.utc_offset_s == pytest.approx(UTC_0_S, abs=0.01)
        assert clock.floor_utc_ms is not None

    def test_of_another_boot_is_a_floor_only(self, online: World) -> None:
        online.kill_link()
        online.boot_id = "run-2"
        online.answers["BootNotification"] = None
        online.start_link()
        clock = online.watchdog.latest(m.ClockState)
        assert clock is not None
        assert (clock.source, clock.utc_offset_s) == ("floor", None)
        assert clock.floor_utc_ms == pytest.approx((UTC_0_S + online.now_s) * 1000, abs=1000)

    def test_of_a_synchronised_system_ranks_above(self, online: World) -> None:
        online.link.system_clock(UTC_0_S + 5, synchronised=True)
        online.advance(301)
        assert (online.clocks[-1].source, online.clocks[-1].utc_offset_s) == ("system", UTC_0_S + 5)
        online.link.system_clock(UTC_0_S + 99, synchronised=False)
        online.settle()
        assert online.clocks[-1].utc_offset_s == UTC_0_S + 5

    @pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
    def test_steps_are_told_with_their_size_and_move_no_deadline(self, online: World, step_s: float) -> None:
        """Field report 29."""
        online.link.system_clock(UTC_0_S, synchronised=True)
        deadline_s = online.link.next_deadline_s()
        online.link.system_clock(UTC_0_S + step_s, synchronised=True)
        online.utc_s += step_s
        assert online.link.next_deadline_s() == deadline_s
        assert ("info", "clock steps", {"source": "system", "step_s": step_s}) in online.log.lines

    def test_noise_of_whole_seconds_is_no_step(self, online: World) -> None:
        """hardware.md §8.4."""
        said = online.log.said("clock")
        for late_s in (0.4, 1.1, 1.9):
            online.answers["Heartbeat"] = {"currentTime": online.central_time()[:19] + "Z"}
            online.advance(301 + late_s)
            online.answers["Heartbeat"] = lambda _: {"currentTime": online.central_time()[:19] + "Z"}
        assert online.log.said("clock") - said <= 2

    def test_statuses_have_no_time_before_it_is_known(self, world: World) -> None:
        world.answers["BootNotification"] = {"status": "Accepted", "currentTime": "soon", "interval": 10}
        world.say(msgspec.structs.replace(connector(1, A), at=moment(1.0, utc=False)))
        world.online()
        assert "timestamp" not in world.said("StatusNotification")[0]
        world.say(msgspec.structs.replace(connector(1, C), at=moment(50.0, utc=False)))
        assert "timestamp" not in world.said("StatusNotification")[1]
        world.advance(11)
        world.say(msgspec.structs.replace(connector(1, A), at=moment(100.0, utc=False)))
        assert world.said("StatusNotification")[2]["timestamp"] == "2027-01-15T08:01:40.000Z"


class TestRestartOfTheLink:
    """Design §2: no boot, and nothing told twice."""

    def test_goes_on_where_it_was(self, world: World) -> None:
        world.say(connector(0, A), connector(1, A))
        world.online()
        before = world.links[-1].connection
        for _ in range(3):
            world.restart_link()
            world.advance(1)
        assert world.said().count("BootNotification") == 1
        assert len(world.said("StatusNotification")) == 2
        assert world.links[-1].online
        assert world.links[-1].connection == before + 3

    def test_tells_what_changed_meanwhile(self, world: World) -> None:
        world.say(connector(0, A), connector(1, A))
        world.online()
        world.kill_link()
        world.connectors.publish(connector(1, C, 105.0), "1")
        world.start_link()
        world.advance(1)
        assert [status["status"] for status in world.said("StatusNotification")] == ["Available", "Available", "Charging"]

    def test_in_another_application_boot_boots(self, online: World) -> None:
        online.boot_id = "run-2"
        online.restart_link()
        online.advance(1)
        assert online.said().count("BootNotification") == 2

    def test_under_any_call_to_an_owner_leaves_the_next_call_working(self, online: World) -> None:
        online.ask("RemoteStartTransaction", {"idTag": "TAG"})
        online.restart_link()
        online.advance(1)
        online.held[0].answer(ACCEPTED)
        online.settle()
        assert "configurationKey" in online.asked("GetConfiguration")


class FailingStore(ConfigurationStore):
    """A disk that is full: nothing can be written."""

    full = True

    def _write(self, statement: str, parameters: tuple[str | int, ...]) -> None:
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super()._write(statement, parameters)

    def set_value(self, key: str, text: str, changed_utc: str, *, here: bool = False) -> None:
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super().set_value(key, text, changed_utc, here=here)

    def keep(self, boot_id: str, facts: Any) -> None:
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        super().keep(boot_id, facts)


class TestFullDisk:
    """Style guide §6: an operating error, handled; cars charge all the same."""

    @pytest.fixture
    def full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
        monkeypatch.setattr("tests.ocpp_link.world.ConfigurationStore", FailingStore)
        return World(tmp_path)

    def test_the_session_goes_on_and_the_log_says_it_once(self, full: World) -> None:
        full.answers["BootNotification"] = full.boot("Accepted", 10)
        full.say(connector(1, A))
        full.online()
        for number in range(5):
            full.say(connector(1, (C, A)[number % 2], 200.0 + number))
            full.lose()
            full.advance(20)
        assert full.deliver("id-1")[0].value.outcome.transaction_id == 7
        said = [fields["not_kept"] for level, text, fields in full.log.lines if "can't be written" in text]
        assert said
        assert len(said) == len(set(said))

    def test_a_change_is_rejected_and_the_old_value_holds(self, full: World) -> None:
        """OCPP 1.6 §5.3: the station did not set the configuration."""
        full.online()
        assert full.asked("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "10"}) == {"status": "Rejected"}
        values = {entry["key"]: entry["value"] for entry in full.asked("GetConfiguration")["configurationKey"]}
        assert values["HeartbeatInterval"] == "300"


class TestBounds:
    """Style guide §6: every queue and map has a bound (field report 55)."""

    def small(self, world: World) -> bool:
        return len(world.link._calls) <= 2 * rpc.WAITING_MAX and len(world.link._callers) <= 20 and not world.link._events

    def test_over_thousands_of_reconnects(self, online: World) -> None:
        online.answers["StartTransaction"] = online.answers["Authorize"] = None
        for number in range(2000):
            if number % 2:
                online.deliver(f"id-{number}")
                online.authorize()
            online.lose()
            online.now_s += 10
            online._tick()
            online.settle()
        assert online.socket.connects > 1900
        assert self.small(online)
        assert not online.link._callers

    def test_over_hundreds_of_silences_on_one_connection(self, online: World) -> None:
        online.answers["Authorize"] = None
        for _ in range(300):
            online.authorize()
            online.advance(35)
        assert online.socket.connects == 1
        assert self.small(online)

    def test_over_calls_that_nobody_answers(self, online: World) -> None:
        for _ in range(200):
            online.ask("RemoteStartTransaction", {"idTag": "TAG"})
        online.advance(200)
        assert self.small(online)
        assert "configurationKey" in online.asked("GetConfiguration")

    def test_a_socket_that_takes_nothing_is_closed(self, online: World) -> None:
        online.socket.takes = False
        replies = online.deliver("id-1")
        assert len(online.socket.closes) == 1
        assert isinstance(replies[0].value.outcome, m.NotSent)
        online.socket.takes = True
        online.advance(10)
        assert online.links[-1].online

    def test_a_socket_that_does_not_even_close_is_replaced(self, online: World) -> None:
        online.socket.answers_pings, online.socket.deaf = False, True
        online.advance(30)
        assert not online.links[-1].online
        online.socket.answers_pings = True
        online.advance(15)
        assert online.socket.connects == 2
        assert online.links[-1].online


def test_a_dead_connection_is_noticed_and_made_anew(online: World) -> None:
    """Design §8: within 30 s; field report 18."""
    online.socket.answers_pings = False
    online.advance(29)
    assert online.socket.closes == ["no pong came back"]
    online.socket.answers_pings = True
    online.advance(9)
    assert online.links[-1].online


def test_a_central_system_that_comes_back_is_found_within_ten_seconds(world: World) -> None:
    """Design §8; and its absence is said once."""
    world.socket.reachable = lambda: "connection refused"
    world.advance(500)
    world.socket.reachable = lambda: ""
    world.advance(10)
    assert world.links[-1].online
    assert world.log.said("can't be reached") == 1


def test_the_age_of_the_last_frame_is_told(online: World) -> None:
    """Field report 20."""
    seen_s = online.links[-1].last_received_boottime_s
    online.advance(6)
    online.frame("[]")
    online.advance(6)
    last_s = online.links[-1].last_received_boottime_s
    assert seen_s is not None
    assert last_s is not None
    assert last_s >= seen_s + 6


def test_meter_values_are_written_out_in_full(online: World) -> None:
    from bus.vocabulary import Measurand, ReadingContext, UnitOfMeasure

    value = m.SampledValue("1500", ReadingContext.SAMPLE_PERIODIC, Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, UnitOfMeasure.WH)
    online.deliver("id-1", m.MeterValues(1, (m.MeterValue(moment(3), (value,)), m.MeterValue(moment(4), ()))), 7)
    assert online.said("MeterValues") == [
        {
            "connectorId": 1,
            "transactionId": 7,
            "meterValue": [
                {
                    "timestamp": "2027-01-15T08:00:03.000Z",
                    "sampledValue": [
                        {
                            "value": "1500",
                            "context": "Sample.Periodic",
                            "format": "Raw",
                            "measurand": "Energy.Active.Import.Register",
                            "location": "Outlet",
                            "unit": "Wh",
                        }
                    ],
                }
            ],
        }
    ]


def test_a_start_is_one_transaction_for_the_central_system(online: World) -> None:
    """Crossing calls: a RemoteStart while ours is under way is answered at once (OCPP-J 1.6 §4.1.1, field report 21)."""
    online.answers["StartTransaction"] = None
    online.deliver("id-1", start())
    online.remote_answers[m.RemoteStartTransaction] = ACCEPTED
    assert online.asked("RemoteStartTransaction", {"idTag": "TAG"}) == {"status": "Accepted"}
