"""OCPP's messages against the JSON schemas that the independent `ocpp` package carries (OCPP 1.6 §6, OCPP-J errata 2, 3.1)."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import msgspec.inspect as inspect
import ocpp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.vocabulary import MessageTrigger
from services.ocpp_link import payloads as p
from services.ocpp_link.actions import ACTIONS, Action, Direction, Malformed, decode_call, decode_conf, encode, outgoing_problem
from services.ocpp_link.call_error import CallError, ErrorCode

SCHEMAS = Path(ocpp.__file__).parent / "v16" / "schemas"
CORE = [action for action in ACTIONS.values() if action.req is not None]
INCOMING = [action for action in CORE if action.direction is not Direction.TO_CENTRAL_SYSTEM]
TYPES = [type_ for action in CORE for type_ in (action.req, action.conf) if type_ is not None]
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
DATES = st.sampled_from(["2026-11-24T03:15:00.123Z", "2026-11-24T03:15:00+01:00"])


def schema_of(type_: type) -> dict[str, Any]:
    """The schema of a message, corrected by OCPP-J errata 2.1, 2.3 and 2.5."""
    name = type_.__name__
    file = f"{name[:-3]}.json" if name.endswith("Req") else f"{name[:-4]}Response.json"
    schema: dict[str, Any] = json.loads((SCHEMAS / file).read_text(encoding="utf-8-sig"))
    text = json.dumps(schema).replace('"Celcius"', '"Celcius", "Celsius"')
    schema = json.loads(text)
    if name == "BootNotificationConf":
        # We only receive it, from Central Systems built on the first schema too, where 300.0 was valid.
        schema["properties"]["interval"]["type"] = "number"
    if name == "StopTransactionReq":
        schema["required"] = [field for field in schema["required"] if field != "reason"]
    return schema


def errors_of(validator: jsonschema.Draft4Validator, message: Any) -> list[Any]:
    """What a schema has against a message; its multipleOf 0.1 fails on binary fractions such as 6.1."""
    return [error for error in validator.iter_errors(message) if error.validator != "multipleOf"]


def instances(type_: inspect.Type, name: str = "") -> st.SearchStrategy[Any]:
    """Values of a field's type."""
    match type_:
        case inspect.StructType():
            return messages(type_.cls)
        case inspect.UnionType():
            return st.one_of(*(instances(one, name) for one in type_.types))
        case inspect.NoneType():
            return st.none()
        case inspect.EnumType():
            return st.sampled_from(list(type_.cls))
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return st.integers(type_.ge if type_.ge is not None else type_.gt, type_.le)
        case inspect.FloatType():
            return st.sampled_from([0.0, 6.1, 32.0, 22000.0])
        case inspect.StrType() if name in {"timestamp", "current_time", "expiry_date"} | {
            "valid_from",
            "valid_to",
            "start_schedule",
        }:
            return DATES
        case inspect.StrType() if name == "requested_message":
            return st.sampled_from([str(trigger) for trigger in MessageTrigger])
        case inspect.StrType():
            return st.text(st.characters(codec="utf-8"), max_size=type_.max_length if type_.max_length else 30)
        case inspect.VarTupleType():
            return st.lists(instances(type_.item_type, name), min_size=type_.min_length or 0, max_size=3).map(tuple)
    raise AssertionError(type_)


def messages(cls: type) -> st.SearchStrategy[Any]:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)
    return st.builds(cls, **{field.name: instances(field.type, field.name) for field in info.fields})


@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.__name__)
def test_each_message_is_valid_by_its_schema_and_comes_back_as_it_was(type_: type) -> None:
    """Issue: every message sent is valid against the JSON schemas (field report §2.1)."""
    validator = jsonschema.Draft4Validator(schema_of(type_))

    @settings(max_examples=25, deadline=None)
    @given(messages(type_))
    def check(message: Any) -> None:
        text = encode(message)
        assert outgoing_problem(message) is None
        assert errors_of(validator, json.loads(text)) == []
        assert msgspec.json.decode(text, type=type_) == message
        assert encode(msgspec.json.decode(text, type=type_)) == text

    check()


@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.__name__)
def test_each_message_has_exactly_the_fields_of_its_schema(type_: type) -> None:
    info = inspect.type_info(type_)
    assert isinstance(info, inspect.StructType)
    schema = schema_of(type_)
    assert {field.encode_name for field in info.fields} == set(schema.get("properties", {}))
    assert {field.encode_name for field in info.fields if field.required} == set(schema.get("required", []))


