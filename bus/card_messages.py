"""Message on the bus that tells whoever stands at the reader what becomes of the card.

Owns: its shape, as `bus/messages.py`; the same rules hold. Does not: say who publishes it (`bus/topics.py`), or show it.
"""

from enum import StrEnum

from bus.messages import IdTag, Message


class CardOutcome(StrEnum):
    """Our own words: OCPP has none for what a person at the station is shown."""

    WAIT = "wait"
    """Somebody is asked about the card."""
    ACCEPTED = "accepted"
    REFUSED = "refused"


class CardAnswered(Message, frozen=True):
    """What a card that was presented has come to. `wait` is followed by one of the others, if nothing is lost."""

    id_tag: IdTag
    outcome: CardOutcome
