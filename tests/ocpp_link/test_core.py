"""The session's core: connection, registration, heartbeat, pings, back-off, Reset (OCPP 1.6 §§4.2, 4.6, 5.14, OCPP-J §5)."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.messages import IdTagInfo, ResetReady
from bus.profile_messages import TriggeredMeterValues
from bus.vocabulary import AuthorizationStatus, ChargePointStatus, MessageTrigger, RegistrationStatus, ResetType
from services.ocpp_link import backoff, core, kept
from services.ocpp_link import events as e
from services.ocpp_link.events import Purpose
from services.ocpp_link.payloads import (
    AuthorizeConf,
    BootNotificationConf,
    HeartbeatConf,
    MeterValuesConf,
    StartTransactionConf,
    StatusNotificationConf,
)
from services.ocpp_link.payloads import (
    IdTagInfo as IdTagInfoConf,
)
from services.ocpp_link.state import Connecting, Now, Offline, Open, Settings, State
from tests.ocpp_link.steps import TIME, Core, calls, of
from tests.ocpp_link.test_meter_values import READING, values
from tests.ocpp_link.world import connector, start, stop

HEARTBEAT = HeartbeatConf(current_time=TIME)


def test_connects_at_once_and_boots_as_soon_as_connected() -> None:
    """OCPP 1.6 §4.2."""
    link = Core()
    assert of(e.Connect, link.tick()) == [e.Connect()]
    assert calls(link.do(e.ConnectionOpened())) == ["boot"]


@pytest.mark.parametrize("status", ["Pending", "Rejected"])
@pytest.mark.parametrize(("interval", "wait_s"), [(7, 7), (0, core.BOOT_INTERVAL_S), (-5, core.BOOT_INTERVAL_S)])
def test_boots_again_after_the_interval_and_not_before(status: str, interval: int, wait_s: float) -> None:
    """OCPP 1.6 §4.2; interval 0 is our own choice."""
    link = Core(ping_interval_s=0)
    link.open()
    assert calls(link.boot(status, interval)) == []
    assert calls(link.tick(wait_s - 0.1)) == []
    assert calls(link.tick(0.1)) == ["boot"]


def test_sends_nothing_unasked_before_accepted() -> None:
    """OCPP 1.6 §4.2."""
    link = Core(ping_interval_s=0)
    link.open()
    sent = link.say(connector(0, ChargePointStatus.AVAILABLE))
    sent += link.do(e.AuthorizeAsked("a", "TAG"))
    sent += link.deliver("id-1", "d")
    sent += link.boot("Pending", 1000)
    sent += link.say(connector(0, ChargePointStatus.FAULTED))
    sent += link.do(e.AuthorizeAsked("b", "TAG"))
    sent += link.deliver("id-1", "d2")
    sent += link.tick(999)
    assert calls(sent) == []
    assert of(e.RefuseCaller, sent) == [e.RefuseCaller("a", "offline"), e.RefuseCaller("b", "offline")]
    assert [effect.call_id for effect in of(e.AnswerCaller, sent)] == ["d", "d2"]


def test_the_wait_of_rejected_holds_over_a_reconnect_and_a_restart_of_the_link() -> None:
    """OCPP 1.6 §4.2: no message at all until the interval is over."""
    link = Core(ping_interval_s=0)
    link.open()
    link.boot("Rejected", 100)
    link.do(e.ConnectionLost("cut"))
    assert calls(link.open()) == []
    link.state = kept.restored(State(settings=Settings(ping_interval_s=0)), kept.facts(link.state))
    assert calls(link.open()) == []
    assert calls(link.tick(100)) == ["boot"]


@pytest.mark.parametrize("code", ["InternalError", "malformed answer", "SecurityError", "NotSupported"])
def test_boots_again_after_an_error(code: str) -> None:
    """OCPP 1.6 §4.2, field report 31."""
    link = Core(ping_interval_s=0)
    link.open()
    assert calls(link.fail(Purpose.BOOT, code)) == []
    assert calls(link.tick(core.BOOT_INTERVAL_S)) == ["boot"]
    assert calls(link.boot()) == []
    assert link.state.accepted


def test_boots_again_after_silence_and_then_on_a_new_connection() -> None:
    """Field report 31; a proxy may hold the connection for a Central System that is gone (design §4.5)."""
    link = Core(ping_interval_s=0)
    link.open()
    for _ in range(core.BOOTS_UNANSWERED_MAX - 1):
        assert of(e.CloseConnection, link.do(e.CallTimedOut(Purpose.BOOT, "boot"))) == []
        assert calls(link.tick(core.BOOT_INTERVAL_S)) == ["boot"]
    assert len(of(e.CloseConnection, link.do(e.CallTimedOut(Purpose.BOOT, "boot")))) == 1
    link.do(e.ConnectionLost("closed"))
    link.tick(60)
    assert link.notes.count("BootNotification failed, it is sent again") == 1


def test_a_boot_answer_that_comes_late_counts_once() -> None:
    """Field report 9: a slow Central System is one all the same."""
    link = Core(ping_interval_s=0)
    link.say(connector(0, ChargePointStatus.AVAILABLE))
    link.open()
    link.do(e.CallTimedOut(Purpose.BOOT, "boot"))
    link.tick(core.BOOT_INTERVAL_S)
    assert calls(link.boot(late=True)) == ["status"]
    link.do(e.CallAnswered(Purpose.STATUS, "0", StatusNotificationConf()))
    assert calls(link.boot()) == []


def test_a_late_answer_never_takes_back_what_a_newer_one_said() -> None:
    link = Core(ping_interval_s=0)
    link.open()
    link.do(e.CallTimedOut(Purpose.BOOT, "boot"))
    link.tick(core.BOOT_INTERVAL_S)
    link.boot()
    assert link.boot("Pending", late=True) == []
    assert link.state.accepted


def test_an_answer_that_takes_the_acceptance_back_takes_back_what_waits() -> None:
    """Two BootNotifications were on their way, and the late answer was Accepted: the later word counts."""
    link = Core(ping_interval_s=0)
    link.open()
    link.do(e.CallTimedOut(Purpose.BOOT, "boot"))
    link.tick(core.BOOT_INTERVAL_S)
    link.boot(late=True)
    assert of(e.DropWaiting, link.boot("Pending")) == [e.DropWaiting()]


@pytest.mark.parametrize("purpose", [Purpose.BOOT, Purpose.HEARTBEAT, Purpose.VERIFY, Purpose.STATUS, Purpose.AUTHORIZE])
def test_a_late_error_changes_nothing(purpose: Purpose) -> None:
    """What it would have told has been settled when its time was over."""
    link = Core(ping_interval_s=0)
    link.open()
    link.say(connector(0, ChargePointStatus.AVAILABLE))
    if purpose is not Purpose.BOOT:
        link.boot()
        link.do(e.AuthorizeAsked("a", "TAG"))
    before = link.state
    assert link.fail(purpose, "InternalError", "a", late=True) == []
    assert link.state == before


def test_a_reconnect_is_no_boot() -> None:
    """Design §2, field report §2.20."""
    link = Core(ping_interval_s=0).online()
    link.do(e.ConnectionLost("cut"))
    assert calls(link.open()) == []
    assert link.state.accepted


def test_a_restart_of_the_link_is_no_boot_and_begins_a_connection_of_its_own() -> None:
    """Design §2; the number of a connection is never used twice (design §4.10)."""
    link = Core(ping_interval_s=0)
    link.say(connector(0, ChargePointStatus.AVAILABLE))
    link.online()
    link.do(e.CallAnswered(Purpose.STATUS, "0", StatusNotificationConf()))
    link.do(e.ConnectionLost("cut"))
    on_disk = {}
    for effect in link.open():
        if isinstance(effect, e.KeepSession):
            on_disk = kept.facts(link.state)
    number = link.state.connection_number
    again = Core(ping_interval_s=0)
    again.state = kept.restored(again.state, on_disk)
    assert calls(again.open()) == []
    assert again.state.accepted
    assert again.state.connection_number == number + 1
    assert calls(again.say(connector(0, ChargePointStatus.AVAILABLE))) == []


@pytest.mark.parametrize(
    "broken",
    [{}, {"registration": "Perhaps"}, {"acknowledged_statuses": "[["}, {"interval_s": "x"}, {"boot_due_s": "nan"}],
)
def test_kept_facts_that_cannot_be_read_mean_a_boot(broken: dict[str, str]) -> None:
    link = Core(ping_interval_s=0).online()
    facts = kept.facts(link.state) | broken if broken else {}
    again = Core(ping_interval_s=0)
    again.state = kept.restored(again.state, facts)
    assert calls(again.open()) == ["boot"]
    if broken:
        assert again.state.connection_number > link.state.connection_number


def test_accepted_sets_clock_and_heartbeat_first_and_is_kept_before_anything_is_sent() -> None:
    """OCPP 1.6 §4.2; field report 28: the clock before anything that bears a time."""
    link = Core()
    link.say(connector(0, ChargePointStatus.AVAILABLE))
    link.open()
    kinds = [type(effect) for effect in link.boot(interval=20)]
    assert kinds == [e.BelieveTime, e.SetHeartbeatInterval, e.KeepAccepted, e.KeepSession, e.SendCall, e.PublishLink]


def test_an_interval_of_zero_leaves_the_heartbeat_interval_alone() -> None:
    link = Core(heartbeat_interval_s=77)
    link.open()
    assert of(e.SetHeartbeatInterval, link.boot(interval=0)) == []
    assert link.state.settings.heartbeat_interval_s == 77


@pytest.mark.parametrize("time", ["yesterday", "", "1970-01-01T00:00:05Z", "9999-01-01T00:00:00Z"])
def test_a_time_that_cannot_be_true_is_not_believed_and_said_once(time: str) -> None:
    """Field report 27: nothing goes out dated 1970 (design §5)."""
    link = Core().online()
    for _ in range(3):
        assert of(e.BelieveTime, link.heartbeat(time=time)) == []
    assert sum("currentTime" in note for note in link.notes) == 1
    assert len(of(e.BelieveTime, link.heartbeat())) == 1


class TestSecurityError:
    """CALLERROR SecurityError to anything means: not accepted (OCPP-J errata 3.8)."""

    @pytest.mark.parametrize("purpose", [Purpose.HEARTBEAT, Purpose.STATUS, Purpose.AUTHORIZE, Purpose.DELIVER])
    def test_leads_to_a_boot_at_once(self, purpose: Purpose) -> None:
        link = Core(ping_interval_s=0).online()
        link.tick(1000)
        effects = link.fail(purpose, "SecurityError")
        assert calls(effects) == ["boot"]
        assert effects.index(e.KeepSession()) < effects.index(e.DropWaiting())
        assert link.state.registration is None

    def test_of_a_late_answer_counts_too(self) -> None:
        link = Core(ping_interval_s=0).online()
        link.tick(100)
        assert calls(link.fail(Purpose.AUTHORIZE, "SecurityError", "gone", late=True)) == ["boot"]

    def test_right_after_each_acceptance_is_no_flood(self) -> None:
        link = Core(ping_interval_s=0).online()
        boots = 0
        for _ in range(60):
            effects = link.fail(Purpose.HEARTBEAT, "SecurityError") + link.tick(1.0)
            if "boot" in calls(effects):
                boots += 1
                link.boot()
        assert 4 <= boots <= 6

    def test_repeats_all_statuses_after_the_next_acceptance(self) -> None:
        """Errata v4.0 3.22."""
        link = Core(ping_interval_s=0)
        link.say(connector(0, ChargePointStatus.AVAILABLE))
        link.online()
        link.fail(Purpose.STATUS, "SecurityError", "0")
        link.tick(20)
        assert calls(link.boot()) == ["status"]

    def test_to_a_boot_keeps_our_own_interval_not_the_one_for_heartbeats(self) -> None:
        link = Core(ping_interval_s=0)
        link.open()
        link.boot(interval=86400)
        link.tick(100)
        link.fail(Purpose.HEARTBEAT, "SecurityError")
        link.fail(Purpose.BOOT, "SecurityError")
        assert calls(link.tick(core.BOOT_INTERVAL_S)) == ["boot"]


class TestHeartbeat:
    """OCPP 1.6 §4.6."""

    def test_after_a_time_without_calls(self) -> None:
        link = Core(ping_interval_s=0).online()
        link.tick(200)
        link.do(e.CallSent())
        assert calls(link.tick(299)) == []
        assert calls(link.tick(1)) == ["heartbeat"]

    def test_one_at_a_time(self) -> None:
        link = Core(ping_interval_s=0).online()
        assert calls(link.tick(2000)) == ["heartbeat"]
        link.do(e.CallSent())
        link.heartbeat()
        assert calls(link.tick(300)) == ["heartbeat"]

    @pytest.mark.parametrize("interval", [0, 10**6])
    def test_at_least_once_a_day(self, interval: int) -> None:
        link = Core(ping_interval_s=0, heartbeat_interval_s=interval)
        link.open()
        link.boot(interval=0)
        assert calls(link.tick(86_399)) == []
        assert calls(link.tick(1)) == ["heartbeat"]

    def test_a_new_interval_holds_at_once(self) -> None:
        """Field report 24."""
        link = Core(ping_interval_s=0).online()
        link.tick(50)
        link.do(e.SettingsChanged(Settings(heartbeat_interval_s=60, ping_interval_s=0)))
        assert link.deadline_s == pytest.approx(link.now_s + 10)
        assert calls(link.do(e.SettingsChanged(Settings(heartbeat_interval_s=20, ping_interval_s=0)))) == ["heartbeat"]

    def test_unanswered_ends_the_connection(self) -> None:
        link = Core(ping_interval_s=0).online()
        link.tick(300)
        assert len(of(e.CloseConnection, link.do(e.CallTimedOut(Purpose.HEARTBEAT, "heartbeat")))) == 1

    @pytest.mark.parametrize("purpose", [Purpose.STATUS, Purpose.AUTHORIZE])
    def test_asks_for_life_after_silence_to_another_call(self, purpose: Purpose) -> None:
        """Field report 20: only an answered CALL proves that the Central System is there."""
        link = Core(ping_interval_s=0).online()
        assert calls(link.do(e.CallTimedOut(purpose, "1"))) == ["heartbeat"]
        link.heartbeat()
        assert link.state.accepted


class TestPings:
    """OCPP-J 1.6 §5.3, field reports 18, 20, 23."""

    def test_go_out_at_their_interval_and_wait_for_the_pong(self) -> None:
        link = Core().online()
        assert of(e.SendPing, link.tick(19.9)) == []
        assert of(e.SendPing, link.tick(0.1)) == [e.SendPing()]
        link.do(e.PongSeen())
        assert of(e.SendPing, link.tick(20)) == [e.SendPing()]

    def test_no_pong_ends_the_connection_and_a_new_one_follows(self) -> None:
        link = Core().online()
        link.tick(20)
        link.do(e.FrameSeen())
        assert of(e.CloseConnection, link.tick(8)) == [e.CloseConnection("no pong came back")]
        link.do(e.ConnectionLost("no pong came back"))
        assert of(e.Connect, link.tick(8)) == [e.Connect()]

    def test_interval_zero_switches_them_off(self) -> None:
        link = Core(ping_interval_s=0).online()
        assert of(e.SendPing, link.tick(299)) == []

    @pytest.mark.parametrize("before_s", [0, 20])
    def test_a_new_interval_holds_at_once(self, before_s: int) -> None:
        link = Core(ping_interval_s=before_s).online()
        link.tick(10)
        link.do(e.SettingsChanged(Settings(ping_interval_s=5)))
        assert of(e.SendPing, link.tick(5)) == [e.SendPing()]

    def test_switched_off_under_a_waiting_ping_ends_nothing(self) -> None:
        link = Core().online()
        link.tick(20)
        link.do(e.SettingsChanged(Settings(ping_interval_s=0)))
        assert of(e.CloseConnection, link.tick(200)) == []


class TestBackOff:
    """Field reports 18, 21, 22; OCPP-J errata 3.3."""

    def test_grows_to_its_cap(self) -> None:
        link = Core()
        waits = []
        link.tick()
        for _ in range(6):
            link.do(e.ConnectionLost("refused"))
            assert isinstance(link.state.connection, Offline)
            waits.append(link.state.connection.next_try_s - link.now_s)
            link.tick(60)
        assert waits == pytest.approx([0.75, 1.5, 3, 6, 6, 6])
        assert link.notes == ["Central System can't be reached, tried again with back-off"]

    @given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
    def test_is_jittered_and_capped(self, failures: int, random: float) -> None:
        wait_s = backoff.wait_s(failures, 1.0, 8.0, random)
        full_s = min(8.0, 2.0 ** min(failures, 10))
        assert full_s / 2 <= wait_s <= full_s

    def test_begins_anew_only_after_a_stable_connection(self) -> None:
        link = Core(ping_interval_s=0)
        waits = []
        for lasted_s in (1, 1, 1, backoff.STABLE_S):
            link.open()
            link.tick(lasted_s)
            link.do(e.ConnectionLost("closed with code 1000"))
            assert isinstance(link.state.connection, Offline)
            waits.append(link.state.connection.next_try_s - link.now_s)
        assert waits == pytest.approx([0.75, 1.5, 3, 0.75])

    def test_a_reason_that_changes_is_said(self) -> None:
        link = Core()
        for reason in ("refused", "refused", "unknown host", "unknown host", "refused"):
            link.tick(60)
            link.do(e.ConnectionLost(reason))
        assert len(link.notes) == 3

    def test_a_connection_that_flaps_is_said_once(self) -> None:
        link = Core(ping_interval_s=0)
        for _ in range(50):
            link.open()
            link.do(e.ConnectionLost("closed with code 1008"))
        assert len(link.notes) <= 5
        link.open()
        link.tick(backoff.STABLE_S)
        assert link.notes[-1] == "connection to the Central System is stable again"

    def test_a_socket_that_does_not_say_that_it_is_closed_is_given_up(self) -> None:
        """Field report 18: a single loop that every way of losing the connection enters."""
        link = Core().online()
        link.tick(28)
        assert not link.state.accepted
        assert of(e.Connect, link.tick(10)) == [e.Connect()]


class TestAuthorize:
    """OCPP 1.6 §4.1."""

    CONF = AuthorizeConf(id_tag_info=IdTagInfoConf(status=AuthorizationStatus.BLOCKED, parent_id_tag="P"))

    def test_is_answered(self) -> None:
        link = Core().online()
        link.do(e.AuthorizeAsked("a", "TAG"))
        answer = e.AnswerCaller("a", IdTagInfo(AuthorizationStatus.BLOCKED, None, "P"))
        assert of(e.AnswerCaller, link.do(e.CallAnswered(Purpose.AUTHORIZE, "a", self.CONF))) == [answer]
        assert of(e.AnswerCaller, link.do(e.CallAnswered(Purpose.AUTHORIZE, "a", self.CONF))) == []

    @pytest.mark.parametrize(
        "end",
        [
            e.CallTimedOut(Purpose.AUTHORIZE, "a"),
            e.CallFailed(Purpose.AUTHORIZE, "a", "InternalError", ""),
            e.CallNotSent(Purpose.AUTHORIZE, "a"),
            e.ConnectionLost("cut"),
        ],
    )
    def test_is_refused_once_where_there_is_no_answer(self, end: e.Event) -> None:
        link = Core().online()
        link.do(e.AuthorizeAsked("a", "TAG"))
        effects = link.do(end) + link.do(e.CallNotSent(Purpose.AUTHORIZE, "a"))
        assert [effect.call_id for effect in of(e.RefuseCaller, effects)] == ["a"]
        assert of(e.AnswerCaller, link.do(e.CallAnswered(Purpose.AUTHORIZE, "a", self.CONF, late=True))) == []

    def test_only_so_many_wait(self) -> None:
        link = Core().online()
        effects = [effect for number in range(50) for effect in link.do(e.AuthorizeAsked(str(number), "TAG"))]
        assert calls(effects) == ["authorize"] * core.AUTHORIZE_MAX
        assert len(of(e.RefuseCaller, effects)) == 50 - core.AUTHORIZE_MAX

    def test_is_taken_back_when_nobody_waits(self) -> None:
        """Design §3: never acted on late."""
        link = Core().online()
        link.do(e.AuthorizeAsked("a", "TAG"))
        assert of(e.TakeBack, link.do(e.CallerGone("a"))) == [e.TakeBack(Purpose.AUTHORIZE, "a")]
        assert of(e.TakeBack, link.do(e.CallerGone("b"))) == []


CONFS = {
    Purpose.BOOT: BootNotificationConf(status=RegistrationStatus.ACCEPTED, current_time=TIME, interval=60),
    Purpose.HEARTBEAT: HEARTBEAT,
    Purpose.VERIFY: HEARTBEAT,
    Purpose.STATUS: StatusNotificationConf(),
    Purpose.METER_VALUES: MeterValuesConf(),
    Purpose.AUTHORIZE: TestAuthorize.CONF,
    Purpose.TRIGGERED: HEARTBEAT,
    Purpose.DELIVER: StartTransactionConf(transaction_id=1, id_tag_info=TestAuthorize.CONF.id_tag_info),
}
TAGS = ("boot", "0", "a1", "id-1", "id-2")
PLAIN: tuple[e.Event, ...] = (
    e.ConnectionOpened(),
    e.ConnectionLost("cut"),
    e.FrameSeen(),
    e.PongSeen(),
    e.CallSent(),
    e.MeterValuesSaid(values(READING)),
    e.SendFailed(),
    e.Tick(),
    e.AuthorizeAsked("a1", "TAG"),
    e.CallerGone("a1"),
    e.CallerGone("d1"),
    e.SettingsChanged(Settings(ping_interval_s=0, heartbeat_interval_s=0)),
    e.SettingsChanged(Settings()),
    e.ResetAccepted(ResetReady(ResetType.SOFT)),
    e.ResetSaid(ResetReady(ResetType.SOFT, ready=True)),
    e.RestartFailed("supervisord does not answer"),
    e.QueueSaid(1),
    e.CredentialsChanged(),
    e.ResetSaid(ResetReady()),
    e.ResetSaid(ResetReady(ResetType.HARD, ready=True)),
    e.ConnectorSaid(connector(0, ChargePointStatus.AVAILABLE)),
    e.ConnectorSaid(connector(0, ChargePointStatus.FAULTED)),
    e.ConnectorSaid(connector(1, ChargePointStatus.AVAILABLE)),
    e.ConnectorSaid(connector(1, ChargePointStatus.CHARGING)),
    *(e.Triggered(requested, values=(TriggeredMeterValues(1, (READING,)),)) for requested in MessageTrigger),
    *(
        e.CallAnswered(Purpose.BOOT, "boot", BootNotificationConf(status=status, current_time=TIME, interval=interval), late)
        for status in RegistrationStatus
        for interval in (0.0, -1.0, 5.0)
        for late in (False, True)
    ),
)
REPORTS: tuple[e.Event, ...] = tuple(
    event
    for purpose, tag in itertools.product(Purpose, TAGS)
    for event in (
        e.CallAnswered(purpose, tag, CONFS[purpose]),
        e.CallAnswered(purpose, tag, CONFS[purpose], late=True),
        e.CallFailed(purpose, tag, "InternalError", ""),
        e.CallFailed(purpose, tag, "SecurityError", ""),
        e.CallFailed(purpose, tag, "malformed answer", "", late=True),
        e.CallTimedOut(purpose, tag),
        e.CallNotSent(purpose, tag),
    )
)


def deliver_events() -> list[e.Event]:
    from bus.messages import Deliver

    requests = [("id-1", start(), None), ("id-2", stop(), 5)]
    return [
        e.DeliverAsked(call_id, Deliver(unique_id, message, transaction_id))
        for call_id in ("d1", "d2")
        for unique_id, message, transaction_id in requests
    ]


EVENTS = st.sampled_from((*PLAIN, *deliver_events())) | st.sampled_from(REPORTS)
SEQUENCES = st.lists(st.tuples(EVENTS, st.sampled_from((0.0, 0.0, 0.5, 9.0, 31.0, 400.0))), max_size=40)


def states() -> list[State]:
    """Each kind of connection with each registration, with and without something under way."""
    connections = (
        Offline(),
        Offline(500.0, 3, "cut"),
        Connecting(2),
        Open(90.0, 90.0, 90.0, ping_due_s=110.0),
        Open(90.0, 90.0, 90.0, failures=4, pong_due_s=100.0),
        Open(10.0, 10.0, 10.0, closing_until_s=104.0, closing_reason="no pong"),
    )
    found = []
    for connection, registration in itertools.product(connections, (None, *RegistrationStatus)):
        link = Core()
        link.state = State(settings=Settings(), connection=connection, registration=registration, connection_number=3)
        found.append(link.state)
        link.say(connector(0, ChargePointStatus.AVAILABLE), connector(1, ChargePointStatus.CHARGING))
        link.deliver("id-1", "d1")
        link.do(e.AuthorizeAsked("a1", "TAG"))
        found.append(link.state)
        link.do(e.CallTimedOut(Purpose.DELIVER, "id-1"))
        found.append(link.state)
    return found


def check(state: State, effects: tuple[e.Effect, ...], before: State, event: e.Event) -> None:
    """What holds after every step."""
    assert len(state.to_tell) <= 200
    assert len(state.reports) <= 16
    assert len(state.authorizing) <= core.AUTHORIZE_MAX
    ended = next((number for number, effect in enumerate(effects) if isinstance(effect, e.CloseConnection)), len(effects))
    assert state.usable or ended < len(effects) or not calls(list(effects)), f"{event}: CALLs without a usable connection"
    for number, effect in enumerate(effects):
        if isinstance(effect, e.SendCall):
            assert number < ended, f"{effect} on a connection that is being closed"
            triggered = effect.purpose is Purpose.TRIGGERED and state.registration is RegistrationStatus.PENDING
            allowed = effect.purpose is Purpose.BOOT or triggered
            assert allowed or state.registration is RegistrationStatus.ACCEPTED, "OCPP 1.6 §4.2"
    if before.registration is not state.registration:
        assert e.KeepSession() in effects, f"{event}: the registration is not kept"
        sent = [number for number, effect in enumerate(effects) if isinstance(effect, e.SendCall | e.RestartStation)]
        assert all(effects.index(e.KeepSession()) < number for number in sent)


def test_every_state_has_an_answer_to_every_event() -> None:
    """Style guide §1: an answer for each pair, never an exception."""
    for state, event in itertools.product(states(), (*PLAIN, *deliver_events(), *REPORTS)):
        for now_s in (100.0, 1000.0):
            after, effects = core.step(state, event, Now(now_s, 0.3))
            check(after, effects, state, event)
            settled, more = core.step(after, e.Tick(), Now(now_s, 0.3))
            check(settled, more, after, e.Tick())
            deadline_s = core.next_deadline_s(settled)
            assert deadline_s is None or deadline_s > now_s, f"{event} leaves a deadline in the past"


@settings(max_examples=300, deadline=None)
@given(SEQUENCES)
def test_from_any_state_a_lost_connection_is_followed_by_a_connect_within_the_cap(sequence: list) -> None:
    """Field reports 18, 21: one loop, which only the end of the process ends."""
    link = Core()
    for event, wait_s in sequence:
        link.tick(wait_s)
        before = link.state
        after, effects = core.step(before, event, Now(link.now_s, 0.9))
        check(after, effects, before, event)
        link.state = after
    connects = of(e.Connect, link.do(e.ConnectionLost("cut")) + link.tick(link.state.settings.reconnect_s_max))
    assert connects or isinstance(link.state.connection, Connecting)


@settings(max_examples=300, deadline=None)
@given(SEQUENCES)
def test_each_call_of_the_bus_gets_exactly_one_answer(sequence: list) -> None:
    """Design §4.3: whatever happens."""
    link = Core().online()
    asked: list[str] = []
    answered: list[str] = []
    for number, (event, wait_s) in enumerate(sequence):
        if isinstance(event, e.AuthorizeAsked):
            event = e.AuthorizeAsked(f"a-{number}", event.id_tag)
            asked.append(event.call_id)
        elif isinstance(event, e.DeliverAsked):
            event = e.DeliverAsked(f"d-{number}", event.request)
            asked.append(event.call_id)
        effects = link.tick(wait_s) + link.do(event)
        answered += [effect.call_id for effect in effects if isinstance(effect, e.AnswerCaller | e.RefuseCaller)]
    answered += [
        effect.call_id for effect in link.do(e.ConnectionLost("cut")) if isinstance(effect, e.AnswerCaller | e.RefuseCaller)
    ]
    assert sorted(answered) == sorted(asked)


@settings(max_examples=300, deadline=None)
@given(SEQUENCES)
def test_a_unique_id_is_sent_once_on_a_connection(sequence: list) -> None:
    """OCPP-J 1.6 §4.1.4."""
    link = Core().online()
    sent: list[tuple[int, str]] = []
    for number, (event, wait_s) in enumerate(sequence):
        if isinstance(event, e.DeliverAsked):
            event = e.DeliverAsked(f"d-{number}", event.request)
        if isinstance(event, e.CallNotSent) and event.purpose is Purpose.DELIVER:
            # Only the loss of the connection takes a call back that is on the wire.
            event = e.ConnectionLost("cut")
        for effect in link.tick(wait_s) + link.do(event):
            if isinstance(effect, e.SendCall) and effect.purpose is Purpose.DELIVER:
                sent.append((link.state.connection_number, str(effect.unique_id)))
    assert len(sent) == len(set(sent))
