"""Rules beyond the schema, after SteVe's validator (field reports, part 2)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from services.demo.plausibility import Plausibility

NOW = datetime(2024, 1, 1, 12, 0, tzinfo=UTC)
START = {"connectorId": 1, "idTag": "Tag", "meterStart": 1000, "timestamp": "2024-01-01T11:00:00Z"}
STOP = {"transactionId": 5, "meterStop": 1500, "timestamp": "2024-01-01T11:30:00Z"}
VALUE = {"timestamp": "2024-01-01T11:10:00Z", "sampledValue": [{"value": "1"}]}


@pytest.fixture
def judge() -> Plausibility:
    parents = {"tag": "group", "friend": "group"}
    running = Plausibility(parents.get)
    running.started("CP-1", 5, START)
    return running


def breaches(judge: Plausibility, action: str, payload: dict[str, Any]) -> str:
    return "; ".join(judge.breaches("CP-1", action, payload, NOW))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"meterStop": 999}, "below"),
        ({"timestamp": "2024-01-01T10:59:59Z"}, "before the start"),
        ({"timestamp": "2024-01-01T12:04:59Z"}, ""),
        ({"timestamp": "2024-01-01T12:06:00Z"}, "future"),
        ({"transactionId": 6}, "not known"),
        ({"transactionId": -1}, ""),
        ({"idTag": "TAG"}, ""),
        ({"idTag": "Friend"}, ""),
        ({"idTag": "group"}, ""),
        ({"idTag": "stranger"}, "idTag"),
    ],
)
def test_a_stop_fits_its_start(judge: Plausibility, changes: dict[str, Any], said: str) -> None:
    found = breaches(judge, "StopTransaction", {**STOP, **changes})
    assert said in found if said else found == ""


def test_a_second_stop_is_a_breach_unless_it_is_the_same(judge: Plausibility) -> None:
    judge.stopped("CP-1", STOP)
    assert breaches(judge, "StopTransaction", STOP) == ""
    assert "already" in breaches(judge, "StopTransaction", {**STOP, "meterStop": 1600})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"transactionId": 6}, "not known"),
        ({"connectorId": 2}, "on connector 1"),
        ({"meterValue": [{**VALUE, "timestamp": "2024-01-01T10:00:00Z"}]}, "before the start"),
    ],
)
def test_meter_values_belong_to_a_running_transaction(judge: Plausibility, changes: dict[str, Any], said: str) -> None:
    found = breaches(judge, "MeterValues", {"connectorId": 1, "transactionId": 5, "meterValue": [VALUE], **changes})
    assert said in found if said else found == ""


def test_meter_values_after_the_stop_are_a_breach(judge: Plausibility) -> None:
    judge.stopped("CP-1", STOP)
    found = breaches(judge, "MeterValues", {"connectorId": 1, "transactionId": 5, "meterValue": [VALUE]})
    assert "stopped already" in found


@pytest.mark.parametrize(("changes", "said"), [({"connectorId": 0}, "connector"), ({"meterStart": -1}, "negative")])
def test_a_start_needs_a_connector_and_a_register(judge: Plausibility, changes: dict[str, Any], said: str) -> None:
    assert said in breaches(judge, "StartTransaction", {**START, **changes})


def test_stations_do_not_share_transactions(judge: Plausibility) -> None:
    assert judge.breaches("CP-2", "StopTransaction", STOP, NOW) == ["transaction 5 is not known"]
