"""StatusNotification: what the Central System is told of connectors, and when (pure; OCPP 1.6 §4.9, errata v4.0 3.19 to 3.22).

Owns: which status is still to be told. After BootNotification all are told; after a mere reconnect only what differs from
what was last acknowledged (field report 45). Changes while connected are all told, in order; errors are never merged away.
Does not: decide what a connector's status is; that is `connectors`'.
"""

from bus.messages import ConnectorState
from services.ocpp_link import events as e
from services.ocpp_link.state import Said
from services.ocpp_link.work import Work

TO_TELL_MAX = 200
"""Beyond it, while connected, only each connector's newest status is kept."""


def said(work: Work, connector: ConnectorState) -> None:
    """Connectors say a state: queue it if it tells something new."""
    state = work.state
    before = next((c for c in state.current if c.connector_id == connector.connector_id), None)
    others = tuple(c for c in state.current if c.connector_id != connector.connector_id)
    work.set(current=tuple(sorted((*others, connector), key=lambda c: c.connector_id)))
    if before is not None and what(before) == what(connector):
        return
    if not state.accepted:
        return
    newest = _newest_told(work, connector.connector_id)
    if newest == what(connector):
        return
    waiting = (*state.to_tell, connector)
    work.set(to_tell=waiting if len(waiting) <= TO_TELL_MAX else _newest_of_each(waiting))


def accepted(work: Work) -> None:
    """BootNotification was accepted: everything is told, connector 0 first (errata v4.0 3.22)."""
    work.set(acknowledged=(), to_tell=work.state.current, telling=None)


def reconnected(work: Work) -> None:
    """Only what differs from what was last acknowledged, in the order in which it became true (OCPP 1.6 §4.9)."""
    known = dict(work.state.acknowledged)
    differing = [c for c in work.state.current if known.get(c.connector_id) != what(c)]
    work.set(to_tell=tuple(sorted(differing, key=lambda c: c.at.boottime_ms)), telling=None)


def tell(work: Work) -> None:
    """Send the next one; one at a time."""
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


def what(connector: ConnectorState) -> Said:
    """What a StatusNotification tells of a state."""
    return Said(connector.status, connector.error_code, connector.info, connector.vendor_error_code)


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
