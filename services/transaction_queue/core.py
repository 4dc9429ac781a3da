"""What is delivered next, under which unique id, when it is tried again, when it is given up (pure; design §4).

Theory of operation. Only the oldest message of the station, the *head*, is ever sent; nothing overtakes it. So its
StartTransaction has been answered or given up when its turn comes, by order alone. The head is *asked*: its unique id is
committed, then the link is called. A report ends that:

- delivered: removed, the shell reads the next head;
- failed: an attempt is spent, the next one is due TransactionMessageRetryInterval × attempts after this failure; after
  TransactionMessageAttempts failures it is given up (OCPP 1.6 §3.7.1);
- not sent, no report, link gone: no attempt; it waits until the link is online.

The unique id changes only where a repeat goes out on the connection that the last report came from, as OCPP-J wants; on
another connection, or where nothing is known of the last transmission, it stays, so that a Central System can tell, and
the link can give the outcome that it already has (design §4.10).

A late answer counts even after its message was given up: it is settled as delivered, be it a dead letter or queued again, and
a StartTransaction's transactionId holds for all of its transaction that was not sent yet. Choice: what was sent with -1 keeps
it in its repeats, since a repeat is the same message (design §4.10).

A backlog is paced: after an outage all stations of a site are back at once, each with its share of days. The messages that
waited go out one by one with a random pause between them (field report 12); a message of now waits for nothing but its turn.

Owns: these decisions. Does not: store, send, draw ids, or give moments their UTC (`times.py`).
"""

import msgspec

from bus.messages import Delivered, DeliveryReport, Failed, NotSent
from services.transaction_queue import events as e
from services.transaction_queue.state import Head, Letter, Link, Now, Settings, Start, State

NOT_SENT_HOLD_S = 6.0
"""Longer than the refresh of LinkState: by then the queue knows whether the connection is still the same."""
MISSING_START_WAIT_S = 30.0
"""How long a message without its StartTransaction waits for `connectors` to tell the transactionId."""
STALLED_S = 600.0
BACKLOG_S = 30.0
"""What was stored so long before its delivery was a backlog: the Central System, not the car, was what it waited for."""
TRANSACTION_ID_UNKNOWN = -1
"""OCPP 1.6 errata v4.0 3.18, and in no other case."""

Effects = tuple[e.Effect, ...]


def initial(boot_id: str, run_id: str, settings: Settings, pace_s: float = 0.0) -> State:
    """The queue as it starts: the link is not known, the database not yet read. `pace_s`: between messages of a backlog."""
    return State(boot_id=boot_id, run_id=run_id, settings=settings, pace_s=pace_s)


def step(state: State, event: e.Event, now: Now) -> tuple[State, Effects]:
    """The next state, and what has to be done, in order. After a commit that ends the head, feed `HeadRead`."""
    state, effects = _take(state, event, now)
    state = _turn(state, now)
    state, decided = _decide(state, now)
    return state, effects + decided


def next_deadline_s(state: State) -> float | None:
    """Boottime at which a `Tick` changes something."""
    due_s = _due_s(state) if not state.asked and not _blocked(state) else None
    stalled_s = state.turn_since_s + STALLED_S if state.turn_since_s is not None and not state.stalled else None
    return min((d for d in (due_s, stalled_s) if d is not None), default=None)


def why_waiting(state: State, now_s: float) -> str:
    """In plain words why nothing is being sent; empty when there is nothing to send or it is under way."""
    if state.head is None or state.asked:
        return ""
    due_s = _due_s(state)
    return _blocked(state) or (_due_reason(state, state.head) if due_s is not None and now_s < due_s else "")


def retry_due_s(head: Head, settings: Settings, boot_id: str) -> float | None:
    """Boottime of the next attempt after a failure; None: none failed.

    OCPP 1.6 §3.7.1: TransactionMessageRetryInterval × transmissions so far, counted from the last failure; so a changed
    interval holds at once. Choice: transmissions are those that failed. Choice: after a reboot the wait begins anew with the
    boot, since nothing that can be trusted has measured the time without power.
    """
    if head.attempts == 0:
        return None
    failed_s = head.failed_boottime_s if head.failed_boot_id == boot_id else 0.0
    return failed_s + settings.retry_interval_s * head.attempts


