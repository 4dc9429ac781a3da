"""The conformance kit of charging controllers: every driver against its virtual device, with one set of cases (issue 6).

A new pair is one line in CONTROLLERS, and its kind in `virtual_evse.Pair`.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from bus.vocabulary import ChargePointErrorCode as Code
from services.hardware.contract import DeviceError, EvseDesired, EvseObservation, PortMissing
from tests.hardware.peers import PtyPeer
from tests.hardware.virtual_evse import OFF, Pair, offer

MakePeer = Callable[..., PtyPeer]
OFFER_16 = offer(16.0)
CONTROLLERS: dict[str, dict[str, Code]] = {
    "openevse": {
        "stuck-relay": Code.POWER_SWITCH_FAILURE,
        "relay": Code.POWER_SWITCH_FAILURE,
        "gfci": Code.GROUND_FAILURE,
        "no-ground": Code.GROUND_FAILURE,
        "gfi-self-test": Code.GROUND_FAILURE,
        "overtemp": Code.HIGH_TEMPERATURE,
        "overcurrent": Code.OVER_CURRENT_FAILURE,
        "diode": Code.EV_COMMUNICATION_ERROR,
        "vent": Code.EV_COMMUNICATION_ERROR,
        "other": Code.OTHER_ERROR,
    },
    "evsewb": {
        "stuck-relay": Code.POWER_SWITCH_FAILURE,
        "relay": Code.POWER_SWITCH_FAILURE,
        "gfci": Code.GROUND_FAILURE,
        "diode": Code.EV_COMMUNICATION_ERROR,
        "vent": Code.EV_COMMUNICATION_ERROR,
    },
}
"""Each driver, and the error code of each fault that its controller can have (hardware.md §3.4)."""
FAULTS = [(driver, fault) for driver, faults in CONTROLLERS.items() for fault in faults]
CONTACTOR_S = 16.0
"""Within this a contactor that does not follow has to be told; some controllers only say how it is, not how it should be."""
Spoil = Callable[[PtyPeer, bytes], bytes]


def _in_pieces(pty: PtyPeer, reply: bytes) -> bytes:
    for byte in reply[:-1]:
        pty.send(bytes([byte]))
    return reply[-1:]


def _later(seconds: float) -> Spoil:
    def late(_: PtyPeer, reply: bytes) -> bytes:
        threading.Event().wait(seconds)
        return reply

    return late


SPOILT: dict[str, Spoil] = {
    "slow": _later(0.2),
    "lost": lambda _, __: b"",
    "cut in half": lambda _, reply: reply[: len(reply) // 2],
    "with a wrong checksum": lambda _, reply: reply[:-2] + bytes([reply[-2] ^ 1]) + reply[-1:],
    "after garbage": lambda _, reply: b"\x00\xff\xa5" + reply,
}
"""What may happen to one reply."""
TOO_LATE = _later(0.7)
"""Longer than any driver waits: it meets the next question."""


@pytest.fixture(params=CONTROLLERS)
def pair(peer: MakePeer, request: pytest.FixtureRequest) -> Pair:
    return Pair(peer, request.param)


def charging(pair: Pair) -> EvseObservation:
    """A session runs: plugged in, authorized, contactor closed."""
    pair.opened(OFF)
    pair.plug_in()
    pair.run(2.0, OFF)
    seen = pair.run(5.0, OFFER_16)
    assert (seen.offering, seen.relay_closed) == (True, True)
    return seen


def spoil(pty: PtyPeer, how: Spoil, times: int) -> None:
    """Spoil the next replies."""
    answer, left = pty.answer, [times]

    def spoilt(data: bytes) -> bytes:
        reply = answer(data)
        if left[0] and reply:
            left[0] -= 1
            return how(pty, reply)
        return reply

    pty.answer = spoilt


def test_a_plug_is_seen_and_gets_nothing_without_authorization(pair: Pair) -> None:
    """Stock firmware powers up enabled: a car that is plugged in would charge."""
    seen = pair.opened(OFF).seen
    assert seen is not None
    assert (seen.control_pilot, seen.plugged, seen.offering, seen.relay_closed) == ("A", False, False, False)
    pair.plug_in()
    seen = pair.run(5.0, OFF)
    assert (seen.plugged, seen.offering, seen.relay_closed) == (True, False, False)
    assert not pair.connector.contactor.closed
    pair.plug_out()
    assert pair.run(2.0, OFF).plugged is False


def test_authorization_closes_the_contactor_and_its_end_opens_it(pair: Pair) -> None:
    seen = charging(pair)
    assert (seen.control_pilot, seen.limit_a) == ("C", 16.0)
    assert pair.connector.contactor.closed
    seen = pair.run(5.0, OFF)
    assert (seen.plugged, seen.offering, seen.relay_closed) == (True, False, False)
    assert not pair.connector.contactor.closed
    assert pair.run(5.0, OFFER_16).relay_closed


@pytest.mark.parametrize(("limit_a", "offered_a"), [(0, 0), (5, 0), (6, 6), (16, 16), (32, 32)])
def test_each_limit_is_what_the_car_is_offered(pair: Pair, limit_a: int, offered_a: int) -> None:
    """IEC 61851-1 can't express less than 6 A: that is no energy."""
    charging(pair)
    seen = pair.run(5.0, offer(float(limit_a)))
    assert pair.board.offered_a == offered_a
    assert seen.offering == pair.connector.contactor.closed == bool(offered_a)
    if offered_a:
        assert seen.limit_a == offered_a
    assert pair.connector.car.current_a <= offered_a


