"""`deploy/profiles/cr-s7k2c.toml` answers GetConfiguration as the certificate prints it (OCPP 1.6 §5.8).

The table below is the certificate's, row by row; None stands for its dash: the key is not offered. It has no AuthorizationKey,
which is write-only (OCPP-J errata 3.10) and so in no list of all keys.
"""

from pathlib import Path
from typing import Any

import pytest

from services.configuration.station import load
from tests.ocpp_link.world import World

PROFILE = Path(__file__).parents[2] / "deploy" / "profiles" / "cr-s7k2c.toml"
ENERGY = "Energy.Active.Import.Register"
CERTIFICATE: dict[str, str | None] = {
    "AllowOfflineTxForUnknownId": "true",
    "AuthorizationCacheEnabled": "false",
    "AuthorizeRemoteTxRequests": "true",
    "BlinkRepeat": None,
    "LightIntensity": None,
    "ClockAlignedDataInterval": "300",
    "ConnectionTimeOut": "60",
    "ConnectorPhaseRotation": "0.RST,1.RST,2.RTS",
    "ConnectorPhaseRotationMaxLength": None,
    "GetConfigurationMaxKeys": "24",
    "HeartbeatInterval": "20",
    "LocalAuthorizeOffline": "false",
    "LocalPreAuthorize": "false",
    "MaxEnergyOnInvalidId": None,
    "MessageTimeout": None,
    "MeterValuesAlignedData": ENERGY,
    "MeterValuesAlignedDataMaxLength": "4096",
    "MeterValuesSampledData": ENERGY,
    "MeterValuesSampledDataMaxLength": "4096",
    "MeterValueSampleInterval": "60",
    "MinimumStatusDuration": "0",
    "NumberOfConnectors": "1",
    "ResetRetries": "0",
    "StopTransactionMaxMeterValues": None,
    "StopTransactionOnEVSideDisconnect": "true",
    "StopTransactionOnInvalidId": "true",
    "StopTxnAlignedData": "",
    "StopTxnAlignedDataMaxLength": "4096",
    "StopTxnSampledData": "",
    "StopTxnSampledDataMaxLength": "4096",
    "SupportedFeatureProfiles": "Core",
    "SupportedFeatureProfilesMaxLength": None,
    "TransactionMessageAttempts": "3",
    "TransactionMessageRetryInterval": "10",
    "UnlockConnectorOnEVSideDisconnect": "true",
    "WebSocketPingInterval": "0",
}
READ_ONLY = {
    "GetConfigurationMaxKeys",
    "MeterValuesAlignedDataMaxLength",
    "MeterValuesSampledDataMaxLength",
    "NumberOfConnectors",
    "StopTxnAlignedDataMaxLength",
    "StopTxnSampledDataMaxLength",
    "SupportedFeatureProfiles",
    "UnlockConnectorOnEVSideDisconnect",
}
"""By OCPP 1.6 §9.1, and errata v4.0 3.83 for the lock of a fixed cable."""


@pytest.fixture
def certified(tmp_path: Path) -> World:
    world = World(tmp_path, load(str(PROFILE)))
    # The interval of BootNotification.conf would set HeartbeatInterval (OCPP 1.6 §4.2): 0 leaves the station its own.
    world.answers["BootNotification"] = world.boot("Accepted", 0)
    return world.online()


def entry(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": value, "readonly": key in READ_ONLY}


def test_all_keys_are_those_of_the_certificate(certified: World) -> None:
    expected = [entry(key, value) for key, value in CERTIFICATE.items() if value is not None]
    found = certified.asked("GetConfiguration")
    assert sorted(found["configurationKey"], key=lambda e: e["key"]) == sorted(expected, key=lambda e: str(e["key"]))
    assert "unknownKey" not in found


@pytest.mark.parametrize(("key", "value"), CERTIFICATE.items())
def test_each_row(certified: World, key: str, value: str | None) -> None:
    expected = {"unknownKey": [key]} if value is None else {"configurationKey": [entry(key, value)]}
    assert certified.asked("GetConfiguration", {"key": [key]}) == expected


@pytest.mark.parametrize(("key", "value"), CERTIFICATE.items())
def test_what_is_not_offered_or_read_only_can_not_be_changed(certified: World, key: str, value: str | None) -> None:
    """OCPP 1.6 §5.3: NotSupported where there is no such key, Rejected where it is not to be changed, its own value or not."""
    status = "NotSupported" if value is None else "Rejected" if key in READ_ONLY else "Accepted"
    assert certified.asked("ChangeConfiguration", {"key": key, "value": value or ""}) == {"status": status}


def test_as_many_keys_as_it_says_can_be_asked_for_at_once(certified: World) -> None:
    """OCPP 1.6 §9.1.9."""
    assert len(certified.asked("GetConfiguration", {"key": list(CERTIFICATE)[:24]})["configurationKey"]) == 18
    assert certified.asked("GetConfiguration", {"key": list(CERTIFICATE)[:25]}) == "OccurenceConstraintViolation"


def test_the_password_is_not_read_out(certified: World) -> None:
    """OCPP-J 1.6 §6.2.2."""
    asked = certified.asked("GetConfiguration", {"key": ["AuthorizationKey"]})
    assert asked == {"configurationKey": [{"key": "AuthorizationKey", "readonly": False}]}


def test_times_have_milliseconds(certified: World) -> None:
    certified.deliver("id-1")
    assert certified.said("StartTransaction")[0]["timestamp"] == "2027-01-15T08:00:01.000Z"
