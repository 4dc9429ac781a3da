"""The virtual OpenEVSE, told and asked over its line (hardware notes §3.1)."""

import pytest

from services.simulator.board import Eeprom
from services.simulator.openevse import Quirks
from tests.simulator.bench import Bench


def test_it_boots_enabled_and_says_so() -> None:
    """Must-know trap 1: stock firmware powers up enabled."""
    bench = Bench()
    assert bench.ask("GV") == "", "nobody is at home before the self-test is over"
    bench.run(1.0)
    assert bench.said == ["AB 00 8.2.3", "AT 01 01 32 0200"]
    assert bench.ask("GS") == "OK 01 0 01 0200"


def test_a_car_charges_without_authorization_until_sleep_is_commanded() -> None:
    bench = Bench().charge()
    assert bench.ask("GS").startswith("OK 03 ")
    assert bench.connector.car.current_a == 16.0


def test_plugging_in_and_charging_are_announced_in_order() -> None:
    bench = Bench().boot()
    bench.world.plug_in(1)
    bench.run(4.0)
    assert bench.said == ["AT 02 02 32 0100", "AT 02 03 32 0100", "AT 03 03 32 0140"]


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ("GV", "OK 8.2.3 5.2.1"),
        ("GC", "OK 6 32 32 32"),
        ("GE", "OK 32 0021"),
        ("GF", "OK 0 0 0"),
        ("GP", "OK 250 -2560 -2560"),
        ("G0", "OK 0"),
        ("GG", "OK 0 230000"),
        ("GU", "OK 0 0"),
        ("GY", "OK 0 0 0"),
        ("GI", "OK  414C45420000"),
        ("G5", "OK 0 A"),
        ("G4", "NK"),
        ("SB", "NK"),
        ("S4 1", "NK"),
        ("GM", "NK"),
        ("XX", "NK"),
        ("", "NK"),
        ("ST 0 0 0 0", "OK"),
        ("FB 3", "OK"),
        ("FP 0 0 a\x11b", "OK"),
        ("F0 0", "OK"),
        ("S5 Q", "NK"),
        ("SC", "NK"),
        ("SY 1", "NK"),
        ("FF B", "NK"),
    ],
)
def test_queries_and_small_commands_of_an_idle_board(command: str, reply: str) -> None:
    assert Bench().boot().ask(command) == reply


def test_a_reply_echoes_its_sequence_id_in_upper_case() -> None:
    assert Bench().boot().ask("GG", "7f") == "OK 0 230000 :7F"


def test_an_unknown_command_is_refused_with_its_id_and_a_bad_checksum_without() -> None:
    bench = Bench().boot()
    assert bench.ask("XX", "12") == "NK :12"
    assert bench.send(b"$GS :12^00\r") == ["NK"]


@pytest.mark.parametrize(
    ("command", "reply", "pilot"),
    [
        ("SC 16 V", "OK 16", 16),
        ("SC 6 V", "OK 6", 6),
        ("SC 5 V", "NK 6", 6),
        ("SC 0 V", "NK 6", 6),
        ("SC 40 V", "NK 32", 32),
        ("SC 272 V", "OK 16", 16),
    ],
)
def test_amps_are_clamped_and_nk_still_means_in_force(command: str, reply: str, pilot: int) -> None:
    bench = Bench().boot()
    assert bench.ask(command) == reply
    assert bench.ask("GC") == f"OK 6 32 {pilot} 32"


def test_volatile_amps_end_with_a_restart_and_others_stay() -> None:
    bench = Bench().boot()
    bench.ask("SC 20")
    bench.ask("SC 10 V")
    assert bench.ask("GC") == "OK 6 32 10 20"
    assert bench.ask("FR") == ""
    bench.run(3.0)
    assert bench.said[-2] == "AB 00 8.2.3"
    assert bench.ask("GC") == "OK 6 32 20 20"


def test_the_installation_maximum_can_not_be_written_again() -> None:
    bench = Bench().boot()
    assert bench.ask("SC 40 M") == "NK 32"
    assert bench.ask("GC") == "OK 6 32 32 32"


