"""The log of OCPP frames: lines that field support can read, and nothing in them that nobody may read (design §6)."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.server import ServerConnection

from bus import logs
from bus.vocabulary import masked_id_tag
from services.ocpp_link.frame_log import FRAME_CHARS_MAX, WAITING_MAX, About, Frames, parts
from services.ocpp_link.masking import masked
from services.ocpp_link.websocket_thread import Connected, FrameReceived, Lost
from tests.ocpp_link.websocket_peers import Station, central_system

ID_TAG = "04A1B2C3D4E5F6"
KEY = "0011223344556677"


class Paper:
    """Where lines are written."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> object:
        """Take them."""
        self.text += text
        return None

    def flush(self) -> object:
        """They are seen already."""
        return None

    def lines(self) -> list[dict[str, str]]:
        """Read back, strictly."""
        return [logs.parse(line) for line in self.text.splitlines()]


@pytest.fixture
def paper() -> Paper:
    return Paper()


@pytest.fixture(name="frames")
def made_frames(paper: Paper) -> Iterator[Frames]:
    yield Frames(logs.own_log("frames test", "ocpp_link", paper), secret=lambda: KEY)
    for handler in logging.getLogger("frames test").handlers:
        handler.close()


def call(action: str, unique_id: str = "u1", **payload: Any) -> str:
    return json.dumps([2, unique_id, action, payload])


def result(unique_id: str = "u1", **payload: Any) -> str:
    return json.dumps([3, unique_id, payload])


def test_a_call_and_its_answer_are_told_with_how_long_it_took(frames: Frames, paper: Paper) -> None:
    frames.sent(call("StopTransaction", transactionId=7), 100.0, About(local_tx_id="ab12"))
    frames.received(result(), 100.25)
    sent, answered = paper.lines()
    assert (sent["event"], sent["kind"], sent["action"], sent["unique_id"]) == ("frame sent", "CALL", "StopTransaction", "u1")
    assert (sent["transaction_id"], sent["local_tx_id"], "latency_ms" in sent) == ("7", "ab12", False)
    assert (answered["event"], answered["kind"], answered["action"]) == ("frame received", "CALLRESULT", "StopTransaction")
    assert (answered["transaction_id"], answered["local_tx_id"], answered["latency_ms"]) == ("7", "ab12", "250")
    assert int(answered["bytes"]) == len(result())


def test_a_call_of_the_central_system_and_our_answer_too(frames: Frames, paper: Paper) -> None:
    frames.received(call("UnlockConnector", connectorId=2), 10.0)
    frames.sent(json.dumps([4, "u1", "InternalError", "", {}]), 12.0)
    asked, refused = paper.lines()
    assert (asked["event"], asked["action"], asked["connector"]) == ("frame received", "UnlockConnector", "2")
    assert (refused["kind"], refused["action"], refused["connector"]) == ("CALLERROR", "UnlockConnector", "2")
    assert refused["latency_ms"] == "2000"


def test_both_sides_may_use_the_same_unique_id(frames: Frames, paper: Paper) -> None:
    """OCPP-J 1.6 §4.1.4: an id is unique for its sender only."""
    frames.sent(call("Authorize", idTag="X"), 1.0)
    frames.received(call("ClearCache"), 2.0)
    frames.sent(result(status="Accepted"), 3.0)
    frames.received(result(idTagInfo={"status": "Accepted"}), 5.0)
    assert [(line["action"], line.get("latency_ms")) for line in paper.lines()] == [
        ("Authorize", None),
        ("ClearCache", None),
        ("ClearCache", "1000"),
        ("Authorize", "4000"),
    ]


def test_the_transaction_id_of_an_answer_is_told(frames: Frames, paper: Paper) -> None:
    frames.sent(call("StartTransaction", connectorId=1), 1.0, About(local_tx_id="ab12"))
    frames.received(result(transactionId=-5, idTagInfo={"status": "Accepted"}), 2.0)
    answered = paper.lines()[1]
    assert (answered["transaction_id"], answered["connector"], answered["local_tx_id"]) == ("-5", "1", "ab12")


def test_heartbeats_write_nothing_until_something_else_happens(frames: Frames, paper: Paper) -> None:
    """An idle station writes nothing (design §8)."""
    for number in range(24):
        frames.sent(call("Heartbeat", f"h{number}"), float(number))
        frames.received(result(f"h{number}", currentTime="2027-01-15T08:00:00Z"), number + 0.1)
    assert paper.text == ""
    frames.sent(call("Authorize", idTag="X"), 100.0)
    assert [(line["action"], line.get("times")) for line in paper.lines()] == [
        ("Heartbeat", "24"),
        ("Heartbeat", "24"),
        ("Authorize", None),
    ]


def test_a_heartbeat_that_is_refused_is_told_at_once(frames: Frames, paper: Paper) -> None:
    frames.sent(call("Heartbeat"), 1.0)
    frames.received(json.dumps([4, "u1", "InternalError", "", {}]), 2.0)
    assert [line["kind"] for line in paper.lines()] == ["CALL", "CALLERROR"]


def test_an_answer_on_the_next_connection_is_not_taken_for_one_of_the_last(frames: Frames, paper: Paper) -> None:
    frames.sent(call("Authorize", idTag="X"), 1.0)
    frames.opened()
    frames.received(result(), 2.0)
    assert "latency_ms" not in paper.lines()[1]


