"""Which service answers a CALL of the Central System: one table (pure).

Owns: routing, and the answers that need no owner. Does not: frame, time or send. A new action gets its line here: the bus
message for its owner, and how the owner's answer becomes a response.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from bus import messages as m
from bus import profile_messages as pm
from bus.vocabulary import (
    RegistrationStatus,
    RemoteStartStopStatus,
    ReservationStatus,
    UpdateStatus,
)
from services.ocpp_link import payloads as p
from services.ocpp_link import profile_payloads as pp
from services.ocpp_link import translate, vendors
from services.ocpp_link.timestamps import parse_utc_ms

OWNER_TIMEOUT_S = 5.0
"""An owner that has not answered by then gets its call taken back, and the Central System CALLERROR InternalError."""


UNLOCK_TIMEOUT_S = 15.0
"""Its owner finishes a transaction first, and then waits for the lock."""


class Route(msgspec.Struct, frozen=True):
    """How a request reaches its owner and comes back. `reason` of an answer is for the log (field report 63)."""

    to_owner: Callable[[Any], m.Message]
    to_conf: Callable[[Any], p.Conf]
    while_not_accepted: p.Conf | None = None
    """Answer before the registration is Accepted (OCPP 1.6 §4.2); None: the owner answers then too."""
    timeout_s: float = OWNER_TIMEOUT_S


class Answered(msgspec.Struct, frozen=True):
    """A response that needs no owner; `reason` in plain words where it refuses."""

    conf: p.Conf
    reason: str = ""

    @property
    def refusal(self) -> str:
        """Why it refuses, for the log; empty: it does not. One whose owner forgot to say why is told all the same."""
        status = getattr(self.conf, "status", _DONE[0])
        return self.reason or ("" if status in _DONE else "no reason was given")


_DONE = ("Accepted", "Scheduled", "RebootRequired", "Unlocked")

OWNED: dict[type[p.Req], Route] = {
    # A chargingProfile is ignored: there is no Smart Charging here (OCPP 1.6 §5.11).
    p.RemoteStartTransactionReq: Route(
        lambda req: m.RemoteStartTransaction(id_tag=req.id_tag, connector_id=req.connector_id),
        lambda answer: p.RemoteStartTransactionConf(status=answer.status),
        p.RemoteStartTransactionConf(status=RemoteStartStopStatus.REJECTED),
    ),
    p.RemoteStopTransactionReq: Route(
        lambda req: m.RemoteStopTransaction(transaction_id=req.transaction_id),
        lambda answer: p.RemoteStopTransactionConf(status=answer.status),
        p.RemoteStopTransactionConf(status=RemoteStartStopStatus.REJECTED),
    ),
    p.ChangeAvailabilityReq: Route(
        lambda req: m.ChangeAvailability(connector_id=req.connector_id, type=req.type),
        lambda answer: p.ChangeAvailabilityConf(status=answer.status),
    ),
    p.UnlockConnectorReq: Route(
        lambda req: m.UnlockConnector(connector_id=req.connector_id),
        lambda answer: p.UnlockConnectorConf(status=answer.status),
        timeout_s=UNLOCK_TIMEOUT_S,
    ),
    p.ClearCacheReq: Route(
        lambda _: m.ClearCache(),
        lambda answer: p.ClearCacheConf(status=answer.status),
    ),
    pp.SendLocalListReq: Route(
        translate.send_local_list,
        lambda answer: pp.SendLocalListConf(status=answer.status),
    ),
    pp.GetLocalListVersionReq: Route(
        lambda _: pm.GetLocalListVersion(),
        lambda answer: pp.GetLocalListVersionConf(list_version=answer.list_version),
    ),
    pp.ReserveNowReq: Route(
        lambda req: pm.ReserveNow(
            connector_id=req.connector_id,
            expiry_utc_ms=parse_utc_ms(req.expiry_date) or 0,
            id_tag=req.id_tag,
            reservation_id=req.reservation_id,
            parent_id_tag=req.parent_id_tag,
        ),
        lambda answer: pp.ReserveNowConf(status=answer.status),
    ),
    pp.CancelReservationReq: Route(
        lambda req: pm.CancelReservation(reservation_id=req.reservation_id),
        lambda answer: pp.CancelReservationConf(status=answer.status),
    ),
    # Of MeterValues alone; of other messages the link knows itself what to answer (`triggers.py`).
    pp.TriggerMessageReq: Route(
        lambda req: pm.TakeMeterValues(connector_id=req.connector_id),
        lambda answer: pp.TriggerMessageConf(status=answer.status),
    ),
    p.ResetReq: Route(
        lambda req: m.Reset(type=req.type),
        lambda answer: p.ResetConf(status=answer.status),
    ),
}
"""Requests that another service answers."""


def answer_here(req: p.Req) -> Answered | None:
    """The response to a request that needs no owner; None: look into OWNED, or it concerns configuration."""
    if isinstance(req, p.DataTransferReq):
        return Answered(*vendors.answer(req))
    return None


def refusal(route: Route, req: p.Req, registration: RegistrationStatus | None) -> Answered | None:
    """The response that is right whatever the owner would say; None: ask it."""
    if registration is not RegistrationStatus.ACCEPTED and route.while_not_accepted is not None:
        return Answered(route.while_not_accepted, "not accepted by the Central System yet (OCPP 1.6 §4.2)")
    if isinstance(req, p.RemoteStartTransactionReq) and not req.id_tag:
        return Answered(p.RemoteStartTransactionConf(status=RemoteStartStopStatus.REJECTED), "the idTag is empty")
    if isinstance(req, pp.SendLocalListReq) and not all(one.id_tag for one in req.local_authorization_list or ()):
        return Answered(pp.SendLocalListConf(status=UpdateStatus.FAILED), "an idTag in the list is empty")
    if isinstance(req, pp.ReserveNowReq) and not req.id_tag:
        return Answered(pp.ReserveNowConf(status=ReservationStatus.REJECTED), "the idTag is empty")
    return None
