"""The transaction queue on the bus: joins core, store and journals, and does the effects in their order.

Owns: how an event comes in and an effect goes out; which commits are one transaction. Does not: decide (`core.py`), open
sockets, threads or files; all that is handed in, so that the simulation runs this very class.

One message costs one commit: the outcome of one and the id of the next go into the same transaction, and what the journal's
consumer has acknowledged is forgotten there too.
"""

import sqlite3
from collections.abc import Callable

import msgspec

from bus.calls import Reply
from bus.database import transaction
from bus.logs import Logger
from bus.messages import (
    ClockState,
    ConfigurationState,
    ConnectorState,
    Deliver,
    Delivered,
    DeliveryEntry,
    DeliveryReport,
    GivenUp,
    LinkState,
    MeterValues,
    Moment,
    QueueState,
    TransactionEntry,
)
from bus.node import Node
from bus.salvage import forget_salvaged, salvaged
from bus.streams import JournalIn, JournalOut
from bus.topics import topic_named
from services.transaction_queue import by_hand, core, problems
from services.transaction_queue import events as e
from services.transaction_queue.ahead import Ahead
from services.transaction_queue.ended_boots import EndedBoots
from services.transaction_queue.letters import Letters
from services.transaction_queue.lines import Lines, fields_of
from services.transaction_queue.lost import LostTransactions
from services.transaction_queue.refill import Refill
from services.transaction_queue.rows import Row, action_of, text_of
from services.transaction_queue.space import Thinning, Warden
from services.transaction_queue.state import Link, Now, Start, State, settings_from
from services.transaction_queue.store import Store

HEADS_PER_COMMIT_MAX = 100
"""Messages that may end in one commit; only given-up ones come in such numbers."""
PUBLISH_S_MIN = 0.25
"""Shortest time between two QueueStates: a draining backlog changes them hundreds of times a second."""
REPEATED = "journal repeats messages of a transaction that are stored already, ignored"
OVER = "message of a transaction that had its stop already is not delivered, connectors.db is an older copy"
FORGET_S = 5.0
"""Acknowledged journal entries are forgotten with the next message, or after this long in a commit of their own."""


class Surroundings(msgspec.Struct, frozen=True):
    """What the process is to the service: injected, so that a test or simulation can be it."""

    boot_id: str
    """The hardware boot, which boottimes count from."""
    run_id: str
    """The application boot, within which numbers of connections are unique."""
    unique_id: Callable[[], str]
    """A new uuid4 in text."""
    log: Logger
    set_problem: Callable[[str, str | None], None]
    warden: Warden | None = None
    """Who looks after the disk; None: nobody."""
    backlog_per_s: float = 0.0
    """`[policy] backlog_messages_per_s`."""
    share: Callable[[], float] = lambda: 0.5
    """Random, from 0 to 1: the pause between two messages of a backlog varies by it."""


