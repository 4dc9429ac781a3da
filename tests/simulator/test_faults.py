"""Every fault that the virtual controller can report, and how it lets go of it (hardware notes §3.1, state codes)."""

import pytest

from services.simulator.faults import KINDS, RETRIES_MAX, RETRY_INTERVAL_S
from tests.simulator.bench import Bench

CODES = {
    "vent": "04",
    "diode": "05",
    "gfci": "06",
    "no-ground": "07",
    "stuck-relay": "08",
    "gfi-self-test": "09",
    "overtemp": "0a",
    "overcurrent": "0b",
    "other": "0d",
    "relay": "0e",
}


def test_the_kinds_are_those_that_people_are_told() -> None:
    assert set(KINDS) == set(CODES)


@pytest.mark.parametrize("kind", sorted(CODES))
def test_a_fault_while_charging_is_announced_and_ends_the_flow(kind: str) -> None:
    bench = Bench().charge()
    bench.world.set_fault(1, kind, present=True)
    bench.run(2.0)
    assert bench.said[0].split()[1] == CODES[kind]
    assert bench.ask("GS").split()[1] == CODES[kind]
    assert bench.connector.car.current_a == 0.0
    assert bench.connector.contactor.closed == (kind == "stuck-relay"), "a welded relay stays closed whatever is commanded"
    assert bench.board.offered_a == 0.0


@pytest.mark.parametrize("kind", sorted(CODES))
def test_a_cleared_fault_lets_the_car_charge_again(kind: str) -> None:
    bench = Bench().charge()
    bench.world.set_fault(1, kind, present=True)
    bench.run(2.0)
    bench.world.set_fault(1, kind, present=False)
    bench.run(4.0)
    assert bench.ask("GS").split()[1] == "03"
    assert bench.connector.contactor.closed


@pytest.mark.parametrize("kind", sorted(set(CODES) - {"diode", "vent"}))
@pytest.mark.parametrize("command", ["FE", "FS", "FD"])
def test_a_fault_without_a_car_is_found_at_once_in_every_mode(kind: str, command: str) -> None:
    bench = Bench().boot()
    bench.ask(command)
    bench.run(1.0)
    bench.world.set_fault(1, kind, present=True)
    assert bench.ask("GS").split()[1] == CODES[kind]
    bench.world.set_fault(1, kind, present=False)
    assert bench.ask("GS").split()[1] == {"FE": "01", "FS": "fe", "FD": "ff"}[command]


@pytest.mark.parametrize("kind", ["diode", "vent"])
def test_pilot_faults_need_a_car(kind: str) -> None:
    bench = Bench().boot()
    bench.world.set_fault(1, kind, present=True)
    assert bench.ask("GS").split()[1] == "01"
    bench.world.plug_in(1)
    bench.run(1.0)
    assert bench.ask("GS").split()[1] == CODES[kind]


@pytest.mark.parametrize("kind", sorted(set(CODES) - {"stuck-relay", "other"}))
def test_unplugging_clears_and_the_next_car_meets_what_is_still_wrong(kind: str) -> None:
    bench = Bench().charge()
    bench.world.set_fault(1, kind, present=True)
    bench.run(1.0)
    bench.world.plug_out(1)
    bench.run(1.0)
    assert bench.ask("GS").split()[1] == "01"
    bench.world.plug_in(1)
    bench.run(1.0)
    assert bench.ask("GS").split()[1] == CODES[kind]


def test_a_stuck_relay_is_not_cleared_by_unplugging_but_by_power() -> None:
    bench = Bench().charge()
    bench.world.set_fault(1, "stuck-relay", present=True)
    bench.world.plug_out(1)
    bench.run(1.0)
    assert bench.ask("GS").split()[1] == "08"
    bench.said.clear()
    bench.ask("FR")
    bench.run(6.0)
    assert bench.said[0] == "AB 08 8.2.3", "the self-test finds it again"
    bench.board.faults.remove_cause("stuck-relay")
    bench.connector.contactor.welded = False
    bench.run(400.0)
    assert bench.ask("GS").split()[1] == "08", "it does not look again by itself"
    bench.said.clear()
    bench.ask("FR")
    bench.run(3.0)
    assert bench.said[0] == "AB 00 8.2.3"


