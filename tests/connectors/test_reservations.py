"""Reservations: who may begin where, what ends one, over restarts and power cuts (OCPP 1.6 §3.11, §5.1, §5.13, §9.3.1)."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bus.calls import Reply
from bus.messages import IdTagInfo, ReservationView, StartTransaction
from bus.profile_messages import ReserveNow
from bus.vocabulary import AuthorizationStatus, ResetType
from services.connectors import core
from services.connectors import events as e
from services.connectors.state import Settings
from tests.connectors.bench import ACCEPTED, BLOCKED, FAMILY, OFFLINE, Bench
from tests.connectors.plant import GROUND_FAULT
from tests.connectors.world import UTC_OFFSET_S, World

CARDS = {"HOLDER": ACCEPTED, "DAD": FAMILY, "OTHER": ACCEPTED}
"""DAD is of the group FAMILY."""


def station(connectors: int = 1, **settings: object) -> Bench:
    bench = Bench(connectors, supply_a=64.0, settings=Settings(**settings))  # type: ignore[arg-type]
    bench.authorize = CARDS.get
    return bench


def starts(bench: Bench) -> list[tuple[int, str, int | None]]:
    """Connector, idTag and reservationId of each StartTransaction."""
    messages = [bench.audit.entries[tx][0].message for tx in bench.transactions]
    return [(m.connector_id, m.id_tag, m.reservation_id) for m in messages if isinstance(m, StartTransaction)]


def charge(bench: Bench, id_tag: str, number: int = 1) -> None:
    """Somebody plugs in and presents a card."""
    bench.plug_in(number)
    bench.card(id_tag)
    bench.advance(4)


def test_a_reserved_connector_is_reserved_until_its_holder_charges() -> None:
    """OCPP 1.6 §4.8, §4.9 A7, G2, §5.13: Reserved, Preparing, and the reservationId in StartTransaction."""
    bench = station()
    assert bench.reserve(7).status == "Accepted"
    assert bench.status() == "Reserved"
    bench.card("HOLDER")
    assert bench.status() == "Preparing"
    bench.plug_in()
    bench.advance(4)
    assert starts(bench) == [(1, "HOLDER", 7)]
    assert bench.history() == ["Available", "Reserved", "Preparing", "Charging"]
    assert not bench.state.reservations
    bench.card("HOLDER")
    bench.advance(2)
    bench.unplug()
    assert bench.status() == "Available"


def test_a_plug_alone_does_not_end_the_status_reserved() -> None:
    """OCPP 1.6 §4.9, G2: the reservation's identity is presented; it is in any case (§7.28), and B6 has no place before it."""
    bench = station()
    bench.reserve()
    bench.plug_in()
    bench.advance(100)
    assert bench.status() == "Reserved"
    bench.authorize = lambda _: ACCEPTED
    bench.card("holder")
    bench.advance(4)
    assert starts(bench) == [(1, "holder", 1)]


def test_the_reservation_is_on_disk_before_it_is_answered() -> None:
    """Field report 50; design §3."""
    bench = station()
    before = len(bench.effects)
    bench.reserve()
    kinds = [type(effect) for effect in bench.effects[before:]]
    assert kinds.index(e.Commit) < kinds.index(e.Answer) < kinds.index(e.PublishConnector)
    before = len(bench.effects)
    bench.cancel_reservation()
    kinds = [type(effect) for effect in bench.effects[before:]]
    assert kinds.index(e.Commit) < kinds.index(e.Answer)


