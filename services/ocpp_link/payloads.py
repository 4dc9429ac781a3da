"""OCPP 1.6's Core messages as typed structs, both ways (OCPP 1.6 §6, §7).

Owns: fields, types, lengths and which are optional. Names are OCPP's; `rename="camel"` spells the fields as printed, which the
tests compare with the JSON schemas. Does not: frame messages (`rpc.py`), choose error codes (`actions.py`), or decide anything.

A `…Req` refuses fields that it does not know, inner ones too (OCPP-J errata 3.1); a `…Conf` ignores them, because Central
Systems add some (field report §2.25). Optional fields that are None are not sent. Choice: `null` for an optional field counts
as absent, since many Central Systems write it so; OCPP-J 1.6 §4.2.1 calls it "something undefined".
A dateTime is its text: `timestamps.parse_utc_ms` reads it.
"""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from bus.vocabulary import (
    ID_TAG_LENGTH_MAX,
    AuthorizationStatus,
    AvailabilityStatus,
    AvailabilityType,
    ChargePointErrorCode,
    ChargePointStatus,
    ClearCacheStatus,
    ConfigurationStatus,
    DataTransferStatus,
    Location,
    Measurand,
    Phase,
    ReadingContext,
    Reason,
    RegistrationStatus,
    RemoteStartStopStatus,
    ResetStatus,
    ResetType,
    UnitOfMeasure,
    UnlockStatus,
    ValueFormat,
)
from services.ocpp_link.timestamps import parse_utc_ms

CiString20 = Annotated[str, Meta(max_length=20)]
CiString25 = Annotated[str, Meta(max_length=25)]
CiString50 = Annotated[str, Meta(max_length=50)]
CiString255 = Annotated[str, Meta(max_length=255)]
CiString500 = Annotated[str, Meta(max_length=500)]
IdToken = Annotated[str, Meta(max_length=ID_TAG_LENGTH_MAX)]
"""May be empty by the specification; the bus takes no empty one, so its owner rejects it."""
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""Any integer that the bus can carry. Ids are opaque: 0 and negative ones are valid (errata v4.0 3.54)."""
Natural = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Seconds = Annotated[float, Meta(ge=-(2**31), le=2**31 - 1)]


class Req(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """Base of requests and of what is only inside requests."""


class Conf(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of responses and of what is only inside responses."""


