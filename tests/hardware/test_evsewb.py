"""The EVSE-WB driver against the virtual EVSE-WB on a pty (hardware.md §3.2, §3.4)."""

from collections.abc import Callable

import pytest

from bus.vocabulary import ChargePointErrorCode
from services.connectors.drivers import evse_driver
from services.connectors.drivers import evsewb_states as states
from services.connectors.drivers.evsewb import CLEAR_PERIOD_S, TEST_PERIOD_S, EvseWb
from services.hardware.contract import EvseDesired, NoAnswer, PortMissing, WrongAnswer
from services.simulator.evsewb_board import HUNDREDTHS, RCD_CLEARS_ITSELF, SELF_TEST_S, WbEeprom
from services.simulator.modbus_slave import ILLEGAL_ADDRESS, Refusal
from tests.hardware.peers import PtyPeer, ScriptedMeter
from tests.hardware.virtual_evse import OFF, Pair, config, offer

MakePeer = Callable[..., PtyPeer]
OFFER_16 = offer(16.0)


@pytest.fixture
def pair(peer: MakePeer) -> Pair:
    return Pair(peer, "evsewb")


def codes(pair: Pair) -> list[tuple[ChargePointErrorCode, str]]:
    assert pair.seen is not None
    return [(fault.error_code, fault.vendor_code) for fault in pair.seen.faults]


def test_station_toml_chooses_it_by_one_word() -> None:
    assert isinstance(evse_driver(config("evsewb"), "nowhere"), EvseWb)


def test_open_asks_who_is_there_and_changes_nothing(pair: Pair) -> None:
    """Design §2: a vehicle may be charging while this process restarts."""
    pair.plug_in()
    pair.world.advance(pair.now() + 5.0)
    info = pair.driver.open()
    assert (info.vendor, info.firmware, info.protocol) == ("EVSE-WB", "18", "Modbus RTU unit 1")
    seen = pair.run(2.0, None)
    assert (seen.control_pilot, seen.plugged, seen.offering, seen.relay_closed) == ("C", True, True, True)
    assert seen.limit_a == 32.0
    assert pair.board.configured_a == 32.0
    assert pair.board.eeprom == WbEeprom()


def test_a_session_is_offered_confirmed_limited_and_withdrawn(pair: Pair) -> None:
    pair.opened()
    assert pair.board.configured_a == 0.0
    pair.plug_in()
    seen = pair.run(2.0, OFF)
    assert (seen.control_pilot, seen.plugged, seen.offering, seen.relay_closed) == ("B", True, False, False)
    seen = pair.run(4.0, OFFER_16)
    assert (seen.control_pilot, seen.offering, seen.relay_closed, seen.limit_a) == ("C", True, True, 16.0)
    assert pair.connector.contactor.closed
    seen = pair.run(1.0, offer(10.9))
    assert (seen.limit_a, seen.relay_closed) == (10.0, True)
    seen = pair.run(5.0, OFF)
    assert (seen.offering, seen.relay_closed, seen.plugged) == (False, False, True)
    pair.plug_out()
    assert pair.run(1.0, OFF).plugged is False


def test_what_is_seen_says_which_order_was_carried_out_before(pair: Pair) -> None:
    pair.opened()
    for order in (None, OFF, OFFER_16, OFF):
        assert pair.run(2.0, order).order == order


def test_the_contactor_counts_as_closed_until_the_vehicle_has_let_go(pair: Pair) -> None:
    """The reading of a stop is taken once it is open (hardware.md §2.1); without a believed bit the pilot tells."""
    pair.opened()
    pair.plug_in()
    pair.run(4.0, OFFER_16)
    pair.board.current_a = pair.connector.car.current_a = 16.0
    seen = pair.driver.exchange(OFF)[0]
    assert (seen.offering, seen.relay_closed) == (False, True)
    assert pair.connector.contactor.closed
    seen = pair.run(2.0, OFF)
    assert (seen.relay_closed, pair.connector.contactor.closed) == (False, False)


