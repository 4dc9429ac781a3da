"""Lays devices and their frames out for a person. Pure: facts in, lines out.

Owns: words and columns. Does not: ask anybody.
"""

import string
from collections.abc import Iterator

import msgspec

from bus.device_messages import DeviceFrame
from bus.logs import utc_text
from services.station.facts import DeviceReport

_READABLE = frozenset(string.digits + string.ascii_letters + string.punctuation + " ")


def lines(devices: list[DeviceReport]) -> list[str]:
    """Each device: whether it answers, who it is, how it is configured, its counters, and what is wrong."""
    out = []
    for device in devices:
        out.append(f"{device.name:<10} {_state(device)}")
        configured = " at ".join(part for part in (device.driver, device.port) if part)
        if configured:
            out.append(f"{'':<10} configured as {configured}")
        if device.transmissions or device.replies or device.timeouts or device.errors or device.reconnects:
            out.append(f"{'':<10} {counted(device)}")
    return out or ["no devices are configured"]


def counted(device: DeviceReport) -> str:
    """What went over its wire since its service started."""
    return (
        f"sent {device.transmissions}, answered {device.replies}, timeouts {device.timeouts}, "
        f"errors {device.errors}, reconnects {device.reconnects}"
    )


def frame_lines(frames: tuple[DeviceFrame, ...], utc_offset_s: float) -> Iterator[str]:
    """One line a frame: UTC, `>` to the device or `<` from it, its bytes, and as text where all of it is readable."""
    for frame in frames:
        direction = ">" if frame.sent else "<"
        yield f"{utc_text(frame.boottime_s + utc_offset_s)} {direction} {frame.data.hex(' ')}{_text(frame.data)}"
    if not frames:
        yield "no frame went over its wire since its service started"


def json_frames(frames: tuple[DeviceFrame, ...], utc_offset_s: float) -> Iterator[str]:
    """The same as one JSON object a line."""
    for frame in frames:
        found = {"utc": utc_text(frame.boottime_s + utc_offset_s), "sent": frame.sent, "data": frame.data.hex()}
        yield msgspec.json.encode(found).decode()


def _state(device: DeviceReport) -> str:
    if device.connected:
        return f"answers: {device.identity}" if device.identity else "answers"
    known = f" (it was {device.identity})" if device.identity else ""
    return f"does not answer: {device.detail}{known}"


def _text(data: bytes) -> str:
    shown = data.decode("latin-1").rstrip("\r\n")
    return f"  {shown}" if shown and _READABLE.issuperset(shown) else ""
