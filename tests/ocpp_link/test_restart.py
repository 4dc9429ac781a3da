"""How the station restarts for a Reset, and that it notices when it can't (OCPP 1.6 §5.14); supervisord is a stand-in."""

import os
import signal
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler

import pytest

from bus.clock import RUN_ID_ENVIRONMENT
from services.ocpp_link import reset
from services.station.programs import programs
from services.station.supervisor_client import SOCKET
from tests.ocpp_link.world import Lines

SERVICES = [program.name for program in programs(virtual=False) if program.name != reset.OWN_NAME]
OWN_END = (os.getpid(), signal.SIGTERM)


class Supervisor(socketserver.ThreadingMixIn, socketserver.UnixStreamServer, SimpleXMLRPCDispatcher):
    """Answers as supervisord does, on its socket in the run directory."""

    daemon_threads = True

    def __init__(self) -> None:
        class Handler(SimpleXMLRPCRequestHandler):
            rpc_paths = ()
            disable_nagle_algorithm = False

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        SimpleXMLRPCDispatcher.__init__(self, allow_none=True)
        socketserver.UnixStreamServer.__init__(self, SOCKET, Handler)
        self.pids = {name: number for number, name in enumerate([*SERVICES, reset.OWN_NAME], 100)}
        self.logRequests = False
        self.signalled: list[tuple[str, str]] = []
        self.refuses: dict[str, int] = {}
        """Programs that can't be signalled, and the pid that each has afterwards."""
        self.register_function(lambda: [self._info(name) for name in self.pids], "supervisor.getAllProcessInfo")
        self.register_function(self._info, "supervisor.getProcessInfo")
        self.register_function(self._signal, "supervisor.signalProcess")

    def _info(self, name: str) -> dict[str, Any]:
        return {"name": name, "statename": "RUNNING", "pid": self.pids[name], "spawnerr": ""}

    def _signal(self, name: str, number: str) -> bool:
        if name in self.refuses:
            self.pids[name] = self.refuses[name]
            raise Fault(70, f"NOT_RUNNING: {name}")
        self.signalled.append((name, number))
        return True


@pytest.fixture
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Whom this process would have ended; it stands in the run directory of a station."""
    found: list[tuple[int, int]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RUN_ID_ENVIRONMENT, "run")
    kill = os.kill

    def recorded(pid: int, number: int) -> None:
        if pid in (os.getpid(), os.getppid()):
            found.append((pid, number))
        else:
            kill(pid, number)

    monkeypatch.setattr(os, "kill", recorded)
    return found


@pytest.fixture
def supervisor(killed: list[tuple[int, int]]) -> Iterator[Supervisor]:  # noqa: ARG001
    with Supervisor() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def restart(on_reset: str, *, hard: bool = False) -> str:
    return reset.restart_station(on_reset, Lines(), hard=hard)


@pytest.mark.parametrize("hard", [False, True])
def test_all_services_are_ended_in_good_order_and_the_link_last(
    supervisor: Supervisor, killed: list[tuple[int, int]], hard: bool
) -> None:
    assert restart("restart", hard=hard) == ""
    assert supervisor.signalled == [(name, "TERM") for name in SERVICES]
    assert killed == [OWN_END]


def test_a_service_that_does_not_run_is_not_in_the_way(supervisor: Supervisor, killed: list[tuple[int, int]]) -> None:
    supervisor.pids["rfid"] = 0
    supervisor.refuses = {"meter": 999}
    assert restart("restart") == ""
    assert {name for name, _ in supervisor.signalled} == set(SERVICES) - {"rfid", "meter"}
    assert killed == [OWN_END]


def test_a_service_that_can_not_be_ended_is_a_failure(supervisor: Supervisor, killed: list[tuple[int, int]]) -> None:
    supervisor.refuses = {"meter": supervisor.pids["meter"]}
    assert "NOT_RUNNING" in restart("restart")
    assert killed == []


def test_without_supervisord_it_is_a_failure(killed: list[tuple[int, int]]) -> None:
    assert "supervisord does not answer" in restart("restart")
    assert killed == []


def test_exit_ends_station_run(killed: list[tuple[int, int]]) -> None:
    assert restart("exit", hard=True) == ""
    assert killed == [(os.getppid(), signal.SIGTERM)]


def test_a_link_that_station_run_has_not_started_ends_alone(
    killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUN_ID_ENVIRONMENT)
    assert restart("reboot", hard=True) == ""
    assert killed == [OWN_END]


class TestReboot:
    def test_is_the_board_s_business(self, killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reset, "REBOOT_COMMAND", ("true",))
        assert restart("reboot") == ""
        assert killed == []

    @pytest.mark.parametrize(
        ("command", "problem"),
        [(("sh", "-c", "echo no rights >&2; exit 1"), "sh refuses: no rights"), (("./nowhere",), "No such file")],
    )
    def test_that_is_refused_fails_a_hard_reset(
        self,
        supervisor: Supervisor,
        killed: list[tuple[int, int]],
        monkeypatch: pytest.MonkeyPatch,
        command: tuple[str, ...],
        problem: str,
    ) -> None:
        """Errata v4.0 3.36: Hard restarts (all) the hardware; Soft restarts the application software."""
        monkeypatch.setattr(reset, "REBOOT_COMMAND", command)
        assert problem in restart("reboot", hard=True)
        assert (supervisor.signalled, killed) == ([], [])
        assert restart("reboot", hard=False) == ""
        assert len(supervisor.signalled) == len(SERVICES)

    def test_that_hangs_is_a_failure_and_does_not_hang_the_link(
        self, killed: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reset, "REBOOT_COMMAND", ("sleep", "60"))
        monkeypatch.setattr(reset, "REBOOT_S_MAX", 0.05)
        assert "does not come back" in restart("reboot", hard=True)
        assert killed == []
