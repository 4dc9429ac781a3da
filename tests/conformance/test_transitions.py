"""The table of transitions of OCPP 1.6 §4.9, cell by cell, as a car and its driver cause them.

Cells of ChangeAvailability are in `tests/connectors/test_availability.py`, those of Reserved in `test_reservations.py` there.
"""

import pytest

from bus.messages import IdTagInfo
from bus.vocabulary import AuthorizationStatus
from services.connectors.state import Settings
from services.connectors.status import TRANSITIONS
from tests.connectors.bench import Bench, charging
from tests.connectors.plant import GROUND_FAULT

BLOCKED = IdTagInfo(AuthorizationStatus.BLOCKED)
NO_STOP = Settings(stop_transaction_on_invalid_id=False)


def suspended_ev() -> Bench:
    """The car pauses."""
    bench = charging(settings=NO_STOP)
    bench.plants[1].wants_energy = False
    bench.advance(5)
    assert bench.status() == "SuspendedEV"
    return bench


def suspended_evse() -> Bench:
    """The Central System has refused the idTag, and the transaction runs on without energy."""
    bench = charging(settings=NO_STOP)
    bench.deliver_start(info=BLOCKED)
    bench.advance(5)
    assert bench.status() == "SuspendedEVSE"
    return bench


def finishing() -> Bench:
    bench = charging()
    bench.card()
    bench.advance(5)
    assert bench.status() == "Finishing"
    return bench


def waiting_for_supply(*, asks: bool = True) -> Bench:
    """Connector 1 has all of a small supply, so that connector 2 gets nothing."""
    bench = charging(connectors=2, supply_a=10.0)
    bench.plants[2].wants_energy = asks
    bench.plug_in(2)
    bench.card("SECOND")
    bench.advance(5)
    return bench


PRINTED = {
    "A": "2 3 4 5 7 8 9",
    "B": "1 3 4 5 6 9",
    "C": "1 4 5 6 8 9",
    "D": "1 3 5 6 8 9",
    "E": "1 3 4 6 8 9",
    "F": "1 2 8 9",
    "G": "1 2 8 9",
    "H": "1 2 3 4 5 9",
    "I": "1 2 3 4 5 6 7 8",
}
"""The table of OCPP 1.6 §4.9 with errata v4.0 3.20 (B6)."""
STATUSES = (
    *("Available", "Preparing", "Charging", "SuspendedEV", "SuspendedEVSE", "Finishing"),
    *("Reserved", "Unavailable", "Faulted"),
)


def test_the_table_is_as_printed() -> None:
    """OCPP 1.6 §4.9: rows A to I and columns 1 to 9 are the statuses in this order."""
    printed = {
        STATUSES["ABCDEFGHI".index(row)]: {STATUSES[int(column) - 1] for column in columns.split()}
        for row, columns in PRINTED.items()
    }
    assert {str(before): {str(after) for after in afters} for before, afters in TRANSITIONS.items()} == printed


@pytest.mark.parametrize("by", ["plug", "card", "remote start"])
def test_a2_usage_is_initiated(by: str) -> None:
    """A2: insert plug, present idTag, receipt of a RemoteStartTransaction.req."""
    bench = Bench()
    match by:
        case "plug":
            bench.plug_in()
        case "card":
            bench.card()
        case _:
            bench.remote_start()
    assert bench.history() == ["Available", "Preparing"]
    assert bench.transactions == []


@pytest.mark.parametrize("by", ["plug removed", "second presentation", "time out"])
def test_b1_intended_usage_is_ended(by: str) -> None:
    """B1, errata v4.0 3.21."""
    bench = Bench(settings=Settings(connection_time_out_s=20))
    match by:
        case "plug removed":
            bench.plug_in()
            bench.unplug()
        case "second presentation":
            bench.card()
            bench.card()
        case _:
            bench.card()
            bench.advance(20.2)
    assert bench.history() == ["Available", "Preparing", "Available"]


def test_b3_charging_starts() -> None:
    """B3; what is only passed through while the contactor closes is not told."""
    bench = charging()
    assert bench.history() == ["Available", "Preparing", "Charging"]
    assert bench.plants[1].relay_closed


def test_b4_the_ev_does_not_start() -> None:
    """B4."""
    bench = Bench()
    bench.plants[1].wants_energy = False
    bench.plug_in()
    bench.card()
    bench.advance(5)
    assert bench.history() == ["Available", "Preparing", "SuspendedEV"]
    assert bench.plants[1].offering


def test_b5_the_evse_does_not_allow_it() -> None:
    """B5."""
    bench = waiting_for_supply()
    assert bench.history(2) == ["Available", "Preparing", "SuspendedEVSE"]
    assert not bench.plants[2].offering


