"""Connectors that are kept for somebody: ReserveNow, CancelReservation (pure; OCPP 1.6 §3.11, §5.1, §5.13, errata v4.0 4.12).

Theory of operation. A reservation is a fact on disk; whom a connector is kept from follows from it (`kept_from`), and so does
the status Reserved (`status.py`). It ends with a transaction of its holder (`end_by_start`, in the commit of the start), with
its expiryDate, with a fault of its connector or its going out of use (`end_lost`), or by CancelReservation. The holder is
its idTag, and everybody whose parent idTag is that of the reservation.

One for connector 0 reserves no specific connector, but one has to stay available: whoever is not its holder can begin only
where another connector is left that is free, or that its holder has come to already. One with a plug in it is not free.

Owns: reservations, and whom they keep a connector from. Does not: say what an idTag is worth (`authorization.py`), choose a
connector (`cards.py`).
Choice: while the clock is unknown (after a power cut, offline) a reservation stands until its expiryDate has surely passed:
the last time that was known, and at least that of its making, plus what has gone by since. A connector that is kept too long
annoys one driver; one that is given away breaks what the Central System has promised to another. So it never stays for good.
"""

import math

import msgspec

from bus.profile_messages import CancelReservation, CancelReservationAnswer, ReserveNow, ReserveNowAnswer
from bus.vocabulary import CHARGE_POINT, CancelReservationStatus, ReservationStatus, same_id_tag
from services.connectors import events as e
from services.connectors.state import Connector, Idle, Now, Reservation, Starting, State, Waiting
from services.connectors.status import AVAILABLE, FAULTED, PREPARING, UNAVAILABLE, reservation_of, status_unreserved, vacant
from services.connectors.work import Work

OUT_OF_USE = (FAULTED, UNAVAILABLE)


class Refusal(msgspec.Struct, frozen=True):
    """Why a connector can't be reserved, in plain words for the log."""

    status: ReservationStatus
    reason: str


def is_holder(reservation: Reservation, id_tag: str, parent_id_tag: str | None) -> bool:
    """Whether this idTag, of this group as far as known, may use what is reserved (OCPP 1.6 §5.13)."""
    own, group = same_id_tag(reservation.id_tag, id_tag), reservation.parent_id_tag
    return own or (group is not None and parent_id_tag is not None and same_id_tag(group, parent_id_tag))


def kept_from(state: State, connector: Connector, id_tag: str, parent_id_tag: str | None) -> Reservation | None:
    """The reservation because of which this idTag can't begin a session here; None: none."""
    own = reservation_of(state, connector.connector_id)
    if own is not None:
        return None if is_holder(own, id_tag, parent_id_tag) else own
    of_any = reservation_of(state, CHARGE_POINT)
    if of_any is None or is_holder(of_any, id_tag, parent_id_tag):
        return None
    others = (c for c in state.connectors if c.connector_id != connector.connector_id)
    return None if any(_serves(state, of_any, other) for other in others) else of_any


def may_be_holder(state: State, connector: Connector, id_tag: str) -> bool:
    """Whether this idTag, whose group nobody has told yet, may turn out to be allowed here."""
    reservation = kept_from(state, connector, id_tag, None)
    return reservation is None or reservation.parent_id_tag is not None


def keeps_one_of(state: State, connectors: list[Connector], id_tag: str, parent_id_tag: str | None) -> bool:
    """Whether one of these, whichever it is in the end, is kept from this idTag for the reservation of connector 0."""
    of_any = reservation_of(state, CHARGE_POINT)
    if of_any is None or is_holder(of_any, id_tag, parent_id_tag):
        return False
    serving = {c.connector_id for c in state.connectors if _serves(state, of_any, c)}
    return bool(serving) and serving <= {c.connector_id for c in connectors}


def holds_any(state: State, waiting: Waiting) -> bool:
    """Whether this is the holder of the reservation of connector 0."""
    of_any = reservation_of(state, CHARGE_POINT)
    return of_any is not None and is_holder(of_any, waiting.id_tag, waiting.parent_id_tag)


