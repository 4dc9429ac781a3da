"""The Local Authorization List: how SendLocalList changes it, and what it has of an idTag (pure; OCPP 1.6 §3.5.2, §5.15).

Theory of operation. The list may have ten thousand entries, so it is on the disk and not in the state, which has its version
and size only. Each step gets what the list says of the few idTags that the step may have to decide about (`in_question`,
`Now.listed`). An update is one change, so one commit: all of it or nothing, and the answer goes out when it is on the disk.

Owns: versions, bounds, conflicts. Does not: say what an entry is worth (`authorization.py`), or keep rows (`list_table.py`).

Choice: with LocalAuthListEnabled false there is no list that could be used or updated: version -1 and NotSupported. What it
held waits for the key to be true again.
Choice: an update that breaks a rule which OCPP gives no answer for is Failed: a version below 1 (errata v4.0 3.52), an idTag
twice (OCPP 1.6 §6.41), an entry of a full list without idTagInfo (§7.1), more entries than the two MaxLength keys allow.
Choice: an empty list answers with version 0 (§5.10) and keeps the version that it was sent under: an older differential update
that comes late does not bring back whom the Central System has removed. A differential update without entries changes the
version only (§6.41), since the Central System believes in that version once it was accepted.
"""

from bus.messages import IdTag, IdTagInfo, RemoteStartTransaction
from bus.profile_messages import AuthorizationData, LocalListVersion, SendLocalList, SendLocalListAnswer
from bus.vocabulary import AuthorizationStatus, UpdateStatus, UpdateType, id_tag_key, masked_id_tag
from services.connectors import events as e
from services.connectors.state import ListConflict, LocalList, Now, Settings, State
from services.connectors.work import Work

CONFLICTS_MAX = 16
"""Conflicts that are remembered at once; connector 0 tells the newest."""
VALID = frozenset({AuthorizationStatus.ACCEPTED, AuthorizationStatus.CONCURRENT_TX})
"""A list marks an identifier as valid by either (OCPP 1.6 §3.5.2)."""


def in_question(state: State, event: e.Event) -> tuple[str, ...]:
    """By `id_tag_key`, each idTag that the list may be asked about in the step of this event."""
    ids = _of_event(event)
    ids += tuple(asked.id_tag for asked in state.asked)
    ids += tuple(waiting.id_tag for waiting in state.waiting if not waiting.confirmed)
    if ids:
        # One of them may be in the group of a transaction (OCPP 1.6 §3.10).
        ids += tuple(c.ongoing.id_tag for c in state.connectors if c.ongoing is not None)
    return tuple(dict.fromkeys(map(id_tag_key, ids)))


def listed(state: State, id_tag: IdTag, now: Now) -> IdTagInfo | None:
    """What the list has of an idTag, as it was sent; None: nothing, or the list is not in use."""
    if not state.settings.local_auth_list_enabled or not state.local_list.entries:
        return None
    key = id_tag_key(id_tag)
    assert key in now.listed, "a step asks the list only about idTags that are in question"
    return now.listed[key]


def version(work: Work, call_id: str) -> None:
    """GetLocalListVersion (OCPP 1.6 §5.10)."""
    held = work.state.local_list
    if work.state.settings.local_auth_list_enabled:
        answer = LocalListVersion(held.version if held.entries else 0)
    else:
        answer = LocalListVersion(-1, "LocalAuthListEnabled is false")
    work.answer(e.Answer(call_id, answer))


def update(work: Work, call_id: str, request: SendLocalList) -> tuple[str, ...]:
    """SendLocalList (OCPP 1.6 §5.15); by `id_tag_key`, the idTags that have an entry because of it."""
    status, reason = _verdict(work, request)
    work.answer(e.Answer(call_id, SendLocalListAnswer(status, reason)))
    if status is not UpdateStatus.ACCEPTED:
        return ()
    saved = tuple((id_tag_key(one.id_tag), one.info) for one in request.entries if one.info is not None)
    dropped = tuple(id_tag_key(one.id_tag) for one in request.entries if one.info is None)
    full = request.update_type is UpdateType.FULL
    _save(work, LocalList(request.list_version, _size_after(work, request)), e.SaveLocalList(full, saved, dropped))
    work.note(
        "Local Authorization List is updated",
        detail=f"{request.update_type}, {len(saved)} set, {len(dropped)} deleted, version {request.list_version}",
    )
    named = {key for key, _ in saved} | set(dropped)
    work.set(list_conflicts=() if full else tuple(c for c in work.state.list_conflicts if c.key not in named))
    return tuple(key for key, _ in saved)


