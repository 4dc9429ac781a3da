"""Ids come from the operating system, and in a simulation from its seed."""

import random
import uuid

from bus import chance


def test_ids_have_their_form_and_are_never_the_same() -> None:
    """OCPP-J 1.6 §4.1.4: at most 36 characters."""
    ids = {chance.unique_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(uuid.UUID(text).version == 4 and len(text) == 36 for text in ids)
    assert len({chance.token_hex(8) for _ in range(100)}) == 100
    assert len(chance.token_hex(8)) == 16
    assert 0 <= chance.bits(62) < 2**62


def test_a_seed_gives_the_same_ids_again_and_only_while_it_is_asked_to() -> None:
    drawn = []
    for _ in range(2):
        with chance.drawn_from(random.Random(7)):
            drawn.append((chance.unique_id(), chance.token_hex(8), chance.bits(62)))
    assert drawn[0] == drawn[1]
    assert chance.unique_id() != drawn[0][0]
