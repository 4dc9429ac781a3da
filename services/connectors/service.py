"""The connectors service: joins core, store and bus, and does the effects in their order.

Owns: how an event comes in and an effect goes out. Does not: decide (`core.py`), open sockets, threads or files; all that
is handed in, so that the simulation runs this very class.
"""

import secrets
import sqlite3
from collections.abc import Callable
from typing import Protocol

from bus.calls import IncomingCall, Reply
from bus.database import transaction
from bus.logs import Logger
from bus.messages import (
    Authorize,
    ClockState,
    ConfigurationState,
    DeliveryEntry,
    IdTagPresented,
    LinkState,
    MeterSample,
    MeterState,
    ReaderState,
    ReadMeter,
    RemoteStartTransaction,
    RemoteStopTransaction,
    Reset,
)
from bus.node import Node
from bus.streams import JournalIn, JournalOut
from bus.topics import topic_named
from services.connectors import core
from services.connectors import events as e
from services.connectors.settings import settings_from
from services.connectors.state import Connector, Now
from services.connectors.store import Store
from services.hardware.contract import EvseDesired

AUTHORIZE_MARGIN_S = 2.0
"""The link answers within MessageTimeout; a little later nobody will."""
CALLS_KEPT_MAX = 100


class Output(Protocol):
    """The charging controllers, as far as the service commands them."""

    def set_desired(self, connector_id: int, desired: EvseDesired) -> None:
        """Give this output from now on."""


class Board:
    """Everything of the process that the service does not own: injected, so that a test or simulation can be it."""

    def __init__(self, *, boot_id: str, node: Node, database: sqlite3.Connection, log: Logger, output: Output) -> None:
        self.boot_id = boot_id
        self.node = node
        self.database = database
        self.log = log
        self.output = output