def test_a_charging_vehicle_keeps_its_contactor_closed_over_a_restart_of_ours(pair: Pair) -> None:
    pair.opened()
    pair.plug_in()
    pair.run(4.0, OFFER_16)
    pair.driver.close()
    pair.driver.open()
    pair.run(1.0, None)
    assert pair.run(3.0, OFFER_16).relay_closed
    assert pair.connector.contactor.opened_count == 0


@pytest.mark.parametrize(
    ("desired", "amps"),
    [
        (OFF, 0.0),
        (EvseDesired(False, 16.0), 0.0),
        (offer(5.99), 0.0),
        (offer(0.0), 0.0),
        (offer(float("nan")), 0.0),
        (offer(float("inf")), 0.0),
        (offer(6.0), 6.0),
        (offer(16.9), 16.0),
        (offer(32.0), 32.0),
        (offer(500.0), 80.0),
    ],
)
def test_a_limit_below_six_amps_means_no_energy_and_no_limit_is_rounded_up(
    pair: Pair, desired: EvseDesired, amps: float
) -> None:
    pair.opened()
    pair.run(0.5, desired)
    assert pair.board.configured_a == amps


def test_a_controller_that_counts_hundredths_is_told_hundredths(peer: MakePeer) -> None:
    """Register 2005 bit 7, from firmware 17 on."""
    pair = Pair(peer, "evsewb", eeprom=WbEeprom(options=0x0210 | HUNDREDTHS)).opened()
    pair.plug_in()
    seen = pair.run(4.0, offer(10.5))
    assert pair.board.configured_a == pytest.approx(10.5)
    assert seen.limit_a == pytest.approx(10.5)


def test_old_firmware_counts_amps_whatever_its_option_says(peer: MakePeer) -> None:
    pair = Pair(peer, "evsewb", eeprom=WbEeprom(firmware=12, options=HUNDREDTHS)).opened()
    pair.plug_in()
    assert pair.run(4.0, offer(10.5)).limit_a == 10.0
    assert pair.board.configured_a == 10.0


def test_a_clone_with_seven_registers_charges_all_the_same(peer: MakePeer) -> None:
    """Clones answer exception 2 to longer reads; a failure of theirs has no name, so it stops charging."""
    pair = Pair(peer, "evsewb", eeprom=WbEeprom(firmware=8, short=True)).opened()
    pair.plug_in()
    assert pair.run(4.0, OFFER_16).relay_closed
    pair.fault("gfci")
    seen = pair.run(1.0, OFF)
    assert codes(pair) == [(ChargePointErrorCode.OTHER_ERROR, "evsewb:1002=5")]
    assert (seen.relay_closed, seen.offering, seen.plugged) == (False, False, None)


def test_buttons_are_switched_off_and_it_starts_without_current_from_now_on(pair: Pair) -> None:
    """hardware.md §3.2: written once, as the EEPROM wears."""
    pair.opened()
    assert pair.board.eeprom == WbEeprom(power_up_a=0, options=0x0210)
    pair.power_cycle()
    pair.plug_in()
    pair.world.advance(pair.now() + 5.0)
    assert not pair.connector.contactor.closed


def test_a_power_cycle_in_a_session_is_noticed_and_the_offer_renewed(pair: Pair) -> None:
    pair.opened()
    pair.plug_in()
    pair.run(4.0, OFFER_16)
    pair.power_cycle()
    pair.run(1.0, None) if pair.board.booting else None
    seen = pair.run(5.0, OFFER_16)
    assert (seen.boots, seen.relay_closed, seen.limit_a) == (1, True, 16.0)


def test_a_tripped_residual_current_device_is_a_ground_failure_and_is_tried_again(pair: Pair) -> None:
    """hardware.md §3.4; tried again after five minutes, as nothing else clears it."""
    pair.opened()
    pair.plug_in()
    pair.run(4.0, OFFER_16)
    pair.fault("gfci")
    seen = pair.run(1.0, OFFER_16)
    assert codes(pair) == [(ChargePointErrorCode.GROUND_FAILURE, "evsewb:1007=0x20")]
    assert (seen.relay_closed, seen.offering) == (False, False)
    pair.fault("gfci", present=False)
    pair.run(5.0, OFF)
    assert codes(pair)
    pair.ahead_s += CLEAR_PERIOD_S
    pair.run(2.0, OFF)
    assert codes(pair) == []


