"""Faults, emergency stop, Reset, suspension and what an idle station writes (OCPP 1.6 §4.9, §5.14)."""

from pathlib import Path

import msgspec
import pytest

from bus.card_messages import CardOutcome
from bus.database import open_database
from bus.messages import IdTagInfo
from bus.salvage import open_store, schema_of
from bus.vocabulary import ChargePointErrorCode, Reason, ResetType
from services.connectors import events as e
from services.connectors import store
from services.connectors.plug_in import FAULT_RETURN_S
from services.connectors.state import Idle, Settings
from services.hardware.contract import EvseFault
from tests.connectors.bench import ACCEPTED, OFFLINE, ONLINE, WHOLE, Bench, charging
from tests.connectors.plant import GROUND_FAULT


def test_a_card_on_a_faulted_connector_is_not_asked_about() -> None:
    bench = Bench()
    bench.plants[1].faults = (GROUND_FAULT,)
    bench.plug_in()
    bench.card()
    assert not any(isinstance(effect, e.AskAuthorize) for effect in bench.effects)


def test_the_emergency_stop_takes_energy_away_first_and_ends_the_transaction() -> None:
    """OCPP 1.6 §7.36; design §3: opens at once and is recorded after."""
    bench = charging()
    before = len(bench.effects)
    bench.feed(e.EmergencyStopChanged(True))
    kinds = [type(effect) for effect in bench.effects[before:] if isinstance(effect, e.SetEvse | e.Commit)]
    assert kinds[:2] == [e.SetEvse, e.Commit]
    bench.advance(3)
    assert bench.stop_message().reason == Reason.EMERGENCY_STOP
    assert (bench.status(), bench.status(0)) == ("Faulted", "Faulted")
    bench.feed(e.EmergencyStopChanged(False))
    assert (bench.status(), bench.status(0)) == ("Finishing", "Available")


def test_nobody_is_charged_after_an_emergency_stop_without_a_new_card() -> None:
    bench = Bench()
    bench.card()
    bench.feed(e.EmergencyStopChanged(True))
    bench.plug_in()
    bench.feed(e.EmergencyStopChanged(False))
    bench.advance(5)
    assert bench.transactions == []


def test_the_emergency_stop_is_obeyed_before_a_controller_was_heard() -> None:
    """A restart in a session: the output is left as it is, but for this."""
    bench = charging()
    bench.state = bench._blank()
    bench.take_up()
    assert bench.plants[1].desired.energy_allowed
    bench.feed(e.EmergencyStopChanged(True))
    assert not bench.plants[1].desired.energy_allowed


def test_an_emergency_stop_before_a_controller_was_heard_ends_the_transaction_though_it_is_released_again() -> None:
    """OCPP 1.6 §7.36: what is pressed while nobody can hear the controller is no less an emergency; nothing resumes."""
    bench = charging()
    bench.plants[1].answers = False
    bench.restart(away_s=1.0)
    bench.advance(1)
    bench.feed(e.EmergencyStopChanged(True))
    bench.advance(2)
    bench.feed(e.EmergencyStopChanged(False))
    bench.plants[1].answers = True
    bench.advance(10)
    assert bench.stop_message().reason == Reason.EMERGENCY_STOP
    assert not bench.plants[1].desired.energy_allowed
    assert not bench.plants[1].relay_closed
    assert "transaction resumes" not in bench.notes()
    assert (bench.status(), len(bench.transactions)) == ("Finishing", 1)


@pytest.mark.parametrize(("kind", "reason"), [(ResetType.SOFT, Reason.SOFT_RESET), (ResetType.HARD, Reason.HARD_RESET)])
def test_a_reset_before_a_controller_was_heard_ends_the_transaction_too(kind: ResetType, reason: Reason) -> None:
    """OCPP 1.6 §5.14: a controller that stays silent keeps no Reset from being carried out."""
    bench = charging()
    bench.plants[1].answers = False
    bench.restart(away_s=1.0)
    bench.advance(1)
    bench.reset(kind)
    assert not bench.reset_ready().ready
    bench.advance(15)
    assert (bench.reset_ready().type, bench.reset_ready().ready) == (kind, True)
    assert bench.stop_message().reason == reason


def test_a_card_that_was_asked_about_before_an_emergency_stop_starts_nothing_after_it() -> None:
    """Nobody's authorization outlives it, also one that the Central System has still to give."""
    bench = Bench()
    bench.authorize = lambda _: None
    bench.plug_in()
    bench.card()
    bench.feed(e.EmergencyStopChanged(True))
    bench.feed(e.EmergencyStopChanged(False))
    bench.answer_authorize(ACCEPTED)
    bench.advance(5)
    assert bench.transactions == []
    assert bench.notes().count("authorization ends") == 1
    told = [effect.card.outcome for effect in bench.effects if isinstance(effect, e.TellCard)]
    assert told == [CardOutcome.WAIT, CardOutcome.REFUSED]
    bench.authorize = lambda _: ACCEPTED
    bench.card()
    bench.advance(5)
    assert len(bench.transactions) == 1, "a new card is a new act"