@pytest.mark.parametrize("id_tag", ["OTHER", "DAD"])
@pytest.mark.parametrize("remote", [False, True])
def test_nobody_else_charges_on_a_reserved_connector(id_tag: str, remote: bool) -> None:
    """OCPP 1.6 §5.13: "it SHALL refuse charging for all incoming idTags on the reserved connector"."""
    bench = station()
    bench.reserve()
    bench.plug_in()
    if remote:
        assert bench.remote_start(id_tag, 1).status == "Rejected"
        assert bench.remote_start(id_tag).status == "Rejected"
    else:
        bench.card(id_tag)
    bench.advance(10)
    assert starts(bench) == []
    assert bench.status() == "Reserved"
    assert not bench.asked_about(), "no answer could change that, as the reservation has no parent idTag"


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("authorize_remote", [False, True])
def test_the_group_of_a_reservation_may_use_it(remote: bool, authorize_remote: bool) -> None:
    """OCPP 1.6 §5.13, errata v4.0 4.12: the parent idTag is asked for where it is not known, even if nothing else asks."""
    bench = station(authorize_remote_tx_requests=authorize_remote)
    bench.reserve(9, parent_id_tag="family")
    bench.plug_in()
    if remote:
        assert bench.remote_start("DAD", 1).status == "Accepted"
    else:
        bench.card("DAD")
    bench.advance(4)
    assert bench.asked_about() == ["DAD"]
    assert starts(bench) == [(1, "DAD", 9)]


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("authorize_remote", [False, True])
def test_a_card_of_no_or_another_group_is_asked_about_and_refused(remote: bool, authorize_remote: bool) -> None:
    """OCPP 1.6 §5.13: Authorize.conf MAY contain the parent idTag; without it there is no match."""
    bench = station(authorize_remote_tx_requests=authorize_remote)
    bench.reserve(parent_id_tag="CLUB")
    bench.plug_in()
    for id_tag in ("OTHER", "DAD"):
        if remote:
            assert bench.remote_start(id_tag, 1).status == "Accepted"
        else:
            bench.card(id_tag)
        bench.advance(4)
    assert bench.asked_about() == ["OTHER", "DAD"]
    assert starts(bench) == []
    assert bench.status() == "Reserved"
    assert not bench.state.waiting


def test_a_remote_start_whose_group_is_known_and_wrong_is_rejected() -> None:
    """OCPP 1.6 §5.11, §5.13: the parent idTag may be looked up in the cache."""
    bench = station(2, authorize_remote_tx_requests=False)
    charge(bench, "DAD", 2)
    bench.reserve(parent_id_tag="CLUB")
    asked = len(bench.asked_about())
    assert bench.remote_start("DAD", 1).status == "Rejected"
    bench.cancel_reservation()
    bench.reserve(2, parent_id_tag="FAMILY")
    assert bench.remote_start("DAD", 1).status == "Accepted"
    bench.plug_in(1)
    bench.advance(4)
    assert starts(bench)[-1] == (1, "DAD", 2)
    assert len(bench.asked_about()) == asked


def test_local_pre_authorize_does_not_keep_a_group_from_its_reservation() -> None:
    """OCPP 1.6 §5.13: a cached entry without parent idTag says too little, so Authorize goes out all the same."""
    bench = station(local_pre_authorize=True)
    bench.feed(e.AuthorizeAnswered("long ago", ACCEPTED, "DAD"))
    bench.reserve(parent_id_tag="FAMILY")
    bench.plug_in()
    bench.card("DAD")
    bench.advance(4)
    assert bench.asked_about() == ["DAD"]
    assert starts(bench) == [(1, "DAD", 1)]


def test_a_group_is_asked_for_also_where_another_connector_is_free() -> None:
    """OCPP 1.6 §5.13: who is of the group gets what is reserved for it, not whatever is free."""
    bench = station(2, local_pre_authorize=True)
    bench.feed(e.AuthorizeAnswered("long ago", ACCEPTED, "DAD"))
    bench.reserve(parent_id_tag="FAMILY")
    bench.plug_in(1)
    bench.card("DAD")
    bench.advance(4)
    assert starts(bench) == [(1, "DAD", 1)]


def test_local_pre_authorize_lets_the_holder_begin_at_once() -> None:
    """OCPP 1.6 §9.1.13: nothing has to be asked about an idTag that is the reservation's own."""
    bench = station(local_pre_authorize=True)
    bench.feed(e.AuthorizeAnswered("long ago", ACCEPTED, "HOLDER"))
    bench.reserve(parent_id_tag="FAMILY")
    charge(bench, "HOLDER")
    assert starts(bench) == [(1, "HOLDER", 1)]
    assert not bench.asked_about()


def test_a_reservation_is_no_authorization() -> None:
    """OCPP 1.6 §5.13: the idTag is validated before the start of the transaction."""
    bench = station()
    bench.authorize = lambda _: BLOCKED
    bench.reserve()
    charge(bench, "HOLDER")
    assert starts(bench) == []
    assert bench.status() == "Reserved"


