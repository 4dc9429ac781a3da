"""What the demo says of entries and facts: short, in words, at most 100 columns."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.demo import narration
from services.demo.entries import Entry, Kind, What
from services.demo.narration import WIDTH, Line, rendered


def entry(action: str, payload: Any, *, kind: Kind = Kind.CALL, what: What = What.RECEIVED, **more: Any) -> Entry:
    return Entry(1, "2024-01-01T12:00:00.123Z", 0.0, 1, "DEMO-1", what, kind, "id", action, payload, **more)


def said(*args: Any, **more: Any) -> str:
    return "\n".join(line.text for line in narration.told(entry(*args, **more)))


@pytest.mark.parametrize(
    ("action", "payload", "words"),
    [
        ("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"}, "V, M"),
        ("StatusNotification", {"connectorId": 1, "status": "Charging", "errorCode": "NoError"}, "connector 1 is Charging"),
        ("StatusNotification", {"connectorId": 0, "status": "Available", "errorCode": "NoError"}, "charge point is Available"),
        (
            "StatusNotification",
            {"connectorId": 1, "status": "Faulted", "errorCode": "GroundFailure", "vendorErrorCode": "openevse:06"},
            "connector 1 is Faulted (GroundFailure, openevse:06)",
        ),
        ("Authorize", {"idTag": "04AA"}, "may 04AA charge?"),
        ("StartTransaction", {"connectorId": 1, "idTag": "04AA", "meterStart": 5}, "connector 1, 04AA, meter 5 Wh"),
        ("StopTransaction", {"transactionId": 0, "meterStop": 9, "reason": "Remote"}, "transaction 0, meter 9 Wh, Remote"),
        ("ChangeConfiguration", {"key": "HeartbeatInterval", "value": "9"}, "key HeartbeatInterval, value 9"),
    ],
)
def test_a_call_is_told_with_its_interesting_fields(action: str, payload: dict[str, Any], words: str) -> None:
    text = said(action, payload)
    assert action in text
    assert "12:00:00" in text
    assert "──▶ central" in text
    assert words in text


def test_meter_values_are_told_in_units_for_people_and_each_once() -> None:
    sampled = [
        {"value": "38", "unit": "Wh"},
        {"value": "3680", "measurand": "Power.Active.Import", "unit": "W", "phase": "L1"},
        {"value": "11040", "measurand": "Power.Active.Import", "unit": "W"},
        {"value": "16", "measurand": "Current.Import", "unit": "A", "phase": "L1"},
        {"value": "16", "measurand": "Current.Import", "unit": "A", "phase": "L2"},
        {"value": "odd", "measurand": "Voltage", "unit": "V"},
    ]
    text = said("MeterValues", {"connectorId": 1, "meterValue": [{"timestamp": "t", "sampledValue": sampled}]})
    assert text.endswith("38 Wh, 11.04 kW, 16.0 A on L1, odd V")


def test_an_answer_is_told_where_it_says_something() -> None:
    sent = {"kind": Kind.CALLRESULT, "what": What.SENT}
    answer = {"transactionId": 7, "idTagInfo": {"status": "Accepted"}}
    assert said("StartTransaction", answer, **sent).endswith("◀── central  Accepted, this is transaction 7")
    assert said("BootNotification", {"status": "Accepted", "interval": 300}, **sent).endswith("every 300 s, please")
    assert said("StatusNotification", {}, **sent) == ""
    assert said("Heartbeat", {"currentTime": "x"}, **sent) == ""


def test_errors_and_breaches_stand_out() -> None:
    lines = narration.told(entry("Heartbeat", {"code": "GenericError", "description": "no"}, kind=Kind.CALLERROR))
    assert [line.kind for line in lines] == ["bad"]
    lines = narration.told(entry("Heartbeat", {}, violations=("sent twice",)))
    assert [line.kind for line in lines] == ["call", "bad"]
    assert "sent twice" in lines[1].text


def test_connections_are_told() -> None:
    assert "DEMO-1 has connected" in said("", None, kind=Kind.NONE, what=What.OPENED)
    assert "1001" in said("", None, kind=Kind.NONE, what=What.CLOSED, text="1001")
    assert "404" in said("", None, kind=Kind.NONE, what=What.REFUSED, text="HTTP 404")
    assert "not answered" in said("Heartbeat", None, kind=Kind.NONE, what=What.DROPPED)


VALUES = st.recursive(
    st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=8
)
ACTIONS = st.sampled_from(
    [
        "BootNotification",
        "StatusNotification",
        "MeterValues",
        "StartTransaction",
        "StopTransaction",
        "Authorize",
        "Other",
        "é" * 200,
    ]
)


@given(action=ACTIONS, payload=st.dictionaries(st.text(), VALUES), kind=st.sampled_from([Kind.CALL, Kind.CALLRESULT]))
def test_no_message_makes_a_line_too_wide(action: str, payload: dict[str, Any], kind: Kind) -> None:
    for line in narration.told(entry(action, payload, kind=kind, violations=("x" * 300,))):
        assert len(line.text) <= WIDTH
        assert line.text.isprintable()


@pytest.mark.parametrize("values", [None, [], "x", [{}], [{"sampledValue": []}], ["x"], [{"sampledValue": ["x"]}]])
def test_broken_meter_values_are_told_all_the_same(values: Any) -> None:
    assert "MeterValues" in said("MeterValues", {"meterValue": values})


def test_power_and_energy_come_from_the_hardware() -> None:
    line = narration.hardware({"meter": {"power_w": 11040.0, "shown_wh": 1234}, "car": {"drawing_a": 16.0}})
    assert "16.0 A: 11.04 kW; the meter shows 1,234 Wh" in line.text


def test_steps_and_outcomes_wrap() -> None:
    lines = [*narration.step(1, "A car " * 40, "word " * 100), *narration.outcome(["it differs " * 30], None)]
    assert all(len(line.text) <= WIDTH for line in lines)
    assert narration.outcome([], 46)[-1].kind == "good"


def test_the_invitation_has_whole_commands_with_the_state_directory() -> None:
    directory = "/var/tmp/" + "x" * 150
    commands = [line.text.strip() for line in narration.invitation("station", directory) if "--state-dir" in line.text]
    assert f"station sim --state-dir {directory} plug-in 1" in commands
    assert f"station status --state-dir {directory}" in commands


def test_colours_are_for_terminals_only() -> None:
    assert rendered(Line("x", "bad"), colours=False) == "x"
    assert rendered(Line("x", "bad"), colours=True) == "\x1b[31mx\x1b[0m"
    assert rendered(Line("x"), colours=True) == "x"
