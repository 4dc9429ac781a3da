"""Another car comes while nobody can see the plug: what the first one is billed, whatever happens before it is seen again."""

from collections.abc import Callable

import pytest

from bus.vocabulary import Reason, ResetType
from services.connectors import events as e
from services.connectors.observations import UNSEEN_S_MAX
from services.connectors.state import Settings
from tests.connectors.bench import Bench
from tests.connectors.plant import GROUND_FAULT
from tests.connectors.test_meter_values import ENERGY
from tests.connectors.test_unseen import answer_again, charges, exchange, silence


def left_unseen(*, counts: bool = True) -> tuple[Bench, int]:
    """A station whose controller is silent for a minute, with another car at it; the register when the first one left."""
    bench = charges(counts=counts)
    bench.deliver_start(42)
    bench.advance(20)
    left_at_wh = int(bench.plants[1].register_wh)
    silence(bench)
    exchange(bench)
    bench.advance(60)
    assert int(bench.plants[1].register_wh) > left_at_wh + 50
    return bench, left_at_wh


def own(bench: Bench, left_at_wh: int) -> bool:
    """Whether the first car pays for all that it took, and for nothing else."""
    return left_at_wh - 2 <= bench.stop_message().meter_stop_wh <= left_at_wh


@pytest.mark.parametrize("counts", [True, False])
def test_a_restart_at_the_end_of_the_silence_does_not_vouch_for_the_plug(counts: bool) -> None:
    """Somebody mends the line and restarts the service: the disk knows since when nobody has seen the plug."""
    bench, left_at_wh = left_unseen(counts=counts)
    bench.restart(away_s=1.0)
    answer_again(bench)
    assert own(bench, left_at_wh)
    assert not bench.plants[1].desired.energy_allowed
    assert bench.status() == "Preparing"


def test_nor_does_a_restart_at_the_end_of_a_fault_that_hid_the_plug() -> None:
    """hardware.md §3.2: an EVSE-WB that has tripped tells of no plug."""
    bench = charges(counts=False)
    plant = bench.plants[1]
    bench.advance(30)
    plant.faults, plant.knows = (GROUND_FAULT,), False
    bench.advance(2)
    exchange(bench)
    bench.advance(300)
    bench.restart(away_s=1.0)
    bench.advance(2)
    plant.faults, plant.knows = (), True
    bench.advance(10)
    assert bench.stop_message().reason is Reason.EV_DISCONNECTED
    assert not plant.desired.energy_allowed


@pytest.mark.parametrize("counts", [True, False])
def test_a_restart_in_a_short_silence_resumes(counts: bool) -> None:
    bench = charges(counts=counts)
    silence(bench)
    bench.advance(UNSEEN_S_MAX - 8)
    bench.restart(away_s=1.0)
    bench.advance(2)
    answer_again(bench)
    assert bench.status() == "Charging"
    assert len(bench.transactions) == 1
    assert bench.audit.store.load().transactions[0].sure is None


def test_a_power_cut_bills_what_is_sure_with_its_time() -> None:
    bench, left_at_wh = left_unseen()
    silent_since_s = bench.now_s - 60
    bench.power_cut()
    answer_again(bench)
    stop = bench.stop_message()
    assert (stop.reason, stop.at.boot_id) == (Reason.POWER_LOSS, "boot-1")
    assert silent_since_s - 2 <= stop.at.boottime_ms / 1000 <= silent_since_s + 2
    assert own(bench, left_at_wh)


def falls_silent(bench: Bench, seconds: float, *, power_w: float = 3680.0) -> None:
    """The controller, while the meter shows what the vehicle takes."""
    plant = bench.plants[1]
    plant.measured = {"power_w": power_w}
    bench.advance(2)
    silence(bench)
    bench.advance(seconds)
    plant.measured = {"power_w": 0.0}


@pytest.mark.parametrize("restarts", [True, False])
def test_a_controller_that_goes_with_the_power_before_the_board_takes_nothing_from_the_bill(restarts: bool) -> None:
    """A power cut ends with the first reading after it (design §2): nobody can have exchanged the plug in that moment."""
    bench = charges(counts=True)
    bench.advance(20)
    falls_silent(bench, UNSEEN_S_MAX - 8)
    if restarts:
        bench.restart(away_s=1.0)
        bench.advance(2)
    register_wh = int(bench.plants[1].register_wh)
    bench.power_cut()
    answer_again(bench)
    stop = bench.stop_message()
    assert (stop.reason, stop.meter_stop_wh) == (Reason.POWER_LOSS, register_wh)


