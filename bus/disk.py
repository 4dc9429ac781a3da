"""The disk that a station lives on: how much is free, whether it can be written, and a reserve for the worst moment.

The *ballast* is a file that only takes up space. Where a commit fails because the disk is full, it is given back, so that
transactions that run can still commit their stop; the transaction queue makes it again when there is space enough.

Owns: looking, the ballast, rotated logs. Does not: decide what happens when space is short: the queue makes room
(`services/transaction_queue/space.py`), `connectors` begins no new transactions.
"""

import contextlib
import errno
import glob
import os
import sqlite3

import msgspec

LOOK_S = 10.0
"""How often a service looks."""
BALLAST_BYTES = 8 << 20
"""Room for thousands of stops, with their journals and logs."""
BALLAST_NAME = "ballast"
MB = 1 << 20


class Space(msgspec.Struct, frozen=True):
    """What the file system says."""

    free_bytes: int
    read_only: bool = False


class Disk:
    """The disk of one state directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._ballast = os.path.join(directory, BALLAST_NAME)

    def look(self) -> Space:
        """What is free now for this process. Raises OSError."""
        found = os.statvfs(self._directory)
        return Space(found.f_bavail * found.f_frsize, bool(found.f_flag & os.ST_RDONLY) or self._refuses_writers())

    def _refuses_writers(self) -> bool:
        """A file system that met an error of its device may still be called writable (Linux 6.15, ext4), and is not.

        To open a file for writing changes nothing on a disk that is well.
        """
        try:
            os.close(os.open(self._ballast, os.O_RDWR | os.O_CLOEXEC))
        except OSError as error:
            return error.errno == errno.EROFS
        return False

    def has_ballast(self) -> bool:
        """Whether it is there, whole."""
        try:
            return os.stat(self._ballast).st_size >= BALLAST_BYTES
        except OSError:
            return False

    def make_ballast(self) -> bool:
        """Take up the space, really; False if the disk does not give it."""
        try:
            descriptor = os.open(self._ballast, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
            finally:
                os.close(descriptor)
        except OSError:
            self.release_ballast()
            return False
        return True

    def release_ballast(self) -> bool:
        """Give the space back; False if there was none to give."""
        try:
            os.unlink(self._ballast)
        except OSError:
            return False
        return True

    def delete_oldest_log(self) -> str:
        """Delete the oldest rotated log, of those that nobody writes any more; its name, empty if there is none."""
        found: list[tuple[float, str]] = []
        for path in glob.glob(os.path.join(glob.escape(self._directory), "log", "*.[0-9]*")):
            with contextlib.suppress(OSError):
                found.append((os.stat(path).st_mtime, path))
        for _, path in sorted(found):
            with contextlib.suppress(OSError):
                os.unlink(path)
                return os.path.basename(path)
        return ""


def trouble(space: Space, reserve_bytes: int) -> str:
    """Why nothing new should begin on this disk, in words; empty: all is well."""
    if space.read_only:
        return "the disk is read-only"
    if space.free_bytes < reserve_bytes:
        return f"the disk is full but for {space.free_bytes // MB} MB"
    return ""


def is_full(error: BaseException) -> bool:
    """Whether an exception says that there is no space left."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno == errno.ENOSPC