def test_calls_that_nobody_answers_are_forgotten(frames: Frames, paper: Paper) -> None:
    for number in range(WAITING_MAX + 1):
        frames.sent(call("Authorize", f"u{number}", idTag="X"), 0.0)
    frames.received(result("u0"), 1.0)
    frames.received(result("u1"), 1.0)
    assert ["latency_ms" in line for line in paper.lines()[-2:]] == [False, True]


def test_a_long_frame_is_cut_and_its_length_told(frames: Frames, paper: Paper) -> None:
    text = call("DataTransfer", data="x" * 100_000)
    frames.received(text, 0.0)
    (line,) = paper.lines()
    assert len(line["frame"]) == FRAME_CHARS_MAX + 1
    assert int(line["bytes"]) == len(text)


def test_what_is_no_frame_is_told_as_it_came(frames: Frames, paper: Paper) -> None:
    for text in ("", "what?", "[]", "[9,1,2]", "[" * 5000, '{"a":1}', "\ud800"):
        frames.received(text, 0.0)
    assert all("action" not in line for line in paper.lines())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=4)))
def test_anything_may_come_in(frame: Any) -> None:
    kind, unique_id, action, _ = parts(json.dumps(frame))
    assert kind in (None, "CALL", "CALLRESULT", "CALLERROR")
    assert isinstance(unique_id, str | None)
    assert action is None or kind == "CALL"


def test_id_tags_are_shown_in_full_where_the_operator_wants_it(paper: Paper) -> None:
    frames = Frames(logs.own_log("frames in full", "ocpp_link", paper), full_id_tags=True)
    frames.sent(call("Authorize", idTag=ID_TAG), 0.0)
    assert ID_TAG in paper.text


@pytest.mark.parametrize(
    "text",
    [
        call("SendLocalList", localAuthorizationList=[{"idTag": ID_TAG, "idTagInfo": {"parentIdTag": ID_TAG}}]),
        '[2,"1","Authorize",{"\\u0069dTag":"' + ID_TAG + '"}]',
        '[2,"1","Authorize",{"IDTAG":"' + ID_TAG + '"}',
        call("ChangeConfiguration", key="AuthorizationKey", value=KEY),
        call("ChangeConfiguration", key="AUTHORIZATIONKEY", value="another one"),
        '[2,"1","ChangeConfiguration",{"key":"\\u0041uthorizationKey","value":"another one"}]',
        '[2,"1","ChangeConfiguration",{"value":"another one","key":"AuthorizationKey"',
        result(configurationKey=[{"key": "AuthorizationKey", "readonly": False, "value": "another one"}]),
        call("DataTransfer", data=f"the key is {KEY}"),
        call("DataTransfer", data=json.dumps({"nested": KEY})),
    ],
)
def test_no_secret_is_in_any_form_of_a_frame(frames: Frames, paper: Paper, text: str) -> None:
    """Style guide §7, field report 56: in whatever shape it comes."""
    frames.received(text, 0.0)
    frames.sent(text, 0.0)
    assert not any(secret in paper.text for secret in (ID_TAG, KEY, "another one"))


TAGS = st.text(st.characters(codec="utf-8", exclude_characters='"\\…'), min_size=8, max_size=20)


@given(TAGS)
def test_of_an_id_tag_only_its_beginning_is_left(id_tag: str) -> None:
    shown = json.loads(masked(call("Authorize", idTag=id_tag)))[3]["idTag"]
    assert shown == masked_id_tag(id_tag) != id_tag


@pytest.mark.parametrize(
    ("frame", "shown"),
    [
        ('[2,"1","Authorize",{"idTag":"04AABBCCDDEEFF"}]', '[2,"1","Authorize",{"idTag":"04AA…FF"}]'),
        ('{"idTag" : "a\\"b", "x":1}', '{"idTag":"a…","x":1}'),
        ('{"parentIdTag":"12345678"}', '{"parentIdTag":"1234…"}'),
        ('{"key":"AuthorizationKey","value":"secret"}', '{"key":"AuthorizationKey","value":"…"}'),
        ('{"value":"se\\"cret","key":"authorizationkey"}', '{"value":"…","key":"authorizationkey"}'),
        ('{"key":"HeartbeatInterval","value":"5"}', '{"key":"HeartbeatInterval","value":"5"}'),
        ('{"idTag":"never closed', '{"idTag":"neve…ed'),
    ],
)
def test_logs_show_neither_id_tags_nor_passwords(frame: str, shown: str) -> None:
    """Style guide §7, field report 56."""
    assert masked(frame) == shown


def test_the_socket_tells_what_goes_out_and_what_comes_in(paper: Paper) -> None:
    """Design §6: written at the socket. What is meant for a connection that is gone is not told, as it is not sent."""
    station = Station(frames=Frames(logs.own_log("socket frames", "ocpp_link", paper)))
    try:
        with central_system(echo_once) as url:
            station.connect(url)
            station.expect(Connected)
            station.thread.send(call("Authorize", idTag=ID_TAG), About(local_tx_id="ab12"))
            station.expect(FrameReceived)
            station.expect(Lost)
            station.thread.send(call("Heartbeat"))
            station.connect(url)
            station.expect(Connected)
    finally:
        assert station.thread.stop()
    assert [(line["event"], line["action"], line.get("local_tx_id")) for line in paper.lines()] == [
        ("frame sent", "Authorize", "ab12"),
        ("frame received", "Authorize", None),
    ]
    assert ID_TAG not in paper.text


def echo_once(connection: ServerConnection) -> None:
    connection.send(connection.recv())
