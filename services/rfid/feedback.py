"""What the reader shows to the person before it (pure; hardware.md §7: `set_feedback`).

What a card has come to is shown for SHOWN_S; as long as somebody is asked about a card, `wait`. The newest card counts, as it
is the one that is held there. An answer may be lost on the bus, and then the wait ends by itself.

Owns: what is shown when, and for how long. Does not: know how a reader shows it, or if it can (`drivers/`).
"""

import msgspec

from bus.card_messages import CardAnswered, CardOutcome
from bus.vocabulary import same_id_tag

SHOWN_S = 3.0
WAIT_S_MAX = 60.0
"""Authorize is answered before, or given up (MessageTimeout)."""
WAITING_MAX = 8
"""Cards that are asked about at once; the oldest is forgotten."""


class WaitingCard(msgspec.Struct, frozen=True):
    """A card that somebody is asked about."""

    id_tag: str
    until_s: float


class State(msgspec.Struct, frozen=True):
    """`outcome` is shown until `until_s`; after it, or without one, `wait` while a card waits."""

    waiting: tuple[WaitingCard, ...] = ()
    outcome: CardOutcome | None = None
    until_s: float = 0.0


def told(state: State, card: CardAnswered, now_s: float) -> State:
    """`connectors` says what a card has come to; `now_s` is boottime."""
    others = tuple(waiting for waiting in state.waiting if not same_id_tag(waiting.id_tag, card.id_tag))
    if card.outcome is CardOutcome.WAIT:
        # What another card has come to is not meant for whoever waits now.
        return State((*others, WaitingCard(card.id_tag, now_s + WAIT_S_MAX))[-WAITING_MAX:])
    return State(others, card.outcome, now_s + SHOWN_S)


def unusable(state: State, now_s: float) -> State:
    """A card was read that can't be an idTag."""
    return State(state.waiting, CardOutcome.REFUSED, now_s + SHOWN_S)


def passed(state: State, now_s: float) -> State:
    """Without what has been shown or waited for long enough."""
    waiting = tuple(waiting for waiting in state.waiting if now_s < waiting.until_s)
    if state.outcome is not None and now_s < state.until_s:
        return State(waiting, state.outcome, state.until_s)
    return State(waiting)


def shown(state: State) -> CardOutcome | None:
    """What the reader shall show; None: nothing."""
    if state.outcome is not None:
        return state.outcome
    return CardOutcome.WAIT if state.waiting else None


def next_deadline_s(state: State) -> float | None:
    """When `passed` has something to do."""
    ends = [waiting.until_s for waiting in state.waiting]
    if state.outcome is not None:
        ends.append(state.until_s)
    return min(ends, default=None)
