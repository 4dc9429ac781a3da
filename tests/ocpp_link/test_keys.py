"""Each OCPP key that the link obeys: a ChangeConfiguration is in effect as soon as it is answered (OCPP 1.6 §5.3, §9.1)."""

from pathlib import Path

import pytest

from bus.vocabulary import ChargePointStatus
from tests.ocpp_link.world import World, connector

A, P = ChargePointStatus.AVAILABLE, ChargePointStatus.PREPARING


@pytest.fixture
def online(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.say(connector(0, A), connector(1, A))
    return world.online()


def change(world: World, key: str, value: str) -> None:
    assert world.asked("ChangeConfiguration", {"key": key, "value": value}) == {"status": "Accepted"}


def test_heartbeat_interval(online: World) -> None:
    """OCPP 1.6 §9.1.10, field report 24."""
    online.advance(30)
    change(online, "HeartbeatInterval", "60")
    online.advance(29)
    assert "Heartbeat" not in online.said()
    online.advance(1.1)
    assert online.said().count("Heartbeat") == 1


def test_message_timeout(online: World) -> None:
    """Errata v4.0 3.82: the Charge Point SHALL consider the request timed out."""
    change(online, "MessageTimeout", "3")
    online.answers["Authorize"] = None
    replies = online.authorize()
    online.advance(2.9)
    assert replies == []
    online.advance(0.2)
    assert [reply.error for reply in replies] == ["no answer within MessageTimeout"]


def test_minimum_status_duration(online: World) -> None:
    """OCPP 1.6 §9.1.20; 0 means at once (field report 40)."""
    change(online, "MinimumStatusDuration", "5")
    told = len(online.said("StatusNotification"))
    online.say(connector(1, P, online.now_s))
    online.advance(4.9)
    assert len(online.said("StatusNotification")) == told
    online.advance(0.2)
    assert online.said("StatusNotification")[told]["status"] == "Preparing"
    change(online, "MinimumStatusDuration", "0")
    online.say(connector(1, A, online.now_s))
    assert online.said("StatusNotification")[-1]["status"] == "Available"


def test_web_socket_ping_interval(online: World) -> None:
    """OCPP 1.6 §9.1.34, OCPP-J 1.6 §7: 0 disables, negative values are Rejected."""
    change(online, "WebSocketPingInterval", "0")
    online.advance(100)
    assert online.socket.pings == 0
    change(online, "WebSocketPingInterval", "5")
    online.advance(5.1)
    assert online.socket.pings == 1
    negative = {"key": "WebSocketPingInterval", "value": "-1"}
    assert online.asked("ChangeConfiguration", negative) == {"status": "Rejected"}
