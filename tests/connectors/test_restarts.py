"""Restarts of the service and of the board, at every point of a session (design §2 "connectors down", "power cut")."""

from collections.abc import Callable

import pytest

from bus.vocabulary import Reason
from services.connectors import events as e
from services.connectors.state import Settings
from tests.connectors.bench import ACCEPTED, ONLINE, Bench
from tests.connectors.test_meter_values import ENERGY
from tests.connectors.test_sessions import charging


def test_a_restart_resumes_the_same_transaction_without_touching_the_contactor() -> None:
    """Design §2: neither a stop nor a second start; current and limit stay."""
    bench = charging()
    bench.deliver_start(42)
    bench.restart(away_s=10)
    bench.advance(30)
    assert bench.plants[1].openings_under_load == 0
    assert bench.commanded_off == 0
    assert bench.history() == ["Available", "Preparing", "Charging"]
    assert bench.remote_stop(42).status == "Accepted"
    bench.advance(3)
    assert len(bench.transactions) == 1
    assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)


@pytest.mark.parametrize("tenths", range(0, 60, 3))
def test_a_restart_at_any_moment_of_a_session_loses_and_doubles_nothing(tenths: int) -> None:
    """One start, one stop, energy to the watt-hour, wherever the process dies."""
    bench = Bench()
    script = {5: bench.plug_in, 10: bench.card, 40: bench.card, 55: bench.unplug}
    for tenth in range(65):
        if tenth == tenths:
            bench.restart(away_s=0.2)
        if tenth in script:
            script[tenth]()
        bench.advance(0.1)
    bench.advance(10)
    assert len(bench.transactions) == 1
    start, _, stop = bench.audit.whole(bench.last_tx)
    assert stop.meter_stop_wh == int(bench.plants[1].register_wh)
    assert start.meter_start_wh == 1000
    assert bench.status() == "Available"


def test_another_plug_in_meanwhile_closes_the_old_transaction_at_its_last_committed_reading() -> None:
    """Design §2."""
    bench = charging()
    bench.advance(60)
    committed = bench.audit.store.load().transactions[0].last
    bench.plants[1].unplug()
    bench.plants[1].plug_in()
    bench.restart()
    bench.advance(5)
    stop = bench.stop_message()
    assert (stop.reason, stop.meter_stop_wh, stop.at) == (Reason.EV_DISCONNECTED, committed.energy_wh, committed.at)
    assert bench.status() == "Preparing"
    assert not bench.plants[1].desired.energy_allowed


@pytest.mark.parametrize("restarted", [False, True])
def test_another_plug_in_is_found_out_in_a_young_session_too(restarted: bool) -> None:
    """Design §2: the counters that tell plug-ins apart are on disk before they are a minute old, and again after a restart.

    Found by simulation (seed 12): a car that came while the service was away charged on the card of the one before.
    """
    bench = charging()
    bench.advance(20)
    if restarted:
        bench.restart(away_s=30)
        bench.advance(2)
    bench.plants[1].unplug()
    bench.plants[1].plug_in()
    bench.restart(away_s=8)
    bench.advance(5)
    assert bench.stop_message().reason == Reason.EV_DISCONNECTED
    assert not bench.plants[1].desired.energy_allowed


def test_another_plug_in_is_found_out_as_soon_as_the_controller_counts() -> None:
    """Design §2: a mark of nothing fits any plug-in, so the first counts go to the disk at once.

    Found by torture: a car that came four seconds after the start, while the service was away, charged on.
    """
    bench = Bench()
    bench.plug_in()
    bench.card()
    bench.advance(4)
    assert bench.plants[1].relay_closed
    bench.plants[1].unplug()
    bench.plants[1].plug_in()
    bench.restart(away_s=0.8)
    bench.advance(5)
    assert bench.stop_message().reason == Reason.EV_DISCONNECTED
    assert not bench.plants[1].desired.energy_allowed


def exchange(bench: Bench) -> None:
    """This process dies, and another car is there when it is back."""
    bench.plants[1].unplug()
    bench.plants[1].plug_in()
    bench.restart()


@pytest.mark.parametrize("happens", [exchange, Bench.power_cut])
def test_what_ends_without_a_second_reading_does_not_stop_before_it_starts(happens: Callable[[Bench], None]) -> None:
    """The reading of its start is older than the start (torture seed 843743)."""
    bench = Bench(settings=Settings(stop_txn_sampled_data=ENERGY))
    bench.plug_in()
    bench.card()
    while not bench.transactions:
        bench.advance(0.1)
    bench.plants[1].meter_answers = False
    bench.advance(10)
    happens(bench)
    bench.advance(40)
    start, _, stop = bench.audit.whole(bench.last_tx)
    assert stop.at == start.at
    assert stop.meter_stop_wh == start.meter_start_wh
    assert {value.at for value in stop.meter_values} == {start.at}


