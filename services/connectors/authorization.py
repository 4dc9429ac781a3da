"""What an idTag is worth: local list and cache, the offline rules, the Central System's word (pure; OCPP 1.6 §3.5, §4.1).

Theory of operation. Whoever knows best decides: online the Central System is asked, unless LocalPreAuthorize lets what is
known here answer for it; without its answer that decides about whom it knows, and AllowOfflineTxForUnknownId about everybody
else. What is known is the entry of the Local Authorization List, else that of the cache (OCPP 1.6 §3.5.3). The cache holds what
was last received of an idTag that is not in the list, valid or not, from every idTagInfo.

Owns: the cache and these rules. Does not: decide which connector a card means (`cards.py`), or what becomes of a transaction
whose idTag is refused after its start (`deliveries.py`), or know how the list changes (`local_list.py`).
"""

import msgspec

from bus.messages import ClearCacheAnswer, IdTagInfo
from bus.profile_messages import SendLocalList
from bus.vocabulary import AuthorizationStatus, ClearCacheStatus, id_tag_key
from services.connectors import events as e
from services.connectors import local_list
from services.connectors.state import Now, State
from services.connectors.work import Work

CACHE_ENTRIES_MAX = 1000
"""Entries of the Authorization Cache; on overflow see `_surplus`."""

CENTRAL_SYSTEM = "the Central System says so"
CACHE = "by the Authorization Cache"
LOCAL_LIST = "by the Local Authorization List"
UNKNOWN_ALLOWED = "offline, AllowOfflineTxForUnknownId is true"
UNKNOWN_REFUSED = "offline and not known here, AllowOfflineTxForUnknownId is false"
LOCAL_REFUSED = "offline, LocalAuthorizeOffline is false"
NEVER_ACCEPTED = "no Central System has ever accepted this station (errata v4.0 3.11)"


class Worth(msgspec.Struct, frozen=True):
    """What an idTag may do: begin a session if `may_start`; end that of its group if it is `valid`. `reason` for the log."""

    info: IdTagInfo
    may_start: bool
    reason: str

    @property
    def valid(self) -> bool:
        """Whether it is an idTag that is allowed for charging (OCPP 1.6 §7.2)."""
        return self.info.status is AuthorizationStatus.ACCEPTED


def by_central_system(info: IdTagInfo) -> Worth:
    """The Central System's answer to Authorize (OCPP 1.6 §4.1)."""
    return Worth(info, info.status is AuthorizationStatus.ACCEPTED, CENTRAL_SYSTEM)


def without_asking(state: State, id_tag: str, now: Now) -> Worth | None:
    """What can be said at once; None: ask the Central System.

    LocalPreAuthorize starts without Authorize.req (OCPP 1.6 §9.1.13); the Central System judges when it gets StartTransaction.
    About an idTag that the cache has as NOT valid it is asked (OCPP 1.6 §3.5.1). Choice: about one of the list too, which OCPP
    1.6 §4.1 permits: it knows better than the list that it sent some time ago.
    """
    if not state.online or _never_accepted(state):
        return offline(state, id_tag, now)
    info = known(state, id_tag, now) if state.settings.local_pre_authorize else None
    if info is None or info.status is not AuthorizationStatus.ACCEPTED:
        return None
    return Worth(info, True, _source(state, id_tag, now))


def offline(state: State, id_tag: str, now: Now) -> Worth:
    """What an idTag is worth that nobody can be asked about, or about whom nobody answered (OCPP 1.6 §3.5, §3.5.4).

    An idTag that the list has with another status than Accepted MUST be rejected (OCPP 1.6 §3.5.4), so ConcurrentTx too, though
    it says more of a moment than of the card. Choice: so is one that the cache has as NOT valid: it is not unknown. Choice:
    with LocalAuthorizeOffline false a valid entry gives no permission to start, so its card is treated like one that nobody
    knows; LocalAuthorizeOffline is about starting, so it may still end the session of its group.
    """
    if _never_accepted(state):
        return Worth(IdTagInfo(AuthorizationStatus.INVALID), False, NEVER_ACCEPTED)
    settings, info = state.settings, known(state, id_tag, now)
    if info is not None and info.status is not AuthorizationStatus.ACCEPTED:
        return Worth(info, False, _source(state, id_tag, now))
    if info is not None and settings.local_authorize_offline:
        return Worth(info, True, _source(state, id_tag, now))
    if settings.allow_offline_tx_for_unknown_id:
        return Worth(info or IdTagInfo(AuthorizationStatus.ACCEPTED), True, UNKNOWN_ALLOWED)
    if info is not None:
        return Worth(info, False, LOCAL_REFUSED)
    return Worth(IdTagInfo(AuthorizationStatus.INVALID), False, UNKNOWN_REFUSED)


def known(state: State, id_tag: str, now: Now) -> IdTagInfo | None:
    """What is known here of an idTag, as it stands now; None: nothing. The list goes first (OCPP 1.6 §3.5.3)."""
    info = local_list.listed(state, id_tag, now)
    if info is None and state.settings.authorization_cache_enabled:
        info = state.cache.get(id_tag_key(id_tag))
    return None if info is None else _as_of(info, now)


def parent_of(state: State, id_tag: str, now: Now) -> str | None:
    """The group of an idTag, as far as it is known here (OCPP 1.6 §3.10)."""
    info = known(state, id_tag, now)
    return None if info is None else info.parent_id_tag


