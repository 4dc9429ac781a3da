"""The independent Central System, by hand-written frames: what it answers, and what its book says."""

import base64
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus, NegotiationError

from services.demo.book import Kind, What
from services.demo.central_system import CallFailed, CentralSystem, NotConnected
from tests.demo.client import ANSWER_WAIT_S, BOOT, START, HandWritten


@pytest.fixture
def central_system() -> Iterator[CentralSystem]:
    with CentralSystem() as running:
        yield running


@pytest.fixture
def station(central_system: CentralSystem) -> Iterator[HandWritten]:
    with HandWritten(central_system) as connected:
        yield connected


def stop_of(transaction_id: int, **changes: Any) -> dict[str, Any]:
    stop = {"transactionId": transaction_id, "meterStop": 1500, "timestamp": "2024-01-01T01:00:00.000Z", "reason": "Local"}
    return {**stop, **changes}


def test_it_answers_a_boot_notification_as_it_is_told_to(central_system: CentralSystem, station: HandWritten) -> None:
    """OCPP 1.6 §4.2."""
    central_system.behaviour.registration = "Pending"
    central_system.behaviour.interval_s = 7
    kind, unique_id, payload = station.call("BootNotification", BOOT, "boot")
    assert (kind, unique_id, payload["status"], payload["interval"]) == (3, "boot", "Pending", 7)


def test_the_book_has_every_copy_in_order_with_the_connection(central_system: CentralSystem, station: HandWritten) -> None:
    station.call("Heartbeat", {}, "same")
    station.call("Heartbeat", {}, "same")
    with HandWritten(central_system) as again:
        again.call("Heartbeat", {}, "same")
    copies = central_system.book.calls("Heartbeat")
    assert [entry.connection for entry in copies] == [1, 1, 2]
    numbers = [entry.number for entry in central_system.book.entries()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(central_system.book.answers_sent("Heartbeat")) == 3


def test_a_whole_transaction_stands_in_the_table(central_system: CentralSystem, station: HandWritten) -> None:
    central_system.behaviour.transaction_ids = [0]
    answer = station.call("StartTransaction", START)
    assert answer[2] == {"transactionId": 0, "idTagInfo": {"status": "Accepted"}}
    value = {"timestamp": "2024-01-01T00:30:00.000Z", "sampledValue": [{"value": "1200"}]}
    station.call("MeterValues", {"connectorId": 1, "transactionId": 0, "meterValue": [value]})
    station.call("StopTransaction", stop_of(0))
    (transaction,) = central_system.book.transactions()
    assert (transaction.energy_wh, transaction.reason, transaction.starts, transaction.stops) == (500, "Local", 1, 1)
    assert len(transaction.meter_values) == 1
    assert central_system.book.violations() == []


@pytest.mark.parametrize("transaction_id", [0, -7, 2**31 - 1])
def test_transaction_ids_are_those_asked_for(central_system: CentralSystem, station: HandWritten, transaction_id: int) -> None:
    """Field report 2: any integer is valid."""
    central_system.behaviour.transaction_ids = [transaction_id]
    assert station.call("StartTransaction", START)[2]["transactionId"] == transaction_id


def test_a_repeat_on_a_new_connection_gets_the_same_transaction_id(central_system: CentralSystem) -> None:
    """Design §4.10: a repeat keeps its unique id so that the Central System can tell."""
    with HandWritten(central_system) as first:
        issued = first.call("StartTransaction", START, "start-1")[2]["transactionId"]
    with HandWritten(central_system) as second:
        assert second.call("StartTransaction", START, "start-1")[2]["transactionId"] == issued
    (transaction,) = central_system.book.transactions()
    assert transaction.starts == 2


def test_a_repeat_under_another_unique_id_is_another_transaction(central_system: CentralSystem, station: HandWritten) -> None:
    station.call("StartTransaction", START)
    station.call("StartTransaction", START)
    assert len(central_system.book.transactions()) == 2


def test_id_tags_are_answered_by_table_and_without_case(central_system: CentralSystem, station: HandWritten) -> None:
    """OCPP 1.6 §7.27, §7.28."""
    central_system.behaviour.set_id_tag("abcd", "Blocked", parent="GROUP")
    central_system.behaviour.default_status = "Invalid"
    assert station.call("Authorize", {"idTag": "ABCD"})[2] == {"idTagInfo": {"status": "Blocked", "parentIdTag": "GROUP"}}
    assert station.call("Authorize", {"idTag": "other"})[2] == {"idTagInfo": {"status": "Invalid"}}


def test_a_message_against_its_schema_gets_a_call_error_and_a_violation(
    central_system: CentralSystem, station: HandWritten
) -> None:
    answer = station.call("BootNotification", {"chargePointVendor": 7})
    assert answer[0] == 4
    assert answer[2] == "FormationViolation"
    (entry,) = central_system.book.calls("BootNotification")
    assert "chargePointModel" in entry.violations[0]


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ("{nonsense", "no OCPP-J message"),
        ("{}", "no OCPP-J message"),
        ("[]", "no OCPP-J message"),
        ('[9, "id", {}]', "no OCPP-J message"),
        ('[2, "id", "Heartbeat"]', "no OCPP-J message"),
        ('[2, 12, "Heartbeat", {}]', "unique id"),
        ('[2, "id", "Heartbeat", []]', "payload is an object"),
        ('[3, "never-asked", {}]', "never made"),
        (b"\x00\x01", "binary"),
    ],
)
def test_what_is_no_message_is_noted_and_the_next_good_one_works(
    central_system: CentralSystem, station: HandWritten, frame: str | bytes, said: str
) -> None:
    station.socket.send(frame)
    assert station.call("Heartbeat", {}, "next")[:2] == [3, "next"]
    assert said in central_system.book.violations()[0]


