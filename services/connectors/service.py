"""The connectors service: joins core, store and bus, and does the effects in their order.

Owns: how an event comes in and an effect goes out. Does not: decide (`core.py`), open sockets, threads or files; all that
is handed in, so that the simulation runs this very class.
"""

import sqlite3
from collections.abc import Callable
from typing import TypeGuard

import msgspec

from bus import chance, unreadable
from bus.calls import IncomingCall, Reply
from bus.database import transaction
from bus.disk import is_full
from bus.logs import Logger
from bus.messages import (
    Authorize,
    ChangeAvailability,
    ClearCache,
    ClockState,
    CloseLostTransaction,
    ConfigurationState,
    Delivered,
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
    UnlockConnector,
)
from bus.node import Node
from bus.operating_messages import OutOfService
from bus.profile_messages import CancelReservation, GetLocalListVersion, ReserveNow, SendLocalList, TakeMeterValues
from bus.streams import JournalIn, JournalOut
from bus.topics import topic_named
from bus.vocabulary import masked_id_tag
from services.connectors import core, deliveries, local_list
from services.connectors import events as e
from services.connectors.settings import settings_from
from services.connectors.state import Connector, Now, State
from services.connectors.store import Store
from services.connectors.withdrawals import Output, Withdrawals

AUTHORIZE_MARGIN_S = 2.0
"""The link answers within MessageTimeout; a little later nobody will."""
FIRST_WORD_S = 15.0
"""A service that has said nothing within three periods of this one's start is down; the bus only notices later silence."""


class Board:
    """Everything of the process that the service does not own: injected, so that a test or simulation can be it."""

    show_id_tag: Callable[[str], str] = staticmethod(masked_id_tag)
    """How the log shows idTags."""
    make_room: Callable[[], bool] = staticmethod(lambda: False)
    """Gives the disk's reserve back after a commit that found it full; False: there was none."""
    emergency_stop_fitted = False
    """Whether an EmergencyStopChanged is going to say how it is: nothing begins before."""
    seen_unplugged: Callable[[], dict[int, float]] = staticmethod(dict)
    """By connector, when the guard has seen its plug out, a boottime of this boot."""
    set_problem: Callable[[str, str | None], None] = staticmethod(lambda *_: None)
    """Tells people of a condition by its name; None: it is over."""

    def __init__(self, *, boot_id: str, node: Node, database: sqlite3.Connection, log: Logger, output: Output) -> None:
        self.boot_id = boot_id
        self.node = node
        self.database = database
        self.log = log
        self.output = output


class AnswerTooLate(Exception):
    """The caller stopped waiting while the commit was under way: nothing of it may count (design §3)."""


