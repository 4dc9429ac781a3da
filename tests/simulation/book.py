"""What the Central System received and answered: every copy of every transaction message, and what it asked for (pure data)."""

from typing import Any

import msgspec

GOOD = "good"
"""Taken in and answered; the answer arrived."""
LOST_ANSWER = "cut after it"
"""Taken in, but the line broke before its answer was there."""
SETTLES = frozenset({GOOD})
FAILS = frozenset({"error", "malformed", "silent", "silent after it", "late"})
"""What the station may count as a failed attempt: CALLERROR, a malformed answer, silence on a connection that lives."""
ERRORS = frozenset({"error", "malformed"})
"""What it must count, unless somebody dies over it."""
TAKEN = frozenset({GOOD, "malformed", "silent after it", "late", LOST_ANSWER})
"""The Central System has the message."""


class Copy(msgspec.Struct):
    """One copy of one transaction message, as it arrived. `raw`: all of the frame but its unique id."""

    at_s: float
    connection: int
    unique_id: str
    action: str
    payload: dict[str, Any]
    raw: str
    fate: str
    transaction_id: int | None = None
    """Given in the answer to a StartTransaction."""


class Asked(msgspec.Struct):
    """What the Central System asked for, and what it was told. `answer` empty: nothing came."""

    at_s: float
    action: str
    payload: dict[str, Any]
    answer: str = ""
    answered_s: float = 0.0


class Authorized(msgspec.Struct):
    """An Authorize or StartTransaction that was answered: what of the idTag."""

    at_s: float
    id_tag: str
    status: str


class Book:
    """All of it."""

    def __init__(self) -> None:
        self.copies: list[Copy] = []
        self.asked: list[Asked] = []
        self.authorized: list[Authorized] = []
        self.statuses: list[tuple[float, dict[str, Any]]] = []
        """StatusNotifications, with when they came."""
        self.poisoned: set[str] = set()
        """Contents that the Central System never takes."""


def key_of(action: str, payload: dict[str, Any]) -> str:
    """What tells a transaction message from all others, on the wire as in a journal: its registers."""
    if action == "StartTransaction":
        return f"start {payload.get('meterStart', payload.get('meter_start_wh'))}"
    if action == "StopTransaction":
        return f"stop {payload.get('meterStop', payload.get('meter_stop_wh'))}"
    values = payload.get("meterValue") or payload.get("meter_values") or []
    sampled = [s["value"] for v in values for s in (v.get("sampledValue") or v.get("sampled_values") or [])]
    return f"values {payload.get('connectorId', payload.get('connector_id'))} {' '.join(sampled)}"
