"""What a careful Central System checks beyond the schema, after SteVe's service validator (field reports, part 2).

Owns: the rules about transactions, and what is remembered for them. Does not: answer; a breach is noted in the book, and the
message is processed all the same.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec

FUTURE_TOLERANCE = timedelta(minutes=5)
NO_TRANSACTION_ID = -1
"""Right in one case only: the StartTransaction was given up (errata v4.0 3.18)."""


class _Known(msgspec.Struct):
    start: dict[str, Any]
    stop: dict[str, Any] | None = None


class Plausibility:
    """Judges the transaction messages of all stations, in the order of arrival."""

    def __init__(self, parent_of: Callable[[str], str | None]) -> None:
        self._parent_of = parent_of
        self._known: dict[tuple[str, int], _Known] = {}

    def started(self, identity: str, transaction_id: int, payload: dict[str, Any]) -> None:
        """A StartTransaction was processed. A repeat of it changes nothing."""
        known = self._known.get((identity, transaction_id))
        if known is None or known.start != payload:
            self._known[identity, transaction_id] = _Known(payload)

    def stopped(self, identity: str, payload: dict[str, Any]) -> None:
        """A StopTransaction was processed."""
        known = self._known.get((identity, payload["transactionId"]))
        if known is not None and known.stop is None:
            known.stop = payload

    def breaches(self, identity: str, action: str, payload: dict[str, Any], now: datetime) -> list[str]:
        """What is wrong with a CALL that keeps to its schema. `now` in UTC."""
        found = [f"{path} {text} is in the future" for path, text in _times(payload) if _utc(text) > now + FUTURE_TOLERANCE]
        match action:
            case "StartTransaction":
                found += _start_breaches(payload)
            case "MeterValues":
                found += self._meter_values_breaches(identity, payload)
            case "StopTransaction":
                found += self._stop_breaches(identity, payload)
        return found

    def _meter_values_breaches(self, identity: str, payload: dict[str, Any]) -> list[str]:
        transaction_id = payload.get("transactionId", NO_TRANSACTION_ID)
        if transaction_id == NO_TRANSACTION_ID:
            return []
        known = self._known.get((identity, transaction_id))
        if known is None:
            return [f"transaction {transaction_id} is not known"]
        found = [] if known.stop is None else [f"transaction {transaction_id} is stopped already"]
        if known.start["connectorId"] != payload["connectorId"]:
            found.append(f"transaction {transaction_id} is on connector {known.start['connectorId']}")
        started = _utc(known.start["timestamp"])
        found += [f"{path} {text} is before the start" for path, text in _times(payload) if _utc(text) < started]
        return found

    def _stop_breaches(self, identity: str, payload: dict[str, Any]) -> list[str]:
        transaction_id = payload["transactionId"]
        if transaction_id == NO_TRANSACTION_ID:
            return []
        known = self._known.get((identity, transaction_id))
        if known is None:
            return [f"transaction {transaction_id} is not known"]
        found = []
        if known.stop is not None and known.stop != payload:
            found.append(f"transaction {transaction_id} was stopped already, by another message")
        if payload["meterStop"] < known.start["meterStart"]:
            found.append("meterStop is below meterStart")
        if _utc(payload["timestamp"]) < _utc(known.start["timestamp"]):
            found.append("the stop is before the start")
        if "idTag" in payload and not self._may_stop(payload["idTag"].lower(), known.start["idTag"].lower()):
            found.append("stopped by an idTag that is neither the one that started it nor of its group")
        return found

    def _may_stop(self, stopper: str, starter: str) -> bool:
        parent = self._parent_of(starter)
        return stopper in (starter, parent) or (parent is not None and self._parent_of(stopper) == parent)


def _start_breaches(payload: dict[str, Any]) -> list[str]:
    found = []
    if payload["connectorId"] < 1:
        found.append("a transaction needs a connector")
    if payload["meterStart"] < 0:
        found.append("meterStart is negative")
    return found


def _times(payload: dict[str, Any]) -> list[tuple[str, str]]:
    found = [("timestamp", payload["timestamp"])] if "timestamp" in payload else []
    for name in ("meterValue", "transactionData"):
        found += [(f"{name}.timestamp", value["timestamp"]) for value in payload.get(name, ())]
    return found


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo is not None, "the schema check demands a zone"
    return moment
