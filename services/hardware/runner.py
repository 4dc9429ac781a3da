"""The byte-moving thread of a device: opens, exchanges, reports; never ends by itself (design §2).

Owns: the thread, its wake-up and its reports. Does not: decide what a device shall do (the service's core) or when it is
lost (`link.py`). At the end the device keeps its output: only its port is closed.
"""

import logging
import select
import threading
from typing import Any, Generic, TypeVar

import msgspec

from bus.clock import boottime_s
from bus.mailbox import Mailbox
from services.hardware import link as links
from services.hardware.contract import Counters, DeviceError, DeviceInfo, Driver, PortMissing

Desired = TypeVar("Desired")
Observed_ = TypeVar("Observed_")


class Observed(msgspec.Struct, frozen=True):
    """Report: the device said this."""

    name: str
    value: Any
    boottime_s: float


class DeviceUp(msgspec.Struct, frozen=True):
    """Report: the device answers."""

    name: str
    info: DeviceInfo


class DeviceDown(msgspec.Struct, frozen=True):
    """Report: the device does not answer; told once for each reason."""

    name: str
    reason: str
    retry_in_s: float


Report = Observed | DeviceUp | DeviceDown


class DeviceRunner(Generic[Desired, Observed_]):
    """Runs one driver in a thread of its own. `set_desired` wakes it at once; the whole desired state goes out again after
    each reconnect."""

    def __init__(self, name: str, driver: Driver[Desired, Observed_], reports: Mailbox[Report]) -> None:
        self.name = name
        self._driver = driver
        self._reports = reports
        self._desired: Desired | None = None
        self._wake: Mailbox[None] = Mailbox(limit=1)
        self._stopping = threading.Event()
        self._link: links.Link = links.Closed()
        self._info = DeviceInfo()
        self._told_down = ""
        self._owed: list[Report] = []
        self._reconnects = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to try."""
        self._thread.start()

    def set_desired(self, desired: Desired) -> None:
        """The state that the device shall have from now on; from any thread."""
        self._desired = desired
        self._wake.put(None)

    def counters(self) -> Counters:
        """Since the start; from any thread."""
        return msgspec.structs.replace(self._driver.counters(), reconnects=self._reconnects)

    def info(self) -> DeviceInfo:
        """Who the device said it is, when it last connected."""
        return self._info

    def stop(self, timeout_s: float) -> bool:
        """End the thread; False if it is still in an exchange after `timeout_s`. The device keeps its output."""
        self._stopping.set()
        self._wake.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._step()
            except DeviceError as error:
                self._failed(str(error), port_gone=isinstance(error, PortMissing))
            except Exception as error:
                # Whatever a library raises at strange input must not end the thread; it is told with its traceback.
                logging.getLogger(self.name).exception("driver raised an error that is no device's")
                self._failed(f"driver error: {error!r}", port_gone=True)
            self._pay_owed()
        self._driver.close()

    def _step(self) -> None:
        if isinstance(self._link, links.Closed):
            self._sleep(links.retry_in_s(self._link, boottime_s()), None)
            if self._stopping.is_set() or links.retry_in_s(self._link, boottime_s()) > 0:
                return
            self._info = self._driver.open()
            self._link = links.opened()
            self._told_down = ""
            self._owed.append(DeviceUp(self.name, self._info))
        for value in self._driver.exchange(self._desired):
            self._report(Observed(self.name, value, boottime_s()))
        self._link = links.exchanged()
        self._pay_owed()
        self._sleep(self._driver.poll_period_s, self._driver.fileno())

    def _failed(self, reason: str, *, port_gone: bool) -> None:
        was_up = isinstance(self._link, links.Up)
        self._link = links.failed(self._link, boottime_s(), port_gone=port_gone)
        if isinstance(self._link, links.Up):
            return
        self._driver.close()
        if was_up:
            self._reconnects += 1
        if was_up or reason != self._told_down:
            self._told_down = reason
            self._owed.append(DeviceDown(self.name, reason, links.retry_in_s(self._link, boottime_s())))

    def _report(self, report: Report) -> None:
        """An observation may be dropped when nobody reads: the next one says more. Up and down may not (`_owed`)."""
        self._reports.put(report)

    def _pay_owed(self) -> None:
        while self._owed and self._reports.put(self._owed[0]):
            self._owed.pop(0)

    def _sleep(self, seconds: float, descriptor: int | None) -> None:
        """Until time is over, the device speaks, or somebody wakes us."""
        watched = [self._wake.fileno()] + ([] if descriptor is None else [descriptor])
        poller = select.poll()
        for one in watched:
            poller.register(one, select.POLLIN)
        poller.poll(max(0, round(seconds * 1000)))
        self._wake.drain()
