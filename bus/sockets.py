"""The ZeroMQ sockets of the bus: how they are made is said here and nowhere else.

Owns: addresses, high-water marks, linger, reconnect intervals; how one message is sent and taken. Does not: know what is in it.
Addresses are relative: ipc paths may have 107 bytes at most, so each process changes into the run directory first
(design §2). Marks are set before bind and connect; the default of 1,000 loses bursts silently (design §3).
"""

from collections.abc import Sequence

import zmq

from bus.codec import MESSAGE_BYTES_MAX

PUBLISH_ADDRESS = "ipc://bus-in.sock"
SUBSCRIBE_ADDRESS = "ipc://bus-out.sock"
HIGH_WATER_MARK = 100_000
RECONNECT_MS = 20
RECONNECT_MS_MAX = 200
LINGER_MS = 200
SUBSCRIBED = 1
"""First byte of what an XPUB socket receives when somebody subscribes; 0 when somebody leaves."""

# As plain numbers: the enums of zmq cost more than the call that they are for.
_MORE, _AT_ONCE = int(zmq.SNDMORE), int(zmq.NOBLOCK)


def send(socket: "zmq.Socket[bytes]", frames: Sequence[bytes]) -> None:
    """Send one message of one frame or more."""
    for frame in frames[:-1]:
        socket.send(frame, _MORE)
    socket.send(frames[-1], 0)


def take(socket: "zmq.Socket[bytes]") -> list[bytes] | None:
    """One message, all its frames; None: there is none."""
    try:
        frame = socket.recv(_AT_ONCE, copy=False)
    except zmq.Again:
        return None
    frames = [frame.bytes]
    while frame.more:
        frame = socket.recv(_AT_ONCE, copy=False)
        frames.append(frame.bytes)
    return frames


def publisher(context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
    """A service's way out. It is an XPUB: it reads a subscription whenever a broker has connected to it, and drops

    while there is none, so that a call of an earlier broker's time is not delivered to a later one's.
    """
    socket = _bounded(context, zmq.XPUB)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.connect(PUBLISH_ADDRESS)
    return socket


def subscriber(context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
    """A service's way in; subscribe before use."""
    socket = _bounded(context, zmq.SUB)
    socket.connect(SUBSCRIBE_ADDRESS)
    return socket


def broker_input(context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
    """Where all publishers connect. It subscribes to everything, so that publishers see that a broker is there."""
    socket = _bounded(context, zmq.XSUB)
    socket.bind(PUBLISH_ADDRESS)
    socket.send(bytes([SUBSCRIBED]))
    return socket


def broker_output(context: "zmq.Context[zmq.Socket[bytes]]") -> "zmq.Socket[bytes]":
    """Where all subscribers connect. XPUB_VERBOSE: each subscription is seen, not only the first of its prefix."""
    socket = _bounded(context, zmq.XPUB)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    socket.bind(SUBSCRIBE_ADDRESS)
    return socket


def _bounded(context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
    socket: zmq.Socket[bytes] = context.socket(kind)
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
    socket.setsockopt(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX + 1024)
    return socket
