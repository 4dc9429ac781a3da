"""The log files of a station as lines: those that supervisord writes and rotates, followed over rotations.

Owns: finding the files, reading them piece by piece, so that memory does not grow with them. Does not: know what a line means
(`log_lines.py`).
"""

import os
from collections.abc import Iterable, Iterator
from typing import IO, Protocol

from services.station.log_lines import Record, records

_ROTATED_MAX = 9
_LINE_BYTES_MAX = 1 << 20
"""Longer ones are taken in pieces; nothing of ours writes such a line."""


class NoLog(Exception):
    """There is no such log; the text says so in one line."""


class Source(Protocol):
    """Where logs are read from: a station's directory, or a support bundle."""

    def names(self) -> list[str]:
        """Of which services there is a log."""

    def records(self, name: str) -> Iterator[Record]:
        """All of one log, oldest first."""


class LogDirectory:
    """The logs of a station, which may be running: what is there now, and what comes."""

    def __init__(self, directory: str) -> None:
        """Raises NoLog."""
        self._directory = directory
        if not self.names():
            raise NoLog(f"no logs in {directory}: no station ever ran there; give its directory with --state-dir")

    def names(self) -> list[str]:
        """Of which services there is a log. Raises NoLog."""
        try:
            found = os.listdir(self._directory)
        except OSError as error:
            raise NoLog(
                f"no logs in {self._directory}: {error.strerror}; give the station's directory with --state-dir"
            ) from None
        return sorted(name.removesuffix(".log") for name in found if name.endswith(".log"))

    def records(self, name: str) -> Iterator[Record]:
        """All of one log, oldest first."""
        with self.tail(name) as tail:
            yield from records(name, tail.all_lines(follow=False))

    def tail(self, name: str) -> "Tail":
        """One log, to be read and followed."""
        return Tail(self._directory, name)

    def files(self, name: str) -> list[str]:
        """Paths of one log, oldest first; those that exist."""
        path = os.path.join(self._directory, f"{name}.log")
        found = [*(f"{path}.{number}" for number in range(_ROTATED_MAX, 0, -1)), path]
        return [file for file in found if os.path.exists(file)]


class Tail:
    """One service's log: what is there, and what comes, over rotations. A context manager."""

    def __init__(self, directory: str, name: str) -> None:
        self.name = name
        self._path = os.path.join(directory, f"{name}.log")
        # All are opened now: a rotation while they are read one after the other would rename them under our hands.
        rotated = [_opened(f"{self._path}.{number}") for number in range(_ROTATED_MAX, 0, -1)]
        self._current = _opened(self._path)
        self._rotated = [file for file in rotated if file is not None and not _same(file, self._current)]
        self._rest = b""

    def __enter__(self) -> "Tail":
        return self

    def __exit__(self, *_: object) -> None:
        for file in (*self._rotated, self._current):
            if file is not None:
                file.close()

    def all_lines(self, *, follow: bool) -> Iterator[str]:
        """Rotated files first, oldest first; then the current one, from whose end `new_lines` goes on.

        A line that is not finished yet is kept for `new_lines` if that is to `follow`.
        """
        for file in self._rotated:
            yield from self._lines_of(file)
        yield from self.new_lines()
        if self._rest and not follow:
            yield self._rest.decode("utf-8", "replace")

    def new_lines(self) -> Iterator[str]:
        """Whole lines written since the last call. After a rotation the rest of the old file comes first."""
        if self._current is not None:
            yield from self._lines_of(self._current)
        new = _opened(self._path)
        if new is None or _same(new, self._current):
            if new is not None:
                new.close()
            return
        if self._current is not None:
            self._current.close()
        self._current = new
        yield from self._lines_of(new)

    def _lines_of(self, file: IO[bytes]) -> Iterator[str]:
        for line in pieces(file):
            self._rest += line
            if self._rest.endswith(b"\n") or len(self._rest) > _LINE_BYTES_MAX:
                whole, self._rest = self._rest, b""
                yield whole.decode("utf-8", "replace")


def whole_lines(files: Iterable[IO[bytes]]) -> Iterator[str]:
    """The lines of files that follow each other; a line may begin in one and end in the next."""
    rest = b""
    for file in files:
        for line in pieces(file):
            rest += line
            if rest.endswith(b"\n") or len(rest) > _LINE_BYTES_MAX:
                yield rest.decode("utf-8", "replace")
                rest = b""
    if rest:
        yield rest.decode("utf-8", "replace")


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Lines, the last one perhaps not ended, or parts of one that never ends."""
    while line := file.readline(_LINE_BYTES_MAX):
        yield line


def _opened(path: str) -> IO[bytes] | None:
    try:
        return open(path, "rb")
    except OSError:
        return None


def _same(one: IO[bytes], other: IO[bytes] | None) -> bool:
    return other is not None and os.path.sameopenfile(one.fileno(), other.fileno())