@pytest.mark.parametrize(("driver", "fault"), FAULTS)
def test_each_fault_has_its_code_and_takes_energy_away(peer: MakePeer, driver: str, fault: str) -> None:
    pair = Pair(peer, driver)
    charging(pair)
    pair.run(CONTACTOR_S, OFFER_16)
    pair.fault(fault)
    told: set[Code] = set()
    for desired in (OFFER_16, OFF):
        for _ in range(round(CONTACTOR_S / 2)):
            told |= {found.error_code for found in pair.run(2.0, desired).faults}
    assert CONTROLLERS[driver][fault] in told
    assert pair.connector.contactor.closed == (fault == "stuck-relay")
    assert all(0 < len(found.info) <= 50 for found in (pair.seen.faults if pair.seen else ()))


def test_a_lost_link_leaves_the_session_as_it_is_and_the_whole_desired_state_follows(pair: Pair) -> None:
    charging(pair)
    opened = pair.connector.contactor.opened_count
    pair.pty.vanish()
    with pytest.raises(PortMissing):
        pair.run(1.0, OFFER_16)
    with pytest.raises(PortMissing):
        pair.driver.open()
    pair.pty.appear()
    pair.driver.open()
    seen = pair.run(3.0, OFFER_16)
    assert (seen.relay_closed, pair.connector.contactor.opened_count) == (True, opened)
    pair.driver.close()
    pair.driver.open()
    assert not pair.run(5.0, OFF).relay_closed, "authorization was lost meanwhile"


@pytest.mark.parametrize("desired", [OFF, OFFER_16], ids=["not authorized", "authorized"])
def test_a_controller_that_restarts_in_a_session_comes_to_the_desired_state(pair: Pair, desired: EvseDesired) -> None:
    charging(pair)
    pair.power_cycle()
    for _ in range(20):
        try:
            seen = pair.run(0.5, desired)
        except DeviceError:
            pair.driver.open()
    seen = pair.run(5.0, desired)
    assert seen.plugged is True
    assert seen.offering == pair.connector.contactor.closed == desired.energy_allowed
    if desired.energy_allowed:
        assert pair.board.offered_a == 16


@pytest.mark.parametrize("how", SPOILT)
def test_one_reply_that_is_spoilt_is_made_good(pair: Pair, how: str) -> None:
    charging(pair)
    spoil(pair.pty, SPOILT[how], 1)
    assert pair.run(2.0, OFFER_16).relay_closed
    assert pair.connector.contactor.opened_count == 0


