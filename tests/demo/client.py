"""A charge point of hand-written frames, for tests of the Central System."""

import json
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from websockets.sync.client import ClientConnection, connect

from services.demo.central_system import CentralSystem

BOOT = {"chargePointVendor": "Vendor", "chargePointModel": "Model"}
START = {"connectorId": 1, "idTag": "04AABBCC", "meterStart": 1000, "timestamp": "2024-01-01T00:00:00.000Z"}
ANSWER_WAIT_S = 5.0


class HandWritten:
    """Speaks exactly what it is told to."""

    def __init__(self, central_system: CentralSystem, identity: str = "CP-1", **options: Any) -> None:
        options.setdefault("subprotocols", ["ocpp1.6"])
        self._resources = ExitStack()
        before = len(central_system.book.connections())
        self.socket: ClientConnection = self._resources.enter_context(connect(central_system.url + identity, **options))
        # The client's handshake is over before the Central System's thread knows of the connection.
        central_system.wait_for(lambda book: len(book.connections()) > before, ANSWER_WAIT_S, "the connection is known")
        self._count = 0

    def __enter__(self) -> "HandWritten":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._resources.close()

    def send(self, action: str, payload: Any, unique_id: str | None = None) -> str:
        """A CALL; its unique id."""
        self._count += 1
        unique_id = unique_id or f"id-{self._count}"
        self.socket.send(json.dumps([2, unique_id, action, payload]))
        return unique_id

    def receive(self) -> list[Any]:
        """The next message."""
        return list(json.loads(self.socket.recv(timeout=ANSWER_WAIT_S)))

    def call(self, action: str, payload: Any, unique_id: str | None = None) -> list[Any]:
        """A CALL and the next message."""
        self.send(action, payload, unique_id)
        return self.receive()

    def answer(self, payload: dict[str, Any]) -> list[Any]:
        """Take the Central System's CALL and answer it; the CALL."""
        message = self.receive()
        self.socket.send(json.dumps([3, message[1], payload]))
        return message
