"""Who has what reserved, told from requests, answers and statuses alone: the core is compared with it in each step.

Owns: the rules of OCPP 1.6 §5.13 in their shortest form. Does not: use the rules of the core.
"""

import math

import msgspec

from bus.messages import StartTransaction
from bus.profile_messages import CancelReservationAnswer, ReserveNow, ReserveNowAnswer
from bus.vocabulary import CHARGE_POINT, CancelReservationStatus, ChargePointStatus, ReservationStatus
from services.connectors import events as e
from services.connectors.state import Connector, Now, Running, Starting, State, Waiting
from services.connectors.status import connector_status

OUT_OF_USE = (ChargePointStatus.FAULTED, ChargePointStatus.UNAVAILABLE)
FREE = (ChargePointStatus.AVAILABLE, ChargePointStatus.RESERVED)


class Kept(msgspec.Struct):
    """A reservation that was promised."""

    request: ReserveNow
    call_id: str
    made_utc_ms: int
    until_s: float = math.inf


class Keeper:
    """Follows one station."""

    def __init__(self) -> None:
        self.kept: dict[int, Kept] = {}

    def process_starts(self, state: State, now: Now) -> None:
        """How long each one stands is reckoned anew; what has no profile is gone."""
        for kept in self.kept.values():
            kept.until_s = math.inf
        if not state.settings.reservation_profile:
            self.kept.clear()
        self._pass_time(now)
        self._compare(state)

    def check(self, before: State, event: e.Event, after: State, effects: tuple[e.Effect, ...], now: Now) -> None:
        """One step: what was promised is kept, what is kept was promised, and nobody begins on what is another's."""
        self._pass_time(now)
        if isinstance(event, e.CallCancelled):
            self.kept = {id_: kept for id_, kept in self.kept.items() if kept.call_id != event.call_id}
        if (
            isinstance(event, e.LinkChanged)
            and event.link is not None
            and before.ever_accepted
            and not event.link.ever_accepted
        ):
            self.kept.clear()
        self._hear_answers(event, effects, now)
        for old, new in zip(before.connectors, after.connectors, strict=True):
            if isinstance(new.phase, Starting) and not isinstance(old.phase, Starting):
                self._judge_start(after, new, new.phase.waiting)
            if isinstance(new.phase, Running) and old.transaction is None:
                assert isinstance(old.phase, Starting)
                self._judge_reservation_id(new, old.phase.waiting, effects)
        self._lose(after)
        self._compare(after)

    def _pass_time(self, now: Now) -> None:
        for id_, kept in list(self.kept.items()):
            if now.utc_offset_s is not None:
                kept.until_s = kept.request.expiry_utc_ms / 1000 - now.utc_offset_s
            else:
                kept.until_s = min(kept.until_s, now.boottime_s + (kept.request.expiry_utc_ms - kept.made_utc_ms) / 1000)
            if kept.until_s <= now.boottime_s:
                del self.kept[id_]

    def _hear_answers(self, event: e.Event, effects: tuple[e.Effect, ...], now: Now) -> None:
        answers = [effect.answer for effect in effects if isinstance(effect, e.Answer)]
        match event, answers:
            case e.ReserveNowRequested(call_id=call_id, request=request), [ReserveNowAnswer(ReservationStatus.ACCEPTED)]:
                utc_ms = now.moment().utc_ms
                assert utc_ms is not None, "Accepted without a clock"
                assert request.expiry_utc_ms > utc_ms, "Accepted though it has expired"
                self.kept[request.reservation_id] = Kept(request, call_id, utc_ms)
                self._pass_time(now)
            case e.CancelReservationRequested(request=cancel), [CancelReservationAnswer(status)]:
                known = self.kept.pop(cancel.reservation_id, None) is not None
                assert (status is CancelReservationStatus.ACCEPTED) == known

    def _judge_start(self, state: State, connector: Connector, waiting: Waiting) -> None:
        for kept in self.kept.values():
            if _holds(kept, waiting):
                continue
            assert kept.request.connector_id != connector.connector_id, "a reserved connector serves another's card"
            if kept.request.connector_id == CHARGE_POINT:
                others = [c for c in state.connectors if c.connector_id != connector.connector_id]
                assert any(self._is_left(state, kept, other) for other in others), "no connector is left for the reservation"

    def _is_left(self, state: State, kept: Kept, connector: Connector) -> bool:
        if any(other.request.connector_id == connector.connector_id for other in self.kept.values()):
            return False
        here = [w for w in state.waiting if w.connector_id == connector.connector_id]
        here += [connector.phase.waiting] if isinstance(connector.phase, Starting) else []
        return connector_status(state, connector) in FREE or any(_holds(kept, waiting) for waiting in here)

    def _judge_reservation_id(self, connector: Connector, waiting: Waiting, effects: tuple[e.Effect, ...]) -> None:
        """OCPP 1.6 §4.8: the id of what ends, and of nothing else."""
        changes = [change for effect in effects if isinstance(effect, e.Commit) for change in effect.changes]
        entries = [change.entry.message for change in changes if isinstance(change, e.AppendEntry)]
        (told,) = [m.reservation_id for m in entries if isinstance(m, StartTransaction)]
        here = (connector.connector_id, CHARGE_POINT)
        ended = [id_ for id_, kept in self.kept.items() if kept.request.connector_id in here and _holds(kept, waiting)]
        own = [id_ for id_ in ended if self.kept[id_].request.connector_id != CHARGE_POINT]
        assert told in (own or ended or [None])
        for id_ in ended:
            del self.kept[id_]

    def _lose(self, state: State) -> None:
        statuses = {c.connector_id: connector_status(state, c) for c in state.connectors}
        for id_, kept in list(self.kept.items()):
            number = kept.request.connector_id
            if number != CHARGE_POINT:
                lost = statuses[number] in OUT_OF_USE
            else:
                usable = [c for c in state.connectors if c.availability.usable and statuses[c.connector_id] != "Faulted"]
                lost = state.emergency_stop or state.unavailable or not usable
            if lost:
                del self.kept[id_]

    def _compare(self, state: State) -> None:
        held = {r.reservation_id: (r.connector_id, r.id_tag, r.expiry_utc_ms, r.parent_id_tag) for r in state.reservations}
        promised = {
            id_: (k.request.connector_id, k.request.id_tag, k.request.expiry_utc_ms, k.request.parent_id_tag)
            for id_, k in self.kept.items()
        }
        assert held == promised


def _holds(kept: Kept, waiting: Waiting) -> bool:
    group, parent = kept.request.parent_id_tag, waiting.parent_id_tag
    return kept.request.id_tag.lower() == waiting.id_tag.lower() or (
        group is not None and parent is not None and group.lower() == parent.lower()
    )