@pytest.mark.parametrize(
    ("id_tag", "known", "unknown_allowed", "starts_there"),
    [
        ("HOLDER", None, True, True),
        ("HOLDER", None, False, False),
        ("HOLDER", ACCEPTED, False, True),
        ("OTHER", ACCEPTED, True, False),
        ("DAD", FAMILY, False, True),
        ("DAD", None, True, False),
    ],
)
def test_offline_the_cache_tells_who_is_of_the_group(
    id_tag: str, known: IdTagInfo | None, unknown_allowed: bool, starts_there: bool
) -> None:
    """OCPP 1.6 §3.5, §5.13: the offline rules say who may charge, the reservation says who may charge here."""
    bench = station(allow_offline_tx_for_unknown_id=unknown_allowed)
    bench.feed(e.AuthorizeAnswered("long ago", known, id_tag))
    bench.reserve(parent_id_tag="FAMILY")
    bench.go_offline()
    charge(bench, id_tag)
    assert bool(starts(bench)) is starts_there


def test_a_remote_start_of_the_holder_uses_the_reservation() -> None:
    """OCPP 1.6 §4.8, §5.11: it means the reserved connector, though another car was plugged in later."""
    bench = station(2)
    bench.reserve(3, connector_id=1)
    bench.plug_in(1)
    bench.plug_in(2)
    assert bench.remote_start("HOLDER").status == "Accepted"
    bench.advance(4)
    assert starts(bench) == [(1, "HOLDER", 3)]


def test_the_holder_of_one_connector_does_not_pay_on_another() -> None:
    """OCPP 1.6 §5.13: his card means what is reserved for him, whoever is plugged in elsewhere."""
    bench = station(2)
    bench.reserve(3, connector_id=2)
    bench.plug_in(1)
    bench.card("HOLDER")
    bench.advance(4)
    assert starts(bench) == []
    assert [bench.status(1), bench.status(2)] == ["Preparing", "Preparing"]
    bench.plug_in(2)
    bench.advance(4)
    assert starts(bench) == [(2, "HOLDER", 3)]


def test_a_transaction_elsewhere_leaves_the_reservation() -> None:
    """OCPP 1.6 §5.13 (1): "on the reserved connector"."""
    bench = station(2)
    bench.reserve(3, connector_id=2)
    bench.plug_in(1)
    assert bench.remote_start("HOLDER", 1).status == "Accepted"
    bench.advance(4)
    assert starts(bench) == [(1, "HOLDER", None)]
    assert bench.status(2) == "Reserved"


@pytest.mark.parametrize("second_card", [False, True])
def test_a_holder_who_does_not_charge_keeps_his_reservation(second_card: bool) -> None:
    """OCPP 1.6 §5.13: only a transaction ends it. ConnectionTimeOut, or B1, leads back to Reserved."""
    bench = station()
    bench.reserve()
    bench.card("HOLDER")
    assert bench.status() == "Preparing"
    if second_card:
        bench.card("HOLDER")
    else:
        bench.advance(61)
    assert bench.history() == ["Available", "Reserved", "Preparing", "Reserved"]
    charge(bench, "OTHER")
    assert starts(bench) == []


def test_a_start_without_a_reading_leaves_the_reservation() -> None:
    """Design §4.1: the start is refused, so that no transaction has ended the reservation."""
    bench = station()
    bench.reserve()
    bench.plants[1].meter_answers = False
    charge(bench, "HOLDER")
    assert starts(bench) == []
    assert bench.status() == "Reserved"


def test_a_reservation_ends_at_its_expiry_date() -> None:
    """OCPP 1.6 §4.9 G1, §5.13 (2): the connector is available, and says so, at that time without any other event."""
    bench = station()
    bench.reserve(for_s=600)
    until_s = bench.now_s + 600
    bench.advance(10)
    assert core.next_deadline_s(bench.state) == pytest.approx(until_s)
    bench.advance(589)
    assert bench.status() == "Reserved"
    bench.advance(2)
    assert bench.history() == ["Available", "Reserved", "Available"]
    charge(bench, "OTHER")
    assert starts(bench) == [(1, "OTHER", None)]


def test_a_plug_that_outlives_the_reservation_waits_for_its_card() -> None:
    """OCPP 1.6 §4.9 G2, B6: ConnectionTimeOut counts from the end of the reservation."""
    bench = station()
    bench.reserve(for_s=100)
    bench.plug_in()
    bench.advance(101)
    assert bench.status() == "Preparing"
    bench.advance(61)
    assert bench.history() == ["Available", "Reserved", "Preparing", "Finishing"]


