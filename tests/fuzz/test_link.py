"""A running link under random and broken frames, with valid traffic in between (issue: the Core profile, acceptance 6).

2,000 frames by default; `make proof` sends 100,000 (`FUZZ_FRAMES`), with another seed each time unless `FUZZ_SEED` gives one.
A failure prints the seed; the same seed and count give the same frames. Judged is: the process lives, every message that
goes out is valid, valid traffic is answered rightly both ways, and memory stays flat.
"""

import gc
import os
import tracemalloc
from pathlib import Path

import pytest

from bus import messages as m
from bus.vocabulary import (
    AuthorizationStatus,
    AvailabilityStatus,
    ChargePointStatus,
    ClearCacheStatus,
    RemoteStartStopStatus,
    ResetStatus,
    UnlockStatus,
)
from services.ocpp_link import rpc
from tests.fuzz.frames import Frames
from tests.ocpp_link.world import World, connector

FRAMES = int(os.environ.get("FUZZ_FRAMES", "2000"))
SEED = int(os.environ.get("FUZZ_SEED", "20261124"))
OWNERS = {
    m.RemoteStartTransaction: m.RemoteStartStopAnswer(RemoteStartStopStatus.REJECTED),
    m.RemoteStopTransaction: m.RemoteStartStopAnswer(RemoteStartStopStatus.REJECTED),
    m.ChangeAvailability: m.ChangeAvailabilityAnswer(AvailabilityStatus.REJECTED),
    m.UnlockConnector: m.UnlockConnectorAnswer(UnlockStatus.NOT_SUPPORTED),
    m.ClearCache: m.ClearCacheAnswer(ClearCacheStatus.REJECTED),
    m.Reset: m.ResetAnswer(ResetStatus.REJECTED),
}
"""What connectors answer to frames that are valid by chance."""
ROUND = 50
"""Valid traffic comes after so many frames."""
GROWTH_BYTES_MAX = 128 * 1024
"""How much memory may grow after the first tenth of the frames: room for caches, none for 2 bytes a frame in `make proof`."""


class Link:
    """The real link among its neighbours, and what is asked of it."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.frames = Frames(seed)
        self.world = World(directory)
        self.world.remote_answers = dict(OWNERS)
        self.world.say(connector(0, ChargePointStatus.AVAILABLE), connector(1, ChargePointStatus.AVAILABLE))
        self.world.online()
        self.rounds = 0

    def disturb(self, count: int) -> None:
        """So many frames, and the time that they take. One in fifty comes as a binary frame."""
        for number in range(count):
            ids = [unique_id for _, unique_id, _ in self.world.calls[-3:]]
            self.world.frame(self.frames.next(ids))
            if number % 50 == 0:
                self.world.link.on_binary(number)
        self.world.advance(10.0)

    def check(self) -> None:
        """Valid traffic, both ways."""
        world = self.world
        self.rounds += 1
        value = str(10 + self.rounds % 50)
        change = {"key": "MeterValueSampleInterval", "value": value}
        assert world.asked("ChangeConfiguration", change) == {"status": "Accepted"}
        got = world.asked("GetConfiguration", {"key": ["meterValueSampleInterval", "Nonsense"]})
        entry = {"key": "MeterValueSampleInterval", "readonly": False, "value": value}
        assert got == {"configurationKey": [entry], "unknownKey": ["Nonsense"]}
        assert world.asked("RemoteStartTransaction", {"idTag": "TAG"}) == {"status": "Rejected"}
        assert world.asked("DataTransfer", {"vendorId": "org.example"}) == {"status": "UnknownVendorId"}
        assert world.asked("NoSuchAction") == "NotImplemented"
        assert [reply.value for reply in world.authorize()] == [m.IdTagInfo(AuthorizationStatus.ACCEPTED)]
        (report,) = world.deliver(f"tx-{self.rounds}")
        assert report.value.outcome == m.Delivered(7, m.IdTagInfo(AuthorizationStatus.ACCEPTED))
        assert world.links[-1].online
        assert len(world.link._calls) <= 2 * rpc.WAITING_MAX
        self._forget()

    def _forget(self) -> None:
        """What the test itself keeps of the past."""
        world = self.world
        for kept in (world.calls, world.results, world.actions, world.log.lines, world.clocks, world.remote, world.late):
            kept.clear()
        del world.links[:-1]
        world.socket.sent.clear()
        world.seen = 0


@pytest.fixture
def memory() -> object:
    tracemalloc.start()
    yield None
    tracemalloc.stop()


@pytest.mark.usefixtures("memory")
def test_frames_of_any_kind_neither_end_nor_confuse_nor_fatten_the_link(tmp_path: Path) -> None:
    """OCPP-J 1.6 §4; field reports §2.10, §2.25, 55."""
    link = Link(tmp_path, SEED)
    settled = size = 0
    rounds = FRAMES // ROUND
    try:
        for number in range(rounds):
            link.disturb(ROUND)
            link.check()
            gc.collect()
            size = tracemalloc.get_traced_memory()[0]
            settled = size if number <= rounds // 10 else settled
    except BaseException:
        print(f"FUZZ_SEED={SEED} FUZZ_FRAMES={FRAMES}, after {link.rounds * ROUND} frames")
        raise
    assert size <= settled + GROWTH_BYTES_MAX, f"FUZZ_SEED={SEED}: memory grew from {settled} to {size} bytes"
    print(f"{FRAMES} frames, seed {SEED}: {link.rounds} rounds of valid traffic, memory {settled} to {size} bytes")
