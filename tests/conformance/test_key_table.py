"""The configuration keys against the specification's own tables, and words against its enumerations (OCPP 1.6 §7, §9).

What is printed there stands here once more, so that a slip in the product's table is seen.
"""

import pytest

from bus import vocabulary
from bus.vocabulary import ConfigurationStatus, Measurand
from services.configuration import keys
from services.configuration.keys import Access, Capabilities, Type
from tests.conformance.clauses import ROOT

R, RW, W = Access.READ, Access.READ_WRITE, Access.WRITE
FLAG, NUMBER = Type.BOOLEAN, Type.INTEGER
REQUIRED, OPTIONAL = True, False
SOCKET = Capabilities(connectors=2, fixed_cable=False, phases=3, profiles=("Core",))
"""Of Core alone; the keys of the other profiles are in the tests of their own tables."""
PRINTED: dict[str, tuple[bool, Access, Type]] = {
    "AllowOfflineTxForUnknownId": (OPTIONAL, RW, FLAG),
    "AuthorizationCacheEnabled": (OPTIONAL, RW, FLAG),
    "AuthorizationKey": (OPTIONAL, W, Type.PASSWORD),
    "AuthorizeRemoteTxRequests": (REQUIRED, RW, FLAG),
    "ClockAlignedDataInterval": (REQUIRED, RW, NUMBER),
    "ConnectionTimeOut": (REQUIRED, RW, NUMBER),
    "ConnectorPhaseRotation": (REQUIRED, RW, Type.PHASE_ROTATION),
    "ConnectorPhaseRotationMaxLength": (OPTIONAL, R, NUMBER),
    "GetConfigurationMaxKeys": (REQUIRED, R, NUMBER),
    "HeartbeatInterval": (REQUIRED, RW, NUMBER),
    "LocalAuthorizeOffline": (REQUIRED, RW, FLAG),
    "LocalPreAuthorize": (REQUIRED, RW, FLAG),
    "MaxEnergyOnInvalidId": (OPTIONAL, RW, NUMBER),
    "MessageTimeout": (OPTIONAL, RW, NUMBER),
    "MeterValuesAlignedData": (REQUIRED, RW, Type.MEASURANDS),
    "MeterValuesAlignedDataMaxLength": (OPTIONAL, R, NUMBER),
    "MeterValuesSampledData": (REQUIRED, RW, Type.MEASURANDS),
    "MeterValuesSampledDataMaxLength": (OPTIONAL, R, NUMBER),
    "MeterValueSampleInterval": (REQUIRED, RW, NUMBER),
    "MinimumStatusDuration": (OPTIONAL, RW, NUMBER),
    "NumberOfConnectors": (REQUIRED, R, NUMBER),
    "ResetRetries": (REQUIRED, RW, NUMBER),
    "StopTransactionMaxMeterValues": (OPTIONAL, R, NUMBER),
    "StopTransactionOnEVSideDisconnect": (OPTIONAL, RW, FLAG),
    "StopTransactionOnInvalidId": (REQUIRED, RW, FLAG),
    "StopTxnAlignedData": (REQUIRED, RW, Type.MEASURANDS),
    "StopTxnAlignedDataMaxLength": (OPTIONAL, R, NUMBER),
    "StopTxnSampledData": (REQUIRED, RW, Type.MEASURANDS),
    "StopTxnSampledDataMaxLength": (OPTIONAL, R, NUMBER),
    "SupportedFeatureProfiles": (REQUIRED, R, Type.PROFILES),
    "TransactionMessageAttempts": (REQUIRED, RW, NUMBER),
    "TransactionMessageRetryInterval": (REQUIRED, RW, NUMBER),
    "UnlockConnectorOnEVSideDisconnect": (REQUIRED, RW, FLAG),
    "WebSocketPingInterval": (OPTIONAL, RW, NUMBER),
}
"""OCPP 1.6 §9.1 with errata v4.0 3.79, 3.82, 3.89 and OCPP-J errata 3.10. Two accesses are left to us: both are RW."""
NOT_OFFERED = (
    "BlinkRepeat",
    "LightIntensity",
    "SupportedFeatureProfilesMaxLength",
    "SupportedFileTransferProtocols",
    "LocalAuthListEnabled",
    "ReserveConnectorZeroSupported",
    "ChargeProfileMaxStackLevel",
)
LISTS = [name for name, (_, _, type_) in PRINTED.items() if type_ in (Type.MEASURANDS, Type.PHASE_ROTATION)]
MEASURAND_LISTS = [name for name in LISTS if PRINTED[name][2] is Type.MEASURANDS]
WORDS = {
    "AuthorizationStatus": "Accepted Blocked Expired Invalid ConcurrentTx",
    "AvailabilityStatus": "Accepted Rejected Scheduled",
    "AvailabilityType": "Inoperative Operative",
    "CancelReservationStatus": "Accepted Rejected",
    "ChargePointErrorCode": "ConnectorLockFailure EVCommunicationError GroundFailure HighTemperature InternalError"
    " LocalListConflict NoError OtherError OverCurrentFailure OverVoltage PowerMeterFailure PowerSwitchFailure ReaderFailure"
    " ResetFailure UnderVoltage WeakSignal",
    "ChargePointStatus": "Available Preparing Charging SuspendedEVSE SuspendedEV Finishing Reserved Unavailable Faulted",
    "ClearCacheStatus": "Accepted Rejected",
    "ConfigurationStatus": "Accepted Rejected RebootRequired NotSupported",
    "DataTransferStatus": "Accepted Rejected UnknownMessageId UnknownVendorId",
    "DiagnosticsStatus": "Idle Uploaded UploadFailed Uploading",
    "FirmwareStatus": "Downloaded DownloadFailed Downloading Idle InstallationFailed Installing Installed",
    "Location": "Body Cable EV Inlet Outlet",
    "Measurand": "Current.Export Current.Import Current.Offered Energy.Active.Export.Register Energy.Active.Import.Register"
    " Energy.Reactive.Export.Register Energy.Reactive.Import.Register Energy.Active.Export.Interval"
    " Energy.Active.Import.Interval Energy.Reactive.Export.Interval Energy.Reactive.Import.Interval Frequency"
    " Power.Active.Export Power.Active.Import Power.Factor Power.Offered Power.Reactive.Export Power.Reactive.Import RPM SoC"
    " Temperature Voltage",
    "MessageTrigger": "BootNotification DiagnosticsStatusNotification FirmwareStatusNotification Heartbeat MeterValues"
    " StatusNotification",
    "Phase": "L1 L2 L3 N L1-N L2-N L3-N L1-L2 L2-L3 L3-L1",
    "ReadingContext": "Interruption.Begin Interruption.End Other Sample.Clock Sample.Periodic Transaction.Begin"
    " Transaction.End Trigger",
    "Reason": "DeAuthorized EmergencyStop EVDisconnected HardReset Local Other PowerLoss Reboot Remote SoftReset UnlockCommand",
    "RegistrationStatus": "Accepted Pending Rejected",
    "RemoteStartStopStatus": "Accepted Rejected",
    "ReservationStatus": "Accepted Faulted Occupied Rejected Unavailable",
    "ResetStatus": "Accepted Rejected",
    "ResetType": "Hard Soft",
    "TriggerMessageStatus": "Accepted Rejected NotImplemented",
    "UnitOfMeasure": "Wh kWh varh kvarh W kW VA kVA var kvar A V Celsius Fahrenheit K Percent",
    "UnlockStatus": "Unlocked UnlockFailed NotSupported",
    "UpdateStatus": "Accepted Failed NotSupported VersionMismatch",
    "UpdateType": "Differential Full",
    "ValueFormat": "Raw SignedData",
}
"""OCPP 1.6 §7, as printed."""


