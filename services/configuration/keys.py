"""The one table of OCPP configuration keys, and what may be done to them (OCPP 1.6 §9, errata v4.0, OCPP-J errata).

Owns: names, types, bounds, defaults and access; which answer a GetConfiguration or ChangeConfiguration gets. Pure: values go in
and come out as a dict of texts. Does not: store (`store.py`), read `station.toml` (`station.py`), or act on a value.

Offered is what the firmware really uses. So there is no BlinkRepeat and LightIntensity (no lights) and no
SupportedFeatureProfilesMaxLength (errata v4.0 3.80); keys of other profiles come with the code that uses them
(SupportedFileTransferProtocols of errata v4.0 3.88 is FirmwareManagement's).
"""

from enum import Enum

import msgspec

from bus.vocabulary import ConfigurationStatus, Measurand, Phase
from services.configuration import formats
from services.configuration.formats import INTEGER_MAX, Problem

CORE = "Core"
LOCAL_AUTH_LIST_MANAGEMENT = "LocalAuthListManagement"
RESERVATION = "Reservation"
REMOTE_TRIGGER = "RemoteTrigger"
PROFILES: tuple[str, ...] = (CORE, LOCAL_AUTH_LIST_MANAGEMENT, RESERVATION, REMOTE_TRIGGER)
"""Feature profiles that this firmware implements (OCPP 1.6 §9.1.29); those of a station: `Capabilities.profiles`."""
MEASURANDS = (
    Measurand.ENERGY_ACTIVE_IMPORT_REGISTER,
    Measurand.ENERGY_ACTIVE_EXPORT_REGISTER,
    Measurand.POWER_ACTIVE_IMPORT,
    Measurand.POWER_ACTIVE_EXPORT,
    Measurand.CURRENT_IMPORT,
    Measurand.VOLTAGE,
    Measurand.FREQUENCY,
    Measurand.POWER_FACTOR,
    Measurand.CURRENT_OFFERED,
    Measurand.POWER_OFFERED,
)
"""What the firmware can tell: the readings of `bus.messages.MeterSample`, and what the controller offers."""
SEND_LOCAL_LIST_LENGTH_MAX = 1000
"""So many entries with all their fields, printed in lines, are a frame that the link takes (256 KiB)."""
AUTHORIZATION_CACHE_ENABLED = "AuthorizationCacheEnabled"
AUTHORIZATION_KEY = "AuthorizationKey"
RESERVE_CONNECTOR_ZERO_SUPPORTED = "ReserveConnectorZeroSupported"
SUPPORTED_FEATURE_PROFILES = "SupportedFeatureProfiles"
WEB_SOCKET_PING_INTERVAL = "WebSocketPingInterval"


class Access(Enum):
    """What the Central System may do with a key."""

    READ = "R"
    READ_WRITE = "RW"
    WRITE = "W"


class Type(Enum):
    """How the text of a value is read (`formats.py`)."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    MEASURANDS = "list of measurands"
    PHASE_ROTATION = "list of phase rotations"
    PROFILES = "list of feature profiles"
    PASSWORD = "password"


class Key(msgspec.Struct, frozen=True):
    """One line of the table. `required` keys can't be hidden; `minimum` and `maximum` bound integers, both included."""

    name: str
    type: Type
    default: str
    access: Access
    clause: str
    required: bool = True
    minimum: int = 0
    maximum: int = INTEGER_MAX
    unit: str = ""
    items_max_key: str = ""
    """The key that bounds how many items this list may have."""
    profile: str = CORE
    reboot_required: bool = False


class Capabilities(msgspec.Struct, frozen=True):
    """What this station is, as far as it decides which keys and values it takes (`station.capabilities`)."""

    connectors: int = 1
    fixed_cable: bool = True
    """Every connector has its cable fixed: there is nothing to unlock (errata v4.0 3.83)."""
    phases: int = 1
    measurands: tuple[Measurand, ...] = MEASURANDS
    profiles: tuple[str, ...] = PROFILES
    """Feature profiles that are on. Of one that is off there are no keys, and its actions get NotSupported."""
    not_offered: tuple[str, ...] = ()
    """Optional keys that this station hides; their defaults hold."""


