"""What the connectors service knows: frozen facts, from which status and desired output are derived.

Owns: shapes, but those of a transaction (`open_transaction.py`). Does not: decide (`core.py` and its rooms) or act
(`service.py`). Times are boottime seconds or Moments.
"""

import msgspec

from bus.messages import ConnectorState, IdTag, IdTagInfo, MeterSample, Moment
from bus.profile_messages import LocalListState
from bus.vocabulary import ChargePointErrorCode, ChargePointStatus, Measurand, ResetType
from services.connectors.open_transaction import KeptReading, Transaction
from services.connectors.plug_in import PlugFaults, SessionMark
from services.connectors.readings import Measurands
from services.hardware.contract import EvseDesired, EvseObservation

Facts = msgspec.Struct


class Settings(Facts, frozen=True):
    """The OCPP configuration keys that this service obeys, and policies of `station.toml`. Intervals in seconds, 0: off."""

    connection_time_out_s: int = 60
    allow_offline_tx_for_unknown_id: bool = False
    authorize_remote_tx_requests: bool = True
    stop_transaction_on_ev_side_disconnect: bool = True
    stop_transaction_on_invalid_id: bool = True
    meter_value_sample_interval_s: int = 60
    meter_values_sampled_data: Measurands = ((Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, None),)
    clock_aligned_data_interval_s: int = 0
    meter_values_aligned_data: Measurands = ()
    stop_txn_sampled_data: Measurands = ()
    stop_txn_aligned_data: Measurands = ()
    stop_transaction_max_meter_values: int = 500
    charge_before_first_acceptance: bool = False
    """Policy for a station that no Central System ever accepted (errata v4.0 3.11)."""
    authorization_cache_enabled: bool = True
    local_authorize_offline: bool = True
    local_pre_authorize: bool = False
    max_energy_on_invalid_id_wh: int = 0
    unlock_connector_on_ev_side_disconnect: bool = True
    local_auth_list_enabled: bool = False
    """Without the profile LocalAuthListManagement there is no such key, and no list."""
    local_auth_list_max_length: int = 10_000
    send_local_list_max_length: int = 1000
    reservation_profile: bool = True
    """Whether the feature profile Reservation is on."""
    reserve_connector_zero_supported: bool = True


class Availability(Facts, frozen=True):
    """Whether a connector, or the whole charge point, may be used (OCPP 1.6 §5.2). On disk, as it outlives any restart."""

    operative: bool = True
    """As the Central System last commanded it."""
    out_of_service_since: Moment | None = None
    """Since when somebody at the station has taken it out of service; None: nobody has. Only who is there lifts it."""

    @property
    def usable(self) -> bool:
        """Whether neither the Central System nor somebody at the station has taken it out of use."""
        return self.operative and self.out_of_service_since is None


class LocalList(Facts, frozen=True):
    """The Local Authorization List, whose entries are on disk only. `version`: of the last update; 0: there was none."""

    version: int = 0
    entries: int = 0


class ListConflict(Facts, frozen=True):
    """The list and the Central System disagree about an idTag; `words` for StatusNotification, the idTag shortened."""

    key: str
    words: str


class Reservation(Facts, frozen=True):
    """A connector, or one of all (0), that is kept for an idTag and its group (OCPP 1.6 §5.13). On disk."""

    reservation_id: int
    connector_id: int
    id_tag: IdTag
    expiry_utc_ms: int
    made_utc_ms: int
    """When it was made: it is later than that, whatever the clock says."""
    parent_id_tag: IdTag | None = None
    call_id: str | None = None
    """The ReserveNow that made it."""
    until_s: float = 0.0
    """Boottime of its end. It follows the clock, so that what the disk has of it says nothing."""


class Waiting(Facts, frozen=True):
    """An authorization, or a RemoteStartTransaction still to be authorized, that waits for a connector to be plugged in.

    `connector_id` None: the first one whose vehicle still waits for a card. On disk: a restart in between loses nothing.
    """

    waiting_id: str
    id_tag: IdTag
    deadline_s: float
    boot_id: str
    connector_id: int | None = None
    confirmed: bool = True
    parent_id_tag: IdTag | None = None
    call_id: str | None = None
    unanswered_since_s: float | None = None
    """When a RemoteStartTransaction was taken in whose answer may not have gone out yet; None: it has, or there is none."""
    correlation_id: str = ""


class ConnectorError(Facts, frozen=True):
    """One error as StatusNotification tells it. The first two tell errors apart; `info` is for people, and may change."""

    error_code: ChargePointErrorCode
    vendor_error_code: str = ""
    info: str = ""

    @property
    def identity(self) -> tuple[ChargePointErrorCode, str]:
        """What makes it another error."""
        return self.error_code, self.vendor_error_code


class Idle(Facts, frozen=True):
    """No transaction."""


