"""Does the simulation find what it is there for? Each mutation breaks one promise of the design on purpose.

`python -m tests.simulation.mutations [NAME…]`, part of `make proof`. A mutation is a text patch on a temporary copy of the
tree: one that no longer applies is an error. It is caught by a finding that names a promise it breaks; a finding about
anything else does not count.

Owns: the list, and the verdict. Does not: tune anything for a mutation; the days are those of all seeds.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from tests.simulation import judge_delivery as delivery
from tests.simulation import judge_money as money
from tests.simulation import judge_states as states
from tests.simulation import lists
from tests.simulation.plan import Day, day
from tests.simulation.simulation import outcome

ROOT = Path(__file__).parents[2]
SEEDS_MAX = 300
FIRST_SEED = 1000
LOST = (delivery.EVERYTHING_ARRIVES, delivery.ONE_STOP, money.BILLED, money.START_FIRST)
"""What a lost message shows itself by."""


class Patch(msgspec.Struct, frozen=True):
    """`old` stands once in the file."""

    path: str
    old: str
    new: str


class Mutation(msgspec.Struct, frozen=True):
    """A mistake that somebody might make. `promises`: those that it breaks. `without`: faults that are left out of the days,
    so that it is not caught by what another mistake is there for."""

    name: str
    promises: tuple[str, ...]
    patches: tuple[Patch, ...]
    without: tuple[str, ...] = ()


COMMIT_WITH_ENTRY = """                self._inbox.accept(position)
                for entry in new:
"""
ENTRY_AFTER_ACKNOWLEDGEMENT = """                self._inbox.accept(position)
            self._say_position(position)
            with transaction(self._database):
                for entry in new:
"""
JOURNAL_OUT = (
    '        self._journal_out = JournalOut(board.node, board.database, topic_named("journal.transaction."), board.log)\n'
)
FORGET_ON_ACKNOWLEDGEMENT = """
        def forget(seq: int) -> None:
            with transaction(board.database):
                self._journal_out.outbox.forget_through(seq)

        self._journal_out.on_acknowledged = forget
"""
LAST_ANSWER = "SELECT transaction_id FROM transactions WHERE transaction_id IS NOT NULL ORDER BY rowid DESC LIMIT 1"
NEVER_CONTRADICTS = Patch(
    "bus/journal.py",
    "        if (position.publisher_store, position.incarnation) != (self.store, incarnation):\n",
    "        if position:\n",
)

MUTATIONS = (
    Mutation("acknowledge before commit", LOST, (Patch("bus/streams.py", COMMIT_WITH_ENTRY, ENTRY_AFTER_ACKNOWLEDGEMENT),)),
    Mutation(
        "publish without outbox",
        LOST,
        (
            Patch(
                "bus/journal.py", '"CREATE TABLE IF NOT EXISTS journal_out"', '"CREATE TEMP TABLE IF NOT EXISTS journal_out"'
            ),
            Patch("bus/journal.py", "IF NOT EXISTS journal_out_by_name", "IF NOT EXISTS temp.journal_out_by_name"),
        ),
    ),
    Mutation(
        "forget entries on acknowledgement instead of on delivery",
        LOST,
        (Patch("services/connectors/service.py", JOURNAL_OUT, JOURNAL_OUT + FORGET_ON_ACKNOWLEDGEMENT),),
    ),
    Mutation(
        "offer current before the start is committed",
        (money.START_FIRST, money.BILLED),
        (
            Patch(
                "services/connectors/work.py",
                "[*self._safety, *commit, *self._answers, *outputs, ",
                "[*self._safety, *outputs, *commit, *self._answers, ",
            ),
        ),
    ),
    Mutation(
        "count an attempt when the connection is lost",
        (delivery.NO_OFFLINE_ATTEMPT,),
        (
            Patch(
                "services/ocpp_link/deliveries.py",
                '_settle(work, delivery, NotSent("connection lost"), remember=False)',
                '_settle(work, delivery, Failed("connection lost"), remember=False)',
            ),
        ),
    ),
    Mutation(
        "keep attempts in memory",
        (delivery.RETRY_RULE,),
        (
            Patch(
                "services/transaction_queue/store.py",
                "        schema.ensure(database)\n        self.count()\n",
                '        schema.ensure(database)\n        database.execute("UPDATE messages SET attempts = 0")\n'
                "        self.count()\n",
            ),
        ),
    ),
    Mutation(
        "match answers by order instead of by id",
        (*LOST, delivery.ONCE, delivery.OWN_ID, delivery.NO_OFFLINE_ATTEMPT),
        (
            Patch(
                "services/ocpp_link/rpc.py",
                "if state.outstanding is not None and state.outstanding.unique_id == unique_id:",
                "if state.outstanding is not None:",
            ),
        ),
    ),
    Mutation(
        "take transactionId from the last answer",
        (delivery.OWN_ID, delivery.ONE_STOP, money.BILLED),
        (
            Patch(
                "services/transaction_queue/rows.py",
                "m.stored_utc, t.transaction_id,",
                f"m.stored_utc, ({LAST_ANSWER}),",
            ),
        ),
    ),
    Mutation(
        "reset the stream number with the store",
        LOST,
        (Patch("bus/database.py", "new = chance.token_hex(8)", 'new = "store"'), NEVER_CONTRADICTS),
        without=("put_back_store",),
    ),
    Mutation("restore a store from a copy", LOST, (NEVER_CONTRADICTS,), without=("lose_store",)),
    Mutation(
        "drop the reverse journal",
        (delivery.EVERYTHING_ARRIVES,),
        (
            Patch(
                "services/transaction_queue/service.py",
                "        self._journal.outbox.append(entry)\n",
                "",
            ),
        ),
    ),
    Mutation(
        "subtract UTC times",
        (money.TRUE_DURATION,),
        (
            Patch(
                "services/transaction_queue/times.py",
                "    if anchor is None or anchor.utc_ms is None:\n        return utc_ms, False\n",
                "    if anchor is None or anchor.utc_ms is None or utc_ms:\n        return utc_ms, False\n",
            ),
        ),
    ),
    Mutation(
        "accept a call after its deadline",
        (money.AUTHORIZED,),
        (Patch("bus/calls.py", "return now_s >= self.deadline_s", "return now_s < 0.0"),),
    ),
    Mutation(
        "reuse a stale state value",
        (states.STALE,),
        (
            Patch(
                "bus/states.py",
                "unknown_after_s = header.boottime_s + PERIODS_UNTIL_UNKNOWN * header.period_s",
                'unknown_after_s = float("inf")',
            ),
        ),
    ),
    Mutation(
        "resume a transaction on another plug-in",
        (money.ONE_PLUG_IN,),
        (
            Patch(
                "services/connectors/transactions.py",
                "return seen.session_energy_ws >= mark.energy_ws and seen.session_elapsed_s >= mark.elapsed_s",
                "return seen.session_energy_ws >= 0 and mark.energy_ws >= 0",
            ),
        ),
    ),
    Mutation(
        "commit in the midst of a local list",
        (lists.WHOLE,),
        (
            Patch(
                "services/connectors/list_table.py",
                '        self._database.executemany("DELETE FROM local_list',
                '        self._database.execute("COMMIT")\n        self._database.execute("BEGIN IMMEDIATE")\n'
                '        self._database.executemany("DELETE FROM local_list',
            ),
        ),
    ),
)

HUNT = """
import sys
from tests.simulation.mutations import spared
from tests.simulation.simulation import outcome
first, last, without, promises = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split(), sys.argv[4:]
for seed in range(first, last):
    for finding in outcome(spared(seed, without)).findings:
        if finding.promise in promises:
            print(f"{seed}\\t{finding.promise}\\t{finding.text}")
            raise SystemExit(0)
