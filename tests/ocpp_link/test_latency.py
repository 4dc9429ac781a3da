"""How long OCPP calls take, by action and direction; bounded, told now and then (issue 7)."""

from pathlib import Path

from bus.latency_messages import ActionTimes, LinkTimes
from services.ocpp_link import rpc
from services.ocpp_link.latency import TELL_PERIOD_S, Latency
from tests.ocpp_link.world import World


def served(latency: Latency, action: str, unique_id: str, *, took_s: float) -> None:
    latency.note(rpc.Tick(), rpc.Rpc(), (rpc.CallReceived(unique_id, action, "{}"),), 100.0)
    latency.note(rpc.Reply(unique_id, "{}"), rpc.Rpc(), (), 100.0 + took_s)


def test_a_call_of_the_central_system_counts_in_its_class() -> None:
    latency = Latency()
    served(latency, "Reset", "1", took_s=0.0078125)
    served(latency, "Reset", "2", took_s=30.0)
    assert latency.due(200.0) == LinkTimes({"Reset": ActionTimes((0, 1, 0, 0, 0, 0, 1), 30.0078125)})


def test_actions_that_there_are_not_are_one() -> None:
    latency = Latency()
    for number in range(1000):
        served(latency, f"Invented{number}", str(number), took_s=0.0)
    told = latency.due(200.0)
    assert told is not None
    assert list(told.handled) == ["unknown"]


def test_it_is_told_when_it_is_new_and_not_too_often() -> None:
    latency = Latency()
    assert latency.due(100.0) == LinkTimes()
    assert latency.due(200.0) is None
    served(latency, "Reset", "1", took_s=0.0)
    assert latency.due(100.0 + TELL_PERIOD_S / 2) is None
    assert latency.due(100.0 + TELL_PERIOD_S) is not None


def test_the_link_counts_both_directions(tmp_path: Path) -> None:
    """BootNotification was answered before; GetConfiguration is answered here."""
    online = World(tmp_path).online()
    online.asked("GetConfiguration", {})
    told = online.link.latency.due(online.now_s + 100)
    assert told is not None
    assert sum(told.handled["GetConfiguration"].counts) == 1
    assert sum(told.answered["BootNotification"].counts) == 1
    assert all(times.sum_s >= 0 for times in (*told.handled.values(), *told.answered.values()))
