"""The emergency stop's contact, at a kernel that is played here by the structs of linux/gpio.h, and as a file."""

import errno
import os
import select
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.connectors.drivers.emergency_stop import (
    FILE_PERIOD_S,
    POLL_PERIOD_S,
    RELEASE_S,
    EmergencyStop,
    FileContact,
    GpioContact,
)
from services.hardware import gpio
from services.hardware.contract import InputObservation, PortMissing
from services.hardware.port import port_missing

PRESSED, RELEASED = [InputObservation(True)], [InputObservation(False)]


class Kernel:
    """A chip with one line: offsets as a C compiler lays them out on 64 bits (592, 16 and 48 bytes)."""

    def __init__(self) -> None:
        self.high = False
        self.requests: list[bytes] = []
        self.failure: int | None = None
        self.read_end, self.write_end = os.pipe()

    def ioctl(self, fd: int, request: int, argument: Any) -> int:
        if self.failure is not None:
            raise OSError(self.failure, os.strerror(self.failure))
        if request == 0xC250B407:
            assert len(argument) == 592
            self.requests.append(bytes(argument))
            argument[588:592] = struct.pack("=i", os.dup(self.read_end))
        else:
            assert (request, len(argument)) == (0xC010B40E, 16)
            assert struct.unpack_from("=Q", argument, 8) == (1,)
            argument[0:8] = struct.pack("=Q", self.high)
        assert fd >= 0
        return 0

    def move(self, *levels: bool) -> None:
        """The contact moves, edge by edge."""
        for high in levels:
            self.high = high
            event = struct.pack("=QIIII", 5, 1 if high else 2, 17, 1, 1) + bytes(24)
            assert len(event) == 48
            os.write(self.write_end, event)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    yield made
    for descriptor in (made.read_end, made.write_end):
        os.close(descriptor)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def stop_at(kernel: Kernel, clock: Clock, chip: Path, *, level: str = "high", bias: str = "pull-up") -> EmergencyStop:
    chip.write_text("")
    request = partial(gpio.request_line, ioctl=kernel.ioctl)
    driver = EmergencyStop(GpioContact(str(chip), 17, pressed_level=level, bias=bias, request=request), now=clock)
    driver.open()
    return driver


def test_the_structs_have_the_kernels_sizes() -> None:
    """linux/gpio.h; the numbers of the ioctls contain them."""
    assert (gpio.LINE_REQUEST.size, gpio.LINE_VALUES.size, gpio.LINE_EVENT.size) == (592, 16, 48)
    assert gpio.GET_LINE_IOCTL == 3 << 30 | 592 << 16 | 0xB4 << 8 | 0x07
    assert gpio.GET_VALUES_IOCTL == 3 << 30 | 16 << 16 | 0xB4 << 8 | 0x0E


def test_the_line_is_asked_for_as_an_input_with_edges_and_bias(kernel: Kernel, clock: Clock, tmp_path: Path) -> None:
    driver = stop_at(kernel, clock, tmp_path / "gpiochip0")
    (request,) = kernel.requests
    assert struct.unpack_from("=I", request, 0) == (17,)
    assert request[256:288].rstrip(b"\0") == b"chargebus"
    assert struct.unpack_from("=Q", request, 288) == (1 << 2 | 1 << 4 | 1 << 5 | 1 << 8,)
    assert struct.unpack_from("=II", request, 560) == (1, 16)
    driver.close()


@pytest.mark.parametrize(("level", "pressed_high"), [("high", True), ("low", False)])
def test_a_press_is_told_at_once_and_a_release_once_it_lasts(
    kernel: Kernel, clock: Clock, tmp_path: Path, level: str, pressed_high: bool
) -> None:
    kernel.high = not pressed_high
    driver = stop_at(kernel, clock, tmp_path / "gpiochip0", level=level)
    assert driver.exchange(None) == RELEASED
    descriptor = driver.fileno()
    assert descriptor is not None
    kernel.move(pressed_high)
    assert select.select([descriptor], [], [], 5)[0], "the thread is woken"
    assert driver.exchange(None) == PRESSED
    clock.now_s += 60
    kernel.move(not pressed_high, pressed_high, not pressed_high)
    assert driver.exchange(None) == []
    for _ in range(2):
        clock.now_s += RELEASE_S * 0.45
        assert driver.exchange(None) == []
        assert driver.poll_period_s < RELEASE_S
    clock.now_s += RELEASE_S * 0.45
    kernel.move(pressed_high, not pressed_high)
    assert driver.exchange(None) == [], "it bounced, so the time begins anew"
    assert driver.exchange(None) == []
    clock.now_s += RELEASE_S + 0.01
    assert driver.exchange(None) == RELEASED
    assert driver.poll_period_s == POLL_PERIOD_S
    driver.close()


def test_a_press_that_is_over_before_anybody_looks_counts(kernel: Kernel, clock: Clock, tmp_path: Path) -> None:
    driver = stop_at(kernel, clock, tmp_path / "gpiochip0")
    driver.exchange(None)
    kernel.move(True, False)
    assert driver.exchange(None) == PRESSED
    driver.close()


def test_a_broken_wire_is_a_pressed_button() -> None:
    """By default: a contact to ground that opens, and a line that is pulled up."""
    from services.configuration.model import EmergencyStopInput

    wired = EmergencyStopInput(chip="/dev/gpiochip0", line=17)
    assert (wired.pressed_level, wired.bias) == ("high", "pull-up")


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.EBUSY, "used by another process"), (errno.ENODEV, "has no device behind it"), (errno.ENOTTY, "no serial port")],
)
def test_a_chip_that_fails_is_a_missing_port(kernel: Kernel, clock: Clock, tmp_path: Path, number: int, told: str) -> None:
    driver = stop_at(kernel, clock, tmp_path / "gpiochip0")
    kernel.failure = number
    with pytest.raises(PortMissing, match=told):
        driver.exchange(None)
    with pytest.raises(PortMissing, match=told):
        driver.open()
    kernel.failure = None
    driver.open()
    assert driver.exchange(None) == RELEASED, "whatever is found after a loss is told"
    driver.close()
    driver.close()


def test_a_chip_that_vanishes_is_noticed_at_its_descriptor(kernel: Kernel, clock: Clock, tmp_path: Path) -> None:
    driver = stop_at(kernel, clock, tmp_path / "gpiochip0")
    os.close(kernel.write_end)
    with pytest.raises(PortMissing, match="has no device behind it"):
        driver.exchange(None)
    kernel.write_end = os.open(os.devnull, os.O_WRONLY)
    driver.close()


def test_no_chip_at_all_is_a_missing_port(tmp_path: Path) -> None:
    with pytest.raises(PortMissing, match="is not there"):
        EmergencyStop(GpioContact(str(tmp_path / "none"), 1, pressed_level="high", bias="none")).open()


def test_who_may_not_open_a_chip_is_told_the_right_group() -> None:
    assert "group gpio" in str(port_missing("/dev/gpiochip0", OSError(errno.EACCES, "no")))


def test_the_virtual_one_is_a_file(clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "estop"
    driver = EmergencyStop(FileContact(str(file)), now=clock)
    assert driver.open().model == "virtual contact"
    assert (driver.poll_period_s, driver.fileno()) == (FILE_PERIOD_S, None)
    assert driver.exchange(None) == RELEASED, "no file: not pressed"
    file.write_text("1")
    assert driver.exchange(None) == PRESSED
    file.write_text("0")
    assert driver.exchange(None) == []
    clock.now_s += RELEASE_S + 0.01
    assert driver.exchange(None) == RELEASED
    assert driver.counters().transmissions == 4
    driver.close()
