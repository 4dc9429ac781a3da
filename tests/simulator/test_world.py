"""Car, contactor and register together: what truly happens at a connector."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.simulator.car import Car
from services.simulator.circuit import REGISTER_WH_MAX, SERIAL_MAX, Contactor, Register
from services.simulator.eastron import as_float32
from services.simulator.meters import MODELS
from tests.simulator.bench import Bench


def test_a_car_goes_to_b_at_once_and_to_c_a_second_after_the_offer() -> None:
    car = Car()
    assert car.pilot == "A"
    car.plug_in()
    run(car, 10.0, offered_a=0.0)
    assert car.pilot == "B"
    run(car, 0.9, offered_a=16.0)
    assert car.pilot == "B"
    run(car, 0.2, offered_a=16.0)
    assert car.pilot == "C"
    assert car.current_a == 0.0, "nothing flows before the contactor is closed"


@pytest.mark.parametrize(("offered", "drawn"), [(32.0, 16.0), (10.0, 10.0), (6.0, 6.0), (5.9, 0.0)])
def test_a_car_draws_the_lesser_of_offer_and_its_maximum(offered: float, drawn: float) -> None:
    car = Car(max_a=16.0)
    car.plug_in()
    run(car, 5.0, offered_a=offered, live=True)
    assert car.current_a == drawn


@pytest.mark.parametrize("end", ["pause", "full", "withdraw", "dead"])
def test_the_flow_ends_within_a_second(end: str) -> None:
    car = Car(max_a=80.0)
    car.plug_in()
    run(car, 6.0, offered_a=80.0, live=True)
    assert car.current_a == 80.0
    car.paused, car.full = end == "pause", end == "full"
    run(car, 0.95, offered_a=0.0 if end == "withdraw" else 80.0, live=end != "dead")
    assert car.current_a == 0.0
    if end != "dead":
        assert car.pilot == "B"


def test_a_resumed_car_asks_again() -> None:
    car = Car()
    car.plug_in()
    car.paused = True
    run(car, 5.0, offered_a=16.0, live=True)
    assert (car.pilot, car.wants_energy) == ("B", False)
    car.paused = False
    run(car, 3.0, offered_a=16.0, live=True)
    assert (car.pilot, car.current_a) == ("C", 16.0)


def test_the_next_car_is_neither_paused_nor_full_but_as_able() -> None:
    car = Car()
    car.max_a = 10.0
    car.plug_in()
    car.paused = car.full = True
    car.plug_out()
    assert (car.paused, car.full, car.max_a, car.pilot) == (False, False, 10.0, "A")


def test_a_contactor_counts_its_moves_and_remembers_the_last_thousand() -> None:
    contactor = Contactor()
    for second in range(3000):
        contactor.follow(second % 2 == 0, float(second))
    assert (contactor.closed_count, contactor.opened_count) == (1500, 1500)
    assert len(contactor.history) == 1000
    assert contactor.history[-1] == (2999.0, "opened")
    assert contactor.follow(False, 3000.0) is None


def test_energy_is_voltage_times_current_times_phases_times_time() -> None:
    bench = Bench().charge()
    before = bench.connector.register.wh
    bench.run(36.0)
    assert bench.connector.register.wh - before == pytest.approx(230 * 16 * 3 * 36 / 3600, rel=1e-9)


def test_no_energy_flows_after_the_relay_has_opened() -> None:
    bench = Bench().charge()
    bench.world.plug_out(1)
    at_the_end = bench.connector.register.wh
    bench.run(10.0)
    assert bench.connector.register.wh == at_the_end


def test_every_move_of_the_relay_is_an_event_with_its_register() -> None:
    bench = Bench().charge()
    bench.run(30.0)
    bench.world.plug_out(1)
    bench.run(1.0)
    assert [event.kind for event in bench.events] == ["plugged", "relay-closed", "unplugged", "relay-opened"]
    assert bench.events[1].register_wh == 0.0
    assert bench.events[3].register_wh == bench.connector.register.wh


def test_time_that_the_process_slept_through_does_not_pass_for_long() -> None:
    bench = Bench().charge()
    before = bench.connector.register.wh
    bench.run(86_400.0)
    assert bench.connector.register.wh - before < 230 * 16 * 3 * 61 / 3600


def test_another_meter_has_another_serial_and_may_go_back() -> None:
    register = Register(wh=5000.0, serial=7)
    register.replace(10.0)
    assert (register.wh, register.serial) == (10.0, 1007)
    last = Register(wh=0.0, serial=SERIAL_MAX)
    last.replace(0.0)
    assert 0 < last.serial < SERIAL_MAX


def test_the_register_stops_at_what_it_can_show() -> None:
    register = Register(wh=REGISTER_WH_MAX - 1, serial=1)
    register.add(1e6, 3600)
    assert register.wh == REGISTER_WH_MAX


@pytest.mark.parametrize("model", MODELS)
@given(start=st.floats(0, REGISTER_WH_MAX), flows=st.lists(st.tuples(st.floats(0, 60_000), st.floats(0, 10)), max_size=50))
def test_the_register_never_decreases_and_neither_does_what_it_shows(
    model: str, start: float, flows: list[tuple[float, float]]
) -> None:
    register, meter = Register(wh=start, serial=1), MODELS[model](model, 1)
    for power_w, dt_s in flows:
        wh, shown = register.wh, meter.shown_wh(register.wh)
        register.add(power_w, dt_s)
        assert register.wh >= wh
        assert meter.shown_wh(register.wh) >= shown


@given(
    st.lists(
        st.sampled_from(["in", "out", "pause", "resume", "FE", "FS", "FD", "SC 6 V", "SC 32 V", "gfci", "relay", "clear"]),
        max_size=12,
    )
)
def test_whatever_is_done_energy_flows_only_through_a_closed_contactor(actions: list[str]) -> None:
    bench = Bench().boot()
    for action in actions:
        do(bench, action)
        for _ in range(12):
            wh, closed = bench.connector.register.wh, bench.connector.contactor.closed
            bench.run(0.1)
            assert bench.connector.register.wh >= wh
            if not closed and not bench.connector.contactor.closed:
                assert bench.connector.register.wh == wh
            if not bench.connector.car.plugged:
                assert bench.connector.car.current_a == 0.0


def do(bench: Bench, action: str) -> None:
    """One thing that somebody does to the connector."""
    if action in ("gfci", "relay"):
        bench.world.set_fault(1, action, present=True)
    elif action == "clear":
        for kind in ("gfci", "relay"):
            bench.world.set_fault(1, kind, present=False)
    elif action in ("in", "out"):
        (bench.world.plug_in if action == "in" else bench.world.plug_out)(1)
    elif action in ("pause", "resume"):
        bench.connector.car.paused = action == "pause"
    else:
        bench.ask(action)


@given(st.floats(0, 1e7))
def test_float32_is_what_the_meter_can_show(value: float) -> None:
    assert as_float32(as_float32(value)) == as_float32(value)


def run(car: Car, seconds: float, *, offered_a: float, live: bool = False) -> None:
    """Let a car live in small steps."""
    for _ in range(round(seconds / 0.02)):
        car.step(0.02, offered_a=offered_a, live=live)
