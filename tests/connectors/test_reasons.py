"""Whatever the Central System asks for, and whatever a connector does: a refusal tells why (field report 63)."""

import pytest

from bus import messages as m
from bus import profile_messages as pm
from bus.vocabulary import AvailabilityType, ResetType, UpdateType
from services.connectors import events as e
from tests.connectors.test_requests_by_state import SETUPS, station

FAR_MS = 4_000_000_000_000
DONE = {"Accepted", "Scheduled", "Unlocked"}
REQUESTS: dict[str, e.Event] = {
    "remote start": e.RemoteStartRequested("call", m.RemoteStartTransaction("OTHER", 1)),
    "remote start anywhere": e.RemoteStartRequested("call", m.RemoteStartTransaction("OTHER")),
    "remote start nowhere": e.RemoteStartRequested("call", m.RemoteStartTransaction("OTHER", 9)),
    "remote stop of nothing": e.RemoteStopRequested("call", m.RemoteStopTransaction(99)),
    "inoperative": e.AvailabilityRequested("call", m.ChangeAvailability(1, AvailabilityType.INOPERATIVE)),
    "inoperative nowhere": e.AvailabilityRequested("call", m.ChangeAvailability(9, AvailabilityType.INOPERATIVE)),
    "unlock": e.UnlockRequested("call", m.UnlockConnector(1)),
    "unlock nowhere": e.UnlockRequested("call", m.UnlockConnector(9)),
    "reserve": e.ReserveNowRequested("call", pm.ReserveNow(1, FAR_MS, "OTHER", 1)),
    "reserve any": e.ReserveNowRequested("call", pm.ReserveNow(0, FAR_MS, "OTHER", 1)),
    "reserve nowhere": e.ReserveNowRequested("call", pm.ReserveNow(9, FAR_MS, "OTHER", 1)),
    "cancel nothing": e.CancelReservationRequested("call", pm.CancelReservation(77)),
    "clear cache": e.ClearCacheRequested("call", m.ClearCache()),
    "local list": e.LocalListSent("call", pm.SendLocalList(1, UpdateType.DIFFERENTIAL)),
    "meter values": e.MeterValuesAsked("call", pm.TakeMeterValues(1)),
    "meter values nowhere": e.MeterValuesAsked("call", pm.TakeMeterValues(9)),
    "reset": e.ResetRequested("call", m.Reset(ResetType.HARD)),
}


@pytest.mark.parametrize("state", SETUPS)
def test_each_refusal_in_each_state_tells_why(state: str) -> None:
    silent, refused = [], 0
    for name, request in REQUESTS.items():
        bench = station(state)
        bench.feed(request)
        bench.advance(20)
        answer = bench.answers["call"]
        if str(answer.status) not in DONE:  # type: ignore[attr-defined]
            refused += 1
            silent += [] if len(answer.reason) > 10 else [f"{name}: {answer.status}"]  # type: ignore[attr-defined]
    assert silent == []
    assert refused > 5, "what names no connector, transaction or reservation is refused in every state"
