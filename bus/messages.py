"""Every message that travels on the bus: frozen structs in OCPP's vocabulary.

Owns: shapes, units and meaning of each field. Does not: say who publishes what and how (`bus/topics.py`), nor OCPP's JSON
(`services/ocpp_link`). New fields go last, with a default, so that an older service reads a newer one's messages.
Times: `boottime_s` is CLOCK_BOOTTIME of the running board; `utc_ms` is Unix milliseconds; `Moment` is both.
"""

from typing import Annotated

import msgspec

from bus.vocabulary import (
    ID_TAG_LENGTH_MAX,
    AuthorizationStatus,
    AvailabilityStatus,
    AvailabilityType,
    ChargePointErrorCode,
    ChargePointStatus,
    ClearCacheStatus,
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
)

ConnectorId = Annotated[int, msgspec.Meta(ge=0)]
"""0 is the whole charge point (OCPP 1.6 §4.9)."""
IdTag = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_TAG_LENGTH_MAX)]
"""CiString20: kept as presented, compared without case (OCPP 1.6 §7.28)."""


class Message(msgspec.Struct, frozen=True):
    """Base of all that travels on the bus."""


class Moment(Message, frozen=True):
    """When something happened: always by the board's own clock, and in UTC once that is known (design §5).

    `boot_id`: the hardware boot that `boottime_ms` counts from. `utc_ms` None: unknown clock; the queue dates it later.
    """

    boot_id: str
    boottime_ms: int
    utc_ms: int | None = None


class BrokerState(Message, frozen=True):
    """The broker lives. A subscriber that sees it knows that all its earlier subscriptions are in place."""

    pid: int
    version: str


class Problem(Message, frozen=True):
    """Something that a person should know: plain words, and since when."""

    text: str
    since_boottime_s: float


class DeviceHealth(Message, frozen=True):
    """One device of a service: whether it answers, who it says it is, and its counters since the service started."""

    name: str
    connected: bool
    detail: str
    transmissions: int = 0
    replies: int = 0
    timeouts: int = 0
    errors: int = 0
    reconnects: int = 0
    driver: str = ""
    port: str = ""
    """As station.toml names it."""
    identity: str = ""
    """Who it says it is, or said when it answered last."""


class ServiceHealth(Message, frozen=True):
    """A service lives; `problems` empty means it is well. Key: the service's name."""

    pid: int
    version: str
    started_boottime_s: float
    problems: tuple[Problem, ...] = ()
    devices: tuple[DeviceHealth, ...] = ()
    undecodable: int = 0
    """Bus messages that this process could not decode since it started."""
    config_parts: dict[str, int] = {}
    """What it read of station.toml at its start, as digests by part (`services/configuration/applied.py`)."""


class ClockState(Message, frozen=True):
    """Which clock is believed (design §5). UTC Unix seconds = boottime + `utc_offset_s`; None: not known yet."""

    source: str
    """`system` (is or was synchronised), `central_system`, `floor` (only known to be not earlier), or `none`."""
    utc_offset_s: float | None = None
    floor_utc_ms: int | None = None
    """The last time that was known on this board, for boots that end without ever knowing better."""


class LinkState(Message, frozen=True):
    """The session with the Central System."""

    connected: bool
    registration: RegistrationStatus | None = None
    """Of this application boot; None: no answer to BootNotification yet (OCPP 1.6 §4.2)."""
    connection: int = 0
    """Number of the connection, never reused in an application boot; 0: none was made yet."""
    ever_accepted: bool = False
    """Whether this Central System ever accepted this station (errata v4.0 3.11)."""
    last_received_boottime_s: float | None = None
    detail: str = ""
    """Plain words: why not connected, when the next try is."""
    reset_failed: bool = False
    """The last Reset could not be carried out: the station goes on, and reports ResetFailure (OCPP 1.6 §7.6)."""

    @property
    def online(self) -> bool:
        """Whether transaction messages may be sent: connected and Accepted."""
        return self.connected and self.registration is RegistrationStatus.ACCEPTED


