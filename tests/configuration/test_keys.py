"""The table of OCPP keys, ChangeConfiguration and GetConfiguration (OCPP 1.6 §5.3, §5.8, §9)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.vocabulary import ConfigurationStatus, Measurand, Phase
from services.configuration import formats, keys
from services.configuration.keys import Access, Capabilities, Problem, Report

SOCKET = Capabilities(connectors=2, fixed_cable=False, phases=3)
FIXED = Capabilities()
VALUES = keys.defaults(SOCKET)


def change(name: str, text: str, able: Capabilities = SOCKET) -> keys.Change:
    return keys.change(keys.defaults(able), name, text, able)


def test_the_table_has_each_key_once_in_alphabetical_order() -> None:
    names = [key.name.casefold() for key in keys.KEYS]
    assert names == sorted(set(names))


@pytest.mark.parametrize("key", keys.KEYS, ids=lambda key: key.name)
@pytest.mark.parametrize("able", [SOCKET, FIXED], ids=["socket", "fixed"])
def test_each_default_is_valid(key: keys.Key, able: Capabilities) -> None:
    if key.access is Access.WRITE:
        return
    text = keys.defaults(able)[key.name]
    assert keys.validate(key, text, able, keys.defaults(able)) == text


REQUIRED = [
    "AuthorizeRemoteTxRequests",
    "ClockAlignedDataInterval",
    "ConnectionTimeOut",
    "ConnectorPhaseRotation",
    "GetConfigurationMaxKeys",
    "HeartbeatInterval",
    "LocalAuthorizeOffline",
    "LocalPreAuthorize",
    "MeterValuesAlignedData",
    "MeterValuesSampledData",
    "MeterValueSampleInterval",
    "NumberOfConnectors",
    "ResetRetries",
    "StopTransactionOnInvalidId",
    "StopTxnAlignedData",
    "StopTxnSampledData",
    "SupportedFeatureProfiles",
    "TransactionMessageAttempts",
    "TransactionMessageRetryInterval",
    "UnlockConnectorOnEVSideDisconnect",
]


def test_all_keys_that_core_requires_are_there_and_cannot_be_hidden() -> None:
    """OCPP 1.6 §9.1 with errata v4.0 3.79 (StopTransactionOnEVSideDisconnect became optional)."""
    assert sorted(REQUIRED) == sorted(key.name for key in keys.KEYS if key.required and key.profile == keys.CORE)


@pytest.mark.parametrize("profile", [name for name in keys.PROFILES if name != keys.CORE])
def test_a_profile_that_is_off_has_no_keys(profile: str) -> None:
    """OCPP 1.6 §9.1.29, §5.3, §5.8: unknown to GetConfiguration, NotSupported to ChangeConfiguration."""
    others = tuple(name for name in keys.PROFILES if name != profile)
    able = Capabilities(profiles=others)
    values = keys.defaults(able)
    assert values["SupportedFeatureProfiles"] == ",".join(others)
    for name in (key.name for key in keys.KEYS if key.profile == profile):
        assert name not in values
        assert keys.report(values, (name,), able) == keys.Report((), (name,))
        assert keys.change(values, name, "true", able).status is ConfigurationStatus.NOT_SUPPORTED


def test_names_are_taken_in_any_case() -> None:
    """OCPP 1.6 §6.9: the key is a CiString50 (field report §2.13)."""
    outcome = change("hEARTBEATiNTERVAL", "20")
    assert outcome.status is ConfigurationStatus.ACCEPTED
    assert outcome.key == "HeartbeatInterval"
    assert outcome.values["HeartbeatInterval"] == "20"
    assert keys.find("HEARTBEATINTERVAL", SOCKET) is keys.find("HeartbeatInterval", SOCKET)


@pytest.mark.parametrize("name", ["BlinkRepeat", "", "HeartbeatInterval ", "SupportedFeatureProfilesMaxLength", "é"])
def test_unknown_keys_are_not_supported(name: str) -> None:
    outcome = change(name, "1")
    assert outcome.status is ConfigurationStatus.NOT_SUPPORTED
    assert outcome.values == VALUES


@pytest.mark.parametrize("name", ["NumberOfConnectors", "SupportedFeatureProfiles", "GetConfigurationMaxKeys"])
def test_read_only_keys_are_rejected_even_with_their_own_value(name: str) -> None:
    outcome = change(name, VALUES[name])
    assert outcome.status is ConfigurationStatus.REJECTED
    assert "read-only" in outcome.reason


@pytest.mark.parametrize("key", [key for key in keys.KEYS if key.type is keys.Type.INTEGER], ids=lambda key: key.name)
def test_negative_numbers_are_rejected(key: keys.Key) -> None:
    """OCPP 1.6 §5.3 note; OCPP-J 1.6 §7 for WebSocketPingInterval."""
    outcome = change(key.name, "-1")
    assert outcome.status is ConfigurationStatus.REJECTED
    assert outcome.values == VALUES


@pytest.mark.parametrize("text", ["", "1.0", "1e3", "0x10", "١", "1_000", "+-1", "99999999999", "9" * 400, "twenty"])
def test_what_is_no_whole_number_is_rejected(text: str) -> None:
    assert change("HeartbeatInterval", text).status is ConfigurationStatus.REJECTED


@pytest.mark.parametrize(("text", "kept"), [(" 20 ", "20"), ("+20", "20"), ("020", "20"), ("2147483647", "2147483647")])
def test_numbers_are_kept_in_their_plain_form(text: str, kept: str) -> None:
    assert change("HeartbeatInterval", text).values["HeartbeatInterval"] == kept


@pytest.mark.parametrize(("text", "kept"), [("TRUE", "true"), ("False", "false"), (" true ", "true")])
def test_booleans_are_taken_in_any_case(text: str, kept: str) -> None:
    assert change("LocalPreAuthorize", text).values["LocalPreAuthorize"] == kept
    assert change("LocalPreAuthorize", "1").status is ConfigurationStatus.REJECTED


def test_one_unsupported_measurand_rejects_the_whole_list() -> None:
    """errata v4.0 3.13 §3.14.4 (field report 37)."""
    for text in ("Voltage,SoC", "Voltage,Nonsense", "Voltage,,Voltage", "Voltage,", "Voltage.L4", "Frequency.L1"):
        outcome = change("MeterValuesSampledData", text)
        assert outcome.status is ConfigurationStatus.REJECTED, text
        assert outcome.values == VALUES


def test_measurands_are_kept_as_printed_and_once() -> None:
    outcome = change("MeterValuesSampledData", "voltage , Current.import,VOLTAGE, Voltage.L1")
    assert outcome.values["MeterValuesSampledData"] == "Voltage,Current.Import,Voltage.L1"
    assert keys.measurands(outcome.values, "MeterValuesSampledData") == (
        (Measurand.VOLTAGE, None),
        (Measurand.CURRENT_IMPORT, None),
        (Measurand.VOLTAGE, Phase.L1),
    )
    assert keys.measurands(change("MeterValuesSampledData", "").values, "MeterValuesSampledData") == ()


def test_a_phase_is_taken_where_the_meter_has_it() -> None:
    assert change("StopTxnSampledData", "Voltage.L3-N,Current.Import.L3").accepted
    assert not change("StopTxnSampledData", "Current.Import.L3-N").accepted
    assert not change("StopTxnSampledData", "Voltage.L2", FIXED).accepted


def test_a_list_longer_than_its_length_key_is_rejected() -> None:
    """OCPP 1.6 §5.3: [KeyName]MaxLength is the maximum number of items."""
    values = {**VALUES, "MeterValuesSampledDataMaxLength": "1"}
    assert keys.change(values, "MeterValuesSampledData", "Voltage", SOCKET).accepted
    outcome = keys.change(values, "MeterValuesSampledData", "Voltage,Frequency", SOCKET)
    assert outcome.reason == "2 items; MeterValuesSampledDataMaxLength allows 1"


@pytest.mark.parametrize("text", ["RST", "1.ABC", "1", "a.RST", "1.RST,1.RTS", "-1.RST", "1.RST;2.RST"])
def test_bad_phase_rotations_are_rejected(text: str) -> None:
    """OCPP 1.6 §9.1.7."""
    assert change("ConnectorPhaseRotation", text).status is ConfigurationStatus.REJECTED


def test_phase_rotations_are_kept_without_spaces() -> None:
    assert change("ConnectorPhaseRotation", "0.RST, 1.rst, 2.RTS").values["ConnectorPhaseRotation"] == "0.RST,1.RST,2.RTS"


def test_a_fixed_cable_has_nothing_to_unlock() -> None:
    """errata v4.0 3.83: reported as false and not changeable."""
    name = "UnlockConnectorOnEVSideDisconnect"
    assert keys.defaults(FIXED)[name] == "false"
    assert change(name, "true", FIXED).status is ConfigurationStatus.REJECTED
    report = keys.report(keys.defaults(FIXED), (name,), FIXED)
    assert report == Report((keys.Entry(name, True, "false"),), ())
    assert change(name, "false", SOCKET).accepted


KEY = "00112233445566778899aabbccddeeff00112233"


def test_the_authorization_key_is_written_and_never_read() -> None:
    """OCPP-J errata 3.10, OCPP-J 1.6 §6.2.2."""
    outcome = change("AuthorizationKey", KEY)
    assert outcome.accepted
    every = keys.report(outcome.values, (), SOCKET)
    named = keys.report(outcome.values, ("AuthorizationKey",), SOCKET)
    assert KEY not in repr(every)
    assert named == Report((keys.Entry("AuthorizationKey", False, None),), ())
    assert "AuthorizationKey" not in keys.public(outcome.values)


@pytest.mark.parametrize("text", ["", "0011", KEY + "44", KEY[:-1], "no", "secret secret \x00!!"])
def test_a_bad_authorization_key_is_rejected_and_not_repeated(text: str) -> None:
    outcome = change("AuthorizationKey", text)
    assert outcome.status is ConfigurationStatus.REJECTED
    assert not text or text not in outcome.reason
    assert outcome.values == VALUES


def test_the_example_of_the_specification_gives_its_password() -> None:
    """OCPP-J 1.6 §6.2.2: AL1000 with 0001020304050607FFFFFFFFFFFFFFFFFFFFFFFF."""
    import base64

    password = formats.password("0001020304050607FFFFFFFFFFFFFFFFFFFFFFFF")
    assert base64.b64encode(b"AL1000:" + password) == b"QUwxMDAwOgABAgMEBQYH////////////////"
    assert formats.password("a plain password") == b"a plain password"


def test_no_requested_keys_means_all_of_them() -> None:
    """OCPP 1.6 §5.8; more than GetConfigurationMaxKeys too, since that bounds the request."""
    values = {**VALUES, "GetConfigurationMaxKeys": "1"}
    report = keys.report(values, (), SOCKET)
    assert isinstance(report, Report)
    assert [entry.key for entry in report.entries] == [key.name for key in keys.KEYS if key.access is not Access.WRITE]
    assert report.unknown == ()


def test_requested_keys_are_answered_in_their_order_and_unknown_ones_listed() -> None:
    report = keys.report(VALUES, ("Nonsense", "resetretries", "HeartbeatInterval", "ResetRetries", "nonsense"), SOCKET)
    assert report == Report(
        (keys.Entry("ResetRetries", False, "0"), keys.Entry("HeartbeatInterval", False, "300")), ("Nonsense",)
    )


def test_too_many_requested_keys_are_a_problem() -> None:
    """OCPP 1.6 §9.1.9."""
    values = {**VALUES, "GetConfigurationMaxKeys": "2"}
    assert isinstance(keys.report(values, ("a", "b"), SOCKET), Report)
    assert isinstance(keys.report(values, ("a", "b", "c"), SOCKET), Problem)


def test_hidden_keys_are_unknown_but_keep_their_defaults() -> None:
    able = Capabilities(not_offered=("MessageTimeout",))
    assert change("MessageTimeout", "5", able).status is ConfigurationStatus.NOT_SUPPORTED
    assert keys.report(keys.defaults(able), ("MessageTimeout",), able) == Report((), ("MessageTimeout",))
    assert keys.integer(keys.defaults(able), "MessageTimeout") == 30


NAMES = st.sampled_from([key.name for key in keys.KEYS]) | st.text(max_size=60)


@settings(deadline=None)
@given(NAMES, st.text(max_size=600), st.sampled_from([SOCKET, FIXED]))
def test_any_change_is_answered_and_what_is_accepted_is_stable(name: str, text: str, able: Capabilities) -> None:
    outcome = change(name, text, able)
    if outcome.accepted:
        kept = outcome.values[outcome.key]
        assert keys.change(outcome.values, outcome.key, kept, able).values == outcome.values
        assert len(kept) <= formats.VALUE_LENGTH_MAX
    else:
        assert outcome.reason
        assert outcome.values == keys.defaults(able)


@settings(deadline=None)
@given(st.lists(NAMES, max_size=30))
def test_each_requested_key_is_either_reported_or_unknown(names: list[str]) -> None:
    report = keys.report(VALUES, tuple(names), SOCKET)
    assert isinstance(report, Report)
    if names:
        answered = {entry.key.casefold() for entry in report.entries} | {name.casefold() for name in report.unknown}
        assert answered == {name.casefold() for name in names}


def test_a_station_that_hides_the_key_of_the_cache_has_none() -> None:
    """OCPP 1.6 §9.1.2: the key exists where there is a cache."""
    assert keys.defaults(Capabilities())["AuthorizationCacheEnabled"] == "true"
    hidden = Capabilities(not_offered=("AuthorizationCacheEnabled",))
    assert keys.defaults(hidden)["AuthorizationCacheEnabled"] == "false"
