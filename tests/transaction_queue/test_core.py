"""The queue's core: every state meets every event; the retry rule as a property (OCPP 1.6 §3.7.1, design §4)."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages import Delivered, DeliveryReport, Failed, NotSent
from services.transaction_queue import core
from services.transaction_queue import events as e
from services.transaction_queue.state import Head, Letter, Link, Now, Settings, Start, State, settings_from

BOOT, RUN = "boot-a", "run-1"
NOW = Now(1000.0, "fresh")
ONLINE = Link(connected=True, online=True, connection=2)
PENDING = Link(connected=True, online=False, connection=2)
OFFLINE = Link(connected=False, online=False, connection=2)
OTHER_ONLINE = Link(connected=True, online=True, connection=3)
LINKS = (Link(), OFFLINE, PENDING, ONLINE, OTHER_ONLINE)


def head(**changes) -> Head:
    known = Head(row_id=7, local_tx_id="tx", number=1, is_start=False, start=Start.ANSWERED, transaction_id=0)
    return msgspec.structs.replace(known, **changes)


SENT = head(unique_ids=("old", "latest"), outstanding=True)
FAILED_ONCE = head(
    unique_ids=("latest",), attempts=1, answered_on=f"{RUN}/2", failed_boot_id=BOOT, failed_boottime_s=NOW.boottime_s - 10
)
HEADS = (
    None,
    head(is_start=True, number=0, start=Start.MISSING, transaction_id=None),
    head(is_start=True, number=0),
    head(is_start=True, number=0, unique_ids=("latest",), outstanding=True),
    head(is_start=True, number=0, start=Start.GIVEN_UP, transaction_id=None, needs_clock=True),
    head(),
    head(start=Start.GIVEN_UP, transaction_id=None),
    head(start=Start.MISSING, transaction_id=None),
    head(start=Start.GIVEN_UP, transaction_id=None, unique_ids=("latest",), outstanding=True, without_id=True),
    head(unique_ids=("latest",), attempts=1, without_id=True),
    head(needs_clock=True),
    head(boot_untold=True),
    SENT,
    FAILED_ONCE,
    msgspec.structs.replace(FAILED_ONCE, failed_boottime_s=0.0),
    msgspec.structs.replace(FAILED_ONCE, failed_boot_id="boot-0"),
    msgspec.structs.replace(FAILED_ONCE, attempts=3),
)


def states() -> list[State]:
    found = []
    for known, link, hold_until_s in itertools.product(HEADS, LINKS, (None, 990.0, 1004.0)):
        state = State(BOOT, RUN, link=link, head=known, hold_until_s=hold_until_s)
        if known is not None and link.online:
            found.append(msgspec.structs.replace(state, turn_since_s=100.0))
        found.append(state)
    for link in (ONLINE, PENDING):
        found.append(State(BOOT, RUN, link=link, head=SENT, asked="latest", asked_on=2))
    return found


LETTERS = (
    None,
    Letter(3, "tx", 0, "StartTransaction"),
    Letter(3, "other", 0, "StartTransaction"),
    Letter(3, "tx", 1, "MeterValues", without_id=True),
)


def reports():
    outcomes = (Delivered(transaction_id=0), Delivered(), Failed("CALLERROR"), NotSent("offline"))
    for unique_id, outcome, connection in itertools.product(("latest", "old", "never"), outcomes, (1, 2, 3)):
        for letter in LETTERS:
            yield e.Reported(DeliveryReport(unique_id, outcome, connection), letter)


EVENTS = (
    e.Tick(),
    e.SettingsChanged(Settings(attempts=1, retry_interval_s=0)),
    e.SettingsChanged(Settings(attempts=0, retry_interval_s=100)),
    e.AskEnded("latest", "timed out"),
    e.AskEnded("never", "timed out"),
    *(e.LinkChanged(link) for link in LINKS),
    *reports(),
)


def heads_read(state: State):
    """What the shell may read: after an end anything, before it the same row."""
    if state.head is None:
        return [e.HeadRead(known) for known in HEADS]
    return [e.HeadRead(state.head)]


@pytest.mark.parametrize("state", states(), ids=lambda _: None)
def test_every_state_answers_every_event(state):
    """Style §1: every (state, event) pair has an answer, and no answer breaks a promise."""
    for event in (*EVENTS, *heads_read(state)):
        after, effects = core.step(state, event, NOW)
        check_asking(state, after, effects)
        check_attempts(event, effects)
        check_deadline(after)


def check_asking(before: State, after: State, effects) -> None:
    """One question at a time, only online, only with a committed id, only with the right transactionId."""
    asks = [effect for effect in effects if isinstance(effect, e.AskLink)]
    assert len(asks) <= 1
    if not asks:
        return
    (ask,) = asks
    known = after.head
    assert known is not None
    assert not known.needs_clock
    assert not known.boot_untold
    assert after.link.online
    assert after.asked == ask.unique_id == known.unique_ids[-1]
    assert known.outstanding
    assert not before.asked or before.asked != after.asked or e.CancelAsk(before.asked) in effects
    committed = [effect.unique_id for effect in effects if isinstance(effect, e.CommitSending)]
    assert committed == [ask.unique_id] or (not committed and ask.unique_id == "latest")
    assert effects[-1] == ask, "commits come first"
    expected = None if known.is_start else -1 if known.without_id else known.transaction_id
    assert known.without_id or known.is_start or known.start is Start.ANSWERED
    assert ask.transaction_id == expected


def check_attempts(event, effects) -> None:
    """Only a reported failure spends an attempt (field report 8)."""
    spent = [effect for effect in effects if isinstance(effect, e.CommitFailed)]
    spent += [effect.failed for effect in effects if isinstance(effect, e.CommitGivenUp) and effect.failed]
    if spent:
        assert isinstance(event, e.Reported)
        assert not isinstance(event.report.outcome, NotSent)
    ends = [effect for effect in effects if isinstance(effect, e.CommitDelivered | e.CommitGivenUp)]
    assert len(ends) <= 1


def check_deadline(after: State) -> None:
    """A deadline that has come changes something: the loop never spins."""
    for _ in range(5):
        deadline_s = core.next_deadline_s(after)
        if deadline_s is None or deadline_s > NOW.boottime_s:
            return
        after, _ = core.step(after, e.Tick(), NOW)
    raise AssertionError(f"the deadline {deadline_s} stays")


def test_nothing_is_asked_while_a_question_is_open():
    state = State(BOOT, RUN, link=ONLINE, head=SENT, asked="latest", asked_on=2)
    assert core.step(state, e.Tick(), NOW) == (msgspec.structs.replace(state, turn_since_s=NOW.boottime_s), ())


def test_losing_the_acceptance_alone_leaves_the_question_open():
    """The report is still to come: SecurityError arrives on a connection that stays (OCPP-J errata 3.8)."""
    state = State(BOOT, RUN, link=ONLINE, head=SENT, asked="latest", asked_on=2)
    after, effects = core.step(state, e.LinkChanged(PENDING), NOW)
    assert after.asked == "latest"
    assert effects == ()


def test_a_report_on_an_earlier_id_counts_only_if_delivered():
    state = State(BOOT, RUN, link=ONLINE, head=SENT, asked="latest", asked_on=2)
    _, effects = core.step(state, e.Reported(DeliveryReport("old", Delivered(), 2)), NOW)
    assert effects == (e.CommitDelivered(7, Delivered()), e.CancelAsk("latest"))
    after, effects = core.step(state, e.Reported(DeliveryReport("old", Failed("late"), 2)), NOW)
    assert after.asked == "latest"
    assert not any(isinstance(effect, e.Commit) for effect in effects)


@pytest.mark.parametrize("link", [ONLINE, OFFLINE])
@pytest.mark.parametrize("sent", [(), ("latest",)])
def test_a_start_that_connectors_knows_the_outcome_of_is_not_sent_again(sent, link):
    """Design §3: the queue's database is an older copy, in which the start waits that is long settled."""
    waiting = head(is_start=True, number=0, unique_ids=sent, outstanding=bool(sent))
    state, effects = core.step(State(BOOT, RUN, link=link), e.HeadRead(waiting), NOW)
    assert (state.head, effects[0]) == (None, e.CommitDelivered(7, Delivered(0)))
    given_up = msgspec.structs.replace(waiting, start=Start.GIVEN_UP, transaction_id=None)
    state, effects = core.step(State(BOOT, RUN, link=link), e.HeadRead(given_up), NOW)
    assert (state.head, [type(effect) for effect in effects]) == (None, [e.CommitGivenUp])


