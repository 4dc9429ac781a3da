"""A service's end of the bus: four kinds over frames, and whatever else may arrive."""

import logging
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import codec
from bus.calls import IncomingCall, Reply
from bus.codec import StateHeader
from bus.device_messages import DeviceFrame, ReadTrace, Trace
from bus.messages import (
    Authorize,
    ConnectorState,
    IdTagInfo,
    IdTagPresented,
    LinkState,
    MeterSample,
    Moment,
    ReaderState,
    ReadMeter,
    ServiceHealth,
)
from bus.states import PERIODS_UNTIL_UNKNOWN
from bus.topics import TOPICS, topic_named, topic_of
from bus.vocabulary import AuthorizationStatus, ChargePointStatus
from tests.bus.rig import TOPIC, Clock, Wires, entry, nothing, whole

SAMPLE = MeterSample(connector_id=1, read_boottime_s=1000.0, serial="7", energy_import_wh=100)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wires(clock: Clock) -> Wires:
    return Wires(clock)


def test_a_state_reaches_watchers_with_its_key(wires: Wires) -> None:
    connectors, link = wires.node("connectors"), wires.node("ocpp_link")
    seen: list[tuple[str, ConnectorState]] = []
    link.watch(ConnectorState, lambda key, value: seen.append((key, value)))
    wires.attach(connectors)
    wires.attach(link)
    state = ConnectorState(2, ChargePointStatus.AVAILABLE, Moment("boot", 1))
    connectors.publish(state, "2")
    wires.settle()
    assert seen == [("2", state)]
    assert link.latest(ConnectorState, "2") == state
    assert link.latest(ConnectorState, "1") is None


def test_a_late_watcher_has_the_value_at_once(wires: Wires) -> None:
    rfid = wires.node("rfid")
    wires.attach(rfid)
    rfid.publish(ReaderState("broken"))
    wires.settle()
    late = wires.node("connectors")
    late.watch(ReaderState, lambda *_: None)
    wires.attach(late)
    assert late.latest(ReaderState) == ReaderState("broken")


def test_watchers_hear_that_a_silent_owner_is_unknown(wires: Wires, clock: Clock) -> None:
    rfid, connectors = wires.node("rfid"), wires.node("connectors")
    unknown: list[str] = []
    connectors.watch(ReaderState, lambda *_: None, unknown.append)
    for node in (rfid, connectors):
        wires.attach(node)
    rfid.publish(ReaderState())
    wires.settle()
    for _ in range(10):
        clock.now_s += 5
        rfid.tick()
        wires.settle()
        connectors.tick()
    assert unknown == []
    wires.detach(rfid)
    silent_since_s = clock.now_s
    while not unknown:
        deadline_s = connectors.next_deadline_s()
        assert deadline_s is not None, "somebody has to look"
        clock.now_s = max(deadline_s, clock.now_s)
        connectors.tick()
    assert unknown == [""]
    assert clock.now_s == silent_since_s + PERIODS_UNTIL_UNKNOWN * topic_of(ReaderState).period_s
    assert connectors.latest(ReaderState) is None


def test_a_restarted_owner_replaces_what_it_said_before(wires: Wires) -> None:
    first, watcher = wires.node("rfid"), wires.node("connectors")
    watcher.watch(ReaderState, lambda *_: None)
    wires.attach(first)
    wires.attach(watcher)
    for _ in range(5):
        first.publish(ReaderState("old"))
    wires.settle()
    wires.detach(first)
    second = wires.node("rfid")
    wires.attach(second)
    second.publish(ReaderState("new"))
    wires.settle()
    assert watcher.latest(ReaderState) == ReaderState("new")


def test_a_broker_without_memory_is_told_everything_again(wires: Wires) -> None:
    rfid = wires.node("rfid")
    wires.attach(rfid)
    rfid.publish(ReaderState("broken"))
    wires.settle()
    wires.restart_broker()
    wires.settle()
    late = wires.node("connectors")
    late.watch(ReaderState, lambda *_: None)
    wires.attach(late)
    assert late.latest(ReaderState) == ReaderState("broken")


