"""The thread of a device: never ends by itself, tells changes, wakes at once (design §2, hardware.md §7)."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bus.mailbox import Mailbox
from services.hardware.contract import Counters, DeviceInfo, NoAnswer, PortMissing
from services.hardware.runner import DeviceDown, DeviceRunner, DeviceUp, Observed
from tests.harness import wait_until

DEVICE = DeviceInfo(vendor="Acme", model="One")


class ScriptedDriver:
    """A driver without a device: `failures` are raised in turn, `None` in between means that all is well."""

    name = "scripted"

    def __init__(self, poll_period_s: float = 60.0) -> None:
        self.poll_period_s = poll_period_s
        self.desired: list[int | None] = []
        self.opened = self.closed = 0
        self.open_failure: Exception | None = None
        self.failure: Exception | None = None
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.go_on.set()
        self._read, self.device_end = os.pipe()

    def open(self) -> DeviceInfo:
        self.opened += 1
        if self.open_failure is not None:
            raise self.open_failure
        return DEVICE

    def fileno(self) -> int | None:
        return self._read

    def exchange(self, desired: int | None) -> list[str]:
        self.entered.set()
        self.go_on.wait(5)
        self.desired.append(desired)
        if self.failure is not None:
            raise self.failure
        os.set_blocking(self._read, False)
        try:
            os.read(self._read, 100)
        except BlockingIOError:
            pass
        return [f"seen {desired}"]

    def close(self) -> None:
        self.closed += 1

    def counters(self) -> Counters:
        return Counters(transmissions=len(self.desired))


Start = Callable[..., tuple[DeviceRunner[int, str], Mailbox[Any]]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Makes runners; each must end when told to."""
    made: list[DeviceRunner[int, str]] = []

    def make(driver: ScriptedDriver, *, limit: int = 1000) -> tuple[DeviceRunner[int, str], Mailbox[Any]]:
        mailbox: Mailbox[Any] = Mailbox(limit)
        runner: DeviceRunner[int, str] = DeviceRunner("dev-1", driver, mailbox)
        made.append(runner)
        runner.start()
        return runner, mailbox

    yield make
    for runner in made:
        assert runner.stop(3.0)


def take(mailbox: Mailbox[Any], count: int) -> list[Any]:
    """The next `count` reports."""
    found: list[Any] = []
    wait_until(lambda: found.extend(mailbox.drain()) or len(found) >= count, 5, f"{count} reports")
    return found


def test_up_comes_before_the_first_observation_and_nothing_was_applied_yet(start: Start) -> None:
    _, mailbox = start(ScriptedDriver())
    up, seen = take(mailbox, 2)
    assert up == DeviceUp("dev-1", DEVICE)
    assert (seen.name, seen.value) == ("dev-1", "seen None")


def test_a_new_desired_state_is_applied_at_once(start: Start) -> None:
    """The poll period is a minute: only the wake-up can have brought it."""
    driver = ScriptedDriver()
    runner, mailbox = start(driver)
    take(mailbox, 2)
    runner.set_desired(7)
    assert take(mailbox, 1)[0].value == "seen 7"


def test_a_desired_state_set_during_an_exchange_is_not_lost(start: Start) -> None:
    driver = ScriptedDriver()
    driver.go_on.clear()
    runner, mailbox = start(driver)
    assert driver.entered.wait(5)
    runner.set_desired(1)
    runner.set_desired(2)
    driver.go_on.set()
    wait_until(lambda: 2 in driver.desired, 5, "the last desired state is applied")
    assert take(mailbox, 1)


def test_the_same_desired_state_wakes_nobody(start: Start) -> None:
    driver = ScriptedDriver()
    runner, mailbox = start(driver)
    take(mailbox, 2)
    runner.set_desired(7)
    take(mailbox, 1)
    for _ in range(100):
        runner.set_desired(7)
    runner.set_desired(8)
    assert [report.value for report in take(mailbox, 1)] == ["seen 8"]