@pytest.mark.parametrize("name", PRINTED)
def test_each_key_is_as_its_clause_prints_it(name: str) -> None:
    """OCPP 1.6 §9.1: required or optional, R or RW, type; and the answer to a ChangeConfiguration is of that kind."""
    key = keys.find(name, SOCKET)
    assert key is not None
    assert (key.name, key.required, key.access, key.type) == (name, *PRINTED[name])
    same = keys.change(keys.defaults(SOCKET), name, keys.defaults(SOCKET)[name], SOCKET).status
    writable = key.access is not R and key.type is not Type.PASSWORD
    assert same is (ConfigurationStatus.ACCEPTED if writable else ConfigurationStatus.REJECTED)


def test_the_keys_of_core_are_these() -> None:
    """OCPP 1.6 §9: what is optional may be left out, and nothing else is offered."""
    assert {key.name for key in keys.KEYS if key.profile == keys.CORE} == set(PRINTED)


@pytest.mark.parametrize("name", NOT_OFFERED)
def test_keys_that_are_not_offered_are_unknown(name: str) -> None:
    """OCPP 1.6 §5.8, §9; errata v4.0 3.80 and 3.88."""
    assert keys.report(keys.defaults(SOCKET), (name,), SOCKET) == keys.Report((), (name,))
    assert keys.change(keys.defaults(SOCKET), name, "1", SOCKET).status is ConfigurationStatus.NOT_SUPPORTED


