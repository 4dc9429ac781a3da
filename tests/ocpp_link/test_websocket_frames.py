"""WebSocket frames without a socket (RFC 6455 §5)."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ocpp_link import websocket_frames as frames
from services.ocpp_link.websocket_frames import Binary, Close, FrameError, FrameReader, Ping, Pong, Text

LIMIT = 1000


def frame(opcode: int, payload: bytes, *, fin: int = 1, mask: int = 0, rsv: int = 0) -> bytes:
    """A frame as a server sends it."""
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if len(payload) < 126:
        return head + bytes([mask << 7 | len(payload)]) + payload
    if len(payload) < 65536:
        return head + bytes([mask << 7 | 126]) + struct.pack("!H", len(payload)) + payload
    return head + bytes([mask << 7 | 127]) + struct.pack("!Q", len(payload)) + payload


def drain(reader: FrameReader) -> list[frames.WebSocketMessage]:
    found = []
    while (message := reader.next_message()) is not None:
        found.append(message)
    return found


def read(data: bytes, chunk: int = 0) -> list[frames.WebSocketMessage]:
    reader = FrameReader(LIMIT)
    found: list[frames.WebSocketMessage] = []
    for start in range(0, len(data), chunk or len(data) or 1):
        reader.feed(data[start : start + (chunk or len(data))])
        found += drain(reader)
    assert not reader.inside_a_message
    return found


@pytest.mark.parametrize("chunk", [0, 1, 2, 3, 7])
def test_messages_come_out_whole_however_the_bytes_come_in(chunk: int) -> None:
    data = (
        frame(1, "täxt".encode())
        + frame(2, b"12345")
        + frame(1, b"Hel", fin=0)
        + frame(9, b"ping between")
        + frame(0, b"", fin=0)
        + frame(0, b"lo")
        + frame(10, b"")
        + frame(1, b"")
        + frame(1, b"x" * 900)
        + frame(8, struct.pack("!H", 1001) + b"bye")
        + frame(8, b"")
    )
    assert read(data, chunk) == [
        Text("täxt"),
        Binary(5),
        Ping(b"ping between"),
        Text("Hello"),
        Pong(b""),
        Text(""),
        Text("x" * 900),
        Close(1001, "bye"),
        Close(frames.CLOSE_NO_CODE, ""),
    ]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(1, b"x" * (LIMIT + 1)), frames.CLOSE_TOO_BIG),
        (bytes([0x81, 127]) + struct.pack("!Q", 2**62), frames.CLOSE_TOO_BIG),
        (frame(1, b"x" * 600, fin=0) + frame(0, b"x" * 600), frames.CLOSE_TOO_BIG),
        (frame(1, b"\xff"), frames.CLOSE_NOT_UTF8),
        (frame(0, b"x"), frames.CLOSE_PROTOCOL_ERROR),
        (frame(1, b"x", fin=0) + frame(1, b"x"), frames.CLOSE_PROTOCOL_ERROR),
        (frame(3, b"x"), frames.CLOSE_PROTOCOL_ERROR),
        (frame(1, b"x", rsv=4), frames.CLOSE_PROTOCOL_ERROR),
        (frame(1, b"\0\0\0\0", mask=1) + b"\0" * 4, frames.CLOSE_PROTOCOL_ERROR),
        (frame(9, b"x", fin=0), frames.CLOSE_PROTOCOL_ERROR),
        (frame(10, b"x", fin=0), frames.CLOSE_PROTOCOL_ERROR),
        (frame(9, b"x" * 126), frames.CLOSE_PROTOCOL_ERROR),
        (frame(8, b"x"), frames.CLOSE_PROTOCOL_ERROR),
        (frame(8, struct.pack("!H", 1005)), frames.CLOSE_PROTOCOL_ERROR),
        (frame(8, struct.pack("!H", 1000) + b"\xff"), frames.CLOSE_PROTOCOL_ERROR),
    ],
)
def test_what_a_server_may_not_send_is_refused_with_its_code(data: bytes, code: int) -> None:
    reader = FrameReader(LIMIT)
    reader.feed(data)
    with pytest.raises(FrameError) as caught:
        drain(reader)
    assert caught.value.code == code


def test_a_huge_announced_length_is_refused_before_the_payload_comes() -> None:
    """Issue, "Bad input": oversized frames are bounded, without taking memory for them."""
    reader = FrameReader(LIMIT)
    reader.feed(bytes([0x81, 126]) + struct.pack("!H", LIMIT + 1))
    with pytest.raises(FrameError):
        reader.next_message()


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_cut_inside_a_message_is_seen(cut: int) -> None:
    reader = FrameReader(LIMIT)
    reader.feed(frame(1, b"12345678")[:cut])
    assert reader.next_message() is None
    assert reader.inside_a_message


def test_a_cut_between_fragments_is_inside_a_message() -> None:
    reader = FrameReader(LIMIT)
    reader.feed(frame(1, b"12", fin=0))
    assert reader.next_message() is None
    assert reader.inside_a_message


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_frame_error(data: bytes) -> None:
    reader = FrameReader(LIMIT)
    reader.feed(data)
    with suppress(FrameError):
        drain(reader)


@settings(deadline=None)
@given(st.integers(1000, 1014), st.text(max_size=200))
def test_a_close_reason_of_any_length_fits(code: int, reason: str) -> None:
    assert len(frames.close_frame(code, reason)) <= 2 + 4 + 125
    assert frames.close_frame(code, reason)[1] & 0x80  # A client masks what it sends.


def test_lone_surrogates_do_not_stop_a_text() -> None:
    assert len(frames.text_frame("a\ud800b")) == 2 + 4 + 3