class Change(msgspec.Struct, frozen=True):
    """Outcome of a ChangeConfiguration: the answer, all values after it, and for the log why. `key` as printed, or empty."""

    status: ConfigurationStatus
    values: dict[str, str]
    reason: str
    key: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the value was taken and has to be stored before the answer goes out."""
        return self.status in (ConfigurationStatus.ACCEPTED, ConfigurationStatus.REBOOT_REQUIRED)


class Entry(msgspec.Struct, frozen=True):
    """A key in a GetConfiguration.conf (OCPP 1.6 §7.29); `value` None: not readable."""

    key: str
    readonly: bool
    value: str | None


class Report(msgspec.Struct, frozen=True):
    """Content of a GetConfiguration.conf (OCPP 1.6 §6.24)."""

    entries: tuple[Entry, ...]
    unknown: tuple[str, ...]


def _flag(name: str, default: str, clause: str, *, required: bool = True, access: Access = Access.READ_WRITE) -> Key:
    return Key(name, Type.BOOLEAN, default, access, clause, required=required)


def _number(name: str, default: str, clause: str, *, unit: str, minimum: int = 0, required: bool = True) -> Key:
    return Key(name, Type.INTEGER, default, Access.READ_WRITE, clause, required=required, minimum=minimum, unit=unit)


def _fixed_number(name: str, default: str, clause: str, *, required: bool = False, minimum: int = 1) -> Key:
    return Key(name, Type.INTEGER, default, Access.READ, clause, required=required, minimum=minimum)


def _measurands(name: str, default: str, clause: str) -> Key:
    return Key(name, Type.MEASURANDS, default, Access.READ_WRITE, clause, items_max_key=f"{name}MaxLength")


def _list_length(name: str, default: str, clause: str, *, maximum: int) -> Key:
    profile = LOCAL_AUTH_LIST_MANAGEMENT
    return Key(name, Type.INTEGER, default, Access.READ, clause, minimum=1, maximum=maximum, profile=profile)


_ENERGY = str(Measurand.ENERGY_ACTIVE_IMPORT_REGISTER)

KEYS: tuple[Key, ...] = (
    _flag("AllowOfflineTxForUnknownId", "false", "OCPP 1.6 §9.1.1", required=False),
    _flag(AUTHORIZATION_CACHE_ENABLED, "true", "OCPP 1.6 §9.1.2", required=False),
    Key(AUTHORIZATION_KEY, Type.PASSWORD, "", Access.WRITE, "OCPP-J errata 3.10", required=False),
    _flag("AuthorizeRemoteTxRequests", "true", "OCPP 1.6 §9.1.3"),
    _number("ClockAlignedDataInterval", "0", "OCPP 1.6 §9.1.5", unit="s"),
    # A ConnectionTimeOut of 0 would cancel each session that begins with a card, so it is out of range.
    _number("ConnectionTimeOut", "60", "OCPP 1.6 §9.1.6, errata v4.0 3.76", unit="s", minimum=1),
    Key(
        "ConnectorPhaseRotation",
        Type.PHASE_ROTATION,
        "",
        Access.READ_WRITE,
        "OCPP 1.6 §9.1.7",
        items_max_key="ConnectorPhaseRotationMaxLength",
    ),
    _fixed_number("ConnectorPhaseRotationMaxLength", "", "OCPP 1.6 §9.1.8"),
    _fixed_number("GetConfigurationMaxKeys", "100", "OCPP 1.6 §9.1.9", required=True),
    _number("HeartbeatInterval", "300", "OCPP 1.6 §9.1.10", unit="s", minimum=1),
    Key(
        "LocalAuthListEnabled",
        Type.BOOLEAN,
        "true",
        Access.READ_WRITE,
        "OCPP 1.6 §9.2.1",
        profile=LOCAL_AUTH_LIST_MANAGEMENT,
    ),
    _list_length("LocalAuthListMaxLength", "10000", "OCPP 1.6 §9.2.2", maximum=100_000),
    _flag("LocalAuthorizeOffline", "true", "OCPP 1.6 §9.1.12"),
    _flag("LocalPreAuthorize", "false", "OCPP 1.6 §9.1.13"),
    _number("MaxEnergyOnInvalidId", "0", "OCPP 1.6 §9.1.14", unit="Wh", required=False),
    _number("MessageTimeout", "30", "errata v4.0 3.82", unit="s", minimum=1, required=False),
    _measurands("MeterValuesAlignedData", _ENERGY, "OCPP 1.6 §9.1.15"),
    _fixed_number("MeterValuesAlignedDataMaxLength", "50", "OCPP 1.6 §9.1.16"),
    _number("MeterValueSampleInterval", "60", "OCPP 1.6 §9.1.19", unit="s"),
    _measurands("MeterValuesSampledData", _ENERGY, "OCPP 1.6 §9.1.17"),
    _fixed_number("MeterValuesSampledDataMaxLength", "50", "OCPP 1.6 §9.1.18"),
    _number("MinimumStatusDuration", "0", "OCPP 1.6 §9.1.20", unit="s", required=False),
    _fixed_number("NumberOfConnectors", "", "OCPP 1.6 §9.1.21", required=True),
    Key(
        RESERVE_CONNECTOR_ZERO_SUPPORTED,
        Type.BOOLEAN,
        "true",
        Access.READ,
        "OCPP 1.6 §9.3.1",
        required=False,
        profile=RESERVATION,
    ),
    _number("ResetRetries", "0", "OCPP 1.6 §9.1.22", unit="times"),
    _list_length("SendLocalListMaxLength", "1000", "OCPP 1.6 §9.2.3", maximum=SEND_LOCAL_LIST_LENGTH_MAX),
    _fixed_number("StopTransactionMaxMeterValues", "500", "errata v4.0 3.89", minimum=2),
    _flag("StopTransactionOnEVSideDisconnect", "true", "OCPP 1.6 §9.1.23, errata v4.0 3.79", required=False),
    _flag("StopTransactionOnInvalidId", "true", "OCPP 1.6 §9.1.24"),
    _measurands("StopTxnAlignedData", "", "OCPP 1.6 §9.1.25"),
    _fixed_number("StopTxnAlignedDataMaxLength", "50", "OCPP 1.6 §9.1.26"),
    _measurands("StopTxnSampledData", "", "OCPP 1.6 §9.1.27"),
    _fixed_number("StopTxnSampledDataMaxLength", "50", "OCPP 1.6 §9.1.28"),
    Key(SUPPORTED_FEATURE_PROFILES, Type.PROFILES, "", Access.READ, "OCPP 1.6 §9.1.29"),
    _number("TransactionMessageAttempts", "3", "OCPP 1.6 §9.1.31", unit="times", minimum=1),
    _number("TransactionMessageRetryInterval", "60", "OCPP 1.6 §9.1.32", unit="s"),
    _flag("UnlockConnectorOnEVSideDisconnect", "true", "OCPP 1.6 §9.1.33, errata v4.0 3.83"),
    _number(WEB_SOCKET_PING_INTERVAL, "20", "OCPP 1.6 §9.1.34, OCPP-J 1.6 §7", unit="s", required=False),
)
"""In alphabetical order, which is the order of GetConfiguration. Choices are in each line's bounds and default."""

