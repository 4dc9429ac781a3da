"""A virtual Central System at the end of a virtual line: it keeps its book, and misbehaves as its temper says.

Owns: answers, errors, silence, restarts, forgotten ids, late answers, lines that break before, inside and after a message.
Does not: judge what it receives. Its book has each copy of each transaction message with what became of it.
"""

import json
import random
from collections.abc import Callable
from typing import Any

import msgspec

from bus.logs import utc_text
from services.ocpp_link.frame_log import NOTHING, About
from tests.simulation.book import GOOD, LOST_ANSWER, LOST_ERROR, TAKEN, Asked, Authorized, Book, Copy
from tests.simulation.clock import UTC_0_S, Agenda, Clock
from tests.simulation.story import Story

HOP_S = 0.02
LATE_S = 25.0
TRANSACTION_ACTIONS = ("StartTransaction", "StopTransaction", "MeterValues")
BAD_CARD = "BAD"
"""idTags that begin like this are always refused."""


class Temper(msgspec.Struct, frozen=True):
    """How it behaves: weights of what becomes of a transaction message, beside GOOD's 1; the same for other CALLs."""

    transaction: dict[str, float] = {}
    others: dict[str, float] = {}
    poison: float = 0.0
    """Share of the transaction messages that it will never take."""
    stray: float = 0.0
    """Share of the CALLs that are answered after an answer that nobody has asked for."""


CALM = Temper()


class Line:
    """The link's socket and the network behind it. `on_…` are the link's, each in a turn of its process."""

    def __init__(
        self, central: "CentralSystem", turn: Callable[[Callable[[], None]], None], spend: Callable[[str], None]
    ) -> None:
        self.service: Any = None
        self.number = 0
        """Of the connection, as the Central System counts them; 0: not open."""
        self.stalled = False
        """Frames vanish both ways, and nobody is told."""
        self._central = central
        self._turn = turn
        self._spend = spend
        self._asked = 0

    def connect(self) -> None:
        """The link wants a connection."""
        self._asked += 1
        asked = self._asked
        self._central.agenda.at(self._central.clock.true_s + 3 * HOP_S, lambda: self._opened(asked))

    def send(self, text: str, about: About = NOTHING) -> bool:  # noqa: ARG002
        """The link sends a frame."""
        self._spend("a frame to the Central System")
        number = self.number
        if number and not self.stalled:
            self._later(number, lambda: self._central.receive(self, text))
        self._spend("a frame to the Central System was sent")
        return True

    def ping(self) -> None:
        """The link pings."""
        if not self.stalled:
            self._later(self.number, lambda: self._turn(self.service.on_pong))

    def close(self, reason: str) -> None:
        """The link ends the connection."""
        self.drop(reason)

    def drop(self, reason: str) -> None:
        """The connection is gone, and the link is told."""
        if self.number:
            self.number = 0
            self._central.line_gone(self)
            self._tell_lost(reason)

    def die(self) -> None:
        """The process is gone: nobody is told."""
        self._asked = -1
        if self.number:
            self.number = 0
            self._central.line_gone(self)

    def deliver(self, text: str, lost: Callable[[], None] = lambda: None) -> None:
        """A frame for the link; `lost` is called if it does not get there."""
        if not self.number or self.stalled:
            lost()
            return
        self._later(self.number, lambda: self._turn(lambda: self.service.on_frame(text)), lost)

    def _opened(self, asked: int) -> None:
        if asked != self._asked:
            return
        if not self._central.reachable:
            self._turn(lambda: self.service.on_lost("connection refused"))
            return
        self.stalled = False
        self.number = self._central.line_opened(self)
        self._turn(self.service.on_connected)

    def _tell_lost(self, reason: str) -> None:
        asked = self._asked

        def lost() -> None:
            if asked == self._asked:
                self._turn(lambda: self.service.on_lost(reason))

        self._central.agenda.at(self._central.clock.true_s + HOP_S, lost)

    def _later(self, number: int, action: Callable[[], None], lost: Callable[[], None] = lambda: None) -> None:
        def arrives() -> None:
            if number == self.number and not self.stalled:
                action()
            else:
                lost()

        self._central.agenda.at(self._central.clock.true_s + HOP_S, arrives)


