"""Cards without a Central System, and what it says of them later (OCPP 1.6 §3.5, §4.8, §5.4)."""

import pytest

from tests.acceptance.rig import OTHER_TAG, TAG, rig
from tests.harness import wait_until

pytestmark = pytest.mark.process


def test_a_known_card_charges_offline_after_a_restart_and_is_judged_when_the_central_system_is_back() -> None:
    """OCPP 1.6 §3.5.1: the cache survives; §4.8, errata v4.0 3.17: blocked meanwhile, so the transaction stops.

    An unknown card gets nothing, as AllowOfflineTxForUnknownId is false (§9.1.1).
    """
    with rig() as one:
        one.start_by_card()
        one.stop_by_card()
        one.finished()
        one.station.sim("plug-out", "1")
        one.wait_for_status(1, "Available")
        one.central_system.stop(abrupt=True)
        one.station.stop()
        one.central_system.behaviour.set_id_tag(TAG, "Blocked")
        one.station.start()
        before_wh = one.register_wh()
        one.station.sim("plug-in", "1")
        wait_until(lambda: one.station.status()["connectors"].get("1", {}).get("status") == "Preparing", 15, "the car is seen")
        one.station.sim("swipe", OTHER_TAG)
        wait_until(
            lambda: "AllowOfflineTxForUnknownId is false" in one.station.log("connectors"), 15, "the stranger is refused"
        )
        one.station.sim("swipe", TAG)
        one.wait_for_energy(1, before_wh + 5)
        one.central_system.start()
        _, refused = one.finished(2)
        assert (refused.id_tag, refused.reason, refused.meter_start_wh) == (TAG, "DeAuthorized", before_wh)
        assert refused.meter_stop_wh == one.register_wh()
        assert "idTag" not in one.central_system.book.calls("StopTransaction")[-1].payload
        one.wait_for_status(1, "Finishing")
        assert one.central_system.call("ClearCache") == {"status": "Accepted"}
        assert one.central_system.book.violations() == []


def test_a_card_of_the_cache_starts_without_authorize_and_clear_cache_ends_that() -> None:
    """OCPP 1.6 §9.1.13 LocalPreAuthorize, §5.4, §9.1.2; each change at once."""
    with rig() as one:
        central_system = one.central_system

        def configure(key: str, value: str) -> None:
            assert central_system.call("ChangeConfiguration", {"key": key, "value": value}) == {"status": "Accepted"}

        def charged(asked: int) -> None:
            """The card starts from Finishing, after so many Authorize altogether; the Central System ends it."""
            one.station.sim("swipe", TAG)
            one.wait_for_charging()
            central_system.wait_for(lambda book: len(book.answers_sent("Authorize")) == asked, 15, f"{asked} Authorize")
            running = central_system.book.transactions()
            stop = {"transactionId": running[-1].transaction_id}
            assert central_system.call("RemoteStopTransaction", stop) == {"status": "Accepted"}
            one.finished(len(running))

        configure("LocalPreAuthorize", "true")
        one.station.sim("plug-in", "1")
        one.wait_for_status(1, "Preparing")
        charged(asked=1)
        charged(asked=1)
        assert central_system.call("ClearCache") == {"status": "Accepted"}
        charged(asked=2)
        configure("AuthorizationCacheEnabled", "false")
        assert central_system.call("ClearCache") == {"status": "Rejected"}
        charged(asked=3)
        assert [transaction.reason for transaction in one.finished(4)] == ["Remote"] * 4
        assert central_system.book.violations() == []
