"""WebSocket frames to messages and back, without a socket: bytes in, whole messages out (RFC 6455 §5).

Owns: bounds and the rules for what a server may send, over the frame parser of websocket-client. Does not: read or write a
socket, or answer.
"""

import struct
from collections.abc import Callable

import msgspec
from websocket import ABNF, WebSocketException, frame_buffer

CLOSE_NORMAL = 1000
CLOSE_GOING_AWAY = 1001
CLOSE_PROTOCOL_ERROR = 1002
CLOSE_NO_CODE = 1005
CLOSE_ABNORMAL = 1006
CLOSE_NOT_UTF8 = 1007
CLOSE_TOO_BIG = 1009
_CONTROL_BYTES_MAX = 125


class FrameError(Exception):
    """The peer broke a rule. `code` is what the connection is closed with; the text says what it did."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Text(msgspec.Struct, frozen=True):
    """A whole text message."""

    text: str


class Binary(msgspec.Struct, frozen=True):
    """A whole binary message; only its size is kept."""

    size_bytes: int


class Ping(msgspec.Struct, frozen=True):
    """To be answered with a pong of the same payload."""

    payload: bytes


class Pong(msgspec.Struct, frozen=True):
    """Answer to a ping of ours."""

    payload: bytes


class Close(msgspec.Struct, frozen=True):
    """The peer ends the connection."""

    code: int
    reason: str


WebSocketMessage = Text | Binary | Ping | Pong | Close


class _NeedsMore(Exception):
    """The bytes at hand end inside a frame."""


class _BoundedBuffer(frame_buffer):
    """The parser of websocket-client, which refuses a payload by its announced length, before it takes memory for it."""

    def __init__(self, take: Callable[[int], bytes], payload_bytes_max: int) -> None:
        super().__init__(take, skip_utf8_validation=False)
        self._payload_bytes_max = payload_bytes_max

    def recv_strict(self, bufsize: int) -> bytes:
        if bufsize > self._payload_bytes_max:
            raise FrameError(CLOSE_TOO_BIG, f"a message of more than {self._payload_bytes_max} bytes")
        return super().recv_strict(bufsize)

    @property
    def inside_a_frame(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self.header is not None or any(self.recv_buffer)


class FrameReader:
    """Takes bytes as they come and gives whole messages. After a FrameError it must not be used again."""

    def __init__(self, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._bytes = bytearray()
        self._frames = _BoundedBuffer(self._take, message_bytes_max)
        self._opcode: int | None = None
        self._fragments = bytearray()

    def feed(self, data: bytes) -> None:
        """Add bytes from the socket; `messages` takes them apart."""
        self._bytes += data

    def next_message(self) -> WebSocketMessage | None:
        """The next whole message in the bytes that were fed; None: more bytes are needed. Raises FrameError."""
        while True:
            try:
                frame = self._frames.recv_frame()
            except _NeedsMore:
                return None
            except (WebSocketException, ValueError) as error:
                raise FrameError(CLOSE_PROTOCOL_ERROR, f"a frame that breaks RFC 6455 ({error})") from None
            message = self._message(frame)
            if message is not None:
                return message

    @property
    def inside_a_message(self) -> bool:
        """Whether the bytes so far end in the middle of a message."""
        return bool(self._bytes) or self._opcode is not None or self._frames.inside_a_frame

    def _take(self, size: int) -> bytes:
        if not self._bytes:
            raise _NeedsMore
        taken = bytes(self._bytes[:size])
        del self._bytes[:size]
        return taken

    def _message(self, frame: ABNF) -> WebSocketMessage | None:
        payload = frame.data if isinstance(frame.data, bytes) else str(frame.data).encode()
        if frame.mask_value:
            raise FrameError(CLOSE_PROTOCOL_ERROR, "a masked frame, which a server may not send")
        if frame.opcode >= ABNF.OPCODE_CLOSE:
            if not frame.fin or len(payload) > _CONTROL_BYTES_MAX:
                raise FrameError(CLOSE_PROTOCOL_ERROR, "a control frame that is fragmented or too long")
            return _control(frame.opcode, payload)
        if (frame.opcode == ABNF.OPCODE_CONT) != (self._opcode is not None):
            raise FrameError(CLOSE_PROTOCOL_ERROR, "a fragment out of order")
        if self._opcode is None:
            self._opcode = frame.opcode
        self._fragments += payload
        if len(self._fragments) > self._message_bytes_max:
            raise FrameError(CLOSE_TOO_BIG, f"a message of more than {self._message_bytes_max} bytes")
        return self._whole_message() if frame.fin else None

    def _whole_message(self) -> WebSocketMessage:
        opcode, payload = self._opcode, bytes(self._fragments)
        self._opcode = None
        self._fragments.clear()
        if opcode == ABNF.OPCODE_BINARY:
            return Binary(len(payload))
        try:
            return Text(payload.decode("utf-8"))
        except UnicodeDecodeError:
            raise FrameError(CLOSE_NOT_UTF8, "a text that is not UTF-8") from None


def text_frame(text: str) -> bytes:
    """`text` as it goes on the wire, masked. Lone surrogates become question marks: they have no UTF-8."""
    return _frame(text.encode("utf-8", "replace"), ABNF.OPCODE_TEXT)


def ping_frame(payload: bytes = b"") -> bytes:
    """A ping; at most 125 bytes of payload."""
    return _frame(payload[:_CONTROL_BYTES_MAX], ABNF.OPCODE_PING)


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping."""
    return _frame(payload, ABNF.OPCODE_PONG)


def close_frame(code: int, reason: str = "") -> bytes:
    """The end of a connection; the reason is cut to what fits. Code 1005 has no place on the wire."""
    if code == CLOSE_NO_CODE:
        return _frame(b"", ABNF.OPCODE_CLOSE)
    cut = reason.encode("utf-8", "replace")[: _CONTROL_BYTES_MAX - 2].decode("utf-8", "ignore")
    return _frame(struct.pack("!H", code) + cut.encode(), ABNF.OPCODE_CLOSE)


def _frame(payload: bytes, opcode: int) -> bytes:
    return ABNF.create_frame(payload, opcode).format()


def _control(opcode: int, payload: bytes) -> WebSocketMessage:
    if opcode == ABNF.OPCODE_PING:
        return Ping(payload)
    if opcode == ABNF.OPCODE_PONG:
        return Pong(payload)
    if not payload:
        return Close(CLOSE_NO_CODE, "")
    return Close(struct.unpack("!H", payload[:2])[0], payload[2:].decode("utf-8", "replace"))
