"""What a stop says, and when: near what ended it, and wrong only by what nobody could know (design §2, §5)."""

from collections.abc import Callable

import pytest

from tests.simulation import judge_money as money
from tests.simulation.cooked import Cooked
from tests.simulation.ledger import Span

Step = Callable[[Cooked], None]


def trouble(what: str, from_s: float, to_s: float) -> Step:
    """Something is wrong for a while."""

    def happen(cooked: Cooked) -> None:
        cooked.ledger.spans.append(Span(what, from_s, to_s))

    return happen


def miss_some_energy(cooked: Cooked) -> None:
    """The stop came, and was answered, a second after the contactor had opened."""
    cooked.book.copies[1].payload["meterStop"] = 1900


def miss_some_energy_and_tell_late(cooked: Cooked) -> None:
    """It came when the link was back."""
    miss_some_energy(cooked)
    cooked.book.copies[1].at_s = 600.0


MISSED: list[tuple[Step, Step, Step]] = [
    (miss_some_energy, trouble("broker down", 395.0, 402.5), trouble("broker down", 430.0, 430.5)),
    (miss_some_energy, trouble("connectors down", 399.0, 402.9), trouble("connectors down", 403.5, 420.0)),
    (miss_some_energy, trouble("meter 1 silent", 380.0, 440.0), trouble("meter 1 silent", 404.0, 440.0)),
    (miss_some_energy_and_tell_late, trouble("connectors down", 412.0, 440.0), trouble("connectors down", 425.0, 440.0)),
    (miss_some_energy_and_tell_late, trouble("power off", 405.0, 500.0), trouble("power off", 500.0, 550.0)),
]


@pytest.mark.parametrize(("spoil", "before", "after"), MISSED)
def test_trouble_excuses_no_register_that_was_told_or_written_before_it(spoil: Step, before: Step, after: Step) -> None:
    """Design §3: what is committed stays as it is, and a stop is, within 15 s of its contactor's opening."""
    cooked = Cooked()
    spoil(cooked)
    assert cooked.promises() == {money.BILLED, money.TRUE_TIMES}
    after(cooked)
    assert cooked.promises() == {money.BILLED, money.TRUE_TIMES}
    before(cooked)
    assert cooked.promises() == set()
