"""Whole sessions at the core: who comes first, who stops, what the Central System is told (OCPP 1.6 §4.8 to §4.10)."""

import pytest

from bus.messages import DeliveryEntry, GivenUp, IdTagInfo
from bus.vocabulary import AuthorizationStatus, ChargePointErrorCode, Reason, ResetType
from services.connectors import events as e
from services.connectors.state import Idle, Settings
from services.hardware.contract import EvseFault
from tests.connectors.bench import OFFLINE, ONLINE, Bench
from tests.connectors.plant import GROUND_FAULT

REFUSED = IdTagInfo(AuthorizationStatus.INVALID)
FAMILY = IdTagInfo(AuthorizationStatus.ACCEPTED, parent_id_tag="FAMILY")
WHOLE = ["Available", "Preparing", "Charging", "Finishing", "Available"]


def charging(**options: object) -> Bench:
    """A car charges on connector 1, started by TAG."""
    bench = Bench(**options)  # type: ignore[arg-type]
    bench.plug_in()
    bench.card()
    bench.advance(30)
    assert bench.status() == "Charging"
    return bench


def test_plug_first_then_card_charges_and_bills_what_the_meter_counted() -> None:
    """Issue: the main job. OCPP 1.6 §4.8, §4.10; each status once, none only passed through (field report 42)."""
    bench = charging()
    bench.card()
    bench.advance(3)
    bench.unplug()
    assert bench.history() == WHOLE
    start, _, stop = bench.audit.whole(bench.last_tx)
    assert (start.id_tag, start.meter_start_wh) == ("TAG", 1000)
    assert (stop.id_tag, stop.reason, stop.meter_stop_wh) == ("TAG", Reason.LOCAL, int(bench.plants[1].register_wh))
    assert stop.meter_stop_wh > start.meter_start_wh


def test_card_first_then_plug_charges() -> None:
    """OCPP 1.6 §4.9 A2: presenting the idTag initiates usage."""
    bench = Bench()
    bench.card()
    assert bench.status() == "Preparing"
    bench.advance(20)
    assert bench.transactions == []
    bench.plug_in()
    bench.advance(10)
    assert bench.history() == ["Available", "Preparing", "Charging"]


def test_card_without_a_plug_returns_to_available_after_connection_time_out() -> None:
    """OCPP 1.6 §9.1.6, errata v4.0 3.76; field report 47."""
    bench = Bench(settings=Settings(connection_time_out_s=30))
    bench.card()
    bench.advance(29)
    assert bench.status() == "Preparing"
    bench.advance(1.5)
    assert bench.history() == ["Available", "Preparing", "Available"]
    bench.plug_in()
    bench.advance(5)
    assert bench.transactions == []


def test_second_presentation_before_the_plug_takes_the_authorization_back() -> None:
    """OCPP 1.6 §4.9 B1."""
    bench = Bench()
    bench.card("TAG")
    bench.card("tag")
    assert bench.history() == ["Available", "Preparing", "Available"]
    bench.plug_in()
    bench.advance(5)
    assert bench.transactions == []


def test_second_presentation_while_the_first_reading_is_awaited_takes_the_start_back() -> None:
    """OCPP 1.6 §4.9 B1: nothing has started yet, so nothing is billed."""
    bench = Bench()
    bench.plants[1].meter_answers = False
    bench.plug_in()
    bench.card()
    bench.card()
    bench.plants[1].meter_answers = True
    bench.advance(5)
    assert bench.transactions == []
    assert bench.status() == "Preparing"


def test_the_same_card_stops_whatever_its_case() -> None:
    """OCPP 1.6 §7.28: idTags are compared without case; StopTransaction carries the one that stopped."""
    bench = charging()
    bench.card("tAg")
    bench.advance(3)
    assert bench.stop_message().id_tag == "tAg"


def test_another_card_is_refused_and_the_transaction_runs_on() -> None:
    """OCPP 1.6 §4.10: only the same idTag or its group stops."""
    bench = charging()
    bench.card("OTHER")
    bench.advance(10)
    assert bench.status() == "Charging"
    assert len(bench.audit.entries[bench.last_tx]) == 1
    assert "belongs to no running transaction" in bench.notes()