def forget(work: Work) -> None:
    """Empty the list: it is that of another Central System.

    Choice: OCPP 1.6 §3.5.2 lets nothing but SendLocalList change the list. This one is no list of the Central System that the
    station belongs to now, and that one could take its version for one of its own.
    """
    if work.state.local_list != LocalList():
        work.note("Local Authorization List is emptied, it is of another Central System", warning=True)
        _save(work, LocalList(), e.SaveLocalList(True, (), ()))
    work.set(list_conflicts=())


def compare(work: Work, id_tag: IdTag, here: IdTagInfo, told: IdTagInfo) -> None:
    """The Central System speaks of an idTag of the list, which says `here` of it (OCPP 1.6 §3.5.2, LocalListConflict).

    Choice: they are in conflict where one says that it is valid and the other that it is not. The conflict lasts until the two
    agree, or an update names the idTag. It is not kept on disk: the next answer finds it again.
    """
    key, before = id_tag_key(id_tag), work.state.list_conflicts
    others = tuple(conflict for conflict in before if conflict.key != key)
    if (here.status in VALID) == (told.status in VALID):
        work.set(list_conflicts=others)
        return
    words = f"{masked_id_tag(id_tag)}: list {here.status}, told {told.status}"
    conflict = ListConflict(key, words)
    work.set(list_conflicts=(*others, conflict)[-CONFLICTS_MAX:])
    if conflict not in before:
        work.note("Local Authorization List and Central System disagree", id_tag=id_tag, detail=words, warning=True)


def _of_event(event: e.Event) -> tuple[IdTag, ...]:
    match event:
        case e.CardPresented(id_tag=id_tag) | e.RemoteStartRequested(request=RemoteStartTransaction(id_tag=id_tag)):
            return (id_tag,)
        case e.AuthorizeAnswered(id_tag=str() as id_tag) | e.DeliveryStored(id_tag=str() as id_tag):
            return (id_tag,)
        case e.LocalListSent(request=request) if request.update_type is UpdateType.DIFFERENTIAL:
            return tuple(one.id_tag for one in request.entries)
    return ()


def _verdict(work: Work, request: SendLocalList) -> tuple[UpdateStatus, str]:
    """The answer to an update, and in plain words why it is refused. Nothing of it is done yet."""
    settings, held = work.state.settings, work.state.local_list
    differential = request.update_type is UpdateType.DIFFERENTIAL
    if not settings.local_auth_list_enabled:
        return UpdateStatus.NOT_SUPPORTED, "LocalAuthListEnabled is false"
    if differential and request.list_version <= held.version:
        return UpdateStatus.VERSION_MISMATCH, f"version {request.list_version} is not above {held.version}"
    reason = _flaw(settings, request)
    if not reason:
        size, size_max = _size_after(work, request), settings.local_auth_list_max_length
        if size > size_max and (not differential or size > held.entries):
            reason = f"the list would have {size} entries; LocalAuthListMaxLength is {size_max}"
    return (UpdateStatus.FAILED, reason) if reason else (UpdateStatus.ACCEPTED, "")


def _flaw(settings: Settings, request: SendLocalList) -> str:
    entries = request.entries
    if request.list_version < 1:
        return f"{request.list_version} is no version of a list (errata v4.0 3.52)"
    if len(entries) > settings.send_local_list_max_length:
        return f"{len(entries)} entries at once; SendLocalListMaxLength is {settings.send_local_list_max_length}"
    if len({id_tag_key(one.id_tag) for one in entries}) < len(entries):
        return "an idTag is in it twice (OCPP 1.6 §6.41)"
    if request.update_type is UpdateType.FULL and any(one.info is None for one in entries):
        return "a full list has an entry without idTagInfo (OCPP 1.6 §7.1)"
    return ""


def _size_after(work: Work, request: SendLocalList) -> int:
    """Entries that the list has once the update is applied."""
    if request.update_type is UpdateType.FULL:
        return len(request.entries)
    return work.state.local_list.entries + sum(_change_of_size(work, one) for one in request.entries)


def _change_of_size(work: Work, one: AuthorizationData) -> int:
    there = listed(work.state, one.id_tag, work.now) is not None
    return int(one.info is not None) - int(there)


def _save(work: Work, after: LocalList, change: e.SaveLocalList) -> None:
    work.set(local_list=after)
    work.change(change, e.SaveLocalListSize(after))
