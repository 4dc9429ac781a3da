"""`station.toml`: what a good one means, and the one line that each bad one gets (design §6)."""

from pathlib import Path

import pytest

from bus.vocabulary import Measurand
from services.configuration import keys, model, station
from services.configuration.station import ConfigurationError, StationConfig
from services.meter.drivers.models import MODELS, Quantity

PROFILES = Path(__file__).parents[2] / "deploy" / "profiles"

OF_QUANTITY = {
    Quantity.VOLTAGE: {Measurand.VOLTAGE},
    Quantity.CURRENT: {Measurand.CURRENT_IMPORT},
    Quantity.POWER: {Measurand.POWER_ACTIVE_IMPORT, Measurand.POWER_ACTIVE_EXPORT},
    Quantity.POWER_FACTOR: {Measurand.POWER_FACTOR},
    Quantity.FREQUENCY: {Measurand.FREQUENCY},
    Quantity.IMPORT: {Measurand.ENERGY_ACTIVE_IMPORT_REGISTER},
    Quantity.EXPORT: {Measurand.ENERGY_ACTIVE_EXPORT_REGISTER},
}

ESTOP = '[emergency_stop]\nchip = "/dev/gpiochip0"\nline = 17\n'
PINS = 'driver = "pn532"\nrefused_pin = "P30"\naccepted_pin = "P30"'
GOOD = """
[station]
identity = "CP001"
vendor = "Vendor"
model = "Model"

[central_system]
url = "ws://localhost:9000/ocpp"

[supply]
max_current_a = 32

[reader]
driver = "rdm6300"
port = "/dev/ttyR"

[[connector]]
id = 1
cable = "fixed"
evse = { driver = "openevse", port = "/dev/ttyE" }
meter = { driver = "sdm120", port = "/dev/ttyM" }
"""


def load(tmp_path: Path, text: str, *, virtual: bool = False) -> StationConfig:
    file = tmp_path / "station.toml"
    file.write_text(text)
    return station.load(str(file), with_virtual_devices=virtual)


def refused(tmp_path: Path, text: str) -> str:
    """The line that `text` is refused with, without the file's name, which it must begin with."""
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, text)
    line, name = str(caught.value), str(tmp_path / "station.toml")
    assert line.startswith(name + ": ")
    assert "\n" not in line
    return line.removeprefix(name + ": ")


def test_a_good_file_is_taken_with_the_defaults_for_what_it_leaves_out(tmp_path: Path) -> None:
    config = load(tmp_path, GOOD)
    assert config.station.identity == "CP001"
    assert config.central_system.security_profile == 0
    assert config.connectors[0].fixed_cable
    assert config.connectors[0].meter.baud == 2400  # An SDM120 leaves its factory with it.
    assert (config.system.on_reset, config.system.orphan_grace_s) == ("restart", 15.0)
    assert not config.policy.charge_before_first_acceptance
    assert config.reader is not None
    assert config.reader.id_tag_format == "hex"


@pytest.mark.parametrize(("own", "expected_a"), [("", 32.0), ("max_current_a = 16", 16.0), ("max_current_a = 63", 32.0)])
def test_a_connector_bears_what_it_is_built_for_and_never_more_than_the_supply(
    tmp_path: Path, own: str, expected_a: float
) -> None:
    config = load(tmp_path, GOOD.replace('cable = "fixed"', f'cable = "fixed"\n{own}'))
    assert config.current_a_max(config.connectors[0]) == expected_a


@pytest.mark.parametrize("listen", ["127.0.0.1:9464", "[::1]:1", "127.1.2.3:65535", "unix:/run/chargebus/metrics.sock"])
def test_metrics_are_for_this_board_alone_and_off_without_a_section(tmp_path: Path, listen: str) -> None:
    assert load(tmp_path, GOOD).metrics is None
    metrics = load(tmp_path, f'{GOOD}\n[metrics]\nlisten = "{listen}"\n').metrics
    assert metrics is not None
    assert metrics.listen == listen