@pytest.mark.parametrize("answer", [ACCEPTED, None], ids=["accepted", "no answer"])
def test_a_remote_start_that_was_asked_about_before_an_emergency_stop_starts_nothing_after_it(answer: IdTagInfo | None) -> None:
    """OCPP 1.6 §5.11 with AuthorizeRemoteTxRequests, here of the holder of a reservation."""
    bench = Bench(settings=Settings(allow_offline_tx_for_unknown_id=True))
    bench.authorize = lambda _: None
    assert bench.reserve(id_tag="TAG").status == "Accepted"
    bench.plug_in()
    assert bench.remote_start("TAG", 1).status == "Accepted"
    bench.feed(e.EmergencyStopChanged(True))
    bench.feed(e.EmergencyStopChanged(False))
    bench.answer_authorize(answer)
    bench.advance(5)
    assert bench.transactions == []
    assert bench.notes().count("authorization ends") == 1


def test_a_card_that_was_asked_about_before_a_reset_starts_nothing_after_it() -> None:
    """OCPP 1.6 §5.14: also where the station could not be restarted, and sessions are possible again."""
    bench = Bench()
    bench.authorize = lambda _: None
    bench.plug_in()
    bench.card()
    bench.reset(ResetType.SOFT)
    bench.feed(e.LinkChanged(msgspec.structs.replace(ONLINE, reset_failed=True)))
    bench.answer_authorize(ACCEPTED)
    bench.advance(5)
    assert bench.transactions == []


@pytest.mark.parametrize(("kind", "reason"), [(ResetType.SOFT, Reason.SOFT_RESET), (ResetType.HARD, Reason.HARD_RESET)])
def test_a_reset_ends_transactions_then_says_ready(kind: ResetType, reason: Reason) -> None:
    """OCPP 1.6 §5.14, errata v4.0 3.36; no new session begins meanwhile."""
    bench = charging()
    bench.reset(kind)
    assert not bench.reset_ready().ready
    bench.card("OTHER")
    assert bench.remote_start("OTHER").reason == "a Reset is under way"
    bench.advance(3)
    assert (bench.reset_ready().type, bench.reset_ready().ready) == (kind, True)
    assert bench.stop_message().reason == reason
    assert len(bench.transactions) == 1


def test_a_reset_while_a_start_awaits_its_reading_starts_nothing() -> None:
    """OCPP 1.6 §5.14: no transaction of no length."""
    bench = Bench()
    bench.plants[1].meter_answers = False
    bench.plug_in()
    bench.card()
    bench.reset(ResetType.SOFT)
    bench.plants[1].meter_answers = True
    bench.advance(5)
    assert bench.transactions == []
    assert bench.reset_ready().ready


def test_a_reset_that_does_not_happen_does_not_block_the_station_for_ever() -> None:
    bench = Bench()
    bench.reset(ResetType.SOFT)
    bench.advance(121)
    assert bench.reset_ready().type is None
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert bench.status() == "Charging"


def test_a_reset_that_failed_is_over_at_once_and_connector_0_says_so() -> None:
    """OCPP 1.6 §7.6 ResetFailure: unable to perform a reset; a warning, since charging goes on (§4.9)."""
    bench = Bench()
    bench.reset(ResetType.SOFT)
    bench.feed(e.LinkChanged(msgspec.structs.replace(ONLINE, reset_failed=True)))
    assert bench.reset_ready().type is None
    assert (bench.status(0), bench.audit.statuses[0][-1].error_code) == ("Available", ChargePointErrorCode.RESET_FAILURE)
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert bench.status() == "Charging"
    bench.feed(e.LinkChanged(None))
    assert bench.audit.statuses[0][-1].error_code is ChargePointErrorCode.RESET_FAILURE
    bench.feed(e.LinkChanged(ONLINE))
    assert bench.audit.statuses[0][-1].error_code is ChargePointErrorCode.NO_ERROR


def test_a_controller_that_falls_silent_in_a_session_is_faulted_and_then_goes_on() -> None:
    """hardware.md §3.4; the order stays in force, and the contactor is never told to open."""
    bench = charging()
    bench.plants[1].answers = False
    bench.advance(20)
    assert bench.status() == "Faulted"
    assert bench.audit.statuses[1][-1].vendor_error_code == "evse-offline"
    bench.plants[1].answers = True
    bench.advance(5)
    assert bench.history() == ["Available", "Preparing", "Charging", "Faulted", "Charging"]
    assert bench.commanded_off == 0


