"""A car is charged: real processes under supervisord, virtual hardware, an independent Central System."""

import json
from pathlib import Path

import pytest

from bus.logs import parse
from services.demo.book import What
from tests.acceptance.rig import OTHER_TAG, TAG, CentralSystem, Rig, config_text, rig
from tests.harness import Station, wait_until

pytestmark = pytest.mark.process

SESSION_LOG_BYTES_MAX = 30_000


def test_a_card_starts_and_stops_one_complete_transaction() -> None:
    """The main job: one StartTransaction, one StopTransaction, energy equal to the meter (OCPP 1.6 §4.8, §4.10)."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        one.stop_by_card()
        transaction = one.check_one_transaction(before_wh)
        assert transaction.id_tag == TAG
        assert transaction.reason == "Local"
        assert transaction.meter_values, "there are sampled values of the transaction"
        one.station.sim("plug-out", "1")
        one.wait_for_status(1, "Available")
        assert one.relay() == (False, 1)


def test_the_frames_of_a_session_are_in_a_log_of_their_own() -> None:
    """Design §6: each frame once, with direction, unique id and how long its answer took; idTags shortened."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        one.stop_by_card()
        one.check_one_transaction(before_wh)
        log = one.station.state_dir / "log" / "ocpp_frames.log"
        ended = wait_until(lambda: [line for line in frames_of(log) if _is_answered_stop(line)], 5, "the last answer is logged")
        frames = frames_of(log)
        asked = {line["unique_id"]: line for line in frames if line["event"] == "frame sent" and line["kind"] == "CALL"}
        heard = [entry.text for entry in one.central_system.book.entries() if entry.what is What.RECEIVED]
        calls = [json.loads(text) for text in heard if json.loads(text)[0] == 2 and json.loads(text)[2] != "Heartbeat"]
        assert [call[1] for call in calls if call[1] not in asked] == []
        assert asked[ended[0]["unique_id"]]["local_tx_id"] == ended[0]["local_tx_id"]
        named = [line for line in frames if line.get("correlation_id") == ended[0]["correlation_id"]]
        session = {"Authorize", "StartTransaction", "StatusNotification", "StopTransaction"}
        assert session <= {line["action"] for line in named}
        services = ("connectors", "transaction_queue")
        lines = [line for service in services for line in frames_of(log.with_name(f"{service}.log"))]
        others = ("card accepted", "message delivered")
        own = [line for line in lines if "local_tx_id" in line or line["event"] in others]
        assert {line["service"] for line in own} == set(services)
        assert [line for line in own if line.get("correlation_id") != ended[0]["correlation_id"]] == []
        assert TAG not in log.read_text()


def test_a_session_takes_little_of_the_logs() -> None:
    """A hundred a day fit the smallest bound of a log in deploy/supervisord.conf, 6 MB, twice over."""
    with rig() as one:
        before_wh, logs = one.register_wh(), one.station.state_dir / "log"
        before = _bytes_of(logs)
        one.start_by_card()
        one.stop_by_card()
        one.check_one_transaction(before_wh)
        frames = logs / "ocpp_frames.log"
        wait_until(lambda: any(_is_answered_stop(line) for line in frames_of(frames)), 5, "the last answer is logged")
        took = _bytes_of(logs) - before
        print(f"one session: {took} bytes in all logs")
        assert 1_000 < took <= SESSION_LOG_BYTES_MAX


def _bytes_of(logs: Path) -> int:
    return sum(file.stat().st_size for file in logs.iterdir())


