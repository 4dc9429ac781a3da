"""Asks the virtual hardware of a station for something. Standard library only, and quick to import.

Owns: finding the socket wherever the state directory is. Does not: know the commands.
"""

import json
import os
import socket
import time
from typing import Any

_SOCKET = "simulator.sock"
_ANSWER_BYTES_MAX = 16_000_000


class SimulatorUnreachable(Exception):
    """No virtual hardware answers; the text is one plain line."""


def request(state_dir: str, command: str, args: list[str], timeout_s: float = 5.0) -> dict[str, Any]:
    """The answer to one command: `{"ok": true, …}` or `{"ok": false, "reason": …}`. Raises SimulatorUnreachable."""
    deadline_s = time.monotonic() + timeout_s
    line = json.dumps({"command": command, "args": args}).encode("ascii") + b"\n"
    try:
        with _connected(os.path.join(state_dir, "run"), timeout_s) as connection:
            connection.sendall(line)
            answer = _line(connection, deadline_s)
    except TimeoutError:
        raise SimulatorUnreachable(f"the virtual hardware in {state_dir} does not answer within {timeout_s:g} s") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise SimulatorUnreachable(f"no virtual hardware runs in {state_dir}; start it with station run --virtual") from None
    except OSError as error:
        raise SimulatorUnreachable(f"the virtual hardware in {state_dir} can't be reached: {error.strerror}") from None
    return _decoded(answer, state_dir)


def _connected(directory: str, timeout_s: float) -> socket.socket:
    """A connection by way of the directory's descriptor: the address of a socket has 107 bytes at most, a path more."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout_s)
        connection.connect(f"/proc/self/fd/{descriptor}/{_SOCKET}")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(descriptor)
    return connection


def _line(connection: socket.socket, deadline_s: float) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n") and len(received) < _ANSWER_BYTES_MAX:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        connection.settimeout(left_s)
        data = connection.recv(65536)
        if not data:
            break
        received += data
    return bytes(received)


def _decoded(answer: bytes, state_dir: str) -> dict[str, Any]:
    try:
        decoded = json.loads(answer)
    except ValueError:
        decoded = None
    if not isinstance(decoded, dict):
        raise SimulatorUnreachable(f"the virtual hardware in {state_dir} ended without an answer; see its log simulator.log")
    return decoded
