"""Rules of OCPP 1.6 for the station itself: who may charge, what a transaction says, what a meter's values look like.

Each test stands in the table of clauses (`core.md`), and most have nothing to do but to show one clause.
"""

import pytest

from bus.messages import IdTagInfo, MeterSample, MeterValues, StartTransaction, StopTransaction
from bus.vocabulary import AuthorizationStatus, ChargePointErrorCode, Measurand, ReadingContext, Reason, ResetType
from services.connectors import events as e
from services.connectors.readings import Instant, sampled_values
from services.connectors.state import Settings
from services.hardware.contract import EvseFault
from tests.connectors.bench import FAMILY, UTC_OFFSET_S, Bench, charging
from tests.connectors.plant import GROUND_FAULT

NOT_ACCEPTED = [status for status in AuthorizationStatus if status is not AuthorizationStatus.ACCEPTED]


def asked(bench: Bench) -> list[str]:
    """The idTags that the Central System was asked about."""
    return [effect.id_tag for effect in bench.effects if isinstance(effect, e.AskAuthorize)]


def started(bench: Bench) -> StartTransaction:
    """The StartTransaction of the newest transaction."""
    message = bench.audit.entries[bench.last_tx][0].message
    assert isinstance(message, StartTransaction)
    return message


def sampled(bench: Bench) -> list[MeterValues]:
    """The MeterValues of the newest transaction."""
    messages = (entry.message for entry in bench.audit.entries[bench.last_tx])
    return [message for message in messages if isinstance(message, MeterValues)]


def test_the_id_tag_that_started_stops_without_being_asked_about() -> None:
    """OCPP 1.6 §3.4, §4.1: a Charge Point MUST NOT send an Authorize.req for it."""
    bench = charging()
    bench.authorize = lambda _: None
    bench.card("tag")
    bench.advance(3)
    assert bench.stop_message().reason is Reason.LOCAL
    assert asked(bench) == ["TAG"]


def test_another_id_tag_is_asked_about_before_it_stops() -> None:
    """OCPP 1.6 §4.1."""
    bench = charging()
    bench.deliver_start(info=FAMILY)
    bench.authorize = lambda _: None
    bench.card("DAD")
    bench.advance(3)
    assert asked(bench) == ["TAG", "DAD"]
    assert bench.status() == "Charging"
    bench.answer_authorize(FAMILY)
    bench.advance(3)
    assert bench.status() == "Finishing"


def test_an_unknown_id_tag_is_asked_about() -> None:
    """OCPP 1.6 §4.1: SHALL send an Authorize.req; nothing starts before its answer."""
    bench = Bench()
    bench.authorize = lambda _: None
    bench.plug_in()
    bench.card("NEVER-SEEN")
    bench.advance(5)
    assert asked(bench) == ["NEVER-SEEN"]
    assert bench.transactions == []


def test_plugging_in_alone_gives_no_energy() -> None:
    """OCPP 1.6 §4.1: SHALL only supply energy after authorization."""
    bench = Bench(settings=Settings(connection_time_out_s=3600))
    bench.plug_in()
    bench.advance(600)
    assert bench.plants[1].delivered_wh == 0
    assert bench.transactions == []


@pytest.mark.parametrize("id_tag", ["x", "ödipus + 7%", "04A2C3", "{}", "a b c", "0" * 20])
def test_any_text_is_an_id_tag(id_tag: str) -> None:
    """OCPP 1.6 §3.9: MUST NOT make any presumptions as to format or content."""
    bench = Bench()
    bench.plug_in()
    bench.card(id_tag)
    bench.advance(5)
    assert started(bench).id_tag == id_tag
    assert asked(bench) == [id_tag]


@pytest.mark.parametrize("status", list(AuthorizationStatus))
def test_only_accepted_may_charge(status: AuthorizationStatus) -> None:
    """OCPP 1.6 §7.2."""
    for remote in (False, True):
        bench = Bench()
        bench.authorize = lambda _: IdTagInfo(status)
        bench.plug_in()
        if remote:
            bench.remote_start()
        else:
            bench.card()
        bench.advance(5)
        assert bool(bench.transactions) is (status is AuthorizationStatus.ACCEPTED)


@pytest.mark.parametrize("status", NOT_ACCEPTED)
def test_each_status_but_accepted_stops_the_transaction(status: AuthorizationStatus) -> None:
    """OCPP 1.6 §4.8, errata v4.0 3.17: online as offline; ConcurrentTx is one of them (§7.2)."""
    bench = charging()
    bench.deliver_start(info=IdTagInfo(status))
    bench.advance(3)
    assert bench.stop_message().reason is Reason.DE_AUTHORIZED
    assert not bench.plants[1].relay_closed