def test_a_card_of_the_same_parent_stops() -> None:
    """OCPP 1.6 §3.10, the parent known from Authorize.conf."""
    bench = Bench()
    bench.authorize = lambda _: FAMILY
    bench.plug_in()
    bench.card("MUM")
    bench.advance(20)
    bench.card("DAD")
    bench.advance(3)
    stop = bench.stop_message()
    assert (stop.id_tag, stop.reason) == ("DAD", Reason.LOCAL)


def test_a_card_of_the_same_parent_stops_where_only_start_transaction_conf_told_the_parent() -> None:
    """OCPP 1.6 §3.10, the parent known from StartTransaction.conf."""
    bench = charging()
    bench.authorize = lambda _: FAMILY
    bench.deliver_start(info=FAMILY)
    bench.card("DAD")
    bench.advance(3)
    assert bench.stop_message().id_tag == "DAD"


def test_a_card_of_another_parent_or_a_blocked_one_of_the_same_does_not_stop() -> None:
    """OCPP 1.6 §3.10, §4.1: only an accepted idTag of the group."""
    bench = charging()
    bench.deliver_start(info=FAMILY)
    bench.authorize = lambda _: IdTagInfo(AuthorizationStatus.ACCEPTED, parent_id_tag="OTHERS")
    bench.card("A")
    bench.authorize = lambda _: IdTagInfo(AuthorizationStatus.BLOCKED, parent_id_tag="FAMILY")
    bench.card("B")
    bench.advance(3)
    assert bench.status() == "Charging"


def test_a_refused_card_starts_nothing() -> None:
    """OCPP 1.6 §4.1."""
    bench = Bench()
    bench.authorize = lambda _: REFUSED
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert bench.transactions == []
    assert bench.history() == ["Available", "Preparing"]


@pytest.mark.parametrize("policy", [True, False])
def test_a_card_offline_is_decided_by_allow_offline_tx_for_unknown_id(policy: bool) -> None:
    """OCPP 1.6 §3.5.4."""
    bench = Bench(settings=Settings(allow_offline_tx_for_unknown_id=policy))
    bench.feed(e.LinkChanged(OFFLINE))
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert bool(bench.transactions) is policy


def test_a_card_that_waits_for_its_answer_is_decided_at_once_when_the_link_is_lost() -> None:
    """OCPP 1.6 §3.5: offline rules; a person at the reader does not wait for a time-out of a dead connection."""
    bench = Bench(settings=Settings(allow_offline_tx_for_unknown_id=True))
    bench.authorize = lambda _: None
    bench.plug_in()
    bench.card()
    bench.advance(1)
    assert bench.transactions == []
    bench.feed(e.LinkChanged(None))
    bench.advance(1)
    assert len(bench.transactions) == 1
    bench.answer_authorize(REFUSED)
    assert bench.status() in ("Preparing", "Charging")


def test_a_station_that_was_never_accepted_refuses_cards_unless_its_owner_wants_otherwise() -> None:
    """Errata v4.0 3.11."""
    for policy in (False, True):
        bench = Bench(settings=Settings(allow_offline_tx_for_unknown_id=True, charge_before_first_acceptance=policy))
        bench.feed(e.LinkChanged(type(OFFLINE)(connected=False, ever_accepted=False)))
        bench.plug_in()
        bench.card()
        bench.advance(5)
        assert bool(bench.transactions) is policy


def test_what_is_known_of_acceptance_survives_a_restart_while_the_link_is_dead() -> None:
    """Design §2: a dead link never decides whether cards work."""
    bench = Bench(settings=Settings(allow_offline_tx_for_unknown_id=True))
    bench.state = bench._blank()
    bench.take_up()
    bench.advance(1)
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert len(bench.transactions) == 1


