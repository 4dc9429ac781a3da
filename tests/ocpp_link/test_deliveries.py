"""Transaction messages and their reports (design §4.3 to §4.10; OCPP 1.6 §3.7, OCPP-J errata 3.8; field reports 5 to 9)."""

from typing import Any

import pytest

from bus import messages as m
from bus.vocabulary import AuthorizationStatus, Measurand, ReadingContext
from services.ocpp_link import core
from services.ocpp_link import events as e
from services.ocpp_link.events import Purpose
from services.ocpp_link.payloads import IdTagInfo, MeterValuesConf, StartTransactionConf, StopTransactionConf
from tests.ocpp_link.steps import Core, calls, of
from tests.ocpp_link.world import moment, start, stop

INFO = IdTagInfo(status=AuthorizationStatus.ACCEPTED)
START_CONF = StartTransactionConf(transaction_id=0, id_tag_info=INFO)
DELIVERED = m.Delivered(transaction_id=0, id_tag_info=m.IdTagInfo(AuthorizationStatus.ACCEPTED))


def link(**settings: Any) -> Core:
    return Core(ping_interval_s=0, **settings).online()


def reports(effects: list[e.Effect]) -> list[tuple[str, Any]]:
    """Who got which outcome."""
    return [(effect.call_id, effect.answer.outcome) for effect in of(e.AnswerCaller, effects)]


def kinds(effects: list[e.Effect]) -> list[tuple[str, str]]:
    return [(call_id, type(outcome).__name__) for call_id, outcome in reports(effects)]


def answer(one: Core, unique_id: str = "id-1", *, late: bool = False) -> list[e.Effect]:
    return one.do(e.CallAnswered(Purpose.DELIVER, unique_id, START_CONF, late))


def silence(one: Core, unique_id: str = "id-1") -> list[e.Effect]:
    return one.do(e.CallTimedOut(Purpose.DELIVER, unique_id))


def sends(effects: list[e.Effect]) -> list[str | None]:
    return [effect.unique_id for effect in of(e.SendCall, effects) if effect.purpose is Purpose.DELIVER]