def test_an_rcd_that_clears_itself_needs_no_help(peer: MakePeer) -> None:
    pair = Pair(peer, "evsewb", eeprom=WbEeprom(options=0x0210 | RCD_CLEARS_ITSELF)).opened()
    pair.fault("gfci")
    pair.run(1.0, OFF)
    assert codes(pair)
    pair.fault("gfci", present=False)
    pair.ahead_s += 31.0
    pair.run(1.0, OFF)
    assert codes(pair) == []


def test_the_residual_current_device_is_tested_once_a_day_without_a_vehicle(pair: Pair) -> None:
    """Bit 4 of register 1007 is no fault while the test that was commanded lasts; a test that fails is one."""
    pair.opened()
    pair.ahead_s += TEST_PERIOD_S
    pair.run(2.0, OFF)
    assert pair.board.testing
    assert codes(pair) == []
    pair.fault("gfi-self-test")
    pair.ahead_s += SELF_TEST_S
    pair.run(2.0, OFF)
    assert codes(pair) == [(ChargePointErrorCode.GROUND_FAILURE, "evsewb:1007=0x20")]


def test_no_test_begins_while_a_vehicle_is_there(pair: Pair) -> None:
    pair.opened()
    pair.plug_in()
    pair.run(3.0, OFFER_16)
    pair.ahead_s += TEST_PERIOD_S
    pair.run(2.0, OFFER_16)
    assert not pair.board.testing


@pytest.mark.parametrize(("kind", "code"), [("diode", "evsewb:1007.1"), ("vent", "evsewb:1007.2")])
def test_a_fault_of_the_vehicle_is_a_warning(pair: Pair, kind: str, code: str) -> None:
    """hardware.md §3.4: per OCPP no defect of the charger, so SuspendedEVSE rather than Faulted."""
    pair.opened()
    pair.plug_in()
    pair.run(4.0, OFFER_16)
    pair.fault(kind)
    seen = pair.run(1.0, OFFER_16)
    assert codes(pair) == [(ChargePointErrorCode.EV_COMMUNICATION_ERROR, code)]
    assert all(fault.warning for fault in seen.faults)
    assert not pair.connector.contactor.closed
    pair.fault(kind, present=False)
    assert pair.run(4.0, OFFER_16).relay_closed


@pytest.mark.parametrize(
    ("kind", "desired", "words"),
    [("stuck-relay", OFF, "contactor stuck closed"), ("relay", OFFER_16, "contactor did not close")],
)
def test_a_contactor_that_is_not_where_it_should_be_is_told(pair: Pair, kind: str, desired: EvseDesired, words: str) -> None:
    """PowerSwitchFailure; bit 0 is believed once its sense was seen, as sources split about it."""
    pair.opened()
    pair.plug_in()
    pair.run(3.0 + states.RELAY_SETTLES_S, OFFER_16)
    pair.fault(kind)
    pair.run(5.0, desired)
    assert codes(pair) == []
    seen = pair.run(states.RELAY_SETTLES_S, desired)
    assert codes(pair) == [(ChargePointErrorCode.POWER_SWITCH_FAILURE, "evsewb:1007.0")]
    assert seen.faults[0].info == words
    assert seen.relay_closed == pair.connector.contactor.closed


def test_the_plug_in_a_socket_says_what_its_cable_bears(peer: MakePeer) -> None:
    pair = Pair(peer, "evsewb", cable="socket")
    pair.board.cable_a = 13
    pair.opened()
    pair.plug_in()
    assert pair.run(4.0, offer(32.0)).limit_a == 13.0
    pair.board.cable_a = 20
    assert pair.run(2.0, offer(32.0)).limit_a == 20.0


def test_energy_is_withdrawn_even_if_polling_fails(pair: Pair) -> None:
    """An order goes out before anything is asked."""
    pair.opened()
    pair.plug_in()
    pair.run(4.0, OFFER_16)
    pair.quirks.mute = True
    with pytest.raises(NoAnswer):
        pair.run(0.5, OFF)
    assert pair.board.configured_a == 0.0


