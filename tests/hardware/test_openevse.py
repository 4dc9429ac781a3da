"""The OpenEVSE driver against a scripted controller on a pty (hardware.md §3.1, §3.4)."""

import logging
import select
from collections.abc import Callable

import pytest

from bus.clock import boottime_s
from bus.vocabulary import ChargePointErrorCode
from services.connectors.drivers import openevse_states as states
from services.connectors.drivers.openevse import OpenEvse, offered_a
from services.hardware.contract import EvseDesired, EvseObservation, NoAnswer, PortMissing, WrongAnswer
from tests.hardware.peers import PtyPeer, ScriptedEvse, sealed

OFF = EvseDesired()
OFFER_16 = EvseDesired(energy_allowed=True, limit_a=16.0)
MakePeer = Callable[..., PtyPeer]


class Clock:
    """Boottime that a test can advance, so that it need not wait for the driver's periods."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return boottime_s() + self.ahead_s


class Bench:
    """A controller, its pty, and the driver under test, opened."""

    def __init__(self, make: MakePeer) -> None:
        self.evse = ScriptedEvse()
        self.pty = make(self.evse)
        self.clock = Clock()
        self.driver = OpenEvse(self.pty.path, now=self.clock)

    def exchange(self, desired: EvseDesired | None = OFF, *, after_s: float = 1.0) -> EvseObservation:
        self.clock.ahead_s += after_s
        (seen,) = self.driver.exchange(desired)
        return seen

    def settle(self, desired: EvseDesired = OFF) -> EvseObservation:
        """Open and apply; then forget which commands that took."""
        self.driver.open()
        self.exchange(desired)
        seen = self.exchange(desired)
        self.evse.commands.clear()
        return seen


@pytest.fixture
def bench(peer: MakePeer) -> Bench:
    return Bench(peer)


def test_open_asks_who_is_there_and_changes_nothing(bench: Bench) -> None:
    """Design §2: a vehicle may be charging while this process restarts."""
    info = bench.driver.open()
    assert (info.vendor, info.firmware, info.protocol) == ("OpenEVSE", "8.2.3", "RAPI 5.2.1")
    assert bench.evse.commands == ["GV", "GE", "GC", "GF", "GS", "GU"]


def test_no_desired_state_only_observes(bench: Bench) -> None:
    bench.evse.charge()
    bench.driver.open()
    for _ in range(20):
        seen = bench.exchange(None)
    assert bench.evse.set_commands() == []
    assert (seen.control_pilot, seen.relay_closed, seen.offering, seen.plugged) == ("C", True, True, True)


def test_a_charging_vehicle_keeps_its_contactor_closed_over_a_restart_of_ours(bench: Bench) -> None:
    """The offer is renewed without `$FS`, and without a `$FE` that would make the controller think again."""
    bench.evse.charge()
    bench.driver.open()
    bench.exchange(None)
    seen = bench.exchange(OFFER_16)
    assert seen.relay_closed
    assert not {"FS", "FE", "FD"} & set(bench.evse.commands)
    assert bench.evse.set_commands()[0] == "SC 16 V"


def test_the_first_desired_state_withdraws_before_anything_else(bench: Bench) -> None:
    """hardware.md §3.1, trap 1: stock firmware powers up enabled."""
    bench.driver.open()
    seen = bench.exchange(OFF)
    assert bench.evse.set_commands()[0] == "FS"
    assert {"FF B 0", "ST 0 0 0 0", "SY 20 6"} <= set(bench.evse.commands)
    assert not seen.offering


def test_what_is_set_already_wears_no_eeprom(bench: Bench) -> None:
    bench.evse.unknown = set()
    bench.evse.supervision = "20 6"
    bench.evse.flags |= 0x8000
    bench.driver.open()
    bench.exchange(OFF)
    assert bench.evse.set_commands() == ["FS", "SY"]


def test_an_offer_sets_the_limit_before_it_wakes_the_controller(bench: Bench) -> None:
    bench.evse.plug()
    bench.settle(OFF)
    seen = bench.exchange(OFFER_16)
    assert bench.evse.set_commands()[:2] == ["SC 16 V", "FE"]
    assert (seen.offering, seen.limit_a, seen.control_pilot) == (True, 16.0, "B")


def test_what_is_seen_says_which_order_was_carried_out_before(bench: Bench) -> None:
    bench.evse.charge()
    bench.driver.open()
    for order in (None, OFFER_16, OFF):
        assert bench.exchange(order).order == order


def test_a_withdrawal_is_sleep_and_never_disable(bench: Bench) -> None:
    bench.evse.charge()
    bench.settle(OFFER_16)
    seen = bench.exchange(OFF, after_s=0.0)
    assert bench.evse.set_commands() == ["FS"]
    assert (seen.offering, seen.plugged) == (False, True)


def test_a_state_that_holds_is_said_once(bench: Bench) -> None:
    bench.evse.charge()
    bench.settle(OFFER_16)
    for _ in range(30):
        bench.exchange(OFFER_16)
    assert set(bench.evse.set_commands()) == {"SY"}


def test_a_changed_limit_is_said_without_touching_the_contactor(bench: Bench) -> None:
    bench.evse.charge()
    bench.settle(OFFER_16)
    seen = bench.exchange(EvseDesired(energy_allowed=True, limit_a=10.9), after_s=0.0)
    assert bench.evse.set_commands() == ["SC 10 V"]
    assert seen.limit_a == 10.0


@pytest.mark.parametrize(
    ("desired", "amps"),
    [
        (OFF, 0),
        (EvseDesired(False, 16.0), 0),
        (EvseDesired(True, 5.99), 0),
        (EvseDesired(True, 0.0), 0),
        (EvseDesired(True, float("nan")), 0),
        (EvseDesired(True, float("inf")), 0),
        (EvseDesired(True, 6.0), 6),
        (EvseDesired(True, 16.9), 16),
        (EvseDesired(True, 500.0), 80),
    ],
)
def test_a_limit_below_six_amps_means_no_energy_and_no_limit_is_rounded_up(desired: EvseDesired, amps: int) -> None:
    """hardware.md §2.1: less can't be expressed on the control pilot."""
    assert offered_a(desired) == amps


