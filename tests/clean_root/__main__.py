"""`make clean-root`: install, upgrade, rollback and uninstall in a Debian that has never seen this project (issue 7).

Owns: the command line, what this machine must be able to do, the clearing up. The proof runs in namespaces of its own: with
the last process of them all mounts and processes are gone, however it ends, and there is no network but a loopback.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.clean_root import booted, releases, system
from tests.clean_root.proof import prove

CANNOT = 77
"""Exit code: this machine can't make a clean root, so that nothing is proved and nothing is refuted."""
_INSIDE = "--inside"


def main() -> int:
    """0: all of it works; 1: something does not; CANNOT: it can't be tried here, and one line says what is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.clean_root", description="Install and upgrade in a clean root.")
    parser.add_argument("--every", type=int, default=7, help="cut the upgrade at every so many commands (1: at all of them)")
    parser.add_argument(
        "--booted", action="store_true", help="the unit under a real systemd, instead of the sessions in a chroot"
    )
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--debian", metavar="DIR", type=Path, help="a clean Debian that mmdebstrap made earlier; it is copied")
    parser.add_argument(_INSIDE, metavar="DIR", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        return prove(Path(arguments.inside), every=arguments.every)
    lacking = system.lacking()
    if arguments.booted and not lacking and booted.cgroup2() is None:
        lacking = "there are no control groups of version 2, which systemd needs"
    if lacking:
        print(f"clean root: can't be made on this machine: {lacking}", file=sys.stderr)
        return CANNOT
    work = Path(tempfile.mkdtemp(prefix="clean-root-"))
    try:
        return _prepared_and_proved(work, arguments)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _prepared_and_proved(work: Path, arguments: argparse.Namespace) -> int:
    began_s = time.monotonic()
    try:
        if arguments.debian:
            subprocess.run(["cp", "--archive", str(arguments.debian), str(work / "root")], check=True)
        else:
            system.make(work / "root", arguments.mirror, *(booted.PACKAGES if arguments.booted else ()))
    except system.CannotBeMade as error:
        print(f"clean root: can't be made on this machine: {error}", file=sys.stderr)
        return CANNOT
    print(f"a clean Debian is there after {time.monotonic() - began_s:.0f} s", flush=True)
    releases.build(work, broken=arguments.booted)
    print(f"the releases are built after {time.monotonic() - began_s:.0f} s", flush=True)
    code = booted.prove_booted(work) if arguments.booted else _proved_in_namespaces(work, arguments.every)
    print(f"clean root: {'all is well' if code == 0 else 'FAILED'} after {time.monotonic() - began_s:.0f} s")
    return 1 if code else 0


def _proved_in_namespaces(work: Path, every: int) -> int:
    again = [sys.executable, "-m", "tests.clean_root", "--every", str(every), _INSIDE, str(work)]
    return subprocess.run([*system.NAMESPACES, *again], check=False, env={**os.environ, "PYTHONUNBUFFERED": "1"}).returncode


if __name__ == "__main__":
    sys.exit(main())