class ConfigurationState(Message, frozen=True):
    """Values of all OCPP configuration keys, as OCPP prints them (OCPP 1.6 §9)."""

    values: dict[str, str]


class IdTagInfo(Message, frozen=True):
    """What the Central System says of an idTag (OCPP 1.6 §7.27)."""

    status: AuthorizationStatus
    expiry_utc_ms: int | None = None
    parent_id_tag: IdTag | None = None


class Authorize(Message, frozen=True):
    """Call to the link: ask the Central System about an idTag (OCPP 1.6 §4.1). Answer: IdTagInfo."""

    id_tag: IdTag
    correlation_id: str = ""


class TransactionView(Message, frozen=True):
    """The transaction of a connector, for people and for the link."""

    local_tx_id: str
    id_tag: IdTag
    started_at: Moment
    meter_start_wh: int
    transaction_id: int | None = None
    stopping: bool = False
    correlation_id: str = ""


class ReservationView(Message, frozen=True):
    """What a connector is kept for, for people (OCPP 1.6 §5.13); of connector 0: the reservation that names no connector."""

    reservation_id: int
    id_tag: IdTag
    expiry_utc_ms: int


class ConnectorState(Message, frozen=True):
    """A connector's status by OCPP 1.6 §4.9, and the facts behind it. Key: the connector's number; 0 is the charge point."""

    connector_id: ConnectorId
    status: ChargePointStatus
    at: Moment
    """When this status and error became true."""
    error_code: ChargePointErrorCode = ChargePointErrorCode.NO_ERROR
    info: str = ""
    vendor_error_code: str = ""
    plugged: bool | None = None
    relay_closed: bool | None = None
    offered_a: float = 0.0
    transaction: TransactionView | None = None
    reservation: ReservationView | None = None
    out_of_service_since: Moment | None = None
    """Somebody at the station has taken it out of service; while a transaction runs, for when that is over."""


class RemoteStartTransaction(Message, frozen=True):
    """Call to connectors (OCPP 1.6 §5.11). `connector_id` None: the station chooses. Answer: RemoteStartStopAnswer."""

    id_tag: IdTag
    connector_id: ConnectorId | None = None


class RemoteStopTransaction(Message, frozen=True):
    """Call to connectors (OCPP 1.6 §5.12). Answer: RemoteStartStopAnswer."""

    transaction_id: int


class RemoteStartStopAnswer(Message, frozen=True):
    """`reason` says in plain words why it was rejected; it goes into the log, not on the wire."""

    status: RemoteStartStopStatus
    reason: str = ""


class ChangeAvailability(Message, frozen=True):
    """Call to connectors (OCPP 1.6 §5.2): let a connector be used, or not; 0: all and the charge point."""

    connector_id: ConnectorId
    type: AvailabilityType


class ChangeAvailabilityAnswer(Message, frozen=True):
    """Sent once the change is on disk. `reason` says in plain words why it was rejected; it is not on the wire."""

    status: AvailabilityStatus
    reason: str = ""


class ClearCache(Message, frozen=True):
    """Call to connectors (OCPP 1.6 §5.4): empty the Authorization Cache. Answer: ClearCacheAnswer, after the commit."""


class ClearCacheAnswer(Message, frozen=True):
    """`reason` says in plain words why it was rejected."""

    status: ClearCacheStatus
    reason: str = ""


class UnlockConnector(Message, frozen=True):
    """Call to connectors (OCPP 1.6 §5.18): let the plug in a socket go; a transaction there is finished first."""

    connector_id: ConnectorId


class UnlockConnectorAnswer(Message, frozen=True):
    """Sent when the lock has moved, or has not. `reason` says in plain words why it has not; it is not on the wire."""

    status: UnlockStatus
    reason: str = ""


class Reset(Message, frozen=True):
    """Call to connectors (OCPP 1.6 §5.14): end transactions with SoftReset or HardReset; then the station restarts."""

    type: ResetType


