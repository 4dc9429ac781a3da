"""The real link and the real queue together, against a Central System that misbehaves: what bills arrives once (design §4)."""

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus.database import open_database, transaction
from bus.messages import DeliveryEntry, StartTransaction, StopTransaction, TransactionEntry
from bus.streams import JournalIn, JournalOut
from bus.topics import topic_named
from services.transaction_queue.service import Surroundings, TransactionQueue
from tests.ocpp_link.world import CONFIG, World, error, moment

SESSIONS = 6
STEPS = 80


class Station(World):
    """The link's world, with the real queue in place of its node, and connectors that journal."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.dice = random.Random(seed)
        self.application: TransactionQueue | None = None
        self.journal: JournalOut | None = None
        self.calm = False
        self.book: list[tuple[int, str, str]] = []
        """What the Central System received: connection, unique id, content. Never one with an error."""
        self.settled: set[str] = set()
        """Contents that were answered on the connection on which they came."""
        self.excuses: dict[str, int] = {}
        """By content: how often its answer was withheld, lost or malformed."""
        self.transactions = 100
        self.withheld: list[tuple[int, str, Any, str]] = []
        keys = {"TransactionMessageAttempts": "1000", "TransactionMessageRetryInterval": "1"}
        super().__init__(directory, msgspec.structs.replace(CONFIG, ocpp=keys))
        for action in ("StartTransaction", "StopTransaction"):
            self.answers[action] = None
        database = open_database(str(directory / "connectors.db"))
        self.outcomes: list[DeliveryEntry] = []
        self.journal = JournalOut(self.connectors, database, topic_named("journal.transaction."), self.log)
        JournalIn(self.connectors, database, topic_named("journal.delivery."), store=self.outcomes.append, stored=lambda: None)
        self.connectors_database = database
        self.start_queue()

    def start_queue(self) -> None:
        self.queue = self._node("transaction_queue")
        self.queue_database = open_database(str(self.directory / "transactions.db"))
        own = Surroundings("boot-a", self.boot_id, self._unique_id, self.log, lambda *_: None)
        self.application = TransactionQueue(self.queue, self.queue_database, own, configuration=self.config.ocpp)
        for node in self._nodes():
            node.broker_attached()
        self.settle()

    def restart_queue(self) -> None:
        self.application = None
        self.queue_database.close()
        self.start_queue()

    def session(self, number: int) -> None:
        assert self.journal is not None
        messages = (
            StartTransaction(1, f"TAG{number}", 1000 * number, moment(self.now_s)),
            StopTransaction(1, 1000 * number + 500, moment(self.now_s + 1), "Local", f"TAG{number}"),  # type: ignore[arg-type]
        )
        with transaction(self.connectors_database):
            for place, message in enumerate(messages):
                self.journal.outbox.append(TransactionEntry(f"tx-{number}", place, message), f"tx-{number}/{place}")
        self.journal.send()
        self.settle()

    def _answer_call(self, frame: list[Any]) -> None:
        _, unique_id, action, payload = frame
        if action not in ("StartTransaction", "StopTransaction"):
            if not self.calm and self.dice.random() < 0.05:
                self.answers[action], usual = (
                    self.dice.choice([None, error("SecurityError"), error("InternalError")]),
                    self.answers[action],
                )
                super()._answer_call(frame)
                self.answers[action] = usual
                return
            super()._answer_call(frame)
            return
        super()._answer_call(frame)
        content = f"{action} {json.dumps(payload, sort_keys=True)}"
        fate = (
            "good"
            if self.calm
            else self.dice.choice(["good"] * 4 + ["silent", "late", "cut", "lost", "error", "security", "malformed"])
        )
        if fate == "lost":
            self.excuse(content)
            self.lose("lost on the way")
            return
        if fate in ("error", "security"):
            self.answer(unique_id, error("InternalError" if fate == "error" else "SecurityError"))
            return
        assert content not in self.settled, f"{content} came again though it was answered"
        self.book.append((self.links[-1].connection, unique_id, content))
        answer = self.good(action)
        if fate == "good":
            self.settled.add(content)
            self.answer(unique_id, answer)
            return
        self.excuse(content)
        if fate == "malformed":
            self.answer(unique_id, {"transactionId": "x"} if action == "StartTransaction" else [])
        elif fate == "cut":
            self.lose()
        elif fate == "late":
            self.withheld.append((self.links[-1].connection, unique_id, answer, content))

    def excuse(self, content: str) -> None:
        self.excuses[content] = self.excuses.get(content, 0) + 1

    def good(self, action: str) -> dict[str, Any]:
        if action == "StopTransaction":
            return {}
        self.transactions += 1
        return {"transactionId": self.transactions, "idTagInfo": {"status": "Accepted"}}

    def trouble(self) -> None:
        """Something goes wrong, or time passes."""
        match self.dice.randrange(8):
            case 0:
                self.lose()
            case 1:
                self.restart_link()
            case 2:
                self.restart_queue()
            case 3 if self.withheld:
                connection, unique_id, answer, content = self.withheld.pop()
                if connection == self.links[-1].connection and self.links[-1].connected:
                    self.settled.add(content)
                self.answer(unique_id, answer)
            case 4:
                self.authorize()
            case _:
                self.advance(self.dice.choice([0.1, 1.0, 7.0, 31.0, 65.0]))

    def _unique_id(self) -> str:
        return f"id-{self.dice.getrandbits(64):x}"

    def more_deadlines(self) -> list[float | None]:
        parts = [part for part in (self.application, self.journal) if part is not None]
        return [part.next_deadline_s() for part in parts]

    def _tick(self) -> None:
        super()._tick()
        for part in (self.application, self.journal):
            if part is not None:
                part.tick()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_each_message_arrives_and_none_is_repeated_without_cause(tmp_path: Path, seed: int) -> None:
    station = Station(tmp_path, seed)
    station.advance(1)
    for number in range(STEPS):
        if number % (STEPS // SESSIONS) == 0:
            station.session(number // (STEPS // SESSIONS))
        station.trouble()
    station.calm = True
    station.advance(3000)
    contents = [content for *_, content in station.book]
    first = list(dict.fromkeys(contents))
    started = [content for content in first if content.startswith("Start")]
    assert len(started) == SESSIONS + (STEPS % (STEPS // SESSIONS) > 0)
    sent = [(connection, unique_id) for connection, unique_id, _ in station.book]
    assert len(sent) == len(set(sent)), "a unique id came twice on a connection (OCPP-J 1.6 §4.1.4)"
    copies = {content: contents.count(content) for content in first}
    assert all(count <= 1 + station.excuses.get(content, 0) for content, count in copies.items()), "a repeat without cause"
    stops = {content.split('"meterStop": ')[1].split(",")[0] for content in first if content.startswith("Stop")}
    assert len(stops) == len(started)
    assert len(station.outcomes) == 2 * len(started)
    assert station.links[-1].online
