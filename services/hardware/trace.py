"""The last frames of a device, kept in memory for support (hardware.md §7).

Owns: the ring. Does not: say what a frame means, or write it anywhere: it holds card numbers in full.

Every port notes what goes over it in the trace of the thread that opened it. A device has one thread, so that drivers, those
from outside the package too, need do nothing for it.
"""

import threading
from collections import deque

from bus.clock import boottime_s
from bus.device_messages import DeviceFrame

FRAMES_MAX = 200
FRAME_BYTES_MAX = 256
JOIN_S = 0.02
"""What arrives in pieces so close together is shown as one frame."""


class Trace:
    """One device's ring. Its own thread notes, any thread may look."""

    def __init__(self) -> None:
        self._frames: deque[DeviceFrame] = deque(maxlen=FRAMES_MAX)
        self._newest_s = 0.0
        self._lock = threading.Lock()

    def note(self, data: bytes, *, sent: bool) -> None:
        """Bytes went over the wire just now."""
        now_s = boottime_s()
        with self._lock:
            last = self._frames[-1] if self._frames else None
            goes_on = last is not None and last.sent == sent and now_s - self._newest_s <= JOIN_S
            if goes_on and last is not None and len(last.data) + len(data) <= FRAME_BYTES_MAX:
                self._frames[-1] = DeviceFrame(last.boottime_s, sent, last.data + data)
            else:
                self._frames.append(DeviceFrame(now_s, sent, data[:FRAME_BYTES_MAX]))
            self._newest_s = now_s

    def frames(self) -> tuple[DeviceFrame, ...]:
        """The last ones, oldest first."""
        with self._lock:
            return tuple(self._frames)


class _OfThread(threading.local):
    trace: Trace | None = None


_own = _OfThread()


def keep_for_this_thread(trace: Trace) -> None:
    """What goes over ports that this thread opens from now on is noted in `trace`."""
    _own.trace = trace


def of_this_thread() -> Trace | None:
    """Where a port that is opened now notes its frames; None: nowhere."""
    return _own.trace