def test_a_clamped_limit_is_in_force_although_the_reply_is_negative(bench: Bench) -> None:
    bench.evse.plug()
    bench.settle(OFF)
    seen = bench.exchange(EvseDesired(energy_allowed=True, limit_a=40.0))
    assert (seen.limit_a, seen.offering) == (32.0, True)


def test_a_limit_that_the_controller_cut_is_tried_again(bench: Bench) -> None:
    """Over temperature it refuses to raise the current; later it may not."""
    bench.evse.charge()
    bench.evse.most_a = 10
    assert bench.settle(OFFER_16).limit_a == 10.0
    bench.evse.most_a = 32
    for _ in range(6):
        seen = bench.exchange(OFFER_16)
    assert seen.limit_a == 16.0
    assert bench.evse.count("SC 16 V") == 1


def test_a_limit_that_is_exceeded_is_put_right_at_once(bench: Bench) -> None:
    bench.evse.charge()
    bench.settle(OFFER_16)
    bench.evse.amps = 32
    bench.pty.send(bench.evse.at())
    wait_readable(bench)
    (seen,) = bench.driver.exchange(OFFER_16)
    assert (seen.limit_a, bench.evse.amps) == (16.0, 16)


def test_a_controller_that_can_not_go_so_low_gives_nothing(bench: Bench) -> None:
    """More than desired may be more than the supply can bear."""
    bench.evse.least_a = 10
    bench.evse.charge()
    bench.settle(OFFER_16)
    seen = bench.exchange(EvseDesired(energy_allowed=True, limit_a=8.0))
    assert bench.evse.set_commands()[:2] == ["SC 8 V", "FS"]
    assert not seen.offering
    assert bench.exchange(OFFER_16).offering