class TransactionQueue:
    """Feeds events to the core and does what it answers. An `Application` of `bus.runtime`."""

    def __init__(
        self, node: Node, database: sqlite3.Connection, surroundings: Surroundings, *, configuration: dict[str, str]
    ) -> None:
        """`configuration`: the OCPP keys as they are until the link says so. Raises sqlite3.Error."""
        self._node = node
        self._database = database
        self._own = surroundings
        self._log = surroundings.log
        self._store, self._ahead = Store(database, surroundings.boot_id), Ahead(database)
        pace_s = 1 / surroundings.backlog_per_s if surroundings.backlog_per_s else 0.0
        self._state = core.initial(surroundings.boot_id, surroundings.run_id, settings_from(configuration), pace_s)
        self._utc_offset_ms: int | None = None
        self._row: Row | None = None
        self._call: tuple[str, str] | None = None
        self._publish_due_s: float | None = None
        self._published: QueueState | None = None
        self._published_s = 0.0
        self._acknowledged: tuple[int, int] | None = None
        self._forget_due_s: float | None = None
        self._refill = Refill(node.now)
        self._warden = surroundings.warden
        self._lost = LostTransactions(self._store, node.now)
        self._ended_boots = EndedBoots(self._store, surroundings.boot_id, node.now)
        self._alarm = self._ignored = ""
        self._learned = False
        self._lines, self._tells = Lines(self._log, node.now), False
        self._journal = JournalOut(node, database, topic_named("journal.delivery."), self._log)
        self._journal.on_acknowledged, self._journal.on_unreadable = self._acknowledge, self._store.note_unreadable
        self._thinning = Thinning(self._store, database, self._journal.outbox.append, self._log)
        self._letters = Letters(database, self._store)
        self._read_head()
        self._listen()
        self._inbox = JournalIn(
            node, database, topic_named("journal.transaction."), store=self._store_entry, stored=self._entries_stored
        )
        # An older copy of connectors.db has messages again whose outcome is forgotten here: each is told once more.
        self._journal.on_consumer_behind = self._inbox.ask_again
        if salvaged(database) or self._store.lost:
            self._begin_refill()
        self._say_problems()
        self._publish()

    def tick(self) -> None:
        """Do what time demands."""
        now_s = self._node.now()
        deadline_s = core.next_deadline_s(self._state)
        if deadline_s is not None and deadline_s <= now_s:
            self._feed(e.Tick())
        if (self._state.head is None and self._store.depth) or self._ended_boots.over():
            self._read_head()
        if self._forget_due_s is not None and self._forget_due_s <= now_s:
            with transaction(self._database):
                self._forget_acknowledged()
        if self._warden is not None and self._warden.due_s <= now_s:
            self._warden.look(now_s, self._database, self._thin)
        if self._lost.due_s <= now_s:
            self._lost.ask(self._node, self._log)
        if self._refill.over():
            self._end_refill()
        elif self._store.lost:
            self._begin_refill()
        if self._publish_due_s is not None and self._publish_due_s <= now_s:
            self._publish()
        self._lines.tell()
        self._journal.tick()

    def next_deadline_s(self) -> float | None:
        """When `tick` has something to do."""
        unread_s = self._node.now() if self._state.head is None and self._store.depth else None
        deadlines = (
            core.next_deadline_s(self._state),
            self._journal.next_deadline_s(),
            self._publish_due_s,
            self._forget_due_s,
            self._lines.due_s,
            None if self._warden is None else self._warden.due_s,
            self._lost.due_s,
            self._ended_boots.due_s,
            self._node.now() if self._store.lost else self._refill.until_s,
            unread_s,
        )
        return min((d for d in deadlines if d is not None), default=None)

    def close(self) -> None:
        """The process ends: what the link may still do for it is asked for again by the next one, under the same id."""
        self._lines.tell_all()
        kept = self._store.depth + self._store.dead_letters + self._store.quarantined
        if kept:
            self._log.warning(
                "messages are kept that no Central System has; see station queue before this board goes", messages=kept
            )
        self._database.close()

    def _listen(self) -> None:
        node = self._node
        node.watch(LinkState, lambda _, link: self._link_said(link), lambda _: self._link_gone())
        node.watch(ClockState, lambda _, clock: self._clock_said(clock))
        node.watch(ConfigurationState, lambda _, values: self._configured(values))
        node.watch(ConnectorState, lambda _, connector: self._connector_said(connector))
        by_hand.serve(node, self._database, self._log, is_under_way=self._is_under_way, changed=self._changed_by_hand)
        node.on_event(DeliveryReport, lambda _, report: self._reported(report))

    def _link_said(self, link: LinkState) -> None:
        heard = Link(link.connected, link.online, link.connection)
        if heard != self._state.link:
            self._feed(e.LinkChanged(heard))

    def _link_gone(self) -> None:
        self._feed(e.LinkChanged(Link(connection=self._state.link.connection)))

    def _configured(self, configuration: ConfigurationState) -> None:
        settings = settings_from(configuration.values)
        if settings != self._state.settings:
            self._log.info("retry rule changed", attempts=settings.attempts, interval_s=settings.retry_interval_s)
            self._feed(e.SettingsChanged(settings))

    def _clock_said(self, clock: ClockState) -> None:
        """A floor is no time. The offset outlives this process on disk, so that this boot's moments can always be told."""
        if clock.utc_offset_s is None or clock.source in ("floor", "none"):
            return
        self._utc_offset_ms = round(clock.utc_offset_s * 1000)
        if self._store.offset_is_news(self._utc_offset_ms):
            with transaction(self._database):
                self._store.set_offset(self._utc_offset_ms)
            self._log.info("clock of this boot noted", source=clock.source, boot_utc=text_of(self._moment(0.0)))
            self._read_head()

    def _connector_said(self, connector: ConnectorState) -> None:
        """`connectors` may know the transactionId where this store has lost the StartTransaction, or its answer."""
        self._ended_boots.connectors_lives()
        running, row = connector.transaction, self._row
        if running is None or running.transaction_id is None or row is None:
            return
        if row.start is Start.MISSING and row.local_tx_id == running.local_tx_id:
            with transaction(self._database):
                self._store.adopt(row.local_tx_id, running.transaction_id)
            self._log.warning(
                "transactionId taken from connectors, this store does not have the answer to the StartTransaction",
                local_tx_id=row.local_tx_id,
                transaction_id=running.transaction_id,
            )
            self._read_head()

    def _changed_by_hand(self) -> None:
        """A person changed what is kept: nothing of what is known of it holds any more."""
        self._store.count()
        self._store.read_boots()
        self._read_head()
        self._changed()

    def _is_under_way(self, local_tx_id: str) -> bool:
        return bool(self._state.asked) and self._row is not None and self._row.local_tx_id == local_tx_id

    def _thin(self) -> int:
        count = self._thinning.thin()
        if count:
            self._journal.send()
            self._read_head()
            self._changed()
        return count

    def _store_entry(self, entry: TransactionEntry) -> None:
        """Inside the transaction that notes the entry's number."""
        added = self._store.add(entry, self._moment(self._node.now()))
        self._learned = self._learned or added.learned
        self._ended_boots.entry_came(entry)
        about = fields_of(entry)
        if self._refill.until_s is not None:
            self._refill.entry_came()
            if added.repeated:
                self._store.move_to_end(entry.local_tx_id, added.number)
        if added.repeated:
            write, text = (self._log.warning, OVER) if added.over else (self._log.info, REPEATED)
            if self._ignored != f"{entry.local_tx_id} {text}":
                write(text, **about)
            self._ignored = f"{entry.local_tx_id} {text}"
            if added.settled is not None:
                self._journal_outcome(entry, added.settled)
            return
        self._log.debug("message stored", **about)
        for alarm in added.alarms:
            text = f"{about['action']} of transaction {entry.local_tx_id}: {alarm}; it is delivered all the same"
            if text != self._alarm:
                # One line for each rule that a transaction breaks, not one for each of its messages.
                self._log.error("a transaction message breaks a rule, it is delivered all the same", reason=alarm, **about)
            self._alarm = text

    def _entries_stored(self) -> None:
        head = self._state.head
        # An entry may bring what the head waits for: the offset of its boot, or the rest of it.
        waits = head is None or head.needs_clock or head.boot_untold
        if waits or self._learned or self._refill.until_s is not None:
            self._learned = False
            self._read_head()
        self._changed()

    def _begin_refill(self) -> None:
        """Rows are lost, or can't be read: `connectors` still has what is neither delivered nor given up."""
        self._store.lost = False
        if not self._refill.begin():
            return
        self._log.warning("messages are lost here, connectors is asked for all that it keeps")
        self._feed(e.RefillChanged(True))
        self._inbox.ask_again()

    def _end_refill(self) -> None:
        self._refill.end()
        with transaction(self._database):
            if salvaged(self._database):
                forget_salvaged(self._database)
        self._log.info("all that connectors keeps is in", waiting=self._store.depth)
        self._feed(e.RefillChanged(False))

    def _read_head(self) -> None:
        with transaction(self._database):
            self._row = self._store.head(text_of(self._moment(self._node.now())))
        for event in self._news_of_head():
            self._feed(event)

    def _news_of_head(self) -> tuple[e.Event, ...]:
        """The head as it was just read; if rows before it were lost, nothing is to go out before their return."""
        read = e.HeadRead(self._ended_boots.head(self._row))
        return (e.RefillChanged(True), read) if self._store.lost and self._refill.possible() else (read,)

    def _reported(self, report: DeliveryReport) -> None:
        self._feed(e.Reported(report, self._letters.about(report, self._state.head)))

    def _feed(self, event: e.Event) -> None:
        """One event and all its effects: all commits in one transaction, then the rest, the next message first."""
        now = Now(self._node.now(), self._own.unique_id(), self._own.share())
        state, effects = core.step(self._state, event, now)
        if any(isinstance(effect, e.Commit) for effect in effects):
            with transaction(self._database):
                state, effects = self._commit(state, effects, now)
                self._forget_acknowledged()
            self._lines.committed()
        self._state = state
        for effect in effects:
            self._act(effect)
        if not self._tells:
            self._tells = True
            self._node.afterwards(self._tell)

    def _tell(self) -> None:
        """Journal, log and state, once the Central System has something to do."""
        self._tells = False
        self._journal.send()
        self._lines.tell()
        self._changed()
        if self._state.asked:
            self._ahead.read()

    def _commit(self, state: State, effects: core.Effects, now: Now) -> tuple[State, core.Effects]:
        """Write, and go on with the next head as long as one ends; what is left to do after the commit."""
        rest: list[e.Effect] = []
        ahead = self._ahead.take(effects, self._row)
        for _ in range(HEADS_PER_COMMIT_MAX):
            rest.extend(self._write_all(effects, now))
            if state.head is not None:
                break
            self._row, ahead = ahead or self._store.head(text_of(self._moment(now.boottime_s))), None
            if self._row is None:
                break
            # Each message of a batch has to be able to draw an id of its own.
            now = Now(now.boottime_s, self._own.unique_id(), now.share)
            for event in self._news_of_head():
                state, effects = core.step(state, event, now)
        else:
            rest.extend(self._write_all(effects, now))
        if state.head is None:
            # At the bound there may be more: `tick` reads on.
            self._row = None
        return state, tuple(rest)

    def _write_all(self, effects: core.Effects, now: Now) -> list[e.Effect]:
        """Write the commits among the effects; the others, for later."""
        rest: list[e.Effect] = []
        for effect in effects:
            if isinstance(effect, e.CommitHead):
                self._write(effect, now)
            elif isinstance(effect, e.CommitLate):
                self._settle_late(effect, now)
            else:
                rest.append(effect)
        return rest

    def _settle_late(self, effect: e.CommitLate, now: Now) -> None:
        letter, delivered, row = effect.letter, effect.delivered, self._row
        without_id = self._letters.settle(letter, delivered, text_of(self._moment(now.boottime_s)))
        self._journal.outbox.append(DeliveryEntry(letter.local_tx_id, letter.number, delivered, letter.action))
        if letter.is_start and row is not None and row.local_tx_id == letter.local_tx_id:
            self._row = msgspec.structs.replace(row, start=Start.ANSWERED, transaction_id=delivered.transaction_id)
        self._lines.late(letter, delivered, without_id)

    def _write(self, effect: e.CommitHead, now: Now) -> None:
        row, store = self._row, self._store
        assert row is not None, "a commit is about a head that is there"
        assert row.row_id == effect.row_id, "a commit is about the head"
        at = self._moment(now.boottime_s)
        match effect:
            case e.CommitSending(unique_id=unique_id, without_id=without_id):
                self._row = store.mark_sending(row, unique_id, without_id=without_id)
            case e.CommitDelivered(delivered=delivered):
                store.mark_delivered(row, delivered.transaction_id, text_of(at))
                self._journal_outcome(row, delivered)
                self._log_delivered(row, delivered)
            case e.CommitFailed():
                self._row = self._spend_attempt(row, effect, at)
            case e.CommitNotSent(answered_on=answered_on):
                store.mark_not_sent(row, answered_on)
            case e.CommitGivenUp(reason=reason, failed=failed):
                row = row if failed is None else self._spend_attempt(row, failed, at)
                store.give_up(row, reason, text_of(at))
                self._letters.given_up(row)
                self._journal_outcome(row, GivenUp(reason))
                self._lines.wrong(
                    self._log.error,
                    "message given up, it is kept: see station queue",
                    reason=reason,
                    **fields_of(row),
                )

    def _spend_attempt(self, row: Row, failed: e.CommitFailed, at: Moment) -> Row:
        self._lines.wrong(
            self._log.warning,
            "Central System failed to process a message",
            reason=failed.reason,
            attempts=failed.attempts,
            attempts_max=self._state.settings.attempts,
            unique_id=failed.unique_id,
            **fields_of(row),
        )
        return self._store.mark_failed(row, failed, at)

    def _journal_outcome(self, row: Row | TransactionEntry, outcome: Delivered | GivenUp) -> None:
        entry = DeliveryEntry(row.local_tx_id, row.number, outcome, action_of(row.message))
        self._journal.outbox.append(entry)

    def _log_delivered(self, row: Row, delivered: Delivered) -> None:
        if isinstance(row.message, MeterValues):
            return
        transaction_id = delivered.transaction_id if row.number == 0 else row.transaction_id
        unique_id = row.unique_ids[-1] if row.unique_ids else None
        self._lines.delivered("message delivered", transaction_id=transaction_id, unique_id=unique_id, **fields_of(row))

    def _act(self, effect: e.Effect) -> None:
        match effect:
            case e.AskLink():
                self._ask_link(effect)
            case e.CancelAsk(unique_id=unique_id):
                if self._call is not None and self._call[0] == unique_id:
                    self._node.cancel(self._call[1])
                    self._call = None
            case e.Note(text=text, unique_id=unique_id, reason=reason, warning=warning):
                write = self._log.warning if warning else self._log.info
                write(text, unique_id=unique_id, reason=reason or None)

    def _ask_link(self, effect: e.AskLink) -> None:
        row = self._row
        assert row is not None, "the link is asked for a head that is there"
        request = Deliver(effect.unique_id, row.message, effect.transaction_id, row.local_tx_id, row.correlation_id)

        def answered(reply: Reply) -> None:
            self._call = None
            if reply.error is not None:
                self._feed(e.AskEnded(effect.unique_id, reply.error))
            else:
                self._reported(reply.value)

        self._call = (effect.unique_id, self._node.call(request, timeout_s=effect.timeout_s, on_reply=answered))

    def _acknowledge(self, seq: int) -> None:
        """Called with every position, mostly the same one: only what is new will be written."""
        known = (self._journal.outbox.incarnation, seq)
        if known == self._acknowledged:
            return
        self._acknowledged = known
        self._forget_due_s = self._node.now() + FORGET_S

    def _forget_acknowledged(self) -> None:
        """Inside a transaction. Numbers of an earlier incarnation mean nothing any more."""
        if self._forget_due_s is None or self._acknowledged is None:
            return
        incarnation, seq = self._acknowledged
        self._forget_due_s = None
        if incarnation == self._journal.outbox.incarnation:
            self._journal.outbox.forget_through(seq)

    def _changed(self) -> None:
        """Say the queue's state, at once if the last time is long enough ago."""
        self._say_problems()
        if self._publish_due_s is None:
            self._publish_due_s = max(self._node.now(), self._published_s + PUBLISH_S_MIN)
        if self._publish_due_s <= self._node.now():
            self._publish()

    def _publish(self) -> None:
        self._publish_due_s = None
        state = QueueState(
            depth=self._store.depth,
            dead_letters=self._store.dead_letters,
            oldest_at=None if self._row is None else self._row.stored_at,
            detail=core.why_waiting(self._state, self._node.now()),
        )
        if state != self._published:
            self._published, self._published_s = state, self._node.now()
            self._node.publish(state)

    def _say_problems(self) -> None:
        said = problems.texts(self._store.kept, stalled=self._state.stalled, alarm=self._alarm)
        for name, text in said.items():
            self._own.set_problem(name, text)

    def _moment(self, boottime_s: float) -> Moment:
        """A boottime of this boot, with its UTC if that is known."""
        boottime_ms = round(boottime_s * 1000)
        utc_ms = None if self._utc_offset_ms is None else boottime_ms + self._utc_offset_ms
        return Moment(self._own.boot_id, boottime_ms, utc_ms)