def test_a_step_of_the_clock_moves_the_end() -> None:
    """Design §5: expiryDate is UTC, and the clock that is believed now counts."""
    bench = station()
    bench.reserve(for_s=600)
    bench.step_clock(-1000)
    bench.advance(700)
    assert bench.status() == "Reserved"
    bench.step_clock(1000)
    assert bench.status() == "Available"


def test_a_start_that_waits_for_its_reading_as_the_reservation_expires_goes_on() -> None:
    """OCPP 1.6 §5.13: expired is expired, so that StartTransaction names no reservation."""
    bench = station()
    bench.reserve(for_s=1)
    bench.plants[1].meter_answers = False
    bench.plug_in()
    bench.card("HOLDER")
    bench.advance(1.0)
    assert not bench.state.reservations
    bench.plants[1].meter_answers = True
    bench.advance(4)
    assert starts(bench) == [(1, "HOLDER", None)]


@pytest.mark.parametrize("away", [Bench.restart, Bench.power_cut])
def test_a_reservation_outlives_restarts_and_power_cuts(away: Callable[[Bench], None]) -> None:
    """Field report 50: durable, so that nobody else charges, and the holder's StartTransaction has its id."""
    bench = station()
    bench.reserve(5)
    bench.utc_offset_s = bench.utc_offset_s if away is Bench.restart else None
    away(bench)
    bench.go_online()
    bench.advance(2)
    assert bench.status() == "Reserved"
    charge(bench, "OTHER")
    assert starts(bench) == []
    bench.card("HOLDER")
    bench.advance(4)
    assert starts(bench) == [(1, "HOLDER", 5)]


def test_a_reservation_that_expires_while_powered_off_is_gone() -> None:
    """OCPP 1.6 §5.13 (2): from the moment that the clock says so, before anybody was refused."""
    bench = station()
    bench.reserve(for_s=600)
    made_s = bench.now_s
    bench.power_cut()
    bench.advance(2)
    bench.utc_offset_s = bench.utc_offset_s or 0.0
    bench.step_clock(made_s + 601)
    assert not bench.state.reservations
    assert bench.status() == "Available"


def test_without_a_clock_a_reservation_stands_until_it_has_surely_expired() -> None:
    """Design §5: the last time that was known plus what has gone by; so it stays Reserved, but not for ever."""
    bench = station()
    bench.reserve(for_s=600)
    bench.utc_offset_s = None
    bench.power_cut()
    bench.go_online()
    bench.advance(500)
    assert bench.status() == "Reserved"
    bench.advance(101)
    assert bench.status() == "Available"


def test_the_last_known_time_shortens_what_may_be_left() -> None:
    """Design §5: the floor of the clock is a time that has surely passed."""
    bench = station()
    bench.reserve(for_s=600)
    floor_ms = bench.utc_ms(550)
    bench.utc_offset_s = None
    bench.power_cut()
    bench.utc_floor_ms = floor_ms
    bench.advance(40)
    assert bench.status() == "Reserved"
    bench.advance(20)
    assert bench.status() == "Available"


def out_of_use(bench: Bench, number: int) -> None:
    bench.change_availability(number, "Inoperative")


def all_out_of_use(bench: Bench, _: int) -> None:
    bench.change_availability(0, "Inoperative")


def fault(bench: Bench, number: int) -> None:
    bench.plants[number].faults = (GROUND_FAULT,)
    bench.advance(0.1)


def silent(bench: Bench, number: int) -> None:
    bench.plants[number].answers = False
    bench.advance(0.1)


def emergency(bench: Bench, _: int) -> None:
    bench.feed(e.EmergencyStopChanged(True))


def mend(bench: Bench) -> None:
    for plant in bench.plants.values():
        plant.faults, plant.answers = (), True
    bench.feed(e.EmergencyStopChanged(False))
    bench.change_availability(0, "Operative")
    bench.advance(1)


@pytest.mark.parametrize("connector_id", [0, 1])
@pytest.mark.parametrize("lose", [out_of_use, all_out_of_use, fault, silent, emergency])
def test_a_reservation_ends_with_a_fault_or_with_the_going_out_of_use(
    lose: Callable[[Bench, int], None], connector_id: int
) -> None:
    """OCPP 1.6 §4.9 G8, G9, §5.13 (3): so that after it the connector is Available and not Reserved (I7)."""
    bench = station()
    bench.reserve(connector_id=connector_id)
    lose(bench, 1)
    assert bench.status() in ("Faulted", "Unavailable")
    assert not bench.state.reservations
    mend(bench)
    assert bench.status() == "Available"
    charge(bench, "OTHER")
    assert starts(bench) == [(1, "OTHER", None)]


