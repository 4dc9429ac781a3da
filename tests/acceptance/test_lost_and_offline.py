"""Nothing is lost on the real station: offline over restarts and a power cut, or with a database gone (issue 4)."""

import os
import signal

import pytest

from tests.acceptance.rig import TAG, Rig, rig
from tests.harness import wait_until

pytestmark = pytest.mark.process


def power_cut(one: Rig) -> None:
    """Everything ends at once; `station run` again is another boot of the virtual board."""
    for pid in one.station.processes().values():
        os.kill(pid, signal.SIGKILL)
    assert one.station.process is not None
    one.station.process.wait()
    wait_until(lambda: not one.station.processes(), 10, "nothing is left")


def test_a_transaction_offline_over_three_restarts_and_a_power_cut_arrives_whole_and_in_order() -> None:
    """Issue 4, acceptance 3: the Central System is away from before its start until after the power cut."""
    with rig(ocpp="AllowOfflineTxForUnknownId = true\n") as one:
        before_wh = one.register_wh()
        one.central_system.stop(abrupt=True)
        wait_until(lambda: not one.station.status()["link"]["connected"], 20, "the station knows that it is offline")
        one.station.sim("plug-in", "1")
        wait_until(lambda: one.hardware()["car"]["plugged"], 5, "the car is plugged in")
        wait_until(lambda: "-> Preparing" in one.station.log("connectors"), 5, "the car is seen")
        one.station.sim("swipe", TAG)
        wait_until(lambda: one.relay()[0], 15, "the contactor closes")
        one.wait_for_energy(1, before_wh + 5)
        for service in ("connectors", "transaction_queue", "ocpp_link"):
            pid = one.station.kill(service)
            wait_until(lambda s=service, p=pid: one.station.processes().get(s, p) != p, 15, f"{service} runs again")
            one.wait_for_energy(1, one.register_wh() + 5)
            assert one.relay() == (True, 0)
        wait_until(lambda: (one.station.status()["queue"] or {}).get("depth", 0) >= 3, 30, "start and MeterValues wait")
        power_cut(one)
        one.central_system.start()
        one.station.start()
        (transaction,) = one.finished()
        assert transaction.reason == "PowerLoss"
        assert transaction.meter_start_wh == before_wh
        book = one.central_system.book
        calls = [c for c in book.calls() if c.action in ("StartTransaction", "MeterValues", "StopTransaction")]
        assert [c.action for c in calls[:1] + calls[-1:]] == ["StartTransaction", "StopTransaction"]
        assert all(c.action == "MeterValues" for c in calls[1:-1])
        assert len(calls) >= 4
        assert {c.payload["transactionId"] for c in calls[1:]} == {transaction.transaction_id}
        times = [_time(c.payload) for c in calls]
        assert times == sorted(times)
        assert book.violations() == []


def _time(payload: dict) -> str:  # type: ignore[type-arg]
    return str(payload["timestamp"] if "timestamp" in payload else payload["meterValue"][-1]["timestamp"])


def test_a_lost_connectors_database_ends_the_transaction_once() -> None:
    """Design §3: found by the queue; energy is withdrawn, and it gets one stop."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        # The file goes first, so that the next process finds none.
        for suffix in ("", "-wal", "-shm"):
            (one.station.state_dir / f"connectors.db{suffix}").unlink(missing_ok=True)
        one.station.kill("connectors")
        wait_until(lambda: not one.relay()[0], 20, "energy is withdrawn")
        transaction = one.finished()[0]
        stops = one.central_system.book.calls("StopTransaction")
        assert len(stops) == 1
        assert transaction.meter_start_wh == before_wh
        assert transaction.meter_stop_wh == one.register_wh()


def test_a_damaged_queue_database_loses_nothing() -> None:
    """Field report 52: kept, saved, told; what is missing comes from connectors.db."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        one.central_system.stop(abrupt=True)
        one.wait_for_energy(1, one.register_wh() + 10)
        path = one.station.state_dir / "transactions.db"
        with open(path, "r+b") as file:
            file.write(b"\xa5" * 5000)
        (one.station.state_dir / "transactions.db-wal").unlink(missing_ok=True)
        one.station.kill("transaction_queue")
        wait_until(lambda: "database was damaged" in one.station.log("transaction_queue"), 15, "the damage is told")
        assert (one.station.state_dir / "transactions.db.damaged-1").exists()
        one.central_system.start()
        one.wait_for_status(1, "Charging", 30)
        one.stop_by_card()
        one.check_one_transaction(before_wh)
