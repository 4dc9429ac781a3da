"""What must hold in a `station.toml` before anything starts.

Owns: the rules on values and their combinations; each broken rule raises `ConfigurationError` with one line that names key and
remedy (the loader puts the file's name before it). Does not: read the file, or know types and names (`station.py`, `model.py`).
"""

import os
from collections.abc import Iterable

import msgspec

from services.configuration import formats, model
from services.configuration.formats import Problem, quoted
from services.configuration.model import CentralSystem, Connector, Reader, Station, StationConfig

CONNECTORS_MAX = 16
_LENGTHS = {"vendor": 20, "model": 20, "serial_number": 25, "firmware_version": 50, "iccid": 20, "imsi": 20}
"""Longest values that BootNotification.req can carry (OCPP 1.6 §6.3)."""
_IDENTITY_LENGTH_MAX = 255


class ConfigurationError(Exception):
    """The settings can't be used. Its text is one line: file, key, what is wrong, what to do."""


def check(config: StationConfig) -> None:
    """Raise ConfigurationError on the first rule that `config` breaks. Looks whether CA files exist; touches nothing else."""
    _check_station(config.station)
    _check_central_system(config.central_system)
    _check_user_name(config)
    _check_supply(config)
    if not 1 <= len(config.connectors) <= CONNECTORS_MAX:
        raise ConfigurationError(f"[[connector]]: {len(config.connectors)} given; give 1 to {CONNECTORS_MAX}")
    for number, connector in enumerate(config.connectors, 1):
        _check_connector(connector, number)
    if config.reader is not None:
        _check_reader(config.reader)
    one_of("[system] on_reset", config.system.on_reset, model.ON_RESET)
    within("[system] orphan_grace_s", config.system.orphan_grace_s, 0, 300)
    within("[system] disk_reserve_mb", config.system.disk_reserve_mb, 0, 100_000)
    within("[policy] backlog_messages_per_s", config.policy.backlog_messages_per_s, 0, 10_000)
    _check_ports(config)


def one_of(where: str, value: str, allowed: Iterable[str]) -> None:
    """Refuse a word that is not in `allowed`."""
    names = tuple(allowed)
    if value not in names:
        raise ConfigurationError(f"{where}: {quoted(value)} is unknown; {_suggestion(value, names)}")