def test_a_fresh_event_is_handled_and_a_late_one_is_logged(
    wires: Wires, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    rfid, connectors = wires.node("rfid"), wires.node("connectors")
    seen: list[str] = []
    connectors.on_event(IdTagPresented, lambda _, event: seen.append(event.id_tag))
    for node in (rfid, connectors):
        wires.attach(node)
    rfid.emit(IdTagPresented("A", 1000.0))
    wires.settle()
    rfid.emit(IdTagPresented("B", 1000.0))
    wires.collect()
    clock.now_s += 3
    wires.settle()
    assert seen == ["A"]
    assert "too late" in caplog.text


def test_lost_events_are_logged(wires: Wires, caplog: pytest.LogCaptureFixture) -> None:
    rfid, connectors = wires.node("rfid"), wires.node("connectors")
    connectors.on_event(IdTagPresented, lambda *_: None)
    for node in (rfid, connectors):
        wires.attach(node)
    for number in range(4):
        rfid.emit(IdTagPresented("A", 1000.0))
        wires.fault = nothing if number in (1, 2) else whole
        wires.settle()
    (record,) = [record for record in caplog.records if "lost" in record.message]
    assert record.fields["lost"] == 2


def asked(wires: Wires) -> tuple[Any, Any, list[IncomingCall], list[Reply]]:
    """connectors and meter, with one call on its way."""
    connectors, meter = wires.node("connectors"), wires.node("meter")
    calls: list[IncomingCall] = []
    replies: list[Reply] = []
    meter.serve(ReadMeter, lambda _, call: calls.append(call))
    for node in (connectors, meter):
        wires.attach(node)
    connectors.call(ReadMeter(1, 0.0), timeout_s=2.0, on_reply=replies.append)
    return connectors, meter, calls, replies


def test_a_call_is_answered(wires: Wires) -> None:
    _, _, calls, replies = asked(wires)
    wires.settle()
    calls[0].answer(SAMPLE)
    wires.settle()
    assert [reply.value for reply in replies] == [SAMPLE]
    assert calls[0].caller == "connectors"


def test_a_call_that_every_service_answers_goes_to_the_one_that_is_named(wires: Wires) -> None:
    asker, meter, rfid = (wires.node(name) for name in ("status-1", "meter", "rfid"))
    answered: list[str] = []
    replies: list[Reply] = []
    for node in (meter, rfid):

        def answer(_: ReadTrace, call: IncomingCall, name: str = node.service) -> None:
            answered.append(name)
            call.answer(Trace((DeviceFrame(1.0, True, b"\x01"),)))

        node.serve(ReadTrace, answer)
    for node in (asker, meter, rfid):
        wires.attach(node)
    asker.call(ReadTrace("meter-1"), timeout_s=2.0, on_reply=replies.append, service="meter")
    wires.settle()
    assert answered == ["meter"]
    assert replies[0].value == Trace((DeviceFrame(1.0, True, b"\x01"),))


def test_a_call_is_refused_in_plain_words(wires: Wires) -> None:
    _, _, calls, replies = asked(wires)
    wires.settle()
    calls[0].refuse("no such meter")
    wires.settle()
    assert [(reply.value, reply.error, reply.timed_out) for reply in replies] == [(None, "no such meter", False)]


def test_a_call_that_nobody_answers_times_out_and_is_taken_back(wires: Wires, clock: Clock) -> None:
    connectors, meter, calls, replies = asked(wires)
    cancelled: list[str] = []
    meter.on_cancel(cancelled.append)
    wires.settle()
    clock.now_s += 2
    connectors.tick()
    wires.settle()
    assert [reply.timed_out for reply in replies] == [True]
    assert cancelled == [calls[0].call_id]
    calls[0].answer(SAMPLE)
    wires.settle()
    assert len(replies) == 1


def test_a_call_that_arrives_late_is_not_acted_on(wires: Wires, clock: Clock) -> None:
    _, _, calls, _ = asked(wires)
    wires.collect()
    clock.now_s += 2
    wires.settle()
    assert calls == []


def test_a_call_that_arrives_after_its_cancellation_is_not_acted_on(wires: Wires) -> None:
    connectors, _, calls, replies = asked(wires)
    wires.collect()
    connectors.cancel("connectors-1-1")
    wires.collect()
    wires.queue.reverse()
    wires.settle()
    assert (calls, replies) == ([], [])


def test_an_answer_goes_to_its_caller_alone(wires: Wires) -> None:
    _, _, calls, _ = asked(wires)
    other = wires.node("ocpp_link")
    wires.attach(other)
    wires.settle()
    calls[0].answer(SAMPLE)
    assert not any(b"reply.connectors.".startswith(prefix) for prefix in other.subscriptions())


def test_an_answer_of_the_wrong_type_is_dropped_and_the_call_times_out(wires: Wires, clock: Clock) -> None:
    connectors, _, calls, replies = asked(wires)
    wires.settle()
    calls[0].answer(IdTagInfo(AuthorizationStatus.ACCEPTED))
    wires.settle()
    assert (replies, connectors.undecodable) == ([], 1)
    clock.now_s += 2
    connectors.tick()
    assert replies[0].timed_out


def test_only_the_owner_may_publish_emit_serve_and_journal(wires: Wires) -> None:
    node = wires.node("connectors")
    with pytest.raises(AssertionError, match="belongs to ocpp_link"):
        node.publish(LinkState(connected=True))
    with pytest.raises(AssertionError, match="belongs to rfid"):
        node.emit(IdTagPresented("A", 1.0))
    with pytest.raises(AssertionError, match="belongs to meter"):
        node.serve(ReadMeter, lambda *_: None)
    meter = wires.node("meter")
    with pytest.raises(AssertionError, match="belongs to connectors"):
        meter.send_entry(TOPIC, meter.journal_header("s", 1, seq=1, previous=0, epoch=1), entry(1))
    with pytest.raises(AssertionError, match="is stored by transaction_queue"):
        meter.on_entries(TOPIC, lambda *_: None)


def test_a_topic_is_used_as_the_kind_that_it_is(wires: Wires) -> None:
    rfid = wires.node("rfid")
    for wrong in (
        lambda: rfid.publish(IdTagPresented("A", 1.0)),
        lambda: rfid.emit(ReaderState()),
        lambda: rfid.call(ReaderState(), timeout_s=1, on_reply=lambda _: None),
        lambda: rfid.watch(IdTagPresented, lambda *_: None),
        lambda: rfid.on_event(ReaderState, lambda *_: None),
    ):
        with pytest.raises(AssertionError):
            wrong()


def test_every_service_says_its_own_health(wires: Wires) -> None:
    watcher = wires.node("ocpp_link")
    seen: list[str] = []
    watcher.watch(ServiceHealth, lambda key, _: seen.append(key))
    wires.attach(watcher)
    for name in ("meter", "rfid"):
        node = wires.node(name)
        wires.attach(node)
        node.publish(ServiceHealth(1, "0", 0.0), name)
    wires.settle()
    assert seen == ["meter", "rfid"]


def test_a_message_of_somebody_who_does_not_own_the_topic_is_refused(wires: Wires) -> None:
    watcher = wires.node("connectors")
    watcher.watch(LinkState, lambda *_: pytest.fail("taken for true"))
    forged = codec.encode(StateHeader("meter", 9, 1, 1000.0, 5.0), LinkState(connected=True))
    watcher.receive([b"link.", forged])
    assert watcher.undecodable == 1


def test_what_does_not_decode_is_counted_and_logged_once_for_its_topic(wires: Wires, caplog: pytest.LogCaptureFixture) -> None:
    """Issue 2, bad input: counted, logged once and dropped."""
    node = wires.node("connectors")
    node.watch(LinkState, lambda *_: None)
    for _ in range(50):
        node.receive([b"link.", b"\xc1"])
    node.receive([b"no.such.topic.", b"\xc1"])
    assert node.undecodable == 51
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 2
    for number in range(500):
        node.receive([f"nonsense.{number}.".encode(), b""])
    assert len(caplog.records) <= 101, "the log is bounded, whatever arrives"


def test_a_refresh_of_broken_frames_is_followed_by_a_good_one(wires: Wires) -> None:
    node, link = wires.node("connectors"), wires.node("ocpp_link")
    node.watch(LinkState, lambda *_: None)
    wires.attach(node)
    wires.attach(link)
    for frames in ([], [b""], [b"link."], [b"link.", b"\x92\xc0\xc0"], [b"link.", b"a", b"b"], [b"\xff\xff", b"a"]):
        node.receive(frames)
    link.publish(LinkState(connected=True))
    wires.settle()
    assert node.latest(LinkState) == LinkState(connected=True)


NAMES = st.sampled_from(
    [t.name.encode() for t in TOPICS] + [b"reply.connectors.", b"cancel.connectors.", b"connector.status.1."]
)
PARTS = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**63) | st.floats() | st.text(max_size=10) | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)


