"""What happens to the connectors service, and what it then does: frozen structs, compared with == in tests.

Owns: shapes. Does not: decide or act.
"""

import msgspec

from bus.card_messages import CardAnswered
from bus.messages import (
    ChangeAvailability,
    ClearCache,
    CloseLostTransaction,
    ConnectorMeterValues,
    ConnectorState,
    DeliveryEntry,
    IdTag,
    IdTagInfo,
    LinkState,
    Message,
    MeterSample,
    RemoteStartTransaction,
    RemoteStopTransaction,
    Reset,
    ResetReady,
    TransactionEntry,
    UnlockConnector,
)
from bus.operating_messages import OutOfService
from bus.profile_messages import (
    CancelReservation,
    GetLocalListVersion,
    LocalListState,
    ReserveNow,
    SendLocalList,
    TakeMeterValues,
)
from services.connectors.open_transaction import KeptReading, Transaction
from services.connectors.plug_in import SavePlugFaults
from services.connectors.state import Availability, Finished, LocalList, Reservation, Settings, Waiting
from services.hardware.contract import EvseDesired, EvseObservation


class Event(msgspec.Struct, frozen=True):
    """Base of what happens."""


class EvseObserved(Event, frozen=True):
    """The charging controller says how things are."""

    connector_id: int
    observation: EvseObservation


class EvseFailed(Event, frozen=True):
    """The charging controller does not answer; plain words."""

    connector_id: int
    reason: str


class MeterSampled(Event, frozen=True):
    """A trustworthy reading."""

    sample: MeterSample


class MeterFailureChanged(Event, frozen=True):
    """The meter can't be trusted, or can again (empty)."""

    connector_id: int
    failure: str


class ReaderFailureChanged(Event, frozen=True):
    """The RFID reader does not work, or does again (empty)."""

    failure: str


class DiskChanged(Event, frozen=True):
    """The disk can't take much more, or can again (empty). `refuses`: then no new transactions begin, by policy."""

    failure: str
    refuses: bool


class CardPresented(Event, frozen=True):
    """A card counts as presented; `maybe_held`: since before the rfid service began to read, perhaps."""

    id_tag: IdTag
    maybe_held: bool = False


class AuthorizeAnswered(Event, frozen=True):
    """Answer to AskAuthorize; None: there was none, decide by the offline rules (OCPP 1.6 §3.5).

    `id_tag`: of the question, which may have been decided otherwise by now.
    """

    token: str
    info: IdTagInfo | None
    id_tag: IdTag | None = None


class MeterRead(Event, frozen=True):
    """Answer to ReadRegister; None: there is no trustworthy reading."""

    token: str
    sample: MeterSample | None


class RemoteStartRequested(Event, frozen=True):
    """OCPP 1.6 §5.11."""

    call_id: str
    request: RemoteStartTransaction


class RemoteStopRequested(Event, frozen=True):
    """OCPP 1.6 §5.12."""

    call_id: str
    request: RemoteStopTransaction


class LostTransactionFound(Event, frozen=True):
    """The queue has an open transaction that this service does not show. `closed_here`: it was closed here."""

    call_id: str
    request: CloseLostTransaction
    closed_here: bool


class StoreOutdated(Event, frozen=True):
    """The queue knows more than this database, an older copy. `taken_up`: transactions that were open in it at the start."""

    taken_up: frozenset[str]


class AvailabilityRequested(Event, frozen=True):
    """OCPP 1.6 §5.2."""

    call_id: str
    request: ChangeAvailability


class OutOfServiceRequested(Event, frozen=True):
    """Somebody at the station takes a connector, or all, out of service, or lifts that."""

    call_id: str
    request: OutOfService


class ReserveNowRequested(Event, frozen=True):
    """OCPP 1.6 §5.13."""

    call_id: str
    request: ReserveNow


class CancelReservationRequested(Event, frozen=True):
    """OCPP 1.6 §5.1."""

    call_id: str
    request: CancelReservation


class ClearCacheRequested(Event, frozen=True):
    """OCPP 1.6 §5.4."""

    call_id: str
    request: ClearCache


class LocalListSent(Event, frozen=True):
    """OCPP 1.6 §5.15."""

    call_id: str
    request: SendLocalList


class LocalListVersionAsked(Event, frozen=True):
    """OCPP 1.6 §5.10."""

    call_id: str
    request: GetLocalListVersion


class MeterValuesAsked(Event, frozen=True):
    """OCPP 1.6 §5.17: readings for a TriggerMessage."""

    call_id: str
    request: TakeMeterValues


class UnlockRequested(Event, frozen=True):
    """OCPP 1.6 §5.18."""

    call_id: str
    request: UnlockConnector


class ResetRequested(Event, frozen=True):
    """OCPP 1.6 §5.14."""

    call_id: str
    request: Reset


class CallCancelled(Event, frozen=True):
    """The caller was told nothing in time: take back what may still happen because of the call."""

    call_id: str


class DeliveryStored(Event, frozen=True):
    """The queue says what became of a transaction message; `id_tag` is that of the message, if it had one."""

    entry: DeliveryEntry
    id_tag: IdTag | None = None


class LinkChanged(Event, frozen=True):
    """The link's state; None: unknown, which means offline."""

    link: LinkState | None


class SettingsChanged(Event, frozen=True):
    """Configuration keys have new values."""

    settings: Settings


class EmergencyStopChanged(Event, frozen=True):
    """The emergency stop was pressed or released, or is read for the first time, or counts as pressed as it can't be."""

    pressed: bool


class Ending(Event, frozen=True):
    """This process ends in good order, as it was told to."""


class Tick(Event, frozen=True):
    """Time passed."""


class SaveTransaction(msgspec.Struct, frozen=True):
    """Change on disk: an open transaction, new or changed."""

    transaction: Transaction


