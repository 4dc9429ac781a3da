"""Devices behind ptys, for the drivers' tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hardware.peers import Answer, PtyPeer


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Callable[[Answer], PtyPeer]]:
    """Makes devices; all of them are gone after the test."""
    peers: list[PtyPeer] = []

    def make(answer: Answer = lambda _: b"") -> PtyPeer:
        peers.append(PtyPeer(tmp_path / f"device-{len(peers)}", answer))
        return peers[-1]

    yield make
    for made in peers:
        made.vanish()
