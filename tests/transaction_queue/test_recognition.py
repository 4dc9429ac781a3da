"""What an arriving entry of the journal is, by its number and by what is in it (design §3: each gets one stop)."""

import pytest

from services.transaction_queue.recognition import Here, Place, place


@pytest.mark.parametrize("is_stop", [False, True])
def test_a_number_that_is_not_known_is_a_message_that_is_not_here(is_stop: bool) -> None:
    assert place(Here(highest=4), 5, is_stop=is_stop) == Place(5, new=True)
    assert place(Here(highest=9), 5, is_stop=is_stop) == Place(5, new=True), "it was lost here, and fills the gap"


@pytest.mark.parametrize("number", [5, 9, 12])
def test_after_its_stop_nothing_comes_of_a_transaction_but_what_was_lost_before_it(number: int) -> None:
    here = Here(highest=9, stop_settled=True)
    assert place(here, number, is_stop=True) == Place(number, new=False, over=True)
    assert place(here, number, is_stop=False) == Place(number, new=number <= 9, over=number > 9)


@pytest.mark.parametrize("waits", [False, True])
def test_readings_under_a_known_number_are_repeated(waits: bool) -> None:
    assert place(Here(waits=waits, settled=not waits), 5, is_stop=False) == Place(5, new=False, waits=waits)


@pytest.mark.parametrize("waits", [False, True])
def test_a_stop_under_the_number_of_another_message_is_the_next_one(waits: bool) -> None:
    assert place(Here(waits=waits, settled=not waits, highest=9), 5, is_stop=True) == Place(10, new=True)


@pytest.mark.parametrize("number", [5, 9, 12])
def test_a_stop_is_known_whatever_its_number_as_long_as_one_waits(number: int) -> None:
    here = Here(waits=number == 9, settled=number == 5, highest=9, stop_waits=9)
    assert place(here, number, is_stop=True) == Place(9, new=False, waits=True)


def test_a_stop_that_was_settled_is_known_under_a_known_number() -> None:
    assert place(Here(settled=True, highest=9, stop_settled=True), 5, is_stop=True) == Place(5, new=False)