"""


class Disqualified(Exception):
    """The unspoilt tree breaks the same promise on the same day: that shows nothing about a mutation."""


class NotApplicable(Exception):
    """The tree has no longer the text that a patch is for."""


def spared(seed: int, without: Sequence[str]) -> Day:
    """The day of a seed without some kinds of faults."""
    plan = day(seed)
    return msgspec.structs.replace(plan, faults=tuple(fault for fault in plan.faults if fault.what not in without))


def mutated(mutation: Mutation, directory: Path) -> None:
    """A copy of the tree with the mistake in it. Raises NotApplicable."""
    for name in ("bus", "services", "deploy", "tests"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    for patch in mutation.patches:
        path = directory / patch.path
        text = path.read_text(encoding="utf-8")
        if text.count(patch.old) != 1:
            raise NotApplicable(f"{mutation.name}: {patch.path} has its text {text.count(patch.old)} times, not once")
        path.write_text(text.replace(patch.old, patch.new), encoding="utf-8")


def hunt(mutation: Mutation) -> str:
    """How it was caught, as a line; empty: it was not."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as name:
        mutated(mutation, Path(name))
        seeds = (str(FIRST_SEED), str(FIRST_SEED + SEEDS_MAX))
        command = [sys.executable, "-c", HUNT, *seeds, " ".join(mutation.without), *mutation.promises]
        environment = {**os.environ, "PYTHONPATH": name}
        ran = subprocess.run(command, cwd=name, env=environment, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"{mutation.name}: {ran.stderr[-2000:]}")
        return ran.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutations")
    parser.add_argument("names", nargs="*", help="only mutations whose name has one of these words")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    chosen = [m for m in MUTATIONS if not arguments.names or any(word in m.name for word in arguments.names)]
    began_s = time.monotonic()
    missed = 0
    with ThreadPoolExecutor(arguments.workers) as pool:
        for mutation, caught in zip(chosen, pool.map(hunt, chosen), strict=True):
            seed, promise, text = caught.split("\t") if caught else ("", "", "")
            missed += not caught
            if caught and promise in {finding.promise for finding in outcome(spared(int(seed), mutation.without)).findings}:
                raise Disqualified(f"{mutation.name}: seed {seed} breaks this without it: {promise}")
            count = int(seed or 0) - FIRST_SEED + 1
            verdict = f"caught after {count} seeds: {promise}\n    {text}" if caught else f"NOT CAUGHT in {SEEDS_MAX} seeds"
            print(f"{mutation.name}: {verdict}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} mutations caught in {time.monotonic() - began_s:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
