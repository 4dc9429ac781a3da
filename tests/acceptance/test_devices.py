"""Devices vanish and fail while a car charges: reported, survived, and never the end of a process."""

from typing import Any

import pytest

from services.demo.book import Book
from tests.acceptance.rig import TAG, Rig, rig
from tests.harness import wait_until

pytestmark = pytest.mark.process


def _last_error(book: Book, connector_id: int) -> str:
    found: list[Any] = [e.payload for e in book.calls("StatusNotification") if e.payload["connectorId"] == connector_id]
    return str(found[-1]["errorCode"]) if found else ""


def _wait_for_error(one: Rig, connector_id: int, error_code: str) -> None:
    what = f"connector {connector_id} reports {error_code}"
    one.central_system.wait_for(lambda book: _last_error(book, connector_id) == error_code, 25, what)


def test_a_vanished_controller_is_a_fault_and_its_return_goes_on_with_the_transaction() -> None:
    """hardware.md §3.4: unreachable controller is InternalError; the whole desired state goes out again after it."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        one.station.sim("unplug-device", "evse", "1")
        one.wait_for_status(1, "Faulted")
        _wait_for_error(one, 1, "InternalError")
        one.station.sim("replug-device", "evse", "1")
        one.wait_for_status(1, "Charging", 20)
        assert one.relay() == (True, 0)
        one.stop_by_card()
        one.check_one_transaction(before_wh)


def test_a_vanished_meter_and_reader_are_reported_and_charging_goes_on() -> None:
    """Design §2: PowerMeterFailure and ReaderFailure; the transaction's energy is right when the meter is back."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        one.station.sim("unplug-device", "meter", "1")
        one.station.sim("unplug-device", "reader")
        _wait_for_error(one, 1, "PowerMeterFailure")
        _wait_for_error(one, 0, "ReaderFailure")
        assert one.relay() == (True, 0)
        one.station.sim("replug-device", "meter", "1")
        one.station.sim("replug-device", "reader")
        _wait_for_error(one, 1, "NoError")
        _wait_for_error(one, 0, "NoError")
        one.stop_by_card()
        one.check_one_transaction(before_wh)


def test_a_ground_fault_interrupts_and_its_end_returns_to_the_status_before() -> None:
    """OCPP 1.6 §4.9, C9 and I3: Faulted overlays, the transaction goes on when the fault is gone."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        one.station.sim("fault", "1", "gfci")
        one.wait_for_status(1, "Faulted")
        _wait_for_error(one, 1, "GroundFailure")
        assert not one.relay()[0], "the controller opens at once"
        one.station.sim("clear-fault", "1", "gfci")
        one.wait_for_status(1, "Charging", 20)
        one.stop_by_card()
        one.check_one_transaction(before_wh)


def test_emergency_stop_ends_the_transaction_and_faults_until_released() -> None:
    """OCPP 1.6 §7.36 EmergencyStop: opens at once, Faulted until released."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        one.station.sim("estop", "on")
        one.wait_for_status(1, "Faulted")
        assert one.check_one_transaction(before_wh).reason == "EmergencyStop"
        one.station.sim("swipe", TAG)
        one.station.sim("estop", "off")
        one.wait_for_status(1, "Finishing")
        assert not one.relay()[0]


def test_a_full_car_suspends_and_can_resume() -> None:
    """OCPP 1.6 §4.9, C4 and D3."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        one.station.sim("ev-pause", "1")
        one.wait_for_status(1, "SuspendedEV")
        one.station.sim("ev-resume", "1")
        one.wait_for_status(1, "Charging")
        one.stop_by_card()
        one.check_one_transaction(before_wh)


def test_soft_reset_stops_the_transaction_and_the_station_boots_again() -> None:
    """OCPP 1.6 §5.14, errata v4.0 3.36: the answer first, SoftReset, then BootNotification."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        assert one.central_system.call("Reset", {"type": "Soft"}) == {"status": "Accepted"}
        assert one.check_one_transaction(before_wh).reason == "SoftReset"
        one.central_system.wait_for(lambda book: len(book.calls("BootNotification")) == 2, 30, "the second boot")
        one.station.sim("ready", "--timeout", "15")


def test_a_card_of_seven_bytes_at_a_pn532_starts_and_stops_a_transaction() -> None:
    """Field report 49: the whole UID is the idTag. hardware.md §5.2. Who has to wait at the reader sees it (issue 6)."""
    with rig(reader='pn532"\nwait_pin = "P33') as station:
        station.start_by_card(tag="04a1b2c3d4e580")
        station.stop_by_card(tag="04a1b2c3d4e580")
        transaction = station.check_one_transaction(0)
        assert transaction.id_tag == "04A1B2C3D4E580"
        assert station.lamps() == []
        station.central_system.behaviour.silence("Authorize")
        station.station.sim("swipe", "DEADBEEF")
        wait_until(lambda: station.lamps() == ["P33"], 15, "the reader shows that the card is asked about")
        station.station.sim("unplug-device", "reader")
        wait_until(lambda: station.station.status()["reader"], 15, "the lost reader is told")
        station.station.sim("replug-device", "reader")
        wait_until(lambda: station.station.status()["reader"] == "", 15, "the reader works again")


def test_a_card_at_a_keyboard_reader_starts_and_stops_a_transaction() -> None:
    """hardware.md §5.4: a reader that types the decimal number of a card; the idTag is its UID, written as §5.6 allows."""
    with rig(reader='hid"\nprefix = "K-"\nstrip_leading_zeros = true\nmax_bytes = 4\npayload = "decimal') as station:
        station.start_by_card(tag="0013477100")
        station.stop_by_card(tag="0013477100")
        assert station.check_one_transaction(0).id_tag == "K-CDA4EC"