def test_a_device_that_speaks_is_heard_at_once(start: Start) -> None:
    driver = ScriptedDriver()
    _, mailbox = start(driver)
    take(mailbox, 2)
    os.write(driver.device_end, b"x")
    assert isinstance(take(mailbox, 1)[0], Observed)


def test_three_failures_are_told_once_and_the_return_too_with_the_desired_state(start: Start) -> None:
    driver = ScriptedDriver(poll_period_s=0.01)
    runner, mailbox = start(driver)
    runner.set_desired(5)
    take(mailbox, 3)
    driver.failure = NoAnswer("dead")
    down = wait_until(lambda: next((r for r in mailbox.drain() if isinstance(r, DeviceDown)), None), 5, "down")
    assert down == DeviceDown("dev-1", "dead", 0.25)
    opened = driver.opened
    driver.failure = None
    reports = take(mailbox, 2)
    assert reports[0] == DeviceUp("dev-1", DEVICE)
    assert reports[1].value == "seen 5"
    assert driver.opened == opened + 1
    assert runner.counters().reconnects == 1


def test_an_unexpected_exception_is_a_report_and_logged_once_with_its_traceback(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    driver = ScriptedDriver(poll_period_s=0.01)
    _, mailbox = start(driver)
    take(mailbox, 2)
    with caplog.at_level(logging.ERROR):
        driver.failure = ZeroDivisionError("strange input")
        down = wait_until(lambda: next((r for r in mailbox.drain() if isinstance(r, DeviceDown)), None), 5, "down")
        driver.failure = None
        wait_until(lambda: any(isinstance(r, DeviceUp) for r in mailbox.drain()), 5, "up again")
    assert "ZeroDivisionError" in down.reason
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_a_driver_that_fails_even_in_close_ends_nothing(start: Start) -> None:
    class Broken(ScriptedDriver):
        def close(self) -> None:
            raise RuntimeError("close failed")

    driver = Broken(poll_period_s=0.01)
    _, mailbox = start(driver)
    take(mailbox, 2)
    driver.failure = PortMissing("gone")
    wait_until(lambda: any(isinstance(r, DeviceDown) for r in mailbox.drain()), 5, "down")
    driver.failure = None
    wait_until(lambda: any(isinstance(r, DeviceUp) for r in mailbox.drain()), 5, "up")


def test_a_full_mailbox_drops_observations_but_never_up_and_down(start: Start) -> None:
    driver = ScriptedDriver(poll_period_s=0.001)
    _, mailbox = start(driver, limit=1)
    wait_until(lambda: len(driver.desired) > 20, 5, "many exchanges")
    driver.failure = PortMissing("gone")
    wait_until(lambda: driver.closed, 5, "the loss is noticed")
    found: list[Any] = []
    wait_until(lambda: found.extend(mailbox.drain()) or any(isinstance(r, DeviceDown) for r in found), 5, "down gets through")
    driver.failure = None
    wait_until(lambda: found.extend(mailbox.drain()) or isinstance(found[-1], Observed), 5, "and up, before observations")
    kinds = [type(report).__name__ for report in found]
    assert kinds[0] == "DeviceUp"
    assert kinds.index("DeviceDown") < len(kinds) - 1 - kinds[::-1].index("DeviceUp")


def test_stop_ends_the_thread_and_closes_the_port(start: Start) -> None:
    driver = ScriptedDriver()
    runner, mailbox = start(driver)
    take(mailbox, 2)
    assert runner.stop(3.0)
    assert driver.closed == 1
    runner.set_desired(9)
    assert 9 not in driver.desired


def test_stop_says_when_an_exchange_does_not_end_in_time(start: Start) -> None:
    driver = ScriptedDriver()
    driver.go_on.clear()
    runner, _ = start(driver)
    assert driver.entered.wait(5)
    assert not runner.stop(0.05)
    driver.go_on.set()


def test_a_runner_that_never_started_stops() -> None:
    runner: DeviceRunner[int, str] = DeviceRunner("dev-1", ScriptedDriver(), Mailbox())
    assert runner.stop()