def test_an_unknown_action_and_one_of_the_other_direction_are_refused(station: HandWritten) -> None:
    """OCPP-J 1.6 §4.2.3."""
    assert station.call("MakeCoffee", {})[2] == "NotImplemented"
    assert station.call("ClearCache", {})[2] == "NotSupported"


def test_call_errors_come_as_often_as_asked(central_system: CentralSystem, station: HandWritten) -> None:
    central_system.behaviour.call_error("StartTransaction", 2)
    answers = [station.call("StartTransaction", START)[0] for _ in range(3)]
    assert answers == [4, 4, 3]
    assert len(central_system.book.transactions()) == 1


@pytest.mark.parametrize("processed", [False, True])
def test_silence_leaves_others_answered(central_system: CentralSystem, station: HandWritten, processed: bool) -> None:
    central_system.behaviour.silence("StartTransaction", processed=processed)
    station.send("StartTransaction", START, "start")
    assert station.call("Heartbeat", {}, "heartbeat")[1] == "heartbeat"
    assert len(central_system.book.transactions()) == int(processed)


def test_a_late_answer_holds_up_nothing_else(central_system: CentralSystem, station: HandWritten) -> None:
    central_system.behaviour.delay("StartTransaction", 0.3)
    station.send("StartTransaction", START, "start")
    station.send("Heartbeat", {}, "heartbeat")
    assert [station.receive()[1], station.receive()[1]] == ["heartbeat", "start"]


@pytest.mark.parametrize("answered", [False, True])
def test_the_connection_is_cut_on_the_nth_message(central_system: CentralSystem, station: HandWritten, answered: bool) -> None:
    central_system.behaviour.close(answered=answered, skip=1)
    station.call("Heartbeat", {})
    station.send("StartTransaction", START)
    if answered:
        assert station.receive()[0] == 3
    with pytest.raises(ConnectionClosed):
        station.receive()
    book = central_system.book
    book.wait_for(lambda book: [e for e in book.entries() if e.what is What.CLOSED], ANSWER_WAIT_S)
    assert len(book.transactions()) == 1
    what = What.SENT if answered else What.WITHHELD
    assert [e.what for e in book.entries() if e.action == "StartTransaction" and e.kind is Kind.CALLRESULT] == [what]


