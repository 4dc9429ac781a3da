"""Random ids of the station: of stores, streams, transactions and messages.

Owns: where randomness comes from, the operating system unless a simulation hands in a source of its own, so that one seed
repeats a whole day to the letter. Does not: serve secrets; keys and passwords never come from here.
"""

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

_source: random.Random = random.SystemRandom()


def bits(count: int) -> int:
    """A random number of `count` bits."""
    return _source.getrandbits(count)


def token_hex(size_bytes: int) -> str:
    """Random text of two hexadecimal digits a byte, as `secrets.token_hex` gives it."""
    return _source.getrandbits(8 * size_bytes).to_bytes(size_bytes, "big").hex()


def unique_id() -> str:
    """A new uuid4 in text, as OCPP-J wants it for a message (OCPP-J 1.6 §4.1.4)."""
    return str(uuid.UUID(int=_source.getrandbits(128), version=4))


def share() -> float:
    """A random number from 0 to 1."""
    return _source.random()


@contextmanager
def drawn_from(source: random.Random) -> Iterator[None]:
    """While this lasts, all ids come from `source`."""
    global _source
    before, _source = _source, source
    try:
        yield
    finally:
        _source = before