@pytest.mark.parametrize(
    ("quirk", "error", "words"),
    [
        ({"mute": True}, NoAnswer, "no charging controller answers at .* as unit 1; check power, wiring, address"),
        ({"garble_checksums": True}, WrongAnswer, "answers wrongly .*; check wiring, speed, parity"),
        ({"answers_as": 7}, WrongAnswer, "address: 7 instead of 1"),
        ({"noise": b"\x00\xff"}, WrongAnswer, "answers wrongly"),
        ({"busy": 99}, WrongAnswer, "busy"),
    ],
)
def test_a_bad_line_is_named(pair: Pair, quirk: dict[str, object], error: type[Exception], words: str) -> None:
    for name, value in quirk.items():
        setattr(pair.quirks, name, value)
    with pytest.raises(error, match=words):
        pair.driver.open()
    assert pair.driver.counters().transmissions >= 2


@pytest.mark.parametrize("quirk", ["drop_replies", "half_replies", "busy"])
def test_one_bad_reply_is_asked_for_again(pair: Pair, quirk: str) -> None:
    pair.opened()
    setattr(pair.quirks, quirk, 1)
    pair.run(1.0, OFF)
    counters = pair.driver.counters()
    assert counters.timeouts + counters.errors == 1


def test_another_device_is_not_taken_for_a_controller(peer: MakePeer) -> None:
    device = ScriptedMeter()
    device.registers = {3: dict.fromkeys(range(1000, 1007), 9)}
    driver = evse_driver(config("evsewb"), peer(device).path)
    with pytest.raises(WrongAnswer, match="registers 1002 and 1006 are 9 and 9; is it an EVSE-WB"):
        driver.open()
    device.registers = {4: {}}
    with pytest.raises(WrongAnswer, match="is it of the kind in station"):
        driver.open()


def test_a_vanished_port_is_told_and_the_whole_desired_state_goes_out_after_it_is_back(pair: Pair) -> None:
    pair.opened()
    pair.plug_in()
    pair.run(4.0, OFFER_16)
    pair.pty.vanish()
    with pytest.raises(PortMissing, match="has lost its device"):
        pair.run(1.0, OFF)
    pair.driver.close()
    with pytest.raises(PortMissing, match="is not there"):
        pair.driver.open()
    pair.pty.appear()
    pair.driver.open()
    pair.run(1.0, OFF)
    assert pair.board.configured_a == 0.0


def writes(pair: Pair, monkeypatch: pytest.MonkeyPatch, *, refused: int | None = None) -> list[tuple[int, int]]:
    """What is written from now on: register and word. `refused`: a register that this make does not have."""
    found: list[tuple[int, int]] = []
    controller = pair.connector.controller
    target = controller._target  # type: ignore[attr-defined]

    def taken(address: int, word: int) -> tuple[str, int]:
        found.append((address, word))
        if address == refused:
            raise Refusal(ILLEGAL_ADDRESS)
        return target(address, word)  # type: ignore[no-any-return]

    monkeypatch.setattr(controller, "_target", taken)
    return found


def test_the_emergency_stop_turns_charging_off_once_beside_a_current_of_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hardware.md §3.2: bit 0 of register 1004; what every make obeys comes first."""
    pair.opened(OFF)
    pair.plug_in()
    pair.run(5.0, OFFER_16)
    found = writes(pair, monkeypatch)
    pair.run(3.0, EvseDesired(at_once=True))
    assert found == [(1000, 0), (1004, 1)]
    pair.run(5.0, OFFER_16)
    found.clear()
    pair.run(3.0, EvseDesired(at_once=True))
    assert found == [(1000, 0), (1004, 1)], "and so does the next one"


def test_a_controller_that_can_not_be_turned_off_at_once_is_withdrawn_from(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pair.opened(OFF)
    pair.plug_in()
    pair.run(5.0, OFFER_16)
    found = writes(pair, monkeypatch, refused=1004)
    pair.run(4.0, EvseDesired(at_once=True))
    assert found == [(1000, 0), (1004, 1)]
    assert not pair.connector.contactor.closed
    assert caplog.text.count("can't be turned off at once") == 1


def test_nothing_is_turned_off_where_no_vehicle_is(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.opened(OFF)
    found = writes(pair, monkeypatch)
    pair.run(3.0, EvseDesired(at_once=True))
    assert found == []