def test_unplugging_under_load_ends_the_transaction_and_says_why() -> None:
    """OCPP 1.6 §4.9, §4.10, StopTransactionOnEVSideDisconnect true: Finishing with info; energy away before the disk."""
    bench = charging()
    before = len(bench.effects)
    bench.plants[1].unplug()
    bench.advance(0.1)
    kinds = [type(effect) for effect in bench.effects[before:] if isinstance(effect, e.SetEvse | e.Commit)]
    assert kinds[:2] == [e.SetEvse, e.Commit]
    bench.advance(1)
    assert bench.history() == WHOLE
    finishing = [said for said in bench.audit.statuses[1] if said.status == "Finishing"]
    assert {(said.info, said.error_code) for said in finishing} == {("EV side disconnected", ChargePointErrorCode.NO_ERROR)}
    assert bench.stop_message().reason == Reason.EV_DISCONNECTED
    assert bench.stop_message().id_tag is None


def test_with_stop_on_disconnect_false_the_transaction_survives_the_plug() -> None:
    """OCPP 1.6 §4.9, §4.10: SuspendedEV with info, energy again when the plug is back, the meter counts on."""
    bench = charging(settings=Settings(stop_transaction_on_ev_side_disconnect=False))
    bench.unplug()
    bench.advance(5)
    assert bench.status() == "SuspendedEV"
    assert bench.audit.statuses[1][-1].info == "EV side disconnected"
    bench.plug_in()
    bench.advance(10)
    assert bench.status() == "Charging"
    assert bench.audit.statuses[1][-1].info == ""
    bench.restart()
    bench.advance(5)
    assert bench.status() == "Charging", "the new plug-in's counters are known after a restart"
    bench.card()
    bench.advance(3)
    assert len(bench.transactions) == 1
    assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)


def test_a_controller_that_cannot_tell_whether_a_plug_is_in_has_not_seen_an_unplugging() -> None:
    """Contract of EvseObservation: None is "can't tell now"; a controller that starts anew must not end a transaction."""
    bench = charging()
    bench.plants[1].knows = False
    bench.advance(5)
    bench.plants[1].knows = True
    bench.advance(5)
    assert bench.history() == WHOLE[:3]
    assert len(bench.audit.entries[bench.last_tx]) == 1


def test_a_plug_that_was_out_unseen_ends_the_transaction() -> None:
    """Design §2: the same plug-in, by the controller's own counters. Here it was deaf while cars were swapped."""
    bench = charging()
    bench.plants[1].answers = False
    bench.advance(3)
    assert bench.status() == "Faulted"
    bench.plants[1].unplug()
    bench.plants[1].plug_in()
    bench.plants[1].answers = True
    bench.advance(8)
    assert bench.stop_message().reason == Reason.EV_DISCONNECTED
    assert bench.status() == "Preparing", "the other car waits for a card of its own"
    assert not bench.plants[1].desired.energy_allowed


def test_a_controller_that_restarts_in_a_session_goes_on_with_it() -> None:
    """Issue: a healthy transaction survives; its counters are new, and a restart of the service knows them."""
    bench = charging()
    bench.plants[1].restart_controller()
    bench.advance(10)
    assert bench.status() == "Charging"
    bench.restart()
    bench.advance(10)
    assert bench.status() == "Charging"
    assert len(bench.transactions) == 1


def test_start_is_refused_without_a_reading_within_two_seconds() -> None:
    """Design §4.1, field report 35."""
    bench = Bench()
    bench.plants[1].meter_answers = False
    bench.plug_in()
    bench.card()
    bench.advance(1.5)
    bench.advance(1)
    bench.plants[1].meter_answers = True
    bench.advance(5)
    assert bench.transactions == []
    assert "start refused" in bench.notes()
    assert bench.status() == "Preparing"
    bench.card()
    bench.advance(5)
    assert bench.status() == "Charging"


def test_stop_falls_back_on_the_last_reading_after_five_seconds() -> None:
    """Design §4.1."""
    bench = charging()
    bench.plants[1].meter_answers = False
    last_wh = int(bench.connector().sample.energy_import_wh)  # type: ignore[union-attr]
    bench.advance(5)
    bench.card()
    bench.advance(4)
    assert bench.status() == "Finishing"
    assert bench.connector().transaction is not None
    bench.advance(3)
    assert bench.connector().transaction is None
    assert bench.stop_message().meter_stop_wh == last_wh
    assert "last trustworthy reading" in bench.notes()