@pytest.mark.parametrize("ends", [True, False])
def test_more_than_can_have_flowed_in_that_moment_is_not_billed(ends: bool) -> None:
    """Nobody was there to see how long it was: the process died, or was stopped, right after the controller fell silent."""
    bench = charges(counts=True)
    bench.advance(20)
    falls_silent(bench, 2)
    left_at_wh = int(bench.plants[1].register_wh)
    exchange(bench)
    if ends:
        bench.end()
    for _ in range(3600):
        bench.plants[1].pass_time(1.0)
    bench.power_cut()
    answer_again(bench)
    assert left_at_wh - 4 <= bench.stop_message().meter_stop_wh <= left_at_wh
    assert bench.plants[1].register_wh > left_at_wh + 3600


def test_without_a_power_cut_another_plug_takes_nothing_on_the_bill_however_little() -> None:
    """Once it is seen that it is another one, there is no doubt whose energy it was."""
    bench = charges(counts=True)
    bench.advance(20)
    falls_silent(bench, 0.2, power_w=11_000.0)
    left_at_wh = int(bench.plants[1].register_wh)
    exchange(bench)
    bench.advance(UNSEEN_S_MAX + 5)
    answer_again(bench)
    assert own(bench, left_at_wh)
    assert left_at_wh + 15 < bench.plants[1].register_wh < left_at_wh + 45


def test_what_a_restart_found_silent_is_not_known_to_be_its_own_after_a_power_cut() -> None:
    """The service was away for ten minutes, and the power went before the controller had its word."""
    bench = charges(counts=True)
    bench.advance(70)
    bench.plants[1].answers = False
    left_at_wh = int(bench.plants[1].register_wh)
    exchange(bench)
    bench.restart(away_s=600.0)
    bench.advance(5)
    bench.power_cut()
    answer_again(bench)
    assert left_at_wh - 20 <= bench.stop_message().meter_stop_wh <= left_at_wh


def test_after_a_power_cut_all_that_the_meter_shows_is_its_own_however_often_the_service_restarts() -> None:
    """Controller and meter come up more slowly than the board; the reading on the disk is older than the cut."""
    bench = charges(counts=True)
    bench.advance(150)
    plant = bench.plants[1]
    plant.meter_answers = plant.answers = False
    register_wh = int(plant.register_wh)
    bench.power_cut()
    bench.advance(17)
    bench.restart()
    plant.meter_answers = plant.answers = True
    bench.advance(10)
    assert bench.stop_message().meter_stop_wh == register_wh


@pytest.mark.parametrize("stops", [True, False])
def test_stop_transaction_on_ev_side_disconnect_counts_as_it_is_at_the_end(stops: bool) -> None:
    """OCPP 1.6 §9.1.23: a transaction that outlives its plug has all that is charged, one that does not only its plug's."""
    bench = charges(counts=True)
    bench.advance(20)
    bench.settings(stop_transaction_on_ev_side_disconnect=not stops)
    silence(bench)
    bench.advance(2)
    left_at_wh = int(bench.plants[1].register_wh)
    exchange(bench)
    bench.settings(stop_transaction_on_ev_side_disconnect=stops)
    bench.advance(600)
    bench.power_cut()
    answer_again(bench)
    if stops:
        assert own(bench, left_at_wh)
    else:
        assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)


def card(bench: Bench) -> None:
    """Whoever has presented it first."""
    bench.card()


def remote(bench: Bench) -> None:
    """By the Central System."""
    bench.remote_stop(42)


def reset(bench: Bench) -> None:
    """Just what an operator sends who reads that the controller does not answer."""
    bench.reset(ResetType.SOFT)


def emergency(bench: Bench) -> None:
    """By a hand on the station."""
    bench.feed(e.EmergencyStopChanged(True))


STOPS = [(card, Reason.LOCAL), (remote, Reason.REMOTE), (reset, Reason.SOFT_RESET), (emergency, Reason.EMERGENCY_STOP)]


