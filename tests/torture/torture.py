"""One round of torture: a station, its people, its tormentor; then peace, and the books are compared.

Owns: the order of a round and its report. Does not: judge (`judge.py`), plan (`plan.py`) or act.
"""

import sqlite3
import time
from pathlib import Path

import msgspec

from services.demo.central_system import CentralSystem
from tests.harness import Station, wait_until
from tests.torture import judge, plan
from tests.torture.board import Board, Moments, Story
from tests.torture.evidence import Evidence, Rest
from tests.torture.people import Person, Town
from tests.torture.proxy import Proxy
from tests.torture.tormentor import Tormentor

METERS = ("sdm630", "sdm120")
SAMPLE_INTERVAL_S = 2
ATTEMPTS = 10
GOING_HOME_S = 180.0
DRAINED_S = 180.0
"""The longest wait in it is that of a question to the link whose answer was lost with the broker."""
CONFIG = """
[station]
identity = "CP-T"
vendor = "Chargebus"
model = "Virtual"

[central_system]
url = "{url}"
reconnect_min_s = 0.2
reconnect_max_s = 1.0
ping_interval_s = 1
pong_timeout_s = 2.0

[supply]
max_current_a = 63
phases = 3
voltage_v = 230

[reader]
driver = "rdm6300"

[ocpp]
MeterValueSampleInterval = {sample_interval_s}
MeterValuesSampledData = "Energy.Active.Import.Register,Power.Active.Import"
MessageTimeout = 3
TransactionMessageAttempts = {attempts}
TransactionMessageRetryInterval = 1
AllowOfflineTxForUnknownId = true
"""
CONNECTOR = """
[[connector]]
id = {number}
cable = "fixed"
evse = {{ driver = "openevse" }}
meter = {{ driver = "{meter}" }}
"""


class Report(msgspec.Struct):
    """What a round came to."""

    seed: int
    differences: list[str]
    story: str
    kills: dict[str, int]
    deeds: int
    sessions: int
    without_energy: int
    transactions: int
    messages: int
    repeats: int
    drain_s: float

    def text(self) -> str:
        """For a person: how to do it again, what differs, and what had been done."""
        lines = [f"seed {self.seed}: {len(self.differences)} differences", *(f"  - {text}" for text in self.differences)]
        return "\n".join([*lines, f"what was done (again: make torture SEED={self.seed}):", self.story])


def config_text(url: str) -> str:
    """The station of a round: two connectors, short intervals, cards count offline too."""
    connectors = "".join(CONNECTOR.format(number=number, meter=meter) for number, meter in enumerate(METERS, 1))
    return CONFIG.format(url=url, sample_interval_s=SAMPLE_INTERVAL_S, attempts=ATTEMPTS) + connectors


def torture(seed: int, seconds: float, *, state_dir: Path | None = None) -> Report:
    """Torture a new station for so long, make peace, and compare. Raises AssertionError where peace does not come."""
    story = Story()
    with CentralSystem() as central_system, Proxy(central_system.port) as proxy:
        text = config_text(f"ws://127.0.0.1:{proxy.port}/")
        with Station(text, state_dir=state_dir, ready_timeout_s=90.0) as station:
            central_system.wait_for(lambda book: book.status(len(METERS)), 60, "the first StatusNotifications")
            with Board(station, story, Moments()) as board:
                town = Town(board, central_system)
                try:
                    tormentor, drain_s = _live(town, proxy, seed, seconds)
                except BaseException:
                    print(f"seed {seed}\n{story.text()}")
                    raise
                evidence = _evidence(town)
                problems = [*town.failures, *judge.differences(evidence)]
                if problems:
                    station.print_logs(60)
                return _report(seed, problems, town, tormentor, drain_s, evidence)


def _live(town: Town, proxy: Proxy, seed: int, seconds: float) -> tuple[Tormentor, float]:
    tormentor = Tormentor(town, proxy, plan.deeds(seed))
    people = [Person(town, number, plan.sessions(seed, number)) for number in range(1, len(METERS) + 1)]
    for person in people:
        person.start()
    tormentor.torment(seconds)
    tormentor.make_peace()
    town.closing.set()
    peace_s = time.monotonic()
    for person in people:
        person.join(GOING_HOME_S)
        assert not person.is_alive(), f"{person.name} does not get home"
    wait_until(town.board.settled, GOING_HOME_S, "every service is back")
    wait_until(lambda: _drained(town.board.station.state_dir), DRAINED_S, "all is delivered")
    town.board.story.tell("all is delivered")
    return tormentor, time.monotonic() - peace_s


def _drained(state_dir: Path) -> bool:
    rest = _rest(state_dir)
    return not (rest.queued or rest.open_transactions or rest.kept_entries)


def _rest(state_dir: Path) -> Rest:
    queue, connectors = state_dir / "transactions.db", state_dir / "connectors.db"
    return Rest(
        queued=_count(queue, "messages"),
        dead_letters=_count(queue, "dead_letters"),
        quarantined=_count(queue, "quarantine"),
        open_transactions=_count(connectors, "transactions"),
        kept_entries=_count(connectors, "journal_out"),
    )


def _count(path: Path, table: str) -> int:
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
    try:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        database.close()


def _evidence(town: Town) -> Evidence:
    board = town.board
    charges, plugs = board.truth()
    return Evidence(
        entries=tuple(town.central_system.book.entries()),
        charges=charges,
        plugs=plugs,
        asked=tuple(town.asked),
        disturbances=board.disturbances(),
        samples=tuple(board.samples),
        first_wh=board.first_wh,
        last_wh=board.registers(),
        utc_offset_s=time.time() - time.monotonic(),
        sample_interval_s=SAMPLE_INTERVAL_S,
        attempts_max=ATTEMPTS,
        rest=_rest(board.station.state_dir),
    )


def _report(seed: int, problems: list[str], town: Town, tormentor: Tormentor, drain_s: float, evidence: Evidence) -> Report:
    transactions, messages, repeats = judge.counted(evidence)
    return Report(
        seed=seed,
        differences=problems,
        story=town.board.story.text(),
        kills=dict(town.board.kills),
        deeds=tormentor.done,
        sessions=town.sessions,
        without_energy=town.without_energy,
        transactions=transactions,
        messages=messages,
        repeats=repeats,
        drain_s=drain_s,
    )