class CloseTransaction(msgspec.Struct, frozen=True):
    """Change on disk: no longer open, what was kept of it is gone. `finished` None: its plug is out. Not `ended`: let go."""

    local_tx_id: str
    connector_id: int
    finished: Finished | None
    ended: bool = True


class SaveFinished(msgspec.Struct, frozen=True):
    """Change on disk: the connector is finishing, or is so with other facts."""

    connector_id: int
    finished: Finished


class KeepReading(msgspec.Struct, frozen=True):
    """Change on disk: a reading for the transactionData of this transaction."""

    local_tx_id: str
    reading: KeptReading


class DropReadings(msgspec.Struct, frozen=True):
    """Change on disk: these readings have no room in transactionData any more."""

    local_tx_id: str
    positions: tuple[int, ...]


class DropFinished(msgspec.Struct, frozen=True):
    """Change on disk: the plug of the finished transaction is out."""

    connector_id: int


class SaveWaiting(msgspec.Struct, frozen=True):
    """Change on disk: an authorization waits."""

    waiting: Waiting


class DropWaiting(msgspec.Struct, frozen=True):
    """Change on disk: it waits no longer."""

    waiting_id: str


class SaveAvailability(msgspec.Struct, frozen=True):
    """Change on disk: whether a connector, or the charge point (0), may be used."""

    connector_id: int
    availability: Availability


class SaveReservation(msgspec.Struct, frozen=True):
    """Change on disk: something is reserved, or reserved otherwise."""

    reservation: Reservation


class DropReservation(msgspec.Struct, frozen=True):
    """Change on disk: it is reserved no longer."""

    reservation_id: int


class AppendEntry(msgspec.Struct, frozen=True):
    """Change on disk: a journal entry for the queue."""

    entry: TransactionEntry


class ForgetEntry(msgspec.Struct, frozen=True):
    """Change on disk: the message was delivered or given up."""

    outcome: DeliveryEntry


class SaveEnded(msgspec.Struct, frozen=True):
    """Change on disk: in which hardware boot this process ended in good order with a transaction open; empty: it runs."""

    boot_id: str


class NoteStartSettled(msgspec.Struct, frozen=True):
    """Change on disk: what is kept of a transaction bears its transactionId from now on; None: its start was given up."""

    local_tx_id: str
    transaction_id: int | None


class SaveEverAccepted(msgspec.Struct, frozen=True):
    """Change on disk: whether the Central System ever accepted this station, so that a dead link does not decide it."""

    ever_accepted: bool


class SaveCached(msgspec.Struct, frozen=True):
    """Change on disk: an entry of the Authorization Cache, from now on the one that was updated last."""

    key: str
    info: IdTagInfo


class DropCached(msgspec.Struct, frozen=True):
    """Change on disk: these entries are no longer in the Authorization Cache."""

    keys: tuple[str, ...]


class EmptyCache(msgspec.Struct, frozen=True):
    """Change on disk: the Authorization Cache has no entries."""


class SaveLocalList(msgspec.Struct, frozen=True):
    """Change on disk: entries of the Local Authorization List by `id_tag_key`. `replaces`: no others are left."""

    replaces: bool
    saved: tuple[tuple[str, IdTagInfo], ...]
    dropped: tuple[str, ...]


class SaveLocalListSize(msgspec.Struct, frozen=True):
    """Change on disk: what the Local Authorization List is after an update, always in its commit."""

    size: LocalList


Change = (
    SaveTransaction
    | CloseTransaction
    | SaveFinished
    | KeepReading
    | DropReadings
    | DropFinished
    | SavePlugFaults
    | SaveWaiting
    | DropWaiting
    | SaveAvailability
    | SaveReservation
    | DropReservation
    | AppendEntry
    | ForgetEntry
    | SaveEnded
    | NoteStartSettled
    | SaveEverAccepted
    | SaveCached
    | DropCached
    | EmptyCache
    | SaveLocalList
    | SaveLocalListSize
)


class Effect(msgspec.Struct, frozen=True):
    """Base of what is to be done, in order."""


class Commit(Effect, frozen=True):
    """All changes in one database transaction; what follows in the list happens after it is on the disk."""

    changes: tuple[Change, ...]


class SetEvse(Effect, frozen=True):
    """The output that the charging controller shall give."""

    connector_id: int
    desired: EvseDesired


class AskAuthorize(Effect, frozen=True):
    """Ask the Central System; the answer comes as AuthorizeAnswered with this token."""

    token: str
    id_tag: IdTag
    correlation_id: str = ""


class ReadRegister(Effect, frozen=True):
    """Ask the meter service; the answer comes as MeterRead with this token."""

    token: str
    connector_id: int
    not_before_s: float
    timeout_s: float


class Answer(Effect, frozen=True):
    """Answer a call."""

    call_id: str
    answer: Message


class PublishConnector(Effect, frozen=True):
    """Say a connector's state."""

    state: ConnectorState


class TellMeterValues(Effect, frozen=True):
    """Say readings that belong to no transaction; lost where the station is offline."""

    values: ConnectorMeterValues


class TellCard(Effect, frozen=True):
    """Say at the reader what becomes of a card; lost where nobody shows it."""

    card: CardAnswered


class PublishLocalList(Effect, frozen=True):
    """Say what the Local Authorization List is."""

    state: LocalListState


class PublishReset(Effect, frozen=True):
    """Say how far a Reset is."""

    state: ResetReady


class Note(Effect, frozen=True):
    """A line for the log, in plain words."""

    text: str
    connector_id: int | None = None
    local_tx_id: str | None = None
    id_tag: IdTag | None = None
    detail: str | None = None
    warning: bool = False
    correlation_id: str = ""