def test_a_reservation_of_connector_0_outlives_a_fault_of_one_connector() -> None:
    """OCPP 1.6 §5.13: another one is kept for it; it ends when the charge point itself is faulted or out of use."""
    bench = station(2)
    bench.reserve(connector_id=0)
    fault(bench, 1)
    assert [bench.status(1), bench.status(2)] == ["Faulted", "Reserved"]
    out_of_use(bench, 2)
    assert not bench.state.reservations


@pytest.mark.parametrize("type_", ResetType)
def test_a_reset_does_not_end_a_reservation(type_: ResetType) -> None:
    """OCPP 1.6 §5.13, §5.14: it is none of the three reasons."""
    bench = station()
    bench.reserve()
    bench.card("HOLDER")
    bench.reset(type_)
    bench.restart()
    bench.advance(2)
    assert bench.status() == "Reserved"


def test_cancelling_makes_the_connector_available() -> None:
    """OCPP 1.6 §4.9 G1, §5.1: Accepted if there is one of that id, else Rejected."""
    bench = station()
    bench.reserve(1)
    assert bench.cancel_reservation(2) == "Rejected"
    assert bench.status() == "Reserved"
    assert bench.cancel_reservation(1) == "Accepted"
    assert bench.history() == ["Available", "Reserved", "Available"]
    assert bench.cancel_reservation(1) == "Rejected"
    bench.restart()
    bench.advance(2)
    assert bench.status() == "Available"


def test_a_holder_who_has_come_may_charge_though_it_is_cancelled() -> None:
    """OCPP 1.6 §5.1: his authorization stands, and his StartTransaction names no reservation."""
    bench = station()
    bench.reserve()
    bench.card("HOLDER")
    bench.cancel_reservation()
    assert bench.status() == "Preparing"
    bench.plug_in()
    bench.advance(4)
    assert starts(bench) == [(1, "HOLDER", None)]


@pytest.mark.parametrize("id_", [0, -5, 2**31, 2**62])
def test_any_integer_is_a_reservation_id(id_: int) -> None:
    """OCPP 1.6 §6.5, §6.37: integer, opaque; kept over a restart."""
    bench = station()
    bench.reserve(id_)
    bench.restart()
    assert bench.cancel_reservation(id_) == "Accepted"


def plugged(bench: Bench) -> None:
    bench.plug_in()


def awaited(bench: Bench) -> None:
    bench.card("OTHER")


def charging(bench: Bench) -> None:
    charge(bench, "OTHER")


def finishing(bench: Bench) -> None:
    charge(bench, "OTHER")
    bench.card("OTHER")
    bench.advance(2)


def reserved(bench: Bench) -> None:
    bench.reserve(1, "SOMEBODY")


def reserved_for_the_same(bench: Bench) -> None:
    bench.reserve(1, "HOLDER")


def faulted(bench: Bench) -> None:
    fault(bench, 1)


def stopped(bench: Bench) -> None:
    emergency(bench, 1)


def unavailable(bench: Bench) -> None:
    out_of_use(bench, 1)


def no_disk(bench: Bench) -> None:
    bench.feed(e.DiskChanged("the disk is full", True))


def no_clock(bench: Bench) -> None:
    bench.utc_offset_s = None


REPLIES: list[tuple[Callable[[Bench], None], str]] = [
    (lambda _: None, "Accepted"),
    (plugged, "Occupied"),
    (awaited, "Occupied"),
    (charging, "Occupied"),
    (finishing, "Occupied"),
    (reserved, "Occupied"),
    (reserved_for_the_same, "Occupied"),
    (faulted, "Faulted"),
    (stopped, "Faulted"),
    (unavailable, "Unavailable"),
    (no_disk, "Rejected"),
    (no_clock, "Rejected"),
]


@pytest.mark.parametrize("connector_id", [0, 1])
@pytest.mark.parametrize(("prepare", "status"), REPLIES, ids=[p.__name__ + s for p, s in REPLIES])
def test_each_reply_to_reserve_now(prepare: Callable[[Bench], None], status: str, connector_id: int) -> None:
    """OCPP 1.6 §5.13, §7.40: what is refused changes nothing, and says why."""
    bench = station()
    prepare(bench)
    before, commits = bench.state.reservations, bench.commits
    answer = bench.reserve(2, "HOLDER", connector_id=connector_id)
    assert answer.status == status
    if status != "Accepted":
        assert answer.reason
        assert (bench.state.reservations, bench.commits) == (before, commits)