def frames_of(log: Path) -> list[dict[str, str]]:
    """Lines of a log, strictly read; the last one may not be whole yet."""
    text = log.read_text()
    return [parse(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _is_answered_stop(line: dict[str, str]) -> bool:
    return (line["event"], line.get("kind"), line.get("action")) == ("frame received", "CALLRESULT", "StopTransaction")


def test_remote_start_and_remote_stop_make_one_transaction() -> None:
    """RemoteStart before the plug, RemoteStop while charging (OCPP 1.6 §5.11, §5.12)."""
    with rig() as one:
        before_wh = one.register_wh()
        answer = one.central_system.call("RemoteStartTransaction", {"idTag": TAG, "connectorId": 1})
        assert answer == {"status": "Accepted"}
        one.wait_for_status(1, "Preparing")
        one.station.sim("plug-in", "1")
        one.wait_for_charging()
        (running,) = one.central_system.book.transactions()
        wrong = one.central_system.call("RemoteStopTransaction", {"transactionId": running.transaction_id + 1})
        assert wrong == {"status": "Rejected"}
        right = one.central_system.call("RemoteStopTransaction", {"transactionId": running.transaction_id})
        assert right == {"status": "Accepted"}
        assert one.check_one_transaction(before_wh).reason == "Remote"


def test_pulling_the_plug_under_load_ends_the_transaction() -> None:
    """EV side disconnect with StopTransactionOnEVSideDisconnect (OCPP 1.6 §4.10, §9.1.27)."""
    with rig() as one:
        before_wh = one.register_wh()
        one.start_by_card()
        one.station.sim("plug-out", "1")
        assert one.check_one_transaction(before_wh).reason == "EVDisconnected"
        one.wait_for_status(1, "Available")


def test_a_refused_card_gets_no_energy_and_another_card_does_not_stop_a_transaction() -> None:
    """Authorize.conf decides (OCPP 1.6 §4.1); a different tag leaves the transaction running (§4.10)."""
    with rig() as one:
        one.central_system.behaviour.set_id_tag(OTHER_TAG, "Blocked")
        one.station.sim("plug-in", "1")
        one.wait_for_status(1, "Preparing")
        one.station.sim("swipe", OTHER_TAG)
        one.central_system.wait_for(lambda book: book.answers_sent("Authorize"), 10, "the answer to Authorize")
        assert one.relay() == (False, 0)
        before_wh = one.register_wh()
        one.station.sim("swipe", TAG)
        one.wait_for_charging()
        one.station.sim("swipe", OTHER_TAG)
        one.central_system.wait_for(lambda book: len(book.answers_sent("Authorize")) >= 3, 10, "the third Authorize")
        assert one.relay() == (True, 0)
        one.stop_by_card()
        one.check_one_transaction(before_wh)


def test_two_connectors_charge_at_once() -> None:
    """Acceptance 3: both transactions right, and the supply is not exceeded."""
    with rig(meters=("sdm630", "sdm120")) as one:
        before_wh = {number: one.register_wh(number) for number in (1, 2)}
        one.start_by_card(1, TAG)
        one.start_by_card(2, OTHER_TAG)
        assert one.hardware(1)["controller"]["pilot_a"] + one.hardware(2)["controller"]["pilot_a"] <= 63
        one.stop_by_card(1, TAG)
        one.stop_by_card(2, OTHER_TAG)
        found = {transaction.connector_id: transaction for transaction in one.finished(2)}
        for number, tag in ((1, TAG), (2, OTHER_TAG)):
            assert found[number].id_tag == tag
            assert found[number].meter_start_wh == before_wh[number]
            assert found[number].meter_stop_wh == one.register_wh(number)
        assert len(one.central_system.book.calls("StartTransaction")) == 2
        assert len(one.central_system.book.calls("StopTransaction")) == 2
        assert one.central_system.book.violations() == []


def test_two_stations_run_side_by_side() -> None:
    """Acceptance 3: nothing outside the state directory is touched."""
    with (
        CentralSystem() as central_system,
        Station(config_text(central_system.url, identity="CP-A")) as first,
        Station(config_text(central_system.url, identity="CP-B")) as second,
    ):
        rigs = [Rig(first, central_system, "CP-A"), Rig(second, central_system, "CP-B")]
        before_wh = []
        for one in rigs:
            one.wait_for_boot()
            before_wh.append(one.register_wh())
            one.start_by_card()
        for one in rigs:
            one.stop_by_card()
        for one, wh in zip(rigs, before_wh, strict=True):
            one.check_one_transaction(wh)


@pytest.mark.parametrize("other_register_wh", [100, 5_000_000])
def test_a_meter_replaced_in_a_session_bills_the_sum(other_register_wh: int) -> None:
    """Design §4.1: another meter was fitted, its register is lower or higher; energy is the sum of the segments."""
    with rig() as one:
        one.start_by_card()
        one.station.sim("set-meter", "1", str(other_register_wh))
        wait_until(lambda: "another meter counts on" in one.station.log("connectors"), 15, "the new meter is believed")
        one.wait_for_energy(1, other_register_wh + 10)
        one.stop_by_card()
        (transaction,) = one.finished()
        assert transaction.energy_wh is not None
        assert 10 < transaction.energy_wh < 100
        assert one.central_system.book.violations() == []