def _take(state: State, event: e.Event, now: Now) -> tuple[State, Effects]:
    match event:
        case e.Tick():
            return state, ()
        case e.HeadRead(head=head):
            return _head_read(state, head)
        case e.LinkChanged(link=link):
            return _link_changed(state, link)
        case e.SettingsChanged(settings=settings):
            return msgspec.structs.replace(state, settings=settings), ()
        case e.RefillChanged(refilling=refilling):
            return msgspec.structs.replace(state, refilling=refilling), ()
        case e.AskEnded(unique_id=unique_id, reason=reason):
            return _ask_ended(state, unique_id, reason, now)
        case e.Reported(report=report, letter=letter):
            heard = isinstance(report.outcome, Delivered) and report.unique_id == state.heard
            if isinstance(report.outcome, Delivered):
                state = msgspec.structs.replace(state, heard=report.unique_id)
            state, effects = _reported(state, report, letter, now)
            return state, tuple(effect for effect in effects if not (heard and isinstance(effect, e.Note)))


def _head_read(state: State, head: Head | None) -> tuple[State, Effects]:
    known = state.head
    if known is not None and head is not None and known.row_id == head.row_id:
        return msgspec.structs.replace(state, head=head), ()
    assert not state.asked, "the head changed while the link was asked for it"
    return msgspec.structs.replace(state, head=head, turn_since_s=None, stalled=False), ()


def _link_changed(state: State, link: Link) -> tuple[State, Effects]:
    """A connection that is gone takes the question with it. Losing only the acceptance does not: the report is to come."""
    changed = link.connection != state.link.connection or (link.online and not state.link.online)
    hold_until_s = None if changed else state.hold_until_s
    state = msgspec.structs.replace(state, link=link, hold_until_s=hold_until_s)
    if not state.asked or (link.connected and link.connection == state.asked_on):
        return state, ()
    note = e.Note("message not sent, the link lost the connection; no attempt is spent", state.asked)
    return msgspec.structs.replace(state, asked=""), (e.CancelAsk(state.asked), note)


def _ask_ended(state: State, unique_id: str, reason: str, now: Now) -> tuple[State, Effects]:
    if unique_id != state.asked:
        return state, ()
    note = e.Note("link gave no report on a message, it is asked again under the same id", unique_id, reason, warning=True)
    return msgspec.structs.replace(state, asked="", hold_until_s=now.boottime_s + NOT_SENT_HOLD_S), (note,)


def _reported(state: State, report: DeliveryReport, letter: Letter | None, now: Now) -> tuple[State, Effects]:
    """A report counts if it is about the latest id and nothing is known of it yet; *delivered* also about an earlier id, and
    about a message that was given up."""
    head, outcome = state.head, report.outcome
    if head is not None and isinstance(outcome, Delivered) and report.unique_id in head.unique_ids:
        if head.is_start and outcome.transaction_id is None:
            outcome = Failed("StartTransaction was answered without a transactionId")
        else:
            return _delivered(state, head, outcome, now)
    elif letter is not None and isinstance(outcome, Delivered) and not (letter.is_start and outcome.transaction_id is None):
        return _late(state, letter, outcome)
    if head is None or not head.outstanding or report.unique_id != head.unique_ids[-1]:
        return state, (e.Note("report on a message that is no longer open, ignored", report.unique_id, _words(report)),)
    if isinstance(outcome, Failed):
        return _failed(state, head, outcome.reason, connection=report.connection, now=now)
    return _not_sent(state, head, report, now)