def test_unplugged_meanwhile_ends_the_transaction_with_a_reading() -> None:
    """OCPP 1.6 §4.10, after a restart."""
    bench = charging()
    bench.plants[1].unplug()
    bench.restart()
    bench.advance(3)
    assert bench.stop_message().reason == Reason.EV_DISCONNECTED
    assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)
    assert bench.status() == "Available"


def test_unplugged_meanwhile_with_stop_on_disconnect_false_goes_on() -> None:
    """OCPP 1.6 §4.10."""
    bench = charging(settings=Settings(stop_transaction_on_ev_side_disconnect=False))
    bench.plants[1].unplug()
    bench.restart()
    bench.advance(3)
    assert bench.status() == "SuspendedEV"


def test_a_stop_in_progress_goes_on_after_a_restart() -> None:
    """The intent is on disk: reason, idTag and time are those of the first process; no energy in between."""
    bench = charging()
    bench.plants[1].meter_answers = False
    bench.card()
    told_s = bench.now_s
    bench.advance(1)
    bench.restart()
    assert not bench.plants[1].desired.energy_allowed
    bench.plants[1].meter_answers = True
    bench.advance(8)
    stop = bench.stop_message()
    assert (stop.reason, stop.id_tag, stop.at.boottime_ms) == (Reason.LOCAL, "TAG", round(told_s * 1000))
    assert bench.status() == "Finishing"


@pytest.mark.parametrize("by", ["pulling the plug", "a card"])
def test_another_car_that_comes_while_a_stop_is_interrupted_is_not_taken_for_the_one_that_left(by: str) -> None:
    """OCPP 1.6 §4.9 F2: Preparing, so that the card of who came means this connector.

    Found by torture (seed 798498): it was Finishing, and the card was kept for the next plug of the other connector.
    """
    bench = charging()
    bench.advance(30)
    bench.plants[1].meter_answers = False
    if by == "a card":
        bench.card()
        bench.advance(1)
        bench.plants[1].unplug()
    else:
        bench.unplug()
    bench.plants[1].plug_in()
    bench.restart()
    bench.plants[1].meter_answers = True
    bench.advance(8)
    assert bench.stop_message().reason == (Reason.LOCAL if by == "a card" else Reason.EV_DISCONNECTED)
    assert bench.status() == "Preparing"


def test_a_car_that_is_there_after_a_power_cut_is_another_one_if_the_first_had_left_before() -> None:
    """Its stop was on disk as EVDisconnected; only a plug that was in when the power failed may be the one from before."""
    bench = charging()
    bench.plants[1].meter_answers = False
    bench.unplug()
    bench.plants[1].plug_in()
    bench.power_cut()
    bench.plants[1].meter_answers = True
    bench.advance(8)
    assert (bench.stop_message().reason, bench.status()) == (Reason.EV_DISCONNECTED, "Preparing")


def test_another_car_that_the_guard_saw_coming_while_a_stop_is_interrupted_is_not_taken_for_the_one_that_left() -> None:
    """Counters that stand at nothing fit any plug-in; the guard saw the plug out."""
    bench = charging()
    bench.plants[1].meter_answers = False
    bench.card()
    bench.advance(1)
    bench.leave_to_guard()
    bench.plants[1].meter_answers = True
    bench.advance(8)
    assert (bench.stop_message().reason, bench.status()) == (Reason.LOCAL, "Preparing")


@pytest.mark.parametrize("service_too", [False, True])
def test_a_controller_that_restarts_while_a_stop_waits_for_its_reading_has_the_same_plug(service_too: bool) -> None:
    """Finishing, so that nobody else's card pays for that vehicle (errata v4.0 3.20)."""
    bench = Bench(2)
    bench.plug_in(1)
    bench.card("A")
    bench.advance(60)
    bench.plants[1].meter_answers = False
    bench.card("A")
    bench.advance(1)
    bench.plants[1].restart_controller()
    bench.advance(2)
    if service_too:
        bench.restart()
        bench.advance(1)
    bench.plants[1].meter_answers = True
    bench.advance(6)
    bench.card("B")
    bench.advance(10)
    assert (bench.status(1), bench.plants[1].relay_closed, len(bench.transactions)) == ("Finishing", False, 1)


@pytest.mark.parametrize("starting", [False, True])
def test_a_controller_that_restarts_after_the_session_has_the_same_plug_for_the_next_process_too(starting: bool) -> None:
    """It counts anew, and its vehicle has been there all the time."""
    bench = charging()
    bench.advance(60)
    bench.card()
    bench.advance(5)
    bench.plants[1].meter_answers = not starting
    if starting:
        bench.card("OTHER")
    bench.plants[1].restart_controller()
    bench.advance(5)
    assert bench.status() == "Finishing"
    bench.restart()
    bench.advance(5)
    assert bench.history()[-1] == "Finishing"


