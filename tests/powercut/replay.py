"""What a disk may hold after the power was cut: every state that the recorded writes allow (pure but for seeded randomness).

Model. What was written before the file's last sync is on the disk. Of what came after it, any part may be there: whole writes
in any choice, whatever their order, and of each write any 512-byte sectors. Names of files that were made or deleted follow the
same rule: they are durable when the file or the directory has been synced. So the images of a cut are: all that was written
(SIGKILL), nothing unsynced, each write alone left out, each alone there, torn ones, and choices by seed.

Owns: events to images. Does not: know SQLite's formats, or open anything.
"""

import random
from collections.abc import Iterator, Sequence

import msgspec

from tests.powercut.recorder import Commit, Create, Delete, Event, Sync, Truncate, Write

SECTOR_BYTES = 512
Image = dict[str, bytes]
"""Files by name."""


class Cut(msgspec.Struct, frozen=True):
    """One possible disk. `at`: how many events had happened; `commits`: how many were complete, by file."""

    at: int
    how: str
    image: Image
    commits: dict[str, int]


class Bounds(msgspec.Struct, frozen=True):
    """How many images of a cut: each single write left out and kept up to `singles`, and `samples` by seed."""

    singles: int = 64
    samples: int = 8
    seed: int = 0


def cuts(before: Image, events: Sequence[Event], bounds: Bounds) -> Iterator[Cut]:
    """Every cut of a record, before its first event and after each one, on top of what the disk held `before`."""
    durable = dict(before)
    pending: list[Event] = []
    commits: dict[str, int] = {}
    for at in range(len(events) + 1):
        if at:
            event = events[at - 1]
            match event:
                case Sync():
                    durable = _applied(durable, [e for e in pending if _synced(e, event)])
                    pending = [e for e in pending if not _synced(e, event)]
                case Commit(file=file):
                    commits[file] = commits.get(file, 0) + 1
                case Delete(durable=True):
                    durable = _applied(_applied(durable, [e for e in pending if e.file == event.file]), [event])
                    pending = [e for e in pending if e.file != event.file]
                case _:
                    pending.append(event)
        for how, chosen in _choices(pending, bounds, random.Random(f"{bounds.seed}/{at}")):
            yield Cut(at, how, _applied(durable, chosen), dict(commits))


def _synced(event: Event, sync: Sync) -> bool:
    return event.file == sync.file or (sync.directory and isinstance(event, (Create, Delete)))


def whole(before: Image, events: Sequence[Event]) -> Image:
    """The files as the system shows them after all events."""
    return _applied(before, events)


def _choices(pending: Sequence[Event], bounds: Bounds, rng: random.Random) -> Iterator[tuple[str, list[Event]]]:
    """Which of the unsynced events reached the disk."""
    yield "all", list(pending)
    if not pending:
        return
    yield "none", []
    if len(pending) > 1:
        for index in range(min(len(pending), bounds.singles)):
            yield f"without {index}", [*pending[:index], *pending[index + 1 :]]
            yield f"only {index}", [pending[index]]
    last = pending[-1]
    if isinstance(last, Write):
        yield "torn", [*pending[:-1], *_torn(last, rng)]
    for number in range(bounds.samples if len(pending) > 1 else min(1, bounds.samples)):
        chosen: list[Event] = []
        for event in pending:
            kept = rng.choice(("whole", "torn", "lost"))
            if kept == "whole":
                chosen.append(event)
            elif kept == "torn" and isinstance(event, Write):
                chosen.extend(_torn(event, rng))
        yield f"choice {number}", chosen


def _torn(write: Write, rng: random.Random) -> list[Event]:
    """Some of the sectors of a write."""
    pieces = [
        Write(write.file, write.offset + start, write.data[start : start + SECTOR_BYTES])
        for start in range(0, len(write.data), SECTOR_BYTES)
    ]
    return [piece for piece in pieces if rng.random() < 0.5]


def _applied(image: Image, events: Sequence[Event]) -> Image:
    """The image after the events. A write to a file whose name was lost is lost with it."""
    new = dict(image)
    changed: dict[str, bytearray] = {}
    for event in events:
        match event:
            case Create(file=file):
                changed.setdefault(file, bytearray(new.get(file, b"")))
            case Write(file=file, offset=offset, data=data) if file in changed or file in new:
                content = changed.setdefault(file, bytearray(new.get(file, b"")))
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(data)] = data
            case Truncate(file=file, size=size) if file in changed or file in new:
                content = changed.setdefault(file, bytearray(new.get(file, b"")))
                del content[size:]
                content.extend(bytes(size - len(content)))
            case Delete(file=file):
                changed.pop(file, None)
                new.pop(file, None)
    new.update({file: bytes(content) for file, content in changed.items()})
    return new
