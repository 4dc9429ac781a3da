"""What happens to the link, and what it then does: frozen structs, compared with == in tests.

Owns: shapes. Does not: decide or act. Messages of OCPP are the structs of `payloads.py`.
"""

from enum import Enum

import msgspec

from bus.messages import ConnectorMeterValues, ConnectorState, Deliver, Message, ResetReady
from bus.profile_messages import TriggeredMeterValues
from bus.vocabulary import MessageTrigger, ResetType
from services.ocpp_link.state import Settings


class Event(msgspec.Struct, frozen=True):
    """Base of what happens."""


class ConnectionOpened(Event, frozen=True):
    """The WebSocket is open, with our subprotocol."""


class ConnectionLost(Event, frozen=True):
    """It could not be opened, or is gone, in whatever way; plain words."""

    reason: str


class FrameSeen(Event, frozen=True):
    """Anything came from the Central System."""


class SendFailed(Event, frozen=True):
    """The socket did not take a frame."""


class PongSeen(Event, frozen=True):
    """A ping was answered."""


class Purpose(Enum):
    """Why we sent a CALL."""

    BOOT = "boot"
    HEARTBEAT = "heartbeat"
    VERIFY = "verify"
    STATUS = "status"
    METER_VALUES = "meter values"
    AUTHORIZE = "authorize"
    DELIVER = "deliver"
    TRIGGERED = "triggered"


class CallSent(Event, frozen=True):
    """A CALL of ours went out on the socket."""


class CallAnswered(Event, frozen=True):
    """CALLRESULT, valid for its action. `late`: after we had given up waiting, on the same connection."""

    purpose: Purpose
    tag: str
    conf: msgspec.Struct
    late: bool = False


class CallFailed(Event, frozen=True):
    """CALLERROR, or an answer that is not valid for its action. `late` as in CallAnswered."""

    purpose: Purpose
    tag: str
    code: str
    reason: str
    late: bool = False


class CallTimedOut(Event, frozen=True):
    """No answer within MessageTimeout."""

    purpose: Purpose
    tag: str


class CallNotSent(Event, frozen=True):
    """The connection went while the CALL waited or was under way; or it waited too long and never went out."""

    purpose: Purpose
    tag: str
    reason: str = "connection lost"


class ConnectorSaid(Event, frozen=True):
    """A connector's state on the bus."""

    state: ConnectorState


class WatchdogSaid(Event, frozen=True):
    """What the watchdog has to tell of the station's own services; empty: nothing."""

    trouble: str


class MeterValuesSaid(Event, frozen=True):
    """Connectors have readings that belong to no transaction."""

    values: ConnectorMeterValues


class AuthorizeAsked(Event, frozen=True):
    """Connectors want an idTag authorized."""

    call_id: str
    id_tag: str
    correlation_id: str = ""


class DeliverAsked(Event, frozen=True):
    """The queue wants a transaction message delivered."""

    call_id: str
    request: Deliver


class CallerGone(Event, frozen=True):
    """Who called us on the bus no longer waits: what has not been sent for it yet is not sent any more (design §3)."""

    call_id: str


class SettingsChanged(Event, frozen=True):
    """Configuration keys have new values; they take effect at once (field report 24)."""

    settings: Settings


class CredentialsChanged(Event, frozen=True):
    """There is another AuthorizationKey: the connection is to be made with it."""


class ResetAccepted(Event, frozen=True):
    """Connectors took a Reset; its answer has gone out."""

    reset: ResetReady


class ResetSaid(Event, frozen=True):
    """Connectors say how far a Reset is."""

    ready: ResetReady


class RestartFailed(Event, frozen=True):
    """The station could not be restarted, in plain words why."""

    reason: str


class Triggered(Event, frozen=True):
    """A TriggerMessage was answered with Accepted: send the message. `values`: those of MeterValues."""

    requested: MessageTrigger
    connector_id: int | None = None
    values: tuple[TriggeredMeterValues, ...] = ()


class QueueSaid(Event, frozen=True):
    """How many transaction messages wait; None: the queue is silent."""

    depth: int | None


class Tick(Event, frozen=True):
    """Time passed."""


class Effect(msgspec.Struct, frozen=True):
    """Base of what is to be done, in order."""


class Connect(Effect, frozen=True):
    """Open the WebSocket."""


class CloseConnection(Effect, frozen=True):
    """Close it; ConnectionLost follows."""

    reason: str


class SendPing(Effect, frozen=True):
    """A WebSocket ping."""


class SendCall(Effect, frozen=True):
    """Queue a CALL; `tag` comes back with its answer. `unique_id` given: use that one."""

    purpose: Purpose
    tag: str
    message: Message | None = None
    """Bus message to translate: ConnectorState, Deliver, Authorize …; None: BootNotification, Heartbeat."""
    unique_id: str | None = None
    caller_id: str = ""
    """The call of the bus that it is sent for: not after that one's deadline (design §3)."""


class DropWaiting(Effect, frozen=True):
    """Take back all CALLs that are not sent yet; CallNotSent follows for each."""


class TakeBack(Effect, frozen=True):
    """Take back this one CALL if it is not sent yet; then CallNotSent follows."""

    purpose: Purpose
    tag: str


class AnswerCaller(Effect, frozen=True):
    """Answer a call of the bus."""

    call_id: str
    answer: Message


class RefuseCaller(Effect, frozen=True):
    """Refuse a call of the bus, in plain words."""

    call_id: str
    reason: str


class TellLateReport(Effect, frozen=True):
    """The outcome of a message came after the queue was told otherwise."""

    report: Message


class KeepSession(Effect, frozen=True):
    """Keep what a restart of the link must know: registration, interval, acknowledged statuses (design §2)."""


class KeepAccepted(Effect, frozen=True):
    """Keep for ever that this Central System has accepted this station (errata v4.0 3.11)."""


class SetHeartbeatInterval(Effect, frozen=True):
    """BootNotification.conf sets HeartbeatInterval (OCPP 1.6 §4.2)."""

    interval_s: int


class BelieveTime(Effect, frozen=True):
    """The Central System's currentTime."""

    utc_ms: int


class PublishLink(Effect, frozen=True):
    """Say the link's state on the bus."""


class RestartStation(Effect, frozen=True):
    """Carry out the end of a Reset: `[system] on_reset`. RestartFailed follows if that is not possible."""

    hard: bool


class AskReset(Effect, frozen=True):
    """Have connectors stop again what may run, for another try of a Reset."""

    type: ResetType


class Note(Effect, frozen=True):
    """A line for the log, in plain words."""

    text: str
    detail: str | None = None
    warning: bool = False
    correlation_id: str = ""
