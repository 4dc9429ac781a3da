"""Messages on the bus by which a person's command has the link change an OCPP key.

Owns: shapes, as `bus/messages.py`; the same rules hold. Does not: say who answers (`bus/topics.py`).
"""

from bus.messages import Message
from bus.vocabulary import ConfigurationStatus


class ChangeKey(Message, frozen=True):
    """Call to the link, by a person's command: change an OCPP key; `value` None: back to station.toml. Answer: KeyChanged."""

    key: str
    value: str | None = None


class KeyChanged(Message, frozen=True):
    """What came of it, in the words of ChangeConfiguration (OCPP 1.6 §5.3); `reason` in plain words where it was refused."""

    status: ConfigurationStatus
    reason: str = ""
