"""`station demo`: a local Central System, a station on virtual hardware, and one charging session from plug-in to plug-out.

Owns: the command line, the order of the session, starting and ending everything. Does not: know OCPP or hardware; the station
runs as in production, the Central System is the independent one, hands on the hardware go through the simulator's client.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from services.demo import narration, verdict
from services.demo.book import Book
from services.demo.central_system import CentralSystem
from services.demo.narration import Line

PORT_DEFAULT = 9000
ID_TAG = "04A2B3C4D5"
CONNECTOR = "1"
CHARGING_S = 15.0
_POWER_EVERY_S = 3.0
_STEP_WAIT_S = 30.0
_COMMAND_WAIT_S = 5.0
_END_WAIT_S = 15.0
_POLL_S = 0.1
# The station asks to end with the demo; the wish survives the exec into supervisord.
_START = (
    "import sys; from bus.process import die_with_parent; die_with_parent();"
    "from services.station.cli import main; sys.exit(main(sys.argv[1:]))"
)


class DemoFailed(Exception):
    """The session could not be played; the text says in plain words why."""


def main(argv: list[str]) -> int:
    """0: the session was played and came out right; 1: it did not, and the last lines say why."""
    arguments = _arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as resources:
        try:
            demo = resources.enter_context(_running(arguments))
            return demo.play(once=arguments.once)
        except DemoFailed as error:
            _say(narration.outcome([str(error)], None))
            return 1


class Demo:
    """A running pair of Central System and station, and the one who watches both."""

    def __init__(self, central_system: CentralSystem, station: "subprocess.Popen[bytes]", state_dir: str) -> None:
        self._central_system = central_system
        self._station = station
        self._state_dir = state_dir
        self._told = 0
        self._step = 0

    def play(self, *, once: bool) -> int:
        """The session; then, unless `once`, stay up until Ctrl-C. The exit code."""
        problems = self._session()
        energy_wh = next((t.energy_wh for t in self._central_system.book.transactions()), None)
        _say(narration.outcome(problems, energy_wh))
        if not once:
            _say(narration.invitation(_station_command(), self._state_dir))
            self._stay_up()
        return 1 if problems else 0

    def _session(self) -> list[str]:
        self._wait_for_start()
        start_wh = self._shown_wh()
        self._explain("A car is plugged in", "The controller sees it on the pilot line; the connector is Preparing.")
        self._hardware("plug-in", CONNECTOR)
        self._until(lambda book: book.status(1) == "Preparing", "the connector becomes Preparing")
        why = "The card is held to the reader. The Central System says yes, the contactor closes, the car takes energy."
        self._explain("The driver presents a card", why)
        self._hardware("swipe", ID_TAG)
        self._until(lambda book: book.transactions(), "the Central System has a StartTransaction")
        self._until(lambda book: book.status(1) == "Charging", "the connector becomes Charging")
        self._explain("The car charges", "The meter counts, the station sends what it reads. (This takes 15 seconds.)")
        self._charge()
        self._explain("The driver presents the card again", "The contactor opens, the transaction is closed and delivered.")
        self._hardware("swipe", ID_TAG)
        self._until(lambda book: any(t.stop for t in book.transactions()), "the Central System has a StopTransaction")
        end_wh = self._settled_wh()
        self._explain("The car drives off", "The connector is free for the next one.")
        self._hardware("plug-out", CONNECTOR)
        self._until(lambda book: book.status(1) == "Available", "the connector becomes Available")
        return verdict.problems(self._central_system.book.transactions(), start_wh=start_wh, end_wh=end_wh)

    def _wait_for_start(self) -> None:
        why = "Its services run under supervisord, on virtual hardware. It connects, and says who it is and how it is."
        self._explain("The station starts", why)
        self._until(lambda book: book.status(1) == "Available", "the station has told that connector 1 is Available")
        deadline_s = time.monotonic() + _STEP_WAIT_S
        while not self._asked("ready").get("ok"):
            if time.monotonic() > deadline_s:
                raise DemoFailed("the virtual hardware does not get ready; see simulator.log in the state directory")
            time.sleep(_POLL_S)

    def _charge(self) -> None:
        end_s = time.monotonic() + CHARGING_S
        power_s = time.monotonic()
        while time.monotonic() < end_s:
            self._tell()
            if time.monotonic() >= power_s:
                _say([narration.hardware(self._facts())])
                power_s += _POWER_EVERY_S
            self._check_station()
            time.sleep(_POLL_S)

    def _stay_up(self) -> None:
        try:
            while True:
                self._tell()
                self._check_station()
                time.sleep(_POLL_S)
        except KeyboardInterrupt:
            _say([Line(""), Line("Ending the station and the Central System …", "step")])

    def _explain(self, text: str, why: str) -> None:
        self._tell()
        self._step += 1
        _say(narration.step(self._step, text, why))

    def _until(self, condition: Callable[[Book], Any], what: str) -> None:
        deadline_s = time.monotonic() + _STEP_WAIT_S
        while not condition(self._central_system.book):
            self._tell()
            self._check_station()
            if time.monotonic() > deadline_s:
                raise DemoFailed(f"waited {_STEP_WAIT_S:.0f} s in vain until {what}; the logs are in {self._state_dir}/log")
            time.sleep(_POLL_S)
        self._tell()

    def _tell(self) -> None:
        for entry in self._central_system.book.entries(after=self._told):
            self._told = entry.number
            _say(narration.told(entry))

    def _check_station(self) -> None:
        code = self._station.poll()
        if code is not None:
            raise DemoFailed(f"the station has ended (code {code}): {_last_line(_output_path(self._state_dir))}")

    def _hardware(self, command: str, *args: str) -> None:
        answer = self._asked(command, *args)
        if not answer.get("ok"):
            raise DemoFailed(f"the virtual hardware refuses {command}: {answer.get('reason', 'no reason given')}")

    def _asked(self, command: str, *args: str) -> dict[str, Any]:
        from services.simulator.client import SimulatorUnreachable, request

        try:
            return request(self._state_dir, command, list(args), _COMMAND_WAIT_S)
        except SimulatorUnreachable as error:
            return {"ok": False, "reason": str(error)}

    def _facts(self) -> dict[str, Any]:
        answer = self._asked("state")
        if not answer.get("ok"):
            raise DemoFailed(f"the virtual hardware does not say how it is: {answer.get('reason')}")
        return dict(answer["state"]["connectors"][CONNECTOR])

    def _shown_wh(self) -> int:
        return int(self._facts()["meter"]["shown_wh"])

    def _settled_wh(self) -> int:
        """What the meter shows once no energy flows any more."""
        deadline_s = time.monotonic() + _STEP_WAIT_S
        while self._facts()["relay"]["closed"]:
            if time.monotonic() > deadline_s:
                raise DemoFailed("the contactor is still closed although the transaction has ended")
            time.sleep(_POLL_S)
        return self._shown_wh()


def configuration(profile: str, port: int) -> str:
    """The text of the demo's station.toml with the Central System's port in it."""
    text, count = re.subn(r'(?m)^url = ".*"$', f'url = "ws://127.0.0.1:{port}/"', profile)
    assert count == 1, "the demo profile has one url"
    return text


def _arguments(argv: list[str]) -> argparse.Namespace:
    text = "Start a local Central System and a virtual station, and play one charging session."
    parser = argparse.ArgumentParser(prog="station demo", description=text)
    parser.add_argument("--once", action="store_true", help="end after the session; 0 only if it came out right")
    parser.add_argument("--state-dir", metavar="DIR", help="keep everything here (without it: a temporary directory)")
    parser.add_argument(
        "--port", metavar="N", type=int, help=f"of the Central System (without it: {PORT_DEFAULT} or a free one)"
    )
    return parser.parse_args(argv)


@contextmanager
def _running(arguments: argparse.Namespace) -> Iterator[Demo]:
    with ExitStack() as resources:
        state_dir = _state_dir(arguments.state_dir, resources)
        central_system = _central_system(arguments.port)
        resources.callback(central_system.stop)
        _say([Line(f"A Central System listens on {central_system.url}; the station keeps its things in", "step")])
        _say([Line(state_dir, "step")])
        station = _start_station(state_dir, central_system.port)
        resources.callback(_end, station)
        yield Demo(central_system, station, state_dir)


def _state_dir(given: str | None, resources: ExitStack) -> str:
    if given is not None:
        os.makedirs(given, exist_ok=True)
        return os.path.abspath(given)
    path = tempfile.mkdtemp(prefix="chargebus-demo-")
    resources.push(lambda kind, *_: _clear_up(path, failed=kind is not None and not issubclass(kind, KeyboardInterrupt)))
    return path


def _clear_up(path: str, *, failed: bool) -> bool:
    if failed:
        _say([Line(f"Logs and databases are kept in {path}")])
    else:
        shutil.rmtree(path, ignore_errors=True)
    return False


def _central_system(port: int | None) -> CentralSystem:
    for candidate in (port,) if port is not None else (PORT_DEFAULT, 0):
        central_system = CentralSystem(candidate)
        try:
            central_system.start()
        except OSError as error:
            refused = error
            continue
        return central_system
    raise DemoFailed(f"the Central System cannot listen on port {port}: {refused.strerror or refused}; choose another --port")


def _start_station(state_dir: str, port: int) -> "subprocess.Popen[bytes]":
    from services.station.paths import deploy_file

    with open(deploy_file("profiles", "demo.toml"), encoding="utf-8") as file:
        text = configuration(file.read(), port)
    config = os.path.join(state_dir, "station.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(text)
    command = [sys.executable, "-c", _START, "run", "--virtual", "--config", config, "--state-dir", state_dir]
    with open(_output_path(state_dir), "wb") as output:
        # A session of its own: Ctrl-C is for the demo, which ends the station in good order.
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)


def _end(station: "subprocess.Popen[bytes]") -> None:
    station.terminate()
    try:
        station.wait(_END_WAIT_S)
    except subprocess.TimeoutExpired:
        station.kill()
        station.wait()


def _output_path(state_dir: str) -> str:
    return os.path.join(state_dir, "station-run.txt")


def _last_line(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    return lines[-1] if lines else "it said nothing"


def _station_command() -> str:
    """How this shell starts `station`: by its name if it is found, else by its path."""
    beside = os.path.join(os.path.dirname(sys.executable), "station")
    if shutil.which("station") is not None or not os.path.exists(beside):
        return "station"
    return min(os.path.relpath(beside), beside, key=len)


def _say(lines: Iterable[Line]) -> None:
    colours = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ
    for line in lines:
        print(narration.rendered(line, colours=colours), flush=True)