def test_a_refused_limit_withdraws_energy_and_is_told(bench: Bench) -> None:
    bench.evse.charge()
    bench.driver.open()
    bench.evse.unknown.add("SC")
    with pytest.raises(WrongAnswer, match="refuses a current limit"):
        bench.exchange(OFFER_16)
    assert bench.evse.state == 0xFE


def test_a_restarted_controller_is_put_to_sleep_at_once(bench: Bench) -> None:
    """After `$AB` the controller is enabled, and has forgotten its settings."""
    bench.settle(OFF)
    bench.evse.plug()
    bench.evse.state = 0x02
    bench.pty.send(sealed("$AB 00 8.2.3"))
    wait_readable(bench)
    (seen,) = bench.driver.exchange(OFF)
    assert bench.evse.set_commands()[0] == "FS"
    assert "ST 0 0 0 0" in bench.evse.commands
    assert (seen.boots, seen.offering) == (1, False)


def test_a_restart_in_a_session_renews_the_offer(bench: Bench) -> None:
    bench.evse.charge()
    bench.settle(OFFER_16)
    bench.evse.amps = 32
    bench.pty.send(sealed("$AB 00 8.2.3"))
    wait_readable(bench)
    (seen,) = bench.driver.exchange(OFFER_16)
    assert bench.evse.set_commands()[0] == "SC 16 V"
    assert (seen.boots, seen.limit_a) == (1, 16.0)


def test_a_restart_between_command_and_reply_is_made_good_in_the_same_exchange(bench: Bench) -> None:
    bench.evse.plug()
    bench.settle(OFF)
    bench.evse.state = 0x02
    bench.evse.before = [sealed("$AB 00 8.2.3")]
    seen = bench.exchange(OFF)
    assert "FS" in bench.evse.commands
    assert not seen.offering


def test_an_enabled_controller_that_should_sleep_is_put_to_sleep_whatever_woke_it(bench: Bench) -> None:
    bench.evse.plug()
    bench.settle(OFF)
    bench.evse.state = 0x02
    seen = bench.exchange(OFF)
    assert bench.evse.set_commands() == ["FS"]
    assert not seen.offering


def test_a_sleeping_controller_that_should_charge_is_woken_but_not_in_a_frenzy(bench: Bench) -> None:
    bench.evse.charge()
    bench.settle(OFFER_16)
    bench.evse.state = 0xFE
    assert bench.exchange(OFFER_16).offering
    assert bench.evse.count("FE") == 1
    for _ in range(4):
        bench.evse.state = 0xFE
        bench.exchange(OFFER_16)
    assert bench.evse.count("FE") == 1


def test_an_offer_right_after_a_withdrawal_does_not_wait(bench: Bench) -> None:
    bench.evse.plug()
    bench.settle(OFFER_16)
    for _ in range(3):
        assert not bench.exchange(OFF, after_s=0.0).offering
        assert bench.exchange(OFFER_16, after_s=0.0).offering


def test_an_edge_is_heard_without_asking_and_brings_fresh_counters(bench: Bench) -> None:
    """The counters go back to zero at plug-in: an old value beside the new plug would make it the old session."""
    bench.settle(OFF)
    bench.evse.session_ws, bench.evse.elapsed_s = 0, 0
    bench.evse.plug()
    bench.pty.send(bench.evse.at())
    wait_readable(bench)
    (seen,) = bench.driver.exchange(OFF)
    assert (seen.plugged, seen.control_pilot, seen.session_energy_ws) == (True, "B", 0)
    assert bench.evse.commands == ["GS", "GU"]


def test_an_asynchronous_line_before_the_reply_is_no_reply(bench: Bench) -> None:
    """Older firmware sends `$AT` before `$OK`."""
    bench.evse.plug()
    bench.settle(OFF)
    bench.evse.before = [b"\0\xff garbage", sealed("$AT fe 02 16 0100"), sealed("$WF 02"), sealed("$AN 1")]
    assert bench.exchange(OFF).plugged is True


