"""The plug in a socket: held, let go, kept; and UnlockConnector (OCPP 1.6 §4.10, §5.18, §9.1.23, §9.1.33, errata v4.0)."""

import pytest

from bus.vocabulary import ChargePointErrorCode, Reason
from services.connectors import events as e
from services.connectors.state import Settings
from tests.connectors.bench import ACCEPTED, FAMILY, REFUSED, WHOLE, Bench, charging


def in_a_socket(**options: object) -> Bench:
    """A car charges in the socket of connector 1, started by TAG."""
    return charging(socket=True, **options)


def stopped(bench: Bench) -> Bench:
    """After the contactor has opened and meterStop was read."""
    bench.advance(3)
    return bench


def test_the_plug_is_held_while_a_transaction_runs_and_let_go_at_its_end() -> None:
    """OCPP 1.6 §4.10: "as part of the normal transaction termination, the Charge Point SHALL unlock the cable"."""
    bench = Bench(socket=True)
    bench.plug_in()
    bench.advance(1)
    assert not bench.plants[1].locked, "a plug that nobody pays for can be pulled"
    bench.card()
    bench.advance(5)
    assert (bench.status(), bench.plants[1].locked) == ("Charging", True)
    bench.card()
    stopped(bench)
    assert (bench.status(), bench.plants[1].locked) == ("Finishing", False)


def test_the_plug_is_let_go_only_after_the_transaction_is_closed() -> None:
    """hardware.md §6: not before the contactor is open; and what is billed is on disk before the cable is free."""
    bench = in_a_socket()
    bench.plants[1].meter_answers = False
    bench.card()
    bench.advance(4)
    assert (bench.plants[1].relay_closed, bench.plants[1].locked) == (False, True)
    bench.advance(3)
    assert not bench.plants[1].locked
    assert bench.stop_message().reason == Reason.LOCAL


def test_a_fixed_cable_is_never_locked() -> None:
    bench = charging()
    bench.card()
    stopped(bench)
    orders = [effect.desired for effect in bench.effects if isinstance(effect, e.SetEvse)]
    assert not [order for order in orders if order.locked or order.unlock_attempts]


def test_a_plug_that_can_not_be_held_gets_no_energy() -> None:
    """OCPP 1.6 §7.6 ConnectorLockFailure; hardware.md §6: lock before the relay closes."""
    bench = Bench(socket=True)
    bench.plants[1].lock_jams = True
    bench.plug_in()
    bench.card()
    bench.advance(10)
    said = bench.audit.statuses[1][-1]
    assert (said.status, said.error_code) == ("Faulted", ChargePointErrorCode.CONNECTOR_LOCK_FAILURE)
    assert bench.plants[1].delivered_wh == 0
    bench.plants[1].lock_jams = False
    bench.advance(10)
    assert bench.status() == "Charging"


def test_a_card_at_a_jammed_lock_tries_it_again_and_begins_no_other_session() -> None:
    """Who presents the card of the session that has just ended wants the cable, whether or not the lock moves now."""
    bench = in_a_socket()
    bench.plants[1].lock_jams = True
    bench.card()
    stopped(bench)
    assert (bench.status(), bench.plants[1].locked) == ("Finishing", True)
    bench.card()
    bench.advance(5)
    assert (bench.status(), bench.plants[1].locked) == ("Finishing", True)
    bench.plants[1].lock_jams = False
    bench.card()
    bench.advance(5)
    assert (bench.status(), bench.plants[1].locked) == ("Finishing", False)
    assert bench.audit.statuses[1][-1].error_code == ChargePointErrorCode.NO_ERROR
    bench.card()
    bench.advance(5)
    assert bench.status() == "Charging", "a plug that is free may charge again"


