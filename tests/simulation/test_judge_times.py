"""What a stop says, and when: near what ended it, and wrong only by what nobody could know (design §2, §5)."""

import pytest

from bus.logs import utc_text
from tests.simulation import judge_money as money
from tests.simulation.book import Asked
from tests.simulation.clock import UTC_0_S
from tests.simulation.cooked import Change, Cooked
from tests.simulation.judge import Rules
from tests.simulation.ledger import Contact, Death, PlugIn, Presented, Register, Span
from tests.simulation.test_judge_askings import session_without_energy

OF_MONEY = {text for name, text in vars(money).items() if name.isupper() and isinstance(text, str)}


def promises(cooked: Cooked) -> set[str]:
    """The promises about money and time that are broken; causes and reasons are not what these books are about."""
    return OF_MONEY & cooked.promises()


def trouble(what: str, from_s: float, to_s: float) -> Change:
    """Something is wrong for a while."""

    def happen(cooked: Cooked) -> None:
        cooked.ledger.spans.append(Span(what, from_s, to_s))

    return happen


def miss_some_energy(cooked: Cooked) -> None:
    """The stop came, and was answered, a second after the contactor had opened."""
    cooked.book.copies[1].payload["meterStop"] = 1900


def miss_some_energy_and_tell_late(cooked: Cooked) -> None:
    """It was written in no hurry, and came when the link was back."""
    miss_some_energy(cooked)
    cooked.book.copies[1].at_s = 600.0
    cooked.ledger.committed[1].at_s = 413.0


def miss_some_energy_and_write_late(cooked: Cooked) -> None:
    """Nobody knows why it was written as late as that."""
    miss_some_energy_and_tell_late(cooked)
    cooked.ledger.committed[1].at_s = 450.0


MISSED: list[tuple[Change, Change, Change]] = [
    (miss_some_energy, trouble("broker down", 395.0, 402.5), trouble("broker down", 430.0, 430.5)),
    (miss_some_energy, trouble("connectors down", 399.0, 402.9), trouble("connectors down", 403.5, 420.0)),
    (miss_some_energy, trouble("meter 1 silent", 380.0, 440.0), trouble("meter 1 silent", 404.0, 440.0)),
    (miss_some_energy_and_tell_late, trouble("connectors down", 412.0, 440.0), trouble("connectors down", 414.0, 440.0)),
    (miss_some_energy_and_write_late, trouble("connectors down", 416.0, 440.0), trouble("connectors down", 419.0, 440.0)),
    (miss_some_energy_and_tell_late, trouble("power off", 405.0, 500.0), trouble("power off", 500.0, 550.0)),
]


@pytest.mark.parametrize(("spoil", "before", "after"), MISSED)
def test_trouble_excuses_no_register_that_was_told_or_written_before_it(spoil: Change, before: Change, after: Change) -> None:
    """Design §3: what is committed stays as it is, and a stop is, within 15 s of its contactor's opening."""
    cooked = Cooked()
    spoil(cooked)
    assert promises(cooked) == {money.BILLED, money.TRUE_TIMES}
    after(cooked)
    assert promises(cooked) == {money.BILLED, money.TRUE_TIMES}
    before(cooked)
    assert promises(cooked) == set()


def said(at_s: float, wh: int = 2000) -> Change:
    """The first stop says another time, and another register at times."""

    def say(cooked: Cooked) -> None:
        cooked.book.copies[1].payload.update(meterStop=wh, timestamp=utc_text(UTC_0_S + at_s))
        cooked.ledger.committed[1].at_s = max(408.5, at_s + 0.5)
        cooked.book.copies[1].at_s = max(409.0, at_s + 1.0)

    return say


def opened(by: str, out_s: float = 420.0) -> Change:
    """What opened the first contactor at 402 s, and when the plug came out."""

    def open_it(cooked: Cooked) -> None:
        cooked.ledger.contacts[0].opened_by = by
        del cooked.book.asked[0]
        cooked.ledger.plug_ins[0].out_s = out_s

    return open_it


def card(at_s: float, id_tag: str = "TAG1") -> Change:
    """Somebody holds a card to the reader."""
    return lambda cooked: cooked.ledger.presented.append(Presented(at_s, id_tag))


def asked(action: str, at_s: float, **payload: int | str) -> Change:
    """The Central System asks for something."""
    return lambda cooked: cooked.book.asked.append(Asked(at_s, action, dict(payload), "Accepted", at_s + 0.1))