def test_no_key_needs_a_reboot() -> None:
    """OCPP 1.6 §5.3: RebootRequired only where it is true."""
    assert [key.name for key in keys.KEYS if key.reboot_required] == []


@pytest.mark.parametrize("name", LISTS)
def test_each_list_is_bounded_by_its_length_key(name: str) -> None:
    """OCPP 1.6 §5.3, §3.16: [KeyName]MaxLength is the most items; one more is Rejected, and the old value stays."""
    two = "0.RST,1.RST" if name == "ConnectorPhaseRotation" else "Voltage,Current.Import"
    values = {**keys.defaults(SOCKET), f"{name}MaxLength": "1"}
    assert keys.change(values, name, two.split(",")[0], SOCKET).accepted
    refused = keys.change(values, name, two, SOCKET)
    assert refused.status is ConfigurationStatus.REJECTED
    assert refused.values == values


@pytest.mark.parametrize("name", MEASURAND_LISTS)
def test_each_list_refuses_what_is_not_measured(name: str) -> None:
    """OCPP 1.6 §3.16.4: one unsupported measurand, and no changes SHALL be made."""
    values = keys.defaults(SOCKET)
    for measurand in Measurand:
        outcome = keys.change(values, name, f"{keys.MEASURANDS[0]},{measurand}", SOCKET)
        assert outcome.accepted is (measurand in keys.MEASURANDS)
        assert outcome.accepted or outcome.values == values
    assert keys.change(values, name, "", SOCKET).accepted


def test_phase_rotation_is_not_applicable_to_one_phase() -> None:
    """OCPP 1.6 §9.1.7: NotApplicable for single phase, Unknown where it is not known."""
    assert keys.defaults(Capabilities(connectors=1, phases=1))["ConnectorPhaseRotation"] == "0.NotApplicable,1.NotApplicable"
    assert keys.defaults(Capabilities(connectors=1, phases=3))["ConnectorPhaseRotation"] == "0.Unknown,1.Unknown"


def test_what_the_station_says_of_itself() -> None:
    """OCPP 1.6 §3.3, §9.1.21, §9.1.29: profiles and number of connectors, read-only."""
    values = keys.defaults(SOCKET)
    assert values["SupportedFeatureProfiles"] == "Core"
    assert values["NumberOfConnectors"] == "2"
    for name in ("SupportedFeatureProfiles", "NumberOfConnectors"):
        assert keys.change(values, name, "3", SOCKET).status is ConfigurationStatus.REJECTED


def test_the_default_ping_finds_a_dead_connection_before_attempts_run_out() -> None:
    """OCPP-J errata 3.9: RECOMMENDED WebSocketPingInterval < TransactionMessageAttempts × TransactionMessageRetryInterval."""
    values = keys.defaults(SOCKET)
    ping_s = keys.integer(values, "WebSocketPingInterval")
    attempts, interval_s = (keys.integer(values, f"TransactionMessage{name}") for name in ("Attempts", "RetryInterval"))
    assert 0 < ping_s < attempts * interval_s


TOLD_ONLY = frozenset({"ConnectorPhaseRotation", "SupportedFeatureProfiles", "NumberOfConnectors", "GetConfigurationMaxKeys"})
"""What the table itself answers or bounds: nobody else has to read it."""
CONSTANTS = {"AuthorizationKey": "keys.AUTHORIZATION_KEY", "WebSocketPingInterval": "keys.WEB_SOCKET_PING_INTERVAL"}
"""Keys whose names stand in the table alone, and are used by these."""


def test_each_offered_key_is_read_by_the_code() -> None:
    """OCPP 1.6 §9: a key that is present means that its functionality is there, so somebody has to read it."""
    files = [file for file in ROOT.glob("services/**/*.py") if file.name != "keys.py"]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    obeyed = [name for name in PRINTED if name not in TOLD_ONLY and not name.endswith("MaxLength")]
    assert [name for name in obeyed if CONSTANTS.get(name, f'"{name}"') not in code] == []


@pytest.mark.parametrize("name", WORDS)
def test_words_are_spelled_as_printed(name: str) -> None:
    """OCPP 1.6 §7, with Celsius as the OCPP-J errata 2.1 spell it."""
    assert {str(word) for word in getattr(vocabulary, name)} == set(WORDS[name].split())
