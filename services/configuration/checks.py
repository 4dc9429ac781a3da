"""What must hold in a `station.toml` before anything starts.

Owns: the rules on values and their combinations; each broken rule raises `ConfigurationError` with one line that names key and
remedy (the loader puts the file's name before it). Does not: read the file, or know types and names (`station.py`, `model.py`).
"""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import msgspec

from services.configuration import formats, listen, model
from services.configuration.formats import Problem, quoted
from services.configuration.model import (
    CentralSystem,
    Connector,
    EmergencyStopInput,
    Evse,
    Meter,
    Metrics,
    Policy,
    Reader,
    Station,
    StationConfig,
    Supply,
    System,
)
from services.hardware import outside

CONNECTORS_MAX = 16
_LENGTHS = {"vendor": 20, "model": 20, "serial_number": 25, "firmware_version": 50, "iccid": 20, "imsi": 20}
"""Longest values that BootNotification.req can carry (OCPP 1.6 §6.3)."""
_IDENTITY_LENGTH_MAX = 255
_PREFIX_LENGTH_MAX = 14
"""It leaves room in an idTag for the six digits of the shortest UID."""
_UID_BYTES = (3, 10)


class ConfigurationError(Exception):
    """The settings can't be used. Its text is one line: file, key, what is wrong, what to do."""


Rule = Callable[[], object]
"""Raises ConfigurationError if it is broken. Rules stand alone, so that a person learns of all that are broken at once."""


def check(config: StationConfig) -> None:
    """Raise ConfigurationError on the first rule that `config` breaks. Looks whether CA files exist; touches nothing else."""
    for line in findings(config):
        raise ConfigurationError(line)


def findings(config: StationConfig) -> Iterator[str]:
    """One line for each rule that `config` breaks."""
    for name in SECTION_RULES:
        section = getattr(config, name)
        if section is not None:
            yield from broken(SECTION_RULES[name](section))
    for number, connector in enumerate(config.connectors, 1):
        yield from broken(connector_rules(connector, number))
    yield from broken(_rules_between_sections(config))


def broken(rules: Iterable[Rule]) -> Iterator[str]:
    """The line of each rule that is broken."""
    for rule in rules:
        try:
            rule()
        except ConfigurationError as error:
            yield str(error)


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
    for line in unknown(where, given, known):
        raise ConfigurationError(line)


