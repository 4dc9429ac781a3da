"""Two releases of the same source, the second under a later version: what `make release` makes for a depot.

Owns: building and unpacking them. Does not: install.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from bus.version import VERSION
from tests.clean_root.system import PYTHON_VERSION

SOURCE = Path(__file__).parents[2]
LATER = f"{VERSION}.post1"
INSIDE = "srv/releases"
"""Where they lie in the clean root, unpacked: one directory for each version."""


def build(work: Path) -> None:
    """Build both, and unpack them in the clean root below `work`."""
    copy = work / "later"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns(".*", "tests", "build", "*.egg-info", "__pycache__"))
    (copy / "bus" / "version.py").write_text(f'"""The release."""\n\nVERSION = "{LATER}"\n')
    for version, source in ((VERSION, SOURCE), (LATER, copy)):
        target = work / "root" / INSIDE / version
        target.mkdir(parents=True)
        archive = _archive(source, work / "archives")
        subprocess.run(["tar", "-xzf", archive, "--strip-components=1", "-C", str(target)], check=True)


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