def test_what_cannot_be_reserved_at_all_is_rejected() -> None:
    """OCPP 1.6 §5.13 leaves open: no such connector; an expiryDate of the past."""
    bench = station()
    assert bench.reserve(connector_id=2).status == "Rejected"
    assert bench.reserve(for_s=0).status == "Rejected"
    assert bench.reserve(for_s=-10).status == "Rejected"
    assert bench.status() == "Available"


def test_a_connector_whose_controller_was_not_heard_yet_is_unavailable() -> None:
    """OCPP 1.6 §7.40: nothing is known of it that could be promised."""
    bench = station()
    bench.state = bench._blank()
    bench.take_up()
    assert bench.reserve().status == "Unavailable"


def test_connector_0_is_rejected_where_it_is_not_supported() -> None:
    """OCPP 1.6 §5.13, §9.3.1: ReserveConnectorZeroSupported is false or not set."""
    bench = station(reserve_connector_zero_supported=False)
    assert bench.reserve(connector_id=0).status == "Rejected"
    assert bench.reserve(connector_id=1).status == "Accepted"


def test_the_same_id_replaces_the_reservation() -> None:
    """OCPP 1.6 §5.13: another time, another idTag, another connector; there is one reservation in the end."""
    bench = station(2)
    bench.reserve(1, "HOLDER", for_s=100)
    assert bench.reserve(1, "HOLDER", for_s=1000).status == "Accepted"
    bench.advance(200)
    assert bench.status(1) == "Reserved"
    assert bench.reserve(1, "OTHER").status == "Accepted"
    assert bench.reserve(1, "OTHER", connector_id=2).status == "Accepted"
    assert [bench.status(1), bench.status(2)] == ["Available", "Reserved"]
    assert bench.reserve(1, "OTHER", connector_id=0).status == "Accepted"
    assert [r.connector_id for r in bench.state.reservations] == [0]
    assert bench.reserve(1, "OTHER", connector_id=1).status == "Accepted"
    charge(bench, "HOLDER", 1)
    assert starts(bench) == []
    charge(bench, "OTHER", 1)
    assert starts(bench) == [(1, "OTHER", 1)]


def test_a_replacement_without_room_leaves_the_old_reservation() -> None:
    """OCPP 1.6 §5.13: nothing was reserved, so nothing was replaced."""
    bench = station(2)
    charge(bench, "OTHER", 2)
    bench.reserve(1, connector_id=1)
    assert bench.reserve(1, connector_id=2).status == "Occupied"
    assert bench.status(1) == "Reserved"


def test_a_plugged_car_does_not_keep_a_reservation_from_being_prolonged() -> None:
    """OCPP 1.6 §5.13: it is replaced by its own id; what is kept already is not Occupied by its plug."""
    bench = station()
    bench.reserve(1, for_s=100)
    bench.plug_in()
    assert bench.reserve(1, for_s=1000).status == "Accepted"
    bench.card("HOLDER")
    bench.advance(0.2)
    assert starts(bench) == [(1, "HOLDER", 1)]


@pytest.mark.parametrize("in_the_start", [False, True])
def test_a_reservation_is_not_taken_from_a_holder_who_has_come(in_the_start: bool) -> None:
    """OCPP 1.6 §5.13: Occupied, as somebody with a right to it waits there."""
    bench = station()
    bench.reserve(1)
    bench.plants[1].meter_answers = False
    if in_the_start:
        bench.plug_in()
    bench.card("HOLDER")
    assert bench.reserve(1, "OTHER").status == "Occupied"
    assert bench.reserve(1, "HOLDER", for_s=900).status == "Accepted"


def test_an_answer_that_came_too_late_takes_the_reservation_back() -> None:
    """Design §3: the Central System was told of a failure."""
    bench = station()
    bench.reserve()
    bench.cancel_last_call()
    assert bench.status() == "Available"
    bench.reserve(2)
    bench.cancel_reservation(3)
    bench.cancel_last_call()
    assert bench.status() == "Reserved"


