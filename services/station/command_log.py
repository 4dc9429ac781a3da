"""A line in the station's log for what a person's command did, beside the lines of the services; `station logs` shows it.

Owns: the file `commands.log`, its bound. Does not: log what only looks. A log that can't be written prevents no command.
"""

import contextlib
import os
import pwd
import time
from typing import Any

from bus.logs import line, utc_text

NAME = "commands"
_BYTES_MAX = 256 << 10
"""The file is turned over then; one older is kept."""


def note(state_dir: str, event: str, *, warning: bool = False, **fields: Any) -> None:
    """Write one line; `fields` as of other log lines, None ones are left out."""
    directory = os.path.join(state_dir, "log")
    path = os.path.join(directory, f"{NAME}.log")
    text = line({"level": "warning" if warning else "info", "service": NAME, "event": event, **fields, "by": _person()})
    with contextlib.suppress(OSError):
        if os.path.exists(path) and os.path.getsize(path) > _BYTES_MAX:
            os.replace(path, f"{path}.1")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            if os.geteuid() == 0:
                # The next command may be the station's own user's.
                owner = os.stat(directory)
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.write(descriptor, f"{utc_text(time.time())} {text}\n".encode())
        finally:
            os.close(descriptor)


def _person() -> str:
    """Who gave the command, as far as the system knows."""
    known = os.environ.get("SUDO_USER")
    if known:
        return known
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