def test_sleep_takes_the_offer_away_and_opens_once_the_car_has_let_go() -> None:
    bench = Bench().charge()
    assert bench.ask("FS") == "OK"
    assert bench.connector.car.current_a == 16.0
    assert bench.connector.contactor.closed
    assert bench.said[-1] == "AT fe 03 32 0140", "the announcement comes after the reply"
    bench.run(1.0)
    assert bench.connector.car.current_a == 0.0
    assert not bench.connector.contactor.closed
    bench.run(1.0)
    assert bench.ask("GS").startswith("OK fe "), "sleeping"
    assert bench.ask("GS").endswith(" 02 0100"), "and the car is still seen"


def test_sleep_opens_under_load_after_three_seconds() -> None:
    bench = Bench().charge()
    bench.ask("FS")
    board = bench.board
    for _ in range(140):
        board.step(board.now_s + 0.02, 0.02, pilot="C", current_a=16.0)
    assert board.relay_commanded
    for _ in range(15):
        board.step(board.now_s + 0.02, 0.02, pilot="C", current_a=16.0)
    assert not board.relay_commanded


def test_enable_looks_at_the_pilot_anew_and_charges() -> None:
    bench = Bench().boot()
    bench.ask("FS")
    bench.world.plug_in(1)
    bench.run(5.0)
    assert bench.connector.contactor.closed_count == 0
    assert bench.ask("GS") == "OK fe 0 02 0100"
    bench.said.clear()
    bench.ask("FE")
    assert bench.said == ["OK", "AT 00 02 32 0100"]
    bench.run(3.0)
    assert bench.said[2:] == ["AT 02 02 32 0100", "AT 02 03 32 0100", "AT 03 03 32 0140"]


def test_enable_while_charging_changes_nothing() -> None:
    bench = Bench().charge()
    assert bench.send(b"$FE^27\r") == ["OK"]
    bench.run(1.0)
    assert bench.connector.contactor.opened_count == 0


def test_disable_opens_at_once_and_hides_the_car() -> None:
    bench = Bench().charge()
    bench.ask("FD")
    assert not bench.connector.contactor.closed
    assert bench.ask("G0") == "OK 2"
    assert bench.ask("GS").split()[1] == "ff"
    assert bench.ask("GS").split()[3] == "00"
    assert not int(bench.ask("GS").split()[4], 16) & 0x0100


def test_sleep_gives_a_car_that_holds_on_three_seconds_and_disable_gives_it_none() -> None:
    """hardware.md §3.1, enable / sleep / disable in detail."""
    bench = Bench().charge()
    bench.connector.car.holds_on = True
    drawn_a = bench.connector.car.current_a
    bench.ask("FS")
    bench.run(2.9)
    assert (bench.connector.contactor.closed, bench.connector.car.current_a) == (True, drawn_a)
    bench.run(0.2)
    assert (bench.connector.contactor.closed, bench.connector.car.current_a) == (False, 0.0)
    bench.ask("FE")
    bench.run(4.0)
    bench.ask("FD")
    assert (bench.connector.contactor.closed, bench.connector.car.current_a) == (False, 0.0)
    bench.ask("FS")
    bench.run(0.5)
    assert bench.ask("G0") == "OK 1", "now it sees the car again"


def test_a_limit_changes_what_the_car_draws() -> None:
    bench = Bench().charge()
    bench.ask("SC 10 V")
    bench.run(1.0)
    assert bench.connector.car.current_a == 10.0
    assert bench.ask("GG") == "OK 10000 230000"


def test_counters_begin_at_plug_in_and_the_kwh_counter_moves_at_unplugging_only() -> None:
    bench = Bench().charge()
    bench.run(3600.0)
    for _ in range(60):
        bench.run(60.0)
    session_ws, total_wh = map(int, bench.ask("GU").split()[1:])
    assert session_ws == pytest.approx(230 * 16 * 3660, rel=0.01)
    assert total_wh == 0
    bench.world.plug_out(1)
    bench.run(1.0)
    assert bench.ask("GU") == f"OK {session_ws} {session_ws // 3600}"
    bench.world.plug_in(1)
    bench.run(0.5)
    assert bench.ask("GU") == f"OK 0 {session_ws // 3600}"
    assert bench.ask("GS").split()[2] == "0"