def test_each_action_that_has_a_schema_is_in_the_table() -> None:
    names = {file.stem for file in SCHEMAS.glob("*.json") if not file.stem.endswith("Response")}
    assert names == set(ACTIONS)


WRONG: tuple[Any, ...] = (1, -1, 1.5, True, "x", "x" * 600, [], [1], {}, {"x": 1})


def mutations(value: Any) -> list[Any]:
    """Copies of a JSON value, each with one thing wrong somewhere (or by chance still right)."""
    found: list[Any] = []
    if isinstance(value, dict):
        found.append({**value, "extra": 1})
        for key in value:
            found.append({name: inner for name, inner in value.items() if name != key})
            found.extend({**value, key: wrong} for wrong in WRONG)
            found.extend({**value, key: inner} for inner in mutations(value[key]))
    if isinstance(value, list):
        found.extend([*value[:-1], inner] for inner in mutations(value[-1]) if value)
    return found


FULL: dict[str, Any] = {
    "ChangeAvailability": {"connectorId": 1, "type": "Operative"},
    "ChangeConfiguration": {"key": "HeartbeatInterval", "value": "20"},
    "ClearCache": {},
    "DataTransfer": {"vendorId": "org.example", "messageId": "m", "data": "d"},
    "GetConfiguration": {"key": ["HeartbeatInterval", "ResetRetries"]},
    "RemoteStartTransaction": {
        "idTag": "TAG",
        "connectorId": 1,
        "chargingProfile": {
            "chargingProfileId": 1,
            "transactionId": 2,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxProfile",
            "chargingProfileKind": "Recurring",
            "recurrencyKind": "Daily",
            "validFrom": "2026-11-24T03:15:00Z",
            "validTo": "2026-11-24T03:15:00Z",
            "chargingSchedule": {
                "duration": 60,
                "startSchedule": "2026-11-24T03:15:00Z",
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 6.1, "numberPhases": 3}],
                "minChargingRate": 6.0,
            },
        },
    },
    "GetLocalListVersion": {},
    "CancelReservation": {"reservationId": 0},
    "RemoteStopTransaction": {"transactionId": 0},
    "ReserveNow": {
        "connectorId": 0,
        "expiryDate": "2026-11-24T03:15:00Z",
        "idTag": "TAG",
        "parentIdTag": "GROUP",
        "reservationId": -1,
    },
    "Reset": {"type": "Soft"},
    "SendLocalList": {
        "listVersion": 3,
        "updateType": "Full",
        "localAuthorizationList": [
            {
                "idTag": "TAG",
                "idTagInfo": {"status": "Accepted", "expiryDate": "2026-11-24T03:15:00Z", "parentIdTag": "GROUP"},
            }
        ],
    },
    "TriggerMessage": {"requestedMessage": "MeterValues", "connectorId": 1},
    "UnlockConnector": {"connectorId": 1},
}

# Where we know better than the schemas: bounds of numbers are in the text of the specification only, a date is more than a
# string, and a schedule has at least one period.
STRICTER = ("must be >= 0", "is not a date and time", "at least 1 item needed")
# And where the text wants an answer that the schemas would make impossible: NotImplemented for a message that is unknown.
LOOSER = {"TriggerMessage": "requestedMessage"}


@pytest.mark.parametrize("action", INCOMING, ids=lambda action: action.name)
def test_requests_are_taken_and_refused_as_the_schemas_say(action: Action) -> None:
    """OCPP-J errata 3.1: extra fields are not allowed, inside inner objects neither."""
    assert action.req is not None
    validator = jsonschema.Draft4Validator(schema_of(action.req))
    full = FULL[action.name]
    assert isinstance(decode_call(action.name, json.dumps(full)), action.req)
    for mutation in mutations(copy.deepcopy(full)):
        outcome = decode_call(action.name, json.dumps(mutation))
        if isinstance(outcome, CallError):
            valid = errors_of(validator, mutation) == []
            assert not valid or any(words in outcome.description for words in STRICTER), (mutation, outcome)
        else:
            found = errors_of(validator, mutation)
            assert all(list(error.path) == [LOOSER.get(action.name)] for error in found), mutation


