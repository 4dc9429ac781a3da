"""Does the deeds of a plan to a station, its connection and its Central System.

Owns: carrying deeds out, and telling of them. Does not: choose them (`plan.py`).
"""

import threading
import time
from collections.abc import Iterator

from services.demo.entries import Entry, Kind, What
from tests.torture.board import Board
from tests.torture.people import Town
from tests.torture.plan import PATIENCE_S, Deed
from tests.torture.proxy import DOWN, UP, Proxy

AFTER_STALL_S = 5.0
"""A stall is noticed by ping or MessageTimeout, after it is over."""


class Tormentor:
    """One deed after the other, on the thread that started the station: the station dies with that thread."""

    def __init__(self, town: Town, proxy: Proxy, deeds: Iterator[Deed]) -> None:
        self.quiet = threading.Event()
        self.done = 0
        self._town = town
        self._board: Board = town.board
        self._central_system = town.central_system
        self._proxy = proxy
        self._deeds = deeds
        town.central_system.book.listen(self._heard)

    def torment(self, seconds: float) -> None:
        """For so long."""
        timer = threading.Timer(seconds, self.quiet.set)
        timer.start()
        try:
            for deed in self._deeds:
                if self.quiet.wait(deed.pause_s):
                    return
                if deed.moment and not self._board.moments.wait(deed.moment, PATIENCE_S):
                    self._board.story.tell(f"torture: the moment did not come: {deed.moment}")
                if self.quiet.wait(deed.delay_s):
                    return
                self._board.story.tell(f"torture: {deed.words()}")
                self._do(deed)
                self.done += 1
        finally:
            timer.cancel()

    def make_peace(self) -> None:
        """Everything works again, as far as torture can help it."""
        self._proxy.heal()
        self._central_system.behaviour.clear()
        self._board.story.tell("torture ends")

    def _heard(self, entry: Entry) -> None:
        """On the Central System's thread."""
        if entry.what is What.RECEIVED and entry.kind is Kind.CALL:
            self._board.moments.came(f"{entry.action} received")
        elif entry.what is What.SENT and entry.kind is Kind.CALLRESULT:
            self._board.moments.came(f"{entry.action} answered")

    def _do(self, deed: Deed) -> None:
        match deed.what:
            case "kill":
                self._board.kill(deed.who)
            case "restart":
                self._board.restart(deed.who[0])
            case "kill supervisord" | "kill supervisord and all":
                self._board.cut_power(everything=deed.what.endswith("all"))
            case "cut" | "hang up":
                self._proxy.cut(reset=deed.what == "cut")
            case "cut after":
                self._proxy.cut_after(deed.direction, deed.count)
            case "stall":
                self._stall(deed)
            case "stop the Central System" | "kill the Central System":
                self._outage(deed)
            case _:
                self._misbehave(deed)

    def _stall(self, deed: Deed) -> None:
        from_s = time.monotonic()
        self._proxy.stall(*[name for name in (UP, DOWN) if name in deed.direction.split()])
        self.quiet.wait(deed.lasts_s)
        self._proxy.heal()
        self._board.disturb("link", "proxy", from_s, time.monotonic() + AFTER_STALL_S)

    def _outage(self, deed: Deed) -> None:
        from_s = time.monotonic()
        with self._town.central_lock:
            self._central_system.stop(abrupt=deed.what.startswith("kill"))
            self.quiet.wait(deed.lasts_s)
            self._central_system.start()
        self._board.disturb("central", "restart", from_s, time.monotonic())

    def _misbehave(self, deed: Deed) -> None:
        behaviour = self._central_system.behaviour
        match deed.what:
            case "lose the answer":
                behaviour.close(deed.action, answered=False, processed=True)
            case "lose the message":
                behaviour.close(deed.action, answered=False, processed=False)
            case "cut after the answer":
                behaviour.close(deed.action, answered=True)
            case "error":
                behaviour.call_error(deed.action, code=deed.code)
            case "silence" | "silent processing":
                behaviour.silence(deed.action, processed=deed.what == "silent processing")
            case _:
                raise AssertionError(f"no way to do {deed.what}")
