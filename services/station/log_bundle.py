"""The logs in a support bundle, laid out for a while as those of a station are.

Owns: what is taken out of the archive, which is a file from somebody else: logs by their names, no more than a bound, nothing
by a path that it names. Does not: read lines (`log_files.py`).
"""

import contextlib
import gzip
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator

from services.station.log_files import LogDirectory, NoLog

_LOG = re.compile(r"[^/]+/log/([A-Za-z0-9_-]{1,64}\.log(?:\.[1-9])?)")
_BYTES_MAX = 512 << 20
"""Of all logs together; a station keeps a tenth of it."""
_MEMBERS_MAX = 10_000


@contextlib.contextmanager
def bundled(path: str) -> Iterator[LogDirectory]:
    """The logs of the bundle, as long as the context lasts. Raises NoLog."""
    with tempfile.TemporaryDirectory(prefix="station-logs-") as directory:
        try:
            found = _take_out(path, directory)
        except OSError as error:
            raise NoLog(f"{path} can't be read: {error.strerror or error}; give a file of station support-bundle") from None
        except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
            raise NoLog(f"{path} is no support bundle, or only a part of one ({error}); get it again") from None
        if not found:
            raise NoLog(f"{path} has no logs in it; its manifest.json says why")
        yield LogDirectory(directory)


def _take_out(path: str, directory: str) -> int:
    found, left = 0, _BYTES_MAX
    # Gzip tells a file that is none as an OSError without a number.
    with _as_value_error(gzip.BadGzipFile), tarfile.open(path, "r|gz") as archive:
        for number, member in enumerate(archive):
            name = _LOG.fullmatch(member.name)
            if number >= _MEMBERS_MAX or member.size > left:
                raise ValueError("it is too large")
            left -= member.size
            stream = archive.extractfile(member) if name is not None and member.isfile() else None
            if name is None or stream is None:
                continue
            with open(os.path.join(directory, name[1]), "wb") as file:
                shutil.copyfileobj(stream, file)
            found += 1
    return found


@contextlib.contextmanager
def _as_value_error(kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        raise ValueError(str(error)) from None