@pytest.mark.parametrize(
    ("action", "payload", "code", "words"),
    [
        ("Nonsense", "{}", ErrorCode.NOT_IMPLEMENTED, "Nonsense is not an action of OCPP 1.6"),
        ("x" * 5000, "{}", ErrorCode.NOT_IMPLEMENTED, "x" * 50 + " is not an action of OCPP 1.6"),
        ("reset", '{"type":"Soft"}', ErrorCode.NOT_IMPLEMENTED, "reset is not an action of OCPP 1.6"),
        ("SetChargingProfile", "{}", ErrorCode.NOT_SUPPORTED, "needs the profile SmartCharging, which is not enabled"),
        ("SetChargingProfile", "[]", ErrorCode.NOT_SUPPORTED, "needs the profile SmartCharging"),
        ("GetLog", "{}", ErrorCode.NOT_SUPPORTED, "needs the profile Security"),
        ("BootNotification", "{}", ErrorCode.NOT_SUPPORTED, "only sent by a charge point"),
        ("Reset", "{}", ErrorCode.FORMATION_VIOLATION, "payload: object missing required field type"),
        ("Reset", '{"type":"Soft","x":1}', ErrorCode.FORMATION_VIOLATION, "payload: object contains unknown field x"),
        ("Reset", '{"type":1}', ErrorCode.FORMATION_VIOLATION, "type: a string expected, got an integer"),
        ("Reset", '{"type":null}', ErrorCode.FORMATION_VIOLATION, "type: a string expected, got null"),
        ("Reset", '{"type":"soft"}', ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "type: invalid enum value 'soft'"),
        ("Reset", "[]", ErrorCode.FORMATION_VIOLATION, "payload: "),
        ("Reset", "7", ErrorCode.FORMATION_VIOLATION, "payload: "),
        ("Reset", '"Soft"', ErrorCode.FORMATION_VIOLATION, "payload: "),
        ("Reset", "{", ErrorCode.FORMATION_VIOLATION, "payload is not JSON"),
        ("Reset", "", ErrorCode.FORMATION_VIOLATION, "payload is not JSON"),
        ("Reset", "[" * 100_000, ErrorCode.FORMATION_VIOLATION, "payload"),
        ("Reset", '{"type":' + "[" * 100_000 + "]" * 100_000 + "}", ErrorCode.FORMATION_VIOLATION, ""),
        ("UnlockConnector", '{"connectorId":"1"}', ErrorCode.FORMATION_VIOLATION, "an integer expected, got a string"),
        ("UnlockConnector", '{"connectorId":1.5}', ErrorCode.FORMATION_VIOLATION, "an integer expected, got a number"),
        ("UnlockConnector", '{"connectorId":true}', ErrorCode.FORMATION_VIOLATION, "got a boolean"),
        ("UnlockConnector", '{"connectorId":-1}', ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "connectorId: must be >= 0"),
        ("RemoteStopTransaction", '{"transactionId":' + "9" * 30 + "}", ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, "<="),
        ("RemoteStartTransaction", '{"idTag":"' + "x" * 21 + '"}', ErrorCode.FORMATION_VIOLATION, "longer than 20"),
        ("ChangeConfiguration", '{"key":"k","value":1}', ErrorCode.FORMATION_VIOLATION, "value: a string expected"),
        ("GetConfiguration", '{"key":"k"}', ErrorCode.FORMATION_VIOLATION, "key: an array expected, got a string"),
        ("GetConfiguration", '{"key":["' + "x" * 51 + '"]}', ErrorCode.FORMATION_VIOLATION, "key[0]: longer than 50"),
    ],
)
def test_a_bad_call_gets_the_code_that_fits_and_a_reason(action: str, payload: str, code: ErrorCode, words: str) -> None:
    """OCPP-J 1.6 §4.2.3 table 7; finer codes only where unmistakable."""
    outcome = decode_call(action, payload)
    assert isinstance(outcome, CallError)
    assert outcome.code is code
    assert words in outcome.description
    assert len(outcome.description) <= 255


def test_an_action_of_a_profile_that_is_off_is_not_supported() -> None:
    """OCPP-J 1.6 §4.2.3, OCPP 1.6 §9.1.29: recognized, not supported; its payload is not looked at."""
    outcome = decode_call("ClearCache", "{", profiles=("Reservation",))
    assert outcome == CallError(ErrorCode.NOT_SUPPORTED, "ClearCache needs the profile Core, which is not enabled")


def profile(**changes: Any) -> str:
    full = copy.deepcopy(FULL["RemoteStartTransaction"])
    for path, value in changes.items():
        *outer, last = path.split("__")
        inner = full["chargingProfile"]
        for name in outer:
            inner = inner[name]
        inner[last] = value
    return json.dumps(full)