class CentralSystem:
    """Answers what comes, as its temper has it."""

    def __init__(
        self,
        clock: Clock,
        agenda: Agenda,
        dice: random.Random,
        story: Story,
        entry_under: Callable[[str], str] = lambda _: "",
    ) -> None:
        self.clock = clock
        self.agenda = agenda
        self.book = Book()
        self.temper = CALM
        self.reachable = True
        self.clock_error_s = 0.0
        self.line: Line | None = None
        self._dice = dice
        self._story = story
        self._entry_under = entry_under
        self._connections = 0
        self._ids: dict[str, int] = {}
        """transactionIds by the content of their StartTransaction, unless forgotten."""
        self._waiting: dict[str, Asked] = {}
        self._number = 0

    def line_opened(self, line: Line) -> int:
        """A connection begins; its number."""
        self._connections += 1
        self.line = line
        self._story.tell("central", f"connection {self._connections} begins")
        return self._connections

    def line_gone(self, line: Line) -> None:
        """A connection has ended."""
        if self.line is line:
            self.line = None
            self._waiting.clear()
            self._story.tell("central", "connection ends")

    def restart(self, *, forgets: bool) -> None:
        """It comes back after a while; `forgets`: a repeated StartTransaction will look new to it."""
        if forgets:
            self._ids.clear()
        if self.line is not None:
            self.line.drop("the Central System restarts")

    def ask(self, action: str, payload: dict[str, Any]) -> None:
        """A CALL to the station, if it is connected."""
        if self.line is None:
            return
        self._number += 1
        unique_id = f"cs-{self._number}"
        asked = Asked(self.clock.true_s, action, payload)
        self.book.asked.append(asked)
        self._waiting[unique_id] = asked
        self._story.tell("central", f"asks {action} {_short(payload)}")
        self.line.deliver(json.dumps([2, unique_id, action, payload]))

    def running(self) -> list[int]:
        """transactionIds of transactions that have no StopTransaction here."""
        stopped = {c.payload.get("transactionId") for c in self.book.copies if c.action == "StopTransaction"}
        return [i for i in self._ids.values() if i not in stopped]

    def receive(self, line: Line, text: str) -> None:
        """A frame from the station."""
        frame = json.loads(text)
        if frame[0] != 2:
            self._answered(frame)
            return
        _, unique_id, action, payload = frame
        raw = text.split(f'"{unique_id}"', 1)[1]
        if action in TRANSACTION_ACTIONS:
            self._take_transaction_message(line, Copy(self.clock.true_s, line.number, unique_id, action, payload, raw, ""))
        else:
            self._take_other(line, unique_id, action, payload)

    def _answered(self, frame: list[Any]) -> None:
        asked = self._waiting.pop(frame[1], None)
        if asked is not None:
            asked.answered_s = self.clock.true_s
            asked.answer = str(frame[2].get("status", "answered")) if frame[0] == 3 else f"CALLERROR {frame[2]}"
            self._story.tell("central", f"is told: {asked.action} {asked.answer}")

    def _take_transaction_message(self, line: Line, copy: Copy) -> None:
        fate = copy.fate = self._transaction_fate(copy)
        copy.entry = self._entry_under(copy.unique_id)
        self.book.copies.append(copy)
        if fate in TAKEN and copy.action == "StartTransaction":
            copy.transaction_id = self._ids.setdefault(copy.raw, self._new_id())
        given = "" if copy.transaction_id is None else f", transaction {copy.transaction_id}"
        self._story.tell("central", f"{copy.action} {_short(copy.payload)}: {fate}{given}")
        answer = self._answer_to(copy)
        lost = LOST_ANSWER if fate in TAKEN else LOST_ERROR
        self._stray(line)
        if fate == "error":
            line.deliver(json.dumps([4, copy.unique_id, "InternalError", "", {}]), lambda: setattr(copy, "fate", lost))
        elif fate == "security":
            line.deliver(json.dumps([4, copy.unique_id, "SecurityError", "", {}]), lambda: setattr(copy, "fate", lost))
        elif fate == "malformed":
            line.deliver(json.dumps([3, copy.unique_id, [1]]), lambda: setattr(copy, "fate", lost))
        elif fate in (LOST_ANSWER, LOST_ERROR):
            line.drop("connection reset")
        elif fate == "late":
            self.agenda.at(self.clock.true_s + LATE_S, lambda: self._deliver_late(line, copy, answer))
        elif fate == GOOD:
            line.deliver(json.dumps([3, copy.unique_id, answer]), lambda: setattr(copy, "fate", lost))

    def _deliver_late(self, line: Line, copy: Copy, answer: dict[str, Any]) -> None:
        if line.number == copy.connection:
            self._story.tell("central", f"answers {copy.action} late")
            copy.late_answer_s = self.clock.true_s + HOP_S
            line.deliver(json.dumps([3, copy.unique_id, answer]), lambda: setattr(copy, "late_answer_s", None))

    def _transaction_fate(self, copy: Copy) -> str:
        if copy.raw in self.book.poisoned:
            return "error"
        known = any(c.raw == copy.raw for c in self.book.copies)
        if not known and self._dice.random() < self.temper.poison:
            self.book.poisoned.add(copy.raw)
            return "error"
        return self._fate(self.temper.transaction)

    def _fate(self, weights: dict[str, float]) -> str:
        if not weights:
            return GOOD
        return self._dice.choices([GOOD, *weights], [1.0, *weights.values()])[0]

    def _answer_to(self, copy: Copy) -> dict[str, Any]:
        if copy.action == "StartTransaction":
            return {"transactionId": copy.transaction_id, "idTagInfo": self._info(copy.payload["idTag"])}
        return {}

    def _info(self, id_tag: str) -> dict[str, Any]:
        status = "Blocked" if id_tag.startswith(BAD_CARD) else "Accepted"
        self.book.authorized.append(Authorized(self.clock.true_s, id_tag, status))
        return {"status": status}

    def _take_other(self, line: Line, unique_id: str, action: str, payload: dict[str, Any]) -> None:
        fate = self._fate(self.temper.others)
        if action == "StatusNotification":
            self.book.statuses.append((self.clock.true_s, payload))
        if action != "Heartbeat" or fate != GOOD:
            self._story.tell("central", f"{action} {_short(payload)}: {fate}")
        answer: dict[str, Any] = {}
        if action == "BootNotification":
            answer = {"status": "Accepted", "currentTime": self._time(), "interval": 3600}
        elif action == "Heartbeat":
            answer = {"currentTime": self._time()}
        elif action == "Authorize":
            answer = {"idTagInfo": self._info(payload["idTag"])}
        if fate == "error":
            line.deliver(json.dumps([4, unique_id, "InternalError", "", {}]))
        elif fate == "cut after it":
            line.drop("connection reset")
        elif fate == "late":
            self.agenda.at(self.clock.true_s + LATE_S, lambda: line.deliver(json.dumps([3, unique_id, answer])))
        elif fate == GOOD:
            self._stray(line)
            line.deliver(json.dumps([3, unique_id, answer]))

    def _stray(self, line: Line) -> None:
        if self.temper.stray and self._dice.random() < self.temper.stray:
            line.deliver(json.dumps([3, f"stray-{self._dice.getrandbits(32)}", {}]))

    def _new_id(self) -> int:
        """Any integer is one, 0 and negative ones too (errata v4.0 3.54)."""
        return self._dice.choice((1, 1, 1, -1)) * self._dice.randrange(2**31)

    def _time(self) -> str:
        return utc_text(UTC_0_S + self.clock.true_s + self.clock_error_s)


def _short(payload: dict[str, Any]) -> str:
    """A payload in few words."""
    left_out = ("meterValue", "transactionData", "localAuthorizationList", "chargePointVendor", "chargePointModel", "vendorId")
    return " ".join(f"{key}={value}" for key, value in payload.items() if key not in left_out)
