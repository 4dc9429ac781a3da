"""The OCPP keys in the link's hands: GetConfiguration, ChangeConfiguration, and what the session obeys.

Owns: the current values in memory, always those on the disk. Does not: know the table (`services/configuration/keys.py`)
or when something is sent.
"""

import sqlite3

from bus.key_messages import ChangeKey, KeyChanged
from bus.vocabulary import ConfigurationStatus
from services.configuration import keys
from services.configuration.formats import Problem
from services.configuration.model import StationConfig
from services.configuration.station import capabilities
from services.configuration.store import ConfigurationStore, effective
from services.ocpp_link import payloads as p
from services.ocpp_link.call_error import CallError, ErrorCode
from services.ocpp_link.routes import Answered
from services.ocpp_link.state import Settings

HEARTBEAT_INTERVAL = "HeartbeatInterval"


class Configuration:
    """Values of all keys, and their store."""

    def __init__(self, store: ConfigurationStore, config: StationConfig) -> None:
        self._store = store
        self._config = config
        self._able = capabilities(config)
        self._values = effective(store.values(), config)
        self._previous_key = store.previous_key()
        """The AuthorizationKey before a change, until the new one has opened a connection (field report 56)."""
        self._trying_previous = False

    def public(self) -> dict[str, str]:
        """Values that may be told on the bus: no secrets."""
        return keys.public(self._values)

    @property
    def profiles(self) -> tuple[str, ...]:
        """Feature profiles that are on (OCPP 1.6 §9.1.29): actions of others get NotSupported."""
        return self._able.profiles

    def authorization_key(self) -> str:
        """The password of security profiles 1 and 2 (security whitepaper §2), as the next connection uses it."""
        if self._trying_previous and self._previous_key is not None:
            return self._previous_key
        return self._values.get(keys.AUTHORIZATION_KEY) or self._config.central_system.authorization_key

    def key_refused(self) -> bool:
        """The password was refused: if there is one from before a change, the two take turns until one is accepted."""
        self._trying_previous = self._previous_key is not None and not self._trying_previous
        return self._previous_key is not None

    def key_accepted(self, changed_utc: str) -> bool:
        """A connection stands, so the password is right: it is the only one now. True if it is the one from before.

        Raises sqlite3.Error; then both are kept.
        """
        if self._previous_key is None:
            return False
        key, rolled_back = self.authorization_key(), self._trying_previous
        self._store.set_authorization_key(key, None, changed_utc)
        self._values = {**self._values, keys.AUTHORIZATION_KEY: key}
        self._previous_key, self._trying_previous = None, False
        return rolled_back

    def get(self, req: p.GetConfigurationReq) -> Answered | CallError:
        """OCPP 1.6 §5.8. More keys than GetConfigurationMaxKeys: CALLERROR."""
        report = keys.report(self._values, req.key or (), self._able)
        if isinstance(report, Problem):
            return CallError(ErrorCode.OCCURENCE_CONSTRAINT_VIOLATION, report.text)
        entries = tuple(p.KeyValue(key=entry.key, readonly=entry.readonly, value=entry.value) for entry in report.entries)
        return Answered(p.GetConfigurationConf(configuration_key=entries or None, unknown_key=report.unknown or None))

    def change(self, req: p.ChangeConfigurationReq, changed_utc: str) -> Answered:
        """OCPP 1.6 §5.3: on the disk when this returns. What the disk does not take is Rejected, and the old value holds."""
        change = keys.change(self._values, req.key, req.value, self._able)
        if change.accepted:
            try:
                self._store_change(change, changed_utc)
            except sqlite3.Error as error:
                status = ConfigurationStatus.REJECTED
                return Answered(p.ChangeConfigurationConf(status=status), f"the value can't be stored: {error}")
            self._values = change.values
        return Answered(p.ChangeConfigurationConf(status=change.status), change.reason)

    def change_by_hand(self, request: ChangeKey, changed_utc: str) -> KeyChanged:
        """By a person at the station, by the same rules as a ChangeConfiguration; on the disk when this returns.

        Without a value the key goes back to `station.toml` or its default. Raises sqlite3.Error.
        """
        if request.value is None:
            return self._reset(request.key)
        change = keys.change(self._values, request.key, request.value, self._able)
        if change.accepted:
            self._store_change(change, changed_utc, here=True)
            self._values = change.values
        return KeyChanged(change.status, change.reason)

    def _reset(self, name: str) -> KeyChanged:
        key = keys.find(name, self._able)
        if key is None:
            return KeyChanged(ConfigurationStatus.NOT_SUPPORTED, "this station has no such key")
        if key.name == keys.AUTHORIZATION_KEY:
            return KeyChanged(ConfigurationStatus.REJECTED, "a password is never taken back, set the new one")
        self._store.forget_value(key.name)
        before = self._values.get(keys.AUTHORIZATION_KEY)
        self._values = effective(self._store.values(), self._config)
        if before is not None:
            self._values[keys.AUTHORIZATION_KEY] = before
        status = ConfigurationStatus.REBOOT_REQUIRED if key.reboot_required else ConfigurationStatus.ACCEPTED
        return KeyChanged(status)

    def _store_change(self, change: keys.Change, changed_utc: str, *, here: bool = False) -> None:
        """An AuthorizationKey that a Central System checks is kept beside the new one until that has worked."""
        text = change.values[change.key]
        if change.key != keys.AUTHORIZATION_KEY or self._config.central_system.security_profile == 0:
            self._store.set_value(change.key, text, changed_utc, here=here)
            return
        # The connection over which the change came was opened with this one.
        working = self.authorization_key()
        self._store.set_authorization_key(text, working, changed_utc)
        self._previous_key, self._trying_previous = working, False

    def set_heartbeat_interval(self, interval_s: int, changed_utc: str) -> bool:
        """BootNotification.conf sets HeartbeatInterval (OCPP 1.6 §4.2); False if it has that value already.

        Raises sqlite3.Error.
        """
        if self._values.get(HEARTBEAT_INTERVAL) == str(interval_s):
            return False
        self._store.set_value(HEARTBEAT_INTERVAL, str(interval_s), changed_utc)
        self._values = {**self._values, HEARTBEAT_INTERVAL: str(interval_s)}
        return True

    def session_settings(self) -> Settings:
        """What the session obeys."""
        central = self._config.central_system
        return Settings(
            heartbeat_interval_s=keys.integer(self._values, HEARTBEAT_INTERVAL),
            minimum_status_duration_s=keys.integer(self._values, "MinimumStatusDuration"),
            reset_retries=keys.integer(self._values, "ResetRetries"),
            message_timeout_s=max(1, keys.integer(self._values, "MessageTimeout")),
            ping_interval_s=keys.integer(self._values, keys.WEB_SOCKET_PING_INTERVAL),
            pong_timeout_s=central.pong_timeout_s,
            reconnect_s_min=central.reconnect_min_s,
            reconnect_s_max=central.reconnect_max_s,
        )