def test_stale_replies_are_discarded(bench: Bench) -> None:
    bench.settle(OFF)
    bench.evse.before = [sealed("$OK 03 9 03 0140 :EE")]
    assert bench.exchange(OFF).relay_closed is False


def test_a_garbled_reply_is_asked_for_again(bench: Bench) -> None:
    bench.settle(OFF)
    bench.evse.garble = 1
    assert bench.exchange(OFF).plugged is False
    assert bench.evse.count("GS") == 2
    assert bench.driver.counters().errors == 1


def test_a_request_that_arrived_garbled_is_sent_again(bench: Bench) -> None:
    bench.settle(OFF)
    bench.evse.before = [b"$NK^21\r"]
    bench.exchange(OFF)
    assert bench.evse.count("GS") == 2


def test_a_mute_controller_is_no_answer(bench: Bench) -> None:
    bench.settle(OFF)
    bench.evse.mute = True
    with pytest.raises(NoAnswer, match="does not answer; check its power and cable"):
        bench.exchange(OFF)
    assert bench.driver.counters().timeouts == 2


def test_a_device_that_babbles_is_a_wrong_answer(peer: MakePeer) -> None:
    driver = OpenEvse(peer(lambda _: b"\x00\xf8\x80 what?\r").path)
    with pytest.raises(WrongAnswer, match="sends nonsense; check that it is an OpenEVSE at 115200 baud"):
        driver.open()
    assert driver.fileno() is None


def test_another_device_than_an_openevse_is_named(bench: Bench) -> None:
    bench.evse.unknown |= {"GV", "GE"}
    with pytest.raises(WrongAnswer, match="is it an OpenEVSE"):
        bench.driver.open()


@pytest.mark.parametrize("reply", ["$OK", "$OK zz 0 01 0200", "$OK 01 0 01", "$OK 01 x 01 0200"])
def test_nonsense_in_a_status_is_a_wrong_answer(reply: str) -> None:
    with pytest.raises(WrongAnswer, match="is it an OpenEVSE"):
        states.with_status(states.Controller(), tuple(reply.split()[1:]))


def test_unplug_and_replug_of_the_adapter(bench: Bench) -> None:
    """A new pty behind the same name; the whole desired state goes out again."""
    bench.evse.plug()
    bench.settle(OFFER_16)
    bench.pty.vanish()
    with pytest.raises(PortMissing, match="has lost its device"):
        bench.exchange(OFFER_16)
    with pytest.raises(PortMissing, match="is not there"):
        bench.driver.open()
    bench.pty.appear()
    bench.driver.open()
    bench.exchange(OFFER_16)
    assert "SC 16 V" in bench.evse.commands


def test_firmware_without_sequence_ids_is_understood(bench: Bench) -> None:
    bench.evse.with_ids = False
    bench.evse.plug()
    bench.driver.open()
    assert bench.exchange(OFFER_16).offering
    assert not bench.exchange(OFF).offering


def test_firmware_before_rapi_5_is_understood(bench: Bench) -> None:
    """Two values, the state decimal, and no flags: `$G0` says whether a vehicle is connected while it sleeps."""
    bench.evse.rapi4 = True
    bench.evse.charge()
    bench.driver.open()
    seen = bench.exchange(None)
    assert (seen.control_pilot, seen.plugged, seen.relay_closed) == ("C", True, True)
    seen = bench.exchange(OFF)
    assert (seen.control_pilot, seen.plugged, seen.relay_closed, seen.offering) == (None, True, False, False)


def test_a_missed_pulse_is_acknowledged_and_the_limit_set_again(bench: Bench) -> None:
    """`$SY 165` puts the pilot to the configured maximum, so the limit has to follow at once."""
    bench.evse.charge()
    bench.settle(OFFER_16)
    bench.evse.missed_pulse, bench.evse.amps = True, 6
    seen = bench.exchange(OFFER_16, after_s=5.0)
    commands = bench.evse.set_commands()
    assert commands[commands.index("SY 165") :][:2] == ["SY 165", "SC 16 V"]
    assert (bench.evse.amps, seen.limit_a) == (16, 16.0)


