"""What happens to the queue's core, and what it wants done (pure).

Owns: the vocabulary. Does not: decide (`core.py`) or act (`service.py`). Effects of a step are done in their order: those
that are a `Commit` in one database transaction, the others after it.
"""

from bus.messages import Delivered, DeliveryReport
from services.transaction_queue.state import Facts, Head, Letter, Link, Settings


class Tick(Facts, frozen=True):
    """Time has passed."""


class HeadRead(Facts, frozen=True):
    """The oldest message as it now stands in the database; None: the queue is empty."""

    head: Head | None


class LinkChanged(Facts, frozen=True):
    """The link said how it is, or fell silent: then it is not connected, on the connection last known."""

    link: Link


class SettingsChanged(Facts, frozen=True):
    """The Central System changed a configuration key."""

    settings: Settings


class RefillChanged(Facts, frozen=True):
    """A refill began, or is over."""

    refilling: bool


class Reported(Facts, frozen=True):
    """The link reports what became of a message, in time or late. `letter`: it is about this one, and not about the head."""

    report: DeliveryReport
    letter: Letter | None = None


class AskEnded(Facts, frozen=True):
    """The call to the link ended without a report: refused, or timed out."""

    unique_id: str
    reason: str


Event = Tick | HeadRead | LinkChanged | SettingsChanged | RefillChanged | Reported | AskEnded


class Commit(Facts, frozen=True):
    """Base of what is written to the database."""


class CommitLate(Commit, frozen=True):
    """The Central System has a message that was given up: as `CommitDelivered`, of what is not the head."""

    letter: Letter
    delivered: Delivered


class CommitHead(Commit, frozen=True):
    """Base of what is written of the head, row `row_id`."""

    row_id: int


class CommitSending(CommitHead, frozen=True):
    """It is about to be sent under this id; the first time, its moments get their UTC for good, and -1 stays -1."""

    unique_id: str
    without_id: bool = False


class CommitDelivered(CommitHead, frozen=True):
    """The Central System has it: keep the transactionId, remove the message, journal the outcome."""

    delivered: Delivered


class CommitFailed(CommitHead, frozen=True):
    """An attempt is spent, the message stays."""

    unique_id: str
    attempts: int
    reason: str
    answered_on: str
    at_boottime_s: float


class CommitNotSent(CommitHead, frozen=True):
    """No attempt is spent; noted because the connection is still up, and a repeat on it needs a new id (OCPP-J 1.6 §4.1.4)."""

    answered_on: str


class CommitGivenUp(CommitHead, frozen=True):
    """Keep the message whole as a dead letter, journal the outcome. `reason` for people; `failed`: the last attempt."""

    reason: str
    failed: CommitFailed | None = None


class AskLink(Facts, frozen=True):
    """Call `Deliver` for the head under this id."""

    unique_id: str
    transaction_id: int | None
    timeout_s: float


class CancelAsk(Facts, frozen=True):
    """Take the call back: what may still come of it will be asked for under the same id."""

    unique_id: str


class Note(Facts, frozen=True):
    """Something for the log: plain words, and the unique id that they are about."""

    text: str
    unique_id: str
    reason: str = ""
    warning: bool = False


Effect = Commit | AskLink | CancelAsk | Note