class TestDelivered:
    def test_with_the_transaction_id_whatever_it_is(self) -> None:
        """Field report 2: 0 and negative ids are valid."""
        one = link()
        assert sends(one.deliver("id-1", "d")) == ["id-1"]
        assert reports(answer(one)) == [("d", DELIVERED)]

    @pytest.mark.parametrize("conf", [StopTransactionConf(), MeterValuesConf()])
    def test_without_one_where_the_response_has_none(self, conf: Any) -> None:
        one = link()
        one.deliver("id-1", "d", stop(), 5)
        assert reports(one.do(e.CallAnswered(Purpose.DELIVER, "id-1", conf))) == [("d", m.Delivered())]

    def test_names_the_connection(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        assert of(e.AnswerCaller, answer(one))[0].answer.connection == one.state.connection_number == 1


class TestFailed:
    @pytest.mark.parametrize("code", ["InternalError", "FormationViolation", "malformed answer"])
    def test_by_an_error_or_an_answer_that_is_none(self, code: str) -> None:
        """Design §4.5, field report §2.25."""
        one = link()
        one.deliver("id-1", "d")
        assert kinds(one.fail(Purpose.DELIVER, code, "id-1")) == [("d", "Failed")]
        assert one.state.accepted

    def test_by_silence_only_when_a_heartbeat_after_it_is_answered(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        effects = silence(one)
        assert (calls(effects), reports(effects)) == (["verify"], [])
        assert kinds(one.heartbeat(Purpose.VERIFY, "id-1")) == [("d", "Failed")]

    def test_by_silence_when_the_heartbeat_meets_an_error(self) -> None:
        """An error is an answer: somebody is there."""
        one = link()
        one.deliver("id-1", "d")
        silence(one)
        assert kinds(one.fail(Purpose.VERIFY, "InternalError", "id-1")) == [("d", "Failed")]

    def test_where_it_cannot_be_put_into_ocpp_so_that_the_queue_goes_on(self) -> None:
        """Field report 15: one bad row stops nothing."""
        value = m.SampledValue("1", ReadingContext.SAMPLE_PERIODIC, Measurand.VOLTAGE)
        for message, transaction_id in (
            (m.StartTransaction(1, "TAG", 0, moment(1, utc=False)), None),
            (stop(), None),
            (m.MeterValues(1, ()), 5),
            (m.MeterValues(1, (m.MeterValue(moment(1), ()),)), 5),
            (m.MeterValues(1, (m.MeterValue(moment(1, utc=False), (value,)),)), 5),
        ):
            one = link()
            effects = one.deliver("id-1", "d", message, transaction_id)
            assert (calls(effects), kinds(effects)) == ([], [("d", "Failed")])


class TestNotSent:
    def test_while_offline(self) -> None:
        """Design §4.7: it costs no attempt."""
        one = link()
        one.do(e.ConnectionLost("cut"))
        assert kinds(one.deliver("id-1", "d")) == [("d", "NotSent")]

    def test_when_the_connection_goes_under_it(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        assert kinds(one.do(e.ConnectionLost("cut"))) == [("d", "NotSent")]
        assert kinds(one.do(e.CallNotSent(Purpose.DELIVER, "id-1"))) == []

    def test_when_the_heartbeat_after_its_silence_meets_silence(self) -> None:
        """A proxy may answer pings for a dead Central System (design §4.5)."""
        one = link()
        one.deliver("id-1", "d")
        silence(one)
        effects = one.do(e.CallTimedOut(Purpose.VERIFY, "id-1"))
        assert (len(of(e.CloseConnection, effects)), reports(effects)) == (1, [])
        assert kinds(one.do(e.ConnectionLost("closed"))) == [("d", "NotSent")]

    def test_when_the_socket_never_says_that_it_is_closed(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        silence(one)
        one.do(e.CallTimedOut(Purpose.VERIFY, "id-1"))
        assert kinds(one.tick(10)) == [("d", "NotSent")]

    def test_by_security_error(self) -> None:
        """OCPP-J errata 3.8: not accepted, no attempt spent."""
        one = link()
        one.tick(60)
        one.deliver("id-1", "d")
        effects = one.fail(Purpose.DELIVER, "SecurityError", "id-1")
        assert (kinds(effects), calls(effects)) == ([("d", "NotSent")], ["boot"])
        assert kinds(one.deliver("id-1", "d2")) == [("d2", "NotSent")]

    @pytest.mark.parametrize(
        "end",
        [
            e.CallFailed(Purpose.VERIFY, "id-1", "SecurityError", ""),
            e.CallNotSent(Purpose.VERIFY, "id-1"),
            e.CallTimedOut(Purpose.VERIFY, "id-1"),
        ],
    )
    def test_where_silence_can_not_be_explained_its_repeat_keeps_its_id_on_another_connection(self, end: e.Event) -> None:
        """Design §4.10: a Central System that stored the first copy can tell."""
        one = link()
        one.deliver("id-1", "d")
        silence(one)
        effects = one.do(end)
        assert len(of(e.CloseConnection, effects)) == 1
        assert kinds(effects + one.do(e.ConnectionLost("closed"))) == [("d", "NotSent")]

    def test_by_silence_after_the_acceptance_was_lost(self) -> None:
        """Nothing is sent unasked before Accepted, no Heartbeat either."""
        one = link()
        one.tick(60)
        one.deliver("id-1", "d")
        one.fail(Purpose.HEARTBEAT, "SecurityError")
        effects = silence(one)
        assert (calls(effects), len(of(e.CloseConnection, effects))) == ([], 1)
        assert kinds(one.do(e.ConnectionLost("closed"))) == [("d", "NotSent")]

    def test_where_it_waited_too_long_for_its_turn(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        assert kinds(one.do(e.CallNotSent(Purpose.DELIVER, "id-1", "waited too long"))) == [("d", "NotSent")]
        assert sends(one.deliver("id-1", "d2")) == ["id-1"]


class TestAskedAgain:
    """The queue restarted: the same unique id is never sent twice on one connection."""

    def test_in_flight_the_new_call_gets_the_outcome(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        effects = one.deliver("id-1", "d2")
        assert (sends(effects), [effect.call_id for effect in of(e.RefuseCaller, effects)]) == ([], ["d"])
        assert kinds(answer(one)) == [("d2", "Delivered")]

    def test_by_the_very_same_call_changes_nothing(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        assert one.deliver("id-1", "d") == []
        assert kinds(answer(one)) == [("d", "Delivered")]

    def test_while_a_heartbeat_verifies_silence(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        silence(one)
        assert sends(one.deliver("id-1", "d2")) == []
        assert kinds(one.heartbeat(Purpose.VERIFY, "id-1")) == [("d2", "Failed")]

    def test_after_the_answer(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        answer(one)
        assert reports(one.deliver("id-1", "d2")) == [("d2", DELIVERED)]

    def test_after_a_failure_on_the_same_connection(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        one.fail(Purpose.DELIVER, "InternalError", "id-1")
        effects = one.deliver("id-1", "d2")
        assert (sends(effects), kinds(effects)) == ([], [("d2", "Failed")])

    def test_after_a_failure_on_another_connection_it_is_sent(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        one.fail(Purpose.DELIVER, "InternalError", "id-1")
        one.do(e.ConnectionLost("cut"))
        one.open()
        assert sends(one.deliver("id-1", "d2")) == ["id-1"]

    def test_what_the_central_system_has_is_not_sent_again_on_another_connection(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        answer(one)
        one.do(e.ConnectionLost("cut"))
        assert reports(one.deliver("id-1", "d2")) == [("d2", DELIVERED)]
        one.open()
        effects = one.deliver("id-1", "d3")
        assert (sends(effects), reports(effects)) == ([], [("d3", DELIVERED)])

    def test_after_a_security_error_on_the_same_connection(self) -> None:
        """It was on the wire under this id; the queue draws a new one."""
        one = link()
        one.tick(60)
        one.deliver("id-1", "d")
        one.fail(Purpose.DELIVER, "SecurityError", "id-1")
        one.boot()
        effects = one.deliver("id-1", "d2")
        assert (sends(effects), kinds(effects)) == ([], [("d2", "NotSent")])
        assert of(e.AnswerCaller, effects)[0].answer.connection == one.state.connection_number
        assert sends(one.deliver("id-2", "d3")) == ["id-2"]

    def test_after_a_loss_it_is_sent_on_the_next_connection(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        one.do(e.ConnectionLost("cut"))
        one.open()
        assert sends(one.deliver("id-1", "d2")) == ["id-1"]

    def test_the_newest_word_on_a_message_counts(self) -> None:
        """Its silence was taken for a failure; then the answer came all the same (field report 9)."""
        one = link()
        one.deliver("id-1", "d")
        silence(one)
        one.heartbeat(Purpose.VERIFY, "id-1")
        answer(one, late=True)
        assert reports(one.deliver("id-1", "d2")) == [("d2", DELIVERED)]


class TestLate:
    """An answer after its time, on the same connection (field report 9)."""

    def test_ends_the_verifying(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        silence(one)
        assert reports(answer(one, late=True)) == [("d", DELIVERED)]
        assert one.heartbeat(Purpose.VERIFY, "id-1") == [e.BelieveTime(1800000000000)]

    def test_after_the_failure_was_told_it_is_told_as_late(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        silence(one)
        one.heartbeat(Purpose.VERIFY, "id-1")
        effects = answer(one, late=True)
        assert reports(effects) == []
        assert of(e.TellLateReport, effects) == [e.TellLateReport(m.DeliveryReport("id-1", DELIVERED, 1))]

    def test_it_is_told_again_with_the_next_words_of_the_queue(self) -> None:
        """Nobody acknowledges an event, and a queue that dies over it does not ask for a message that it has given up."""
        one = link()
        one.deliver("id-1", "d")
        silence(one)
        one.heartbeat(Purpose.VERIFY, "id-1")
        answer(one, late=True)
        assert of(e.TellLateReport, one.do(e.QueueSaid(None))) == []
        told = [len(of(e.TellLateReport, one.do(e.QueueSaid(depth)))) for depth in (0, 0, 1, 0, 0)]
        assert told == [1, 1, 1, 0, 0]

    def test_while_the_repeat_is_under_way(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        silence(one)
        one.heartbeat(Purpose.VERIFY, "id-1")
        one.deliver("id-2", "d2")
        assert len(of(e.TellLateReport, answer(one, late=True))) == 1
        assert kinds(answer(one, "id-2")) == [("d2", "Delivered")]

    def test_error_of_a_message_that_is_verified_is_a_failure(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        silence(one)
        assert kinds(one.fail(Purpose.DELIVER, "InternalError", "id-1", late=True)) == [("d", "Failed")]

    def test_error_of_a_message_that_is_settled_tells_nothing_new(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        silence(one)
        one.heartbeat(Purpose.VERIFY, "id-1")
        assert one.fail(Purpose.DELIVER, "InternalError", "id-1", late=True) == []

    def test_heartbeat_of_another_message_verifies_nothing(self) -> None:
        one = link()
        one.deliver("id-2", "d")
        silence(one, "id-2")
        assert kinds(one.heartbeat(Purpose.VERIFY, "id-1")) == []


class TestTogether:
    def test_a_second_message_is_refused(self) -> None:
        """Design §4.2: one at a time, over the whole station."""
        one = link()
        one.deliver("id-1", "d")
        effects = one.deliver("id-2", "d2", stop(), 5)
        assert (sends(effects), [effect.call_id for effect in of(e.RefuseCaller, effects)]) == ([], ["d2"])
        assert kinds(answer(one)) == [("d", "Delivered")]

    def test_other_calls_do_not_wait(self) -> None:
        """Design §4.9."""
        one = link()
        one.deliver("id-1", "d")
        assert calls(one.do(e.AuthorizeAsked("a", "TAG"))) == ["authorize"]

    def test_taken_back_it_is_not_sent_any_more(self) -> None:
        """The late answer to an earlier copy has made the repeat needless."""
        one = link()
        one.deliver("id-2", "d2")
        assert of(e.TakeBack, one.do(e.CallerGone("d2"))) == [e.TakeBack(Purpose.DELIVER, "id-2")]
        assert kinds(one.do(e.CallNotSent(Purpose.DELIVER, "id-2", "cancelled"))) == [("d2", "NotSent")]

    def test_what_an_earlier_call_takes_back_is_not_the_later_ones(self) -> None:
        one = link()
        one.deliver("id-1", "d")
        one.deliver("id-1", "d2")
        assert of(e.TakeBack, one.do(e.CallerGone("d"))) == []

    def test_only_so_many_reports_are_kept(self) -> None:
        one = link()
        for number in range(100):
            one.deliver(f"id-{number}", f"d-{number}", start())
            answer(one, f"id-{number}")
        assert len(one.state.reports) == 16
        assert one.state.delivery is None
        assert core.next_deadline_s(one.state) is not None
