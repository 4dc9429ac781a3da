"""A service for the tests of the runtime: it owns `rfid`'s topics or `connectors`', and does what its file of orders says.

Run by the tests as `python -m tests.bus.probe_service NAME …`, with the arguments of every service.
"""

import os
import sys

from bus.calls import IncomingCall, Reply
from bus.messages import (
    IdTagPresented,
    MeterSample,
    ReaderState,
    ReadMeter,
    RemoteStartStopAnswer,
    RemoteStartTransaction,
)
from bus.runtime import Runtime, run
from bus.vocabulary import RemoteStartStopStatus


class Publisher:
    """Says a reader state; on a call of the tag `raise` it breaks, on others it answers. Named `connectors`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.node.serve(RemoteStartTransaction, self._asked)

    def _asked(self, request: RemoteStartTransaction, call: IncomingCall) -> None:
        if request.id_tag == "raise":
            raise ValueError("a mistake of ours")
        call.answer(RemoteStartStopAnswer(RemoteStartStopStatus.ACCEPTED, str(os.getpid())))

    def tick(self) -> None:
        """Nothing to do."""

    def next_deadline_s(self) -> float | None:
        """Never."""
        return None

    def close(self) -> None:
        """Say so, for the test of a good end."""
        self._runtime.log.info("closed in good order")


class Reader:
    """Publishes one state at its start. Named `rfid`."""

    def __init__(self, runtime: Runtime) -> None:
        runtime.node.publish(ReaderState(f"process {os.getpid()}"))
        runtime.node.emit(IdTagPresented("A", 0.0))
        runtime.set_problem("test", "a problem that people see")

    def tick(self) -> None:
        """Nothing to do."""

    def next_deadline_s(self) -> float | None:
        """Never."""
        return None

    def close(self) -> None:
        """Nothing to close."""


class Meter:
    """Cannot even be built. Named `meter`."""

    def __init__(self, runtime: Runtime) -> None:
        runtime.node.serve(ReadMeter, lambda _, call: call.answer(MeterSample(1, 0.0, "", 0)))
        runtime.node.call(RemoteStartTransaction("A"), timeout_s=1.0, on_reply=self._replied)
        raise RuntimeError("no meter without its file")

    def _replied(self, _: Reply) -> None:
        """Never comes."""


BUILDERS = {"connectors": Publisher, "rfid": Reader, "meter": Meter}

if __name__ == "__main__":
    name = sys.argv.pop(1)
    raise SystemExit(run(name, BUILDERS[name]))  # type: ignore[arg-type]