def test_pulling_the_cable_under_load_opens_the_relay_and_ends_the_session() -> None:
    bench = Bench().charge()
    bench.world.plug_out(1)
    bench.run(0.1)
    assert not bench.connector.contactor.closed
    assert bench.said == ["AT 01 01 32 0200"]


def test_a_short_dip_of_the_pilot_is_debounced() -> None:
    bench = Bench().charge()
    board = bench.board
    for pilot in ("B",) * 11 + ("C",) * 20:
        board.step(board.now_s + 0.02, 0.02, pilot=pilot, current_a=0.0)
    assert board.relay_commanded


def test_restart_under_load_takes_the_offer_first_and_forgets_the_session() -> None:
    bench = Bench().charge()
    bench.ask("SC 10 V")
    assert bench.ask("FR") == ""
    bench.run(2.0)
    assert bench.connector.car.current_a == 0.0
    bench.run(2.0)
    assert bench.ask("GS") == "", "nobody is at home"
    bench.run(1.5)
    assert "AB 00 8.2.3" in bench.said
    assert bench.said[-1].startswith("AT 02 0")
    assert bench.ask("GU") == "OK 0 0"
    bench.run(3.0)
    assert bench.connector.contactor.closed, "it is enabled again, as after any boot"


def test_supervision_lowers_the_pilot_when_no_pulse_comes() -> None:
    bench = Bench().charge()
    assert bench.ask("SY 20 6") == "OK 20 6 0"
    bench.run(19.0)
    assert bench.ask("SY") == "OK 20 6 0"
    bench.run(19.0)
    assert bench.ask("GY") == "OK 20 6 0"
    bench.run(2.0)
    assert bench.ask("GC") == "OK 6 32 6 32"
    assert bench.connector.contactor.closed, "it cannot stop a car"
    assert bench.ask("SY") == "NK 20 6 2"
    assert bench.ask("SY 165") == "OK 20 6 1"
    assert bench.ask("GC") == "OK 6 32 32 32"
    assert bench.ask("SY") == "OK 20 6 1"


def test_supervision_cannot_go_below_six_amps() -> None:
    bench = Bench().boot()
    bench.ask("SY 5 0")
    bench.run(6.0)
    assert bench.ask("GC") == "OK 6 32 6 32"


def test_supervision_of_more_than_65_s_wraps() -> None:
    """Must-know trap 3."""
    bench = Bench().boot()
    bench.ask("SY 70 6")
    bench.run(5.0)
    assert bench.ask("GY") == "OK 70 6 2"


def test_supervision_is_kept_over_a_restart_and_off_with_zeros() -> None:
    bench = Bench().boot()
    bench.ask("SY 20 6")
    bench.ask("FR")
    bench.run(3.0)
    assert bench.ask("GY") == "OK 20 6 0"
    assert bench.ask("SY 0 0") == "OK 0 0 0"
    bench.run(100.0)
    assert bench.ask("GY") == "OK 0 0 0"


def test_the_front_button_acts_or_only_tells() -> None:
    bench = Bench().boot()
    bench.board.press_button()
    bench.run(0.1)
    assert bench.ask("GS").startswith("OK fe")
    assert bench.ask("FF B 0") == "OK"
    assert bench.ask("GE") == "OK 32 8021"
    bench.said.clear()
    bench.board.press_button(long=True)
    bench.run(0.1)
    assert bench.said == ["AN 1"]


def test_the_cable_lock_follows_the_car_or_the_command() -> None:
    bench = Bench().boot()
    assert bench.ask("S5 1") == "OK"
    assert bench.ask("G5") == "OK 0 A", "0 and 1 act in manual mode only"
    bench.ask("S5 M")
    bench.ask("S5 1")
    assert bench.ask("G5") == "OK 1 M"
    bench.ask("S5 A")
    bench.world.plug_in(1)
    bench.run(1.0)
    assert bench.ask("G5") == "OK 1 A"


