"""`station.toml`: the one file that configures a station, read and checked whole before anything starts.

Owns: reading it, naming what is wrong in it, and its virtual form. Does not: hold the shapes (`model.py`), the rules
(`checks.py`) or the OCPP keys (`keys.py`). The exceptions of this package are one: `ConfigurationError`.
"""

import os
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec

from bus.vocabulary import Measurand
from services.configuration import checks, formats, keys, model
from services.configuration.checks import ConfigurationError
from services.configuration.formats import Problem
from services.configuration.model import (
    CentralSystem,
    Connector,
    EmergencyStopInput,
    Evse,
    Logs,
    Meter,
    Metrics,
    Policy,
    Reader,
    Station,
    StationConfig,
    Supply,
    System,
)

__all__ = [
    "CentralSystem",
    "ConfigurationError",
    "Connector",
    "Evse",
    "Meter",
    "Policy",
    "Reader",
    "Station",
    "StationConfig",
    "Supply",
    "System",
    "capabilities",
    "examine",
    "initial_values",
    "load",
    "virtual",
]

_FILE_BYTES_MAX = 1_000_000
_SECTIONS: dict[str, type[model.Section]] = {
    "station": Station,
    "central_system": CentralSystem,
    "supply": Supply,
    "reader": Reader,
    "emergency_stop": EmergencyStopInput,
    "system": System,
    "policy": Policy,
    "logs": Logs,
    "metrics": Metrics,
}
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text in quotes",
    "bool": "true or false",
    "array": "a list in brackets",
    "object": "a table",
    "null": "nothing",
}


def load(path: str, *, with_virtual_devices: bool = False) -> StationConfig:
    """Settings of a station, checked. Raises ConfigurationError: one line with file, key and remedy.

    `with_virtual_devices` (`--virtual`): ports may be left out, and are those of the simulator.
    """
    config, found = examine(path, with_virtual_devices=with_virtual_devices)
    for line in found:
        raise ConfigurationError(f"{path}: {line}")
    assert config is not None, f"there is nothing wrong with {path}, and yet no configuration"
    return config


def examine(path: str, *, with_virtual_devices: bool = False) -> tuple[StationConfig | None, list[str]]:
    """Settings of a station, and one line for each thing that is wrong with them, without the file's name.

    None: there are values of the wrong type, so that the settings as a whole can't be told.
    """
    found: list[str] = []
    try:
        table = _read(path)
        found += _unknown(table)
        misfits = list(_misfits(table))
        if misfits:
            return None, found + misfits + list(_broken_in_sound_sections(table))
        config = _converted(table, os.path.dirname(os.path.abspath(path)))
        if with_virtual_devices:
            config = virtual(config)
        found += checks.findings(config)
        texts = _ocpp(table.get("ocpp", {}), config, found)
        return msgspec.structs.replace(config, ocpp=texts), found
    except ConfigurationError as error:
        return None, [*found, str(error)]


def virtual(config: StationConfig) -> StationConfig:
    """`config` on the simulator's devices: ports relative to the state directory, into which every service changes.

    What shares a line shares a virtual one; where no port is given, what belongs to one connector does.
    """
    lines: dict[str, str] = {}

    def port(name: str, number: int, device: Evse | Meter) -> str:
        if device.driver == model.METER_IN_EVSE:
            return ""
        line = device.port or f"connector {number}"
        return lines.setdefault(line, f"dev/line-{number}") if device.shared else f"dev/{name}-{number}"

    connectors = tuple(
        msgspec.structs.replace(
            connector,
            evse=msgspec.structs.replace(connector.evse, port=port("evse", number, connector.evse)),
            meter=msgspec.structs.replace(connector.meter, port=port("meter", number, connector.meter)),
        )
        for number, connector in enumerate(config.connectors, 1)
    )
    reader = config.reader and msgspec.structs.replace(config.reader, port="dev/reader")
    return msgspec.structs.replace(config, connectors=connectors, reader=reader)