def within(where: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside `low` to `high`, both included; also what is not a finite number."""
    if not low <= value <= high:
        raise ConfigurationError(f"{where}: {value:g} is out of range; give {low:g} to {high:g}")


def refuse_unknown(where: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse the first of `given` that is not in `known`, and name the nearest."""
    names = tuple(known)
    for name in given:
        if name not in names:
            raise ConfigurationError(f"{where}: unknown key {quoted(name)}; {_suggestion(name, names)}")


def _suggestion(word: str, names: tuple[str, ...]) -> str:
    import difflib  # Only a person's slip needs it.

    near = difflib.get_close_matches(word, names, n=1) or difflib.get_close_matches(word.lower(), names, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"


def _check_station(station: Station) -> None:
    for name in ("identity", "vendor", "model"):
        if not getattr(station, name).strip():
            raise ConfigurationError(f"[station] {name}: is empty; the Central System knows the station by it, so give one")
    for name, length_max in (("identity", _IDENTITY_LENGTH_MAX), *_LENGTHS.items()):
        value: str = getattr(station, name)
        if len(value) > length_max:
            raise ConfigurationError(f"[station] {name}: has {len(value)} characters; OCPP allows {length_max}, so shorten it")
        if not value.isprintable():
            raise ConfigurationError(f"[station] {name}: has control characters; remove them")


def _check_central_system(central: CentralSystem) -> None:
    where = "[central_system]"
    if central.security_profile == 3:
        raise ConfigurationError(f"{where} security_profile: 3 (client certificates) is not supported yet; use 0, 1 or 2")
    within(f"{where} security_profile", central.security_profile, 0, 2)
    scheme = _check_url(central.url)
    wanted = "wss" if central.security_profile == 2 else "ws"
    if scheme != wanted:
        raise ConfigurationError(
            f"{where} url: security_profile {central.security_profile} needs {wanted}://, but the url has {scheme}://; "
            "change one of the two"
        )
    if central.authorization_key or central.security_profile:
        checked = formats.authorization_key(central.authorization_key)
        if isinstance(checked, Problem):
            missing = f"security_profile {central.security_profile} needs one" if not central.authorization_key else ""
            raise ConfigurationError(f"{where} authorization_key: {missing or checked.text}; ask the operator for the key")
    for file in central.root_ca_files:
        _check_ca_file(file)
    within(f"{where} reconnect_min_s", central.reconnect_min_s, 0.1, 3600)
    within(f"{where} reconnect_max_s", central.reconnect_max_s, central.reconnect_min_s, 86400)
    within(f"{where} ping_interval_s", central.ping_interval_s or 0, 0, formats.INTEGER_MAX)
    within(f"{where} pong_timeout_s", central.pong_timeout_s, 0.5, 300)


def _check_url(url: str) -> str:
    """Scheme of a usable endpoint URL (OCPP-J 1.6 §3.1.1)."""
    from services.ocpp_link.url import UrlError, parse

    try:
        return parse(url).scheme
    except UrlError as error:
        raise ConfigurationError(f"[central_system] url: {error}") from None


def _check_user_name(config: StationConfig) -> None:
    if config.central_system.security_profile and ":" in config.station.identity:
        raise ConfigurationError(
            "[station] identity: has a colon, which HTTP Basic authentication can't carry in a user name; choose another"
        )


def _check_ca_file(file: str) -> None:
    where = "[central_system] root_ca_files"
    try:
        with open(file, "rb") as opened:
            content = opened.read(1_000_000)
    except OSError as error:
        raise ConfigurationError(f"{where}: {file} can't be read ({error.strerror}); give the path of a PEM file") from None
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise ConfigurationError(f"{where}: {file} has no certificate in PEM form; convert it, or give another file")


def _check_supply(config: StationConfig) -> None:
    within("[supply] max_current_a", config.supply.max_current_a, 6, 1000)
    if config.supply.phases not in (1, 2, 3):
        raise ConfigurationError(f"[supply] phases: {config.supply.phases} is impossible; give 1, 2 or 3")
    within("[supply] voltage_v", config.supply.voltage_v, 50, 1000)


def _check_connector(connector: Connector, number: int) -> None:
    where = f"[[connector]] number {number}"
    if connector.id != number:
        raise ConfigurationError(f"{where} id: is {connector.id}; connectors are numbered 1, 2, … in order, so give {number}")
    one_of(f"{where} cable", connector.cable, model.CABLES)
    if connector.max_current_a is not None:
        within(f"{where} max_current_a", connector.max_current_a, 6, 1000)
    one_of(f"{where} evse.driver", connector.evse.driver, model.EVSE_DRIVERS)
    one_of(f"{where} meter.driver", connector.meter.driver, model.METER_BAUDS)
    one_of(f"{where} meter.parity", connector.meter.parity, model.PARITIES)
    within(f"{where} meter.baud", connector.meter.baud, 300, 921600)
    within(f"{where} meter.unit", connector.meter.unit, 1, 247)


def _check_reader(reader: Reader) -> None:
    one_of("[reader] driver", reader.driver, model.READER_DRIVERS)
    one_of("[reader] id_tag_format", reader.id_tag_format, model.ID_TAG_FORMATS)
    one_of("[reader] framing", reader.framing, model.FRAMINGS)
    one_of("[reader] payload", reader.payload, model.PAYLOADS)
    within("[reader] baud", reader.baud, 300, 921600)
    _check_belongs(reader, "baud", ("line",))
    _check_belongs(reader, "framing", ("line",))
    _check_belongs(reader, "payload", ("line", "hid"))


def _check_belongs(reader: Reader, key: str, drivers: tuple[str, ...]) -> None:
    """Refuse a setting that the chosen driver does not obey: it would be believed to work."""
    usual = next(field.default for field in msgspec.structs.fields(Reader) if field.name == key)
    if getattr(reader, key) != usual and reader.driver not in drivers:
        raise ConfigurationError(f"[reader] {key}: is for {' and '.join(drivers)} readers, not for {reader.driver}; remove it")


def _check_ports(config: StationConfig) -> None:
    """Each device has a port of its own: one port has one owner, and two links to the same device are one port."""
    taken: dict[str, str] = {}
    for where, port in _ports(config):
        if not port:
            raise ConfigurationError(
                f"{where}: is missing; name the serial device, best as /dev/serial/by-id/…, or run with --virtual"
            )
        real = os.path.realpath(port)
        if real in taken:
            raise ConfigurationError(f"{where}: {port} is also {taken[real]}; give each device a port of its own")
        taken[real] = where


def _ports(config: StationConfig) -> Iterable[tuple[str, str]]:
    for connector in config.connectors:
        yield f"[[connector]] number {connector.id} evse.port", connector.evse.port
        yield f"[[connector]] number {connector.id} meter.port", connector.meter.port
    if config.reader is not None:
        yield "[reader] port", config.reader.port
