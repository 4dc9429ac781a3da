"""Bytes and messages: msgpack on the wire, types checked on the way out and on the way in.

A bus message is two frames: the wire name of its topic, and msgpack of `[header, payload]`.
Owns: headers and their encoding. Does not: know about delivery, sockets or time.

Error tree: `Undecodable` (a message from outside that is not ours). Encoding a wrong value is our bug: `AssertionError`.
"""

from typing import Annotated, Any, TypeVar

import msgpack
import msgspec

MESSAGE_BYTES_MAX = 1 << 20
"""Larger messages are refused both ways."""

Boottime = Annotated[float, msgspec.Meta(ge=0, le=1e10)]
"""Seconds since the kernel booted; neither infinite nor NaN, which no comparison with a deadline would survive."""

T = TypeVar("T", bound=msgspec.Struct)


class Undecodable(Exception):
    """A bus message is not msgpack, not of its topic's type, or too large."""


class Header(msgspec.Struct, frozen=True, array_like=True):
    """Who sent it and when. `incarnation` is the boottime in ns at which the sender started: a later one is newer.

    `number` counts up from 1 for each wire name and incarnation.
    """

    sender: str
    incarnation: int
    number: int
    boottime_s: Boottime


class StateHeader(Header, frozen=True, array_like=True):
    """`period_s`: the owner sends it again after that, late by half of it at most."""

    period_s: Annotated[float, msgspec.Meta(ge=0, le=86400)]


class EventHeader(Header, frozen=True, array_like=True):
    """Events carry nothing more."""


class CallHeader(Header, frozen=True, array_like=True):
    """`deadline_s`: the boottime after which the call may not be acted on."""

    call_id: str
    deadline_s: Boottime


class ReplyHeader(Header, frozen=True, array_like=True):
    """`error` set: refused, in plain words, and the payload is nil."""

    call_id: str
    error: str | None


class JournalHeader(Header, frozen=True, array_like=True):
    """Where the entry stands: `seq` follows `previous` in this store's incarnation of the stream.

    `epoch`: the run of the publisher that appended it (`bus/journal.py`).
    """

    store: str
    stream: int
    seq: int
    previous: int
    epoch: int = 0


def encode(header: Header, payload: msgspec.Struct | None) -> bytes:
    """The second frame of a message. A payload that is not of its own type is our bug: AssertionError."""
    builtins = None if payload is None else checked_builtins(payload)
    data: bytes = msgpack.packb([msgspec.to_builtins(header), builtins])
    assert len(data) <= MESSAGE_BYTES_MAX, f"{type(payload).__name__} is larger than a bus message may be"
    return data


def decode(data: bytes, header_type: type[Header], payload_type: type[T] | None) -> tuple[Any, T | None]:
    """Header and payload of a message; a nil payload is None. Raises Undecodable."""
    header, payload = unpack(data)
    try:
        typed = msgspec.convert(header, header_type)
        if payload is None or payload_type is None:
            return typed, None
        return typed, msgspec.convert(payload, payload_type)
    except msgspec.ValidationError as error:
        raise Undecodable(str(error)) from None


def unpack(data: bytes) -> tuple[Any, Any]:
    """The two halves of a message, not yet typed. Raises Undecodable."""
    if len(data) > MESSAGE_BYTES_MAX:
        raise Undecodable(f"{len(data)} bytes, more than {MESSAGE_BYTES_MAX}")
    try:
        halves = msgpack.unpackb(data)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise Undecodable(f"not msgpack: {error or type(error).__name__}") from None
    if not isinstance(halves, list) or len(halves) != 2:
        raise Undecodable("not a pair of header and payload")
    return halves[0], halves[1]


def checked_builtins(value: msgspec.Struct) -> Any:
    """`value` as plain builtins, after a check against its own type; msgspec does not check on construction."""
    builtins = msgspec.to_builtins(value)
    try:
        msgspec.convert(builtins, type(value))
    except msgspec.ValidationError as error:
        raise AssertionError(f"{type(value).__name__} holds a wrong value: {error}") from None
    return builtins