def reserve(work: Work, call_id: str, request: ReserveNow) -> None:
    """ReserveNow: on disk, then answered. The same reservationId replaces the reservation that has it.

    Choice: what can't take its place leaves the old one as it is, since the Central System is told that nothing was reserved.
    """
    old = next((r for r in work.state.reservations if r.reservation_id == request.reservation_id), None)
    refusal = _refusal(work.state, request, old, work.now)
    if refusal is not None:
        work.answer(e.Answer(call_id, ReserveNowAnswer(refusal.status, refusal.reason)))
        return
    made = Reservation(
        reservation_id=request.reservation_id,
        connector_id=request.connector_id,
        id_tag=request.id_tag,
        expiry_utc_ms=request.expiry_utc_ms,
        made_utc_ms=work.now.utc_ms or 0,
        parent_id_tag=request.parent_id_tag,
        call_id=call_id,
    )
    made = _follow_clock(made, work.now)
    work.set(reservations=(*(r for r in work.state.reservations if r is not old), made))
    work.change(e.SaveReservation(made))
    work.answer(e.Answer(call_id, ReserveNowAnswer(ReservationStatus.ACCEPTED)))
    _note(work, made, "reserved" if old is None else "reserved anew, another reservation had this id")


def cancel(work: Work, call_id: str, request: CancelReservation) -> None:
    """CancelReservation (OCPP 1.6 §5.1): off the disk, then answered."""
    found = next((r for r in work.state.reservations if r.reservation_id == request.reservation_id), None)
    if found is None:
        reason = f"there is no reservation {request.reservation_id}"
        work.answer(e.Answer(call_id, CancelReservationAnswer(CancelReservationStatus.REJECTED, reason)))
        return
    _end(work, found, "the Central System cancels it")
    work.answer(e.Answer(call_id, CancelReservationAnswer(CancelReservationStatus.ACCEPTED)))


def taken_back(work: Work, call_id: str) -> None:
    """The caller was told of a failure, so that the Central System believes that nothing is reserved."""
    for reservation in work.state.reservations:
        if reservation.call_id == call_id:
            _end(work, reservation, "its answer came too late", warning=True)


def pass_time(work: Work) -> None:
    """Follow the clock, and end what has expired."""
    if not work.state.reservations:
        return
    work.set(reservations=tuple(_follow_clock(reservation, work.now) for reservation in work.state.reservations))
    for reservation in work.state.reservations:
        if reservation.until_s <= work.now.boottime_s:
            _end(work, reservation, "its expiryDate has come")


def end_by_start(work: Work, connector_id: int, id_tag: str, parent_id_tag: str | None) -> int | None:
    """A transaction starts: the reservations of its holder end with it; the reservationId for StartTransaction.

    Both, where he had this connector and connector 0 reserved, as OCPP 1.6 §5.13 has it; that of the connector is told.
    """
    ended = [
        reservation
        for reservation in work.state.reservations
        if reservation.connector_id in (connector_id, CHARGE_POINT) and is_holder(reservation, id_tag, parent_id_tag)
    ]
    for reservation in ended:
        _end(work, reservation, "a transaction of its holder starts")
    ended.sort(key=lambda reservation: reservation.connector_id == CHARGE_POINT)
    return ended[0].reservation_id if ended else None


def end_lost(work: Work) -> None:
    """End what a fault or a command has made impossible (OCPP 1.6 §5.13), and whose authorization it was to begin there.

    Choice: that of connector 0 ends when the charge point is Faulted or Unavailable, and when no connector is left that could
    be used once it is free.
    """
    if not work.state.reservations:
        return
    for reservation in work.state.reservations:
        if _is_lost(work.state, reservation):
            _end(work, reservation, "what it reserves is faulted or out of use", warning=True)
    for waiting in work.state.waiting:
        connector = work.connector(waiting.connector_id or CHARGE_POINT)
        if connector is not None and _lost_its_right(work.state, connector, waiting):
            work.drop_waiting(waiting)
            work.note(
                "authorization ends, its connector is kept for a reservation",
                connector_id=connector.connector_id,
                id_tag=waiting.id_tag,
            )


def end_all(work: Work, reason: str) -> None:
    """Nothing is reserved any more."""
    for reservation in work.state.reservations:
        _end(work, reservation, reason, warning=True)