class Finished(Facts, frozen=True):
    """The transaction is closed and the plug is still in. On disk, so that it is still Finishing after a restart.

    `mark` is of the plug that is in. `id_tag` was the transaction's: presented again, it means this connector
    (OCPP 1.6 §4.9, F2). None: there was no transaction, as nobody presented a card in time (B6).
    """

    mark: SessionMark
    id_tag: IdTag | None
    keep_locked: bool = False
    """The plug is held in its socket until `id_tag` or one of its group is presented; the vehicle may be gone."""
    parent_id_tag: IdTag | None = None
    known_at: Moment | None = None
    """When the plug was known to be in; None: written by a release that did not note it."""


class Resuming(Facts, frozen=True):
    """This process has just started; the hardware will say whether it is still the same plug-in: of one of the two."""

    transaction: Transaction | None = None
    finished: Finished | None = None


class Starting(Facts, frozen=True):
    """Authorized and plugged in; the reading for meterStart is asked for. Nothing on disk has changed yet.

    `finished`: where the connector goes back to when this does not become a transaction; None: to Idle.
    """

    waiting: Waiting
    read_token: str
    finished: Finished | None = None


class Running(Facts, frozen=True):
    """A transaction runs. `saved` is what the disk has of it."""

    transaction: Transaction
    saved: Transaction
    sample_due_s: float | None
    checkpoint_due_s: float


class Stopping(Facts, frozen=True):
    """The intent to stop is on disk; the contactor opens, then the reading for meterStop is asked for.

    `read_not_before_s`: a reading from this boottime on will do. `unplugged`: the plug was out meanwhile, so that one
    which is in at the end is another plug-in.
    """

    transaction: Transaction
    since_s: float
    read_token: str = ""
    read_not_before_s: float = 0.0
    info: str = ""
    unplugged: bool = False


class Unlocking(Facts, frozen=True):
    """UnlockConnector under way, for the calls that wait for its answer. `attempt` None: the contactor has to open first."""

    call_ids: tuple[str, ...]
    deadline_s: float
    attempt: int | None = None


SessionPhase = Idle | Resuming | Starting | Running | Stopping | Finished


class Connector(Facts, frozen=True):
    """One connector: what it is, what the devices say, what it is doing, and what was last said and commanded."""

    connector_id: int
    max_current_a: float
    socket: bool = False
    """The cable is the vehicle's, its plug is held by a lock; False: the cable is fixed."""
    phase: SessionPhase = Idle()
    seen: EvseObservation | None = None
    """Last observation of this process; None: the controller has not answered yet."""
    plugged: bool | None = None
    """What the controller last knew; None: it has not known yet. One that can't tell now has not seen an unplugging."""
    plugged_since_s: float = 0.0
    unseen_since_s: float | None = None
    """Since when nobody has seen whether the plug is in: the controller is silent or can't tell; None: it does."""
    unplugged_s: float | None = None
    """Boottime until which the plug was out: the guard saw it while no service was there to see it, or nobody could see for
    too long whether it stayed in; None: neither in this boot."""
    correlation_id: str = ""
    """Of what happens here from plug or card until the plug is out again, for the logs only; empty: nothing does."""
    card_awaited_since_s: float | None = None
    """Since when this plug waits for somebody's card; None: it does not."""
    evse_failure: str = ""
    """Plain words while the controller does not answer; empty also before it had time to."""
    meter_failure: str = ""
    sample: MeterSample | None = None
    mark_s: float | None = None
    """Boottime of a mark of the wall clock whose reading has not come yet."""
    kept: tuple[KeptReading, ...] = ()
    """Of the open transaction, all on disk."""
    commanded: EvseDesired | None = None
    in_force_a: float | None = None
    """The most that may be drawn here, amps: last ordered, or not yet seen to have ended; None: not known since the start."""
    settling_until_s: float = 0.0
    """Until then a status that is only passed through is not shown (field report 42); 0: nothing settles."""
    faults: PlugFaults = PlugFaults()
    live_since_s: float | None = None
    """Since when the contactor is seen closed, or current flows, although energy is withdrawn; None: it does not."""
    over_current_since_s: float | None = None
    """Since which reading the vehicle draws more than it was offered; None: it does not."""
    unlocking: Unlocking | None = None
    unlock_attempts: int = 0
    availability: Availability = Availability()
    published: ConnectorState | None = None
    told: tuple[ConnectorError, ...] = ()
    """The errors that it has, all of them said."""
    beneath: ChargePointStatus | None = None
    """The last published status but Faulted: what a fault overlays."""

    @property
    def transaction(self) -> Transaction | None:
        """The open transaction, in whatever phase."""
        match self.phase:
            case Running(transaction=found) | Stopping(transaction=found) | Resuming(transaction=found):
                return found
        return None

    @property
    def ongoing(self) -> Transaction | None:
        """The open transaction that has not been told to stop."""
        return None if isinstance(self.phase, Stopping) else self.transaction

    @property
    def finished(self) -> Finished | None:
        """What has ended here with the plug still in, or kept."""
        match self.phase:
            case Finished() as found:
                return found
            case Starting(finished=found) | Resuming(finished=found):
                return found
        return None

    @property
    def plug_kept(self) -> bool:
        """Whether a plug is held beyond its transaction, so that nobody else can begin here."""
        return self.finished is not None and self.finished.keep_locked

    @property
    def has_lock(self) -> bool:
        """Whether a plug can be held. A controller that was not heard yet counts as having what its socket needs."""
        return self.socket and (self.seen is None or self.seen.locked is not None)

    @property
    def unavailable(self) -> bool:
        """Whether it is taken out of use. One that charges is so only when its transaction is over: Scheduled."""
        return not self.availability.usable and self.transaction is None

    @property
    def change_scheduled(self) -> bool:
        """Whether it goes out of use once its transaction is over."""
        return not self.availability.usable and self.transaction is not None


