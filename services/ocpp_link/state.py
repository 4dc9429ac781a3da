"""What the link knows of its session with the Central System: frozen facts (pure).

Owns: shapes. Does not: decide (`core.py` and its rooms), frame messages (`rpc.py`), or act (`service.py`). Boottime seconds.
"""

import msgspec

from bus.messages import ConnectorState, Deliver, DeliveryReport
from bus.vocabulary import RegistrationStatus, ResetType


class Facts(msgspec.Struct, frozen=True):
    """Base of all."""


class Settings(Facts, frozen=True):
    """What the session obeys: OCPP keys and `[central_system]` of station.toml. Seconds; 0 of an interval: off."""

    heartbeat_interval_s: int = 300
    minimum_status_duration_s: int = 0
    reset_retries: int = 0
    message_timeout_s: int = 30
    ping_interval_s: int = 20
    pong_timeout_s: float = 8.0
    reconnect_s_min: float = 1.0
    reconnect_s_max: float = 8.0


class Offline(Facts, frozen=True):
    """No connection; the next try is due. `failures` in a row, for the back-off."""

    next_try_s: float = 0.0
    failures: int = 0
    reason: str = "not connected yet"


class Connecting(Facts, frozen=True):
    """The socket is being opened."""

    failures: int = 0


class Open(Facts, frozen=True):
    """Connected. `ping_due_s` None: no pings; `pong_due_s`: a ping waits for its pong.

    `closing_until_s`: we have ended it; if nobody has said by then that it is gone, it counts as gone.
    """

    since_s: float
    last_sent_s: float
    last_received_s: float
    failures: int = 0
    ping_due_s: float | None = None
    pong_due_s: float | None = None
    closing_until_s: float | None = None
    closing_reason: str = ""


Connection = Offline | Connecting | Open


class Said(Facts, frozen=True):
    """What of a connector's state a StatusNotification tells (OCPP 1.6 §6.47)."""

    status: str
    error_code: str
    info: str
    vendor_error_code: str


class Settling(Facts, frozen=True):
    """A status that has not lasted for MinimumStatusDuration yet. `since_s`: when the connector took it."""

    connector: ConnectorState
    since_s: float


class Delivery(Facts, frozen=True):
    """The transaction message that is with the Central System. `call_id`: of the queue that waits for the report.

    `verifying`: its time is over, and a Heartbeat asks whether the Central System is there at all (design §4.5).
    """

    request: Deliver
    call_id: str
    verifying: bool = False


class Restarting(Facts, frozen=True):
    """The restart is asked for: this process should be dead by `until_s`. The rest holds again if it is not."""

    until_s: float
    registration: RegistrationStatus | None
    boot_due_s: float


class Resetting(Facts, frozen=True):
    """A Reset on its way. `due_s`: the restart at the latest; `ready_s`: since when all transactions are stopped."""

    type: ResetType
    due_s: float
    ready_s: float | None = None
    failures: int = 0
    restarting: Restarting | None = None


class State(Facts, frozen=True):
    """Everything. `connection_number` counts the connections of this application boot."""

    settings: Settings
    connection: Connection = Offline()
    connection_number: int = 0
    last_failure: str = ""
    """Why the last connection failed; the log says it once, not at every try."""
    flapping: bool = False
    """Connections are made and lost for the same reason again and again: the log has said so."""
    registration: RegistrationStatus | None = None
    boot_due_s: float = 0.0
    """When BootNotification may be sent, while not accepted."""
    boot_asked: bool = False
    boots_unanswered: int = 0
    """BootNotifications in a row that met silence on this connection."""
    boot_failure: str = ""
    """Why the last BootNotification failed; the log says it once, not at every try."""
    interval_s: int = 0
    """From BootNotification.conf; 0: our own choice (OCPP 1.6 §4.2)."""
    accepted_at_s: float | None = None
    """When BootNotification was accepted last, by this process."""
    ever_accepted: bool = False
    last_heartbeat_s: float = 0.0
    heartbeat_asked: bool = False
    time_refused: bool = False
    """The Central System's currentTime was not usable, and the log has said so."""
    authorizing: tuple[str, ...] = ()
    """Calls of the bus that wait for an Authorize.conf."""
    charge_point: ConnectorState | None = None
    """Connector 0 as `connectors` says it, without what the watchdog adds."""
    trouble: str = ""
    """What the watchdog has to tell."""
    current: tuple[ConnectorState, ...] = ()
    """What connectors said last, each connector once."""
    acknowledged: tuple[tuple[int, Said], ...] = ()
    """What the Central System has acknowledged in this application boot, by connector."""
    to_tell: tuple[ConnectorState, ...] = ()
    """StatusNotifications still to be sent, in the order in which they became true."""
    telling: ConnectorState | None = None
    settling: tuple[Settling, ...] = ()
    """What is told once it has lasted for MinimumStatusDuration, each connector at most once."""
    meter_values_under_way: int = 0
    """MeterValues outside transactions that are sent and not answered."""
    meter_values_refusal: str = ""
    """Why the last of them failed; the log has said so."""
    triggered_under_way: int = 0
    """Triggered messages that are sent and not answered."""
    delivery: Delivery | None = None
    reports: tuple[DeliveryReport, ...] = ()
    """The last outcomes, for a queue that asks again after its restart."""
    late: tuple[tuple[DeliveryReport, int], ...] = ()
    """Late ones, and how often each is told again: the queue may not ask for them any more, having given the message up."""
    reset: Resetting | None = None
    reset_failed: bool = False
    """The last Reset could not be carried out, all tries included."""
    queue_depth: int | None = None
    """How many transaction messages wait, as the queue said last; None: it has said nothing."""

    @property
    def accepted(self) -> bool:
        """Whether messages may be sent unasked (OCPP 1.6 §4.2)."""
        return self.usable and self.registration is RegistrationStatus.ACCEPTED

    @property
    def usable(self) -> bool:
        """Whether there is a connection that we have not ended ourselves."""
        return isinstance(self.connection, Open) and self.connection.closing_until_s is None


class Now(Facts, frozen=True):
    """The instant of a step."""

    boottime_s: float
    random: float
    """Drawn anew for each step by the shell, from [0, 1): jitter for the back-off. The core has no randomness of its own."""
