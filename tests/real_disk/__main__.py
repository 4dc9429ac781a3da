"""The station on a real small file system that fills up, or turns read-only: `python -m tests.real_disk` (as root).

Owns: the file system (ext4 in a file, mounted by loop), the two stories and what must come of them (design §3, field reports
13, 52). Does not: fake anything; the virtual hardware and the Central System's book judge.

A file system that has met an error of its device is read-only from within (`mount -o remount,abort` brings that about):
statvfs may still call it writable, each write fails.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.rig import OTHER_TAG, TAG, Rig, rig
from tests.harness import wait_until

SIZE_MB = 96
MORE = """
[system]
disk_reserve_mb = 16
"""
_BLOCK = b"\0" * (1 << 20)


@contextlib.contextmanager
def file_system() -> Iterator[Path]:
    """A small ext4 of its own."""
    with tempfile.TemporaryDirectory(prefix="real-disk-") as directory:
        image, mounted = Path(directory) / "image", Path(directory) / "mounted"
        mounted.mkdir()
        image.touch()
        os.truncate(image, SIZE_MB << 20)
        _run("mkfs.ext4", "-q", str(image))
        _run("mount", "-o", "loop", str(image), str(mounted))
        # What the virtual hardware remembers is no business of this disk.
        (Path(directory) / "hardware").mkdir()
        (mounted / "state").mkdir()
        (mounted / "state" / "hardware").symlink_to(Path(directory) / "hardware")
        try:
            yield mounted
        finally:
            _run("umount", "--lazy", str(mounted))


def full() -> None:
    """A disk without a free byte while a car charges: it is told, the transaction ends whole, none begins; then all is well."""
    with file_system() as disk, rig(state_dir=disk / "state", ocpp=MORE) as one:
        ballast = disk / "state" / "ballast"
        wait_until(ballast.exists, 30, "the ballast is there")
        before_wh = one.register_wh()
        one.start_by_card()
        one.central_system.stop()
        filler = fill(disk)
        _say("the disk is full while a car charges")
        wait_until(lambda: "disk" in _first_line(one), 30, "status tells of the disk")
        one.wait_for_energy(1, one.register_wh() + 20)
        one.station.sim("swipe", TAG)
        wait_until(lambda: not one.relay()[0], 15, "the contactor opens on a full disk")
        one.station.sim("plug-out", "1")
        one.central_system.start()
        one.check_one_transaction(before_wh)
        _say("the transaction that ran is with the Central System, whole")
        _refused(one)
        for path in filler:
            path.unlink()
        wait_until(lambda: _first_line(one).startswith("well"), 60, "the station is well again")
        one.station.sim("plug-out", "1")
        one.wait_for_status(1, "Available", 30)
        _again(one)


def read_only() -> None:
    """A disk that turns read-only while a car charges: nothing can be billed, so nothing that bills runs, and status says why.

    The guard withdraws the energy then; at the next start on a disk that can be written the transaction is closed as after a
    power cut.
    """
    with file_system() as disk, rig(state_dir=disk / "state", ocpp=MORE) as one:
        one.start_by_card()
        _run("mount", "-o", "remount,abort", str(disk))
        _say("the disk is read-only while a car charges")
        wait_until(lambda: "the disk is read-only" in _first_line(one), 30, "the first line of status names the disk")
        wait_until(lambda: "connectors is down" in _first_line(one), 30, "what can't bill does not run")
        print(_first_line(one))


def _first_line(one: Rig) -> str:
    return one.station.command("status").stdout.partition("\n")[0]


def _refused(one: Rig) -> None:
    one.station.sim("plug-in", "1")
    one.station.sim("swipe", OTHER_TAG)
    wait_until(lambda: one.central_system.book.status(1, one.identity) in ("Preparing", "Unavailable"), 10, "the car is seen")
    assert not one.relay()[0], "a transaction began on a full disk"
    _say("a new one does not begin")


def _again(one: Rig) -> None:
    one.start_by_card(tag=OTHER_TAG)
    one.station.sim("plug-out", "1")
    assert len(one.finished(2)) == 2
    _say("with space again the next one is delivered as ever")


def fill(disk: Path) -> list[Path]:
    """Files until not one byte is free any more."""
    found = []
    for size in (1 << 20, 4096, 1):
        path = disk / f"filler-{size}-{len(os.listdir(disk))}"
        found.append(path)
        with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
            while file.write(_BLOCK[:size]):
                pass
    return found


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    """Both stories; exit code 2 where this machine does not let us mount."""
    if os.geteuid() != 0:
        print("tests.real_disk mounts a file system of its own: run it as root", file=sys.stderr)
        return 2
    full()
    read_only()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