def capabilities(config: StationConfig) -> keys.Capabilities:
    """What `config` means for the OCPP keys. A measurand that no device of any connector gives is not supported.

    `[ocpp] SupportedFeatureProfiles` switches profiles on; without it all that the firmware has are on.
    """
    phases = min(
        (model.METER_PHASES.get(connector.meter.driver, _phases_outside(config, connector)) for connector in config.connectors),
        default=1,
    )
    given: set[Measurand] = set()
    for connector in config.connectors:
        given.update(model.METER_MEASURANDS.get(connector.meter.driver, model.MEASURED))
        given.update(model.EVSE_MEASURANDS.get(connector.evse.driver, model.OFFERED))
    return keys.Capabilities(
        connectors=len(config.connectors),
        fixed_cable=all(connector.fixed_cable for connector in config.connectors),
        phases=phases,
        measurands=tuple(measurand for measurand in keys.MEASURANDS if measurand in given),
        profiles=formats.items(config.ocpp.get(keys.SUPPORTED_FEATURE_PROFILES, ",".join(keys.PROFILES))),
        not_offered=config.policy.keys_not_offered,
    )


def _phases_outside(config: StationConfig, connector: Connector) -> int:
    """Choice: a meter from outside of this package is taken to have the supply's phases, and to measure what a reading can
    hold; what a reading then lacks is not sent."""
    return 1 if connector.meter_in_evse else config.supply.phases


def initial_values(config: StationConfig) -> dict[str, str]:
    """Values of all OCPP keys as long as the Central System has set none, the AuthorizationKey among them."""
    values = {**keys.defaults(capabilities(config)), **config.ocpp}
    values[keys.AUTHORIZATION_KEY] = config.central_system.authorization_key
    if config.central_system.ping_interval_s is not None:
        values[keys.WEB_SOCKET_PING_INTERVAL] = str(config.central_system.ping_interval_s)
    return values


def _read(path: str) -> dict[str, Any]:
    import tomllib  # Read once at the start; the module is not needed afterwards.

    try:
        with open(path, "rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"can't be read ({error.strerror}); give the right file with --config") from None
    if len(content) > _FILE_BYTES_MAX:
        raise ConfigurationError("is larger than 1 MB; give a station.toml with --config")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigurationError("is not UTF-8 text; save it as UTF-8") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"is not TOML: {_one_line(str(error))}; correct it there") from None


def _unknown(table: dict[str, Any]) -> Iterator[str]:
    """Names that mean nothing. They are told first, since a slip in a name is also a missing one."""
    yield from checks.unknown("top of the file", table, (*_SECTIONS, "connector", "ocpp"))
    for name, shape in _SECTIONS.items():
        yield from _unknown_in(f"[{name}]", table.get(name), shape)
    connectors = table.get("connector", ())
    for number, connector in enumerate(connectors if isinstance(connectors, list) else (), 1):
        where = f"[[connector]] number {number}"
        yield from _unknown_in(where, connector, Connector)
        if isinstance(connector, dict):
            yield from _unknown_in(f"{where} evse", connector.get("evse"), Evse)
            yield from _unknown_in(f"{where} meter", connector.get("meter"), Meter)


def _misfits(given: Any, shape: type[model.Section] = StationConfig, path: str = "$") -> Iterator[str]:
    """A line for each value that is missing or of the wrong type, from the top of the file to the bottom."""
    if not isinstance(given, dict):
        yield from _wrong_type(given, shape, path)
        return
    for field in msgspec.structs.fields(shape):
        name, at = field.encode_name, f"{path}.{field.encode_name}"
        inner = _SECTIONS.get(name) if path == "$" else field.type
        if name == "ocpp" and path == "$":
            continue
        if name not in given:
            if field.required:
                yield _in_words(f"Object missing required field `{name}`" + (f" - at `{path}`" if path != "$" else ""))
        elif isinstance(inner, type) and issubclass(inner, model.Section):
            yield from _misfits(given[name], inner, at)
        elif name == "connector" and isinstance(given[name], list):
            for number, connector in enumerate(given[name]):
                yield from _misfits(connector, Connector, f"{at}[{number}]")
        else:
            yield from _wrong_type(given[name], field.type, at)


