"""The rfid process: `python -m services.rfid`.

Owns: the reader's port. Does not: decide (`core.py`). Topics: publishes rfid.presented., rfid.reader.
"""

import os

from bus.clock import boottime_s
from bus.logs import Logger
from bus.messages import IdTagPresented, ReaderState
from bus.node import Node
from bus.runtime import Runtime, run
from services.configuration.model import StationConfig
from services.configuration.station import load
from services.hardware.contract import TokenSeen
from services.hardware.fleet import Fleet
from services.rfid import core
from services.rfid.drivers import reader_driver


class RfidService:
    """Feeds the core and says on the bus what it answers."""

    def __init__(self, node: Node, log: Logger, format_: str) -> None:
        self._node = node
        self._log = log
        self._state = core.State(format=format_)
        node.publish(ReaderState())

    def feed(self, event: core.Event) -> None:
        """One event, and all its effects."""
        self._state, effects = core.step(self._state, event)
        for effect in effects:
            match effect:
                case core.Presented(id_tag=id_tag, seen_s=seen_s):
                    self._node.emit(IdTagPresented(id_tag, seen_s))
                case core.Refused(reason=reason):
                    self._log.warning(reason)
                case core.FailureChanged(failure=failure):
                    self._node.publish(ReaderState(failure))


class RfidProcess:
    """The service with its reader: what the runtime feeds."""

    def __init__(self, runtime: Runtime, config: StationConfig) -> None:
        reader = config.reader
        service = RfidService(runtime.node, runtime.log, reader.id_tag_format if reader else "hex")
        self._fleet: Fleet[None] = Fleet(runtime, "reader")
        if reader is None:
            runtime.log.info("no reader is configured, sessions begin by RemoteStartTransaction only")
        else:
            self._fleet.add(0, reader_driver(reader, os.path.join(runtime.process.state_dir, reader.port)))

        def observed(_: int, token: TokenSeen) -> None:
            service.feed(core.TokenRead(token.uid, token.boottime_s))

        self._fleet.start(
            observed=observed,
            down=lambda _, reason: service.feed(core.ReaderLost(reason)),
            up=lambda _: service.feed(core.ReaderFound()),
        )

    def tick(self) -> None:
        """Time passed."""
        self._fleet.tick(boottime_s())

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        return self._fleet.next_deadline_s()

    def close(self) -> None:
        """Stop the thread."""
        self._fleet.close()


def build(runtime: Runtime) -> RfidProcess:
    """The process as the runtime wants it."""
    return RfidProcess(runtime, load(runtime.process.config_path, with_virtual_devices=runtime.process.virtual))


if __name__ == "__main__":
    raise SystemExit(run("rfid", build))