@given(frames=st.lists(st.binary(max_size=60), max_size=4))
def test_arbitrary_frames_never_raise(frames: list[bytes]) -> None:
    _listening().receive(frames)


@settings(max_examples=300)
@given(name=NAMES, header=PARTS, payload=PARTS, sender=st.sampled_from(["meter", "connectors", "ocpp_link", "rfid"]))
def test_arbitrary_messages_on_our_topics_never_raise(name: bytes, header: Any, payload: Any, sender: str) -> None:
    node = _listening()
    node.receive([name, msgpack.packb([header, payload])])
    node.receive([name, msgpack.packb([[sender, 5, 1, 1000.0, 1.0, 1, 1, 0, 0], payload])])
    node.receive([name, msgpack.packb([[sender, 5, 1, 1000.0, "store", 1, 1, 0, 0], payload])])
    node.tick()
    deadline_s = node.next_deadline_s()
    assert deadline_s is None or 0 <= deadline_s < 1e11


def _listening() -> Any:
    """A node that takes everything there is."""
    node = Wires(Clock()).node("connectors")
    for type_ in (LinkState, ConnectorState, MeterSample, ReaderState, ServiceHealth):
        node.watch(type_, lambda *_: None, lambda _: None)
    node.on_event(IdTagPresented, lambda *_: None)
    node.on_entries(topic_named("journal.delivery."), lambda *_: None)
    node.call(Authorize("A"), timeout_s=9.0, on_reply=lambda _: None)
    return node
