"""Shapes of `station.toml`: frozen structs, one a section, units last in names.

Owns: names, types and defaults of all device and station settings. Does not: check values (`checks.py`) or read files
(`station.py`). A new driver gets its name into the tuple of its class here; drivers from outside of this package are found by
their entry points (`services/hardware/outside.py`).
"""

from typing import Any

import msgspec

from bus.version import VERSION
from bus.vocabulary import Measurand

EVSE_DRIVERS = ("openevse", "evsewb")
MODBUS_EVSE_BAUDS = {"evsewb": 9600}
"""Charging controllers that speak Modbus, and the speed at which each leaves its factory."""
METER_BAUDS = {"sdm630": 9600, "sdm120": 2400, "sdm230": 9600, "sdm72d-m-2": 9600, "abb-b23": 9600, "em340": 9600}
"""Meter models, and the speed at which each leaves its factory."""
METER_PHASES = {"sdm630": 3, "sdm120": 1, "sdm230": 1, "sdm72d-m-2": 3, "abb-b23": 3, "em340": 3}
METER_IN_EVSE = "evse"
"""The driver of a meter that is part of the charging controller: the controller's driver reads it."""
EVSES_WITH_METER = ("openevse",)
MEASURED = (
    Measurand.ENERGY_ACTIVE_IMPORT_REGISTER,
    Measurand.ENERGY_ACTIVE_EXPORT_REGISTER,
    Measurand.POWER_ACTIVE_IMPORT,
    Measurand.POWER_ACTIVE_EXPORT,
    Measurand.CURRENT_IMPORT,
    Measurand.VOLTAGE,
    Measurand.FREQUENCY,
    Measurand.POWER_FACTOR,
)
METER_MEASURANDS: dict[str, tuple[Measurand, ...]] = {
    **dict.fromkeys(METER_BAUDS, MEASURED),
    METER_IN_EVSE: (
        Measurand.ENERGY_ACTIVE_IMPORT_REGISTER,
        Measurand.POWER_ACTIVE_IMPORT,
        Measurand.CURRENT_IMPORT,
        Measurand.VOLTAGE,
    ),
}
"""What each model measures, as `services/meter/drivers/models.py` reads it: these all the same."""
OFFERED = (Measurand.CURRENT_OFFERED, Measurand.POWER_OFFERED)
EVSE_MEASURANDS = dict.fromkeys(EVSE_DRIVERS, OFFERED)
"""What each charging controller tells."""
READER_DRIVERS = ("rdm6300", "pn532", "line", "hid")
FRAMINGS = ("line", "stx-etx", "stx-etx-lrc")
PAYLOADS = ("hex", "decimal", "text")
READER_PINS = ("P30", "P31", "P33", "P35", "P71", "P72")
"""Of a PN532 on a serial line: those that the chip needs for nothing itself."""
ID_TAG_FORMATS = ("hex", "hex_reversed", "dec10", "dec10_reversed")
CABLES = ("fixed", "socket")
PARITIES = ("N", "E", "O")
LEVELS = ("high", "low")
BIASES = ("pull-up", "pull-down", "none")
ON_RESET = ("restart", "reboot", "exit")


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all parts of `station.toml`."""


class Station(Section, frozen=True, kw_only=True):
    """`[station]`: who this is. Lengths as in BootNotification.req (OCPP 1.6 §6.3)."""

    identity: str
    """The charge point identity: the last part of the connection URL, and the user name (OCPP-J 1.6 §3.1.1)."""
    vendor: str
    model: str
    serial_number: str = ""
    firmware_version: str = VERSION
    iccid: str = ""
    imsi: str = ""


class CentralSystem(Section, frozen=True, kw_only=True):
    """`[central_system]`: where it is and how it is reached."""

    url: str
    """The OCPP-J endpoint; the identity is appended unless it is there already."""
    security_profile: int = 0
    """0: open; 1: password over ws; 2: password over wss (security whitepaper §2)."""
    authorization_key: str = ""
    root_ca_files: tuple[str, ...] = ()
    """PEM files, absolute after loading; none: the certificates of the system."""
    reconnect_min_s: float = 1.0
    reconnect_max_s: float = 8.0
    """Cap of the back-off. 8 finds a returned Central System within 10 s; a large fleet wants more."""
    ping_interval_s: int | None = None
    """Initial value of WebSocketPingInterval; None: as `[ocpp]` or the table of keys says. 0: no pings."""
    pong_timeout_s: float = 8.0
    """A ping that is unanswered for so long ends the connection."""


class Supply(Section, frozen=True, kw_only=True):
    """`[supply]`: what the grid connection can bear, for the whole station."""

    max_current_a: float
    phases: int = 1
    voltage_v: float = 230.0


class Reader(Section, frozen=True, kw_only=True):
    """`[reader]`; without this section the station has no reader."""

    driver: str
    port: str = ""
    id_tag_format: str = "hex"
    """How the bytes of a card become an idTag: hexadecimal or ten decimal digits, bytes as received or reversed."""
    prefix: str = ""
    """Goes before the digits of each UID."""
    max_bytes: int = 0
    """So many bytes of a UID count, the first ones that the reader sends; 0: all."""
    strip_leading_zeros: bool = False
    baud: int = 9600
    """Of a `line` reader."""
    framing: str = "line"
    """Of a `line` reader: ended by CR or LF; between STX and ETX; or that with a check byte behind it."""
    payload: str = "hex"
    """What `line` and `hid` readers send: a UID's hexadecimal digits, its decimal number, or an idTag as text."""
    wait_pin: str = ""
    accepted_pin: str = ""
    refused_pin: str = ""
    """Of a `pn532`: the pins that have lamps; empty: there is none for it."""
    options: dict[str, Any] = {}
    """For a driver from outside of this package, which says what it wants."""