def _wrong_type(value: Any, wanted: Any, path: str) -> Iterator[str]:
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        what, _, within = str(error).partition(" - at ")
        yield _in_words(f"{what} - at `{path}{within.strip('`').removeprefix('$')}`")


def _broken_in_sound_sections(table: dict[str, Any]) -> Iterator[str]:
    """Rules that are broken where the types are right, although they are wrong elsewhere."""
    for name, shape in _SECTIONS.items():
        if name in table and not list(_misfits(table[name], shape)):
            yield from checks.broken(checks.SECTION_RULES[name](msgspec.convert(table[name], shape)))
    connectors = table.get("connector", ())
    for number, given in enumerate(connectors if isinstance(connectors, list) else (), 1):
        if not list(_misfits(given, Connector)):
            connector = _completed_connector(msgspec.convert(given, Connector))
            yield from checks.broken(checks.connector_rules(connector, number))


def _converted(table: dict[str, Any], directory: str) -> StationConfig:
    """`table` in our shapes."""
    try:
        config = msgspec.convert({**table, "ocpp": {}}, StationConfig)
    except msgspec.ValidationError as error:
        raise ConfigurationError(_in_words(str(error))) from None
    return _completed(config, directory)


def _completed(config: StationConfig, directory: str) -> StationConfig:
    """`config` with what a person may leave out: factory speeds of devices, and where relative paths begin."""
    connectors = tuple(_completed_connector(connector) for connector in config.connectors)
    files = tuple(os.path.join(directory, file) for file in config.central_system.root_ca_files)
    central_system = msgspec.structs.replace(config.central_system, root_ca_files=files)
    return msgspec.structs.replace(config, connectors=connectors, central_system=central_system)


def _completed_connector(connector: Connector) -> Connector:
    evse, meter = connector.evse, connector.meter
    return msgspec.structs.replace(
        connector,
        evse=msgspec.structs.replace(evse, baud=evse.baud or model.MODBUS_EVSE_BAUDS.get(evse.driver, 0)),
        meter=msgspec.structs.replace(meter, baud=meter.baud or model.METER_BAUDS.get(meter.driver, 9600)),
    )


def _unknown_in(where: str, given: Any, shape: type[model.Section]) -> Iterator[str]:
    if isinstance(given, dict):
        yield from checks.unknown(where, given, (field.encode_name for field in msgspec.structs.fields(shape)))


def _ocpp(given: Any, config: StationConfig, found: list[str]) -> dict[str, str]:
    """`[ocpp]` as OCPP texts by printed names; a line for each one that is wrong goes to `found`.

    Read-only keys may be set here: it is the operator of the board who does it, not the Central System.
    """
    if not isinstance(given, dict):
        found.append("[ocpp]: must be a table; write it as a section of its own")
        return {}
    found += checks.broken([partial(_check_not_offered, config)])
    all_capabilities = msgspec.structs.replace(capabilities(config), not_offered=())
    texts: dict[str, str] = {}
    # Lengths of lists come first, since they bound the lists.
    for name, value in sorted(given.items(), key=lambda item: not item[0].casefold().endswith("maxlength")):
        found += checks.broken([partial(_take, name, value, texts, all_capabilities)])
    found += checks.broken(partial(rule, texts, config) for rule in _COMBINATIONS)
    return texts


def _take(name: str, value: Any, texts: dict[str, str], all_capabilities: keys.Capabilities) -> None:
    """Put one key of `[ocpp]` into `texts`. Raises ConfigurationError."""
    key = keys.find(name, all_capabilities)
    if key is None:
        checks.refuse_unknown("[ocpp]", (name,), (key.name for key in keys.KEYS))
        return
    if key.name in texts:
        raise ConfigurationError(f"[ocpp] {name}: is given twice; keep one")
    values = {**keys.defaults(all_capabilities), **texts}
    text = keys.validate(key, _text(f"[ocpp] {name}", value), all_capabilities, values)
    if isinstance(text, Problem):
        raise ConfigurationError(f"[ocpp] {name}: {text.text}; give a {key.type.value} as {key.clause} has it")
    texts[key.name] = text


