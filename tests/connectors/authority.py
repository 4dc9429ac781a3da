"""Who may charge, told from the events alone: what the core decides about idTags is compared with it in each step.

Owns: a cache without bound, a Local Authorization List, and the rules of OCPP 1.6 §3.5, §4.1, §5.11 and §5.15 in their shortest
form. Does not: use the rules of the core.
"""

from bus.messages import Delivered, IdTagInfo
from bus.profile_messages import SendLocalList
from bus.vocabulary import AuthorizationStatus, Reason, UpdateType
from services.connectors import events as e
from services.connectors.state import Connector, Now, Running, Settings, Starting, State, Stopping, Waiting

GOOD = AuthorizationStatus.ACCEPTED


class Authority:
    """Follows one station."""

    def __init__(self) -> None:
        self.held: dict[str, IdTagInfo] = {}
        self.listed: dict[str, IdTagInfo] = {}
        self.list_version = 0

    def check(self, before: State, event: e.Event, after: State, now: Now) -> None:
        """One step: nobody got permission to charge, or to stop, whom nobody gave it."""
        if isinstance(event, e.LocalListSent):
            self._take_list(before.settings, event.request)
        self._learn(before, event)
        self._compare(after)
        known = _confirmed(before)
        for waiting_id, waiting in _confirmed(after).items():
            if waiting_id not in known:
                assert self._may_start(event, after, waiting.id_tag, now), f"{waiting.id_tag} may not start"
        for old, new in zip(before.connectors, after.connectors, strict=True):
            self._check_start(old, new)
            self._check_stop(old, new, event, after, now)

    def _learn(self, before: State, event: e.Event) -> None:
        """Every idTagInfo counts while AuthorizationCacheEnabled (OCPP 1.6 §3.5.1, §9.1.2)."""
        if (
            isinstance(event, e.LinkChanged)
            and event.link is not None
            and before.ever_accepted
            and not event.link.ever_accepted
        ):
            self.held.clear()
            self.listed, self.list_version = {}, 0
        if not before.settings.authorization_cache_enabled:
            return
        match event:
            case e.AuthorizeAnswered(id_tag=str(id_tag), info=IdTagInfo() as info):
                self._hear(before, id_tag, info)
            case e.DeliveryStored(id_tag=str(id_tag)) if isinstance(event.entry.outcome, Delivered):
                self._hear(before, id_tag, event.entry.outcome.id_tag_info)
            case e.ClearCacheRequested():
                self.held.clear()

    def _hear(self, state: State, id_tag: str, info: IdTagInfo | None) -> None:
        """Identifiers of the list SHALL NOT be added to the cache (OCPP 1.6 §3.5.3)."""
        if info is not None and not (state.settings.local_auth_list_enabled and id_tag.lower() in self.listed):
            self.held[id_tag.lower()] = info

    def _take_list(self, settings: Settings, request: SendLocalList) -> None:
        """All of an update or nothing (OCPP 1.6 §5.15, §6.41, §7.47, §9.2)."""
        entries = {one.id_tag.lower(): one.info for one in request.entries}
        full = request.update_type is UpdateType.FULL
        after = {**({} if full else self.listed), **entries}
        new = {key: info for key, info in after.items() if info is not None}
        grows = full or len(new) > len(self.listed)
        if (
            settings.local_auth_list_enabled
            and request.list_version > (0 if full else self.list_version)
            and len(entries) == len(request.entries) <= settings.send_local_list_max_length
            and not (full and None in entries.values())
            and not (grows and len(new) > settings.local_auth_list_max_length)
        ):
            self.listed, self.list_version = new, request.list_version
            for key, info in entries.items():
                if info is not None:
                    self.held.pop(key, None)

    def _compare(self, after: State) -> None:
        """The core's cache has what was received; a valid entry may have been changed to Expired since (OCPP 1.6 §3.5.1)."""
        assert after.cache.keys() == self.held.keys()
        assert (after.local_list.version, after.local_list.entries) == (self.list_version, len(self.listed))
        for key, info in after.cache.items():
            if info != self.held[key]:
                assert info.status is AuthorizationStatus.EXPIRED
                assert self.held[key].status is GOOD
                assert info.expiry_utc_ms is not None
                self.held[key] = info

    def _known(self, state: State, id_tag: str, now: Now) -> tuple[bool, bool]:
        """Whether list or cache know an idTag, and whether as valid; the list has priority (OCPP 1.6 §3.5.3)."""
        info = self.held.get(id_tag.lower()) if state.settings.authorization_cache_enabled else None
        if state.settings.local_auth_list_enabled:
            info = self.listed.get(id_tag.lower(), info)
        if info is None:
            return False, False
        utc_ms = None if now.utc_offset_s is None else (now.boottime_s + now.utc_offset_s) * 1000
        passed = info.expiry_utc_ms is not None and utc_ms is not None and info.expiry_utc_ms <= utc_ms
        return True, info.status is GOOD and not passed

    def _may_start(self, event: e.Event, after: State, id_tag: str, now: Now) -> bool:
        settings = after.settings
        known, valid = self._known(after, id_tag, now)
        match event:
            case e.AuthorizeAnswered(info=IdTagInfo(status=status)):
                return status is GOOD
            case e.RemoteStartRequested() if not settings.authorize_remote_tx_requests:
                return True
        if not (after.ever_accepted or settings.charge_before_first_acceptance):
            return False
        if after.online and not isinstance(event, e.AuthorizeAnswered):
            return settings.local_pre_authorize and valid
        if known and not valid:
            return False
        return settings.allow_offline_tx_for_unknown_id or (valid and settings.local_authorize_offline)

    def _check_start(self, old: Connector, new: Connector) -> None:
        """A transaction comes from an authorization that waited for its reading, and has its idTag."""
        if isinstance(new.phase, Running) and old.transaction is None:
            assert isinstance(old.phase, Starting)
            assert old.phase.waiting.confirmed
            assert old.phase.waiting.id_tag == new.phase.transaction.id_tag

    def _check_stop(self, old: Connector, new: Connector, event: e.Event, after: State, now: Now) -> None:
        """OCPP 1.6 §3.10, §4.10: a card that stops has the transaction's idTag, or is an accepted one of its group."""
        if not isinstance(new.phase, Stopping) or old.ongoing is None:
            return
        intent = new.phase.transaction.stop
        assert intent is not None
        assert (intent.id_tag is not None) == (intent.reason is Reason.LOCAL)
        if intent.id_tag is None or intent.id_tag.lower() == old.ongoing.id_tag.lower():
            return
        in_list = self.listed if after.settings.local_auth_list_enabled else {}
        own = in_list.get(old.ongoing.id_tag.lower(), self.held.get(old.ongoing.id_tag.lower()))
        groups = {old.ongoing.parent_id_tag, own.parent_id_tag if own is not None else None} - {None}
        if isinstance(event, e.AuthorizeAnswered) and event.info is not None:
            told, good = event.info.parent_id_tag, event.info.status is GOOD
        else:
            held = in_list.get(intent.id_tag.lower(), self.held.get(intent.id_tag.lower()))
            told, good = held.parent_id_tag if held is not None else None, self._known(after, intent.id_tag, now)[1]
        assert good
        assert told in groups


def _confirmed(state: State) -> dict[str, Waiting]:
    starting = [c.phase.waiting for c in state.connectors if isinstance(c.phase, Starting)]
    return {w.waiting_id: w for w in (*state.waiting, *starting) if w.confirmed}