def _delivered(state: State, head: Head, delivered: Delivered, now: Now) -> tuple[State, Effects]:
    cancel: Effects = (e.CancelAsk(state.asked),) if state.asked else ()
    waited = now.boottime_s - head.stored_s > BACKLOG_S
    paced_until_s = now.boottime_s + state.pace_s * (0.5 + now.share) if waited and state.pace_s else None
    state = msgspec.structs.replace(state, head=None, asked="", hold_until_s=None, paced_until_s=paced_until_s)
    return state, (e.CommitDelivered(head.row_id, delivered), *cancel)


def _late(state: State, letter: Letter, delivered: Delivered) -> tuple[State, Effects]:
    """The Central System has what was given up; the head may wait for that very transactionId, and may have gone without it."""
    head = state.head
    if letter.is_start and head is not None and head.local_tx_id == letter.local_tx_id:
        head = msgspec.structs.replace(head, start=Start.ANSWERED, transaction_id=delivered.transaction_id)
    return msgspec.structs.replace(state, head=head), (e.CommitLate(letter, delivered),)


def _failed(state: State, head: Head, reason: str, *, connection: int, now: Now) -> tuple[State, Effects]:
    attempts = head.attempts + 1
    answered_on = _connection_name(state, connection)
    commit = e.CommitFailed(
        row_id=head.row_id,
        unique_id=head.unique_ids[-1],
        attempts=attempts,
        reason=reason,
        answered_on=answered_on,
        at_boottime_s=now.boottime_s,
    )
    state = msgspec.structs.replace(state, asked="", hold_until_s=None)
    if attempts >= state.settings.attempts:
        text = f"failed {attempts} {'time' if attempts == 1 else 'times'}, at last: {reason}"
        return msgspec.structs.replace(state, head=None), (e.CommitGivenUp(head.row_id, text, commit),)
    head = msgspec.structs.replace(
        head,
        attempts=attempts,
        outstanding=False,
        answered_on=answered_on,
        failed_boot_id=state.boot_id,
        failed_boottime_s=now.boottime_s,
    )
    return msgspec.structs.replace(state, head=head), (commit,)


def _not_sent(state: State, head: Head, report: DeliveryReport, now: Now) -> tuple[State, Effects]:
    """While the connection is up, a repeat needs a new id: the Central System may have refused the old one (SecurityError)."""
    note = e.Note("message not sent, no attempt is spent", report.unique_id, _words(report))
    state = msgspec.structs.replace(state, asked="", hold_until_s=now.boottime_s + NOT_SENT_HOLD_S)
    if report.connection != state.link.connection:
        return state, (note,)
    answered_on = _connection_name(state, report.connection)
    head = msgspec.structs.replace(head, outstanding=False, answered_on=answered_on)
    return msgspec.structs.replace(state, head=head), (e.CommitNotSent(head.row_id, answered_on), note)


def _turn(state: State, now: Now) -> State:
    """Since when the head could have been on its way, and whether that is too long ago."""
    if state.head is None or not state.link.online:
        return msgspec.structs.replace(state, turn_since_s=None, stalled=False)
    since_s = now.boottime_s if state.turn_since_s is None else state.turn_since_s
    return msgspec.structs.replace(state, turn_since_s=since_s, stalled=now.boottime_s >= since_s + STALLED_S)


def _decide(state: State, now: Now) -> tuple[State, Effects]:
    """What to do about the head now, if anything."""
    head = state.head
    if head is None or state.asked or state.refilling:
        return state, ()
    if head.is_start and head.start is not Start.MISSING:
        return _settled_elsewhere(state, head)
    if head.attempts >= max(1, state.settings.attempts) and not head.outstanding:
        # TransactionMessageAttempts was lowered while the message waited for a retry.
        reason = f"failed {head.attempts} times, and TransactionMessageAttempts is now {state.settings.attempts}"
        return msgspec.structs.replace(state, head=None), (e.CommitGivenUp(head.row_id, reason),)
    due_s = _due_s(state)
    if _blocked(state) or (due_s is not None and now.boottime_s < due_s):
        return state, ()
    if not head.is_start and head.start is Start.MISSING:
        reason = "its StartTransaction is not in this store, so its transactionId is not known"
        state = msgspec.structs.replace(state, head=None, parked_tx=head.local_tx_id)
        return state, (e.CommitGivenUp(head.row_id, reason),)
    return _ask(state, head, now)