def test_another_car_after_a_restart_of_the_controller_is_found_out_all_the_same() -> None:
    bench = charging()
    bench.plants[1].meter_answers = False
    bench.card()
    bench.advance(1)
    bench.plants[1].restart_controller()
    bench.advance(1)
    bench.unplug()
    bench.plug_in()
    bench.plants[1].restart_controller()
    bench.plants[1].meter_answers = True
    bench.advance(8)
    assert bench.status() == "Preparing"


def test_a_stop_in_progress_ends_even_if_the_controller_never_answers_again() -> None:
    """Nothing waits for ever."""
    bench = charging()
    bench.card()
    bench.plants[1].answers = False
    bench.restart()
    bench.advance(12)
    assert bench.stop_message().reason == Reason.LOCAL
    assert bench.status() == "Faulted"


def test_an_authorization_that_waits_survives_a_restart() -> None:
    """OCPP 1.6 §9.1.6: with the rest of its ConnectionTimeOut."""
    bench = Bench(settings=Settings(connection_time_out_s=30))
    bench.card()
    bench.advance(20)
    bench.restart()
    bench.advance(1)
    assert bench.status() == "Preparing"
    bench.advance(10)
    assert bench.status() == "Available"


def test_a_remote_start_that_was_not_yet_authorized_is_asked_about_again_after_a_restart() -> None:
    """OCPP 1.6 §5.11: it was Accepted."""
    bench = Bench()
    bench.plug_in()
    bench.authorize = lambda _: None
    bench.remote_start()
    bench.advance(1)
    bench.restart()
    bench.authorize = lambda _: ACCEPTED
    bench.advance(5)
    assert bench.status() == "Charging"


@pytest.mark.parametrize("authorizes", [True, False])
def test_a_remote_start_that_may_never_have_been_answered_is_forgotten_by_a_restart(authorizes: bool) -> None:
    """Design §3: a call is never acted on late. Who was told of a failure takes it back, and nobody is there to hear it.

    Found by simulation (seed 901): a car was charged half a minute after the Central System had been told CALLERROR.
    """
    bench = Bench(settings=Settings(authorize_remote_tx_requests=authorizes))
    bench.authorize = lambda _: None
    bench.remote_start()
    bench.restart(away_s=5)
    bench.authorize = lambda _: ACCEPTED
    bench.plug_in()
    bench.advance(5)
    assert bench.status() == "Preparing"
    assert not bench.plants[1].desired.energy_allowed


def test_a_card_stops_a_transaction_that_still_waits_for_its_controller() -> None:
    """The holder does not care that the service has just started."""
    bench = charging()
    bench.plants[1].answers = False
    bench.restart()
    bench.advance(1)
    bench.card()
    bench.advance(12)
    assert bench.stop_message().reason == Reason.LOCAL


def test_a_power_cut_closes_the_transaction_with_the_first_reading() -> None:
    """Design §2: reason PowerLoss, the register read before any contactor closes."""
    bench = charging()
    bench.advance(45)
    bench.power_cut()
    bench.advance(3)
    stop = bench.stop_message()
    assert (stop.reason, stop.meter_stop_wh) == (Reason.POWER_LOSS, int(bench.plants[1].register_wh))
    assert bench.status() == "Finishing"
    assert not bench.plants[1].desired.energy_allowed
    bench.restart()
    bench.advance(3)
    assert bench.status() == "Finishing", "the plug of the finished transaction is known by the counters of this boot"