def refused(at_s: float, id_tag: str = "BAD") -> Change:
    """The first session's start is answered late, and its idTag refused."""

    def refuse(cooked: Cooked) -> None:
        cooked.book.copies[0].payload["idTag"] = id_tag
        cooked.book.copies[0].at_s = at_s
        cooked.rules = Rules(charges_unknown_offline=True)

    return refuse


def lost(at_s: float) -> Change:
    """`connectors.db` is lost."""
    return lambda cooked: cooked.ledger.deaths.append(Death(at_s, "store connectors.db"))


def all_of(*steps: Change) -> Change:
    """One after the other."""

    def do(cooked: Cooked) -> None:
        for step in steps:
            step(cooked)

    return do


FULL = opened("car")
PULLED = opened("plug", 402.0)


def fail_the_power(cooked: Cooked) -> None:
    """For five seconds, in the first session."""
    all_of(opened("power"), trouble("power off", 402.0, 407.0))(cooked)
    cooked.ledger.deaths.append(Death(402.0, "power"))
    cooked.book.copies[1].payload["reason"] = "PowerLoss"


STOPS: dict[str, tuple[Change, Change, Change]] = {
    "by a card, when the car had been full for long": (
        all_of(opened("car", 985.0), said(980.0)),
        card(979.0),
        card(900.0),
    ),
    "by a card of somebody else": (all_of(FULL, said(410.0)), card(410.0), card(410.0, "TAG2")),
    "by its own card, which was not read for a while": (
        all_of(FULL, said(414.0), card(402.5)),
        trouble("connectors down", 403.0, 409.0),
        trouble("connectors down", 380.0, 385.0),
    ),
    "by the Central System": (
        all_of(FULL, said(410.0)),
        asked("RemoteStopTransaction", 409.0, transactionId=1),
        asked("RemoteStopTransaction", 409.0, transactionId=2),
    ),
    "by a Reset": (all_of(FULL, said(410.0)), asked("Reset", 409.0, type="Soft"), asked("Reset", 300.0, type="Soft")),
    "before its plug was pulled": (all_of(PULLED, said(397.0)), card(396.0), card(380.0)),
    "long after its plug was pulled": (
        all_of(PULLED, said(412.0)),
        trouble("controller 1 silent", 400.0, 408.0),
        trouble("controller 1 silent", 380.0, 395.0),
    ),
    "long after the power was back, as the meter was silent": (
        all_of(fail_the_power, said(425.0)),
        trouble("meter 1 silent", 404.0, 424.5),
        trouble("meter 1 silent", 380.0, 395.0),
    ),
    "long after energy was withdrawn, as found": (
        all_of(opened("station", 600.0), said(424.0)),
        lost(395.0),
        lost(90.0),
    ),
}


@pytest.mark.parametrize(("spoil", "excuse", "elsewhere"), STOPS.values(), ids=STOPS)
def test_a_stop_says_the_time_of_what_ended_it(spoil: Change, excuse: Change, elsewhere: Change) -> None:
    """Found without it, right with it, and not with the same at another time or of another transaction."""
    cooked = Cooked()
    spoil(cooked)
    assert money.TRUE_STOPS in promises(cooked)
    elsewhere(cooked)
    assert money.TRUE_STOPS in promises(cooked)
    excuse(cooked)
    assert promises(cooked) == set()


@pytest.mark.parametrize(
    ("ends", "broken"),
    [
        (said(350.0, 1826), set()),
        (said(402.0), set()),
        (said(408.5), set()),
        (said(470.0), {money.TRUE_STOPS}),
        (all_of(said(450.0), trouble("meter 1 silent", 404.0, 449.5)), {money.TRUE_STOPS}),
        (said(103.0), {money.TRUE_TIMES, money.TRUE_STOPS}),
        (said(320.0), {money.TRUE_TIMES, money.TRUE_STOPS}),
        (said(320.0, 1727), {money.BILLED, money.TRUE_STOPS}),
    ],
)
def test_a_power_cut_ends_it_with_the_last_reading_before_or_the_first_one_after(ends: Change, broken: set[str]) -> None:
    """Design §2: the register of the new boot, else the last checkpoint, at most 60 s old, each at its own time."""
    cooked = Cooked()
    fail_the_power(cooked)
    ends(cooked)
    assert promises(cooked) == broken


