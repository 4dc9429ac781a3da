"""Whether a session came out right, to the watt-hour (issue 2, `station demo --once`)."""

from typing import Any

import pytest

from services.demo.entries import Transaction
from services.demo.verdict import problems


def transaction(**changes: Any) -> Transaction:
    stop = {"meterStop": 1046, "timestamp": "t", "transactionId": 7}
    fields = {"identity": "DEMO-1", "transaction_id": 7, "connector_id": 1, "id_tag": "A", "meter_start_wh": 1000,
              "started_at": "t", "start": {}, "stops": 1, "stop": stop}  # fmt: skip
    return Transaction(**{**fields, **changes})


def test_one_transaction_as_the_meter_counted_it_is_right() -> None:
    assert problems([transaction()], start_wh=1000, end_wh=1046) == []


@pytest.mark.parametrize(
    ("changes", "start_wh", "end_wh", "words"),
    [
        ({}, 999, 1046, "it starts at 1000 Wh, but the virtual meter showed 999 Wh"),
        ({}, 1000, 1047, "it ends at 1046 Wh, but the virtual meter shows 1047 Wh"),
        ({"stop": None, "stops": 0}, 1000, 1046, "never stopped"),
        ({"stop": {"meterStop": 1000}}, 1000, 1000, "no energy was billed"),
        ({"starts": 2}, 1000, 1046, "StartTransaction was sent 2 times"),
        ({"stops": 2}, 1000, 1046, "StopTransaction was sent 2 times"),
    ],
)
def test_what_differs_is_said(changes: dict[str, Any], start_wh: int, end_wh: int, words: str) -> None:
    assert words in problems([transaction(**changes)], start_wh=start_wh, end_wh=end_wh)[0]


@pytest.mark.parametrize("count", [0, 2])
def test_none_and_two_are_not_one(count: int) -> None:
    (problem,) = problems([transaction()] * count, start_wh=1000, end_wh=1046)
    assert f"holds {count} transactions" in problem