def test_the_stop_after_a_power_cut_tells_the_last_moment_of_the_boot_before_it() -> None:
    """Design §5: how long a boot was that never knew the time, for whoever has to date it; whatever is read since."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=0))
    bench.advance(100)
    checkpoint = bench.audit.store.load().transactions[0].last
    bench.plants[1].meter_answers = False
    bench.power_cut()
    bench.advance(1)
    bench.power_cut()
    bench.plants[1].meter_answers = True
    bench.advance(3)
    stop = bench.audit.entries[bench.last_tx][-1]
    assert stop.message.at.boot_id != checkpoint.at.boot_id
    assert stop.last_read_at == checkpoint.at


def test_a_stop_without_a_power_cut_tells_none() -> None:
    bench = charging()
    bench.restart()
    bench.advance(3)
    bench.card()
    bench.advance(3)
    assert bench.audit.entries[bench.last_tx][-1].last_read_at is None


def test_a_reboot_that_was_wanted_is_no_power_loss() -> None:
    """OCPP 1.6 §7.36: Reboot is "a locally initiated reset/reboot", PowerLoss a "complete loss of power"."""
    bench = charging()
    bench.end()
    bench.power_cut()
    bench.advance(3)
    assert bench.stop_message().reason == Reason.REBOOT


def test_a_power_cut_after_a_restart_of_the_service_is_a_power_loss() -> None:
    """A maintainer restarts it while a car charges; that is over when it is back."""
    bench = charging()
    bench.end()
    bench.restart()
    bench.advance(3)
    bench.power_cut()
    bench.advance(3)
    assert bench.stop_message().reason == Reason.POWER_LOSS


def test_the_end_of_an_idle_service_writes_nothing() -> None:
    bench = Bench()
    before = bench.commits
    bench.end()
    assert bench.commits == before


def test_a_power_cut_waits_for_a_meter_that_starts_later_than_this_service() -> None:
    """At boot all services start at once: the first reading may need longer than at an ordinary stop."""
    bench = charging()
    bench.advance(45)
    bench.plants[1].meter_answers = False
    bench.power_cut()
    bench.advance(15)
    bench.plants[1].meter_answers = True
    bench.advance(2)
    assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)


def test_a_power_cut_without_a_meter_closes_at_the_last_checkpoint_with_its_own_time() -> None:
    """Design §2: at most 60 s old."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=0))
    bench.advance(100)
    cut_s = bench.now_s
    checkpoint = bench.audit.store.load().transactions[0].last
    bench.plants[1].meter_answers = False
    bench.power_cut()
    bench.advance(40)
    stop = bench.stop_message()
    assert (stop.reason, stop.meter_stop_wh, stop.at) == (Reason.POWER_LOSS, checkpoint.energy_wh, checkpoint.at)
    assert cut_s - stop.at.boottime_ms / 1000 <= 62


def test_what_was_charged_is_on_disk_soon_after_the_contactor_has_opened() -> None:
    """Design §2. Found by simulation (seed 30933): the turn of the minute was waited for, and what had been charged since the
    last one was lost with this service, the plug and the meter that followed.
    """
    bench = charging(settings=Settings(meter_value_sample_interval_s=0))
    bench.advance(100)
    checkpoint = bench.audit.store.load().transactions[0].last
    bench.plants[1].wants_energy = False
    bench.advance(7)
    kept = bench.audit.store.load().transactions[0].last
    assert kept.energy_wh == int(bench.plants[1].register_wh) > checkpoint.energy_wh
    before = bench.commits
    bench.advance(30)
    assert bench.commits == before, "nothing flows, so that there is nothing to write"


def kept_reading_age_s(bench: Bench) -> float:
    return bench.now_s - bench.audit.store.load().transactions[0].last.at.boottime_ms / 1000


def test_the_first_reading_of_a_meter_that_is_back_is_on_disk_at_once() -> None:
    """Design §2: at most 60 s old. Found by simulation (seed 650): the next turn of the minute was waited for."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=0))
    bench.advance(100)
    bench.plants[1].meter_answers = False
    bench.advance(170)
    bench.plants[1].meter_answers = True
    bench.advance(3)
    assert kept_reading_age_s(bench) <= 4


def test_the_first_reading_after_a_restart_is_on_disk_at_once() -> None:
    """The same; what is resumed was written with the reading from before (seed 788)."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=0))
    bench.advance(100)
    bench.end()
    bench.now_s += 170
    bench.restart()
    bench.advance(5)
    assert kept_reading_age_s(bench) <= 6


def test_a_power_cut_in_the_middle_of_a_stop_keeps_its_reason() -> None:
    bench = charging()
    bench.plants[1].meter_answers = False
    bench.card()
    bench.power_cut()
    bench.plants[1].meter_answers = True
    bench.advance(3)
    assert (bench.stop_message().reason, bench.stop_message().id_tag) == (Reason.LOCAL, "TAG")


def test_a_power_cut_forgets_who_waited() -> None:
    """A person whose card was accepted before the lights went out is not there any more."""
    bench = Bench()
    bench.card()
    bench.power_cut()
    bench.plug_in()
    bench.advance(5)
    assert bench.transactions == []


def test_no_energy_flows_after_a_power_cut_before_the_old_transaction_is_closed() -> None:
    """Design §2: before any contactor closes."""
    bench = charging()
    bench.plants[1].meter_answers = False
    bench.power_cut()
    bench.feed(e.LinkChanged(ONLINE))
    bench.advance(5)
    bench.card("NEXT")
    bench.advance(5)
    assert not bench.plants[1].desired.energy_allowed
    bench.plants[1].meter_answers = True
    bench.advance(5)
    bench.card("NEXT")
    bench.advance(5)
    assert len(bench.transactions) == 2
    assert bench.status() == "Charging"


def test_an_open_transaction_of_a_connector_that_was_removed_is_closed() -> None:
    """One StopTransaction, whatever became of station.toml."""
    bench = Bench(2)
    bench.plug_in(2)
    bench.card()
    bench.advance(30)
    del bench.plants[2]
    bench.restart()
    bench.advance(1)
    assert bench.stop_message().reason == Reason.OTHER
