"""Messages on the bus that belong to OCPP's optional feature profiles (OCPP 1.6 §3.3).

Owns: shapes, as `bus/messages.py`, which has those of Core; the same rules hold. Does not: say who publishes what and how
(`bus/topics.py`).
"""

from bus.messages import ConnectorId, IdTag, IdTagInfo, Message, MeterValue
from bus.vocabulary import (
    CancelReservationStatus,
    DiagnosticsStatus,
    FirmwareStatus,
    ReservationStatus,
    TriggerMessageStatus,
    UpdateStatus,
    UpdateType,
)


class AuthorizationData(Message, frozen=True):
    """An entry of SendLocalList (OCPP 1.6 §7.1). `info` None: in a differential update the entry is deleted."""

    id_tag: IdTag
    info: IdTagInfo | None = None


class SendLocalList(Message, frozen=True):
    """Call to connectors (OCPP 1.6 §5.15): replace or change the Local Authorization List. Answer: SendLocalListAnswer."""

    list_version: int
    update_type: UpdateType
    entries: tuple[AuthorizationData, ...] = ()


class SendLocalListAnswer(Message, frozen=True):
    """Sent once the whole update is on disk. `reason` says in plain words why it was refused; it is not on the wire."""

    status: UpdateStatus
    reason: str = ""


class GetLocalListVersion(Message, frozen=True):
    """Call to connectors (OCPP 1.6 §5.10). Answer: LocalListVersion."""


class LocalListVersion(Message, frozen=True):
    """0: the list is empty; -1: it is not supported, `reason` says in plain words why."""

    list_version: int
    reason: str = ""


class LocalListState(Message, frozen=True):
    """The Local Authorization List, for people. `version`: of the last update; 0: there was none."""

    enabled: bool
    version: int = 0
    entries: int = 0


class ReserveNow(Message, frozen=True):
    """Call to connectors (OCPP 1.6 §5.13): keep a connector, or one of all (0), for an idTag and its group."""

    connector_id: ConnectorId
    expiry_utc_ms: int
    id_tag: IdTag
    reservation_id: int
    parent_id_tag: IdTag | None = None


class ReserveNowAnswer(Message, frozen=True):
    """Sent once the reservation is on disk. `reason` says in plain words why there is none; it is not on the wire."""

    status: ReservationStatus
    reason: str = ""


class CancelReservation(Message, frozen=True):
    """Call to connectors (OCPP 1.6 §5.1). Answer: CancelReservationAnswer."""

    reservation_id: int


class CancelReservationAnswer(Message, frozen=True):
    """Sent once the reservation is off the disk. `reason` says in plain words why it was rejected."""

    status: CancelReservationStatus
    reason: str = ""


class TakeMeterValues(Message, frozen=True):
    """Call to connectors: the readings of now, for a TriggerMessage (OCPP 1.6 §5.17). `connector_id` None: of all connectors.

    Answer: MeterValuesTaken.
    """

    connector_id: ConnectorId | None = None


class TriggeredMeterValues(Message, frozen=True):
    """Readings of a connector (OCPP 1.6 §4.7), with the id of its transaction if it has one. Each Moment has its `utc_ms`."""

    connector_id: ConnectorId
    meter_values: tuple[MeterValue, ...]
    transaction_id: int | None = None


class MeterValuesTaken(Message, frozen=True):
    """Readings of each connector that has any; Rejected: there are none, `reason` says in plain words why."""

    status: TriggerMessageStatus
    values: tuple[TriggeredMeterValues, ...] = ()
    reason: str = ""


class DiagnosticsStatusNotification(Message, frozen=True):
    """How far the upload of diagnostics is (OCPP 1.6 §4.4); for the link alone, nobody publishes it."""

    status: DiagnosticsStatus


class FirmwareStatusNotification(Message, frozen=True):
    """How far the update of the firmware is (OCPP 1.6 §4.5); for the link alone, nobody publishes it."""

    status: FirmwareStatus
