"""What the log says of a negative answer to the Central System: one line each (pure).

Owns: the fields of that line. Does not: decide, or word the reason: that comes from whoever
decides, in its answer or in the description of the CALLERROR.
"""

from typing import Any

import msgspec

from services.ocpp_link import payloads as p
from services.ocpp_link.call_error import CallError

NAME_LENGTH_MAX = 50
"""Of a name that the Central System has made up; it may be absurdly long."""
_NAMED = {
    "connector_id": "connector",
    "transaction_id": "transaction_id",
    "reservation_id": "reservation_id",
    "key": "key",
    "requested_message": "requested",
    "vendor_id": "vendor",
    "message_id": "message",
}
"""What of a request tells what it was about, and how the log calls it. No idTag and no value: they may be secret."""


class Asked(msgspec.Struct, frozen=True):
    """A CALL of the Central System; `req` None: it could not be read."""

    unique_id: str
    action: str
    req: p.Req | None = None


def of_answer(asked: Asked, conf: p.Conf, reason: str) -> dict[str, Any] | None:
    """Fields of the line for a CALLRESULT; None: without a reason it refuses nothing. A list version of -1 has no status."""
    if not reason:
        return None
    status = str(getattr(conf, "status", ""))
    return {**_about(asked), "status": status or None, "reason": reason}


def of_error(asked: Asked, error: CallError) -> dict[str, Any]:
    """Fields of the line for a CALLERROR."""
    return {**_about(asked), "code": str(error.code), "reason": error.description}


def _about(asked: Asked) -> dict[str, Any]:
    named = {name: _shown(getattr(asked.req, field, None)) for field, name in _NAMED.items()}
    return {"action": _shown(asked.action), "unique_id": asked.unique_id[:NAME_LENGTH_MAX], **named}


def _shown(value: object) -> object:
    """GetConfiguration has many keys, of which none is named."""
    if isinstance(value, str):
        return value[:NAME_LENGTH_MAX]
    return value if isinstance(value, int) else None
