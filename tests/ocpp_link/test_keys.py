"""Each OCPP key that the link obeys: a ChangeConfiguration is in effect as soon as it is answered (OCPP 1.6 §5.3, §9.1)."""

from pathlib import Path

import msgspec
import pytest

from bus.vocabulary import ChargePointStatus
from tests.ocpp_link.world import CONFIG, World, connector

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


class TestAuthorizationKey:
    """OCPP-J 1.6 §6.2.2, errata 3.10, security whitepaper A01; field report 56."""

    OLD, NEW, OTHER = "0123456789abcdef0123456789abcdef", "ff" * 20, "ee" * 16

    @pytest.fixture
    def secured(self, tmp_path: Path) -> World:
        central = msgspec.structs.replace(CONFIG.central_system, security_profile=1, authorization_key=self.OLD)
        world = World(tmp_path, msgspec.structs.replace(CONFIG, central_system=central))
        self.accept(world, self.OLD)
        return world.online()

    def accept(self, world: World, key: str) -> None:
        """The Central System takes this password and no other."""
        world.socket.right_password = lambda: world.link.authorization_key() == key

    def test_the_station_connects_with_the_new_one(self, secured: World) -> None:
        self.accept(secured, self.NEW)
        change(secured, "AuthorizationKey", self.NEW)
        assert secured.socket.closes == ["the AuthorizationKey was changed"]
        secured.advance(10)
        assert secured.links[-1].online
        assert secured.socket.connects == 2
        assert secured.store.previous_key() is None
        secured.restart_link()
        assert secured.link.authorization_key() == self.NEW

    def test_one_that_is_refused_is_rolled_back(self, secured: World) -> None:
        change(secured, "AuthorizationKey", self.NEW)
        secured.advance(30)
        assert secured.links[-1].online
        assert secured.link.authorization_key() == secured.store.values()["AuthorizationKey"] == self.OLD
        assert secured.store.previous_key() is None
        assert secured.log.said("is the old one again") == 1

    def test_an_outage_rolls_nothing_back(self, secured: World) -> None:
        secured.socket.reachable = lambda: "connection refused"
        self.accept(secured, self.NEW)
        change(secured, "AuthorizationKey", self.NEW)
        secured.advance(100)
        secured.socket.reachable = lambda: ""
        secured.advance(20)
        assert secured.links[-1].online
        assert secured.link.authorization_key() == self.NEW

    @pytest.mark.parametrize("right", [OLD, NEW])
    def test_a_link_that_dies_in_between_still_has_both(self, secured: World, right: str) -> None:
        change(secured, "AuthorizationKey", self.NEW)
        secured.kill_link()
        secured.start_link()
        self.accept(secured, right)
        secured.advance(30)
        assert secured.links[-1].online
        assert secured.link.authorization_key() == right

    def test_both_take_turns_until_one_is_taken(self, secured: World) -> None:
        """A Central System may need a while to know the new one."""
        self.accept(secured, self.OTHER)
        change(secured, "AuthorizationKey", self.NEW)
        secured.advance(60)
        assert not secured.links[-1].connected
        self.accept(secured, self.NEW)
        secured.advance(60)
        assert secured.links[-1].online
        assert secured.link.authorization_key() == self.NEW

    def test_without_a_password_in_use_nothing_is_disconnected(self, online: World) -> None:
        change(online, "AuthorizationKey", self.NEW)
        assert online.socket.closes == []
        assert online.store.values()["AuthorizationKey"] == self.NEW

    def test_no_log_has_it(self, secured: World) -> None:
        change(secured, "AuthorizationKey", self.NEW)
        secured.advance(30)
        assert self.NEW not in repr(secured.log.lines)
        assert self.OLD not in repr(secured.log.lines)
