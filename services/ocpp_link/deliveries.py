"""Transaction messages on their way to the Central System: one at a time, each with a report (pure; design §4.3 to §4.10).

Owns: what is *delivered*, *failed* or *not sent*. Does not: keep or repeat messages; that is the queue's.

Silence counts as failed only if a Heartbeat sent after the message timeout is answered on the same connection, since a proxy
may answer pings for a dead Central System. Without that answer the connection is closed, and the message was not sent: its
repeat goes out on another connection, where it keeps its unique id, so that a Central System that has it can tell.
"""

import msgspec

from bus.messages import Deliver, Delivered, DeliveryReport, Failed, NotSent
from services.ocpp_link import events as e
from services.ocpp_link.payloads import StartTransactionConf
from services.ocpp_link.state import Delivery
from services.ocpp_link.translate import id_tag_info, why_unsendable
from services.ocpp_link.work import Work

REPORTS_KEPT = 16
LATE_AGAIN = 3
"""How often a late report is told again: nobody acknowledges it, and it may be lost, or the queue dies over it."""


def asked(work: Work, call_id: str, request: Deliver) -> None:
    """The queue asks, perhaps again after its restart: the same unique id is never sent twice on one connection.

    A message that the Central System has is never sent again, on no connection.
    """
    delivery = work.state.delivery
    if delivery is not None and delivery.request.unique_id == request.unique_id:
        if delivery.call_id != call_id:
            work.do(e.RefuseCaller(delivery.call_id, "the message was asked for again, and that call is answered"))
            work.set(delivery=Delivery(delivery.request, call_id, delivery.verifying))
        return
    known = next((r for r in work.state.reports if r.unique_id == request.unique_id), None)
    if known is not None and (isinstance(known.outcome, Delivered) or known.connection == work.state.connection_number):
        work.do(e.AnswerCaller(call_id, known))
    elif not work.state.accepted:
        work.do(e.AnswerCaller(call_id, _report(work, request.unique_id, NotSent("offline or not accepted"))))
    elif delivery is not None:
        work.do(e.RefuseCaller(call_id, f"message {delivery.request.unique_id} is still under way"))
    elif problem := why_unsendable(request):
        # It will never be better: counted as failed, so that it ends as a dead letter and the queue goes on.
        work.note("transaction message can't be put into OCPP", detail=f"{request.unique_id}: {problem}", warning=True)
        _settle(work, Delivery(request, call_id), Failed(problem))
    else:
        work.set(delivery=Delivery(request, call_id))
        work.do(e.SendCall(e.Purpose.DELIVER, request.unique_id, request, request.unique_id, call_id))


def delivered(work: Work, unique_id: str, conf: msgspec.Struct) -> None:
    """A valid answer, in time or late on the same connection (field report 9)."""
    delivery = work.state.delivery
    transaction_id = conf.transaction_id if isinstance(conf, StartTransactionConf) else None
    outcome = Delivered(transaction_id=transaction_id, id_tag_info=id_tag_info(conf))
    if delivery is not None and delivery.request.unique_id == unique_id:
        _settle(work, delivery, outcome)
        return
    report = _report(work, unique_id, outcome)
    _remember(work, report)
    work.note("late answer to a transaction message counts all the same", detail=unique_id)
    work.do(e.TellLateReport(report))
    work.set(late=(*work.state.late[-(REPORTS_KEPT - 1) :], (report, LATE_AGAIN)))


def tell_again(work: Work) -> None:
    """The queue lives and says how it is, perhaps for the first time after its restart."""
    for report, _ in work.state.late:
        work.do(e.TellLateReport(report))
    work.set(late=tuple((report, times - 1) for report, times in work.state.late if times > 1))


def failed(work: Work, unique_id: str, reason: str, *, security: bool) -> None:
    """CALLERROR or a malformed answer. SecurityError means not accepted: no attempt is spent (OCPP-J errata 3.8)."""
    delivery = _current(work, unique_id)
    if delivery is not None:
        _settle(work, delivery, NotSent(reason) if security else Failed(reason))


def timed_out(work: Work, unique_id: str) -> None:
    """Silence: ask with a Heartbeat whether anybody is there. While not accepted we may not ask."""
    delivery = _current(work, unique_id)
    if delivery is None:
        return
    if not work.state.accepted:
        work.end_connection("a transaction message was not answered, and the station is not accepted any more")
        return
    work.set(delivery=Delivery(delivery.request, delivery.call_id, verifying=True))
    work.do(e.SendCall(e.Purpose.VERIFY, unique_id))


def verified(work: Work, unique_id: str) -> None:
    """The Central System answers others: it failed to process this one."""
    delivery = _current(work, unique_id)
    if delivery is not None and delivery.verifying:
        _settle(work, delivery, Failed("no answer within MessageTimeout, while a later Heartbeat was answered"))


def unverifiable(work: Work, unique_id: str, reason: str) -> None:
    """The Heartbeat told nothing: whether the message was processed can't be known on this connection."""
    delivery = _current(work, unique_id)
    if delivery is not None and delivery.verifying:
        work.end_connection(reason)


def not_sent(work: Work, unique_id: str, reason: str) -> None:
    """It never went out, while the connection stands."""
    delivery = _current(work, unique_id)
    if delivery is not None and not delivery.verifying:
        _settle(work, delivery, NotSent(reason), remember=False)


def connection_lost(work: Work) -> None:
    """Whatever was under way was not sent, as far as anybody can know: it costs no attempt."""
    delivery = work.state.delivery
    if delivery is not None:
        _settle(work, delivery, NotSent("connection lost"), remember=False)


def caller_gone(work: Work, call_id: str) -> None:
    """The queue took its question back: what waits is not sent; what is sent goes on, and its outcome is kept."""
    delivery = work.state.delivery
    if delivery is not None and delivery.call_id == call_id:
        work.do(e.TakeBack(e.Purpose.DELIVER, delivery.request.unique_id))


def _current(work: Work, unique_id: str) -> Delivery | None:
    delivery = work.state.delivery
    return delivery if delivery is not None and delivery.request.unique_id == unique_id else None


def _settle(work: Work, delivery: Delivery, outcome: Delivered | Failed | NotSent, *, remember: bool = True) -> None:
    report = _report(work, delivery.request.unique_id, outcome)
    if remember:
        _remember(work, report)
    work.set(delivery=None)
    work.do(e.AnswerCaller(delivery.call_id, report))


def _report(work: Work, unique_id: str, outcome: Delivered | Failed | NotSent) -> DeliveryReport:
    return DeliveryReport(unique_id, outcome, connection=work.state.connection_number)


def _remember(work: Work, report: DeliveryReport) -> None:
    """One report a message, the newest: a late answer replaces the failure that its silence was taken for."""
    others = tuple(r for r in work.state.reports if r.unique_id != report.unique_id)
    work.set(reports=(*others[-(REPORTS_KEPT - 1) :], report))
