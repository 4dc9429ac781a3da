"""`station logs`: the lines of all services in the order of time.

Owns: finding and following the files that supervisord writes and rotates. Does not: know what a line means (`log_lines.py`).
"""

import argparse
import os
import sys
import time
from collections import deque
from collections.abc import Iterator

from services.station import paths
from services.station.log_lines import LEVELS, Record, merged, records

_LINES_DEFAULT = 100
_ROTATED_MAX = 9
_FOLLOW_S = 0.25


def main(argv: list[str]) -> int:
    """0, or 2 with one line for a service or directory that has no log."""
    parser = argparse.ArgumentParser(prog="station logs", description="Show the log of all services in the order of time.")
    paths.add_state_dir(parser)
    parser.add_argument("services", metavar="SERVICE", nargs="*", help="only these (without it: all)")
    parser.add_argument("-n", metavar="N", dest="count", type=_count, default=_LINES_DEFAULT, help="the last N (100)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--level", choices=LEVELS, help="this level and worse")
    arguments = parser.parse_intermixed_args(argv)
    directory = os.path.join(paths.given_state_dir(arguments), paths.LOG_DIRECTORY)
    try:
        names = _chosen(directory, arguments.services)
    except _NoLog as error:
        print(f"station logs: {error}", file=sys.stderr)
        return 2
    tails = [_Tail(directory, name) for name in names]
    sources = [records(tail.name, tail.all_lines(follow=arguments.follow)) for tail in tails]
    for record in deque(merged(sources, level=arguments.level), maxlen=arguments.count):
        _show(record, as_json=arguments.json)
    while arguments.follow:
        sys.stdout.flush()
        time.sleep(_FOLLOW_S)
        for record in merged([records(tail.name, tail.new_lines()) for tail in tails], level=arguments.level):
            _show(record, as_json=arguments.json)
    sys.stdout.flush()
    return 0


class _NoLog(Exception):
    pass


class _Tail:
    """One service's log: what is there, and what comes, over rotations."""

    def __init__(self, directory: str, name: str) -> None:
        self.name = name
        self._path = os.path.join(directory, f"{name}.log")
        self._file_id: tuple[int, int] | None = None
        self._position = 0
        self._rest = ""

    def all_lines(self, *, follow: bool) -> Iterator[str]:
        """Rotated files first, oldest first; then the current one, from whose end `new_lines` goes on.

        A line that is not finished yet is kept for `new_lines` if that is to `follow`.
        """
        for number in range(_ROTATED_MAX, 0, -1):
            yield from self._lines_of(f"{self._path}.{number}", 0)
        self._position = 0
        yield from self.new_lines()
        if self._rest and not follow:
            yield self._rest

    def new_lines(self) -> Iterator[str]:
        """Whole lines written since the last call."""
        file_id = _file_id(self._path)
        if file_id is None:
            return
        if self._file_id not in (None, file_id):
            # Rotated in between: the rest of the old file first.
            if _file_id(f"{self._path}.1") == self._file_id:
                yield from self._lines_of(f"{self._path}.1", self._position)
            self._position = 0
        self._file_id = file_id
        yield from self._lines_of(self._path, self._position)

    def _lines_of(self, path: str, start: int) -> Iterator[str]:
        try:
            with open(path, "rb") as file:
                file.seek(start)
                data = file.read()
                self._position = file.tell()
        except FileNotFoundError:
            return
        text = self._rest + data.decode("utf-8", "replace")
        *whole, self._rest = text.split("\n")
        yield from whole


def _file_id(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino)


def _chosen(directory: str, wanted: list[str]) -> list[str]:
    try:
        names = sorted(name.removesuffix(".log") for name in os.listdir(directory) if name.endswith(".log"))
    except OSError as error:
        raise _NoLog(f"no logs in {directory}: {error.strerror}") from None
    for name in wanted:
        if name not in names:
            raise _NoLog(f"there is no log of {name!r}; there is {', '.join(names) or 'none'}")
    return wanted or names


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("less than 0")
    return value


def _show(record: Record, *, as_json: bool) -> None:
    print(record.json() if as_json else record.text())