def test_a_charging_profile_is_checked_like_the_rest() -> None:
    """errata v4.0 3.38: an enumeration out of its values is a PropertyConstraintViolation."""
    for text, code in (
        (profile(chargingSchedule__chargingRateUnit="kW"), ErrorCode.PROPERTY_CONSTRAINT_VIOLATION),
        (profile(chargingSchedule__chargingSchedulePeriod=[]), ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION),
        (profile(validFrom="yesterday"), ErrorCode.FORMATION_VIOLATION),
        (profile(chargingSchedule__startSchedule="2026-13-01T00:00:00Z"), ErrorCode.FORMATION_VIOLATION),
    ):
        outcome = decode_call("RemoteStartTransaction", text)
        assert isinstance(outcome, CallError)
        assert outcome.code is code, outcome


def test_the_codes_are_spelled_as_printed() -> None:
    """OCPP-J errata 5.1, 5.2: the slips are part of 1.6."""
    assert ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION == "OccurenceConstraintViolation"
    assert ErrorCode.FORMATION_VIOLATION == "FormationViolation"
    assert len(ErrorCode) == 10


@pytest.mark.parametrize("payload", ["null", " null ", "{}"])
def test_no_payload_may_be_written_in_two_ways(payload: str) -> None:
    """OCPP-J 1.6 §4.2.1."""
    assert decode_call("ClearCache", payload) == p.ClearCacheReq()
    assert decode_conf(payload, p.MeterValuesConf) == p.MeterValuesConf()


def test_null_in_an_optional_field_counts_as_absent() -> None:
    assert decode_call("RemoteStartTransaction", '{"idTag":"A","connectorId":null,"chargingProfile":null}') == (
        p.RemoteStartTransactionReq(id_tag="A")
    )


def test_responses_may_have_more_fields_than_ocpp_knows() -> None:
    """field report §2.25."""
    text = '{"transactionId":-5,"x":{"y":[1]},"idTagInfo":{"status":"Blocked","parentIdTag":"","more":1}}'
    outcome = decode_conf(text, p.StartTransactionConf)
    assert isinstance(outcome, p.StartTransactionConf)
    assert outcome.transaction_id == -5
    assert outcome.id_tag_info.parent_id_tag is None


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"transactionId":1}',
        '{"idTagInfo":{"status":"Accepted"}}',
        '{"transactionId":"1","idTagInfo":{"status":"Accepted"}}',
        '{"transactionId":null,"idTagInfo":{"status":"Accepted"}}',
        '{"transactionId":1,"idTagInfo":{"status":"Fine"}}',
        '{"transactionId":1,"idTagInfo":{}}',
        '{"transactionId":1,"idTagInfo":"Accepted"}',
        "[]",
        "nonsense",
        "[" * 100_000,
    ],
)
def test_a_response_without_what_it_promises_is_malformed(text: str) -> None:
    """field report §2.25: a bad answer counts as a failure to process."""
    outcome = decode_conf(text, p.StartTransactionConf)
    assert isinstance(outcome, Malformed)
    assert "\n" not in outcome.reason


@pytest.mark.parametrize(("text", "interval_s"), [("300", 300), ("300.0", 300), ("0", 0), ("-5", 0)])
def test_the_boot_interval_may_be_any_number(text: str, interval_s: int) -> None:
    """OCPP-J errata 2.3: the first schemas had `number`."""
    outcome = decode_conf(f'{{"status":"Pending","currentTime":"x","interval":{text}}}', p.BootNotificationConf)
    assert isinstance(outcome, p.BootNotificationConf)
    assert outcome.interval_s == interval_s


def test_what_we_send_wrongly_is_noticed() -> None:
    """field report §2.1: check every outgoing message at run time."""
    problem = outgoing_problem(p.AuthorizeReq(id_tag="x" * 21))
    assert problem == "AuthorizeReq: Expected `str` of length <= 20 - at `$.idTag`"
    assert outgoing_problem(p.MeterValuesReq(connector_id=1, meter_value=())) is not None
    assert outgoing_problem(p.AuthorizeReq(id_tag="\ud800")) is not None


def test_optional_fields_are_left_out_and_the_order_is_fixed() -> None:
    message = p.StopTransactionReq(transaction_id=-1, meter_stop=5, timestamp="2026-11-24T03:15:00.000Z")
    assert encode(message) == '{"transactionId":-1,"meterStop":5,"timestamp":"2026-11-24T03:15:00.000Z"}'


@settings(deadline=None)
@given(st.sampled_from(sorted(ACTIONS)) | st.text(), st.text() | st.from_regex(r'\{"(type|key|idTag)":.*\}'))
def test_no_payload_raises(name: str, payload: str) -> None:
    outcome = decode_call(name, payload)
    assert isinstance(outcome, p.Req | CallError)
    decode_conf(payload, p.StartTransactionConf)
