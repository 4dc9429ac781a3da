"""Thirty seconds of torture, and plans that can be done again (issue: "Torture of the real thing"; design §7)."""

from itertools import islice

import pytest

from tests.torture import plan
from tests.torture.torture import torture

SEED = 1
SECONDS = 30.0


@pytest.mark.process
def test_half_a_minute_of_torture_loses_and_doubles_nothing() -> None:
    """Kills, cuts, stalls, losses and power cuts while people charge: then the book equals what truly happened.

    `make torture MINUTES=n` does it for longer. What is done comes from the seed; when it hits depends on the machine.
    """
    report = torture(SEED, SECONDS)
    assert report.differences == [], report.text()
    assert report.transactions > 0
    assert report.deeds > 0


def test_a_seed_says_all_that_is_done() -> None:
    assert list(islice(plan.deeds(7), 200)) == list(islice(plan.deeds(7), 200))
    assert list(islice(plan.sessions(7, 1), 50)) == list(islice(plan.sessions(7, 1), 50))
    assert list(islice(plan.deeds(7), 20)) != list(islice(plan.deeds(8), 20))


def test_everybody_has_a_card_of_their_own_that_the_reader_can_read() -> None:
    tags = [session.id_tag for number in (1, 2) for session in islice(plan.sessions(7, number), 500)]
    assert len(set(tags)) == 1000
    assert all(len(tag) == 10 and int(tag, 16) >= 0 for tag in tags)


def test_a_plan_reaches_every_service_every_moment_and_every_deed() -> None:
    deeds = list(islice(plan.deeds(1), 3000))
    assert {name for deed in deeds for name in deed.who} == set(plan.SERVICES)
    assert {deed.moment for deed in deeds} == {"", *plan.MOMENTS}
    assert {"kill", "restart", "kill supervisord", "kill supervisord and all", "cut", "hang up", "cut after", "stall"} <= {
        deed.what for deed in deeds
    }
