"""The judge of lists in a simulated day: what it lets pass and what it does not (OCPP 1.6 §5.15)."""

from typing import Any

from tests.simulation import lists
from tests.simulation.book import Asked
from tests.simulation.plan import day

FULL = {"listVersion": 1, "updateType": "Full", "localAuthorizationList": [{"idTag": "A", "idTagInfo": {"status": "Accepted"}}]}
CHANGES = [{"idTag": "A"}, {"idTag": "B", "idTagInfo": {"status": "Blocked"}}]
DIFFERENTIAL = {"listVersion": 2, "updateType": "Differential", "localAuthorizationList": CHANGES}
AFTER_FULL: lists.Content = (1, (("a", "Accepted"),))
AFTER_BOTH: lists.Content = (2, (("b", "Blocked"),))


def sent(payload: dict[str, Any], answer: str) -> Asked:
    return Asked(1.0, "SendLocalList", payload, answer)


def test_what_was_accepted_is_there() -> None:
    assert lists.contents([sent(FULL, "Accepted")], exchanged=False) == {AFTER_FULL}
    assert lists.contents([sent(FULL, "Accepted"), sent(DIFFERENTIAL, "Accepted")], exchanged=False) == {AFTER_BOTH}


def test_what_was_refused_is_not_there() -> None:
    assert lists.contents([sent(FULL, "Accepted"), sent(DIFFERENTIAL, "Failed")], exchanged=False) == {AFTER_FULL}


def test_what_was_not_answered_is_there_or_not_but_never_half() -> None:
    """OCPP 1.6 §5.15; a third content, with one of two changes in it, is none of them."""
    for answer in ("", "CALLERROR InternalError"):
        found = lists.contents([sent(FULL, "Accepted"), sent(DIFFERENTIAL, answer)], exchanged=False)
        assert found == {AFTER_FULL, AFTER_BOTH}


def test_an_older_copy_of_the_store_has_an_older_list() -> None:
    both = [sent(FULL, "Accepted"), sent(DIFFERENTIAL, "Accepted")]
    assert {lists.EMPTY, AFTER_FULL, AFTER_BOTH} <= lists.contents(both, exchanged=True)


def test_lists_change_nothing_else_in_a_seed() -> None:
    """The visits of a seed, and its faults but for deaths over lists, are those of before there were lists."""
    plans = [day(seed) for seed in range(40)]
    assert any(plan.lists_sent for plan in plans)
    assert any(not plan.lists_sent for plan in plans)
    assert [round(plan.visits[0].at_s, 3) for plan in plans[:3]] == [1314.144, 8074.366, 1722.856]
    over = {one.at_s - 0.001 for plan in plans for one in plan.lists_sent if one.dies_after is not None}
    assert over <= {fault.at_s for plan in plans for fault in plan.faults}
