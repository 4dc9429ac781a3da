"""A simulated day for each seed: whatever goes wrong, the Central System's book equals the ledger (design §7).

Real service classes, real SQLite stores, one seed for everything. `make simulate SEEDS=n` runs more of them. A seed that fails
tells its story; once understood it is kept in `regressions.py` by what it showed.

Field reports that these days show: A1, A3 to A10, A14, A16 (order, once, own transactionId, retry rule), C27, C29 (no time
of 1970, steps), C32 (late joiners), G51, G52 (power cuts, full and lost stores).
"""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.simulation import regressions
from tests.simulation.plan import Day
from tests.simulation.simulation import outcome, passed, simulate

SEEDS = 60


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_day_ends_with_the_book_equal_to_the_ledger(seed: int) -> None:
    """Design §7: each session with its start, its stop, its registers, once, in order, with true times."""
    ended = simulate(seed)
    assert not ended.findings, ended.story
    assert ended.messages, "a day on which nothing is sent shows nothing"


@pytest.mark.parametrize("plan", regressions.ALL, ids=lambda plan: plan.__name__)
def test_what_was_found_once_stays_right(plan: Callable[[], Day]) -> None:
    """Each was a finding of this simulation."""
    ended = outcome(plan())
    assert not ended.findings, ended.story
    assert ended.sessions, "the day has to show what it is about"


@pytest.mark.parametrize(
    "plan", [regressions.start_that_is_answered_after_it_was_given_up, regressions.late_answer_while_the_queue_is_away]
)
def test_a_late_answer_gives_the_rest_of_its_transaction_the_id(plan: Callable[[], Day]) -> None:
    """Design §4.6: the judge allows -1 for what was given up, so it would not miss it."""
    with passed(plan()) as world:
        start, *rest = world.book.copies
        ids = [copy.payload["transactionId"] for copy in rest]
        assert set(ids) == {-1, start.transaction_id}, "values went out meanwhile"
        assert ids == sorted(ids, key=lambda id_: id_ != -1), "and none after the answer"
        assert rest[-1].action == "StopTransaction"
        assert world.dead_letters == [] == world.disk.rows("transactions.db", "SELECT * FROM dead_letters")


def test_the_same_seed_tells_the_same_story_in_another_process() -> None:
    """No wall clock, no randomness but the seed's, no order that the interpreter's hashes decide."""
    stories = set()
    for hash_seed in ("1", "2"):
        program = "from tests.simulation.simulation import whole_story; print(whole_story(7))"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
        stories.add(ran.stdout)
    assert len(stories) == 1
    assert stories.pop().count("\n") > 100