def take_up(work: Work, loaded: tuple[Reservation, ...]) -> None:
    """What the disk knew. How long each one stands is reckoned anew: this may be another boot."""
    work.set(reservations=tuple(msgspec.structs.replace(reservation, until_s=math.inf) for reservation in loaded))
    if not work.state.settings.reservation_profile:
        end_all(work, "the feature profile Reservation is off")
    for reservation in work.state.reservations:
        if reservation.connector_id > len(work.state.connectors):
            _end(work, reservation, "its connector is not there any more", warning=True)


def _refusal(state: State, request: ReserveNow, old: Reservation | None, now: Now) -> Refusal | None:
    """Why ReserveNow is not Accepted; None: it is.

    Choice: Rejected also where the specification is silent: an expiryDate that has passed, or that means nothing as the clock
    is not known; a connector that does not exist; a disk on which no session may begin.
    """
    if request.connector_id > len(state.connectors):
        return Refusal(ReservationStatus.REJECTED, f"there is no connector {request.connector_id}")
    if request.connector_id == CHARGE_POINT and not state.settings.reserve_connector_zero_supported:
        return Refusal(ReservationStatus.REJECTED, "ReserveConnectorZeroSupported is false")
    if now.utc_offset_s is None:
        return Refusal(ReservationStatus.REJECTED, "the clock is not known")
    if now.has_passed(request.expiry_utc_ms):
        return Refusal(ReservationStatus.REJECTED, "expiryDate has passed")
    if state.disk_refuses:
        return Refusal(ReservationStatus.REJECTED, state.disk_failure)
    if old is not None and old.connector_id == request.connector_id:
        return _refusal_to_replace(state, request)
    if request.connector_id == CHARGE_POINT:
        return _refusal_of_any(state, old)
    return _refusal_of_one(state, request, old)


def _refusal_to_replace(state: State, request: ReserveNow) -> Refusal | None:
    """What is kept already can be kept for another time, and for another idTag unless its holder has come."""
    for waiting in _all_waiting(state):
        here = waiting.connector_id == request.connector_id or _starts_at(state, request.connector_id, waiting)
        if here and not _would_hold(request, waiting):
            return Refusal(ReservationStatus.OCCUPIED, "the holder of the reservation has come")
    return None


def _refusal_of_one(state: State, request: ReserveNow, old: Reservation | None) -> Refusal | None:
    connector = state.connectors[request.connector_id - 1]
    refusal = _why_not_vacant(state, connector, old)
    if refusal is not None:
        return refusal
    others = [c for c in _unreserved(state, old) if c.connector_id != connector.connector_id]
    # Those who were told to plug in anywhere, and the reservation of connector 0, need a connector each.
    claims = [w for w in state.waiting if w.connector_id is None and not _would_hold(request, w)]
    of_any = reservation_of(state, CHARGE_POINT)
    if of_any is None or of_any is old:
        needed = len(claims)
    else:
        come = any(_awaits(state, of_any, c) for c in state.connectors)
        needed = len([w for w in claims if not holds_any(state, w)]) + (0 if come else 1)
    if len(others) < needed:
        return Refusal(ReservationStatus.OCCUPIED, "it is the last free connector, which somebody else was promised")
    return None


def _refusal_of_any(state: State, old: Reservation | None) -> Refusal | None:
    if state.unavailable:
        return Refusal(ReservationStatus.UNAVAILABLE, "the charge point is out of use")
    if reservation_of(state, CHARGE_POINT) is not None:
        return Refusal(ReservationStatus.OCCUPIED, "connector 0 is reserved already")
    claims = [w for w in state.waiting if w.connector_id is None]
    if len(_unreserved(state, old)) > len(claims):
        return None
    refusals = [_why_not_vacant(state, connector, old) for connector in state.connectors]
    order = (ReservationStatus.OCCUPIED, ReservationStatus.FAULTED, ReservationStatus.UNAVAILABLE)
    # None: free, but for one who was told to plug in anywhere.
    given = {ReservationStatus.OCCUPIED if refusal is None else refusal.status for refusal in refusals}
    return Refusal(next(status for status in order if status in given), "no connector is free")


