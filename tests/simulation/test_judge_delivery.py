"""When a message may come again, by whose fault and how late: what the judge refuses, and what it accepts (design §4, §7)."""

import pytest

from bus.logs import utc_text
from tests.simulation import judge_delivery as delivery
from tests.simulation import judge_money as money
from tests.simulation.central_system import HOP_S
from tests.simulation.clock import UTC_0_S
from tests.simulation.cooked import Change, Cooked, excused, found_despite
from tests.simulation.judge import DeadLetter, Residue, Rules
from tests.simulation.ledger import Death, Span


def change(name: str, act: Change) -> Change:
    """Named for pytest."""
    act.__name__ = name
    return act


def die(who: str, at_s: float) -> Change:
    """With the first stop still under way."""

    def act(cooked: Cooked) -> None:
        cooked.ledger.deaths.append(Death(at_s, who, frozenset({cooked.book.copies[1].unique_id})))

    return change(f"{who.replace(' ', '_')}_dies_{at_s:.0f}", act)


def trouble(what: str, from_s: float, to_s: float) -> Change:
    """A span."""
    name = f"{what.replace(' ', '_')}_{from_s:.0f}_{to_s:.0f}"
    return change(name, lambda cooked: cooked.ledger.spans.append(Span(what, from_s, to_s)))


def lose_the_queues_store(cooked: Cooked) -> None:
    cooked.ledger.deaths.append(Death(460.0, "store transactions.db", frozenset(), frozenset({cooked.book.copies[1].entry})))


def break_the_connection(cooked: Cooked) -> None:
    for copy in cooked.book.copies:
        copy.connection = 2 if copy.at_s > 410.0 else 1


def again(fate: str, *at_s: float) -> Change:
    """The first stop fails, or is met with silence, and comes again; the last copy is taken."""

    def act(cooked: Cooked) -> None:
        stop = cooked.book.copies[1]
        stop.fate = fate
        for one in at_s:
            cooked.again(stop, one, f"again-{one}")
        cooked.book.copies[-1].fate = "good"

    return change(f"{fate.replace(' ', '_')}_then_{'_'.join(f'{one:.0f}' for one in at_s)}", act)


def again_after_its_late_answer(cooked: Cooked) -> None:
    again("late", 473.0)(cooked)
    cooked.book.copies[1].late_answer_s = 428.0


def again_while_its_late_answer_is_on_its_way(cooked: Cooked) -> None:
    again("late", 473.0)(cooked)
    cooked.book.copies[1].late_answer_s = 472.5


def again_after_an_answer_that_came_late_to_the_second_one(cooked: Cooked) -> None:
    again("silent", 473.0, 620.0)(cooked)
    cooked.book.copies[-2].fate = "late"
    cooked.book.copies[-2].late_answer_s = 500.0


def stop_again_under_another_id(cooked: Cooked, **changes: object) -> None:
    """A Central System that had forgotten its id gave the repeated start another one; both stops were answered."""
    start, stop = cooked.book.copies[:2]
    start.fate = "cut after it"
    cooked.again(start, 150.0)
    cooked.book.copies[-1].fate, cooked.book.copies[-1].transaction_id = "good", 3
    cooked.again(stop, 450.0)
    repeated = cooked.book.copies[-1]
    repeated.payload = {**stop.payload, "transactionId": 3, **changes}
    repeated.raw = f"StopTransaction {repeated.payload}"
    cooked.book.copies.sort(key=lambda copy: copy.at_s)


def stop_again_with_another_reason(cooked: Cooked) -> None:
    stop_again_under_another_id(cooked, reason="PowerLoss")


def stop_again_with_other_data(cooked: Cooked) -> None:
    stop_again_under_another_id(cooked, transactionData=[{"timestamp": utc_text(UTC_0_S + 400.0), "sampledValue": []}])


BREACHES: list[tuple[Change, str]] = [
    (again("good", 450.0), delivery.ONCE),
    (again("error", 520.0), delivery.RETRY_RULE),
    (again("silent", 530.0), delivery.RETRY_RULE),
    (again("error", 465.0, 640.0), delivery.RETRY_RULE),
    (again_after_its_late_answer, delivery.LATE_COUNTS),
    (again_after_an_answer_that_came_late_to_the_second_one, delivery.LATE_COUNTS),
    (stop_again_with_another_reason, delivery.ONE_STOP),
    (stop_again_with_other_data, delivery.ONE_STOP),
]