def test_a_reading_that_comes_by_itself_ends_the_stop_where_the_answer_was_lost() -> None:
    """The meter service restarts while the stop waits: its first sample is as good as its answer."""
    bench = charging()
    bench.plants[1].meter_answers = False
    bench.card()
    bench.advance(2)
    bench._reads.clear()
    bench.plants[1].meter_answers = True
    bench.advance(2)
    assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)


@pytest.mark.parametrize(("serial", "register_wh"), [("M2", 5.0), ("M2", 90_000.0), ("M1", 3.0)])
def test_a_meter_replaced_in_a_session_counts_on_as_the_sum_of_both(serial: str, register_wh: float) -> None:
    """Design §4.1, field report 36; by its serial, or by a register that went back."""
    bench = charging()
    bench.advance(60)
    bench.plants[1].wants_energy = False
    bench.advance(3)
    so_far_wh = int(bench.plants[1].register_wh)
    bench.plants[1].replace_meter(serial, register_wh)
    bench.advance(3)
    bench.plants[1].wants_energy = True
    bench.advance(60)
    bench.card()
    bench.advance(3)
    assert bench.stop_message().meter_stop_wh == so_far_wh + int(bench.plants[1].register_wh) - int(register_wh)
    assert "another meter" in bench.notes()


def test_a_sample_that_comes_late_is_no_other_meter() -> None:
    """A reading older than the last one has a lower register, and would be billed twice if it were taken for another meter."""
    bench = charging()
    old = bench.plants[1].sample(bench.now_s)
    bench.advance(30)
    bench.feed(e.MeterSampled(old))
    bench.advance(30)
    bench.card()
    bench.advance(3)
    assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)
    assert "another meter" not in bench.notes()


def test_a_meter_that_tells_its_serial_late_is_the_same_meter() -> None:
    bench = Bench()
    bench.plants[1].serial = ""
    bench.plug_in()
    bench.card()
    bench.advance(30)
    bench.plants[1].serial = "M1"
    bench.advance(30)
    bench.plants[1].serial = ""
    bench.advance(30)
    bench.card()
    bench.advance(3)
    assert bench.stop_message().meter_stop_wh == int(bench.plants[1].register_wh)
    assert "another meter" not in bench.notes()


def test_a_refused_start_stops_the_transaction_at_once() -> None:
    """OCPP 1.6 §4.8, errata v4.0 3.17, StopTransactionOnInvalidId true; lost authorization opens first (design §3)."""
    bench = charging()
    before = len(bench.effects)
    bench.deliver_start(info=IdTagInfo(AuthorizationStatus.BLOCKED))
    kinds = [type(effect) for effect in bench.effects[before:] if isinstance(effect, e.SetEvse | e.Commit)]
    assert kinds[:2] == [e.SetEvse, e.Commit]
    bench.advance(3)
    assert bench.stop_message().reason == Reason.DE_AUTHORIZED
    assert bench.status() == "Finishing"


def test_a_refused_start_only_loses_energy_where_the_policy_says_so() -> None:
    """OCPP 1.6 §4.8, errata v4.0 3.17, StopTransactionOnInvalidId false."""
    bench = charging(settings=Settings(stop_transaction_on_invalid_id=False))
    bench.deliver_start(info=IdTagInfo(AuthorizationStatus.BLOCKED))
    bench.advance(3)
    assert bench.status() == "SuspendedEVSE"
    assert not bench.plants[1].relay_closed
    bench.restart()
    bench.advance(3)
    assert bench.status() == "SuspendedEVSE"
    bench.card()
    bench.advance(3)
    assert bench.stop_message().reason == Reason.LOCAL


@pytest.mark.parametrize("policy", [True, False])
def test_a_refusal_that_comes_while_the_transaction_stops_changes_nothing(policy: bool) -> None:
    """Field report 10: what the Central System says late never blocks the connector."""
    bench = charging(settings=Settings(stop_transaction_on_invalid_id=policy))
    bench.plants[1].meter_answers = False
    bench.card()
    bench.deliver_start(info=REFUSED)
    bench.advance(10)
    assert bench.stop_message().reason == Reason.LOCAL
    bench.deliver_start(info=REFUSED)
    assert bench.status() == "Finishing"