@pytest.mark.parametrize(("kind", "code"), [("no-ground", "07"), ("stuck-relay", "08"), ("gfi-self-test", "09")])
def test_the_power_on_self_test_names_what_it_found(kind: str, code: str) -> None:
    bench = Bench()
    bench.board.faults.inject(kind)
    bench.run(1.0)
    assert bench.said[0] == f"AB {code} 8.2.3"


def test_a_gfci_trip_that_is_over_is_tried_again_after_five_minutes() -> None:
    bench = Bench().charge()
    bench.world.set_fault(1, "gfci", present=True)
    bench.board.faults.remove_cause("gfci")
    minutes(bench, RETRY_INTERVAL_S - 10)
    assert bench.ask("GS").split()[1] == "06"
    bench.run(20.0)
    assert bench.ask("GS").split()[1] == "03"
    assert int(bench.ask("GS").split()[4], 16) & 0x0080, "that it tripped since boot stays known"


@pytest.mark.parametrize("kind", ["gfci", "no-ground"])
def test_after_six_vain_tries_the_fault_is_hard(kind: str) -> None:
    bench = Bench().charge()
    bench.world.set_fault(1, kind, present=True)
    minutes(bench, RETRY_INTERVAL_S * RETRIES_MAX - 10)
    assert not int(bench.ask("GS").split()[4], 16) & 0x0002
    bench.run(20.0)
    assert int(bench.ask("GS").split()[4], 16) & 0x0002
    bench.board.faults.remove_cause(kind)
    minutes(bench, RETRY_INTERVAL_S * 2)
    assert bench.ask("GS").split()[1] == CODES[kind], "now it holds until the car leaves"
    bench.world.plug_out(1)
    bench.run(1.0)
    assert bench.ask("GS").split()[1] == "01"


@pytest.mark.parametrize("kind", ["diode", "vent", "overtemp", "overcurrent", "relay", "gfi-self-test"])
def test_a_hard_fault_outlives_its_cause_until_the_car_leaves(kind: str) -> None:
    bench = Bench().charge()
    bench.world.set_fault(1, kind, present=True)
    assert int(bench.ask("GS").split()[4], 16) & 0x0002
    bench.board.faults.remove_cause(kind)
    minutes(bench, RETRY_INTERVAL_S * 2)
    assert bench.ask("GS").split()[1] == CODES[kind]
    bench.world.plug_out(1)
    bench.run(1.0)
    assert bench.ask("GS").split()[1] == "01"


@pytest.mark.parametrize(("kind", "place"), [("gfci", 1), ("no-ground", 2), ("stuck-relay", 3)])
def test_trips_are_counted_and_kept(kind: str, place: int) -> None:
    bench = Bench().boot()
    for _ in range(17):
        bench.world.set_fault(1, kind, present=True)
        bench.world.set_fault(1, kind, present=False)
    assert bench.ask("GF").split()[place] == "11", "hexadecimal"
    bench.ask("FR")
    bench.run(6.0)
    assert bench.ask("GF").split()[place] == "11"
    for _ in range(300):
        bench.world.set_fault(1, kind, present=True)
        bench.world.set_fault(1, kind, present=False)
    assert bench.ask("GF").split()[place] == "ff", "it does not wrap"


def test_over_temperature_refuses_more_current() -> None:
    bench = Bench().charge()
    bench.ask("SC 10 V")
    bench.world.set_fault(1, "overtemp", present=True)
    assert bench.ask("SC 16 V") == "NK 10"
    assert bench.ask("GP") == "OK 850 -2560 -2560"


def test_a_check_that_is_switched_off_finds_nothing() -> None:
    bench = Bench().charge()
    bench.ask("FF D 0")
    bench.world.set_fault(1, "diode", present=True)
    bench.run(1.0)
    assert bench.ask("GS").split()[1] == "03"
    assert bench.ask("GE") == "OK 32 0023"


def test_of_two_faults_the_second_is_found_when_the_first_is_gone() -> None:
    bench = Bench().charge()
    bench.world.set_fault(1, "overtemp", present=True)
    bench.world.set_fault(1, "gfci", present=True)
    assert bench.ask("GS").split()[1] == "0a"
    bench.world.set_fault(1, "overtemp", present=False)
    assert bench.ask("GS").split()[1] == "06"


def minutes(bench: Bench, seconds: float) -> None:
    """Let much time go by, in steps that no process would have slept through."""
    while seconds > 0:
        bench.run(min(50.0, seconds))
        seconds -= 50.0