def remember(work: Work, id_tag: str | None, info: IdTagInfo | None, *, commits_anyway: bool = False) -> None:
    """Take an idTagInfo into the cache, but of an idTag of the list (OCPP 1.6 §3.5.1, §3.5.3, §4.1, §4.8, §4.10).

    `id_tag` None: whom it speaks of is not known (a StopTransaction that no idTag caused), so it says nothing. What the cache
    holds already is written again only where the step writes anyway: then the entry counts as updated last.
    """
    if id_tag is None or info is None:
        return
    listed = local_list.listed(work.state, id_tag, work.now)
    if listed is not None:
        local_list.compare(work, id_tag, _as_of(listed, work.now), info)
        return
    if not work.state.settings.authorization_cache_enabled:
        return
    key, cache = id_tag_key(id_tag), work.state.cache
    if cache.get(key) == info and (not commits_anyway or key == next(reversed(cache))):
        return
    surplus = () if key in cache else _surplus(cache, work.now)
    if surplus:
        work.change(e.DropCached(surplus))
        work.note("Authorization Cache is full, entries make room", detail=f"{len(surplus)} of {len(cache)}")
    _put(work, key, info, without=surplus)


def note_expiry(work: Work, id_tag: str) -> None:
    """An entry whose validity has ended is changed to Expired (OCPP 1.6 §3.5.1).

    Choice: `known` tells it Expired from that second on; it is written down when the card is presented, so that an idle
    station writes nothing, and so that a board that has lost the time does not take it for valid again. What is in the list is
    changed by SendLocalList alone (OCPP 1.6 §3.5.2).
    """
    if local_list.listed(work.state, id_tag, work.now) is not None:
        return
    key = id_tag_key(id_tag)
    held, info = work.state.cache.get(key), known(work.state, id_tag, work.now)
    if info is not None and info != held:
        _put(work, key, info)


def clear_cache(work: Work, call_id: str) -> None:
    """ClearCache (OCPP 1.6 §5.4); the answer goes out when the empty cache is on disk.

    Choice: while AuthorizationCacheEnabled is false there is no cache that could be cleared, and the answer is that of a
    station without one: Rejected (errata v4.0 3.23). What it held before waits for the key to be true again.
    """
    if not work.state.settings.authorization_cache_enabled:
        answer = ClearCacheAnswer(ClearCacheStatus.REJECTED, "AuthorizationCacheEnabled is false (errata v4.0 3.23)")
    else:
        forget_all(work)
        answer = ClearCacheAnswer(ClearCacheStatus.ACCEPTED)
    work.answer(e.Answer(call_id, answer))


def local_list_sent(work: Work, call_id: str, request: SendLocalList) -> None:
    """SendLocalList (OCPP 1.6 §5.15).

    Choice: the cache forgets an idTag that the list takes in. It learns nothing of it from then on (OCPP 1.6 §3.5.3), and its
    old word must not count again when the list lets go of the idTag.
    """
    listed = local_list.update(work, call_id, request)
    stale = tuple(key for key in listed if key in work.state.cache)
    if stale:
        work.set(cache={key: held for key, held in work.state.cache.items() if key not in set(stale)})
        work.change(e.DropCached(stale))


def forget_all(work: Work) -> None:
    """Empty the cache."""
    if work.state.cache:
        work.note("Authorization Cache is emptied", detail=f"{len(work.state.cache)} entries")
        work.set(cache={})
        work.change(e.EmptyCache())


def _never_accepted(state: State) -> bool:
    """Whether nobody may charge here, as no Central System ever accepted this station (errata v4.0 3.11)."""
    return not state.ever_accepted and not state.settings.charge_before_first_acceptance


def _source(state: State, id_tag: str, now: Now) -> str:
    return CACHE if local_list.listed(state, id_tag, now) is None else LOCAL_LIST


def _put(work: Work, key: str, info: IdTagInfo, *, without: tuple[str, ...] = ()) -> None:
    gone = {key, *without}
    work.set(cache={**{k: held for k, held in work.state.cache.items() if k not in gone}, key: info})
    work.change(e.SaveCached(key, info))


def _surplus(cache: dict[str, IdTagInfo], now: Now) -> tuple[str, ...]:
    """Which entries make room for one more: any that are NOT valid, then the valid ones that were updated longest ago.

    OCPP 1.6 §3.5.1. A cache that is not full loses nothing.
    """
    if len(cache) < CACHE_ENTRIES_MAX:
        return ()
    valid = [key for key, info in cache.items() if _as_of(info, now).status is AuthorizationStatus.ACCEPTED]
    not_valid = cache.keys() - set(valid)
    return (*sorted(not_valid), *valid[: max(0, len(valid) + 1 - CACHE_ENTRIES_MAX)])


def _as_of(info: IdTagInfo, now: Now) -> IdTagInfo:
    """An entry as it stands now: valid until its expiryDate, and Expired from then on (OCPP 1.6 §3.5.1, §7.27).

    Choice: while the clock is unknown (after a power cut, offline) an entry holds until its expiryDate is known to have
    passed, by the last time that this board knew. A person whose card is valid for years shall charge after a power cut, and
    the Central System judges each start when it gets it.
    """
    expired = info.expiry_utc_ms is not None and now.has_passed(info.expiry_utc_ms)
    if expired and info.status is AuthorizationStatus.ACCEPTED:
        return msgspec.structs.replace(info, status=AuthorizationStatus.EXPIRED)
    return info