_BY_NAME = {key.name.casefold(): key for key in KEYS}


def find(name: str, capabilities: Capabilities) -> Key | None:
    """The key of that name, spelled in any case (CiString50, OCPP 1.6 §6.9), if this station offers it."""
    key = _BY_NAME.get(name.casefold())
    if key is None or key.name in capabilities.not_offered or key.profile not in capabilities.profiles:
        return None
    return key


def find_any(name: str) -> Key | None:
    """The key of that name, whether this station offers it or not."""
    return _BY_NAME.get(name.casefold())


def access(key: Key, capabilities: Capabilities) -> Access:
    """What the Central System may do with `key` here. A fixed cable has no lock to configure (errata v4.0 3.83)."""
    if key.name == "UnlockConnectorOnEVSideDisconnect" and capabilities.fixed_cable:
        return Access.READ
    return key.access


def profile_is_on(values: dict[str, str], profile: str) -> bool:
    """Whether a feature profile is on (OCPP 1.6 §9.1.29)."""
    return profile in formats.items(values.get(SUPPORTED_FEATURE_PROFILES, ",".join(PROFILES)))


def defaults(capabilities: Capabilities) -> dict[str, str]:
    """Values before anybody set one: of all keys, the hidden ones too, since code relies on each."""
    last = capabilities.connectors
    rotation = "NotApplicable" if capabilities.phases == 1 else "Unknown"
    derived = {
        "ConnectorPhaseRotation": ",".join(f"{number}.{rotation}" for number in range(last + 1)),
        "ConnectorPhaseRotationMaxLength": str(last + 1),
        "NumberOfConnectors": str(last),
        "SupportedFeatureProfiles": ",".join(capabilities.profiles),
    }
    if capabilities.fixed_cable:
        derived["UnlockConnectorOnEVSideDisconnect"] = "false"
    if AUTHORIZATION_CACHE_ENABLED in capabilities.not_offered:
        # Without the key there is no cache (OCPP 1.6 §9.1.2), so that ClearCache is Rejected (errata v4.0 3.23).
        derived[AUTHORIZATION_CACHE_ENABLED] = "false"
    if RESERVE_CONNECTOR_ZERO_SUPPORTED in capabilities.not_offered:
        # Not set is as good as false (OCPP 1.6 §5.13).
        derived[RESERVE_CONNECTOR_ZERO_SUPPORTED] = "false"
    return {key.name: derived.get(key.name, key.default) for key in KEYS if key.profile in capabilities.profiles}


