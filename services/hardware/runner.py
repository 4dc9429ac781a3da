"""The byte-moving thread of one device: desired state in, reports out (hardware.md §7, design §2).

Owns: the thread, when a driver is called, what is reported. Does not: decide anything about charging, or end by itself:
whatever comes from outside, and whatever a driver raises because of it, becomes a report and another try.

When the mailbox is full, observations are dropped, as the next poll repeats them; "up" and "down" are kept and tried again.
"""

import math
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from bus import logs
from bus.clock import boottime_s
from bus.device_messages import DeviceFrame
from bus.mailbox import Mailbox
from services.hardware import link as links
from services.hardware.contract import Counters, DeviceError, DeviceInfo, Driver, PortMissing
from services.hardware.trace import Trace, keep_for_this_thread

D = TypeVar("D")
O = TypeVar("O")  # noqa: E741 - it stands beside D, for Desired and Observed

MAILBOX_RETRY_S = 0.05
WHO_PERIOD_S = 60.0
"""A lost device is looked for under other names no more often than this."""
UNSENT_MAX = 2
"""Reports of up and down that wait for room: the last change and the one before tell all that matters."""


class Observed(msgspec.Struct, Generic[O], frozen=True):
    """A device of this name says how things are."""

    name: str
    value: O
    boottime_s: float


class DeviceUp(msgspec.Struct, frozen=True):
    """A device works, from now on."""

    name: str
    info: DeviceInfo


class DeviceDown(msgspec.Struct, frozen=True):
    """A device does not work, or now for another reason; plain words. It is tried again in `retry_in_s`."""

    name: str
    reason: str
    retry_in_s: float


Report = Observed[O] | DeviceUp | DeviceDown


class DeviceRunner(Generic[D, O]):
    """Runs one driver. `reports` may be shared by several runners; their names tell the reports apart."""

    def __init__(
        self,
        name: str,
        driver: Driver[D, O],
        reports: Mailbox[Report[O]],
        *,
        log: logs.Logger | None = None,
        now: Callable[[], float] = boottime_s,
        who: Callable[[], str] | None = None,
    ) -> None:
        """`who` asks who else answers at the port of a lost device, while it is closed; empty: nobody."""
        self.name = name
        self._who = who
        self._who_asked_s = -math.inf
        self._driver = driver
        self._reports = reports
        self._log = log or logs.logger(name)
        self._now = now
        self._desired: D | None = None
        self._info = DeviceInfo()
        self._trace = Trace()
        self._opened = 0
        self._unsent: deque[DeviceUp | DeviceDown] = deque(maxlen=UNSENT_MAX)
        self._unexpected = ""
        self._stopping = False
        self._lost_reason = ""
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._link = links.initial(now(), getattr(driver, "wait_s_max", links.BACKOFF_S[-1]))
        self._thread = threading.Thread(target=self._run, name=f"device {name}", daemon=True)

    def start(self) -> None:
        """Begin: open the device, then exchange until `stop`."""
        self._thread.start()

    def set_desired(self, desired: D) -> None:
        """The device shall have this state from now on; the thread is woken at once. Any thread may call."""
        if desired != self._desired and not self._stopping:
            self._desired = desired
            self._wake()

    def counters(self) -> Counters:
        """What went over the wire since the start. Any thread may call."""
        return msgspec.structs.replace(self._driver.counters(), reconnects=max(0, self._opened - 1))

    def frames(self) -> tuple[DeviceFrame, ...]:
        """The last frames, oldest first. Any thread may call."""
        return self._trace.frames()

    def stop(self, timeout_s: float = 1.5) -> bool:
        """End the thread and close the port, the device's output stays as it is; False: it did not end in time."""
        self._stopping = True
        self._wake()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def _run(self) -> None:
        keep_for_this_thread(self._trace)
        while not self._stopping:
            try:
                self._turn()
            except DeviceError as error:
                self._step(links.Failed(str(error), port_missing=isinstance(error, PortMissing)))
            except Exception as error:
                self._step(links.Failed(self._log_unexpected(error)))
            self._find_out_who()
        self._close()

    def _find_out_who(self) -> None:
        """Another device than configured, as where two cables were swapped: say which one it is."""
        reason, self._lost_reason = self._lost_reason, ""
        if not reason or self._who is None or self._link.port_open or self._now() - self._who_asked_s < WHO_PERIOD_S:
            return
        self._who_asked_s = self._now()
        who = self._who()
        if who:
            wait_s = max(0.0, self._link.due_s - self._now())
            self._unsent.append(DeviceDown(self.name, f"{reason}; but {who} answers there", wait_s))
            self._send()

    def _turn(self) -> None:
        woken = self._wait()
        self._send()
        due = self._now() >= self._link.due_s
        if self._stopping or not (due or (woken and self._link.port_open)):
            return
        if self._link.port_open:
            self._exchange()
        else:
            self._info = self._driver.open()
            self._opened += 1
            self._step(links.Opened())

    def _exchange(self) -> None:
        values = self._driver.exchange(self._desired)
        self._step(links.Exchanged(self._driver.poll_period_s))
        now_s = self._now()
        for value in values:
            if not self._unsent:
                self._reports.put(Observed(self.name, value, now_s))

    def _wait(self) -> bool:
        """Sleep until the link is due; True if woken before, by a new desired state or by the device."""
        poller = select.poll()
        poller.register(self._wake_fd, select.POLLIN)
        device_fd = self._driver.fileno() if self._link.port_open else None
        if device_fd is not None:
            poller.register(device_fd, select.POLLIN)
        wait_s = max(0.0, self._link.due_s - self._now())
        if self._unsent:
            wait_s = min(wait_s, MAILBOX_RETRY_S)
        ready = dict(poller.poll(wait_s * 1000))
        if self._wake_fd in ready:
            os.eventfd_read(self._wake_fd)
        return bool(ready)

    def _step(self, event: links.Event) -> None:
        self._link, effects = links.step(self._link, event, self._now())
        for effect in effects:
            match effect:
                case links.ClosePort():
                    self._close()
                case links.ReportUp():
                    self._unexpected = ""
                    self._unsent.append(DeviceUp(self.name, self._info))
                case links.ReportDown(reason=reason, retry_in_s=retry_in_s):
                    self._unsent.append(DeviceDown(self.name, reason, retry_in_s))
                    self._lost_reason = "" if isinstance(event, links.Failed) and event.port_missing else reason
        self._send()

    def _send(self) -> None:
        while self._unsent and self._reports.put(self._unsent[0]):
            self._unsent.popleft()

    def _close(self) -> None:
        try:
            self._driver.close()
        except Exception as error:
            self._log_unexpected(error)

    def _log_unexpected(self, error: Exception) -> str:
        """Plain words for a failure that no driver should raise; logged once with its traceback."""
        text = f"the driver failed with {type(error).__name__}"
        if self._unexpected != repr(error):
            self._unexpected = repr(error)
            self._log.error("driver failed in a way it should not, it is tried again", device=self.name, error=repr(error))
            logs.log_traceback(self.name)
        return text