def test_a_wrong_answer_can_be_given(central_system: CentralSystem, station: HandWritten) -> None:
    """Field report, part 2, row 25: no transactionId, fields of its own."""
    central_system.behaviour.answer("StartTransaction", {"vendor": 1})
    assert station.call("StartTransaction", START)[2] == {"vendor": 1}
    assert central_system.book.transactions() == []


def test_not_accepted_means_security_error_until_the_next_boot(central_system: CentralSystem, station: HandWritten) -> None:
    """OCPP-J errata 3.8."""
    assert station.call("Heartbeat", {})[0] == 3
    central_system.forget_registration("CP-1")
    assert station.call("Heartbeat", {})[2] == "SecurityError"
    assert (
        "not being accepted" in " ".join(central_system.book.violations()) or "accepted" in central_system.book.violations()[0]
    )
    station.call("BootNotification", BOOT)
    assert station.call("Heartbeat", {})[0] == 3


def test_a_pending_station_may_send_what_it_is_asked_for(central_system: CentralSystem, station: HandWritten) -> None:
    """OCPP 1.6 §4.2.1."""
    central_system.behaviour.registration = "Pending"
    station.call("BootNotification", BOOT)
    central_system.send_call("TriggerMessage", {"requestedMessage": "Heartbeat"})
    station.answer({"status": "Accepted"})
    assert station.call("Heartbeat", {})[0] == 3
    assert central_system.book.violations() == []


def test_a_call_to_the_station_returns_its_answer(central_system: CentralSystem, station: HandWritten) -> None:
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(central_system.call("GetConfiguration", {"key": ["x"]})))
    asking.start()
    assert station.answer({"unknownKey": ["x"]})[2:] == ["GetConfiguration", {"key": ["x"]}]
    asking.join(ANSWER_WAIT_S)
    assert answers == [{"unknownKey": ["x"]}]


def test_a_call_error_from_the_station_is_raised(central_system: CentralSystem, station: HandWritten) -> None:
    central_system.behaviour.message_timeout_s = 0
    unique_id = central_system.send_call("Reset", {"type": "Soft"})
    station.receive()
    station.socket.send(json.dumps([4, unique_id, "NotSupported", "no", {}]))
    central_system.wait_for(lambda book: book.answers_received("Reset"), ANSWER_WAIT_S)
    failed: list[Exception] = []

    def ask() -> None:
        try:
            central_system.call("Reset", {"type": "Hard"})
        except CallFailed as error:
            failed.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    station.socket.send(json.dumps([4, station.receive()[1], "InternalError", "no", {}]))
    asking.join(ANSWER_WAIT_S)
    assert str(failed[0]) == "InternalError: no"


def test_an_answer_against_its_schema_is_a_violation(central_system: CentralSystem, station: HandWritten) -> None:
    central_system.send_call("Reset", {"type": "Soft"})
    station.answer({"status": "Perhaps"})
    central_system.wait_for(lambda book: book.violations(), ANSWER_WAIT_S)
    assert "Perhaps" in central_system.book.violations()[0]


def test_a_call_that_nobody_answers_times_out_and_without_a_station_there_is_none(central_system: CentralSystem) -> None:
    with pytest.raises(NotConnected, match="no station"):
        central_system.call("Reset", {"type": "Soft"})
    with HandWritten(central_system), pytest.raises(TimeoutError, match="no answer to Reset"):
        central_system.call("Reset", {"type": "Soft"}, timeout_s=0.1)


def test_the_identity_is_the_last_part_of_the_path_decoded(central_system: CentralSystem) -> None:
    """OCPP-J 1.6 §3.1.1."""
    with HandWritten(central_system, "ocpp/RDAM%20123") as station:
        station.call("Heartbeat", {})
        assert central_system.connected() == ["RDAM 123"]
    assert central_system.book.connections("RDAM 123") == [1]


def test_two_stations_are_told_apart(central_system: CentralSystem) -> None:
    central_system.behaviour.transaction_ids = [5, 5]
    with HandWritten(central_system, "A") as a, HandWritten(central_system, "B") as b:
        a.call("StartTransaction", START)
        b.call("StartTransaction", {**START, "meterStart": 7})
        b.call("StopTransaction", stop_of(5))
    assert [t.stops for t in central_system.book.transactions("A")] == [0]
    assert [t.energy_wh for t in central_system.book.transactions("B")] == [1493]


