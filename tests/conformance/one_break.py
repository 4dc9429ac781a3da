"""Deliberate breaks, as data: `breaks/*.txt`.

    services/ocpp_link/rpc.py: two calls at a time [J4.1.1-1 JE3.4]
    -while state.open and outstanding is None and waiting:
    +while state.open and waiting:

In the file, the only place of the `-` lines becomes the `+` lines; without these the lines go. Then at least one test of each
row in brackets must fail. The text may begin and end within a line.

Owns: the form. Does not: make a break (`break_clauses.py`).
"""

import re
from pathlib import Path
from typing import NamedTuple

DIRECTORY = Path(__file__).with_name("breaks")
_HEAD = re.compile(r"(?P<file>[\w/.-]+\.(py|toml)): (?P<what>[^\[]+) \[(?P<rows>[\w. -]+)\]")


class Break(NamedTuple):
    """In `file`, the only `old` becomes `new`. `what` in a few words."""

    what: str
    file: str
    old: str
    new: str
    rows: tuple[str, ...]


class Malformed(ValueError):
    """A block that is no break; the text says which."""


def all_breaks() -> list[Break]:
    """The breaks of all files, in order. Raises Malformed."""
    return [one for path in sorted(DIRECTORY.glob("*.txt")) for one in parse(path.read_text(encoding="utf-8"))]


def parse(text: str) -> list[Break]:
    """The breaks of one file: blocks between empty lines; a block that begins with # is a remark. Raises Malformed."""
    blocks = [block for block in text.strip("\n").split("\n\n") if not block.startswith("#")]
    return [_break(block) for block in blocks]


def _break(block: str) -> Break:
    head, *lines = block.strip("\n").split("\n")
    found = _HEAD.fullmatch(head)
    old = "\n".join(line[1:] for line in lines if line.startswith("-"))
    new = [line[1:] for line in lines if line.startswith("+")]
    if found is None or not old or any(line[:1] not in ("-", "+") for line in lines):
        raise Malformed(f"not a break: {head}")
    rows = tuple(found["rows"].split())
    if not new:
        return Break(found["what"], found["file"], old + "\n", "", rows)
    return Break(found["what"], found["file"], old, "\n".join(new), rows)
