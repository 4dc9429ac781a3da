"""Messages on the bus of what the devices of a service say, and of what goes over their wires.

Owns: shapes, as `bus/messages.py`; the same rules hold. Does not: say who publishes what and how (`bus/topics.py`).
"""

from bus.messages import ConnectorId, Message


class ControllerReading(Message, frozen=True):
    """What a charging controller has counted with a meter of its own; nobody has judged it. Key: the connector's number.

    `read_boottime_s` is the instant before the request went out. Wh, W, V, A.
    """

    connector_id: ConnectorId
    read_boottime_s: float = 0.0
    energy_import_wh: int = 0
    power_w: float = 0.0
    voltage_v: float = 0.0
    current_a: float = 0.0
    failure: str = ""
    """Why there is no reading now, in plain words; empty: there is one."""


class DeviceFrame(Message, frozen=True):
    """Bytes that went over a device's wire, at a boottime; `sent`: to the device."""

    boottime_s: float
    sent: bool
    data: bytes


class ReadTrace(Message, frozen=True):
    """Call to the service that holds a device, which is the key: its last frames. Answer: Trace."""

    device: str


class Trace(Message, frozen=True):
    """The last frames of a device, oldest first; they may hold card numbers."""

    frames: tuple[DeviceFrame, ...]