@pytest.mark.parametrize(("answered_s", "right"), [(398.0, True), (391.5, False), (0.0, False)])
def test_a_reset_that_nobody_answered_may_have_waited_for_the_call_before_it(answered_s: float, right: bool) -> None:
    """OCPP-J 1.6 §4.1: the link works on one CALL at a time; each owner has 5 s from then on (seed 81235)."""
    cooked = Cooked()
    all_of(opened("car"), said(402.0))(cooked)
    cooked.book.asked.append(Asked(390.5, "ClearCache", {}, "Accepted" if answered_s else "", answered_s))
    cooked.book.asked.append(Asked(391.0, "Reset", {"type": "Hard"}))
    assert (money.TRUE_STOPS not in promises(cooked)) is right


@pytest.mark.parametrize(("slow_until_s", "right"), [(112.0, True), (97.0, False)])
def test_a_reset_that_nobody_answered_may_have_waited_for_a_slow_disk(slow_until_s: float, right: bool) -> None:
    """Asked before the start, it ends that at any time until its owner's 5 s are over (seed 100250)."""
    cooked = Cooked()
    said(110.0)(cooked)
    trouble("disk bad", 90.0, slow_until_s)(cooked)
    cooked.book.asked.append(Asked(99.5, "Reset", {"type": "Hard"}))
    assert (money.TRUE_STOPS not in promises(cooked)) is right


def test_what_the_guard_took_away_is_given_back_to_the_same_transaction() -> None:
    """Design §2: `connectors` was away for longer than the guard waits, and its car wanted no more when it was back."""
    cooked = Cooked()
    all_of(opened("station", 600.0), said(590.0), card(590.0))(cooked)
    assert promises(cooked) == {money.TRUE_STOPS}
    trouble("connectors down", 385.0, 400.0)(cooked)
    assert promises(cooked) == {money.TRUE_STOPS}
    trouble("connectors down", 387.0, 420.0)(cooked)
    assert promises(cooked) == set()


def test_a_stop_long_after_the_contactor_opened_is_no_matter_of_a_plug_that_waits() -> None:
    """The plug is in for ten minutes more, and so might a transaction be that nobody ended."""
    cooked = Cooked()
    all_of(opened("station", 985.0), said(980.0))(cooked)
    assert money.TRUE_STOPS in promises(cooked)
    card(979.0)(cooked)
    assert promises(cooked) == {money.TRUE_STOPS}, "it had no energy any more for ten minutes"
    cooked.ledger.contacts[0].opened_by = "car"
    assert promises(cooked) == set()


def test_where_clocks_lie_a_stop_is_as_long_after_its_start_as_it_says() -> None:
    """Design §5: distances are kept whatever the clock says, and so the end of a session is known by its length."""
    cooked = Cooked()
    all_of(opened("car", 985.0), said(700.0))(cooked)
    cooked.rules = Rules(honest_clock=False)
    for copy in cooked.book.copies[:2]:
        copy.payload["timestamp"] = copy.payload["timestamp"].replace("2027", "2031")
    assert promises(cooked) == {money.TRUE_STOPS}
    card(600.0)(cooked)
    assert promises(cooked) == {money.TRUE_STOPS}
    card(699.0)(cooked)
    assert promises(cooked) == set()
    cooked.ledger.contacts[0].opened_by = "station"
    assert promises(cooked) == {money.TRUE_STOPS}, "it had no energy any more for five minutes"


def test_while_only_the_controller_is_silent_the_meter_is_read_on() -> None:
    """The last reading on disk is of a time in between (seed 91190)."""
    cooked = Cooked()
    all_of(opened("car"), said(402.0, 2000))(cooked)
    assert promises(cooked) == {money.TRUE_STOPS}
    trouble("controller 1 silent", 330.0, 342.0)(cooked)
    assert promises(cooked) == {money.TRUE_STOPS}
    trouble("controller 1 silent", 330.0, 430.0)(cooked)
    assert promises(cooked) == set()


def test_a_controller_that_was_silent_when_the_process_ended_was_unheard_for_both_times() -> None:
    """A stop says then when the plug was last seen (seed 105502)."""
    for silent_s, right in ((330.0, True), (310.0, False)):
        cooked = Cooked()
        all_of(opened("car"), said(331.0, 2000))(cooked)
        trouble("connectors down", 335.0, 365.0)(cooked)
        assert money.TRUE_STOPS in promises(cooked)
        trouble("controller 1 silent", silent_s, silent_s + 12.0)(cooked)
        assert (money.TRUE_STOPS not in promises(cooked)) is right


