"""Reads `deploy/FIELD-GUIDE.md`: its symptoms, and of each the commands with what they show. Pure: text in, structs out.

A symptom is a section that begins with `## `. What is checked of it stands in blocks marked `console`, line by line:

    # what is done by hand        words that its act knows how to do
    $ station status              a command, typed as it stands; one word in capitals is a placeholder that the act fills in
    NOT WELL: …                   what it shows: whole lines, in order; … in a line is any text, a line … is any lines

Owns: that form, and whether an output is as told. Does not: run anything.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

ANY = "…"
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NOT_IN_A_NAME = re.compile(r"[^\w\- ]")


class Step(msgspec.Struct, frozen=True):
    """One thing to do. `shows`: the lines that come; empty where nothing is told of them."""

    text: str
    by_hand: bool
    shows: tuple[str, ...] = ()


class Symptom(msgspec.Struct, frozen=True):
    """One section. `name` is its anchor, as a table of contents links to it."""

    title: str
    name: str
    steps: tuple[Step, ...]
    text: str


def symptoms(markdown: str) -> list[Symptom]:
    """All sections that have something to type. Raises ValueError on a block that is not in this form."""
    found = []
    for part in re.split(r"^## ", markdown, flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        steps = tuple(step for block in _BLOCK.findall(text) for step in _steps(block.splitlines()))
        if steps:
            found.append(Symptom(title.strip(), anchor(title.strip()), steps, text))
    return found


def anchor(title: str) -> str:
    """What a link to this heading is called."""
    return _NOT_IN_A_NAME.sub("", title.lower()).replace(" ", "-")


def differences(expected: Sequence[str], output: str) -> str:
    """Empty if `output` is as told; else the line of the guide that is not there where it should be, and why not."""
    lines = [line.rstrip() for line in output.rstrip().splitlines()]
    if re.fullmatch(_pattern(expected), "".join(f"{line}\n" for line in lines)):
        return ""
    for count in range(1, len(expected) + 1):
        if not re.match(_pattern(expected[:count]), "".join(f"{line}\n" for line in lines)):
            return f"this line of the guide does not come (there): {expected[count - 1]}"
    return "more comes than the guide shows; a line with … alone stands for any lines"


def _pattern(expected: Sequence[str]) -> str:
    return "".join(r"(?:[^\n]*\n)*?" if line == ANY else _line_pattern(line) + r"\n" for line in expected)


def _line_pattern(line: str) -> str:
    return r"[^\n]*?".join(re.escape(part) for part in line.split(ANY)) if not line.endswith(ANY) else _open_pattern(line)


def _open_pattern(line: str) -> str:
    return _line_pattern(line.removesuffix(ANY)) + r"[^\n]*"


def _steps(lines: list[str]) -> Iterator[Step]:
    text, by_hand, shown = "", False, list[str]()
    for line in lines:
        if not line.startswith(("$ ", "# ")):
            if not text or by_hand:
                raise ValueError(f"{line!r} is shown by nothing: `$ command` has to stand before it")
            shown.append(line.rstrip())
            continue
        if text:
            yield Step(text, by_hand, tuple(shown))
        text, by_hand, shown = line[2:].strip(), line.startswith("# "), []
    if text:
        yield Step(text, by_hand, tuple(shown))