@pytest.mark.parametrize("unlocks", [True, False])
def test_the_vehicle_gone_lets_the_plug_go_as_the_key_says(unlocks: bool) -> None:
    """OCPP 1.6 §4.10, §9.1.33 with StopTransactionOnEVSideDisconnect true."""
    bench = in_a_socket(settings=Settings(unlock_connector_on_ev_side_disconnect=unlocks))
    bench.unplug()
    stopped(bench)
    finishing = [said for said in bench.audit.statuses[1] if said.status == "Finishing"]
    assert {(said.info, said.error_code) for said in finishing} == {("EV side disconnected", "NoError")}
    assert bench.stop_message().reason == Reason.EV_DISCONNECTED
    assert bench.plants[1].locked is not unlocks
    assert bench.history() == (WHOLE if unlocks else WHOLE[:4])


def test_a_kept_plug_waits_for_its_holder() -> None:
    """OCPP 1.6 §4.10: "the Connector SHALL remain locked at the Charge Point until the user presents the identifier"."""
    bench = in_a_socket(settings=Settings(unlock_connector_on_ev_side_disconnect=False))
    bench.unplug()
    stopped(bench)
    bench.card("SOMEBODY")
    assert bench.remote_start("APP", 1).status == "Rejected"
    bench.plug_in()
    bench.advance(5)
    assert (bench.plants[1].locked, len(bench.transactions)) == (True, 1)
    bench.unplug()
    bench.restart()
    bench.advance(3)
    assert (bench.status(), bench.plants[1].locked) == ("Finishing", True)
    bench.card("tag")
    bench.advance(1)
    assert (bench.status(), bench.plants[1].locked, len(bench.transactions)) == ("Available", False, 1)


def test_a_card_of_the_same_group_lets_it_go_too() -> None:
    """Errata v4.0 3.5: "or an identifier with the same ParentIdTag"."""
    bench = Bench(socket=True, settings=Settings(unlock_connector_on_ev_side_disconnect=False))
    bench.authorize = lambda id_tag: REFUSED if id_tag == "STRANGER" else FAMILY
    bench.plug_in()
    bench.card("FATHER")
    bench.advance(10)
    bench.unplug()
    stopped(bench)
    bench.card("STRANGER")
    bench.advance(1)
    assert bench.plants[1].locked
    bench.card("SON")
    bench.advance(1)
    assert (bench.status(), bench.plants[1].locked) == ("Available", False)


@pytest.mark.parametrize("unlocks", [True, False])
def test_a_transaction_that_goes_on_without_its_vehicle_holds_the_plug(unlocks: bool) -> None:
    """OCPP 1.6 §4.10: StopTransactionOnEVSideDisconnect false has priority over UnlockConnectorOnEVSideDisconnect."""
    bench = in_a_socket(
        settings=Settings(stop_transaction_on_ev_side_disconnect=False, unlock_connector_on_ev_side_disconnect=unlocks)
    )
    bench.unplug()
    bench.advance(60)
    assert (bench.status(), bench.audit.statuses[1][-1].info) == ("SuspendedEV", "EV side disconnected")
    assert bench.plants[1].locked
    bench.plug_in()
    bench.advance(10)
    assert bench.status() == "Charging"
    bench.unplug()
    bench.card()
    stopped(bench)
    assert (bench.status(), bench.plants[1].locked) == ("Available", False)


def test_a_refused_id_tag_keeps_its_plug_until_it_is_presented() -> None:
    """OCPP 1.6 §3.5.4, errata v4.0 3.5."""
    bench = in_a_socket()
    bench.deliver_start(7, REFUSED)
    stopped(bench)
    assert (bench.stop_message().reason, bench.status()) == (Reason.DE_AUTHORIZED, "Finishing")
    assert bench.plants[1].locked
    bench.card()
    bench.advance(1)
    assert (bench.plants[1].locked, bench.status(), len(bench.transactions)) == (False, "Finishing", 1)


