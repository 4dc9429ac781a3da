"""A whole station in a temporary directory, for tests: the real `station run` under supervisord, on virtual hardware.

    with Station(config_text) as station:
        station.sim("plug-in", "1")
        wait_until(lambda: station.status()["connectors"]["1"]["status"] == "Preparing", 5, "the car is seen")

Owns: starting, asking, killing, and clearing up. Does not: hide anything; a process that survives its station fails the test.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from services.simulator.client import SimulatorUnreachable, request
from services.station import paths
from services.station.report import report
from services.station.sim import NotReady, wait_until_ready
from services.station.status import gather

T = TypeVar("T")

_TOKEN = "CHARGEBUS_TEST_TOKEN"
"""In the environment of everything that a harness starts, so that survivors are found whatever became of their parents."""
_STEP_S = 0.02
_STOP_WAIT_S = 20.0
_COMMAND_WAIT_S = 60.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
_STANDPOINT = threading.Lock()
"""Held while the process works in the run directory of a station."""

CONFIG = """
[station]
identity = "{identity}"
vendor = "Chargebus"
model = "Virtual"

[central_system]
url = "{url}"

[supply]
max_current_a = 32

[reader]
driver = "rdm6300"

[[connector]]
id = 1
cable = "fixed"
evse = {{ driver = "openevse" }}
meter = {{ driver = "sdm120" }}
"""


def config(*, url: str | None = None, identity: str = "CP-1", more: str = "") -> str:
    """A station.toml with one connector. Without `url` the Central System is a loopback port on which nobody listens."""
    return CONFIG.format(url=url or f"ws://127.0.0.1:{free_port()}/", identity=identity) + more


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], T], timeout_s: float, what: str) -> T:
    """The first true value of `condition`; AssertionError naming `what` if there is none in time."""
    deadline_s = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline_s:
            raise AssertionError(f"not within {timeout_s} s: {what} (last value: {value!r})")
        pause.wait(_STEP_S)


class CommandFailed(Exception):
    """A `station` subcommand ended with another code than 0; the text is what it said."""


class Station:
    """A station of its own; several run side by side. `state_dir` is kept if given, else temporary."""

    def __init__(
        self, config_text: str | None = None, *, state_dir: Path | None = None, ready_timeout_s: float | None = 30.0
    ) -> None:
        """`ready_timeout_s` None: do not wait for `station sim ready` at the start."""
        self._temporary: Path | None = None
        if state_dir is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="station-"))
            state_dir = self._temporary / "state"
        self.state_dir = state_dir
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.config_path = self.state_dir / "station.toml"
        self.config_path.write_text(config_text if config_text is not None else config(), encoding="utf-8")
        self._ready_timeout_s = ready_timeout_s
        self._token = uuid.uuid4().hex
        self.environment = {**os.environ, _TOKEN: self._token}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Station":
        try:
            self.start()
        except BaseException:
            self.print_logs()
            self._clear_up()
            raise
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if kind is not None:
            self.print_logs()
        try:
            survivors = self.stop() if self.process is not None else []
        finally:
            self._clear_up()
        if kind is None and survivors:
            raise AssertionError(f"survived the end of the station: {', '.join(survivors)}")

    def start(self) -> None:
        """`station run --virtual`; waits until services and virtual devices are up."""
        assert self.process is None or self.process.poll() is not None, "the station runs already"
        with open(self.state_dir / "station-run.txt", "ab") as output:
            self.process = subprocess.Popen(
                self.run_command(),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_die_with_the_tests,
            )
        if self._ready_timeout_s is not None:
            self.sim("ready", "--timeout", str(self._ready_timeout_s))

    def run_command(self) -> list[str]:
        """How the station is started."""
        command = ["run", "--virtual", "--config", str(self.config_path), "--state-dir", str(self.state_dir)]
        return [sys.executable, "-m", "services.station.cli", *command]

    def stop(self) -> list[str]:
        """End the station in good order; what of it had to be killed, which should be nothing."""
        assert self.process is not None, "the station was never started"
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_WAIT_S)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not self.processes(), 3, "every process of the station has ended")
        return self._kill_all()

    def kill_supervisord(self) -> None:
        """As a power cut would, but for supervisord alone."""
        assert self.process is not None, "the station was never started"
        self.process.kill()
        self.process.wait()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `station` subcommand on this station."""
        name, *rest = arguments
        return subprocess.run(
            [sys.executable, "-m", "services.station.cli", name, "--state-dir", str(self.state_dir), *rest],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_WAIT_S,
            check=False,
        )

    def sim(self, *arguments: str) -> dict[str, Any]:
        """`station sim …` without the start of a command, which tests that look again and again can't afford; what it answers.

        Raises CommandFailed.
        """
        command, *rest = arguments
        if command == "ready":
            timeout_s = float(rest[1]) if rest else _COMMAND_WAIT_S
            try:
                with _coming_back():
                    wait_until_ready(str(self.state_dir), timeout_s)
            except (SimulatorUnreachable, NotReady, paths.NotRunning) as error:
                raise CommandFailed(f"station sim {' '.join(arguments)}: {error}") from None
            return {}
        try:
            answer = request(str(self.state_dir), command, rest, _COMMAND_WAIT_S)
        except SimulatorUnreachable as error:
            raise CommandFailed(f"station sim {' '.join(arguments)}: {error}") from None
        if not answer.pop("ok", False):
            raise CommandFailed(f"station sim {' '.join(arguments)}: {answer.get('reason')}")
        return dict(answer.get("state", answer))

    def status(self) -> dict[str, Any]:
        """`station status --json` without the start of a command, whatever it says of the station's health.

        Raises CommandFailed if there is no station.
        """
        try:
            with _coming_back():
                answer = report(gather(str(self.state_dir)))
        except paths.NotRunning as error:
            raise CommandFailed(f"exit code 3: station status: {error}") from None
        return dict(json.loads(msgspec.json.encode(answer)))

    def restart(self, service: str) -> str:
        """`station restart SERVICE`; its line. Raises CommandFailed."""
        return self._successful("restart", service)

    def pid(self, service: str) -> int:
        """Process of a service; AssertionError if it does not run. `supervisord` is one too."""
        found = self.processes()
        assert service in found, f"{service} does not run; there is {sorted(found)}"
        return found[service]

    def kill(self, service: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to a service; the pid that it went to."""
        pid = self.pid(service)
        os.kill(pid, number)
        return pid

    def log(self, service: str) -> str:
        """Everything in the current log file of a service."""
        path = self.state_dir / "log" / f"{service}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def processes(self) -> dict[str, int]:
        """Pids of all living processes of this station, by service; others by `process PID`.

        supervisord is the one that was started, and nobody else: between fork and exec its children look just like it.
        """
        found = {}
        for pid in _pids_with(f"{_TOKEN}={self._token}".encode()):
            ours = self.process is not None and self.process.pid == pid
            found["supervisord" if ours else _service_of(pid)] = pid
        return found

    def print_logs(self, lines_max: int = 40) -> None:
        """The tail of each log, for the person who reads a failed test."""
        for path in [self.state_dir / "station-run.txt", *sorted((self.state_dir / "log").glob("*.log"))]:
            if path.exists():
                tail = path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines_max:]
                print(f"--- {path}", *tail, sep="\n", file=sys.stderr)

    def _successful(self, *arguments: str) -> str:
        done = self.command(*arguments)
        if done.returncode != 0:
            raise CommandFailed(f"station {' '.join(arguments)}: exit code {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def _kill_all(self) -> list[str]:
        killed: set[str] = set()
        for _ in range(100):
            alive = self.processes()
            if not alive:
                break
            for name, pid in alive.items():
                killed.add(f"{name} ({pid})")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            threading.Event().wait(_STEP_S)
        if self.process is not None:
            self.process.wait(_STOP_WAIT_S)
        return sorted(killed)

    def _clear_up(self) -> None:
        self._kill_all()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)


@contextlib.contextmanager
def _coming_back() -> Iterator[None]:
    """Whoever looks at a station goes into its run directory; threads take turns, and the tests' own directory stays theirs."""
    with _STANDPOINT, contextlib.chdir(os.getcwd()):
        yield


def _die_with_the_tests() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _pids_with(variable: bytes) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):
                if variable in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.append(int(name))
    return found


def _service_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if variable.startswith(b"SUPERVISOR_PROCESS_NAME="):
                return variable.partition(b"=")[2].decode()
    return f"process {pid}"
