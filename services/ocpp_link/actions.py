"""The one table of OCPP 1.6 actions, and payloads between JSON and structs.

Owns: which action exists, in which profile and direction; decoding with the CALLERROR that a bad payload gets, decided in one
function with its reason in words. Pure. Does not: frame (`rpc.py`), route or answer.
"""

import re
from enum import Enum
from typing import TypeVar

import msgspec

from services.configuration.keys import PROFILES
from services.ocpp_link import payloads as p
from services.ocpp_link import profile_payloads as pp
from services.ocpp_link.call_error import DESCRIPTION_LENGTH_MAX, CallError, ErrorCode

AnyConf = TypeVar("AnyConf", bound=p.Conf)


class Direction(Enum):
    """Who sends the request."""

    TO_CENTRAL_SYSTEM = "to the Central System"
    TO_CHARGE_POINT = "to the charge point"
    BOTH = "both ways"


class Action(msgspec.Struct, frozen=True):
    """One line of the table. `req` and `conf` None: the action is known and not enabled."""

    name: str
    profile: str
    direction: Direction
    req: type[p.Req] | None = None
    conf: type[p.Conf] | None = None


class Malformed(msgspec.Struct, frozen=True):
    """A response that is not what its action promises; `reason` in one line. Counts as a failure to process (§2.25)."""

    reason: str


_UP, _DOWN, _BOTH = Direction.TO_CENTRAL_SYSTEM, Direction.TO_CHARGE_POINT, Direction.BOTH

_CORE = (
    Action("Authorize", "Core", _UP, p.AuthorizeReq, p.AuthorizeConf),
    Action("BootNotification", "Core", _UP, p.BootNotificationReq, p.BootNotificationConf),
    Action("ChangeAvailability", "Core", _DOWN, p.ChangeAvailabilityReq, p.ChangeAvailabilityConf),
    Action("ChangeConfiguration", "Core", _DOWN, p.ChangeConfigurationReq, p.ChangeConfigurationConf),
    Action("ClearCache", "Core", _DOWN, p.ClearCacheReq, p.ClearCacheConf),
    Action("DataTransfer", "Core", _BOTH, p.DataTransferReq, p.DataTransferConf),
    Action("GetConfiguration", "Core", _DOWN, p.GetConfigurationReq, p.GetConfigurationConf),
    Action("Heartbeat", "Core", _UP, p.HeartbeatReq, p.HeartbeatConf),
    Action("MeterValues", "Core", _UP, p.MeterValuesReq, p.MeterValuesConf),
    Action("RemoteStartTransaction", "Core", _DOWN, p.RemoteStartTransactionReq, p.RemoteStartTransactionConf),
    Action("RemoteStopTransaction", "Core", _DOWN, p.RemoteStopTransactionReq, p.RemoteStopTransactionConf),
    Action("Reset", "Core", _DOWN, p.ResetReq, p.ResetConf),
    Action("StartTransaction", "Core", _UP, p.StartTransactionReq, p.StartTransactionConf),
    Action("StatusNotification", "Core", _UP, p.StatusNotificationReq, p.StatusNotificationConf),
    Action("StopTransaction", "Core", _UP, p.StopTransactionReq, p.StopTransactionConf),
    Action("UnlockConnector", "Core", _DOWN, p.UnlockConnectorReq, p.UnlockConnectorConf),
)

_OPTIONAL = (
    # Both are sent on a TriggerMessage, also without their own profile.
    Action(
        "DiagnosticsStatusNotification",
        "FirmwareManagement",
        _UP,
        pp.DiagnosticsStatusNotificationReq,
        pp.DiagnosticsStatusNotificationConf,
    ),
    Action(
        "FirmwareStatusNotification",
        "FirmwareManagement",
        _UP,
        pp.FirmwareStatusNotificationReq,
        pp.FirmwareStatusNotificationConf,
    ),
    Action("GetLocalListVersion", "LocalAuthListManagement", _DOWN, pp.GetLocalListVersionReq, pp.GetLocalListVersionConf),
    Action("SendLocalList", "LocalAuthListManagement", _DOWN, pp.SendLocalListReq, pp.SendLocalListConf),
    Action("CancelReservation", "Reservation", _DOWN, pp.CancelReservationReq, pp.CancelReservationConf),
    Action("ReserveNow", "Reservation", _DOWN, pp.ReserveNowReq, pp.ReserveNowConf),
    Action("TriggerMessage", "RemoteTrigger", _DOWN, pp.TriggerMessageReq, pp.TriggerMessageConf),
)

_NOT_ENABLED = (
    Action("GetDiagnostics", "FirmwareManagement", _DOWN),
    Action("UpdateFirmware", "FirmwareManagement", _DOWN),
    Action("ClearChargingProfile", "SmartCharging", _DOWN),
    Action("GetCompositeSchedule", "SmartCharging", _DOWN),
    Action("SetChargingProfile", "SmartCharging", _DOWN),
    # The security whitepaper adds messages, not a feature profile; this word is ours.
    Action("CertificateSigned", "Security", _DOWN),
    Action("DeleteCertificate", "Security", _DOWN),
    Action("ExtendedTriggerMessage", "Security", _DOWN),
    Action("GetInstalledCertificateIds", "Security", _DOWN),
    Action("GetLog", "Security", _DOWN),
    Action("InstallCertificate", "Security", _DOWN),
    Action("LogStatusNotification", "Security", _UP),
    Action("SecurityEventNotification", "Security", _UP),
    Action("SignCertificate", "Security", _UP),
    Action("SignedFirmwareStatusNotification", "Security", _UP),
    Action("SignedUpdateFirmware", "Security", _DOWN),
)