class IdTagInfo(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §7.27. An empty parentIdTag, as some Central Systems send it, is none."""

    status: AuthorizationStatus
    expiry_date: str | None = None
    parent_id_tag: IdToken | None = None

    def __post_init__(self) -> None:
        if self.parent_id_tag == "":
            msgspec.structs.force_setattr(self, "parent_id_tag", None)


class SampledValue(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §7.43."""

    value: str
    context: ReadingContext | None = None
    format: ValueFormat | None = None
    measurand: Measurand | None = None
    phase: Phase | None = None
    location: Location | None = None
    unit: UnitOfMeasure | None = None


class MeterValue(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §7.33; never without a value (field report §2.4)."""

    timestamp: str
    sampled_value: Annotated[tuple[SampledValue, ...], Meta(min_length=1)]


class KeyValue(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §7.29."""

    key: CiString50
    readonly: bool
    value: CiString500 | None = None


class ChargingProfileKindType(StrEnum):
    """OCPP 1.6 §7.9."""

    ABSOLUTE = "Absolute"
    RECURRING = "Recurring"
    RELATIVE = "Relative"


class ChargingProfilePurposeType(StrEnum):
    """OCPP 1.6 §7.10."""

    CHARGE_POINT_MAX_PROFILE = "ChargePointMaxProfile"
    TX_DEFAULT_PROFILE = "TxDefaultProfile"
    TX_PROFILE = "TxProfile"


class ChargingRateUnitType(StrEnum):
    """OCPP 1.6 §7.12."""

    W = "W"
    A = "A"


class RecurrencyKindType(StrEnum):
    """OCPP 1.6 §7.37."""

    DAILY = "Daily"
    WEEKLY = "Weekly"


class ChargingSchedulePeriod(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §7.14; `limit` in the schedule's unit."""

    start_period: Natural
    limit: Annotated[float, Meta(ge=0)]
    number_phases: Natural | None = None


class ChargingSchedule(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §7.13; `duration` in seconds."""

    charging_rate_unit: ChargingRateUnitType
    charging_schedule_period: Annotated[tuple[ChargingSchedulePeriod, ...], Meta(min_length=1)]
    duration: Natural | None = None
    start_schedule: str | None = None
    min_charging_rate: Annotated[float, Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        check_date("startSchedule", self.start_schedule)


class ChargingProfile(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §7.8."""

    charging_profile_id: Integer
    stack_level: Natural
    charging_profile_purpose: ChargingProfilePurposeType
    charging_profile_kind: ChargingProfileKindType
    charging_schedule: ChargingSchedule
    transaction_id: Integer | None = None
    recurrency_kind: RecurrencyKindType | None = None
    valid_from: str | None = None
    valid_to: str | None = None

    def __post_init__(self) -> None:
        check_date("validFrom", self.valid_from)
        check_date("validTo", self.valid_to)


class AuthorizeReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.1."""

    id_tag: IdToken


class AuthorizeConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.2."""

    id_tag_info: IdTagInfo


class BootNotificationReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.3. chargeBoxSerialNumber is deprecated there and never sent."""

    charge_point_vendor: CiString20
    charge_point_model: CiString20
    charge_point_serial_number: CiString25 | None = None
    charge_box_serial_number: CiString25 | None = None
    firmware_version: CiString50 | None = None
    iccid: CiString20 | None = None
    imsi: CiString20 | None = None
    meter_type: CiString25 | None = None
    meter_serial_number: CiString25 | None = None


class BootNotificationConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.4. `interval` was a number in the first schemas, so 300.0 has to be understood (OCPP-J errata 2.3)."""

    status: RegistrationStatus
    current_time: str
    interval: Seconds

    @property
    def interval_s(self) -> int:
        """Whole seconds; 0: the station chooses, which a negative interval is taken for too."""
        return max(0, round(self.interval))


class ChangeAvailabilityReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.7."""

    connector_id: Natural
    type: AvailabilityType


class ChangeAvailabilityConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.8."""

    status: AvailabilityStatus


class ChangeConfigurationReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.9."""

    key: CiString50
    value: CiString500


class ChangeConfigurationConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.10."""

    status: ConfigurationStatus


class ClearCacheReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.11."""


class ClearCacheConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.12."""

    status: ClearCacheStatus


class DataTransferReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.15, both ways."""

    vendor_id: CiString255
    message_id: CiString50 | None = None
    data: str | None = None


class DataTransferConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.16, both ways."""

    status: DataTransferStatus
    data: str | None = None


class GetConfigurationReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.23; without keys all are meant (§5.8)."""

    key: tuple[CiString50, ...] | None = None


class GetConfigurationConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.24."""

    configuration_key: tuple[KeyValue, ...] | None = None
    unknown_key: tuple[CiString50, ...] | None = None


class HeartbeatReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.29."""


class HeartbeatConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.30."""

    current_time: str


class MeterValuesReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.31."""

    connector_id: Natural
    meter_value: Annotated[tuple[MeterValue, ...], Meta(min_length=1)]
    transaction_id: Integer | None = None


class MeterValuesConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.32."""


class RemoteStartTransactionReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.33. Connector 0 is well-formed here: its owner rejects it (OCPP-J 1.6 §4.2.2)."""

    id_tag: IdToken
    connector_id: Natural | None = None
    charging_profile: ChargingProfile | None = None


class RemoteStartTransactionConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.34."""

    status: RemoteStartStopStatus


class RemoteStopTransactionReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.35."""

    transaction_id: Integer


class RemoteStopTransactionConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.36."""

    status: RemoteStartStopStatus


class ResetReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.39."""

    type: ResetType


class ResetConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.40."""

    status: ResetStatus


class StartTransactionReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.45; `meter_start` in Wh."""

    connector_id: Annotated[int, Meta(ge=1)]
    id_tag: IdToken
    meter_start: Integer
    timestamp: str
    reservation_id: Integer | None = None


class StartTransactionConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.46."""

    transaction_id: Integer
    id_tag_info: IdTagInfo


class StatusNotificationReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.47."""

    connector_id: Natural
    error_code: ChargePointErrorCode
    status: ChargePointStatus
    info: CiString50 | None = None
    timestamp: str | None = None
    vendor_id: CiString255 | None = None
    vendor_error_code: CiString50 | None = None


class StatusNotificationConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.48."""


class StopTransactionReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.49; `meter_stop` in Wh."""

    transaction_id: Integer
    meter_stop: Integer
    timestamp: str
    id_tag: IdToken | None = None
    reason: Reason | None = None
    transaction_data: tuple[MeterValue, ...] | None = None


class StopTransactionConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.50."""

    id_tag_info: IdTagInfo | None = None


class UnlockConnectorReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.53. Connector 0 is well-formed here: it is answered as unknown (errata v4.0 3.85)."""

    connector_id: Natural


class UnlockConnectorConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.54."""

    status: UnlockStatus


def check_date(name: str, text: str | None) -> None:
    """Raise ValueError, which refuses the payload, for a text that is no date and time."""
    if text is not None and parse_utc_ms(text) is None:
        raise ValueError(f"{name} is not a date and time as ISO 8601 has it")