@pytest.mark.parametrize(("stop", "reason"), STOPS)
def test_a_stop_within_the_silence_bills_what_is_sure_once_the_plug_is_another(
    stop: Callable[[Bench], None], reason: Reason
) -> None:
    bench, left_at_wh = left_unseen()
    stop(bench)
    bench.advance(2)
    answer_again(bench)
    assert bench.stop_message().reason is reason
    assert own(bench, left_at_wh)


def test_a_stop_within_a_silence_after_which_the_plug_is_the_same_bills_all() -> None:
    """It has charged for longer than the silence."""
    bench = charges(counts=True)
    bench.advance(120)
    silence(bench)
    bench.advance(60)
    bench.card()
    bench.advance(2)
    answer_again(bench)
    assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)
    assert bench.status() == "Finishing"


@pytest.mark.parametrize("counts", [True, False])
def test_another_car_that_has_come_and_gone_is_not_billed_to_the_first(counts: bool) -> None:
    """The plug is out when the controller is back."""
    bench, left_at_wh = left_unseen(counts=counts)
    bench.plants[1].unplug()
    bench.advance(2)
    answer_again(bench)
    assert bench.stop_message().reason is Reason.EV_DISCONNECTED
    assert own(bench, left_at_wh)
    assert bench.status() == "Available"


def test_nor_after_a_restart() -> None:
    bench, left_at_wh = left_unseen()
    bench.plants[1].unplug()
    bench.advance(2)
    bench.restart()
    answer_again(bench)
    assert own(bench, left_at_wh)
    assert bench.status() == "Available"


def test_a_car_that_has_left_in_a_silence_shorter_than_its_charging_pays_for_all() -> None:
    """The controller's time of charging shows that nobody was there after it."""
    bench = charges(counts=True)
    bench.advance(120)
    silence(bench)
    bench.advance(30)
    bench.plants[1].unplug()
    bench.advance(10)
    answer_again(bench)
    assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)


def unplug_and_restart(bench: Bench) -> None:
    """The second car is gone before the reading comes."""
    bench.plants[1].unplug()
    bench.restart(away_s=3)


def restart_unheard(bench: Bench) -> None:
    """The controller is silent again."""
    bench.plants[1].answers = False
    bench.restart(away_s=1)


@pytest.mark.parametrize("dies", [unplug_and_restart, restart_unheard, Bench.power_cut])
def test_a_death_between_the_intent_and_the_reading_does_not_forget_what_is_sure(dies: Callable[[Bench], None]) -> None:
    bench, left_at_wh = left_unseen()
    bench.plants[1].meter_answers = False
    bench.plants[1].answers = True
    bench.advance(1.5)
    dies(bench)
    bench.plants[1].meter_answers = True
    bench.advance(15)
    assert own(bench, left_at_wh)


@pytest.mark.parametrize("sent", [True, False], ids=["MeterValues", "transactionData"])
def test_no_reading_is_told_that_the_stop_would_fall_behind(sent: bool) -> None:
    """OCPP 1.6 §7.31: the registers of a transaction never fall; the meter goes on while the controller is silent."""
    wanted, none = (ENERGY, ()) if sent else ((), ENERGY)
    settings = Settings(meter_value_sample_interval_s=10, meter_values_sampled_data=wanted, stop_txn_sampled_data=none)
    bench = Bench(settings=settings)
    bench.plug_in()
    bench.card()
    bench.advance(25)
    silence(bench)
    exchange(bench)
    bench.advance(60)
    answer_again(bench)
    _, told, stop = bench.audit.whole(bench.last_tx)
    assert len(told) + len(stop.meter_values) >= 2
    assert int(bench.plants[1].register_wh) > stop.meter_stop_wh + 50


def test_readings_are_told_again_once_the_plug_is_seen_to_be_the_same() -> None:
    bench = charges(counts=True)
    bench.settings(meter_value_sample_interval_s=10)
    bench.advance(120)
    silence(bench)
    bench.advance(60)
    told = len(bench.audit.entries[bench.last_tx])
    answer_again(bench)
    bench.advance(10)
    assert len(bench.audit.entries[bench.last_tx]) > told
