"""One asking, one transaction: what nobody asked for is found, and each asking allows what it is good for (OCPP 1.6 §4.2)."""

import pytest

from bus.logs import utc_text
from tests.simulation import judge_money as money
from tests.simulation.book import Asked
from tests.simulation.clock import UTC_0_S
from tests.simulation.cooked import Change, Cooked
from tests.simulation.judge import Rules
from tests.simulation.ledger import Contact, PlugIn, Presented, Register, Span
from tests.simulation.whose import NEAR_S


def session_without_energy(cooked: Cooked, id_tag: str, at_s: float, wh: int = 2000) -> None:
    """Somebody plugs in after the first session, and the car never asks for energy."""
    cooked.ledger.plug_ins.append(PlugIn(1, 9, at_s - 2, at_s + 40))
    cooked.copy("StartTransaction", at_s, connectorId=1, idTag=id_tag, meterStart=wh, timestamp=at_s)
    cooked.copy("StopTransaction", at_s + 41, transactionId=3, meterStop=wh, timestamp=at_s + 40)
    cooked.book.copies.sort(key=lambda copy: copy.at_s)


def shorten_the_first_session(cooked: Cooked, ends_s: float, ends_wh: int) -> None:
    """Its contactor opens sooner, and its stop says so; the second one begins at the register of then."""
    first, second = cooked.ledger.contacts
    first.opened_s, first.opened_wh, second.closed_wh = ends_s, float(ends_wh), float(ends_wh)
    register = cooked.ledger.registers[1] = Register(1000.0)
    for at_s, wh in ((102.0, 1000.0), (ends_s, ends_wh), (1002.0, ends_wh), (1302.0, 3000.0)):
        register.add(at_s, wh)
    stop = cooked.book.copies[1]
    stop.at_s = ends_s + 1.0
    stop.payload.update(meterStop=ends_wh, timestamp=utc_text(UTC_0_S + ends_s))
    cooked.book.copies[2].payload["meterStart"] = ends_wh


def bill_somebody_who_never_came(cooked: Cooked) -> None:
    session_without_energy(cooked, "NOBODY", 500.0)


def bill_a_card_of_long_ago_again(cooked: Cooked) -> None:
    session_without_energy(cooked, "TAG1", 500.0)


def bill_a_card_again_at_once(cooked: Cooked) -> None:
    """Its first session ended soon; its card would have waited for a plug for as long."""
    shorten_the_first_session(cooked, 130.0, 1093)
    cooked.ledger.plug_ins[0].out_s = 130.0
    session_without_energy(cooked, "TAG1", 140.0, 1093)


def go_on_under_a_second_start(cooked: Cooked) -> None:
    """Half of what the first card got is billed as a session of its own, in the same plug-in."""
    shorten_the_first_session(cooked, 250.0, 1500)
    cooked.ledger.contacts.insert(1, Contact(1, 260.0, 1500.0, 1, 402.0, 2000.0))
    register = cooked.ledger.registers[1] = Register(1000.0)
    for at_s, wh in ((102.0, 1000.0), (250.0, 1500.0), (260.0, 1500.0), (402.0, 2000.0), (1002.0, 2000.0), (1302.0, 3000.0)):
        register.add(at_s, wh)
    cooked.ledger.contacts[2].closed_wh = 2000.0
    cooked.book.copies[2].payload["meterStart"] = 2000
    cooked.copy("StartTransaction", 258.0, connectorId=1, idTag="TAG1", meterStart=1500, timestamp=258.0)
    cooked.copy("StopTransaction", 403.0, transactionId=3, meterStop=2000, timestamp=401.5)
    cooked.book.asked.append(Asked(400.0, "RemoteStopTransaction", {"transactionId": 3}, "Accepted", 400.0))
    cooked.book.copies.sort(key=lambda copy: copy.at_s)


def end_it_by_a_stranger(cooked: Cooked) -> None:
    cooked.book.copies[1].payload["idTag"] = "STRANGER"


def end_it_by_its_own_card(cooked: Cooked) -> None:
    """That card was presented once, for the start."""
    cooked.book.copies[1].payload["idTag"] = "TAG1"