class EmergencyStopInput(Section, frozen=True, kw_only=True):
    """`[emergency_stop]`: its contact at a GPIO line; without this section the station has none.

    As it is wired by default, a contact to ground that opens, a broken wire counts as pressed too.
    """

    chip: str
    """The GPIO character device, such as /dev/gpiochip0."""
    line: int
    pressed_level: str = "high"
    bias: str = "pull-up"


class Evse(Section, frozen=True, kw_only=True):
    """The charging controller of a connector. All but the first two as of a meter, for one that speaks Modbus."""

    driver: str
    port: str = ""
    baud: int = 0
    parity: str = "N"
    unit: int = 1
    shared: bool = False
    options: dict[str, Any] = {}


class Meter(Section, frozen=True, kw_only=True):
    """The energy meter of a connector. `baud` 0: the model's factory setting, filled in while loading."""

    driver: str
    port: str = ""
    baud: int = 0
    parity: str = "N"
    unit: int = 1
    """Modbus address."""
    shared: bool = False
    """Other units hang on the same line (RS-485); all who use it say so, and take turns."""
    options: dict[str, Any] = {}
    """For a driver from outside of this package."""


class Connector(Section, frozen=True, kw_only=True):
    """`[[connector]]`, numbered from 1 without gaps (OCPP 1.6 §7.8)."""

    id: int
    cable: str
    evse: Evse
    meter: Meter
    max_current_a: float | None = None
    """What its cable, contactor and fuse bear; None: as much as the supply gives."""

    @property
    def meter_in_evse(self) -> bool:
        """Whether the charging controller is the meter too."""
        return self.meter.driver == METER_IN_EVSE

    @property
    def fixed_cable(self) -> bool:
        """Whether the cable hangs at the station, so that there is no lock."""
        return self.cable == "fixed"


class System(Section, frozen=True, kw_only=True):
    """`[system]`: the board."""

    on_reset: str = "restart"
    """What a Reset ends in: all services start anew, the board reboots, or `station run` exits."""
    orphan_grace_s: float = 15.0
    """How long the controllers keep their output without the connectors service (design §2)."""
    hardware_watchdog: str = ""
    """The board's hardware watchdog, mostly /dev/watchdog; empty: none is fed."""
    disk_reserve_mb: int = 32
    """Below so much free space logs go, waiting MeterValues are thinned out, and no new transactions begin; 0: never."""


class Policy(Section, frozen=True, kw_only=True):
    """`[policy]`: what the operator decides where OCPP leaves a choice."""

    charge_before_first_acceptance: bool = False
    """Whether a station that no Central System ever accepted may charge (errata v4.0 3.11)."""
    charge_on_full_disk: bool = False
    """Whether transactions begin while the disk is read-only or has less than `[system] disk_reserve_mb` left."""
    backlog_messages_per_s: float = 20.0
    """How fast messages that waited for the Central System are delivered after an outage; 0: as fast as it answers."""
    keys_not_offered: tuple[str, ...] = ()
    """Optional OCPP keys that GetConfiguration answers as unknown; their defaults hold."""


class Logs(Section, frozen=True, kw_only=True):
    """`[logs]`: what may be read there."""

    full_id_tags: bool = False
    """Whether logs show idTags in full; without it only as much of them as tells cards apart."""


class Metrics(Section, frozen=True, kw_only=True):
    """`[metrics]`: figures for a monitoring system on this board; without this section there are none."""

    listen: str
    """"127.0.0.1:9464", "[::1]:9464" or "unix:/path"."""


class StationConfig(Section, frozen=True, kw_only=True):
    """All of `station.toml`, checked. `ocpp` has texts as OCPP prints them, by the names as printed."""

    station: Station
    central_system: CentralSystem
    supply: Supply
    connectors: tuple[Connector, ...] = msgspec.field(name="connector")
    reader: Reader | None = None
    ocpp: dict[str, str] = {}
    system: System = System()
    policy: Policy = Policy()
    logs: Logs = Logs()
    emergency_stop: EmergencyStopInput | None = None
    metrics: Metrics | None = None

    def current_a_max(self, connector: Connector) -> float:
        """Amps per phase that a connector may ever be offered."""
        supply_a = self.supply.max_current_a
        return supply_a if connector.max_current_a is None else min(connector.max_current_a, supply_a)