class ResetAnswer(Message, frozen=True):
    """Sent before anything is stopped (field report 27: answer at once, act, then report)."""

    status: ResetStatus
    reason: str = ""


class ResetReady(Message, frozen=True):
    """State of connectors: all transactions that a Reset had to stop are stopped; `type` None: no Reset is under way."""

    type: ResetType | None = None
    ready: bool = False


class MeterSample(Message, frozen=True):
    """A trustworthy reading of a connector's meter. Key: the connector's number. Tuples are per phase; () : not measured.

    All values come from one poll; `read_boottime_s` is the instant before the request went out. Wh, W, V, A, Hz.
    """

    connector_id: ConnectorId
    read_boottime_s: float
    serial: str
    energy_import_wh: int
    energy_export_wh: int | None = None
    power_w: float | None = None
    voltages_v: tuple[float, ...] = ()
    currents_a: tuple[float, ...] = ()
    powers_w: tuple[float, ...] = ()
    frequency_hz: float | None = None
    power_factor: float | None = None
    replacements: int = 0
    """How often the register did not go on from the reading before since the service started: another meter was fitted."""


class MeterState(Message, frozen=True):
    """Whether a connector's meter can be trusted; `failure` in plain words, empty when well. Key: the connector's number."""

    connector_id: ConnectorId
    failure: str = ""


class ReadMeter(Message, frozen=True):
    """Call to the meter service: a trustworthy reading not older than the given boottime. Answer: MeterSample."""

    connector_id: ConnectorId
    not_before_boottime_s: float


class ReaderState(Message, frozen=True):
    """Whether the RFID reader works; `failure` in plain words, empty when well."""

    failure: str = ""


class WatchdogState(Message, frozen=True):
    """What is wrong with the station's own services, in at most 50 characters; empty: nothing."""

    trouble: str = ""
    restarts: dict[str, int] = {}
    """By service, what this process has seen since it began; missing: none."""
    board_was_reset: bool = False
    """The hardware watchdog says that it has reset the board the last time."""


class IdTagPresented(Message, frozen=True):
    """Event: a card counts as presented, once for each time that it is held to the reader."""

    id_tag: IdTag
    seen_boottime_s: float
    maybe_held: bool = False
    """The process began to read only a moment ago: the card may lie there since before, and may have been told of then."""


class SampledValue(Message, frozen=True):
    """One value, each field written out even where OCPP has a default (OCPP 1.6 §7.43). No unit for Frequency."""

    value: str
    context: ReadingContext
    measurand: Measurand
    unit: UnitOfMeasure | None = None
    phase: Phase | None = None
    location: Location = Location.OUTLET


class MeterValue(Message, frozen=True):
    """Values of one instant (OCPP 1.6 §7.33)."""

    at: Moment
    sampled_values: tuple[SampledValue, ...]


class StartTransaction(Message, frozen=True, tag="StartTransaction"):
    """OCPP 1.6 §4.8; `meter_start_wh` in Wh."""

    connector_id: ConnectorId
    id_tag: IdTag
    meter_start_wh: int
    at: Moment
    reservation_id: int | None = None


class MeterValues(Message, frozen=True, tag="MeterValues"):
    """OCPP 1.6 §4.7, of a transaction."""

    connector_id: ConnectorId
    meter_values: tuple[MeterValue, ...]


class ConnectorMeterValues(Message, frozen=True):
    """Event: readings of no transaction (OCPP 1.6 §4.7). They bill nobody: lost while offline. Each Moment has its `utc_ms`."""

    connector_id: ConnectorId
    meter_values: tuple[MeterValue, ...]


class StopTransaction(Message, frozen=True, tag="StopTransaction"):
    """OCPP 1.6 §4.10; `id_tag` only when an idTag stopped it; `meter_values` is transactionData."""

    connector_id: ConnectorId
    meter_stop_wh: int
    at: Moment
    reason: Reason
    id_tag: IdTag | None = None
    meter_values: tuple[MeterValue, ...] = ()


TransactionMessage = StartTransaction | MeterValues | StopTransaction