def test_a_kept_plug_outlives_being_out_of_use() -> None:
    """OCPP 1.6 §5.2; the way back is our choice, as only the holder can end it."""
    bench = in_a_socket(settings=Settings(unlock_connector_on_ev_side_disconnect=False))
    bench.change_availability(1, "Inoperative")
    bench.unplug()
    stopped(bench)
    assert (bench.status(), bench.plants[1].locked) == ("Unavailable", True)
    bench.change_availability(1, "Operative")
    assert (bench.status(), bench.plants[1].locked) == ("Finishing", True)
    bench.change_availability(1, "Inoperative")
    bench.card()
    bench.advance(1)
    assert (bench.status(), bench.plants[1].locked) == ("Unavailable", False)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_unlocking_a_fixed_cable_or_an_unknown_connector_is_not_supported(number: int) -> None:
    """OCPP 1.6 §7.46, errata v4.0 3.85; the transaction goes on."""
    bench = charging()
    assert bench.unlocked(bench.unlock(number)) == "NotSupported"
    bench.advance(3)
    assert bench.status() == "Charging"


def test_unlocking_a_socket_whose_controller_has_no_lock_is_not_supported() -> None:
    """OCPP 1.6 §7.46: "Charge Point has no connector lock"."""
    bench = in_a_socket()
    bench.plants[1].has_lock = False
    bench.advance(1)
    assert bench.unlocked(bench.unlock()) == "NotSupported"
    assert bench.status() == "Charging"


def test_unlocking_finishes_the_transaction_first() -> None:
    """OCPP 1.6 §5.18, §7.36 UnlockCommand: then the lock, then the answer."""
    bench = in_a_socket()
    call_id = bench.unlock()
    assert bench.unlocked(call_id) == ""
    assert bench.plants[1].locked
    bench.advance(3)
    assert bench.unlocked(call_id) == "Unlocked"
    assert (bench.stop_message().reason, bench.stop_message().id_tag) == (Reason.UNLOCK_COMMAND, None)
    assert (bench.status(), bench.plants[1].locked) == ("Finishing", False)


def test_unlocking_without_a_transaction_is_one_more_attempt() -> None:
    """OCPP 1.6 §5.18: "forcing a new attempt to unlock the connector"; each command one."""
    bench = Bench(socket=True)
    bench.plug_in()
    calls = [bench.unlock(), bench.unlock()]
    bench.advance(1)
    assert [bench.unlocked(call_id) for call_id in calls] == ["Unlocked", "Unlocked"]
    assert (bench.plants[1].unlock_attempts, bench.status()) == (2, "Preparing")
    again = bench.unlock()
    bench.advance(1)
    assert (bench.unlocked(again), bench.plants[1].unlock_attempts) == ("Unlocked", 3)


@pytest.mark.parametrize("state", ["charging", "finishing"])
def test_a_lock_that_jams_is_told(state: str) -> None:
    """OCPP 1.6 §7.46 UnlockFailed; §7.6 ConnectorLockFailure as a warning, as it could still charge."""
    bench = in_a_socket()
    if state == "finishing":
        bench.card()
        stopped(bench)
    bench.plants[1].lock_jams = True
    call_id = bench.unlock()
    bench.advance(4)
    assert bench.unlocked(call_id) == "UnlockFailed"
    said = bench.audit.statuses[1][-1]
    assert (said.status, said.error_code) == ("Finishing", ChargePointErrorCode.CONNECTOR_LOCK_FAILURE)
    bench.plants[1].lock_jams = False
    call_id = bench.unlock()
    bench.advance(2)
    assert (bench.unlocked(call_id), bench.plants[1].locked) == ("Unlocked", False)
    assert bench.audit.statuses[1][-1].error_code == ChargePointErrorCode.NO_ERROR


def test_a_contactor_that_stays_closed_keeps_the_plug_and_fails_the_command() -> None:
    """hardware.md §6: never under load; the answer comes in time all the same."""
    bench = in_a_socket()
    bench.plants[1]._open = lambda: None  # type: ignore[method-assign]
    call_id = bench.unlock()
    bench.advance(11.8)
    assert bench.unlocked(call_id) == ""
    bench.advance(0.3)
    assert (bench.unlocked(call_id), bench.plants[1].locked) == ("UnlockFailed", True)
    assert bench.stop_message().reason == Reason.UNLOCK_COMMAND


def test_a_controller_that_does_not_answer_fails_the_command_but_the_transaction_is_stopped() -> None:
    bench = in_a_socket()
    bench.plants[1].answers = False
    bench.advance(1)
    call_id = bench.unlock()
    assert bench.unlocked(call_id) == "UnlockFailed"
    bench.advance(12)
    assert bench.stop_message().reason == Reason.UNLOCK_COMMAND


