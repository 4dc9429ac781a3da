"""The mutations of `make proof` still apply to the tree, and each names promises that the judge knows."""

import ast

import pytest

from tests.simulation import judge_delivery, judge_money, judge_states, lists
from tests.simulation.mutations import MUTATIONS, ROOT, Mutation

PROMISES = {
    value
    for module in (judge_delivery, judge_money, judge_states, lists)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}


def test_there_are_sixteen_of_them() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == 16


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_applies_and_leaves_a_program(mutation: Mutation) -> None:
    """One that no longer applies proves nothing."""
    assert PROMISES.issuperset(mutation.promises)
    for patch in mutation.patches:
        text = (ROOT / patch.path).read_text(encoding="utf-8")
        assert text.count(patch.old) == 1, f"{patch.path} has it {text.count(patch.old)} times"
        ast.parse(text.replace(patch.old, patch.new))
