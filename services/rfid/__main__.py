"""The rfid process: `python -m services.rfid`.

Owns: the reader's port. Does not: decide (`presentation.py`, `feedback.py`). Topics: publishes rfid.presented., rfid.reader.;
reads connector.card.
"""

import os
from collections.abc import Callable
from functools import partial

from bus.card_messages import CardAnswered
from bus.clock import boottime_s
from bus.logs import Logger
from bus.messages import IdTagPresented, ReaderState
from bus.node import Node
from bus.runtime import Runtime, run
from services.configuration.at_start import load_for
from services.configuration.model import Reader, StationConfig
from services.hardware.contract import ReaderDesired, TokenSeen
from services.hardware.fleet import Fleet
from services.rfid import feedback, presentation
from services.rfid.drivers import reader_driver


class RfidService:
    """Feeds the core and says on the bus what it answers."""

    def __init__(
        self,
        node: Node,
        log: Logger,
        rules: presentation.IdTagRules,
        show: Callable[[ReaderDesired], None] = lambda _: None,
    ) -> None:
        """`show` has the reader show something from now on, and does not wait for it."""
        self._node = node
        self._log = log
        self._show = show
        self._state = presentation.State(rules)
        self._feedback = feedback.State()
        node.publish(ReaderState())
        node.on_event(CardAnswered, lambda _, card: self._shown(feedback.told(self._feedback, card, node.now())))
        # What the process before left there is not meant for anybody any more.
        self._shown(self._feedback)

    def feed(self, event: presentation.Event) -> None:
        """One event, and all its effects."""
        self._state, effects = presentation.step(self._state, event, self._node.now())
        for effect in effects:
            match effect:
                case presentation.Presented(id_tag=id_tag, seen_boottime_s=seen_s, maybe_held=maybe_held):
                    self._node.emit(IdTagPresented(id_tag, seen_s, maybe_held))
                case presentation.Refused(reason=reason):
                    self._log.warning(reason)
                    self._shown(feedback.unusable(self._feedback, self._node.now()))
                case presentation.ReaderLost(reason=reason):
                    self._node.publish(ReaderState(reason))
                case presentation.ReaderFound():
                    self._node.publish(ReaderState())

    def tick(self) -> None:
        """Do what time demands."""
        self._shown(feedback.passed(self._feedback, self._node.now()))

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        return feedback.next_deadline_s(self._feedback)

    def _shown(self, state: feedback.State) -> None:
        self._feedback = state
        self._show(ReaderDesired(feedback.shown(state)))


class RfidProcess:
    """The service with its reader: what the runtime feeds."""

    def __init__(self, runtime: Runtime, config: StationConfig) -> None:
        reader = config.reader
        rules = _rules(reader) if reader else presentation.IdTagRules()
        self._fleet: Fleet[ReaderDesired] = Fleet(runtime, "reader")
        if reader is None:
            runtime.log.info("no reader is configured, sessions begin by RemoteStartTransaction only")
        else:
            driver = reader_driver(reader, os.path.join(runtime.process.state_dir, reader.port))
            self._fleet.add(0, driver, name=reader.driver, port=reader.port)
        show = partial(self._fleet.set_desired, 0)
        self._service = service = RfidService(runtime.node, runtime.log, rules, show)

        def observed(_: int, token: TokenSeen) -> None:
            service.feed(presentation.TokenRead(token))

        self._fleet.start(
            observed=observed,
            down=lambda _, reason: service.feed(presentation.ReaderDown(reason)),
            up=lambda _: service.feed(presentation.ReaderUp()),
        )

    def tick(self) -> None:
        """Time passed."""
        self._service.tick()
        self._fleet.tick(boottime_s())

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        deadlines = (self._fleet.next_deadline_s(), self._service.next_deadline_s())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def close(self) -> None:
        """Stop the thread."""
        self._fleet.close()


def _rules(reader: Reader) -> presentation.IdTagRules:
    return presentation.IdTagRules(
        format=reader.id_tag_format,
        prefix=reader.prefix,
        max_bytes=reader.max_bytes,
        strip_leading_zeros=reader.strip_leading_zeros,
    )


def build(runtime: Runtime) -> RfidProcess:
    """The process as the runtime wants it."""
    return RfidProcess(runtime, load_for(runtime))


if __name__ == "__main__":
    raise SystemExit(run("rfid", build))
