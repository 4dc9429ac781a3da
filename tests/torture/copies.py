"""Copies of one message in the Central System's book, and whether each repeat was allowed (pure; design §7).

A repeat is allowed only if it is identical but for its unique id, and the Central System failed it or a cut or death fell
between its receipt by the Central System and the queue's commit. Owns: that rule. Does not: know sessions (`judge.py`).
"""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from services.demo.entries import Entry, Kind, What
from tests.torture.evidence import Disturbance

ACTIONS = ("StartTransaction", "MeterValues", "StopTransaction")
COMMIT_S = 3.0
"""From an answer that is sent to the queue's commit, if nothing disturbs; a machine under load takes a while."""
CLOSES_S = 1.0
"""A Central System that cuts the connection instead of answering has done so by then."""
MEMORY = frozenset({"transaction_queue", "ocpp_link", "broker"})
"""Whose death between receipt and commit makes a repeat necessary."""


class Copy(msgspec.Struct, frozen=True):
    """A message as it came, and what became of it. `answer` None: the Central System died over it.

    `closed_s`: when the Central System saw the end of that connection; None: never.
    """

    received: Entry
    answer: Entry | None
    closed_s: float | None

    @property
    def processed(self) -> bool:
        """Whether the Central System stands by it."""
        return self.answer is not None and self.answer.kind is Kind.CALLRESULT

    @property
    def silenced(self) -> bool:
        """The Central System kept its answer to itself, on a connection that stood: to the station that is a failure."""
        answer = self.answer
        if answer is None or answer.what is not What.WITHHELD:
            return False
        return self.closed_s is None or self.closed_s > answer.monotonic_s + CLOSES_S

    @property
    def refused(self) -> bool:
        """The Central System failed it or never took it: by CALLERROR, or dropped."""
        answer = self.answer
        return answer is not None and (answer.kind is Kind.CALLERROR or answer.what is What.DROPPED)


class Message(msgspec.Struct, frozen=True):
    """All copies of one message: same action, same payload."""

    action: str
    payload: dict[str, Any]
    copies: tuple[Copy, ...]

    @property
    def transaction_ids(self) -> set[int]:
        """Of a StartTransaction: what the Central System gave for it."""
        return {c.answer.payload["transactionId"] for c in self.copies if c.processed and c.answer is not None}


def messages(entries: tuple[Entry, ...]) -> list[Message]:
    """The messages of transactions, in the order of their first copies."""
    answers = {(e.connection, e.unique_id, e.action): e for e in entries if e.what in (What.SENT, What.WITHHELD, What.DROPPED)}
    closed = {e.connection: e.monotonic_s for e in entries if e.what is What.CLOSED}
    found: dict[str, list[Copy]] = {}
    first: dict[str, Entry] = {}
    for entry in entries:
        if entry.what is What.RECEIVED and entry.kind is Kind.CALL and entry.action in ACTIONS:
            key = entry.action + json.dumps(entry.payload, sort_keys=True)
            first.setdefault(key, entry)
            answer = answers.get((entry.connection, entry.unique_id, entry.action))
            found.setdefault(key, []).append(Copy(entry, answer, closed.get(entry.connection)))
    return [Message(first[key].action, first[key].payload, tuple(copies)) for key, copies in found.items()]


def repeats(found: list[Message]) -> int:
    """How many copies were not the first of their message."""
    return sum(len(message.copies) - 1 for message in found)


def doubles(found: list[Message], disturbances: tuple[Disturbance, ...]) -> Iterator[str]:
    """Each repeat that was not allowed, and each that hides from the Central System that it is one."""
    for message in found:
        for before, after in pairwise(message.copies):
            where = f"{message.action} of entry {before.received.number} came again as entry {after.received.number}"
            if not _allowed(before, after, disturbances):
                yield f"doubled: {where}, and nothing was cut or died between receipt and commit"
            if before.processed and not before.silenced:
                yield from _same_id(before, after, where)


def _allowed(before: Copy, after: Copy, disturbances: tuple[Disturbance, ...]) -> bool:
    answer = before.answer
    if answer is not None and (before.refused or answer.what is What.WITHHELD):
        return True
    until_s = after.received.monotonic_s if answer is None else answer.monotonic_s + COMMIT_S
    if before.closed_s is not None and before.received.monotonic_s <= before.closed_s <= until_s:
        return True
    return any(
        d.from_s <= until_s and d.until_s >= before.received.monotonic_s
        for d in disturbances
        if d.what != "kill" or d.who in MEMORY
    )


def _same_id(before: Copy, after: Copy, where: str) -> Iterator[str]:
    """Design §4.10: on a new connection a repeat keeps its id, so that a Central System which has it can tell."""
    kept = before.received.unique_id == after.received.unique_id
    if before.received.connection != after.received.connection and not kept:
        yield f"not recognisable: {where}, on another connection but under another unique id"
