"""A transaction that is open on disk, and what it is made of: frozen facts.

Owns: these shapes, and what they say of themselves. Does not: begin, follow or end one (`transactions.py`).
"""

import msgspec

from bus.messages import IdTag, MeterValue, MeterValues, Moment, StopTransaction, TransactionEntry
from bus.vocabulary import Reason
from services.connectors.plug_in import SessionMark


class Reading(msgspec.Struct, frozen=True):
    """The transaction's register, Wh: meter_start_wh plus what was delivered since, over all meters fitted meanwhile."""

    energy_wh: int
    at: Moment


class Sure(Reading, frozen=True):
    """The register when a plug was last seen, and when that was.

    `up_to_wh`: a later register that is no higher is of the same plug, if the board lost its power then: no more can have
    flowed in the time in which nobody exchanges plugs.
    """

    up_to_wh: int = 0

    @property
    def reading(self) -> Reading:
        """Without what may have come after it."""
        return Reading(self.energy_wh, self.at)


class Segment(msgspec.Struct, frozen=True):
    """What one meter contributes: its serial and register when it took over, and the transaction's register then, Wh.

    `serial` empty: not told yet. `replacements`: what the meter service counted then. `replaced`: not the meter of the start.
    """

    serial: str
    first_wh: int
    base_wh: int
    replacements: int = 0
    replaced: bool = False


class StopIntent(msgspec.Struct, frozen=True):
    """Why a transaction stops; on disk before the contactor opens. `at` None: when its last reading was taken."""

    reason: Reason
    at: Moment | None = None
    id_tag: IdTag | None = None
    keep_locked: bool = False
    """The plug in its socket is not let go with the end of the transaction."""
    final: bool = False
    """The reading that is there is the one to close with: since it was taken the plug was gone, or another's."""
    up_to_wh: int = 0
    """What is final may still rise to this register."""

    def allows(self, register_wh: int) -> bool:
        """Whether a reading may be what it closes with."""
        return not self.final or register_wh <= self.up_to_wh


class Transaction(msgspec.Struct, frozen=True):
    """A transaction open on disk. `next_number`: of its next entry. `cut_off_at`: its last moment before the power cut."""

    local_tx_id: str
    connector_id: int
    id_tag: IdTag
    started_at: Moment
    meter_start_wh: int
    segment: Segment
    last: Reading
    mark: SessionMark
    parent_id_tag: IdTag | None = None
    transaction_id: int | None = None
    next_number: int = 1
    deauthorized: bool = False
    """The Central System refused the idTag and StopTransactionOnInvalidId is false: no energy (OCPP 1.6 §4.8)."""
    stop: StopIntent | None = None
    refused_at_wh: int | None = None
    """The register when the Central System refused the idTag: MaxEnergyOnInvalidId counts from there (OCPP 1.6 §9.1.14)."""
    start_given_up: bool = False
    """The queue gave its StartTransaction up, so that no transactionId is to come (errata v4.0 3.18)."""
    correlation_id: str = ""
    """Of the card or plug that it began with, for the logs only."""
    sure: Sure | None = None
    """The register when its plug was last seen, and when that was: what flowed since may be another's. None: it is seen."""
    cut_off_at: Moment | None = None

    @property
    def own(self) -> Sure:
        """What is its own for sure: up to its last reading, unless its plug was not seen any more by then."""
        return self.sure or Sure(self.last.energy_wh, self.last.at)

    @property
    def last_read_at(self) -> Moment:
        """When its last reading was taken; the first one is of its start, though it was read before that was committed."""
        started, last = self.started_at, self.last.at
        return started if started.boot_id == last.boot_id and last.boottime_ms < started.boottime_ms else last

    def following(self, message: MeterValues | StopTransaction) -> TransactionEntry:
        """The next journal entry, with all that a queue which lost its store needs to know about the start."""
        return TransactionEntry(
            local_tx_id=self.local_tx_id,
            number=self.next_number,
            message=message,
            transaction_id=self.transaction_id,
            start_given_up=self.start_given_up,
            correlation_id=self.correlation_id,
            started_at=self.started_at,
            last_read_at=self.cut_off_at,
        )


class KeptReading(msgspec.Struct, frozen=True):
    """A reading that waits for transactionData; `position` orders those of a transaction, 0 is the one of its start."""

    position: int
    value: MeterValue