def _settled_elsewhere(state: State, head: Head) -> tuple[State, Effects]:
    """The StartTransaction waits in an older copy of the queue's database, and `connectors` was told what became of it.

    Sent once more it would be another transaction (design §3). While the link is asked for it, its report decides.
    """
    state = msgspec.structs.replace(state, head=None)
    if head.start is Start.GIVEN_UP:
        reason = "given up before, as connectors knows; this database is an older copy"
        return state, (e.CommitGivenUp(head.row_id, reason),)
    text = "StartTransaction was answered before, as connectors knows; this database is an older copy, it is not sent again"
    note = e.Note(text, head.unique_ids[-1] if head.unique_ids else "", warning=True)
    return state, (e.CommitDelivered(head.row_id, Delivered(head.transaction_id)), note)


def _ask(state: State, head: Head, now: Now) -> tuple[State, Effects]:
    same_connection = not head.outstanding and head.answered_on == _connection_name(state, state.link.connection)
    unique_id = now.unique_id if not head.unique_ids or same_connection else head.unique_ids[-1]
    commit: Effects = ()
    if not head.outstanding:
        ids = head.unique_ids if unique_id in head.unique_ids else (*head.unique_ids, unique_id)
        without_id = not head.is_start and (head.without_id or head.start is Start.GIVEN_UP)
        head = msgspec.structs.replace(head, unique_ids=ids, outstanding=True, without_id=without_id)
        commit = (e.CommitSending(head.row_id, unique_id, without_id),)
    state = msgspec.structs.replace(state, head=head, asked=unique_id, asked_on=state.link.connection, hold_until_s=None)
    return state, (*commit, e.AskLink(unique_id, _transaction_id(head), state.settings.call_timeout_s))


def _transaction_id(head: Head) -> int | None:
    """OCPP 1.6 §4.7, §4.10 and errata v4.0 3.18; any integer that the Central System gave is valid."""
    if head.is_start:
        return None
    if head.without_id or head.start is Start.GIVEN_UP:
        return TRANSACTION_ID_UNKNOWN
    assert head.start is Start.ANSWERED, "a message was to go out before its StartTransaction was settled"
    assert head.transaction_id is not None, "an answered StartTransaction has no transactionId"
    return head.transaction_id


def _blocked(state: State) -> str:
    """What keeps the head back until an event comes, in plain words; empty: nothing but time."""
    if state.head is None:
        return "nothing to send"
    if state.refilling:
        return "connectors sends again what was lost here"
    if not state.link.online:
        return "offline"
    if state.head.needs_clock:
        return "the time is not known yet"
    return "connectors may have more of a boot that ended without a clock" if state.head.boot_untold else ""


def _due_s(state: State) -> float | None:
    """Before this nothing may be done about the head; None: no such time."""
    head = state.head
    if head is None:
        return None
    missing_s = None
    if not head.is_start and head.start is Start.MISSING and head.local_tx_id != state.parked_tx:
        missing_s = (state.turn_since_s or 0.0) + MISSING_START_WAIT_S
    dues = (state.hold_until_s, state.paced_until_s, missing_s, retry_due_s(head, state.settings, state.boot_id))
    return max((d for d in dues if d is not None), default=None)


def _due_reason(state: State, head: Head) -> str:
    if state.hold_until_s is not None:
        return "the link did not send it, it is asked again"
    if head.attempts:
        return f"{head.attempts} failed, waiting for the next attempt"
    return "its StartTransaction is missing" if head.start is Start.MISSING and not head.is_start else "a backlog is paced"


def _connection_name(state: State, connection: int) -> str:
    """Numbers of connections are unique within one application boot; the name is unique for ever."""
    return f"{state.run_id}/{connection}"


def _words(report: DeliveryReport) -> str:
    outcome = report.outcome
    return outcome.reason if isinstance(outcome, Failed | NotSent) else "delivered"
