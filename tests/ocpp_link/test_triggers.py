"""TriggerMessage: each message, with and without connectorId, in each registration (OCPP 1.6 §5.17, errata v4.0 3.35, 3.46)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus import messages as m
from bus.profile_messages import MeterValuesTaken, TakeMeterValues, TriggeredMeterValues
from bus.vocabulary import (
    ChargePointStatus,
    Measurand,
    MessageTrigger,
    ReadingContext,
    RegistrationStatus,
    TriggerMessageStatus,
    UnitOfMeasure,
)
from services.ocpp_link import triggers
from tests.ocpp_link.world import CONFIG, World, connector, error, moment

AVAILABLE, CHARGING, PREPARING = ChargePointStatus.AVAILABLE, ChargePointStatus.CHARGING, ChargePointStatus.PREPARING
ACCEPTED, REJECTED = {"status": "Accepted"}, {"status": "Rejected"}
OTHERS = [trigger for trigger in MessageTrigger if trigger is not MessageTrigger.BOOT_NOTIFICATION]


def values_of(number: int, transaction_id: int | None = None) -> TriggeredMeterValues:
    register = m.SampledValue("1234", ReadingContext.TRIGGER, Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, UnitOfMeasure.WH)
    return TriggeredMeterValues(number, (m.MeterValue(moment(1.0), (register,)),), transaction_id)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return prepared(World(tmp_path))


@pytest.fixture
def online(world: World) -> World:
    return speaking(world.online())


@pytest.fixture
def pending(world: World) -> World:
    world.answers["BootNotification"] = world.boot("Pending")
    world.advance(1)
    assert world.said() == ["BootNotification"]
    return speaking(world)


def prepared(world: World) -> World:
    world.answers["DiagnosticsStatusNotification"] = world.answers["FirmwareStatusNotification"] = {}
    world.remote_answers[TakeMeterValues] = MeterValuesTaken(TriggerMessageStatus.ACCEPTED, (values_of(1), values_of(2, 7)))
    return world


def speaking(world: World) -> World:
    world.say(connector(0, AVAILABLE), connector(1, CHARGING), connector(2, AVAILABLE))
    return world


def trigger(world: World, requested: str, connector_id: int | None = None) -> Any:
    """The answer; what was said before is forgotten."""
    world.calls.clear()
    payload: dict[str, Any] = {"requestedMessage": requested}
    return world.asked("TriggerMessage", payload if connector_id is None else {**payload, "connectorId": connector_id})


SAID = {
    "DiagnosticsStatusNotification": [("DiagnosticsStatusNotification", {"status": "Idle"})],
    "FirmwareStatusNotification": [("FirmwareStatusNotification", {"status": "Idle"})],
    "Heartbeat": [("Heartbeat", {})],
}


@pytest.mark.parametrize("registration", ["online", "pending"])
@pytest.mark.parametrize("requested", SAID)
@pytest.mark.parametrize("connector_id", [None, 0, 1, 99])
def test_messages_of_the_whole_station_ignore_the_connector(
    registration: str, requested: str, connector_id: int | None, request: pytest.FixtureRequest
) -> None:
    """OCPP 1.6 §5.17: a connectorId that is not relevant is ignored; §4.4, §4.5: Idle, as there is nothing under way."""
    world: World = request.getfixturevalue(registration)
    assert trigger(world, requested, connector_id) == ACCEPTED
    assert [(action, payload) for action, _, payload in world.calls] == SAID[requested]


@pytest.mark.parametrize("registration", ["online", "pending"])
@pytest.mark.parametrize(("connector_id", "told"), [(None, [0, 1, 2]), (0, [0]), (1, [1]), (2, [2])])
def test_statuses_of_all_or_of_one(
    registration: str, connector_id: int | None, told: list[int], request: pytest.FixtureRequest
) -> None:
    """OCPP 1.6 §5.17: connector 0 is the charge point; without connectorId that and each connector (field report 41)."""
    world: World = request.getfixturevalue(registration)
    world.advance(5)
    assert trigger(world, "StatusNotification", connector_id) == ACCEPTED
    assert world.said() == ["StatusNotification"] * len(told)
    said = world.said("StatusNotification")
    assert [payload["connectorId"] for payload in said] == told
    assert {payload["timestamp"] for payload in said} == {world.central_time()}, "the time of now, not of the last change"


@pytest.mark.parametrize("registration", ["online", "pending"])
def test_readings_of_all_connectors(registration: str, request: pytest.FixtureRequest) -> None:
    """OCPP 1.6 §5.17, errata v4.0 3.46; a transaction's have its transactionId (§6.31)."""
    world: World = request.getfixturevalue(registration)
    assert trigger(world, "MeterValues") == ACCEPTED
    assert world.remote == [TakeMeterValues(None)]
    first, second = world.said("MeterValues")
    assert (first["connectorId"], first.get("transactionId")) == (1, None)
    assert (second["connectorId"], second["transactionId"]) == (2, 7)
    assert first["meterValue"][0]["sampledValue"][0]["context"] == "Trigger"