def test_unlocking_lets_a_kept_plug_go() -> None:
    """OCPP 1.6 §5.18: for the driver who calls the help-desk."""
    bench = in_a_socket(settings=Settings(unlock_connector_on_ev_side_disconnect=False))
    bench.unplug()
    stopped(bench)
    call_id = bench.unlock()
    bench.advance(1)
    assert (bench.unlocked(call_id), bench.status(), bench.plants[1].locked) == ("Unlocked", "Available", False)


def test_nothing_begins_while_it_is_unlocked() -> None:
    bench = Bench(socket=True)
    bench.plug_in()
    bench.plants[1].lock_jams = True
    bench.unlock()
    assert bench.remote_start("APP", 1).status == "Rejected"
    bench.advance(1)
    assert bench.remote_start("APP", 1).status == "Accepted"


def test_a_caller_that_stopped_waiting_is_not_answered_but_the_lock_is_tried() -> None:
    bench = in_a_socket()
    call_id = bench.unlock()
    bench.cancel_last_call()
    bench.advance(5)
    assert (bench.unlocked(call_id), bench.plants[1].locked) == ("", False)


def test_a_restart_while_unlocking_stops_the_transaction_and_lets_the_plug_go() -> None:
    """The intent to stop is on disk; the caller gets InternalError from the link."""
    bench = in_a_socket()
    bench.unlock()
    bench.restart()
    bench.advance(5)
    assert bench.stop_message().reason == Reason.UNLOCK_COMMAND
    assert (bench.status(), bench.plants[1].locked) == ("Finishing", False)


def test_a_restart_in_a_session_never_lets_the_plug_go() -> None:
    """Design §2: the output is left as it is until the hardware has spoken."""
    bench = in_a_socket()
    before = len(bench.effects)
    bench.restart()
    bench.advance(5)
    orders = [effect.desired for effect in bench.effects[before:] if isinstance(effect, e.SetEvse)]
    assert orders
    assert all(order.locked for order in orders)


def pulled_after(bench: Bench) -> None:
    """UnlockConnector lets the plug go, and it stays so until somebody acts anew."""
    call = bench.unlock()
    bench.plants[1].meter_answers = True
    while bench.open_questions:
        bench.answer_authorize(ACCEPTED)
    bench.advance(5)
    assert bench.unlocked(call) == "Unlocked"
    assert (bench.transactions, bench.plants[1].locked) == ([], False)
    assert bench.notes().count("authorization ends, the plug is unlocked") == 1
    bench.authorize = lambda _: ACCEPTED
    bench.card("ANEW")
    bench.advance(5)
    assert len(bench.transactions) == 1


def test_unlocking_ends_an_authorization_whose_start_awaits_its_reading() -> None:
    """OCPP 1.6 §5.18: the lock does not close on the one who pulls."""
    bench = Bench(socket=True)
    bench.plants[1].meter_answers = False
    bench.plug_in()
    bench.card()
    pulled_after(bench)


def test_unlocking_ends_a_remote_start_that_is_still_asked_about() -> None:
    bench = Bench(socket=True)
    bench.authorize = lambda _: None
    bench.plug_in()
    assert bench.remote_start("APP", 1).status == "Accepted"
    pulled_after(bench)


def test_unlocking_ends_a_card_that_is_still_asked_about() -> None:
    bench = Bench(socket=True)
    bench.authorize = lambda _: None
    bench.plug_in()
    bench.card()
    pulled_after(bench)


def test_unlocking_a_socket_without_a_plug_or_another_one_ends_no_authorization() -> None:
    """Nobody pulls there: whoever is on the way may still plug in."""
    bench = Bench(2, socket=True)
    bench.remote_start("APP", 1)
    bench.unlock(1)
    bench.plug_in(2)
    bench.unlock(2)
    bench.advance(3)
    bench.plug_in(1)
    bench.advance(5)
    assert (bench.status(1), bench.status(2)) == ("Charging", "Preparing")
