"""What `station status` found out, and what it says: two shapes, no behaviour.

Owns: the JSON of `station status --json` (`Report`; a field keeps its name and meaning, new ones are added). Does not: judge;
that is `report.py`.
"""

import msgspec

from bus.messages import (
    ClockState,
    ConnectorState,
    LinkState,
    MeterSample,
    MeterState,
    QueueState,
    ReaderState,
    ServiceHealth,
    WatchdogState,
)
from bus.profile_messages import LocalListState


class ServiceFacts(msgspec.Struct, frozen=True):
    """One process: what supervisord says (`state` empty: supervisord was not reached) and what it says itself on the bus."""

    name: str
    state: str = ""
    pid: int = 0
    uptime_s: float | None = None
    error: str = ""
    health: ServiceHealth | None = None
    on_bus: bool = True
    """Whether it is to be heard there at all."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that could be learned about a station at one instant."""

    state_dir: str
    now_boottime_s: float
    system_utc_s: float
    boot_id: str
    config: str = ""
    virtual: bool = False
    uptime_s: float | None = None
    supervisor_pid: int = 0
    supervisor_error: str = ""
    """Why supervisord was not reached; empty if it was."""
    bus_attached: bool = False
    services: tuple[ServiceFacts, ...] = ()
    link: LinkState | None = None
    clock: ClockState | None = None
    connectors: dict[str, ConnectorState] = {}
    samples: dict[str, MeterSample] = {}
    meters: dict[str, MeterState] = {}
    reader: ReaderState | None = None
    queue: QueueState | None = None
    local_list: LocalListState | None = None
    watchdog: WatchdogState | None = None
    config_problem: str = ""
    """What is wrong with station.toml as it is now; empty: nothing, or it can't be read by this user."""
    behind: dict[str, tuple[str, ...]] = {}
    """Services that began with another station.toml, and the parts that differ."""
    programs_changed: tuple[str, ...] = ()
    """Programs that station.toml adds to or takes from those that supervisord knows."""
    disk_trouble: str = ""
    """Why nobody can write, as this command sees it: a service that can't write may not live to say so. Empty: all can."""


class Reason(msgspec.Struct, frozen=True):
    """Why the station is not well, and for how many seconds already, where that is known."""

    text: str
    for_s: float | None = None


class DeviceReport(msgspec.Struct, frozen=True):
    """A device of a service, with its counters since the service started."""

    name: str
    connected: bool
    detail: str
    driver: str = ""
    port: str = ""
    identity: str = ""
    transmissions: int = 0
    replies: int = 0
    timeouts: int = 0
    errors: int = 0
    reconnects: int = 0


class ServiceReport(msgspec.Struct, frozen=True):
    """`state` is supervisord's word. `health`: well, problem, starting, silent (runs, but is not heard), down, unknown."""

    state: str
    pid: int
    uptime_s: float | None
    health: str
    problems: tuple[Reason, ...] = ()
    devices: tuple[DeviceReport, ...] = ()


class LinkReport(msgspec.Struct, frozen=True):
    """The session with the Central System."""

    connected: bool
    registration: str | None
    online: bool
    last_received_s: float | None
    """Seconds since the Central System was last heard."""
    detail: str


class ClockReport(msgspec.Struct, frozen=True):
    """The clock that is believed."""

    source: str
    utc: str | None


class TransactionReport(msgspec.Struct, frozen=True):
    """A running transaction; `id_tag` is shortened. `energy_wh` by the register, where it is known."""

    local_tx_id: str
    transaction_id: int | None
    id_tag: str
    for_s: float | None
    meter_start_wh: int
    energy_wh: int | None
    stopping: bool


class ReservationReport(msgspec.Struct, frozen=True):
    """What a connector is kept for; `id_tag` is shortened."""

    reservation_id: int
    id_tag: str
    until_utc: str


class ReadingReport(msgspec.Struct, frozen=True):
    """The meter's newest reading, `age_s` seconds old."""

    age_s: float
    register_wh: int
    power_w: float | None
    currents_a: tuple[float, ...]
    voltages_v: tuple[float, ...]


class ConnectorReport(msgspec.Struct, frozen=True):
    """A connector; 0 is the charge point."""

    status: str
    error_code: str
    info: str
    for_s: float | None
    plugged: bool | None
    relay_closed: bool | None
    offered_a: float
    transaction: TransactionReport | None
    reading: ReadingReport | None
    reservation: ReservationReport | None = None
    out_of_service: bool = False
    """By a command at the station; while a transaction runs, for when that is over."""
    out_of_service_for_s: float | None = None


class QueueReport(msgspec.Struct, frozen=True):
    """Transaction messages that the Central System has not answered yet, and those given up."""

    depth: int
    dead_letters: int
    oldest_age_s: float | None
    detail: str


class LocalListReport(msgspec.Struct, frozen=True):
    """The Local Authorization List; `version` is that of the last update, 0: there was none."""

    enabled: bool
    version: int
    entries: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `station status`. Parts that are not known are null."""

    well: bool
    reasons: tuple[Reason, ...]
    warnings: tuple[Reason, ...]
    """What somebody should know although it is well."""
    state_dir: str
    config: str
    virtual: bool
    uptime_s: float | None
    supervisord: bool
    supervisord_pid: int
    bus: bool
    services: dict[str, ServiceReport]
    link: LinkReport | None
    clock: ClockReport | None
    connectors: dict[str, ConnectorReport]
    queue: QueueReport | None
    reader: str | None
    """What is wrong with the reader; empty when it is well."""
    local_list: LocalListReport | None = None
