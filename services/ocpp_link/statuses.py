"""StatusNotification: what the Central System is told of connectors, and when (pure; OCPP 1.6 §4.9, errata v4.0 3.19 to 3.22).

Owns: which status is still to be told. After BootNotification all are told; after a mere reconnect only what differs from
what was last acknowledged (field report 45). Changes while connected are all told, in order; errors are never merged away.
Does not: decide what a connector's status is; that is `connectors`'.

MinimumStatusDuration (OCPP 1.6 §9.1.20): a new status waits in `settling` until it has been true for so long, each
connector for itself; one that does not last is never told. What is told at once all the same (field report 40):
an error that was not there before, with whatever status it comes; news of a status that is known already; and, since errata
v4.0 3.22 wants the current status then, everything after BootNotification.
"""

from msgspec.structs import replace

from bus.messages import ConnectorState, Moment
from bus.vocabulary import CHARGE_POINT, ChargePointErrorCode, ChargePointStatus
from services.ocpp_link import events as e
from services.ocpp_link.state import Said, Settling, State
from services.ocpp_link.work import Work

TO_TELL_MAX = 200
"""Beyond it, while connected, only each connector's newest status is kept."""


def said(work: Work, connector: ConnectorState) -> None:
    """Connectors say a state: queue it if it tells something new."""
    if connector.connector_id == CHARGE_POINT:
        work.set(charge_point=connector)
        connector = _with_trouble(work, connector)
    _said(work, connector)


def watchdog_said(work: Work, trouble: str) -> None:
    """A service of the station does not work, or works again: InternalError of connector 0 (design §2).

    Choice: who never heard of connector 0 in this process, as `connectors` is what does not work, tells it as Faulted.
    """
    if trouble == work.state.trouble:
        return
    work.set(trouble=trouble)
    known = work.state.charge_point
    if known is not None:
        _said(work, _with_trouble(work, known))
    elif trouble:
        at = Moment("", round(work.now.boottime_s * 1000))
        _said(work, _with_trouble(work, ConnectorState(CHARGE_POINT, ChargePointStatus.FAULTED, at)))


def _with_trouble(work: Work, charge_point: ConnectorState) -> ConnectorState:
    """An error that `connectors` knows of comes first: the watchdog's is in the log too."""
    trouble = work.state.trouble
    if not trouble or charge_point.error_code is not ChargePointErrorCode.NO_ERROR:
        return charge_point
    return replace(
        charge_point,
        at=replace(charge_point.at, boottime_ms=round(work.now.boottime_s * 1000), utc_ms=None),
        error_code=ChargePointErrorCode.INTERNAL_ERROR,
        info=trouble,
        vendor_error_code="watchdog",
    )


def _said(work: Work, connector: ConnectorState) -> None:
    state = work.state
    before = next((c for c in state.current if c.connector_id == connector.connector_id), None)
    others = tuple(c for c in state.current if c.connector_id != connector.connector_id)
    work.set(current=tuple(sorted((*others, connector), key=lambda c: c.connector_id)))
    if before is not None and what(before) == what(connector):
        return
    if state.accepted:
        _consider(work, connector)


def accepted(work: Work) -> None:
    """BootNotification was accepted: everything is told, connector 0 first (errata v4.0 3.22).

    What the Central System had been told before is true now, not only since then: some ignore a status that is no newer than
    the one they have (field report §2.19), so a repeat bears the time of its repetition.
    """
    known, now_ms = dict(work.state.acknowledged), round(work.now.boottime_s * 1000)
    work.set(
        acknowledged=(),
        settling=(),
        telling=None,
        to_tell=tuple(
            replace(c, at=replace(c.at, boottime_ms=now_ms, utc_ms=None)) if known.get(c.connector_id) == what(c) else c
            for c in work.state.current
        ),
    )


def reconnected(work: Work) -> None:
    """Only what differs from what was last acknowledged, in the order in which it became true (OCPP 1.6 §4.9)."""
    known = dict(work.state.acknowledged)
    differing = [c for c in work.state.current if known.get(c.connector_id) != what(c)]
    work.set(to_tell=(), telling=None, settling=())
    for connector in sorted(differing, key=lambda c: c.at.boottime_ms):
        _consider(work, connector)


def next_deadline_s(state: State) -> float | None:
    """When the next status has lasted long enough to be told."""
    return min((_due_s(state, one) for one in state.settling), default=None)


def tell(work: Work) -> None:
    """Send the next one; one at a time."""
    _release(work)
    if work.state.telling is None and work.state.to_tell:
        head, *rest = work.state.to_tell
        work.set(telling=head, to_tell=tuple(rest))
        work.do(e.SendCall(e.Purpose.STATUS, str(head.connector_id), head))


