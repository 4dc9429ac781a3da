"""The guard: energy is withdrawn when the connectors service is gone (design §2; issue 6).

Virtual controllers that charge by themselves, as stock firmware does, stand in for a service that died.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.clock import boottime_s, hardware_boot_id
from bus.logs import logger
from bus.process import take_lock
from services.configuration.station import load
from services.connectors import guard, orphans, unplugged
from services.hardware.contract import EvseDesired, EvseObservation
from services.hardware.port import open_port
from services.hardware.runner import DeviceDown, Observed
from tests.connectors.wire_plant import Guard, Line, Turns
from tests.simulator.test_process import Simulator, wait_until

GRACE_S = 1.0
STATION = f"""
[station]
identity = "CP-1"
vendor = "Chargebus"
model = "Virtual"

[central_system]
url = "ws://127.0.0.1:1/"

[system]
orphan_grace_s = {GRACE_S}

[supply]
max_current_a = 32

[[connector]]
id = 1
cable = "fixed"
evse = {{ driver = "openevse" }}
meter = {{ driver = "sdm120" }}

[[connector]]
id = 2
cable = "fixed"
evse = {{ driver = "evsewb" }}
meter = {{ driver = "sdm120" }}
"""
SLEEPING = EvseObservation(control_pilot="B", plugged=True, offering=False, relay_closed=False, limit_a=6.0)


def test_controllers_are_taken_after_the_grace_and_not_before() -> None:
    assert not orphans.is_due(100.0, 114.9, 15.0)
    assert orphans.is_due(100.0, 115.0, 15.0)


@pytest.mark.parametrize(
    ("before", "locked", "held"),
    [(False, None, False), (False, False, False), (False, True, True), (True, False, True), (True, None, True)],
)
def test_energy_is_withdrawn_and_a_plug_that_was_held_stays_so(before: bool, locked: bool | None, held: bool) -> None:
    """The transaction goes on when the service returns, so its plug is not let go; a lock that is not known is left alone."""
    assert orphans.is_held(before, EvseObservation("C", True, True, True, 16.0, locked=locked)) is held
    assert orphans.order(held=held) == EvseDesired(locked=True if held else None)


class Socket:
    """A car charges at a socket, its plug held, as the service has left it; then the guard takes the controller."""

    def __init__(self) -> None:
        self.line = Line("openevse", 100.0, cable="socket")
        self.line.world.plug_in(1)
        service = Turns(self.line)
        service.desired = EvseDesired(energy_allowed=True, limit_a=16.0, locked=True)
        self._live(8.0, lambda: service.turn(lambda _: None, lambda _: None))
        service.close()
        assert (self.live, self.locked) == (True, True)
        self.guard = Guard(self.line)

    @property
    def locked(self) -> bool:
        return self.line.connector.locked

    @property
    def live(self) -> bool:
        return self.line.connector.contactor.closed

    def look(self, seconds: float) -> None:
        self._live(seconds, self.guard.turn)

    def _live(self, seconds: float, turn: Callable[[], None]) -> None:
        end_s = self.line.now() + seconds
        while self.line.now() < end_s:
            self.line.live_until(self.line.now() + 0.25)
            turn()


def test_a_held_plug_stays_held_over_a_silence_of_its_controller() -> None:
    socket = Socket()
    socket.look(6.0)
    assert (socket.live, socket.locked) == (False, True)
    socket.line.quirks.mute = True
    socket.look(8.0)
    socket.line.quirks.mute = False
    socket.look(15.0)
    assert (socket.live, socket.locked) == (False, True)


def test_a_held_plug_stays_held_where_its_controller_is_silent_at_first() -> None:
    socket = Socket()
    socket.line.quirks.mute = True
    socket.look(8.0)
    socket.line.quirks.mute = False
    socket.look(15.0)
    assert (socket.live, socket.locked) == (False, True)


class Told:
    """A runner that keeps its orders."""

    def __init__(self) -> None:
        self.orders: list[EvseDesired] = []

    def set_desired(self, desired: EvseDesired) -> None:
        self.orders.append(desired)


def test_the_guard_remembers_what_it_held_while_a_controller_is_lost(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_text(STATION)
    config = load(str(tmp_path / "station.toml"), with_virtual_devices=True)
    one = guard.Guard(config, str(tmp_path), logger("test"), gone_since_s=0.0)
    told = Told()
    one._controllers["evse-1"] = guard._Controller(1, told)  # type: ignore[arg-type]
    held = EvseObservation("C", True, False, False, 16.0, locked=True)
    let_go = EvseObservation("C", True, False, False, 16.0, locked=False)
    for report in (None, Observed("evse-1", held, 1.0), DeviceDown("evse-1", "silent", 1.0), Observed("evse-1", let_go, 9.0)):
        if report is not None:
            one._reports.put(report)
        one._turn(9.0)
    assert [order.locked for order in told.orders] == [None, True, True, True]


def test_energy_counts_as_withdrawn_when_the_offer_has_ended_and_the_contactor_is_open() -> None:
    assert orphans.is_withdrawn(SLEEPING)
    assert not orphans.is_withdrawn(None)
    assert not orphans.is_withdrawn(EvseObservation("C", True, False, True, 16.0))
    assert not orphans.is_withdrawn(EvseObservation("B", True, True, False, 16.0))


class Station:
    """Virtual hardware without a station, two cars that charge, and the guard."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.log = simulator.state_dir / "guard.log"
        self.run_directory = str(simulator.state_dir / "run")
        self.lock = os.path.join(self.run_directory, guard.SERVICE_LOCK)

    def command(self, *options: str) -> list[str]:
        own = ["--config", str(self.simulator.config), "--state-dir", str(self.simulator.state_dir), "--virtual"]
        return [sys.executable, "-W", "error", "-m", "services.connectors.guard", *own, *options]

    @contextlib.contextmanager
    def guard(self, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
        with open(self.log, "ab") as log, subprocess.Popen(self.command(*options), stderr=log) as process:
            try:
                yield process
            finally:
                process.kill()

    def closed(self) -> list[bool]:
        connectors = self.simulator.state()["connectors"]
        return [connectors[number]["relay"]["closed"] for number in ("1", "2")]

    def seen_unplugged(self) -> dict[int, float]:
        path = os.path.join(self.run_directory, unplugged.FILE)
        return unplugged.read(path, hardware_boot_id(), logger("test"))

    def offering(self) -> list[bool]:
        connectors = self.simulator.state()["connectors"]
        return [connectors[number]["controller"]["offering"] for number in ("1", "2")]


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    with Simulator(tmp_path, STATION) as simulator:
        for number in ("1", "2"):
            simulator.do("plug-in", number)
        found = Station(simulator)
        wait_until(lambda: found.closed() == [True, True], "both cars charge, as nobody forbids it")
        yield found


@pytest.mark.process
def test_the_guard_withdraws_keeps_it_so_and_gives_the_ports_back(station: Station) -> None:
    """Both controllers, a restart of each under the guard's eyes, a second guard, and the service's return."""
    with station.guard() as process:
        wait_until(lambda: station.closed() == [False, False], "energy is withdrawn")
        wait_until(lambda: station.offering() == [False, False], "nothing is offered")
        assert subprocess.run(station.command(), check=False).returncode == guard.AT_WORK_ALREADY
        for number in ("1", "2"):
            station.simulator.do("power-cycle", number)
        wait_until(lambda: not any(station.offering()), "what comes up enabled is withdrawn again")
        assert station.seen_unplugged() == {}, "both plugs were in all the time"
        lock = take_lock(station.lock)
        assert process.wait(10.0) == guard.THERE
    for number in ("1", "2"):
        open_port(str(station.simulator.device(f"evse-{number}")), 9600).close()
    with station.guard() as process:
        assert process.wait(10.0) == guard.THERE, "the service is there, so nothing is to be done"
    os.close(lock)


@pytest.mark.process
def test_the_guard_notes_whose_plug_was_out(station: Station) -> None:
    """Once for each time that it comes out, also for the next guard, and though the file could not be written at first."""
    in_the_way = Path(station.run_directory, f"{unplugged.FILE}.new")
    in_the_way.mkdir()
    with station.guard() as process:
        wait_until(lambda: station.closed() == [False, False], "energy is withdrawn")
        station.simulator.do("plug-out", "2")
        wait_until(lambda: "that a plug is out can't be noted" in station.log.read_text(), "the guard tells of it")
        assert (process.poll(), station.seen_unplugged()) == (None, {})
        in_the_way.rmdir()
        first_s = wait_until(lambda: station.seen_unplugged().get(2), "the plug of connector 2 is noted")
        station.simulator.do("plug-in", "2")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10.0) == guard.TOLD_TO_END
    before_s = boottime_s()
    with station.guard() as process:
        station.simulator.do("plug-out", "1")
        second_s = wait_until(lambda: station.seen_unplugged().get(1), "the plug of connector 1 is noted")
        station.simulator.do("plug-in", "1")
        lock = take_lock(station.lock)
        assert process.wait(10.0) == guard.THERE
    os.close(lock)
    assert first_s < before_s < second_s < boottime_s()
    assert station.seen_unplugged() == {1: second_s, 2: first_s}