def test_a_password_is_asked_for(central_system: CentralSystem) -> None:
    """OCPP-J 1.6 §6.2: Basic authentication, user name is the identity."""
    central_system.behaviour.passwords = {"CP-1": "secret"}
    with pytest.raises(InvalidStatus):
        HandWritten(central_system)
    for pair, good in (("CP-1:wrong", False), ("CP-2:secret", False), ("CP-1:secret", True)):
        headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        if good:
            with HandWritten(central_system, additional_headers=headers) as station:
                station.call("Heartbeat", {})
        else:
            with pytest.raises(InvalidStatus):
                HandWritten(central_system, additional_headers=headers)
    refused = [entry for entry in central_system.book.entries() if entry.what is What.REFUSED]
    assert len(refused) == 3
    assert "secret" not in str(central_system.book.entries())


@pytest.mark.parametrize("status", [401, 404, 500])
def test_handshakes_are_refused_with_the_given_status(central_system: CentralSystem, status: int) -> None:
    central_system.behaviour.http_status = status
    with pytest.raises(InvalidStatus) as caught:
        HandWritten(central_system)
    assert caught.value.response.status_code == status
    central_system.behaviour.http_status = None
    with HandWritten(central_system) as station:
        station.call("Heartbeat", {})


def test_a_handshake_is_accepted_without_subprotocol_when_told_so(central_system: CentralSystem) -> None:
    central_system.behaviour.refuse_subprotocol = True
    try:
        with HandWritten(central_system) as station:
            assert station.socket.subprotocol is None
    except NegotiationError:
        pytest.fail("the client should see a handshake without subprotocol")


def test_a_station_that_offers_no_subprotocol_breaks_a_rule(central_system: CentralSystem) -> None:
    """OCPP-J 1.6 §3.1.2."""
    with HandWritten(central_system, subprotocols=None) as station:
        station.call("Heartbeat", {})
    assert "ocpp1.6" in central_system.book.violations()[0]


def test_a_plain_http_request_is_no_station(central_system: CentralSystem) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(central_system.url.replace("ws:", "http:"), timeout=ANSWER_WAIT_S)
    caught.value.close()
    assert central_system.book.connections() == []


@pytest.mark.parametrize("abrupt", [False, True])
def test_it_goes_away_and_comes_back_on_the_same_port(abrupt: bool) -> None:
    central_system = CentralSystem()
    central_system.start()
    url = central_system.url
    with HandWritten(central_system) as station:
        central_system.stop(abrupt=abrupt)
        with pytest.raises(ConnectionClosed):
            station.receive()
    central_system.start()
    assert central_system.url == url
    with HandWritten(central_system) as station:
        station.call("Heartbeat", {})
    central_system.stop()
    assert central_system.book.connections() == [1, 2]


def test_a_taken_port_is_an_error_at_the_start(central_system: CentralSystem) -> None:
    with pytest.raises(OSError, match="in use"):
        CentralSystem(central_system.port).start()


def test_connections_are_closed_and_cut_on_request(central_system: CentralSystem) -> None:
    for end in (central_system.disconnect, central_system.cut):
        with HandWritten(central_system) as station:
            station.call("Heartbeat", {})
            end()
            with pytest.raises(ConnectionClosed):
                station.receive()


def test_pipelined_calls_break_a_rule(central_system: CentralSystem, station: HandWritten) -> None:
    """OCPP-J 1.6 §4.1.1: no other CALL before the answer or the time-out."""
    central_system.behaviour.delay("Authorize", 0.2)
    station.send("Authorize", {"idTag": "A"})
    station.send("Heartbeat", {})
    station.receive()
    assert any("still open" in text for text in central_system.book.violations())


def test_waiting_names_what_did_not_come(central_system: CentralSystem, station: HandWritten) -> None:
    station.call("Heartbeat", {})
    with pytest.raises(TimeoutError, match=r"(?s)a boot.*Heartbeat"):
        central_system.wait_for(lambda book: book.calls("BootNotification"), 0.05, "a boot")
