"""The board's hardware watchdog: fed, closed in good order, and asked whether it was the one who reset the board (issue 7)."""

from pathlib import Path

import pytest

from bus.logs import Logger
from services.watchdog.hardware import CARDRESET, HardwareWatchdog, boot_status


class Lines(Logger):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__("watchdog")
        self.events: list[str] = []

    def warning(self, event: str, **_: object) -> None:
        self.events.append(event)

    def error(self, event: str, **_: object) -> None:
        self.events.append(event)


@pytest.mark.parametrize(("status", "reset"), [(CARDRESET, True), (CARDRESET | 1, True), (1, False), (0, False), (None, False)])
def test_a_reset_by_it_is_told(tmp_path: Path, status: int | None, reset: bool) -> None:
    """Linux' watchdog API, WDIOC_GETBOOTSTATUS: WDIOF_CARDRESET is "card previously reset the CPU"."""
    device, log = tmp_path / "watchdog", Lines()
    device.touch()
    found = HardwareWatchdog(str(device), log, lambda _: status)
    found.close()
    assert found.has_reset is reset
    assert log.events == (["the last reset of the board was by its hardware watchdog: nobody had fed it"] if reset else [])


def test_a_driver_that_can_not_say_is_believed_to_know_nothing(tmp_path: Path) -> None:
    with (tmp_path / "no watchdog").open("w") as file:
        assert boot_status(file.fileno()) is None


def test_it_is_fed_and_closed_in_good_order(tmp_path: Path) -> None:
    device = tmp_path / "watchdog"
    device.touch()
    found = HardwareWatchdog(str(device), Lines())
    found.feed()
    found.close()
    found.close()
    assert device.read_bytes() == b"\0V"


def test_one_that_can_not_be_opened_says_what_to_check(tmp_path: Path) -> None:
    log = Lines()
    found = HardwareWatchdog(str(tmp_path / "none"), log)
    found.feed()
    assert log.events == ["hardware watchdog can't be used, check [system] hardware_watchdog"]


def test_without_a_path_there_is_none() -> None:
    found = HardwareWatchdog("", Lines(), lambda _: CARDRESET)
    found.feed()
    found.close()
    assert not found.has_reset