def test_a_plug_that_nobody_saw_come_may_have_gone_on_in_the_transaction_before() -> None:
    """Design §2: counters can't tell them apart, and the first plug's end is none (seed 91006)."""
    cooked = Cooked()
    all_of(PULLED, said(425.0))(cooked)
    cooked.ledger.plug_ins.append(PlugIn(1, 9, 404.0, 425.0))
    assert promises(cooked) == {money.TRUE_STOPS}
    trouble("connectors down", 395.0, 402.5)(cooked)
    assert promises(cooked) == {money.TRUE_STOPS}, "it was back when the next one came"
    trouble("connectors down", 395.0, 409.0)(cooked)
    assert promises(cooked) == set()


def test_a_refusal_ends_it_when_it_is_told() -> None:
    """OCPP 1.6 §4.8: the idTag is refused in StartTransaction.conf."""
    for told_s, broken in ((401.0, set()), (300.0, {money.TRUE_STOPS})):
        cooked = Cooked()
        all_of(FULL, said(406.0, 2000), card(100.0, "BAD"), refused(told_s))(cooked)
        assert promises(cooked) == broken


def test_what_had_no_energy_began_at_a_plug_all_the_same() -> None:
    """Its own words are all there is, and the plugs."""
    for at_s, out_s, right in ((500.0, 540.0, True), (500.0, 505.0, True), (500.0, 490.0, False), (700.0, 540.0, False)):
        cooked = Cooked()
        session_without_energy(cooked, "TAG1", 500.0)
        card(at_s - 1.0)(cooked)
        cooked.ledger.plug_ins[-1].out_s = out_s
        for copy, said_s in zip(cooked.book.copies[2:4], (at_s, max(at_s, out_s)), strict=True):
            copy.payload["timestamp"] = utc_text(UTC_0_S + said_s)
        assert (money.TRUE_TIMES not in promises(cooked)) is right
    trouble("controller 1 silent", 530.0, 705.0)(cooked)
    assert money.TRUE_TIMES not in promises(cooked)


def test_a_plug_that_nobody_saw_ends_it_with_the_last_reading_on_disk() -> None:
    """Design §2: another plug-in, and the old transaction is closed with the last committed reading."""
    cooked = Cooked()
    all_of(PULLED, said(350.0, 1826))(cooked)
    assert promises(cooked) == {money.BILLED, money.TRUE_STOPS}
    trouble("connectors down", 320.0, 335.0)(cooked)
    assert promises(cooked) == {money.BILLED, money.TRUE_STOPS}
    trouble("connectors down", 395.0, 410.0)(cooked)
    assert promises(cooked) == set()


def shifted(by_s: float) -> Change:
    """The first session's times are all wrong by as much."""

    def shift(cooked: Cooked) -> None:
        for copy, at_s in zip(cooked.book.copies[:2], (100.0, 401.5), strict=True):
            copy.payload["timestamp"] = utc_text(UTC_0_S + at_s + by_s)

    return shift


NEVER_KNEW = all_of(trouble("power off", 50.0, 55.0), trouble("clock unknown", 55.0, 700.0), trouble("power off", 700.0, 705.0))
NOR_DID_THE_NEXT = all_of(trouble("clock unknown", 705.0, 760.0), trouble("power off", 760.0, 765.0))


@pytest.mark.parametrize(
    ("boots", "by_s", "possible"),
    [
        (NEVER_KNEW, 0.0, True),
        (NEVER_KNEW, 290.0, True),
        (NEVER_KNEW, -40.0, True),
        (NEVER_KNEW, 320.0, False),
        (NEVER_KNEW, -60.0, False),
        (NEVER_KNEW, 86_400.0, False),
        (all_of(NEVER_KNEW, NOR_DID_THE_NEXT), 340.0, True),
        (all_of(NEVER_KNEW, NOR_DID_THE_NEXT), 400.0, False),
        (trouble("power off", 50.0, 55.0), 290.0, False),
        (trouble("clock unknown", 705.0, 900.0), 290.0, False),
        (trouble("clock unknown", 20.0, 60.0), -40.0, False),
    ],
)
def test_only_a_boot_that_never_knew_the_time_may_estimate_it(boots: Change, by_s: float, possible: bool) -> None:
    """Design §5: after the last known time, before the first sync less what has elapsed since; else it is known exactly."""
    cooked = Cooked()
    boots(cooked)
    shifted(by_s)(cooked)
    assert (money.TRUE_TIMES not in promises(cooked)) is possible