ACTIONS: dict[str, Action] = {action.name: action for action in (*_CORE, *_OPTIONAL, *_NOT_ENABLED)}
"""All actions of OCPP 1.6, edition 2, and of its security whitepaper. Names are case-sensitive (OCPP-J 1.6 §4.2.1)."""

_ACTION_LENGTH_SHOWN = 50
_encoder = msgspec.json.Encoder()


def encode(message: p.Req | p.Conf) -> str:
    """The payload as JSON text; the same struct always gives the same text (design §4.10)."""
    return _encoder.encode(message).decode("utf-8")


def outgoing_problem(message: p.Req | p.Conf) -> str | None:
    """What is wrong with a message that we are about to send, in one line; structs are not checked when they are made.

    Log it and send (field report §2.1): a Central System may understand it, and a transaction message must not be lost.
    """
    try:
        msgspec.json.decode(_encoder.encode(message), type=type(message))
    except (msgspec.MsgspecError, UnicodeEncodeError) as error:
        return f"{type(message).__name__}: {_one_line(str(error))}"
    return None


def decode_call(name: str, payload: str, profiles: tuple[str, ...] = PROFILES) -> p.Req | CallError:
    """The request in a CALL of the Central System, or the CALLERROR to answer with. Never raises.

    `profiles`: those that are on.
    NotImplemented: the action is unknown. NotSupported: it is known, and not enabled or not for a charge point.
    FormationViolation: not an object, or a field missing, unknown, of the wrong type or too long.
    PropertyConstraintViolation: an enumeration or number out of its values (errata v4.0 3.24, 3.38).
    OccurenceConstraintViolation: an empty list where at least one item must be.
    Choice: OCPP-J 1.6 has more codes for the same mistakes, and no rule between them; these are unmistakable.
    """
    action = ACTIONS.get(name)
    if action is None:
        shown = _one_line(name)[:_ACTION_LENGTH_SHOWN]
        return CallError(ErrorCode.NOT_IMPLEMENTED, f"{shown} is not an action of OCPP 1.6")
    if action.direction is Direction.TO_CENTRAL_SYSTEM:
        return CallError(ErrorCode.NOT_SUPPORTED, f"{name} is only sent by a charge point")
    if action.req is None or action.profile not in profiles:
        return CallError(ErrorCode.NOT_SUPPORTED, f"{name} needs the profile {action.profile}, which is not enabled")
    try:
        return msgspec.json.decode(_payload(payload), type=action.req)
    except msgspec.ValidationError as error:
        return _call_error(str(error))
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as error:
        return CallError(ErrorCode.FORMATION_VIOLATION, f"payload is not JSON: {_one_line(str(error))}")


def decode_conf(payload: str, conf: type[AnyConf]) -> AnyConf | Malformed:
    """The response in a CALLRESULT of the Central System. Never raises. Fields that OCPP does not know are ignored."""
    try:
        return msgspec.json.decode(_payload(payload), type=conf)
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError) as error:
        return Malformed(f"{conf.__name__}: {_one_line(str(error))}")


def _payload(text: str) -> str:
    """`null` is the other notation for no payload (OCPP-J 1.6 §4.2.1)."""
    return "{}" if text.strip() == "null" else text


_WRONG_TYPE = re.compile(r"Expected `([^`]+)`, got `([^`]+)`")
_TOO_LONG = re.compile(r"Expected `str` of length <= (\d+)")
_TOO_FEW = re.compile(r"Expected `array` of length >= (\d+)")
_OUT_OF_RANGE = re.compile(r"Expected `(?:int|float)` (<=|>=|<|>) (\S+)")
_TYPES = {"str": "a string", "int": "an integer", "float": "a number", "bool": "a boolean", "array": "an array"}


def _call_error(message: str) -> CallError:
    """Code and words for a complaint of msgspec: `Expected `int`, got `str` - at `$.connectorId``."""
    what, _, path = message.partition(" - at ")
    field = path.strip("`").removeprefix("$").removeprefix(".") or "payload"
    if match := _WRONG_TYPE.fullmatch(what):
        expected = match[1].removesuffix(" | null")
        got = "null" if match[2] == "null" else _TYPES.get(match[2], f"an {match[2]}")
        return _violation(ErrorCode.FORMATION_VIOLATION, f"{field}: {_TYPES.get(expected, expected)} expected, got {got}")
    if match := _TOO_LONG.fullmatch(what):
        return _violation(ErrorCode.FORMATION_VIOLATION, f"{field}: longer than {match[1]} characters")
    if match := _TOO_FEW.fullmatch(what):
        return _violation(ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION, f"{field}: at least {match[1]} item needed")
    if match := _OUT_OF_RANGE.fullmatch(what):
        return _violation(ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, f"{field}: must be {match[1]} {match[2]}")
    if what.startswith(("Invalid enum value", "Number out of range")):
        return _violation(ErrorCode.PROPERTY_CONSTRAINT_VIOLATION, f"{field}: {what[0].lower()}{what[1:]}")
    # A missing or unknown field, or a date that is none.
    return _violation(ErrorCode.FORMATION_VIOLATION, f"{field}: {what[0].lower()}{what[1:]}")


def _violation(code: ErrorCode, description: str) -> CallError:
    return CallError(code, _cut(_one_line(description).replace("`", "")))


def _one_line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _cut(text: str) -> str:
    text = _one_line(text)
    return text if len(text) <= DESCRIPTION_LENGTH_MAX else text[: DESCRIPTION_LENGTH_MAX - 1] + "…"
