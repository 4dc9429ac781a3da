"""Local list, reservation and trigger on a real station, from the frame to the contactor and back (issue 5)."""

import pytest

from tests.acceptance.rig import OTHER_TAG, TAG, Rig, rig
from tests.harness import wait_until

pytestmark = pytest.mark.process

ONE_KEPT = "LocalPreAuthorize = false\nAllowOfflineTxForUnknownId = false\n"


def test_a_local_list_opens_without_a_central_system_and_a_power_cut_keeps_it() -> None:
    """OCPP 1.6 §3.5.2, §5.15: usable from the first second of a start without network."""
    with rig(ocpp=ONE_KEPT) as one:
        call = one.central_system.call
        entries = [
            {"idTag": TAG, "idTagInfo": {"status": "Accepted"}},
            {"idTag": OTHER_TAG, "idTagInfo": {"status": "Blocked"}},
        ]
        update = {"listVersion": 3, "updateType": "Full", "localAuthorizationList": entries}
        assert call("SendLocalList", update) == {"status": "Accepted"}
        assert call("GetLocalListVersion", {}) == {"listVersion": 3}
        one.central_system.stop()
        one.station.kill_supervisord()
        one.station.start()
        before_wh = one.register_wh()
        one.station.sim("plug-in", "1")
        wait_until(lambda: "-> Preparing" in one.station.log("connectors"), 15, "the car is seen")
        one.station.sim("swipe", OTHER_TAG)
        wait_until(lambda: "card refused" in one.station.log("connectors"), 15, "the blocked card is refused")
        one.station.sim("swipe", TAG)
        wait_until(lambda: one.relay()[0], 15, "the contactor closes")
        one.wait_for_energy(1, before_wh + 5)
        one.station.sim("plug-out", "1")
        one.central_system.start()
        assert one.check_one_transaction(before_wh).id_tag == TAG


def test_a_reserved_connector_serves_its_holder_only() -> None:
    """OCPP 1.6 §5.13: Reserved, kept from another card, reservationId in StartTransaction."""
    with rig() as one:
        reserve(one, 42, TAG)
        one.wait_for_status(1, "Reserved")
        before_wh = one.register_wh()
        one.station.sim("plug-in", "1")
        one.station.sim("swipe", OTHER_TAG)
        wait_until(lambda: "refused" in one.station.log("connectors"), 15, "the other card is refused")
        assert not one.relay()[0]
        one.station.sim("swipe", TAG)
        one.wait_for_charging()
        one.station.sim("plug-out", "1")
        one.check_one_transaction(before_wh)
        (start,) = one.central_system.book.calls("StartTransaction")
        assert start.payload["reservationId"] == 42
        reserve(one, 43, TAG)
        one.wait_for_status(1, "Reserved")
        assert one.central_system.call("CancelReservation", {"reservationId": 43}) == {"status": "Accepted"}
        one.wait_for_status(1, "Available")


def test_triggered_messages_come_after_the_answer() -> None:
    """OCPP 1.6 §5.17, errata v4.0 3.46."""
    with rig() as one:
        for requested, action in (("Heartbeat", "Heartbeat"), ("StatusNotification", "StatusNotification")):
            count = len(one.central_system.book.calls(action))
            answer = one.central_system.call("TriggerMessage", {"requestedMessage": requested, "connectorId": 1})
            assert answer == {"status": "Accepted"}
            one.central_system.wait_for(lambda book, n=count, a=action: len(book.calls(a)) > n, 10, f"a triggered {action}")
        assert one.central_system.call("TriggerMessage", {"requestedMessage": "BootNotification"}) == {"status": "Rejected"}


def reserve(one: Rig, reservation_id: int, id_tag: str) -> None:
    """For connector 1, long enough for a test."""
    request = {"connectorId": 1, "expiryDate": "2099-01-01T00:00:00Z", "idTag": id_tag, "reservationId": reservation_id}
    assert one.central_system.call("ReserveNow", request) == {"status": "Accepted"}