@pytest.mark.parametrize(("to_s", "right"), [(109.0, True), (106.0, False), (None, False)])
def test_what_closed_while_nobody_was_there_may_be_given_to_who_comes_next(to_s: float | None, right: bool) -> None:
    """Its controller has kept the order, and had not opened again when the card came (design §2; seed 125336)."""
    cooked = Cooked()
    cooked.book.copies[0].payload.update(meterStart=1033, timestamp=utc_text(UTC_0_S + 112.0))
    if to_s is not None:
        trouble("connectors down", 90.0, to_s)(cooked)
    assert (money.TRUE_TIMES not in promises(cooked)) is right


@pytest.mark.parametrize(("lost_s", "possible"), [(None, False), (650.0, False), (900.0, True), (1100.0, False)])
def test_a_store_that_is_lost_forgets_which_boot_learned_the_time_first(lost_s: float | None, possible: bool) -> None:
    """What lies in the boot before is dated by a later one that knows the time (seed 124351)."""
    cooked = Cooked()
    all_of(NEVER_KNEW, trouble("power off", 850.0, 855.0), shifted(450.0))(cooked)
    for copy in cooked.book.copies[:2]:
        copy.at_s += 600.0
    if lost_s is not None:
        cooked.ledger.deaths.append(Death(lost_s, "store transactions.db"))
    assert (money.TRUE_TIMES not in promises(cooked)) is possible


def test_of_two_plugs_near_a_start_it_is_the_one_that_was_in() -> None:
    """The next car may be plugged in within seconds."""
    for stopped_s, late in ((620.0, False), (639.5, True)):
        cooked = Cooked()
        cooked.ledger.plug_ins += [PlugIn(1, 9, 600.0, 620.0), PlugIn(1, 10, 621.5, 640.0)]
        cooked.ledger.presented.append(Presented(618.0, "TAG3"))
        cooked.copy("StartTransaction", 620.0, connectorId=1, idTag="TAG3", meterStart=2000, timestamp=619.0)
        cooked.copy("StopTransaction", 641.0, transactionId=3, meterStop=2000, timestamp=stopped_s, reason="EVDisconnected")
        assert (money.TRUE_STOPS in promises(cooked)) is late


def test_where_clocks_lie_a_contact_is_of_who_began_last_before_it() -> None:
    """Two sessions were told late, the first one sooner; when their starts went to the disk is known (seed 65334)."""
    for second_s, right in ((440.0, True), (450.0, False)):
        cooked = Cooked()
        cooked.rules = Rules(honest_clock=False)
        ledger, book = cooked.ledger, cooked.book
        del book.copies[:], ledger.committed[:]
        ledger.plug_ins[1] = PlugIn(1, 2, 438.0, 760.0)
        ledger.contacts[1] = Contact(1, 442.0, 2000.78, 2, 742.0, 2000.94)
        ledger.presented = [Presented(at_s, id_tag) for at_s, id_tag in ((100.0, "TAG1"), (400.0, "TAG1"), (440.0, "TAG2"))]
        register = ledger.registers[1] = Register(1000.0)
        for at_s, wh in ((102.0, 1000.0), (402.0, 2000.78), (442.0, 2000.78), (742.0, 2000.94)):
            register.add(at_s, wh)
        for number, at_s, start_wh in ((1, 100.0, 1000), (2, second_s, 2000)):
            told_s = 1600.0 + number
            cooked.copy("StartTransaction", told_s, connectorId=1, idTag=f"TAG{number}", meterStart=start_wh, timestamp=at_s)
            cooked.copy(
                "StopTransaction", told_s + 0.5, transactionId=number, meterStop=2000, timestamp=at_s + 301.0, reason="Local"
            )
        assert (money.ONE_PLUG_IN not in promises(cooked)) is right


