"""Bytes and messages: what is ours comes back, what is not never raises anything but Undecodable."""

import math
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import codec
from bus.codec import CallHeader, EventHeader, Header, JournalHeader, ReplyHeader, StateHeader, Undecodable
from bus.messages import Authorize, Message, MeterSample, Moment, StartTransaction, TransactionEntry
from bus.topics import TOPICS

STATE = StateHeader("meter", 7, 1, 12.5, 1.0)
SAMPLE = MeterSample(connector_id=1, read_boottime_s=12.25, serial="7", energy_import_wh=100, voltages_v=(230.1, 229.9))
HEADERS = [
    STATE,
    EventHeader("rfid", 7, 1, 12.5),
    CallHeader("connectors", 7, 1, 12.5, "id", 13.5),
    ReplyHeader("meter", 7, 1, 12.5, "id", None),
    ReplyHeader("meter", 7, 1, 12.5, "id", "no such connector"),
    JournalHeader("connectors", 7, 3, 12.5, "store", 1, 3, 2, 5),
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: type(header).__name__)
def test_every_header_comes_back(header: Header) -> None:
    assert codec.decode(codec.encode(header, SAMPLE), type(header), MeterSample) == (header, SAMPLE)


def test_an_entry_comes_back_as_the_message_that_it_was() -> None:
    start = StartTransaction(connector_id=1, id_tag="A", meter_start_wh=1, at=Moment("boot", 5, None))
    entry = TransactionEntry("tx", 0, start)
    assert codec.decode(codec.encode(HEADERS[-1], entry), JournalHeader, TransactionEntry)[1] == entry


def test_no_payload_is_none() -> None:
    assert codec.decode(codec.encode(STATE, None), StateHeader, MeterSample) == (STATE, None)


def test_a_wrong_value_on_the_way_out_is_our_bug() -> None:
    wrong = msgspec.structs.replace(SAMPLE, energy_import_wh="many")
    with pytest.raises(AssertionError, match="MeterSample"):
        codec.encode(STATE, wrong)
    with pytest.raises(AssertionError, match="Authorize"):
        codec.encode(STATE, Authorize("x" * 21))


def test_a_message_too_large_is_refused_both_ways() -> None:
    with pytest.raises(AssertionError, match="larger"):
        codec.encode(STATE, msgspec.structs.replace(SAMPLE, serial="x" * codec.MESSAGE_BYTES_MAX))
    with pytest.raises(Undecodable, match="bytes"):
        codec.decode(b"\x00" * (codec.MESSAGE_BYTES_MAX + 1), StateHeader, MeterSample)


def test_a_newer_service_may_add_fields() -> None:
    """Style §2: an older service reads a newer one's messages."""
    newer = {**msgspec.to_builtins(SAMPLE), "humidity": 3}
    data = msgpack.packb([[*msgspec.to_builtins(STATE), "more"], newer])
    assert codec.decode(data, StateHeader, MeterSample)[1] == SAMPLE


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1.0, 1e300])
@pytest.mark.parametrize("place", [3, 4])
def test_times_that_no_deadline_survives_are_refused(number: float, place: int) -> None:
    fields = ["meter", 7, 1, 12.5, 1.0]
    fields[place] = number
    with pytest.raises(Undecodable):
        codec.decode(msgpack.packb([fields, msgspec.to_builtins(SAMPLE)]), StateHeader, MeterSample)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x00", msgpack.packb({}), msgpack.packb([1]), msgpack.packb([1, 2, 3]), b"\x92\x90", b"\x91" * 5000],
)
def test_what_is_no_message_is_undecodable(data: bytes) -> None:
    with pytest.raises(Undecodable):
        codec.decode(data, StateHeader, MeterSample)


HEADER_TYPES = st.sampled_from([StateHeader, EventHeader, CallHeader, ReplyHeader, JournalHeader])
PAYLOAD_TYPES = st.sampled_from([topic.message for topic in TOPICS])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(data=st.binary(max_size=200), header=HEADER_TYPES, payload=PAYLOAD_TYPES)
def test_arbitrary_bytes_are_undecodable_or_a_message(data: bytes, header: type[Header], payload: type[Message]) -> None:
    _decode(data, header, payload)


@given(value=VALUES, header=HEADER_TYPES, payload=PAYLOAD_TYPES)
def test_arbitrary_msgpack_is_undecodable_or_a_message(value: Any, header: type[Header], payload: type[Message]) -> None:
    _decode(msgpack.packb([["meter", 1, 1, 1.0, 1.0], value]), header, payload)
    _decode(msgpack.packb([value, value]), header, payload)


def _decode(data: bytes, header: type[Header], payload: type[Message]) -> None:
    try:
        decoded = codec.decode(data, header, payload)
    except Undecodable:
        return
    assert isinstance(decoded[0], header)