def test_another_central_system_knows_nothing_of_the_reservations_of_the_old_one() -> None:
    """Errata v4.0 3.11: nobody could cancel them."""
    bench = station()
    bench.reserve()
    bench.feed(e.LinkChanged(None))
    assert bench.status() == "Reserved"
    bench.feed(e.LinkChanged(msgspec.structs.replace(OFFLINE, ever_accepted=False)))
    assert bench.status() == "Available"


def test_reservations_end_where_the_profile_is_switched_off() -> None:
    """OCPP 1.6 §9.1.29: nobody could cancel them any more."""
    bench = station()
    bench.reserve()
    bench._settings = Settings(reservation_profile=False)
    bench.restart()
    bench.advance(2)
    assert bench.status() == "Available"


def test_a_reservation_of_a_connector_that_is_gone_ends() -> None:
    """A station.toml with fewer connectors."""
    bench = station(2)
    bench.reserve(connector_id=2)
    del bench.plants[2]
    bench.restart()
    assert not bench.state.reservations


def test_one_of_several_connectors_stays_available_for_a_reservation_of_connector_0() -> None:
    """OCPP 1.6 §5.13: no specific one, but at any time one; only the last one left is Reserved."""
    bench = station(3)
    assert bench.reserve(4, connector_id=0).status == "Accepted"
    assert [bench.status(n) for n in (1, 2, 3)] == ["Available"] * 3
    charge(bench, "OTHER", 1)
    assert [bench.status(n) for n in (2, 3)] == ["Available"] * 2
    charge(bench, "DAD", 2)
    assert bench.status(3) == "Reserved"
    charge(bench, "THIRD", 3)
    bench.authorize = lambda _: ACCEPTED
    bench.card("THIRD")
    assert bench.remote_start("FOURTH", 3).status == "Rejected"
    bench.advance(4)
    assert len(starts(bench)) == 2
    bench.card("HOLDER")
    bench.advance(4)
    assert starts(bench)[2:] == [(3, "HOLDER", 4)]
    assert not bench.state.reservations


def test_a_connector_that_becomes_free_is_kept_for_a_reservation_of_connector_0() -> None:
    """OCPP 1.6 §4.9, §5.13: Reserved is over where another one is available."""
    bench = station(2)
    bench.reserve(connector_id=0)
    charge(bench, "OTHER", 1)
    fault(bench, 2)
    assert bench.status(2) == "Faulted"
    bench.card("OTHER")
    bench.advance(2)
    assert bench.status(1) == "Finishing"
    bench.unplug(1)
    assert bench.status(1) == "Reserved"
    bench.plants[2].faults = ()
    bench.advance(1)
    assert [bench.status(1), bench.status(2)] == ["Available", "Available"]


def test_the_last_available_connector_is_not_promised_twice() -> None:
    """OCPP 1.6 §5.13: connector 0 and a specific one, reserved one after the other, or with an authorization that waits."""
    bench = station(2)
    bench.reserve(1, connector_id=0)
    assert bench.reserve(2, connector_id=0).status == "Occupied"
    assert bench.reserve(2, "OTHER", connector_id=1).status == "Accepted"
    assert bench.status(2) == "Reserved"
    assert bench.reserve(3, "THIRD", connector_id=2).status == "Occupied"
    bench.cancel_reservation(1)
    assert bench.status(2) == "Available"
    assert bench.reserve(3, "THIRD", connector_id=0).status == "Accepted"

    bench = station(2)
    bench.card("OTHER")
    assert bench.state.waiting[0].connector_id is None, "he may plug in anywhere"
    assert bench.reserve(1, connector_id=1).status == "Accepted"
    assert bench.reserve(2, connector_id=2).status == "Occupied"
    assert bench.reserve(2, connector_id=0).status == "Occupied"


def test_the_holder_of_a_reservation_of_connector_0_is_not_replaced_at_the_reader() -> None:
    """OCPP 1.6 §5.13: two cards without a plug, and one more; the newest of the others counts."""
    bench = station(2)
    bench.authorize = lambda _: ACCEPTED
    bench.reserve(1, connector_id=0)
    bench.card("HOLDER")
    bench.card("OTHER")
    bench.card("THIRD")
    assert {w.id_tag for w in bench.state.waiting} == {"HOLDER", "THIRD"}
    bench.plug_in(1)
    bench.plug_in(2)
    bench.advance(4)
    assert sorted(id_tag for _, id_tag, _ in starts(bench)) == ["HOLDER", "THIRD"]


