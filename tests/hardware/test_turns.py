"""A serial line that several processes share: turns in order, bounded, and released by a death (hardware.md §2.3; issue 6)."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bus.clock import boottime_s
from services.connectors.drivers.evsewb import EvseWb
from services.hardware.contract import MeterDesired, NoAnswer
from services.hardware.modbus import Wire
from services.hardware.turns import PAUSE_S, WAIT_S_MIN, Turns
from services.meter.drivers.modbus import ModbusMeter
from services.meter.drivers.models import MODELS
from services.simulator.evsewb import EvseWb as VirtualEvseWb
from services.simulator.evsewb_board import WbBoard, WbEeprom
from tests.hardware.peers import PtyPeer, ScriptedMeter
from tests.hardware.virtual_evse import OFF, offer

MakePeer = Callable[..., PtyPeer]
ANSWER_S = 0.3


@pytest.fixture(autouse=True)
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def clock() -> "Clock":
    return Clock()


class Clock:
    """Time that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def turns(self, port: str = "/dev/ttyUSB0") -> Turns:
        return Turns(port, self, self.sleep)


def test_a_line_belongs_to_one_at_a_time_and_waiting_ends(clock: Clock) -> None:
    """Bounded: whoever keeps the line is named as the cause, and the others go on to their next try."""
    one, other = clock.turns(), clock.turns()
    with one.turn(0.0, ANSWER_S):
        before_s = clock()
        with pytest.raises(NoAnswer, match="the line at /dev/ttyUSB0 is not free; another process keeps it"), other.turn(0, 0):
            pass
        assert clock() == pytest.approx(before_s + WAIT_S_MIN, abs=0.01)
    with other.turn(0.0, ANSWER_S):
        pass


def test_other_lines_do_not_wait(clock: Clock) -> None:
    with clock.turns("/dev/ttyUSB0").turn(0.0, ANSWER_S), clock.turns("/dev/ttyUSB1").turn(0.0, ANSWER_S):
        pass


def test_the_line_rests_a_moment_after_an_answer_and_longer_after_a_failure(clock: Clock) -> None:
    """The next one flushes and waits one response timeout, as a late answer may come."""
    one, other = clock.turns(), clock.turns()
    with one.turn(0.0, ANSWER_S):
        pass
    began_s = clock()
    with other.turn(0.0, ANSWER_S):
        assert clock() == pytest.approx(began_s + PAUSE_S)
    with contextlib.suppress(NoAnswer), one.turn(0.0, ANSWER_S):
        clock.sleep(ANSWER_S)
        raise NoAnswer("nothing came")
    began_s = clock()
    with other.turn(0.0, ANSWER_S):
        assert clock() == pytest.approx(began_s + ANSWER_S)


def test_a_rest_from_before_a_reboot_of_the_board_is_not_waited_for(clock: Clock) -> None:
    clock.now_s = 1_000_000.0
    with clock.turns().turn(0.0, ANSWER_S):
        pass
    clock.now_s = 10.0
    with clock.turns().turn(0.0, ANSWER_S):
        assert clock() == 10.0


def test_nobody_is_overtaken() -> None:
    """Fair: four that ask all the time get turns in the order of asking, so that no count runs away from another."""
    counts = [0] * 4
    order: list[int] = []

    def work(number: int) -> None:
        turns = Turns("line", boottime_s)
        for _ in range(5):
            with turns.turn(boottime_s() + 30.0, ANSWER_S):
                counts[number] += 1
                order.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [5] * 4
    whole = order[4:16]
    for place in range(len(whole) - 4):
        assert len(set(whole[place : place + 4])) >= 3, order


@pytest.mark.process
def test_a_death_gives_the_line_back_and_the_next_one_waits_for_a_late_answer() -> None:
    """SIGKILL in the middle of an exchange: the kernel lifts the lock, and what the dead asked for may still be answered."""
    code = (
        "import time; from bus.clock import boottime_s; from services.hardware.turns import Turns\n"
        f"with Turns('line', boottime_s).turn(0.0, {ANSWER_S}):\n"
        "    print(boottime_s(), flush=True); time.sleep(600)"
    )
    root = str(Path(__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={"PYTHONPATH": root}) as holder:
        assert holder.stdout is not None
        asked_s = float(holder.stdout.readline())
        turns = Turns("line", boottime_s)
        holder.send_signal(signal.SIGKILL)
        with turns.turn(boottime_s() + 5.0, ANSWER_S):
            assert boottime_s() >= asked_s + ANSWER_S * 0.95


class Line:
    """A controller (unit 1) and a meter (unit 2) on one line: both hear everything."""

    def __init__(self) -> None:
        self.evse = VirtualEvseWb(WbBoard(WbEeprom(power_up_a=0), now_s=0.0))
        self.meter = ScriptedMeter(unit=2)
        self.meter.values = {0x0000: 230.0, 0x0006: 0.0, 0x000C: 0.0, 0x001E: 1.0, 0x0046: 50.0, 0x0048: 1.0, 0x004A: 0.0}
        self._pending = b""

    def __call__(self, data: bytes) -> bytes:
        board = self.evse.board
        board.step(board.now_s + 1.0, 1.0, pilot="A", current_a=0.0)
        self.evse.receive(data)
        answer = self.evse.take_output()
        return answer or (self.meter(data) if data[0] == 2 else b"")


def test_a_controller_and_a_meter_on_one_line_do_not_disturb_each_other(peer: MakePeer) -> None:
    """Two ports open at once, neither of them alone, and not one exchange is garbled."""
    path = peer(Line()).path
    evse = EvseWb(Wire("charging controller", path, 9600, shared=True))
    meter = ModbusMeter(Wire("meter", path, 9600, unit=2, shared=True), MODELS["sdm120"])
    errors: list[BaseException] = []

    def measure() -> None:
        try:
            meter.open()
            for _ in range(6):
                assert meter.exchange(MeterDesired(float("inf")))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=measure)
    thread.start()
    evse.open()
    for amps in (16.0, 0.0, 10.0, 0.0, 6.0):
        evse.exchange(offer(amps))
    evse.exchange(OFF)
    thread.join()
    assert errors == []
    # A time-out may be this machine's load, a broken frame would be the other's doing. The meter here refuses to tell its kind.
    assert (evse.counters().errors, meter.counters().errors) == (0, 1)
    for driver in (evse, meter):
        driver.close()