def test_readings_of_one_connector_that_has_none(online: World) -> None:
    """OCPP 1.6 §7.44: Rejected, and nothing is sent."""
    online.remote_answers[TakeMeterValues] = MeterValuesTaken(TriggerMessageStatus.REJECTED, reason="because")
    assert trigger(online, "MeterValues", 2) == REJECTED
    assert online.remote == [TakeMeterValues(2)]
    assert online.said() == []


def test_readings_whose_owner_is_down(online: World) -> None:
    """Design §3: a call is answered or timed out; the Central System gets InternalError, and no reading later on."""
    online.remote_answers[TakeMeterValues] = None
    unique_id = online.ask("TriggerMessage", {"requestedMessage": "MeterValues"})
    online.calls.clear()
    online.advance(10)
    assert online.results[unique_id][2] == "InternalError"
    online.held[0].answer(MeterValuesTaken(TriggerMessageStatus.ACCEPTED, (values_of(1),)))
    online.advance(1)
    assert online.said("MeterValues") == []


@pytest.mark.parametrize(
    "requested", ["StartTransaction", "Authorize", "SignChargePointCertificate", "", "heartbeat", "x" * 600]
)
def test_a_message_that_is_unknown_is_not_implemented(online: World, requested: str) -> None:
    """OCPP 1.6 §5.17: "unknown or not implemented" is no malformed request, it is answered with NotImplemented."""
    assert trigger(online, requested) == {"status": "NotImplemented"}
    assert online.said() == []


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({}, "FormationViolation"),
        ({"requestedMessage": 1}, "FormationViolation"),
        ({"requestedMessage": "Heartbeat", "connectorId": "1"}, "FormationViolation"),
        ({"requestedMessage": "Heartbeat", "connectorId": -1}, "PropertyConstraintViolation"),
        ({"requestedMessage": "Heartbeat", "more": 1}, "FormationViolation"),
    ],
)
def test_a_malformed_trigger_is_refused(online: World, payload: dict[str, Any], code: str) -> None:
    """OCPP 1.6 §6.51."""
    assert online.asked("TriggerMessage", payload) == code


def test_a_connector_that_does_not_exist_is_rejected(online: World) -> None:
    """OCPP 1.6 §7.44."""
    assert trigger(online, "StatusNotification", 3) == REJECTED
    assert online.said() == []


def test_a_status_that_is_not_known_yet_is_rejected(tmp_path: Path) -> None:
    """Choice: connectors have said nothing yet."""
    world = World(tmp_path).online()
    assert trigger(world, "StatusNotification") == REJECTED


@pytest.mark.parametrize("requested", MessageTrigger)
def test_the_answer_goes_out_before_the_message(online: World, requested: MessageTrigger) -> None:
    """OCPP 1.6 §5.17: SHALL first send the response."""
    online.link._state = msgspec.structs.replace(
        online.link._state,
        registration=RegistrationStatus.PENDING,
        boot_due_s=online.now_s + 100,
    )
    before = len(online.socket.sent)
    unique_id = online.ask("TriggerMessage", {"requestedMessage": requested})
    frames = online.socket.sent[before:]
    assert frames[0] == [3, unique_id, ACCEPTED]
    assert next(frame[2] for frame in frames[1:] if frame[0] == 2) == requested


class TestBootNotification:
    """OCPP 1.6 §4.2, §5.17, errata v4.0 3.35, 3.40."""

    def test_is_sent_at_once_while_pending(self, pending: World) -> None:
        """OCPP 1.6 §4.2: earlier than the interval only when a TriggerMessage asks for it."""
        pending.answers["BootNotification"] = pending.boot("Accepted")
        assert trigger(pending, "BootNotification", 1) == ACCEPTED
        assert pending.said()[0] == "BootNotification"
        assert pending.links[-1].online

    def test_counts_as_the_one_that_is_under_way(self, world: World) -> None:
        """OCPP 1.6 §5.17: a message that is sent anyway MAY be considered as complying."""
        world.answers["BootNotification"] = None
        world.advance(1)
        assert trigger(world, "BootNotification") == ACCEPTED
        assert world.said() == []
        assert world.link._rpc.waiting == ()

    def test_is_rejected_once_accepted(self, online: World) -> None:
        """Errata v4.0 3.35; over a reconnect too, as the acceptance holds."""
        assert trigger(online, "BootNotification") == REJECTED
        online.lose()
        online.advance(20)
        assert trigger(online, "BootNotification") == REJECTED
        assert online.said() == []

    @pytest.mark.parametrize("requested", OTHERS)
    def test_is_the_only_one_before_it_is_answered(self, world: World, requested: MessageTrigger) -> None:
        """OCPP 1.6 §4.2: no other request before Accepted or Pending."""
        world.answers["BootNotification"] = None
        speaking(world).advance(1)
        assert trigger(world, requested) == REJECTED
        world.advance(5)
        assert world.said() == []

    @pytest.mark.parametrize("requested", MessageTrigger)
    def test_no_trigger_is_answered_while_rejected(self, world: World, requested: MessageTrigger) -> None:
        """OCPP 1.6 §4.2: SHALL NOT respond to any message then, nor send one."""
        world.answers["BootNotification"] = world.boot("Rejected")
        speaking(world).advance(1)
        world.calls.clear()
        unique_id = world.ask("TriggerMessage", {"requestedMessage": requested})
        assert unique_id not in world.results
        assert world.said() == []


