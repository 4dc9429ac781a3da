"""Sessions of one connector: plugs, readings, replaced meters, refused starts (OCPP 1.6 §4.7 to §4.10)."""

import pytest

from bus.messages import IdTagInfo
from bus.vocabulary import AuthorizationStatus, ChargePointErrorCode, Reason
from services.connectors import events as e
from services.connectors.state import Settings
from tests.connectors.bench import REFUSED, WHOLE, Bench, charging


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


def test_undelivered_transactions_block_no_connector() -> None:
    """Field report 10: delivery is the queue's business; a connector is free when plug and transaction say so."""
    bench = charging()
    for _ in range(3):
        bench.card()
        bench.advance(10)
        bench.unplug()
        bench.advance(5)
        assert bench.status() == "Available"
        bench.plug_in()
        bench.card()
        bench.advance(30)
        assert bench.status() == "Charging"
    kept = bench.database.execute("SELECT count(*) FROM journal_out").fetchone()[0]
    assert kept >= 7, "nothing was delivered meanwhile"