@pytest.mark.parametrize(("spoil", "promise"), BREACHES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_cooked_book_is_found_out(spoil: Change, promise: str) -> None:
    """Design §4, §7; OCPP 1.6 §3.7.1."""
    cooked = Cooked()
    spoil(cooked)
    assert promise in cooked.promises()


RIGHT: list[Change] = [
    again("error", 464.0),
    again("error", 464.0 + delivery.QUEUED_S - 2.0),
    again("silent", 464.0 + delivery.SILENCE_S),
    again("error", 464.0, 600.0),
    again("late", 473.0),
    again_while_its_late_answer_is_on_its_way,
    stop_again_under_another_id,
]


@pytest.mark.parametrize("act", RIGHT, ids=lambda value: getattr(value, "__name__", ""))
def test_what_the_retry_rule_allows_is_right(act: Change) -> None:
    """OCPP 1.6 §3.7.1: the interval times the transmissions so far; an answer that is not there ends nothing."""
    cooked = Cooked()
    act(cooked)
    wrong = {delivery.RETRY_RULE, delivery.LATE_COUNTS, delivery.ONCE, delivery.ONE_STOP}
    assert not cooked.promises() & wrong


def die_and_lose_the_store(at_s: float) -> Change:
    """The message waits in the link, and the queue that is back knows nothing of it (seed 107959)."""

    def change(cooked: Cooked) -> None:
        die("transaction_queue", at_s)(cooked)
        cooked.ledger.deaths.append(Death(at_s, "store transactions.db"))

    return change


EXCUSES: list[tuple[Change, str, Change]] = [
    (again("good", 450.0), delivery.ONCE, die("transaction_queue", 403.02)),
    (again("good", 450.0), delivery.ONCE, die("transaction_queue", 402.97)),
    (again("good", 450.0), delivery.ONCE, die("ocpp_link", 403.02)),
    (again("good", 450.0), delivery.ONCE, die("power", 403.02)),
    (again("good", 450.0), delivery.ONCE, die_and_lose_the_store(396.0)),
    (again("error", 520.0), delivery.RETRY_RULE, break_the_connection),
    *((again("error", 520.0), delivery.RETRY_RULE, trouble(what, 450.0, 460.0)) for what in delivery.IN_BETWEEN),
    *((again_after_its_late_answer, delivery.LATE_COUNTS, trouble(what, 427.5, 429.0)) for what in delivery.IN_BETWEEN),
    (again_after_its_late_answer, delivery.LATE_COUNTS, lose_the_queues_store),
]


@pytest.mark.parametrize(("spoil", "promise", "excuse"), EXCUSES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_trouble_excuses_what_nobody_could_do_better(spoil: Change, promise: str, excuse: Change) -> None:
    """Found without it, excused with it (design §7)."""
    excused(Cooked(), spoil, promise, excuse)


SHIFTS: list[tuple[Change, str, Change]] = [
    (again("good", 450.0), delivery.ONCE, die("transaction_queue", 390.0)),
    (again("good", 450.0), delivery.ONCE, die("transaction_queue", 396.0)),
    (again("good", 450.0), delivery.ONCE, die_and_lose_the_store(390.0)),
    (again("good", 450.0), delivery.ONCE, die("transaction_queue", 402.9)),
    (again("good", 450.0), delivery.ONCE, die("transaction_queue", 451.0)),
    (again("good", 450.0), delivery.ONCE, die("connectors", 403.02)),
    (again("good", 450.0), delivery.ONCE, die("store connectors.db", 403.02)),
    (again("error", 520.0), delivery.RETRY_RULE, trouble("bus bad", 380.0, 402.0)),
    (again("error", 520.0), delivery.RETRY_RULE, trouble("meter down", 450.0, 460.0)),
    (again("error", 520.0), delivery.RETRY_RULE, trouble("connectors down", 403.0, 520.0)),
    (again_after_its_late_answer, delivery.LATE_COUNTS, trouble("bus bad", 400.0, 426.0)),
    (again_after_its_late_answer, delivery.LATE_COUNTS, trouble("connectors down", 427.5, 429.0)),
    (again_after_its_late_answer, delivery.LATE_COUNTS, die("transaction_queue", 404.0)),
]


@pytest.mark.parametrize(("spoil", "promise", "elsewhere"), SHIFTS, ids=lambda value: getattr(value, "__name__", ""))
def test_another_trouble_or_time_excuses_nothing(spoil: Change, promise: str, elsewhere: Change) -> None:
    """An excuse covers who had the message, when it was under way, no more."""
    found_despite(Cooked(), spoil, promise, elsewhere)


def tell_the_first_session_again(later_s: float) -> Change:
    """With other times, and so under another transactionId."""

    def act(cooked: Cooked) -> None:
        for copy, at_s, said_s in zip(cooked.book.copies[:2], (600.0, 601.0), (100.0, 401.5), strict=True):
            cooked.again(copy, at_s, f"told-again-{at_s}")
            repeated = cooked.book.copies[-1]
            repeated.payload = {**copy.payload, "timestamp": utc_text(UTC_0_S + said_s + later_s)}
            if copy.action == "StartTransaction":
                repeated.transaction_id = 9
            else:
                repeated.payload["transactionId"] = 9
            repeated.raw = f"{copy.action} {repeated.payload}"
        cooked.book.copies.sort(key=lambda copy: copy.at_s)

    return change(f"told_again_{later_s * 1000:.0f}_ms_later", act)


def lose_their_times(at_s: float = 500.0, *, dated: bool = False, kept: bool = True) -> Change:
    """The queue's store is lost; of the first session nothing was `dated` when it was committed."""

    def act(cooked: Cooked) -> None:
        for entry in cooked.ledger.committed[:2]:
            entry.dated = dated
        names = frozenset(copy.entry for copy in cooked.book.copies[:2] if kept)
        cooked.ledger.deaths.append(Death(at_s, "store transactions.db", frozenset(), names))

    return act


RETOLD = tell_the_first_session_again(HOP_S)


def test_a_session_without_a_time_is_dated_anew_after_the_loss_of_the_queues_store() -> None:
    """Design §5: first by the Central System, whose word takes a moment, then by a time server (seed 80741)."""
    excused(Cooked(), RETOLD, money.BILLED, lose_their_times())
    cooked = Cooked()
    RETOLD(cooked)
    lose_their_times()(cooked)
    assert cooked.promises() == set()


@pytest.mark.parametrize(
    ("spoil", "elsewhere"),
    [
        (tell_the_first_session_again(HOP_S + 0.01), lose_their_times()),
        (RETOLD, lose_their_times(dated=True)),
        (RETOLD, lose_their_times(kept=False)),
        (RETOLD, lose_their_times(50.0)),
        (RETOLD, lose_their_times(700.0)),
    ],
)
def test_what_had_a_time_or_gets_quite_another_one_is_no_repeat(spoil: Change, elsewhere: Change) -> None:
    """Design §4.10: a repeat is the same message, byte for byte."""
    found_despite(Cooked(), spoil, money.BILLED, elsewhere)


@pytest.mark.parametrize(("lost_s", "told"), [(450.0, True), (950.0, False), (None, False)])
def test_an_older_copy_may_tell_a_stop_again_under_minus_1_when_its_start_is_refused(lost_s: float | None, told: bool) -> None:
    """OCPP 1.6 errata v4.0 3.18: the copy knows no transactionId, though the start was given one before (seed 122163)."""
    cooked = Cooked()
    cooked.rules = Rules(attempts=1)
    start, stop = cooked.book.copies[:2]
    cooked.again(start, 500.0, "refused")
    refused = cooked.book.copies[-1]
    refused.fate, refused.transaction_id = "error", None
    cooked.again(stop, 501.0, "under -1")
    again = cooked.book.copies[-1]
    again.payload, again.raw = {**stop.payload, "transactionId": -1}, f"{stop.raw} under -1"
    cooked.book.copies.sort(key=lambda copy: copy.at_s)
    cooked.residue = Residue(dead_letters=(DeadLetter(("refused",), 1, "StartTransaction"),))
    if lost_s is not None:
        cooked.ledger.deaths.append(Death(lost_s, "store transactions.db"))
    assert (delivery.OWN_ID not in cooked.promises()) == told
