"""Energy does not wait for the disk: what is withdrawn while the deciding thread waits for a commit (design §3).

An ordinary stop is on disk before the contactor opens, but waits for the disk 500 ms at most. And whatever comes while a commit
hangs (emergency stop, fault, a plug that is pulled) is not even heard: so after HANGS_S all energy is withdrawn, as the guard
does for a service that is gone. When the commit has ended, what had come meanwhile is heard first; then the orders that hold
are given again, and transactions go on as after a controller's absence.

All orders pass through here under one lock, so that an older withdrawal never follows a newer order: what a commit may bring
about is forgotten under it when the commit ends. `Timer` is the thread that calls `look`.

Owns: the order of orders. Does not: decide who may charge. It watches commits, not what else may hang: a read, another file.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from bus.logs import Logger
from services.hardware.contract import EvseDesired

STOP_WAITS_S = 0.5
HANGS_S = 3.0
"""Choice: longer than a flash card pauses to tidy up in good health, shorter than anybody waits who has hit a button."""
TURNS = 2
"""Turns of the loop after a commit: the first goes on with what had come before it, the next one hears what came meanwhile."""


class Output(Protocol):
    """The charging controllers, as far as the service commands them. Any thread may call."""

    def set_desired(self, connector_id: int, desired: EvseDesired) -> None:
        """Give this output from now on."""


class Withdrawals:
    """Between the service and its controllers. `look` is for another thread, all else for the deciding one."""

    def __init__(self, output: Output, connector_ids: tuple[int, ...], now: Callable[[], float], log: Logger) -> None:
        self.on_begin: Callable[[], None] = lambda: None
        """Called when a commit begins while no look is due: from now on there is."""
        self._output = output
        self._connector_ids = connector_ids
        self._now = now
        self._log = log
        self._lock = threading.Lock()
        self._ordered: dict[int, EvseDesired] = {}
        self._stops: frozenset[int] = frozenset()
        self._since_s: float | None = None
        self._hung = False
        self._look_due = False
        self._withdrawn: set[int] = set()
        """Where something else holds than what was ordered last."""
        self._turns = 0

    def set_desired(self, connector_id: int, desired: EvseDesired) -> None:
        """An order of the service; it replaces whatever was withdrawn here."""
        with self._lock:
            self._ordered[connector_id] = desired
            self._withdrawn.discard(connector_id)
            self._output.set_desired(connector_id, desired)

    def commit_begins(self, stops: frozenset[int] = frozenset()) -> None:
        """`stops`: the connectors whose energy is withdrawn once it is on disk."""
        with self._lock:
            self._since_s, self._stops, self._hung = self._now(), stops, False
            was_due, self._look_due = self._look_due, True
        if not was_due:
            self.on_begin()

    def commit_ends(self, *, on_disk: bool) -> None:
        """`on_disk`: the stops are ordered next; else nothing of it counts, and the service goes on without it."""
        with self._lock:
            since_s, early = self._since_s, self._withdrawn & self._stops
            if on_disk:
                self._withdrawn -= early
            self._since_s, self._stops = None, frozenset()
            self._turns = TURNS if self._withdrawn else 0
        if since_s is not None and (early or self._hung):
            took_s = f"{self._now() - since_s:.1f}"
            self._log.warning("disk was slow, energy was withdrawn before it had answered", took_s=took_s, stops=len(early))

    def commit_failed(self) -> None:
        """What was withdrawn stays so, as the service ends."""
        with self._lock:
            self._since_s, self._stops = None, frozenset()

    def turn(self) -> None:
        """The loop has gone round: what had come was heard."""
        with self._lock:
            if self._since_s is not None or not self._turns:
                return
            self._turns -= 1
            if self._turns:
                return
            for number in sorted(self._withdrawn & self._ordered.keys()):
                self._output.set_desired(number, self._ordered[number])
            self._withdrawn.clear()

    def next_deadline_s(self) -> float | None:
        """When `turn` has something to do: at once, or not at all."""
        return self._now() if self._turns else None

    def look(self) -> float | None:
        """Withdraw what can't wait any longer; the boottime of the next look, None: when a commit begins.

        A look stays due beyond its commit: many short ones after each other wake nobody.
        """
        with self._lock:
            self._look_due = False
            if self._since_s is None:
                return None
            waited_s = self._now() - self._since_s
            self._look_due = waited_s < HANGS_S
            if waited_s < STOP_WAITS_S:
                return self._since_s + STOP_WAITS_S
            self._withdraw(self._stops)
            if self._look_due:
                return self._since_s + HANGS_S
            news, self._hung = not self._hung, True
            self._withdraw(self._connector_ids)
        if news:
            self._log.error("disk does not answer, energy is withdrawn everywhere until it does; check it")
        return None

    def _withdraw(self, connector_ids: Iterable[int]) -> None:
        """From those that have energy, or were left with what they had; their locks stay as they are."""
        for number in sorted(connector_ids):
            ordered = self._ordered.get(number)
            if number in self._withdrawn or (ordered is not None and not ordered.energy_allowed):
                continue
            without = msgspec.structs.replace(ordered or EvseDesired(locked=None), energy_allowed=False, limit_a=0.0)
            self._withdrawn.add(number)
            self._output.set_desired(number, without)


class Timer:
    """The thread that looks at the time while the deciding one waits for the disk."""

    def __init__(self, withdrawals: Withdrawals, now: Callable[[], float]) -> None:
        self._withdrawals = withdrawals
        self._now = now
        self._woken = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="withdrawals", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._withdrawals.on_begin = self._woken.set
        self._thread.start()

    def stop(self) -> None:
        """No more looks."""
        self._stopping = True
        self._woken.set()
        self._thread.join(STOP_WAITS_S)

    def _run(self) -> None:
        while not self._stopping:
            due_s = self._withdrawals.look()
            if self._woken.wait(None if due_s is None else max(0.0, due_s - self._now())):
                self._woken.clear()
