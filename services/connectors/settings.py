"""Settings of the connectors service from OCPP configuration keys (pure).

Owns: which keys this service obeys. Does not: validate values; the link has done that before it published them.
"""

from services.configuration import keys
from services.connectors.readings import Measurands
from services.connectors.state import Settings


def settings_from(values: dict[str, str], *, charge_before_first_acceptance: bool) -> Settings:
    """The settings that these key values mean; a key that is not offered keeps its default."""
    known = Settings()

    def flag(key: str, default: bool) -> bool:
        return keys.boolean(values, key) if key in values else default

    def number(key: str, default: int) -> int:
        return keys.integer(values, key) if key in values else default

    def measurands(key: str, default: Measurands) -> Measurands:
        return keys.measurands(values, key) if key in values else default

    # Not set is as good as false (OCPP 1.6 §5.13).
    of_any = flag(keys.RESERVE_CONNECTOR_ZERO_SUPPORTED, False)
    return Settings(
        connection_time_out_s=number("ConnectionTimeOut", known.connection_time_out_s),
        allow_offline_tx_for_unknown_id=flag("AllowOfflineTxForUnknownId", known.allow_offline_tx_for_unknown_id),
        authorize_remote_tx_requests=flag("AuthorizeRemoteTxRequests", known.authorize_remote_tx_requests),
        stop_transaction_on_ev_side_disconnect=flag(
            "StopTransactionOnEVSideDisconnect", known.stop_transaction_on_ev_side_disconnect
        ),
        stop_transaction_on_invalid_id=flag("StopTransactionOnInvalidId", known.stop_transaction_on_invalid_id),
        meter_value_sample_interval_s=number("MeterValueSampleInterval", known.meter_value_sample_interval_s),
        meter_values_sampled_data=measurands("MeterValuesSampledData", known.meter_values_sampled_data),
        clock_aligned_data_interval_s=number("ClockAlignedDataInterval", known.clock_aligned_data_interval_s),
        meter_values_aligned_data=measurands("MeterValuesAlignedData", known.meter_values_aligned_data),
        stop_txn_sampled_data=measurands("StopTxnSampledData", known.stop_txn_sampled_data),
        stop_txn_aligned_data=measurands("StopTxnAlignedData", known.stop_txn_aligned_data),
        stop_transaction_max_meter_values=number("StopTransactionMaxMeterValues", known.stop_transaction_max_meter_values),
        unlock_connector_on_ev_side_disconnect=flag(
            "UnlockConnectorOnEVSideDisconnect", known.unlock_connector_on_ev_side_disconnect
        ),
        reservation_profile=keys.profile_is_on(values, keys.RESERVATION),
        reserve_connector_zero_supported=of_any,
        charge_before_first_acceptance=charge_before_first_acceptance,
        authorization_cache_enabled=flag("AuthorizationCacheEnabled", known.authorization_cache_enabled),
        local_authorize_offline=flag("LocalAuthorizeOffline", known.local_authorize_offline),
        local_pre_authorize=flag("LocalPreAuthorize", known.local_pre_authorize),
        local_auth_list_enabled=flag("LocalAuthListEnabled", known.local_auth_list_enabled),
        local_auth_list_max_length=number("LocalAuthListMaxLength", known.local_auth_list_max_length),
        send_local_list_max_length=number("SendLocalListMaxLength", known.send_local_list_max_length),
        max_energy_on_invalid_id_wh=number("MaxEnergyOnInvalidId", known.max_energy_on_invalid_id_wh),
    )
