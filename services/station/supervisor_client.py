"""Asks the running supervisord, over the unix socket in the run directory.

Owns: a transport with a time limit, the few questions that `station` has. Does not: keep a connection open between
commands. The caller works in the run directory: the socket's name is relative (design §2).
"""

import http.client
import socket
import xmlrpc.client
from typing import Any

import msgspec

SOCKET = "supervisor.sock"
TIMEOUT_S = 2.0
_ALREADY_STARTED = 60


class SupervisorUnreachable(Exception):
    """supervisord does not answer, or refuses; the text is one line."""


class ProcessState(msgspec.Struct, frozen=True):
    """A process as supervisord sees it: STARTING, RUNNING, BACKOFF, STOPPING, EXITED, STOPPED, FATAL. `pid` 0: none."""

    name: str
    state: str
    pid: int
    error: str


class SupervisorClient:
    """Questions and orders. Every method raises SupervisorUnreachable."""

    def processes(self) -> dict[str, ProcessState]:
        """All processes of the station by name."""
        return {state.name: state for state in map(_state, self._call("getAllProcessInfo"))}

    def process(self, name: str) -> ProcessState:
        """One process."""
        return _state(self._call("getProcessInfo", name))

    def start(self, name: str) -> None:
        """Start a process that is not running; does not wait for it."""
        self._call("startProcess", name, False)

    def reload(self) -> None:
        """Have supervisord read its configuration again; it ends all processes and starts them anew."""
        self._call("restart")

    def send_signal(self, name: str, number: str) -> None:
        """Send a signal (`TERM`, `KILL`) to a process."""
        self._call("signalProcess", name, number)

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport()) as server:
                return getattr(server.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as error:
            if error.faultCode == _ALREADY_STARTED:
                return None
            raise SupervisorUnreachable(f"supervisord refuses: {error.faultString}") from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ValueError) as error:
            raise SupervisorUnreachable(f"supervisord does not answer: {error or type(error).__name__}") from None


class _UnixTransport(xmlrpc.client.Transport):
    """The one that comes with supervisor waits for ever, and costs 40 ms to import."""

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        if self._connection and host == self._connection[0] and self._connection[1] is not None:
            return self._connection[1]
        connection = _UnixConnection(str(host), timeout=TIMEOUT_S)
        self._connection = host, connection
        return connection


class _UnixConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def _state(info: Any) -> ProcessState:
    return ProcessState(str(info["name"]), str(info["statename"]), int(info["pid"]), str(info["spawnerr"]))