@pytest.mark.parametrize("before", [charging, suspended_ev, suspended_evse])
def test_c1_d1_e1_the_session_ends_with_the_plug(before) -> None:
    """C1, D1, E1: the fixed cable is removed on the EV side; Finishing is told on the way, with its reason (§4.9)."""
    bench = before()
    bench.unplug()
    bench.advance(3)
    assert bench.history()[-2:] == ["Finishing", "Available"]
    assert bench.connector().transaction is None


def test_c4_d3_the_ev_pauses_and_goes_on() -> None:
    """C4, D3."""
    bench = charging()
    bench.plants[1].wants_energy = False
    bench.advance(5)
    assert bench.history()[-2:] == ["Charging", "SuspendedEV"]
    assert bench.plants[1].offering, "the EVSE is still ready and willing (errata v4.0 3.55)"
    bench.plants[1].wants_energy = True
    bench.advance(5)
    assert bench.history()[-2:] == ["SuspendedEV", "Charging"]


def test_c5_the_evse_stops_it() -> None:
    """C5: the transaction is invalidated by the status in StartTransaction.conf."""
    bench = suspended_evse()
    assert bench.history()[-2:] == ["Charging", "SuspendedEVSE"]
    assert not bench.plants[1].relay_closed


@pytest.mark.parametrize("before", [charging, suspended_ev, suspended_evse])
@pytest.mark.parametrize("by", ["card", "remote stop"])
def test_c6_d6_e6_stopped_with_the_plug_in(before, by: str) -> None:
    """C6, D6, E6."""
    bench = before()
    if by == "card":
        bench.card()
    else:
        bench.deliver_start(4711, info=bench_info(before))
        bench.remote_stop(4711)
    bench.advance(20)
    assert bench.history()[-1] == "Finishing"
    assert bench.connector().transaction is None


def bench_info(before) -> IdTagInfo:
    """What the Central System says of the idTag, so that the state before stays as it is."""
    return BLOCKED if before is suspended_evse else IdTagInfo(AuthorizationStatus.ACCEPTED)


def test_d5_e4_the_evse_forbids_and_allows_while_the_ev_pauses() -> None:
    """D5, and with another restriction E4."""
    bench = suspended_ev()
    bench.deliver_start(info=BLOCKED)
    bench.advance(5)
    assert bench.history()[-2:] == ["SuspendedEV", "SuspendedEVSE"]
    bench = waiting_for_supply(asks=False)
    assert bench.status(2) == "SuspendedEVSE"
    bench.card()
    bench.advance(5)
    assert bench.history(2)[-2:] == ["SuspendedEVSE", "SuspendedEV"]


def test_e3_the_restriction_is_lifted() -> None:
    """E3."""
    bench = waiting_for_supply()
    bench.card()
    bench.advance(8)
    assert bench.history(2)[-2:] == ["SuspendedEVSE", "Charging"]


def test_f1_f2_after_finishing() -> None:
    """F1: the cable is out. F2: the user starts again, which creates a new transaction."""
    bench = finishing()
    bench.card()
    bench.advance(8)
    assert bench.history()[-3:] == ["Finishing", "Preparing", "Charging"]
    assert len(bench.transactions) == 2
    bench = finishing()
    bench.unplug()
    assert bench.history()[-2:] == ["Finishing", "Available"]


def preparing() -> Bench:
    bench = Bench()
    bench.plug_in()
    assert bench.status() == "Preparing"
    return bench


@pytest.mark.parametrize("before", [Bench, preparing, charging, suspended_ev, suspended_evse, finishing])
def test_a_fault_overlays_and_gives_back(before) -> None:
    """A9, B9, C9, D9, E9, F9 and I1 to I6: Faulted without energy, then the status before it."""
    bench = before()
    status = bench.status()
    bench.plants[1].faults = (GROUND_FAULT,)
    bench.advance(2)
    said = bench.audit.statuses[1][-1]
    assert (said.status, said.error_code, said.vendor_error_code) == ("Faulted", "GroundFailure", "openevse:06")
    assert not bench.plants[1].relay_closed
    assert bench.remote_start("APP", 1).status == "Rejected"
    bench.plants[1].faults = ()
    bench.advance(8)
    assert bench.history()[-2:] == ["Faulted", status]
    assert bench.audit.statuses[1][-1].error_code == "NoError"


@pytest.mark.parametrize("before", [charging, suspended_ev, suspended_evse])
def test_c8_d8_e8_the_session_ends_and_the_connector_is_scheduled(before) -> None:
    """C8, D8, E8: the cable is out, and it becomes Unavailable without a flash of Available (§5.2)."""
    bench = before()
    assert bench.change_availability(1, "Inoperative") == "Scheduled"
    bench.unplug()
    bench.advance(5)
    assert bench.history()[-2:] == ["Finishing", "Unavailable"]
    assert "Available" not in bench.history()[1:]