class ConnectorsService:
    """Feeds events to the core and does what it answers."""

    def __init__(
        self,
        board: Board,
        connectors: tuple[Connector, ...],
        *,
        supply_current_a: float,
        charge_before_first_acceptance: bool,
        configuration: dict[str, str],
    ) -> None:
        self._board = board
        self._node = board.node
        self._log = board.log
        self._charge_before = charge_before_first_acceptance
        self._message_timeout_s = _message_timeout_s(configuration)
        self._utc_offset_s: float | None = None
        self._calls: dict[str, IncomingCall] = {}
        self._after_commit: list[e.Effect] = []
        self._store = Store(board.database)
        self._journal_out = JournalOut(board.node, board.database, topic_named("journal.transaction."), board.log)
        settings = settings_from(configuration, charge_before_first_acceptance=charge_before_first_acceptance)
        self._state = core.initial(connectors, settings, supply_current_a)
        self._listen()
        loaded = self._store.load()
        for text in self._store.unreadable:
            self._log.error("unreadable row was set aside in table unreadable of connectors.db", reason=text)
        self._state, effects = core.resume(self._state, loaded, self._now())
        self._do(effects)
        JournalIn(
            board.node,
            board.database,
            topic_named("journal.delivery."),
            store=self._store_delivery,
            stored=self._delivery_stored,
        )

    def feed(self, event: e.Event) -> None:
        """One event, and all its effects."""
        self._state, effects = core.step(self._state, event, self._now())
        self._do(effects)

    def tick(self) -> None:
        """Do what time demands."""
        deadline_s = core.next_deadline_s(self._state)
        if deadline_s is not None and deadline_s <= self._node.now():
            self.feed(e.Tick())
        self._journal_out.tick()

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        deadlines = (core.next_deadline_s(self._state), self._journal_out.next_deadline_s())
        return min((d for d in deadlines if d is not None), default=None)

    def _listen(self) -> None:
        node = self._node
        node.on_event(IdTagPresented, lambda _, card: self.feed(e.CardPresented(card.id_tag)))
        node.watch(MeterSample, lambda _, sample: self.feed(e.MeterSampled(sample)))
        node.watch(MeterState, lambda _, m: self._meter_said(m.connector_id, m.failure), self._meter_unknown)
        node.watch(
            ReaderState,
            lambda _, reader: self._reader_said(reader.failure),
            lambda _: self._reader_said("the rfid service is down"),
        )
        node.watch(LinkState, lambda _, link: self._link_said(link), lambda _: self._link_said(None))
        node.watch(ClockState, lambda _, clock: self._clock_said(clock))
        node.watch(ConfigurationState, lambda _, configuration: self._configured(configuration.values))
        node.serve(RemoteStartTransaction, lambda r, call: self._called(call, e.RemoteStartRequested(call.call_id, r)))
        node.serve(RemoteStopTransaction, lambda r, call: self._called(call, e.RemoteStopRequested(call.call_id, r)))
        node.serve(Reset, lambda r, call: self._called(call, e.ResetRequested(call.call_id, r)))
        node.on_cancel(lambda call_id: self.feed(e.CallCancelled(call_id)))

    def _called(self, call: IncomingCall, event: e.Event) -> None:
        if len(self._calls) >= CALLS_KEPT_MAX:
            call.refuse("too many calls wait for an answer")
            return
        self._calls[call.call_id] = call
        self.feed(event)

    def _meter_said(self, connector_id: int, failure: str) -> None:
        connector = next((c for c in self._state.connectors if c.connector_id == connector_id), None)
        if connector is not None and connector.meter_failure != failure:
            self.feed(e.MeterFailureChanged(connector_id, failure))

    def _meter_unknown(self, key: str) -> None:
        self._meter_said(int(key), "the meter service is down")

    def _reader_said(self, failure: str) -> None:
        if self._state.reader_failure != failure:
            self.feed(e.ReaderFailureChanged(failure))

    def _link_said(self, link: LinkState | None) -> None:
        self.feed(e.LinkChanged(link))

    def _clock_said(self, clock: ClockState) -> None:
        if clock.utc_offset_s is not None:
            self._utc_offset_s = clock.utc_offset_s

    def _configured(self, values: dict[str, str]) -> None:
        self._message_timeout_s = _message_timeout_s(values)
        settings = settings_from(values, charge_before_first_acceptance=self._charge_before)
        if settings != self._state.settings:
            self.feed(e.SettingsChanged(settings))

    def _store_delivery(self, entry: DeliveryEntry) -> None:
        """Inside the transaction that notes the entry: the core's changes join it; the rest waits for the commit."""
        self._state, effects = core.step(self._state, e.DeliveryStored(entry), self._now())
        for effect in effects:
            if isinstance(effect, e.Commit):
                self._store.apply(effect.changes, self._journal_out.outbox)
            else:
                self._after_commit.append(effect)

    def _delivery_stored(self, _: DeliveryEntry) -> None:
        effects, self._after_commit = self._after_commit, []
        self._do(tuple(effects))
        self._journal_out.send()

    def _do(self, effects: tuple[e.Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case e.Commit(changes=changes):
                    with transaction(self._board.database):
                        self._store.apply(changes, self._journal_out.outbox)
                    self._journal_out.send()
                case e.SetEvse(connector_id=connector_id, desired=desired):
                    self._board.output.set_desired(connector_id, desired)
                case e.Answer(call_id=call_id, answer=answer):
                    call = self._calls.pop(call_id, None)
                    if call is not None:
                        call.answer(answer)
                case e.AskAuthorize(token=token, id_tag=id_tag):
                    self._ask_authorize(token, id_tag)
                case e.ReadRegister():
                    self._read_register(effect)
                case e.PublishConnector(state=state):
                    self._node.publish(state, str(state.connector_id))
                case e.PublishReset(state=ready):
                    self._node.publish(ready)
                case e.Note():
                    self._write_note(effect)
                case _:
                    raise AssertionError(f"no way to do {type(effect).__name__}")

    def _ask_authorize(self, token: str, id_tag: str) -> None:
        def answered(reply: Reply) -> None:
            if reply.error is not None:
                self._log.warning("no answer to Authorize, the offline rules decide", reason=reply.error)
            self.feed(e.AuthorizeAnswered(token, reply.value))

        timeout_s = self._message_timeout_s + AUTHORIZE_MARGIN_S
        self._node.call(Authorize(id_tag), timeout_s=timeout_s, on_reply=answered)

    def _read_register(self, effect: e.ReadRegister) -> None:
        def answered(reply: Reply) -> None:
            self.feed(e.MeterRead(effect.token, reply.value))

        request = ReadMeter(effect.connector_id, effect.not_before_s)
        self._node.call(request, timeout_s=effect.timeout_s, on_reply=answered)

    def _write_note(self, note: e.Note) -> None:
        write: Callable[..., None] = self._log.warning if note.warning else self._log.info
        write(
            note.text,
            connector=note.connector_id,
            local_tx_id=note.local_tx_id,
            id_tag=None if note.id_tag is None else masked(note.id_tag),
            detail=note.detail,
        )

    def _now(self) -> Now:
        return Now(self._node.now(), self._board.boot_id, secrets.token_hex(8), self._utc_offset_s)


def masked(id_tag: str) -> str:
    """An idTag as it may stand in a log: enough to recognise, not enough to copy (hardware.md §5.6)."""
    return id_tag if len(id_tag) <= 4 else f"{id_tag[:4]}…{id_tag[-2:]}" if len(id_tag) > 6 else f"{id_tag[:2]}…"


def _message_timeout_s(configuration: dict[str, str]) -> float:
    return float(configuration.get("MessageTimeout") or 30)
