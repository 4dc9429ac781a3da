"""The Central System is away, silent, or strange (acceptance 6, "Bad input")."""

import os
import signal
import subprocess
import sys

import pytest

from services.demo.central_system import CallFailed
from tests.acceptance.rig import TAG, CentralSystem, Rig, config_text, rig
from tests.harness import Station, free_port, wait_until

pytestmark = pytest.mark.process


def test_a_central_system_that_appears_late_is_found() -> None:
    """Acceptance 6: the station is up and offline-capable, and connects when the Central System appears."""
    central_system = CentralSystem(free_port())
    text = config_text(f"ws://127.0.0.1:{central_system.port}/") + "AllowOfflineTxForUnknownId = true\n"
    text += "\n[policy]\ncharge_before_first_acceptance = true\n"
    with Station(text) as station:
        one = Rig(station, central_system, "CP-1")
        before_wh = one.register_wh()
        station.sim("plug-in", "1")
        wait_until(lambda: one.hardware()["car"]["plugged"], 5, "the car is plugged in")
        wait_until(lambda: "-> Preparing" in station.log("connectors"), 5, "the car is seen")
        station.sim("swipe", TAG)
        wait_until(lambda: one.relay()[0], 10, "the contactor closes without a Central System")
        one.wait_for_energy(1, before_wh + 5)
        station.sim("swipe", TAG)
        wait_until(lambda: not one.relay()[0], 10, "the contactor opens")
        central_system.start()
        try:
            transaction = one.check_one_transaction(before_wh)
            assert transaction.id_tag == TAG
        finally:
            central_system.stop()


def test_an_outage_in_a_session_loses_nothing_and_boots_no_second_time() -> None:
    """Design §2 "link down": charging goes on, transactions queue; a reconnect is no boot (field report 45)."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        one.central_system.stop(abrupt=True)
        one.wait_for_energy(1, one.register_wh() + 10)
        assert one.relay() == (True, 0)
        one.station.sim("plug-out", "1")
        wait_until(lambda: not one.relay()[0], 10, "the contactor opens")
        one.central_system.start()
        assert one.check_one_transaction(before_wh).reason == "EVDisconnected"
        assert len(one.central_system.book.calls("BootNotification")) == 1
        one.wait_for_status(1, "Available")


def test_a_silent_central_system_is_noticed_by_ping() -> None:
    """Acceptance 6: SIGSTOP, so that the socket stays open and nothing answers (field reports 18, 20)."""
    port = free_port()
    with Station(config_text(f"ws://127.0.0.1:{port}/")) as station:
        command = [sys.executable, "-m", "services.demo.central_system", "--port", str(port)]
        command += ["--book", str(station.state_dir / "book.jsonl")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=station.environment)
        try:
            wait_until(lambda: station.status()["link"]["connected"], 15, "the station is connected")
            os.kill(process.pid, signal.SIGSTOP)
            wait_until(lambda: not station.status()["link"]["connected"], 15, "the silence is noticed")
            wait_until(lambda: "no pong" in station.log("ocpp_link"), 10, "the log says why")
            os.kill(process.pid, signal.SIGCONT)
            wait_until(lambda: station.status()["link"]["connected"], 15, "the station is connected again")
        finally:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()


BAD_FRAMES: tuple[str | bytes, ...] = (
    "",
    "{",
    "[]",
    "nonsense",
    '{"a": 1}',
    '[2,"x"]',
    '[2,7,"Reset",{}]',
    '[9,"u1","Reset",{}]',
    '[3,"never-asked",{}]',
    '[4,"never-asked","GenericError","",{}]',
    '[2,"u2","NoSuchAction",{}]',
    '[2,"u3","Reset",{"type":7}]',
    '[2,"u4","Reset",[]]',
    b"\x00\x01\x02",
    "[" * 5000,
)


def test_garbage_from_the_central_system_changes_nothing() -> None:
    """ "Bad input": each has a defined answer or log line, the process lives, the next good message works."""
    with rig() as one:
        link = one.station.pid("ocpp_link")
        for frame in BAD_FRAMES:
            one.central_system.send_frame(frame)
        answer = one.central_system.call("GetConfiguration", {"key": ["HeartbeatInterval"]})
        assert [entry["key"] for entry in answer["configurationKey"]] == ["HeartbeatInterval"]
        with pytest.raises(CallFailed, match="NotImplemented"):
            one.central_system.call("NoSuchAction")
        with pytest.raises(CallFailed, match="NotSupported"):
            one.central_system.call("ClearChargingProfile", {})
        one.central_system.send_frame("x" * (300 * 1024))
        one.central_system.wait_for(lambda book: len(book.connections()) == 2, 10, "the station comes back")
        assert one.station.pid("ocpp_link") == link
        before_wh = one.register_wh()
        one.start_by_card()
        one.stop_by_card()
        # The book knows only the calls that it was told of, so that answers to hand-made frames surprise it.
        one.check_one_transaction(before_wh, expected_violation="answers a CALL that was never made")


def test_a_configuration_change_is_kept_over_a_restart_of_the_link() -> None:
    """Field report 50: durable before the answer goes out."""
    with rig() as one:
        change = {"key": "heartbeatinterval", "value": "77"}
        assert one.central_system.call("ChangeConfiguration", change) == {"status": "Accepted"}
        one.station.kill("ocpp_link")
        one.central_system.wait_for(lambda book: len(book.connections()) == 2, 10, "the link comes back")
        answer = one.central_system.call("GetConfiguration", {"key": ["HeartbeatInterval"]})
        assert answer["configurationKey"][0]["value"] == "77"


@pytest.mark.parametrize("status", [401, 404, 500])
def test_http_errors_are_told_and_tried_again(status: int) -> None:
    """A Central System that answers 401, 404, 500: a log line in plain words, and the next try."""
    with CentralSystem() as central_system:
        central_system.behaviour.http_status = status
        with Station(config_text(central_system.url)) as station:
            wait_until(lambda: str(status) in station.log("ocpp_link"), 10, "the refusal is in the log")
            central_system.behaviour.http_status = None
            Rig(station, central_system, "CP-1").wait_for_boot()


def test_a_central_system_without_the_subprotocol_is_refused_and_tried_again() -> None:
    """OCPP-J 1.6 §3.1.2; field report 23 of operators."""
    with CentralSystem() as central_system:
        central_system.behaviour.refuse_subprotocol = True
        with Station(config_text(central_system.url)) as station:
            wait_until(lambda: "subprotocol" in station.log("ocpp_link"), 10, "the reason is in the log")
            central_system.behaviour.refuse_subprotocol = False
            Rig(station, central_system, "CP-1").wait_for_boot()
