"""The power is cut at every write, and the real store code opens what is left: each acknowledged commit is there, whole.

    record = recorded(directory, scenario)          # a scenario marks its steps
    found = proved(record, stores, Bounds(...))     # what is wrong, in words that name the step; empty: nothing
    found = gone_on(record, going_on)               # the same for what the real service makes of it

The measure. After the n-th complete commit of a database its content is S(n), read from the files as the system shows them
then. Of a cut after n commits the content has to be S(n), or S(n+1) if the next one was under way: there whole, or not at all.
So what the service makes of every disk is known when it went on from each S(n) once.

A record may begin on a disk that another cut has left: then its cuts are second ones.

Owns: recording, materialising, opening, comparing. Does not: know what can be on a disk (`replay.py`), or what a store holds.
"""

import contextlib
import hashlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.powercut.recorder import Commit, Event, Recorder
from tests.powercut.replay import Bounds, Cut, Image, cuts, whole

Store = Callable[[str], tuple[str, Any]]
"""Opens a database by its path with the real code: what that complains of, and what it reads, comparable with `==`."""
FOUND_MAX = 20
LOOKED_AT_BYTES = 32
"""Of each file: what `bus.salvage` reads of a database by itself, and more."""
GoingOn = Callable[[str], str]
"""Lets the real service go on with the databases of a directory, after each commit in turn; what is wrong with what comes."""
_Content = tuple[Any, ...]
_EMPTY = ("BEGIN TRANSACTION;", "COMMIT;")
"""The dump of a database in which nothing is yet; a file that holds less was cut at its making, and may be told of."""


class Record(msgspec.Struct):
    """All that was written, and which step an event belongs to. `before`: the files that were there."""

    events: list[Event]
    steps: list[tuple[int, str]]
    before: Image = {}

    def step(self, at: int) -> str:
        """The step that was under way after `at` events."""
        return next((name for first, name in reversed(self.steps) if first < max(at, 1)), "opening")

    def commits(self, step: str) -> int:
        """How many commits a step has made."""
        return sum(isinstance(event, Commit) and self.step(at) == step for at, event in enumerate(self.events, 1))


class Result(msgspec.Struct):
    """What a proof came to. `images`: disks that were opened, each once."""

    cuts: int = 0
    images: int = 0
    kept: int = 0
    """Of the images with a commit under way: how many had it whole."""
    found: list[str] = []


Mark = Callable[[str], None]


def recorded(directory: Path, scenario: Callable[[Path, Mark], None], before: Image | None = None) -> Record:
    """Run a scenario in an empty directory, or on what was there `before`; it says the name of each step before it."""
    steps: list[tuple[int, str]] = []
    before = before or {}
    for name, data in before.items():
        (directory / name).write_bytes(data)
    with Recorder(str(directory)) as recorder:
        scenario(directory, lambda name: steps.append((len(recorder.events), name)))
    events, recorder.events = recorder.events, []
    return Record(events, steps, before)


def proved(record: Record, stores: Mapping[str, Store], bounds: Bounds, *, every: int = 1) -> Result:
    """Cut, open and compare; with `every` above 1 only each so many-th cut, but the ones around commits always."""
    result = Result()
    with _scratch() as scratch:
        wanted = {file: _States(file, record, store, scratch) for file, store in stores.items()}
        last = -1
        for cut in cuts(record.before, record.events, bounds):
            if cut.at % every and not _near_commit(record, cut.at):
                continue
            result.cuts += cut.at != last
            last = cut.at
            for states in wanted.values():
                if states.is_new(cut):
                    result.images += 1
                    problem, kept = states.compare(cut, scratch)
                    result.kept += kept
                    if problem:
                        where = f"power cut after write {cut.at} ({cut.how}), in step {record.step(cut.at)!r}"
                        result.found.append(f"{where}: {problem}")
            if len(result.found) >= FOUND_MAX:
                break
    return result


def gone_on(record: Record, going_on: GoingOn) -> list[str]:
    """What is wrong after a power cut between two commits, for each pair of them, in their order."""
    found = []
    with _scratch() as scratch:
        for number, (at, image) in enumerate(_after_commits(record)):
            problem = going_on(_laid_out(image, scratch))
            if problem:
                found.append(f"power cut after commit {number}, in step {record.step(at)!r}: {problem}")
    return found


def _after_commits(record: Record, file: str = "") -> Iterator[tuple[int, Image]]:
    """All files before the first event and after each commit, or those of one database; and how many events had happened."""
    for at in range(len(record.events) + 1):
        event = record.events[at - 1] if at else None
        if event is None or (isinstance(event, Commit) and event.file.startswith(file)):
            files = whole(record.before, record.events[:at])
            yield at, {name: data for name, data in files.items() if name.startswith(file)}


def _near_commit(record: Record, at: int) -> bool:
    return any(isinstance(event, Commit) for event in record.events[max(0, at - 2) : at + 1])