def _check_not_offered(config: StationConfig) -> None:
    where = "[policy] keys_not_offered"
    checks.refuse_unknown(where, config.policy.keys_not_offered, (key.name for key in keys.KEYS))
    for key in keys.KEYS:
        if key.required and key.name in config.policy.keys_not_offered:
            raise ConfigurationError(f"{where}: {key.name} is required by {key.clause}; remove it from the list")


def _check_profiles(texts: dict[str, str], _: StationConfig) -> None:
    profiles = texts.get(keys.SUPPORTED_FEATURE_PROFILES)
    if profiles is None:
        return
    offered = formats.items(profiles)
    if keys.CORE not in offered:
        raise ConfigurationError(f"[ocpp] {keys.SUPPORTED_FEATURE_PROFILES}: {keys.CORE} is required; add it to the list")
    for key in keys.KEYS:
        if key.name in texts and key.profile not in offered:
            raise ConfigurationError(
                f"[ocpp] {key.name}: belongs to the profile {key.profile}, which {keys.SUPPORTED_FEATURE_PROFILES} leaves out; "
                "remove the key, or add the profile"
            )


def _check_key_of_its_own(texts: dict[str, str], _: StationConfig) -> None:
    if keys.AUTHORIZATION_KEY in texts:
        raise ConfigurationError("[ocpp] AuthorizationKey: belongs to [central_system] authorization_key; move it there")


def _check_one_ping_interval(texts: dict[str, str], config: StationConfig) -> None:
    if keys.WEB_SOCKET_PING_INTERVAL in texts and config.central_system.ping_interval_s is not None:
        raise ConfigurationError(
            "[ocpp] WebSocketPingInterval: [central_system] ping_interval_s gives it too; remove one of the two"
        )


def _check_number_of_connectors(texts: dict[str, str], config: StationConfig) -> None:
    count = texts.get("NumberOfConnectors")
    if count not in (None, str(len(config.connectors))):
        raise ConfigurationError(
            f"[ocpp] NumberOfConnectors: is {count}, but there are {len(config.connectors)} [[connector]] sections; remove it"
        )


_COMBINATIONS = (_check_profiles, _check_key_of_its_own, _check_one_ping_interval, _check_number_of_connectors)


def _text(where: str, value: Any) -> str:
    """A TOML value as OCPP's text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | str):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise ConfigurationError(f"{where}: must be text, a whole number, true or false, or a list of texts")


def _in_words(message: str) -> str:
    """A complaint of msgspec for a person: `Expected `int`, got `str` - at `$.supply.phases``."""
    what, _, path = message.partition(" - at ")
    where = _place(path.strip("`"))
    missing = re.fullmatch(r"Object missing required field `(\w+)`", what)
    if missing:
        name = missing[1]
        if not path:
            return f"[{name}]: the section is missing; add it" if name != "connector" else "[[connector]]: missing; add one"
        return f"{where} {name}: is missing; add it"
    wrong = re.fullmatch(r"Expected `([\w |]+)`, got `(\w+)`", what)
    if wrong:
        expected = " or ".join(_WORDS.get(word, word) for word in wrong[1].split(" | ") if word != "null")
        return f"{where}: must be {expected}, not {_WORDS.get(wrong[2], wrong[2])}; correct it"
    return f"{where}: {_one_line(what)}; correct it"


def _place(path: str) -> str:
    """`$.connector[0].evse.port` as `[[connector]] number 1 evse.port`; `$.supply.phases` as `[supply] phases`."""
    connector = re.fullmatch(r"\$\.connector\[(\d+)\]\.?(.*)", path)
    if connector:
        return f"[[connector]] number {int(connector[1]) + 1} {connector[2]}".rstrip()
    if path == "$.connector":
        return "[[connector]]"
    section, _, rest = path.removeprefix("$.").partition(".")
    return f"[{section}] {rest.partition('[')[0]}".rstrip()


def _one_line(text: str) -> str:
    return " ".join(text.split())
