"""What the Central System is told of connectors, and when (OCPP 1.6 §4.9, errata v4.0 3.19, 3.22; field reports 40 to 45)."""

from hypothesis import given, settings
from hypothesis import strategies as st

from bus.messages import ConnectorState
from bus.vocabulary import CHARGE_POINT, ChargePointStatus
from services.ocpp_link import events as e
from services.ocpp_link import kept, statuses
from services.ocpp_link.events import Purpose
from services.ocpp_link.payloads import StatusNotificationConf
from services.ocpp_link.state import Settings
from tests.ocpp_link.steps import Core, of
from tests.ocpp_link.world import connector

A, P, C, F = (
    ChargePointStatus.AVAILABLE,
    ChargePointStatus.PREPARING,
    ChargePointStatus.CHARGING,
    ChargePointStatus.FAULTED,
)
STATION = connector(CHARGE_POINT, A)


def told(effects: list[e.Effect]) -> list[ConnectorState]:
    return [effect.message for effect in of(e.SendCall, effects) if effect.purpose is Purpose.STATUS]


def acknowledge(link: Core, effects: list[e.Effect]) -> list[ConnectorState]:
    """Answer each StatusNotification; all that were told."""
    found = told(effects)
    for _ in range(1000):
        if link.state.telling is None:
            return found
        more = link.do(e.CallAnswered(Purpose.STATUS, str(link.state.telling.connector_id), StatusNotificationConf()))
        found += told(more)
    raise AssertionError("StatusNotifications without end")


def online(*states: ConnectorState) -> Core:
    link = Core(ping_interval_s=0)
    link.say(*states)
    link.open()
    acknowledge(link, link.boot())
    return link


def test_after_accepted_all_are_told_connector_0_first() -> None:
    """Errata v4.0 3.22."""
    link = Core()
    link.say(connector(2, C), connector(1, A), STATION)
    link.open()
    effects = link.boot()
    assert len(told(effects)) == 1, "one at a time"
    assert [state.connector_id for state in acknowledge(link, effects)] == [0, 1, 2]


def test_states_that_come_after_acceptance_are_told_as_they_come() -> None:
    link = online()
    assert acknowledge(link, link.say(STATION)) == [STATION]
    assert acknowledge(link, link.say(connector(1, A))) == [connector(1, A)]


def test_what_does_not_change_is_not_told_again() -> None:
    """Field report 44."""
    link = online(STATION)
    again = [connector(CHARGE_POINT, A, at_s=50.0, plugged=True), STATION]
    assert acknowledge(link, link.say(*again)) == []


def test_each_change_is_told_in_order_though_they_come_at_once() -> None:
    """Errata v4.0 3.19."""
    link = online(connector(1, A))
    changes = [connector(1, P, 2.0), connector(1, C, 3.0), connector(1, P, 4.0), connector(1, C, 5.0)]
    assert acknowledge(link, link.say(*changes)) == changes


def test_two_faults_together_are_both_told() -> None:
    """Field report 40: errors are never merged away."""
    link = online(connector(1, A))
    faults = [connector(1, F, 2.0, "GroundFailure"), connector(1, F, 2.0, "HighTemperature")]
    assert acknowledge(link, link.say(*faults)) == faults


def test_another_vendor_code_or_info_is_news() -> None:
    link = online(connector(1, F, error="OtherError", vendor_error_code="E1"))
    news = [
        connector(1, F, error="OtherError", vendor_error_code="E2"),
        connector(1, F, error="OtherError", vendor_error_code="E2", info="the fan"),
    ]
    assert acknowledge(link, link.say(*news)) == news


def test_after_a_reconnect_only_differences_in_the_order_of_time() -> None:
    """Field report 45."""
    link = online(STATION, connector(1, A), connector(2, A), connector(3, A))
    link.do(e.ConnectionLost("cut"))
    link.say(connector(3, P, 7.0), connector(2, P, 5.0), connector(2, A, 6.0), connector(1, P, 8.0), connector(1, C, 9.0))
    assert acknowledge(link, link.open()) == [connector(3, P, 7.0), connector(1, C, 9.0)]


def test_what_was_under_way_when_the_connection_went_is_told_again() -> None:
    link = online(connector(1, A), connector(2, A))
    link.say(connector(1, P), connector(2, P))
    link.do(e.ConnectionLost("cut"))
    link.do(e.CallNotSent(Purpose.STATUS, "1"))
    assert acknowledge(link, link.open()) == [connector(1, P), connector(2, P)]


def test_a_refused_one_is_not_repeated_but_the_next_change_is_told() -> None:
    link = online(connector(1, A))
    link.say(connector(1, F, error="OtherError"))
    assert told(link.fail(Purpose.STATUS, "PropertyConstraintViolation", "1")) == []
    assert told(link.tick(100)) == []
    link.do(e.ConnectionLost("cut"))
    assert told(link.open()) == []
    assert acknowledge(link, link.say(connector(1, A))) == [connector(1, A)]


