"""How long OCPP calls take, by action, in both directions (pure).

Owns: counting. Does not: read a clock, or say it on the bus. What gets no answer is not counted.
"""

from collections.abc import Iterable

from bus.latency_messages import BOUNDS_S, ActionTimes, LinkTimes
from services.ocpp_link import rpc
from services.ocpp_link.actions import ACTIONS

TELL_PERIOD_S = 5.0
UNKNOWN_ACTION = "unknown"
"""All actions that OCPP 1.6 does not have, so that a peer can't make up names without end."""


class Latency:
    """Follows the steps of the RPC core. Times are boottime seconds."""

    def __init__(self) -> None:
        self._handled: dict[str, ActionTimes] = {}
        self._answered: dict[str, ActionTimes] = {}
        self._theirs: tuple[str, str, float] | None = None
        """Unique id and action of the call that is worked on, and since when; one at a time, as ours."""
        self._ours: tuple[str, str, float] | None = None
        self._told_s: float | None = None
        self._changed = True

    def note(self, event: rpc.Event, state: rpc.Rpc, effects: Iterable[rpc.Effect], now_s: float) -> None:
        """A step was made: `event` came in, `state` and `effects` came out."""
        if isinstance(event, rpc.Reply | rpc.Refuse) and self._theirs is not None and self._theirs[0] == event.unique_id:
            self._count(self._handled, self._theirs, now_s)
            self._theirs = None
        for effect in effects:
            match effect:
                case rpc.CallReceived(unique_id=unique_id, action=action):
                    self._theirs = unique_id, action if action in ACTIONS else UNKNOWN_ACTION, now_s
                case rpc.Answered(unique_id=unique_id) | rpc.Errored(unique_id=unique_id):
                    if self._ours is not None and self._ours[0] == unique_id:
                        self._count(self._answered, self._ours, now_s)
                        self._ours = None
        sent = state.outstanding
        if sent is not None and (self._ours is None or self._ours[0] != sent.unique_id):
            self._ours = sent.unique_id, sent.action, now_s

    def due(self, now_s: float) -> LinkTimes | None:
        """What to say on the bus; None: nothing new, or it was said a moment ago."""
        if not self._changed or (self._told_s is not None and now_s < self._told_s + TELL_PERIOD_S):
            return None
        self._changed, self._told_s = False, now_s
        return LinkTimes(dict(self._handled), dict(self._answered))

    def _count(self, times: dict[str, ActionTimes], call: tuple[str, str, float], now_s: float) -> None:
        _, action, since_s = call
        took_s = max(0.0, now_s - since_s)
        known = times.get(action) or ActionTimes((0,) * (len(BOUNDS_S) + 1), 0.0)
        kind = next((number for number, bound_s in enumerate(BOUNDS_S) if took_s <= bound_s), len(BOUNDS_S))
        counts = tuple(count + (number == kind) for number, count in enumerate(known.counts))
        times[action] = ActionTimes(counts, known.sum_s + took_s)
        self._changed = True
