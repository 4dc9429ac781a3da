"""What the Central System received and answered: every copy of every transaction message, and what it asked for (pure data)."""

from typing import Any

import msgspec

GOOD = "good"
"""Taken in and answered; the answer arrived."""
LOST_ANSWER = "cut after it"
"""Taken in, but the line broke before its answer was there."""
LOST_ERROR = "cut before it"
"""Not taken in, and the line broke before anybody was told."""
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
    entry: str = ""
    """Which message of the station it is, as `ledger.entry_of` names it; empty where its queue's store is gone."""
    late_answer_s: float | None = None
    """When its answer arrived although its time was out; None: it never did."""


def said(action: str, payload: dict[str, Any]) -> str:
    """The content of a message but for times and ids: what its journal entry said (`ledger.Committed`)."""
    if action == "StartTransaction":
        return f"{payload['idTag']} from {payload['meterStart']} Wh"
    if action == "StopTransaction":
        return f"{payload.get('reason', 'Local')} at {payload['meterStop']} Wh"
    return ", ".join(sampled["value"] for value in payload["meterValue"] for sampled in value["sampledValue"])


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