def test_where_clocks_lie_a_session_began_when_its_start_went_to_the_disk() -> None:
    """However late its contactor closed (seed 66276)."""
    for stopped_s, right in ((315.0, False), (301.5, True)):
        cooked = Cooked()
        cooked.rules = Rules(honest_clock=False)
        cooked.ledger.plug_ins[0].out_s = 301.5
        cooked.ledger.contacts[0].closed_s, cooked.ledger.contacts[0].opened_s = 130.0, 301.5
        cooked.book.copies[1].payload["timestamp"] = utc_text(UTC_0_S + stopped_s)
        assert (money.TRUE_STOPS not in promises(cooked)) is right
        trouble("disk bad", 80.0, 101.0)(cooked)
        assert money.TRUE_STOPS not in promises(cooked), "its commit came that much later"


def test_a_stop_of_a_boot_that_knows_the_time_is_no_estimate() -> None:
    """The queue has found in it what `connectors` lost in one that did not (seed 64590)."""
    for written_s, right in ((740.0, True), (500.0, False)):
        cooked = Cooked()
        NEVER_KNEW(cooked)
        stop = cooked.book.copies[1]
        stop.payload["timestamp"] = utc_text(UTC_0_S + 740.0)
        stop.at_s, cooked.ledger.committed[1].at_s = 741.0, written_s
        assert (money.TRUE_TIMES not in promises(cooked)) is right


UNDATED, LOST, CUT = "written without a time", "the queue's store is lost", "the power fails"


@pytest.mark.parametrize("without", ["", UNDATED, LOST, CUT])
def test_what_was_written_without_a_time_is_told_by_estimate_once_the_boot_and_the_queues_store_are_gone(without: str) -> None:
    """Only the queue knew the time of that boot (seed 103030)."""
    cooked = Cooked()
    shifted(110.0)(cooked)
    for copy in cooked.book.copies[:2]:
        copy.at_s += 500.0
    if without != UNDATED:
        for entry in cooked.ledger.committed[:2]:
            entry.dated = False
    if without != CUT:
        trouble("power off", 505.0, 515.0)(cooked)
    if without != LOST:
        cooked.ledger.deaths.append(Death(560.0, "store transactions.db"))
    assert (money.TRUE_TIMES not in promises(cooked)) is (not without)
    shifted(300.0)(cooked)
    assert money.TRUE_TIMES in promises(cooked), "that boot was over by then"


@pytest.mark.parametrize("without", ["", "meter down", "store connectors.db"])
def test_a_lost_store_that_is_closed_without_a_meter_knows_what_was_told(without: str) -> None:
    """Design §3: the last register known where the meter is silent (seed 103242)."""
    cooked = Cooked()
    cooked.book.copies[1].payload["meterStop"] = 1000
    cooked.ledger.committed[1].at_s = cooked.book.copies[1].at_s = 650.0
    if without != "meter down":
        trouble("meter down", 640.0, 660.0)(cooked)
    if without != "store connectors.db":
        cooked.ledger.deaths.append(Death(380.0, "store connectors.db"))
    assert (money.BILLED not in promises(cooked)) is (not without)


@pytest.mark.parametrize(
    ("in_s", "flowed_s", "opened_s", "right"),
    [(395.0, 408.0, 408.0, True), (395.0, 425.0, 425.0, False), (395.0, 406.0, 690.0, True), (80.0, 408.0, 408.0, False)],
)
def test_what_a_car_takes_that_came_while_nobody_was_there_is_nobodys(
    in_s: float, flowed_s: float, opened_s: float, right: bool
) -> None:
    """Until `connectors` is back, and has looked; from there who has a card may go on (design §2; seeds 107058, 128255)."""
    cooked = Cooked()
    register = cooked.ledger.registers[1] = Register(1000.0)
    for at_s, wh in ((102.0, 1000.0), (399.0, 1990.0), (flowed_s, 2000.0), (1002.0, 2000.0), (1302.0, 3000.0)):
        register.add(at_s, wh)
    first = cooked.ledger.contacts[0]
    first.opened_s, first.opened_wh = 392.0, 1990.0
    cooked.book.copies[1].payload["meterStop"] = 1990
    cooked.ledger.contacts[1:1] = [Contact(1, 399.0, 1990.0, 9, opened_s, 2000.0)]
    cooked.ledger.plug_ins.append(PlugIn(1, 9, in_s, 700.0))
    assert money.BILLED in promises(cooked)
    trouble("connectors down", 393.0, 405.5)(cooked)
    assert (money.BILLED not in promises(cooked)) is right
