"""The end of a Reset: waits, tries, and what is told when all failed (OCPP 1.6 §5.14, §9.1.22, errata v4.0 3.36, 3.81)."""

import pytest

from bus.messages import ResetReady
from bus.vocabulary import CHARGE_POINT, ChargePointStatus, ResetType
from services.ocpp_link import events as e
from services.ocpp_link import kept, resets
from services.ocpp_link.payloads import StatusNotificationConf
from tests.ocpp_link.steps import Core, calls, of
from tests.ocpp_link.world import connector

TYPES = list(ResetType)
STATION = connector(CHARGE_POINT, ChargePointStatus.AVAILABLE)


def link_in_reset(type_: ResetType = ResetType.HARD, *, retries: int = 0, depth: int | None = 0) -> Core:
    """Accepted by the Central System, a Reset accepted by connectors, all transactions stopped."""
    link = Core(ping_interval_s=0, reset_retries=retries)
    link.say(STATION)
    link.online()
    link.do(e.CallAnswered(e.Purpose.STATUS, "0", StatusNotificationConf()))
    link.do(e.QueueSaid(depth))
    link.do(e.ResetAccepted(ResetReady(type_)))
    return link


def restarts(effects: list[e.Effect]) -> list[bool]:
    return [effect.hard for effect in of(e.RestartStation, effects)]


@pytest.mark.parametrize("type_", TYPES)
def test_restarts_when_connectors_are_ready(type_: ResetType) -> None:
    link = link_in_reset(type_)
    effects = link.do(e.ResetSaid(ResetReady(type_, ready=True))) + link.tick(resets.HAND_OVER_S)
    hard = type_ is ResetType.HARD
    assert restarts(effects) == [hard]
    assert effects.index(e.KeepSession()) < effects.index(e.RestartStation(hard))
    assert kept.facts(link.state)["registration"] == ""


@pytest.mark.parametrize("type_", TYPES)
def test_waits_no_longer_than_its_deadline(type_: ResetType) -> None:
    link = link_in_reset(type_)
    link.do(e.ResetSaid(ResetReady(type_)))
    assert restarts(link.tick(resets.RESET_WAIT_S[type_] - 0.1)) == []
    assert len(restarts(link.tick(0.1))) == 1


class TestSoft:
    """The Charge Point SHALL send a StopTransaction.req before performing the reset; what can't be sent is queued."""

    READY = e.ResetSaid(ResetReady(ResetType.SOFT, ready=True))

    def test_waits_until_the_queue_has_sent_what_it_has(self) -> None:
        link = link_in_reset(ResetType.SOFT)
        effects = link.do(self.READY) + link.do(e.QueueSaid(1)) + link.tick(resets.HAND_OVER_S + 3)
        assert restarts(effects) == []
        assert restarts(link.do(e.QueueSaid(0))) == [False]

    def test_gives_the_stop_time_to_reach_the_queue(self) -> None:
        link = link_in_reset(ResetType.SOFT)
        assert restarts(link.do(self.READY) + link.tick(resets.HAND_OVER_S - 0.1)) == []
        assert restarts(link.tick(0.1)) == [False]

    def test_does_not_wait_for_ever(self) -> None:
        link = link_in_reset(ResetType.SOFT, depth=5)
        assert restarts(link.do(self.READY) + link.tick(resets.SEND_WAIT_S - 0.1)) == []
        assert restarts(link.tick(0.1)) == [False]

    def test_does_not_wait_where_nothing_can_be_sent(self) -> None:
        link = link_in_reset(ResetType.SOFT, depth=5)
        link.do(e.ConnectionLost("cut"))
        assert restarts(link.do(self.READY)) == [False]

    def test_does_not_wait_long_for_a_silent_queue(self) -> None:
        link = link_in_reset(ResetType.SOFT, depth=None)
        assert restarts(link.do(self.READY) + link.tick(resets.HAND_OVER_S)) == [False]


def test_hard_does_not_wait_for_the_queue() -> None:
    """Errata v4.0 3.36: it is not required to stop transactions gracefully; their messages follow after the boot."""
    link = link_in_reset(depth=5)
    assert restarts(link.do(e.ResetSaid(ResetReady(ResetType.HARD, ready=True)))) == [True]