def test_a_start_that_the_link_is_asked_for_ends_by_its_report():
    """The Central System may be giving it another transactionId: that one is the later."""
    waiting = head(is_start=True, number=0, unique_ids=("latest",), outstanding=True)
    state = State(BOOT, RUN, link=ONLINE, head=waiting, asked="latest", asked_on=2)
    state, effects = core.step(state, e.HeadRead(waiting), NOW)
    assert effects == ()
    _, effects = core.step(state, e.Reported(DeliveryReport("latest", Delivered(77), 2)), NOW)
    assert effects[0] == e.CommitDelivered(7, Delivered(77))


@pytest.mark.parametrize("link", [ONLINE, OFFLINE])
@pytest.mark.parametrize("sent", [(), ("latest",)])
def test_the_late_answer_to_a_start_gives_its_id_to_what_was_not_sent_yet(sent, link):
    """A repeat is the same message: what went out with -1 keeps it (design §4.10)."""
    waiting = head(start=Start.GIVEN_UP, transaction_id=None, unique_ids=sent, outstanding=bool(sent), without_id=bool(sent))
    state = State(BOOT, RUN, link=link, head=waiting, hold_until_s=NOW.boottime_s + 1)
    late = e.Reported(DeliveryReport("long ago", Delivered(77), 2), Letter(3, "tx", 0, "StartTransaction"))
    state, effects = core.step(state, late, NOW)
    assert effects == (e.CommitLate(late.letter, Delivered(77)),)
    assert (state.head.start, state.head.transaction_id) == (Start.ANSWERED, 77)
    state, effects = core.step(state, e.LinkChanged(OTHER_ONLINE), Now(NOW.boottime_s + 2, "next"))
    (ask,) = [effect for effect in effects if isinstance(effect, e.AskLink)]
    assert ask.transaction_id == (-1 if sent else 77)