def test_the_pulse_goes_every_five_seconds(bench: Bench) -> None:
    bench.settle(OFF)
    for _ in range(20):
        bench.exchange(OFF)
    assert bench.evse.count("SY") == 4


def test_idle_traffic_is_low(bench: Bench) -> None:
    bench.settle(OFF)
    for _ in range(60):
        bench.exchange(OFF)
    assert bench.evse.count("GS") == 60
    assert bench.evse.count("GU") <= 13
    assert len(bench.evse.commands) <= 100


def test_session_counters_are_read_every_second_while_charging(bench: Bench) -> None:
    bench.evse.charge()
    bench.settle(OFFER_16)
    bench.evse.session_ws, bench.evse.elapsed_s = 7200, 12
    seen = bench.exchange(OFFER_16)
    assert (seen.session_energy_ws, seen.session_elapsed_s) == (7200, 12)


FAULT_CODES = {
    0x04: ChargePointErrorCode.EV_COMMUNICATION_ERROR,
    0x05: ChargePointErrorCode.EV_COMMUNICATION_ERROR,
    0x06: ChargePointErrorCode.GROUND_FAILURE,
    0x07: ChargePointErrorCode.GROUND_FAILURE,
    0x08: ChargePointErrorCode.POWER_SWITCH_FAILURE,
    0x09: ChargePointErrorCode.GROUND_FAILURE,
    0x0A: ChargePointErrorCode.HIGH_TEMPERATURE,
    0x0B: ChargePointErrorCode.OVER_CURRENT_FAILURE,
    0x0C: ChargePointErrorCode.OTHER_ERROR,
    0x0E: ChargePointErrorCode.POWER_SWITCH_FAILURE,
    0x42: ChargePointErrorCode.OTHER_ERROR,
}


@pytest.mark.parametrize(("state", "code"), FAULT_CODES.items())
def test_each_fault_has_its_error_code_and_keeps_the_controllers_own(state: int, code: ChargePointErrorCode) -> None:
    """hardware.md §3.4: every code, the unknown ones too; a pilot fault is a warning (OCPP 1.6 §4.9)."""
    (fault,) = (seen := states.observation(states.Controller(state=state, pilot_state=2, vflags=0x0100))).faults
    assert (fault.error_code, fault.vendor_code) == (code, f"openevse:{state:02X}")
    assert fault.warning == (code is ChargePointErrorCode.EV_COMMUNICATION_ERROR)
    assert 0 < len(fault.info) <= 50
    assert not seen.offering


def test_a_fault_and_its_warnings_are_all_said() -> None:
    """Field report 40; hardware.md §3.4: HighTemperature while derating, InternalError for checks that are switched off."""
    known = states.Controller(state=0x06, hot=True, checks_off=tuple(states.SAFETY_CHECKS.values()))
    found = states.observation(known).faults
    assert [fault.error_code for fault in found] == ["GroundFailure", "HighTemperature", "InternalError"]
    assert [fault.warning for fault in found] == [False, True, True]


def test_too_hot_is_not_said_twice() -> None:
    found = states.observation(states.Controller(state=0x0A, hot=True)).faults
    assert [fault.vendor_code for fault in found] == ["openevse:0A"]


def test_a_hot_controller_is_told_until_it_is_clearly_cooler(bench: Bench) -> None:
    """hardware.md §3.4: `$GP` above our own threshold; a reading at its edge must not flood the Central System."""
    bench.settle(OFF)
    told = []
    for tenths in (250, 799, 800, 790, 750, 749, 799):
        bench.evse.temperatures = f"{tenths} -2560 -2560"
        told.append([fault.vendor_code for fault in bench.exchange(OFF, after_s=11).faults])
    hot = ["openevse:hot"]
    assert told == [[], [], hot, hot, hot, [], []]