def test_silence_holds_up_nothing_and_is_made_good_after_a_reconnect() -> None:
    link = online(STATION, connector(1, A))
    link.say(connector(1, P), connector(CHARGE_POINT, F))
    assert told(link.do(e.CallTimedOut(Purpose.STATUS, "1"))) == [connector(CHARGE_POINT, F)]
    link.heartbeat()
    acknowledge(link, [])
    link.do(e.ConnectionLost("cut"))
    assert acknowledge(link, link.open()) == [connector(1, P)]


def test_a_restart_of_the_link_remembers_what_was_acknowledged() -> None:
    """Design §2."""
    link = online(STATION, connector(1, A), connector(2, A))
    again = Core()
    again.state = kept.restored(again.state, kept.facts(link.state))
    again.say(STATION, connector(1, P))
    effects = again.open()
    assert acknowledge(again, effects) == [connector(1, P)]
    assert acknowledge(again, again.say(connector(2, A))) == []


def test_while_pending_nothing_is_told_and_then_the_newest() -> None:
    """OCPP 1.6 §4.2."""
    link = Core(ping_interval_s=0)
    link.open()
    effects = link.boot("Pending", 10) + link.say(connector(1, A), connector(1, P)) + link.tick(10)
    assert told(effects) == []
    assert acknowledge(link, link.boot()) == [connector(1, P)]


def test_beyond_the_bound_the_newest_of_each_connector_is_kept() -> None:
    link = online(STATION, connector(1, A), connector(2, A))
    link.say(connector(2, P), connector(2, C))
    for number in range(statuses.TO_TELL_MAX + 5):
        link.say(connector(1, (P, C)[number % 2], float(number)))
    assert len(link.state.to_tell) <= statuses.TO_TELL_MAX
    said = acknowledge(link, [])
    assert connector(2, C) in said
    assert link.state.acknowledged == tuple((c.connector_id, statuses.what(c)) for c in link.state.current)


class TestMinimumStatusDuration:
    """OCPP 1.6 §9.1.20; field reports 40 to 42."""

    def link(self, *states: ConnectorState, duration_s: int = 10) -> Core:
        link = Core(ping_interval_s=0, minimum_status_duration_s=duration_s)
        link.say(*states)
        link.open()
        acknowledge(link, link.boot())
        return link

    def test_a_status_is_told_once_it_has_lasted_and_bears_the_time_since_when_it_is_true(self) -> None:
        link = self.link(connector(1, A))
        preparing = connector(1, P, link.now_s)
        assert told(link.say(preparing)) == []
        assert told(link.tick(9.9)) == []
        assert acknowledge(link, link.tick(0.1)) == [preparing]

    def test_one_that_did_not_last_is_never_told(self) -> None:
        link = self.link(connector(1, A))
        link.say(connector(1, P, link.now_s))
        link.tick(9)
        charging = connector(1, C, link.now_s)
        link.say(charging)
        assert acknowledge(link, link.tick(100)) == [charging]

    def test_coming_back_in_time_is_no_news(self) -> None:
        link = self.link(connector(1, A))
        link.say(connector(1, P, link.now_s))
        link.tick(9)
        link.say(connector(1, A, link.now_s))
        assert told(link.tick(100)) == []
        assert link.deadline_s is None or link.deadline_s > link.now_s

    def test_each_connector_waits_for_itself_and_the_order_is_kept(self) -> None:
        link = self.link(connector(1, A), connector(2, A))
        one = connector(1, P, link.now_s)
        link.say(one)
        link.tick(4)
        two = connector(2, P, link.now_s)
        link.say(two)
        assert acknowledge(link, link.tick(6)) == [one]
        assert acknowledge(link, link.tick(4)) == [two]

    def test_a_new_error_is_told_at_once_and_its_end_has_to_last(self) -> None:
        """Field report 40: errors are never merged away."""
        link = self.link(connector(1, A))
        link.say(connector(1, P, link.now_s))
        faults = [connector(1, F, link.now_s, "GroundFailure"), connector(1, F, link.now_s, "HighTemperature")]
        assert acknowledge(link, link.say(*faults)) == faults
        well = connector(1, P, link.now_s)
        assert told(link.say(well)) == []
        assert acknowledge(link, link.tick(10)) == [well]

    def test_a_warning_beside_a_known_status_comes_and_goes_at_once(self) -> None:
        link = self.link(connector(1, C))
        news = [connector(1, C, link.now_s, "PowerMeterFailure"), connector(1, C, link.now_s + 1)]
        assert acknowledge(link, link.say(*news)) == news

    def test_more_words_about_a_status_do_not_let_it_begin_anew(self) -> None:
        link = self.link(connector(1, C))
        link.say(connector(1, P, link.now_s))
        link.tick(6)
        more = connector(1, P, link.now_s, info="EV side disconnected")
        link.say(more)
        assert acknowledge(link, link.tick(4)) == [more]

    def test_after_accepted_the_current_status_is_told_at_once(self) -> None:
        """Errata v4.0 3.22."""
        link = Core(ping_interval_s=0, minimum_status_duration_s=10)
        link.say(STATION, connector(1, P, link.now_s))
        link.open()
        assert len(acknowledge(link, link.boot())) == 2

    def test_after_a_reconnect_what_has_lasted_is_told_at_once_and_the_rest_in_its_time(self) -> None:
        """OCPP 1.6 §4.9, rule 4: in the order in which the events occurred."""
        link = self.link(connector(1, A), connector(2, A), connector(3, A))
        link.do(e.ConnectionLost("cut"))
        old, new = connector(1, P, link.now_s), connector(2, P, link.now_s + 8.0)
        fault = connector(3, F, link.now_s + 9.0, "GroundFailure")
        link.say(old)
        link.tick(11)
        link.say(new, fault)
        assert acknowledge(link, link.open()) == [old, fault]
        assert acknowledge(link, link.tick(10)) == [new]

    def test_a_shorter_duration_holds_at_once(self) -> None:
        """OCPP 1.6 §5.3: Accepted means effective immediately."""
        link = self.link(connector(1, A), duration_s=1000)
        preparing = connector(1, P, link.now_s)
        link.say(preparing)
        link.tick(5)
        zero = Settings(ping_interval_s=0, minimum_status_duration_s=0)
        assert acknowledge(link, link.do(e.SettingsChanged(zero))) == [preparing]