def test_remote_starts_do_not_take_the_last_connector_from_a_reservation() -> None:
    """OCPP 1.6 §5.11, §5.13: one for each connector that is not kept."""
    bench = station(2, authorize_remote_tx_requests=False)
    bench.reserve(1, connector_id=0)
    assert bench.remote_start("OTHER").status == "Accepted"
    assert bench.remote_start("THIRD").status == "Rejected"
    assert bench.remote_start("HOLDER").status == "Accepted"


def test_one_transaction_ends_both_reservations_of_its_holder() -> None:
    """OCPP 1.6 §5.13 (1): on the reserved connector, or on any; StartTransaction has room for the first."""
    bench = station(2)
    bench.reserve(8, connector_id=0)
    bench.reserve(9, connector_id=1)
    charge(bench, "HOLDER", 1)
    assert starts(bench) == [(1, "HOLDER", 9)]
    assert not bench.state.reservations


def test_a_waiting_authorization_loses_a_connector_that_has_to_be_kept() -> None:
    """OCPP 1.6 §5.13: at any time one connector remains, also when another one fails."""
    bench = station(2)
    bench.reserve(connector_id=0)
    assert bench.remote_start("OTHER", 1).status == "Accepted"
    assert bench.status(1) == "Preparing"
    fault(bench, 2)
    assert not bench.state.waiting
    assert bench.status(1) == "Reserved"


def test_what_is_shown_of_a_reservation() -> None:
    """For `station status`: of its connector, and of connector 0."""
    bench = station(2)
    bench.reserve(1, "HOLDER", connector_id=2)
    bench.reserve(2, "OTHER", connector_id=0)
    shown = [bench.audit.statuses[number][-1].reservation for number in (0, 1, 2)]
    ids = [view.reservation_id if isinstance(view, ReservationView) else None for view in shown]
    assert ids == [2, 2, 1]
    bench.cancel_reservation(1)
    bench.cancel_reservation(2)
    assert [bench.audit.statuses[number][-1].reservation for number in (0, 1, 2)] == [None] * 3


def test_another_card_ends_its_own_transaction_beside_a_reserved_connector() -> None:
    """OCPP 1.6 §3.10, §5.13: reservations are about beginning."""
    bench = station(2)
    charge(bench, "DAD", 1)
    bench.reserve(1, connector_id=2)
    bench.authorize = lambda _: FAMILY
    bench.card("MUM")
    bench.advance(2)
    assert bench.status(1) == "Finishing"
    bench.unplug(1)
    charge(bench, "MUM", 2)
    assert len(starts(bench)) == 1
    assert bench.status(2) == "Reserved"


def test_an_unknown_status_of_an_id_tag_does_not_use_a_reservation() -> None:
    """OCPP 1.6 §4.1, §5.13: a refused card of the group is refused."""
    bench = station()
    bench.authorize = lambda _: IdTagInfo(AuthorizationStatus.EXPIRED, parent_id_tag="FAMILY")
    bench.reserve(parent_id_tag="FAMILY")
    charge(bench, "DAD")
    assert starts(bench) == []


def test_the_service_keeps_a_reservation_whenever_it_dies(tmp_path: Path) -> None:
    """Field report 50: at each effect of ReserveNow; what was answered Accepted holds, and the holder's start has its id."""
    lives, finished = 0, False
    while not finished:
        directory = tmp_path / str(lives)
        directory.mkdir()
        world = World(directory, configuration={"ReserveConnectorZeroSupported": "true"})
        world.lives[0] = lives
        expiry_utc_ms = round((world.now_s + UTC_OFFSET_S + 900) * 1000)
        replies = world.call(ReserveNow(1, expiry_utc_ms, "HOLDER", 6))
        finished, lives = world.deaths == 0, lives + 1
        accepted = [reply for reply in replies if isinstance(reply, Reply) and reply.error is None]
        world.lives[0] = 10**9
        world.advance(3.0)
        shown = world.shown()
        assert shown is not None
        assert (shown.status == "Reserved") or not accepted
        world.plants[1].plug_in()
        world.advance(1.0)
        world.card("OTHER")
        world.advance(1.0)
        if accepted:
            assert not world.queue.entries
            world.card("HOLDER")
            world.advance(4.0)
            assert [entry.message.reservation_id for entry in world.queue.entries[:1]] == [6]  # type: ignore[union-attr]
    assert lives > 3