def test_safety_checks_that_are_off_are_told_over_a_restart_of_the_controller(bench: Bench) -> None:
    """hardware.md §3.1, §3.4: report it as InternalError; it charges on."""
    bench.evse.flags = 0x0029
    assert [fault.info for fault in bench.settle(OFF).faults] == ["checks switched off: ground"]
    bench.pty.send(sealed("$AB 00 8.2.3"))
    wait_readable(bench)
    (seen,) = bench.driver.exchange(OFF)
    assert [(fault.error_code, fault.warning) for fault in seen.faults] == [("InternalError", True)]


def test_a_fault_is_told_once_with_its_counters_and_not_commanded_at(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.evse.charge()
    bench.settle(OFFER_16)
    bench.evse.state, bench.evse.vflags = 0x06, 0x0100
    with caplog.at_level(logging.WARNING):
        for _ in range(10):
            bench.exchange(OFF)
    assert bench.evse.count("GF") == 1
    assert bench.evse.count("FS") == 1
    assert len(caplog.records) == 1


def test_a_controller_comes_out_of_a_fault_into_the_desired_state(bench: Bench) -> None:
    bench.evse.plug()
    bench.evse.state = 0x06
    bench.settle(OFF)
    bench.evse.state = 0x02
    assert not bench.exchange(OFF).offering


@pytest.mark.parametrize(
    ("known", "pilot", "plugged"),
    [
        (states.Controller(state=0x01, pilot_state=1, vflags=0x0200), "A", False),
        (states.Controller(state=0x02, pilot_state=3, vflags=0x0100), "C", True),
        (states.Controller(state=0xFE, pilot_state=3, vflags=0x0100), "C", True),
        (states.Controller(state=0xFE, pilot_state=1, vflags=0x0000), "A", False),
        (states.Controller(state=0xFF, pilot_state=1, vflags=0x0100), "F", None),
        (states.Controller(state=0x00, pilot_state=0, vflags=0x0000), None, None),
        (states.Controller(state=0x04, pilot_state=4, vflags=0x0100), "D", True),
    ],
)
def test_pilot_and_plug_are_what_the_controller_can_know(
    known: states.Controller, pilot: str | None, plugged: bool | None
) -> None:
    """While it starts or is disabled, it can't tell: that must not look like an unplugging."""
    seen = states.observation(known)
    assert (seen.control_pilot, seen.plugged) == (pilot, plugged)


def test_a_safety_check_that_is_off_is_warned_of_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """hardware.md §3.1: flags mask 061E."""
    bench.evse.flags |= 0x0208
    with caplog.at_level(logging.WARNING):
        bench.driver.open()
        bench.driver.open()
    assert [record.fields["checks"] for record in caplog.records] == ["ground, GFI self-test"]  # type: ignore[attr-defined]
    assert sum(states.SAFETY_CHECKS) == 0x061E


def test_temperature_is_the_hottest_sensor_that_is_fitted(bench: Bench) -> None:
    assert bench.settle(OFF).temperature_c == 25.0
    assert states.hottest_c(("-2560", "-2560", "-2560")) is None
    assert states.hottest_c(("-105", "310", "-2560")) == 31.0


def test_close_leaves_the_output_as_it_is(bench: Bench) -> None:
    """Design §2: after the end of the service the output stays for orphan_grace_s."""
    bench.evse.charge()
    bench.settle(OFFER_16)
    bench.driver.close()
    bench.driver.close()
    assert bench.evse.commands == []
    assert bench.evse.state == 0x03


def wait_readable(bench: Bench) -> None:
    """Until what was sent has arrived."""
    descriptor = bench.driver.fileno()
    assert descriptor is not None
    assert select.select([descriptor], [], [], 5)[0]


EMERGENCY = EvseDesired(at_once=True)


def test_the_emergency_stop_disables_and_puts_to_sleep_once_the_contactor_is_seen_open(bench: Bench) -> None:
    """hardware.md §3.1: `$FD` opens at once; `$FS` brings back the look at the plug, which was never said to be out."""
    bench.evse.charge()
    bench.settle(OFFER_16)
    seen = bench.exchange(EMERGENCY, after_s=0.0)
    assert bench.evse.set_commands() == ["FD", "FS"]
    assert (seen.relay_closed, seen.offering, seen.plugged) == (False, False, None)
    assert bench.driver.poll_period_s < 1.0, "it is looked at again soon"
    seen = bench.exchange(EMERGENCY, after_s=0.6)
    assert (seen.relay_closed, seen.offering, seen.plugged, seen.control_pilot) == (False, False, True, "C")
    bench.exchange(EMERGENCY)
    bench.exchange(OFF)
    assert {"FD", "FS"} & set(bench.evse.set_commands()[2:]) == set()


def test_the_emergency_stop_comes_before_the_cable_lock(peer: MakePeer) -> None:
    bench = Bench(peer)
    bench.driver = OpenEvse(bench.pty.path, socket=True, now=bench.clock)
    bench.evse.lock = 1
    bench.evse.charge()
    bench.settle(EvseDesired(energy_allowed=True, limit_a=16.0, locked=True))
    bench.exchange(EvseDesired(locked=False, at_once=True), after_s=0.0)
    assert bench.evse.set_commands()[0] == "FD"


@pytest.mark.parametrize(("vehicle", "commands"), [("charging", ["FD", "FS"]), ("connected", ["FD", "FS"]), ("none", ["FS"])])
def test_the_emergency_stop_disables_only_where_a_contactor_is_closed_or_may_close(
    bench: Bench, vehicle: str, commands: list[str]
) -> None:
    if vehicle != "none":
        bench.evse.plug()
    if vehicle == "charging":
        bench.evse.charge()
    bench.driver.open()
    bench.exchange(EMERGENCY)
    assert [command for command in bench.evse.set_commands() if command in ("FS", "FD")] == commands


def test_a_contactor_that_does_not_open_is_put_to_sleep_after_a_second_and_not_disabled_again(bench: Bench) -> None:
    """Nobody waits for it at -12 V, where its plug can't be seen."""
    bench.evse.relay_sticks = True
    bench.evse.charge()
    bench.settle(OFFER_16)
    seen = bench.exchange(EMERGENCY, after_s=0.0)
    assert (bench.evse.set_commands(), seen.plugged) == (["FD"], None)
    bench.clock.ahead_s += 0.5
    bench.driver.exchange(EMERGENCY)
    assert "FS" not in bench.evse.commands
    for _ in range(10):
        bench.clock.ahead_s += 1.0
        bench.driver.exchange(EMERGENCY)
    assert [command for command in bench.evse.set_commands() if command in ("FS", "FD")] == ["FD", "FS"]
    assert bench.exchange(OFF).plugged is True


def test_a_controller_that_refuses_to_be_disabled_is_put_to_sleep(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.evse.unknown.add("FD")
    bench.evse.charge()
    bench.settle(OFFER_16)
    seen = bench.exchange(EMERGENCY, after_s=0.0)
    assert bench.evse.set_commands() == ["FD", "FS"]
    assert (seen.relay_closed, seen.plugged) == (False, True)
    assert "refuses $FD" in caplog.text


def test_a_controller_that_is_found_disabled_says_nothing_of_its_plug_until_it_sees_it_again(bench: Bench) -> None:
    """The process died between `$FD` and `$FS`."""
    bench.evse.charge()
    bench.evse(b"$FD^26\r")
    bench.driver.open()
    assert (bench.exchange(None).control_pilot, bench.evse.count("FS")) == ("F", 0)
    seen = bench.exchange(OFF)
    assert (bench.evse.count("FS"), seen.plugged) == (1, None)
    assert bench.exchange(OFF).plugged is True
