"""Fills in the template of supervisord's configuration (`deploy/supervisord.conf`). Pure: text in, text out.

Owns: repeating the sections of programs and event listeners, quoting. Does not: read or write files.
"""

import re
import shlex
import string
from collections.abc import Iterable, Sequence

from services.station.programs import Program

_PROGRAM_SECTION, _LISTENER_SECTION = "[program:$name]", "[eventlistener:$name]"


def supervisord_conf(
    template: str, programs: Iterable[Program], *, prefix: Sequence[str], suffix: Sequence[str], user: str
) -> str:
    """supervisord's configuration. A program's command line is `prefix`, its module, `suffix`. Raises ValueError on
    a path that supervisord cannot be told.

    `user`: whom supervisord runs as, where it has to be said (root wants that); empty otherwise.
    """
    head, _, rest = template.partition(_PROGRAM_SECTION)
    section, marker, listener = rest.partition(_LISTENER_SECTION)
    assert marker, f"the template has no sections {_PROGRAM_SECTION} and {_LISTENER_SECTION}, in this order"
    parts = [string.Template(head).substitute(user=f"user={user}" if user else "")]
    patterns = {False: string.Template(_PROGRAM_SECTION + section), True: string.Template(_LISTENER_SECTION + listener)}
    for program in programs:
        command = command_line([*prefix, program.module, *suffix])
        pattern = patterns[program.listens]
        stdout = f"../log/{program.stdout}.log" if program.stdout else "NONE"
        parts.append(pattern.substitute(name=program.name, command=command, priority=program.priority, stdout=stdout))
    return "\n".join(parts)


def command_line(words: Sequence[str]) -> str:
    """`words` as one value that supervisord reads back as the same words.

    Three readers have to be got past: percent signs are expansions, a semicolon or # after a blank begins a comment, and
    then the rest is split like a shell's. Raises ValueError on a line break, and on what is not UTF-8.
    """
    text = shlex.join(words)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"a path is not UTF-8: {text!r}; rename it") from None
    if any(char in text for char in "\r\n"):
        raise ValueError(f"a line break in a path: {text!r}; rename it")
    # The quote is closed and opened again between the blank and the character that would begin a comment.
    return re.sub(r"(\s)([;#])", r"\1''\2", text).replace("%", "%%")
