"""A plug-in for supervisord, loaded through its `rpcinterface` sections: it acts at once, and never gives up or falls.

supervisord's loop looks after its children once a second unless something wakes it. Measured with version 4.3.0: a start
of the station costs up to 1 s before the first child, and a killed child is started again up to 1 s later. Owns: waking
the loop (at its start, on SIGCHLD, on each change of state), a cap for the back-off, the meaning of SIGHUP. Does not:
decide what is restarted; that stays supervisord's.
"""

import os
import signal
import time
from typing import Any

from supervisor import events
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.states import SupervisorStates

from services.station.sturdy_logs import make_sturdy

BACKOFF_S_MAX = 10
"""supervisord adds a second with each failed start, without end; with a cap the count never reaches `startretries`."""


class Waker:
    """One end of a pipe in supervisord's loop; whoever writes to the other end ends its wait."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        asyncore.socket_map[self._reader] = self
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def wake(self) -> None:
        """Let the loop go round once more, now."""
        try:
            os.write(self._writer, b"\0")
        except BlockingIOError:
            pass  # A full pipe wakes as well.

    def close(self) -> None:
        """Leave the loop."""
        signal.set_wakeup_fd(-1)
        asyncore.socket_map.pop(self._reader, None)
        os.close(self._reader)
        os.close(self._writer)

    def readable(self) -> bool:
        """The loop asks: always."""
        return True

    def writable(self) -> bool:
        """The loop asks: never."""
        return False

    def handle_read_event(self) -> None:
        """The loop has been woken: empty the pipe."""
        try:
            while os.read(self._reader, 4096):
                pass
        except BlockingIOError:
            pass

    def handle_error(self) -> None:
        """Nothing that a pipe to ourselves could do."""


class StationInterface:
    """The RPC namespace `station`; it has no methods, supervisord wants an object."""

    def __init__(self, supervisord: Any) -> None:
        self._supervisord = supervisord
        self._waker: Waker | None = Waker()
        events.subscribe(events.SupervisorRunningEvent, self._on_running)
        events.subscribe(events.SupervisorStoppingEvent, self._on_stopping)
        events.subscribe(events.ProcessStateBackoffEvent, self._on_backoff)
        events.subscribe(events.ProcessStateEvent, self._on_state)

    def _on_running(self, _event: Any) -> None:
        # A closed terminal ends the station in good order; supervisord would restart everything instead.
        receiver = self._supervisord.options.signal_receiver
        signal.signal(signal.SIGHUP, lambda _number, frame: receiver.receive(signal.SIGTERM, frame))
        self._wake()

    def _on_stopping(self, _event: Any) -> None:
        # On a reload supervisord closes descriptors by number before it begins anew; ours must be gone by then.
        if self._waker is not None and self._supervisord.options.mood == SupervisorStates.RESTARTING:
            self._waker.close()
            self._waker = None

    def _on_backoff(self, event: Any) -> None:
        process = event.process
        if process.backoff > BACKOFF_S_MAX:
            process.backoff = BACKOFF_S_MAX
            process.delay = min(process.delay, time.time() + BACKOFF_S_MAX)

    def _on_state(self, _event: Any) -> None:
        self._wake()

    def _wake(self) -> None:
        if self._waker is not None:
            self._waker.wake()


def make_rpcinterface(supervisord: Any, **_options: Any) -> StationInterface:
    """supervisord calls this before its loop begins."""
    make_sturdy()
    return StationInterface(supervisord)
