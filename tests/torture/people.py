"""A person at a connector: comes with a car, presents a card, waits, tries again, charges, ends, goes.

Owns: what a person does, and what somebody asked for. Does not: know of torture; a power cut only sends everybody home. People
look at the contactor, never at what the station says.
"""

import threading
import time
from collections.abc import Callable, Iterator

from services.demo.central_system import CallFailed, CentralSystem, NotConnected
from tests.torture.board import Board, PowerFailed
from tests.torture.evidence import Asked
from tests.torture.plan import REPLUG_S_MIN, Session

PATIENCE_S = 9.0
"""Longer than an Authorize may take, so that the card of before is never still under way when it is presented again."""
TRIES_MAX = 4
CHARGE_S_MAX = 20.0
STRANGER_S = 3.0
"""A car that nobody authorized gets no energy in that time, or there is a difference."""
GONE_S = 0.5
"""From pulling a plug until the next card: until the controller has seen it go, the card would be meant for that car too."""
_STEP_S = 0.05
_CARD_S_MAX = 5.0


class Town:
    """What people share: the one reader, the Central System, the end of the day."""

    def __init__(self, board: Board, central_system: CentralSystem) -> None:
        self.board = board
        self.central_system = central_system
        self.central_lock = threading.Lock()
        """Held by whoever needs the Central System to be there, or not to be."""
        self.reader = threading.Lock()
        """Held while it must be clear which car a card is meant for."""
        self.closing = threading.Event()
        self.asked: list[Asked] = []
        self.sessions = 0
        self.without_energy = 0
        self.failures: list[str] = []


class Person(threading.Thread):
    """Whoever comes to one connector, one after the other, until the town closes."""

    def __init__(self, town: Town, connector_id: int, sessions: Iterator[Session]) -> None:
        super().__init__(name=f"connector {connector_id}", daemon=True)
        self._town = town
        self._board = town.board
        self._number = connector_id
        self._sessions = sessions
        self._epoch = 0

    def run(self) -> None:
        """Until the town closes; a session that has begun is ended in good order."""
        try:
            while not self._town.closing.is_set():
                self._epoch = self._board.wait_for_power()
                try:
                    self._one(next(self._sessions))
                except PowerFailed:
                    self._tell("the power is gone, and the car with it")
        except Exception as error:  # a thread of its own: what went wrong is told at the end, and fails the round
            self._town.failures.append(f"{self.name}: {type(error).__name__}: {error}")
            raise

    def _one(self, session: Session) -> None:
        self._town.sessions += 1
        self._board.do("ev-max", str(self._number), "32")
        with self._town.reader:
            began = self._begin(session)
            if not began:
                self._town.without_energy += 1
                self._leave()
                return
        self._charge(session)
        with self._town.reader:
            self._end(session)
            self._leave()
        self._town.closing.wait(session.rest_s)

    def _begin(self, session: Session) -> bool:
        plugged = session.begins != "card first"
        if plugged:
            self._board.do("plug-in", str(self._number))
        for _ in range(TRIES_MAX):
            if session.begins == "remote":
                self._ask_remotely(session.id_tag)
            else:
                self._present(session.id_tag)
            if not plugged:
                self._board.do("plug-in", str(self._number))
                plugged = True
            if self._until(self._closed, PATIENCE_S):
                return True
            self._tell(f"the contactor did not close for {session.id_tag}")
        return False

    def _charge(self, session: Session) -> None:
        target_wh = self._register_wh() + session.charge_wh
        if session.pauses:
            self._until(lambda: self._register_wh() > target_wh - session.charge_wh, 8.0)
            self._board.do("ev-pause", str(self._number))
            self._until(lambda: self._facts()["car"]["drawing_a"] == 0, 5.0)
            self._board.do("ev-resume", str(self._number))
            self._until(self._closed, PATIENCE_S)
        self._until(lambda: self._register_wh() >= target_wh or self._town.closing.is_set(), CHARGE_S_MAX)

    def _end(self, session: Session) -> None:
        if session.ends == "swap":
            self._swap()
            return
        if session.ends == "unplug":
            return
        for _ in range(TRIES_MAX):
            if session.ends == "card" or not self._stop_remotely(session.id_tag):
                self._present(session.id_tag)
            if self._until(lambda: not self._closed(), PATIENCE_S):
                return
            self._tell(f"the contactor did not open for {session.id_tag}")

    def _swap(self) -> None:
        """One car goes and another comes while `connectors` is dead (design §2), and waits whether it gets energy."""
        self._tell("kill -9 connectors, and another car is plugged in meanwhile")
        self._board.kill(["connectors"])
        self._board.do("plug-out", str(self._number))
        self._until(lambda: False, REPLUG_S_MIN)
        self._board.do("plug-in", str(self._number))
        self._until(self._board.settled, 20.0)
        self._until(self._closed, STRANGER_S)

    def _leave(self) -> None:
        self._board.do("plug-out", str(self._number))
        self._until(lambda: not self._closed(), PATIENCE_S)
        self._until(lambda: False, GONE_S)

    def _present(self, id_tag: str) -> None:
        """Hold the card to the reader; whether that asks for energy depends on the contactor, as far as a person can tell."""
        self._until(lambda: not self._board.do("state")["state"]["reader"]["card_present"], _CARD_S_MAX)
        if not self._closed():
            self._town.asked.append(Asked(self._number, time.monotonic(), id_tag))
        self._tell(f"card {id_tag} is presented")
        self._board.do("swipe", id_tag)

    def _ask_remotely(self, id_tag: str) -> None:
        self._town.asked.append(Asked(self._number, time.monotonic(), id_tag))
        answer = self._call("RemoteStartTransaction", {"idTag": id_tag, "connectorId": self._number})
        self._tell(f"RemoteStartTransaction {id_tag}: {answer}")

    def _stop_remotely(self, id_tag: str) -> bool:
        ids = [t.transaction_id for t in self._town.central_system.book.transactions() if t.id_tag == id_tag]
        answer = self._call("RemoteStopTransaction", {"transactionId": ids[-1]}) if ids else "not known yet"
        self._tell(f"RemoteStopTransaction {id_tag}: {answer}")
        return answer == "Accepted"

    def _call(self, action: str, payload: dict[str, object]) -> str:
        with self._town.central_lock:
            try:
                return str(self._town.central_system.call(action, payload, timeout_s=4.0)["status"])
            except (CallFailed, NotConnected, ConnectionError, TimeoutError) as error:
                return f"{type(error).__name__} {error}"

    def _until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        pause = threading.Event()
        while True:
            if self._board.epoch != self._epoch:
                raise PowerFailed
            if condition():
                return True
            if time.monotonic() >= deadline_s:
                return False
            pause.wait(_STEP_S)

    def _facts(self) -> dict[str, dict[str, float]]:
        return self._board.connector(self._number)

    def _closed(self) -> bool:
        return bool(self._facts()["relay"]["closed"])

    def _register_wh(self) -> int:
        return int(self._facts()["meter"]["shown_wh"])

    def _tell(self, text: str) -> None:
        self._board.story.tell(f"connector {self._number}: {text}")