class TransactionEntry(Message, frozen=True):
    """Journal, connectors to queue: message `number` of a transaction; its StartTransaction is number 0."""

    local_tx_id: str
    number: int
    message: TransactionMessage
    transaction_id: int | None = None
    """The Central System's, as far as it was known when the entry was written: a queue that lost its store learns it here."""
    start_given_up: bool = False
    """Its StartTransaction was given up: a queue that lost its store sends the rest with -1 (OCPP 1.6 errata v4.0 3.18)."""
    correlation_id: str = ""
    """What the logs call the session, from the card or plug that it began with; empty: it began before there was one."""
    started_at: Moment | None = None
    """When its start was, in what follows the start: a queue that lost its store keeps the distances to it (design §5)."""
    last_read_at: Moment | None = None
    """In what follows a power cut: the last that was on disk of the transaction then, so how long that boot was at least."""


class CloseLostTransaction(Message, frozen=True):
    """Call of the queue to connectors: an open transaction that connectors does not show. Answer: LostTransactionAnswer.

    `last_wh`, `last_at`: of its last MeterValues, else of its start; Wh. `next_number`: after its last message.
    `next_start_wh`, `next_started_at`: of the transaction that was the next one on its connector; None: there is none yet.
    """

    local_tx_id: str
    connector_id: ConnectorId
    id_tag: IdTag
    started_at: Moment
    meter_start_wh: int
    last_wh: int
    last_at: Moment
    next_number: int
    transaction_id: int | None = None
    next_start_wh: int | None = None
    next_started_at: Moment | None = None


class Delivered(Message, frozen=True, tag="Delivered"):
    """The Central System answered. `transaction_id` with StartTransaction only; any integer is valid, 0 and negative too."""

    transaction_id: int | None = None
    id_tag_info: IdTagInfo | None = None


class GivenUp(Message, frozen=True, tag="GivenUp"):
    """All TransactionMessageAttempts failed; the message is kept as a dead letter (design §4.6)."""

    reason: str


class DeliveryEntry(Message, frozen=True):
    """Journal, queue to connectors: what became of message `number` of a transaction. `action`: its name; empty: unknown."""

    local_tx_id: str
    number: int
    outcome: Delivered | GivenUp
    action: str = ""


class Deliver(Message, frozen=True):
    """Call to the link: send one transaction message now, under this unique id. Answer: DeliveryReport.

    Asked again with the same unique id (the queue restarted), the link gives the outcome that it has, or waits on for it.
    `transaction_id` None with StartTransaction only. Every Moment in it has its `utc_ms`. The last two are for the logs.
    """

    unique_id: str
    message: TransactionMessage
    transaction_id: int | None = None
    local_tx_id: str = ""
    correlation_id: str = ""


class Failed(Message, frozen=True, tag="Failed"):
    """The Central System failed to process it: CALLERROR, a malformed answer, or silence while it answers others (§4.5)."""

    reason: str


class NotSent(Message, frozen=True, tag="NotSent"):
    """Offline, connection lost, not accepted: costs no attempt (design §4.7)."""

    reason: str


class DeliveryReport(Message, frozen=True):
    """What became of a Deliver on connection number `connection`."""

    unique_id: str
    outcome: Delivered | Failed | NotSent
    connection: int = 0


class QueueState(Message, frozen=True):
    """Undelivered transaction messages: how many, since when the oldest waits, and how many were given up."""

    depth: int
    dead_letters: int
    oldest_at: Moment | None = None
    detail: str = ""


class JournalPosition(Message, frozen=True):
    """State of a journal's consumer: what it last stored, of which store and incarnation of the publisher (design §3)."""

    consumer_store: str
    publisher_store: str = ""
    incarnation: int = 0
    last_seq: int = 0
    missing: bool = False
    """An entry came that does not follow: send again from `last_seq` on."""
    epoch: int = 0
    """Of the entry `last_seq`, as its publisher numbered it: tells entries of one number and two pasts apart."""
