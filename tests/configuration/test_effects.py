"""Each OCPP key that can be changed has an effect somewhere, at once (OCPP 1.6 §5.3); and what the profiles make of the keys.

The rows of §9.1 stand beside the table of keys in `tests/conformance/test_key_table.py`.
"""

from pathlib import Path

import pytest

from services.configuration import keys
from services.configuration.keys import Access, Capabilities, Type
from services.configuration.station import initial_values, load
from services.configuration.store import ConfigurationStore
from services.connectors.settings import settings_from as connectors_settings
from services.ocpp_link import payloads as p
from services.ocpp_link.configuration import Configuration
from services.transaction_queue.state import settings_from as queue_settings

SOCKET = Capabilities(fixed_cable=False, phases=3)
PROFILES = Path(__file__).parents[2] / "deploy" / "profiles"
INTEGERS = [key for key in keys.KEYS if key.type is Type.INTEGER and key.access is Access.READ_WRITE]
OTHER_VALUES = {Type.MEASURANDS: "Voltage,Current.Import", Type.PASSWORD: "ff" * 20}
ONLY_REPORTED = {"ConnectorPhaseRotation"}
"""A fact about the wiring, which nothing in the firmware depends on (OCPP 1.6 §9.1.7)."""


@pytest.mark.parametrize("key", INTEGERS, ids=lambda key: key.name)
def test_a_negative_number_is_rejected(key: keys.Key) -> None:
    """OCPP 1.6 §5.3, §9.1.34: out of range."""
    outcome = keys.change(keys.defaults(SOCKET), key.name, "-1", SOCKET)
    assert (outcome.status, outcome.values[key.name]) == ("Rejected", keys.defaults(SOCKET)[key.name])


@pytest.mark.parametrize("key", [key for key in keys.KEYS if key.access is not Access.READ], ids=lambda key: key.name)
def test_none_needs_a_reboot_and_each_has_an_effect(key: keys.Key, tmp_path: Path) -> None:
    """OCPP 1.6 §5.3: Accepted where the change is effective immediately. What a service does with it is in its own tests."""
    assert not key.reboot_required
    configuration = Configuration(ConfigurationStore(str(tmp_path / "c.db")), load(str(PROFILES / "default.toml")))
    before = settings_of_all(configuration)
    value = configuration.public().get(key.name, "")
    if key.type is Type.BOOLEAN:
        other = "false" if value == "true" else "true"
    elif key.type is Type.INTEGER:
        other = str(int(value) + 7)
    else:
        other = OTHER_VALUES.get(key.type, "1.RST")
    conf = configuration.change(p.ChangeConfigurationReq(key=key.name.upper(), value=other), "2027-01-15T08:00:00.000Z").conf
    assert conf == p.ChangeConfigurationConf(status=keys.ConfigurationStatus.ACCEPTED)
    assert (settings_of_all(configuration) != before) == (key.name not in ONLY_REPORTED)


def settings_of_all(configuration: Configuration) -> tuple[object, ...]:
    """What link, connectors and queue make of the values."""
    values = configuration.public()
    return (
        configuration.session_settings(),
        configuration.authorization_key(),
        connectors_settings(values, charge_before_first_acceptance=False),
        queue_settings(values),
    )


def test_the_default_profile_has_everything_on() -> None:
    """All that can be measured is sent, nothing is hidden, and nothing is off but what gives energy away."""
    config = load(str(PROFILES / "default.toml"))
    values = initial_values(config)
    assert config.policy.keys_not_offered == ()
    assert {name for name, _ in keys.measurands(values, "MeterValuesSampledData")} == set(keys.MEASURANDS)
    lists = [key.name for key in keys.KEYS if key.type is Type.MEASURANDS]
    assert [name for name in lists if not values[name]] == []
    off = [key.name for key in keys.KEYS if key.type is Type.BOOLEAN and values[key.name] == "false"]
    assert off == ["AllowOfflineTxForUnknownId"]
    assert keys.integer(values, "ClockAlignedDataInterval") > 0