def test_a_reply_that_is_too_late_is_no_answer_to_the_next_question(pair: Pair) -> None:
    charging(pair)
    spoil(pair.pty, TOO_LATE, 1)
    with contextlib.suppress(DeviceError):
        pair.run(1.0, OFFER_16)
    assert pair.run(4.0, OFFER_16).relay_closed
    assert pair.connector.contactor.opened_count == 0


def test_replies_in_single_bytes_are_understood(pair: Pair) -> None:
    spoil(pair.pty, _in_pieces, 1000)
    assert charging(pair).relay_closed


def test_an_adapter_that_echoes_is_understood(pair: Pair) -> None:
    answer = pair.pty.answer
    pair.pty.answer = lambda data: data + answer(data)
    assert charging(pair).relay_closed
    pair.pty.answer = answer
    assert not pair.run(5.0, OFF).relay_closed, "and so is another adapter, fitted later"


@pytest.mark.parametrize(
    "answer", [lambda _: b"", lambda _: bytes(range(255)), lambda data: data], ids=["mute", "garbage", "echo"]
)
def test_what_is_no_controller_is_an_error_and_its_return_ends_it(pair: Pair, answer: Any) -> None:
    pair.opened(OFF)
    real, pair.pty.answer = pair.pty.answer, answer
    before = pair.driver.counters()
    with pytest.raises(DeviceError):
        pair.run(3.0, OFF)
    with pytest.raises(DeviceError):
        pair.driver.open()
    after = pair.driver.counters()
    assert after.transmissions > before.transmissions
    assert after.timeouts + after.errors > before.timeouts + before.errors
    pair.pty.answer = real
    assert charging(pair).relay_closed


def test_another_plug_in_while_nobody_looked_gets_nothing(pair: Pair) -> None:
    """The service decides by the controller's session whether it is the same vehicle; until then nothing changes hands."""
    charging(pair)
    pair.run(3.0, OFF)
    pair.driver.close()
    pair.plug_out()
    pair.ahead_s += 2.0
    pair.plug_in()
    pair.driver.open()
    seen = pair.run(3.0, OFF)
    assert (seen.plugged, seen.offering, seen.relay_closed) == (True, False, False)


EMERGENCY = EvseDesired(at_once=True)


def test_a_withdrawal_lets_a_vehicle_let_go_and_the_emergency_stop_does_not(pair: Pair) -> None:
    """hardware.md §3.1, §3.2: with a car that holds on when the offer ends, three seconds lie between the two."""
    charging(pair)
    pair.connector.car.holds_on = True
    pair.run(2.0, OFF)
    assert pair.connector.contactor.closed
    pair.run(3.0, OFF)
    assert not pair.connector.contactor.closed
    pair.run(5.0, OFFER_16)
    assert pair.connector.contactor.closed
    pair.run(0.5, EMERGENCY)
    assert not pair.connector.contactor.closed


def test_a_plug_is_not_lost_by_the_emergency_stop_and_a_session_may_follow(pair: Pair) -> None:
    charging(pair)
    pair.connector.car.holds_on = True
    plugged = {pair.run(0.5, EMERGENCY).plugged for _ in range(20)}
    assert False not in plugged
    assert pair.seen is not None
    assert (pair.seen.plugged, pair.seen.offering, pair.seen.relay_closed) == (True, False, False)
    assert pair.run(5.0, OFFER_16).relay_closed
    pair.run(2.0, EMERGENCY)
    pair.plug_out()
    assert pair.run(2.0, EMERGENCY).plugged is False


def test_the_emergency_stop_opens_what_was_already_told_to_let_go(pair: Pair) -> None:
    charging(pair)
    pair.connector.car.holds_on = True
    pair.run(0.5, OFF)
    assert pair.connector.contactor.closed
    pair.run(0.5, EMERGENCY)
    assert not pair.connector.contactor.closed
