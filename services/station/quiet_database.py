"""Databases of a station, read so that nobody notices: nothing is written beside them, no lock is held for long.

While its owner lives, a database is read as SQLite readers do, which stops no writer. While it does not, SQLite would make
files of its own beside it, which then belong to whoever reads; so it is read as a file that nobody changes, and where a death
has left a write-ahead log, as a copy elsewhere.

Owns: that choice, the time limit. Does not: know any table.
"""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
import urllib.parse
from collections.abc import Iterator

from bus.process import lock_holder

READ_S_MAX = 3.0
_BUSY_S = 0.5
_COPY_BYTES_MAX = 64 << 20
_STEPS = 10_000
"""Of SQLite's machine between two looks at the time."""


class TooLarge(Exception):
    """The database of a station that was killed is too large to be copied; the text says so in one line."""


@contextlib.contextmanager
def reading(path: str, owner_lock: str) -> Iterator[sqlite3.Connection]:
    """The database, for at most READ_S_MAX; later statements raise sqlite3.OperationalError.

    `owner_lock`: the lock file of the process that writes it. Raises FileNotFoundError, sqlite3.Error, TooLarge.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no {os.path.basename(path)}")
    with contextlib.ExitStack() as stack:
        if lock_holder(owner_lock) is not None:
            uri = _uri(path, "mode=ro")
        else:
            uri = _uri(_copied(path, stack) if _has_content(f"{path}-wal") else path, "mode=ro&immutable=1")
        database = stack.enter_context(contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)))
        until_s = time.monotonic() + READ_S_MAX
        database.set_progress_handler(lambda: time.monotonic() > until_s, _STEPS)
        yield database


def _copied(path: str, stack: contextlib.ExitStack) -> str:
    """A copy with its write-ahead log, which SQLite has worked into it."""
    size = os.path.getsize(path) + os.path.getsize(f"{path}-wal")
    if size > _COPY_BYTES_MAX:
        raise TooLarge(f"{os.path.basename(path)} was left open by a death and is too large to copy ({size >> 20} MB)")
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="chargebus-"))
    copy = os.path.join(directory, "copy.db")
    shutil.copyfile(path, copy)
    shutil.copyfile(f"{path}-wal", f"{copy}-wal")
    with contextlib.closing(sqlite3.connect(copy)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return copy


def _has_content(path: str) -> bool:
    try:
        return os.path.getsize(path) > 0
    except OSError:
        return False


def _uri(path: str, how: str) -> str:
    return f"file:{urllib.parse.quote(os.path.abspath(path))}?{how}"
