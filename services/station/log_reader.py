"""`station logs`: the lines of all services in the order of time.

Owns: the command line, following. Does not: find the files (`log_files.py`), choose (`log_filter.py`), or lay out
(`log_text.py`).
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator

from services.station import log_filter, log_story, paths
from services.station.log_files import LogDirectory, NoLog, Source
from services.station.log_filter import Filter
from services.station.log_lines import LEVELS, Record, merged, records
from services.station.log_story import NoStory
from services.station.log_text import Days
from services.station.programs import FRAMES

_LINES_DEFAULT = 100
_ALL = 1 << 62
_NOT_FOUND = 1
_FOLLOW_S = 0.25
_KNOWN_OF_A_SESSION = frozenset({"local_tx_id", "transaction_id", "connector", "id_tag"})
_WRITERS_WITHOUT_A_LOG = ("guard",)
"""They write into the log of whoever called them."""
_EPILOG = """times are UTC: 10m, 2h, 1d (ago), 03:15, 2026-11-24, 2026-11-24T03:15:30
On a terminal lines are short: time, service, what, the rest; into a pipe or a file they go as they stand in the logs.
`!` is a warning, `!!` an error, `→` a frame to the Central System, `←` one from it."""


def main(argv: list[str]) -> int:
    """0; 1: no such session; 2 with one line: a service or directory that has no log, a time that is none."""
    arguments = _arguments(argv)
    try:
        _check(arguments)
        with _opened(arguments) as directory:
            return _show(directory, arguments)
    except (NoLog, ValueError) as error:
        print(f"station logs: {error}", file=sys.stderr)
        return 2


@contextlib.contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[LogDirectory]:
    if arguments.bundle is None:
        yield LogDirectory(os.path.join(paths.given_state_dir(arguments), paths.LOG_DIRECTORY))
        return
    # Only here: archives cost more time to import than a look at the logs should take.
    from services.station.log_bundle import bundled

    with bundled(arguments.bundle) as directory:
        yield directory


def _show(directory: LogDirectory, arguments: argparse.Namespace) -> int:
    """Raises NoLog, ValueError."""
    names = _chosen(directory, arguments)
    wanted = _filter(arguments, time.time())
    if arguments.transaction is not None:
        return _tell_story(directory, names, wanted, arguments)
    show = _layout(arguments)
    count = arguments.count if arguments.count is not None else _ALL if wanted.since else _LINES_DEFAULT
    if arguments.follow:
        _follow(directory, (names, bool(arguments.services)), wanted, count, show)
    else:
        _show_last(_wanted_records(directory, names, wanted), count, show, explicit=arguments.count is not None)
    sys.stdout.flush()
    return 0


Show = Callable[[Record], Iterator[str]]


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="station logs",
        description="Show the logs of all services in the order of time.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    paths.add_state_dir(parser)
    parser.add_argument("--from", dest="bundle", metavar="BUNDLE", help="the logs in a file of station support-bundle")
    parser.add_argument("services", metavar="SERVICE", nargs="*", help="only these (without it: all)")
    parser.add_argument("-n", metavar="N", dest="count", type=_count, help="the last N, or all (100; with --since: all)")
    parser.add_argument("--level", choices=LEVELS, help="this level and worse")
    parser.add_argument("--connector", metavar="N", type=int, help="only what is about connector N and its devices")
    story = "the story of one session, with its OCPP frames: a transactionId, a local_tx_id, or the beginning of one"
    parser.add_argument("--transaction", metavar="ID", help=story)
    parser.add_argument("--since", metavar="TIME", default="", help="from then on")
    parser.add_argument("--until", metavar="TIME", default="", help="only before then")
    parser.add_argument("--grep", metavar="TEXT", default="", help="only lines with TEXT in them, in capitals or not")
    parser.add_argument(
        "--frames", action=argparse.BooleanOptionalAction, default=None, help="OCPP frames too (without it: no)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a line")
    form.add_argument("--short", action="store_true", help="short lines also into a pipe")
    form.add_argument("--logfmt", action="store_true", help="lines as they stand in the logs also on a terminal")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.transaction is not None:
        arguments.frames = arguments.frames is not False
    return arguments


def _check(arguments: argparse.Namespace) -> None:
    """Raises ValueError where two options make no sense together."""
    if arguments.bundle is not None and arguments.follow:
        raise ValueError("a bundle does not grow, there is nothing to --follow; leave one of both out")
    if arguments.bundle is not None and arguments.state_dir:
        raise ValueError("--from and --state-dir are two places for logs; leave one of both out")
    if arguments.transaction is not None and arguments.follow:
        raise ValueError("--transaction tells what was written, there is nothing to --follow; leave one of both out")
    if arguments.transaction == "":
        raise ValueError("--transaction of which session? give its transactionId or local_tx_id")


def _filter(arguments: argparse.Namespace, now_s: float) -> Filter:
    """Raises ValueError."""
    return Filter(
        services=frozenset(arguments.services) | ({FRAMES} if arguments.services and arguments.frames else set()),
        level=arguments.level,
        connector=arguments.connector,
        since=log_filter.moment(arguments.since, now_s) if arguments.since else "",
        until=log_filter.moment(arguments.until, now_s) if arguments.until else "",
        text=arguments.grep,
    )


def _chosen(source: Source, arguments: argparse.Namespace) -> list[str]:
    """Names of the logs to be read. Raises NoLog."""
    there, wanted = source.names(), list(dict.fromkeys(arguments.services))
    for name in wanted:
        if name not in there and name not in _WRITERS_WITHOUT_A_LOG:
            raise NoLog(f"there is no log of {name[:40]!r}; there is {', '.join(there)}")
    chosen = there if not set(wanted) or not set(wanted).issubset(there) else wanted
    if arguments.frames and FRAMES in there:
        return list(dict.fromkeys([*chosen, FRAMES]))
    asked = FRAMES in wanted and arguments.frames is None
    return [name for name in chosen if name != FRAMES or asked]


def _layout(arguments: argparse.Namespace, hidden: frozenset[str] = frozenset()) -> Show:
    if arguments.json:
        return lambda record: iter([record.json()])
    if _is_short(arguments):
        return Days(hidden).lines
    return lambda record: iter([record.text()])


def _is_short(arguments: argparse.Namespace) -> bool:
    return bool(arguments.short or (sys.stdout.isatty() and not arguments.logfmt and not arguments.json))


def _tell_story(source: Source, names: list[str], wanted: Filter, arguments: argparse.Namespace) -> int:
    """The lines of one session that the filters take, and at the end in one line how it went."""

    def look() -> Iterator[Record]:
        # Whatever is shown of it in the end: what belongs together stands in the logs of all.
        return merged([source.records(name) for name in source.names()])

    try:
        session = log_story.gathered(log_story.found(look(), arguments.transaction), look)
    except NoStory as error:
        print(f"station logs: {error}", file=sys.stderr)
        return _NOT_FOUND
    if _is_short(arguments):
        print(log_story.head(session))
    lines = (one for one in _wanted_records(source, names, wanted) if log_story.belongs(session, one))
    count = _ALL if arguments.count is None else arguments.count
    _show_last(lines, count, _layout(arguments, _KNOWN_OF_A_SESSION), explicit=True)
    summary = log_story.summary(session)
    print(json.dumps({"summary": summary, **log_story.facts(session)}) if arguments.json else summary)
    return 0


def _wanted_records(source: Source, names: list[str], wanted: Filter) -> Iterator[Record]:
    return filter(wanted.takes, merged([source.records(name) for name in names]))


def _show_last(found: Iterator[Record], count: int, show: Show, *, explicit: bool) -> None:
    """The last `count`. What was left out without having been asked for is told."""
    seen = 0
    if count < _ALL:
        last: deque[Record] = deque(maxlen=count)
        for record in found:
            last.append(record)
            seen += 1
        found = iter(last)
    _print(found, show)
    if not explicit and seen > count:
        sys.stdout.flush()
        print(f"station logs: these are the last {count} of {seen}; -n all shows all", file=sys.stderr)


def _follow(directory: LogDirectory, chosen: tuple[list[str], bool], wanted: Filter, count: int, show: Show) -> None:
    """What is there, and what comes, for ever; a log that comes into being later too, unless services were `chosen`."""
    names, by_name = chosen
    with contextlib.ExitStack() as opened:
        tails = {name: opened.enter_context(directory.tail(name)) for name in names}
        first = merged([records(tail.name, tail.all_lines(follow=True)) for tail in tails.values()])
        _print(iter(deque(filter(wanted.takes, first), maxlen=None if count >= _ALL else count)), show)
        while True:
            sys.stdout.flush()
            time.sleep(_FOLLOW_S)
            for name in () if by_name else directory.names():
                if name not in tails and name != FRAMES:
                    tails[name] = opened.enter_context(directory.tail(name))
            _print(filter(wanted.takes, merged([records(tail.name, tail.new_lines()) for tail in tails.values()])), show)


def _print(found: Iterator[Record], show: Show) -> None:
    for record in found:
        for line in show(record):
            print(line)


def _count(text: str) -> int:
    if text == "all":
        return _ALL
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("less than 0")
    return value