def acknowledged(work: Work) -> None:
    """The Central System has it."""
    telling = work.state.telling
    if telling is not None:
        _note_acknowledged(work, telling)


def refused(work: Work, reason: str) -> None:
    """CALLERROR: sending the same again would not help; the next change is told again."""
    telling = work.state.telling
    if telling is None:
        return
    work.note("Central System refuses a StatusNotification", detail=f"connector {telling.connector_id}: {reason}", warning=True)
    _note_acknowledged(work, telling)


def unanswered(work: Work) -> None:
    """Silence, or it never went out: not repeated on this connection, which it could block; told again after a reconnect."""
    work.set(telling=None)


def current(state: State, connector_id: int | None) -> tuple[ConnectorState, ...]:
    """What connectors said last: of this one, or of the charge point and all connectors."""
    return tuple(c for c in state.current if connector_id in (None, c.connector_id))


def tell_again(work: Work, connector: ConnectorState) -> None:
    """Tell it whatever the Central System knows, after all that waits; it does not settle any more."""
    settling = tuple(one for one in work.state.settling if one.connector.connector_id != connector.connector_id)
    work.set(settling=settling)
    _queue(work, connector)


def what(connector: ConnectorState) -> Said:
    """What a StatusNotification tells of a state."""
    return Said(connector.status, connector.error_code, connector.info, connector.vendor_error_code)


def _consider(work: Work, connector: ConnectorState) -> None:
    """Tell it at once, let it settle, or leave it: a connector is back at what the Central System knows of it."""
    state, number = work.state, connector.connector_id
    unsettled = next((one for one in state.settling if one.connector.connector_id == number), None)
    work.set(settling=tuple(one for one in state.settling if one is not unsettled))
    newest = _newest_told(work, number)
    if newest == what(connector):
        return
    since_s = min(work.now.boottime_s, connector.at.boottime_ms / 1000)
    if unsettled is not None and unsettled.connector.status is connector.status:
        since_s = unsettled.since_s
    settling = Settling(connector, since_s)
    if _is_urgent(newest, connector) or _due_s(state, settling) <= work.now.boottime_s:
        _queue(work, connector)
    else:
        work.set(settling=(*work.state.settling, settling))


def _is_urgent(newest: Said | None, connector: ConnectorState) -> bool:
    """Whether it does not wait for MinimumStatusDuration: there is a new error, or the status is known already."""
    is_error = connector.error_code is not ChargePointErrorCode.NO_ERROR
    if newest is None:
        return is_error
    known_error = (newest.error_code, newest.vendor_error_code)
    return newest.status == connector.status or (
        is_error and known_error != (connector.error_code, connector.vendor_error_code)
    )


def _release(work: Work) -> None:
    """Queue what has lasted long enough, in the order in which it became true."""
    due = [one for one in work.state.settling if _due_s(work.state, one) <= work.now.boottime_s]
    work.set(settling=tuple(one for one in work.state.settling if one not in due))
    for one in sorted(due, key=lambda one: one.since_s):
        _queue(work, one.connector)


def _due_s(state: State, one: Settling) -> float:
    return one.since_s + state.settings.minimum_status_duration_s


def _queue(work: Work, connector: ConnectorState) -> None:
    waiting = (*work.state.to_tell, connector)
    work.set(to_tell=waiting if len(waiting) <= TO_TELL_MAX else _newest_of_each(waiting))


def _note_acknowledged(work: Work, told: ConnectorState) -> None:
    known = dict(work.state.acknowledged)
    known[told.connector_id] = what(told)
    work.set(acknowledged=tuple(sorted(known.items(), key=lambda item: item[0])), telling=None)
    work.do(e.KeepSession())


def _newest_of_each(waiting: tuple[ConnectorState, ...]) -> tuple[ConnectorState, ...]:
    """One status a connector, in the order in which they became true."""
    newest: dict[int, ConnectorState] = {}
    for connector in waiting:
        newest.pop(connector.connector_id, None)
        newest[connector.connector_id] = connector
    return tuple(newest.values())


def _newest_told(work: Work, connector_id: int) -> Said | None:
    """What the Central System will believe of a connector once all that waits is told."""
    on_the_way = [c for c in (work.state.telling, *work.state.to_tell) if c is not None and c.connector_id == connector_id]
    if on_the_way:
        return what(on_the_way[-1])
    return dict(work.state.acknowledged).get(connector_id)
