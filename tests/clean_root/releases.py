"""Two releases of the same source, the second under a later version: what `make release` makes for a depot.

Owns: building and unpacking them. Does not: install.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bus.version import VERSION
from tests.clean_root.station import PORT
from tests.clean_root.system import PYTHON_VERSION

SOURCE = Path(__file__).parents[2]
LATER = f"{VERSION}.post1"
BROKEN = f"{VERSION}.post2"
"""One of its services ends at once."""
INSIDE = "srv/releases"
"""Where they lie in the clean root, unpacked: one directory for each version."""


def build(work: Path, *, broken: bool = False) -> None:
    """Build both, if asked for the broken one too, and unpack them in the clean root below `work`."""
    unpack(work, VERSION, SOURCE)
    unpack(work, LATER, _copy(work, LATER))
    prepare_configuration(work / "root")
    if broken:
        source = _copy(work, BROKEN)
        (source / "services" / "rfid" / "__main__.py").write_text('raise SystemExit("broken on purpose")\n')
        unpack(work, BROKEN, source)


def prepare_configuration(root: Path) -> None:
    """What a depot does beforehand: a profile of the release, for the Central System that is there."""
    text = (root / INSIDE / VERSION / "profiles" / "default.toml").read_text()
    (root / "srv" / "depot.toml").write_text(text.replace("ws://localhost:9000/ocpp", f"ws://127.0.0.1:{PORT}/"))


def unpack(work: Path, version: str, source: Path) -> None:
    """Build the release of `source`, and unpack it as a depot's person would."""
    target = work / "root" / INSIDE / version
    target.mkdir(parents=True)
    archive = _archive(source, work / "archives")
    subprocess.run(["tar", "-xzf", archive, "--strip-components=1", "-C", str(target)], check=True)


def _copy(work: Path, version: str) -> Path:
    copy = work / version
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns(".*", "tests", "build", "*.egg-info", "__pycache__"))
    (copy / "bus" / "version.py").write_text(f'"""The release."""\n\nVERSION = "{version}"\n')
    return copy


def _archive(source: Path, out: Path) -> str:
    # Scripts of the source under test, whatever the copy is.
    done = subprocess.run(
        [str(SOURCE / "deploy" / "release.sh"), str(source)],
        env={**os.environ, "PYTHON": sys.executable, "PYTHON_VERSION": PYTHON_VERSION, "OUT": str(out)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]