def test_a_repeat_after_another_boot_bears_the_time_of_the_repeat() -> None:
    """Field report §2.19: some Central Systems ignore a status that is no newer than the one they have."""
    link = online(connector(1, A), connector(2, A))
    link.tick(100)
    link.fail(Purpose.HEARTBEAT, "SecurityError")
    link.say(connector(2, P, 150.0))
    repeated, news = acknowledge(link, link.boot())
    assert (repeated.at.boottime_ms, repeated.at.utc_ms) == (round(link.now_s * 1000), None)
    assert news == connector(2, P, 150.0)


CHANGES = st.lists(
    st.one_of(
        st.builds(
            lambda number, status: e.ConnectorSaid(connector(number, status)), st.integers(0, 2), st.sampled_from([A, C, F])
        ),
        st.sampled_from(
            [
                e.ConnectionLost("cut"),
                e.ConnectionOpened(),
                e.CallTimedOut(Purpose.STATUS, "0"),
                e.CallFailed(Purpose.HEARTBEAT, "heartbeat", "SecurityError", ""),
            ]
        ),
        st.just(e.CallAnswered(Purpose.STATUS, "0", StatusNotificationConf())),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(CHANGES, st.sampled_from([0, 5]))
def test_in_the_end_the_central_system_believes_what_is_true(changes: list[e.Event], duration_s: int) -> None:
    """Whatever came between; and it was told nothing that it believed already on the same acceptance."""
    link = Core(ping_interval_s=0, minimum_status_duration_s=duration_s).online()
    believed: dict[int, statuses.Said] = {}
    for event in changes:
        telling = link.state.telling
        if isinstance(event, e.CallAnswered):
            if telling is None:
                continue
            believed[telling.connector_id] = statuses.what(telling)
        link.do(event)
    link.do(e.ConnectionLost("cut"))
    link.tick(20)
    link.do(e.ConnectionOpened())
    if not link.state.accepted:
        link.boot()
    while link.state.telling is not None:
        believed[link.state.telling.connector_id] = statuses.what(link.state.telling)
        link.do(e.CallAnswered(Purpose.STATUS, "", StatusNotificationConf()))
    assert believed == {state.connector_id: statuses.what(state) for state in link.state.current}


class TestWatchdog:
    """A service of the station does not work: InternalError of connector 0 (design §2, issue 7)."""

    def test_is_told_and_taken_back(self) -> None:
        link = online(STATION)
        (told_of,) = acknowledge(link, link.do(e.WatchdogSaid("meter runs but is not heard on the bus")))
        assert (told_of.connector_id, told_of.status) == (CHARGE_POINT, A)
        assert (told_of.error_code, told_of.vendor_error_code) == ("InternalError", "watchdog")
        assert told_of.info == "meter runs but is not heard on the bus"
        assert acknowledge(link, link.do(e.WatchdogSaid(""))) == [STATION]

    def test_stays_while_connectors_says_connector_0_again(self) -> None:
        link = online(STATION)
        acknowledge(link, link.do(e.WatchdogSaid("meter ends again and again")))
        assert acknowledge(link, link.say(connector(CHARGE_POINT, A, at_s=50.0))) == []

    def test_an_error_of_the_charge_point_comes_first(self) -> None:
        link = online(STATION)
        acknowledge(link, link.do(e.WatchdogSaid("meter ends again and again")))
        failed = connector(CHARGE_POINT, A, error="ReaderFailure")
        assert acknowledge(link, link.say(failed)) == [failed]

    def test_a_charge_point_that_was_never_heard_of_is_faulted(self) -> None:
        link = online(connector(1, A))
        (told_of,) = acknowledge(link, link.do(e.WatchdogSaid("connectors ends again and again")))
        assert (told_of.connector_id, told_of.status, told_of.error_code) == (CHARGE_POINT, F, "InternalError")