@pytest.mark.process
def test_at_the_end_of_the_station_energy_is_withdrawn_whatever_the_grace(station: Station) -> None:
    """The unit's last deed: nobody is left who would come back and look."""
    done = subprocess.run(station.command("--once"), check=False, timeout=20, capture_output=True, text=True)
    assert (done.returncode, station.offering(), station.closed()) == (guard.THERE, [False, False], [False, False])
    lock = take_lock(station.lock)
    done = subprocess.run(station.command("--once"), check=False, timeout=20, capture_output=True, text=True)
    assert (done.returncode, "withdrawn" in done.stderr) == (guard.THERE, False), "a station that runs again is left alone"
    os.close(lock)


@pytest.mark.process
def test_the_guard_ends_a_service_that_does_not_work(station: Station) -> None:
    """A stopped process hears no SIGTERM; who holds the lock is proved before it is killed."""
    holder = (
        "import sys, time; from bus.process import take_lock; lock = take_lock(sys.argv[1]); print(flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", holder, station.lock], stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        service.stdout.readline()
        service.send_signal(signal.SIGSTOP)
        with station.guard("--silent", "--gone-for", "99") as process:
            wait_until(lambda: station.closed() == [False, False], "energy is withdrawn")
            assert service.wait(1.0) == -signal.SIGKILL
            process.send_signal(signal.SIGTERM)
            assert process.wait(10.0) == guard.TOLD_TO_END
    assert station.offering() == [False, False], "its end leaves the output as it is"


@pytest.mark.process
def test_a_bad_configuration_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "station.toml").write_text("[station]\n")
    command = [sys.executable, "-m", "services.connectors.guard"]
    done = subprocess.run(
        [*command, "--config", str(tmp_path / "station.toml"), "--state-dir", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == guard.BAD_CONFIGURATION
    assert "level=error" in done.stderr