def validate(key: Key, text: str, capabilities: Capabilities, values: dict[str, str]) -> str | Problem:
    """`text` as it is kept and reported, or why `key` can't have it. Access is not looked at.

    `values` are those in force: the MaxLength key of a list bounds how many items it may have (OCPP 1.6 §5.3).
    """
    if len(text) > formats.VALUE_LENGTH_MAX:
        return Problem(f"the value has {len(text)} characters; at most {formats.VALUE_LENGTH_MAX} are allowed")
    checked = _checked(key, text, capabilities)
    if key.items_max_key and not isinstance(checked, Problem):
        count, items_max = len(formats.items(checked)), integer(values, key.items_max_key)
        if count > items_max:
            return Problem(f"{count} items; {key.items_max_key} allows {items_max}")
    return checked


def change(values: dict[str, str], name: str, text: str, capabilities: Capabilities) -> Change:
    """What a ChangeConfiguration does (OCPP 1.6 §5.3). `values` itself stays as it is."""
    key = find(name, capabilities)
    if key is None:
        return Change(
            ConfigurationStatus.NOT_SUPPORTED, values, "this station has no such key, `station config` lists those it has"
        )
    if access(key, capabilities) is Access.READ:
        return Change(ConfigurationStatus.REJECTED, values, "the key is read-only here", key.name)
    checked = validate(key, text, capabilities, values)
    if isinstance(checked, Problem):
        return Change(ConfigurationStatus.REJECTED, values, checked.text, key.name)
    status = ConfigurationStatus.REBOOT_REQUIRED if key.reboot_required else ConfigurationStatus.ACCEPTED
    return Change(status, {**values, key.name: checked}, "", key.name)


def report(values: dict[str, str], requested: tuple[str, ...], capabilities: Capabilities) -> Report | Problem:
    """Content of a GetConfiguration.conf (OCPP 1.6 §5.8): no requested names means all keys, however many these are.

    Choice: more names than GetConfigurationMaxKeys is a Problem, to be answered with OccurenceConstraintViolation: leaving
    some out could not be told from the answer. The AuthorizationKey is never read out: asked for by name, it is there without
    a value (OCPP-J 1.6 §6.2.2); among all keys it is left out.
    """
    keys_max = integer(values, "GetConfigurationMaxKeys")
    if len(requested) > keys_max:
        return Problem(f"{len(requested)} keys requested; GetConfigurationMaxKeys is {keys_max}")
    if not requested:
        offered = (find(key.name, capabilities) for key in KEYS)
        return Report(tuple(_entry(key, values, capabilities) for key in offered if key and _readable(key)), ())
    once: dict[str, str] = {}
    for name in requested:
        once.setdefault(name.casefold(), name)
    found = [(name, find(name, capabilities)) for name in once.values()]
    entries = tuple(_entry(key, values, capabilities) for _, key in found if key is not None)
    return Report(entries, tuple(name for name, key in found if key is None))


def public(values: dict[str, str]) -> dict[str, str]:
    """`values` without secrets: fit for the bus, logs and people."""
    return {name: text for name, text in values.items() if name != AUTHORIZATION_KEY}


def boolean(values: dict[str, str], name: str) -> bool:
    """Value of a boolean key."""
    return values[name] == "true"


def integer(values: dict[str, str], name: str) -> int:
    """Value of an integer key, in the unit of the table."""
    return int(values[name])


def measurands(values: dict[str, str], name: str) -> tuple[tuple[Measurand, Phase | None], ...]:
    """Value of a list of measurands; a phase means only this phase, None means all that are measured."""
    parsed = (formats.measurand(item) for item in formats.items(values[name]))
    return tuple(pair for pair in parsed if pair is not None)


def _checked(key: Key, text: str, capabilities: Capabilities) -> str | Problem:
    match key.type:
        case Type.BOOLEAN:
            return formats.boolean(text)
        case Type.INTEGER:
            return formats.integer(text, key.minimum, key.maximum)
        case Type.MEASURANDS:
            return formats.measurands(text, capabilities.measurands, capabilities.phases)
        case Type.PHASE_ROTATION:
            return formats.phase_rotation(text)
        case Type.PROFILES:
            return formats.words(text, PROFILES)
        case Type.PASSWORD:
            return formats.authorization_key(text)


def _readable(key: Key) -> bool:
    return key.access is not Access.WRITE


def _entry(key: Key, values: dict[str, str], capabilities: Capabilities) -> Entry:
    readonly = access(key, capabilities) is Access.READ
    return Entry(key.name, readonly, values.get(key.name) if _readable(key) else None)
