"""What the queue's core knows (pure): settings, the link, the message whose turn it is. Rows stay in the database.

Owns: the shapes. Does not: decide (`core.py`). Times are boottime seconds of the running board.
"""

from collections.abc import Mapping
from enum import Enum

import msgspec

ATTEMPTS_DEFAULT = 3
RETRY_INTERVAL_S_DEFAULT = 60
MESSAGE_TIMEOUT_S_DEFAULT = 30


class Facts(msgspec.Struct, frozen=True):
    """Base of the core's structs."""


class Now(Facts, frozen=True):
    """When a step is made, and what it may use up of the shell's chance: a unique id (a uuid4 in text), a share of 0 to 1."""

    boottime_s: float
    unique_id: str
    share: float = 0.5


class Settings(Facts, frozen=True):
    """The OCPP keys that the queue obeys (OCPP 1.6 §9.1.31, §9.1.32; errata v4.0 3.82).

    Choice: TransactionMessageAttempts below 1 counts as 1, since nothing can fail that was not transmitted once.
    """

    attempts: int = ATTEMPTS_DEFAULT
    retry_interval_s: int = RETRY_INTERVAL_S_DEFAULT
    message_timeout_s: int = MESSAGE_TIMEOUT_S_DEFAULT

    @property
    def call_timeout_s(self) -> float:
        """How long the link may take: the message, the Heartbeat that follows silence, one more call in flight, and slack."""
        return self.message_timeout_s * 3.0 + 15.0


class Link(Facts, frozen=True):
    """The session with the Central System. `connection` is the last one known, even when it is gone."""

    connected: bool = False
    online: bool = False
    """Connected and Accepted: transaction messages may be sent."""
    connection: int = 0


class Start(Enum):
    """What became of the StartTransaction that a message belongs to."""

    ANSWERED = "answered"
    GIVEN_UP = "given up"
    MISSING = "missing"
    """This store never had it, or has lost it."""


class Head(Facts, frozen=True):
    """The oldest message, as far as it matters for a decision: the row's view that the store hands over."""

    row_id: int
    local_tx_id: str
    number: int
    is_start: bool
    start: Start
    transaction_id: int | None = None
    """The Central System's, where `start` is ANSWERED."""
    unique_ids: tuple[str, ...] = ()
    """All ids it was ever sent under, the latest last."""
    outstanding: bool = False
    """Nothing is known yet of what was sent under the latest id."""
    answered_on: str = ""
    """The connection that the last report (failed or not sent) came from."""
    attempts: int = 0
    """Transmissions that failed."""
    failed_boot_id: str = ""
    failed_boottime_s: float = 0.0
    stored_s: float = 0.0
    """When it was stored; what an earlier boot stored counts as stored at this one's beginning."""
    needs_clock: bool = False
    """Something in it happened at a time that nobody can tell yet in UTC."""
    without_id: bool = False
    """It went out with transactionId -1, and so do its repeats, whatever became known since."""
    boot_untold: bool = False
    """It is of a boot that ended without a clock, and `connectors` may have more of that boot."""


class Letter(Facts, frozen=True):
    """A message that was given up and is kept as a dead letter, row `row_id`; or `waits`, queued again, for its next turn."""

    row_id: int
    local_tx_id: str
    number: int
    action: str
    without_id: bool = False
    """It went out with transactionId -1."""
    correlation_id: str = ""
    waits: bool = False

    @property
    def is_start(self) -> bool:
        """Whether it is the StartTransaction, whose answer brings the transactionId."""
        return self.number == 0


class State(Facts, frozen=True):
    """All that the core knows. `boot_id` is the hardware boot, `run_id` the application boot."""

    boot_id: str
    run_id: str
    settings: Settings = Settings()
    pace_s: float = 0.0
    """Mean time between the messages of a backlog; 0: as fast as they are answered."""
    link: Link = Link()
    head: Head | None = None
    asked: str = ""
    """The unique id that the link was asked to send and has not reported on; empty: none."""
    asked_on: int = 0
    """The connection that was up when the link was asked."""
    hold_until_s: float | None = None
    """The link did not send although it says it is online: ask again not before this."""
    paced_until_s: float | None = None
    """A message of a backlog was delivered a moment ago: the next one goes not before this."""
    refilling: bool = False
    """`connectors` is sending again what it keeps, because something was lost here: nothing goes out before that is in."""
    turn_since_s: float | None = None
    """Since when the head could have gone out; None: there is none, or the link is not online."""
    stalled: bool = False
    """The head has had its turn for too long."""
    heard: str = ""
    """The unique id that was last reported as delivered: the link tells a late answer more than once."""
    parked_tx: str = ""
    """The last transaction whose messages were given up for want of its StartTransaction."""


def settings_from(values: Mapping[str, str]) -> Settings:
    """Settings out of the OCPP configuration; a value that is missing or no number means its default."""
    return Settings(
        attempts=_number(values, "TransactionMessageAttempts", ATTEMPTS_DEFAULT),
        retry_interval_s=_number(values, "TransactionMessageRetryInterval", RETRY_INTERVAL_S_DEFAULT),
        message_timeout_s=_number(values, "MessageTimeout", MESSAGE_TIMEOUT_S_DEFAULT),
    )


def _number(values: Mapping[str, str], key: str, default: int) -> int:
    text = values.get(key, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else default