@pytest.mark.parametrize("letter", [LETTERS[2], LETTERS[3]])
def test_what_was_given_up_of_something_else_gives_the_head_no_id(letter):
    waiting = head(start=Start.GIVEN_UP, transaction_id=None)
    state = State(BOOT, RUN, link=OFFLINE, head=waiting)
    after, effects = core.step(state, e.Reported(DeliveryReport("long ago", Delivered(77), 2), letter), NOW)
    assert after.head == waiting
    assert effects == (e.CommitLate(letter, Delivered(77)),)


def test_a_late_answer_to_a_start_without_a_transaction_id_settles_nothing():
    state = State(BOOT, RUN, link=OFFLINE)
    late = e.Reported(DeliveryReport("long ago", Delivered(), 2), LETTERS[1])
    assert [type(effect) for effect in core.step(state, late, NOW)[1]] == [e.Note]


def test_the_same_late_answer_again_is_no_news():
    late = e.Reported(DeliveryReport("long ago", Delivered(77), 2))
    state, effects = core.step(State(BOOT, RUN, link=OFFLINE), late, NOW)
    assert len(effects) == 1
    assert core.step(state, late, NOW) == (state, ())


def test_a_failure_that_is_counted_already_is_not_counted_again():
    state = State(BOOT, RUN, link=ONLINE, head=FAILED_ONCE)
    _, effects = core.step(state, e.Reported(DeliveryReport("latest", Failed("again"), 2)), NOW)
    assert not any(isinstance(effect, e.Commit) for effect in effects)