def test_a_fault_withdraws_energy_and_charging_resumes_when_it_is_gone() -> None:
    """OCPP 1.6 §4.9 C9, I3: overlay, and the status before it again; design §3: a fault opens at once."""
    bench = charging()
    bench.plants[1].faults = (GROUND_FAULT,)
    bench.advance(0.1)
    assert bench.status() == "Faulted"
    said = bench.audit.statuses[1][-1]
    assert (said.error_code, said.vendor_error_code) == (ChargePointErrorCode.GROUND_FAILURE, "openevse:06")
    assert not bench.plants[1].desired.energy_allowed
    bench.advance(5)
    bench.plants[1].faults = ()
    bench.advance(10)
    assert bench.history() == ["Available", "Preparing", "Charging", "Faulted", "Charging"]
    assert len(bench.audit.entries[bench.last_tx]) == 1


def test_a_fault_that_comes_back_is_not_switched_on_again_and_again() -> None:
    """Safety: a returned fault takes energy away for as long as it took to return at most."""
    bench = charging()
    for _ in range(2):
        bench.plants[1].faults = (GROUND_FAULT,)
        bench.advance(1)
        bench.plants[1].faults = ()
        bench.advance(10)
    assert bench.status() == "SuspendedEVSE"
    bench.advance(285)
    assert not bench.plants[1].desired.energy_allowed
    bench.advance(10)
    assert bench.status() == "Charging"


@pytest.mark.parametrize("restarts_at", range(0, 50, 5))
def test_a_restart_of_the_service_forgets_no_fault(restarts_at: int) -> None:
    """Design §2: the contactor stays open for as long as without one, also where the fault comes or goes meanwhile."""
    bench = charging()
    for tenth in range(60):
        bench.plants[1].faults = (GROUND_FAULT,) if tenth < 10 or 20 <= tenth < 40 else ()
        if tenth == restarts_at:
            bench.restart(away_s=0.1)
        bench.advance(0.1)
    bench.advance(4)
    assert (bench.status(), bench.plants[1].desired.energy_allowed) == ("SuspendedEVSE", False)
    bench.advance(FAULT_RETURN_S - 8)
    assert not bench.plants[1].desired.energy_allowed
    bench.restart()
    bench.advance(10)
    assert bench.status() == "Charging"


def test_a_fault_that_went_long_ago_leaves_nothing_on_the_disk_nor_does_one_whose_plug_is_out() -> None:
    bench = charging()
    for unplugged in (False, True):
        bench.plants[1].faults = (GROUND_FAULT,)
        bench.advance(2)
        bench.plants[1].faults = ()
        bench.advance(2)
        assert set(bench.audit.store.load().faults) == {1}
        if unplugged:
            bench.unplug()
        else:
            bench.advance(FAULT_RETURN_S)
        assert bench.audit.store.load().faults == {}


def test_a_power_cut_forgets_faults() -> None:
    """Choice in plug_in.py: nothing charges after it without a new card, and its times are of another boot."""
    bench = charging()
    for _ in range(2):
        bench.plants[1].faults = (GROUND_FAULT,)
        bench.advance(1)
        bench.plants[1].faults = ()
        bench.advance(5)
    bench.power_cut()
    assert bench.audit.store.load().faults == {}
    bench.advance(5)
    bench.feed(e.LinkChanged(ONLINE))
    bench.card()
    bench.advance(10)
    assert bench.status() == "Charging"


def test_a_store_is_opened_by_releases_that_know_its_faults_and_by_those_that_do_not(tmp_path: Path) -> None:
    """Additive: an older release leaves the table alone, and a store without it gets one."""
    path = str(tmp_path / "connectors.db")
    older = schema_of(statement for statement in store._TABLES if "plug_faults" not in statement)
    for schema in (older, store.SCHEMA, older, store.SCHEMA):
        opened = open_store(path, schema)
        assert opened.problem == ""
        opened.database.close()
    database = open_database(path)
    assert store.Store(database).load().faults == {}
    database.close()


@pytest.mark.parametrize("state", ["idle", "preparing", "finishing"])
def test_a_fault_returns_to_the_status_before_it(state: str) -> None:
    """OCPP 1.6 §4.9 I1, I2, I6."""
    bench = Bench()
    if state != "idle":
        bench.plug_in()
    if state == "finishing":
        bench.card()
        bench.advance(5)
        bench.card()
        bench.advance(3)
    before = bench.status()
    bench.plants[1].faults = (GROUND_FAULT,)
    bench.advance(2)
    assert bench.status() == "Faulted"
    bench.plants[1].faults = ()
    bench.advance(2)
    assert bench.status() == before
    assert bench.history()[-2:] == ["Faulted", before]


