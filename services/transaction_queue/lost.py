"""Open transactions that `connectors` has lost with its database are found here, so that each gets one stop (design §3).

The queue has their StartTransaction and no StopTransaction. Where `connectors` lives and shows no such transaction for a while,
it is asked to close it; it answers whether it was lost at all, so that asking once too often does nothing.

Owns: when to ask, and what is known of such a transaction. Does not: close it (`services/connectors/lost.py`).
"""

from collections.abc import Callable
from functools import partial

from bus.calls import Reply
from bus.logs import Logger
from bus.messages import CloseLostTransaction, ConnectorState
from bus.node import Node
from services.transaction_queue.store import Store

LOOK_S = 5.0
MISSED_S = 10.0
"""So long `connectors` has to show no such transaction: its stop may be on its way."""
ASK_AGAIN_S = 300.0
"""After an answer."""
ANSWER_S = 5.0
OPEN_MAX = 64
"""Open transactions that are looked at; a station has one for each connector at most, and what was lost."""


class LostTransactions:
    """Whom to ask about, and when; `due_s` is when to look next."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._missed_since_s: dict[str, float] = {}
        self._asked_s: dict[str, float] = {}
        self.due_s = now() + LOOK_S

    def look(self, shown: Callable[[int], ConnectorState | None]) -> list[CloseLostTransaction]:
        """What to ask for now. `shown`: what `connectors` says of a connector now; None: nothing."""
        now_s = self._now()
        self.due_s = now_s + LOOK_S
        missed = [found for found in self._store.open_transactions(OPEN_MAX) if _is_missed(found, shown)]
        names = {found.local_tx_id for found in missed}
        self._missed_since_s = {name: self._missed_since_s.get(name, now_s) for name in names}
        self._asked_s = {name: at_s for name, at_s in self._asked_s.items() if name in names}
        wanted = [found for found in missed if self._is_due(found.local_tx_id, now_s)]
        self._asked_s |= {found.local_tx_id: now_s for found in wanted}
        return wanted

    def ask(self, node: Node, log: Logger) -> None:
        """Look, and ask over the bus: what `connectors` shows no more is closed by it, if it really has lost it."""

        def answered(request: CloseLostTransaction, reply: Reply) -> None:
            if reply.error is not None:
                self.not_answered(request.local_tx_id)
            elif reply.value.lost:
                text = "connectors has lost an open transaction, it is being closed"
                log.error(text, local_tx_id=request.local_tx_id, connector=request.connector_id)

        for request in self.look(lambda number: node.latest(ConnectorState, str(number))):
            node.call(request, timeout_s=ANSWER_S, on_reply=partial(answered, request))

    def not_answered(self, local_tx_id: str) -> None:
        """`connectors` did not answer: it is asked again at the next look."""
        self._asked_s.pop(local_tx_id, None)

    def _is_due(self, local_tx_id: str, now_s: float) -> bool:
        long_enough = now_s >= self._missed_since_s[local_tx_id] + MISSED_S
        return long_enough and now_s >= self._asked_s.get(local_tx_id, -ASK_AGAIN_S) + ASK_AGAIN_S


def _is_missed(found: CloseLostTransaction, shown: Callable[[int], ConnectorState | None]) -> bool:
    """Whether `connectors` lives, and does not show it."""
    if shown(0) is None:
        return False
    connector = shown(found.connector_id)
    running = None if connector is None else connector.transaction
    return running is None or running.local_tx_id != found.local_tx_id
