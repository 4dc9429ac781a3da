"""Transaction messages on their way to the Central System: one at a time, each with a report (pure; design §4.3 to §4.10).

Owns: what is *delivered*, *failed* or *not sent*. Does not: keep or repeat messages; that is the queue's.

Silence counts as failed only if a Heartbeat sent after the message timeout is answered on the same connection, since a proxy
may answer pings for a dead Central System. Without that answer the connection is closed, and the message was not sent.
"""

import msgspec

from bus.messages import Deliver, Delivered, DeliveryReport, Failed, NotSent, StartTransaction
from services.ocpp_link import events as e
from services.ocpp_link.payloads import StartTransactionConf
from services.ocpp_link.state import Delivery
from services.ocpp_link.translate import id_tag_info
from services.ocpp_link.work import Work

REPORTS_KEPT = 16


def asked(work: Work, call_id: str, request: Deliver) -> None:
    """The queue asks, perhaps again after its restart: the same unique id is never sent twice on one connection."""
    delivery = work.state.delivery
    if delivery is not None and delivery.request.unique_id == request.unique_id:
        work.set(delivery=Delivery(delivery.request, call_id, delivery.verifying))
        return
    known = next((r for r in work.state.reports if r.unique_id == request.unique_id), None)
    if known is not None and known.connection == work.state.connection_number:
        work.do(e.AnswerCaller(call_id, known))
    elif not work.state.accepted:
        work.do(e.AnswerCaller(call_id, _report(work, request.unique_id, NotSent("offline or not accepted"))))
    elif delivery is not None:
        work.do(e.RefuseCaller(call_id, f"message {delivery.request.unique_id} is still under way"))
    else:
        work.set(delivery=Delivery(request, call_id))
        work.do(e.SendCall(e.Purpose.DELIVER, request.unique_id, request, unique_id=request.unique_id))


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


def failed(work: Work, unique_id: str, reason: str, *, security: bool) -> None:
    """CALLERROR or a malformed answer. SecurityError means not accepted: no attempt is spent (OCPP-J errata 3.8)."""
    delivery = work.state.delivery
    if delivery is not None and delivery.request.unique_id == unique_id:
        _settle(work, delivery, NotSent(reason) if security else Failed(reason))


def timed_out(work: Work, unique_id: str) -> None:
    """Silence: ask with a Heartbeat whether anybody is there."""
    delivery = work.state.delivery
    if delivery is not None and delivery.request.unique_id == unique_id:
        work.set(delivery=Delivery(delivery.request, delivery.call_id, verifying=True))
        work.do(e.SendCall(e.Purpose.VERIFY, unique_id))


def verified(work: Work) -> None:
    """The Central System answers others: it failed to process this one."""
    delivery = work.state.delivery
    if delivery is not None and delivery.verifying:
        _settle(work, delivery, Failed("no answer within MessageTimeout, while a later Heartbeat was answered"))


def connection_lost(work: Work) -> None:
    """Whatever was under way was not sent, as far as anybody can know: it costs no attempt."""
    delivery = work.state.delivery
    if delivery is not None:
        _settle(work, delivery, NotSent("connection lost"))


def _settle(work: Work, delivery: Delivery, outcome: Delivered | Failed | NotSent) -> None:
    report = _report(work, delivery.request.unique_id, outcome)
    if not isinstance(outcome, NotSent):
        _remember(work, report)
    work.set(delivery=None)
    work.do(e.AnswerCaller(delivery.call_id, report))
    if isinstance(outcome, Delivered) and isinstance(delivery.request.message, StartTransaction):
        work.note("StartTransaction delivered", detail=f"transactionId {outcome.transaction_id}")


def _report(work: Work, unique_id: str, outcome: Delivered | Failed | NotSent) -> DeliveryReport:
    return DeliveryReport(unique_id, outcome, connection=work.state.connection_number)


def _remember(work: Work, report: DeliveryReport) -> None:
    work.set(reports=(*work.state.reports[-(REPORTS_KEPT - 1) :], report))
