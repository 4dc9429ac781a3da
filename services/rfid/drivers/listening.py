"""What all readers have in common that say a card of their own accord: a port, a parser, counts.

Owns: the driver's side of such a reader (`services.hardware.contract.Driver`): opening, reading, forgetting what was begun too
long ago, telling that nothing sensible comes. Does not: know frames or keys (`rdm6300.py`, `line.py`, `hid.py`), or decide when
a card counts as presented. Such a reader can't be asked anything: it is lost only when its port is.
"""

import operator
from collections.abc import Callable
from functools import reduce
from typing import Protocol

from bus import logs
from bus.clock import boottime_s
from services.hardware.contract import Counters, DeviceInfo, ReaderDesired, TokenSeen
from services.hardware.port import Port
from services.hardware.tally import Tally
from services.rfid.drivers.payloads import Card

POLL_PERIOD_S = 5.0
"""Cards and a vanished port wake the thread; this is for nothing but good measure."""
BAD_MAX = 20
"""So many bad ones in a row are told: it is set up wrongly, or its wiring is bad."""


class Parser(Protocol):
    """Makes cards of a stream that may hold anything."""

    bad: int
    """Broken or senseless ones so far."""

    def feed(self, data: bytes) -> list[Card]:
        """The cards that `data` completes."""

    def forget(self) -> None:
        """What was begun is not gone on with."""


class ListeningReader:
    """One reader; only its runner's thread calls it. A subclass says how it is opened, and what bad ones mean."""

    gap_s = float("inf")
    """What was begun so long ago belongs to nothing that comes now."""
    complaint = ""
    """For the log, where BAD_MAX bad ones came in a row; empty: nothing is told."""

    def __init__(self, path: str, parser: Parser, now: Callable[[], float] = boottime_s) -> None:
        self.poll_period_s = POLL_PERIOD_S
        self._path = path
        self._parser = parser
        self._now = now
        self._log = logs.logger("rfid")
        self._tally = Tally()
        self._port: Port | None = None
        self._heard_s = 0.0
        self._bad_in_a_row = 0

    def open(self) -> DeviceInfo:
        """Open the port; nobody can be asked who is there. Raises PortMissing."""
        self.close()
        self._parser.forget()
        self._bad_in_a_row = 0
        self._port, info = self._opened()
        return info

    def fileno(self) -> int | None:
        """Readable when a card is there, or the port is gone."""
        return None if self._port is None else self._port.fileno()

    def exchange(self, desired: ReaderDesired | None) -> list[TokenSeen]:
        """The cards seen since the last call, repeats included. Raises PortMissing."""
        assert self._port is not None
        if desired is not None:
            self._show(self._port, desired)
        data = self._port.read()
        now_s = self._now()
        if not data:
            return []
        bad = self._parser.bad
        if now_s - self._heard_s > self.gap_s:
            self._parser.forget()
        self._heard_s = now_s
        cards = self._parser.feed(data)
        self._count(len(cards), self._parser.bad - bad)
        return [TokenSeen(read.uid, now_s, read.verbatim) for read in cards]

    def close(self) -> None:
        """Close the port."""
        if self._port is not None:
            self._port.close()
            self._port = None

    def counters(self) -> Counters:
        """What came, good and bad, since the driver was made."""
        return self._tally.snapshot()

    def _opened(self) -> tuple[Port, DeviceInfo]:
        raise NotImplementedError

    def _show(self, port: Port, desired: ReaderDesired) -> None:
        """Show what becomes of a card; most of these readers take nothing, and so show nothing."""

    def _count(self, good: int, bad: int) -> None:
        self._tally.replies += good
        self._tally.errors += bad
        before = self._bad_in_a_row
        self._bad_in_a_row = 0 if good else before + bad
        if self.complaint and before < BAD_MAX <= self._bad_in_a_row:
            self._log.warning(self.complaint, port=self._path)


def xor(data: bytes) -> int:
    """The check byte of several such protocols."""
    return reduce(operator.xor, data, 0)