class Asked(Facts, frozen=True):
    """An Authorize that waits for its answer; `waiting_id` set: for a RemoteStartTransaction."""

    token: str
    id_tag: IdTag
    waiting_id: str | None = None
    correlation_id: str = ""


class Marks(Facts, frozen=True):
    """The marks of clock-aligned readings. `next_ms` is UTC in Unix milliseconds, `due_s` its boottime by the clock as it is.

    `reached_ms` is the last one that counted, `reached_s` when that was.
    """

    interval_s: int
    next_ms: int = 0
    due_s: float = 0.0
    reached_ms: int | None = None
    reached_s: float = 0.0


class State(Facts, frozen=True):
    """Everything. `connectors` in the order of their numbers, from 1."""

    connectors: tuple[Connector, ...]
    settings: Settings
    supply_current_a: float
    waiting: tuple[Waiting, ...] = ()
    asked: tuple[Asked, ...] = ()
    online: bool = False
    ever_accepted: bool = False
    reader_failure: str = ""
    presented: tuple[IdTag, float] | None = None
    """The card that was presented last, and at what boottime."""
    disk_failure: str = ""
    disk_refuses: bool = False
    """Because of it no transactions begin; those that run go on."""
    emergency_stop: bool = False
    emergency_stop_read: bool = True
    """Its contact was read since this process began, or counts as pressed as it can't be; or there is none.

    Until then no contactor closes, and one that is closed stays so: a restart of this service is no emergency.
    """
    resetting: ResetType | None = None
    reset_failed: bool = False
    """The link could not restart the station for the last Reset."""
    reset_until_s: float = 0.0
    """When a Reset that did not happen is forgotten."""
    reset_said: tuple[ResetType | None, bool] | None = None
    charge_point: ConnectorState | None = None
    """What was last published for connector 0."""
    charge_point_told: tuple[ConnectorError, ...] = ()
    availability: Availability = Availability()
    """Of the charge point itself; each connector has its own."""
    cache: dict[str, IdTagInfo] = {}
    """The Authorization Cache by `id_tag_key`, the entry that was updated last at the end. Never changed in place."""
    local_list: LocalList = LocalList()
    list_conflicts: tuple[ListConflict, ...] = ()
    """The newest at the end."""
    local_list_said: LocalListState | None = None
    reservations: tuple[Reservation, ...] = ()
    """In the order in which they were made; one for a connector, and one for connector 0, at most."""
    marks: Marks | None = None
    """None: clock-aligned readings are off, or the clock is not known."""

    @property
    def unavailable(self) -> bool:
        """Whether the charge point is taken out of use, and no connector has a transaction left that this waits for."""
        return not self.availability.usable and not any(connector.change_scheduled for connector in self.connectors)


class Now(Facts, frozen=True):
    """The instant of a step. `fresh_id` is random and not used before; the core has no randomness of its own."""

    boottime_s: float
    boot_id: str
    fresh_id: str
    utc_offset_s: float | None = None
    utc_floor_ms: int | None = None
    """The last time that was known on this board: it is later than that, whatever else is not known (design §5)."""
    listed: dict[str, IdTagInfo | None] = {}
    """What the Local Authorization List has of each idTag that is in question in this step; None: nothing."""

    def moment(self, boottime_s: float | None = None) -> Moment:
        """This instant, or another one of this boot, as a Moment; UTC only when it is known."""
        at_s = self.boottime_s if boottime_s is None else boottime_s
        utc_ms = None if self.utc_offset_s is None else round((at_s + self.utc_offset_s) * 1000)
        return Moment(self.boot_id, round(at_s * 1000), utc_ms)

    @property
    def utc_ms(self) -> int | None:
        """The time; None: it is not known."""
        return self.moment().utc_ms

    def has_passed(self, utc_ms: int) -> bool:
        """Whether this UTC time is known to have passed; while the clock is unknown, the last known time is all there is."""
        known_ms = self.utc_floor_ms if self.utc_offset_s is None else round((self.boottime_s + self.utc_offset_s) * 1000)
        return known_ms is not None and utc_ms <= known_ms