def test_in_pending_nothing_else_is_sent(pending: World) -> None:
    """OCPP 1.6 §4.2; field report 31: what was asked for, once, and nothing by itself."""
    for requested in OTHERS:
        assert trigger(pending, requested) == ACCEPTED
    pending.calls.clear()
    pending.say(connector(1, AVAILABLE, at_s=300.0))
    pending.connectors.emit(m.ConnectorMeterValues(1, values_of(1).meter_values), "1")
    pending.advance(200)
    assert pending.said() == []


def test_all_statuses_are_told_again_when_pending_ends(pending: World) -> None:
    """Errata v4.0 3.22: a triggered status is no acknowledged one."""
    trigger(pending, "StatusNotification")
    pending.answers["BootNotification"] = pending.boot("Accepted")
    trigger(pending, "BootNotification")
    assert [payload["connectorId"] for payload in pending.said("StatusNotification")] == [0, 1, 2]


class TestMinimumStatusDuration:
    """OCPP 1.6 §9.1.20, field report 41: a trigger bypasses it."""

    def settling(self, world: World) -> World:
        world.asked("ChangeConfiguration", {"key": "MinimumStatusDuration", "value": "60"})
        world.say(connector(1, PREPARING, at_s=world.now_s))
        world.advance(1)
        assert "Preparing" not in [payload["status"] for payload in world.said("StatusNotification")]
        return world

    def test_a_status_that_settles_is_told_at_once(self, online: World) -> None:
        """As it is now."""
        world = self.settling(online)
        assert trigger(world, "StatusNotification", 1) == ACCEPTED
        assert [payload["status"] for payload in world.said("StatusNotification")] == ["Preparing"]

    def test_and_only_once(self, online: World) -> None:
        """It has been told when it has lasted for so long."""
        world = self.settling(online)
        trigger(world, "StatusNotification", 1)
        world.advance(120)
        assert len(world.said("StatusNotification")) == 1


def test_the_newest_status_comes_last(online: World) -> None:
    """OCPP 1.6 §4.9: what still waits is told before, so that the Central System ends with the truth."""
    online.answers["StatusNotification"] = None
    online.say(connector(1, PREPARING, 200.0), connector(1, CHARGING, 201.0), connector(1, AVAILABLE, 202.0))
    (_, unique_id, first), *_ = [call for call in online.calls if call[2].get("status") == "Preparing"]
    assert first["connectorId"] == 1
    trigger(online, "StatusNotification", 1)
    online.answers["StatusNotification"] = {}
    online.answer(unique_id, {})
    assert [payload["status"] for payload in online.said("StatusNotification")] == ["Charging", "Available", "Available"]


def test_a_triggered_heartbeat_gives_the_time(pending: World) -> None:
    """OCPP 1.6 §4.6: its currentTime counts."""
    pending.now_s += 50
    before = len(pending.clocks)
    pending.answers["Heartbeat"] = {"currentTime": "2027-01-15T09:00:00.000Z"}
    trigger(pending, "Heartbeat")
    assert len(pending.clocks) > before


@pytest.mark.parametrize("answer", [error("InternalError"), None])
def test_one_that_fails_is_not_repeated_and_ends_no_connection(pending: World, answer: Any) -> None:
    """OCPP 1.6 §5.17: it told of a moment that is over; §4.2: in Pending the channel SHOULD NOT be closed."""
    pending.answers["DiagnosticsStatusNotification"] = answer
    trigger(pending, "DiagnosticsStatusNotification")
    pending.advance(100)
    assert pending.said() == ["DiagnosticsStatusNotification"]
    assert pending.links[-1].connected
    assert pending.log.said("a triggered message was not taken") == 1


def test_how_many_may_be_under_way_is_bounded(pending: World) -> None:
    """Style §6: beyond it a trigger is Rejected; after the answers there is room again, and on a new connection."""
    pending.answers["Heartbeat"] = None
    for _ in range(triggers.UNDER_WAY_MAX):
        assert trigger(pending, "Heartbeat") == ACCEPTED
    assert trigger(pending, "Heartbeat") == REJECTED
    pending.lose()
    pending.answers["Heartbeat"] = {"currentTime": pending.central_time()}
    pending.advance(20)
    assert trigger(pending, "Heartbeat") == ACCEPTED


def test_without_the_profile_it_is_not_supported(tmp_path: Path) -> None:
    """OCPP 1.6 §3.3, §9.1.29."""
    config = msgspec.structs.replace(CONFIG, ocpp={"SupportedFeatureProfiles": "Core,LocalAuthListManagement"})
    world = World(tmp_path, config).online()
    assert trigger(world, "Heartbeat") == "NotSupported"
    assert world.said() == []