def test_a_station_without_a_reader_is_possible(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD.replace('[reader]\ndriver = "rdm6300"\nport = "/dev/ttyR"\n', "")).reader is None


@pytest.mark.parametrize(
    ("old", "new", "key", "remedy"),
    [
        ("identity =", "identiy =", "[station]", "did you mean identity?"),
        ("[supply]", "[suply]", "top of the file", "did you mean supply?"),
        ("evse = { driver", "evse = { drivr", "[[connector]] number 1 evse", "did you mean driver?"),
        ("cable =", "colour = 1\ncable =", "[[connector]] number 1", "known are id, cable, evse, meter, max_current_a"),
        ('identity = "CP001"', "identity = 1", "[station] identity", "must be text in quotes, not a whole number"),
        ("max_current_a = 32", 'max_current_a = "32"', "[supply] max_current_a", "must be a number, not text in quotes"),
        ("max_current_a = 32", "max_current_a = nan", "[supply] max_current_a", "out of range"),
        ("max_current_a = 32", "max_current_a = 5", "[supply] max_current_a", "give 6 to 1000"),
        ("max_current_a = 32", "", "[supply] max_current_a", "missing; add it"),
        ('cable = "fixed"', 'cable = "fixed"\nmax_current_a = 5', "[[connector]] number 1 max_current_a", "give 6 to 1000"),
        ("max_current_a = 32", "max_current_a = 32\nphases = 4", "[supply] phases", "give 1, 2 or 3"),
        ('vendor = "Vendor"', 'vendor = " "', "[station] vendor", "is empty"),
        ('model = "Model"', 'model = "A model of 21 letters"', "[station] model", "OCPP allows 20, so shorten it"),
        ('model = "Model"', 'model = "a\\tb"', "[station] model", "control characters"),
        ('url = "ws://localhost:9000/ocpp"', 'url = "http://x/"', "[central_system] url", "ws:// or wss://"),
        ('url = "ws://localhost:9000/ocpp"', 'url = "ws://me:pw@x/"', "[central_system] url", "authorization_key"),
        ('url = "ws://localhost:9000/ocpp"', 'url = "wss://x/"', "[central_system] url", "needs ws://"),
        ("[supply]", "reconnect_min_s = 9\n[supply]", "[central_system] reconnect_max_s", "give 9 to 86400"),
        ("id = 1", "id = 2", "[[connector]] number 1 id", "so give 1"),
        ('cable = "fixed"', 'cable = "fixd"', "[[connector]] number 1 cable", "did you mean fixed?"),
        ('"openevse"', '"opnevse"', "[[connector]] number 1 evse.driver", "did you mean openevse?"),
        ('"sdm120"', '"SDM120"', "[[connector]] number 1 meter.driver", "did you mean sdm120?"),
        ('port = "/dev/ttyM"', 'port = "/dev/ttyE"', "[[connector]] number 1 meter.port", "a port of its own"),
        ('port = "/dev/ttyR"', 'port = "/dev/ttyE"', "[reader] port", "a port of its own"),
        (', port = "/dev/ttyM"', "", "[[connector]] number 1 meter.port", "or run with --virtual"),
        ('"/dev/ttyM" }', '"/dev/ttyM", unit = 0 }', "[[connector]] number 1 meter.unit", "give 1 to 247"),
        ('"/dev/ttyM" }', '"/dev/ttyM", parity = "X" }', "[[connector]] number 1 meter.parity", "known are N, E, O"),
        ('"/dev/ttyE" }', '"/dev/ttyE", unit = 2 }', "[[connector]] number 1 evse", "does not speak Modbus; remove"),
        ('"openevse"', '"evsewb", unit = 248', "[[connector]] number 1 evse.unit", "give 1 to 247"),
        ('driver = "rdm6300"', 'driver = "rdm"', "[reader] driver", "rdm6300"),
        ('driver = "rdm6300"', 'driver = "rdm6300"\nid_tag_format = "dec"', "[reader] id_tag_format", "dec10"),
        ("[supply]", "[emergency_stop]\nline = 1\n[supply]", "[emergency_stop] chip", "is missing; add it"),
        ("[supply]", '[emergency_stop]\nchip = "/dev/g"\nline = -1\n[supply]', "[emergency_stop] line", "give 0 to 1023"),
        ("[supply]", f'{ESTOP}bias = "pullup"\n[supply]', "[emergency_stop] bias", "did you mean pull-up?"),
        ("[supply]", f"{ESTOP}pressed_level = 1\n[supply]", "[emergency_stop] pressed_level", "must be text in quotes"),
        ('driver = "rdm6300"', 'driver = "line"\nwait_pin = "P30"', "[reader] wait_pin", "is for pn532 readers"),
        ('driver = "rdm6300"', 'driver = "pn532"\nwait_pin = "GPIO32"', "[reader] wait_pin", "known are P30, P31, P33"),
        ('driver = "rdm6300"', 'driver = "rdm6300"\nmax_bytes = 2', "[reader] max_bytes", "give 3 to 10"),
        ('driver = "rdm6300"', f'driver = "rdm6300"\nprefix = "{"x" * 15}"', "[reader] prefix", "at most 14 printable"),
        ('driver = "rdm6300"', 'driver = "rdm6300"\nprefix = "Kä"', "[reader] prefix", "printable ASCII"),
        ('driver = "rdm6300"', 'driver = "hid"\npayload = "text"\nprefix = "T"', "[reader] prefix", "remove it"),
        ('driver = "rdm6300"', PINS, "[reader] refused_pin", "P30 is the accepted_pin already"),
        ('driver = "rdm6300"', 'driver = "line"\nframing = "stx"', "[reader] framing", "stx-etx"),
        ('driver = "rdm6300"', 'driver = "hid"\npayload = "dec"', "[reader] payload", "decimal"),
        ('driver = "rdm6300"', 'driver = "line"\nbaud = 1', "[reader] baud", "300 to 921600"),
        ('driver = "rdm6300"', 'driver = "hid"\nbaud = 19200', "[reader] baud", "not for hid; remove it"),
        ('driver = "rdm6300"', 'driver = "rdm6300"\npayload = "text"', "[reader] payload", "is for line and hid readers"),
        ("[supply]", '[metrics]\nlisten = "0.0.0.0:9464"\n[supply]', "[metrics] listen", "take 127.0.0.1, [::1] or a unix"),
        ("[supply]", '[metrics]\nlisten = "[::]:9464"\n[supply]', "[metrics] listen", "not an address of this board alone"),
        ("[supply]", '[metrics]\nlisten = "127.0.0.1.example.com:1"\n[supply]', "[metrics] listen", "of this board alone"),
        ("[supply]", '[metrics]\nlisten = "localhost:9464"\n[supply]', "[metrics] listen", "of this board alone"),
        ("[supply]", '[metrics]\nlisten = "127.0.0.1:99999"\n[supply]', "[metrics] listen", "give one from 1 to 65535"),
        ("[supply]", '[metrics]\nlisten = "9464"\n[supply]', "[metrics] listen", 'write it as "127.0.0.1:9464"'),
        ("[supply]", '[metrics]\nlisten = "unix:metrics.sock"\n[supply]', "[metrics] listen", "is absolute"),
        ("[supply]", f'[metrics]\nlisten = "unix:/{"x" * 107}"\n[supply]', "[metrics] listen", "longer than 107 bytes"),
        ("[[connector]]", "[connector]", "[[connector]]", "must be a list in brackets, not a table"),
        ("[station]", "station = 1\n[x]", "top of the file", "unknown key 'x'"),
        ("[station]", "[station", "is not TOML", "correct it there"),
    ],
)
def test_a_bad_file_is_refused_with_key_and_remedy(tmp_path: Path, old: str, new: str, key: str, remedy: str) -> None:
    """field report: a station with an empty vendor or an over-long model must not start (§2.7)."""
    assert old in GOOD
    line = refused(tmp_path, GOOD.replace(old, new, 1))
    assert line.startswith(key)
    assert remedy in line