def test_parents_are_compared_without_case() -> None:
    """OCPP 1.6 §3.10, §7.28: a parentIdTag is a CiString."""
    bench = charging()
    bench.deliver_start(info=FAMILY)
    bench.authorize = lambda _: IdTagInfo(AuthorizationStatus.ACCEPTED, parent_id_tag="family")
    bench.card("DAD")
    bench.advance(3)
    assert bench.stop_message().id_tag == "DAD"


def test_a_card_that_spells_the_parent_is_no_member_of_the_group() -> None:
    """OCPP 1.6 §3.10: the parentIdTag SHOULD NOT be compared with a presented token."""
    bench = charging()
    bench.deliver_start(info=FAMILY)
    bench.card("FAMILY")
    bench.advance(5)
    assert bench.status() == "Charging"


def test_a_remote_start_uses_its_id_tag() -> None:
    """OCPP 1.6 §5.11: the idTag of the request SHALL be that of StartTransaction.req."""
    bench = Bench()
    bench.plug_in()
    bench.remote_start("Virtual-Token_4711")
    bench.advance(5)
    assert started(bench).id_tag == "Virtual-Token_4711"


def test_a_remote_start_uses_the_connector_that_it_names() -> None:
    """OCPP 1.6 §5.11."""
    bench = Bench(2)
    bench.plug_in(1)
    bench.plug_in(2)
    bench.remote_start("APP", 1)
    bench.advance(5)
    assert started(bench).connector_id == 1
    assert (bench.status(1), bench.status(2)) == ("Charging", "Preparing")


@pytest.mark.parametrize("plugged", [1, 2])
def test_a_remote_start_without_a_connector_takes_the_plugged_one(plugged: int) -> None:
    """OCPP 1.6 §5.11: the Charge Point is in control of the connector selection."""
    bench = Bench(2)
    bench.plug_in(plugged)
    assert bench.remote_start("APP").status == "Accepted"
    bench.advance(5)
    assert started(bench).connector_id == plugged


def test_the_cache_knows_who_is_not_valid() -> None:
    """OCPP 1.6 §3.5.1, §3.5.4: who is known as not valid is refused offline, though unknown ones may charge."""
    bench = Bench(settings=Settings(allow_offline_tx_for_unknown_id=True))
    bench.authorize = lambda _: IdTagInfo(AuthorizationStatus.BLOCKED)
    bench.plug_in()
    bench.card("BAD")
    bench.feed(e.LinkChanged(None))
    bench.card("BAD")
    bench.advance(5)
    assert bench.transactions == []
    bench.card("STRANGER")
    bench.advance(5)
    assert bench.status() == "Charging"


@pytest.mark.parametrize("last", [AuthorizationStatus.ACCEPTED, AuthorizationStatus.INVALID])
def test_the_newest_word_on_an_id_tag_counts(last: AuthorizationStatus) -> None:
    """OCPP 1.6 §3.5.1: when an IdTagInfo is received for an identifier in the cache, it SHALL be updated."""
    bench = Bench()
    for status in (AuthorizationStatus.INVALID, AuthorizationStatus.ACCEPTED, last):
        bench.authorize = lambda _, status=status: IdTagInfo(status)
        bench.card()
        if status is AuthorizationStatus.ACCEPTED:
            bench.card()
    bench.feed(e.LinkChanged(None))
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert bool(bench.transactions) is (last is AuthorizationStatus.ACCEPTED)


def test_the_emergency_stop_has_a_code_of_its_own() -> None:
    """OCPP 1.6 §7.6: OtherError, with more information in vendorErrorCode."""
    bench = Bench()
    bench.feed(e.EmergencyStopChanged(True))
    for number in (0, 1):
        said = bench.audit.statuses[number][-1]
        assert (said.status, said.error_code, said.vendor_error_code) == ("Faulted", "OtherError", "CX008")


def test_a_vehicle_that_comes_back_gets_no_energy_without_a_new_transaction() -> None:
    """OCPP 1.6 §4.10, StopTransactionOnEVSideDisconnect true."""
    bench = charging()
    bench.unplug()
    bench.advance(3)
    bench.plug_in()
    delivered_wh = bench.plants[1].delivered_wh
    bench.advance(30)
    assert bench.plants[1].delivered_wh == delivered_wh
    assert len(bench.transactions) == 1


def _by_card(bench: Bench) -> None:
    bench.card()