@pytest.mark.parametrize("policy", [True, False])
def test_a_refusal_that_comes_before_the_controller_is_heard_after_a_restart_takes_energy_away(policy: bool) -> None:
    """Design §3: lost authorization opens at once, also while the transaction still waits to be resumed."""
    bench = charging(settings=Settings(stop_transaction_on_invalid_id=policy))
    bench.state = bench._blank()
    bench.take_up()
    bench.deliver_start(info=REFUSED)
    assert not bench.plants[1].desired.energy_allowed
    bench.advance(8)
    assert bench.status() == ("Finishing" if policy else "SuspendedEVSE")


def test_a_delivery_after_the_end_is_only_forgotten() -> None:
    """Field report 10."""
    bench = charging()
    bench.card()
    bench.advance(3)
    bench.deliver_start(local_tx_id=bench.last_tx)
    bench.deliver_start(local_tx_id="unknown")
    names = [name for (name,) in bench.database.execute("SELECT name FROM journal_out")]
    assert names == [f"{bench.last_tx}/1"]


@pytest.mark.parametrize("transaction_id", [0, -1, -7, 4711])
def test_remote_stop_takes_any_integer_for_an_id(transaction_id: int) -> None:
    """OCPP 1.6 §5.12, errata v4.0 3.54, field report 2."""
    bench = charging()
    assert bench.remote_stop(transaction_id).status == "Rejected"
    bench.deliver_start(transaction_id)
    assert bench.remote_stop(transaction_id + 1).status == "Rejected"
    assert bench.remote_stop(transaction_id).status == "Accepted"
    assert bench.remote_stop(transaction_id).status == "Accepted", "it is ongoing and will be stopped"
    bench.advance(3)
    assert (bench.stop_message().reason, bench.stop_message().id_tag) == (Reason.REMOTE, None)
    assert bench.remote_stop(transaction_id).status == "Rejected"


def test_a_transaction_whose_start_was_given_up_has_no_id_to_be_stopped_by() -> None:
    """Errata v4.0 3.18: -1 is for the wire of the queue, not an id that anybody gave."""
    bench = charging()
    bench.feed(e.DeliveryStored(DeliveryEntry(bench.last_tx, 0, GivenUp("5 attempts failed"))))
    assert bench.remote_stop(-1).status == "Rejected"
    bench.card()
    bench.advance(3)
    assert bench.stop_message().reason == Reason.LOCAL


@pytest.mark.parametrize("connector_id", [None, 1])
def test_remote_start_charges_after_authorization(connector_id: int | None) -> None:
    """OCPP 1.6 §5.11 with AuthorizeRemoteTxRequests true."""
    bench = Bench()
    bench.authorize = lambda _: None
    bench.plug_in()
    assert bench.remote_start("APP", connector_id).status == "Accepted"
    bench.advance(5)
    assert bench.transactions == []
    bench.answer_authorize(IdTagInfo(AuthorizationStatus.ACCEPTED))
    bench.advance(5)
    assert bench.status() == "Charging"


def test_remote_start_without_authorization_starts_at_once() -> None:
    """OCPP 1.6 §5.11 with AuthorizeRemoteTxRequests false."""
    bench = Bench(settings=Settings(authorize_remote_tx_requests=False))
    bench.plug_in()
    bench.remote_start("APP", 1)
    bench.advance(5)
    assert bench.status() == "Charging"
    assert not any(isinstance(effect, e.AskAuthorize) for effect in bench.effects)


def test_remote_start_before_the_plug_waits_for_connection_time_out() -> None:
    """OCPP 1.6 §9.1.6; field report 47: visible as Preparing, and back."""
    bench = Bench(settings=Settings(connection_time_out_s=20))
    bench.remote_start()
    assert bench.status() == "Preparing"
    bench.advance(21)
    assert bench.history() == ["Available", "Preparing", "Available"]


