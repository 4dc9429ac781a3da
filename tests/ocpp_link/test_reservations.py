"""ReserveNow and CancelReservation between the Central System and the connectors (OCPP 1.6 §5.1, §5.13, §6.5, §6.37, §9.3)."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.profile_messages import CancelReservation, CancelReservationAnswer, ReserveNow, ReserveNowAnswer
from bus.vocabulary import CancelReservationStatus, ReservationStatus
from services.configuration import keys
from services.connectors.settings import settings_from
from tests.ocpp_link.world import CONFIG, World

EXPIRY_MS = 1_800_003_600_000
RESERVE: dict[str, Any] = {
    "connectorId": 1,
    "expiryDate": "2027-01-15T09:00:00Z",
    "idTag": "TAG",
    "parentIdTag": "GROUP",
    "reservationId": -4,
}


@pytest.fixture
def online(tmp_path: Path) -> World:
    return World(tmp_path).online()


@pytest.mark.parametrize("status", ReservationStatus)
def test_each_answer_of_reserve_now_goes_back(online: World, status: ReservationStatus) -> None:
    """OCPP 1.6 §5.13, §7.40: the connectors decide, and the reason stays in the log."""
    online.remote_answers[ReserveNow] = ReserveNowAnswer(status, "for the log")
    assert online.asked("ReserveNow", RESERVE) == {"status": status}
    assert online.remote == [ReserveNow(1, EXPIRY_MS, "TAG", -4, "GROUP")]


@pytest.mark.parametrize("status", CancelReservationStatus)
def test_each_answer_of_cancel_reservation_goes_back(online: World, status: CancelReservationStatus) -> None:
    """OCPP 1.6 §5.1, §7.5."""
    online.remote_answers[CancelReservation] = CancelReservationAnswer(status)
    assert online.asked("CancelReservation", {"reservationId": 0}) == {"status": status}
    assert online.remote == [CancelReservation(0)]


@pytest.mark.parametrize(
    "expiry", ["2027-01-15T09:00:00.0000001Z", "2027-01-15T10:00:00+01:00", "2027-01-15T09:00:00", "2027-01-15 09:00:00Z"]
)
def test_the_expiry_date_is_taken_as_central_systems_write_it(online: World, expiry: str) -> None:
    """OCPP 1.6 §3.13, errata v4.0 3.10: any offset, any number of fraction digits."""
    online.ask("ReserveNow", {**RESERVE, "expiryDate": expiry})
    assert [request.expiry_utc_ms for request in online.remote if isinstance(request, ReserveNow)] == [EXPIRY_MS]


def test_an_empty_parent_id_tag_is_none(online: World) -> None:
    """OCPP 1.6 §6.37: it would be the group of nobody."""
    online.ask("ReserveNow", {**RESERVE, "parentIdTag": "", "connectorId": 0})
    assert online.remote == [ReserveNow(0, EXPIRY_MS, "TAG", -4)]


def test_an_empty_id_tag_is_rejected(online: World) -> None:
    """OCPP 1.6 §5.13: there is nobody to reserve it for."""
    assert online.asked("ReserveNow", {**RESERVE, "idTag": ""}) == {"status": "Rejected"}
    assert online.remote == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"expiryDate": "tomorrow"}, "FormationViolation"),
        ({"connectorId": -1}, "PropertyConstraintViolation"),
        ({"idTag": "x" * 21}, "FormationViolation"),
        ({"reservationId": "4"}, "FormationViolation"),
        ({"chargingProfile": {}}, "FormationViolation"),
    ],
)
def test_a_malformed_reserve_now_is_refused(online: World, change: dict[str, Any], code: str) -> None:
    """OCPP-J 1.6 §4.2.3, OCPP 1.6 §6.37."""
    assert online.asked("ReserveNow", {**RESERVE, **change}) == code
    assert online.remote == []


def test_an_answer_that_does_not_come_is_an_internal_error_and_taken_back(online: World) -> None:
    """Design §3: what the Central System takes for failed must not stay reserved."""
    unique_id = online.ask("ReserveNow", RESERVE)
    online.advance(10)
    assert online.results[unique_id][2] == "InternalError"
    assert online.cancelled == [online.held[0].call_id]


def test_where_the_profile_is_off_nothing_of_it_is_there(tmp_path: Path) -> None:
    """OCPP 1.6 §9.1.29, §9.3.1: its actions get NotSupported, its key is unknown."""
    world = World(tmp_path, msgspec.structs.replace(CONFIG, ocpp={"SupportedFeatureProfiles": "Core"})).online()
    assert world.asked("ReserveNow", RESERVE) == "NotSupported"
    assert world.asked("CancelReservation", {"reservationId": 1}) == "NotSupported"
    assert world.asked("GetConfiguration", {"key": ["ReserveConnectorZeroSupported"]}) == {
        "unknownKey": ["ReserveConnectorZeroSupported"]
    }


@pytest.mark.parametrize("text", ["true", "false"])
def test_the_station_says_whether_connector_0_can_be_reserved(tmp_path: Path, text: str) -> None:
    """OCPP 1.6 §9.3.1: boolean, read-only, optional; as `station.toml` has it."""
    world = World(tmp_path, msgspec.structs.replace(CONFIG, ocpp={"ReserveConnectorZeroSupported": text})).online()
    (entry,) = world.asked("GetConfiguration", {"key": ["ReserveConnectorZeroSupported"]})["configurationKey"]
    assert entry == {"key": "ReserveConnectorZeroSupported", "readonly": True, "value": text}
    change = world.asked("ChangeConfiguration", {"key": "ReserveConnectorZeroSupported", "value": "true"})
    assert change == {"status": "Rejected"}


@pytest.mark.parametrize(
    ("able", "supported", "profile"),
    [
        (keys.Capabilities(), True, True),
        (keys.Capabilities(not_offered=("ReserveConnectorZeroSupported",)), False, True),
        (keys.Capabilities(profiles=("Core",)), False, False),
    ],
)
def test_a_key_that_is_not_set_is_as_good_as_false(able: keys.Capabilities, supported: bool, profile: bool) -> None:
    """OCPP 1.6 §5.13: "is not set or set to false"; what the connectors make of it."""
    settings = settings_from(keys.defaults(able), charge_before_first_acceptance=False)
    assert (settings.reserve_connector_zero_supported, settings.reservation_profile) == (supported, profile)