@pytest.mark.parametrize("section", ["station", "central_system", "supply"])
def test_a_missing_section_is_named(tmp_path: Path, section: str) -> None:
    parts = GOOD.split("\n\n")
    without = "\n\n".join(part for part in parts if not part.strip().startswith(f"[{section}]"))
    assert refused(tmp_path, without) == f"[{section}]: the section is missing; add it"


def test_a_file_without_connectors_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, GOOD.partition("[[connector]]")[0]) == "[[connector]]: missing; add one"
    assert "give 1 to 16" in refused(tmp_path, "connector = []\n" + GOOD.partition("[[connector]]")[0])


def test_connector_ids_are_unique_and_without_gaps(tmp_path: Path) -> None:
    """OCPP 1.6 §7.8: connectors are numbered from 1."""
    second = GOOD.partition("[[connector]]")[2].replace("/dev/tty", "/dev/ttyB")
    assert load(tmp_path, GOOD + "[[connector]]" + second.replace("id = 1", "id = 2")).connectors[1].id == 2
    for number in (1, 3):
        line = refused(tmp_path, GOOD + "[[connector]]" + second.replace("id = 1", f"id = {number}"))
        assert line.startswith(f"[[connector]] number 2 id: is {number};")
        assert line.endswith("so give 2")


def test_two_names_of_one_port_are_one_port(tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyE")
    text = GOOD.replace("/dev/ttyE", str(tmp_path / "ttyE")).replace("/dev/ttyM", str(tmp_path / "by-id"))
    assert "a port of its own" in refused(tmp_path, text)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: can't be read .*--config"):
        station.load(str(tmp_path / "nowhere.toml"))
    with pytest.raises(ConfigurationError, match="can't be read"):
        station.load(str(tmp_path))
    (tmp_path / "station.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        station.load(str(tmp_path / "station.toml"))


SECURE = GOOD.replace('url = "ws://localhost:9000/ocpp"', 'url = "wss://cs.example/ocpp"\nsecurity_profile = 2')


def test_profiles_with_a_password_need_one(tmp_path: Path) -> None:
    """Security whitepaper A00.FR.203 and A00.FR.303."""
    line = refused(tmp_path, SECURE)
    assert line.startswith("[central_system] authorization_key: security_profile 2 needs one")
    for key in ("ab" * 15, "abc" * 11, "short", "x" * 41, "ümlautümlautümlaut"):
        line = refused(tmp_path, SECURE.replace("security_profile = 2", f'security_profile = 2\nauthorization_key = "{key}"'))
        assert line.startswith("[central_system] authorization_key: the key ")
        assert key not in line
    for key in ("00" * 20, "ab" * 16, "a good password 1"):
        load(tmp_path, SECURE.replace("security_profile = 2", f'security_profile = 2\nauthorization_key = "{key}"'))


def test_the_scheme_follows_from_the_security_profile(tmp_path: Path) -> None:
    text = GOOD.replace("[supply]", 'security_profile = 2\nauthorization_key = "a good password 1"\n[supply]')
    assert "security_profile 2 needs wss://, but the url has ws://" in refused(tmp_path, text)


def test_client_certificates_are_refused_for_now(tmp_path: Path) -> None:
    assert "3 (client certificates) is not supported yet" in refused(
        tmp_path, GOOD.replace("[supply]", "security_profile = 3\n[supply]")
    )


def test_a_colon_in_the_identity_does_not_go_with_basic_authentication(tmp_path: Path) -> None:
    """A user name ends at the first colon (RFC 7617)."""
    text = GOOD.replace("CP001", "CP:1")
    load(tmp_path, text)
    text = text.replace("[supply]", 'security_profile = 1\nauthorization_key = "a good password 1"\n[supply]')
    assert refused(tmp_path, text).startswith("[station] identity: has a colon")


def test_ca_files_are_looked_at_and_relative_to_the_file(tmp_path: Path) -> None:
    text = SECURE.replace(
        "security_profile = 2",
        'security_profile = 2\nauthorization_key = "a good password 1"\nroot_ca_files = ["ca.pem"]',
    )
    assert "can't be read (No such file or directory)" in refused(tmp_path, text)
    (tmp_path / "ca.pem").write_text("nothing")
    assert "no certificate in PEM form" in refused(tmp_path, text)
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    assert load(tmp_path, text).central_system.root_ca_files == (str(tmp_path / "ca.pem"),)


def test_ocpp_values_become_texts_under_their_printed_names(tmp_path: Path) -> None:
    text = """
[ocpp]
heartbeatinterval = 20
LocalPreAuthorize = true
StopTxnSampledData = ["voltage", "Current.Import"]
MeterValuesSampledData = "Voltage, Voltage.L1"
UnlockConnectorOnEVSideDisconnect = true
"""
    config = load(tmp_path, GOOD + text)
    assert config.ocpp == {
        "HeartbeatInterval": "20",
        "LocalPreAuthorize": "true",
        "StopTxnSampledData": "Voltage,Current.Import",
        "MeterValuesSampledData": "Voltage,Voltage.L1",
        "UnlockConnectorOnEVSideDisconnect": "true",
    }
    assert station.initial_values(config)["HeartbeatInterval"] == "20"


@pytest.mark.parametrize(
    ("text", "start", "remedy"),
    [
        ("HeartbeatIntervall = 1", "[ocpp]: unknown key 'HeartbeatIntervall'", "did you mean HeartbeatInterval?"),
        ("HeartbeatInterval = -1", "[ocpp] HeartbeatInterval: -1 is not between 1 and", "OCPP 1.6 §9.1.10"),
        ("HeartbeatInterval = 1.5", "[ocpp] HeartbeatInterval:", "a whole number"),
        ("LocalPreAuthorize = 1", "[ocpp] LocalPreAuthorize: '1' is neither true nor false", "boolean"),
        ('StopTxnSampledData = "SoC"', "[ocpp] StopTxnSampledData: SoC is not measured here", "measurands"),
        ('StopTxnSampledData = "Voltage.L2"', "[ocpp] StopTxnSampledData: Voltage is not measured on phase L2", ""),
        ("NumberOfConnectors = 2", "[ocpp] NumberOfConnectors: is 2, but there are 1", "remove it"),
        ('AuthorizationKey = "a good password 1"', "[ocpp] AuthorizationKey: belongs to [central_system]", "move it"),
        ("ResetRetries = 1\nresetretries = 1", "[ocpp] resetretries: is given twice", "keep one"),
        (
            'SupportedFeatureProfiles = "Core"\nLocalAuthListEnabled = true',
            "[ocpp] LocalAuthListEnabled: belongs to the profile LocalAuthListManagement",
            "add the profile",
        ),
        ('SupportedFeatureProfiles = "Core,SmartCharging"', "[ocpp] SupportedFeatureProfiles: 'SmartCharging'", "Core"),
        ('SupportedFeatureProfiles = ""', "[ocpp] SupportedFeatureProfiles: Core is required", "add it to the list"),
        ('ConnectorPhaseRotation = "0.RST,1.RST,2.RST"', "[ocpp] ConnectorPhaseRotation: 3 items", "allows 2"),
    ],
)
def test_a_bad_ocpp_value_is_refused(tmp_path: Path, text: str, start: str, remedy: str) -> None:
    line = refused(tmp_path, f"{GOOD}[ocpp]\n{text}\n")
    assert line.startswith(start)
    assert remedy in line


def test_the_ping_interval_is_given_in_one_place(tmp_path: Path) -> None:
    pinged = GOOD.replace("[supply]", "ping_interval_s = 7\n[supply]")
    assert station.initial_values(load(tmp_path, pinged))["WebSocketPingInterval"] == "7"
    assert "remove one of the two" in refused(tmp_path, pinged + "[ocpp]\nWebSocketPingInterval = 7\n")


def test_only_optional_keys_can_be_hidden(tmp_path: Path) -> None:
    able = station.capabilities(load(tmp_path, GOOD + '[policy]\nkeys_not_offered = ["MessageTimeout"]\n'))
    assert keys.find("MessageTimeout", able) is None
    line = refused(tmp_path, GOOD + '[policy]\nkeys_not_offered = ["HeartbeatInterval"]\n')
    assert "HeartbeatInterval is required by OCPP 1.6 §9.1.10" in line
    assert "did you mean" in refused(tmp_path, GOOD + '[policy]\nkeys_not_offered = ["MesageTimeout"]\n')


@pytest.mark.parametrize("driver", model.METER_BAUDS)
def test_measurands_on_offer_are_those_that_the_devices_give(tmp_path: Path, driver: str) -> None:
    """Field report 37, OCPP 1.6 §3.16.4: what the meter's registers do not have is not supported."""
    measured = {measurand for row in MODELS[driver].rows for measurand in OF_QUANTITY[row.quantity]}
    assert set(model.METER_MEASURANDS[driver]) == measured
    able = station.capabilities(load(tmp_path, GOOD.replace("sdm120", driver)))
    assert set(able.measurands) == measured | {Measurand.CURRENT_OFFERED, Measurand.POWER_OFFERED}
    assert able.phases == max(row.phase for row in MODELS[driver].rows)


SHARED = GOOD.replace('"openevse", port = "/dev/ttyE"', '"evsewb", port = "/dev/ttyM", shared = true').replace(
    'port = "/dev/ttyM" }', 'port = "/dev/ttyM", baud = 9600, unit = 2, shared = true }'
)
"""A controller and a meter on one line."""


def test_devices_that_say_so_share_a_line(tmp_path: Path) -> None:
    """hardware.md §2.3: EVSE-WB and meter on one RS-485 pair."""
    connector = load(tmp_path, SHARED).connectors[0]
    assert connector.evse.port == connector.meter.port == "/dev/ttyM"
    connector = load(tmp_path, SHARED, virtual=True).connectors[0]
    assert connector.evse.port == connector.meter.port == "dev/line-1"


@pytest.mark.parametrize(
    ("old", "new", "remedy"),
    [
        ("unit = 2, shared", "unit = 1, shared", "is unit 1, as [[connector]] number 1 evse.port on the same line is"),
        ("baud = 9600, ", "baud = 2400, ", "differs in baud or parity from [[connector]] number 1 evse.port"),
        ("unit = 2, shared = true", "unit = 2", "give each device a port of its own, or let all of them share it"),
        ('"evsewb"', '"openevse"', "does not speak Modbus; remove"),
        ('"/dev/ttyM", baud', '"/dev/../dev/ttyM", baud', "are one line; write it the same way at [[connector]] number 1"),
    ],
)
def test_who_shares_a_line_has_to_agree(tmp_path: Path, old: str, new: str, remedy: str) -> None:
    assert old in SHARED
    assert remedy in refused(tmp_path, SHARED.replace(old, new, 1))


METER_IN_EVSE = GOOD.replace('"sdm120", port = "/dev/ttyM"', '"evse"')
"""The charging controller is the meter too."""


def test_a_controller_can_be_the_meter_too(tmp_path: Path) -> None:
    config = load(tmp_path, METER_IN_EVSE)
    assert config.connectors[0].meter_in_evse
    able = station.capabilities(config)
    assert able.phases == 1
    assert Measurand.VOLTAGE in able.measurands
    assert Measurand.FREQUENCY not in able.measurands
    assert load(tmp_path, METER_IN_EVSE, virtual=True).connectors[0].meter.port == ""
    assert "has no meter of its own" in refused(tmp_path, METER_IN_EVSE.replace('"openevse"', '"evsewb"'))
    assert "whose port it has; remove it" in refused(tmp_path, METER_IN_EVSE.replace('"evse"', '"evse", port = "/dev/ttyM"'))


def test_virtual_devices_take_the_place_of_all_ports(tmp_path: Path) -> None:
    text = GOOD.replace(', port = "/dev/ttyM"', "")
    config = load(tmp_path, text, virtual=True)
    assert config.connectors[0].evse.port == "dev/evse-1"
    assert config.connectors[0].meter.port == "dev/meter-1"
    assert config.reader is not None
    assert config.reader.port == "dev/reader"
    assert station.virtual(config) == config


@pytest.mark.parametrize("name", sorted(file.name for file in PROFILES.glob("*.toml")))
def test_each_profile_that_we_ship_loads(name: str) -> None:
    station.load(str(PROFILES / name), with_virtual_devices=name == "demo.toml")


def test_the_certified_profile_reports_what_its_certificate_prints() -> None:
    """Issue "The Core profile, whole": the table of the certificate; "–" answers unknownKey."""
    config = station.load(str(PROFILES / "cr-s7k2c.toml"))
    able, values = station.capabilities(config), station.initial_values(config)
    report = keys.report(values, (), able)
    assert not isinstance(report, keys.Problem)
    energy = "Energy.Active.Import.Register"
    assert {entry.key: entry.value for entry in report.entries} == {
        "AllowOfflineTxForUnknownId": "true",
        "AuthorizationCacheEnabled": "false",
        "AuthorizeRemoteTxRequests": "true",
        "ClockAlignedDataInterval": "300",
        "ConnectionTimeOut": "60",
        "ConnectorPhaseRotation": "0.RST,1.RST,2.RTS",
        "GetConfigurationMaxKeys": "24",
        "HeartbeatInterval": "20",
        "LocalAuthorizeOffline": "false",
        "LocalPreAuthorize": "false",
        "MeterValuesAlignedData": energy,
        "MeterValuesAlignedDataMaxLength": "4096",
        "MeterValuesSampledData": energy,
        "MeterValuesSampledDataMaxLength": "4096",
        "MeterValueSampleInterval": "60",
        "MinimumStatusDuration": "0",
        "NumberOfConnectors": "1",
        "ResetRetries": "0",
        "StopTransactionOnEVSideDisconnect": "true",
        "StopTransactionOnInvalidId": "true",
        "StopTxnAlignedData": "",
        "StopTxnAlignedDataMaxLength": "4096",
        "StopTxnSampledData": "",
        "StopTxnSampledDataMaxLength": "4096",
        "SupportedFeatureProfiles": "Core",
        "TransactionMessageAttempts": "3",
        "TransactionMessageRetryInterval": "10",
        "UnlockConnectorOnEVSideDisconnect": "true",
        "WebSocketPingInterval": "0",
    }
    hidden = (
        "BlinkRepeat",
        "LightIntensity",
        "ConnectorPhaseRotationMaxLength",
        "MaxEnergyOnInvalidId",
        "MessageTimeout",
        "StopTransactionMaxMeterValues",
        "SupportedFeatureProfilesMaxLength",
    )
    assert keys.report(values, hidden, able) == keys.Report((), hidden)
    assert keys.access(keys._BY_NAME["unlockconnectoronevsidedisconnect"], able) is keys.Access.READ


def test_reading_settings_needs_nothing_heavy() -> None:
    """Seven processes import it: sqlite3 and tomllib come late (style: every import costs memory)."""
    import subprocess
    import sys

    code = "import sys, services.configuration.station, services.configuration.keys; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"sqlite3", "tomllib", "asyncio", "difflib"} & set(names)
