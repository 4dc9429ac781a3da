"""The control socket `simulator.sock`: one JSON object a line in, one out.

    {"command": "plug-in", "args": ["1"]}   ->   {"ok": true}   or   {"ok": false, "reason": "one line"}

Owns: the socket, its lines and bounds. Does not: know the commands.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable
from typing import Any

SOCKET = "simulator.sock"
"""In the run directory, in which the process works: a path of a socket has 107 bytes at most."""
_LINE_BYTES_MAX = 16_384
_CLIENTS_MAX = 16
_IDLE_S = 10.0


class ControlServer:
    """Serves `handle`, one request at a time."""

    def __init__(self, handle: Callable[[Any], dict[str, Any]]) -> None:
        self._handle = handle
        self._clients: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; only this user may connect. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, SOCKET, limit=_LINE_BYTES_MAX)
        finally:
            os.umask(mask)

    async def close(self) -> None:
        """Stop listening and end all conversations."""
        assert self._server is not None, "it was started"
        self._server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "this runs as a task"
        self._clients.add(task)
        try:
            if len(self._clients) <= _CLIENTS_MAX:
                await self._converse(reader, writer)
        except (ConnectionError, TimeoutError):
            pass
        finally:
            self._clients.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), _IDLE_S)
            except ValueError:
                answer = {"ok": False, "reason": f"a line has at most {_LINE_BYTES_MAX} bytes"}
                await self._send(writer, answer)
                return
            if not line.endswith(b"\n"):
                return
            await self._send(writer, self._answer(line))

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return {"ok": False, "reason": "a line is one JSON object in UTF-8"}
        return self._handle(request)

    async def _send(self, writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
        writer.write(json.dumps(answer).encode("ascii") + b"\n")
        await asyncio.wait_for(writer.drain(), _IDLE_S)