class ConnectorsService:
    """Feeds events to the core and does what it answers.

    The state moves on only when its commit is on the disk. A commit that fails (disk full, worn out) ends the process, as
    going on would be a lie; before that an ordinary stop still opens its contactor. At its next start it takes up what the
    disk has. While a commit takes long, `withdrawals` takes energy away.
    """

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
        numbers = tuple(connector.connector_id for connector in connectors)
        self.withdrawals = Withdrawals(board.output, numbers, board.node.now, board.log)
        self._charge_before = charge_before_first_acceptance
        self._message_timeout_s = _message_timeout_s(configuration)
        self._utc_offset_s: float | None = None
        self._utc_floor_ms: int | None = None
        self._call: IncomingCall | None = None
        """The call that is being handled."""
        self._calls: dict[str, IncomingCall] = {}
        """Calls without an answer yet; each gets one, at its deadline in the core at the latest."""
        self._pending: tuple[State, tuple[e.Effect, ...]] | None = None
        self._first_word_due_s: float | None = board.node.now() + FIRST_WORD_S
        self._store = Store(board.database)
        self._journal_out = JournalOut(board.node, board.database, topic_named("journal.transaction."), board.log)
        settings = settings_from(configuration, charge_before_first_acceptance=charge_before_first_acceptance)
        fitted = board.emergency_stop_fitted
        self._state = core.initial(connectors, settings, supply_current_a, emergency_stop_fitted=fitted)
        self._listen()
        loaded = msgspec.structs.replace(self._store.load(), unplugged_s=board.seen_unplugged())
        for text in self._store.unreadable:
            self._log.error("unreadable row was set aside in table unreadable of connectors.db", reason=text)
        self._journal_out.on_unreadable = self._entry_unreadable
        self._say_unreadable()
        self._taken_up = frozenset(open_one.local_tx_id for open_one in loaded.transactions)
        self._journal_out.on_older_copy = lambda: self.feed(e.StoreOutdated(self._taken_up))
        self._perform(*core.resume(self._state, loaded, self._now(e.Tick(), self._state)))
        JournalIn(
            board.node,
            board.database,
            topic_named("journal.delivery."),
            store=self._store_delivery,
            stored=self._deliveries_stored,
        )

    def feed(self, event: e.Event) -> None:
        """One event, and all its effects."""
        self._perform(*core.step(self._state, event, self._now(event, self._state)))

    def tick(self) -> None:
        """Do what time demands."""
        self.withdrawals.turn()
        now_s = self._node.now()
        if self._first_word_due_s is not None and self._first_word_due_s <= now_s:
            self._first_word_due_s = None
            self._notice_silent_services()
        deadline_s = core.next_deadline_s(self._state)
        if deadline_s is not None and deadline_s <= now_s:
            self.feed(e.Tick())
        self._journal_out.tick()

    def end(self) -> None:
        """The process ends in good order; the controllers keep their output."""
        try:
            self.feed(e.Ending())
        except sqlite3.Error:
            self._log.warning("end of the service is not noted, a reboot will look like a power cut")

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        deadlines = (
            core.next_deadline_s(self._state),
            self._journal_out.next_deadline_s(),
            self._first_word_due_s,
            self.withdrawals.next_deadline_s(),
        )
        return min((d for d in deadlines if d is not None), default=None)

    def _listen(self) -> None:
        node = self._node
        node.on_event(IdTagPresented, lambda _, card: self.feed(e.CardPresented(card.id_tag, card.maybe_held)))
        node.watch(MeterSample, lambda _, sample: self.feed(e.MeterSampled(sample)))
        node.watch(MeterState, lambda _, m: self._meter_said(m.connector_id, m.failure), self._meter_unknown)
        node.watch(
            ReaderState,
            lambda _, reader: self._reader_said(reader.failure),
            lambda _: self._reader_unknown(),
        )
        node.watch(LinkState, lambda _, link: self._link_said(link), lambda _: self._link_said(None))
        node.watch(ClockState, lambda _, clock: self._clock_said(clock))
        node.watch(ConfigurationState, lambda _, configuration: self._configured(configuration.values))
        node.serve(RemoteStartTransaction, lambda r, call: self._called(call, e.RemoteStartRequested(call.call_id, r)))
        node.serve(RemoteStopTransaction, lambda r, call: self._called(call, e.RemoteStopRequested(call.call_id, r)))
        node.serve(ChangeAvailability, lambda r, call: self._called(call, e.AvailabilityRequested(call.call_id, r)))
        node.serve(OutOfService, lambda r, call: self._called(call, e.OutOfServiceRequested(call.call_id, r)))
        node.serve(UnlockConnector, lambda r, call: self._called(call, e.UnlockRequested(call.call_id, r)))
        node.serve(ReserveNow, lambda r, call: self._called(call, e.ReserveNowRequested(call.call_id, r)))
        node.serve(CancelReservation, lambda r, call: self._called(call, e.CancelReservationRequested(call.call_id, r)))
        node.serve(ClearCache, lambda r, call: self._called(call, e.ClearCacheRequested(call.call_id, r)))
        node.serve(SendLocalList, lambda r, call: self._called(call, e.LocalListSent(call.call_id, r)))
        node.serve(TakeMeterValues, lambda r, call: self._called(call, e.MeterValuesAsked(call.call_id, r)))
        node.serve(GetLocalListVersion, lambda r, call: self._called(call, e.LocalListVersionAsked(call.call_id, r)))
        node.serve(Reset, lambda r, call: self._called(call, e.ResetRequested(call.call_id, r)))
        node.serve(CloseLostTransaction, self._lost_transaction_found)
        node.on_cancel(self._cancelled)

    def _entry_unreadable(self, which: str) -> None:
        self._store.unreadable.append(which)
        self._say_unreadable()

    def _say_unreadable(self) -> None:
        self._board.set_problem("unreadable", unreadable.problem(len(self._store.unreadable), "connectors.db"))

    def _lost_transaction_found(self, request: CloseLostTransaction, call: IncomingCall) -> None:
        closed_here = self._store.was_closed(request.local_tx_id)
        self._called(call, e.LostTransactionFound(call.call_id, request, closed_here))

    def _called(self, call: IncomingCall, event: e.Event) -> None:
        """The core answers each call in the step that handles it, but UnlockConnector when the lock has moved."""
        self._call = self._calls[call.call_id] = call
        try:
            self.feed(event)
        except AnswerTooLate:
            del self._calls[call.call_id]
            self._log.warning("call dropped, its caller stopped waiting during the commit", caller=call.caller)
        finally:
            self._call = None

    def _cancelled(self, call_id: str) -> None:
        self._calls.pop(call_id, None)
        self.feed(e.CallCancelled(call_id))

    def _meter_said(self, connector_id: int, failure: str) -> None:
        connector = next((c for c in self._state.connectors if c.connector_id == connector_id), None)
        if connector is not None and connector.meter_failure != failure:
            self.feed(e.MeterFailureChanged(connector_id, failure))

    def _meter_unknown(self, key: str) -> None:
        if key.isdecimal():
            self._meter_said(int(key), "the meter service is down")

    def _reader_said(self, failure: str) -> None:
        if self._state.reader_failure != failure:
            self.feed(e.ReaderFailureChanged(failure))

    def _reader_unknown(self) -> None:
        self._reader_said("the rfid service is down")

    def _notice_silent_services(self) -> None:
        for connector in self._state.connectors:
            if self._node.latest(MeterState, str(connector.connector_id)) is None:
                self._meter_unknown(str(connector.connector_id))
        if self._node.latest(ReaderState) is None:
            self._reader_unknown()

    def _link_said(self, link: LinkState | None) -> None:
        self.feed(e.LinkChanged(link))

    def _clock_said(self, clock: ClockState) -> None:
        """Where the clock steps, the marks of clock-aligned readings move: the core has to know at once."""
        if clock.utc_offset_s is not None and clock.utc_offset_s != self._utc_offset_s:
            self._utc_offset_s = clock.utc_offset_s
            self.feed(e.Tick())
        if clock.floor_utc_ms is not None:
            self._utc_floor_ms = clock.floor_utc_ms

    def _configured(self, values: dict[str, str]) -> None:
        self._message_timeout_s = _message_timeout_s(values)
        settings = settings_from(values, charge_before_first_acceptance=self._charge_before)
        if settings != self._state.settings:
            self.feed(e.SettingsChanged(settings))

    def _store_delivery(self, entry: DeliveryEntry) -> None:
        """Inside the transaction that notes the entry: the core's changes join it; the rest waits for the commit, which entries
        that came together share."""
        if self._pending is None:
            self.withdrawals.commit_begins()
        before, waiting = (self._state, ()) if self._pending is None else self._pending
        if deliveries.only_forgets(entry):
            self._store.apply((e.ForgetEntry(entry),), self._journal_out.outbox)
            self._pending = (before, waiting)
            return
        event = e.DeliveryStored(entry, self._id_tag_of(entry))
        state, effects = core.step(before, event, self._now(event, before))
        at_once, changes, after = split(effects)
        self._act(at_once)
        self._store.apply(changes, self._journal_out.outbox)
        self._pending = (state, (*waiting, *after))

    def _id_tag_of(self, entry: DeliveryEntry) -> str | None:
        """Of whom the Central System's answer speaks: the message is kept until now."""
        if not isinstance(entry.outcome, Delivered) or entry.outcome.id_tag_info is None:
            return None
        return self._store.id_tag_of(entry.local_tx_id, entry.number, self._journal_out.outbox)

    def _deliveries_stored(self) -> None:
        assert self._pending is not None, "an entry is stored before it counts"
        self.withdrawals.commit_ends(on_disk=True)
        (self._state, after), self._pending = self._pending, None
        self._journal_out.send()
        self._act(after)

    def _perform(self, state: State, effects: tuple[e.Effect, ...]) -> None:
        at_once, changes, after = split(effects)
        self._act(at_once)
        if changes:
            self._commit_in_time(changes, tuple(effect for effect in after if _withdraws(effect)))
        self._state = state
        if changes:
            self._journal_out.send()
        self._act(after)

    def _commit_in_time(self, changes: tuple[e.Change, ...], stops: tuple[e.SetEvse, ...]) -> None:
        """On disk when it returns; energy does not wait for that for long."""
        self.withdrawals.commit_begins(frozenset(stop.connector_id for stop in stops))
        try:
            self._commit(changes)
        except AnswerTooLate:
            self.withdrawals.commit_ends(on_disk=False)
            raise
        except sqlite3.Error as error:
            self.withdrawals.commit_failed()
            self._log.error("connectors.db can't be written, check disk and its free space", reason=error)
            self._act(stops)
            raise
        self.withdrawals.commit_ends(on_disk=True)

    def _commit(self, changes: tuple[e.Change, ...]) -> None:
        """On disk when it returns. A full disk gets its reserve, so that what runs can still be ended."""
        try:
            self._try_commit(changes)
        except sqlite3.Error as error:
            if not (is_full(error) and self._board.make_room()):
                raise
            self._log.error("disk is full, the ballast is given back so that running transactions can be ended")
            self._try_commit(changes)

    def _try_commit(self, changes: tuple[e.Change, ...]) -> None:
        with transaction(self._board.database):
            self._store.apply(changes, self._journal_out.outbox)
            if self._call is not None and self._call.expired(self._node.now()):
                raise AnswerTooLate

    def _act(self, effects: tuple[e.Effect, ...]) -> None:
        for effect in effects:
            self._do(effect)

    def _do(self, effect: e.Effect) -> None:
        match effect:
            case e.SetEvse(connector_id=connector_id, desired=desired):
                self.withdrawals.set_desired(connector_id, desired)
            case e.Answer(call_id=call_id, answer=answer):
                self._calls.pop(call_id).answer(answer)
            case e.AskAuthorize():
                self._ask_authorize(effect)
            case e.ReadRegister():
                self._read_register(effect)
            case e.PublishConnector(state=state):
                self._node.publish(state, str(state.connector_id))
            case e.PublishReset(state=ready):
                self._node.publish(ready)
            case e.PublishLocalList(state=local_list):
                self._node.publish(local_list)
            case e.TellMeterValues(values=values):
                self._node.emit(values, str(values.connector_id))
            case e.TellCard(card=card):
                self._node.emit(card)
            case e.Note():
                self._write_note(effect)
            case _:
                raise AssertionError(f"no way to do {type(effect).__name__}")

    def _ask_authorize(self, asked: e.AskAuthorize) -> None:
        correlation_id = asked.correlation_id or None

        def answered(reply: Reply) -> None:
            if reply.error is not None:
                text = "no answer to Authorize, the offline rules decide"
                self._log.warning(text, reason=reply.error, correlation_id=correlation_id)
            self.feed(e.AuthorizeAnswered(asked.token, reply.value, asked.id_tag))

        timeout_s = self._message_timeout_s + AUTHORIZE_MARGIN_S
        self._node.call(Authorize(asked.id_tag, asked.correlation_id), timeout_s=timeout_s, on_reply=answered)

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
            id_tag=None if note.id_tag is None else self._board.show_id_tag(note.id_tag),
            detail=note.detail,
            correlation_id=note.correlation_id or None,
        )

    def _now(self, event: e.Event, state: State) -> Now:
        listed = self._store.local_list.find(local_list.in_question(state, event))
        now_s = self._node.now()
        return Now(now_s, self._board.boot_id, chance.token_hex(8), self._utc_offset_s, self._utc_floor_ms, listed)


def split(effects: tuple[e.Effect, ...]) -> tuple[tuple[e.Effect, ...], tuple[e.Change, ...], tuple[e.Effect, ...]]:
    """What is done at once, what is committed, and what is done after that. Without a commit all is done after."""
    for index, effect in enumerate(effects):
        if isinstance(effect, e.Commit):
            return effects[:index], effect.changes, effects[index + 1 :]
    return (), (), effects


def _withdraws(effect: e.Effect) -> TypeGuard[e.SetEvse]:
    return isinstance(effect, e.SetEvse) and not effect.desired.energy_allowed


def _message_timeout_s(configuration: dict[str, str]) -> float:
    return float(configuration.get("MessageTimeout") or 30)