def _why_not_vacant(state: State, connector: Connector, old: Reservation | None) -> Refusal | None:
    """`old` would be gone. Choice: a controller that was not heard yet is not in use yet: Unavailable."""
    status, number = status_unreserved(state, connector), connector.connector_id
    if status is FAULTED:
        return Refusal(ReservationStatus.FAULTED, f"connector {number} is faulted")
    if status is UNAVAILABLE or (status is None and isinstance(connector.phase, Idle)):
        return Refusal(ReservationStatus.UNAVAILABLE, f"connector {number} is out of use")
    if reservation_of(state, number) not in (None, old):
        return Refusal(ReservationStatus.OCCUPIED, f"connector {number} is reserved already")
    if status is not AVAILABLE:
        return Refusal(ReservationStatus.OCCUPIED, f"connector {number} is in use")
    return None


def _unreserved(state: State, old: Reservation | None) -> list[Connector]:
    """Free connectors that nobody has reserved, once `old` is gone."""
    return [c for c in state.connectors if vacant(state, c) and reservation_of(state, c.connector_id) in (None, old)]


def _serves(state: State, of_any: Reservation, connector: Connector) -> bool:
    """Whether this is a connector that the holder of the reservation of connector 0 can use, or has come to already."""
    if reservation_of(state, connector.connector_id) is not None:
        return False
    return vacant(state, connector) or _awaits(state, of_any, connector)


def _awaits(state: State, of_any: Reservation, connector: Connector) -> bool:
    """Whether a connector is there for the holder of the reservation of connector 0, and for nobody else."""
    if status_unreserved(state, connector) is not PREPARING:
        return False
    here = [
        w
        for w in _all_waiting(state)
        if w.connector_id == connector.connector_id or _starts_at(state, connector.connector_id, w)
    ]
    return any(is_holder(of_any, w.id_tag, w.parent_id_tag) for w in here)


def _starts_at(state: State, connector_id: int, waiting: Waiting) -> bool:
    phases = [c.phase for c in state.connectors if c.connector_id == connector_id]
    return any(isinstance(phase, Starting) and phase.waiting is waiting for phase in phases)


def _all_waiting(state: State) -> list[Waiting]:
    return [*state.waiting, *(c.phase.waiting for c in state.connectors if isinstance(c.phase, Starting))]


def _would_hold(request: ReserveNow, waiting: Waiting) -> bool:
    own, group = same_id_tag(request.id_tag, waiting.id_tag), request.parent_id_tag
    return own or (group is not None and waiting.parent_id_tag is not None and same_id_tag(group, waiting.parent_id_tag))


def _is_lost(state: State, reservation: Reservation) -> bool:
    if reservation.connector_id != CHARGE_POINT:
        return status_unreserved(state, state.connectors[reservation.connector_id - 1]) in OUT_OF_USE
    usable = [c for c in state.connectors if c.availability.usable and status_unreserved(state, c) is not FAULTED]
    return state.emergency_stop or state.unavailable or not usable


def _lost_its_right(state: State, connector: Connector, waiting: Waiting) -> bool:
    if not waiting.confirmed:
        return not may_be_holder(state, connector, waiting.id_tag)
    return kept_from(state, connector, waiting.id_tag, waiting.parent_id_tag) is not None


def _follow_clock(reservation: Reservation, now: Now) -> Reservation:
    """With the boottime of its end, by the clock as it is now; unknown: no later than it may be at the latest."""
    if now.utc_offset_s is not None:
        until_s = reservation.expiry_utc_ms / 1000 - now.utc_offset_s
    else:
        at_least_ms = max(reservation.made_utc_ms, now.utc_floor_ms or 0)
        until_s = min(reservation.until_s, now.boottime_s + (reservation.expiry_utc_ms - at_least_ms) / 1000)
    return reservation if until_s == reservation.until_s else msgspec.structs.replace(reservation, until_s=until_s)


def _end(work: Work, reservation: Reservation, reason: str, *, warning: bool = False) -> None:
    work.set(reservations=tuple(r for r in work.state.reservations if r.reservation_id != reservation.reservation_id))
    work.change(e.DropReservation(reservation.reservation_id))
    _note(work, reservation, f"ends, {reason}", warning=warning)


def _note(work: Work, reservation: Reservation, detail: str, *, warning: bool = False) -> None:
    work.note(
        f"reservation {reservation.reservation_id}",
        connector_id=reservation.connector_id,
        id_tag=reservation.id_tag,
        detail=detail,
        warning=warning,
    )
