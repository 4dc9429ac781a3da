"""The `ocpp` package's schemas with our overrides (OCPP-J errata 2.1 to 2.5)."""

from typing import Any

import pytest

from services.demo.schemas import CALL, CALLRESULT, frame_violation, is_date_time, known_action, violation

NOW = "2024-01-01T00:00:00.000Z"


def sampled(**fields: str) -> list[dict[str, Any]]:
    return [{"timestamp": NOW, "sampledValue": [{"value": "1", **fields}]}]


@pytest.mark.parametrize("unit", ["Celsius", "Celcius", "Hertz", "Wh", "Percent"])
def test_units_are_known_in_both_messages_that_carry_values(unit: str) -> None:
    """OCPP-J errata 2.1: both spellings of Celsius; OCPP 1.6 §7.31: Hertz."""
    values = sampled(unit=unit)
    assert violation(CALL, "MeterValues", {"connectorId": 1, "meterValue": values}) == ""
    stop = {"transactionId": 1, "meterStop": 1, "timestamp": NOW, "transactionData": values}
    assert violation(CALL, "StopTransaction", stop) == ""


def test_reason_may_be_left_out() -> None:
    """OCPP-J errata 2.5."""
    assert violation(CALL, "StopTransaction", {"transactionId": 1, "meterStop": 1, "timestamp": NOW}) == ""


def test_the_interval_is_an_integer() -> None:
    """OCPP-J errata 2.3."""
    answer = {"status": "Accepted", "currentTime": NOW, "interval": 1.5}
    assert "interval" in violation(CALLRESULT, "BootNotification", answer)


def test_id_tag_info_of_a_local_list_is_checked() -> None:
    """OCPP-J errata 2.2."""
    entry = {"idTag": "A", "idTagInfo": {"status": "Accepted", "parentIdTag": "P"}}
    message = {"listVersion": 1, "updateType": "Full", "localAuthorizationList": [entry]}
    assert violation(CALL, "SendLocalList", message) == ""
    entry["idTagInfo"] = {"parentIdTag": "P"}
    assert "status" in violation(CALL, "SendLocalList", message)


def test_limits_with_one_decimal_are_decided_exactly() -> None:
    """21.4 is a multiple of 0.1, whatever binary floats say."""
    schedule = {"chargingRateUnit": "A", "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 21.4}]}
    answer = {"status": "Accepted", "connectorId": 1, "chargingSchedule": schedule}
    assert violation(CALLRESULT, "GetCompositeSchedule", answer) == ""
    schedule["chargingSchedulePeriod"] = [{"startPeriod": 0, "limit": 21.44}]
    assert "limit" in violation(CALLRESULT, "GetCompositeSchedule", answer)


@pytest.mark.parametrize("text", ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00.5+01:00", "2024-02-29T23:59:59.123456789Z"])
def test_times_of_rfc_3339_are_good(text: str) -> None:
    assert is_date_time(text)


@pytest.mark.parametrize("text", ["2024-01-01", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00", "2024-02-30T00:00:00Z", "now"])
def test_other_times_are_a_violation(text: str) -> None:
    status = {"connectorId": 1, "errorCode": "NoError", "status": "Available", "timestamp": text}
    assert "timestamp" in violation(CALL, "StatusNotification", status)


@pytest.mark.parametrize("action", ["MakeCoffee", "HeartbeatResponse", "../../etc/passwd", "", "Heart beat"])
def test_what_is_no_action_is_not_known(action: str) -> None:
    assert not known_action(action)
    assert "no action" in violation(CALL, action, {})


@pytest.mark.parametrize(
    "frame",
    [
        [2, "1", "Heartbeat", {}],
        [3, "reset", {"status": "Accepted"}],
        [3, "unknown", {"anything": 1}],
        [4, "1", "FormationViolation", "", {}],
    ],
)
def test_a_whole_message_that_is_valid(frame: Any) -> None:
    """OCPP-J 1.6 §4.2; CALLERROR codes as misspelt (OCPP-J errata 5.1, 5.2)."""
    assert frame_violation(frame, {"reset": "Reset"}.get) == ""


@pytest.mark.parametrize(
    "frame",
    [
        {},
        [],
        [5, "1", {}],
        [2, "1", "Heartbeat"],
        [2, "x" * 37, "Heartbeat", {}],
        [2, "", "Heartbeat", {}],
        [2, 1, "Heartbeat", {}],
        [2, "1", "Heartbeat", None],
        [2, "1", "Heartbeat", {"more": 1}],
        [3, "reset", {"status": "Perhaps"}],
        [3, "reset", []],
        [4, "1", "FormatViolation", "", {}],
        [4, "1", "GenericError", "x" * 256, {}],
        [4, "1", "GenericError", ""],
    ],
)
def test_a_whole_message_that_is_not(frame: Any) -> None:
    assert frame_violation(frame, {"reset": "Reset"}.get) != ""
