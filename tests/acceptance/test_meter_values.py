"""Meter values of a real station, as the Central System's book has them (OCPP 1.6 §3.16, errata v4.0 3.13 to 3.16)."""

from datetime import datetime
from typing import Any

import pytest

from services.demo.book import Book
from tests.acceptance.rig import Rig, rig
from tests.harness import wait_until

pytestmark = pytest.mark.process

ENERGY = "Energy.Active.Import.Register"
INTERVAL_S = 3
ON_THE_MARK_S = 2.0
"""How long after a mark its reading may have been taken: the meter gives one each second."""
ROUNDING_S = 0.002
"""Boottimes and the clock's offset have whole milliseconds each: a reading of the very mark may be dated so much before it."""


def configure(one: Rig, **values: object) -> None:
    """ChangeConfiguration, which takes effect at once (field report 24)."""
    for key, value in values.items():
        answer = one.central_system.call("ChangeConfiguration", {"key": key, "value": str(value)})
        assert answer == {"status": "Accepted"}, key


def contexts(values: list[dict[str, Any]]) -> list[str]:
    return [value["sampledValue"][0]["context"] for value in values]


def told(book: Book, context: str, *, transaction: bool) -> list[dict[str, Any]]:
    """Readings in MeterValues of a context, within a transaction or outside."""
    payloads = [call.payload for call in book.calls("MeterValues") if ("transactionId" in call.payload) is transaction]
    return [value for payload in payloads for value in payload["meterValue"] if contexts([value]) == [context]]


def utc_s(value: dict[str, Any]) -> float:
    return datetime.fromisoformat(value["timestamp"]).timestamp()


def registers(values: list[dict[str, Any]]) -> list[int]:
    return [int(s["value"]) for value in values for s in value["sampledValue"] if s["measurand"] == ENERGY]


def test_both_kinds_reach_the_central_system_within_a_transaction_and_outside() -> None:
    """Sampled and clock-aligned, in MeterValues and in transactionData, over a death of connectors in mid-transaction."""
    with rig() as one:
        lists = {"MeterValuesAlignedData": ENERGY, "StopTxnSampledData": ENERGY, "StopTxnAlignedData": f"{ENERGY},Voltage.L1"}
        configure(one, ClockAlignedDataInterval=INTERVAL_S, **lists)
        wait_for = one.central_system.wait_for
        wait_for(lambda book: len(told(book, "Sample.Clock", transaction=False)) >= 2, 20, "values while nobody charges")
        before_wh = one.register_wh()
        one.start_by_card()
        wait_for(lambda book: len(told(book, "Sample.Clock", transaction=True)) >= 2, 30, "clock-aligned values")
        pid = one.station.kill("connectors")
        wait_until(lambda: one.station.processes().get("connectors", pid) != pid, 20, "connectors runs again")
        sampled = len(told(one.central_system.book, "Sample.Periodic", transaction=True))
        wait_for(lambda book: len(told(book, "Sample.Periodic", transaction=True)) >= sampled + 2, 30, "sampled values")
        one.stop_by_card()
        transaction = one.check_one_transaction(before_wh)
        stop = transaction.stop
        assert stop is not None
        data = stop["transactionData"]
        begin, *between, end = data
        assert contexts([begin, end]) == ["Transaction.Begin", "Transaction.End"]
        assert set(contexts(between)) == {"Sample.Periodic", "Sample.Clock"}
        assert registers([begin, end]) == [transaction.meter_start_wh, transaction.meter_stop_wh]
        assert registers(data) == sorted(registers(data))
        assert [utc_s(value) for value in data] == sorted(utc_s(value) for value in data)
        book = one.central_system.book
        on_marks = [value for value in between if contexts([value]) == ["Sample.Clock"]]
        for value in [*on_marks, *told(book, "Sample.Clock", transaction=False)]:
            assert (utc_s(value) + ROUNDING_S) % INTERVAL_S < ON_THE_MARK_S
        sent = [value["timestamp"] for value in told(book, "Sample.Clock", transaction=True)]
        assert [value["timestamp"] for value in on_marks] == sent, "what was sent is what was kept"
        assert book.violations() == []