def _by_another_of_the_group(bench: Bench) -> None:
    bench.deliver_start(info=FAMILY)
    bench.authorize = lambda _: FAMILY
    bench.card("DAD")


def _remotely(bench: Bench) -> None:
    bench.deliver_start(9)
    bench.remote_stop(9)


ENDS = {
    "by the card that started": (_by_card, Reason.LOCAL),
    "by a card of the group": (_by_another_of_the_group, Reason.LOCAL),
    "remotely": (_remotely, Reason.REMOTE),
    "by the plug": (lambda bench: bench.unplug(), Reason.EV_DISCONNECTED),
    "by the status in StartTransaction.conf": (
        lambda bench: bench.deliver_start(info=IdTagInfo(AuthorizationStatus.BLOCKED)),
        Reason.DE_AUTHORIZED,
    ),
    "by the emergency stop": (lambda bench: bench.feed(e.EmergencyStopChanged(True)), Reason.EMERGENCY_STOP),
    "by a soft reset": (lambda bench: bench.reset(ResetType.SOFT), Reason.SOFT_RESET),
    "by a hard reset": (lambda bench: bench.reset(ResetType.HARD), Reason.HARD_RESET),
    "by a loss of power": (lambda bench: bench.power_cut(), Reason.POWER_LOSS),
}


@pytest.mark.parametrize("end", ENDS)
def test_each_end_has_its_reason(end: str) -> None:
    """OCPP 1.6 §4.10, §7.36."""
    bench = charging()
    cause, reason = ENDS[end]
    cause(bench)
    bench.advance(10)
    assert bench.stop_message().reason is reason


def test_start_and_stop_bear_their_own_times() -> None:
    """OCPP 1.6 §6.45, §6.49: when the transaction started and was stopped, not when something is sent."""
    bench = Bench()
    bench.advance(50)
    bench.plug_in()
    bench.card()
    began_s = bench.now_s
    bench.advance(100)
    bench.card()
    stopped_s = bench.now_s
    bench.advance(30)
    start, _, stop = bench.audit.whole(bench.last_tx)
    assert start.at.utc_ms == round((began_s + UTC_OFFSET_S) * 1000)
    assert stop.at.utc_ms == round((stopped_s + UTC_OFFSET_S) * 1000)


def test_meter_stop_is_never_below_meter_start() -> None:
    """OCPP 1.6 §7.31: the register of a transaction increases, also over a meter that begins at zero."""
    bench = charging()
    bench.plants[1].replace_meter("M2", 0.0)
    bench.advance(5)
    bench.card()
    bench.advance(5)
    start, _, stop = bench.audit.whole(bench.last_tx)
    assert isinstance(stop, StopTransaction)
    assert stop.meter_stop_wh >= start.meter_start_wh == 1000


