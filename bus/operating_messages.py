"""Messages on the bus by which a person at the station has connectors taken out of service.

Owns: shapes, as `bus/messages.py`; the same rules hold. Does not: say who answers (`bus/topics.py`).
"""

from bus.messages import ConnectorId, Message


class OutOfService(Message, frozen=True):
    """Call to connectors, by a person's command. `connector_id` None: the charge point and all. Answer: OutOfServiceAnswer.

    `out` False lifts it.
    """

    out: bool
    connector_id: ConnectorId | None = None


class OutOfServiceAnswer(Message, frozen=True):
    """What came of it; numbers of connectors, 0 is the charge point. `refusal` in plain words, empty when it was done."""

    refusal: str = ""
    changed: tuple[ConnectorId, ...] = ()
    charging: tuple[ConnectorId, ...] = ()
    """Out of service when their transaction is over."""
    inoperative: tuple[ConnectorId, ...] = ()
    """In service, but the Central System keeps them Unavailable."""