def test_remote_start_refused_by_the_central_system_ends() -> None:
    """OCPP 1.6 §5.11."""
    bench = Bench()
    bench.authorize = lambda _: REFUSED
    bench.plug_in()
    assert bench.remote_start().status == "Accepted"
    bench.advance(5)
    assert bench.transactions == []


def test_remote_start_is_rejected_where_it_cannot_lead_to_a_start() -> None:
    """OCPP 1.6 §5.11; field report 46: connector 0 is rejected. Each refusal says why (field report 63)."""
    bench = Bench(2)
    assert bench.remote_start("A", 0).reason == "connector 0 can't charge"
    assert bench.remote_start("A", 3).reason == "there is no connector 3"
    assert bench.remote_start("A", 1).status == "Accepted"
    assert bench.remote_start("B", 1).reason == "an authorization waits on connector 1 already"
    assert bench.remote_start("B").status == "Accepted"
    assert bench.remote_start("C").reason == "an authorization waits for every free connector already"
    bench.plants[2].faults = (GROUND_FAULT,)
    bench.advance(0.1)
    assert bench.remote_start("C", 2).reason == "connector 2 is busy or faulted"


def test_remote_start_on_a_busy_connector_is_rejected() -> None:
    """OCPP 1.6 §5.11."""
    bench = charging()
    assert bench.remote_start("B", 1).status == "Rejected"
    assert bench.remote_start("B").status == "Rejected"


def test_a_cancelled_remote_start_starts_nothing() -> None:
    """Design §3: a time-out becomes CALLERROR, and the caller cancels what may still happen."""
    for plugged in (False, True):
        bench = Bench()
        bench.plants[1].meter_answers = not plugged
        if plugged:
            bench.plug_in()
        bench.remote_start()
        bench.cancel_last_call()
        bench.plants[1].meter_answers = True
        bench.plug_in()
        bench.advance(10)
        assert bench.transactions == []


def test_finishing_until_the_plug_is_out() -> None:
    """Field report 43: no Available while the cable is in."""
    bench = charging()
    bench.card()
    bench.advance(600)
    assert bench.status() == "Finishing"
    bench.restart()
    bench.advance(5)
    assert bench.history()[-1] == "Finishing"
    bench.unplug()
    assert bench.status() == "Available"


def test_a_new_session_begins_from_finishing_by_card_and_remotely() -> None:
    """OCPP 1.6 §4.9 F2; field reports 26 and 43."""
    bench = charging()
    bench.card()
    bench.advance(5)
    bench.card("OTHER")
    bench.advance(5)
    assert bench.status() == "Charging"
    bench.card("OTHER")
    bench.advance(5)
    assert bench.remote_start("APP").status == "Accepted"
    bench.advance(5)
    assert len(bench.transactions) == 3
    assert bench.history()[2:] == ["Charging", "Finishing", "Preparing", "Charging", "Finishing", "Preparing", "Charging"]


def test_a_start_from_finishing_that_fails_goes_back_to_finishing() -> None:
    """OCPP 1.6 §4.9: the same plug is still in, its session is over."""
    bench = charging()
    bench.card()
    bench.advance(5)
    bench.plants[1].meter_answers = False
    bench.card("OTHER")
    bench.advance(3)
    assert bench.status() == "Finishing"
    bench.restart()
    bench.advance(3)
    assert bench.status() == "Finishing"


def test_a_plug_that_is_changed_while_the_transaction_stops_is_a_new_one() -> None:
    """OCPP 1.6 §4.9 F2: Preparing, not Finishing, for the vehicle that has just come."""
    bench = charging()
    bench.plants[1].meter_answers = False
    bench.unplug()
    bench.plug_in()
    bench.advance(8)
    assert bench.stop_message().reason == Reason.EV_DISCONNECTED
    assert bench.status() == "Preparing"


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
    """Design §8: no disk writes while idle; design §2: the checkpoint is at most 60 s old."""
    bench = Bench(settings=Settings(meter_value_sample_interval_s=0))
    bench.plug_in()
    before = bench.commits
    bench.advance(600)
    assert bench.commits == before
    bench.card()
    bench.advance(5)
    begun = bench.commits
    bench.plants[1].wants_energy = False
    bench.advance(600)
    assert bench.commits - begun == 10
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