def unknown(where: str, given: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    """A line for each of `given` that is not in `known`."""
    names = tuple(known)
    for name in given:
        if name not in names:
            yield f"{where}: unknown key {quoted(name)}; {_suggestion(name, names)}"


def _suggestion(word: str, names: tuple[str, ...]) -> str:
    import difflib  # Only a person's slip needs it.

    near = difflib.get_close_matches(word, names, n=1) or difflib.get_close_matches(word.lower(), names, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"


def _station_rules(station: Station) -> Iterator[Rule]:
    for name in ("identity", "vendor", "model"):
        yield partial(_check_given, name, getattr(station, name))
    for name, length_max in (("identity", _IDENTITY_LENGTH_MAX), *_LENGTHS.items()):
        yield partial(_check_text, name, getattr(station, name), length_max)


def _check_given(name: str, value: str) -> None:
    if not value.strip():
        raise ConfigurationError(f"[station] {name}: is empty; the Central System knows the station by it, so give one")


def _check_text(name: str, value: str, length_max: int) -> None:
    if len(value) > length_max:
        raise ConfigurationError(f"[station] {name}: has {len(value)} characters; OCPP allows {length_max}, so shorten it")
    if not value.isprintable():
        raise ConfigurationError(f"[station] {name}: has control characters; remove them")


def _central_system_rules(central: CentralSystem) -> Iterator[Rule]:
    where = "[central_system]"
    yield partial(_check_security_profile, central)
    yield partial(_check_authorization_key, central)
    for file in central.root_ca_files:
        yield partial(_check_ca_file, file)
    yield partial(within, f"{where} reconnect_min_s", central.reconnect_min_s, 0.1, 3600)
    yield partial(within, f"{where} reconnect_max_s", central.reconnect_max_s, central.reconnect_min_s, 86400)
    yield partial(within, f"{where} ping_interval_s", central.ping_interval_s or 0, 0, formats.INTEGER_MAX)
    yield partial(within, f"{where} pong_timeout_s", central.pong_timeout_s, 0.5, 300)


def _check_security_profile(central: CentralSystem) -> None:
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


def _check_authorization_key(central: CentralSystem) -> None:
    if not (central.authorization_key or central.security_profile):
        return
    checked = formats.authorization_key(central.authorization_key)
    if isinstance(checked, Problem):
        missing = f"security_profile {central.security_profile} needs one" if not central.authorization_key else ""
        line = f"[central_system] authorization_key: {missing or checked.text}; ask the operator for the key"
        raise ConfigurationError(line)


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


def _supply_rules(supply: Supply) -> Iterator[Rule]:
    yield partial(within, "[supply] max_current_a", supply.max_current_a, 6, 1000)
    yield partial(_check_phases, supply.phases)
    yield partial(within, "[supply] voltage_v", supply.voltage_v, 50, 1000)


def _check_phases(phases: int) -> None:
    if phases not in (1, 2, 3):
        raise ConfigurationError(f"[supply] phases: {phases} is impossible; give 1, 2 or 3")


def _reader_rules(reader: Reader) -> Iterator[Rule]:
    yield partial(_check_driver, "[reader]", "reader", reader, model.READER_DRIVERS)
    yield partial(one_of, "[reader] id_tag_format", reader.id_tag_format, model.ID_TAG_FORMATS)
    yield partial(one_of, "[reader] framing", reader.framing, model.FRAMINGS)
    yield partial(one_of, "[reader] payload", reader.payload, model.PAYLOADS)
    yield partial(within, "[reader] baud", reader.baud, 300, 921600)
    yield partial(_check_belongs, reader, "baud", ("line",))
    yield partial(_check_belongs, reader, "framing", ("line",))
    yield partial(_check_belongs, reader, "payload", ("line", "hid"))
    yield partial(_check_digits, reader)
    yield partial(_check_pins, reader)


def _check_digits(reader: Reader) -> None:
    """What may be done to the digits of a UID; a text is an idTag as it comes."""
    for key in ("prefix", "max_bytes", "strip_leading_zeros"):
        if getattr(reader, key) and reader.payload == "text":
            raise ConfigurationError(f'[reader] {key}: is for UIDs, and payload "text" is an idTag as it comes; remove it')
    if not (reader.prefix.isascii() and reader.prefix.isprintable()) or len(reader.prefix) > _PREFIX_LENGTH_MAX:
        raise ConfigurationError(f"[reader] prefix: give at most {_PREFIX_LENGTH_MAX} printable ASCII characters")
    if reader.max_bytes:
        within("[reader] max_bytes", reader.max_bytes, *_UID_BYTES)


def _check_pins(reader: Reader) -> None:
    """Each lamp of the reader has a pin of its own, of those that may be had."""
    taken: dict[str, str] = {}
    for key in ("wait_pin", "accepted_pin", "refused_pin"):
        _check_belongs(reader, key, ("pn532",))
        pin = getattr(reader, key)
        if not pin:
            continue
        one_of(f"[reader] {key}", pin, model.READER_PINS)
        if pin in taken:
            raise ConfigurationError(f"[reader] {key}: {pin} is the {taken[pin]} already; give each lamp a pin of its own")
        taken[pin] = key


def _check_driver(where: str, kind: str, device: Reader | Evse | Meter, own: tuple[str, ...]) -> None:
    """Its name is one of ours or of an entry point, and only the latter has `options`."""
    key = f"{where} driver" if where.startswith("[reader") else f"{where}.driver"
    if device.driver in own:
        if device.options:
            raise ConfigurationError(f"{where} options: are for drivers from outside, not for {device.driver}; remove them")
        return
    one_of(key, device.driver, (*own, *outside.names(kind)))


def _check_belongs(reader: Reader, key: str, drivers: tuple[str, ...]) -> None:
    """Refuse a setting that the chosen driver does not obey: it would be believed to work."""
    usual = next(field.default for field in msgspec.structs.fields(Reader) if field.name == key)
    if getattr(reader, key) != usual and reader.driver not in drivers:
        raise ConfigurationError(f"[reader] {key}: is for {' and '.join(drivers)} readers, not for {reader.driver}; remove it")


def _emergency_stop_rules(wired: EmergencyStopInput) -> Iterator[Rule]:
    where = "[emergency_stop]"
    yield partial(one_of, f"{where} pressed_level", wired.pressed_level, model.LEVELS)
    yield partial(one_of, f"{where} bias", wired.bias, model.BIASES)
    yield partial(within, f"{where} line", wired.line, 0, 1023)


def _system_rules(system: System) -> Iterator[Rule]:
    yield partial(one_of, "[system] on_reset", system.on_reset, model.ON_RESET)
    yield partial(within, "[system] orphan_grace_s", system.orphan_grace_s, 0, 300)
    yield partial(within, "[system] disk_reserve_mb", system.disk_reserve_mb, 0, 100_000)


def _policy_rules(policy: Policy) -> Iterator[Rule]:
    yield partial(within, "[policy] backlog_messages_per_s", policy.backlog_messages_per_s, 0, 10_000)


def _metrics_rules(metrics: Metrics) -> Iterator[Rule]:
    yield partial(_check_listen, metrics.listen)


def _check_listen(text: str) -> None:
    try:
        listen.parsed(text)
    except listen.Refused as error:
        raise ConfigurationError(f"[metrics] listen: {quoted(text)}: {error}") from None


SECTION_RULES: dict[str, Callable[[Any], Iterator[Rule]]] = {
    "station": _station_rules,
    "central_system": _central_system_rules,
    "supply": _supply_rules,
    "reader": _reader_rules,
    "emergency_stop": _emergency_stop_rules,
    "system": _system_rules,
    "policy": _policy_rules,
    "logs": lambda _: iter(()),
    "metrics": _metrics_rules,
}
"""What must hold within each section, whatever the others say."""


def connector_rules(connector: Connector, number: int) -> Iterator[Rule]:
    """What must hold within the `number`-th `[[connector]]`."""
    where = f"[[connector]] number {number}"
    yield partial(_check_connector_id, where, connector.id, number)
    yield partial(one_of, f"{where} cable", connector.cable, model.CABLES)
    if connector.max_current_a is not None:
        yield partial(within, f"{where} max_current_a", connector.max_current_a, 6, 1000)
    yield partial(_check_driver, f"{where} evse", "evse", connector.evse, model.EVSE_DRIVERS)
    yield from _evse_rules(f"{where} evse", connector.evse)
    yield partial(_check_driver, f"{where} meter", "meter", connector.meter, tuple(model.METER_MEASURANDS))
    yield partial(_check_meter_in_evse, where, connector)
    yield partial(one_of, f"{where} meter.parity", connector.meter.parity, model.PARITIES)
    yield partial(within, f"{where} meter.baud", connector.meter.baud, 300, 921600)
    yield partial(within, f"{where} meter.unit", connector.meter.unit, 1, 247)


def _evse_rules(where: str, evse: Evse) -> Iterator[Rule]:
    if evse.driver in model.MODBUS_EVSE_BAUDS:
        yield partial(within, f"{where}.baud", evse.baud, 300, 921600)
        yield partial(one_of, f"{where}.parity", evse.parity, model.PARITIES)
        yield partial(within, f"{where}.unit", evse.unit, 1, 247)
    else:
        yield partial(_check_speaks_no_modbus, where, evse)


def _check_meter_in_evse(where: str, connector: Connector) -> None:
    """A controller that is the meter too has to have one, and its port is the controller's."""
    evse, meter = connector.evse, connector.meter
    if not connector.meter_in_evse:
        return
    if evse.driver not in model.EVSES_WITH_METER:
        raise ConfigurationError(f"{where} meter.driver: {evse.driver} has no meter of its own; name the meter that is fitted")
    if meter.port or meter.shared:
        raise ConfigurationError(f"{where} meter.port: the meter is in the charging controller, whose port it has; remove it")


def _check_speaks_no_modbus(where: str, evse: Evse) -> None:
    if (evse.baud, evse.parity, evse.unit, evse.shared) != (0, "N", 1, False):
        raise ConfigurationError(f"{where}: {evse.driver} does not speak Modbus; remove baud, parity, unit and shared")


def _check_connector_id(where: str, given: int, number: int) -> None:
    if given != number:
        raise ConfigurationError(f"{where} id: is {given}; connectors are numbered 1, 2, … in order, so give {number}")


def _rules_between_sections(config: StationConfig) -> Iterator[Rule]:
    yield partial(_check_user_name, config)
    yield partial(_check_connector_count, config)
    taken: dict[str, str] = {}
    sharing = dict(_sharing(config))
    for where, port in ports(config):
        if where not in sharing:
            yield partial(_check_port, where, port, taken)
    lines: dict[str, dict[str, Evse | Meter]] = {}
    for where, device in sharing.items():
        yield partial(_check_shared, where, device, taken, lines)


def _sharing(config: StationConfig) -> Iterator[tuple[str, Evse | Meter]]:
    """The devices that share a line, after the keys that name their ports."""
    for connector in config.connectors:
        devices: tuple[tuple[str, Evse | Meter], ...] = (("evse", connector.evse), ("meter", connector.meter))
        for name, device in devices:
            if device.shared:
                yield f"[[connector]] number {connector.id} {name}.port", device


def _check_shared(where: str, device: Evse | Meter, taken: dict[str, str], lines: dict[str, dict[str, Evse | Meter]]) -> None:
    """All on one line name it alike and talk alike, and each unit answers for itself."""
    others = lines.setdefault(os.path.realpath(device.port), {})
    if not others:
        _check_port(where, device.port, taken)
    for place, other in others.items():
        if other.port != device.port:
            raise ConfigurationError(f"{where}: {device.port} and {other.port} are one line; write it the same way at {place}")
        if (other.baud, other.parity) != (device.baud, device.parity):
            raise ConfigurationError(f"{where}: differs in baud or parity from {place}, but shares its line; make them equal")
        if other.unit == device.unit:
            raise ConfigurationError(
                f"{where}: is unit {device.unit}, as {place} on the same line is; give each a unit of its own"
            )
    others[where] = device


def _check_connector_count(config: StationConfig) -> None:
    if not 1 <= len(config.connectors) <= CONNECTORS_MAX:
        raise ConfigurationError(f"[[connector]]: {len(config.connectors)} given; give 1 to {CONNECTORS_MAX}")


def _check_port(where: str, port: str, taken: dict[str, str]) -> None:
    """Each device has a port of its own: one port has one owner, and two links to the same device are one port."""
    if not port:
        raise ConfigurationError(
            f"{where}: is missing; name the serial device, best as /dev/serial/by-id/…, or run with --virtual"
        )
    real = os.path.realpath(port)
    if real in taken:
        raise ConfigurationError(
            f"{where}: {port} is also {taken[real]}; give each device a port of its own, or let all of them share it"
        )
    taken[real] = where


def ports(config: StationConfig) -> Iterator[tuple[str, str]]:
    """Every serial port that `config` names, after the key that names it."""
    for connector in config.connectors:
        yield f"[[connector]] number {connector.id} evse.port", connector.evse.port
        if not connector.meter_in_evse:
            yield f"[[connector]] number {connector.id} meter.port", connector.meter.port
    if config.reader is not None:
        yield "[reader] port", config.reader.port
