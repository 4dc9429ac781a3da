"""OCPP 1.6's messages of the optional feature profiles as typed structs, both ways (OCPP 1.6 §6, §7).

Owns: fields, types, lengths and which are optional; the rules are those of `payloads.py`, which has Core. Does not: frame
messages (`rpc.py`), choose error codes (`actions.py`), or decide anything.
"""

import msgspec

from bus.vocabulary import (
    AuthorizationStatus,
    CancelReservationStatus,
    DiagnosticsStatus,
    FirmwareStatus,
    ReservationStatus,
    TriggerMessageStatus,
    UpdateStatus,
    UpdateType,
)
from services.ocpp_link.payloads import Conf, IdToken, Integer, Natural, Req, check_date


class ListedIdTagInfo(Req, frozen=True, kw_only=True):
    """IdTagInfo in a request (OCPP 1.6 §7.27). An empty parentIdTag is none.

    An expiryDate that is no date is refused: without it the entry would be valid for ever.
    """

    status: AuthorizationStatus
    expiry_date: str | None = None
    parent_id_tag: IdToken | None = None

    def __post_init__(self) -> None:
        check_date("expiryDate", self.expiry_date)
        if self.parent_id_tag == "":
            msgspec.structs.force_setattr(self, "parent_id_tag", None)


class AuthorizationData(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §7.1."""

    id_tag: IdToken
    id_tag_info: ListedIdTagInfo | None = None


class GetLocalListVersionReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.27."""


class GetLocalListVersionConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.28."""

    list_version: Integer


class SendLocalListReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.41. Any version is well-formed here: its owner refuses 0 and -1 (errata v4.0 3.52)."""

    list_version: Integer
    update_type: UpdateType
    local_authorization_list: tuple[AuthorizationData, ...] | None = None


class SendLocalListConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.42."""

    status: UpdateStatus


class CancelReservationReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.5."""

    reservation_id: Integer


class CancelReservationConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.6."""

    status: CancelReservationStatus


class ReserveNowReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.37. An empty parentIdTag is none, as in idTagInfo."""

    connector_id: Natural
    expiry_date: str
    id_tag: IdToken
    reservation_id: Integer
    parent_id_tag: IdToken | None = None

    def __post_init__(self) -> None:
        check_date("expiryDate", self.expiry_date)
        if self.parent_id_tag == "":
            msgspec.structs.force_setattr(self, "parent_id_tag", None)


class ReserveNowConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.38."""

    status: ReservationStatus


class DiagnosticsStatusNotificationReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.17."""

    status: DiagnosticsStatus


class DiagnosticsStatusNotificationConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.18."""


class FirmwareStatusNotificationReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.25."""

    status: FirmwareStatus


class FirmwareStatusNotificationConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.26."""


class TriggerMessageReq(Req, frozen=True, kw_only=True):
    """OCPP 1.6 §6.51. Any requestedMessage is well-formed here: one that is unknown gets NotImplemented (§5.17).

    So is connector 0, which §5.17 has and §6.51 has not.
    """

    requested_message: str
    connector_id: Natural | None = None


class TriggerMessageConf(Conf, frozen=True, kw_only=True):
    """OCPP 1.6 §6.52."""

    status: TriggerMessageStatus