def test_a_jammed_lock_refuses_and_stays_where_it_is() -> None:
    """hardware.md §3.4: `$NK`; there is no position feedback, so `$G5` says what was commanded."""
    bench = Bench(cable="socket").boot()
    bench.ask("S5 M")
    bench.ask("S5 1")
    bench.world.set_fault(1, "lock", present=True)
    assert bench.ask("S5 0") == "NK"
    assert bench.ask("G5") == "OK 1 M"
    assert bench.connector.facts()["lock"] == {"fitted": True, "closed": True, "jammed": True}
    bench.world.set_fault(1, "lock", present=False)
    assert bench.ask("S5 0") == "OK"
    bench.run(0.1)
    assert bench.connector.facts()["lock"]["closed"] is False
    assert [event.kind for event in bench.events if "locked" in event.kind] == ["locked", "unlocked"]


def test_a_restart_puts_the_lock_back_into_its_own_mode() -> None:
    """hardware.md §3.1: manual mode is lost at reboot; automatic: locked while connected."""
    bench = Bench(cable="socket").boot()
    bench.ask("S5 M")
    bench.world.plug_in(1)
    bench.run(1.0)
    assert not bench.connector.locked
    bench.send(b"$FR^30\r")
    bench.run(3.0)
    assert (bench.ask("G5"), bench.connector.locked) == ("OK 1 A", True)


def test_a_fixed_cable_has_no_lock_that_could_be_seen() -> None:
    bench = Bench().boot()
    bench.world.plug_in(1)
    bench.run(1.0)
    assert bench.connector.facts()["lock"] == {"fitted": False, "closed": False, "jammed": False}
    assert not [event for event in bench.events if "locked" in event.kind]


def test_a_charge_limit_puts_the_board_to_sleep_until_the_car_leaves() -> None:
    bench = Bench().charge()
    bench.ask("S3 1")
    bench.run(30.0 * 60)
    for _ in range(15):
        bench.run(60.0)
    assert bench.ask("GS").split()[1] == "fe"
    assert int(bench.ask("GS").split()[4], 16) & 0x0004
    bench.world.plug_out(1)
    bench.run(1.0)
    assert bench.ask("GS").split()[1] == "01"


def test_a_build_with_boot_lock_offers_nothing_until_it_is_released() -> None:
    bench = Bench(lock_build=True).boot()
    bench.world.plug_in(1)
    bench.run(3.0)
    assert bench.ask("GS").endswith(" 4100")
    assert bench.connector.contactor.closed_count == 0
    assert bench.ask("SB") == "OK"
    bench.run(3.0)
    assert bench.connector.contactor.closed
    assert bench.ask("S4 1") == "OK"
    bench.run(2.0)
    assert not bench.connector.contactor.closed


def test_a_line_can_be_mute_garbled_noisy_or_lose_replies() -> None:
    bench = Bench(quirks=Quirks(drop_replies=1, noise=b"\xff\x00")).boot()
    assert bench.ask("GV") == ""
    assert bench.ask("GV") == "", "noise breaks the line for a strict listener"
    assert b"\xff\x00$OK 8.2.3 5.2.1^2F\r" in bench.raw
    bench.connector.controller.quirks = Quirks(garble_checksums=True)
    assert bench.send(b"$GV^35\r") == []
    bench.connector.controller.quirks = Quirks(mute=True)
    bench.raw = b""
    assert bench.ask("SC 10 V") == ""
    assert bench.raw == b""
    assert bench.board.pilot_a == 10, "it heard"


def test_old_firmware_may_announce_before_it_answers() -> None:
    bench = Bench(quirks=Quirks(announce_first=True)).boot()
    assert bench.send(b"$FS^31\r") == ["AT fe 01 32 0200", "OK"]


def test_rapi_4_has_a_short_status_in_decimal_and_st() -> None:
    bench = Bench(quirks=Quirks(old_protocol=True)).charge()
    assert bench.ask("GS").split()[1] == "3"
    assert len(bench.ask("GS").split()) == 3
    bench.send(b"$FS^31\r")
    assert bench.said[-1] == "ST fe"


def test_echo_repeats_what_it_hears() -> None:
    bench = Bench().boot()
    bench.ask("FF E 1")
    bench.raw = b""
    bench.send(b"$GV^35\r")
    assert bench.raw == b"$GV^35\r$OK 8.2.3 5.2.1^2F\r"


def test_amps_in_the_eeprom_are_bounded_by_the_installation() -> None:
    bench = Bench(eeprom=Eeprom(current_a=80)).boot()
    assert bench.ask("GC") == "OK 6 32 32 32"