def test_a_message_under_way_is_not_given_up_by_lowered_attempts():
    """What was sent may have been processed: its outcome is asked for first."""
    known = head(unique_ids=("latest",), outstanding=True, attempts=2)
    state = State(BOOT, RUN, link=ONLINE, head=known, settings=Settings(attempts=1))
    _, effects = core.step(state, e.Tick(), NOW)
    assert effects == (e.AskLink("latest", 0, Settings().call_timeout_s),)


def test_another_boot_waits_the_whole_interval_from_its_start():
    known = msgspec.structs.replace(FAILED_ONCE, failed_boot_id="boot-0", failed_boottime_s=123_456.0)
    assert core.retry_due_s(known, Settings(retry_interval_s=60), BOOT) == 60.0


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("0", 0), ("", 3), ("-1", 3), ("many", 3), ("99999999999999", 3), (" 4 ", 4), ("²", 3)]
)
def test_settings_out_of_text(text, value):
    assert settings_from({"TransactionMessageAttempts": text}).attempts == value


def test_settings_default_where_the_configuration_is_silent():
    assert settings_from({}) == Settings(attempts=3, retry_interval_s=60, message_timeout_s=30)
    assert Settings().call_timeout_s == 105.0


class Shell:
    """The least that a shell has to do: commits change a list of rows, the link answers as told."""

    def __init__(self, rows: list[Head], settings: Settings) -> None:
        self.rows = rows
        self.now_s = 0.0
        self.count = 0
        self.sent: list[tuple[float, int, str]] = []
        self.ended: list[tuple[int, str]] = []
        self.state = core.initial(BOOT, RUN, settings)
        self.feed(e.HeadRead(rows[0] if rows else None))

    def feed(self, event) -> None:
        self.count += 1
        self.state, effects = core.step(self.state, event, Now(self.now_s, f"id-{self.count}"))
        for effect in effects:
            if isinstance(effect, e.CommitDelivered | e.CommitGivenUp):
                self.ended.append((effect.row_id, type(effect).__name__))
                self.rows.pop(0)
            elif isinstance(effect, e.AskLink):
                self.sent.append((self.now_s, self.state.head.row_id, effect.unique_id))
        if self.state.head is None and self.rows:
            self.feed(e.HeadRead(self.rows[0]))

    def wait(self) -> None:
        deadline_s = core.next_deadline_s(self.state)
        self.now_s = max(self.now_s, deadline_s if deadline_s is not None else self.now_s)
        self.feed(e.Tick())


def rows(count: int) -> list[Head]:
    return [head(row_id=n, number=n) for n in range(1, count + 1)]


@given(attempts=st.integers(0, 6), interval_s=st.integers(0, 500), failures=st.integers(0, 8))
def test_the_retry_rule(attempts, interval_s, failures):
    """OCPP 1.6 §3.7.1: attempts transmissions at most, interval × preceding transmissions between them."""
    shell = Shell(rows(1), Settings(attempts, interval_s))
    shell.feed(e.LinkChanged(ONLINE))
    left = failures
    for _ in range(100):
        if shell.state.asked:
            outcome = Failed("CALLERROR") if left else Delivered()
            left -= 1
            shell.feed(e.Reported(DeliveryReport(shell.state.asked, outcome, 2)))
        elif shell.rows:
            shell.wait()
    limit = max(1, attempts)
    assert len(shell.sent) == min(failures + 1, limit)
    gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(shell.sent)]
    assert gaps == [interval_s * n for n in range(1, len(shell.sent))]
    assert len({unique_id for *_, unique_id in shell.sent}) == len(shell.sent)
    assert [kind for _, kind in shell.ended] == ["CommitGivenUp" if failures >= limit else "CommitDelivered"]