def test_ev_communication_error_is_a_warning() -> None:
    """OCPP 1.6 §4.9: only with Preparing, SuspendedEV, SuspendedEVSE and Finishing, and never Faulted."""
    bench = Bench()
    fault = EvseFault(ChargePointErrorCode.EV_COMMUNICATION_ERROR, "openevse:05")
    bench.plants[1].faults = (fault,)
    bench.advance(1)
    assert (bench.status(), bench.audit.statuses[1][-1].error_code) == ("Available", "NoError")
    bench.plug_in()
    assert (bench.status(), bench.audit.statuses[1][-1].error_code) == ("Preparing", "EVCommunicationError")
    bench.card()
    bench.advance(5)
    assert (bench.status(), bench.audit.statuses[1][-1].error_code) == ("SuspendedEVSE", "EVCommunicationError")


def test_meter_failure_is_a_warning_and_charging_goes_on() -> None:
    """Design §2: survived and reported; field report 34: no stale values as fresh ones."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=10))
    bench.plants[1].meter_answers = False
    bench.feed(e.MeterFailureChanged(1, "no answer"))
    sent = len(bench.audit.entries[bench.last_tx])
    bench.advance(60)
    assert (bench.status(), bench.audit.statuses[1][-1].error_code) == ("Charging", "PowerMeterFailure")
    assert len(bench.audit.entries[bench.last_tx]) == sent


def test_reader_failure_is_told_of_the_charge_point() -> None:
    """Design §2: rfid down is reported."""
    bench = Bench()
    bench.feed(e.ReaderFailureChanged("no answer"))
    assert (bench.status(0), bench.audit.statuses[0][-1].error_code) == ("Available", "ReaderFailure")


def test_a_car_that_pauses_is_suspended_ev_and_comes_back_without_a_flash() -> None:
    """OCPP 1.6 §4.9 C4, D3; field report 42."""
    bench = charging()
    bench.plants[1].wants_energy = False
    bench.advance(10)
    bench.plants[1].wants_energy = True
    bench.advance(10)
    assert bench.history() == ["Available", "Preparing", "Charging", "SuspendedEV", "Charging"]


def test_a_car_that_never_asks_is_shown_as_suspended_ev_without_any_further_event() -> None:
    """OCPP 1.6 §4.9 B4: what settles has a deadline of its own."""
    bench = Bench()
    bench.plants[1].wants_energy = False
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert bench.history() == ["Available", "Preparing", "SuspendedEV"]


def test_sampled_meter_values_come_at_the_interval_and_follow_its_change_at_once() -> None:
    """OCPP 1.6 §4.7, §9.1.19, errata v4.0 3.15; field report 24; interval 0: none."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=0))
    bench.advance(120)
    assert len(bench.audit.entries[bench.last_tx]) == 1
    bench.settings(meter_value_sample_interval_s=10)
    bench.advance(30.5)
    assert len(bench.audit.entries[bench.last_tx]) == 4
    bench.settings(meter_value_sample_interval_s=0)
    bench.advance(60)
    assert len(bench.audit.entries[bench.last_tx]) == 4


def test_an_idle_station_writes_nothing_and_a_session_at_most_once_a_minute() -> None:
    """Design §8: no disk writes while idle; design §2: the checkpoint is at most 60 s old, in a young session newer."""
    bench = Bench(settings=Settings(meter_value_sample_interval_s=0))
    bench.plug_in()
    bench.advance(61)
    assert bench.commits == 2, "first accepted once, and the plug that nobody presented a card for (B6)"
    before = bench.commits
    bench.advance(600)
    assert bench.commits == before
    bench.card()
    bench.advance(5)
    begun = bench.commits
    bench.plants[1].wants_energy = False
    bench.advance(600)
    assert bench.commits - begun == 13, "with the first count, after 5, 10, 20, 40, 80 s, then once a minute"
    bench.plants[1].meter_answers = False
    bench.advance(61)
    dead = bench.commits
    bench.advance(600)
    assert bench.commits == dead, "without a new reading there is nothing to write"


def test_links_that_come_and_go_change_nothing_in_a_session() -> None:
    """Design §2: link down, charging goes on."""
    bench = charging()
    for link in (None, OFFLINE, ONLINE, None, ONLINE):
        bench.feed(e.LinkChanged(link))
        bench.advance(5)
    assert bench.history() == WHOLE[:3]
    assert bench.commanded_off == 0
    assert not isinstance(bench.connector().phase, Idle)