class _States:
    """What one database holds after each of its commits, as raw content and as the store reads it."""

    def __init__(self, file: str, record: Record, store: Store, scratch: str) -> None:
        self._file = file
        self._store = store
        self._images = [image for _, image in _after_commits(record, file)]
        self._contents = [_content(_laid_out(image, scratch), file) for image in self._images]
        self._read: dict[int, Any] = {}
        self._seen: set[int] = set()
        self._judged: dict[tuple[Any, ...], tuple[str, bool]] = {}

    def is_new(self, cut: Cut) -> bool:
        """Whether this database's files have not been looked at in this state yet."""
        files = tuple(sorted((name, data) for name, data in cut.image.items() if name.startswith(self._file)))
        key = hash((files, cut.commits.get(self._file, 0)))
        new = key not in self._seen
        self._seen.add(key)
        return new

    def compare(self, cut: Cut, scratch: str) -> tuple[str, bool]:
        """What is wrong with this database after a cut; and whether it has a commit that nobody was told of yet."""
        image = {name: data for name, data in cut.image.items() if name.startswith(self._file)}
        commits = cut.commits.get(self._file, 0)
        try:
            recovered = _recovered(_laid_out(image, scratch), self._file)
        except sqlite3.Error as error:
            return f"{self._file} can't be opened: {type(error).__name__}: {error}", False
        # Of many disks SQLite makes the same file. That need be judged but once, where what the store looks at by itself,
        # before it lets SQLite open the file, is the same too.
        looks = tuple(sorted((name, data[:LOOKED_AT_BYTES], len(data) > 0) for name, data in image.items()))
        key = (commits, recovered, looks)
        if recovered is None or key not in self._judged:
            self._judged[key] = self._judge(commits, image, scratch)
        return self._judged[key]

    def _judge(self, commits: int, image: Image, scratch: str) -> tuple[str, bool]:
        try:
            content = _content(_laid_out(image, scratch), self._file)
            path = os.path.join(_laid_out(image, scratch), self._file)
            problem, read = self._store(path)
            _quick_check(path)
        except (sqlite3.Error, ValueError, AssertionError) as error:
            return f"{self._file} can't be opened: {type(error).__name__}: {error}", False
        allowed = [n for n in (commits, commits + 1) if n < len(self._contents)]
        there = [n for n in allowed if self._contents[n] == content]
        if not there:
            return self._words(content, commits), False
        if problem and len(content) > len(_EMPTY):
            return f"{self._file}: the store takes a good database for a damaged one: {problem}", False
        if read != self._expected(there[0], scratch):
            return f"{self._file}: the store reads something else than after commit {there[0]}: {read}", False
        return "", there[0] > commits

    def _expected(self, number: int, scratch: str) -> Any:
        if number not in self._read:
            _, self._read[number] = self._store(os.path.join(_laid_out(self._images[number], scratch), self._file))
        return self._read[number]

    def _words(self, content: _Content, commits: int) -> str:
        older = [n for n, known in enumerate(self._contents[:commits]) if known == content]
        if older:
            return f"{self._file} is as after commit {older[-1]}, but {commits} were acknowledged: {commits - older[-1]} lost"
        return f"{self._file} holds part of a commit: it is neither as after commit {commits} nor as after the next one"


def _laid_out(image: Image, scratch: str) -> str:
    """The image as files in the emptied scratch directory."""
    for name in os.listdir(scratch):
        os.unlink(os.path.join(scratch, name))
    for name, data in image.items():
        with open(os.path.join(scratch, name), "wb") as file:
            file.write(data)
    return scratch


def _recovered(directory: str, file: str) -> bytes | None:
    """A digest of the file that SQLite's own recovery makes of it; None: there is more than this one file, or none.

    Raises sqlite3.Error.
    """
    path = os.path.join(directory, file)
    if not os.path.exists(path):
        return None
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if os.listdir(directory) != [file]:
        return None
    with open(path, "rb") as opened:
        return hashlib.sha256(opened.read()).digest()


def _content(directory: str, file: str) -> _Content:
    """Everything in the database, after SQLite's own recovery. Raises sqlite3.Error, and ValueError if it is damaged."""
    path = os.path.join(directory, file)
    if not os.path.exists(path):
        return ()
    database = sqlite3.connect(path, isolation_level=None)
    try:
        _check(database)
        return tuple(database.iterdump())
    finally:
        database.close()


def _quick_check(path: str) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    try:
        _check(database)
    finally:
        database.close()


def _check(database: sqlite3.Connection) -> None:
    (said,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise ValueError(f"quick_check: {said}")


@contextlib.contextmanager
def _scratch() -> Iterator[str]:
    """In memory where there is such a place: nothing in here has to survive."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = tempfile.mkdtemp(prefix="powercut-", dir=memory)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)