class TestBacklog:
    """Field report 12: an outage of a whole site ends for all its stations at once."""

    def sent_at_s(self, stored_s: list[float], now_s: float, pace_s: float, shares: list[float]) -> list[float]:
        """When each message goes out on a connection that comes at `now_s`, each of them answered at once."""
        waiting = [head(row_id=n, number=n, stored_s=at_s) for n, at_s in enumerate(stored_s)]
        state = core.initial(BOOT, RUN, Settings(), pace_s)
        state, _ = core.step(state, e.HeadRead(waiting[0]), Now(now_s, "id"))
        state, _ = core.step(state, e.LinkChanged(ONLINE), Now(now_s, "id"))
        sent_at_s = []
        for number, share in enumerate(shares):
            if not state.asked:
                now_s = core.next_deadline_s(state)
                assert core.why_waiting(state, now_s - 0.001) == "a backlog is paced"
                state, _ = core.step(state, e.Tick(), Now(now_s, f"id-{number}"))
            sent_at_s.append(now_s)
            report = e.Reported(DeliveryReport(state.asked, Delivered(), 2))
            state, _ = core.step(state, report, Now(now_s, f"id-{number}", share))
            following = waiting[number + 1] if number + 1 < len(waiting) else None
            state, _ = core.step(state, e.HeadRead(following), Now(now_s, f"id-{number}"))
        return sent_at_s

    def test_what_waited_goes_with_a_pause_that_varies(self):
        """The first at once, for the reconnect is jittered already."""
        assert self.sent_at_s([0.0] * 4, 1000.0, 2.0, [0.0, 1.0, 0.5, 0.5]) == [1000.0, 1001.0, 1004.0, 1006.0]

    def test_what_happens_now_goes_at_once(self):
        assert self.sent_at_s([980.0, 999.0, 1000.0], 1000.0, 2.0, [0.5, 0.5, 0.5]) == [1000.0] * 3

    def test_the_first_message_of_now_waits_for_the_last_pause_only(self):
        assert self.sent_at_s([0.0, 999.0, 1000.0], 1000.0, 2.0, [0.5, 0.5, 0.5]) == [1000.0, 1002.0, 1002.0]

    def test_no_pace_is_as_fast_as_the_answers(self):
        assert self.sent_at_s([0.0] * 3, 1000.0, 0.0, [0.5, 0.5, 0.5]) == [1000.0] * 3


OUTCOMES = st.sampled_from(["delivered", "failed", "not sent", "cut", "link gone", "time-out", "wait"])


@given(count=st.integers(1, 5), story=st.lists(OUTCOMES, max_size=60))
def test_messages_end_in_order_each_once_whatever_happens(count, story):
    """Design §4: one at a time, in order; a cut connection spends nothing and changes no id."""
    shell = Shell(rows(count), Settings(3, 10))
    connection = 1
    shell.feed(e.LinkChanged(Link(True, True, connection)))
    for event in story:
        asked, sent = shell.state.asked, len(shell.sent)
        if event == "wait" or not asked:
            shell.wait()
        elif event == "time-out":
            shell.feed(e.AskEnded(asked, "timed out"))
        elif event in ("cut", "link gone"):
            connection += 1
            if event == "link gone":
                shell.feed(e.LinkChanged(Link(connection=connection - 1)))
            shell.feed(e.LinkChanged(Link(True, True, connection)))
            assert len(shell.sent) == sent + 1
            assert shell.sent[-1][2] == asked
        else:
            outcome = {"delivered": Delivered(), "failed": Failed("no"), "not sent": NotSent("no")}[event]
            shell.feed(e.Reported(DeliveryReport(asked, outcome, connection)))
    ended = [row_id for row_id, _ in shell.ended]
    assert ended == list(range(1, len(ended) + 1))
    assert [row_id for _, row_id, _ in shell.sent] == sorted(row_id for _, row_id, _ in shell.sent)
    while shell.rows:
        shell.wait()
        if shell.state.asked:
            shell.feed(e.Reported(DeliveryReport(shell.state.asked, Delivered(), connection)))
    assert [row_id for row_id, _ in shell.ended] == list(range(1, count + 1))