def present(id_tag: str, at_s: float) -> Change:
    """Somebody holds a card to the reader."""

    def spoil(cooked: Cooked) -> None:
        cooked.ledger.presented.append(Presented(at_s, id_tag))

    return spoil


def use_the_app(id_tag: str, at_s: float, answer: str = "Accepted") -> Change:
    """The Central System asks for a start."""

    def spoil(cooked: Cooked) -> None:
        cooked.book.asked.append(Asked(at_s, "RemoteStartTransaction", {"idTag": id_tag}, answer, at_s + 0.1))

    return spoil


EXCUSES: list[tuple[Change, Change, Change]] = [
    (bill_somebody_who_never_came, present("NOBODY", 499.0), present("NOBODY", 502.0 + NEAR_S)),
    (bill_somebody_who_never_came, present("nobody", 440.0), present("NOBODY", 420.0)),
    (bill_somebody_who_never_came, use_the_app("NOBODY", 499.0), use_the_app("NOBODY", 499.0, "Rejected")),
    (bill_a_card_of_long_ago_again, present("TAG1", 499.0), present("TAG2", 499.0)),
    (bill_a_card_of_long_ago_again, use_the_app("TAG1", 450.0), use_the_app("TAG1", 600.0)),
    (bill_a_card_again_at_once, present("TAG1", 139.0), present("TAG1", 150.0)),
    (go_on_under_a_second_start, present("TAG1", 257.0), present("TAG1", 300.0)),
    (end_it_by_a_stranger, present("STRANGER", 401.0), present("STRANGER", 350.0)),
    (end_it_by_its_own_card, present("TAG1", 401.0), present("TAG1", 350.0)),
    (end_it_by_its_own_card, present("TAG1", 401.0), use_the_app("TAG1", 401.0)),
]


@pytest.mark.parametrize(("spoil", "asked", "in_vain"), EXCUSES, ids=lambda value: getattr(value, "__name__", ""))
def test_each_begin_and_each_end_by_card_has_an_asking_of_its_own(spoil: Change, asked: Change, in_vain: Change) -> None:
    """Found without an asking, right with one of its own, and not with one of another card or time."""
    cooked = Cooked()
    spoil(cooked)
    assert cooked.promises() == {money.ASKED_ONCE}
    in_vain(cooked)
    assert cooked.promises() == {money.ASKED_ONCE}
    asked(cooked)
    assert cooked.promises() == set()


def test_a_card_that_ended_one_transaction_begins_no_other() -> None:
    """OCPP 1.6 §4.8: whoever wants another one presents the card again."""
    cooked = Cooked()
    bill_a_card_again_at_once(cooked)
    cooked.book.copies[1].payload["idTag"] = "TAG1"
    present("TAG1", 130.0)(cooked)
    assert cooked.promises() == {money.ASKED_ONCE}
    present("TAG1", 138.0)(cooked)
    assert cooked.promises() == set()


def test_askings_are_shared_out_so_that_all_have_one() -> None:
    """The app may have begun the first one, as long as a card is left for its end."""
    cooked = Cooked()
    use_the_app("TAG1", 98.0)(cooked)
    end_it_by_its_own_card(cooked)
    assert cooked.promises() == {money.ASKED_ONCE}, "the card was there 300 s before"
    present("TAG1", 401.0)(cooked)
    assert cooked.promises() == set()


@pytest.mark.parametrize("lies", [False, True])
def test_where_no_time_can_be_relied_on_only_numbers_count(lies: bool) -> None:
    """A clock that lies, or a boot that never knew the time: an asking at any time before will do, but each only once."""
    cooked = Cooked()
    bill_a_card_of_long_ago_again(cooked)
    if lies:
        cooked.rules = Rules(honest_clock=False)
    else:
        cooked.ledger.spans.append(Span("clock unknown", 450.0, 600.0))
    assert cooked.promises() == {money.ASKED_ONCE}
    present("TAG1", 30.0)(cooked)
    assert cooked.promises() == set()
