"""`station support-bundle`: everything about a station that somebody far away needs, in one small file.

Owns: the command line, the file, that nothing that fails stops the rest. Does not: know what is collected (`bundle_parts.py`).
Safe beside cars that charge: it reads, asks with a time limit, and changes nothing. As useful where no station runs.
"""

import argparse
import contextlib
import os
import socket
import sys
from collections.abc import Iterator

from bus.clock import system_utc_s
from bus.logs import utc_text
from bus.version import VERSION
from services.station import bundle_parts, masking, paths
from services.station.bundle_archive import Archive, Manifest, NotWritten, Sink
from services.station.bundle_parts import Absent, Station
from services.station.quiet_database import TooLarge

FORMAT, FORMAT_VERSION = "chargebus support bundle", 1
_MB_DEFAULT, _MB_MIN = 5.0, 0.25
_DONE, _FAILED, _USAGE = 0, 1, 2
_HIDDEN = "secrets are left out, idTags are shortened, a reader's frames are left out: they are card numbers"
_BUT_LOGS = "; but the logs show idTags in full, as [logs] full_id_tags of station.toml wants it"
_SHOWN_MAX = 4


def main(argv: list[str]) -> int:
    """0: written, as far as it could be had; 1: the file can't be written; 2: there is nothing here."""
    parser = argparse.ArgumentParser(
        prog="station support-bundle",
        description="Collect logs, status, configuration, queue, devices, versions, disk, clock and memory in one file. "
        "Secrets are left out, card numbers shortened. Safe while cars charge; works on a station that does not run, too.",
    )
    paths.add_state_dir(parser)
    parser.add_argument("--config", metavar="FILE", default="", help="station.toml (without it: as the station was started)")
    parser.add_argument("--size", metavar="MB", type=float, default=_MB_DEFAULT, help="at most so large (default: %(default)g)")
    parser.add_argument("file", metavar="FILE", nargs="?", help="where to (- is standard output; without it: a new file here)")
    arguments = parser.parse_args(argv)
    if not arguments.size >= _MB_MIN:
        parser.error(f"--size: {_MB_MIN:g} MB at least")
    state_dir = paths.given_state_dir(arguments)
    if not os.path.isdir(state_dir):
        print(
            f"station support-bundle: there is no {state_dir}; give the station's directory with --state-dir", file=sys.stderr
        )
        return _USAGE
    top = f"support-{_safe(socket.gethostname())}-{utc_text(system_utc_s())[:19].replace(':', '').replace('-', '')}Z"
    target = arguments.file if arguments.file == "-" else os.path.abspath(arguments.file or f"{top}.tar.gz")
    station = Station(state_dir, os.path.abspath(arguments.config) if arguments.config else "")
    try:
        archive = _write(target, top, station, int(arguments.size * (1 << 20)))
    except NotWritten as error:
        print(f"station support-bundle: {target} can't be written ({error}); name a FILE elsewhere", file=sys.stderr)
        return _FAILED
    _tell(target, archive)
    return _DONE


def _write(target: str, top: str, station: Station, size_max: int) -> Archive:
    if target == "-":
        return _fill(sys.stdout.buffer, top, station, size_max)
    # Card numbers are shortened, and yet it is nobody's business but its owner's. It has its name once it is whole.
    try:
        descriptor = os.open(f"{target}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            archive = _fill(file, top, station, size_max)
        os.replace(f"{target}.new", target)
    except OSError as error:
        raise NotWritten(error.strerror) from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(f"{target}.new")
    return archive


def _fill(file: Sink, top: str, station: Station, size_max: int) -> Archive:
    now_s = system_utc_s()
    archive = Archive(file, top, size_max)
    archive.secrets = masking.secret_forms(bundle_parts.secrets(station))
    running = station.runs()
    with _whatever_happens(archive, "status"):
        station.look()
    for part in bundle_parts.parts(station):
        with _whatever_happens(archive, part.name):
            archive.add(part.name, part.what, part.text().encode("utf-8", "replace"), now_s)
    with _whatever_happens(archive, "traces/"):
        bundle_parts.add_traces(archive, station)
    with _whatever_happens(archive, "log/"):
        bundle_parts.add_logs(archive, station)
    hidden = _HIDDEN + (_BUT_LOGS if bundle_parts.shows_id_tags(station) else "")
    said = (utc_text(now_s), VERSION, station.state_dir, running)
    archive.finish(Manifest(FORMAT, FORMAT_VERSION, *said, tuple(archive.parts), tuple(archive.missing), hidden), now_s)
    return archive


@contextlib.contextmanager
def _whatever_happens(archive: Archive, name: str) -> Iterator[None]:
    """A part that fails becomes a line of the manifest: a broken station is what bundles are for."""
    try:
        yield
    except NotWritten:
        raise
    except Exception as error:
        archive.lacks(name, _why(error))


def _tell(target: str, archive: Archive) -> None:
    """In a line or two; the manifest has all of it. Into standard error where the bundle goes to standard output."""
    out = sys.stderr if target == "-" else sys.stdout
    print(
        f"{target}: {archive.written / 1000:.0f} kB, {len(archive.parts)} parts; manifest.json in it says what is there",
        file=out,
    )
    for missing in archive.missing[:_SHOWN_MAX]:
        print(f"not in it: {missing.name}, {missing.why}", file=out)
    if len(archive.missing) > _SHOWN_MAX:
        print(f"not in it: {len(archive.missing) - _SHOWN_MAX} more, see manifest.json", file=out)


def _why(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"{error.filename}: this user may not read it; run the command as root or as the station's user"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split())
    return text if isinstance(error, Absent | paths.NotRunning | TooLarge) else f"{type(error).__name__}: {text}"


def _safe(name: str) -> str:
    return "".join(char if char.isalnum() or char in "-_" else "-" for char in name)[:40] or "station"