def test_leaves_the_boot_to_the_next_process() -> None:
    """The acceptance of a dying process would be taken for the next one's, which then never boots."""
    link = link_in_reset()
    ready = e.ResetSaid(ResetReady(ResetType.HARD, ready=True))
    effects = link.do(ready) + link.do(ready) + link.tick(30)
    assert calls(effects) == []
    assert len(restarts(effects)) == 1
    again = Core()
    again.state = kept.restored(again.state, kept.facts(link.state))
    assert calls(again.open()) == ["boot"]


def test_is_carried_out_by_the_link_that_restarted_in_the_middle() -> None:
    link = Core(ping_interval_s=0).online()
    ready = e.ResetSaid(ResetReady(ResetType.HARD, ready=True))
    assert restarts(link.do(ready)) == []
    assert restarts(link.do(ready)) == [True]


def test_no_reset_is_none() -> None:
    link = Core(ping_interval_s=0).online()
    assert restarts(link.do(e.ResetSaid(ResetReady())) + link.tick(100)) == []


class TestRetries:
    """OCPP 1.6 §9.1.22: number of times to retry an unsuccessful reset."""

    READY = e.ResetSaid(ResetReady(ResetType.HARD, ready=True))
    FAILED = e.RestartFailed("supervisord does not answer")

    @pytest.mark.parametrize("retries", [0, 1, 3])
    def test_as_many_as_the_key_says_and_then_no_more(self, retries: int) -> None:
        link = link_in_reset(retries=retries)
        tried = len(restarts(link.do(self.READY)))
        for _ in range(10):
            tried += len(restarts(link.do(self.FAILED) + link.do(self.READY) + link.tick(resets.RETRY_S)))
        assert tried == 1 + retries
        assert link.state.reset_failed

    def test_each_is_a_whole_reset_and_not_at_once(self) -> None:
        """What began meanwhile is stopped by connectors."""
        link = link_in_reset(retries=1)
        link.do(self.READY)
        effects = link.do(self.FAILED)
        assert of(e.AskReset, effects) == [e.AskReset(ResetType.HARD)]
        effects += link.do(self.READY) + link.tick(resets.RETRY_S - 0.1)
        assert restarts(effects) == []
        assert restarts(link.tick(0.1)) == [True]

    def test_between_them_the_session_goes_on(self) -> None:
        """It was accepted before, and what changed meanwhile is told; no second BootNotification."""
        link = link_in_reset(retries=1)
        link.do(self.READY)
        link.say(connector(CHARGE_POINT, ChargePointStatus.FAULTED))
        effects = link.do(self.FAILED)
        assert link.state.accepted
        assert calls(effects) == ["status"]
        assert of(e.KeepSession, effects)
        assert "boot" not in calls(link.tick(resets.RETRY_S - 0.1))

    def test_a_restart_that_does_not_happen_is_a_failure_too(self) -> None:
        link = link_in_reset(retries=1)
        link.do(self.READY)
        effects = link.tick(resets.RESTART_WAIT_S + resets.RETRY_S)
        assert restarts(effects) == [True]
        link.tick(resets.RESTART_WAIT_S)
        assert (link.state.reset_failed, link.state.accepted) == (True, True)

    def test_a_failure_is_told_until_the_next_reset(self) -> None:
        """`ResetFailure` of connector 0 (§7.6) is connectors' to report, from the link's state on the bus."""
        link = link_in_reset()
        link.do(self.READY)
        effects = link.do(self.FAILED)
        assert of(e.PublishLink, effects)
        assert restarts(link.do(self.READY) + link.tick(1000)) == []
        assert link.state.reset_failed
        link.do(e.ResetAccepted(ResetReady(ResetType.HARD)))
        assert not link.state.reset_failed
        assert restarts(link.do(self.READY)) == [True]

    def test_a_second_reset_under_a_restart_counts_for_it(self) -> None:
        link = link_in_reset()
        link.do(self.READY)
        assert restarts(link.do(e.ResetAccepted(ResetReady(ResetType.HARD, ready=True))) + link.tick(30)) == []

    def test_a_failure_of_no_reset_is_none(self) -> None:
        link = Core(ping_interval_s=0).online()
        before = link.state
        assert link.do(self.FAILED) == []
        assert link.state == before