def test_the_register_is_the_meters_own() -> None:
    """OCPP 1.6 §7.31, errata v4.0 3.9, 3.77: as it is read, not rebased to zero at the start of a transaction."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=10))
    value = sampled(bench)[0].meter_values[0].sampled_values[0]
    assert int(value.value) >= 1000
    bench.card()
    bench.advance(5)
    bench.card("SECOND")
    bench.advance(5)
    first, _ = bench.transactions
    assert started(bench).meter_start_wh == bench.stop_message(first).meter_stop_wh


def test_the_sampled_measurands_are_those_of_the_key() -> None:
    """OCPP 1.6 §3.16.1, §9.1.17: MeterValuesSampledData, in its order, with context Sample.Periodic (§7.35)."""
    wanted = ((Measurand.CURRENT_OFFERED, None), (Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, None))
    bench = charging(settings=Settings(meter_value_sample_interval_s=10, meter_values_sampled_data=wanted))
    told = sampled(bench)[-1].meter_values[0].sampled_values
    assert [(value.measurand, value.context) for value in told] == [
        (Measurand.CURRENT_OFFERED, ReadingContext.SAMPLE_PERIODIC),
        (Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, ReadingContext.SAMPLE_PERIODIC),
    ]
    bench.settings(meter_values_sampled_data=())
    before = len(sampled(bench))
    bench.advance(30)
    assert len(sampled(bench)) == before, "an empty list: nothing is sent"


def test_meter_values_name_their_connector() -> None:
    """OCPP 1.6 §4.7."""
    bench = Bench(2, settings=Settings(meter_value_sample_interval_s=10))
    bench.plug_in(2)
    bench.card()
    bench.advance(30)
    assert {message.connector_id for message in sampled(bench)} == {2}


def test_values_bear_the_time_at_which_the_meter_was_read() -> None:
    """OCPP 1.6 §7.33: all sampled at the same point in time, which is that of the poll, not of the sending."""
    bench = charging(settings=Settings(meter_value_sample_interval_s=10))
    bench.plants[1].meter_answers = False
    before = len(sampled(bench))
    bench.advance(9)
    read_s = bench.now_s - 0.5
    bench.feed(e.MeterSampled(bench.plants[1].sample(read_s)))
    bench.advance(2)
    assert len(sampled(bench)) == before + 1
    assert sampled(bench)[-1].meter_values[0].at.boottime_ms == round(read_s * 1000)


def test_offered_is_what_the_controller_offers() -> None:
    """OCPP 1.6 §4.7: Current.Offered is no measured value; nothing is offered where no vehicle is."""
    settings = Settings(
        meter_value_sample_interval_s=10,
        meter_values_sampled_data=((Measurand.CURRENT_OFFERED, None),),
        stop_transaction_on_ev_side_disconnect=False,
    )
    bench = charging(settings=settings)
    assert sampled(bench)[-1].meter_values[0].sampled_values[0].value == "32"
    bench.unplug()
    bench.advance(12)
    assert sampled(bench)[-1].meter_values[0].sampled_values[0].value == "0"


def test_values_are_plain_decimal_numbers() -> None:
    """OCPP 1.6 §7.43: no exponent, no negative zero, at most two decimals."""
    sample = MeterSample(1, 5.0, "M1", 10**9, currents_a=(0.00001, -0.0, 123456.789), frequency_hz=1e-9)
    wanted = ((Measurand.CURRENT_IMPORT, None), (Measurand.FREQUENCY, None), (Measurand.ENERGY_ACTIVE_IMPORT_REGISTER, None))
    told = sampled_values(Instant(sample, 10**9, None, None), wanted, ReadingContext.SAMPLE_PERIODIC)
    assert [value.value for value in told] == ["0", "0", "123456.79", "0", "1000000000"]


def test_suspended_evse_takes_precedence() -> None:
    """OCPP 1.6 §4.9: suspended by both EV and EVSE."""
    bench = charging(settings=Settings(stop_transaction_on_invalid_id=False))
    bench.plants[1].wants_energy = False
    bench.advance(5)
    bench.deliver_start(info=IdTagInfo(AuthorizationStatus.BLOCKED))
    bench.advance(5)
    assert bench.plants[1].pilot == "B", "the EV asks for nothing"
    assert bench.status() == "SuspendedEVSE"


def test_a_car_that_draws_nothing_but_asks_is_charging() -> None:
    """Errata v4.0 3.55: in C with the contactor closed it is Charging, whatever the meter says."""
    bench = charging()
    bench.plants[1].max_a = 0.0
    bench.advance(60)
    assert bench.status() == "Charging"


def test_connector_0_tells_of_the_charge_point_itself() -> None:
    """OCPP 1.6 §3.8, §4.9: Available, Unavailable or Faulted, without direct connection to the connectors."""
    bench = charging()
    bench.plants[1].faults = (GROUND_FAULT,)
    bench.advance(2)
    assert (bench.status(1), bench.status(0)) == ("Faulted", "Available")
    bench.feed(e.EmergencyStopChanged(True))
    assert bench.status(0) == "Faulted"
    bench.feed(e.EmergencyStopChanged(False))
    assert bench.history(0) == ["Available", "Faulted", "Available"]


@pytest.mark.parametrize(
    ("status", "told"),
    [("Available", False), ("Preparing", True), ("SuspendedEVSE", True), ("Finishing", True), ("Unavailable", False)],
)
def test_ev_communication_error_is_never_told_with_other_statuses(status: str, told: bool) -> None:
    """OCPP 1.6 §4.9: SHALL only be used with Preparing, SuspendedEV, SuspendedEVSE and Finishing."""
    bench = Bench()
    if status not in ("Available", "Unavailable"):
        bench.plug_in()
    if status in ("SuspendedEVSE", "Finishing"):
        bench.card()
        bench.advance(8)
    if status == "Finishing":
        bench.card()
        bench.advance(5)
    if status == "Unavailable":
        bench.change_availability(1, "Inoperative")
    bench.plants[1].faults = (EvseFault(ChargePointErrorCode.EV_COMMUNICATION_ERROR, "openevse:05"),)
    bench.advance(5)
    said = bench.audit.statuses[1][-1]
    assert said.status == status
    assert (said.error_code is ChargePointErrorCode.EV_COMMUNICATION_ERROR) is told
